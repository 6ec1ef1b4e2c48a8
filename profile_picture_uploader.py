"""Upload a profile picture: check what it is, send a clean copy under a safe name.

Sample run::

    $ uv run tests/offline.py profile_picture_uploader.py
    avatar.jpg is image/jpeg
    removed GPS position, turned upright, 3024x4032 kept
    sent as avatar.jpg: 166,503 bytes, 200
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
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO, NamedTuple

import requests
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

UPLOAD_URL = "https://httpbin.org/post"
TIMEOUT_SECONDS = (10, 30)  # to connect to each IP address, send each block; for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # that the system may still hold when we have sent all
MAX_NAME_BYTES = 255  # on ext4, the tightest limit
PictureFile = str | Path | BinaryIO  # a web app has request.files["photo"], no path


class InvalidPicture(ValueError):
    """The file is not a picture that we accept; the text says which rule failed."""


class PreparedPicture(NamedTuple):
    """What will be sent, and what was changed in it."""

    data: bytes
    filename: str
    media_type: str
    changes: list[str]


@dataclass(repr=False)  # it would show the token
class ProfilePictureUploader:
    """Checks, cleans and uploads profile pictures.

    `max_bytes` caps the file given, `max_pixels` what it holds (of a WebP or progressive
    JPEG less is admitted): a PNG of 24 KB may have 200 megapixels. `keep_original` sends
    the bytes as they are, GPS position and all.
    `headers` are for an API's token. After a redirect requests asks ~/.netrc, which
    may replace it; to another host it drops Authorization, but not X-Api-Key.
    """

    url: str = UPLOAD_URL
    max_bytes: int = 5 * 1024 * 1024
    max_pixels: int = 40_000_000
    keep_original: bool = False
    headers: Mapping[str, str] | None = None
    timeout: float | tuple[float, float] = TIMEOUT_SECONDS

    def upload(self, path: PictureFile, user_id: str, **metadata: str) -> requests.Response:
        """Send a clean copy with form fields (RFC 7578); return the unread response.

        Raises InvalidPicture before it sends, requests.HTTPError for an answer that
        is no 2xx, else requests.RequestException (an OSError, too).
        """
        data, name = read_file(path, self.max_bytes)  # once: what is checked is sent
        media_type = detect_media_type(data)  # by magic bytes, whatever the name says
        content, _ = self._clean(data, media_type)  # decoding it is the proof
        filename = safe_filename(name, media_type)
        response = requests.post(
            self.url,
            files={"file": (filename, content, media_type)},
            data={**metadata, "user_id": user_id},
            headers={**(self.headers or {}), **NO_CONTENT_TYPE},
            auth=send_in_blocks,  # no login: requests lets a function change the request
            timeout=allow_for_slow_line(self.timeout, len(content)),
            stream=True,  # read no more of the answer than we need
        )
        check_answer(response)
        return response

    def prepare(self, path: PictureFile) -> PreparedPicture:
        """Return what `upload` sends; raises InvalidPicture, nothing else."""
        data, name = read_file(path, self.max_bytes)
        media_type = detect_media_type(data)
        content, changes = self._clean(data, media_type)
        filename = safe_filename(name, media_type)
        return PreparedPicture(content, filename, media_type, changes)

    def validate(self, path: PictureFile) -> str:
        """Return the media type that the bytes show; raises InvalidPicture.

        A gap: half a JPEG with an end marker behind passes, its rest decoded as grey.
        """
        return self.prepare(path).media_type

    def _clean(self, data: bytes, media_type: str) -> tuple[bytes, list[str]]:
        """Return the first frame alone, upright, encoded much as it was; and what changed."""
        cap = min(self.max_pixels, 178_000_000)  # about Pillow's own limit
        kind = media_type.removeprefix("image/")
        clean = io.BytesIO()
        try:
            picture: Image.Image = Image.open(io.BytesIO(data), formats=[kind])
            options = find_options(picture, data)
            if picture.format == "WEBP":
                is_rich = picture.mode == "RGBA" or options["lossless"]
                cap = min(cap, MAX_RICH_WEBP if is_rich else MAX_WEBP)
            elif "progressive" in picture.info:
                cap = min(cap, MAX_WHOLE_JPEG)
            if picture.width * picture.height > cap:
                raise Image.DecompressionBombError  # as Pillow does
            picture.load()  # verify() lets half a JPEG pass
            if self.keep_original:
                return data, ["original bytes kept"]
            changes = list_changes(picture, data)
            picture = ImageOps.exif_transpose(picture)
            icc_profile = picture.info.get("icc_profile")
            for key in picture.info.keys() - {"transparency"}:
                del picture.info[key]  # EXIF, XMP, comments
            picture.save(clean, kind, icc_profile=icc_profile, **options)
        except Image.DecompressionBombError as error:
            raise InvalidPicture(f"over {cap:,} pixels") from error
        except Exception as error:  # on damaged data Pillow raises nearly anything
            raise InvalidPicture("damaged or cut off") from error
        return clean.getvalue(), [*changes, f"{picture.width}x{picture.height} kept"]


def read_file(path: PictureFile, max_bytes: int) -> tuple[bytes, str]:
    """Return the bytes of a path or an open file, and its name; raises InvalidPicture."""
    try:
        if not isinstance(path, str | os.PathLike):
            path.seek(0)  # `validate` may have read it
            data = path.read(max_bytes + 1)
            # Of a web app's file `name` is the form field.
            name = getattr(path, "filename", None) or getattr(path, "name", "")
        elif Path(path).exists() and not Path(path).is_file():
            raise OSError("not a file")  # a named pipe, opened, would wait for ever
        else:
            name = Path(path).name
            with open(path, "rb") as file:
                data = file.read(max_bytes + 1)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # of gzip.open, too
        raise InvalidPicture(f"can't be read ({error})") from error
    if not 0 < len(data) <= max_bytes:
        raise InvalidPicture(f"over {max_bytes:,} bytes" if data else "empty")
    return data, str(name)


def detect_media_type(data: bytes) -> str:
    """Return the media type that the magic bytes announce; only four are accepted."""
    if data.startswith(b"\xff\xd8\xff"):  # ISO/IEC 10918-1: SOI, next marker
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):  # W3C PNG, 5.2: \r\n betrays text mode
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":  # else WAV or AVI
        return "image/webp"
    if data[4:8] == b"ftyp":  # ISO/IEC 14496-12 is the base of all three
        raise InvalidPicture(f"HEIC, AVIF or a video - {SAVE_AS_JPEG}")
    raise InvalidPicture("not a JPEG, PNG, GIF or WebP")


def list_changes(picture: Image.Image, data: bytes) -> list[str]:
    """Return the changes that are worth a word; other metadata always goes."""
    exif = picture.getexif()
    is_animated = getattr(picture, "is_animated", False)
    is_mpo = picture.format == "MPO"  # a phone's JPEG with a second one behind it
    colours = {name: picture.info.get(name, SRGB[name]) for name in SRGB}  # a PNG's
    webp_size = 8 + int.from_bytes(data[4:8], "little")  # of a RIFF, where it stands
    has_end = len(data) == webp_size or data.endswith(END_MARKS)
    facts = {
        "removed GPS position": exif.get_ifd(ExifTags.IFD.GPSInfo),
        "turned upright": exif.get(ExifTags.Base.Orientation) in range(2, 9),
        "kept the first frame only": is_animated and not is_mpo,
        "removed what stood behind the picture": is_mpo or not has_end,
        "removed cICP, gAMA, cHRM": colours != SRGB or b"cICP" in data[:4096],
    }
    return [change for change, applies in facts.items() if applies]


def find_options(picture: Image.Image, data: bytes) -> dict[str, Any]:
    """Return how to save a picture as it was made; at one fixed quality many grow."""
    if not isinstance(picture, JpegImageFile):
        is_lossless = b"VP8L" in data.partition(b"VP8 ")[0]  # a WebP's first frame
        return {"lossless": is_lossless, "exact": True, "quality": 90}  # all of a WebP
    tables = [table for _, table in sorted(picture.quantization.items())]
    # 0, 1, 2 are 4:4:4, 4:2:2, 4:2:0; -1 is another, which Pillow can't write.
    sampling = max(get_sampling(picture), 0)
    if picture.getexif().get(ExifTags.Base.Orientation) in range(5, 9):
        # Rows become columns, in a table's 8x8 values, too.
        tables = [[value for x in range(8) for value in table[x::8]] for table in tables]
        sampling = 2 if sampling == 2 else 0  # 4:2:2 would be 4:4:0 when turned
    # To optimize, Pillow holds all in a buffer of a byte for each pixel.
    is_whole = len(data) <= picture.width * picture.height <= MAX_WHOLE_JPEG
    options = {"qtables": tables, "subsampling": sampling, "optimize": is_whole}
    return options | {"progressive": is_whole and "progressive" in picture.info}


def safe_filename(name: str, media_type: str) -> str:
    """Return a name that is safe on every system: one dot, NFC, at most 255 bytes."""
    stem = PureWindowsPath(name).stem  # knows both slashes
    # C: control, format (as bidirectional ones), surrogate, private, unassigned.
    visible = [letter for letter in stem if unicodedata.category(letter)[0] != "C"]
    stem = unicodedata.normalize("NFC", re.sub(r"\s", " ", "".join(visible)))
    stem = re.sub(r'[.<>:"|?*]', "_", stem).lstrip("-~ ")
    room = MAX_NAME_BYTES - len(EXTENSIONS[media_type])
    stem = stem.encode()[:room].decode(errors="ignore").rstrip() or "picture"
    if RESERVED_NAMES.fullmatch(stem):  # Windows: CON.jpg is the console
        stem = "_" + stem
    return stem + EXTENSIONS[media_type]


def send_in_blocks(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send the body in blocks, and leave ~/.netrc alone; for `auth=`.

    The connect timeout limits sending, too: of bytes the whole, of a file each block.
    Without `auth=` requests would send a password from ~/.netrc, in place of any token.
    """
    assert isinstance(request.body, bytes)
    request.prepare_body(io.BytesIO(request.body), files=None)
    request.prepare_auth(None)  # user:password@ of the address, no ~/.netrc
    return request


def allow_for_slow_line(timeout: float | tuple[float, float], size: int) -> tuple[float, float]:
    """Return (connect, read); read grows by what the system may still have to send."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return connect, read + min(size, SEND_BUFFER_BYTES) / SLOWEST_BYTES_PER_SECOND


def check_answer(response: requests.Response) -> None:
    """Raise HTTPError, in the server's words, unless a 2xx answers what we sent."""
    # After any redirect but 307 and 308 requests goes on without the file.
    lost = [step for step in response.history if step.status_code not in (307, 308)]
    answer = lost[0] if lost else response
    if not 200 <= answer.status_code < 300:  # raise_for_status() lets 1xx and 3xx pass
        with response:
            raise requests.HTTPError(describe_answer(answer), response=answer)


def describe_answer(response: requests.Response) -> str:
    """Return status, reason and what a text says, but no HTML, and no token of ours."""
    status, text = response.status_code, ""
    with suppress(requests.RequestException, ValueError):  # cut off, or no text
        text = next(response.iter_content(16_384), b"").decode()
    for name, value in response.request.headers.items():
        for word in str(value).split():  # which may be a token
            if len(word) >= 8 and not name.startswith(("Content-", "Accept")):
                text = text.replace(word, "***")
    if text.lstrip().startswith("<"):  # of a page nothing, but S3 says in XML what is wrong
        text = " ".join(re.findall("<(?:Code|Message)>([^<]*)", text))
    message = "" if status // 100 == 3 else text[:200]  # a redirect's is an address
    reason = response.reason or http.client.responses.get(status, "")
    words = " ".join(f"{status} {reason} {message}".split())
    return "".join(filter(str.isprintable, words))  # no escape codes


NO_CONTENT_TYPE: dict[str, Any] = {"Content-Type": None}  # of a caller: requests sets its own
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp"}
RESERVED_NAMES = re.compile(r"(?i)con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]")
SAVE_AS_JPEG = "save it as JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"
# Pixels of what is held in memory at once, which takes up to 400 MB:
MAX_WEBP = 20_000_000
MAX_RICH_WEBP = 12_500_000  # transparent or lossless
MAX_WHOLE_JPEG = 24_000_000  # progressive or optimized
END_MARKS = (b"\xff\xd9", b"IEND\xaeB`\x82", b"\0;")  # of a JPEG, PNG, GIF
SRGB = {"gamma": 0.45455, "chromaticity": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)}

# --- the command line ---

SAMPLE = Path(__file__).resolve().parent / "samples" / "avatar.jpg"
CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
ADVICE = {  # for the first that is found in an error's name and text
    "HTTPError 1": "a hint came before the answer; the file may have arrived",
    "HTTPError 3": "the file may have arrived; if not, check the address",
    "HTTPError 40[13]": "check the key",
    "HTTPError 413": "send a smaller file",
    "HTTPError (429|[5-9])": "try again later",
    "HTTPError 4": "check the address, and what you send",
    "CERTIFICATE_VERIFY": "can't verify the certificate - see REQUESTS_CA_BUNDLE",
    "WRONG_VERSION|record layer": "no TLS at that port - try http:// instead of https://",
    "EOF occurred": BROKEN,  # over TLS a refusal in the middle looks like this
    "ProxyError": "the proxy doesn't answer - check HTTP_PROXY and HTTPS_PROXY",
    "Max retries": CANT_CONNECT,
    "timed out": "no answer in time - the file may have arrived",
    "Connection aborted": BROKEN,
    "Connection broken": "the answer broke off - the file may have arrived",
    "No connection adapters|Invalid URL|to parse|://": "that address can't be used - check it",
}


def explain(error: Exception, url: str | None) -> str:
    """Return what went wrong, and what to do; no address, it may hold a password."""
    text = str(error)
    named = f"{type(error).__name__} {text}"
    advice = next((ADVICE[sign] for sign in ADVICE if re.search(sign, named)), text)
    if isinstance(error, requests.HTTPError):  # its text is ours
        return f"{text} - {advice}"
    launcher = Path(__file__).parent / "tests" / "offline.py"
    if advice != CANT_CONNECT or not launcher.exists():
        return advice
    python = "uv run" if "UV" in os.environ else "python"
    words = [str(launcher), Path(__file__).name, *sys.argv[1:]]
    words = [word for word in words if word not in ("--url", url, f"--url={url}")]
    command = " ".join(f'"{word}"' if " " in word else word for word in words)
    return f"{advice} - try: {python} {command}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Check a profile picture and upload a clean copy.",
        epilog="example: profile_picture_uploader.py me.jpg --user-id ada",
    )
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE, help="default: a sample")
    parser.add_argument("--user-id", default="42", metavar="ID", help="whose (default: 42)")
    parser.add_argument("--keep-original", action="store_true", help="send the bytes unchanged")
    parser.add_argument("--url", help=f"where to (default: {UPLOAD_URL})")
    args = parser.parse_args()
    url = args.url or (os.environ.get("HTTPBIN_URL") or "https://httpbin.org") + "/post"
    try:
        uploader = ProfilePictureUploader(url, keep_original=args.keep_original)
        picture = uploader.prepare(args.file)  # to show it; upload() does so, too
        print(f"{args.file.name} is {picture.media_type}")
        print(", ".join(picture.changes))
        response = uploader.upload(args.file, args.user_id)
        size, status = len(picture.data), response.status_code
        print(f"sent as {picture.filename}: {size:,} bytes, {status}")
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:  # requests.RequestException is an OSError
        name = f"{args.file.name}: " if isinstance(error, InvalidPicture) else ""
        sys.exit(f"error: {name}{explain(error, args.url)}")


if __name__ == "__main__":
    main()
