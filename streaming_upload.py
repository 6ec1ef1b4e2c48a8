"""Upload a file of any size in small chunks: percent-complete, and memory that stays flat.

`files=` and `data=handle.read()` hold the whole file in memory; an open file streams, but shows
no progress; a plain generator goes out chunked, without a length, and is empty when a redirect
asks for it again. An iterable that knows its length and starts afresh has none of these faults.

Sample run::

    $ uv run tests/offline.py streaming_upload.py
     10 %
     20 %
     ...
    100 %
    sent 5,242,880 bytes in 0.03 s: 160.1 MB/s, 200
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.32.4,<3"]
# ///

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import requests

UPLOAD_URL = (os.environ.get("HTTPBIN_URL") or "https://httpbin.org").rstrip("/") + "/post"
TIMEOUT_SECONDS = (5, 30)  # connect, read
CHUNK_BYTES = 8192
SAMPLE_BYTES = 5 * 1024 * 1024

_shown = 0  # the percentage that print_progress saw last


class FileChanged(Exception):
    """The file shrank or grew while it was being sent."""


def print_progress(bytes_sent: int, total_bytes: int) -> None:
    """Print the percentage to stderr: redrawn in place on a terminal, else a line per 10 %."""
    global _shown
    percent = 100 * bytes_sent // total_bytes
    if percent == _shown:  # nearly always: asking for a terminal takes longer than all of this
        return
    on_terminal = sys.stderr.isatty()
    if on_terminal or percent // 10 != _shown // 10:
        end = "\r" if on_terminal and percent < 100 else "\n"
        with suppress(BrokenPipeError):  # urllib3 would blame the server and cut the body short
            print(f"{percent:3d} %", end=end, file=sys.stderr, flush=True)
    _shown = percent if bytes_sent < total_bytes else 0  # the next file begins anew


class ProgressFileReader:
    """A file as an iterable of chunks with a length, for `requests.post(data=...)`.

    `len()` makes requests send Content-Length (RFC 9110, 8.6). Iterating opens the file afresh,
    so that a redirect (307, 308) or a retry gets the whole of it again. `on_progress(bytes_sent,
    total_bytes)` follows each chunk. Raises FileChanged instead of sending more or fewer bytes
    than announced.
    """

    content_type = "application/octet-stream"

    def __init__(
        self,
        path: str | Path,
        chunk_size: int = CHUNK_BYTES,
        on_progress: Callable[[int, int], object] = print_progress,
    ) -> None:
        if chunk_size < 1:
            raise ValueError("chunk_size is at least 1 byte")
        self.path = Path(path)
        self.chunk_size = chunk_size
        self.on_progress = on_progress
        if self.path.exists() and not self.path.is_file():  # a pipe has no size to announce
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(path, "rb") as file:  # a file that can't be opened is told here, before HTTP
            self.total_bytes = os.fstat(file.fileno()).st_size

    def __len__(self) -> int:
        return self.total_bytes

    def __iter__(self) -> Iterator[bytes]:
        bytes_sent = 0
        with open(self.path, "rb") as file:
            while bytes_sent < self.total_bytes:
                try:
                    chunk = file.read(min(self.chunk_size, self.total_bytes - bytes_sent))
                except OSError as error:  # requests would take it for one of the network's
                    raise FileChanged(f"{self.path.name}: {error.strerror}") from error
                if not chunk:
                    raise FileChanged(f"{self.path.name} shrank while it was being sent")
                yield chunk
                bytes_sent += len(chunk)
                self.on_progress(bytes_sent, self.total_bytes)
            if file.read(1):
                raise FileChanged(f"{self.path.name} grew while it was being sent")


class MultipartFileReader(ProgressFileReader):
    """The same as multipart/form-data (RFC 7578); send it with `content_type` as the header."""

    def __init__(
        self,
        path: str | Path,
        chunk_size: int = CHUNK_BYTES,
        on_progress: Callable[[int, int], object] = print_progress,
        *,
        field: str = "file",
        media_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, chunk_size, on_progress)
        media_type = media_type or "application/octet-stream"
        if "\r" in media_type or "\n" in media_type:
            raise ValueError("a media type has no line breaks")
        name = self.path.name.encode(errors="replace").decode()  # Linux allows undecodable names
        # requests assembles the body around an empty file; ours goes in before the last boundary.
        empty = {field: (name, b"", media_type)}
        request = requests.Request("POST", "http://x", files=empty, data=metadata).prepare()
        assert isinstance(request.body, bytes)
        self.content_type = request.headers["Content-Type"]
        self.head, line_end, boundary = request.body.rpartition(b"\r\n--")
        self.tail = line_end + boundary

    def __len__(self) -> int:
        return len(self.head) + self.total_bytes + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        yield from super().__iter__()
        yield self.tail


def stream_upload(
    path: str | Path,
    url: str = UPLOAD_URL,
    *,
    chunk_size: int = CHUNK_BYTES,
    on_progress: Callable[[int, int], object] = print_progress,
    multipart: bool = False,
    timeout: tuple[float, float] = TIMEOUT_SECONDS,
) -> requests.Response:
    """POST a file in chunks, as it is or as multipart/form-data; return the unread response.

    Small chunks cost system calls: over loopback, 1 GB took 1.3 s in chunks of 8 KB and 0.4 s in
    chunks of 64 KB (tests/tools/benchmark.py). Raises OSError for an unreadable file, FileChanged,
    requests.RequestException.
    """
    reader = MultipartFileReader if multipart else ProgressFileReader
    body = reader(path, chunk_size, on_progress)
    response = requests.post(
        url,
        data=body,
        headers={"Content-Type": body.content_type},
        stream=True,  # a server like httpbin echoes all that it got
        timeout=timeout,
    )
    if response.request.method != "POST":  # 301, 302 and 303 turn it into a GET without a body
        raise requests.RequestException(f"redirected to {response.url}, the file got lost")
    response.raise_for_status()
    return response


def explain(error: OSError | ValueError) -> str:
    """Return in one line what happened and what to do."""
    if isinstance(error, requests.HTTPError):
        reason = "".join(filter(str.isprintable, error.response.reason))  # no terminal codes
        return f"{error.response.status_code} {reason} - check the address and the size"
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
        description="Upload a file in chunks, with percent-complete.",
        epilog="example: streaming_upload.py video.mp4 --chunk-size 65536 --multipart",
    )
    parser.add_argument("file", nargs="?", type=Path, help="what to send (default: 5 MB)")
    parser.add_argument(
        "--chunk-size", type=int, default=CHUNK_BYTES, metavar="BYTES", help="default: 8192"
    )
    parser.add_argument("--multipart", action="store_true", help="send it as multipart/form-data")
    parser.add_argument("--url", default=UPLOAD_URL, help="where to (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.chunk_size < 1:
        parser.error("--chunk-size is at least 1 byte")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = args.file
            if not path:
                path = Path(folder, "video.bin")
                path.write_bytes(os.urandom(SAMPLE_BYTES))
            size = path.stat().st_size
            started = time.perf_counter()
            with stream_upload(
                path, args.url, chunk_size=args.chunk_size, multipart=args.multipart
            ) as response:
                seconds = time.perf_counter() - started
            speed = f"{seconds:.2f} s: {size / 1e6 / seconds:.1f} MB/s"
            print(f"sent {size:,} bytes in {speed}, {response.status_code}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FileChanged as error:
        print(f"error: {error} - try again when nothing writes to it", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:  # requests.RequestException is an OSError
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
