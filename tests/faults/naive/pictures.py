"""Profile pictures as most tutorials check and send them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import requests
from PIL import Image


def check_extension(path: Path) -> None:
    """Believe the name."""
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".gif", ".webp"):
        raise ValueError("not a picture")


def check_signature(path: Path) -> None:
    """Believe the first bytes."""
    with open(path, "rb") as file:
        if not file.read(12).startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")):
            raise ValueError("not a picture")


def check_verify(path: Path) -> None:
    """Believe Pillow's verify()."""
    with Image.open(path) as image:
        image.verify()


def check_and_send(path: Path, url: str) -> requests.Response:
    """Check the file, then open it again."""
    check_verify(path)
    with open(path, "rb") as file:
        return requests.post(url, files={"file": file}, timeout=5)


def encode_again(path: Path, format_: str = "JPEG") -> bytes:
    """Strip the metadata by saving in the one format that the site uses."""
    file = io.BytesIO()
    with Image.open(path) as image:
        image.save(file, format_)
    return file.getvalue()


def turn_upright(path: Path) -> None:
    """Turn it as its EXIF says."""
    with Image.open(path) as image:
        image.rotate({1: 0, 3: 180, 6: 270, 8: 90}[image.getexif()[0x0112]])


def clean_name(name: str) -> str:
    """Make a file name harmless, as this system sees harm."""
    return os.path.basename(name).replace("..", "")  # noqa: PTH119 - as it is written everywhere
