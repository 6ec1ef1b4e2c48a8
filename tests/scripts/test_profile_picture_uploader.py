"""Checks of profile_picture_uploader.py: what is let in, what is sent, under which name."""

from __future__ import annotations

import base64
import gzip
import io
import math
import os
import re
import struct
import subprocess
import sys
import textwrap
import threading
import unicodedata
import zlib
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from conftest import NOWHERE, ROOT, SAMPLES
from conftest import check_error as check_error_of
from conftest import run_main as run_main_of
from offline import PracticeServer
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageStat, PngImagePlugin
from werkzeug.datastructures import FileStorage
from wire import NETRC_PASSWORD, OK, canned, put_netrc, refuses_midway, trust

import profile_picture_uploader
from profile_picture_uploader import (
    InvalidPicture,
    PreparedPicture,
    ProfilePictureUploader,
    safe_filename,
)

run_main = partial(run_main_of, profile_picture_uploader.main)
check_error = partial(check_error_of, profile_picture_uploader.main)

URL = "https://upload.example/post"
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp"}
Validate = Callable[[Path], object]
posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


def encode(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def save(folder: Path, data: bytes, name: str = "me.jpg") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def prepare(folder: Path, data: bytes, **options: Any) -> PreparedPicture:
    """Prepare a picture given as bytes."""
    return ProfilePictureUploader(URL, **options).prepare(save(folder, data))


def decode(data: bytes) -> Image.Image:
    picture: Image.Image = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def quarters(mode: str = "RGB") -> Image.Image:
    """A picture of 60x40 that shows how it is turned: red, green, blue and black quarters."""
    picture = Image.new("RGB", (60, 40))
    picture.paste("red", (0, 0, 30, 20))
    picture.paste("lime", (30, 0, 60, 20))
    picture.paste("blue", (0, 20, 30, 40))
    return picture.convert(mode)


def corners(picture: Image.Image) -> str:
    """Return the colours at the four corners, clockwise from the top left."""
    width, height = picture.size
    names = ""
    for x, y in ((5, 5), (width - 5, 5), (width - 5, height - 5), (5, height - 5)):
        red, green, blue = picture.convert("RGB").crop((x, y, x + 1, y + 1)).tobytes()
        names += "R" if red > 128 else "G" if green > 128 else "B" if blue > 128 else "K"
    return names


def capture(path: Path, **options: Any) -> dict[str, Any]:
    """Upload as user 42; return the parts of the request as they came over the wire."""
    with canned(OK) as wire:
        ProfilePictureUploader(wire.url, **options).upload(path, "42").close()
    request = wire.requests[0]
    head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    return {
        str(part.get_param("name", header="Content-Disposition")): part
        for part in message.iter_parts()
    }


def check_refused(path: Path, reason: str = ".", **options: Any) -> None:
    """Fail unless validate refuses the file for that reason and upload sends nothing."""
    uploader = ProfilePictureUploader(URL, **options)
    with pytest.raises(InvalidPicture, match=reason):
        uploader.validate(path)
    with responses.RequestsMock() as mock, pytest.raises(InvalidPicture):
        uploader.upload(path, "42")
    assert not mock.calls


# --- magic bytes -------------------------------------------------------------------------------


JPEG = encode(quarters(), "JPEG")
PNG = encode(quarters(), "PNG")
GIF = encode(quarters(), "GIF")
WEBP = encode(quarters(), "WEBP")
FORMATS = {"image/jpeg": JPEG, "image/png": PNG, "image/gif": GIF, "image/webp": WEBP}


@pytest.mark.parametrize("media_type", FORMATS)
def test_believes_the_bytes_and_not_the_extension(media_type: str, tmp_path: Path) -> None:
    for name in ("me.jpg", "me.png"):
        path = save(tmp_path, FORMATS[media_type], name)
        assert ProfilePictureUploader(URL).validate(path) == media_type
        picture = ProfilePictureUploader(URL).prepare(path)
        assert picture.media_type == media_type, "Hint: look at the magic bytes"
        assert picture.filename == "me" + EXTENSIONS[media_type]
        assert Image.MIME[decode(picture.data).format or ""] == media_type


NOT_ON_THE_LIST = {
    "HTML": (SAMPLES / "not_a_picture.jpg").read_bytes(),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "PDF": b"%PDF-1.7\n",
    "a script": b"#!/bin/sh\n",
    "BMP": encode(quarters(), "BMP"),
    "TIFF": encode(quarters(), "TIFF"),
    "ICO": encode(quarters(), "ICO"),
    "WAV": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(28),
    "a JPEG after a space": b" " + JPEG,
    "a PNG that went through text mode": PNG.replace(b"\r\n", b"\n"),
}


@pytest.mark.parametrize("what", NOT_ON_THE_LIST)
def test_refuses_what_is_only_called_a_picture(what: str, tmp_path: Path) -> None:
    check_refused(save(tmp_path, NOT_ON_THE_LIST[what]), "not a JPEG, PNG, GIF or WebP")


PHONES = {
    "HEIC": b"\0\0\0\x28ftypheic\0\0\0\0mif1MiHEMiPrmiafMiHBheic" + bytes(64),
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(64),
    "a video": b"\0\0\0\x18ftypisom\0\0\2\0isomavc1" + bytes(64),
}


@pytest.mark.parametrize("kind", PHONES)
def test_names_what_phones_save_and_how_to_get_a_jpeg(kind: str, tmp_path: Path) -> None:
    check_refused(save(tmp_path, PHONES[kind]), f"{kind}.* JPEG")


# --- decoding is the proof ---------------------------------------------------------------------

GRAIN = encode(Image.effect_noise((300, 200), 60), "JPEG")  # half of it is more than a head
DAMAGED = {
    "half a JPEG": GRAIN[: len(GRAIN) // 2],
    "half a PNG": PNG[: len(PNG) // 2],
    "half a GIF": GIF[: len(GIF) // 2],
    "half a WebP": WEBP[: len(WEBP) // 2],
    "a bare JPEG signature": b"\xff\xd8\xff",
    "a bare PNG signature": b"\x89PNG\r\n\x1a\n",
    "a bare GIF signature": b"GIF89a",
    "a bare WebP signature": b"RIFF\x04\x00\x00\x00WEBP",
    "a script behind a signature": b"\xff\xd8\xff<?php system($_GET['c']); ?>",
}


def check_damage_is_seen(validate: Validate, folder: Path) -> None:
    """Fail unless `validate` takes whole pictures and raises for every damaged one."""
    for whole in (JPEG, PNG, GIF, WEBP):
        validate(save(folder, whole))
    for what, data in DAMAGED.items():
        try:
            validate(save(folder, data))
        except Exception as error:  # a wrong solution may raise what Pillow raises
            if isinstance(error, InvalidPicture | OSError):
                continue
        raise AssertionError(f"{what} was accepted. Hint: load() decodes, verify() and names don't")


def validate_by_extension(path: Path) -> None:
    if path.suffix != ".jpg":
        raise InvalidPicture


def validate_by_signature(path: Path) -> None:
    if not path.read_bytes().startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF")):
        raise InvalidPicture


def validate_by_verify(path: Path) -> None:
    with Image.open(path) as picture:
        picture.verify()


def test_refuses_what_does_not_decode_to_the_end(tmp_path: Path) -> None:
    check_damage_is_seen(ProfilePictureUploader(URL).validate, tmp_path)


@pytest.mark.parametrize(
    "wrong", [validate_by_extension, validate_by_signature, validate_by_verify]
)
def test_the_check_of_the_damage_sees_a_shallow_look(wrong: Validate, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Hint: load"):
        check_damage_is_seen(wrong, tmp_path)


@pytest.mark.parametrize("what", DAMAGED)
def test_says_that_the_file_is_damaged(what: str, tmp_path: Path) -> None:
    check_refused(save(tmp_path, DAMAGED[what]), "^damaged or cut off$")


def make_png_bomb(side: int) -> bytes:
    """Return a small PNG of side x side black pixels, a bit each."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return make_png((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))


def make_png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*decompression bomb")  # Pillow's own, from 89 megapixels
@pytest.mark.parametrize("side", [6400, 10_000, 14_200])
def test_refuses_a_small_file_that_holds_a_huge_picture(side: int, tmp_path: Path) -> None:
    bomb = make_png_bomb(side)
    assert len(bomb) < 30_000
    check_refused(save(tmp_path, bomb), "over 40,000,000 pixels")


def test_the_pixel_cap_is_the_largest_that_passes(tmp_path: Path) -> None:
    assert prepare(tmp_path, PNG, max_pixels=60 * 40).media_type == "image/png"
    check_refused(save(tmp_path, PNG), "over 2,399 pixels", max_pixels=60 * 40 - 1)


# --- the file behind the path ------------------------------------------------------------------


def test_the_size_cap_is_the_largest_that_passes(tmp_path: Path) -> None:
    data = JPEG + bytes(10_000)
    assert prepare(tmp_path, data, max_bytes=len(data)).media_type == "image/jpeg"
    check_refused(save(tmp_path, data), f"over {len(data) - 1:,} bytes", max_bytes=len(data) - 1)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_size_cap_is_for_the_file_that_was_given(format_: str, tmp_path: Path) -> None:
    """Encoded again it may be larger: that is our doing."""
    picture = Image.effect_noise((200, 200), 80)
    small = encode(picture, format_, quality=5, optimize=True, exif=make_exif(6))
    if format_ == "JPEG":
        small = encode(picture, format_, quality=20, progressive=True)
    prepared = prepare(tmp_path, small, max_bytes=len(small))
    assert decode(prepared.data).size == (200, 200)


def test_says_what_is_wrong_with_a_file_that_is_none(tmp_path: Path) -> None:
    check_refused(save(tmp_path, b""), "^empty$")
    check_refused(tmp_path, "not a file")
    check_refused(tmp_path / "missing.jpg", "missing.jpg")
    check_refused(tmp_path / "a\0b.jpg", "can't be read")
    check_refused(tmp_path / ("x" * 300 + ".jpg"), "can't be read")


@posix_only
def test_a_pipe_or_a_device_never_makes_it_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", tmp_path / "link.jpg", Path("/dev/zero")):
        checked = threading.Event()

        def check(path: Path = path, checked: threading.Event = checked) -> None:
            check_refused(path, "not a file")
            checked.set()

        thread = threading.Thread(target=check, daemon=True)
        thread.start()
        assert checked.wait(20), f"{path.name} was not refused. Hint: ask before opening"
        thread.join()


@posix_only
def test_a_link_to_a_picture_is_that_picture(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(SAMPLES / "avatar.gif")
    picture = ProfilePictureUploader(URL).prepare(tmp_path / "link.png")
    assert (picture.filename, picture.media_type) == ("link.gif", "image/gif")


@posix_only
def test_refuses_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = save(tmp_path, JPEG)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    check_refused(path, "can't be read")


# --- an open file, as a web app has it ---------------------------------------------------------


def packed(data: bytes) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data)))


OPEN_FILES: dict[str, Callable[[bytes], Any]] = {
    "in memory": io.BytesIO,
    "from Flask": lambda data: FileStorage(io.BytesIO(data), "photo.jpg", "photo"),
    "unpacked on the way": packed,
}


@pytest.mark.filterwarnings("ignore:use the name attribute")  # gzip's, before Python 3.12
@pytest.mark.parametrize("kind", OPEN_FILES)
def test_takes_an_open_file_whole(kind: str) -> None:
    data = PNG + bytes(100_000)
    file = OPEN_FILES[kind](data)
    uploader = ProfilePictureUploader(URL, keep_original=True, max_bytes=len(data))
    assert uploader.validate(file) == "image/png"
    assert uploader.prepare(file).data == data, "Hint: validate had read it, go back to its start"
    assert capture(file, keep_original=True)["file"].get_payload(decode=True) == data
    smaller = ProfilePictureUploader(URL, max_bytes=len(data) - 1)
    with pytest.raises(InvalidPicture, match="over"):
        smaller.prepare(file)


def test_takes_a_handle_wherever_it_stands(tmp_path: Path) -> None:
    with open(save(tmp_path, GIF, "me.png"), "rb") as handle:
        handle.read(12)
        picture = ProfilePictureUploader(URL).prepare(handle)
    assert (picture.filename, picture.media_type) == ("me.gif", "image/gif")


def test_an_open_file_has_the_name_that_its_sender_gave() -> None:
    named = io.BytesIO(JPEG)
    named.name = "../folder/Zoë.jpeg"
    for file, filename in (
        (io.BytesIO(JPEG), "picture.jpg"),
        (named, "Zoë.jpg"),
        (FileStorage(io.BytesIO(JPEG), "..\\me.png", "photo"), "me.jpg"),
        (FileStorage(io.BytesIO(JPEG), "", "photo"), "photo.jpg"),
    ):
        assert ProfilePictureUploader(URL).prepare(file).filename == filename  # type: ignore[arg-type]


def test_an_open_file_that_can_not_be_read_is_an_invalid_picture() -> None:
    whole = gzip.compress(JPEG)
    closed = io.BytesIO(JPEG)
    closed.close()
    for file in (
        gzip.GzipFile(fileobj=io.BytesIO(whole[:-20])),
        gzip.GzipFile(fileobj=io.BytesIO(JPEG)),
        gzip.GzipFile(fileobj=io.BytesIO(whole[:10] + b"\xff" + whole[11:])),
        closed,
    ):
        with pytest.raises(InvalidPicture, match="can't be read"):
            ProfilePictureUploader(URL).prepare(file)  # type: ignore[arg-type]


# --- what is sent: a clean copy ----------------------------------------------------------------


def make_exif(orientation: int = 1) -> Image.Exif:
    """Return EXIF data with a position and a maker, as a phone writes them."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "SECRET"
    position = exif.get_ifd(ExifTags.IFD.GPSInfo)
    position[ExifTags.GPS.GPSLatitudeRef] = "N"
    position[ExifTags.GPS.GPSLatitude] = (48.0, 51.0, 30.0)
    return exif


@pytest.mark.slow
def test_the_position_is_gone_from_what_arrives_and_the_picture_is_upright(
    server: PracticeServer,
) -> None:
    with Image.open(SAMPLES / "avatar.jpg") as original:
        exif = original.getexif()
        assert exif.get_ifd(ExifTags.IFD.GPSInfo), "the sample has lost its position"
        assert exif[ExifTags.Base.Orientation] == 6, "the sample has lost its orientation"
        size = original.size
    uploader = ProfilePictureUploader(f"{server.url}/post")
    echo = uploader.upload(SAMPLES / "avatar.jpg", "ada", caption="früh").json()
    assert echo["form"] == {"user_id": "ada", "caption": "früh"}
    media_type, _, data = echo["files"]["file"].partition(";base64,")
    assert media_type == "data:image/jpeg"
    arrived = decode(base64.b64decode(data))
    assert not arrived.getexif(), "EXIF, and the position in it, went over the wire"
    assert arrived.size == size[::-1]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_every_orientation_upright(orientation: int, format_: str, tmp_path: Path) -> None:
    data = encode(quarters(), format_, exif=make_exif(orientation), quality=95)
    picture = prepare(tmp_path, data)
    # Clockwise from the top left, as the EXIF specification (CIPA DC-008) lays out the 8 values.
    upright = ["RGKB", "GRBK", "KBRG", "BKGR", "RBKG", "BRGK", "KGRB", "GKBR"][orientation - 1]
    assert corners(decode(picture.data)) == upright
    assert ("turned upright" in picture.changes) is (orientation != 1)
    assert "removed GPS position" in picture.changes
    assert f"{'60x40' if orientation < 5 else '40x60'} kept" in picture.changes


def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path) -> None:
    picture = prepare(tmp_path, encode(quarters(), "JPEG", exif=make_exif(9)))
    assert corners(decode(picture.data)) == "RGKB"
    assert "turned upright" not in picture.changes


def test_a_picture_without_a_position_is_not_said_to_have_had_one(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Phone"
    for data in (JPEG, PNG, GIF, WEBP, encode(quarters(), "JPEG", exif=exif)):
        assert prepare(tmp_path, data).changes == ["60x40 kept"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_is_no_other_error_than_invalid_picture(tmp_path: Path) -> None:
    exif = make_exif(6).tobytes()
    refused = 0
    for place in range(len(b"Exif\0\0"), len(exif)):
        broken = exif[:place] + b"\0" + exif[place + 1 :]
        try:
            prepare(tmp_path, encode(quarters(), "JPEG", exif=broken))
        except InvalidPicture:
            refused += 1
    assert refused < len(exif) / 10, "a picture is worth more than its EXIF"


def make_loaded(format_: str) -> bytes:
    """Return a picture with SECRET in every place of the format that can hide it."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRET")
    text.add_itxt("XML:com.adobe.xmp", "<SECRET/>")
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"exif": make_exif(), "xmp": b"<SECRET/>", "comment": b"SECRET"},
        "PNG": {"exif": make_exif(), "pnginfo": text},
        "GIF": {"comment": b"SECRET"},
        "WEBP": {"exif": make_exif(), "xmp": b"<SECRET/>"},
    }
    return encode(quarters(), format_, **options[format_]) + b"<script>SECRET</script>"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP"])
def test_whatever_hides_in_the_file_is_gone(format_: str, tmp_path: Path) -> None:
    path = save(tmp_path, make_loaded(format_))
    assert b"SECRET" in path.read_bytes()
    sent = capture(path)["file"].get_payload(decode=True)
    assert b"SECRET" not in sent
    assert corners(decode(sent)) == "RGKB"


BEHIND = "removed what stood behind the picture"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP"])
def test_says_that_what_stood_behind_the_picture_is_gone(format_: str, tmp_path: Path) -> None:
    video = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(1000)
    for behind in (video, b"<?php", b"\n"):
        picture = prepare(tmp_path, encode(quarters(), format_) + behind)
        assert not picture.data.endswith(behind)
        assert picture.changes == [BEHIND, "60x40 kept"]


def test_a_jpeg_with_a_second_picture_is_no_animation(tmp_path: Path) -> None:
    """Phones put a gain map or a preview behind a photo (CIPA DC-007); Pillow calls it MPO."""
    data = encode(quarters(), "MPO", save_all=True, append_images=[quarters().rotate(90)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    picture = prepare(tmp_path, data)
    assert picture.media_type == "image/jpeg"
    assert picture.changes == [BEHIND, "60x40 kept"]
    assert decode(picture.data).format == "JPEG"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP"])
def test_keep_original_sends_the_file_byte_for_byte(format_: str, tmp_path: Path) -> None:
    path = save(tmp_path, make_loaded(format_))
    part = capture(path, keep_original=True)["file"]
    assert part.get_payload(decode=True) == path.read_bytes()
    assert part.get_content_type() == f"image/{format_.lower()}"
    changes = ProfilePictureUploader(URL, keep_original=True).prepare(path).changes
    assert changes == ["original bytes kept"]


def test_keep_original_checks_all_the_same(tmp_path: Path) -> None:
    check_refused(save(tmp_path, DAMAGED["half a JPEG"]), "damaged", keep_original=True)
    check_refused(save(tmp_path, NOT_ON_THE_LIST["SVG"]), "not a JPEG", keep_original=True)


COLOURS = {  # W3C PNG, third edition, 11.3.2: BT.2100 PQ, a gamma, BT.2020
    b"cICP": bytes([9, 16, 0, 1]),
    b"gAMA": struct.pack(">I", 62_500),
    b"cHRM": struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600),
}
SRGB = {
    b"gAMA": struct.pack(">I", 45_455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
}


@pytest.mark.parametrize(
    ("chunks", "is_said"),
    [*(({name: content}, True) for name, content in COLOURS.items()), (SRGB, False)],
)
def test_says_that_a_png_had_colours_of_its_own(
    chunks: dict[bytes, bytes], is_said: bool, tmp_path: Path
) -> None:
    """Without their names they are taken for sRGB; many programs name just that."""
    info = PngImagePlugin.PngInfo()
    for name, content in chunks.items():
        info.add(name, content)
    picture = prepare(tmp_path, encode(quarters(), "PNG", pnginfo=info))
    assert ("removed cICP, gAMA, cHRM" in picture.changes) is is_said


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_colour_profile_stays(format_: str, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = prepare(tmp_path, encode(quarters(), format_, icc_profile=profile))
    assert decode(picture.data).info.get("icc_profile") == profile, (
        "Hint: without its profile a photo from a phone changes its colours"
    )


@pytest.mark.parametrize("keep_original", [False, True])
def test_sends_what_was_checked_although_the_file_is_swapped_meanwhile(
    keep_original: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, PNG)
    decoded = Image.open

    def swap(*arguments: Any, **options: Any) -> Any:
        path.write_bytes(b"<script>")
        return decoded(*arguments, **options)

    monkeypatch.setattr(Image, "open", swap)
    sent = capture(path, keep_original=keep_original)["file"].get_payload(decode=True)
    monkeypatch.undo()
    assert path.read_bytes() == b"<script>"
    assert corners(decode(sent)) == "RGKB"


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_sent(format_: str, tmp_path: Path) -> None:
    frames = [quarters().rotate(180), quarters().rotate(90)]
    data = encode(quarters(), format_, save_all=True, append_images=frames, duration=50)
    picture = prepare(tmp_path, data)
    sent = decode(picture.data)
    assert not getattr(sent, "is_animated", False)
    assert corners(sent) == "RGKB"
    assert picture.changes == ["kept the first frame only", "60x40 kept"]


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("PNG", "RGBA"),
        ("GIF", "L"),
        ("WEBP", "RGBA"),
    ],
)
def test_every_kind_of_pixels_survives(format_: str, mode: str, tmp_path: Path) -> None:
    original = quarters("L").convert(mode) if mode == "I;16" else quarters(mode)
    data = encode(original, format_)
    sent, before = decode(prepare(tmp_path, data).data), decode(data)
    if mode == "I;16":  # 16 bits don't convert to 8
        assert sent.tobytes() == before.tobytes()
        return
    assert sent.mode == before.mode or format_ == "GIF"
    pairs = zip(sent.convert("RGB").tobytes(), before.convert("RGB").tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / (60 * 40 * 3) < 3


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("is_animated", [False, True])
def test_a_lossless_webp_stays_lossless(mode: str, is_animated: bool, tmp_path: Path) -> None:
    picture = Image.effect_noise((80, 60), 90)
    channels = [picture.transpose(way) for way in list(Image.Transpose)[: len(mode)]]
    original = Image.merge(mode, [channel.resize((80, 60)) for channel in channels])
    frames = {"save_all": True, "append_images": [quarters(mode).resize((80, 60))]}
    data = encode(original, "WEBP", lossless=True, exact=True, **(frames if is_animated else {}))
    sent = decode(prepare(tmp_path, data).data)
    assert sent.convert(mode).tobytes() == decode(data).convert(mode).tobytes()


def test_a_lossy_webp_stays_lossy(tmp_path: Path) -> None:
    picture = prepare(tmp_path, WEBP + b"VP8L")
    assert picture.data[12:16] == b"VP8 ", "Hint: VP8L may stand anywhere, look at the first"


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_transparency_stays(format_: str, tmp_path: Path) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 4, 8))
    data = encode(palette, format_, transparency=0)
    sent = decode(prepare(tmp_path, data).data).convert("RGBA")
    assert (sent.getpixel((1, 1)), sent.getpixel((6, 6))) == ((255, 0, 0, 0), (0, 0, 255, 255))


def test_a_picture_that_cannot_be_encoded_again_is_refused(tmp_path: Path) -> None:
    frames = [quarters().rotate(90)]
    data = bytearray(encode(quarters(), "WEBP", save_all=True, append_images=frames))
    assert data[12:16] == b"VP8X"  # its canvas may be 2**24 wide, a still WebP 16,383
    data[24:27] = (17_000 - 1).to_bytes(3, "little")
    check_refused(save(tmp_path, bytes(data)))


# --- a JPEG as it was made ---------------------------------------------------------------------


def make_photo(mode: str = "RGB") -> Image.Image:
    """Return a part of a photo, of whole 16x16 blocks."""
    with Image.open(SAMPLES / "avatar.jpg") as photo:
        part: Image.Image = photo.crop((1600, 1200, 2112, 1584))
    return part.convert(mode)


def compare(one: Image.Image, other: Image.Image) -> float:
    """Return the PSNR in dB: 40 is a difference that is hardly seen."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    squares = sum(ImageStat.Stat(difference).sum2) / (3 * one.width * one.height)
    return 10 * math.log10(255**2 / squares) if squares else math.inf


MADE = [
    {"quality": 30},
    {"quality": 75, "progressive": True},
    {"quality": 93, "subsampling": "4:2:2"},
    {"quality": 85, "subsampling": "4:4:4"},
]


@pytest.mark.slow
@pytest.mark.parametrize("made", MADE, ids=str)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_jpeg_neither_grows_nor_loses(
    orientation: int, made: dict[str, Any], tmp_path: Path
) -> None:
    """With a quality of our own it does: its own tables fit, turned when it is turned."""
    data = encode(make_photo(), "JPEG", **made, exif=make_exif(orientation))
    sent = prepare(tmp_path, data).data
    turns = {3: "ROTATE_180", 6: "ROTATE_270", 7: "TRANSVERSE"}
    before = decode(data)
    if orientation != 1:
        before = before.transpose(Image.Transpose[turns[orientation]])
    after = decode(sent)
    assert len(sent) <= len(data), f"{len(data):,} bytes became {len(sent):,}"
    assert compare(before, after) > 58
    assert bool(after.info.get("progressive")) is made.get("progressive", False)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_of_other_colours_neither_grows_nor_loses(mode: str, tmp_path: Path) -> None:
    data = encode(make_photo(mode), "JPEG", quality=60)
    sent = prepare(tmp_path, data).data
    assert len(sent) <= len(data)
    assert compare(decode(data), decode(sent)) > 58


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_of_the_finest_grain_can_be_encoded_again(
    orientation: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pillow's buffer for `optimize` and `progressive` has no room for 4 bytes a pixel."""
    grain = Image.frombytes("RGB", (300, 300), os.urandom(3 * 300 * 300))
    data = encode(grain, "JPEG", quality=100, subsampling=0, exif=make_exif(orientation))
    sent = prepare(tmp_path, data).data
    assert len(sent) <= len(data) * 1.1
    assert capfd.readouterr().err == ""


# --- memory ------------------------------------------------------------------------------------

LIMIT_BYTES = 400_000_000
# What is admitted, or a quarter of it that must fit into a quarter of the limit: there the memory
# grows with the pixels. A JPEG takes some more, whatever its size.
LARGE: dict[str, tuple[int, str, str, tuple[int, int], dict[str, Any]]] = {
    "JPEG": (1, "JPEG", "RGB", (8000, 5000), {"subsampling": 0}),
    "PNG": (4, "PNG", "RGBA", (4000, 2500), {"compress_level": 1}),
    "progressive": (1, "JPEG", "CMYK", (6000, 4000), {"progressive": True}),
    "WebP": (4, "WEBP", "RGB", (2500, 2000), {"method": 0}),
    "transparent": (4, "WEBP", "RGBA", (2500, 1250), {"method": 0}),
    "lossless": (4, "WEBP", "RGBA", (2500, 1250), {"lossless": True, "quality": 0}),
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a picture of each kind, lying on its side."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc and RLIMIT_AS")
    folder = tmp_path_factory.mktemp("large")
    paths = {}
    for name, (_, format_, mode, size, options) in LARGE.items():
        picture = quarters(mode).resize(size, Image.Resampling.NEAREST)
        if mode == "RGBA":
            picture.putpixel((0, 0), (0, 0, 0, 0))  # or WebP drops the channel
        paths[name] = save(folder, encode(picture, format_, **options, exif=make_exif(6)), name)
    return paths


def prepare_in_container(paths: dict[str, Path], limit: int) -> tuple[list[str], str]:
    """Prepare pictures in processes that may take so many bytes more than their imports.

    Return the names of those that were turned upright, and what went wrong with the others.
    """
    program = """
        import os, resource, sys
        from PIL import Image
        from profile_picture_uploader import *
        Image.init()
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        for path, limit in zip(sys.argv[1::2], sys.argv[2::2]):
            if not os.fork():  # a new process that need not import again
                most = used + int(limit)
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
                if "turned upright" in ProfilePictureUploader().prepare(path).changes:
                    print(Path(path).name)
                sys.exit()
            os.wait()
    """
    limits = [(str(path), str(limit // LARGE[name][0])) for name, path in paths.items()]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *chain(*limits)],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
        timeout=120,
    )
    return done.stdout.split(), done.stderr


@pytest.mark.slow
def test_the_largest_pictures_fit_into_400_mb(large: dict[str, Path]) -> None:
    upright, errors = prepare_in_container(large, LIMIT_BYTES)
    assert upright == [*large], errors[-500:]


@pytest.mark.slow
def test_the_limit_of_400_mb_is_one(large: dict[str, Path]) -> None:
    assert prepare_in_container({"PNG": large["PNG"]}, LIMIT_BYTES // 2)[0] == []


def stretch(webp: bytes, width: int, height: int) -> bytes:
    """Return a WebP of 60x40 whose header says another size, as each kind of chunk writes it."""
    chunks: list[Callable[[int, int], bytes]] = [
        lambda width, height: struct.pack("<HH", width, height),  # VP8
        lambda width, height: struct.pack("<HxHx", width - 1, height - 1),  # VP8X
        lambda width, height: struct.pack("<I", width - 1 | height - 1 << 14),  # VP8L
    ]
    for write in chunks:
        webp = webp.replace(write(60, 40), write(width, height))
    return webp


@pytest.mark.parametrize(
    ("mode", "size", "is_lossless", "cap"),
    [
        ("RGB", (5001, 4000), False, "20,000,000"),
        ("RGBA", (5001, 2500), False, "12,500,000"),
        ("RGB", (5001, 2500), True, "12,500,000"),
    ],
)
def test_a_webp_may_have_fewer_pixels(
    mode: str, size: tuple[int, int], is_lossless: bool, cap: str, tmp_path: Path
) -> None:
    picture = Image.new(mode, (60, 40))  # RGBA: it can be seen through
    data = stretch(encode(picture, "WEBP", lossless=is_lossless), *size)
    assert Image.open(io.BytesIO(data)).size == size
    check_refused(save(tmp_path, data), f"over {cap} pixels")


def test_a_progressive_jpeg_may_have_fewer_pixels(tmp_path: Path) -> None:
    """Its decoder holds all of it at once, where another one goes row by row."""
    small = encode(quarters(), "JPEG", progressive=True)
    large = small.replace(struct.pack(">HH", 40, 60), struct.pack(">HH", 4001, 6000))
    check_refused(save(tmp_path, large), "over 24,000,000 pixels")


# --- the request -------------------------------------------------------------------------------


def test_upload_sends_exactly_what_prepare_shows(tmp_path: Path) -> None:
    path = save(tmp_path, make_loaded("PNG"), "Me & you.jpeg")
    prepared = ProfilePictureUploader(URL).prepare(path)
    parts = capture(path)
    part = parts["file"]
    assert part.get_payload(decode=True) == prepared.data
    assert part.get_filename() == prepared.filename == "Me & you.png"
    assert part.get_content_type() == prepared.media_type == "image/png"
    assert parts["user_id"].get_payload() == "42"


def test_metadata_may_have_any_name() -> None:
    with canned(OK) as wire:
        uploader = ProfilePictureUploader(wire.url)
        more = {"picture": "front", "url": "x", "data": "y", "headers": "z"}
        uploader.upload(SAMPLES / "avatar.png", user_id="42", **more).close()
    for name in ("picture", "url", "data", "headers", "user_id"):
        assert f'name="{name}"\r\n'.encode() in wire.requests[0].body


TOKEN = {"Authorization": "Bearer s3cret-token"}


def test_a_token_goes_along_and_a_password_in_netrc_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_netrc(monkeypatch, tmp_path)
    with canned(OK) as wire:
        for headers in (None, TOKEN | {"Content-Type": "image/png"}):
            uploader = ProfilePictureUploader(wire.url, headers=headers)
            uploader.upload(SAMPLES / "avatar.png", "42").close()
            assert "s3cret" not in repr(uploader)
            assert NETRC_PASSWORD not in repr(uploader)
    without, with_token = wire.requests
    assert without.header("Authorization") is None
    assert with_token.header("Authorization") == TOKEN["Authorization"]
    assert b"boundary=" in with_token.head


def test_a_redirect_that_asks_for_the_picture_again_gets_all_of_it() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /new\r\nConnection: close\r\n\r\n"
    with canned(moved, OK) as wire:
        ProfilePictureUploader(wire.url).upload(SAMPLES / "avatar.png", "42").close()
    old, new = wire.requests
    assert len(new.body) == new.length
    assert new.body == old.body


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK]
)
def test_an_answer_that_is_no_2xx_is_no_success(answer: bytes) -> None:
    with canned(answer + b"Connection: close\r\n\r\n") as wire, pytest.raises(requests.HTTPError):
        ProfilePictureUploader(wire.url).upload(SAMPLES / "avatar.png", "42")


@pytest.mark.parametrize("status", [401, 413, 520])
def test_raises_for_a_status_that_is_no_success(status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, status=status, body="says why")
        with pytest.raises(requests.HTTPError, match=f"^{status} .*says why") as caught:
            ProfilePictureUploader(URL).upload(SAMPLES / "avatar.png", "42")
    assert caught.value.response is not None
    assert caught.value.response.status_code == status


# --- a safe file name --------------------------------------------------------------------------

NAMES = {  # as given, and what is left of it
    "me.png": "me.jpg",
    "Grüße aus 北京.jpeg": "Grüße aus 北京.jpg",
    "no extension": "no extension.jpg",
    "../../etc/passwd": "passwd.jpg",
    "..\\..\\boot.ini": "boot.jpg",
    "C:\\Users\\me.png": "me.jpg",
    "C:me.png": "me.jpg",
    "a.php.jpg": "a_php.jpg",
    "a.jpg.php": "a_jpg.jpg",
    ".htaccess": "_htaccess.jpg",
    "": "picture.jpg",
    ".": "picture.jpg",
    "..": "__.jpg",
    "/": "picture.jpg",
    "   ": "picture.jpg",
    "-rf.png": "rf.jpg",
    "~root.png": "root.jpg",
    " - ~.x.png": "_x.jpg",
    "a\r\nX-Evil: 1.png": "aX-Evil_ 1.jpg",
    "a\0b.png": "ab.jpg",
    'a"b<c>|d?*.png': "a_b_c__d__.jpg",
    "\u202egnp.exe.jpg": "gnp_exe.jpg",
    "a\u200db\ufeff.png": "ab.jpg",
    "a\ud800b.png": "ab.jpg",
    "a\ue000b\U000e0001.png": "ab.jpg",
    "a\u2028b\u00a0c.png": "a b c.jpg",
    "cafe\u0301.png": "café.jpg",
    "e\u200d\u0301.png": "é.jpg",
    "trailing .png": "trailing.jpg",
    "x" * 300 + ".png": "x" * 251 + ".jpg",
    "é" * 300 + ".png": "é" * 125 + ".jpg",
    "CON.png": "_CON.jpg",
    "nul": "_nul.jpg",
    "Com1.tar.gz": "Com1_tar.jpg",
    "LPT¹.png": "_LPT¹.jpg",
    "CONIN$.png": "_CONIN$.jpg",
    "CON .png": "_CON.jpg",
    "console.png": "console.jpg",
}


def check_name(name: str) -> None:
    """Fail unless a file name is safe on Linux, macOS and Windows."""
    stem, dot, extension = name.rpartition(".")
    assert stem, "no name before the dot"
    assert dot + extension in EXTENSIONS.values()
    assert "." not in stem, "more than one dot"
    assert len(name.encode()) <= 255
    assert unicodedata.is_normalized("NFC", name)
    assert not set(name) & set('/\\:*?"<>|')
    assert stem[0] not in ".-~ "
    assert not [letter for letter in name if unicodedata.category(letter)[0] == "C"]
    assert not re.fullmatch(r"(?i)con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]", stem.strip())


@pytest.mark.parametrize("name", NAMES)
def test_makes_a_name_safe(name: str) -> None:
    got = safe_filename(name, "image/jpeg")
    assert got == NAMES[name], f"called safe_filename({name!r}): got {got!r}"
    check_name(got)


@pytest.mark.parametrize(("media_type", "extension"), EXTENSIONS.items())
def test_the_extension_is_the_one_of_the_media_type(media_type: str, extension: str) -> None:
    assert safe_filename("me.exe", media_type) == f"me{extension}"


@pytest.mark.slow
def test_any_letter_in_any_place_gives_a_safe_name() -> None:
    for code in [*range(0x3000), *range(0xD7F0, 0xE010), *range(0xF8F0, 0x10000), 0x1F600, 0xE0041]:
        for name in (chr(code), f"{chr(code)}a.png", f"a{chr(code)}.png", f"con{chr(code)}"):
            check_name(safe_filename(name, "image/png"))


def test_different_harmless_names_stay_different() -> None:
    names = ["me", "Me", "me 2", "me_2", "me-2", "mé", "me (2)", "me+you", "me & you", "我", "😀"]
    assert len({safe_filename(f"{name}.png", "image/png") for name in names}) == len(names)


# --- the command line --------------------------------------------------------------------------


@pytest.mark.slow
def test_prints_what_it_is_what_was_changed_and_what_was_sent(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_main(capsys, "--url", f"{server.url}/post")
    assert (code, err) == (0, "")
    kind, changes, sent = out.splitlines()
    assert kind == "avatar.jpg is image/jpeg"
    assert changes == "removed GPS position, turned upright, 3024x4032 kept"
    assert re.fullmatch(r"sent as avatar\.jpg: [\d,]+ bytes, 200", sent)


def test_keeps_the_original_on_demand(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = SAMPLES / "avatar.png"
    code, out, _ = run_main(capsys, path, "--keep-original", "--url", f"{server.url}/post")
    assert code == 0
    size = path.stat().st_size
    assert out.splitlines()[1:] == [
        "original bytes kept",
        f"sent as avatar.png: {size:,} bytes, 200",
    ]


def test_sends_the_user_id(capsys: pytest.CaptureFixture[str]) -> None:
    with canned(OK) as wire:
        code, _, _ = run_main(capsys, SAMPLES / "avatar.png", "--user-id", "ada", "--url", wire.url)
    assert code == 0
    assert b'name="user_id"\r\n\r\nada\r\n' in wire.requests[0].body


def test_a_redirect_that_loses_the_file_is_an_error(
    server: PracticeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """301, 302 and 303 make a GET of the POST: the second server answers 200 and got no file."""
    path = SAMPLES / "avatar.png"
    code, out, err = run_main(capsys, path, "--url", f"{server.url}/redirect-to?url=/get")
    assert code == 1, f"exit code {code}, although no file arrived: {out}"
    assert "302 FOUND - the file may have arrived" in err


def test_a_bundle_of_certificates_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    error = check_error(capsys, SAMPLES / "avatar.png", "--url", "https://127.0.0.1/post")
    assert "/nowhere/bundle.pem" in error


def test_a_refused_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = SAMPLES / "not_a_picture.jpg"
    assert "not_a_picture.jpg: not a JPEG, PNG, GIF or WebP" in check_error(capsys, html)
    assert "missing.jpg: " in check_error(capsys, tmp_path / "missing.jpg")


def test_offers_the_offline_command_with_the_same_arguments_but_no_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV", "/bin/uv")
    monkeypatch.chdir(ROOT)
    arguments = ["samples/avatar.png", "--user-id", "ada"]
    error = check_error(capsys, *arguments, f"--url={NOWHERE}")
    script = f"{ROOT / 'tests' / 'offline.py'} profile_picture_uploader.py"
    assert error.endswith(f"uv run {script} {' '.join(arguments)}")


def test_a_refusal_in_mid_body_is_no_question_of_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, tmp_path)
    path = save(tmp_path, JPEG + bytes(5_000_000))
    with refuses_midway(tls=True) as wire:
        error = check_error(capsys, path, "--keep-original", "--url", wire.url)
    assert re.search("larger than the server takes|413", error)  # urllib3 may lose the 413
