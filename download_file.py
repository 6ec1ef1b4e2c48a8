"""Download a file: look at the headers and the first bytes, then write it in chunks.

Sample run::

    $ uv run tests/offline.py download_file.py -o ../pig.jpg
    saved ../pig.jpg: 35,588 bytes
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.33,<3"]
# ///

import argparse
import http.client
import itertools
import os
import re
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

TIMEOUT_SECONDS = (10, 30)  # to connect; for the answer, and each piece of the body
CHUNK_BYTES = 256 * 1024
HEAD_BYTES = 1024  # of a body, to tell its kind by
Headers = Mapping[str, str] | None
Progress = Callable[[int, int | None], object] | None
Timeout = float | tuple[float, float]


class ContentTypeMismatch(Exception):
    """The server sent another kind of content than the caller expects."""


class IncompleteDownload(Exception):
    """The body ended early."""


class DownloadTooLarge(Exception):
    """The body is larger than `max_bytes`."""


def download_file(
    url: str,
    output_path: str | Path,
    expected_prefix: str = "image/",
    chunk_size: int = CHUNK_BYTES,
    *,
    max_bytes: int | None = None,
    resume: bool = False,
    on_progress: Progress = None,
    headers: Headers = None,
    timeout: Timeout = TIMEOUT_SECONDS,
) -> Path:
    """Save `url` as `output_path` and return that path: the file is whole, or untouched.

    `on_progress(bytes_received, total_bytes)` follows each chunk, its total None where
    the server doesn't tell.

    `headers` are for an API's token. After a redirect requests asks ~/.netrc, which
    may replace it; to another host it drops Authorization, but not X-Api-Key.

    Raises ContentTypeMismatch, IncompleteDownload, DownloadTooLarge, requests.HTTPError
    for any status but 200 (206 for a rest), else requests.RequestException (an OSError,
    too), OSError for the file, ValueError for an address that can't be asked.

    Gaps: a body that is sent without length or chunks may be cut off unnoticed, a packed
    one, too; what follows the end of a gzip stream is dropped; a redirect's own body is
    read whole; `kill -9` leaves a hidden part, and so does SIGTERM.
    """
    target = Path(output_path)
    if target.exists() and not target.is_file():
        raise OSError(f"{target} is not a file")  # a folder, or a device
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent}")
    rest = ask_for_rest(url, target) if resume else {}
    with request_file(url, headers, timeout, rest) as response:
        check_answer(response)
        check_type(response, expected_prefix)
        keep_gzip(response, target)
        chunks = read_chunks(response, chunk_size, max_bytes, on_progress)
        if response.status_code == 200:  # a rest begins elsewhere
            chunks = check_bytes(chunks, response)
        if resume:
            return save_resumably(chunks, response, url, target)
        part = target.with_name(f".{uuid.uuid4().hex}.part")  # on the same disk
        try:
            with open(part, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            part.replace(target)  # in one step: the old file, then the new one
        finally:
            part.unlink(missing_ok=True)  # after any failure, Ctrl-C too
    return target


def save_resumably(
    chunks: Iterator[bytes], response: requests.Response, url: str, target: Path
) -> Path:
    """Go on where an earlier call stopped, and leave to the next one what was written.

    NAME.part holds it, NAME.part.etag the version (a strong ETag, RFC 9110, 8.8.3). A
    server that names no version can't resume: nothing is kept. Two calls at once would
    mix.
    """
    part, etag_file = Path(f"{target}.part"), Path(f"{target}.part.etag")
    etag = find_etag(response)
    try:
        if response.status_code == 200:  # all of it
            part.write_bytes(b"")
            # A checksum, for the address may hold a password.
            etag_file.write_text(f"{zlib.crc32(url.encode())} {etag}", "utf-8")
        with open(part, "ab") as file:
            for chunk in chunks:
                file.write(chunk)
        part.replace(target)
    finally:
        if not (etag and part.exists()):  # of no use, or renamed
            part.unlink(missing_ok=True)
            etag_file.unlink(missing_ok=True)
    return target


def ask_for_rest(url: str, target: Path) -> dict[str, str]:
    """Return the headers that ask for the rest of a part, none where it is of no use."""
    part, etag_file = Path(f"{target}.part"), Path(f"{target}.part.etag")
    with suppress(FileNotFoundError):
        size = part.stat().st_size
        address, _, etag = etag_file.read_text("utf-8").partition(" ")
        if size and etag and address == str(zlib.crc32(url.encode())):
            return {"Range": f"bytes={size}-", "If-Range": etag}
    return {}


def request_file(
    url: str, headers: Headers, timeout: Timeout, rest: dict[str, str]
) -> requests.Response:
    """Ask for the rest of a file, or for all of it; the body waits to be read."""
    response = requests.get(
        url,
        headers={**(headers or {}), **OUR_HEADERS, **rest},
        auth=leave_netrc_alone,  # no login: requests lets a function change the request
        timeout=timeout,
        stream=True,
    )
    # Servers may ignore If-Range: a 206 is believed if it names the ETag, and fits.
    # 416: the part is whole already, or of another version.
    start, _ = find_span(response)
    named = {"Range": f"bytes={start}-", "If-Range": find_etag(response)}
    if rest and rest != named and response.status_code in (206, 416):
        response.close()
        return request_file(url, headers, timeout, {})  # from the start
    return response


def leave_netrc_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no password from ~/.netrc, which would replace our token; for `auth=`."""
    request.prepare_auth(None)  # user:password@ of the address, no ~/.netrc
    return request


def check_answer(response: requests.Response) -> None:
    """Raise HTTPError, in the server's words, unless this is the file or its rest."""
    status = response.status_code
    if status != 200 and not (status == 206 and "Range" in response.request.headers):
        # raise_for_status() lets 1xx and 3xx pass
        raise requests.HTTPError(describe_answer(response), response=response)


def describe_answer(response: requests.Response) -> str:
    """Return status, reason and what a text says, but no HTML, and no token of ours."""
    status, text = response.status_code, ""
    with suppress(requests.RequestException, ValueError):  # cut off, or no text
        text = next(response.iter_content(16_384), b"").decode()
    for name, value in response.request.headers.items():
        for word in str(value).split():  # which may be a token
            if len(word) >= 8 and not name.startswith(("Content-", "Accept")):
                text = text.replace(word, "***")
    if text.lstrip().startswith("<"):  # of a page nothing, but S3 says in XML what is wrong
        text = " ".join(re.findall("<(?:Code|Message)>([^<]*)", text))
    message = "" if status // 100 == 3 else text[:200]  # a redirect's is an address
    reason = response.reason or http.client.responses.get(status, "")
    words = " ".join(f"{status} {reason} {message}".split())
    return "".join(filter(str.isprintable, words))  # no escape codes


def check_type(response: requests.Response, expected_prefix: str) -> None:
    """Raise ContentTypeMismatch unless the headers announce what we expect and can unpack."""
    media_type = response.headers.get("Content-Type", "").strip().lower()
    if not media_type or not media_type.startswith(expected_prefix.lower()):
        got = media_type or "no Content-Type"
        raise ContentTypeMismatch(f"{got!r} instead of {expected_prefix!r} - {LOOK}")
    coding = response.headers.get("Content-Encoding", "").lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ContentTypeMismatch(f"packed as {coding!r} - curl --compressed may unpack it")


def keep_gzip(response: requests.Response, target: Path) -> None:
    """Let a file that is gzip itself stay so; requests would unpack it."""
    media_type = response.headers["Content-Type"].lower()
    suffixes = {Path(urlsplit(response.url).path).suffix.lower(), target.suffix.lower()}
    if "gzip" in media_type or suffixes & {".gz", ".tgz", ".svgz"}:
        response.raw.headers.pop("Content-Encoding", None)


def read_chunks(
    response: requests.Response, chunk_size: int, max_bytes: int | None, on_progress: Progress
) -> Iterator[bytes]:
    """Yield the body; raise for too much of it, or too little."""
    received, total = find_span(response)
    if max_bytes is not None and (total or 0) > max_bytes:
        raise DownloadTooLarge(f"over max_bytes = {max_bytes:,}: {total:,} bytes")
    try:
        for chunk in response.iter_content(chunk_size):
            received += len(chunk)
            if max_bytes is not None and received > max_bytes:
                raise DownloadTooLarge(f"over max_bytes = {max_bytes:,}, and it goes on")
            yield chunk
            if on_progress:
                on_progress(received, total)
    except requests.RequestException as error:  # cut off, damaged, or stalled
        hint = "with resume" if find_etag(response) else "the server can't resume"
        raise IncompleteDownload(f"it broke off or is damaged - try again, {hint}") from error
    if total is None and (received or response.raw.chunked):  # else the headers broke off
        total = received
    if received != total:
        raise IncompleteDownload(f"only {received:,} bytes came - try again")


def check_bytes(chunks: Iterator[bytes], response: requests.Response) -> Iterator[bytes]:
    """Return the chunks; raise ContentTypeMismatch for a lying page, or no image."""
    head = b""
    while len(head) < HEAD_BYTES and (chunk := next(chunks, b"")):
        head += chunk
    start = head[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((KINDS[sign] for sign in KINDS if re.match(sign, start)), "")
    media_type = response.headers["Content-Type"].strip().lower()
    is_hidden_page = kind == PAGE and "html" not in media_type
    if is_hidden_page or (kind and media_type.startswith("image/")):
        raise ContentTypeMismatch(f"it is {kind}, not {media_type!r} - {LOOK}")
    return itertools.chain([head], chunks)


def find_span(response: requests.Response) -> tuple[int, int | None]:
    """Return where in the file the body begins, and the file's size if the server tells."""
    if response.status_code == 206:
        span = response.headers.get("Content-Range", "")
        found = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18})", span)
        start, total = map(int, found.groups()) if found else (0, 0)
        return (start, total) if start < total else (0, None)
    size = response.headers.get("Content-Length", "")
    is_packed = "Content-Encoding" in response.headers  # then it is the packed body's size
    return 0, None if is_packed or not size.isdecimal() else int(size)


def find_etag(response: requests.Response) -> str:
    """Return the strong ETag that a later request can name, if there is one."""
    etag = response.headers.get("ETag", "")
    is_packed = "Content-Encoding" in response.headers
    return etag if etag.startswith('"') and not is_packed else ""


def choose_name(url: str) -> str:
    """Return a free and harmless name, by the last part of an address."""
    name = unquote(re.split("[?#]", url)[0].rpartition("/")[2])
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100].strip(".-") or "download"
    stem, dot, suffix = name.partition(".")
    numbers = itertools.count(1)
    while os.path.lexists(name):
        name = f"{stem}-{next(numbers)}{dot}{suffix}"
    return name


# Nothing packed: a packed body's size can't be checked. None removes what a caller gives.
OUR_HEADERS: dict[str, Any] = {"Accept-Encoding": "identity", "Range": None, "If-Range": None}
LOOK = "look at it in a browser"
PAGE = "an HTML page"
KINDS = {  # how a body may begin, and what it is then; "" may be a picture
    rb"\Z": "empty",
    rb"(?is)<(svg|!doctype svg|(\?xml|!--).*<(!doctype )?svg|(\?xml.*<)?!--(?!.*-->))": "",
    rb"SIMPLE  =|P[1-3]\s|/\* XPM": "",  # FITS, PBM to PPM, XPM
    rb"(?i)<(!doctype html|html|head|body|script)": PAGE,
    rb"%PDF-": "a PDF document",
    rb"PK\x03\x04": "a ZIP archive",
    rb"([\t-~]|[\xc2-\xf4][\x80-\xbf]+)+[\xc2-\xf4]?\Z": "text",  # in UTF-8
}

# --- the command line ---

REFUSALS = (ContentTypeMismatch, IncompleteDownload, DownloadTooLarge)
CANT_CONNECT = "can't connect"
ADVICE = {  # for the first that is found in an error's name and text
    "HTTPError 1": "that was a hint; curl waits for the answer after it, Python doesn't",
    "HTTPError 40[13]": "check the key",
    "HTTPError (429|[5-9])": "try again later",
    "HTTPError [2-4]": "check the address",
    "CERTIFICATE_VERIFY": "can't verify the certificate - see REQUESTS_CA_BUNDLE",
    "WRONG_VERSION|record layer": "no TLS at that port - try http:// instead of https://",
    "ProxyError": "the proxy doesn't answer - check HTTP_PROXY and HTTPS_PROXY",
    "Max retries": CANT_CONNECT,
    "timed out": "no answer in time - try again later",
    "Connection aborted": "the server hung up - try again later",
    "No connection adapters|Invalid URL|to parse|://": "that address can't be used - check it",
    "octet-stream' instead": "the server doesn't say its type - use --expect application/",
}


def print_progress(received: int, total: int | None) -> None:
    """Print to stderr: in place on a terminal, else a line for every 10 %."""
    if sys.stderr is None:  # under pythonw, or with 2>&-
        return
    line = f"{received:,} bytes"
    if total:
        line = f"{100 * received // total:3d} %  {received:,} of {total:,} bytes"
    if sys.stderr.isatty():
        end = "\n" if received == total else "\r"
        print(line, end=end, file=sys.stderr, flush=True)
    elif total:
        tenth, before = 10 * received // total, 10 * (received - CHUNK_BYTES) // total
        if before < tenth < 10:
            print(line, file=sys.stderr)


def explain(error: Exception, url: str | None) -> str:
    """Return what went wrong, and what to do; no address, it may hold a password."""
    text = str(error)
    named = f"{type(error).__name__} {text}"
    advice = next((ADVICE[sign] for sign in ADVICE if re.search(sign, named)), text)
    if isinstance(error, requests.HTTPError):  # its text is ours
        return f"{text} - {advice}"
    launcher = Path(__file__).parent / "tests" / "offline.py"
    if advice != CANT_CONNECT or not launcher.exists():
        return advice
    python = "uv run" if "UV" in os.environ else "python"
    words = [str(launcher), Path(__file__).name, *sys.argv[1:]]
    words = [word for word in words if word not in ("--url", url, f"--url={url}")]
    command = " ".join(f'"{word}"' if " " in word else word for word in words)
    return f"{advice} - try: {python} {command}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Download a file, checking its type before anything is written.",
        epilog="example: download_file.py https://httpbin.org/image/png -o pig.png",
    )
    parser.add_argument("url", nargs="?", help="default: a JPEG of httpbin.org")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: a new name")
    parser.add_argument(
        "--expect", default="image/", metavar="TYPE", help="media type, or its beginning"
    )
    parser.add_argument("--max-bytes", type=int, metavar="N", help="refuse what is larger")
    parser.add_argument("--resume", action="store_true", help="go on where it broke off")
    args = parser.parse_args()
    url = args.url or (os.environ.get("HTTPBIN_URL") or "https://httpbin.org") + "/image/jpeg"
    path = Path(args.output or choose_name(args.url or "image.jpeg"))
    options = {"max_bytes": args.max_bytes, "resume": args.resume}
    try:
        download_file(url, path, args.expect, on_progress=print_progress, **options)
        print(f"saved {path}: {path.stat().st_size:,} bytes")
    except KeyboardInterrupt:
        if args.resume and Path(f"{path}.part.etag").exists():
            print(f"{path}.part is kept for --resume", file=sys.stderr)
        sys.exit(130)
    except (OSError, ValueError, *REFUSALS) as error:  # requests' exceptions are OSErrors
        sys.exit(f"error: {explain(error, args.url)}")


if __name__ == "__main__":
    main()
