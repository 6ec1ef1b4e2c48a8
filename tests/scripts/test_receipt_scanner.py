"""Checks of receipt_scanner.py: the photo that is sent, the reply, what is read, the marks."""

from __future__ import annotations

import datetime
import io
import json
import math
import re
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from conftest import NOWHERE, SAMPLES, RunScript
from PIL import ExifTags, Image

from receipt_scanner import (
    InvalidPhoto,
    OcrError,
    ReceiptScanner,
    annotate,
    main,
    parse_receipt,
    parse_reply,
    prepare_photo,
)

URL = "https://ocr.example/parse/image"
GOOD = json.loads((SAMPLES / "replies" / "good.json").read_bytes())
EXPECTED = json.loads((SAMPLES / "expected.json").read_bytes())
BAD_REPLIES = sorted((SAMPLES / "replies").glob("bad_*.json"))


def parse_body(request: requests.PreparedRequest) -> dict[str, Any]:
    """Return the parts of a multipart request by field name, as the email package reads them."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    assert isinstance(request.body, bytes)
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


def scan_mocked(path: Path, reply: object = GOOD, status: int = 200) -> dict[str, Any]:
    """Scan against a mocked API; return the parts of the request that it got."""
    with responses.RequestsMock() as mock:
        mock.post(URL, json=reply, status=status)
        ReceiptScanner("my-key", URL).scan(path)
        return parse_body(mock.calls[0].request)


def save_picture(path: Path, size: tuple[int, int], **options: Any) -> Path:
    """Save a picture of noise, which no format can make small."""
    Image.effect_noise(size, 80).convert("RGB").save(path, **options)
    return path


# --- the photo ---------------------------------------------------------------------------------


def test_sends_the_photo_upright_and_below_one_megabyte() -> None:
    sent = scan_mocked(SAMPLES / "receipt.jpg")["file"].get_content()
    original = (SAMPLES / "receipt.jpg").stat().st_size
    assert len(sent) <= 1024 * 1024 < original, f"{len(sent):,} bytes of {original:,} were sent"
    with Image.open(io.BytesIO(sent)) as photo:
        assert photo.height > photo.width, f"sent {photo.size}. Hint: apply the EXIF orientation"
        assert photo.getexif().get(ExifTags.Base.Orientation, 1) == 1, "turned, yet says it is not"


@pytest.mark.slow
def test_uses_nearly_all_of_the_megabyte(tmp_path: Path) -> None:
    sent = prepare_photo(save_picture(tmp_path / "big.png", (1500, 1500)))
    assert 0.8 * 1024 * 1024 < len(sent) <= 1024 * 1024, (
        f"{len(sent):,} bytes. Hint: the best quality that fits keeps the letters legible"
    )


def test_sends_a_photo_that_fits_byte_for_byte() -> None:
    path = SAMPLES / "receipt_uk.jpg"
    assert prepare_photo(path) == path.read_bytes(), "a photo that fits was encoded once more"


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turning_a_photo_never_makes_it_larger(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = save_picture(tmp_path / "side.jpg", (300, 200), exif=exif, quality=80)
    sent = prepare_photo(path)
    with Image.open(io.BytesIO(sent)) as photo:
        assert (photo.height > photo.width) == (orientation > 4), f"{photo.size} after turning"
        assert max(photo.size) <= 300
    assert len(sent) <= path.stat().st_size


def test_shrinks_what_exceeds_the_engines_pixels(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    Image.new("L", (50, 12_000), "white").save(path)
    with Image.open(io.BytesIO(prepare_photo(path))) as photo:
        assert max(photo.size) == 10_000


def test_puts_white_paper_behind_transparency(tmp_path: Path) -> None:
    path = tmp_path / "clear.webp"
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(path)
    with Image.open(io.BytesIO(prepare_photo(path))) as photo:
        assert photo.getpixel((10, 10)) == (255, 255, 255), "black text would vanish on black"


def make_bad_photo(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.jpg"
    photo = (SAMPLES / "receipt_uk.jpg").read_bytes()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        bytes_of = {"empty": b"", "html": b"<!doctype html>", "half": photo[: len(photo) // 2]}
        path.write_bytes(bytes_of[kind])
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "html", "half"])
def test_refuses_a_bad_photo_before_anything_is_sent(tmp_path: Path, kind: str) -> None:
    path = make_bad_photo(tmp_path, kind)
    with responses.RequestsMock(), pytest.raises(InvalidPhoto):
        ReceiptScanner("my-key", URL).scan(path)


def test_a_photo_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(InvalidPhoto, match="Permission denied"):
        prepare_photo(SAMPLES / "receipt_uk.jpg")


# --- the request -------------------------------------------------------------------------------


def test_asks_for_table_mode_overlay_and_engine_2() -> None:
    parts = scan_mocked(SAMPLES / "receipt_uk.jpg")
    wanted = {"isTable": "true", "isOverlayRequired": "true", "OCREngine": "2"}
    got = {name: parts[name].get_content() for name in wanted if name in parts}
    assert got == wanted, f"the fields were {got}, expected {wanted}"
    assert parts["file"].get_content_type() == "image/jpeg", "Hint: name the part's media type"


def test_sends_the_key_in_the_header_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_SPACE_API_KEY", "from-the-environment")
    for given, wanted in ((None, "from-the-environment"), ("my-key", "my-key")):
        with responses.RequestsMock() as mock:
            mock.post(URL, json=GOOD)
            scanner = ReceiptScanner(given, URL)
            scanner.recognize(SAMPLES / "receipt_uk.jpg")
            request = mock.calls[0].request
        assert request.headers["apikey"] == wanted
        assert isinstance(request.body, bytes)
        assert wanted.encode() not in request.body
        assert wanted not in str(request.url) + repr(scanner)


@pytest.mark.parametrize("key", ["K8secret\r\n123", "K8secret\u2013123", "K8 secret"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    with responses.RequestsMock(), pytest.raises(OcrError) as caught:
        ReceiptScanner(key, URL).scan(SAMPLES / "receipt_uk.jpg")
    assert "secret" not in str(caught.value), "requests would print it in its complaint"


def test_a_line_end_behind_the_key_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_SPACE_API_KEY", "my-key\r\n")
    with responses.RequestsMock() as mock:
        mock.post(URL, json=GOOD)
        ReceiptScanner(url=URL).scan(SAMPLES / "receipt_uk.jpg")
        assert mock.calls[0].request.headers["apikey"] == "my-key"


def test_never_follows_a_redirect_with_the_key() -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, status=307, headers={"Location": "https://elsewhere.example/"})
        with pytest.raises(OcrError, match="307"):
            ReceiptScanner("my-key", URL).scan(SAMPLES / "receipt_uk.jpg")


def test_waits_with_a_timeout() -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, json=GOOD)
        ReceiptScanner("my-key", URL, timeout=(1, 2)).scan(SAMPLES / "receipt_uk.jpg")
        assert mock.calls[0].request.req_kwargs["timeout"] == (1, 2)  # type: ignore[attr-defined]


# --- the reply ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD_REPLIES, ids=lambda path: path.stem)
def test_raises_the_apis_own_words(path: Path) -> None:
    reply = json.loads(path.read_bytes())
    words = {
        "bad_file_type": "Unable to recognize the file type",
        "bad_key": "The API key is invalid",
        "bad_list": "Value for parameter 'language' is invalid",
        "bad_page": "the image could not be read",
        "bad_string": "Timed out waiting for results",
        "bad_throttled": "You may only perform this action upto maximum 10",
        "bad_too_large": "exceeds the maximum permissible file size limit of 1024 KB",
    }[path.stem]
    with pytest.raises(OcrError) as caught:
        scan_mocked(SAMPLES / "receipt_uk.jpg", reply, 403 if isinstance(reply, str) else 200)
    assert words in str(caught.value), f"the API said {words!r}, we {str(caught.value)!r}"


def page(**values: object) -> dict[str, object]:
    return {"ParsedResults": [{"FileParseExitCode": 1, "ParsedText": "TOTAL 1.00"} | values]}


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        [[["deep"]]],
        7,
        {},
        {"ParsedResults": []},
        {"ParsedResults": "text"},
        {"ParsedResults": [None]},
        {"ParsedResults": [{"FileParseExitCode": 1}]},
        page(ParsedText=None),
        page(ParsedText=["TOTAL"]),
        page(FileParseExitCode=-10, ErrorMessage="engine failed"),
        page() | {"IsErroredOnProcessing": True},
        page() | {"IsErroredOnProcessing": True, "ErrorMessage": ["x" * 10_000] * 100},
    ],
    ids=repr,
)
def test_takes_nothing_else_for_a_reading(reply: object) -> None:
    with pytest.raises(OcrError) as caught:
        scan_mocked(SAMPLES / "receipt_uk.jpg", reply)
    assert 0 < len(str(caught.value)) <= 200, f"{len(str(caught.value))} letters of message"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>Bad Gateway</html>", "[" * 100_000, ""])
def test_a_page_of_html_is_an_ocr_error(body: str) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, body=body, status=502)
        with pytest.raises(OcrError, match="502"):
            ReceiptScanner("my-key", URL).scan(SAMPLES / "receipt_uk.jpg")


def test_a_key_that_the_api_quotes_is_not_repeated() -> None:
    with pytest.raises(OcrError) as caught:
        scan_mocked(SAMPLES / "receipt_uk.jpg", "The API key my-key is invalid", 403)
    assert "my-key" not in str(caught.value)


def test_reads_the_good_reply() -> None:
    receipt = parse_reply(GOOD)
    truth = EXPECTED["receipt.jpg"]
    got = {
        "merchant": receipt["merchant"],
        "date": str(receipt["date"]),
        "total": str(receipt["total"]),
        "currency": receipt["currency"],
    }
    assert got == truth
    assert isinstance(receipt["total"], Decimal), "Hint: floats lose cents"
    assert isinstance(receipt["date"], datetime.date)
    assert "46.12" in receipt["evidence"]["total"]


def turn(reply: Any, degrees: float) -> Any:
    """Return a reply without table mode whose words stand on lines with this slope."""
    slope = math.tan(math.radians(degrees))
    reply = json.loads(json.dumps(reply))
    lines = reply["ParsedResults"][0]["TextOverlay"]["Lines"]
    level = [(word, word["Top"] + slope * word["Left"]) for line in lines for word in line["Words"]]
    for word, top in level:
        word["Top"] = top
    reply["ParsedResults"][0]["ParsedText"] = "\r\n".join(line["LineText"] for line in lines)
    return reply


@pytest.mark.parametrize("degrees", [-5, 0, 5])
def test_puts_text_without_table_mode_back_in_rows(degrees: float) -> None:
    receipt = parse_reply(turn(GOOD, degrees))
    rows = [line.split("\t") for line in receipt["text"].splitlines()]
    assert ["Subtotal", "42.70"] in rows, f"at {degrees} degrees the rows were {rows}"
    assert str(receipt["total"]) == "46.12"


# --- the text ----------------------------------------------------------------------------------

TEXTS = sorted((Path(__file__).parent / "receipt_texts").glob("*.txt"))
TODAY = datetime.date(2026, 6, 30)  # later than every date in the texts but one
NAIVE_TOTAL = re.compile(r"total\D*([\d.,]+)", re.IGNORECASE)
NAIVE_DATE = re.compile(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}")


def read_text(path: Path) -> tuple[dict[str, str], str]:
    """Return the truth and the text of an invented receipt."""
    head, text = path.read_text(encoding="utf-8").split("---\n", 1)
    return dict(line.split(": ", 1) for line in head.splitlines()), text


def test_there_are_texts_of_many_countries() -> None:
    assert len(TEXTS) >= 60
    assert len({path.stem.split("_")[1] for path in TEXTS}) >= 10


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_reads_the_invented_receipt(path: Path, line_end: str) -> None:
    truth, text = read_text(path)
    day_first = truth.get("day_first") == "yes"
    got = parse_receipt(text.replace("\n", line_end), day_first=day_first, today=TODAY)
    read = {name: str(got[name]) for name in ("merchant", "date", "total", "currency")}
    want = {name: truth[name].replace("none", "None") for name in read}
    assert read == want, f"{path.name}: read {read}, the truth is {want}"
    assert got["date_is_ambiguous"] == (truth.get("ambiguous") == "yes")
    printed = [" ".join(line.split()) for line in text.splitlines()]
    assert all(line in printed for line in got["evidence"].values())


@pytest.mark.parametrize(
    ("line", "currency"),
    [
        ("TOTAL $5.00", "USD"),
        ("TOTAL US$5.00", "USD"),
        ("TOTAL HK$45.00", None),
        ("TOTAL R$ 12,00", None),
        ("Rm 204 TOTAL $45.00", "USD"),
        ("TOTAL RM 4.50", "MYR"),
        ("TOTAL 4.50", None),
    ],
)
def test_guesses_no_currency(line: str, currency: str | None) -> None:
    got = parse_receipt(f"CAFE\n{line}\n")["currency"]
    assert got == currency, f"{line!r} gave {got}, expected {currency}"


def test_two_naive_patterns_fail_most_of_them() -> None:
    """What most tutorials do: else these texts would prove nothing."""
    right = 0
    for path in TEXTS:
        truth, text = read_text(path)
        total, date = NAIVE_TOTAL.search(text), NAIVE_DATE.search(text)
        right += bool(total and date and total[1] == truth["total"])
    assert right < len(TEXTS) / 2, f"two naive patterns read {right} of {len(TEXTS)}"


@pytest.mark.parametrize(
    "unit",
    ["7", " ", "\n", "TOTAL ", "TOTAL 1.00\n", "TOTAL\n", "1.00\n", "\0é中", "1/2/", "12 Jan "],
)
def test_time_grows_no_faster_than_the_text(unit: str) -> None:
    """A backtracking pattern would need minutes for this, ours a fraction of a second."""
    text = unit * (40_000 // len(unit))
    parse_receipt(text, today=TODAY)


# --- the marks and the command line ------------------------------------------------------------


@pytest.mark.slow
def test_marks_the_values_where_they_were_found() -> None:
    photo = prepare_photo(SAMPLES / "receipt.jpg")
    marked = annotate(photo, GOOD, parse_reply(GOOD))
    before = Image.open(io.BytesIO(photo)).convert("RGB")
    assert marked.size == before.size
    words = {
        word["WordText"]: word
        for line in GOOD["ParsedResults"][0]["TextOverlay"]["Lines"]
        for word in line["Words"]
    }
    for text in ("HARBOR", "03/14/2026", "$46.12"):
        word = words[text]
        middle = (word["Left"] + word["Width"] // 2, word["Top"] + word["Height"])
        near = marked.crop((middle[0] - 5, middle[1] - 60, middle[0] + 5, middle[1] + 60))
        colours = near.getcolors(10_000) or []
        assert any(colour == (255, 0, 0) for _, colour in colours), f"no mark below {text}"
    shop = words["Thank"]
    box = (shop["Left"], shop["Top"], shop["Left"] + 50, shop["Top"] + 50)
    assert marked.crop(box).tobytes() == before.crop(box).tobytes(), "a mark where nothing is"


@pytest.mark.slow
def test_marks_a_photo_that_lies_on_its_side_where_its_text_was_read() -> None:
    side = Image.open(io.BytesIO(prepare_photo(SAMPLES / "receipt.jpg"))).rotate(-90, expand=True)
    photo = io.BytesIO()
    side.save(photo, "JPEG")
    reply = json.loads(json.dumps(GOOD))
    reply["ParsedResults"][0]["TextOrientation"] = "90"
    marked = annotate(photo.getvalue(), reply, parse_reply(reply))
    assert marked.height > marked.width, "the coordinates are those of the photo turned upright"


def test_a_reply_without_coordinates_has_nothing_to_mark() -> None:
    reply = json.loads(json.dumps(GOOD))
    reply["ParsedResults"][0]["TextOverlay"] = None
    with pytest.raises(OcrError):
        annotate(prepare_photo(SAMPLES / "receipt_uk.jpg"), reply, parse_reply(reply))


def test_from_json_needs_neither_key_nor_network(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--from-json", str(SAMPLES / "replies" / "good.json"), "--json", "--url", NOWHERE])
    (receipt,) = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (receipt["total"], receipt["date"]) == ("46.12", "2026-03-14")


@pytest.mark.parametrize("images", [[], ["a.jpg", "b.jpg"]])
def test_marks_no_other_photo_than_the_one_named(images: list[str]) -> None:
    reply = str(SAMPLES / "replies" / "good.json")
    with pytest.raises(SystemExit) as exit_:
        main(["--from-json", reply, "--annotate", "never.png", *images])
    assert exit_.value.code == 2


def test_one_bad_image_does_not_end_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(SAMPLES / name) for name in ("not_a_picture.jpg", "receipt_uk.jpg")]
    with responses.RequestsMock() as mock:
        mock.post(URL, json=GOOD)
        code = main([*images, "--url", URL])
    out, err = capsys.readouterr()
    assert code == 1, f"exit code {code} although one image failed"
    assert "46.12 USD" in out
    assert err.count("error: not_a_picture.jpg: ") == err.count("\n") == 1, err


def test_says_when_day_and_month_may_be_swapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "reply.json"
    saved.write_text(json.dumps(page(ParsedText="CAFE\t\r\nDate 03/04/2024\t\r\nTOTAL\t1.00\r\n")))
    for option, date in ((), "2024-03-04"), (("--day-first",), "2024-04-03"):
        assert main(["--from-json", str(saved), *option]) == 0
        assert f"{date} (or day and month swapped)" in capsys.readouterr().out


def test_a_total_that_is_not_found_has_no_currency_behind_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "reply.json"
    saved.write_text(json.dumps(page(ParsedText="CAFE\nall prices in USD\n")))
    assert main(["--from-json", str(saved)]) == 0
    assert capsys.readouterr().out.endswith("  total     not found\n")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_saved_reply_that_is_no_json_costs_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "reply.json"
    path.write_bytes(content)
    assert main(["--from-json", str(path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_reads_every_sample_picture_through_the_practice_server(run_script: RunScript) -> None:
    """All eight from the pictures: upload, OCR engine, reply, regular expressions."""
    result = run_script("receipt_scanner.py", *(SAMPLES / name for name in EXPECTED), "--json")
    assert result.returncode == 0, result.stderr
    read = {
        Path(receipt["file"]).name: {key: receipt[key] for key in EXPECTED["receipt.jpg"]}
        for receipt in json.loads(result.stdout)
    }
    assert read == EXPECTED
