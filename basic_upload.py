"""Send a file as multipart/form-data, and look at the bytes that travel.

Sample run::

    $ uv run tests/offline.py basic_upload.py --meta caption=me
    POST http://127.0.0.1:8000/post: 200
    Content-Type: multipart/form-data; boundary=3cdb8b1ce7b3a2cd0a48ba2d5cbb0b0d
    Content-Length: 22224
    received 'caption': 'me'
    received 'file': 21,963 bytes, the same as on disk
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.32.4,<3"]
# ///

from __future__ import annotations

import argparse
import base64
import errno
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import requests

UPLOAD_URL = (os.environ.get("HTTPBIN_URL") or "https://httpbin.org").rstrip("/") + "/post"
TIMEOUT_SECONDS = (5, 30)  # connect, read
PEEK_BYTES = 16
SAMPLE = Path(__file__).resolve().parent / "samples" / "avatar.png"
# Our own table: what `mimetypes` knows differs from one system to the next.
MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
}
SIGNATURES = {  # the first bytes, as each format's specification fixes them
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "RIFF: WebP, WAV or AVI; bytes 8 to 11 tell",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive, as docx and xlsx are",
}


def build_part(
    path: str | Path, handle: BinaryIO, media_type: str | None = None
) -> tuple[str, BinaryIO, str]:
    """Return what `files=` wants for one part: file name, handle, media type.

    Raises ValueError for a media type with a line break, which would forge a part header.
    """
    media_type = media_type or MEDIA_TYPES.get(
        Path(path).suffix.lower(), "application/octet-stream"
    )
    if "\r" in media_type or "\n" in media_type:
        raise ValueError("a media type has no line breaks")
    name = Path(path).name.encode(errors="replace").decode()  # Linux allows undecodable names
    return name, handle, media_type


def upload_file(
    path: str | Path,
    url: str = UPLOAD_URL,
    *,
    field: str = "file",
    media_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    timeout: tuple[float, float] = TIMEOUT_SECONDS,
) -> requests.Response:
    """Send a file, and `metadata` as form fields, as multipart/form-data (RFC 7578).

    `files=` takes the whole file into memory; streaming_upload.py is for large ones. Raises
    OSError for an unreadable file and requests.RequestException for whatever HTTP refuses.
    """
    with open(path, "rb") as handle:
        files = {field: build_part(path, handle, media_type)}
        response = requests.post(url, files=files, data=metadata, timeout=timeout)
    if response.request.method != "POST":  # 301, 302 and 303 turn it into a GET without a body
        raise requests.RequestException(f"redirected to {response.url}, the file got lost")
    response.raise_for_status()
    return response


def show_bytes(data: bytes) -> str:
    r"""Make bytes printable, \r\n too."""
    return data.decode("latin-1").encode("unicode_escape").decode()


def show_content(data: bytes) -> str:
    """Make a part's content printable; what doesn't fit a line is left out of the middle."""
    shown = show_bytes(data[:80])
    if len(data) <= 80 and len(shown) <= 80:
        return shown
    return f"{show_bytes(data[:12])} [{len(data) - 14:,} bytes] {show_bytes(data[-2:])}"


def show_request(path: Path, url: str, metadata: Mapping[str, str]) -> Iterator[str]:
    """Yield the request that `upload_file` would send, part by part; nothing is sent."""
    with open(path, "rb") as handle, requests.Session() as session:
        files = {"file": build_part(path, handle)}
        request = session.prepare_request(requests.Request("POST", url, files=files, data=metadata))
    mixed = requests.Request("POST", url, files={"file": b""}, json={"caption": "me"}).prepare()
    assert isinstance(request.body, bytes) and isinstance(mixed.body, bytes)  # noqa: PT018
    yield f"{request.method} {request.path_url} HTTP/1.1"
    yield f"Host: {urlsplit(url).netloc}"  # http.client adds it when it sends
    yield "".join(f"{name}: {value}\n" for name, value in request.headers.items())
    delimiter = b"--" + request.headers["Content-Type"].partition("boundary=")[2].encode()
    for part in request.body.split(delimiter)[1:]:
        headers, blank, content = (delimiter + part).partition(b"\r\n\r\n")
        lines = show_bytes(headers + blank).replace(r"\r\n", "\\r\\n\n")
        yield (lines + show_content(content)).rstrip("\n")
    fate = "is in the body" if b"caption" in mixed.body else "is silently dropped"
    yield f"\nWith json={{...}} beside files= the JSON {fate}: use data=."


def read_as_text(data: bytes, encoding: str) -> str:
    """Say what `open(path, "r", encoding=...)` makes of bytes, and what would then be sent."""
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) == PEEK_BYTES:
            return read_as_text(data[: error.start], encoding)  # our cut went through a letter
        return f"UnicodeDecodeError at byte {error.start}, 0x{data[error.start]:02x}"
    sent = text.encode()  # requests sends text as UTF-8
    if sent == data:
        return "the same bytes"
    lost = data.count(b"\r") - sent.count(b"\r")
    change = f"{len(data)} bytes became {len(sent)}, {lost} line ends changed"
    return f"no error, but {change}\n  {show_bytes(sent)}"


def peek_file(path: Path) -> Iterator[str]:
    """Yield what a file's first bytes are, announce, and become in text mode."""
    with open(path, "rb") as handle:
        head = handle.read(PEEK_BYTES)
    if not head:
        yield f"{path.name} is empty"
        return
    kinds = [kind for signature, kind in SIGNATURES.items() if head.startswith(signature)]
    yield f"{path.name} begins with\n  {head.hex(' ')}\n  {show_bytes(head)}"
    yield f"It announces {kinds[0] if kinds else 'no type that we know; perhaps text'}."
    for encoding in ("utf-8", "cp1252"):  # cp1252: the default of Windows before Python 3.15
        yield f"Opened as {encoding} text: {read_as_text(head, encoding)}"


def show_reply(response: requests.Response, data: bytes) -> Iterator[str]:
    """Yield what was sent and what came in: httpbin echoes text plain, other bytes in base64."""
    yield f"POST {response.url}: {response.status_code}"
    for name in ("Content-Type", "Content-Length"):
        yield f"{name}: {response.request.headers[name]}"
    try:
        fields, files = (response.json()[kind].items() for kind in ("form", "files"))
    except (AttributeError, LookupError, TypeError, ValueError):
        return  # not httpbin
    for name, value in fields:
        yield f"received {name!r}: {value!r}"
    for name, echo in files:
        encoded = "," + base64.b64encode(data).decode()
        same = str(echo).encode() == data or str(echo).endswith(encoded)
        yield f"received {name!r}: {len(data):,} bytes, {'' if same else 'NOT '}the same as on disk"


def explain(error: OSError | ValueError) -> str:
    """Return in one line what happened and what to do."""
    if isinstance(error, requests.HTTPError):
        reason = "".join(filter(str.isprintable, error.response.reason))  # no terminal codes
        return f"{error.response.status_code} {reason} - check the address"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        return "no answer in time - try again later"
    if isinstance(error, requests.ConnectionError) and "aborted" in str(error):
        return "the connection broke - the file may be larger than the server takes"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection - check the address, and this machine's clock"
    if isinstance(error, requests.ConnectionError):
        return f"can't connect - try: uv run tests/offline.py {Path(__file__).name}"
    if isinstance(error, (requests.RequestException, ValueError)):  # a redirect to no address
        return f"{error} - check the address"
    return f"{error.filename or 'file'}: {error.strerror} - check the path"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Send a file as multipart/form-data.",
        epilog="example: basic_upload.py photo.jpg --meta caption=holiday --show-body",
    )
    parser.add_argument("file", nargs="?", type=Path, help="what to send (default: a sample)")
    parser.add_argument(
        "--meta", action="append", default=[], metavar="NAME=VALUE", help="a form field"
    )
    look = parser.add_mutually_exclusive_group()
    look.add_argument("--show-body", action="store_true", help="print the request, send nothing")
    look.add_argument("--peek", action="store_true", help="look at the first bytes, send nothing")
    parser.add_argument("--url", default=UPLOAD_URL, help="where to (default: %(default)s)")
    args = parser.parse_args(argv)
    if not all("=" in item for item in args.meta):
        parser.error("--meta takes NAME=VALUE")
    metadata = dict(item.split("=", 1) for item in args.meta)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = args.file or SAMPLE
            if not args.file and not SAMPLE.exists():  # this script was copied away from it
                path = Path(folder, "tiny.png")
                path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
            if path.exists() and not path.is_file():  # to open a FIFO is to wait for ever
                raise OSError(errno.EINVAL, "not a file", str(path))
            if args.peek:
                lines = peek_file(path)
            elif args.show_body:
                lines = show_request(path, args.url, metadata)
            else:
                response = upload_file(path, args.url, metadata=metadata)
                lines = show_reply(response, path.read_bytes())
            print(*lines, sep="\n")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:  # requests.RequestException is an OSError
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
