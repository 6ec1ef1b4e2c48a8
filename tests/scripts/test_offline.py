"""The practice server and its launcher keep what tests and readers rely on."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from conftest import NOWHERE, ROOT
from offline import PracticeServer, main, practice_bytes
from PIL import Image, ImageDraw, ImageFont

LAUNCHER = ROOT / "tests" / "offline.py"
TIMEOUT_SECONDS = (5, 60)
posix_only = pytest.mark.skipif(
    os.name != "posix", reason="on Windows the console sends Ctrl-C to the script itself"
)


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


BILL_FONT = ImageFont.load_default(size=44)


def draw_bill() -> Image.Image:
    """Three rows so close that 5 degrees bring a price level with the next row's article."""
    bill = Image.new("RGB", (900, 800), "white")
    pen = ImageDraw.Draw(bill)
    for line, (article, price) in enumerate(
        [("ICED TEA", "3.50"), ("LEMONADE", "2.20"), ("TOTAL", "5.70")]
    ):
        pen.text((40, 30 + 60 * line), article, "black", BILL_FONT)
        pen.text((740, 30 + 60 * line), price, "black", BILL_FONT)
    return bill


def ask_ocr(
    server: PracticeServer, data: bytes = b"", name: str = "bill.jpg", **fields: str
) -> requests.Response:
    """POST /parse/image as receipt_scanner.py does; `key=` is the API key."""
    headers = {"apikey": fields.pop("key", "helloworld")}
    files = {"file": (name, data, fields.pop("media_type", "image/jpeg"))} if data else None
    url = server.environment["OCR_SPACE_URL"]
    return requests.post(url, headers=headers, data=fields, files=files, timeout=TIMEOUT_SECONDS)


# --- httpbin and the sink ----------------------------------------------------------------------


def test_httpbin_takes_an_upload_from_a_plain_generator(server: PracticeServer) -> None:
    parts = (b"part %d," % number for number in range(3))
    response = requests.post(f"{server.url}/post", data=parts, timeout=TIMEOUT_SECONDS)
    assert response.status_code == 200
    assert response.json()["data"] == "part 0,part 1,part 2,"
    assert response.json()["headers"]["Transfer-Encoding"] == "chunked"


@pytest.mark.slow
def test_the_sink_tells_what_arrived_of_a_large_body(server: PracticeServer) -> None:
    block = practice_bytes(1024 * 1024)
    expected = hashlib.sha256(block * 30).hexdigest()
    for body in (block * 30, (block for _ in range(30))):
        reply = requests.put(f"{server.url}/sink", data=body, timeout=TIMEOUT_SECONDS).json()
        assert (reply["bytes"], reply["sha256"]) == (30 * 1024 * 1024, expected)
    assert reply["headers"]["Transfer-Encoding"] == "chunked"


def test_answers_several_requests_over_one_connection(server: PracticeServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.connect()
    first = connection.sock
    for path in ("/post", "/sink", "/faults/retry-after/1", "/post"):
        connection.request("POST", path, body=b"x" * 100_000)
        connection.getresponse().read()
        assert connection.sock is first, f"closed after {path}"
    connection.close()


def test_hangs_up_where_the_rest_of_a_refused_upload_would_come(server: PracticeServer) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.putrequest("POST", "/get")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"the first part of it")
    with connection.getresponse() as response:
        assert (response.status, response.headers["Connection"]) == (405, "close")


@pytest.mark.slow
def test_says_nothing_when_a_client_leaves_in_the_middle(
    server: PracticeServer,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for path in ("/post", "/sink", "/parse/image"):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
            client.sendall(head.encode() + b"half")
            reset = struct.pack("ii", 1, 0)  # close with a reset, as a killed client may
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert requests.get(f"{server.url}/get", timeout=TIMEOUT_SECONDS).ok
    time.sleep(0.1)
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_stops_at_once_and_hangs_up_on_a_reply_that_has_stalled() -> None:
    with requests.Session() as session:
        with PracticeServer() as server:
            url = f"{server.url}/faults/stall"
            reply = session.get(url, stream=True, timeout=TIMEOUT_SECONDS)
            started = time.monotonic()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = reply.content
    assert time.monotonic() - started < 30, "waited for the stall of 60 seconds"


# --- routes that misbehave on purpose ----------------------------------------------------------


def test_lists_its_faults(server: PracticeServer) -> None:
    faults = requests.get(f"{server.url}/faults/", timeout=TIMEOUT_SECONDS).json()
    assert "/faults/stall" in faults
    silent = [path for path, line in faults.items() if not line]
    assert not silent, (
        f"{silent} say nothing. Hint: in practice/faults.py give the view a docstring, "
        "whose first line is shown by `offline.py -h`"
    )


def test_sends_an_html_page_as_jpeg(server: PracticeServer) -> None:
    response = requests.get(f"{server.url}/faults/html-as-jpeg", timeout=TIMEOUT_SECONDS)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.content.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("path", ["truncate/1000", "stall?size=1000&seconds=0"])
def test_announces_more_than_it_sends(server: PracticeServer, path: str) -> None:
    response = requests.get(f"{server.url}/faults/{path}", stream=True, timeout=TIMEOUT_SECONDS)
    assert response.headers["Content-Length"] == "1000"
    assert response.raw.read(500) == practice_bytes(500)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        next(response.iter_content(1))


@pytest.mark.slow
def test_stalls_for_longer_than_a_client_waits(server: PracticeServer) -> None:
    url = f"{server.url}/faults/stall"
    with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
        requests.get(url, timeout=(5, 0.2))


def test_asks_to_come_back_later_once_for_each_token(server: PracticeServer) -> None:
    statuses = []
    for token in ("a", "a", "b"):
        url = f"{server.url}/faults/retry-after/2?token={token}"
        response = requests.post(url, data=b"x" * 1000, timeout=TIMEOUT_SECONDS)
        statuses.append((response.status_code, response.headers.get("Retry-After")))
    assert statuses == [(429, "2"), (200, None), (429, "2")]


def test_serves_the_rest_of_a_file_while_it_is_the_same_file(server: PracticeServer) -> None:
    url = f"{server.url}/faults/file?size=1000&cut=300"
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url, timeout=TIMEOUT_SECONDS)
    etag = requests.head(url, timeout=TIMEOUT_SECONDS).headers["ETag"]
    larger = requests.head(f"{server.url}/faults/file?size=1001", timeout=TIMEOUT_SECONDS)
    assert larger.headers["ETag"] != etag
    rest = {"Range": "bytes=300-", "If-Range": etag}
    response = requests.get(url, headers=rest, timeout=TIMEOUT_SECONDS)
    assert response.status_code == 206
    assert response.headers["Content-Range"] == "bytes 300-999/1000"
    assert response.content == practice_bytes(1000)[300:]
    other_file = {"Range": "bytes=300-", "If-Range": '"another"'}
    response = requests.get(url, headers=other_file, timeout=TIMEOUT_SECONDS)
    assert (response.status_code, response.content) == (200, practice_bytes(1000))
    too_far = requests.get(url, headers={"Range": "bytes=1000-"}, timeout=TIMEOUT_SECONDS)
    assert too_far.status_code == 416


# --- OCR.space's refusals ----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "K123"])
def test_refuses_an_api_key_with_an_error_and_its_details(server: PracticeServer, key: str) -> None:
    response = ask_ocr(server, b"picture", key=key)
    assert response.status_code == 403
    assert response.json()["error"].startswith("E555: ")
    assert isinstance(response.json()["details"], str)


def test_refuses_whoever_sends_too_much_with_a_bare_string(server: PracticeServer) -> None:
    response = ask_ocr(server, b"picture", key="practice-throttled")
    assert response.status_code == 403
    assert response.json().startswith("You may only perform this action upto maximum 10")


def test_refuses_a_blocked_key_with_the_message_of_a_failed_reading(
    server: PracticeServer,
) -> None:
    response = ask_ocr(server, b"picture", key="practice-blocked")
    assert (response.status_code, type(response.json()["ErrorMessage"])) == (403, str)


def test_a_body_may_be_plain_text(server: PracticeServer) -> None:
    response = ask_ocr(server, b"picture", key="practice-plain-text")
    assert response.status_code == 400
    assert response.headers["Content-Type"].startswith("text/plain")
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_of_two_pages_one_may_be_read(server: PracticeServer) -> None:
    reply = ask_ocr(server, b"picture", key="practice-half").json()
    assert (reply["OCRExitCode"], reply["IsErroredOnProcessing"]) == (2, False)
    assert [page["FileParseExitCode"] for page in reply["ParsedResults"]] == [1, -10]


def test_an_outage_is_an_error_whose_message_is_one_string(server: PracticeServer) -> None:
    response = ask_ocr(server, b"picture", key="practice-outage")
    reply = response.json()
    assert (response.status_code, reply["IsErroredOnProcessing"]) == (200, True)
    assert isinstance(reply["ErrorMessage"], str)
    assert reply["ParsedResults"] is None


def test_a_timeout_of_the_engine_shows_in_the_exit_codes_only(server: PracticeServer) -> None:
    reply = ask_ocr(server, b"picture", key="practice-timeout").json()
    assert (reply["IsErroredOnProcessing"], reply["OCRExitCode"]) == (False, 3)
    assert reply["ParsedResults"][0]["FileParseExitCode"] == -20


@pytest.mark.parametrize(
    ("request_parts", "words"),
    [
        ({"data": b"x" * (1024 * 1024 + 1)}, "maximum permissible file size limit of 1024 KB"),
        ({"data": b"x", "name": "bill", "media_type": "application/x"}, "Unable to recognize"),
        ({"data": b"x", "name": "bill.pdf"}, "PDF"),
        ({"data": b"x", "language": "xyz"}, "Value for parameter 'language' is invalid"),
        ({"data": b"x", "isTable": "yes"}, "Value for parameter 'istable' is invalid"),
        ({"data": b"x", "colour": "red"}, "Parameter name 'colour' is invalid"),
        ({"data": b"x", "url": "https://example.com/a.jpg"}, "Parameter name 'file' is invalid"),
        ({"url": "https://example.com/a.jpg"}, "downloads nothing"),
        ({"base64Image": "aGVsbG8="}, "Not a valid base64 image"),
        ({}, "No file uploaded"),
    ],
)
def test_refuses_a_wrong_request_with_a_list_of_messages(
    server: PracticeServer, request_parts: dict[str, Any], words: str
) -> None:
    response = ask_ocr(server, **request_parts)
    reply = response.json()
    assert (response.status_code, reply["OCRExitCode"]) == (400, 99)
    assert reply["IsErroredOnProcessing"] is True
    assert isinstance(reply["ErrorMessage"], list)
    assert words in reply["ErrorMessage"][0]
    assert "ParsedResults" not in reply
    assert isinstance(reply["ProcessingTimeInMilliseconds"], str)


@pytest.mark.parametrize("language", ["eng", "auto", "jpn", "tha"])
def test_refuses_a_file_that_is_no_picture(server: PracticeServer, language: str) -> None:
    response = ask_ocr(server, b"<html></html>", language=language)
    assert response.status_code == 400
    assert response.json()["error"].startswith("E501: ")


def test_cannot_parse_half_a_picture(server: PracticeServer) -> None:
    reply = ask_ocr(server, jpeg(draw_bill())[:5000]).json()
    assert (reply["IsErroredOnProcessing"], reply["OCRExitCode"]) == (True, 3)
    assert reply["ErrorMessage"] == ["All images/pages errored in parsing"]
    page = reply["ParsedResults"][0]
    assert page["FileParseExitCode"] == -10
    assert page["ErrorMessage"] == f"Parsing Error: {page['ErrorDetails']}"


# --- OCR.space's readings ----------------------------------------------------------------------

BILL_IN_ROWS = "ICED TEA\t3.50\t\r\nLEMONADE\t2.20\t\r\nTOTAL\t5.70\t\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [5, -5])
def test_table_mode_keeps_the_rows_of_a_skewed_bill(server: PracticeServer, degrees: int) -> None:
    skewed = draw_bill().rotate(degrees, Image.Resampling.BICUBIC, True, fillcolor="white")
    fields = {"isTable": "true", "isOverlayRequired": "true", "OCREngine": "2"}
    reply = ask_ocr(server, jpeg(skewed), **fields).json()
    assert (reply["IsErroredOnProcessing"], reply["OCRExitCode"]) == (False, 1)
    result = reply["ParsedResults"][0]
    assert result["ParsedText"] == BILL_IN_ROWS
    lines = result["TextOverlay"]["Lines"]
    assert [line["LineText"] for line in lines] == re.findall(r"[^\t\r\n]+", BILL_IN_ROWS)
    iced, tea = lines[0]["Words"]
    assert (iced["WordText"], tea["WordText"]) == ("ICED", "TEA")
    assert lines[0]["MinTop"] == min(iced["Top"], tea["Top"])
    assert iced["Left"] + iced["Width"] < tea["Left"] < lines[1]["Words"][0]["Left"]
    printed = tea["Left"] + tea["Width"] - iced["Left"]
    assert printed == pytest.approx(BILL_FONT.getlength("ICED TEA"), rel=0.15)
    place = (tea["Left"], tea["Top"], tea["Left"] + tea["Width"], tea["Top"] + tea["Height"])
    assert skewed.convert("1").crop(place).getextrema() == (0, 255), "no print in this place"


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_reads_a_turned_photo_when_asked_to(server: PracticeServer, degrees: int) -> None:
    turned = jpeg(draw_bill().rotate(-degrees, expand=True))
    fields = {"isTable": "true", "detectOrientation": "true"}
    result = ask_ocr(server, turned, **fields).json()["ParsedResults"][0]
    assert (result["TextOrientation"], result["ParsedText"]) == (str(degrees), BILL_IN_ROWS)


@pytest.mark.slow
def test_reads_base64_with_exif_orientation_one_line_a_box(server: PracticeServer) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees
    data = jpeg(draw_bill().rotate(90, expand=True), exif=exif)
    text = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    result = ask_ocr(server, base64Image=text, apikey="helloworld").json()["ParsedResults"][0]
    assert result["ParsedText"] == BILL_IN_ROWS.replace("\t\r\n", "\r\n").replace("\t", "\r\n")
    assert result["TextOverlay"]["HasOverlay"] is False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "lines"),
    [
        # Amid so much white the engine saw nothing.
        ((2000, 2000), {(60, 60): "ICED TEA 3.50", (60, 90): "TOTAL 5.70", (1800, 1940): "Page 1"}),
        # Shrunk to 2,000 pixels these letters were too small; and no line is cut, or read twice.
        ((1600, 8000), {(60, 220 * n): f"ARTICLE {n} 4.{n}" for n in range(1, 36)}),
    ],
    ids=["a short bill on a large page", "a long bill"],
)
def test_reads_small_letters_wherever_they_stand(
    server: PracticeServer, size: tuple[int, int], lines: dict[tuple[int, int], str]
) -> None:
    page = Image.new("L", size, "white")
    pen = ImageDraw.Draw(page)
    for place, line in lines.items():
        pen.text(place, line, "black", ImageFont.load_default(size=16))
    text = ask_ocr(server, png(page), "page.png", isTable="true").json()["ParsedResults"][0]
    assert text["ParsedText"].replace("\t", "").split("\r\n") == [*lines.values(), ""]


@pytest.mark.slow
def test_a_client_hears_from_a_slow_engine(
    server: PracticeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from practice import ocr_engine, ocr_space

    monkeypatch.setattr(ocr_space, "PATIENCE_SECONDS", 0.05)
    data_url = "data:image/png;base64," + base64.b64encode(png(draw_bill())).decode()
    form = urlencode({"apikey": "helloworld", "base64Image": data_url})
    media_type = {"Content-Type": "application/x-www-form-urlencoded"}
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    with ocr_engine.engine_lock:  # another picture is being read
        connection.request("POST", "/parse/image", form, media_type)
        with connection.sock.makefile("rb") as answers:
            for _ in range(3):
                assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
                assert answers.readline() == b"\r\n"
    with connection.getresponse() as response:
        assert (response.status, json.load(response)["OCRExitCode"]) == (200, 1)
    connection.close()


# --- the launcher ------------------------------------------------------------------------------


@contextmanager
def launcher(
    *arguments: str, env: Mapping[str, str] | None = None, own_group: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Start the launcher, and end it after a minute whatever it waits for."""
    with subprocess.Popen(
        [sys.executable, str(LAUNCHER), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=own_group,
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def write_script(folder: Path, text: str, name: str = "script.py") -> str:
    script = folder / name
    script.write_text(text, encoding="utf-8")
    return str(script)


@pytest.mark.slow
def test_runs_a_script_with_its_arguments_and_passes_on_its_exit_code(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        "import os, sys, urllib.request\n"
        "urllib.request.urlopen(os.environ['HTTPBIN_URL'] + '/get', timeout=5).close()\n"
        "print(sys.argv[1:], os.environ['OCR_SPACE_API_KEY'], os.environ['OCR_SPACE_URL'][-12:])\n"
        "sys.exit(7)\n",
    )
    broken_proxy = {"http_proxy": NOWHERE, "no_proxy": "example.com", "NO_PROXY": "example.com"}
    with launcher(script, "-h", "--", "x y", env=os.environ | broken_proxy) as process:
        out, err = process.communicate()
    assert out == "['-h', '--', 'x y'] helloworld /parse/image\n"
    assert err.startswith("offline: practice server at http://127.0.0.1:")
    assert err.count("\n") == 1
    assert process.returncode == 7


@pytest.mark.slow
def test_ends_as_the_scanner_ends_while_the_engine_reads(tmp_path: Path) -> None:
    (tmp_path / "bill.jpg").write_bytes(jpeg(draw_bill().resize((2700, 2400))))
    script = write_script(
        tmp_path,
        "import os, pathlib, threading, time, requests\n"
        "url, key = os.environ['OCR_SPACE_URL'], {'apikey': 'helloworld'}\n"
        "bill = pathlib.Path(__file__).with_name('bill.jpg').read_bytes()\n"
        "files = {'file': ('bill.jpg', bill)}\n"
        "send = {'headers': key, 'files': files, 'timeout': 60}\n"
        "threading.Thread(target=requests.post, args=[url], kwargs=send, daemon=True).start()\n"
        "time.sleep(0.6)\n"
        "os._exit(3)\n",
        "receipt_scanner.py",
    )
    with launcher(script) as process:
        _, err = process.communicate()
    assert process.returncode == 3, err
    assert err.startswith("offline: loading the OCR engine\noffline: practice server at ")


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, getattr(os, "killpg", None)])
def test_a_ctrl_c_reaches_the_script_once(tmp_path: Path, send: Any) -> None:
    script = write_script(
        tmp_path,
        "import signal, sys, time\n"
        "received = []\n"
        "signal.signal(signal.SIGINT, lambda *_: received.append(1))\n"
        "print('ready', flush=True)\n"
        "deadline = time.monotonic() + 10\n"
        "while not received and time.monotonic() < deadline:\n"
        "    time.sleep(0.05)\n"
        "time.sleep(0.5)\n"
        "sys.exit(40 + len(received))\n",
    )
    with launcher(script, own_group=True) as process:
        assert first_line(process) == "ready\n"
        send(process.pid, signal.SIGINT)  # to the launcher alone, or to all in the terminal
        assert process.wait() == 41


@posix_only
@pytest.mark.slow
def test_being_terminated_it_leaves_neither_script_nor_server(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        "import os, time\n"
        "print(os.getpid(), os.environ['HTTPBIN_URL'], flush=True)\n"
        "time.sleep(20)\n",
    )
    with launcher(script) as process:
        child, url = first_line(process).split()
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(child), 0)
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)


@posix_only
@pytest.mark.slow
def test_without_a_script_it_prints_what_to_export_and_serves_until_ctrl_c() -> None:
    broken_proxy = {"http_proxy": NOWHERE, "no_proxy": "example.com", "NO_PROXY": "example.com"}
    with launcher(env=os.environ | broken_proxy) as process:
        exports = [shlex.split(first_line(process)) for _ in range(5)]
        assert {command for command, _ in exports} == {"export"}
        variables = dict(assignment.split("=", 1) for _, assignment in exports)
        assert variables["OCR_SPACE_URL"] == f"{variables['HTTPBIN_URL']}/parse/image"
        subprocess.run(
            [sys.executable, ROOT / "basic_upload.py"],
            check=True,
            env=os.environ | broken_proxy | variables,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def test_a_missing_script_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no_such_script.py"]) == 2
    assert capsys.readouterr().err.startswith("error: no script 'no_such_script.py' - ")


def test_a_missing_package_is_one_line_that_tells_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["basic_upload.py"]) == 1
    expected = 'error: httpbin is missing - run: pip install -e ".[test,offline]"\n'
    assert capsys.readouterr().err == expected


def test_help_shows_an_example_and_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["-h"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "python tests/offline.py receipt_scanner.py samples/receipt.jpg" in out
    assert "/faults/stall" in out
