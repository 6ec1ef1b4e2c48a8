"""concurrent_upload.py: a few at a time, each file's fate told once, whatever happens to others."""

from __future__ import annotations

import gzip
import itertools
import multiprocessing
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from conftest import NOWHERE, ROOT, SAMPLES, STOPPABLE_PYTHON, RunScript
from conftest import run_main as run_main_of
from offline import PracticeServer
from practice import faults
from wire import (
    NETRC_PASSWORD,
    OK,
    Connection,
    Request,
    canned,
    put_netrc,
    refuses_midway,
    serve,
    trust,
)

import concurrent_upload
from concurrent_upload import UploadResult, upload_files, upload_single_file

run_main = partial(run_main_of, concurrent_upload.main)

Reply = tuple[int, dict[str, str]]
UploadFiles = Callable[..., Iterable[UploadResult]]
WAIT_SECONDS = 30  # for what must come; nothing waits as long when all is well
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, pipes or names")


class Uploads(socketserver.ThreadingTCPServer):
    """A server on loopback that notes uploads and keeps them waiting where a test says so."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Upload)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/post"
        self.replies: Iterator[Reply] = itertools.repeat((200, {}))
        self.lock = threading.Lock()
        self.bodies: list[bytes] = []
        self.clients: set[Any] = set()  # their connections
        self.under_way = self.most_under_way = 0
        self.arrived = threading.Semaphore(0)  # once for each upload
        self.gates: dict[bytes, threading.Event] = {}

    def __enter__(self) -> Uploads:
        threading.Thread(target=self.serve_forever, args=(0.001,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self.gates.values():
            gate.set()
        self.shutdown()
        self.server_close()

    def hold(self, words: bytes) -> threading.Event:
        """Return an event before which no upload that contains these words is answered."""
        self.gates[words] = threading.Event()
        return self.gates[words]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave."""


class Upload(BaseHTTPRequestHandler):
    server: Uploads
    protocol_version = "HTTP/1.1"  # keeps connections alive
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.bodies.append(body)
            server.clients.add(self.client_address)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
            status, headers = next(server.replies)
        server.arrived.release()
        for words, gate in server.gates.items():
            if words in body:
                gate.wait(WAIT_SECONDS)
        with server.lock:
            server.under_way -= 1
        if not status:  # hang up without a word
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def uploads() -> Iterator[Uploads]:
    with Uploads() as server:
        yield server


def write_files(folder: Path, count: int) -> list[Path]:
    """Write `count` small files: doc0.txt holds «document 0.», and so on."""
    paths = [folder / f"doc{number}.txt" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"document %d." % number)
    return paths


def take(semaphore: threading.Semaphore, count: int) -> None:
    for number in range(count):
        assert semaphore.acquire(timeout=WAIT_SECONDS), f"only {number} of {count} uploads came"


def collect(batch: Iterable[UploadResult], results: list[UploadResult]) -> None:
    """Append what a batch returns, so that it stays when the batch raises."""
    for result in batch:
        results.append(result)


class InlineExecutor(Executor):
    """Runs each upload at once, where it is submitted; breaks after `lasts` of them."""

    def __init__(self, lasts: int = 1_000_000, error: BaseException | None = None) -> None:
        self.lasts = lasts
        self.error = error

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.lasts -= 1
        future: Future[Any] = Future()
        if self.lasts >= 0:
            future.set_result(fn(*args, **kwargs))
        elif isinstance(self.error, CancelledError):  # as Dask does when its workers are gone
            future.cancel()
            future.set_running_or_notify_cancel()
        elif self.error:
            future.set_exception(self.error)
        else:
            raise BrokenProcessPool("a child process terminated abruptly")
        return future


# --- one file ----------------------------------------------------------------------------------


def test_uploads_a_file_as_one_part_with_its_name(uploads: Uploads, tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    (tmp_path / "clip.mp4").write_bytes(data)
    result = upload_single_file(str(tmp_path / "clip.mp4"), uploads.url)
    assert result[:5] == (tmp_path / "clip.mp4", True, 200, None, len(data))
    assert result.seconds > 0
    assert str(result) == "OK clip.mp4: 200"
    (body,) = uploads.bodies
    assert b'name="file"; filename="clip.mp4"\r\n' in body
    assert b"\r\nContent-Type: application/octet-stream\r\n" in body
    assert b"\r\n\r\n" + data + b"\r\n--" in body, "the bytes changed on the way"


def test_sends_an_empty_file(uploads: Uploads, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    result = upload_single_file(tmp_path / "empty.txt", uploads.url)
    assert (result.ok, result.bytes) == (True, 0)
    assert b'filename="empty.txt"' in uploads.bodies[0]


def make_missing(folder: Path) -> Path:
    return folder / "missing.txt"


def make_folder(folder: Path) -> Path:
    return folder


def make_huge(folder: Path) -> Path:
    with open(folder / "huge.bin", "wb") as file:
        file.truncate(50 * 1024 * 1024 + 1)  # sparse: no bytes on disk
    return folder / "huge.bin"


def make_long_name(folder: Path) -> Path:
    return folder / ("x" * 300)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_missing, "No such file"),
        (make_folder, ""),  # in the words of the system
        (make_huge, "over 52,428,800 bytes - use streaming_upload.py"),
        (make_long_name, ""),
    ],
)
def test_a_bad_file_is_a_result_and_nothing_is_sent(
    make: Callable[[Path], Path], words: str, uploads: Uploads, tmp_path: Path
) -> None:
    path = make(tmp_path)
    result = upload_single_file(path, uploads.url)
    assert (result.path, result.ok, result.status) == (path, False, None)
    assert words in (result.error or "")
    assert str(result) == f"FAIL {path.name}: {result.error}"
    assert not uploads.bodies


def test_takes_exactly_the_largest_size(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_upload, "MAX_BYTES", 1000)
    (tmp_path / "file.bin").write_bytes(bytes(1000))
    assert upload_single_file(tmp_path / "file.bin", uploads.url).ok
    (tmp_path / "file.bin").write_bytes(bytes(1001))
    assert not upload_single_file(tmp_path / "file.bin", uploads.url).ok


@pytest.mark.parametrize("status", [400, 413, 500, 502])
def test_an_error_status_is_a_result_and_not_repeated(
    status: int, uploads: Uploads, tmp_path: Path
) -> None:
    (path,) = write_files(tmp_path, 1)
    uploads.replies = itertools.repeat((status, {"Retry-After": "0"}))
    result = upload_single_file(path, uploads.url)
    assert (result.ok, result.status) == (False, status)
    assert str(result).startswith(f"FAIL doc0.txt: {status} ")
    assert len(uploads.bodies) == 1, "Hint: the server may have stored it"


@pytest.mark.slow
def test_a_server_that_never_answers_is_a_result_and_not_asked_again(
    uploads: Uploads, tmp_path: Path
) -> None:
    (path,) = write_files(tmp_path, 1)
    uploads.hold(b"document")
    result = upload_single_file(path, uploads.url, timeout=(5, 0.1))
    assert (result.ok, result.status) == (False, None)
    assert "no answer in time" in str(result)
    take(uploads.arrived, 1)
    assert len(uploads.bodies) == 1, "Hint: nobody knows whether the file was stored"


def test_a_server_that_is_down_is_a_result(tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    assert str(upload_single_file(path, NOWHERE)) == "FAIL doc0.txt: can't connect"


@pytest.mark.parametrize("url", ["nowhere", "http://[", "ftp://127.0.0.1/", "http://"])
def test_an_address_that_is_none_is_a_result(url: str, tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    result = upload_single_file(path, url)
    assert not result.ok
    assert result.error
    assert "\n" not in result.error


# --- real lines, real servers ------------------------------------------------------------------


def upload(path: Path, url: str, **options: Any) -> UploadResult:
    """Upload in a thread of its own, which has kept no connection."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(upload_single_file, path, url, **options).result()


def upload_bytes(folder: Path, size: int, url: str, **options: Any) -> UploadResult:
    """Upload a file of this size."""
    path = folder / "file.bin"
    path.write_bytes(bytes(size))
    return upload(path, url, **options)


@pytest.mark.parametrize("tls", [False, True])
def test_a_refusal_in_the_middle_of_the_body_names_the_size(
    tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, tmp_path)
    with refuses_midway(answer=b"", tls=tls) as wire:
        result = upload_bytes(tmp_path, 20_000_000, wire.url)
    assert "the file may be larger than the server takes" in str(result)


def test_only_a_certificate_that_nobody_vouches_for_is_about_trust(
    uploads: Uploads, tmp_path: Path
) -> None:
    with canned(OK, tls=True) as wire:
        result = upload_bytes(tmp_path, 10, wire.url)
    assert "REQUESTS_CA_BUNDLE" in str(result)
    result = upload_bytes(tmp_path, 10, uploads.url.replace("http:", "https:"))
    assert "http://" in str(result), "that port speaks no TLS"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK, 103),
    ],
)
def test_an_answer_that_is_no_success_is_none(answer: bytes, status: int, tmp_path: Path) -> None:
    with canned(answer) as wire:
        result = upload_bytes(tmp_path, 10, wire.url)
    assert (result.ok, result.status) == (False, status)
    assert str(result).startswith(f"FAIL file.bin: {status} ")


def test_what_comes_late_is_not_taken_for_the_next_files_answer(tmp_path: Path) -> None:
    """After a hint (103) the answer to the first file is still on its way."""

    def play(connection: Connection) -> None:
        request = connection.read_head()
        assert request
        connection.read_body(request)
        connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        if connection.read_head():  # of the second file
            connection.send(OK)

    with serve(play) as wire, ThreadPoolExecutor(1) as pool:
        paths = write_files(tmp_path, 2)
        results = list(pool.map(partial(upload_single_file, url=wire.url), paths))
    assert [(result.ok, result.status) for result in results] == [(False, 103)] * 2


def test_cookies_go_no_further_than_their_answer(tmp_path: Path) -> None:
    """The next file may be another user's: a kept connection is no login."""
    cookie = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: user=ada\r\n\r\n")
    cookie = cookie.replace(b"Connection: close\r\n", b"")

    def play(connection: Connection) -> None:
        while request := connection.read_head():
            connection.read_body(request)
            connection.send(cookie)

    with serve(play) as wire, ThreadPoolExecutor(1) as pool:
        results = list(
            pool.map(partial(upload_single_file, url=wire.url), write_files(tmp_path, 2))
        )
    assert all(result.ok for result in results)
    assert [request.header("Cookie") for request in wire.requests] == [None, None]


def test_a_bad_status_comes_with_the_servers_words(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 413 \r\nContent-Type: text/plain\r\n\r\nat most 1 MB\n"
    with canned(answer) as wire:
        result = upload_bytes(tmp_path, 10, wire.url)
    assert "413 " + HTTPStatus(413).phrase in str(result)
    assert "at most 1 MB" in str(result)


@responses.activate
def test_a_mocked_status_without_a_reason_is_a_result(tmp_path: Path) -> None:
    responses.post("http://upload.example/post", status=520)
    (path,) = write_files(tmp_path, 1)
    result = upload_single_file(path, "http://upload.example/post")
    assert str(result).startswith("FAIL doc0.txt: 520")


def test_a_token_goes_out_and_no_password_from_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_netrc(monkeypatch, tmp_path)
    path = tmp_path / "netrc"
    token = {"Authorization": "Bearer my-token", "content-type": "text/plain"}
    with canned(OK) as wire:
        assert all(result.ok for result in upload_files([path], wire.url))
        assert all(result.ok for result in upload_files([path], wire.url, headers=token))
    without, with_token = wire.requests
    assert without.header("Authorization") is None, f"{NETRC_PASSWORD} went out"
    assert with_token.header("Authorization") == "Bearer my-token"
    assert (with_token.header("Content-Type") or "").startswith("multipart/form-data; boundary=")


def test_a_token_with_a_line_break_is_not_printed(uploads: Uploads, tmp_path: Path) -> None:
    for token in ("Bearer my-token\n", "Bearer my-\ntoken"):
        (result,) = upload_files(
            write_files(tmp_path, 1), uploads.url, headers={"Authorization": token}
        )
        assert not result.ok
        assert "my-" not in str(result)
        assert "header" in str(result)


def test_a_bundle_of_certificates_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_files(tmp_path, 1)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    assert "/nowhere/bundle.pem" in str(upload(path, "https://127.0.0.1/post"))


# --- kept connections --------------------------------------------------------------------------


def serve_once(connection: Connection, read: bool) -> None:
    """Answer the first request, keep the connection, and close it when the second one comes."""
    request = connection.read_head()
    if request:
        connection.read_body(request)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    request = connection.read_head()
    if request and read:
        connection.read_body(request)


@pytest.mark.parametrize("read", [True, False])
def test_a_kept_connection_that_the_server_closes_costs_no_file(read: bool, tmp_path: Path) -> None:
    with serve(partial(serve_once, read=read)) as wire:
        results = list(upload_files(write_files(tmp_path, 4), wire.url, max_workers=1))
    assert [str(result) for result in results] == [f"OK doc{n}.txt: 200" for n in range(4)]
    assert len(wire.requests) == 7, "once more each, and only on a kept connection"


@pytest.mark.parametrize(
    ("size", "words"),
    [(3000, "may have arrived"), (200_000, "may be larger than the server takes")],
)
def test_a_new_connection_that_dies_is_not_tried_again_and_size_is_named_where_it_may_be(
    size: int, words: str, tmp_path: Path
) -> None:
    with canned(b"") as wire:
        result = upload_bytes(tmp_path, size, wire.url)
    assert (result.ok, result.status) == (False, None)
    assert words in str(result)
    assert len(wire.requests) == 1, "Hint: nobody knows whether the file was stored"


def test_only_a_connection_that_has_served_is_given_a_second_chance(tmp_path: Path) -> None:
    kept = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    refused = b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n"
    connections = iter([[kept, b""], [refused], [b""], [b""]])

    def play(connection: Connection) -> None:
        for answer in next(connections):
            if request := connection.read_head():
                connection.read_body(request)
                connection.send(answer)

    with serve(play) as wire:
        results = list(upload_files(write_files(tmp_path, 4), wire.url, max_workers=1))
    assert [result.status for result in results] == [200, 500, None, None]
    assert len(wire.requests) == 5, "once more for the second file alone"


def test_a_connection_that_was_not_kept_gets_no_second_chance(tmp_path: Path) -> None:
    with canned(OK, b"") as wire:  # Connection: close
        first, second = upload_files(write_files(tmp_path, 2), wire.url, max_workers=1)
    assert (first.ok, second.ok) == (True, False)
    assert len(wire.requests) == 2, "the second file may be stored twice"


@pytest.mark.slow
def test_a_kept_connection_that_stalls_gets_no_second_chance(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        if request := connection.read_head():
            connection.read_body(request)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        if connection.read_head():
            time.sleep(0.6)  # and read nothing more

    (tmp_path / "large.bin").write_bytes(bytes(20_000_000))
    (path,) = write_files(tmp_path, 1)
    with serve(play) as wire, ThreadPoolExecutor(1) as pool:
        assert pool.submit(upload_single_file, path, wire.url).result().ok
        late = pool.submit(upload_single_file, tmp_path / "large.bin", wire.url, timeout=0.3)
        assert "no answer in time" in str(late.result())
    assert len(wire.requests) == 2


def test_the_try_after_a_pause_opens_a_connection(uploads: Uploads, tmp_path: Path) -> None:
    """Servers close a kept connection after some time, often as long as Retry-After."""
    (path,) = write_files(tmp_path, 1)
    uploads.replies = iter([(429, {"Retry-After": "5"}), (200, {})])
    assert upload(path, uploads.url, sleep=lambda _: None).ok
    assert len(uploads.clients) == 2


# --- 429 and 503 -------------------------------------------------------------------------------


def in_seconds(seconds: float) -> str:
    """Return a date so far from now, as Retry-After may have it."""
    return formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "least"),
    [
        ("7", 7),
        ("0", 1),
        (in_seconds(-20), 1),
        ("-5", 1),
        ("1.5", 1),
        ("Thu, 99 Foo 2030 25:61:61 GMT", 1),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 1),
        ("", 1),
    ],
)
def test_waits_as_retry_after_asks_and_sends_all_of_it_again(
    retry_after: str, least: float, status: int, uploads: Uploads, tmp_path: Path
) -> None:
    data = os.urandom(100_000)
    (tmp_path / "file.bin").write_bytes(data)
    uploads.replies = iter([(status, {"Retry-After": retry_after}), (200, {})])
    pauses: list[float] = []
    result = upload_single_file(tmp_path / "file.bin", uploads.url, sleep=pauses.append)
    assert (result.ok, result.status, result.bytes) == (True, 200, len(data))
    (pause,) = pauses
    assert least <= pause <= least + 2, f"Retry-After: {retry_after}"
    assert [body.count(data) for body in uploads.bodies] == [1, 1], "Hint: build the body anew"


def test_retry_after_may_be_a_date(uploads: Uploads, tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    uploads.replies = iter([(503, {"Retry-After": in_seconds(60)}), (200, {})])
    pauses: list[float] = []
    assert upload_single_file(path, uploads.url, sleep=pauses.append).ok
    assert pauses[0] > 30


def test_a_refusal_without_an_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    was_read = []

    def play(connection: Connection) -> None:
        connection.read_body(connection.read_head() or Request(b""))
        connection.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\n")
        for _ in range(1000):
            connection.send(b"no " * 30_000)  # until the client has left
        was_read.append(True)

    (path,) = write_files(tmp_path, 1)
    with serve(play) as wire:
        assert "413 Too Large no no" in str(upload_single_file(path, wire.url))
    assert not was_read


def test_pauses_grow_and_differ_and_there_is_an_end(uploads: Uploads, tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    uploads.replies = itertools.repeat((429, {"Retry-After": "1"}))
    pauses: list[float] = []
    result = upload_single_file(path, uploads.url, sleep=pauses.append)
    assert (result.ok, result.status) == (False, 429)
    assert str(result).startswith("FAIL doc0.txt: 429 Too Many Requests")
    assert len(uploads.bodies) == len(pauses) + 1 == 10
    assert len({*pauses}) == 9, "who waits just as long as all others comes with all others"
    assert max(pauses) > 3 > pauses[0], f"they don't grow: {pauses}"


def test_nobody_waits_for_hours(uploads: Uploads, tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    uploads.replies = itertools.repeat((429, {"Retry-After": "3600"}))
    pauses: list[float] = []
    assert upload_single_file(path, uploads.url, sleep=pauses.append).status == 429
    assert not pauses


@pytest.mark.slow
def test_all_arrive_where_the_server_takes_two_a_second(
    server: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hurry: a second is over after a tenth, for the server and for who waits."""
    monkeypatch.setattr(faults, "clock", lambda: 10 * time.monotonic())
    url = f"{server.url}/faults/rate-limit?per_second=2&token={time.monotonic_ns()}"
    with ThreadPoolExecutor(10) as pool:
        send = partial(upload_single_file, url=url, sleep=lambda pause: time.sleep(pause / 10))
        results = list(pool.map(send, write_files(tmp_path, 12)))
    assert [result.error for result in results] == [None] * 12


def test_one_servers_pause_holds_up_no_upload_to_another(uploads: Uploads, tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    with canned(b"HTTP/1.1 429 Slow down\r\nRetry-After: 30\r\n\r\n") as busy:
        assert not upload_single_file(path, busy.url, sleep=lambda _: True).ok
        assert len(busy.requests) == 1
    pauses: list[float] = []
    assert upload_single_file(path, uploads.url, sleep=pauses.append).ok
    assert not pauses


# --- a batch -----------------------------------------------------------------------------------


def map_in_order(
    paths: Iterable[Path], url: str, *, max_workers: int = 3
) -> Iterator[UploadResult]:
    """Do what everybody tries first: it takes all the paths at once and waits for the slowest."""

    def upload(path: Path) -> UploadResult:
        with open(path, "rb") as file:
            response = requests.post(url, files={"file": file}, timeout=5)
        response.raise_for_status()
        return UploadResult(path, True, response.status_code, None, path.stat().st_size, 0)

    with ThreadPoolExecutor(max_workers) as pool:
        yield from pool.map(upload, paths)


def check_each_is_reported_once(
    upload: UploadFiles, uploads: Uploads, good: list[Path], bad: list[Path]
) -> None:
    paths = [path for pair in zip(good, bad, strict=True) for path in pair]
    try:
        results = list(upload(paths, uploads.url))
    except OSError as error:
        pytest.fail(f"one file ended the batch: {error!r}. Hint: catch it in the worker")
    assert Counter(result.path for result in results) == Counter(paths)
    assert {result.path for result in results if result.ok} == set(good)
    assert len(uploads.bodies) == len(good)


def test_a_bad_file_costs_its_own_result_only(uploads: Uploads, tmp_path: Path) -> None:
    good = write_files(tmp_path, 6)
    bad = [make_missing(tmp_path), make_huge(tmp_path), make_folder(tmp_path)] * 2
    check_each_is_reported_once(upload_files, uploads, good, bad)


def test_a_server_error_costs_its_own_result_only(uploads: Uploads, tmp_path: Path) -> None:
    uploads.replies = iter([(200, {}), (500, {}), (0, {}), (413, {}), (200, {})])
    results = list(upload_files(write_files(tmp_path, 5), uploads.url, max_workers=1))
    assert [result.status for result in results] == [200, 500, None, 413, 200]


def test_reports_duplicates_each(uploads: Uploads, tmp_path: Path) -> None:
    one, two = write_files(tmp_path, 2)
    paths: list[str | Path] = [one, str(one), two, one]
    results = list(upload_files(paths, uploads.url))
    assert Counter(result.path for result in results) == {one: 3, two: 1}
    assert len(uploads.bodies) == 4


def test_nothing_to_upload_is_no_error(uploads: Uploads) -> None:
    assert list(upload_files([], uploads.url)) == []


@pytest.mark.slow
@pytest.mark.parametrize("max_workers", [1, 3])
def test_so_many_workers_upload_at_once_and_no_more(
    max_workers: int, uploads: Uploads, tmp_path: Path
) -> None:
    gate = uploads.hold(b"document")
    results: list[UploadResult] = []
    batch = upload_files(write_files(tmp_path, 9), uploads.url, max_workers=max_workers)
    consumer = threading.Thread(target=lambda: results.extend(batch))
    consumer.start()
    take(uploads.arrived, max_workers)
    time.sleep(0.1)  # for one too many to come
    assert uploads.under_way == max_workers
    gate.set()
    consumer.join(WAIT_SECONDS)
    assert uploads.most_under_way == max_workers
    assert len(results) == 9


def check_results_come_as_they_complete(
    upload: UploadFiles, uploads: Uploads, tmp_path: Path
) -> None:
    slow, *others = write_files(tmp_path, 3)
    gate = uploads.gates.get(b"document 0.") or uploads.hold(b"document 0.")
    order = []
    for result in upload([slow, *others], uploads.url, max_workers=2):
        order.append(result.path)
        if len(order) == 2:
            gate.set()
    assert order[-1] == slow, f"called with {slow.name} first, which is slow: it kept others back"


def test_results_come_as_they_complete(uploads: Uploads, tmp_path: Path) -> None:
    check_results_come_as_they_complete(upload_files, uploads, tmp_path)


def check_takes_few_paths_at_a_time(
    upload: UploadFiles, uploads: Uploads, path: Path, count: int | None = None
) -> None:
    taken = returned = 0
    most = 0

    def generate() -> Iterator[Path]:
        nonlocal taken, most
        for _ in itertools.repeat(None) if count is None else itertools.repeat(None, count):
            taken += 1
            most = max(most, taken - returned)
            yield path

    results = iter(upload(generate(), uploads.url, max_workers=2))
    for _ in itertools.islice(results, 30):
        returned += 1
    assert returned == 30
    assert most <= 8, f"{most} paths taken and not returned, at most 8. Hint: keep a few in flight"


def test_takes_few_paths_of_an_endless_generator(uploads: Uploads, tmp_path: Path) -> None:
    check_takes_few_paths_at_a_time(upload_files, uploads, write_files(tmp_path, 1)[0])


def test_each_worker_keeps_a_connection_and_a_session_to_itself(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[requests.Session, set[int]] = {}
    original = requests.Session.request

    def request(self: requests.Session, *args: Any, **kwargs: Any) -> requests.Response:
        threads.setdefault(self, set()).add(threading.get_ident())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(requests.Session, "request", request)
    results = list(upload_files(write_files(tmp_path, 12), uploads.url, max_workers=2))
    assert all(result.ok for result in results)
    shared = [session for session, users in threads.items() if len(users) > 1]
    assert not shared, "a Session is not made to be shared between threads"
    assert len(uploads.clients) <= 2, "a new connection for each file. Hint: one Session a thread"


@pytest.mark.slow
def test_stopping_early_starts_nothing_new(uploads: Uploads, tmp_path: Path) -> None:
    first, second = uploads.hold(b"document 0."), uploads.hold(b"document 1.")

    def answer_the_first() -> None:
        take(uploads.arrived, 2)
        first.set()

    threading.Thread(target=answer_the_first).start()
    batch = upload_files(write_files(tmp_path, 20), uploads.url, max_workers=2)
    assert next(batch).path.name == "doc0.txt"
    threading.Timer(0.3, second.set).start()
    batch.close()  # type: ignore[attr-defined]  # what `break` does
    assert len(uploads.bodies) == 2


def test_stopping_early_ends_a_pause(uploads: Uploads, tmp_path: Path) -> None:
    paths = write_files(tmp_path, 2)
    uploads.replies = itertools.chain([(429, {"Retry-After": "10"})], uploads.replies)
    batch = upload_files(paths, uploads.url, max_workers=2)
    assert next(batch).ok
    batch.close()  # type: ignore[attr-defined]
    assert len(uploads.bodies) == 2


def test_what_paths_raises_comes_after_what_is_under_way_and_the_rest_is_not_sent(
    uploads: Uploads, tmp_path: Path
) -> None:
    def walk() -> Iterator[Path]:
        yield from write_files(tmp_path, 5)
        take(uploads.arrived, 1)
        raise PermissionError("the sixth")

    results: list[UploadResult] = []
    with pytest.raises(PermissionError, match="the sixth"):
        collect(upload_files(walk(), uploads.url, max_workers=2), results)
    assert all(result.ok for result in results)
    assert 1 <= len(results) == len(uploads.bodies)


def test_a_path_that_is_none_is_a_mistake_of_the_caller(uploads: Uploads, tmp_path: Path) -> None:
    good = write_files(tmp_path, 1)
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(10_000)))
    with gzip.open(tmp_path / "a.gz") as handle:  # that would be cut at its packed size
        for wrong in (None, handle):
            batch = upload_files([*good, wrong], uploads.url)  # type: ignore[list-item]
            assert next(batch).ok
            with pytest.raises(TypeError):
                next(batch)


@pytest.mark.parametrize("executor", [None, InlineExecutor()])
@pytest.mark.parametrize("max_workers", [0, -1])
def test_no_workers_is_a_mistake_of_the_caller(
    max_workers: int, executor: Executor | None, tmp_path: Path
) -> None:
    batch = upload_files(write_files(tmp_path, 1), max_workers=max_workers, executor=executor)
    with pytest.raises(ValueError, match="max_workers"):
        next(batch)


# --- any executor ------------------------------------------------------------------------------


def test_runs_on_an_executor_of_the_caller_and_leaves_it_open(
    uploads: Uploads, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        for _ in range(2):
            results = list(upload_files(write_files(tmp_path, 3), uploads.url, executor=pool))
            assert [result.ok for result in results] == [True] * 3
        assert uploads.most_under_way == 1, "it ran somewhere else"
        assert pool.submit(int, "7").result() == 7


def test_a_broken_executor_ends_the_batch_when_all_is_told(
    uploads: Uploads, tmp_path: Path
) -> None:
    paths = itertools.cycle(write_files(tmp_path, 3))
    results: list[UploadResult] = []
    with pytest.raises(BrokenProcessPool):
        collect(upload_files(paths, uploads.url, executor=InlineExecutor(lasts=5)), results)
    assert [result.ok for result in results] == [True] * 5
    assert len(uploads.bodies) == 5


@pytest.mark.parametrize(
    "error", [MemoryError("out of memory"), CancelledError(), KeyboardInterrupt(), SystemExit(1)]
)
def test_a_worker_that_dies_costs_its_file(
    error: BaseException, uploads: Uploads, tmp_path: Path
) -> None:
    executor = InlineExecutor(lasts=2, error=error)
    results = sorted(upload_files(write_files(tmp_path, 4), uploads.url, executor=executor))
    assert [result.ok for result in results] == [True, True, False, False]
    told = "cancelled" if isinstance(error, CancelledError) else type(error).__name__
    assert f"the worker died: {told}" in str(results[3]).replace("'", "")


@pytest.mark.slow
def test_runs_in_processes(uploads: Uploads, tmp_path: Path) -> None:
    paths = write_files(tmp_path, 3)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        results = list(upload_files(paths, uploads.url, max_workers=1, executor=pool))
    assert {str(result) for result in results} == {f"OK {path.name}: 200" for path in paths}
    assert len(uploads.bodies) == 3


@pytest.mark.slow
def test_a_process_that_dies_costs_what_was_pending_and_ends_the_batch(
    uploads: Uploads, tmp_path: Path
) -> None:
    results: list[UploadResult] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=os._exit, initargs=(1,)) as pool:
        batch = upload_files(write_files(tmp_path, 20), uploads.url, executor=pool)
        with pytest.raises(BrokenProcessPool):
            collect(batch, results)
    assert results
    assert all("BrokenProcessPool" in (result.error or "") for result in results)


# --- Ctrl-C ------------------------------------------------------------------------------------


def test_after_ctrl_c_a_file_that_waits_for_its_turn_is_not_sent_again(
    uploads: Uploads, tmp_path: Path
) -> None:
    """The server said «not now»; before the pause is over, the user has pressed Ctrl-C."""

    def press_ctrl_c() -> Iterator[Path]:
        yield from write_files(tmp_path, 1)
        take(uploads.arrived, 1)
        raise KeyboardInterrupt

    uploads.replies = iter([(429, {"Retry-After": "1"}), (200, {})])
    results: list[UploadResult] = []
    with pytest.raises(KeyboardInterrupt):
        collect(upload_files(press_ctrl_c(), uploads.url), results)
    assert [result.status for result in results] == [429]
    assert len(uploads.bodies) == 1, "an upload began after Ctrl-C"


@pytest.mark.slow
def test_after_ctrl_c_an_executor_of_the_caller_ends_what_it_was_given(
    uploads: Uploads, tmp_path: Path
) -> None:
    check_ctrl_c_elsewhere(ThreadPoolExecutor(1), uploads, tmp_path)


def check_ctrl_c_elsewhere(executor: Executor, uploads: Uploads, folder: Path) -> None:
    """Fail unless each file that was handed over is told, and nothing is taken after Ctrl-C."""
    gate = uploads.hold(b"document")

    def press_ctrl_c() -> Iterator[Path]:
        yield from write_files(folder, 4)
        take(uploads.arrived, 1)
        threading.Timer(0.3, gate.set).start()
        raise KeyboardInterrupt

    results: list[UploadResult] = []
    batch = upload_files(press_ctrl_c(), uploads.url, max_workers=5, executor=executor)
    with pytest.raises(KeyboardInterrupt):
        collect(batch, results)
    assert {str(result) for result in results} == {f"OK doc{n}.txt: 200" for n in range(4)}
    assert len(uploads.bodies) == 4


@posix_only
@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_what_was_not_sent(uploads: Uploads, tmp_path: Path) -> None:
    write_files(tmp_path, 20)
    gate = uploads.hold(b"document")
    command = [*STOPPABLE_PYTHON, str(ROOT / "concurrent_upload.py"), str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--url", uploads.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    take(uploads.arrived, 2)
    for _ in range(2):  # who presses it again is in a hurry
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)  # then it has stopped, before the server answers
    assert process.poll() is None, "it didn't wait for what is under way"
    gate.set()
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130, f"exit code {process.returncode}: {err}"
    assert err == ""
    *lines, summary = out.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("OK doc") for line in lines)
    assert summary.startswith("2 sent, 0 failed, 18 without a result: "), summary
    assert len(uploads.bodies) == 2


# --- the command line --------------------------------------------------------------------------


def run_batch(
    capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, list[str], str]:
    """Return the exit code, the lines about files, sorted, and the summary."""
    code, out, _ = run_main(capsys, *arguments)
    *lines, summary = out.splitlines()
    return code, sorted(lines), summary


def test_the_default_is_three_small_documents(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, summary = run_batch(capsys, "--url", f"{server.url}/post")
    assert code == 0
    assert lines == ["OK clip.mp4: 200", "OK invoice.pdf: 200", "OK notes.txt: 200"]
    size = sum(path.stat().st_size for path in (SAMPLES / "documents").iterdir())
    assert summary.startswith(f"3 sent, 0 failed: {size:,} bytes in ")


def test_a_redirect_that_loses_the_file_is_a_failure(server: PracticeServer) -> None:
    """301, 302 and 303 make a GET of the POST: the second server answers 200 and got no file."""
    url = f"{server.url}/redirect-to?url=/get"
    result = upload_single_file(SAMPLES / "documents" / "notes.txt", url)
    assert not result.ok, f"no file arrived there, yet the result is {result}"
    assert "302 FOUND - the file may have arrived" in str(result)


def test_any_failure_ends_with_1_and_is_counted(
    uploads: Uploads, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = write_files(tmp_path, 1)
    uploads.replies = iter([(200, {}), (500, {})])
    gone = tmp_path / "gone.txt"
    code, lines, summary = run_batch(capsys, path, gone, path, "--url", uploads.url)
    assert code == 1
    assert lines == [
        "FAIL doc0.txt: 500 Internal Server Error - try again later",
        "FAIL gone.txt: No such file or directory",
        "OK doc0.txt: 200",
    ]
    assert summary.startswith("1 sent, 2 failed: 11 bytes in ")


def test_takes_files_folders_and_patterns(
    uploads: Uploads,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo[1].jpg", "photo1.jpg", "in [x]/a.txt", "in [x]/deep/b.txt", "empty/"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).mkdir() if name.endswith("/") else Path(name).write_text(name)
    wanted = ["photo[1].jpg", "in [x]", "empty", "p*.jpg", "**/b.txt", "no*.jpg", "photo1.jpg"]
    code, lines, _ = run_batch(capsys, *wanted, "--url", uploads.url)
    assert code == 1
    assert lines.pop(0).startswith("FAIL empty: ")  # in the words of the system
    Path("in [x]/broken").symlink_to("nowhere")
    assert run_batch(capsys, "in [x]", "--url", uploads.url)[0] == 1
    assert lines == [
        "FAIL no*.jpg: No such file or directory",
        "OK a.txt: 200",
        "OK b.txt: 200",
        "OK photo1.jpg: 200",
        "OK photo1.jpg: 200",
        "OK photo[1].jpg: 200",
        "OK photo[1].jpg: 200",
    ]


def test_a_server_that_is_down_leads_to_the_practice_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_files(tmp_path, 2)
    code, out, err = run_main(capsys, *paths, "--workers=2", "--url", NOWHERE)
    assert code == 1
    assert "FAIL doc0.txt: can't connect\n" in out
    assert err.startswith("error: can't connect - try: ")
    assert f"offline.py concurrent_upload.py {paths[0]} {paths[1]} --workers=2\n" in err


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_a_wrong_number_of_workers_is_wrong_usage(
    workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(capsys, "--workers", workers)[0] == 2


@pytest.mark.slow
@posix_only
def test_a_terminal_shows_how_far_the_batch_is(uploads: Uploads, tmp_path: Path) -> None:
    paths = write_files(tmp_path, 12)
    reader, writer = os.openpty()
    command = [sys.executable, str(ROOT / "concurrent_upload.py"), *map(str, paths)]
    done = subprocess.run(
        [*command, "--url", uploads.url],
        stdout=subprocess.PIPE,
        stderr=writer,
        check=True,
        text=True,
        timeout=60,
    )
    os.close(writer)
    shown = os.read(reader, 10_000).decode()
    os.close(reader)
    assert shown == "".join(f"{number} of 12\r" for number in range(1, 13))
    assert len(done.stdout.splitlines()) == 13


@pytest.mark.slow
@posix_only
def test_a_missing_stderr_ends_no_batch(uploads: Uploads, tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, 1)
    command = f"'{sys.executable}' '{ROOT / 'concurrent_upload.py'}' '{path}' --url {uploads.url}"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} 2>&-"],
        stdout=subprocess.PIPE,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("OK doc0.txt: 200\n1 sent")


@posix_only
@pytest.mark.slow
def test_a_closed_pipe_is_no_traceback(server: PracticeServer, tmp_path: Path) -> None:
    write_files(tmp_path, 5)
    command = f"'{sys.executable}' '{ROOT / 'concurrent_upload.py'}' . | true"
    environment = os.environ | server.environment
    environment.pop("PYTHONUNBUFFERED", None)
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert result.stderr == b""


@pytest.mark.slow
def test_prints_any_name_on_any_console_and_no_warning(
    run_script: RunScript, tmp_path: Path
) -> None:
    (tmp_path / "café.txt").write_text("coffee")
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "error"}
    result = run_script("concurrent_upload.py", ".", env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("OK caf\\xe9.txt: 200\n1 sent, 0 failed: 6 bytes in ")


# --- what these checks are good for ------------------------------------------------------------


@pytest.mark.slow
def test_the_first_thing_that_everybody_tries_fails_these_checks(
    uploads: Uploads, tmp_path: Path
) -> None:
    paths = write_files(tmp_path, 1)
    with pytest.raises(pytest.fail.Exception, match="ended the batch"):
        check_each_is_reported_once(map_in_order, uploads, paths, [tmp_path / "missing.txt"])
    with pytest.raises(AssertionError, match="not returned"):
        check_takes_few_paths_at_a_time(map_in_order, uploads, paths[0], count=50)
    threading.Timer(0.3, uploads.hold(b"document 0.").set).start()  # it waits for the slow one
    with pytest.raises(AssertionError, match="kept others back"):
        check_results_come_as_they_complete(map_in_order, uploads, tmp_path)
