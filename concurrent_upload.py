"""Upload many files at once: bounded workers, results as they come, no failure lost.

`executor.map` ends the batch with the first exception; submitting everything first needs memory
for a million files. Here each file gets one result, good or bad, and only a few are in flight.

Sample run::

    $ uv run tests/offline.py concurrent_upload.py
    OK clip.mp4: 200
    OK invoice.pdf: 200
    OK notes.txt: 200
    3 sent, 0 failed: 32,328 bytes in 0.05 s
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.32.4,<3"]
# ///

from __future__ import annotations

import argparse
import glob
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import requests

UPLOAD_URL = (os.environ.get("HTTPBIN_URL") or "https://httpbin.org").rstrip("/") + "/post"
TIMEOUT_SECONDS = (5, 30)  # connect, read
MAX_BYTES = 50 * 1024 * 1024
MAX_ATTEMPTS = 4
MAX_PAUSE_SECONDS = 30  # that we wait, however long Retry-After asks for
CANT_CONNECT = "can't connect"
SAMPLES = Path(__file__).resolve().parent / "samples" / "documents"

_thread = threading.local()  # a Session is not made to be shared between threads
_stopping = threading.Event()  # Ctrl-C was pressed: who waits for a next try gives up
_resume_at = 0.0  # on time.monotonic(): the server asked all of us to wait until then


class UploadResult(NamedTuple):
    """What became of one file. `status` is the HTTP status where there was an answer."""

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


def read_retry_after(response: requests.Response) -> float:
    """Return the seconds that Retry-After asks for, as a number or a date (RFC 9110, 10.2.3).

    At most MAX_PAUSE_SECONDS; 1 where the header is absent or garbage; negative for the past.
    """
    header = response.headers.get("Retry-After", "").strip()
    try:
        if header.isdecimal():
            seconds = float(header)
        else:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        seconds = 1
    return min(seconds, MAX_PAUSE_SECONDS)


def read_file(path: Path) -> bytes:
    """Return a file's bytes; raises ValueError for what `files=` should not be given."""
    if not path.is_file():  # asked before opening: a FIFO would wait for ever
        raise ValueError("not a file" if path.exists() else "no such file")
    if path.stat().st_size > MAX_BYTES:  # files= holds it in memory, once for each worker
        raise ValueError(f"over {MAX_BYTES:,} bytes, use streaming_upload.py")
    with open(path, "rb") as file:
        return file.read()


def post_bytes(name: str, data: bytes, url: str, timeout: tuple[float, float]) -> requests.Response:
    """POST one file part; when the server says «not now», wait as it asks and try again.

    Repeating this POST is safe: 429 (RFC 6585, 4) and 503 (RFC 9110, 15.6.4) say that the
    request was refused, not carried out, and the body is bytes, whole each time. After a
    timeout nobody knows whether the file was stored, so that is not repeated.
    """
    global _resume_at
    if not hasattr(_thread, "session"):
        _thread.session = requests.Session()
    for _ in range(MAX_ATTEMPTS):
        while (pause := _resume_at - time.monotonic()) > 0:
            time.sleep(pause)
            if _stopping.is_set():
                raise requests.RequestException("stopped before its next try")
        response: requests.Response = _thread.session.post(
            url, files={"file": (name, data, "application/octet-stream")}, timeout=timeout
        )
        if response.status_code not in (429, 503):
            break
        _resume_at = max(_resume_at, time.monotonic() + read_retry_after(response))
    if response.request.method != "POST":  # 301, 302 and 303 turn it into a GET without a body
        raise requests.RequestException(f"redirected to {response.url}, the file got lost")
    response.raise_for_status()
    return response


def explain(error: OSError | ValueError) -> str:
    """Return in a few words why a file was not uploaded."""
    if isinstance(error, requests.HTTPError):
        reason = "".join(filter(str.isprintable, error.response.reason))  # no terminal codes
        return f"{error.response.status_code} {reason}"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError) and "aborted" in str(error):
        return "the server hung up; the file may be larger than it takes"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection"
    if isinstance(error, requests.ConnectionError):
        return CANT_CONNECT
    return getattr(error, "strerror", None) or str(error)


def upload_single_file(
    path: str | Path, url: str = UPLOAD_URL, *, timeout: tuple[float, float] = TIMEOUT_SECONDS
) -> UploadResult:
    """Upload one file; whatever its or the network's fault, it comes back as a result."""
    path = Path(path)
    data, status, error = b"", None, None
    started = time.monotonic()
    try:
        data = read_file(path)
        name = path.name.encode(errors="replace").decode()  # Linux allows undecodable names
        status = post_bytes(name, data, url, timeout).status_code
    except (OSError, ValueError) as failure:  # requests.RequestException is an OSError
        error = explain(failure)
        if isinstance(failure, requests.HTTPError):
            status = failure.response.status_code
    return UploadResult(path, error is None, status, error, len(data), time.monotonic() - started)


def submit(pool: Executor, path: str | Path, url: str) -> Future[UploadResult]:
    """Hand a file to a worker; a pool that takes no more is that file's result."""
    try:
        return pool.submit(upload_single_file, path, url)
    except RuntimeError as error:  # BrokenExecutor, or shut down
        refused: Future[UploadResult] = Future()
        refused.set_exception(error)
        return refused


def take_result(future: Future[UploadResult], path: Path) -> UploadResult:
    """Return what a worker found, or, when the worker itself died, that."""
    try:
        return future.result()
    except BaseException as error:  # a worker's own, Ctrl-C too: it costs one file, not the batch
        return UploadResult(path, False, None, f"{type(error).__name__}: {error}", 0, 0.0)


def upload_files(
    paths: Iterable[str | Path],
    url: str = UPLOAD_URL,
    *,
    max_workers: int = 3,
    executor: Executor | None = None,
) -> Iterator[UploadResult]:
    """Yield one result for each of `paths`, as they complete.

    At most `4 * max_workers` paths are taken and not yet returned, so `paths` may be an endless
    generator; what it raises comes after the results of what it gave. `executor` is any other
    concurrent.futures.Executor to run the uploads, as Dask's Client.get_executor(pure=False); it
    is not shut down. After Ctrl-C nothing new starts (in other processes, what is paused by a 429
    or 503 goes on); what is under way is still yielded, then comes KeyboardInterrupt.
    """
    if max_workers < 1:
        raise ValueError("max_workers is at least 1")
    pool = executor or ThreadPoolExecutor(max_workers)
    to_do = iter(paths)
    in_flight: dict[Future[UploadResult], Path] = {}
    failure: BaseException | None = None
    try:
        while True:
            done: set[Future[UploadResult]] = set()
            try:
                for path in islice(to_do, 4 * max_workers - len(in_flight)):
                    in_flight[submit(pool, path, url)] = Path(path)
                    if any(future.done() for future in in_flight):
                        break  # first return that: the next path may be long in coming
                done = wait(in_flight, return_when=FIRST_COMPLETED).done
            except KeyboardInterrupt as error:
                failure, to_do = error, iter(())
                _stopping.set()
                for future in [*in_flight]:
                    if future.cancel():  # it was still waiting for a worker
                        del in_flight[future]
            except Exception as error:  # of `paths`, raised below
                failure, to_do = error, iter(())
            if not done and not in_flight:
                break
            for future in done:
                yield take_result(future, in_flight.pop(future))
        if failure:
            raise failure
    finally:
        for future in in_flight:
            future.cancel()
        if executor is None:
            pool.shutdown()
        _stopping.clear()


def find_files(names: Iterable[str]) -> list[Path]:
    """Return the files that names, folders and patterns stand for (Windows expands no *)."""
    files: list[Path] = []
    for name in names:
        # What exists is no pattern, even when it is called photo[1].jpg.
        pattern = f"{glob.escape(name)}/*" if os.path.lexists(name) else name
        found = sorted(glob.glob(pattern, recursive=True))
        found = [path for path in found if not os.path.isdir(path)]  # noqa: PTH112 - never raises
        files += map(Path, found or [name])
    return files


def upload_and_report(names: list[str], url: str, max_workers: int) -> int:
    """Upload what the command line names, print each result and a summary; return the exit code."""
    paths: list[Path] = []
    results: list[UploadResult] = []
    exit_code = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if not names and not SAMPLES.exists():  # this script was copied away from them
            for number in (1, 2, 3):
                Path(folder, f"doc{number}.txt").write_text(f"document {number}\n")
            names = [folder]
        try:
            paths = find_files(names or [str(SAMPLES)])
            for result in upload_files(paths, url, max_workers=max_workers):
                results.append(result)
                print(result)
        except KeyboardInterrupt:
            exit_code = 130
    failed = sum(not result.ok for result in results)
    size = sum(result.bytes for result in results if result.ok)
    seconds = time.monotonic() - started
    left = f", {len(paths) - len(results)} not sent" if exit_code else ""
    print(f"{len(results) - failed} sent, {failed} failed{left}: {size:,} bytes in {seconds:.2f} s")
    if any(result.error == CANT_CONNECT for result in results):
        offline = f"uv run tests/offline.py {Path(__file__).name}"
        print(f"error: {CANT_CONNECT} - try: {offline}", file=sys.stderr)
    return exit_code or int(failed > 0)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Upload many files at once; pause where the server asks for it "
        f"(429, 503; {MAX_PAUSE_SECONDS} s at most). Ctrl-C waits for what is under way.",
        epilog="example: concurrent_upload.py invoices/ 'photos/*.jpg' --workers 5",
    )
    parser.add_argument("files", nargs="*", metavar="FILE | FOLDER | GLOB", help="default: samples")
    parser.add_argument("--workers", type=int, default=3, metavar="N", help="at once (default: 3)")
    parser.add_argument("--url", default=UPLOAD_URL, help="where to (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error("--workers is at least 1")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        return upload_and_report(args.files, args.url, args.workers)
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
