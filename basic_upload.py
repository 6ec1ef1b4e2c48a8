"""Send a file as multipart/form-data, and look at the bytes that travel.

Sample run::

    $ uv run tests/offline.py basic_upload.py --meta caption=me
    POST /post: 200
    Content-Type: multipart/form-data; boundary=3cdb8b1ce7b3a2cd0a48ba2d5cbb0b0d
    received 'caption': 'me'
    received 'file': 21,963 bytes, the same as on disk
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.33,<3"]
# ///

import argparse
import http.client
import io
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

UPLOAD_URL = "https://httpbin.org/post"
TIMEOUT_SECONDS = (10, 30)  # to connect to each IP address, send each block; for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # that the system may still hold when we have sent all


def upload_file(
    path: str | Path,
    url: str = UPLOAD_URL,
    *,
    field: str = "file",
    media_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | tuple[float, float] = TIMEOUT_SECONDS,
) -> requests.Response:
    """Send a file and form fields (`metadata`, RFC 7578); return the unread response.

    `files=` takes the whole file into memory; streaming_upload.py is for large ones.
    `headers` are for an API's token. After a redirect requests asks ~/.netrc, which
    may replace it; to another host it drops Authorization, but not X-Api-Key.

    Raises OSError for the file, ValueError for what can't be sent, HTTPError
    for an answer that is no 2xx, else requests.RequestException (an OSError, too).
    """
    path = Path(path)
    media_type = media_type or find_media_type(path)
    if re.search(r"[\r\n]", media_type):
        raise ValueError("a media type has no line breaks")  # else forged headers
    with open(path, "rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        response = requests.post(
            url,
            files={field: (path.name, handle, media_type)},
            data=metadata,
            headers={**(headers or {}), **NO_CONTENT_TYPE},
            auth=send_in_blocks,  # no login: requests lets a function change the request
            timeout=allow_for_slow_line(timeout, size),
            stream=True,  # read no more of the answer than we need
        )
    check_answer(response)
    return response


def find_media_type(path: Path) -> str:
    """Return the media type by the file's extension; requests doesn't guess it."""
    return MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")


def send_in_blocks(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send the body in blocks, and leave ~/.netrc alone; for `auth=`.

    The connect timeout limits sending, too: of bytes the whole, of a file each block.
    Without `auth=` requests would send a password from ~/.netrc, in place of any token.
    """
    assert isinstance(request.body, bytes)
    request.prepare_body(io.BytesIO(request.body), files=None)
    request.prepare_auth(None)  # user:password@ of the address, no ~/.netrc
    return request


def allow_for_slow_line(timeout: float | tuple[float, float], size: int) -> tuple[float, float]:
    """Return (connect, read); read grows by what the system may still have to send."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return connect, read + min(size, SEND_BUFFER_BYTES) / SLOWEST_BYTES_PER_SECOND


def check_answer(response: requests.Response) -> None:
    """Raise HTTPError, in the server's words, unless a 2xx answers what we sent."""
    # After any redirect but 307 and 308 requests goes on without the file.
    lost = [step for step in response.history if step.status_code not in (307, 308)]
    answer = lost[0] if lost else response
    if not 200 <= answer.status_code < 300:  # raise_for_status() lets 1xx and 3xx pass
        with response:
            raise requests.HTTPError(describe_answer(answer), response=answer)


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


NO_CONTENT_TYPE: dict[str, Any] = {"Content-Type": None}  # of a caller: requests sets its own
# Our own table: what `mimetypes` knows differs from one system to the next.
MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
}

# --- the command line ---

SAMPLE = Path(__file__).resolve().parent / "samples" / "avatar.png"
SIGNATURES = {  # the first bytes of some formats
    b"\x89PNG\r\n\x1a\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "RIFF: WebP, WAV or AVI; bytes 8 to 11 tell",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive, as docx and xlsx are",
}
CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
ADVICE = {  # for the first that is found in an error's name and text
    "HTTPError 1": "a hint came before the answer; the file may have arrived",
    "HTTPError 3": "the file may have arrived; if not, check the address",
    "HTTPError 40[13]": "check the key",
    "HTTPError 413": "send a smaller file",
    "HTTPError (429|[5-9])": "try again later",
    "HTTPError 4": "check the address, and what you send",
    "CERTIFICATE_VERIFY": "can't verify the certificate - see REQUESTS_CA_BUNDLE",
    "WRONG_VERSION|record layer": "no TLS at that port - try http:// instead of https://",
    "EOF occurred": BROKEN,  # over TLS a refusal in the middle looks like this
    "ProxyError": "the proxy doesn't answer - check HTTP_PROXY and HTTPS_PROXY",
    "Max retries": CANT_CONNECT,
    "timed out": "no answer in time - the file may have arrived",
    "Connection aborted": BROKEN,
    "Connection broken": "the answer broke off - the file may have arrived",
    "No connection adapters|Invalid URL|to parse|://": "that address can't be used - check it",
}


def show_request(path: Path, url: str, metadata: Mapping[str, str]) -> list[str]:
    """Return the request that `upload_file` would send; nothing is sent."""
    data = path.read_bytes()
    files = {"file": (path.name, data, find_media_type(path))}
    request = requests.Request("POST", url, files=files, data=metadata).prepare()
    headers = {**requests.utils.default_headers(), **request.headers}
    requests.Session().get_adapter(str(request.url))  # raises where requests can't use it
    assert isinstance(request.body, bytes)
    body = request.body
    if len(data) > 20:  # too long for a line: its first 4 bytes do
        short = data[:4] + f" [{len(data) - 4:,} bytes] ".encode()
        body = short.join(body.rsplit(data, 1))
    host = str(request.url).split("/")[2].rpartition("@")[2]  # http.client sends this line
    lines = [f"POST {request.path_url} HTTP/1.1", f"Host: {host}"]
    for name, value in headers.items():
        lines.append(f"{name}: {'***' if name == 'Authorization' else value!s}")
    return [*lines, "", show_bytes(body).replace(r"\r\n", "\\r\\n\n").rstrip()]


def show_bytes(data: bytes) -> str:
    r"""Make bytes printable, \r\n too."""
    return data.decode("latin-1").encode("unicode_escape").decode()


def peek_file(path: Path) -> list[str]:
    """Return a file's first bytes, what they announce, and what text mode makes of them."""
    with open(path, "rb") as handle:
        head = handle.read(16)
    kinds = [SIGNATURES[start] for start in SIGNATURES if head.startswith(start)]
    return [
        f"{path.name} begins with\n  {head.hex(' ')}\n  {show_bytes(head)}",
        f"It announces {kinds[0] if kinds else 'no type we know; perhaps text'}.",
        f"Opened as utf-8 text: {read_as_text(head, 'utf-8')}",
        # Text mode's usual encoding on Windows, before Python 3.15.
        f"Opened as cp1252 text: {read_as_text(head, 'cp1252')}",
    ]


def read_as_text(data: bytes, encoding: str) -> str:
    """Say what would be sent of bytes that `open(path, "r", encoding=...)` read."""
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) == 16:  # we cut a letter
            return read_as_text(data[: error.start], encoding)
        return f"UnicodeDecodeError at byte {error.start}, 0x{data[error.start]:02x}"
    sent = text.encode()  # requests sends text as UTF-8
    if sent == data:
        return "the same bytes"
    lost = data.count(b"\r") - sent.count(b"\r")
    change = f"{len(data)} bytes became {len(sent)}, {lost} line ends changed"
    return f"no error, but {change}\n  {show_bytes(sent)}"


def show_reply(response: requests.Response, data: bytes) -> list[str]:
    """Return what was sent and what httpbin received: it echoes binary in base64."""
    import base64  # here, for the piece above doesn't need it

    path = response.request.path_url.partition("?")[0]
    media_type = response.request.headers["Content-Type"]
    lines = [f"POST {path}: {response.status_code}", f"Content-Type: {media_type!s}"]
    encoded = base64.b64encode(data).decode()
    with suppress(AttributeError, LookupError, TypeError, ValueError):  # another server
        reply = response.json()
        lines += [f"received {name!r}: {value!r}" for name, value in reply["form"].items()]
        for name, echo in reply["files"].items():
            same = echo.encode() == data or echo.endswith(f",{encoded}")
            words = f"{len(data):,} bytes, {'' if same else 'NOT '}the same as on disk"
            lines.append(f"received {name!r}: {words}")
    return lines


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
        description="Send a file as multipart/form-data.",
        epilog="example: basic_upload.py photo.jpg --meta caption=holiday --show-body",
    )
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE, help="default: a sample")
    parser.add_argument("--meta", action="append", default=[], metavar="NAME=VALUE", help="a field")
    parser.add_argument("--show-body", action="store_true", help="print the request, send nothing")
    parser.add_argument("--peek", action="store_true", help="look at the first bytes, send nothing")
    parser.add_argument("--url", help=f"where to (default: {UPLOAD_URL})")
    args = parser.parse_args()
    if not all("=" in item for item in args.meta):
        parser.error("--meta takes NAME=VALUE")
    metadata = dict(item.split("=", 1) for item in args.meta)
    url = args.url or (os.environ.get("HTTPBIN_URL") or "https://httpbin.org") + "/post"
    try:
        if args.peek:
            lines = peek_file(args.file)
        elif args.show_body:
            lines = show_request(args.file, url, metadata)
        else:
            response = upload_file(args.file, url, metadata=metadata)
            lines = show_reply(response, args.file.read_bytes())
        print(*lines, sep="\n")
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:  # requests.RequestException is an OSError
        sys.exit(f"error: {explain(error, args.url)}")


if __name__ == "__main__":
    main()
