"""Checks of receipt_scanner.py: the photo that is sent, the reply, what is read, the marks."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import math
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import responses
from conftest import NOWHERE, ROOT, SAMPLES, RunScript, cpu_seconds
from conftest import check_error as check_error_of
from conftest import run_main as run_main_of
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageDraw, ImageFont, ImageStat, features
from wire import Request, canned, put_netrc, refuses_midway, trust

import receipt_scanner
from receipt_scanner import (
    InvalidPhoto,
    OcrError,
    ReceiptScanner,
    annotate,
    parse_receipt,
    parse_reply,
    prepare_photo,
)

run_main = partial(run_main_of, receipt_scanner.main)
check_error = partial(check_error_of, receipt_scanner.main)

URL = "https://ocr.example/parse/image"
KEY = "K84127959588957"
GOOD = json.loads((SAMPLES / "replies" / "good.json").read_bytes())
EXPECTED = json.loads((SAMPLES / "expected.json").read_bytes())
BAD_REPLIES = sorted((SAMPLES / "replies").glob("bad_*.json"))
PHOTO = SAMPLES / "receipt_uk.jpg"  # it fits: upright, less than 1 MB
ORIENTATION = ExifTags.Base.Orientation


def answer(reply: object, status: str = "200 OK") -> bytes:
    """Return an answer as it goes over the wire; text as it is, everything else as JSON."""
    body = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def send(path: object, reply: object = GOOD, **options: Any) -> Request:
    """Scan a photo; return the request as it came over the wire."""
    with canned(answer(reply)) as wire:
        ReceiptScanner(KEY, wire.url, **options).scan(path)  # type: ignore[arg-type]
        return wire.requests[0]


def parse_parts(request: Request) -> dict[str, Any]:
    """Return the parts of a multipart request by field name, as the email package reads them."""
    head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


def fail_with(answered: bytes, key: str = KEY) -> str:
    """Scan with an API that answers so; return the text of the OcrError that it costs."""
    with canned(answered) as wire, pytest.raises(OcrError) as caught:
        ReceiptScanner(key, wire.url).scan(PHOTO)
    return str(caught.value)


def open_sent(path: object) -> Image.Image:
    """Return the picture that would be sent."""
    return Image.open(io.BytesIO(prepare_photo(path)))  # type: ignore[arg-type]


def save_noise(path: Path, size: tuple[int, int], **options: Any) -> Path:
    """Save a picture of noise, which no format can make small."""
    Image.effect_noise(size, 80).convert("RGB").save(path, **options)
    return path


def save_tall_jpeg(path: Path, blocks: int, size: tuple[int, int] = (16_000, 128)) -> Path:
    """Save a JPEG of any height without ever holding it: a block of eight rows, repeated.

    Each row of 16 lines ends in a restart marker, of which there are eight.
    """
    block = io.BytesIO()
    picture = Image.effect_noise(size, 10).convert("RGB")
    picture.save(block, "JPEG", quality=30, subsampling="4:2:0", restart_marker_rows=1)
    data = block.getvalue()
    scan = data.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    frame = data.index(b"\xff\xc0") + 5
    height = (size[1] * blocks).to_bytes(2, "big")
    rows = b"\xff\xd7".join([data[start:-2]] * blocks)
    path.write_bytes(data[:frame] + height + data[frame + 2 : start] + rows + b"\xff\xd9")
    return path


# --- the photo ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_sends_the_photo_upright_and_below_one_megabyte() -> None:
    sent = parse_parts(send(SAMPLES / "receipt.jpg"))["file"].get_content()
    original = (SAMPLES / "receipt.jpg").stat().st_size
    assert len(sent) <= 1024 * 1024 < original, f"{len(sent):,} bytes of {original:,} were sent"
    with Image.open(io.BytesIO(sent)) as photo:
        assert photo.height > photo.width, f"sent {photo.size}. Hint: apply the EXIF orientation"
        assert not dict(photo.getexif()), "the camera's position and serial number go along"


@pytest.mark.slow
def test_keeps_the_pixels_that_small_print_needs(tmp_path: Path) -> None:
    """Halved, a photo of 12 megapixels loses a receipt of 60 lines that fills a third of it."""
    page = Image.new("L", (3000, 4000), "white")
    font = ImageFont.load_default(14)
    for top in range(0, 1200, 18):
        text = "2 FLAT WHITE 9.50   1 BLUEBERRY MUFFIN 3.95   " * 5
        ImageDraw.Draw(page).text((10, top), text, "black", font)
    page.paste(Image.effect_noise((3000, 2800), 20), (0, 1200))  # a table under the receipt
    page.convert("RGB").save(tmp_path / "small_print.jpg", quality=90)
    with open_sent(tmp_path / "small_print.jpg") as sent:
        assert sent.width * sent.height > 4_800_000
        print_ = (0, 0, sent.width, sent.height // 4)
        wanted = page.resize(sent.size, Image.Resampling.LANCZOS).crop(print_)
        error = ImageStat.Stat(ImageChops.difference(wanted, sent.convert("L").crop(print_)))
    assert error.rms[0] < 16, f"the letters are off by {error.rms[0]:.0f} of 255"


@pytest.mark.slow
def test_keeps_the_colours_of_a_large_photo() -> None:
    with open_sent(SAMPLES / "receipt.jpg") as photo:
        with Image.open(SAMPLES / "receipt.jpg") as original:
            truth = original.convert("RGB").transpose(Image.Transpose.ROTATE_270)
        error = ImageStat.Stat(ImageChops.difference(truth.resize(photo.size), photo)).rms
    assert max(error) < 4, f"of 255 the sent picture is off by {error}"


@pytest.mark.slow
def test_uses_most_of_the_megabyte(tmp_path: Path) -> None:
    sent = prepare_photo(save_noise(tmp_path / "big.png", (1300, 1300)))
    assert 0.7 * 1024 * 1024 < len(sent) <= 1024 * 1024, (
        f"{len(sent):,} bytes. Hint: the best quality that fits keeps the letters legible"
    )


def test_sends_a_photo_that_fits_byte_for_byte() -> None:
    for path in (PHOTO, SAMPLES / "receipt_scan.png"):
        assert prepare_photo(path) == path.read_bytes(), "a photo that fits was encoded once more"


def test_takes_an_open_file_in_place_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "photo.gz").write_bytes(gzip.compress(PHOTO.read_bytes()))
    with open(PHOTO, "rb") as plain, gzip.open(tmp_path / "photo.gz") as packed:
        for file in (plain, packed, plain):  # a file that was read is read from its start
            part = parse_parts(send(file))["file"]
            assert part.get_content() == PHOTO.read_bytes()


TURNS = {  # how a camera has turned what it stores, by the orientation that it notes
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_turns_a_photo_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    upright.paste("red", (0, 0, 100, 100))
    stored = upright.transpose(TURNS[orientation])
    stored.save(tmp_path / "side.jpg", exif=exif, quality=95)
    with open_sent(tmp_path / "side.jpg") as photo:
        assert photo.size == (300, 200)
        assert not dict(photo.getexif()), "it would be turned once more"
        error = ImageStat.Stat(ImageChops.difference(photo.convert("RGB"), upright)).mean
    assert max(error) < 6, f"not upright: {error}"


def test_shrinks_what_exceeds_the_engines_pixels(tmp_path: Path) -> None:
    path = tmp_path / "long.png"
    Image.new("L", (50, 12_000), "white").save(path)
    assert max(open_sent(path).size) == 10_000


def test_puts_white_paper_behind_transparency(tmp_path: Path) -> None:
    for mode, name in (("RGBA", "clear.webp"), ("LA", "clear.tif"), ("P", "clear.gif")):
        path = tmp_path / name
        Image.new(mode, (20, 20), 0).save(path, transparency=0 if mode == "P" else None)
        with open_sent(path) as photo:
            assert photo.getpixel((10, 10)) == (255, 255, 255), "black text would vanish on black"


def save_deep(path: Path, mode: str) -> Path:
    """Save the scan of a receipt in 16 or 32 bits of grey."""
    with Image.open(SAMPLES / "receipt_scan.png") as scan:
        factor = 1 / 255 if mode == "F" else 257
        deep = scan.convert("L").convert("F" if mode == "F" else "I").point(lambda v: v * factor)
        deep.convert(mode).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "name"),
    [("I;16", "a.png"), ("I;16", "a.tif"), ("I;16B", "a.tif"), ("I", "a.tif"), ("F", "a.tif")],
)
def test_scales_grey_of_many_bits_to_eight(tmp_path: Path, mode: str, name: str) -> None:
    path = save_deep(tmp_path / name, mode)
    with Image.open(SAMPLES / "receipt_scan.png") as scan, open_sent(path) as sent:
        wanted = scan.convert("L")
        assert sent.mode in ("L", "RGB")
        got = sent.convert("L").resize(wanted.size)
    error = ImageStat.Stat(ImageChops.difference(got, wanted)).mean[0]
    assert error < 12, f"off by {error:.0f} of 255: a white or a black page has nothing to read"


@pytest.mark.slow
def test_shrinks_a_large_grey_scan_whatever_the_order_of_its_bytes(tmp_path: Path) -> None:
    """Pillow resizes 16 bits of a TIFF from a Mac as if they were those of a PC."""
    ramp = Image.linear_gradient("L").resize((3000, 2000)).convert("I").point(lambda v: v * 200)
    ramp.convert("I;16B").save(tmp_path / "scan.tif")
    with open_sent(tmp_path / "scan.tif") as sent:
        middle = sent.resize((1, 3), Image.Resampling.BOX).convert("L").getpixel((0, 1))
    assert middle == pytest.approx(128, abs=5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["LAB", "PA"])
def test_shrinks_rare_modes_to_the_same_picture(tmp_path: Path, mode: str) -> None:
    """Pillow resizes them without their last byte, as if all were transparent."""
    grey = Image.linear_gradient("L").resize((2300, 2200))
    grey.convert("RGBA" if mode == "PA" else "RGB").convert(mode).save(tmp_path / "scan.tif")
    with open_sent(tmp_path / "scan.tif") as sent:
        column = sent.convert("L").resize((1, 5), Image.Resampling.BOX).tobytes()
    assert [*column] == pytest.approx([25, 76, 127, 178, 229], abs=8)


def test_a_multi_picture_jpeg_of_a_phone_is_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "gain_map.jpg"
    with Image.open(PHOTO) as photo:
        photo.save(path, "MPO", save_all=True, append_images=[photo.resize((100, 100))])
    assert path.stat().st_size < 1024 * 1024
    assert prepare_photo(path) == path.read_bytes()


@pytest.mark.slow
def test_reads_a_jpeg_that_holds_rgb(tmp_path: Path) -> None:
    """Nearly all hold brightness and colour apart; Adobe's programs can write RGB, too."""
    Image.new("RGB", (3000, 2000), "red").save(tmp_path / "rgb.jpg", keep_rgb=True)
    with open(tmp_path / "rgb.jpg", "ab") as file:
        file.write(bytes(1024 * 1024))  # or it would be sent as it is
    with open_sent(tmp_path / "rgb.jpg") as photo:
        assert photo.resize((1, 1)).getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=3)


def test_passes_the_colour_profile_on_where_it_fits(tmp_path: Path) -> None:
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = wide[:16] + b"GRAY" + wide[20:]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for profile, wanted in ((wide, wide), (grey, None), (wide + bytes(2_000_000), None)):
        path = save_noise(tmp_path / "side.jpg", (300, 200), exif=exif, icc_profile=profile)
        with open_sent(path) as photo:
            assert photo.info.get("icc_profile") == wanted


def test_a_damaged_exif_or_profile_costs_no_photo(tmp_path: Path) -> None:
    number_of_inks = bytes.fromhex("014E 0002 00000004 78787878")  # a word in place of a number
    turned = bytes.fromhex("0112 0003 00000001 00060000")
    exif = b"Exif\0\0MM\0*" + bytes.fromhex("00000008 0002") + number_of_inks + turned + bytes(4)
    Image.new("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_sent(tmp_path / "turned.jpg").size == (40, 60)
    Image.new("L", (50, 12_000)).save(tmp_path / "long.png")
    data = (tmp_path / "long.png").read_bytes()
    chunk = b"iCCPsRGB\0\0not packed"
    profile = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "long.png").write_bytes(data[:33] + profile + data[33:])
    assert max(open_sent(tmp_path / "long.png").size) == 10_000


def make_bad_photo(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.jpg"
    photo = (SAMPLES / "receipt.jpg" if kind == "half of 12 MP" else PHOTO).read_bytes()
    bytes_of = {"empty": b"", "html": b"<!doctype html>"}
    path.write_bytes(bytes_of.get(kind, photo[: len(photo) // 2]))
    return path


@pytest.mark.parametrize("kind", ["empty", "html", "half", "half of 12 MP"])
def test_refuses_a_bad_photo_before_anything_is_sent(tmp_path: Path, kind: str) -> None:
    path = make_bad_photo(tmp_path, kind)
    with responses.RequestsMock(), pytest.raises(InvalidPhoto):
        ReceiptScanner(KEY, URL).scan(path)


@pytest.mark.slow
def test_refuses_half_of_a_progressive_jpeg(tmp_path: Path) -> None:
    path = save_noise(tmp_path / "half.jpg", (3000, 2000), progressive=True)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InvalidPhoto):
        prepare_photo(path)


def test_what_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(OSError, match=re.escape(str(path))):
            ReceiptScanner(KEY, URL).scan(path)


# --- the kinds of photos -----------------------------------------------------------------------

HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_names_heic_and_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_0001.HEIC").write_bytes(HEIC_HEAD + bytes(1000))
    with pytest.raises(InvalidPhoto, match=r"HEIC.*pip install pillow-heif.*Most Compatible"):
        prepare_photo(tmp_path / "IMG_0001.HEIC")


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_reads_avif(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), "red").save(tmp_path / "photo.avif")
    assert open_sent(tmp_path / "photo.avif").size == (60, 40)


def test_reads_heic_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.new("RGB", (120, 80), "red")
    pillow_heif.from_pillow(picture).save(tmp_path / "photo.heic")
    assert open_sent(tmp_path / "photo.heic").size == (120, 80)


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}], ids=["thumbnail", "DNG"])
def test_names_a_camera_raw_file(tmp_path: Path, tags: dict[int, object]) -> None:
    """A TIFF whose first picture is a thumbnail, which is no receipt."""
    Image.new("RGB", (256, 171)).save(tmp_path / "photo.dng", "TIFF", tiffinfo=tags)
    (tmp_path / "photo.cr3").write_bytes(b"\0\0\0\x18ftypcrx " + bytes(1000))
    for name in ("photo.dng", "photo.cr3"):
        with pytest.raises(InvalidPhoto, match=r"raw.*JPEG"):
            prepare_photo(tmp_path / name)


def test_passes_a_pdf_on_as_it_is(tmp_path: Path) -> None:
    path = SAMPLES / "documents" / "invoice.pdf"
    part = parse_parts(send(path))["file"]
    assert part.get_content_type() == "application/pdf"
    assert part.get_filename().endswith(".pdf")
    assert part.get_content() == path.read_bytes()
    (tmp_path / "big.pdf").write_bytes(path.read_bytes() + bytes(1_100_000))
    with pytest.raises(InvalidPhoto, match="PDF over 1 MB"):
        prepare_photo(tmp_path / "big.pdf")


@pytest.mark.slow
def test_takes_the_200_megapixels_of_a_phone_and_leaves_pillows_limit(tmp_path: Path) -> None:
    """Pillow refuses 179 megapixels, for a small file may ask for much memory."""
    limit = Image.MAX_IMAGE_PIXELS
    path = save_tall_jpeg(tmp_path / "phone.jpg", 98)
    with open_sent(path) as photo:
        assert photo.width * photo.height > 4_800_000
        assert photo.height / photo.width == pytest.approx(98 * 128 / 16_000, rel=0.01)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_refuses_what_takes_too_much_memory(tmp_path: Path) -> None:
    """A PNG of 8 KB may be one of 64 megapixels, a GIF of 35 bytes one of 4 gigapixels."""
    Image.new("1", (8_000, 8_000)).save(tmp_path / "large.png")
    Image.new("P", (1, 1)).save(tmp_path / "one.gif")
    data = (tmp_path / "one.gif").read_bytes()
    (tmp_path / "large.gif").write_bytes(data[:6] + b"\xff\xff\xff\xff" + data[10:])
    progressive: dict[str, Any] = {"progressive": True, "subsampling": 0}
    for name, marker, options in (
        ("large.jpg", b"\xff\xc0", {}),
        ("progressive.jpg", b"\xff\xc2", progressive),
    ):
        Image.new("RGB", (8, 8)).save(tmp_path / name, **options)
        side = (8_000 if options else 65_000).to_bytes(2, "big")
        head, _, tail = (tmp_path / name).read_bytes().partition(marker)
        (tmp_path / name).write_bytes(head + marker + tail[:3] + side + side + tail[7:])
    for name in ("large.png", "large.gif", "large.jpg", "progressive.jpg"):
        with pytest.raises(InvalidPhoto, match=r"megapixels|huge"):
            prepare_photo(tmp_path / name)


def save_flat(mode: str, megapixels: float, **options: Any) -> Callable[[Path], object]:
    side = int(math.sqrt(megapixels * 1e6))
    return lambda path: Image.new(mode, (side, side), 7).save(path, **options)


def save_palette(path: Path) -> None:
    picture = Image.new("P", (5640, 5640), 7)
    picture.putpalette([255, 200, 0] * 256)  # of greys alone it would come back as grey
    picture.save(path)


LARGEST: dict[
    str, Callable[[Path], object]
] = {  # a file close to the most that is let in, of each kind that takes more than others
    "baseline.jpg": partial(save_tall_jpeg, blocks=124),
    "progressive.jpg": save_flat("RGB", 49, progressive=True, subsampling=0),
    "palette.bmp": save_palette,
    "clear.webp": save_flat("RGBA", 17, method=0, quality=1),
}
UNDER_A_LIMIT = """
import os, resource, sys
import receipt_scanner
size = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if "VmSize" in line)
for path in sys.argv[1:]:
    if not os.fork():  # a new process that need not import again
        resource.setrlimit(resource.RLIMIT_AS, (size + 400_000_000, size + 400_000_000))
        receipt_scanner.prepare_photo(path)
        print(path, flush=True)
        sys.exit()
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, as Linux has it")
def test_400_mb_of_memory_do_for_the_largest_photos(tmp_path: Path) -> None:
    for name, save in LARGEST.items():
        save(tmp_path / name)
    paths = [str(tmp_path / name) for name in LARGEST]
    command = [sys.executable, "-W", "ignore", "-c", UNDER_A_LIMIT, *paths]
    result = subprocess.run(
        command, capture_output=True, check=True, cwd=ROOT, encoding="utf-8", timeout=300
    )
    assert result.stdout.splitlines() == paths, result.stderr


# --- the request -------------------------------------------------------------------------------


def test_asks_for_table_mode_overlay_engine_2_and_a_language() -> None:
    parts = parse_parts(send(PHOTO))
    wanted = {"isTable": "true", "isOverlayRequired": "true", "OCREngine": "2", "language": "eng"}
    got = {name: parts[name].get_content() for name in wanted if name in parts}
    assert got == wanted, f"the fields were {got}, expected {wanted}"
    assert parts["file"].get_content_type() == "image/jpeg", "Hint: name the part's media type"
    german = parse_parts(send(PHOTO, language="ger"))
    assert german["language"].get_content() == "ger"


def test_sends_the_key_in_the_header_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_SPACE_API_KEY", "from-the-environment\r\n")
    for given, wanted in ((None, "from-the-environment"), (KEY, KEY)):
        with canned(answer(GOOD)) as wire:
            scanner = ReceiptScanner(given, wire.url)
            scanner.recognize(PHOTO)
        (request,) = wire.requests
        assert request.header("apikey") == wanted
        assert wanted.encode() not in request.body
        assert wanted not in request.line + repr(scanner)


@pytest.mark.parametrize("key", ["K8secret\r\n123", "K8secret\u2013123", "K8 secret"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(key: str) -> None:
    with responses.RequestsMock(), pytest.raises(OcrError) as caught:
        ReceiptScanner(key, URL).scan(PHOTO)
    assert "secret" not in str(caught.value), "requests would print it in its complaint"


def test_a_password_in_netrc_does_not_go_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_netrc(monkeypatch, tmp_path)
    assert send(PHOTO).header("Authorization") is None


def test_never_follows_a_redirect_with_the_key() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n"
    with canned(moved) as wire, pytest.raises(OcrError, match="307"):
        ReceiptScanner(KEY, wire.url).scan(PHOTO)
    assert len(wire.requests) == 1


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
    status = "403 Forbidden" if isinstance(reply, str) else "200 OK"
    said = fail_with(answer(path.read_text("utf-8"), status))
    assert words in said, f"the API said {words!r}, we {said!r}"


def page(**values: object) -> dict[str, object]:
    return {"ParsedResults": [{"FileParseExitCode": 1, "ParsedText": "TOTAL 1.00"} | values]}


@pytest.mark.parametrize(
    ("status", "reply", "words"),
    [
        (
            "403 Forbidden",
            {"error": "E555: bad key", "details": "see mail"},
            "E555: bad key see mail - check the key",
        ),
        ("400 Bad Request", {"error": "E501: not valid"}, "400 Bad Request: E501: not valid - "),
        (
            "400 Bad Request",
            {"OCRExitCode": 99, "ErrorMessage": ["E301: no", "really"]},
            "E301: no really - ",
        ),
        ("400 Bad Request", "No file uploaded", "400 Bad Request: No file uploaded - "),
        ("403 Forbidden", {"ErrorMessage": "not for you"}, "403 Forbidden: not for you - "),
        ("429 Too Many Requests", "", "429 Too Many Requests - try again later"),
        (
            "413 Payload Too Large",
            "<html>413</html>",
            "413 Payload Too Large - send a smaller file",
        ),
        ("502 Bad Gateway", "\n<!DOCTYPE html>", "502 Bad Gateway - try again later"),
        ("404 \x1b[31mRED", "", "404 [31mRED - check the address"),
        ("520 ", "", "520 - try again later"),
        ("503 ", "", "503 Service Unavailable - try again later"),
        ("302 Found", "", "302 Found - check the address"),
        ("304 Not Modified", "", "304 Not Modified - check the address"),
        ("103 Early Hints", "", "103 Early Hints - a hint came before the answer; the photo may"),
        ("201 Created", GOOD, "201 Created - "),
        ("200 OK", "<html>welcome</html>", "no text in the reply - "),
        ("200 OK", "\x1b[31mred\x07", "[31mred - "),
    ],
)
def test_says_what_the_service_answered_and_what_to_do(
    status: str, reply: object, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "photo.png")
    with canned(answer(reply, status)) as wire:
        said = check_error(capsys, tmp_path / "photo.png", "--url", wire.url)
    assert words in said, f"for {status} and {reply!r} we said {said!r}"
    assert said.isprintable()


def test_a_mocked_answer_without_a_reason_is_an_error_like_another() -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, status=520)
        with pytest.raises(OcrError, match=r"^520$"):
            ReceiptScanner(KEY, URL).scan(PHOTO)


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {},
        {"ParsedResults": [None]},
        page(ParsedText=["TOTAL"]),
        page(FileParseExitCode=-10, ErrorMessage="engine failed"),
        page() | {"IsErroredOnProcessing": True},
        page() | {"IsErroredOnProcessing": True, "ErrorMessage": ["x" * 10_000] * 100},
    ],
    ids=repr,
)
def test_takes_nothing_else_for_a_reading(reply: object) -> None:
    said = fail_with(answer(reply))
    assert 0 < len(said) <= 300, f"{len(said)} letters of message"
    with pytest.raises(OcrError):
        parse_reply(reply)  # type: ignore[arg-type]


def test_shows_no_codes_for_the_terminal_of_a_saved_reply() -> None:
    with pytest.raises(OcrError) as caught:
        parse_reply({"ErrorMessage": "\x1b[31mred"})
    assert str(caught.value) == "[31mred"


def test_says_once_what_the_api_says_twice() -> None:
    broken = page(FileParseExitCode=-10, ErrorMessage="Parsing Error: torn", ErrorDetails="torn")
    assert fail_with(answer(broken)).count("torn") == 1


def test_keeps_the_page_that_was_read_where_another_was_not() -> None:
    reply = page() | {"OCRExitCode": 2, "IsErroredOnProcessing": True}
    pages = reply["ParsedResults"]
    assert isinstance(pages, list)
    for torn in ([{"FileParseExitCode": -10, "ParsedText": ""}, *pages], [*pages, None]):
        with canned(answer(reply | {"ParsedResults": torn})) as wire:
            assert str(ReceiptScanner(KEY, wire.url).scan(PHOTO)["total"]) == "1.00"


def test_a_key_that_the_api_quotes_is_not_repeated() -> None:
    for quoted in (f"The API key {KEY} is invalid", f'"{"no " * 65}{KEY}"'):
        assert KEY[:4] not in fail_with(answer(quoted, "403 Forbidden"))


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
    assert len(TEXTS) >= 130
    assert len({path.stem.split("_")[1] for path in TEXTS}) >= 24


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
        ("TOTAL R$ 12,00", "BRL"),
        ("TOTAL 12,00 $", None),
        ("Rm 204 TOTAL $45.00", "USD"),
        ("TOTAL RM 4.50", "MYR"),
        ("TOTAL 4.50", None),
    ],
)
def test_guesses_no_currency(line: str, currency: str | None) -> None:
    got = parse_receipt(f"CAFE\n{line}\n")["currency"]
    assert got == currency, f"{line!r} gave {got}, expected {currency}"


@pytest.mark.parametrize(
    "weekday",
    "Fri Freitag ven. viernes venerdì sexta-feira vrijdag fredag perjantai piątek pátek vineri"
    "".split(),
)
def test_a_weekday_settles_day_and_month(weekday: str) -> None:
    text = f"CAFE\n{weekday} 04/07/2025\nTOTAL 5.00"
    for day_first in (False, True):
        got = parse_receipt(text, day_first=day_first, today=TODAY)
        read = (str(got["date"]), got["date_is_ambiguous"])
        assert read == ("2025-07-04", False), f"called parse_receipt({text!r})"


@pytest.mark.parametrize(
    "month",
    "March März mars marzo março maart maaliskuuta marca března martie".split(),
)
def test_reads_a_month_in_each_language(month: str) -> None:
    text = f"CAFE\n14. {month} 2025\nTOTAL 5.00"
    assert str(parse_receipt(text, today=TODAY)["date"]) == "2025-03-14"


@pytest.mark.parametrize(
    "words",
    "Valid until,gültig bis,valable jusqu'au,válido hasta,valido fino al,válido até,geldig tot,"
    "giltig till,gyldig til,voimassa,ważny do,platí do,valabil până la,有効期限".split(","),
)
@pytest.mark.parametrize("between", [" ", ":\n", " 23:59 "])
def test_a_deadline_is_no_date_of_purchase(words: str, between: str) -> None:
    text = f"CAFE\n{words}{between}12/03/2025\nTOTAL 5.00"
    assert parse_receipt(text, today=TODAY)["date"] is None


def test_two_naive_patterns_fail_most_of_them() -> None:
    """What most tutorials do: else these texts would prove nothing."""
    right = 0
    for path in TEXTS:
        truth, text = read_text(path)
        total, date = NAIVE_TOTAL.search(text), NAIVE_DATE.search(text)
        right += bool(total and date and total[1] == truth["total"])
    assert right < len(TEXTS) / 2, f"two naive patterns read {right} of {len(TEXTS)}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        *("7", " ", "\n", "\0é中", "1/2/", "12 Jan ", "EUR 7 ", "7 EUR ", "valid until 01/02/25 "),
        *("TOTAL ", "TOTAL 1.00\n", "TOTAL\n", "1.00\n", "TOTAL 1.00\nTOTAL 2.00\n", "CASH 5.00\n"),
    ],
)
def test_time_grows_no_faster_than_the_text(unit: str) -> None:
    """A backtracking pattern would need minutes for this, ours a sixth of a second."""
    text = unit * (50_000 // len(unit))
    with cpu_seconds(1):
        parse_receipt(text, today=TODAY)


# --- the marks and the command line ------------------------------------------------------------


def find_words() -> dict[str, Any]:
    """Return where each word of the good reply stands."""
    lines = GOOD["ParsedResults"][0]["TextOverlay"]["Lines"]
    return {word["WordText"]: word for line in lines for word in line["Words"]}


@pytest.mark.slow
def test_marks_the_values_where_they_were_found() -> None:
    photo = prepare_photo(SAMPLES / "receipt.jpg")
    marked = annotate(photo, GOOD, parse_reply(GOOD))
    before = Image.open(io.BytesIO(photo)).convert("RGB")
    assert marked.size == before.size
    words = find_words()
    for text in ("HARBOR", "03/14/2026", "TOTAL", "$46.12"):  # the row is askew
        word = words[text]
        middle = (word["Left"] + word["Width"] // 2, word["Top"] + word["Height"])
        near = marked.crop((middle[0] - 5, middle[1] - 40, middle[0] + 5, middle[1] + 40))
        colours = near.getcolors(10_000) or []
        assert any(colour == (255, 0, 0) for _, colour in colours), f"no mark below {text}"
    shop = words["Thank"]
    box = (shop["Left"], shop["Top"], shop["Left"] + 50, shop["Top"] + 50)
    assert marked.crop(box).tobytes() == before.crop(box).tobytes(), "a mark where nothing is"


def test_marks_the_amount_of_the_total_where_another_is_equal() -> None:
    rows = ["CAFE", "SUBTOTAL 5.00", "TOTAL 5.00"]
    lines = [
        {"Words": [{"WordText": text, "Left": left, "Top": top, "Width": 90, "Height": 20}]}
        for top, row in zip((50, 100, 150), rows, strict=True)
        for left, text in zip((50, 250), row.split(), strict=False)
    ]
    reply: dict[str, Any] = page(ParsedText="\t\r\n".join(rows), TextOverlay={"Lines": lines})
    photo = io.BytesIO()
    Image.new("RGB", (400, 200), "white").save(photo, "PNG")
    marked = annotate(photo.getvalue(), reply, parse_reply(reply))
    assert marked.getpixel((295, 170)) == (255, 0, 0)
    assert marked.getpixel((295, 120)) != (255, 0, 0), "the subtotal is marked"


@pytest.mark.slow
def test_marks_a_photo_that_lies_on_its_side_where_its_text_was_read() -> None:
    side = open_sent(SAMPLES / "receipt.jpg").rotate(-90, expand=True)
    photo = io.BytesIO()
    side.save(photo, "JPEG")
    reply = json.loads(json.dumps(GOOD))
    reply["ParsedResults"][0]["TextOrientation"] = "90"
    marked = annotate(photo.getvalue(), reply, parse_reply(reply))
    assert marked.height > marked.width, "the coordinates are those of the photo turned upright"


@pytest.mark.slow
def test_marks_a_scan_of_16_bits_on_no_white_page(tmp_path: Path) -> None:
    deep = save_deep(tmp_path / "scan.png", "I;16").read_bytes()
    marked = annotate(deep, GOOD, parse_reply(GOOD))
    assert ImageStat.Stat(marked.convert("L")).stddev[0] > 20, "nothing is left of the receipt"


@pytest.mark.parametrize("lines", [None, 7, [None], [{"Words": []}], [{}]])
def test_a_reply_without_coordinates_has_nothing_to_mark(lines: object) -> None:
    reply = json.loads(json.dumps(GOOD))
    reply["ParsedResults"][0]["TextOverlay"] = {"Lines": lines}
    with pytest.raises(OcrError):
        annotate(PHOTO.read_bytes(), reply, parse_reply(reply))


def save_reply(folder: Path, text: str) -> Path:
    """Save a reply that holds this text."""
    path = folder / "reply.json"
    path.write_text(json.dumps(page(ParsedText=text)))
    return path


REPLY = SAMPLES / "replies" / "good.json"


def test_from_json_needs_neither_key_nor_network(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_main(capsys, "--from-json", REPLY, "--json", "--url", NOWHERE)
    (receipt,) = json.loads(out)
    assert code == 0
    assert (receipt["total"], receipt["date"]) == ("46.12", "2026-03-14")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from-json", REPLY, "--annotate", "never.png"],
        ["--from-json", REPLY, "--annotate", "never.png", "a.jpg", "b.jpg"],
        ["--from-json", REPLY, "a.jpg"],
        ["--annotate", "never.png", "a.jpg", "b.jpg"],
    ],
    ids=lambda arguments: str(len(arguments)),
)
def test_marks_no_other_photo_than_the_one_named(
    capsys: pytest.CaptureFixture[str], arguments: list[object]
) -> None:
    assert run_main(capsys, *arguments)[0] == 2


def test_the_language_is_the_readers(capsys: pytest.CaptureFixture[str]) -> None:
    with canned(answer(GOOD)) as wire:
        assert run_main(capsys, PHOTO, "--language", "fin", "--url", wire.url)[0] == 0
    assert parse_parts(wire.requests[0])["language"].get_content() == "fin"


def test_finds_the_service_by_its_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with canned(answer(GOOD)) as wire:
        monkeypatch.setenv("OCR_SPACE_URL", wire.url)
        assert run_main(capsys, PHOTO)[0] == 0
        assert run_main(capsys, PHOTO, "--url", NOWHERE)[0] == 1
    assert len(wire.requests) == 1


def test_one_bad_image_does_not_end_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    images = [SAMPLES / name for name in ("not_a_picture.jpg", "none.jpg", "receipt_uk.jpg")]
    with canned(answer(GOOD)) as wire:
        code, out, err = run_main(capsys, *images, "--url", wire.url)
    assert code == 1, f"exit code {code} although two images failed"
    assert "46.12 USD" in out
    assert err.count("error: not_a_picture.jpg: ") == err.count("none.jpg") == 1, err
    assert err.count("\n") == 2, err


def test_says_when_day_and_month_may_be_swapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = save_reply(tmp_path, "CAFE\t\r\nDate 03/04/2024\t\r\nTOTAL\t1.00\r\n")
    for option, date in ((), "2024-03-04"), (("--day-first",), "2024-04-03"):
        code, out, _ = run_main(capsys, "--from-json", saved, *option)
        assert code == 0
        assert f"{date} (or in another order)" in out


def test_a_total_that_is_not_found_has_no_currency_behind_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = save_reply(tmp_path, "CAFE\nall prices in USD\n")
    assert run_main(capsys, "--from-json", saved)[1].endswith("  total     not found\n")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_saved_reply_that_is_none_costs_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "reply.json"
    path.write_bytes(content)
    assert "reply.json" in check_error(capsys, "--from-json", path)


def test_offers_the_offline_command_with_the_same_arguments_but_no_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("UV", raising=False)
    error = check_error(capsys, PHOTO, "--day-first", "--url", NOWHERE)
    command = f"{ROOT / 'tests' / 'offline.py'} receipt_scanner.py {PHOTO} --day-first\n"
    assert error.endswith(f" python {command}".rstrip())


@pytest.mark.slow
def test_tells_a_refusal_in_mid_body_from_a_question_of_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over TLS urllib3 loses the 413 that it gets on plain HTTP."""
    photo = save_noise(tmp_path / "photo.jpg", (1500, 1500))
    with canned(answer(GOOD), tls=True) as wire:
        assert "REQUESTS_CA_BUNDLE" in check_error(capsys, photo, "--url", wire.url)
    trust(monkeypatch, tmp_path)
    with refuses_midway(tls=True) as wire:
        error = check_error(capsys, photo, "--url", wire.url)
    assert re.search("larger than the server takes|413", error), error


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as a full disk: a write fails
import receipt_scanner
receipt_scanner.main()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a limit as POSIX has it")
def test_a_full_disk_leaves_no_half_picture_and_costs_no_value(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"what stood there")
    for name in ("old.png", "new.png"):
        options = ["--from-json", REPLY, "--annotate", tmp_path / name, PHOTO]
        result = subprocess.run(
            [sys.executable, "-B", "-c", LIMITED, *map(str, options)],
            capture_output=True,
            check=False,
            cwd=ROOT,
            encoding="utf-8",
            timeout=60,
        )
        assert result.returncode == 1
        assert "46.12 USD" in result.stdout
        assert re.fullmatch("error: .*File too large.*\n", result.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"what stood there"


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
