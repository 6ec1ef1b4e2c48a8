"""Checks of basic_upload.py: the bytes that travel, who may read what, and what is shown."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
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
from wire import (
    NETRC_PASSWORD,
    OK,
    Connection,
    Request,
    canned,
    put_netrc,
    refuses_midway,
    serve,
    silent,
    trust,
)

import basic_upload
from basic_upload import upload_file

run_main = partial(run_main_of, basic_upload.main)
check_error = partial(check_error_of, basic_upload.main)

URL = "https://upload.example/post"
AVATAR = SAMPLES / "avatar.png"
PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
TOKEN = "s3cret-token"


def parse_parts(request: Request) -> dict[str, Any]:
    """Return the parts of a multipart request by field name, as the email package reads them."""
    head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    assert message.is_multipart(), f"Content-Type {request.header('Content-Type')} doesn't fit"
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


def send(path: Path, **options: Any) -> Request:
    """Upload a file; return the request as it came over the wire."""
    with canned(OK) as wire:
        upload_file(path, wire.url, **options).close()
        return wire.requests[0]


def answer(status: str, body: str = "", media_type: str = "text/plain") -> bytes:
    """Return an answer as it goes over the wire: `answer("413 Too Large", "at most 1 MB")`."""
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + data


def cut_off(status: str) -> bytes:
    """Return an answer that ends before its end."""
    return answer(status, "at most 1 MB").replace(b": 12", b": 99")


def fail_with(*answers: bytes, **options: Any) -> requests.HTTPError:
    """Upload to a server that gives these answers; return the exception that it costs."""
    with canned(*answers) as wire, pytest.raises(requests.HTTPError) as caught:
        upload_file(AVATAR, wire.url, **options)
    return caught.value


# --- the bytes, their name and what travels beside them ----------------------------------------


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 4000, PNG_HEAD, b"one\r\ntwo\nthree\r", b"Gr\xfc\xdfe", b""]
)
def test_sends_the_bytes_on_disk(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(data)
    request = send(tmp_path / "file.bin")
    assert parse_parts(request)["file"].get_payload(decode=True) == data
    assert len(request.body) == request.length


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
    part = parse_parts(send(tmp_path / name))["file"]
    assert (part.get_filename(), part.get_content_type()) == (name, media_type)


def test_field_and_media_type_are_the_callers_choice() -> None:
    parts = parse_parts(send(AVATAR, field="avatar", media_type="image/apng"))
    assert list(parts) == ["avatar"]
    assert parts["avatar"].get_content_type() == "image/apng"


def test_metadata_travel_as_form_fields() -> None:
    parts = parse_parts(send(AVATAR, metadata={"caption": "früh=spät", "album": ""}))
    del parts["file"]
    fields = {name: part.get_payload(decode=True).decode() for name, part in parts.items()}
    assert fields == {"caption": "früh=spät", "album": ""}


@pytest.mark.parametrize("name", ['a"b.txt', "a\r\nX-Evil: 1\r\n.txt"])
def test_a_hostile_file_name_stays_a_name(name: str, tmp_path: Path) -> None:
    try:
        (tmp_path / name).write_bytes(b"x")
    except OSError:
        pytest.skip("this system's files can't have such a name")
    part: Message = parse_parts(send(tmp_path / name))["file"]
    assert part.keys() == ["Content-Disposition", "Content-Type"], "the name forged a header"


def test_what_is_no_path_is_refused_and_not_cut_at_its_packed_size(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wb") as file:
        file.write(bytes(10_000))
    with gzip.open(tmp_path / "a.gz") as handle, pytest.raises(TypeError):
        upload_file(handle, NOWHERE)  # type: ignore[arg-type]


# --- whose password goes where -----------------------------------------------------------------


def test_a_password_in_netrc_neither_goes_out_nor_replaces_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_netrc(monkeypatch, tmp_path)
    assert send(AVATAR).header("Authorization") is None
    with_token = send(AVATAR, headers={"Authorization": f"Bearer {TOKEN}"})
    assert with_token.header("Authorization") == f"Bearer {TOKEN}"


def test_a_password_in_the_address_goes_to_the_server() -> None:
    with canned(OK) as wire:
        upload_file(AVATAR, wire.url.replace("//", "//me:secret@")).close()
    assert wire.requests[0].header("Authorization") == "Basic bWU6c2VjcmV0"


def test_a_callers_content_type_does_not_cost_the_boundary() -> None:
    request = send(AVATAR, headers={"content-type": "multipart/form-data", "X-Trace": "7"})
    assert request.header("X-Trace") == "7"
    assert list(parse_parts(request)) == ["file"]


@pytest.mark.parametrize("token", ["secret12", TOKEN, TOKEN * 300])
@pytest.mark.parametrize("words", ["no such key: {}", '{{"got": "Bearer {}"}}'])
def test_an_error_repeats_no_token(words: str, token: str) -> None:
    for headers in ({"Authorization": f"Bearer {token}"}, {"X-Api-Key": token}):
        error = fail_with(answer("401 Unauthorized", words.format(token)), headers=headers)
        assert token not in str(error)
        assert words.format("***") in str(error), "the cause is lost with it"


def test_an_error_shows_no_password_of_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    with canned(answer("403 Forbidden"), b"") as wire:
        for url in (wire.url, wire.url, NOWHERE, "http://:x/", "ftp://127.0.0.1"):
            error = check_error(capsys, "--url", url.replace("//", "//me:p4ss-w0rd@") + "?sig=123")
            assert not re.search(r"p4ss|sig=", error), error
    mistyped = ["me:p4ss-w0rd@127.0.0.1/post", "http:/me:p4ss-w0rd@127.0.0.1/post"]
    for url in (*mistyped, "http://p4ss-w0rd:p4ss#w0rd@127.0.0.1/post"):
        for option in ([], ["--show-body"]):
            error = check_error(capsys, "--url", url, *option)
            assert "address" in error
            assert "p4ss" not in error, error


# --- a line that takes its time ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("timeout", [0.2, (5, 0.05)])
def test_a_server_that_never_answers_is_given_up(timeout: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    with silent() as wire, pytest.raises(requests.ReadTimeout):
        upload_file(tmp_path / "a.txt", wire.url, timeout=timeout)


def test_waits_10_seconds_for_a_dead_host_and_30_for_an_answer(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    with responses.RequestsMock() as mock:
        mock.post(URL)
        upload_file(tmp_path / "a.txt", URL)
        connect, read = vars(mock.calls[0].request)["req_kwargs"]["timeout"]
    assert (connect, round(read)) == (10, 30)


# --- answers -----------------------------------------------------------------------------------


def test_a_redirect_that_asks_for_the_file_again_gets_all_of_it() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /new\r\nConnection: close\r\n\r\n"
    with canned(moved, OK) as wire:
        upload_file(AVATAR, wire.url).close()
    old, new = wire.requests
    assert new.line == "POST /new HTTP/1.1"
    assert new.body == old.body
    assert AVATAR.read_bytes() in new.body


@pytest.mark.parametrize("final", [OK, answer("405 Method Not Allowed")])
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_loses_the_file_is_an_error(status: int, final: bytes) -> None:
    moved = f"HTTP/1.1 {status} Moved\r\nLocation: /new\r\nConnection: close\r\n\r\n".encode()
    assert str(fail_with(moved, final)) == f"{status} Moved"


def test_a_form_that_answers_with_a_redirect_has_not_lost_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Flask's own example of an upload stores the file, and redirects to its page."""
    words = b"Found. Redirecting to https://host/new?sig=p4ss"  # as Express says
    moved = b"HTTP/1.1 302 FOUND\r\nLocation: /new\r\nConnection: close\r\n\r\n"
    with canned(moved + words, OK) as wire:
        assert "302 FOUND - the file may have arrived" in check_error(capsys, "--url", wire.url)


@pytest.mark.parametrize("status", ["302 Found", "300 Multiple Choices", "304 Not Modified"])
def test_a_redirect_without_a_place_is_no_success(status: str) -> None:
    assert str(fail_with(answer(status))).startswith(status)


def test_a_hint_before_the_answer_is_not_taken_for_one(server: PracticeServer) -> None:
    with pytest.raises(requests.HTTPError, match=r"^103 Early Hints$"):
        upload_file(AVATAR, f"{server.url}/faults/hint")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("103 Early Hints", "may have arrived"),
        ("302 Found", "check the address"),
        ("400 Bad Request", "check the address"),
        ("401 Unauthorized", "check the key"),
        ("403 Forbidden", "check the key"),
        ("404 Not Found", "check the address"),
        ("413 Payload Too Large", "smaller file"),
        ("429 Too Many Requests", "later"),
        ("500 Internal Server Error", "later"),
        ("502 Bad Gateway", "later"),
        ("503 Service Unavailable", "later"),
        ("504 Gateway Timeout", "later"),
        ("599 Unheard Of", "later"),
    ],
)
def test_an_error_has_status_reason_and_advice(
    status: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fail_with(answer(status))
    assert error.response is not None
    assert error.response.status_code == int(status[:3])
    assert str(error) == status
    with canned(answer(status)) as wire:
        text, _, said = check_error(capsys, "--url", wire.url).rpartition(" - ")
    assert text == f"error: {status}"
    assert advice in said


def test_a_server_that_sends_no_reason_is_helped_out() -> None:
    assert str(fail_with(answer("503 "))) == "503 Service Unavailable"


@pytest.mark.parametrize("status", [520, 404, 302])
def test_a_mocked_answer_without_a_reason_is_an_error_like_another(
    status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, status=status)
        assert check_error(capsys, "--url", URL).startswith(f"error: {status} ")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("at most 1000000 bytes\r\n", "413 Too Large at most 1000000 bytes"),
        ('{\n  "error": "at most 1 MB"\n}', '413 Too Large { "error": "at most 1 MB" }'),
        ("no multipart/form-data; here", "413 Too Large no multipart/form-data; here"),
        ("Größe: höchstens 1 MB", "413 Too Large Größe: höchstens 1 MB"),
        ("\x1b[31mred\x07", "413 Too Large [31mred"),
        ("no " * 1000, "413 Too Large no no no "),
        ("\r\n <!DOCTYPE html><title>413</title>", "413 Too Large"),
        ("", "413 Too Large"),
    ],
    ids=["text", "json", "what we sent", "umlauts", "terminal codes", "long", "html", "nothing"],
)
def test_an_error_repeats_what_a_short_text_says(body: str, shown: str) -> None:
    error = str(fail_with(answer("413 Too Large", body), headers={"X-Version": "1"}))
    assert error.startswith(shown)
    assert len(error) < 300
    assert error.isprintable()


@pytest.mark.parametrize("media_type", ["text/html", "text/xml"])
def test_an_error_repeats_no_page(media_type: str) -> None:
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: {media_type}\r\nConnection: close\r\n\r\n"
    error = fail_with(f"{head}<?xml version='1.0'?><html>a <code>page</code></html>".encode())
    assert str(error) == "403 Forbidden"


def test_an_error_repeats_what_s3_says_in_xml() -> None:
    says = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    says += "<Message>Request has expired</Message></Error>"
    head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"
    error = str(fail_with(f"{head}{says}".encode()))
    assert error == "403 Forbidden AccessDenied Request has expired"


def test_an_error_needs_no_body_that_comes_whole() -> None:
    assert str(fail_with(cut_off("413 Too Large"))).startswith("413 Too Large")


def test_an_error_page_without_an_end_is_not_read_to_its_end() -> None:
    was_read = []

    def play(connection: Connection) -> None:
        connection.read_body(connection.read_head() or Request(b""))
        connection.send(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\n")
        for _ in range(1000):
            connection.send(b"no " * 30_000)  # until the client has left
        was_read.append(True)

    with serve(play) as wire, pytest.raises(requests.HTTPError, match="no no no"):
        upload_file(AVATAR, wire.url)
    assert not was_read


# --- what the command line shows ---------------------------------------------------------------


def test_shows_what_was_sent_and_what_the_server_received(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.url}/post?sig=123"
    code, out, err = run_main(capsys, AVATAR, "--meta", "caption=a=b", "--url", url)
    status, media_type, *received = out.splitlines()
    assert (code, err) == (0, "")
    assert status == "POST /post: 200"
    assert re.fullmatch(r"Content-Type: multipart/form-data; boundary=\w+", media_type)
    assert received == [
        "received 'caption': 'a=b'",
        f"received 'file': {AVATAR.stat().st_size:,} bytes, the same as on disk",
    ]


@pytest.mark.parametrize(
    ("echo", "words"),
    [("zwei\nfür", "bytes, the same as"), ("zwei\nfur", "bytes, NOT the same as")],
)
def test_compares_what_the_server_received_with_what_is_on_disk(
    echo: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_bytes("zwei\nfür".encode())
    reply = json.dumps({"form": {}, "files": {"file": echo}})
    with canned(answer("200 OK", reply)) as wire:
        _, out, _ = run_main(capsys, tmp_path / "a.txt", "--url", wire.url)
    assert words in out.splitlines()[-1]


@pytest.mark.parametrize("body", ["", "ok", "[]", "7", '{"form": 7}', '{"form": {}}'])
def test_another_server_may_answer_as_it_likes(
    body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with canned(answer("200 \x1b[31mRED", body)) as wire:
        code, out, err = run_main(capsys, "--url", wire.url)
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == ["POST /post", "Content-Type"]


def hide_boundary(text: str) -> str:
    """Return the text with each boundary, 32 random hex digits, made the same."""
    return re.sub(r"[0-9a-f]{32}", "0" * 32, text)


def test_show_body_prints_the_request_that_goes_over_the_wire(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("zwei\r\nfür\tzwei\\".encode())
    metadata = {"a": "b", "caption": "a long ä " * 300}
    options = [f"--meta={name}={value}" for name, value in metadata.items()]
    with canned(OK) as wire:
        code, out, _ = run_main(capsys, path, *options, "--show-body", "--url", wire.url)
        assert (code, wire.requests) == (0, []), "--show-body sent something"
        upload_file(path, wire.url, metadata=metadata).close()
    head, _, body = (wire.requests[0].head + wire.requests[0].body).partition(b"\r\n\r\n")
    shown_head, _, shown_body = out.partition("\n\n")
    lines = hide_boundary(head.decode("latin-1")).splitlines()
    assert sorted(hide_boundary(shown_head).splitlines()) == sorted(lines)
    printed = shown_body.replace("\n", "").encode().decode("unicode_escape")  # \r\n means CRLF
    assert hide_boundary(printed) == hide_boundary(body.decode("latin-1"))
    assert all(line.endswith(r"\r\n") for line in shown_body.splitlines()[:-2]), shown_body


@pytest.mark.parametrize("size", [0, 1, 4, 19, 20, 21, 80, 10_000])
def test_show_body_leaves_out_the_middle_of_a_file_that_does_not_fit_a_line(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff" * size)
    _, out, _ = run_main(capsys, tmp_path / "a.bin", "--show-body", "--meta", "a=b")
    assert max(map(len, out.splitlines())) <= 80 + len(r"\r\n")
    shown = out.splitlines()[-2]
    whole = size * r"\xff" + r"\r\n"
    assert shown == whole if size <= 20 else f"[{size - 4:,} bytes]" in shown


def test_show_body_leaves_out_nothing_but_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "Content-Type: text/plain"
    (tmp_path / "a.txt").write_text(line)
    _, out, _ = run_main(capsys, tmp_path / "a.txt", "--show-body", "--meta", f"note={line}")
    assert out.count(line) == 2, out
    assert "Cont [20 bytes] " in out


def test_show_body_prints_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_netrc(monkeypatch, tmp_path)
    _, out, _ = run_main(capsys, "--show-body", "--url", "http://me:p4ss-w0rd@127.0.0.1:9/post")
    assert "Host: 127.0.0.1:9\n" in out
    assert not re.search(f"p4ss|bWU6|{NETRC_PASSWORD}", out), out


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
        "It announces no type we know; perhaps text.",
        "Opened as utf-8 text: no error, but 5 bytes became 4, 1 line ends changed",
        r"  a\nb\n",
        "Opened as cp1252 text: no error, but 5 bytes became 4, 1 line ends changed",
        r"  a\nb\n",
    ],
    b"plain": [
        "head.bin begins with",
        "  70 6c 61 69 6e",
        "  plain",
        "It announces no type we know; perhaps text.",
        "Opened as utf-8 text: the same bytes",
        "Opened as cp1252 text: the same bytes",
    ],
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
    path.write_bytes(b"caf\xe9")  # as Latin-1 has it
    _, out, _ = run_main(capsys, path, "--peek")
    assert "Opened as utf-8 text: UnicodeDecodeError at byte 3, 0xe9" in out.splitlines()


# --- errors: one line, and what to do ----------------------------------------------------------


def test_names_what_is_missing_or_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--peek"], ["--show-body"]):
        assert "missing.png" in check_error(capsys, tmp_path / "missing.png", *options)
        assert str(tmp_path) in check_error(capsys, tmp_path, *options)


@pytest.mark.parametrize(("variable", "python"), [("", "python"), ("/bin/uv", "uv run")])
def test_offers_the_offline_command_with_the_same_arguments_but_no_address(
    variable: str,
    python: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UV", raising=False)
    if variable:
        monkeypatch.setenv("UV", variable)
    given = [AVATAR, "--meta", "caption=on holiday", "--url", NOWHERE]
    launcher = SAMPLES.parent / "tests" / "offline.py"
    command = f'{launcher} basic_upload.py {AVATAR} --meta "caption=on holiday"'
    monkeypatch.chdir(tmp_path)
    assert check_error(capsys, *given).endswith(f" {python} {command}")


def test_a_refusal_in_mid_body_is_no_question_of_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS urllib3 may lose the 413 that it gets on plain HTTP."""
    (tmp_path / "big.bin").write_bytes(bytes(20_000_000))
    trust(monkeypatch, tmp_path)
    with refuses_midway(tls=True) as wire:
        error = check_error(capsys, tmp_path / "big.bin", "--url", wire.url)
    assert re.search("larger than the server takes|413", error)
    with refuses_midway() as wire:
        error = check_error(capsys, tmp_path / "big.bin", "--url", wire.url)
    assert "413 Payload Too Large" in error


def test_names_the_variable_where_a_certificate_can_not_be_verified(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with canned(OK, tls=True) as wire:
        assert "REQUESTS_CA_BUNDLE" in check_error(capsys, "--url", wire.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert str(tmp_path / "none.pem") in check_error(capsys, "--url", URL)


def test_says_where_a_port_speaks_no_tls(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    error = check_error(capsys, "--url", server.url.replace("http:", "https:"))
    assert "no TLS" in error
    assert "http://" in error


def test_a_server_that_hangs_up_is_not_called_down(capsys: pytest.CaptureFixture[str]) -> None:
    with canned(b"") as wire:
        assert "connection broke" in check_error(capsys, "--url", wire.url)

    def reset(connection: Connection) -> None:
        connection.read_head()
        connection.reset()

    with serve(reset) as wire:
        assert "connection broke" in check_error(capsys, "--url", wire.url)
    with canned(cut_off("200 OK")) as wire:
        assert "may have arrived" in check_error(capsys, "--url", wire.url)


def test_a_server_that_takes_too_long_is_worth_another_try(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, body=requests.ReadTimeout(f"{URL}: Read timed out. (read timeout=30)"))
        assert "no answer in time" in check_error(capsys, "--url", URL)


def test_a_proxy_that_is_down_or_needs_a_package_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)
    assert "HTTPS_PROXY" in check_error(capsys, "--url", URL)
    if not importlib.util.find_spec("socks"):
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
        error = check_error(capsys, "--url", URL)
        assert "SOCKS" in error
        assert "address" not in error


@pytest.mark.parametrize("url", ["no-scheme", "http://", "ftp://127.0.0.1/"])
def test_an_address_that_is_none_is_blamed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "address" in check_error(capsys, "--url", url)


@pytest.mark.parametrize("arguments", [["--meta", "no-value"], ["-x"]])
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_main(capsys, *arguments)
    assert code == 2
    assert "usage: " in err
