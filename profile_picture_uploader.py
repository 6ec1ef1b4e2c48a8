"""Upload a profile picture: check what it really is, send a clean copy under a safe name.

Sample run::

    $ uv run tests/offline.py profile_picture_uploader.py
    avatar.jpg is image/jpeg
    removed GPS position, turned upright, 3024x4032 kept
    sent as avatar.jpg: 306,081 bytes, 200
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.32.4,<3", "Pillow>=11.3,<14"]
# ///

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import NamedTuple

import requests
from PIL import ExifTags, Image, ImageOps

UPLOAD_URL = (os.environ.get("HTTPBIN_URL") or "https://httpbin.org").rstrip("/") + "/post"
TIMEOUT_SECONDS = (5, 30)  # connect, read
MAX_NAME_BYTES = 255  # the limit of ext4, APFS and NTFS
SAMPLE = Path(__file__).resolve().parent / "samples" / "avatar.jpg"
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp"}
RESERVED_NAMES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)


class InvalidPicture(ValueError):
    """The file is not a picture that we accept; the text says which rule failed."""


class PreparedPicture(NamedTuple):
    """What will be sent, and how it differs from the file that was given."""

    data: bytes
    filename: str
    media_type: str
    changes: list[str]


def detect_media_type(data: bytes) -> str | None:
    """Return the media type that the magic bytes announce, None for all but the four."""
    if data.startswith(b"\xff\xd8\xff"):  # ISO/IEC 10918-1: start of image, next marker
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):  # W3C PNG, 5.2: its \r\n betrays text mode
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":  # RIFF alone may be WAV or AVI
        return "image/webp"
    return None


def safe_filename(name: str, media_type: str) -> str:
    """Return the stem of `name` made safe on every system, with the media type's extension.

    One dot, NFC, at most 255 bytes of UTF-8; nothing that a path, a shell listing or Windows
    would take for something else; never empty.
    """
    base = re.split(r"[/\\]", name)[-1]
    stem = base.rpartition(".")[0] or base
    letters = []
    for letter in stem:
        category = unicodedata.category(letter)  # C*: control, format, surrogate, unassigned
        if category[0] == "Z":
            letters.append(" ")
        elif category[0] != "C":
            letters.append("_" if letter in '.<>:"|?*' else letter)
    stem = unicodedata.normalize("NFC", "".join(letters)).lstrip(".-~ ")
    room = MAX_NAME_BYTES - len(EXTENSIONS[media_type])
    stem = stem.encode()[:room].decode(errors="ignore").rstrip() or "picture"
    if RESERVED_NAMES.fullmatch(stem):  # Windows: CON.jpg is the console
        stem = "_" + stem
    return stem + EXTENSIONS[media_type]


@dataclass
class ProfilePictureUploader:
    """Checks, cleans and uploads profile pictures.

    `max_bytes` caps the file and what is sent, `max_pixels` the decoded picture (a PNG of
    24 KB can hold 200 megapixels). `keep_original` sends the bytes as they are: GPS position,
    trailing bytes and all.
    """

    url: str = UPLOAD_URL
    _: KW_ONLY
    max_bytes: int = 5 * 1024 * 1024
    max_pixels: int = 40_000_000
    keep_original: bool = False
    timeout: tuple[float, float] = TIMEOUT_SECONDS

    def validate(self, path: str | Path) -> str:
        """Return the media type that the bytes show; raises InvalidPicture, and only that.

        One gap: a JPEG cut off and closed again passes, for the decoder paints the rest grey.
        """
        return self._decode(self._read(path))[0]

    def prepare(self, path: str | Path) -> PreparedPicture:
        """Return what will be sent: the first frame re-encoded, upright, without EXIF.

        Whatever else hides in the file (a position, a script behind the picture) is gone; the
        colour profile stays. Raises InvalidPicture.
        """
        data = self._read(path)  # once: what is sent is what was checked
        media_type, picture, changes = self._decode(data)
        if self.keep_original:
            changes = ["original bytes kept"]
        else:
            data = self._encode(picture, media_type)
            changes.append(f"{picture.width}x{picture.height} kept")
        filename = safe_filename(Path(path).name, media_type)
        return PreparedPicture(data, filename, media_type, changes)

    def send(self, picture: PreparedPicture, user_id: str, /, **metadata: str) -> requests.Response:
        """Send a prepared picture with `user_id` and `metadata` as form fields (RFC 7578)."""
        response = requests.post(
            self.url,
            files={"file": (picture.filename, picture.data, picture.media_type)},
            data={**metadata, "user_id": user_id},
            timeout=self.timeout,
        )
        if response.request.method != "POST":  # 301, 302 and 303 turn it into a GET without a body
            raise requests.RequestException(f"redirected to {response.url}, the file got lost")
        response.raise_for_status()
        return response

    def upload(self, path: str | Path, user_id: str, **metadata: str) -> requests.Response:
        """Send exactly what `prepare` returns.

        Raises InvalidPicture before anything is sent, then requests.RequestException.
        """
        return self.send(self.prepare(path), user_id, **metadata)

    def _read(self, path: str | Path) -> bytes:
        try:
            if not Path(path).is_file():  # asked before opening: a FIFO would wait for ever
                raise InvalidPicture("not a file" if Path(path).exists() else "no such file")
            with open(path, "rb") as file:
                data = file.read(self.max_bytes + 1)
        except OSError as error:
            raise InvalidPicture(f"can't be read ({error.strerror})") from error
        if not 0 < len(data) <= self.max_bytes:
            raise InvalidPicture(f"over {self.max_bytes:,} bytes" if data else "empty")
        return data

    def _decode(self, data: bytes) -> tuple[str, Image.Image, list[str]]:
        """Return the media type, the picture upright, and how that differs from the file."""
        media_type = detect_media_type(data)
        if media_type is None:
            raise InvalidPicture("not a JPEG, PNG, GIF or WebP")
        try:
            picture = Image.open(io.BytesIO(data), formats=[media_type.removeprefix("image/")])
            if picture.width * picture.height > self.max_pixels:
                raise Image.DecompressionBombError
            picture.load()  # verify() lets half a JPEG pass
            exif = picture.getexif()
            facts = {
                "removed GPS position": exif.get_ifd(ExifTags.IFD.GPSInfo),
                "turned upright": exif.get(ExifTags.Base.Orientation) in range(2, 9),
                "kept the first frame only": getattr(picture, "is_animated", False),
            }
            changes = [change for change, applies in facts.items() if applies]
            return media_type, ImageOps.exif_transpose(picture), changes
        except Image.DecompressionBombError as error:
            raise InvalidPicture(f"over {self.max_pixels:,} pixels") from error
        except Exception as error:  # on damaged data Pillow raises nearly anything
            raise InvalidPicture("damaged or cut off") from error

    def _encode(self, picture: Image.Image, media_type: str) -> bytes:
        """Return the picture in the same format: its pixels, its colour profile, nothing else."""
        profile = picture.info.get("icc_profile")
        kept = {"transparency"} & picture.info.keys()
        picture.info = {key: picture.info[key] for key in kept}
        clean = io.BytesIO()
        try:
            picture.save(clean, media_type.removeprefix("image/"), quality=90, icc_profile=profile)
        except (OSError, ValueError) as error:  # an animated WebP may be wider than a still one
            raise InvalidPicture(f"can't be re-encoded ({error})") from error
        if clean.tell() > self.max_bytes:
            raise InvalidPicture(f"over {self.max_bytes:,} bytes when re-encoded")
        return clean.getvalue()


def explain(error: requests.RequestException | ValueError) -> str:
    """Return in one line what happened and what to do."""
    if isinstance(error, requests.HTTPError):
        reason = "".join(filter(str.isprintable, error.response.reason))  # no terminal codes
        return f"{error.response.status_code} {reason} - check the address"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        return "no answer in time - try again later"
    if isinstance(error, requests.ConnectionError) and "aborted" in str(error):
        return "the connection broke - the file may be larger than the server takes"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection - check the address, and this machine's clock"
    if isinstance(error, requests.ConnectionError):
        return f"can't connect - try: uv run tests/offline.py {Path(__file__).name}"
    return f"{error} - check the address"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Check a profile picture and upload a clean copy.",
        epilog="example: profile_picture_uploader.py me.jpg --user-id ada",
    )
    parser.add_argument("file", nargs="?", type=Path, help="the picture (default: a sample)")
    parser.add_argument("--user-id", default="42", metavar="ID", help="whose (default: 42)")
    parser.add_argument("--keep-original", action="store_true", help="send the bytes unchanged")
    parser.add_argument("--url", default=UPLOAD_URL, help="where to (default: %(default)s)")
    args = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    warnings.filterwarnings("ignore", module="PIL")  # on broken EXIF; the pixels decide
    uploader = ProfilePictureUploader(args.url, keep_original=args.keep_original)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = args.file or SAMPLE
            if not args.file and not SAMPLE.exists():  # this script was copied away from it
                path = Path(folder, "square.png")
                Image.new("RGB", (64, 64), "teal").save(path)
            picture = uploader.prepare(path)
            print(f"{path.name} is {picture.media_type}")
            print(", ".join(picture.changes))
            response = uploader.send(picture, args.user_id)
            sent = f"{len(picture.data):,} bytes, {response.status_code}"
            print(f"sent as {picture.filename}: {sent}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InvalidPicture as error:
        print(f"error: {path.name}: {error} - choose another file", file=sys.stderr)
        return 1
    except (requests.RequestException, ValueError) as error:  # ValueError: a redirect to no address
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
