"""Upload a profile picture: check what it is, send a clean copy under a safe name.

Sample run::

    $ uv run tests/offline.py profile_picture_uploader.py
    avatar.jpg is image/jpeg
    removed GPS position, turned upright, 3024x4032 kept
    sent as avatar.jpg: 166,572 bytes, 200
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.33,<3", "Pillow>=12.3,<14"]
# ///

import argparse
import http.client
import io
import os
import re
import sys
import unicodedata
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import requests
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo

UPLOAD_URL = "https://httpbin.org/post"
TIMEOUT_SECONDS = (10, 30)  # to connect and for each block sent; for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # what the system may hold when all is handed over
MAX_NAME_BYTES = 255  # the limit of ext4, APFS and NTFS
PictureFile = str | Path | BinaryIO  # a web app has request.files["photo"], no path


class InvalidPicture(ValueError):
    """The file is not a picture that we accept; the text says which rule failed."""


class PreparedPicture(NamedTuple):
    """What will be sent, and how it differs from the file that was given."""

    data: bytes
    filename: str
    media_type: str
    changes: list[str]


@dataclass(repr=False)  # it would show the token
class ProfilePictureUploader:
    """Checks, cleans and uploads profile pictures.

    `max_bytes` caps the file given, `max_pixels` what it holds: a PNG of 24 KB may be one
    of 200 megapixels. Where decoding takes more memory, fewer are let in: see `find_cap`.
    `keep_original` sends the bytes as they are, GPS position, trailing bytes and all.
    `headers` are for an API's token.
    """

    url: str = UPLOAD_URL
    _: KW_ONLY  # what follows is given by name
    max_bytes: int = 5 * 1024 * 1024
    max_pixels: int = 40_000_000
    keep_original: bool = False
    headers: Mapping[str, str] | None = None
    timeout: float | tuple[float, float] = TIMEOUT_SECONDS

    def upload(
        self, path: PictureFile | PreparedPicture, user_id: str, **metadata: str
    ) -> requests.Response:
        """Send a picture, or what `prepare` made of it, with form fields (RFC 7578).

        Redirected to another host, requests drops Authorization but takes other headers
        along, and asks ~/.netrc for that host. Raises InvalidPicture before it sends,
        requests.HTTPError for a status that is no 2xx, else requests.RequestException.
        """
        picture = path if isinstance(path, PreparedPicture) else self.prepare(path)
        response = requests.post(
            self.url,
            files={"file": (picture.filename, picture.data, picture.media_type)},
            data={**metadata, "user_id": user_id},
            headers={**(self.headers or {}), **OUR_HEADERS},
            auth=send_in_blocks,
            timeout=allow_for_slow_line(self.timeout, len(picture.data)),
            stream=True,  # the answer is read when its status is known
        )
        check_answer(response)
        return response

    def prepare(self, path: PictureFile) -> PreparedPicture:
        """Return what will be sent: the first frame re-encoded, upright, without EXIF.

        Whatever else hides in the file, a position, a script behind the picture, is gone;
        the colour profile stays. Raises InvalidPicture.
        """
        data = read_file(path, self.max_bytes)  # once: what is checked is what is sent
        media_type = detect_media_type(data)
        picture, options, changes = decode_picture(data, media_type, self.max_pixels)
        if self.keep_original:
            changes = ["original bytes kept"]
        else:
            data = encode_picture(picture, media_type, options)
        filename = safe_filename(find_name(path), media_type)
        return PreparedPicture(data, filename, media_type, changes)

    def validate(self, path: PictureFile) -> str:
        """Return the media type that the bytes show; raises InvalidPicture, nothing else.

        A gap: a JPEG cut off and closed again passes, for the decoder paints the rest grey.
        """
        data = read_file(path, self.max_bytes)
        media_type = detect_media_type(data)
        decode_picture(data, media_type, self.max_pixels)
        return media_type


def read_file(path: PictureFile, max_bytes: int) -> bytes:
    """Return the bytes of a file, an open one from its start, if it keeps to the cap."""
    try:
        if not isinstance(path, str | os.PathLike):
            with suppress(OSError):  # a stream can't, and needn't
                path.seek(0)  # `validate` may have read it
            data = path.read(max_bytes + 1)
        elif Path(path).exists() and not Path(path).is_file():
            raise OSError("not a file")  # a named pipe, opened, would wait for ever
        else:
            with open(path, "rb") as file:
                data = file.read(max_bytes + 1)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # two from gzip.open
        raise InvalidPicture(f"can't be read ({error})") from error
    if not 0 < len(data) <= max_bytes:
        raise InvalidPicture(f"over {max_bytes:,} bytes" if data else "empty")
    return data


def detect_media_type(data: bytes) -> str:
    """Return the media type that the magic bytes announce; only four are accepted."""
    if data.startswith(b"\xff\xd8\xff"):  # ISO/IEC 10918-1: start, next marker
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):  # W3C PNG, 5.2: \r\n betrays text mode
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":  # else WAV or AVI
        return "image/webp"
    if data[4:8] == b"ftyp":  # ISO/IEC 14496-12: then brands, of a video, too
        for brand, name in BRANDS.items():
            if brand in data[8:40]:
                raise InvalidPicture(f"{name} is not accepted - {SAVE_AS_JPEG}")
    raise InvalidPicture("not a JPEG, PNG, GIF or WebP")


def decode_picture(
    data: bytes, media_type: str, max_pixels: int
) -> tuple[Image.Image, dict[str, Any], list[str]]:
    """Return the first frame upright, options to save it, and what has changed."""
    cap = max_pixels
    kind = media_type.removeprefix("image/")
    try:
        picture = Image.open(io.BytesIO(data), formats=[kind])
        options = find_options(picture, data, media_type)
        cap = find_cap(picture, max_pixels, options.get("lossless", False))
        if picture.width * picture.height > cap:
            raise Image.DecompressionBombError
        picture.load()  # verify() lets half a JPEG pass
        changes = list_changes(picture, data, media_type)
        kept = {"transparency"} & picture.info.keys()
        picture.info = {key: picture.info[key] for key in kept}
        upright = ImageOps.exif_transpose(picture)
    except Exception as error:  # on damaged data Pillow raises nearly anything
        is_huge = isinstance(error, Image.DecompressionBombError)
        rule = f"over {cap:,} pixels" if is_huge else "damaged or cut off"
        raise InvalidPicture(rule) from error
    changes.append(f"{upright.width}x{upright.height} kept")
    return upright, options, changes


def find_cap(picture: Image.Image, max_pixels: int, is_lossless: bool) -> int:
    """Return how many pixels may be decoded and encoded again: 400 MB must do for all."""
    cap = max_pixels
    if picture.format == "WEBP":
        cap = 10_000_000 if is_lossless or picture.mode == "RGBA" else 20_000_000
    elif isinstance(picture, JpegImageFile) and "progressive" in picture.info:
        samples = [across * down for _, across, down, _ in picture.layer]
        cap = MAX_JPEG_SAMPLES * samples[0] // sum(samples)
    return min(cap, max_pixels)


def list_changes(picture: Image.Image, data: bytes, media_type: str) -> list[str]:
    """Return what a clean copy will lack, in words."""
    exif = picture.getexif()
    behind = data[find_end(data, media_type) :]
    is_video = b"ftyp" in behind
    is_animated = getattr(picture, "is_animated", False)
    has_16_bits = media_type == "image/png" and data[24] == 16
    facts = {
        "removed GPS position": exif.get_ifd(ExifTags.IFD.GPSInfo),
        "turned upright": exif.get(ExifTags.Base.Orientation) in range(2, 9),
        "kept the first frame only": is_animated and media_type != "image/jpeg",
        "removed a video behind the picture": is_video,
        f"removed {len(behind):,} bytes behind the picture": behind and not is_video,
        "reduced 16 bits to 8": has_16_bits and picture.mode != "I;16",
    }
    return [change for change, applies in facts.items() if applies]


def find_end(data: bytes, media_type: str) -> int:
    """Return where the picture ends; phones put a second one or a video behind it."""
    if media_type == "image/webp":
        return 8 + int.from_bytes(data[4:8], "little")
    file = io.BytesIO(data)
    if media_type == "image/jpeg":
        JpegImageFile(file)  # reads the header, which may hold a small JPEG
    mark = END_MARKS[media_type]
    find = data.rfind if media_type == "image/gif" else data.find
    end = find(mark, file.tell())
    return end + len(mark) if end >= 0 else len(data)


def find_options(picture: Image.Image, data: bytes, media_type: str) -> dict[str, Any]:
    """Return the options for `save` that keep what can be kept."""
    options: dict[str, Any] = {"icc_profile": picture.info.get("icc_profile")}
    if isinstance(picture, JpegImageFile):
        options |= find_jpeg_options(picture, find_end(data, media_type))
    if media_type == "image/webp":
        is_lossless = b"VP8L" in data.partition(b"VP8 ")[0]  # the first frame's kind
        options |= {"lossless": is_lossless, "exact": is_lossless, "quality": 90}
    if media_type == "image/png":
        options["pnginfo"] = colours = PngInfo()
        for name, size in COLOUR_CHUNKS.items():
            _, found, content = data.partition(size.to_bytes(4, "big") + name)
            if found:
                colours.add(name, content[:size])
    return options


def find_jpeg_options(picture: JpegImageFile, size: int) -> dict[str, Any]:
    """Return how a JPEG was made; at a quality of our own many would grow."""
    tables = [picture.quantization[number] for _, _, _, number in picture.layer]
    _, across, down, _ = picture.layer[0]  # the brightness
    _, less_across, less_down, _ = picture.layer[-1]  # a colour
    sampling = across // less_across, down // less_down
    if picture.getexif().get(ExifTags.Base.Orientation) in range(5, 9):
        # Rows become columns, in the picture and in a table's 8x8 values.
        order = [8 * y + x for x in range(8) for y in range(8)]
        tables = [[table[place] for place in order] for table in tables]
        sampling = sampling[1], sampling[0]
    if picture.mode == "CMYK":
        tables = tables[:1]  # the others may be for colours that Pillow can't write
    pixels = picture.width * picture.height
    fits = size <= pixels and pixels * picture.layers <= MAX_JPEG_SAMPLES
    return {
        "qtables": tables,
        "subsampling": SUBSAMPLINGS.get(sampling, "4:4:4"),
        "progressive": fits and "progressive" in picture.info,
        "optimize": fits,  # Pillow's buffer for both has 2 bytes a pixel
    }


def encode_picture(picture: Image.Image, media_type: str, options: dict[str, Any]) -> bytes:
    """Return the picture in the same format: its pixels, its colours, nothing else."""
    clean = io.BytesIO()
    try:
        picture.save(clean, media_type.removeprefix("image/"), **options)
    except Exception as error:  # an animated WebP may be wider than a still one
        raise InvalidPicture(f"can't be re-encoded ({error})") from error
    return clean.getvalue()


def find_name(file: object) -> str:
    """Return the name of a path or an open file; of an upload, the one its sender gave."""
    names = (file, getattr(file, "filename", None), getattr(file, "name", None))
    return next((name for name in names if isinstance(name, str)), "")


def safe_filename(name: str, media_type: str) -> str:
    """Return the stem of `name` made safe on every system, and the type's extension.

    One dot, NFC, at most 255 bytes of UTF-8; nothing that a path, a shell listing or
    Windows would take for something else; never empty.
    """
    base = re.split(r"[/\\]", name)[-1]
    stem = base.rpartition(".")[0] or base
    letters = []
    for letter in stem:
        category = unicodedata.category(letter)
        if category[0] == "Z":
            letters.append(" ")
        elif category[0] != "C":  # control, format, surrogate, unassigned
            letters.append("_" if letter in '.<>:"|?*' else letter)
    stem = unicodedata.normalize("NFC", "".join(letters)).lstrip(".-~ ")
    room = MAX_NAME_BYTES - len(EXTENSIONS[media_type])
    stem = stem.encode()[:room].decode(errors="ignore").rstrip() or "picture"
    if RESERVED_NAMES.fullmatch(stem):  # Windows: CON.jpg is the console
        stem = "_" + stem
    return stem + EXTENSIONS[media_type]


def send_in_blocks(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Give a slow line time, and leave ~/.netrc alone; for `auth=`.

    The connect timeout limits sending, too: bytes as a whole, a file block by block.
    Without `auth=` requests would put a password from ~/.netrc in place of our token.
    """
    assert isinstance(request.body, bytes)
    request.prepare_body(io.BytesIO(request.body), files=None)
    request.prepare_auth(None)  # user:password@ of the address, nothing else
    return request


def allow_for_slow_line(timeout: float | tuple[float, float], size: int) -> tuple[float, float]:
    """Return connect and read limits; the latter runs while the system empties its buffer."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return connect, read + min(size, SEND_BUFFER_BYTES) / SLOWEST_BYTES_PER_SECOND


def check_answer(response: requests.Response) -> None:
    """Raise HTTPError, in the server's words, unless this is a 2xx for what we sent."""
    status = response.status_code
    is_sent = "Content-Length" in response.request.headers  # 301 to 303 drop the file
    if is_sent and 200 <= status < 300:  # raise_for_status() lets 1xx and 3xx pass
        return
    says = read_message(response) if is_sent else "a redirect lost the file"
    response.close()
    reason = response.reason or http.client.responses.get(status, "")
    words = " ".join(f"{status} {reason} {says}".split())
    shown = "".join(filter(str.isprintable, words))  # no codes for the terminal
    advice = ADVICE.get(status) or ADVICE.get(status // 100, "check the address")
    raise requests.HTTPError(f"{shown} - {advice}", response=response)


def read_message(response: requests.Response) -> str:
    """Return what a text says, but no HTML, and no token of ours."""
    with suppress(requests.RequestException, ValueError):  # cut off, or no text
        text = next(response.iter_content(16_384), b"").decode()
        for word in " ".join(map(str, response.request.headers.values())).split():
            if len(word) >= 8:  # a token; not "Bearer", nor "1"
                text = text.replace(word, "***")
        return "" if text.lstrip().startswith("<") else text[:200]
    return ""


OUR_HEADERS: dict[str, Any] = {"Content-Type": None}  # requests' own names the boundary
ADVICE = {  # by status, or by its first digit
    1: "that was a hint and no answer, the file may have arrived",
    5: "try again later",
    401: "check the key",
    403: "check the key",
    413: "send a smaller file",
    429: "try again later",
}
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp"}
END_MARKS = {"image/jpeg": b"\xff\xd9", "image/png": b"IEND\xaeB`\x82", "image/gif": b"\0;"}
RESERVED_NAMES = re.compile(r"(?i)con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]")
BRANDS = {b"avi": "AVIF", b"hei": "HEIC", b"hev": "HEIC", b"mif1": "HEIC"}
SAVE_AS_JPEG = "save it as JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
MAX_JPEG_SAMPLES = 90_000_000  # where all are held at once: progressive, optimized
SUBSAMPLINGS = {(2, 1): "4:2:2", (2, 2): "4:2:0"}  # Pillow writes no others but 4:4:4
COLOUR_CHUNKS = {b"cICP": 4, b"gAMA": 4, b"cHRM": 32}  # W3C PNG, 11.3.2; and their sizes

# --- the command line ---

SAMPLE = Path(__file__).resolve().parent / "samples" / "avatar.jpg"
CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
NO_TLS = "no TLS at that port - try http:// instead of https://"
FAILURES = {  # a sign in the text of an exception, and what to say instead of it
    "CERTIFICATE_VERIFY": "its certificate can't be verified - see REQUESTS_CA_BUNDLE",
    "WRONG_VERSION": NO_TLS,
    "record layer": NO_TLS,  # since OpenSSL 3.2
    "EOF occurred": BROKEN,  # over TLS a refusal in the middle looks like this
    "ProxyError": "the proxy doesn't answer - check HTTP_PROXY and HTTPS_PROXY",
    "Max retries": CANT_CONNECT,
    "timed out": "no answer in time - try again later",
    "Connection aborted": BROKEN,
    "Connection broken": "the answer broke off - the file may have arrived",
    "://": "requests can't use this address - check it",
}


def explain(error: Exception, arguments: list[str]) -> str:
    """Return what went wrong and what to do, without the address: it may hold a password."""
    text = str(error)
    if not isinstance(error, requests.HTTPError):  # that text is ours
        text = next((FAILURES[sign] for sign in FAILURES if sign in text), text)
    if text != CANT_CONNECT:
        return text
    python = "uv run" if "UV" in os.environ else "python"
    script = Path(__file__)
    words = [str(script.parent / "tests" / "offline.py"), script.name, *arguments]
    command = " ".join(f'"{word}"' if " " in word else word for word in words)
    return f"{text} - try: {python} {command}"


def main(argv: list[str] | None = None) -> None:
    import warnings

    parser = argparse.ArgumentParser(
        description="Check a profile picture and upload a clean copy.",
        epilog="example: profile_picture_uploader.py me.jpg --user-id ada",
    )
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE, help="default: a sample")
    parser.add_argument("--user-id", default="42", metavar="ID", help="whose (default: 42)")
    parser.add_argument("--keep-original", action="store_true", help="send the bytes unchanged")
    parser.add_argument("--url", help=f"where to (default: {UPLOAD_URL})")
    args = parser.parse_args(argv)
    url = args.url or (os.environ.get("HTTPBIN_URL") or "https://httpbin.org") + "/post"
    warnings.filterwarnings("ignore", module="PIL")  # on broken EXIF; the pixels decide
    try:
        uploader = ProfilePictureUploader(url, keep_original=args.keep_original)
        picture = uploader.prepare(args.file)
        print(f"{args.file.name} is {picture.media_type}")
        print(", ".join(picture.changes))
        response = uploader.upload(picture, args.user_id)
        sent = f"{len(picture.data):,} bytes, {response.status_code}"
        print(f"sent as {picture.filename}: {sent}")
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:  # requests.RequestException is an OSError
        given = sys.argv[1:] if argv is None else argv
        rest = [word for word in given if word not in ("--url", args.url, f"--url={args.url}")]
        name = f"{args.file.name}: " if isinstance(error, InvalidPicture) else ""
        sys.exit(f"error: {name}{explain(error, rest)}")


if __name__ == "__main__":
    main()
