"""OCR.space's POST /parse/image, as the practice server answers it.

Request fields, reply, limits and the shapes of its errors are those of the real API, as its
clients have met them: a bare string, `{"error": ...}`, an object with ErrorMessage, plain text. It
differs where it must, and says so in the reply: it downloads no `url` and reads no PDF. It reads
the first frame of a picture, has one engine whatever `OCREngine` says, does nothing for `scale`,
and ignores what only a searchable PDF or a checkbox needs. `language` decides only whether
Chinese, Japanese and Korean letters are dropped.

`TextOrientation` is the clockwise turn of the text, in degrees, that was undone before reading.
The overlay's coordinates are pixels of the picture after that and after its EXIF orientation.

What no harmless request can provoke is there on request: see PRACTICE_KEYS.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from PIL import Image, ImageOps, UnidentifiedImageError
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from practice.ocr_engine import TextBox

DEMO_KEY = "helloworld"
MAX_FILE_BYTES = 1024 * 1024  # what OCR.space takes with a free key
MAX_FORM_BYTES = 16 * MAX_FILE_BYTES  # room for a base64Image that is too large
MAX_SIDE_PIXELS = 10_000
PATIENCE_SECONDS = 5  # then a client that waits for the engine hears from us
FILE_TYPES = {"BMP", "GIF", "JPG", "PDF", "PNG", "TIF", "WEBP"}
FILE_TYPE_ALIASES = {"JPEG": "JPG", "TIFF": "TIF"}
CJK_LANGUAGES = {"auto", "chs", "cht", "jpn", "kor"}
LANGUAGES = CJK_LANGUAGES | {
    *("ara", "bul", "cze", "dan", "dut", "eng", "fin", "fre", "ger", "gre", "hrv", "hun", "ita"),
    *("pol", "por", "rus", "slv", "spa", "swe", "tai", "tha", "tur", "ukr", "vnm"),
}
# Damaged pixels raise the first three and the last, damaged EXIF the others.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)
PARAMETERS = (
    "apikey,url,language,isoverlayrequired,base64image,iscreatesearchablepdf,"
    "issearchablepdfhidetextlayer,filetype,addressparsing,scale,detectorientation,istable,"
    "ocrengine,detectcheckbox,checkboxtemplate,checkboxtemplateregex"
)


log = logging.getLogger(__name__)


class Refusal(Exception):
    """A request that OCR.space refuses; the arguments are its messages."""


class BadFileError(Exception):
    """A file that is no picture."""


class DamagedPictureError(Exception):
    """A picture that can't be read."""


def envelope(started: float, status: int = 200, **values: object) -> Response:
    """Return a reply of OCR.space; `values` win over those of a success."""
    milliseconds = round((time.perf_counter() - started) * 1000)
    reply = {
        "OCRExitCode": 1,
        "IsErroredOnProcessing": False,
        "ProcessingTimeInMilliseconds": str(milliseconds),
        "SearchablePDFURL": "Searchable PDF not generated as it was not requested.",
    }
    return answer(reply | values, status)


def page(code: int, text: str = "", **values: object) -> dict[str, object]:
    """Return one item of ParsedResults."""
    return {
        "FileParseExitCode": code,
        "ParsedText": text,
        "ErrorMessage": "",
        "ErrorDetails": "",
    } | values


def failed_page(code: int, reason: str) -> dict[str, object]:
    """Return an item of ParsedResults that says its reason twice, as OCR.space does."""
    return page(code, ErrorMessage=f"Parsing Error: {reason}", ErrorDetails=reason)


# What no harmless request can provoke, on request: these API keys are answered so, always.
PRACTICE_KEYS: dict[str, tuple[int, object]] = {
    "practice-throttled": (
        403,
        "You may only perform this action upto maximum 10 number of times within 600 seconds",
    ),
    "practice-blocked": (
        403,
        {
            "OCRExitCode": 99,
            "IsErroredOnProcessing": True,
            "ErrorMessage": "This API key is blocked, please contact support",
        },
    ),
    "practice-plain-text": (400, b"The request could not be processed"),
    "practice-outage": (
        200,
        {
            "ParsedResults": None,
            "OCRExitCode": 4,
            "IsErroredOnProcessing": True,
            "ErrorMessage": "E101: Timed out waiting for results",
            "ErrorDetails": "",
            "ProcessingTimeInMilliseconds": "30000",
        },
    ),
    "practice-timeout": (
        200,
        {
            "ParsedResults": [page(-20, ErrorMessage="OCR engine timed out")],
            "OCRExitCode": 3,
            "IsErroredOnProcessing": False,
            "ProcessingTimeInMilliseconds": "30000",
        },
    ),
    "practice-half": (  # of two pages one was read
        200,
        {
            "ParsedResults": [
                page(1, "CORNER CAFE\t\r\n12/31/2025\t\r\nTOTAL\t$7.70\t\r\n"),
                failed_page(-10, "The page is damaged."),
            ],
            "OCRExitCode": 2,
            "IsErroredOnProcessing": False,
            "ErrorMessage": ["Not all images/pages could be parsed"],
            "ProcessingTimeInMilliseconds": "1500",
        },
    ),
}


def parse_image(request: Request) -> Response:
    """Read the text of a picture as OCR.space does: `file` or `base64Image`, and an `apikey`."""
    started = time.perf_counter()
    request.max_form_memory_size = MAX_FORM_BYTES
    fields = {name.lower(): value for name, value in request.form.items()}
    key = request.headers.get("apikey") or fields.get("apikey", "")
    if key in PRACTICE_KEYS:
        status, reply = PRACTICE_KEYS[key]
        return answer(reply, status)
    if key != DEMO_KEY:
        why = "Take one from https://ocr.space/ocrapi, and send it as it came by mail."
        return answer({"error": "E555: The API key is invalid", "details": why}, 403)
    try:
        check_fields(fields)
        data, file_type = find_upload(request, fields)
        if len(data) > MAX_FILE_BYTES:
            raise Refusal(
                "File failed validation. File size exceeds the maximum permissible file size "
                "limit of 1024 KB"
            )
        if file_type == "PDF":
            raise Refusal("The practice server reads no PDF pages, the real OCR.space does")
        picture = open_picture(data)
    except Refusal as refusal:
        messages = list(refusal.args)
        return envelope(
            started, 400, OCRExitCode=99, IsErroredOnProcessing=True, ErrorMessage=messages
        )
    except BadFileError as error:
        return answer({"error": f"E501: {error}"}, 400)
    except DamagedPictureError as error:
        return envelope(
            started,
            ParsedResults=[failed_page(-10, str(error))],
            OCRExitCode=3,
            IsErroredOnProcessing=True,
            ErrorMessage=["All images/pages errored in parsing"],
        )
    with keep_waiting(request):
        return envelope(started, ParsedResults=[read_page(picture, fields)])


@contextmanager
def keep_waiting(request: Request) -> Iterator[None]:
    """Send `100 Continue` now and then, for our engine takes a minute on a slow machine.

    A client skips any number of interim responses (RFC 9110, 15.2), and its read timeout begins
    anew with each. The status of the answer stays open, other than after a first blank of JSON.
    The real API is silent.
    """
    done = threading.Event()

    def send() -> None:
        with suppress(OSError):  # the client left
            while not done.wait(PATIENCE_SECONDS):
                request.environ["werkzeug.socket"].sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def check_fields(fields: Mapping[str, str]) -> None:
    """Raise Refusal for a field that OCR.space doesn't know or whose value it doesn't take."""
    for name in fields:
        if name not in PARAMETERS.split(","):
            refuse_parameter(name)
    for name in ("isoverlayrequired", "detectorientation", "istable", "scale"):
        if fields.get(name, "false").lower() not in ("true", "false"):
            raise Refusal(f"Value for parameter '{name}' is invalid")
    for name, values in (("language", LANGUAGES), ("ocrengine", {"1", "2", "3"})):
        if name in fields and fields[name] not in values:
            raise Refusal(f"Value for parameter '{name}' is invalid")


def refuse_parameter(name: str) -> NoReturn:
    """Raise the Refusal that names the valid parameters."""
    raise Refusal(
        f"Parameter name '{name}' is invalid. Valid parameters: {PARAMETERS}",
        "Please check if you need to URL encode the URL passed in request parameters.",
    )


def find_upload(request: Request, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Return the one file of a request and its type, a name in FILE_TYPES."""
    files = list(request.files.values())
    sources = ["file"] * len(files) + [name for name in ("url", "base64image") if name in fields]
    if not sources:
        raise Refusal("No file uploaded or URL provided")
    if len(sources) > 1:
        refuse_parameter(sources[0])  # OCR.space, too, names the wrong culprit here
    if sources == ["url"]:
        raise Refusal("The practice server downloads nothing - send 'file' or 'base64Image'")
    if sources == ["base64image"]:
        media_type, data = decode_data_url(fields["base64image"])
        return data, find_file_type(fields, "", media_type)
    return files[0].read(MAX_FILE_BYTES + 1), find_file_type(
        fields, files[0].filename or "", files[0].mimetype
    )


def decode_data_url(text: str) -> tuple[str, bytes]:
    """Return media type and bytes of `data:image/png;base64,...`."""
    head, comma, encoded = text.partition(",")
    try:
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            raise ValueError(head[:40])
        return head[5:-7], base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise Refusal(
            "Not a valid base64 image. The accepted base64 image format is "
            "'data:<content_type>;base64,<base64_image_content>'"
        ) from None


def find_file_type(fields: Mapping[str, str], filename: str, media_type: str) -> str:
    """Return the type from the field, the file's extension or its media type, in this order."""
    asked = fields.get("filetype", "").upper()
    suffix = PurePosixPath(filename).suffix[1:].upper()
    for name in (asked, suffix, media_type.rpartition("/")[2].upper()):
        name = FILE_TYPE_ALIASES.get(name, name)
        if name in FILE_TYPES:
            return name
    raise Refusal(
        "Unable to recognize the file type",
        "E216:Unable to detect the file extension, or the file extension is incorrect, and no "
        "'file type' provided in request. Please provide a file with a proper content type or "
        "extension, or provide a file type in the request to manually set the file extension.",
    )


def open_picture(data: bytes) -> Image.Image:
    """Return the first frame, upright and opaque; raise BadFileError, DamagedPictureError."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) > MAX_SIDE_PIXELS:
                raise DamagedPictureError(
                    "Image dimensions are too large! Max image dimensions supported: 10000 x 10000."
                )
            # This decodes all of it; the engine would read half a JPEG and say nothing.
            upright = ImageOps.exif_transpose(picture)
    except UnidentifiedImageError as error:
        raise BadFileError("The file is not an image, or of an unknown kind") from error
    except PILLOW_ERRORS as error:
        raise DamagedPictureError("The image is damaged.") from error
    if upright.has_transparency_data:
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright.convert("RGBA"))
    return upright.convert("RGB")


def read_page(picture: Image.Image, fields: Mapping[str, str]) -> dict[str, object]:
    """Return the item of ParsedResults for a picture."""
    from practice import ocr_engine  # takes its time, which the other scripts shouldn't pay

    log.info("reading a picture of %d x %d pixels", *picture.size)
    wanted = {name for name, value in fields.items() if value.lower() == "true"}
    reading = ocr_engine.read_picture(
        picture,
        keep_cjk=fields.get("language", "eng") in CJK_LANGUAGES,
        find_orientation="detectorientation" in wanted,
    )
    if "istable" in wanted:
        lines = ["\t".join(box.text for box in row) + "\t" for row in reading.rows]
    else:
        lines = [box.text for row in reading.rows for box in row]
    overlay: dict[str, object] = {
        "Lines": [],
        "HasOverlay": False,
        "Message": "Text overlay is not provided as it is not requested",
    }
    if "isoverlayrequired" in wanted:
        overlay_lines = [overlay_line(box) for row in reading.rows for box in row]
        overlay = {
            "Lines": overlay_lines,
            "HasOverlay": True,
            "Message": f"Total lines: {len(overlay_lines)}",
        }
    return page(
        1,
        "".join(f"{line}\r\n" for line in lines),
        TextOverlay=overlay,
        TextOrientation=str(reading.degrees),
    )


def overlay_line(box: TextBox) -> dict[str, object]:
    """Return one of TextOverlay's Lines: the words of a box with their places in pixels."""
    words = [
        {"WordText": word, "Left": left, "Top": top, "Height": height, "Width": width}
        for word, left, top, width, height in box.words()
    ]
    return {
        "LineText": box.text,
        "Words": words,
        "MaxHeight": max(height for *_, height in box.words()),
        "MinTop": min(top for _, _, top, _, _ in box.words()),
    }


def answer(value: object, status: int = 200) -> Response:
    """Return a JSON response, or plain text where the value is bytes."""
    if isinstance(value, bytes):
        return Response(value, status, content_type="text/plain")
    return Response(json.dumps(value), status, content_type="application/json")
