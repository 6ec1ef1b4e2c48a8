"""Checks of streaming_upload.py: what a server receives, in what memory, with what progress."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from conftest import NOWHERE, ROOT
from conftest import check_error as check_error_of
from conftest import run_main as run_main_of
from offline import PracticeServer
from wire import (
    OK,
    Connection,
    Request,
    canned,
    put_netrc,
    refuses_midway,
    serve,
    trust,
)

import streaming_upload
from streaming_upload import FileChanged, MultipartFileReader, ProgressFileReader, stream_upload

run_main = partial(run_main_of, streaming_upload.main)
check_error = partial(check_error_of, streaming_upload.main)

URL = "https://upload.example/post"
MIB = 1024 * 1024
LARGE_BYTES = 100 * MIB
MEMORY_BYTES = 64 * MIB  # on top of what the imports take; the chapter's container has 512
SIZES = [0, 1, 8191, 8192, 8193, 20_000]
READERS = [ProgressFileReader, MultipartFileReader]
Reader = Callable[..., Any]
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


def make_file(folder: Path, size: int, name: str = "video.bin") -> Path:
    path = folder / name
    block = hashlib.shake_128(b"streaming").digest(99_991)  # a prime: no chunk repeats another
    path.write_bytes((block * (size // len(block) + 1))[:size])
    return path


def ignore_progress(bytes_sent: int, total_bytes: int) -> None:
    """Say nothing."""


def send(path: Path, **options: Any) -> Request:
    """Upload a file; return the request as it came over the wire."""
    with canned(OK) as wire:
        stream_upload(path, wire.url, **{"on_progress": ignore_progress, **options}).close()
        return wire.requests[0]


def parse_parts(request: Request) -> dict[str, Any]:
    """Return the parts of a multipart request by field name, as the email package reads them."""
    head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


# --- the reader: chunks and a length -----------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 1000, 8192, MIB])
@pytest.mark.parametrize("size", SIZES)
def test_yields_the_whole_file_in_chunks_of_at_most_chunk_size_each_time_anew(
    size: int, chunk_size: int, tmp_path: Path
) -> None:
    path = make_file(tmp_path, size)
    reader = ProgressFileReader(path, chunk_size, ignore_progress)
    assert len(reader) == size
    for _ in range(2):
        chunks = list(reader)
        assert b"".join(chunks) == path.read_bytes()
        assert max(map(len, chunks), default=0) <= chunk_size
        assert all(chunks), "an empty chunk would end a chunked body early"


def test_chunks_are_8192_bytes_unless_told_otherwise(tmp_path: Path) -> None:
    chunks = list(ProgressFileReader(make_file(tmp_path, 20_000), on_progress=ignore_progress))
    assert [len(chunk) for chunk in chunks] == [8192, 8192, 3616]


@pytest.mark.parametrize("reader", READERS)
def test_no_chunk_is_larger_than_a_slow_line_can_take_in_10_seconds(
    reader: Reader, tmp_path: Path
) -> None:
    """The connect limit holds for each chunk: 10 s at 50 KB/s."""
    path = make_file(tmp_path, 2 * MIB)
    assert max(map(len, reader(path, 2 * MIB, ignore_progress))) <= 500_000


@pytest.mark.parametrize("reader", READERS)
def test_refuses_a_chunk_size_that_would_never_end(reader: Reader, tmp_path: Path) -> None:
    for chunk_size in (0, -1):
        with pytest.raises(ValueError, match="chunk_size"):
            reader(make_file(tmp_path, 1), chunk_size)


# --- what a server receives --------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_server_receives_the_file_with_its_length_announced(size: int, tmp_path: Path) -> None:
    path = make_file(tmp_path, size)
    request = send(path)
    assert request.line == "POST /post HTTP/1.1"
    assert request.body == path.read_bytes()
    assert request.header("Content-Length") == str(size)
    assert request.header("Transfer-Encoding") is None
    assert request.header("Content-Type") == "application/octet-stream"


@pytest.mark.parametrize("size", SIZES)
def test_the_server_parses_the_multipart_body_into_the_same_file(size: int, tmp_path: Path) -> None:
    path = make_file(tmp_path, size)
    request = send(path, multipart=True, chunk_size=1000)
    assert len(request.body) == request.length
    assert request.header("Transfer-Encoding") is None
    part = parse_parts(request)["file"]
    assert part.get_filename() == "video.bin"
    assert part.get_content_type() == "application/octet-stream"
    assert part.get_payload(decode=True) == path.read_bytes()


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
    same = requests.Request("POST", URL, files=files, data=metadata).prepare()
    assert isinstance(same.body, bytes)
    boundaries = [
        str(content_type).partition("boundary=")[2].encode()
        for content_type in (body.content_type, same.headers["Content-Type"])
    ]
    assert b"".join(body) == same.body.replace(boundaries[1], boundaries[0])
    assert len(body) == len(same.body)


def test_a_presigned_address_gets_a_put_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 refuses a chunked body, an Authorization beside the signature, and what isn't signed."""
    put_netrc(monkeypatch, tmp_path)
    headers = {"content-type": "video/mp4", "x-amz-meta-a": "b"}
    request = send(make_file(tmp_path, 20_000), method="PUT", headers=headers)
    assert request.line == "PUT /post HTTP/1.1"
    assert request.header("Authorization") is None
    assert request.header("Content-Length") == "20000"
    assert request.header("Content-Type") == "application/octet-stream"
    assert request.header("x-amz-meta-a") == "b"


@pytest.mark.parametrize("multipart", [False, True])
def test_a_token_goes_out_as_it_was_given(
    multipart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_netrc(monkeypatch, tmp_path)
    headers = {"Authorization": "Bearer s3cret-token"}
    request = send(make_file(tmp_path, 10), multipart=multipart, headers=headers)
    assert request.header("Authorization") == "Bearer s3cret-token"


def test_a_password_in_the_address_goes_to_the_server(tmp_path: Path) -> None:
    with canned(OK) as wire:
        stream_upload(make_file(tmp_path, 10), wire.url.replace("//", "//me:secret@")).close()
    assert wire.requests[0].header("Authorization") == "Basic bWU6c2VjcmV0"


# --- redirects: the whole body again, or an error ----------------------------------------------


def moved(status: int) -> bytes:
    """Return a redirect to /new."""
    return f"HTTP/1.1 {status} Moved\r\nLocation: /new\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize("multipart", [False, True])
def test_a_redirect_that_asks_for_the_file_again_gets_all_of_it(
    multipart: bool, tmp_path: Path
) -> None:
    path = make_file(tmp_path, 200_000)
    with canned(moved(307), OK) as wire:
        stream_upload(
            path, wire.url, multipart=multipart, on_progress=ignore_progress, timeout=5
        ).close()
    old, new = wire.requests
    assert new.line == "POST /new HTTP/1.1"
    assert path.read_bytes() in new.body
    assert new.body == old.body


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 301), ("POST", 302), ("POST", 303), ("PUT", 301), ("PUT", 302)]
)
@pytest.mark.parametrize("size", [0, 20_000])
def test_a_redirect_that_loses_the_file_is_an_error(
    size: int, method: str, status: int, tmp_path: Path
) -> None:
    """A PUT stays a PUT after 301, but goes without its body."""
    path = make_file(tmp_path, size)
    with canned(moved(status), OK) as wire, pytest.raises(requests.HTTPError, match=r"^30[123]"):
        stream_upload(path, wire.url, method=method, on_progress=ignore_progress)


def test_a_password_in_netrc_hides_no_lost_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests asks it after a redirect, and then counts the body anew: Content-Length: 0."""
    put_netrc(monkeypatch, tmp_path)
    with canned(moved(301), OK) as wire, pytest.raises(requests.HTTPError, match=r"^30[123]"):
        stream_upload(make_file(tmp_path, 10), wire.url, method="PUT")


# --- a file that changes while it is sent ------------------------------------------------------


@pytest.mark.parametrize("size_after", [0, MIB // 2, MIB - 1, MIB + 1, 2 * MIB])
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_changes_never_breaks_the_announced_length(
    reader: Reader, size_after: int, tmp_path: Path
) -> None:
    path = make_file(tmp_path, MIB)
    has_left = threading.Event()

    def read_on(connection: Connection) -> None:
        with suppress(OSError):
            if request := connection.read_head():
                connection.read_body(request, 10 * MIB)
        has_left.set()

    body = reader(path, 8192, lambda *_: os.truncate(path, size_after))
    with serve(read_on) as wire:
        with pytest.raises(FileChanged, match=r"video\.bin"):
            requests.post(wire.url, data=body, timeout=5)
        assert has_left.wait(20)
    assert len(wire.requests[0].body) <= len(body)


@pytest.mark.slow
@pytest.mark.parametrize("size_after", [0, 30 * MIB])
def test_names_the_file_that_changed(
    size_after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "growing.log"
    with open(path, "wb") as file:
        file.truncate(20 * MIB)  # more than the sockets hold while the server doesn't read

    def change(connection: Connection) -> None:
        if request := connection.read_head():
            os.truncate(path, size_after)
            connection.read_body(request)

    with serve(change) as wire:
        error = check_error(capsys, path, "--url", wire.url)
    assert f"growing.log {'grew' if size_after else 'shrank'}" in error


def test_refuses_a_media_type_that_forges_a_header(tmp_path: Path) -> None:
    for media_type in ("text/plain\r\nX-Evil: 1", "text/plain\n", "\r"):
        with pytest.raises(ValueError, match="line breaks"):
            MultipartFileReader(make_file(tmp_path, 1), media_type=media_type)


def test_what_is_no_path_is_refused_and_not_cut_at_its_packed_size(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(bytes(10_000))
    for multipart in (False, True):
        with gzip.open(tmp_path / "a.gz") as handle, pytest.raises(TypeError):
            stream_upload(handle, NOWHERE, multipart=multipart)  # type: ignore[arg-type]


# --- answers -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("multipart", [False, True])
def test_a_server_that_did_not_take_all_has_not_said_yes(multipart: bool, tmp_path: Path) -> None:
    path = make_file(tmp_path, 20_000_000)
    with refuses_midway(answer=OK) as wire, pytest.raises(requests.HTTPError) as caught:
        stream_upload(path, wire.url, multipart=multipart, on_progress=ignore_progress)
    found = re.match(r"answered 200 after ([\d,]+) of 20,000,000 bytes", str(caught.value))
    assert found, str(caught.value)
    assert 0 < int(found[1].replace(",", "")) < 20_000_000


def test_a_form_of_which_nothing_was_taken_was_not_sent(tmp_path: Path) -> None:
    """The server may be gone before the form's head, which is not of the file, has left."""
    body = MultipartFileReader(make_file(tmp_path, 1000), on_progress=ignore_progress)
    for _ in range(2):  # a 307 asks for the file again
        parts = iter(body)
        next(parts)
        assert body.bytes_left == 1000
        list(parts)
        assert body.bytes_left == 0


def test_a_refusal_in_mid_body_is_told_in_the_servers_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS urllib3 may lose the 413 that it gets on plain HTTP."""
    path = make_file(tmp_path, 20_000_000)
    trust(monkeypatch, tmp_path)
    with refuses_midway() as wire:
        error = check_error(capsys, path, "--url", wire.url)
    assert "413 Payload Too Large at most 1000000 - " in error
    with refuses_midway(tls=True) as wire:
        error = check_error(capsys, path, "--url", wire.url)
    assert re.search("larger than the server takes|413", error)


@pytest.mark.parametrize("multipart", [False, True])
def test_a_mocked_answer_is_an_answer(multipart: bool, tmp_path: Path) -> None:
    """`responses` never reads the body, nor has it a reason."""
    path = make_file(tmp_path, 10)
    with responses.RequestsMock() as mock:
        mock.post(URL)
        assert stream_upload(path, URL, multipart=multipart).status_code == 200
        connect, read = vars(mock.calls[0].request)["req_kwargs"]["timeout"]
        assert (connect, round(read)) == (10, 30)
        mock.replace("POST", URL, status=520)
        with pytest.raises(requests.HTTPError, match=r"^520$"):
            stream_upload(path, URL, multipart=multipart)


def test_the_answer_is_left_unread(tmp_path: Path) -> None:
    """An echo of 100 MB would fill the memory."""
    with canned(OK) as wire:
        response = stream_upload(make_file(tmp_path, 10), wire.url)
        assert response.raw.tell() == 0
        assert response.text == "ok"


# --- progress ----------------------------------------------------------------------------------


@pytest.mark.parametrize("multipart", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_progress_counts_the_files_bytes_and_ends_at_exactly_the_total(
    multipart: bool, size: int, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    send(
        make_file(tmp_path, size),
        chunk_size=1000,
        multipart=multipart,
        on_progress=lambda *counts: calls.append(counts),
    )
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


def line(percent: int, total: int) -> str:
    return f"{percent:3d} %  {percent * total // 100:,} of {total:,} bytes"


class Screen(io.StringIO):
    """Stands for stderr on a terminal."""

    def isatty(self) -> bool:
        return True


def test_percent_and_bytes_are_redrawn_in_place_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    list(ProgressFileReader(make_file(tmp_path, 100_000), 500))
    *drawn, rest = screen.getvalue().split("\r")
    assert set(drawn) > {line(percent, 100_000) for percent in range(10, 100, 10)}
    assert rest == f"{line(100, 100_000)}\nwaiting for the answer\n"


def test_a_line_for_every_tenth_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list(ProgressFileReader(make_file(tmp_path, 100_000), 500))
    lines = [line(percent, 100_000) for percent in range(10, 101, 10)]
    assert capsys.readouterr().err.splitlines() == [*lines, "waiting for the answer"]


def test_two_uploads_at_once_share_no_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = (100_000, 200_000)
    readers = [ProgressFileReader(make_file(tmp_path, size, str(size)), 1000) for size in sizes]
    for _ in zip(*readers, strict=False):
        pass
    list(readers[1])
    shown = capsys.readouterr().err.splitlines()
    for size in sizes:
        for percent in range(10, 101, 10):
            assert line(percent, size) in shown


def test_progress_begins_anew_when_the_file_is_sent_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = ProgressFileReader(make_file(tmp_path, 1_000_000), 1000)
    shown = [(list(reader), capsys.readouterr().err)[1] for _ in range(2)]
    assert shown[0].count("%") == 10
    assert shown[1] == shown[0]


def test_the_upload_goes_on_where_nobody_can_see_the_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert len(send(make_file(tmp_path, 100_000), on_progress=None).body) == 100_000
    assert capsys.readouterr().out == ""


# --- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--multipart"], ["--chunk-size", "65536"]])
def test_sends_5_mb_and_says_what_went_out(
    options: list[str], server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(capsys, "--url", f"{server.url}/sink", *options)
    *tenths, last = err.splitlines()
    assert code == 0
    assert len(tenths) == 10
    assert tenths[-1] == line(100, 5_242_880)
    assert last == "waiting for the answer"
    found = re.fullmatch(r"sent ([\d,]+) bytes: 200\n", out)
    assert found, out
    around = 200 if "--multipart" in options else 0
    assert 5_242_880 + around // 2 <= int(found[1].replace(",", "")) <= 5_242_880 + around


def test_sends_an_empty_file_without_a_fuss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with canned(OK) as wire:
        result = run_main(capsys, make_file(tmp_path, 0), "--url", wire.url)
    assert result == (0, "sent 0 bytes: 200\n", "")


def test_errors_say_what_happened_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path, 10)
    monkeypatch.delenv("UV", raising=False)
    error = check_error(capsys, path, "--chunk-size", 9, "--url", NOWHERE)
    command = [str(ROOT / "tests" / "offline.py"), "streaming_upload.py", str(path)]
    assert error.endswith(f" python {' '.join(command)} --chunk-size 9")
    for missing in (tmp_path / "missing.bin", tmp_path):
        assert str(missing) in check_error(capsys, missing)
    with canned(b"") as wire:
        assert "connection broke" in check_error(capsys, path, "--url", wire.url)


@pytest.mark.parametrize("arguments", [["--chunk-size", "8K"], ["-x"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_main(capsys, *arguments)
    assert code == 2
    assert "usage: " in err


# --- as a process: memory, a terminal, a stderr that isn't there -------------------------------

SENDERS = {
    "MultipartFileReader": "requests.post(url, data=MultipartFileReader(path, MIB, silent))",
    "stream_upload": "stream_upload(path, url, on_progress=silent)",
    "files=": "requests.post(url, files={'file': open(path, 'rb')})",
    "read()": "requests.post(url, data=open(path, 'rb').read())",
}


def send_in_container(sender: str, path: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Send a file from a process that may take MEMORY_BYTES, as in a small container."""
    program = f"""
        import resource, sys, requests
        from streaming_upload import *
        MIB, path, url = 1024 * 1024, {str(path)!r}, {url!r}
        silent = lambda *_: None
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + {MEMORY_BYTES}, used + {MEMORY_BYTES}))
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
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc and RLIMIT_AS")
    path = tmp_path_factory.mktemp("large") / "video.bin"
    with open(path, "wb") as file:
        file.truncate(LARGE_BYTES)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("sender", ["stream_upload", "MultipartFileReader"])
def test_100_mb_fit_through_a_container_with_room_for_64_mb(
    sender: str, large_file: Path, server: PracticeServer
) -> None:
    result = send_in_container(sender, large_file, f"{server.url}/sink")
    assert result.returncode == 0, f"{sender}: {result.stderr[-500:]}"
    received = json.loads(result.stdout)["bytes"]
    head_and_tail = 1000 if sender.startswith("Multipart") else 0
    assert LARGE_BYTES <= received <= LARGE_BYTES + head_and_tail


@pytest.mark.slow
@pytest.mark.parametrize("sender", ["files=", "read()"])
def test_100_mb_do_not_fit_when_the_whole_file_is_held_in_memory(
    sender: str, large_file: Path, server: PracticeServer
) -> None:
    result = send_in_container(sender, large_file, f"{server.url}/sink")
    assert result.returncode == 1
    assert "MemoryError" in result.stderr, result.stderr[-500:]


@pytest.mark.slow
@posix_only
def test_redraws_the_progress_on_a_real_terminal(server: PracticeServer) -> None:
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
    assert f"{line(50, 5_242_880)}\r" in shown
    assert shown.endswith(f"\r{line(100, 5_242_880)}\r\nwaiting for the answer\r\n")
    assert shown.count("\n") == 2


@pytest.mark.slow
@posix_only
def test_an_upload_without_stderr_arrives(server: PracticeServer) -> None:
    """As under pythonw, and with 2>&- in a shell."""
    process = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" "$1" 2>&-', sys.executable, str(ROOT / "streaming_upload.py")],
        check=False,
        env=os.environ | server.environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (process.returncode, process.stdout) == (0, "sent 5,242,880 bytes: 200\n")
