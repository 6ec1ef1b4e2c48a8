"""Checks of download_file.py: the right bytes under the final name, or nothing."""

from __future__ import annotations

import gzip
import itertools
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import responses
from conftest import NOWHERE, ROOT, call_main
from conftest import check_error as check_error_of
from conftest import run_main as run_main_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from offline import PracticeServer, practice_bytes
from wire import NETRC_PASSWORD, Connection, Request, Wire, put_netrc, serve, silent, trust

import download_file as script
from download_file import (
    ContentTypeMismatch,
    DownloadTooLarge,
    IncompleteDownload,
    download_file,
)

run_main = partial(run_main_of, script.main)
check_error = partial(check_error_of, script.main)

JPEG = b"\xff\xd8\xff\xe0" + practice_bytes(100_000)
PAGE = b"<!DOCTYPE html><title>Maintenance</title>"
OLD = b"what stood there before"
NEW = JPEG[:4] + b"new" * 30_000
VERSION = 'ETag: "version-1"'
TOKEN = "s3cret-token"
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, modes or limits")
Progress = list[tuple[int, "int | None"]]
Reply = Iterable["bytes | None"]


@contextmanager
def replying(*replies: Reply, tls: bool = False) -> Iterator[Wire]:
    """Answer each request with the next reply, block by block; None waits until the client leaves.

    What was asked stands in `requests` of the server.
    """
    turns = iter(replies)

    def play(connection: Connection) -> None:
        if connection.read_head():
            for block in next(turns):
                if block is None:
                    connection.receive(1)
                else:
                    connection.send(block)

    with serve(play, tls=tls) as wire:
        wire.url = wire.url.replace("/post", "/photo.jpg")
        yield wire


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


def chunked(*blocks: bytes) -> Iterator[bytes]:
    """Yield a chunked reply without its end."""
    yield head("Content-Type: image/jpeg", "Transfer-Encoding: chunked")
    for block in blocks:
        yield b"%x\r\n%b\r\n" % (len(block), block)


def note(calls: Progress) -> Callable[[int, int | None], None]:
    """Return an on_progress that notes its calls."""
    return lambda received, total: calls.append((received, total))


def find_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check_old_file(target: Path) -> None:
    assert target.exists(), "the old file is gone. Hint: write to a temporary file, then rename it"
    assert target.read_bytes() == OLD, "the old file was written to. Hint: check before you write"
    assert find_names(target.parent) == [target.name], "something is left beside the old file"


def check_refused(
    error: type[Exception], target: Path, *reply: bytes | None, **options: Any
) -> pytest.ExceptionInfo[Exception]:
    """Fail unless a reply costs this exception and leaves the old file; return the exception."""
    with replying(reply) as wire, pytest.raises(error) as caught:
        download_file(wire.url, target, **options)
    check_old_file(target)
    return caught


def ask(folder: Path, **options: Any) -> Request:
    """Download something; return the request as it came over the wire."""
    with replying(whole()) as wire:
        download_file(wire.url, folder / "photo.jpg", **options)
        return wire.requests[0]


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


@pytest.mark.parametrize("chunk_size", [1, 1023, 1025, 10_000_000])
def test_saves_the_same_bytes_whatever_the_chunk_size(chunk_size: int, target: Path) -> None:
    body = JPEG[:2000]
    for reply in (
        whole(body),
        [head("Content-Type: image/jpeg"), body],  # its end is the end of the connection
        [*chunked(*(body[start : start + 125] for start in range(0, 2000, 125))), b"0\r\n\r\n"],
    ):
        with replying(reply) as wire:
            download_file(wire.url, target, chunk_size=chunk_size)
        assert target.read_bytes() == body


def test_reports_progress_up_to_the_announced_total(target: Path) -> None:
    calls: Progress = []
    with replying(whole(), [head("Content-Type: image/jpeg"), JPEG]) as wire:
        download_file(wire.url, target, "image/", 10_000, on_progress=note(calls))
        download_file(wire.url, target, on_progress=note(calls))
    sizes = [received for received, total in calls if total]
    assert sizes == sorted(set(sizes)), f"called on_progress with {calls}: it must only grow"
    assert len(sizes) > 5
    assert (len(JPEG), len(JPEG)) in calls
    assert calls[-1] == (len(JPEG), None), "the second reply announced no length"


def test_keeps_memory_flat(target: Path) -> None:
    block, blocks = JPEG[:65_536], 256
    announced = head("Content-Type: image/jpeg", f"Content-Length: {blocks * len(block)}")
    with replying([announced, *[block] * blocks]) as wire:
        tracemalloc.start()
        try:
            download_file(wire.url, target)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert target.stat().st_size == blocks * len(block)
    assert peak < 4e6, f"{peak:,} bytes of memory for a file of 16 MB. Hint: stream=True"


def test_the_old_file_stands_until_the_new_one_is_whole(target: Path) -> None:
    seen: list[bytes] = []
    with replying(whole()) as wire:
        download_file(
            wire.url,
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
        with replying(whole()) as wire:
            path = download_file(wire.url, tmp_path / "new.jpg")
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
    with replying(*map(reply, bodies)) as wire:
        threads = [
            threading.Thread(target=download_file, args=(wire.url, target, "image/", 1000))
            for _ in bodies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert target.read_bytes() in bodies
    assert find_names(target.parent) == [target.name]


# --- the request: who may read what -------------------------------------------------------------


def test_a_token_goes_out_and_no_password_of_the_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_netrc(monkeypatch, tmp_path)
    plain = ask(tmp_path)
    assert plain.header("Authorization") is None, "requests sent the password of ~/.netrc"
    for resume in (False, True):
        request = ask(tmp_path, headers={"Authorization": f"Bearer {TOKEN}"}, resume=resume)
        assert request.header("Authorization") == f"Bearer {TOKEN}"
        assert NETRC_PASSWORD.encode() not in request.head


def test_user_and_password_of_an_address_go_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_netrc(monkeypatch, tmp_path)
    with replying(whole()) as wire:
        download_file(wire.url.replace("://", "://ada:pass%20word@"), tmp_path / "photo.jpg")
    assert wire.requests[0].header("Authorization") == "Basic YWRhOnBhc3Mgd29yZA=="  # RFC 7617


@pytest.mark.parametrize("resume", [False, True])
def test_range_and_encoding_stay_ours(resume: bool, tmp_path: Path) -> None:
    theirs = {
        "range": "bytes=10-",
        "IF-RANGE": '"theirs"',
        "accept-encoding": "gzip, zstd",
        "X-Mine": "1",
    }
    request = ask(tmp_path, headers=theirs, resume=resume)
    assert request.header("Range") is None
    assert request.header("If-Range") is None
    assert request.header("Accept-Encoding") == "identity", "a packed body can't be measured"
    assert request.header("X-Mine") == "1"


# --- the status ---------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("status", [103, 204, 206, 300, 302, 304, 404, 500, 520])
def test_any_status_but_200_is_an_http_error(
    status: int, resume: bool, server: PracticeServer, target: Path
) -> None:
    with pytest.raises(requests.HTTPError, match=f"^{status}") as caught:
        download_file(f"{server.url}/faults/status/{status}", target, resume=resume)
    assert getattr(caught.value.response, "status_code", None) == status
    check_old_file(target)


def test_a_hint_before_the_answer_is_not_the_answer(target: Path) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    error = check_refused(requests.HTTPError, target, hint, *whole()).value
    assert "103 Early Hints" in str(error)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("401 Unauthorized", "key"),
        ("403 Forbidden", "key"),
        ("404 Not Found", "address"),
        ("302 Found", "address"),
        ("429 Too Many Requests", "later"),
        ("503 Service Unavailable", "later"),
    ],
)
def test_an_error_names_the_status_the_servers_words_and_what_to_do(
    status: str, advice: str, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    says = b'{"detail": "no such picture",\n "code": 7}'
    reply = head("Content-Type: application/json", f"Content-Length: {len(says)}", status=status)
    text = f'{status} {{"detail": "no such picture", "code": 7}}'
    text = status if status == "302 Found" else text  # which tells where to, secrets and all
    assert str(check_refused(requests.HTTPError, target, reply, says).value) == text
    with replying((reply, says)) as wire:
        shown, _, said = check_error(capsys, wire.url).rpartition(" - ")
    assert shown == f"error: {text}"
    assert advice in said


def test_an_error_quotes_no_page_no_token_and_no_address(target: Path) -> None:
    for says, shown in (
        (PAGE, ""),
        (JPEG, ""),
        (f"bad key: {TOKEN}".encode(), " bad key: ***"),
        (b"no identity", " no identity"),  # which is also what we ask for, as a coding
    ):
        reply = head("Content-Type: text/plain", status="403 Forbidden")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        error = check_refused(requests.HTTPError, target, reply, says, headers=headers).value
        assert str(error) == f"403 Forbidden{shown}"


def test_an_error_without_a_reason_and_a_mocked_one_still_name_the_status(target: Path) -> None:
    for status, text in (("404", "404 Not Found"), ("520", "520")):
        error = check_refused(requests.HTTPError, target, head(status=f"{status} ")).value
        assert str(error) == text
    with responses.RequestsMock() as mock:
        mock.get("https://example.org/photo.jpg", status=520)
        with pytest.raises(requests.HTTPError, match=r"^520$"):
            download_file("https://example.org/photo.jpg", target)


# --- the header ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "media_type",
    ["image/jpeg", "IMAGE/JPEG; q=1", "  \t image/jpeg", "image/png", "image/jpeg, text/html"],
)
def test_takes_a_header_that_begins_as_expected(media_type: str, target: Path) -> None:
    with replying(whole(media_type=media_type)) as wire:
        download_file(wire.url, target, "Image/")
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
    check_refused(ContentTypeMismatch, target, head(*headers), JPEG)


@pytest.mark.parametrize("headers", [[], ["Content-Type:"]])
def test_who_expects_anything_still_expects_a_type(headers: list[str], target: Path) -> None:
    check_refused(ContentTypeMismatch, target, head(*headers), JPEG, expected_prefix="")


def test_looks_at_the_header_before_it_waits_for_the_body(target: Path) -> None:
    check_refused(ContentTypeMismatch, target, head("Content-Type: text/html"), None)


# --- the first bytes ----------------------------------------------------------------------------

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><text>schoen</text></svg>"
BOX = b"\x00\x00\x00\x18"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xd8\xff\xdb\x00",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\r",
        b"GIF89a\x10\x00\x10\x00",
        b"RIFF\x1a\x0a\x00\x00WEBPVP8 ",
        b"BM\x36\x00",
        b"II*\x00",
        b"\x00\x00\x01\x00\x01\x00",
        BOX + b"ftypavif",
        *[BOX + b"ftyp" + brand for brand in (b"heic", b"heix", b"mif1", b"mif2", b"avcs")],
        b"\x00\x00\x00\x0cJXL \r\n\x87\n",
        b"\xff\x0a",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"\xff\x4f\xff\x51",
        SVG,
        b"\xef\xbb\xbf\r\n" + SVG,
        b"<?xml version='1.0'?>\n<!-- drawn by hand -->\n<!DOCTYPE svg PUBLIC '-'>\n" + SVG,
        b"<!-- " + b"a licence " * 70 + b"-->" + SVG,
        b"<?xml version='1.0'?>\n<!-- " + b"a licence " * 200 + b"-->" + SVG,
        b"SIMPLE  =                    T / FITS, as telescopes write it" + b" " * 2000,
        b"P2\n# a grey map in letters\n2 1\n255\n0 255\n",
        b"/* XPM */\nstatic char *icon[] = {};",
        b"\x93 a kind of picture that nobody knows yet",
    ],
)
def test_takes_any_picture_even_one_that_it_does_not_know(body: bytes, target: Path) -> None:
    with replying(whole(body, media_type="image/x")) as wire:
        download_file(wire.url, target)
    assert target.read_bytes() == body


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "empty"),
        (PAGE, "HTML"),
        (b"\r\n" * 300 + PAGE, "HTML"),
        (b"\xef\xbb\xbf <HTML>", "HTML"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (b'{"error": "<svg> not found"}', "text"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "text"),
        (b"<?xml version='1.0'?><Error>" + b"why " * 1000 + b"<svg></Error>", "text"),
        ("Das Bild ist nicht mehr da, schöne Grüße".encode(), "text"),
        (("x" * 1023 + "öx" * 50_000).encode(), "text"),  # whichever letter we cut
    ],
)
def test_refuses_as_a_picture_what_is_none(body: bytes, kind: str, target: Path) -> None:
    error = check_refused(ContentTypeMismatch, target, *whole(body)).value
    assert kind in str(error)


@pytest.mark.parametrize(
    "page", [PAGE, b"\xef\xbb\xbf <HTML>", b"\n\n<html>", b"<head>", b"<body>", b"<script>"]
)
@pytest.mark.parametrize("chunk_size", [3, 100_000])
def test_refuses_an_html_page_that_the_header_hides(
    page: bytes, chunk_size: int, target: Path
) -> None:
    reply = whole(page, media_type="application/pdf")
    options: dict[str, Any] = {"expected_prefix": "application/", "chunk_size": chunk_size}
    error = check_refused(ContentTypeMismatch, target, *reply, **options)
    assert "HTML" in str(error.value)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/html; charset=utf-8", PAGE),
        ("application/xhtml+xml", b"<html xmlns='http://www.w3.org/1999/xhtml'>"),
        ("application/json", b'{"page": "<html>"}'),
        ("application/zip", b"PK\x03\x04"),
        ("text/plain", b""),
    ],
)
def test_takes_anything_else_that_is_what_it_says(
    media_type: str, body: bytes, target: Path
) -> None:
    with replying(whole(body, media_type=media_type)) as wire:
        download_file(wire.url, target, media_type.partition("/")[0])
    assert target.read_bytes() == body


# --- the length ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("size", [0, 300, 60_000, len(JPEG) - 1])
def test_a_body_that_is_cut_off_is_incomplete(
    size: int, tls: bool, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trust(monkeypatch, tmp_path.parent)
    blocks = filter(None, (JPEG[: size // 2], JPEG[size // 2 : size]))
    for reply in (cut(size), chunked(*blocks)):
        with replying(reply, tls=tls) as wire, suppress(IncompleteDownload):
            download_file(wire.url, target)
            pytest.fail(f"took {size:,} of {len(JPEG):,} bytes for all. Hint: count them")
        check_old_file(target)


@pytest.mark.slow
def test_a_body_that_stalls_is_incomplete(target: Path) -> None:
    check_refused(IncompleteDownload, target, *cut(60_000), None, timeout=(5, 0.5))


@pytest.mark.parametrize("size", [45, 60, 75, 79])
def test_headers_that_break_off_are_no_empty_file(size: int, target: Path) -> None:
    """http.client takes the end of the connection for the end of the headers."""
    reply = head("Content-Type: text/plain", "X-Id: 123", "Transfer-Encoding: chunked")
    check_refused(IncompleteDownload, target, reply[:size], expected_prefix="text/")


@pytest.mark.parametrize("length", ["Content-Length: 0", "Transfer-Encoding: chunked"])
def test_an_empty_file_is_one_where_the_server_says_so(length: str, target: Path) -> None:
    end = b"0\r\n\r\n" if "chunked" in length else b""
    with replying((head("Content-Type: text/plain", length), end)) as wire:
        download_file(wire.url, target, "text/")
    assert target.read_bytes() == b""


def test_a_chunk_that_is_cut_off_is_incomplete(target: Path) -> None:
    *blocks, last = chunked(JPEG[:1000], JPEG[1000:])
    check_refused(IncompleteDownload, target, *blocks, last[:50_000])


def test_refuses_what_is_announced_as_too_large_before_it_reads_it(target: Path) -> None:
    announced, _ = whole()
    error = check_refused(DownloadTooLarge, target, announced, None, max_bytes=len(JPEG) - 1)
    assert "100,004" in str(error.value)


def test_takes_exactly_max_bytes(target: Path) -> None:
    with replying(whole(), [head("Content-Type: image/jpeg"), JPEG]) as wire:
        for _ in range(2):
            download_file(wire.url, target, max_bytes=len(JPEG))
            assert target.read_bytes() == JPEG


@pytest.mark.parametrize("endless", ["plain", "gzip"])
def test_stops_an_endless_body_and_a_bomb_at_max_bytes(endless: str, target: Path) -> None:
    reply: Reply = [head("Content-Type: image/jpeg"), *itertools.repeat(JPEG, 1000)]
    if endless == "gzip":
        bomb = gzip.compress(JPEG[:4] + bytes(20_000_000))
        reply = whole(bomb, "Content-Encoding: gzip")
    received: Progress = []
    options: dict[str, Any] = {"max_bytes": 150_000, "on_progress": note(received)}
    check_refused(DownloadTooLarge, target, *reply, **options)
    assert max(received, default=(0, 0))[0] <= 150_000


# --- packed bodies ------------------------------------------------------------------------------


def test_unpacks_what_is_packed_though_it_asked_for_the_plain_file(target: Path) -> None:
    body = JPEG[:4] + b"\0" * 100_000
    for coding in ("gzip", "x-gzip", "GZIP"):
        progress: Progress = []
        with replying(whole(gzip.compress(body), f"Content-Encoding: {coding}")) as wire:
            download_file(wire.url, target, on_progress=note(progress))
        assert target.read_bytes() == body
        assert progress[-1] == (100_004, None), "the Content-Length is that of the packed body"


@pytest.mark.parametrize("coding", ["", "identity"])
def test_takes_what_says_that_it_is_not_packed(coding: str, target: Path) -> None:
    with replying(whole(JPEG, f"Content-Encoding: {coding}")) as wire:
        assert download_file(wire.url, target).read_bytes() == JPEG


@pytest.mark.parametrize("coding", ["zstd", "br", "compress", "gzip, br"])
def test_refuses_a_coding_that_it_did_not_ask_for(coding: str, target: Path) -> None:
    reply = whole(JPEG, f"Content-Encoding: {coding}")
    error = check_refused(ContentTypeMismatch, target, *reply)
    assert coding in str(error.value)


@pytest.mark.parametrize(
    ("media_type", "address", "name"),
    [
        ("application/x-tar", "backup.tar.gz", "backup"),
        ("application/x-tar", "backup.TGZ?version=2", "backup"),
        ("application/x-tar", "backup", "backup.tar.gz"),
        ("image/svg+xml", "logo.svgz", "logo"),
        ("application/gzip", "backup", "backup"),
        ("application/x-gzip", "backup", "backup"),
    ],
)
def test_an_archive_keeps_its_own_gzip(
    media_type: str, address: str, name: str, tmp_path: Path
) -> None:
    packed = gzip.compress(b"a tar, perhaps" * 1000)
    reply = whole(packed, "Content-Encoding: gzip", media_type=media_type)
    with replying(reply) as wire:
        url = wire.url.replace("photo.jpg", address)
        path = download_file(url, tmp_path / name, media_type)
    assert path.read_bytes() == packed


@pytest.mark.parametrize("damage", [slice(300), slice(0, 0)])
@pytest.mark.parametrize("media_type", ["image/jpeg", "application/gzip"])
def test_a_packed_body_that_is_cut_off_is_incomplete(
    damage: slice, media_type: str, target: Path
) -> None:
    packed = gzip.compress(JPEG)
    announced, _ = whole(packed, "Content-Encoding: gzip", media_type=media_type)
    check_refused(IncompleteDownload, target, announced, packed[damage], expected_prefix="")


def test_a_damaged_packed_body_is_incomplete(target: Path) -> None:
    check_refused(IncompleteDownload, target, *whole(b"no gzip" * 100, "Content-Encoding: gzip"))


# --- the disk -----------------------------------------------------------------------------------


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
    with replying(whole(), whole()) as wire:
        with full_disk(max_bytes), pytest.raises(OSError, match="too large"):
            download_file(wire.url, target)
        check_old_file(target)
        download_file(wire.url, target)
    assert target.read_bytes() == JPEG


def test_refuses_to_replace_what_is_no_file_before_it_asks(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with replying() as wire:
        with pytest.raises(OSError, match="folder is not a file"):
            download_file(wire.url, tmp_path / "folder")
        with pytest.raises(OSError, match="not a file"):
            download_file(wire.url, os.devnull)
        with pytest.raises(FileNotFoundError, match=r"no folder .*missing$"):
            download_file(wire.url, tmp_path / "missing" / "photo.jpg")
        assert wire.requests == []
    assert find_names(tmp_path) == ["folder"]


# --- resume -------------------------------------------------------------------------------------

PART = ["photo.jpg", "photo.jpg.part", "photo.jpg.part.etag"]


def begin(wire: Wire, target: Path, **options: Any) -> None:
    """Download the first part of what the server breaks off."""
    with pytest.raises(IncompleteDownload):
        download_file(wire.url, target, resume=True, **options)
    assert target.read_bytes() == OLD, "the old file stands until the new one is whole"


def check_resumed(wire: Wire, target: Path, expected: bytes = JPEG) -> None:
    """Fail unless the next call brings exactly `expected`."""
    download_file(wire.url, target, resume=True)
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
    kept = part.stat().st_size
    assert part.read_bytes() == practice_bytes(kept)
    progress: Progress = []
    download_file(url, target, "application/", 1000, resume=True, on_progress=note(progress))
    assert target.read_bytes() == practice_bytes(100_000)
    assert progress[0][0] > kept >= 39_000, "it began again"
    assert progress[-1] == (100_000, 100_000)
    assert find_names(tmp_path) == ["data.bin"]


def test_resume_asks_for_the_rest_of_the_same_version(target: Path) -> None:
    with replying(cut(60_000, VERSION), rest(60_000, VERSION)) as wire:
        begin(wire, target, chunk_size=1000)
        check_resumed(wire, target)
    first, second = wire.requests
    assert first.header("Range") is None
    assert second.header("Range") == "bytes=60000-"
    assert second.header("If-Range") == '"version-1"', "Hint: or the rest is of another file"


def test_resume_continues_as_often_as_it_takes(target: Path) -> None:
    piece = rest(80_000, VERSION, body=JPEG[:90_000], span="bytes 80000-89999/100004")
    broken = rest(60_000, VERSION)
    broken[1] = broken[1][:20_000]
    with replying(cut(60_000, VERSION), broken, piece, rest(90_000, VERSION)) as wire:
        begin(wire, target, chunk_size=1000)
        begin(wire, target, chunk_size=1000)
        begin(wire, target)
        check_resumed(wire, target)
    assert [request.header("Range") for request in wire.requests[1:]] == [
        "bytes=60000-",
        "bytes=80000-",
        "bytes=90000-",
    ]


def test_the_rest_is_not_taken_for_a_beginning(target: Path) -> None:
    body = JPEG[:60_000] + PAGE
    with replying(cut(60_000, VERSION, body=body), rest(60_000, VERSION, body=body)) as wire:
        begin(wire, target, chunk_size=1000)
        check_resumed(wire, target, body)


@pytest.mark.parametrize(
    "headers", [[], ['ETag: W/"version-1"'], [VERSION, "Content-Encoding: gzip"]]
)
def test_without_a_strong_etag_nothing_is_kept_and_that_is_said(
    headers: list[str], target: Path
) -> None:
    body = gzip.compress(JPEG) if len(headers) == 2 else JPEG
    with replying(cut(60_000, *headers, body=body), whole()) as wire:
        with pytest.raises(IncompleteDownload, match="can't resume"):
            download_file(wire.url, target, resume=True, chunk_size=1000)
        check_old_file(target)
        check_resumed(wire, target)
    assert wire.requests[1].header("Range") is None


def test_resume_does_not_mix_two_addresses_nor_note_them(target: Path) -> None:
    with replying(cut(60_000, VERSION), whole(NEW, VERSION)) as wire:
        wire.url = wire.url.replace("://", f"://me:{TOKEN}@")
        begin(wire, target, chunk_size=1000)
        for path in target.parent.iterdir():
            assert TOKEN.encode() not in path.read_bytes(), f"{path.name} holds the password"
        wire.url += "?another=file"  # that has the same ETag: they are unique per address only
        check_resumed(wire, target, NEW)
    assert wire.requests[1].header("Range") is None


def test_a_part_that_is_whole_already_becomes_the_file(target: Path) -> None:
    def stop_at_the_end(received: int, total: int | None) -> None:
        if received == total:
            raise KeyboardInterrupt

    none_left = [head("Content-Range: bytes */100004", status="416 Range Not Satisfiable")]
    with replying(whole(JPEG, VERSION), none_left, whole(JPEG, VERSION)) as wire:
        with pytest.raises(KeyboardInterrupt):
            download_file(wire.url, target, resume=True, on_progress=stop_at_the_end)
        check_resumed(wire, target)


@pytest.mark.parametrize("length", [0, 2, 1000])
def test_a_part_that_lost_its_end_does_no_harm(length: int, target: Path) -> None:
    reply = rest(length, VERSION) if length else whole(JPEG, VERSION)
    with replying(cut(60_000, VERSION), reply) as wire:
        begin(wire, target, chunk_size=1000)
        os.truncate(target.with_name("photo.jpg.part"), length)  # as a power failure may do
        check_resumed(wire, target)
    assert wire.requests[1].header("Range") == (f"bytes={length}-" if length else None)


@posix_only
def test_a_disk_that_is_still_full_costs_no_part(target: Path) -> None:
    with replying(cut(60_000, VERSION), rest(60_000, VERSION), rest(60_000, VERSION)) as wire:
        begin(wire, target, chunk_size=1000)
        with full_disk(5), pytest.raises(OSError, match="too large"):
            download_file(wire.url, target, resume=True)
        check_resumed(wire, target)
    assert wire.requests[2].header("Range") == "bytes=60000-"


@posix_only
def test_a_full_disk_leaves_a_part_that_does_no_harm(target: Path) -> None:
    for max_bytes in (5, 50_000):
        with replying(whole(JPEG, VERSION), whole(NEW)) as wire:
            with full_disk(max_bytes), pytest.raises(OSError, match="too large"):
                download_file(wire.url, target, resume=True)
            check_resumed(wire, target, NEW)
        target.write_bytes(OLD)


@pytest.mark.parametrize("resume", [False, True])
def test_leaves_alone_what_others_call_part(resume: bool, target: Path) -> None:
    browsers = target.with_name("photo.jpg.part")
    browsers.write_bytes(JPEG[:1000])
    for reply in ([head(status="404 Not Found")], whole(PAGE), cut(0)):
        with replying(reply) as wire, suppress(Exception):
            download_file(wire.url, target, resume=resume)
            pytest.fail("that was no picture")
        assert browsers.read_bytes() == JPEG[:1000]
        assert wire.requests[0].header("Range") is None


@pytest.mark.parametrize(
    "reply",
    [
        [head(status="503 Service Unavailable")],
        whole(PAGE, media_type="text/html"),  # a hotel's login page, perhaps
        whole(PAGE),
        cut(0),
    ],
)
def test_a_refused_answer_costs_no_part(reply: list[bytes], target: Path) -> None:
    with replying(cut(60_000, VERSION), reply, rest(60_000, VERSION)) as wire:
        begin(wire, target, chunk_size=1000)
        with suppress(ContentTypeMismatch, IncompleteDownload, requests.HTTPError):
            download_file(wire.url, target, resume=True)
            pytest.fail("that was no picture")
        assert find_names(target.parent) == PART
        check_resumed(wire, target)


def test_without_resume_a_part_is_neither_used_nor_removed(target: Path) -> None:
    with replying(cut(60_000, VERSION), whole(NEW, VERSION)) as wire:
        begin(wire, target, chunk_size=1000)
        download_file(wire.url, target)
    assert target.read_bytes() == NEW
    assert wire.requests[1].header("Range") is None
    assert find_names(target.parent) == PART


def test_max_bytes_counts_the_part_too(target: Path) -> None:
    with replying(cut(60_000, VERSION), rest(60_000, VERSION)) as wire:
        begin(wire, target, chunk_size=1000)
        with pytest.raises(DownloadTooLarge):
            download_file(wire.url, target, resume=True, max_bytes=len(JPEG) - 1)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        pytest.param([whole(NEW, 'ETag: "version-2"')], NEW, id="changed"),
        pytest.param([whole(JPEG, VERSION)], JPEG, id="range ignored"),
        pytest.param([rest(59_999, VERSION), whole()], JPEG, id="another part"),
        pytest.param([rest(60_001, VERSION), whole()], JPEG, id="another part, later"),
        pytest.param([rest(60_000, VERSION, span=" "), whole()], JPEG, id="no span"),
        pytest.param(
            [rest(60_000, VERSION, span="bytes 60000-100003/*"), whole()], JPEG, id="no total"
        ),
        pytest.param(
            [rest(60_000, VERSION, span="bytes 60000-50000/50001"), whole()], JPEG, id="shorter now"
        ),
        pytest.param([rest(60_000, body=NEW), whole(NEW)], NEW, id="no version"),
        pytest.param([rest(60_000, 'ETag: W/"version-1"'), whole()], JPEG, id="weak version"),
        pytest.param(
            [rest(60_000, 'ETag: "version-2"', body=NEW), whole(NEW)], NEW, id="another version"
        ),
        pytest.param([rest(60_000, VERSION, "Content-Encoding: gzip"), whole()], JPEG, id="packed"),
        pytest.param([[head(status="416 Range Not Satisfiable")], whole()], JPEG, id="416"),
    ],
)
def test_resume_starts_over_at_once_when_the_rest_is_not_to_be_had(
    replies: list[list[bytes]], expected: bytes, target: Path
) -> None:
    with replying(cut(60_000, VERSION), *replies) as wire:
        begin(wire, target, chunk_size=1000)
        check_resumed(wire, target, expected)
    spans = [request.header("Range") for request in wire.requests]
    assert spans == [None, "bytes=60000-", None][: 1 + len(replies)]


# --- resume: every kind of answer ---------------------------------------------------------------

FIRST, SECOND = JPEG[:6000], JPEG[:4] + JPEG[90_000:94_000]  # the file, and what becomes of it


class Kind(NamedTuple):
    """An answer: its status, the version that it is of, and what its headers say of that.

    No ETag lies: the strong one of a version comes with the bytes of that version only.
    """

    status: int
    body: bytes
    etag: str = "strong"
    content_range: str = "fits"
    starts: str = "where asked"
    framing: str = "length"
    is_cut: bool = False

    def answer(self, request: Request) -> bytes:
        """Return the answer to a request, with or without Range."""
        asked = int((request.header("Range") or "bytes=0-")[6:-1])
        size = len(self.body)
        starts = {"where asked": asked, "at 0": 0, "later": asked + 100, "behind the end": size}
        start = min(starts[self.starts], size) if self.status == 206 else 0
        data = self.body[start:] if self.status != 416 else b""
        lines = [f"HTTP/1.1 {self.status} OK", "Content-Type: application/x", "Connection: close"]
        name = "first" if self.body is FIRST else "second"
        etags = {"strong": f'"{name}"', "weak": f'W/"{name}"', "another's": 'W/"first"'}
        spans = {
            "fits": f"bytes {start}-{size - 1}/{size}",
            "as asked": f"bytes {asked}-{size - 1}/{size}",
            "no total": f"bytes {start}-{size - 1}/*",
            "short": f"bytes {start}-{size - 1}/{asked // 2}",
            "none left": f"bytes */{size}",
        }
        is_lie = self.content_range == "as asked" and start != asked  # then without an ETag
        if self.etag in etags and not is_lie:
            lines.append(f"ETag: {etags[self.etag]}")
        if self.content_range in spans:
            lines.append(f"Content-Range: {spans[self.content_range]}")
        if self.framing == "length":
            lines.append(f"Content-Length: {len(data)}")
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        if self.is_cut:
            data = data[: len(data) * 2 // 3]
        return "\r\n".join([*lines, "\r\n"]).encode() + data


def is_fair(kind: Kind) -> bool:
    """Leave out the one end that nobody can tell: no length, no chunks, and cut off."""
    return not (kind.is_cut and kind.framing == "until it closes" and kind.status == 200)


KINDS = st.builds(
    Kind,
    status=st.sampled_from([200, 206, 206, 206, 416]),
    body=st.sampled_from([FIRST, SECOND]),
    etag=st.sampled_from(["strong", "strong", "weak", "another's", "none"]),
    content_range=st.sampled_from(
        ["fits", "fits", "as asked", "no total", "short", "none left", ""]
    ),
    starts=st.sampled_from(["where asked", "where asked", "at 0", "later", "behind the end"]),
    framing=st.sampled_from(["length", "chunked", "until it closes"]),
    is_cut=st.booleans(),
).filter(is_fair)


@pytest.mark.slow
@given(st.lists(KINDS, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@example([Kind(206, SECOND)])  # If-Range is ignored, as aiohttp, tornado and serve-handler do
@example([Kind(206, SECOND, etag="none")])
@example([Kind(206, SECOND, etag="none", content_range="as asked", starts="at 0")])
@example([Kind(416, SECOND), Kind(206, SECOND, starts="later"), Kind(206, SECOND)])
@example([Kind(200, FIRST, content_range="short")])
def test_whatever_answers_resume_a_file_has_the_bytes_of_one_version(kinds: list[Kind]) -> None:
    turns = itertools.chain([Kind(200, FIRST, content_range="", is_cut=True)], kinds)
    usual = Kind(200, SECOND, content_range="")  # what comes when the server has recovered
    given_whole = []

    def play(connection: Connection) -> None:
        if request := connection.read_head():
            kind = next(turns, usual)
            if kind.status == 200 and not kind.is_cut:
                given_whole.append(kind.body)
            connection.send(kind.answer(request))

    with serve(play) as wire, tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "file.bin")
        for _ in range(len(kinds) + 2):  # each call takes at least one of them
            with suppress(IncompleteDownload, ContentTypeMismatch, requests.HTTPError):
                download_file(wire.url, target, "application/", 500, resume=True)
                break
            assert not target.exists()
            assert not given_whole, "the whole file came, and was not taken: this never ends"
        assert target.exists(), "it never ends"
        assert target.read_bytes() in (FIRST, SECOND), "these are the bytes of no version"
        assert find_names(Path(folder)) == ["file.bin"], "something is left"


# --- Ctrl-C and kill -9 -------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
def test_ctrl_c_leaves_nothing_or_the_part_that_resume_asks_for(resume: bool, target: Path) -> None:
    def press_ctrl_c(received: int, _total: int | None) -> None:
        if received >= 50_000:
            raise KeyboardInterrupt

    with replying(whole(JPEG, VERSION), rest(50_000, VERSION)) as wire:
        with pytest.raises(KeyboardInterrupt):
            download_file(
                wire.url, target, "image/", 10_000, resume=resume, on_progress=press_ctrl_c
            )
        if resume:
            check_resumed(wire, target)
            assert wire.requests[1].header("Range") == "bytes=50000-"
        else:
            check_old_file(target)


def stop_midway(
    wire: Wire, folder: Path, number: signal.Signals, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the script until some of the body stands on the disk, and send it a signal."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "download_file.py"), wire.url, *options],
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 100_000 for path in folder.iterdir()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


LARGE = JPEG * 20


@posix_only
@pytest.mark.slow
def test_ctrl_c_in_a_terminal_leaves_nothing_or_the_part_and_says_so(tmp_path: Path) -> None:
    with replying([*cut(1_000_000, VERSION, body=LARGE), None]) as wire:
        done = stop_midway(wire, tmp_path, signal.SIGINT)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
    assert find_names(tmp_path) == []
    with replying([*cut(1_000_000, VERSION, body=LARGE), None]) as wire:
        done = stop_midway(wire, tmp_path, signal.SIGINT, "--resume")
    assert done.returncode == 130
    assert "photo.jpg.part" in done.stderr
    assert find_names(tmp_path) == PART[1:]


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("etag", [VERSION, "X-None: 1"])
def test_after_kill_9_the_final_name_is_free_and_resume_goes_on_or_starts_over(
    etag: str, tmp_path: Path
) -> None:
    target, part = tmp_path / "photo.jpg", tmp_path / "photo.jpg.part"

    def go_on() -> Iterator[bytes]:
        yield from rest(part.stat().st_size, etag, body=LARGE)

    replies = [go_on()] if etag == VERSION else [whole(LARGE)]
    with replying([*cut(1_000_000, etag, body=LARGE), None], *replies) as wire:
        stop_midway(wire, tmp_path, signal.SIGKILL, "--resume")
        assert not target.exists()
        size = part.stat().st_size
        download_file(wire.url, target, resume=True)
    assert wire.requests[1].header("Range") == (f"bytes={size}-" if etag == VERSION else None)
    assert target.read_bytes() == LARGE
    assert find_names(tmp_path) == ["photo.jpg"]


# --- the command line ---------------------------------------------------------------------------


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
    monkeypatch.setenv("HTTPBIN_URL", server.url)
    assert run_main(capsys) == (0, "saved image.jpeg: 35,588 bytes\n", "")
    (folder / "image.jpeg").write_bytes(OLD)
    run_main(capsys)
    assert run_main(capsys) == (0, "saved image-2.jpeg: 35,588 bytes\n", "")
    assert (folder / "image.jpeg").read_bytes() == OLD, "the second run overwrote it"
    assert find_names(folder) == ["image-1.jpeg", "image-2.jpeg", "image.jpeg"]


def test_a_name_that_is_given_is_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pig.jpg").write_bytes(OLD)
    with replying(whole()) as wire:
        assert run_main(capsys, wire.url, "-o", "pig.jpg")[0] == 0
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
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("...", "download"),
        ("", "download"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_name_from_the_address_is_harmless(
    path: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with replying(whole()) as wire:
        code, _, error = run_main(capsys, wire.url.replace("photo.jpg", path))
    assert code == 0, error
    assert find_names(folder) == [expected], (
        f"called with .../{path}: Hint: it is not to be trusted"
    )
    assert find_names(folder.parent) == ["current"]


def test_a_dangling_link_is_not_overwritten_either(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photo.jpg").symlink_to("nowhere")
    with replying(whole()) as wire:
        assert run_main(capsys, wire.url)[0] == 0
    assert find_names(folder) == ["photo-1.jpg", "photo.jpg"]


@pytest.mark.parametrize(
    ("reply", "options", "words"),
    [
        (whole(PAGE, media_type="text/html"), [], ["text/html", "image/", "browser"]),
        (whole(media_type="application/octet-stream"), [], ["--expect application/"]),
        (cut(0, VERSION), [], ["broke", "again, with resume"]),
        (cut(0), [], ["broke", "can't resume"]),
        (whole(), ["--max-bytes", "1000"], ["100,004", "max_bytes", "1,000"]),
        ([head(status="404 Not Found")], [], ["404 Not Found", "address"]),
        ([], ["-o", "missing/photo.jpg"], ["no folder missing"]),
        (whole(), ["-o", "."], [". is not a file"]),
        ([], [], ["hung up"]),
    ],
)
def test_a_failure_is_one_line_that_says_what_to_do(
    reply: Reply,
    options: list[str],
    words: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with replying(reply) as wire:
        error = check_error(capsys, wire.url, *options)
    for word in words:
        assert word in error
    assert find_names(folder) == []


def test_resume_that_can_keep_nothing_calls_nothing_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with replying(cut(60_000, 'ETag: W/"weak"')) as wire:
        error = check_error(capsys, wire.url, "--resume")
    assert "can't resume" in error
    assert "kept" not in error
    assert "keeps" not in error
    assert find_names(folder) == []


def test_a_server_cannot_write_on_the_terminal(
    capsys: pytest.CaptureFixture[str], target: Path
) -> None:
    for reply in (
        whole(media_type="text/\x1b]0;owned\x07"),
        [head("Content-Type: text/plain", status="404 \x1b[31mRED"), b"\x1b[31mRED"],
    ):
        with replying(reply) as wire:
            error = check_error(capsys, wire.url, "-o", target)
        assert "\x1b" not in error


@pytest.mark.parametrize("url", ["http://[", "photo.jpg", "ftp://127.0.0.1/photo.jpg", "http://"])
def test_an_address_that_is_none_is_one_line(
    url: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_error(capsys, url)
    assert find_names(folder) == []


def test_no_error_shows_the_address_or_what_it_holds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = f"ada:{TOKEN}@"
    for url in (NOWHERE, "http://no-such-host.invalid", "http://[", "ftp://127.0.0.1"):
        error = check_error(
            capsys, url.replace("://", f"://{secret}") + f"/a.jpg?signature={TOKEN}"
        )
        assert TOKEN not in error
    with replying([head(status="403 Forbidden")]) as wire:
        error = check_error(capsys, wire.url.replace("://", f"://{secret}"))
        assert TOKEN not in error


def test_over_tls_only_a_certificate_is_a_matter_of_trust(
    server: PracticeServer,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with replying([], tls=True) as wire:
        assert "REQUESTS_CA_BUNDLE" in check_error(capsys, wire.url)
        trust(monkeypatch, folder.parent)
        assert "hung up" in check_error(capsys, wire.url)
    error = check_error(capsys, server.url.replace("http:", "https:"))
    assert "http://" in error, "that port speaks no TLS"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "missing.pem")
    assert "missing.pem" in check_error(capsys, "https://127.0.0.1/photo.jpg")


@pytest.mark.slow
def test_silence_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with silent() as wire, pytest.raises(requests.ReadTimeout):
        download_file(wire.url, folder / "photo.jpg", timeout=0.3)


def test_a_server_that_is_down_leads_to_the_practice_server(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, python in (("", "python"), ("/usr/bin/uv", "uv run")):
        monkeypatch.setenv("UV", variable) if variable else monkeypatch.delenv("UV", raising=False)
        error = check_error(capsys, f"{NOWHERE}/photo.jpg", "-o", "my pig.jpg", "--resume")
        command = error.partition(" - try: ")[2]
        assert command.startswith(f"{python} ")
        assert command.endswith('offline.py download_file.py -o "my pig.jpg" --resume')
    assert find_names(folder) == []


def test_goes_on_with_resume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def go_on() -> Iterator[bytes]:
        size = (folder / "photo.jpg.part").stat().st_size
        yield from rest(size, VERSION, body=LARGE)

    with replying(cut(1_000_000, VERSION, body=LARGE), go_on()) as wire:
        check_error(capsys, wire.url, "--resume")
        assert find_names(folder) == PART[1:]
        code, out, _ = run_main(capsys, wire.url, "--resume")
    assert (code, out) == (0, "saved photo.jpg: 2,000,080 bytes\n")
    assert (folder / "photo.jpg").read_bytes() == LARGE
    assert find_names(folder) == ["photo.jpg"]


def test_prints_a_line_for_every_10_percent(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with replying(whole(JPEG * 100), whole(JPEG * 100), whole()) as wire:
        _, _, err = run_main(capsys, wire.url)
        percents = [int(line.partition("%")[0]) for line in err.splitlines()]
        assert percents == sorted(percents)
        assert len(percents) == 9, "10 to 90: at 100 it says that it has saved the file"
        assert "10,000,400" in err.splitlines()[-1]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", None)  # as under pythonw, or with 2>&-
            assert call_main(script.main, wire.url) == 0
        assert run_main(capsys, wire.url)[2] == "", "what comes at once needs no progress"


def test_takes_another_type_with_expect(
    folder: Path, server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(capsys, f"{server.url}/json", "--expect", "application/json")[0] == 0
    assert find_names(folder) == ["json"]
