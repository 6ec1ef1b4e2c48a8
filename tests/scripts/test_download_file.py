"""download_file.py: the right bytes under the final name, or nothing."""

from __future__ import annotations

import gzip
import itertools
import os
import re
import signal
import socketserver
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import NOWHERE, ROOT, RunScript
from offline import PracticeServer, practice_bytes

import download_file as script
from download_file import (
    ContentTypeMismatch,
    DownloadTooLarge,
    IncompleteDownload,
    download_file,
    main,
)

JPEG = b"\xff\xd8\xff\xe0" + practice_bytes(100_000)
PAGE = b"<!DOCTYPE html><title>Maintenance</title>"
OLD = b"what stood there before"
NEW = JPEG[:4] + b"new" * 30_000
VERSION = 'ETag: "version-1"'
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, modes or limits")
Download = Callable[..., object]
Progress = list[tuple[int, "int | None"]]


class Replies(socketserver.ThreadingTCPServer):
    """A server on loopback that sends these bytes, a reply a request, and notes the requests."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, *replies: Iterable[bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/photo.jpg"
        self.replies = iter(replies)
        self.asked: list[dict[str, str]] = []  # the headers of each request
        self.over = threading.Event()

    def __enter__(self) -> Replies:
        threading.Thread(target=self.serve_forever, args=(0.001,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave."""

    def stall(self, *blocks: bytes) -> Iterator[bytes]:
        """Yield these blocks, then nothing until the test is over."""
        yield from blocks
        self.over.wait(60)


class Answer(BaseHTTPRequestHandler):
    server: Replies

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers.items()))
        for block in next(self.server.replies):
            self.wfile.write(block)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close\r\n\r\n"]).encode()


def whole(body: bytes = JPEG, *headers: str, media_type: str = "image/jpeg") -> list[bytes]:
    """Return a good reply."""
    return [head(f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers), body]


def cut(size: int, *headers: str, body: bytes = JPEG) -> list[bytes]:
    """Return a reply that announces `body` and breaks off after `size` bytes."""
    announced, _ = whole(body, *headers)
    return [announced, body[:size]]


def rest(start: int, *headers: str, span: str = "", body: bytes = JPEG) -> list[bytes]:
    """Return a 206 with the rest of `body`; `span` is a Content-Range that isn't true."""
    span = span or f"bytes {start}-{len(body) - 1}/{len(body)}"
    announced, data = whole(body[start:], f"Content-Range: {span}", *headers)
    return [announced.replace(b"200 OK", b"206 Partial Content"), data]


def note(calls: Progress) -> Callable[[int, int | None], None]:
    """Return an on_progress that notes its calls."""
    return lambda received, total: calls.append((received, total))


def find_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check_old_file(folder: Path, target: Path) -> None:
    assert target.exists(), "the old file is gone. Hint: write to a temporary file, then rename it"
    assert target.read_bytes() == OLD, "the old file was written to. Hint: check before you write"
    assert find_names(folder) == [target.name], "something is left beside the old file"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that a good download replaces and a bad one doesn't touch."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(OLD)
    return path


# --- what is good is saved ---------------------------------------------------------------------


def test_saves_the_body_byte_for_byte_and_returns_the_path(
    server: PracticeServer, tmp_path: Path
) -> None:
    expected = requests.get(f"{server.url}/image/jpeg", timeout=5).content
    path = download_file(f"{server.url}/image/jpeg", str(tmp_path / "pig.jpg"))
    assert path == tmp_path / "pig.jpg"
    assert path.read_bytes() == expected
    assert find_names(tmp_path) == ["pig.jpg"]


@pytest.mark.parametrize("chunk_size", [1, 511, 513, 10_000_000])
def test_saves_the_same_bytes_whatever_the_chunk_size(chunk_size: int, target: Path) -> None:
    body = JPEG[:2000]
    for reply in (
        whole(body),
        [head("Content-Type: image/jpeg"), body],  # its end is the end of the connection
        [
            head("Content-Type: image/jpeg", "Transfer-Encoding: chunked"),
            *(b"7d\r\n" + body[start : start + 125] + b"\r\n" for start in range(0, 2000, 125)),
            b"0\r\n\r\n",
        ],
    ):
        with Replies(reply) as server:
            download_file(server.url, target, chunk_size=chunk_size)
        assert target.read_bytes() == body


def test_reports_progress_up_to_the_announced_total(target: Path) -> None:
    calls: Progress = []
    with Replies(whole(), [head("Content-Type: image/jpeg"), JPEG]) as server:
        download_file(server.url, target, "image/", 10_000, on_progress=note(calls))
        download_file(server.url, target, on_progress=note(calls))
    sizes = [received for received, total in calls if total]
    assert sizes == sorted(set(sizes)), f"called on_progress with {calls}: it must only grow"
    assert len(sizes) > 5
    assert (len(JPEG), len(JPEG)) in calls
    assert calls[-1] == (len(JPEG), None), "the second reply announced no length"


def save_all_at_once(url: str, path: Path, **_: object) -> None:
    """Do what the chapter warns of: no check, the whole body in memory, the final name at once."""
    with open(path, "wb") as file, suppress(requests.RequestException):
        file.write(requests.get(url, timeout=5).content)


def save_in_chunks(url: str, path: Path, **_: object) -> None:
    """Do it a little better: the header is checked, but not the length, nor the first bytes."""
    response = requests.get(url, stream=True, timeout=5)
    assert response.headers["Content-Type"].startswith("image/")
    with open(path, "wb") as file, suppress(requests.RequestException):
        for chunk in response.iter_content(1024):
            file.write(chunk)


def check_memory(download: Download, target: Path) -> None:
    block, blocks = JPEG[:65_536], 256
    reply = [head("Content-Type: image/jpeg", f"Content-Length: {blocks * len(block)}")]
    with Replies([*reply, *[block] * blocks]) as server:
        tracemalloc.start()
        try:
            download(server.url, target)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert target.stat().st_size == blocks * len(block)
    assert peak < 4e6, f"{peak:,} bytes of memory for a file of 16 MB. Hint: stream=True"


def test_keeps_memory_flat(target: Path) -> None:
    check_memory(download_file, target)


def test_the_old_file_stands_until_the_new_one_is_whole(target: Path) -> None:
    seen: list[bytes] = []
    with Replies(whole()) as server:
        download_file(
            server.url,
            target,
            "image/",
            1000,
            on_progress=lambda *_: seen.append(target.read_bytes()),
        )
    assert set(seen) == {OLD}, "Hint: write to a temporary file in the same folder, then rename it"
    assert target.read_bytes() == JPEG


@posix_only
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_of_the_file_follow_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with Replies(whole()) as server:
            path = download_file(server.url, tmp_path / "new.jpg")
    finally:
        os.umask(before)
    got = stat.S_IMODE(path.stat().st_mode)
    assert got == mode, f"mode {got:o}, expected {mode:o}. Hint: tempfile's files are private"


def test_of_two_at_the_same_time_one_whole_file_wins(target: Path) -> None:
    both = threading.Barrier(2, timeout=30)

    def reply(body: bytes) -> Iterator[bytes]:
        announced, _ = whole(body)
        yield announced + body[:50_000]
        both.wait()  # both files are half written now
        yield body[50_000:]

    bodies = JPEG, JPEG[:4] + JPEG[:3:-1]
    with Replies(*map(reply, bodies)) as server:
        threads = [
            threading.Thread(target=download_file, args=(server.url, target, "image/", 1000))
            for _ in bodies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert target.read_bytes() in bodies
    assert find_names(target.parent) == [target.name]


# --- the status, the header and the first bytes -------------------------------------------------


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_status_is_an_http_error(
    status: int, server: PracticeServer, target: Path
) -> None:
    with pytest.raises(requests.HTTPError):
        download_file(f"{server.url}/status/{status}", target)
    check_old_file(target.parent, target)


def check_html_as_jpeg(download: Download, url: str, target: Path) -> None:
    with suppress(ContentTypeMismatch):
        download(f"{url}/faults/html-as-jpeg", target)
        pytest.fail("saved an HTML page as a picture. Hint: look at the first bytes, too")
    check_old_file(target.parent, target)


def test_leaves_no_file_when_the_server_sends_html_as_jpeg(
    server: PracticeServer, target: Path
) -> None:
    check_html_as_jpeg(download_file, server.url, target)


@pytest.mark.parametrize(
    "media_type",
    ["image/jpeg", "IMAGE/JPEG; q=1", "  \t image/jpeg", "image/png", "image/jpeg, text/html"],
)
def test_takes_a_header_that_begins_as_expected(media_type: str, target: Path) -> None:
    with Replies(whole(media_type=media_type)) as server:
        download_file(server.url, target, "Image/")
    assert target.read_bytes() == JPEG, f"Content-Type {media_type!r} was refused"


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Type: text/html"],
        ["Content-Type: application/octet-stream"],
        ["Content-Type: x-image/jpeg"],
        ["Content-Type: image"],
        ["Content-Type:"],
        ["Content-Type: text/html", "Content-Type: image/jpeg"],
        [],
    ],
)
def test_refuses_a_header_that_begins_otherwise_or_is_missing(
    headers: list[str], target: Path
) -> None:
    with (
        Replies([head(*headers), JPEG]) as server,
        pytest.raises(ContentTypeMismatch, match="instead of 'image/'"),
    ):
        download_file(server.url, target)
    check_old_file(target.parent, target)


@pytest.mark.parametrize("headers", [[], ["Content-Type:"]])
def test_who_expects_anything_still_expects_a_type(headers: list[str], target: Path) -> None:
    with (
        Replies([head(*headers), JPEG]) as server,
        pytest.raises(ContentTypeMismatch, match="no Content-Type"),
    ):
        download_file(server.url, target, "")
    check_old_file(target.parent, target)


def test_looks_at_the_header_before_it_waits_for_the_body(target: Path) -> None:
    with Replies() as server:
        server.replies = iter([server.stall(head("Content-Type: text/html"))])
        with pytest.raises(ContentTypeMismatch):
            download_file(server.url, target, timeout=(5, 60))


def test_a_server_cannot_write_on_the_terminal(
    capsys: pytest.CaptureFixture[str], target: Path
) -> None:
    with Replies(whole(media_type="text/\x1b]0;owned\x07")) as server:
        assert main([server.url, "-o", str(target)]) == 1
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8\xff\xdb\x00",
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        b"RIFF\x1a\x0a\x00\x00WEBPVP8 ",
        b"BM\x36\x00",
        b"II*\x00",
        b"MM\x00*",
        b"\x00\x00\x01\x00\x01\x00",
        b"\x00\x00\x00\x1cftypavif",
        b"\x00\x00\x00\x18ftypheic",
        b"\x00\x00\x00\x24ftypmif1",
    ],
)
def test_knows_a_picture_by_its_first_bytes(body: bytes, target: Path) -> None:
    with Replies(whole(body, media_type="image/x")) as server:
        download_file(server.url, target)
    assert target.read_bytes() == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PAGE,
        b"\r\n" * 300 + PAGE,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b'{"error": "not found"}',
        b"RIFF\x1a\x0a\x00\x00WAVEfmt ",
        b"\x00\x00\x00\x20ftypisom",
        b"x" + JPEG,
    ],
)
def test_refuses_as_a_picture_what_is_none(body: bytes, target: Path) -> None:
    with Replies(whole(body)) as server, pytest.raises(ContentTypeMismatch, match="no image"):
        download_file(server.url, target)
    check_old_file(target.parent, target)


@pytest.mark.parametrize(
    "page", [PAGE, b"\xef\xbb\xbf <HTML>", b"\n\n<html>", b"<head>", b"<body>", b"<script>"]
)
def test_refuses_an_html_page_that_the_header_hides(page: bytes, target: Path) -> None:
    with (
        Replies(whole(page, media_type="application/pdf")) as server,
        pytest.raises(ContentTypeMismatch, match="HTML"),
    ):
        download_file(server.url, target, "application/")
    check_old_file(target.parent, target)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html; charset=utf-8", PAGE),
        ("application/xhtml+xml", b"<html xmlns='http://www.w3.org/1999/xhtml'>"),
        ("application/json", b'{"page": "<html>"}'),
        ("text/plain", b""),
    ],
)
def test_takes_anything_else_that_is_what_it_says(
    media_type: str, body: bytes, target: Path
) -> None:
    with Replies(whole(body, media_type=media_type)) as server:
        download_file(server.url, target, media_type.partition("/")[0])
    assert target.read_bytes() == body


# --- the length --------------------------------------------------------------------------------


def chunked(*blocks: bytes) -> Iterator[bytes]:
    """Yield a chunked reply without its end."""
    yield head("Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    for block in blocks:
        yield b"%x\r\n%b\r\n" % (len(block), block)


def check_cut_off(download: Download, target: Path, size: int) -> None:
    """Fail unless a body that breaks off after `size` bytes, framed either way, is refused."""
    blocks = filter(None, (JPEG[: size // 2], JPEG[size // 2 : size]))
    for reply in (cut(size), chunked(*blocks)):
        with Replies(reply) as server, suppress(IncompleteDownload):
            download(server.url, target)
            pytest.fail(f"took {size:,} of {len(JPEG):,} bytes for all. Hint: count them")
        check_old_file(target.parent, target)


@pytest.mark.parametrize("size", [0, 300, 60_000, len(JPEG) - 1])
def test_a_body_that_is_cut_off_is_incomplete(size: int, target: Path) -> None:
    check_cut_off(download_file, target, size)


@pytest.mark.slow
def test_a_body_that_stalls_is_incomplete(target: Path) -> None:
    with Replies() as server:
        server.replies = iter([server.stall(*cut(60_000))])
        with pytest.raises(IncompleteDownload):
            download_file(server.url, target, timeout=(5, 2))
    check_old_file(target.parent, target)


def test_a_chunk_that_is_cut_off_is_incomplete(target: Path) -> None:
    *blocks, last = chunked(JPEG[:1000], JPEG[1000:])
    with Replies([*blocks, last[:50_000]]) as server, pytest.raises(IncompleteDownload):
        download_file(server.url, target)
    check_old_file(target.parent, target)


def test_asks_not_to_compress_and_takes_what_is_compressed_all_the_same(target: Path) -> None:
    packed = gzip.compress(JPEG[:4] + b"\0" * 100_000)
    progress: Progress = []
    with Replies(whole(packed, "Content-Encoding: gzip")) as server:
        download_file(server.url, target, on_progress=note(progress))
    assert server.asked[0]["Accept-Encoding"] == "identity"
    assert target.read_bytes() == JPEG[:4] + b"\0" * 100_000
    assert progress[-1] == (100_004, None), "the Content-Length was that of the compressed body"


@pytest.mark.parametrize("damage", [slice(300), slice(0, 0)])
def test_a_compressed_body_that_is_cut_off_is_incomplete(damage: slice, target: Path) -> None:
    packed = gzip.compress(JPEG)
    announced, _ = whole(packed, "Content-Encoding: gzip")
    with Replies([announced, packed[damage]]) as server, pytest.raises(IncompleteDownload):
        download_file(server.url, target)
    check_old_file(target.parent, target)


def test_a_damaged_compressed_body_is_incomplete(target: Path) -> None:
    packed = b"no gzip at all" * 100
    with (
        Replies(whole(packed, "Content-Encoding: gzip")) as server,
        pytest.raises(IncompleteDownload),
    ):
        download_file(server.url, target)
    check_old_file(target.parent, target)


def test_refuses_what_is_announced_as_too_large_before_it_reads_it(target: Path) -> None:
    with Replies() as server:
        announced, _ = whole()
        server.replies = iter([server.stall(announced)])
        with pytest.raises(DownloadTooLarge, match="100,004 bytes, more than 100,003"):
            download_file(server.url, target, max_bytes=len(JPEG) - 1, timeout=(5, 60))
    check_old_file(target.parent, target)


def test_takes_exactly_max_bytes(target: Path) -> None:
    with Replies(whole(), [head("Content-Type: image/jpeg"), JPEG]) as server:
        for _ in range(2):
            download_file(server.url, target, max_bytes=len(JPEG))
            assert target.read_bytes() == JPEG


@pytest.mark.parametrize("endless", ["plain", "gzip"])
def test_stops_an_endless_body_and_a_bomb_at_max_bytes(endless: str, target: Path) -> None:
    reply: Iterable[bytes] = itertools.chain(
        [head("Content-Type: image/jpeg")], itertools.repeat(JPEG, 1000)
    )
    if endless == "gzip":
        bomb = gzip.compress(JPEG[:4] + bytes(20_000_000))
        reply = whole(bomb, "Content-Encoding: gzip")
    received: list[int] = []
    with Replies(reply) as server, pytest.raises(DownloadTooLarge):
        download_file(
            server.url, target, max_bytes=150_000, on_progress=lambda n, _: received.append(n)
        )
    assert max(received, default=0) <= 150_000
    check_old_file(target.parent, target)


# --- the disk ----------------------------------------------------------------------------------


@contextmanager
def full_disk(max_bytes: int) -> Iterator[None]:
    """Let no file grow over `max_bytes`, as if the disk were full there."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix_only
@pytest.mark.parametrize("max_bytes", [5, 50_000])
def test_a_full_disk_leaves_nothing_and_the_next_run_succeeds(max_bytes: int, target: Path) -> None:
    with Replies(whole(), whole()) as server:
        with full_disk(max_bytes), pytest.raises(OSError, match="too large"):
            download_file(server.url, target)
        check_old_file(target.parent, target)
        download_file(server.url, target)
    assert target.read_bytes() == JPEG


def test_refuses_to_replace_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with Replies() as server, pytest.raises(OSError, match="not a file"):
        download_file(server.url, tmp_path / "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with Replies() as server, pytest.raises(OSError, match="not a file"):
            download_file(server.url, tmp_path / "pipe")
        assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "folder").is_dir()


def test_a_folder_that_is_missing_is_an_os_error(tmp_path: Path) -> None:
    with Replies(whole()) as server, pytest.raises(FileNotFoundError):
        download_file(server.url, tmp_path / "missing" / "photo.jpg")
    assert find_names(tmp_path) == []


# --- resume ------------------------------------------------------------------------------------


def begin(server: Replies, target: Path, **options: Any) -> None:
    """Download the first part of what `server` breaks off."""
    with pytest.raises(IncompleteDownload):
        download_file(server.url, target, resume=True, **options)
    assert target.read_bytes() == OLD, "the old file stands until the new one is whole"


def check_resumed(server: Replies, target: Path, expected: bytes = JPEG) -> None:
    """Fail unless the next call brings exactly `expected`."""
    download_file(server.url, target, resume=True)
    got = target.read_bytes()
    assert got == expected, f"saved {len(got):,} bytes that are not the server's {len(expected):,}"
    assert find_names(target.parent) == [target.name], "the part is left behind"


def test_resume_continues_where_a_real_server_broke_off(
    server: PracticeServer, tmp_path: Path
) -> None:
    url = f"{server.url}/faults/file?size=100000&cut=40000&token={time.time_ns()}"
    target, part = tmp_path / "data.bin", tmp_path / "data.bin.part"
    with pytest.raises(IncompleteDownload):
        download_file(url, target, "application/", 1000, resume=True)
    assert not target.exists()
    assert part.read_bytes() == practice_bytes(40_000)
    progress: Progress = []
    download_file(url, target, "application/", 1000, resume=True, on_progress=note(progress))
    assert target.read_bytes() == practice_bytes(100_000)
    assert progress[0] == (41_000, 100_000), "it began again"
    assert progress[-1] == (100_000, 100_000)
    assert find_names(tmp_path) == ["data.bin"]


def test_resume_asks_for_the_rest_of_the_same_version(target: Path) -> None:
    with Replies(cut(60_000, VERSION), rest(60_000, VERSION)) as server:
        begin(server, target, chunk_size=1000)
        check_resumed(server, target)
    assert "Range" not in server.asked[0]
    assert server.asked[1]["Range"] == "bytes=60000-"
    assert server.asked[1]["If-Range"] == '"version-1"', "Hint: or the rest is of another file"


def test_resume_continues_as_often_as_it_takes(target: Path) -> None:
    piece = rest(80_000, VERSION, body=JPEG[:90_000], span="bytes 80000-89999/100004")
    broken = rest(60_000, VERSION)
    broken[1] = broken[1][:20_000]
    with Replies(cut(60_000, VERSION), broken, piece, rest(90_000, VERSION)) as server:
        begin(server, target, chunk_size=1000)
        begin(server, target, chunk_size=1000)
        begin(server, target)
        check_resumed(server, target)
    assert [asked.get("Range") for asked in server.asked[1:]] == [
        "bytes=60000-",
        "bytes=80000-",
        "bytes=90000-",
    ]


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        pytest.param([whole(NEW, 'ETag: "version-2"')], NEW, id="changed"),
        pytest.param([whole(JPEG, VERSION)], JPEG, id="range ignored"),
        pytest.param([rest(59_999, VERSION), whole()], JPEG, id="another part"),
        pytest.param([rest(60_000, VERSION, span=" "), whole()], JPEG, id="no span"),
        pytest.param(
            [rest(60_000, VERSION, span="bytes 60000-100003/*"), whole()], JPEG, id="no total"
        ),
        pytest.param([rest(60_000, body=NEW), whole(NEW)], NEW, id="no version"),
        pytest.param(
            [rest(60_000, 'ETag: "version-2"', body=NEW), whole(NEW)], NEW, id="another version"
        ),
        pytest.param(
            [rest(60_000, VERSION, "Content-Encoding: gzip"), whole()], JPEG, id="compressed"
        ),
        pytest.param([[head(status="416 Range Not Satisfiable")], whole()], JPEG, id="416"),
        pytest.param(
            [[head("Content-Range: bytes */1000", status="416 No")], whole(JPEG[:1000])],
            JPEG[:1000],
            id="the part is longer than the file",
        ),
    ],
)
def test_resume_starts_over_when_the_rest_is_not_to_be_had(
    replies: list[list[bytes]], expected: bytes, target: Path
) -> None:
    with Replies(cut(60_000, VERSION), *replies) as server:
        begin(server, target, chunk_size=1000)
        check_resumed(server, target, expected)
    assert len(server.asked) == 1 + len(replies)
    assert server.asked[1]["Range"] == "bytes=60000-"
    assert all("Range" not in asked for asked in server.asked[2:])


@pytest.mark.parametrize(
    "headers", [[], ['ETag: W/"version-1"'], [VERSION, "Content-Encoding: gzip"]]
)
def test_resume_keeps_no_part_whose_version_has_no_name(headers: list[str], target: Path) -> None:
    body = gzip.compress(JPEG) if len(headers) == 2 else JPEG
    with Replies(cut(60_000, *headers, body=body), whole()) as server:
        begin(server, target, chunk_size=1000)
        assert find_names(target.parent) == [target.name]
        check_resumed(server, target)
    assert "Range" not in server.asked[1]


def test_a_new_version_without_a_name_replaces_the_part_of_the_old_one(target: Path) -> None:
    with Replies(cut(60_000, VERSION), cut(50_000, body=NEW), whole(NEW)) as server:
        begin(server, target, chunk_size=1000)
        begin(server, target, chunk_size=1000)
        check_resumed(server, target, NEW)
    assert "Range" not in server.asked[2], "the first version's part was replaced"


def test_resume_does_not_mix_two_addresses(target: Path) -> None:
    with Replies(cut(60_000, VERSION), whole(NEW, VERSION)) as server:
        begin(server, target, chunk_size=1000)
        server.url += "?another=file"  # that has the same ETag: they are unique per address only
        check_resumed(server, target, NEW)
    assert "Range" not in server.asked[1]


def test_a_part_that_is_whole_already_becomes_the_file(target: Path) -> None:
    def stop_at_the_end(received: int, total: int | None) -> None:
        if received == total:
            raise KeyboardInterrupt

    with Replies(whole(JPEG, VERSION), [head(status="416 No")], whole(JPEG, VERSION)) as server:
        with pytest.raises(KeyboardInterrupt):
            download_file(server.url, target, resume=True, on_progress=stop_at_the_end)
        check_resumed(server, target)


def test_resumes_a_part_that_is_shorter_than_a_signature(target: Path) -> None:
    with Replies(cut(60_000, VERSION), rest(2, VERSION)) as server:
        begin(server, target, chunk_size=1000)
        os.truncate(target.with_name("photo.jpg.part"), 2)  # a power failure may do that
        check_resumed(server, target)
    assert server.asked[1]["Range"] == "bytes=2-"


@posix_only
def test_a_full_disk_leaves_a_part_that_does_no_harm(target: Path) -> None:
    for max_bytes in (5, 50_000):
        with Replies(whole(JPEG, VERSION), whole(NEW)) as server:
            with full_disk(max_bytes), pytest.raises(OSError, match="too large"):
                download_file(server.url, target, resume=True)
            check_resumed(server, target, NEW)
        target.write_bytes(OLD)


@pytest.mark.parametrize("resume", [False, True])
def test_leaves_alone_what_others_call_part(resume: bool, target: Path) -> None:
    browsers = target.with_name("photo.jpg.part")
    browsers.write_bytes(JPEG[:1000])
    for reply in ([head(status="404 Not Found")], whole(PAGE), cut(0)):
        with Replies(reply) as server, suppress(Exception):
            download_file(server.url, target, resume=resume)
            pytest.fail("that was no picture")
        assert browsers.read_bytes() == JPEG[:1000]
        assert "Range" not in server.asked[0]


def test_without_resume_a_part_is_neither_used_nor_removed(target: Path) -> None:
    with Replies(cut(60_000, VERSION), whole(NEW, VERSION)) as server:
        begin(server, target, chunk_size=1000)
        download_file(server.url, target)
    assert target.read_bytes() == NEW
    assert "Range" not in server.asked[1]
    assert "photo.jpg.part" in find_names(target.parent)


def test_max_bytes_counts_the_part_too(target: Path) -> None:
    endless = rest(60_000, VERSION)
    with Replies(cut(60_000, VERSION), endless) as server:
        begin(server, target, chunk_size=1000)
        with pytest.raises(DownloadTooLarge):
            download_file(server.url, target, resume=True, max_bytes=len(JPEG) - 1)


# --- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
def test_ctrl_c_leaves_nothing_or_the_part_that_resume_asks_for(resume: bool, target: Path) -> None:
    def press_ctrl_c(received: int, _total: int | None) -> None:
        if received >= 50_000:
            raise KeyboardInterrupt

    with Replies(whole(JPEG, VERSION), rest(50_000, VERSION)) as server:
        with pytest.raises(KeyboardInterrupt):
            download_file(
                server.url, target, "image/", 10_000, resume=resume, on_progress=press_ctrl_c
            )
        if resume:
            check_resumed(server, target)
            assert server.asked[1]["Range"] == "bytes=50000-"
        else:
            check_old_file(target.parent, target)


@posix_only
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_ctrl_c_on_the_command_line_ends_with_130(
    resume: list[str], target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Replies() as server:
        stalled = server.stall(*cut(60_000, VERSION))

        def press_ctrl_c() -> Iterator[bytes]:
            yield next(stalled)
            yield next(stalled)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            yield from stalled

        server.replies = iter([press_ctrl_c()])
        assert main([server.url, "-o", str(target), *resume]) == 130
    assert capsys.readouterr() == ("", "stopped\n")
    assert target.read_bytes() == OLD


@posix_only
@pytest.mark.slow
def test_after_kill_9_the_final_name_is_free_and_resume_goes_on(tmp_path: Path) -> None:
    target, part = tmp_path / "photo.jpg", tmp_path / "photo.jpg.part"
    body = JPEG * 20
    command = [sys.executable, str(ROOT / "download_file.py")]
    with Replies() as server:
        server.replies = iter([server.stall(*cut(1_000_000, VERSION, body=body))])
        process = subprocess.Popen([*command, server.url, "--resume"], cwd=tmp_path)
        for _ in range(600):
            if part.exists() and part.stat().st_size:
                break
            time.sleep(0.05)
        process.kill()
        process.wait()
        size = part.stat().st_size
        assert not target.exists()
        server.replies = iter([rest(size, VERSION, body=body)])
        subprocess.run([*command, server.url, "--resume"], cwd=tmp_path, check=True)
    assert server.asked[1]["Range"] == f"bytes={size}-"
    assert target.read_bytes() == body
    assert find_names(tmp_path) == ["photo.jpg"]


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    return current


def test_the_default_is_a_picture_with_a_name_of_its_own(
    server: PracticeServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "IMAGE_URL", f"{server.url}/image/jpeg")
    assert main([]) == 0
    (folder / "image.jpeg").write_bytes(OLD)
    assert main([]) == 0
    assert main([]) == 0
    assert (folder / "image.jpeg").read_bytes() == OLD, "the second run overwrote it"
    assert find_names(folder) == ["image-1.jpeg", "image-2.jpeg", "image.jpeg"]
    assert capsys.readouterr().out.splitlines() == [
        "saved image.jpeg: 35,588 bytes",
        "saved image-1.jpeg: 35,588 bytes",
        "saved image-2.jpeg: 35,588 bytes",
    ]


def test_a_name_that_is_given_is_overwritten(folder: Path) -> None:
    (folder / "pig.jpg").write_bytes(OLD)
    with Replies(whole()) as server:
        assert main([server.url, "-o", "pig.jpg"]) == 0
    assert (folder / "pig.jpg").read_bytes() == JPEG


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ("a/b/photo.jpg?size=../../big#../top", "photo.jpg"),
        ("archive.tar.gz", "archive.tar.gz"),
        ("my%20photo.jpg", "my_photo.jpg"),
        ("..%2f..%2fetc%2fpasswd", "_.._etc_passwd"),
        ("..%5c..%5cevil.exe", "_.._evil.exe"),
        ("c:evil.exe", "c_evil.exe"),
        ("%00.jpg", "_.jpg"),
        ("line%0d%0abreak.jpg", "line__break.jpg"),
        ("%E2%80%AEgpj.exe", "_gpj.exe"),
        ("%ff%fe.jpg", "__.jpg"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("CON", "_CON"),
        ("aux.jpg", "_aux.jpg"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        ("console.jpg", "console.jpg"),
        ("...", "download"),
        ("", "download"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_name_from_the_address_is_harmless(path: str, expected: str, folder: Path) -> None:
    with Replies(whole()) as server:
        assert main([f"{server.url.rpartition('/')[0]}/{path}"]) == 0
    assert find_names(folder) == [expected], (
        f"called with .../{path}: Hint: it is not to be trusted"
    )
    assert find_names(folder.parent) == ["current"]


def test_a_dangling_link_is_not_overwritten_either(folder: Path) -> None:
    (folder / "photo.jpg").symlink_to("nowhere")
    with Replies(whole()) as server:
        assert main([server.url]) == 0
    assert find_names(folder) == ["photo-1.jpg", "photo.jpg"]


@pytest.mark.parametrize(
    ("reply", "options", "line"),
    [
        (
            whole(PAGE, media_type="text/html"),
            [],
            "error: 'text/html' instead of 'image/' - look at it in a browser",
        ),
        (cut(0), [], "error: the connection broke - run it again (--resume keeps what came)"),
        (
            whole(),
            ["--max-bytes", "1000"],
            "error: 100,004 bytes, more than 1,000 - allow more with --max-bytes",
        ),
        ([head(status="404 Not Found")], [], "error: 404 Not Found - check the address"),
        (
            whole(),
            ["-o", "missing/photo.jpg"],
            "error: can't save it (No such file or directory) - choose another place with -o",
        ),
        (whole(), ["-o", "."], "error: can't save it (not a file) - choose another place with -o"),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(
    reply: list[bytes],
    options: list[str],
    line: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Replies(reply) as server:
        assert main([server.url, *options]) == 1
    assert capsys.readouterr() == ("", f"{line}\n")
    assert find_names(folder) == []


@pytest.mark.parametrize("url", ["http://[", "photo.jpg", "ftp://127.0.0.1/photo.jpg", "http://"])
def test_an_address_that_is_none_is_one_line(
    url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([url]) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: .+ - check the address\n", error), error
    assert find_names(folder) == []


def test_a_server_that_is_down_leads_to_the_practice_server(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{NOWHERE}/photo.jpg"]) == 1
    expected = "error: can't connect - try: uv run tests/offline.py download_file.py\n"
    assert capsys.readouterr().err == expected
    assert find_names(folder) == []


def test_goes_on_with_resume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = JPEG * 5
    with Replies(cut(400_000, VERSION, body=body)) as server:
        assert main([server.url, "--resume"]) == 1
        assert find_names(folder) == ["photo.jpg.part", "photo.jpg.part.etag"]
        size = (folder / "photo.jpg.part").stat().st_size
        server.replies = iter([rest(size, VERSION, body=body)])
        assert main([server.url, "--resume"]) == 0
    assert server.asked[1]["Range"] == f"bytes={size}-"
    assert (folder / "photo.jpg").read_bytes() == body
    assert find_names(folder) == ["photo.jpg"]
    assert capsys.readouterr().out == "saved photo.jpg: 500,020 bytes\n"


def test_takes_another_type_with_expect(folder: Path, server: PracticeServer) -> None:
    assert main([f"{server.url}/json", "--expect", "application/json"]) == 0
    assert find_names(folder) == ["json"]


@pytest.mark.slow
def test_runs_as_a_process_without_arguments(run_script: RunScript, tmp_path: Path) -> None:
    result = run_script("download_file.py")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "saved image.jpeg: 35,588 bytes\n"
    assert (tmp_path / "image.jpeg").stat().st_size == 35_588


# --- what these checks are good for ------------------------------------------------------------


@pytest.mark.parametrize("download", [save_all_at_once, save_in_chunks])
def test_known_wrong_downloads_fail_these_checks(
    download: Download, server: PracticeServer, target: Path
) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_html_as_jpeg(download, server.url, target)
    target.write_bytes(OLD)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_cut_off(download, target, 60_000)


def test_a_download_that_reads_all_at_once_fails_the_memory_check(target: Path) -> None:
    with pytest.raises(AssertionError, match="bytes of memory"):
        check_memory(save_all_at_once, target)
