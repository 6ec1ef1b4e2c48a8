"""Upload many files at once, with a few workers, and lose no failure.

`executor.map` ends with its first exception; a million files submitted at once take
memory for a million. Here each file gets one result, and few are under way.

Sample run::

    $ uv run tests/offline.py concurrent_upload.py
    OK clip.mp4: 200
    OK invoice.pdf: 200
    OK notes.txt: 200
    3 sent, 0 failed: 32,328 bytes in 0.05 s
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.33,<3"]
# ///

import argparse
import glob
import http.client
import io
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import requests
import urllib3

UPLOAD_URL = "https://httpbin.org/post"
MAX_BYTES = 50 * 1024 * 1024
TIMEOUT_SECONDS = (10, 30)  # to connect to each IP address, send each block; for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # that the system may still hold when we have sent all
SPREAD_SECONDS = (2, 4, 8, 16, 16, 16, 16, 16, 16)  # at most, at random, on top of each pause
MAX_PAUSE_SECONDS = 120  # where the server asks for more, we give up
_local = threading.local()  # each thread keeps its own Session


class UploadResult(NamedTuple):
    """What became of one file; `status` is None where there was no answer."""

    path: Path
    ok: bool
    status: int | None
    error: str | None
    bytes: int
    seconds: float

    def __str__(self) -> str:
        if self.ok:
            return f"OK {self.path.name}: {self.status}"
        return f"FAIL {self.path.name}: {self.error}"


def upload_files(
    paths: Iterable[str | Path],
    url: str = UPLOAD_URL,
    *,
    max_workers: int = 3,
    headers: Mapping[str, str] | None = None,
    executor: Executor | None = None,
) -> Iterator[UploadResult]:
    """Yield one result for each of `paths`, as they complete.

    At most `max_workers` paths are taken ahead of the results: they may be endless.
    After Ctrl-C while it waits, or when `paths` raises, nothing new starts; what is
    under way is still yielded, then comes that exception.

    `executor` is any other, as Dask's `Client.get_executor(pure=False)`; it stays open,
    and after Ctrl-C goes on with what it was given. A worker that dies costs one file; a
    ProcessPoolExecutor ends the batch then.
    """
    in_flight: dict[Future[UploadResult], Path] = {}
    stopped = threading.Event()
    with ThreadPoolExecutor(max_workers) as pool:
        submit = (executor or pool).submit
        sleep = time.sleep if executor else stopped.wait  # an Event can't be pickled
        try:
            for path in paths:
                future = submit(upload_single_file, path, url, headers=headers, sleep=sleep)
                in_flight[future] = Path(path)
                if len(in_flight) == max_workers:
                    yield take_result(in_flight)
            while in_flight:
                yield take_result(in_flight)
        except BaseException as error:  # Ctrl-C, one of `paths`, the caller's break
            stopped.set()  # no pause ends in another try
            is_closed = isinstance(error, GeneratorExit)  # after break nobody takes results
            while in_flight and not is_closed:
                with suppress(KeyboardInterrupt):  # pressed again
                    yield take_result(in_flight)
            raise


def take_result(in_flight: dict[Future[UploadResult], Path]) -> UploadResult:
    """Wait for the first upload that completes, and return its result."""
    future = next(as_completed(in_flight))
    path = in_flight.pop(future)
    error = "cancelled" if future.cancelled() else future.exception()
    if error:  # the worker died, which costs one file and not the batch
        return UploadResult(path, False, None, f"the worker died: {error!r}", 0, 0.0)
    return future.result()


def upload_single_file(
    path: str | Path,
    url: str = UPLOAD_URL,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float | tuple[float, float] = TIMEOUT_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
) -> UploadResult:
    """Upload one file; a fault of the file or the network becomes the result's error.

    Over MAX_BYTES it is refused. When the server says «not now», `sleep` waits, and
    we try again unless it returns True.

    `headers` are for an API's token. After a redirect requests asks ~/.netrc, which
    may replace it; to another host it drops Authorization, but not X-Api-Key.
    """
    path = Path(path)
    size, status, error = 0, None, None
    started = time.monotonic()
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:  # files= holds it in memory, for each worker
            raise ValueError(f"over {MAX_BYTES:,} bytes - use streaming_upload.py")
        size = len(data)
        response = post_patiently(
            url,
            sleep,
            files={"file": (path.name, data, "application/octet-stream")},
            headers={**(headers or {}), **NO_CONTENT_TYPE},
            auth=send_in_blocks,  # no login: requests lets a function change the request
            timeout=allow_for_slow_line(timeout, size),
            stream=True,  # hold no answer in memory
        )
        status = response.status_code
        check_answer(response)
        for _ in response.iter_content(64 * 1024):
            pass  # read to its end, its connection serves the next file
    except (OSError, ValueError) as failure:  # requests.RequestException is an OSError
        error = explain(failure, size)
    return UploadResult(path, error is None, status, error, size, time.monotonic() - started)


def post_patiently(url: str, sleep: Callable[[float], object], **request: Any) -> requests.Response:
    """POST; when the server says «not now», wait as it asks and a bit, and repeat.

    429 (RFC 6585, 4) and 503 (RFC 9110, 15.6.4) mean that it took nothing; after a
    timeout nobody knows. The bit is random: else all that wait come back together.

    Servers close a connection that was kept, perhaps when our request has just set out:
    then it goes out once more, as with curl, on a new one. Where a server died over a
    file that it had taken, a repeat may store that twice.
    """
    spreads = list(SPREAD_SECONDS)
    while True:
        kept = getattr(_local, "session", None)
        _local.session = None  # put back where the answer is good
        session = kept or requests.Session()
        try:
            response = session.post(url, **request)
        except requests.ConnectionError as error:
            if not kept or "timed out" in str(error):  # then who knows what arrived
                raise
            continue
        is_closed = response.headers.get("Connection", "").lower() == "close"
        if 200 <= response.status_code < 300 and not is_closed:
            session.cookies.clear()  # the next token may be another's
            _local.session = session
        if response.status_code not in (429, 503) or not spreads:
            return response
        asked: float = 1
        with suppress(ValueError, urllib3.exceptions.InvalidHeader):
            asked = urllib3.Retry().get_retry_after(response.raw) or 1  # a date, too
        pause = asked + random.uniform(0, spreads.pop(0))  # noqa: S311
        if asked > MAX_PAUSE_SECONDS or sleep(pause):  # stopped meanwhile
            return response


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


def explain(error: OSError | ValueError, size: int) -> str:
    """Return why a file was not uploaded, without the address and its password."""
    text = getattr(error, "strerror", None) or str(error)
    named = f"{type(error).__name__} {text}"
    advice = next((ADVICE[sign] for sign in ADVICE if re.search(sign, named)), text)
    if isinstance(error, requests.HTTPError):  # its text is ours
        return f"{text} - {advice}"
    return BROKEN_SMALL if advice == BROKEN and size <= SMALL_BYTES else advice


def find_files(names: list[str]) -> Iterator[str]:
    """Yield what names, folders and patterns stand for (Windows expands no *)."""
    for name in names:
        pattern = glob.escape(name) if os.path.lexists(name) else name  # photo[1].jpg
        if Path(name).is_dir():
            pattern += "/*"
        found = glob.glob(pattern, recursive=True)
        yield from sorted(path for path in found if not Path(path).is_dir()) or [name]


NO_CONTENT_TYPE: dict[str, Any] = {"Content-Type": None}  # of a caller: requests sets its own
CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
BROKEN_SMALL = "the connection broke - the file may have arrived"
SMALL_BYTES = 64 * 1024  # no server calls that too large
ADVICE = {  # for the first that is found in an error's name and text
    "HTTPError 1": "a hint came before the answer; the file may have arrived",
    "HTTPError 3": "the file may have arrived; if not, check the address",
    "HTTPError 40[13]": "check the key",
    "HTTPError 413": "send a smaller file",
    "HTTPError (429|[5-9])": "try again later",
    "HTTPError 4": "check the address, and what you send",
    "header value": "a header can't be sent - look for a line break in the token",
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

# --- the command line ---

SAMPLES = Path(__file__).resolve().parent / "samples" / "documents"


def upload_and_report(names: list[str], url: str, max_workers: int) -> int:
    """Upload what was named, print what came of it; return the exit code."""
    files: list[str] = []
    results: list[UploadResult] = []
    code = 130  # of Ctrl-C
    started = time.monotonic()
    with suppress(KeyboardInterrupt):
        files += find_files(names)
        for result in upload_files(files, url, max_workers=max_workers):
            results.append(result)
            print(result)
            if sys.stderr and sys.stderr.isatty():
                print(f"{len(results)} of {len(files)}", end="\r", file=sys.stderr)
        code = 0 if all(result.ok for result in results) else 1
    sent = [result.bytes for result in results if result.ok]
    counts = f"{len(sent)} sent, {len(results) - len(sent)} failed"
    left = f", {len(files) - len(results)} without a result" if code == 130 else ""
    print(f"{counts}{left}: {sum(sent):,} bytes in {time.monotonic() - started:.2f} s")
    launcher = Path(__file__).parent / "tests" / "offline.py"
    if launcher.exists() and any(result.error == CANT_CONNECT for result in results):
        python = "uv run" if "UV" in os.environ else "python"
        words = [str(launcher), Path(__file__).name, *names, f"--workers={max_workers}"]
        command = " ".join(f'"{word}"' if " " in word else word for word in words)
        print(f"error: {CANT_CONNECT} - try: {python} {command}", file=sys.stderr)
    return code


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Upload many files at once. Ctrl-C waits for what is under way.",
        epilog="example: concurrent_upload.py invoices/ 'photos/*.jpg' --workers 5",
    )
    parser.add_argument("names", nargs="*", metavar="FILE|FOLDER|GLOB", help="default: samples")
    parser.add_argument("--workers", type=int, default=3, help="default: 3")
    parser.add_argument("--url", help=f"where to (default: {UPLOAD_URL})")
    args = parser.parse_args()
    if args.workers < 1:
        parser.error("--workers is at least 1")
    url = args.url or (os.environ.get("HTTPBIN_URL") or "https://httpbin.org") + "/post"
    if isinstance(sys.stdout, io.TextIOWrapper):  # else a letter may end the batch
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    with suppress(BrokenPipeError):  # our reader has seen enough, as `head -1` has
        sys.exit(upload_and_report(args.names or [str(SAMPLES)], url, args.workers))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


if __name__ == "__main__":
    main()
