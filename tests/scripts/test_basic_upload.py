"""Checks of basic_upload.py: the bytes that travel, their names and fields, what the CLI shows."""

from __future__ import annotations

import io
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from conftest import NOWHERE, SAMPLES
from conftest import check_error as check_error_of
from conftest import run_main as run_main_of
from offline import PracticeServer

import basic_upload

run_main = partial(run_main_of, basic_upload.main)
check_error = partial(check_error_of, basic_upload.main)

URL = "https://upload.example/post"
ALL_BYTES = bytes(range(256))
PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
Upload = Callable[..., requests.Response]


def parse_parts(request: requests.PreparedRequest) -> dict[str, Any]:
    """Return the parts of a multipart request by field name, as the email package reads them."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    assert isinstance(request.body, bytes), "the body is not multipart/form-data. Hint: use files="
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    assert message.is_multipart(), (
        f"Content-Type: {request.headers['Content-Type']} doesn't fit the body. "
        "Hint: let requests set it, for it knows the boundary"
    )
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


def capture(upload: Upload, path: Path, **options: Any) -> dict[str, Any]:
    """Upload to a mocked server; return the parts of the request that it got."""
    with responses.RequestsMock() as mock:
        mock.post(URL)
        upload(path, URL, **options)
        return parse_parts(mock.calls[0].request)


@contextmanager
def raw_server(reply: bytes) -> Iterator[tuple[str, bytearray]]:
    """Serve one connection: read a request, send `reply`, close. Yields the URL, what it read."""
    received = bytearray()

    def serve() -> None:
        with listener.accept()[0] as connection, connection.makefile("rb") as stream:
            while not received.endswith(b"\r\n\r\n"):
                received.extend(stream.readline())
            length = re.search(rb"(?i)content-length: (\d+)", received)
            received.extend(stream.read(int(length[1]) if length else 0))
            connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/post", received
        thread.join()


# --- the bytes of the file ---------------------------------------------------------------------


def check_bytes(upload: Upload, folder: Path) -> None:
    """Fail unless what arrives are the bytes on disk, whatever they are."""
    for name, data in {
        "all.bin": ALL_BYTES * 40,
        "head.png": PNG_HEAD,
        "lines.txt": b"one\r\ntwo\nthree\r",
        "latin.txt": "Grüße".encode("latin-1"),
        "empty.txt": b"",
    }.items():
        path = folder / name
        path.write_bytes(data)
        sent = capture(upload, path)["file"].get_payload(decode=True)
        assert sent == data, (
            f"uploaded {name}: got {sent[:20]!r}, expected {data[:20]!r}. "
            'Hint: open(path, "rb"), for text mode decodes and changes line ends'
        )


def upload_in_text_mode(path: Path, url: str) -> requests.Response:
    """The beginner's bug, as it goes on Windows: no error, other bytes."""
    with open(path, encoding="cp1252", errors="replace") as handle:
        return requests.post(url, files={"file": handle.read()}, timeout=5)


def upload_line_by_line(path: Path, url: str) -> requests.Response:
    """Binary mode does not help when the lines are stripped."""
    data = b"\n".join(path.read_bytes().splitlines())
    return requests.post(url, files={"file": data}, timeout=5)


def test_sends_the_bytes_on_disk(tmp_path: Path) -> None:
    check_bytes(basic_upload.upload_file, tmp_path)


@pytest.mark.parametrize("wrong", [upload_in_text_mode, upload_line_by_line])
def test_the_check_of_the_bytes_sees_a_wrong_upload(wrong: Upload, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match='Hint: open\\(path, "rb"\\)'):
        check_bytes(wrong, tmp_path)


def test_a_real_server_receives_the_same_bytes(server: PracticeServer, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("Grüße\r\n".encode())
    echo = basic_upload.upload_file(path, f"{server.url}/post").json()
    assert echo["files"] == {"file": "Grüße\r\n"}


# --- name, media type and fields ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("me.JPG", "image/jpeg"),
        ("me.png", "image/png"),
        ("bill.pdf", "application/pdf"),
        ("notes.txt", "text/plain"),
        ("data.unheard-of", "application/octet-stream"),
        ("README", "application/octet-stream"),
    ],
)
def test_names_the_file_and_its_media_type(name: str, media_type: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PNG_HEAD)
    part = capture(basic_upload.upload_file, tmp_path / name)["file"]
    assert part.get_filename() == name
    assert part.get_content_type() == media_type, (
        f"{name} went as {part.get_content_type()}, expected {media_type}. "
        "Hint: files={field: (name, handle, media_type)}, for requests does not guess"
    )


def test_field_and_media_type_are_the_callers_choice(tmp_path: Path) -> None:
    (tmp_path / "me.png").write_bytes(PNG_HEAD)
    parts = capture(
        basic_upload.upload_file, tmp_path / "me.png", field="avatar", media_type="image/apng"
    )
    assert list(parts) == ["avatar"]
    assert parts["avatar"].get_content_type() == "image/apng"


def check_metadata(upload: Upload, folder: Path) -> None:
    """Fail unless the metadata arrive as form fields beside the file."""
    path = folder / "me.png"
    path.write_bytes(PNG_HEAD)
    parts = capture(upload, path, metadata={"caption": "früh=spät", "album": ""})
    del parts["file"]
    fields = {name: part.get_payload(decode=True).decode() for name, part in parts.items()}
    assert fields == {"caption": "früh=spät", "album": ""}, (
        f"the form fields were {fields}. Hint: data=metadata; json= beside files= is dropped"
    )


def upload_with_json(path: Path, url: str, metadata: dict[str, str]) -> requests.Response:
    """`requests` drops json= in silence when there is files=."""
    with open(path, "rb") as handle:
        return requests.post(url, files={"file": handle}, json=metadata, timeout=5)


def upload_with_a_header_by_hand(
    path: Path, url: str, metadata: dict[str, str]
) -> requests.Response:
    """The header without the boundary: no server can tell the parts."""
    headers = {"Content-Type": "multipart/form-data"}
    with open(path, "rb") as handle:
        return requests.post(url, files={"file": handle}, data=metadata, headers=headers, timeout=5)


def test_metadata_travel_as_form_fields(tmp_path: Path) -> None:
    check_metadata(basic_upload.upload_file, tmp_path)


@pytest.mark.parametrize("wrong", [upload_with_json, upload_with_a_header_by_hand])
def test_the_check_of_the_metadata_sees_a_wrong_upload(wrong: Upload, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Hint: (data=metadata|let requests set it)"):
        check_metadata(wrong, tmp_path)


@pytest.mark.parametrize("name", ['a"b.txt', "a\r\nX-Evil: 1\r\n.txt", os.fsdecode(b"\xff.txt")])
def test_a_hostile_file_name_stays_a_name(name: str, tmp_path: Path) -> None:
    try:
        (tmp_path / name).write_bytes(b"x")
    except (OSError, UnicodeError):
        pytest.skip("this system's files can't have such a name")
    part: Message = capture(basic_upload.upload_file, tmp_path / name)["file"]
    assert part.keys() == ["Content-Disposition", "Content-Type"], "the name forged a header"
    assert part.get_payload(decode=True) == b"x"


def test_refuses_a_media_type_that_forges_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    for media_type in ("text/plain\r\nX-Evil: 1", "text/plain\nX-Evil: 1", "text/plain\r"):
        with responses.RequestsMock(), pytest.raises(ValueError, match="line breaks"):
            basic_upload.upload_file(tmp_path / "a.txt", URL, media_type=media_type)


# --- status, timeout, redirects ----------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404, 413, 500])
def test_raises_for_a_status_that_is_no_success(status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, status=status)
        with pytest.raises(requests.HTTPError) as caught:
            basic_upload.upload_file(SAMPLES / "avatar.png", URL)
    assert caught.value.response.status_code == status


def test_waits_no_longer_than_the_timeout_allows() -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL)
        basic_upload.upload_file(SAMPLES / "avatar.png", URL)
        basic_upload.upload_file(SAMPLES / "avatar.png", URL, timeout=(1, 2))
        timeouts = [vars(call.request)["req_kwargs"]["timeout"] for call in mock.calls]
    assert timeouts == [(5, 30), (1, 2)], f"the timeouts were {timeouts}. Hint: timeout=timeout"


def test_sends_nothing_when_the_file_is_missing(tmp_path: Path) -> None:
    with responses.RequestsMock() as mock, pytest.raises(FileNotFoundError):
        basic_upload.upload_file(tmp_path / "missing.png", URL)
    assert not mock.calls


def test_a_redirect_gets_the_whole_file_again() -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, status=307, headers={"Location": "/moved"})
        mock.post("https://upload.example/moved")
        basic_upload.upload_file(SAMPLES / "avatar.png", URL)
        bodies = [call.request.body for call in mock.calls]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]


# --- what the command line shows ---------------------------------------------------------------


def test_shows_what_was_sent_and_what_the_server_received(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.url}/post"
    code, out, err = run_main(capsys, SAMPLES / "avatar.png", "--meta", "caption=a=b", "--url", url)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"POST {url}: 200"
    assert re.fullmatch(r"Content-Type: multipart/form-data; boundary=\w+", lines[1])
    size = (SAMPLES / "avatar.png").stat().st_size
    assert lines[3:] == [
        "received 'caption': 'a=b'",
        f"received 'file': {size:,} bytes, the same as on disk",
    ]


def test_tells_when_the_server_received_other_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, body='{"form": {}, "files": {"file": "other"}}')
        code, out, _ = run_main(capsys, SAMPLES / "avatar.png", "--url", URL)
    assert code == 0
    assert out.endswith("bytes, NOT the same as on disk\n")


@pytest.mark.parametrize("path", ["/sink", "/status/204"])
def test_another_server_may_answer_as_it_likes(
    path: str, server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(capsys, "--url", server.url + path)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 3, f"printed {out!r}"


@pytest.mark.parametrize("target", ["/get", "/post"])  # 200, and 405 that would hide the cause
def test_a_redirect_that_loses_the_file_is_an_error(
    target: str, server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """301, 302 and 303 make a GET of the POST: the second server answers 200 and got no file."""
    code, out, err = run_main(capsys, "--url", f"{server.url}/redirect-to?url={target}")
    assert code == 1, f"exit code {code}, although no file arrived: {out}"
    assert "the file got lost" in err


def hide_boundary(text: str) -> str:
    """Return the text with each boundary, 32 random hex digits, made the same."""
    return re.sub(r"[0-9a-f]{32}", "0" * 32, text)


def test_show_body_prints_the_request_that_goes_over_the_wire(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("zwei\r\nfür\tzwei\\".encode())
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (url, received):
        code, out, _ = run_main(capsys, path, "--meta", "a=b", "--show-body", "--url", url)
        assert (code, bytes(received)) == (0, b""), "--show-body sent something"
        basic_upload.upload_file(path, url, metadata={"a": "b"})
    head, _, body = received.decode("latin-1").partition("\r\n\r\n")
    shown, _, hint = out.partition("\n\nWith json=")
    shown_head, _, shown_body = shown.partition("\n\n")
    assert hide_boundary(shown_head).splitlines() == hide_boundary(head).splitlines()
    printed = shown_body.replace("\n", "").encode().decode("unicode_escape")  # \r\n means CRLF
    assert hide_boundary(printed) == hide_boundary(body)
    assert all(line.endswith(r"\r\n") for line in shown_body.splitlines()), "one line, one CRLF"
    assert "silently dropped" in hint


def test_show_body_shortens_what_is_binary_but_not_a_caption(
    capsys: pytest.CaptureFixture[str],
) -> None:
    caption = "a caption of some forty letters, with ä"
    code, out, _ = run_main(
        capsys, SAMPLES / "avatar.png", "--show-body", "--meta", f"caption={caption}"
    )
    size = (SAMPLES / "avatar.png").stat().st_size
    assert code == 0
    assert rf"\x89PNG\r\n\x1a\n\x00\x00\x00\r [{size - 12:,} bytes] \r\n" in out.splitlines()
    assert caption.replace("ä", r"\xc3\xa4") + r"\r\n" in out.splitlines()
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("size", [13, 14, 15, 19, 20, 40, 80, 81])
def test_show_body_fits_binary_of_any_length_into_80_columns(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff" * size)
    _, out, _ = run_main(capsys, tmp_path / "a.bin", "--show-body")
    assert max(map(len, out.splitlines())) <= 80
    (shown,) = [line for line in out.splitlines() if line.startswith(r"\xff")]
    assert len(shown) == 4 * size + 4 or f"[{size - 12} bytes]" in shown


@pytest.mark.parametrize("content", [b"no such word", b'json={"caption": "me"}'])
def test_show_body_says_that_json_and_files_do_not_mix(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    _, out, _ = run_main(capsys, tmp_path / "a.txt", "--show-body")
    assert out.splitlines()[-1].startswith("With json={...} beside files= the JSON is silently")


PEEKS = {
    PNG_HEAD: [
        "head.bin begins with",
        "  89 50 4e 47 0d 0a 1a 0a 00 00 00 0d 49 48 44 52",
        r"  \x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        "It announces a PNG picture.",
        "Opened as utf-8 text: UnicodeDecodeError at byte 0, 0x89",
        "Opened as cp1252 text: no error, but 16 bytes became 17, 2 line ends changed",
        r"  \xe2\x80\xb0PNG\n\x1a\n\x00\x00\x00\nIHDR",
    ],
    b"a\r\nb\n": [
        "head.bin begins with",
        "  61 0d 0a 62 0a",
        r"  a\r\nb\n",
        "It announces no type that we know; perhaps text.",
        "Opened as utf-8 text: no error, but 5 bytes became 4, 1 line ends changed",
        r"  a\nb\n",
        "Opened as cp1252 text: no error, but 5 bytes became 4, 1 line ends changed",
        r"  a\nb\n",
    ],
    b"plain": [
        "head.bin begins with",
        "  70 6c 61 69 6e",
        "  plain",
        "It announces no type that we know; perhaps text.",
        "Opened as utf-8 text: the same bytes",
        "Opened as cp1252 text: the same bytes",
    ],
    b"": ["head.bin is empty"],
}


@pytest.mark.parametrize("data", PEEKS)
def test_peek_shows_what_the_first_bytes_are_and_what_text_mode_makes_of_them(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "head.bin"
    path.write_bytes(data)
    code, out, _ = run_main(capsys, path, "--peek", "--url", NOWHERE)
    assert code == 0
    assert out.splitlines() == PEEKS[data]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"GIF89a", "a GIF picture"),
        (b"RIFF\x00\x00\x00\x00WEBP", "RIFF: WebP, WAV or AVI; bytes 8 to 11 tell"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive, as docx and xlsx are"),
    ],
)
def test_peek_knows_a_file_by_its_magic_bytes_not_by_its_name(
    head: bytes, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.png").write_bytes(head)
    _, out, _ = run_main(capsys, tmp_path / "photo.png", "--peek")
    assert f"It announces {kind}." in out.splitlines()


def test_peek_blames_no_letter_that_it_cut_in_two_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("fifteen letters€".encode())
    _, out, _ = run_main(capsys, path, "--peek")
    assert "Opened as utf-8 text: the same bytes" in out.splitlines()
    path.write_bytes(b"cut\xe2\x82")
    _, out, _ = run_main(capsys, path, "--peek")
    assert "Opened as utf-8 text: UnicodeDecodeError at byte 3, 0xe2" in out.splitlines()


def test_shows_any_file_name_on_a_console_that_lacks_its_letters(
    server: PracticeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grüße.txt").write_bytes(b"x")
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii"))
    assert basic_upload.main([str(tmp_path / "grüße.txt"), "--peek"]) == 0
    assert screen.getvalue().startswith(rb"gr\xfc\xdfe.txt begins with")


# --- errors: one line, and what to do ----------------------------------------------------------


def test_names_what_is_missing_or_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--peek"], ["--show-body"]):
        assert "missing.png" in check_error(capsys, tmp_path / "missing.png", *options)
        assert str(tmp_path) in check_error(capsys, tmp_path, *options)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_never_waits_for_a_named_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for options in ([], ["--peek"], ["--show-body"]):
        assert "not a file" in check_error(capsys, tmp_path / "pipe", *options)


def test_gives_the_offline_command_when_the_server_is_down(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = check_error(capsys, "--url", NOWHERE)
    assert error == "error: can't connect - try: uv run tests/offline.py basic_upload.py\n"


def test_names_the_status_that_the_server_answers(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "404 NOT FOUND" in check_error(capsys, "--url", f"{server.url}/nothing/here")


def test_does_not_take_a_server_that_hangs_up_for_one_that_is_down(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with raw_server(b"") as (url, _):
        assert "larger than the server takes" in check_error(capsys, "--url", url)


def test_names_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no-scheme" in check_error(capsys, "--url", "no-scheme")


@pytest.mark.parametrize("arguments", [["--meta", "no-value"], ["--peek", "--show-body"], ["-x"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        basic_upload.main(arguments)
    assert exit_.value.code == 2
    assert "usage: " in capsys.readouterr().err
