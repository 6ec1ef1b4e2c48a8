"""Upload a file of any size in small chunks: progress, and memory that stays flat.

Sample run::

    $ uv run tests/offline.py streaming_upload.py
     10 %  524,288 of 5,242,880 bytes
     20 %  1,048,576 of 5,242,880 bytes
     ...
    100 %  5,242,880 of 5,242,880 bytes
    waiting for the answer
    sent 5,242,880 bytes: 200
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.33,<3"]
# ///

import argparse
import http.client
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import requests

UPLOAD_URL = "https://httpbin.org/post"
TIMEOUT_SECONDS = (10, 30)  # to connect to each IP address, send each chunk; for the answer
CHUNK_BYTES = 8192
SLOWEST_BYTES_PER_SECOND = 50_000
LARGEST_CHUNK_BYTES = 256 * 1024  # 5 s at that speed, half of the limit
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # that the system may still hold when we have sent all
Progress = Callable[[int, int], object] | None


class FileChanged(Exception):
    """The file shrank or grew while it was being sent."""


class ProgressFileReader:
    """A file as an iterable of chunks with a length, for `requests.post(data=...)`.

    `files=` holds the whole file in memory; a generator has no length to announce (RFC
    9110, 8.6), and is empty when a redirect (307) asks for the file again.
    `on_progress(bytes_sent, total_bytes)` follows each chunk; without it, progress is
    printed (`lambda *_: None` is silent). A chunk has at most 256 KB. Raises FileChanged
    when the file shrinks or grows; more than was announced never goes out.
    """

    content_type = "application/octet-stream"

    def __init__(
        self, path: str | Path, chunk_size: int = CHUNK_BYTES, on_progress: Progress = None
    ) -> None:
        if chunk_size < 1:
            raise ValueError("chunk_size is at least 1 byte")
        self.path = Path(path)
        self.chunk_size = min(chunk_size, LARGEST_CHUNK_BYTES)
        self.on_progress = on_progress or self.print_progress
        with open(path, "rb") as file:  # what can't be opened fails here, before any HTTP
            self.total_bytes = os.fstat(file.fileno()).st_size
        self.bytes_left = 0  # set when the sending begins

    def __len__(self) -> int:
        return self.total_bytes

    def __iter__(self) -> Iterator[bytes]:
        self.bytes_left = self.total_bytes
        with open(self.path, "rb") as file:
            while chunk := file.read(min(self.chunk_size, self.bytes_left)):
                yield chunk
                self.bytes_left -= len(chunk)
                self.on_progress(self.total_bytes - self.bytes_left, self.total_bytes)
            if self.bytes_left or file.read(1):
                verb = "shrank" if self.bytes_left else "grew"
                raise FileChanged(f"{self.path.name} {verb} while it was being sent")

    def print_progress(self, bytes_sent: int, total_bytes: int) -> None:
        """Print to stderr: in place on a terminal, else a line for every 10 %."""
        percent = 100 * bytes_sent // total_bytes
        last = 100 * (bytes_sent - self.chunk_size) // total_bytes  # a chunk before
        if percent == last or sys.stderr is None:  # None: pythonw, or 2>&-
            return
        on_terminal = sys.stderr.isatty()
        if on_terminal or percent // 10 != last // 10:
            line = f"{percent:3d} %  {bytes_sent:,} of {total_bytes:,} bytes"
            end = "\r" if on_terminal and percent < 100 else "\n"
            print(line, end=end, file=sys.stderr, flush=True)
        if bytes_sent == total_bytes:
            print("waiting for the answer", file=sys.stderr)


class MultipartFileReader(ProgressFileReader):
    """The same as multipart/form-data (RFC 7578); `content_type` is the header to send."""

    def __init__(
        self,
        path: str | Path,
        chunk_size: int = CHUNK_BYTES,
        on_progress: Progress = None,
        *,
        field: str = "file",
        media_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, chunk_size, on_progress)
        if re.search(r"[\r\n]", media_type or ""):  # it would forge a header
            raise ValueError("a media type has no line breaks")
        # requests builds the form around a word, and the file goes in place of it.
        files = {field: (self.path.name, b"FILE", media_type or self.content_type)}
        request = requests.Request("POST", UPLOAD_URL, files=files, data=metadata).prepare()
        assert isinstance(request.body, bytes)
        self.content_type = str(request.headers["Content-Type"])
        self.head, self.tail = request.body.rsplit(b"FILE", 1)

    def __len__(self) -> int:
        return len(self.head) + self.total_bytes + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        self.bytes_left = self.total_bytes  # now: an answer may come while the head goes out
        yield self.head
        yield from super().__iter__()
        yield self.tail


def stream_upload(
    path: str | Path,
    url: str = UPLOAD_URL,
    *,
    chunk_size: int = CHUNK_BYTES,
    on_progress: Progress = None,
    multipart: bool = False,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    timeout: float | tuple[float, float] = TIMEOUT_SECONDS,
) -> requests.Response:
    """Send a file in chunks, as it is or as a form; return the unread response.

    `headers` are for an API's token. After a redirect requests asks ~/.netrc, which
    may replace it; to another host it drops Authorization, but not X-Api-Key.
    A presigned address (S3) wants method="PUT", no form and no token; sign it for
    application/octet-stream, or for no type.

    Raises OSError, FileChanged, ValueError for what can't be sent, requests.HTTPError
    for an answer that is no 2xx, or came before all of the file had gone, else
    requests.RequestException (an OSError, too).
    """
    reader_class = MultipartFileReader if multipart else ProgressFileReader
    body = reader_class(path, chunk_size, on_progress)
    response = requests.request(
        method,
        url,
        data=body,
        headers={**(headers or {}), "Content-Type": body.content_type},
        auth=leave_netrc_alone,  # no login: requests lets a function change the request
        timeout=allow_for_slow_line(timeout, len(body)),
        stream=True,  # a server like httpbin echoes all that it got
    )
    check_answer(response)
    if body.bytes_left:  # urllib3 lets a server answer before it has the file
        response.close()
        taken = body.total_bytes - body.bytes_left
        text = f"answered {response.status_code} after {taken:,} of {body.total_bytes:,} bytes"
        raise requests.HTTPError(text, response=response)
    return response


def leave_netrc_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no password from ~/.netrc, which would replace our token; for `auth=`."""
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


# --- the command line ---

CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
ADVICE = {  # for the first that is found in an error's name and text
    "HTTPError 1": "a hint came before the answer; the file may have arrived",
    "HTTPError 3": "the file may have arrived; if not, check the address",
    "HTTPError 40[13]": "check the key",
    "HTTPError 413": "send a smaller file",
    "HTTPError (429|[5-9])": "try again later",
    "HTTPError 4": "check the address, and what you send",
    "HTTPError answered": "the rest was not taken",
    "CERTIFICATE_VERIFY": "can't verify the certificate - see REQUESTS_CA_BUNDLE",
    "WRONG_VERSION|record layer": "no TLS at that port - try http:// instead of https://",
    "EOF occurred": BROKEN,  # over TLS a refusal in the middle looks like this
    "ProxyError": "the proxy doesn't answer - check HTTP_PROXY and HTTPS_PROXY",
    "Max retries": CANT_CONNECT,
    "timed out": "no answer in time - the file may have arrived",
    "Connection aborted": BROKEN,
    "No connection adapters|Invalid URL|to parse|://": "that address can't be used - check it",
}


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
    import tempfile  # here, for the piece above doesn't need it

    parser = argparse.ArgumentParser(
        description="Upload a file in chunks, with progress.",
        epilog="example: streaming_upload.py video.mp4 --chunk-size 65536",
    )
    parser.add_argument("file", nargs="?", type=Path, help="default: 5 MB of random bytes")
    parser.add_argument("--chunk-size", type=int, default=CHUNK_BYTES, metavar="BYTES")
    parser.add_argument("--multipart", action="store_true", help="send it as a form")
    parser.add_argument("--url", help=f"where to (default: {UPLOAD_URL})")
    args = parser.parse_args()
    url = args.url or (os.environ.get("HTTPBIN_URL") or "https://httpbin.org") + "/post"
    try:
        with tempfile.TemporaryDirectory() as folder:  # for the sample
            path = args.file or Path(folder, "video.bin")
            if not args.file:
                path.write_bytes(os.urandom(5 * 1024 * 1024))
            response = stream_upload(
                path, url, chunk_size=args.chunk_size, multipart=args.multipart
            )
        with response:
            sent = int(response.request.headers["Content-Length"])
            print(f"sent {sent:,} bytes: {response.status_code}")
    except KeyboardInterrupt:
        sys.exit(130)
    except (FileChanged, OSError, ValueError) as error:
        sys.exit(f"error: {explain(error, args.url)}")


if __name__ == "__main__":
    main()
