"""Download a file: look at the headers and the first bytes, then write it chunk by chunk.

A body is only as good as its status, its Content-Type and its length. What fails one of them
never appears under the final name, and what stood there before still stands. A body without
length or chunks ends where the connection ends: the only one that is cut off unnoticed.

Sample run::

    $ uv run tests/offline.py download_file.py
    saved image.jpeg: 35,588 bytes
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.32.4,<3"]
# ///

from __future__ import annotations

import argparse
import errno
import io
import itertools
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import requests

IMAGE_URL = (os.environ.get("HTTPBIN_URL") or "https://httpbin.org").rstrip("/") + "/image/jpeg"
TIMEOUT_SECONDS = (5, 30)  # connect, read
CHUNK_BYTES = 256 * 1024
HEAD_BYTES = 512  # enough for every signature and for leading blanks before <html
# Each format's own first bytes; WebP and the HEIF family name themselves at bytes 8 to 11.
IMAGE_SIGNATURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM|II\*\x00|MM\x00\*|\x00\x00\x01\x00"
    rb"|....ftyp(avif|avis|hei[cfmsx]|hev[cx]|mif1|msf1)",
    re.DOTALL,
)
HTML_START = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html|<head|<body|<script)", re.IGNORECASE
)


class ContentTypeMismatch(Exception):
    """The server sent another kind of content than the caller expects."""


class IncompleteDownload(Exception):
    """The body ended early."""


class DownloadTooLarge(Exception):
    """The body is larger than `max_bytes`."""


def check_header(response: requests.Response, expected_prefix: str) -> str:
    """Return the media type; raise ContentTypeMismatch unless it begins as expected."""
    media_type = response.headers.get("Content-Type", "").strip().lower()
    if not media_type or not media_type.startswith(expected_prefix.lower()):
        got = media_type or "no Content-Type"
        raise ContentTypeMismatch(f"{got!r} instead of {expected_prefix!r}")
    return media_type


def check_bytes(head: bytes, media_type: str, expected_prefix: str) -> None:
    """Raise ContentTypeMismatch where the first bytes say that the header lies."""
    if expected_prefix.lower().startswith("image/") and not IMAGE_SIGNATURE.match(head):
        raise ContentTypeMismatch(f"announced as {media_type!r}, but it is no image")
    if HTML_START.match(head) and "html" not in media_type:
        raise ContentTypeMismatch(f"announced as {media_type!r}, but it is an HTML page")


def open_download(
    url: str, start: int, etag: str, timeout: tuple[float, float]
) -> tuple[requests.Response, int]:
    """GET the rest from byte `start` if the file is still the same, else all of it.

    Returns the response, unread, and the offset of its first byte (RFC 9110, 13.1.5 and 14).
    """
    headers = {"Accept-Encoding": "identity"}  # a compressed body's length can't be checked
    if not start:
        return requests.get(url, headers=headers, stream=True, timeout=timeout), 0
    headers |= {"Range": f"bytes={start}-", "If-Range": etag}
    response = requests.get(url, headers=headers, stream=True, timeout=timeout)
    content_range = response.headers.get("Content-Range", "")
    if response.status_code == 206 and find_strong_etag(response) == etag:
        if re.fullmatch(rf"bytes {start}-\d+/\d+", content_range):
            return response, start
    elif response.status_code not in (206, 416):
        return response, 0  # all of it, or an error
    response.close()  # it offers another part, or says that there is none
    return open_download(url, 0, "", timeout)


def find_size(response: requests.Response) -> int | None:
    """Return the size of the whole file in bytes, None where the server doesn't tell."""
    if "Content-Encoding" in response.headers:  # then the length is that of the compressed body
        return None
    length = response.headers.get("Content-Length", "")
    total = response.headers.get("Content-Range", length).rpartition("/")[2]
    return int(total) if re.fullmatch(r"\d{1,18}", total) else None


def find_strong_etag(response: requests.Response) -> str:
    """Return the version that a later Range request can name (RFC 9110, 8.8.3), or nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') and "Content-Encoding" not in response.headers else ""


def find_part(part: Path, version: Path, url: str) -> tuple[int, str]:
    """Return how many bytes of `url` an earlier call left, and the ETag of their version."""
    if not (part.is_file() and version.is_file()):
        return 0, ""
    etag, _, source = version.read_text("utf-8", "replace").partition(" ")
    return (part.stat().st_size, etag) if source == url else (0, "")


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def read_chunks(response: requests.Response, chunk_size: int) -> Iterator[bytes]:
    """Yield the body; the first chunk is never missing and long enough to tell its type."""
    response.raw.enforce_content_length = True  # urllib3 1.26 doesn't by itself
    chunks, head = response.iter_content(chunk_size), b""
    try:
        while len(head) < HEAD_BYTES and (chunk := next(chunks, b"")):
            head += chunk
        yield head
        yield from chunks
    except (requests.RequestException, ValueError) as error:  # cut off, damaged, or stalled
        raise IncompleteDownload("the connection broke") from error


def download_file(
    url: str,
    output_path: str | Path,
    expected_prefix: str = "image/",
    chunk_size: int = CHUNK_BYTES,
    *,
    max_bytes: int | None = None,
    resume: bool = False,
    on_progress: Callable[[int, int | None], object] | None = None,
    timeout: tuple[float, float] = TIMEOUT_SECONDS,
) -> Path:
    """Save `url` as `output_path` and return that path; the file is whole, or untouched.

    With `resume` a failed call leaves its whole chunks as NAME.part, and NAME.part.etag, for the
    next one, where the server names the file's version (a strong ETag); one call at a time.
    `on_progress(bytes_received, total_bytes)` follows each chunk, its total None where the server
    doesn't tell. Raises ContentTypeMismatch, IncompleteDownload, DownloadTooLarge,
    requests.RequestException, OSError from the disk.

    Two gaps: a compressed body (it asks for none) without a length, cut off, is taken for whole;
    `kill -9` leaves a hidden part.
    """
    target = Path(output_path)
    if target.exists() and not target.is_file():  # a folder; or a device, which it would replace
        raise FileExistsError(errno.EEXIST, "not a file", str(target))
    # In the same folder, so that the rename is one step: the old file, then the new one.
    part = target.with_name(f"{target.name}.part" if resume else f".{uuid.uuid4().hex}.part")
    version = part.with_name(f"{part.name}.etag")  # stands beside every part worth keeping
    response, received = open_download(url, *find_part(part, version, url), timeout)
    with response:
        response.raise_for_status()
        media_type = check_header(response, expected_prefix)
        total = find_size(response)
        if max_bytes is not None and (total or 0) > max_bytes:
            raise DownloadTooLarge(f"{total:,} bytes, more than {max_bytes:,}")
        chunks = read_chunks(response, chunk_size)
        first = next(chunks)
        ends_by_itself = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        if not (first or ends_by_itself or response.headers.get("Content-Length")):
            raise IncompleteDownload("nothing came")  # the head may be cut off, too
        check_bytes((read_head(part) if received else b"") + first, media_type, expected_prefix)
        if not received:
            version.unlink(missing_ok=True)  # it belongs to the part that is replaced now
        try:
            with open(part, "ab" if received else "wb") as file:
                if resume and (etag := find_strong_etag(response)):
                    version.write_text(f"{etag} {url}", "utf-8", "replace")
                for chunk in itertools.chain([first], chunks):
                    received += len(chunk)
                    if max_bytes is not None and received > max_bytes:
                        raise DownloadTooLarge(f"more than {max_bytes:,} bytes")
                    file.write(chunk)
                    if on_progress:
                        on_progress(received, total)
            if total is not None and received != total:
                raise IncompleteDownload(f"{received:,} of {total:,} bytes came")
            part.replace(target)
        except BaseException:  # Ctrl-C, too
            if not version.exists():
                part.unlink(missing_ok=True)
            raise
    version.unlink(missing_ok=True)
    return target


def print_progress(bytes_received: int, total_bytes: int | None) -> None:
    """Redraw the percentage, or the bytes so far, on a terminal's stderr."""
    if sys.stderr.isatty():
        percent = f"{100 * bytes_received // total_bytes} %" if total_bytes else ""
        print(f"{percent or f'{bytes_received:,} bytes'}  ", end="\r", file=sys.stderr, flush=True)


def choose_name(url: str) -> str:
    """Return a free and harmless name in the current folder from the URL's last part."""
    name = unquote(re.split(r"[?#]", url)[0].rpartition("/")[2])
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100].strip(".-") or "download"
    if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name, re.IGNORECASE):  # Windows devices
        name = f"_{name}"
    stem, dot, suffix = name.partition(".")
    numbers = itertools.count(1)
    while os.path.lexists(name):
        name = f"{stem}-{next(numbers)}{dot}{suffix}"
    return name


def explain(error: OSError | ValueError) -> str:
    """Return in one line what happened and what to do."""
    if isinstance(error, requests.HTTPError):
        reason = "".join(filter(str.isprintable, error.response.reason))  # no terminal codes
        return f"{error.response.status_code} {reason} - check the address"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        return "no answer in time - try again later"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection - check the address, and this machine's clock"
    if isinstance(error, requests.ConnectionError):
        return f"can't connect - try: uv run tests/offline.py {Path(__file__).name}"
    if isinstance(error, (requests.RequestException, ValueError)):  # a redirect to no address
        return f"{error} - check the address"
    return f"can't save it ({error.strerror}) - choose another place with -o"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Download a file, checking its type before anything is written.",
        epilog="example: download_file.py https://httpbin.org/image/png -o pig.png --resume",
    )
    parser.add_argument("url", nargs="?", help=f"default: {IMAGE_URL}")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: a new name from the URL")
    parser.add_argument("--expect", default="image/", metavar="PREFIX", help="of the Content-Type")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="refuse anything larger")
    parser.add_argument("--resume", action="store_true", help="keep a part, continue it next time")
    args = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        path = download_file(
            args.url or IMAGE_URL,
            args.output or choose_name(args.url or "image.jpeg"),
            args.expect,
            max_bytes=args.max_bytes,
            resume=args.resume,
            on_progress=print_progress,
        )
        print(f"saved {path}: {path.stat().st_size:,} bytes")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except ContentTypeMismatch as error:
        print(f"error: {error} - look at it in a browser", file=sys.stderr)
        return 1
    except IncompleteDownload as error:
        print(f"error: {error} - run it again (--resume keeps what came)", file=sys.stderr)
        return 1
    except DownloadTooLarge as error:
        print(f"error: {error} - allow more with --max-bytes", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:  # requests' are OSErrors, a bad host is a ValueError
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
