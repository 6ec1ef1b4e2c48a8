"""Checks of streaming_upload.py: what a server receives, in what memory, with what progress."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import queue
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import responses
from conftest import NOWHERE, ROOT
from conftest import check_error as check_error_of
from conftest import run_main as run_main_of
from offline import PracticeServer

import streaming_upload
from streaming_upload import FileChanged, MultipartFileReader, ProgressFileReader, stream_upload

run_main = partial(run_main_of, streaming_upload.main)
check_error = partial(check_error_of, streaming_upload.main)

MIB = 1024 * 1024
SIZE = MIB + 100  # more than a file object reads ahead, and no whole number of chunks
LARGE_BYTES = 600 * MIB
MEMORY_BYTES = 512 * MIB  # the chapter's container
TIMEOUT_SECONDS = (5, 30)
SIZES = [0, 1, 8191, 8192, 8193, 100_000]
CHUNKS = [1000, 8192, MIB]
READERS = [ProgressFileReader, MultipartFileReader]
Reader = Callable[..., Any]
posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files or signals")


def practice_bytes(size: int) -> bytes:
    return hashlib.shake_128(b"streaming").digest(size)


def make_file(folder: Path, size: int, name: str = "video.bin") -> Path:
    path = folder / name
    path.write_bytes(practice_bytes(size))
    return path


def ignore_progress(bytes_sent: int, total_bytes: int) -> None:
    """Say nothing."""


class Received(NamedTuple):
    """A request as it arrived; `extra` is what came after the body's announced end."""

    path: str
    headers: Any
    body: bytes
    extra: bytes


class Recorder(ThreadingHTTPServer):
    """A server that keeps what it receives.

    POST /again answers 307 to /; /hang-up doesn't answer, and /wait doesn't while the client is
    there. `on_head` is called when the headers are there and the body is not yet read.
    """

    daemon_threads = False  # so that closing it waits for them

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RecordingHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: queue.Queue[Received] = queue.Queue()
        self.on_head: Callable[[], object] = bool

    def __enter__(self) -> Recorder:
        threading.Thread(target=self.serve_forever, args=(0.02,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()  # waits for the threads of the connections

    def take(self) -> Received:
        """Return the next request when all of it has come in."""
        return self.received.get(timeout=20)


class RecordingHandler(BaseHTTPRequestHandler):
    server: Recorder
    timeout = 10

    def do_POST(self) -> None:
        self.server.on_head()
        chunked = "Transfer-Encoding" in self.headers
        body = self.read_chunks() if chunked else self.read(int(self.headers["Content-Length"]))
        if self.path == "/again":
            self.send_response(307)
            self.send_header("Location", "/")
            self.end_headers()
        elif self.path == "/":
            self.send_response(200)
            self.end_headers()
        extra = self.read(MIB) if self.path == "/wait" else b""
        self.server.received.put(Received(self.path, self.headers, body, extra))

    def read(self, size: int) -> bytes:
        try:
            return self.rfile.read(size)
        except OSError:  # the client dropped the connection
            return b""

    def read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.read(size)
            self.rfile.readline()
        return body

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def send(reader: Any, url: str, patience: float = 30) -> None:
    """POST a reader as the chapter does; wait for an answer for so many seconds."""
    requests.post(url, data=reader, timeout=(5, patience)).raise_for_status()


# --- the reader: chunks and a length -----------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, *CHUNKS])
@pytest.mark.parametrize("size", SIZES)
def test_yields_the_whole_file_in_chunks_of_at_most_chunk_size(
    size: int, chunk_size: int, tmp_path: Path
) -> None:
    path = make_file(tmp_path, size)
    reader = ProgressFileReader(path, chunk_size, ignore_progress)
    assert len(reader) == size, f"len() was {len(reader)} for a file of {size} bytes"
    for attempt in ("first", "second"):
        chunks = list(reader)
        assert b"".join(chunks) == path.read_bytes(), (
            f"the {attempt} time it yielded {sum(map(len, chunks))} bytes, expected {size}. "
            "Hint: open the file in __iter__, so that each time begins at the start"
        )
        assert max(map(len, chunks), default=0) <= chunk_size
        assert all(chunks), "an empty chunk would end a chunked body early"


def test_chunks_are_8192_bytes_unless_told_otherwise(tmp_path: Path) -> None:
    chunks = list(ProgressFileReader(make_file(tmp_path, 20_000), on_progress=ignore_progress))
    assert [len(chunk) for chunk in chunks] == [8192, 8192, 3616]


@pytest.mark.parametrize("reader", READERS)
def test_refuses_a_chunk_size_that_would_never_end(reader: Reader, tmp_path: Path) -> None:
    for chunk_size in (0, -1):
        with pytest.raises(ValueError, match="chunk_size"):
            reader(make_file(tmp_path, 1), chunk_size)


# --- what a real server receives ---------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("size", SIZES)
def test_the_server_receives_the_file_with_its_length_announced(
    size: int, chunk_size: int, server: PracticeServer, tmp_path: Path
) -> None:
    path = make_file(tmp_path, size)
    with stream_upload(
        path, f"{server.url}/sink", chunk_size=chunk_size, on_progress=ignore_progress
    ) as response:
        reply = response.json()
    assert (reply["bytes"], reply["sha256"]) == (
        size,
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    assert reply["headers"].get("Content-Length") == str(size), (
        f"the headers were {reply['headers']}. Hint: __len__ makes requests send Content-Length"
    )
    assert "Transfer-Encoding" not in reply["headers"]


def test_an_empty_file_is_sent_as_such(recorder: Recorder, tmp_path: Path) -> None:
    stream_upload(make_file(tmp_path, 0), recorder.url).close()
    request = recorder.take()
    assert request.headers["Content-Length"] == "0"
    assert "Transfer-Encoding" not in request.headers
    assert request.body == b""


# --- redirects and retries: the whole body again -----------------------------------------------


def check_redirect(
    make_body: Reader, recorder: Recorder, folder: Path, patience: float = 30
) -> None:
    """Fail unless both servers receive the whole body when the first answers 307."""
    path = make_file(folder, 200_000)
    try:
        send(make_body(path), f"{recorder.url}/again", patience)
    except requests.RequestException as error:
        raise AssertionError("the second upload got stuck. Hint: __iter__ begins anew") from error
    bodies = [recorder.take().body for _ in range(2)]
    assert [path.read_bytes() in body for body in bodies] == [True, True], (
        f"the servers received {[len(body) for body in bodies]} bytes, "
        "expected all of them twice. Hint: a generator is used up after the first time"
    )


def read_by_generator(path: Path) -> Iterator[bytes]:
    """The chapter's first try: after a redirect it has nothing left to yield."""
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(8192), b"")


class ReadOnce:
    """A length, but one iterator for all times: the second upload announces all, sends nothing."""

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.chunks = read_by_generator(path)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks


@pytest.mark.parametrize("reader", READERS)
def test_a_redirect_gets_the_whole_file_again(
    reader: Reader, recorder: Recorder, tmp_path: Path
) -> None:
    check_redirect(lambda path: reader(path, on_progress=ignore_progress), recorder, tmp_path)


@pytest.mark.parametrize("wrong", [read_by_generator, ReadOnce])
def test_the_check_of_the_redirect_sees_a_body_that_is_used_up(
    wrong: Reader, recorder: Recorder, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match="Hint: "):
        check_redirect(wrong, recorder, tmp_path, patience=0.2)


# --- a file that changes while it is sent ------------------------------------------------------


def check_change(
    reader: Reader, size_after: int, recorder: Recorder, folder: Path, patience: float = 30
) -> None:
    """Fail unless a file that changes in size ends in FileChanged, its length kept."""
    path = make_file(folder, SIZE)
    resized: list[int] = []

    def resize(*_: object) -> None:
        if not resized:
            resized.append(size_after)
            with open(path, "r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(b"x" * (size_after - SIZE))
                file.truncate(size_after)

    body = reader(path, 8192, resize)
    try:
        send(body, f"{recorder.url}/wait", patience)
    except FileChanged:
        pass
    except requests.RequestException as error:
        raise AssertionError("waited for an answer. Hint: raise FileChanged at once") from error
    request = recorder.take()
    got = len(request.body) + len(request.extra)
    assert got <= len(body), f"{got} bytes went out, announced were {len(body)}"


class ReadToTheEnd(ProgressFileReader):
    """Announces a length and sends whatever the file holds by then."""

    def __iter__(self) -> Iterator[bytes]:
        for number, chunk in enumerate(read_by_generator(self.path)):
            yield chunk
            self.on_progress(number, self.total_bytes)


class RaiseTooLate(ReadToTheEnd):
    """Notices the change, after it has sent too much."""

    def __iter__(self) -> Iterator[bytes]:
        yield from super().__iter__()
        if self.path.stat().st_size != self.total_bytes:
            raise FileChanged


@pytest.mark.parametrize("size_after", [0, SIZE // 2, SIZE - 1, SIZE + 1, 2 * SIZE])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_changes_never_breaks_the_announced_length(
    reader: Reader, size_after: int, recorder: Recorder, tmp_path: Path
) -> None:
    check_change(reader, size_after, recorder, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "size_after", "hint"),
    [
        (ReadToTheEnd, SIZE // 2, "raise FileChanged at once"),
        (ReadToTheEnd, 2 * SIZE, "raise FileChanged at once"),
        (RaiseTooLate, 2 * SIZE, "announced were"),
    ],
)
def test_the_check_of_the_change_sees_a_reader_that_trusts_the_file(
    wrong: Reader, size_after: int, hint: str, recorder: Recorder, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError, match=hint):
        check_change(wrong, size_after, recorder, tmp_path, patience=0.2)


def test_a_disk_error_is_not_taken_for_the_networks(
    server: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unplugged(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    reader = ProgressFileReader(make_file(tmp_path, 100), on_progress=ignore_progress)
    monkeypatch.setattr(streaming_upload, "open", lambda *_: Unplugged(), raising=False)
    with pytest.raises(FileChanged, match=r"video\.bin: Input/output error"):
        send(reader, f"{server.url}/sink")


# --- multipart ---------------------------------------------------------------------------------


def parse_parts(request: Received) -> dict[str, Any]:
    """Return the parts of a multipart request by field name, as the email package reads them."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


@pytest.mark.parametrize("chunk_size", CHUNKS)
@pytest.mark.parametrize("size", SIZES)
def test_the_server_parses_the_multipart_body_into_the_same_file(
    size: int, chunk_size: int, recorder: Recorder, tmp_path: Path
) -> None:
    path = make_file(tmp_path, size)
    stream_upload(
        path, recorder.url, chunk_size=chunk_size, multipart=True, on_progress=ignore_progress
    ).close()
    request = recorder.take()
    assert "Transfer-Encoding" not in request.headers
    part = parse_parts(request)["file"]
    assert part.get_filename() == "video.bin"
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_payload(decode=True) == path.read_bytes()


def test_httpbin_echoes_the_multipart_file_and_the_metadata(
    server: PracticeServer, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Grüße\r\n--\r\n".encode())
    body = MultipartFileReader(path, 4, ignore_progress, metadata={"caption": "früh"})
    headers = {"Content-Type": body.content_type}
    url = f"{server.url}/post"
    echo = requests.post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS).json()
    assert echo["files"] == {"file": "Grüße\r\n--\r\n"}
    assert echo["form"] == {"caption": "früh"}
    assert echo["headers"]["Content-Length"] == str(len(body))


@pytest.mark.parametrize("name", ["video.bin", 'a"b.bin', "ü.bin", "a\r\nX: 1\r\n.bin"])
def test_the_multipart_body_is_the_one_that_files_would_make(name: str, tmp_path: Path) -> None:
    try:
        path = make_file(tmp_path, 100, name)
    except OSError:
        pytest.skip("this system's files can't have such a name")
    metadata = {"caption": "früh", "album": "1"}
    body = MultipartFileReader(
        path, 7, ignore_progress, field="clip", media_type="video/mp4", metadata=metadata
    )
    files = {"clip": (name, path.read_bytes(), "video/mp4")}
    same = requests.Request("POST", "http://x", files=files, data=metadata).prepare()
    assert isinstance(same.body, bytes)
    boundaries = [
        content_type.partition("boundary=")[2].encode()
        for content_type in (body.content_type, same.headers["Content-Type"])
    ]
    assert b"".join(body) == same.body.replace(boundaries[1], boundaries[0])
    assert len(body) == len(same.body)


def test_a_multipart_name_that_is_no_text_is_sent_nevertheless(
    recorder: Recorder, tmp_path: Path
) -> None:
    try:
        path = make_file(tmp_path, 10, os.fsdecode(b"\xff.bin"))
    except (OSError, UnicodeError):
        pytest.skip("this system's files can't have such a name")
    stream_upload(path, recorder.url, multipart=True, on_progress=ignore_progress).close()
    assert parse_parts(recorder.take())["file"].get_filename() == "?.bin"


def test_refuses_a_media_type_that_forges_a_header(tmp_path: Path) -> None:
    for media_type in ("text/plain\r\nX-Evil: 1", "text/plain\n", "\r"):
        with pytest.raises(ValueError, match="line breaks"):
            MultipartFileReader(make_file(tmp_path, 1), media_type=media_type)


# --- progress ----------------------------------------------------------------------------------


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_progress_counts_the_files_bytes_and_ends_at_exactly_the_total(
    multipart: bool, size: int, server: PracticeServer, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    stream_upload(
        make_file(tmp_path, size),
        f"{server.url}/sink",
        chunk_size=1000,
        multipart=multipart,
        on_progress=lambda *counts: calls.append(counts),
    ).close()
    full_chunks = [(sent, size) for sent in range(1000, size, 1000)]
    assert calls == ([*full_chunks, (size, size)] if size else [])


@pytest.mark.parametrize("reader", READERS)
def test_progress_follows_the_chunk_and_never_runs_ahead(reader: Reader, tmp_path: Path) -> None:
    counts: list[int] = []
    taken = 0
    for chunk in reader(make_file(tmp_path, 5000), 1000, lambda sent, _: counts.append(sent)):
        assert max(counts, default=0) <= taken, "it counted a chunk that was not sent yet"
        taken += len(chunk)
    assert counts == [1000, 2000, 3000, 4000, 5000]


class Screen(io.StringIO):
    """Stands for stderr, on a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def show_progress(
    monkeypatch: pytest.MonkeyPatch, path: Path, chunk_size: int, is_terminal: bool
) -> str:
    screen = Screen(is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    for _ in ProgressFileReader(path, chunk_size):
        pass
    return screen.getvalue()


def test_percent_is_redrawn_in_place_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show_progress(monkeypatch, make_file(tmp_path, 100_000), 500, is_terminal=True)
    assert shown == "".join(f"{n:3d} %\r" for n in range(1, 100)) + "100 %\n"


def test_percent_is_a_line_per_tenth_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show_progress(monkeypatch, make_file(tmp_path, 100_000), 500, is_terminal=False)
    assert shown == "".join(f"{n:3d} %\n" for n in range(10, 101, 10))


@pytest.mark.parametrize("is_terminal", [True, False])
def test_each_of_two_small_files_gets_its_100_percent(
    is_terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (10, 20):
        path = make_file(tmp_path, size)
        assert show_progress(monkeypatch, path, 8192, is_terminal) == "100 %\n"


def test_the_upload_goes_on_when_nobody_reads_the_progress(
    server: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ClosedPipe(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    path = make_file(tmp_path, 100_000)
    monkeypatch.setattr(sys, "stderr", ClosedPipe())
    with stream_upload(path, f"{server.url}/sink", timeout=(5, 10)) as response:
        assert response.json()["bytes"] == 100_000


# --- what can't be sent ------------------------------------------------------------------------


@pytest.mark.parametrize("multipart", [False, True])
def test_a_file_that_is_missing_is_told_before_anything_is_sent(
    multipart: bool, recorder: Recorder, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        stream_upload(tmp_path / "missing.bin", recorder.url, multipart=multipart)
    with pytest.raises(OSError, match="not a regular file"):
        stream_upload(tmp_path, recorder.url, multipart=multipart)
    assert recorder.received.empty()


@posix_only
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_refused_and_not_sent_as_an_empty_file(reader: Reader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    keep_open = os.open(tmp_path / "pipe", os.O_RDWR)  # or opening it to read would wait
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            reader(path)
    os.close(keep_open)


def test_waits_no_longer_than_the_timeout_allows_and_leaves_the_reply_unread(
    tmp_path: Path,
) -> None:
    path = make_file(tmp_path, 10)
    with responses.RequestsMock() as mock:
        mock.post("https://upload.example/post")
        stream_upload(path, "https://upload.example/post")
        stream_upload(path, "https://upload.example/post", timeout=(1, 2))
        options = [vars(call.request)["req_kwargs"] for call in mock.calls]
    assert [option["timeout"] for option in options] == [(5, 30), (1, 2)]
    assert all(option["stream"] for option in options), "an echo of 600 MB would fill the memory"


@pytest.mark.parametrize("status", [404, 413, 500])
def test_raises_for_a_status_that_is_no_success(
    status: int, server: PracticeServer, tmp_path: Path
) -> None:
    with pytest.raises(requests.HTTPError) as caught:
        stream_upload(
            make_file(tmp_path, 10), f"{server.url}/status/{status}", on_progress=ignore_progress
        )
    assert caught.value.response.status_code == status
    caught.value.response.close()


# --- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--multipart"], ["--chunk-size", "1000"]])
def test_sends_5_mb_with_percent_complete_and_ends_with_size_seconds_and_speed(
    options: list[str], server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(capsys, "--url", f"{server.url}/sink", *options)
    assert code == 0
    assert err == "".join(f"{n:3d} %\n" for n in range(10, 101, 10))
    assert re.fullmatch(r"sent 5,242,880 bytes in \d+\.\d\d s: \d+\.\d MB/s, 200\n", out), out


def test_sends_it_as_multipart_and_in_larger_chunks_on_demand(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_file(tmp_path, 500_000)
    options = ["--multipart", "--chunk-size", "400000", "--url", recorder.url]
    code, out, err = run_main(capsys, path, *options)
    assert (code, err) == (0, " 80 %\n100 %\n")
    assert out.startswith("sent 500,000 bytes in ")
    assert parse_parts(recorder.take())["file"].get_payload(decode=True) == path.read_bytes()


def test_sends_an_empty_file_without_a_fuss(
    server: PracticeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(capsys, make_file(tmp_path, 0), "--url", f"{server.url}/sink")
    assert (code, err) == (0, "")
    assert out.startswith("sent 0 bytes in ")


def test_a_redirect_that_loses_the_file_is_an_error(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """301, 302 and 303 make a GET of the POST: the second server answers 200 and got no file."""
    code, out, err = run_main(capsys, "--url", f"{server.url}/redirect-to?url=/get")
    assert code == 1, f"exit code {code}, although no file arrived: {out}"
    assert "the file got lost" in err


@pytest.mark.parametrize("size_after", [0, 30 * MIB])
def test_names_the_file_that_changed_during_the_upload(
    size_after: int, recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "growing.log"
    with open(path, "wb") as file:
        file.truncate(20 * MIB)  # more than the sockets hold while the server doesn't read
    recorder.on_head = lambda: os.truncate(path, size_after)
    error = check_error(capsys, path, "--url", recorder.url)
    change = "grew" if size_after else "shrank"
    assert error.startswith(f"error: growing.log {change} while it was being sent - ")


def test_names_size_as_the_likely_cause_when_the_server_hangs_up(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = check_error(capsys, make_file(tmp_path, 10), "--url", f"{recorder.url}/hang-up")
    assert "the file may be larger than the server takes" in error


def test_errors_say_what_happened_and_what_to_do(
    server: PracticeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_file(tmp_path, 10)
    offline = "try: uv run tests/offline.py streaming_upload.py\n"
    assert check_error(capsys, path, "--url", NOWHERE) == f"error: can't connect - {offline}"
    assert "413 " in check_error(capsys, path, "--url", f"{server.url}/status/413")
    assert "no-scheme" in check_error(capsys, path, "--url", "no-scheme")
    assert "missing.bin: No such file" in check_error(capsys, tmp_path / "missing.bin")
    assert "not a regular file" in check_error(capsys, tmp_path)


@pytest.mark.parametrize("arguments", [["--chunk-size", "0"], ["--chunk-size", "8K"], ["-x"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        streaming_upload.main(arguments)
    assert exit_.value.code == 2
    assert "usage: " in capsys.readouterr().err


# --- as a process: memory, a terminal, a closed pipe -------------------------------------------

SENDERS = {
    "ProgressFileReader": "requests.post(url, data=ProgressFileReader(path, MIB, silent))",
    "MultipartFileReader": "requests.post(url, data=MultipartFileReader(path, MIB, silent))",
    "stream_upload": "stream_upload(path, url, on_progress=silent)",
    "files=": "requests.post(url, files={'file': open(path, 'rb')})",
    "read()": "requests.post(url, data=open(path, 'rb').read())",
}


def send_in_container(sender: str, path: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Send a file from a process whose address space is limited, as in a small container."""
    program = f"""
        import resource, sys, requests
        from streaming_upload import *
        MIB, path, url = 1024 * 1024, {str(path)!r}, {url!r}
        silent = lambda *_: None
        resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
        print({SENDERS[sender]}.text)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file larger than the container's memory; it takes no room on the disk."""
    if sys.platform in ("win32", "darwin"):
        pytest.skip(f"{sys.platform} doesn't limit a process's address space (RLIMIT_AS)")
    path = tmp_path_factory.mktemp("large") / "video.bin"
    with open(path, "wb") as file:
        file.truncate(LARGE_BYTES)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("sender", ["ProgressFileReader", "MultipartFileReader", "stream_upload"])
def test_600_mb_fit_through_a_container_of_512_mb(
    sender: str, large_file: Path, server: PracticeServer
) -> None:
    result = send_in_container(sender, large_file, f"{server.url}/sink")
    assert result.returncode == 0, f"{sender}: {result.stderr[-500:]}"
    received = json.loads(result.stdout)["bytes"]
    head_and_tail = 1000 if sender.startswith("Multipart") else 0
    assert LARGE_BYTES <= received <= LARGE_BYTES + head_and_tail


@pytest.mark.slow
@pytest.mark.parametrize("sender", ["files=", "read()"])
def test_600_mb_do_not_fit_when_the_whole_file_is_held_in_memory(
    sender: str, large_file: Path, server: PracticeServer
) -> None:
    result = send_in_container(sender, large_file, f"{server.url}/sink")
    assert result.returncode == 1
    assert "MemoryError" in result.stderr, result.stderr[-500:]


@pytest.mark.slow
@posix_only
def test_redraws_the_percentage_on_a_real_terminal(server: PracticeServer) -> None:
    import pty

    terminal, screen = pty.openpty()
    process = subprocess.run(
        [sys.executable, str(ROOT / "streaming_upload.py")],
        check=False,
        env=os.environ | server.environment,
        stdout=subprocess.PIPE,
        stderr=screen,
        timeout=60,
    )
    os.close(screen)
    shown = ""
    with suppress(OSError):  # Linux reports the end of a terminal as an error
        while part := os.read(terminal, 4096):
            shown += part.decode()
    os.close(terminal)
    assert process.returncode == 0, shown
    assert shown.startswith("  1 %\r  2 %\r")
    assert shown.endswith(" 99 %\r100 %\r\n")
    assert shown.count("\n") == 1
