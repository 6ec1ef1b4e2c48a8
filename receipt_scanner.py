"""Scan a receipt: send its photo to OCR.space, find merchant, date and total.

The photo goes as multipart/form-data, upright and under the API's 1 MB; the reply is
checked before it is believed; regular expressions find the values. Below the class, each
part can be read alone: the text, the photo, the request and the reply, the words.

Sample run::

    $ uv run tests/offline.py receipt_scanner.py samples/receipt.jpg
    samples/receipt.jpg
      merchant  HARBOR LANE COFFEE
      date      2026-03-14
      total     46.12 USD
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["requests>=2.33,<3", "Pillow>=12.3,<14"]
# ///

from __future__ import annotations

import argparse
import datetime
import http.client
import io
import json
import math
import os
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby, pairwise, takewhile
from pathlib import Path
from statistics import multimode
from typing import Any, BinaryIO, TypedDict, cast

import requests
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps, JpegImagePlugin

OCR_URL = "https://api.ocr.space/parse/image"
DEMO_KEY = "helloworld"  # OCR.space shares it with all who try
TIMEOUT_SECONDS = (10, 30)  # to connect to each IP address, send each block; for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # that the system may still hold when we have sent all
MAX_BYTES = 1024 * 1024  # what OCR.space takes with a free key
OCR_OPTIONS = {
    "isOverlayRequired": "true",  # where each word stands
    "detectOrientation": "true",
    "scale": "true",
    "isTable": "true",  # an article and its price in one line
    # The best for numbers. 1 is quicker; 3 reads handwriting, but doesn't say where.
    "OCREngine": "2",
}


class OcrError(Exception):
    """No reading, or nothing to mark; the text says why, in the API's words if it has some."""


class InvalidPhoto(ValueError):
    """The photo can't be sent; the text says why."""


class Receipt(TypedDict):
    """What was read from a receipt; what is not certain is None."""

    merchant: str | None
    date: datetime.date | None
    date_is_ambiguous: bool  # read by day_first; the other order was possible
    total: Decimal | None
    currency: str | None  # ISO 4217
    text: str
    evidence: dict[str, str]  # merchant, date, total: the line each came from


@dataclass(repr=False)  # it would show the key
class ReceiptScanner:
    """Reads receipts with OCR.space. The key travels in a header, and nowhere else.

    `language` is the receipt's, as OCR.space calls it: eng, ger, fre, spa, jpn, ...
    """

    api_key: str | None = None
    url: str = OCR_URL
    language: str = "eng"
    day_first: bool = False
    timeout: float | tuple[float, float] = TIMEOUT_SECONDS

    def scan(self, path: str | Path | BinaryIO) -> Receipt:
        """Return what a receipt says; its photo is a path or a file opened with "rb".

        Raises OSError or InvalidPhoto for what can't be read or sent, OcrError for a bad
        key or an answer that is no reading, else requests.RequestException.
        """
        reply = self.recognize(path)
        return parse_reply(reply, day_first=self.day_first)

    def recognize(self, path: str | Path | BinaryIO) -> dict[str, Any]:
        """Send a photo, return the API's reply, checked; raises as `scan` does."""
        photo = prepare_photo(path)
        key = (self.api_key or os.environ.get("OCR_SPACE_API_KEY", "")).strip() or DEMO_KEY
        if not re.fullmatch("[!-~]+", key):  # ASCII; an error of requests would show it
            raise OcrError("the API key holds letters that no header can carry")
        response = requests.post(
            self.url,
            headers={"apikey": key},
            files={"file": build_part(photo)},
            data={**OCR_OPTIONS, "language": self.language},
            auth=send_in_blocks,  # no login: requests lets a function change the request
            timeout=allow_for_slow_line(self.timeout, len(photo)),
            allow_redirects=False,  # requests would take the key to another host
        )
        return read_reply(response, key)


# --- the text of a receipt ---


@dataclass
class Amount:
    """An amount of money with its label, or one of them alone."""

    line: int  # of the label, if there is one
    kind: str | None  # a row of LABEL_WORDS, empty for other words; None without a label
    value: Decimal = Decimal("NaN")  # not a number: a label alone
    currency: str = ""  # a code of CURRENCIES


def parse_receipt(
    text: str, *, day_first: bool = False, today: datetime.date | None = None
) -> Receipt:
    """Return what the text of a receipt says.

    03/04/2024 is read month first, or day first if you say so; 26/03/04 year first, but
    only in 2026. A date after today is refused, with a day of grace for the shop's zone.
    """
    printed, lines = read_lines(text)
    amounts = name_columns(part for row in enumerate(lines) for part in split_line(*row))
    total = find_total(amounts)
    latest = (today or datetime.date.today()) + datetime.timedelta(days=1)
    dates, date_line = find_date(lines, latest)
    merchant, merchant_line = find_merchant(printed, lines)
    found = {"merchant": merchant_line, "date": date_line, "total": total.line if total else None}
    return Receipt(
        merchant=merchant,
        date=dates[-1 if day_first else 0] if dates else None,
        date_is_ambiguous=len(set(dates)) > 1,
        total=total.value if total else None,
        currency=find_currency(lines, amounts, total),
        text=text,
        evidence={name: printed[line] for name, line in found.items() if line is not None},
    )


def read_lines(text: str) -> tuple[list[str], list[str]]:
    """Return the lines that aren't blank, as printed and as the rules read them.

    Of T O T A L 5€ they see total 5EUR: only codes of currencies are capitals.
    """
    printed = [" ".join(line.split()) for line in text.splitlines()]
    if not "".join(printed).isprintable():  # it could steer the terminal
        printed = ["".join(filter(str.isprintable, line)) for line in printed]
    printed = [line for line in printed if line]
    simple = fold("\n".join(printed))
    simple = SPACED_OUT.sub(lambda match: match[0].replace(" ", ""), simple)
    simple = CURRENCY.sub(lambda match: CODE_OF[match[0]], simple)
    return printed, [line[:MAX_LINE_LETTERS] for line in simple.split("\n")]


def fold(text: str) -> str:
    """Return a text in lower case and without accents, which OCR engines lose."""
    plain = text.lower().replace("ł", "l").replace("ø", "o")
    return ACCENTS.sub("", unicodedata.normalize("NFKD", plain))


def split_line(number: int, text: str) -> list[Amount]:
    """Return the amounts of a line, and the label that it ends with."""
    amounts: list[Amount] = []
    end = 0
    for match in AMOUNT.finditer(text):
        kind = classify(text[end : match.start()])
        if kind == "points" or (kind == "total" and amounts and PERCENT.match(text)):
            break  # the rest is a proposal: TIP 18% 8.19 TOTAL 57.33
        currency = match["before"] or match["behind"] or ""
        is_whole_total = (  # TOTAL 15 EUR
            currency
            and kind in ("due", "total")
            and ALONE.match(text, match.end())
            and not HALF.search(text, 0, match.start("whole"))
        )
        if match["point"] or currency == "JPY" or is_whole_total:
            whole = match["whole"].translate(WITHOUT_SEPARATORS)
            cents = match["cents"] or ("" if currency == "JPY" else "00")
            sign = "-" if any(match.group("minus", "sign", "minus_behind")) else ""
            amounts.append(Amount(number, kind, Decimal(f"{sign}{whole}.{cents}"), currency))
            end = match.end()
    kind = classify(text[end:])
    kinds = [amount.kind for amount in amounts]
    is_row = kinds[-1:] == [None] or (kinds[:1] == [None] and kinds[-1:] == [""])
    if is_row and len({amount.value for amount in amounts}) > 1:
        for amount in amounts:  # in a row of a table
            amount.kind = ""
    if len(amounts) == 1 and amounts[0].kind is None:  # 12.00 TOTAL
        amounts[0].kind = kind
    elif kind is not None:
        amounts.append(Amount(number, kind))
    return amounts


def classify(words: str) -> str | None:
    """Return the kind of a label, "" if unknown; None if it is too short for one."""
    if not LONG_ENOUGH.search(words):
        return None
    said = ""
    for label in KNOWN.findall(words):
        said += "/" + KIND_OF.get(label.translate(WITHOUT_SEPARATORS), "number")
    said = said.replace("/total/tax/including", "/amount")  # TOTAL VAT INCL: the total or its tax
    said = said.replace("/including/tax", "")  # TOTAL INCL. VAT
    said = said.replace("/number/articles", "")  # TOTAL (2 ITEMS)
    return min(said.split("/"), key=RANKS.__getitem__)


def name_columns(parts: Iterable[Amount]) -> list[Amount]:
    """Return all amounts, those in a column named by the last labels above it."""
    runs = [list(run) for _, run in groupby(parts, key=lambda part: part.kind is None)]
    for above, run in pairwise([[], *runs]):
        is_below_amount = len(above) == 1 and above[0].kind is None
        if run[0].kind is None:
            pair(above, run)
        elif is_below_amount and run[0].kind == "total" and run[0].value.is_nan():
            run[0].kind = "amount"  # weak: it may be the label of the amount above
    return [part for run in runs for part in run if not part.value.is_nan()]


def pair(above: list[Amount], column: list[Amount]) -> None:
    """Name a column by the last labels above it, if they fit."""
    labels = list(takewhile(lambda part: part.value.is_nan(), reversed(above)))
    if len(labels) > len(column):
        labels = list(takewhile(lambda label: label.kind, labels))
    if len(labels) < len(column) and len({amount.value for amount in column}) == 1:
        labels = labels[:1] * len(column)
    if len(labels) >= len(column):
        for label, amount in zip(labels, reversed(column), strict=False):
            amount.line, amount.kind = label.line, label.kind


def find_total(amounts: list[Amount]) -> Amount | None:
    """Return what is called the total, else what a payment proves, else an amount."""
    paid = find_paid(amounts)
    most_paid = max(paid, default=None)
    by_kind = defaultdict(list)
    largest = Decimal(0)
    for amount in amounts:
        if amount.value:
            is_rounded_total = amount.kind == "rounding" and amount.value >= 1
            by_kind["total" if is_rounded_total else amount.kind].append(amount)
        # What is below a larger amount may be net, and the tax no change.
        if amount.value == most_paid and amount.value > largest * 9 / 10:
            by_kind["proven"].append(amount)
        largest = max(largest, amount.value)
    for kind in ("due", "total", "proven", "amount", "balance"):
        currency = next((amount.currency for amount in by_kind[kind] if amount.currency), "")
        found = [amount for amount in by_kind[kind] if amount.currency in ("", currency)]
        best = [amount for amount in found if amount.value in paid] or found
        # The last, unless one above it is larger by more than rounding.
        if best and max(amount.value for amount in best) - best[-1].value < 1:
            return best[-1]
    return None


def find_paid(amounts: list[Amount]) -> set[Decimal]:
    """Return what was paid: cash less the change behind it, a payment printed twice."""
    printed = Counter(amount.value for amount in amounts)
    half = max(printed, default=Decimal(0)) / 2  # less may be a voucher
    payments = {amount.value for amount in amounts if amount.kind == "payment"}
    paid = {value for value in payments if value > half and printed[value] > 1}
    above: set[Decimal] = set()
    largest = sum_above = Decimal(0)
    for cash, change in pairwise(amounts):
        value = cash.value - abs(change.value)
        is_known = {cash.kind, change.kind} & {"subtotal", "tax", "discount"}
        # It stands above as the total, and as the articles that make it up.
        if value in above and largest / 2 < value <= sum_above / 2 and not is_known:
            paid.add(value)
        above.add(cash.value)
        largest = max(largest, cash.value)
        sum_above += cash.value
    return paid


def find_currency(lines: list[str], amounts: list[Amount], total: Amount | None) -> str | None:
    """Return the currency of the total's line, of most amounts, or of the whole text."""
    text = "\n".join(lines)
    said = ANY_CODE.findall(f"{lines[total.line]} {total.currency}") if total else []
    said = said or [amount.currency for amount in amounts if amount.currency]
    marked = filter(ANY_CODE.search, lines)
    # A code alone, or beside a label: all other letters are small.
    if not said and any(line.isupper() or classify(line) for line in marked):
        said = ANY_CODE.findall(text)
    found = multimode(said)
    if len(found) != 1:
        return None
    marks = SHARED.get(found[0], {found[0]: ""})
    return next(code for code, mark in marks.items() if re.search(mark, text)) or None


def find_date(lines: list[str], latest: datetime.date) -> tuple[list[datetime.date], int | None]:
    """Return the readings of the first date with a time, or of the first; and its line."""
    found: dict[bool, tuple[list[datetime.date], int | None]] = {}
    for number, (above, line) in enumerate(pairwise(["", *lines])):
        if not TWO_DIGITS.search(line):
            continue
        for match in DATE.finditer(line):
            label = line[: match.start()].lstrip() or above
            has_time = TIME.search(line) is not None
            is_sure = has_time or not VAGUE_DATE.match(match[0])
            dates = read_date(match, latest)
            if dates and is_sure and not DEADLINE.search(label):
                found.setdefault(has_time, (dates, number))
    return found.get(True) or found.get(False) or ([], None)


def read_date(match: re.Match[str], latest: datetime.date) -> list[datetime.date]:
    """Return the readings of a date, month first; a weekday beside it settles which."""
    fields = [field for field in match.groups() if field and field not in "-/."]
    dates = []
    for y, m, d in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):  # where year, month and day stand
        with suppress(ValueError):  # there was no such day
            year = 2000 + int(fields[y]) % 100
            date = datetime.date(year, MONTHS.get(fields[m]) or int(fields[m]), int(fields[d]))
            is_this_year = match["sign"] and year == latest.year  # 26/03/14, as in Canada
            is_likely = y == 2 or len(fields[0]) == 4 or is_this_year
            if is_likely and date <= latest:
                dates.append(date)
    near = max(0, match.start() - 15), match.end() + 15  # 15 letters: a cashier SAM, too
    fitting = [date for date in dates if WEEKDAYS[date.weekday()].search(match.string, *near)]
    return fitting or dates


def find_merchant(printed: list[str], lines: list[str]) -> tuple[str | None, int | None]:
    """Return the shop's name, and the line that it came from."""
    head = range(len(printed))[:HEAD_LINES]
    found = [number for number in head if LEGAL_FORM.match(printed[number])]
    found += [number for number in head if not RECEIPT.search(lines[number])]
    if not found:
        return None, None
    number = found[0]
    name = printed[number]
    if form := LEGAL_FORM.match(name):
        name = form[0].rpartition(": ")[2]
        if number and GOES_ON.match(name):  # the form alone, or SONS SDN BHD
            name = f"{printed[number - 1]} {name}"
    name = name.strip(" *-(|")
    is_name = NAME.match(name) and not (NO_NAME.search(name) or DATE.search(lines[number]))
    return (name, number) if is_name else (None, None)


def match_any(words: Iterable[str], end: str = "(?![a-z])") -> str:
    """Return the pattern of any word; by first letter, that is five times as fast."""
    branches = []
    longest_first = sorted(words, key=lambda word: (word[0], -len(word)))
    for letter, group in groupby(longest_first, key=lambda word: word[0]):
        rest = "|".join(re.escape(word[1:]) + end for word in group)
        branches.append(f"{re.escape(letter)}(?:{rest})")
    pattern = "|".join(branches).replace(r"\*" + end, "")  # * lets a word go on
    return rf"(?<![a-z])(?:{pattern})".replace("_", "[ .-]{0,2}")


# --- the photo ---


def prepare_photo(path: str | Path | BinaryIO) -> bytes:
    """Return what the API takes: a JPEG or PNG, upright and under 1 MB, or a PDF.

    What is so already goes unchanged, with the place in its EXIF; the rest loses that.
    Raises OSError where the file can't be read, InvalidPhoto where it can't be sent.
    """
    data = read_file(path)
    is_small = len(data) <= MAX_BYTES
    if data.startswith(b"%PDF-") and is_small:
        return data
    try:
        image = open_picture(data)
        photo = decode_small(image, data)  # which proves that it is whole
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except InvalidPhoto:
        raise
    except Exception as error:  # on damaged data Pillow raises nearly anything
        raise InvalidPhoto(NO_PHOTO) from error
    is_readable = image.format in ("JPEG", "PNG") and image.mode[0] not in DEEP_GREY
    is_upright = orientation not in range(2, 9)
    if is_small and is_readable and is_upright and max(image.size) <= MAX_SIDE_PIXELS:
        return data
    photo.info = {}  # exif_transpose would fail on a damaged EXIF
    photo.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(photo, in_place=True)
    return encode_jpeg(photo, image.info.get("icc_profile") or b"")


def read_file(path: str | Path | BinaryIO) -> bytes:
    """Return the bytes of a file, of an open one from its start."""
    if isinstance(path, (str, Path)):
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES)
    path.seek(0)
    return path.read(MAX_FILE_BYTES)


def open_picture(data: bytes) -> Image.Image:
    """Open a picture without decoding it; InvalidPhoto names what we can't take."""
    if data[4:8] == b"ftyp" and b"hei" in data[8:40]:  # HEIC, ISO/IEC 23008-12
        try:
            import pillow_heif  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise InvalidPhoto(HEIC_ADVICE) from None
        pillow_heif.register_heif_opener()
    if data.startswith(b"\xff\xd8"):  # not by Image.open: it refuses 179 megapixels
        image: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    else:
        image = Image.open(io.BytesIO(data))
    kind = "progressive" if "progressive" in image.info else str(image.format)
    tags = getattr(image, "tag_v2", {})  # of a TIFF: DNGVersion, NewSubfileType
    is_raw = 50706 in tags or tags.get(254, 0) & 1 or data[8:10] == b"CR"
    if is_raw or kind not in MAX_MEGAPIXELS:
        raise InvalidPhoto(NO_PHOTO)
    if image.width * image.height > MAX_MEGAPIXELS[kind] * 1e6:
        raise InvalidPhoto(f"over {MAX_MEGAPIXELS[kind]} megapixels - save it smaller, as JPEG")
    return image


def decode_small(image: Image.Image, data: bytes) -> Image.Image:
    """Decode a whole picture, into no more pixels than are sent, as RGB or YCbCr.

    A JPEG's decoder can halve it on the way, and again: `draft` asks for that. Once the
    picture is loaded (exif_transpose does that, too) it does nothing, silently.
    """
    scale = min(1, math.sqrt(SENT_PIXELS / (image.width * image.height)))
    scale = min(scale, MAX_SIDE_PIXELS / max(image.size))
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    is_baseline = image.format == "JPEG" and "progressive" not in image.info
    if scale < 1 and is_baseline and image.mode == "RGB":
        # Brightness and colour apart, as a JPEG has them: RGB takes four bytes a pixel.
        image.draft("L", size)
        colour = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        colour.draft(None, (size[0] // 4, size[1] // 4))
        bands = [image, *colour.convert("YCbCr").split()[1:]]
        resized = [band.resize(size, Image.Resampling.BILINEAR) for band in bands]
        return Image.merge("YCbCr", resized)
    image.draft(None, size)
    if image.mode in SMOOTH:
        image = image.convert(SMOOTH[image.mode])
    return make_rgb(image.resize(size, Image.Resampling.BILINEAR))


def make_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as RGB, on white where transparent, deep grey in 8 bits."""
    if image.mode[0] in DEEP_GREY:
        grey = image.convert("F")
        low, high = cast("tuple[float, float]", grey.getextrema())
        scale = 255 / ((high - low) or 1)
        image = grey.point(lambda value: value * scale - low * scale).convert("L")
    image = image.convert("RGBA")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image)
    return paper


def encode_jpeg(photo: Image.Image, profile: bytes) -> bytes:
    """Return a picture as JPEG in the best quality that fits."""
    if profile[16:20] != b"RGB " or len(profile) > MAX_BYTES // 8:
        profile = b""  # of a picture that was grey or CMYK, or too large
    for quality in range(88, 3, -6):  # below 60 letters blur: for grain alone
        jpeg = io.BytesIO()
        photo.save(jpeg, "JPEG", quality=quality, icc_profile=profile)
        if jpeg.tell() <= MAX_BYTES:
            break
    return jpeg.getvalue()


MAX_SIDE_PIXELS = 10_000  # the API's limit
SENT_PIXELS = 4_900_000  # what 1 MB holds sharply; half of it would lose small print
MAX_FILE_BYTES = 100_000_000  # a video, given by mistake, is not read whole
# What 400 MB of memory hold, as measured. What Pillow reads besides can't be sent.
MAX_MEGAPIXELS = {
    "JPEG": 260, "progressive": 50, "PNG": 32, "TIFF": 30, "BMP": 32, "GIF": 30,
    "AVIF": 27, "HEIF": 27, "WEBP": 17,
}  # fmt: skip
DEEP_GREY = "IF"  # the first letters of Pillow's modes with 16 or 32 bits
SMOOTH = {  # what to make of those that resize badly
    "1": "L", "P": "RGBA", "PA": "RGBA", "LAB": "RGB", "I;16": "F", "I;16B": "F",
}  # fmt: skip
NO_PHOTO = "no whole picture, a huge or a camera's raw one, or a PDF over 1 MB - save it as JPEG"
HEIC_ADVICE = (
    "a HEIC photo - pip install pillow-heif (uv run --with pillow-heif), or let the iPhone "
    "take JPEG: Settings, Camera, Formats, Most Compatible"
)


# --- the request and the reply ---


def build_part(photo: bytes) -> tuple[str, bytes, str]:
    """Return what `files=` wants for one part: file name, bytes, media type."""
    if photo.startswith(b"%PDF-"):
        return "receipt.pdf", photo, "application/pdf"
    kind = "png" if photo.startswith(b"\x89PNG") else "jpeg"
    return f"receipt.{kind}", photo, f"image/{kind}"


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


def read_reply(response: requests.Response, key: str) -> dict[str, Any]:
    """Return the API's reply, or raise OcrError with its status and words."""
    text = response.content.decode(errors="replace")
    reply: Any = "" if text.lstrip().startswith("<") else text
    with suppress(ValueError):
        reply = json.loads(response.content)
    status = response.status_code
    if status != 200:
        reason = response.reason or http.client.responses.get(status, "")
        reply = [f"{status} {reason}:", reply]
    find_pages(reply, key)
    return cast("dict[str, Any]", reply)


def find_pages(reply: object, key: str = DEMO_KEY) -> list[dict[str, Any]]:
    """Return the pages that were read, or raise OcrError in the API's words, without a key.

    The API reports a failure by a bare string, by a flag with messages (but exit code 2: some
    pages were read), or, with the flag unset, by the exit code of each page.
    """
    answer = reply if isinstance(reply, dict) else {}
    is_failure = answer.get("IsErroredOnProcessing") and answer.get("OCRExitCode") != 2
    results = answer.get("ParsedResults")
    results = results if isinstance(results, list) and not is_failure else []
    pages = [page for page in results if isinstance(page, dict)]
    read = [page for page in pages if page.get("FileParseExitCode") == 1]
    read = [page for page in read if isinstance(page.get("ParsedText"), str)]
    if not read:
        words = find_words(reply).replace(key, "[key]")[:MAX_MESSAGE]
        raise OcrError(words.rstrip(": ") or "no text in the reply")
    return read


def find_words(reply: object) -> str:
    """Return what the API says of a failure, each message once."""
    if isinstance(reply, str):
        return "".join(filter(str.isprintable, " ".join(reply.split())))
    if isinstance(reply, dict):
        reply = [reply.get(name) for name in MESSAGE_FIELDS]
    said = ""
    for part in reply if isinstance(reply, list) else []:
        words = find_words(part)
        if words not in said:  # the details often repeat the message
            said = f"{said} {words}".strip()
    return said


def parse_reply(reply: dict[str, Any], *, day_first: bool = False) -> Receipt:
    """Return what a reply of the API says; raises OcrError if that is no reading."""
    text = "\n".join(page["ParsedText"] for page in find_pages(reply))
    return parse_receipt(text, day_first=day_first)


def annotate(photo: bytes, reply: dict[str, Any], receipt: Receipt) -> Image.Image:
    """Return the photo that was sent, with marks where the values were found."""
    page = find_pages(reply)[0]
    boxes = find_boxes(page)
    if photo.startswith(b"%PDF-") or not any(boxes.values()):
        raise OcrError("nothing to mark: a PDF, or no coordinates in the reply")
    turn = float(page.get("TextOrientation") or 0)  # degrees, turned back
    image = make_rgb(Image.open(io.BytesIO(photo))).rotate(turn, expand=True)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(image.width / 36)
    for name, line in receipt["evidence"].items():
        row = boxes.get(line, [])
        for box in row:
            draw.rectangle(box, outline="red", width=1 + image.width // 400)
        if row:
            top, right = min(box[1] for box in row), row[-1][2]
            label = f" {name}: {receipt.get(name)} "
            corner = max(right, font.getlength(label)), max(top, image.width / 24)
            draw.rectangle(draw.textbbox(corner, label, font, anchor="rb"), "red")
            draw.text(corner, label, "white", font, anchor="rb")
    return image


def find_boxes(page: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Return where the words of each line of the text stand on the photo.

    Equal words are taken in turn: the overlay's first for the first line.
    """
    places: dict[str, list[list[float]]] = defaultdict(list)
    with suppress(LookupError, TypeError):  # no coordinates
        for piece in page["TextOverlay"]["Lines"]:
            for word in piece["Words"]:
                left, top = word["Left"], word["Top"]
                box = [left, top, left + word["Width"], top + word["Height"]]
                places[word["WordText"]].append(box)
    boxes: dict[str, list[list[float]]] = {}
    for line in page["ParsedText"].splitlines():
        words = line.split()
        found = [places[word].pop(0) for word in words if places[word]]
        boxes.setdefault(" ".join(words), found)  # of equal lines the first
    return boxes


MAX_MESSAGE = 200  # letters of what the API says about a failure
MESSAGE_FIELDS = ("error", "details", "ErrorMessage", "ErrorDetails", "ParsedResults")

# --- the words of fifteen languages, and the patterns ---

# A row a kind: of those that a label names, the first counts, so that TOTAL TAX is a tax.
# The last two rows are no labels: what stands before a deadline, and in lines without a name.
# * lets a word go on: totale, totals; _ is a space, point, hyphen or nothing; | stands
# between languages: English, German, French, Spanish, Italian, Portuguese, Dutch, Swedish,
# Norwegian, Danish, Finnish, Polish, Czech, Romanian, Japanese. A shared word stands once.
LABEL_WORDS = """\
points: point* pts to_date tip tips gratuity suggested reward* | punkt* bonus*
  guthaben trinkgeld | pourboire | puntos propina | punti mancia | pontos gorjeta |
  punten fooi | poäng dricks | poeng | drikkepenge | pistee* | napiwek | body sprop*
  | ポイント
change: change due_back | rückgeld zurück wechselgeld | rendu monnaie | cambio
  vuelta | resto | troco | wisselgeld terug | växel tillbaka | veksel tilbake |
  byttepenge retur tilbage | takaisin vaihtoraha | reszta | vráceno zpět | rest | 釣
discount: discount* disc saving* saved coupon* | rabat* gespart | remise* reduc*
  econom* avantage* cagnotte* | descuento* ahorr* dto | sconto risparmi* sconti |
  desconto* | korting* gespaard voordeel | spart | alennu* säästö | upust* zniżka
  kupon | sleva slevy | 割引
rounding: rounding* rounded round_adj* round_off | rundung* | arrond* | redondeo |
  arroton* | arredond* | afrond* | avrund* öresavrund* | øreavrund* | afrund* |
  pyörist* | zaokr* | rotunj*
subtotal: sub_total* subtota1 sub_tot sub_ttl new_balance excl* before without net
  nett | zwischensumme zwischentotal netto* exkl ohne restbetrag | sous_total h_t
  hors_taxe* éligible* reste_à_payer | base neto bruto sin_iva | totale_parziale
  imponibile | líquido sem_iva | subtotaal | delsum* | eks ekskl | välisumma
  veroton* | mezisoučet základ bez_dph | fără_tva | 小計
tax: tax taxe* vat gst cgst sgst igst hst pst qst sst | mwst ust steuer*
  mehrwertsteuer | tva | iva igic impuesto* cuota | btw | moms | mva | alv vero |
  ptu podatek | dph | 税 対象
payment: cash paid pay payment* tender* received accepted voucher* deposit card visa
  master* amex credit debit maestro | bar barzahlung gegeben geg bezahlt erhalten
  gutschein* karte girocard kartenzahlung | espèces réglé paiement payé reçu carte
  cb | efectivo entrega* recibido pago contado tarjeta | contant* pagato pagamento
  carta bancomat | dinheiro cartão crédito débito multibanco | betal* betaald
  ontvangen pin kaart | kontant* kort | mottatt | modtaget dankort | käteinen
  maksettu maksu* kortti | gotówka zapłacono płatność karta karty | hotovost*
  zaplaceno přijato kartou | numerar plătit | 預 現金 支払
articles: qty quant* item* count* number price* | artik* menge anzahl preis* |
  artic* prix | artig* unid uds qtd cantidad precio | pezzi prezzo | itens | aantal
  prijs | antal* pris | kpl tuotte* | szt pozycji cena | položek počet | buc | 点数
due: to_pay you_pay due payable* net_payable* net_amount_payable to_be_paid
  grand_total final_total after_round* after_adj* total_after_dis* | zu_zahlen*
  zahlbetrag endbetrag zu_bezahlen | à_payer net_à_payer | a_pagar | da_pagare |
  te_betalen | att_betala | å_betale | at_betale | maksettava* | do_zapłaty
  należność | k_úhradě k_platbě | de_plată
total: total* ttl tot tota1* totai* tatal* sum net_total nett_total total_with_tip
  bill_amount bill_amt net_bill jumlah | rechnungssumme summe gesamt_inkl_trinkgeld
  gesamt gesamtbetrag gesamtsumme rechnungsbetrag endsumme | totaal* eindtotaal |
  summa* | i_alt | yhteensä yht loppusumma | razem suma ogółem | celkem | 合計 総計 お会計
amount: amount* amt total_includes total_included | betrag brutto* | montant ttc
  solde | importe | importo | valor | bedrag | belopp | beløp | beløb | kwota
  wartość | částka | valoare
balance: balance*
including: incl* inc | inkl* enthalten* | compris* dont | compres* | com_iva | sis |
  zawiera | vč včetně
deadline: valid* expir* until good_thru redeem* best_before after due since est ends from
  return_by arrival departure dob born entry ready | gültig* bis fällig* einfahrt
  anreise | valab* jusqu limite | hasta desde devolución | fino scad* | até vencim*
  | geldig* tot | giltig* förfal* | gyldig* | voimassa asti | ważn* od termin
  terminu | plat* | până | 有効 期限
receipt: receipt* copy duplicate sale guest_check invoice* welcome* thank* visa
  mastercard contactless purchase refund* eat_in for_here take_away tel customer*
  cashier* your_order your_guest dine_in take_out to_go drive_thru self_checkout
  approved transaction reprint terminal | quittung rechnung* beleg* kassenbon
  kassenbeleg bewirtungsbeleg händlerbeleg kunde* herr kopie duplik*
  zwischenrechnung parkschein | factur* reçu client* merci ticket_de_caisse
  carte_bancaire | recibo gracias bienven* | ricevuta scontrino documento | fatura
  cupom nfc extrato cnpj obrigado | kassabon | kvitt* faktura* tack välkommen |
  ordre* bestill* | kuitti asiakas kiitos tervetuloa | paragon* nabywca dziękujemy |
  účtenka doklad | chitanță bon_fiscal | 領収 レシート 電話
"""
MONTH_NAMES = """jan ene gen tam sty led ian | feb fév fev hel lut úno | mar mär mrz
mrt maa bře | apr avr abr huh kwi dub | may mai mag mei maj tou kvě | jun juin giu kes
cze čer iun | jul juil lug hei lip čvc červenc iul | aug aoû ago elo sie srp | sep set
syy wrz zář | oct okt ott out lok paź říj | nov marr lis noi | dec dez déc dic des jou
gru pro"""
# Without to, do, so, la, di, sa, su, za, which say other things, too.
WEEKDAY_NAMES = """mon mo lun lunes luni seg segunda ma maa mån man pn pon
poniedziałek po pondělí | tue mar martes marți ter terça din tis tir ti tii wt wto
wtorek út úte úterý | wed mi mittwoch mer mié miércoles miercuri qua quarta wo woe
ons ke kes keskiviikko śr śro środa st stř středa mie | thu donnerstag donderdag jeu
jue jueves gio qui quinta tor cz czw czwartek čt čtv čtvrtek joi | fri fr fre ven vie
viernes vineri sex sexta vr vri pe pt pią piątek pá pát pátek vin | sat sam sáb
sábado sabato zat lör lau sb sob sobota sâm sâmbătă | sun dim dimanche dom
domingo domenica zo zon sön nd nie niedziela ne ned neděle dum duminică"""
CURRENCIES = """EUR € eur euro euros | GBP £ gbp | USD us$ usd$ usd | CHF chf sfr
| JPY ¥ 円 jpy | MYR rm rn myr | BRL r$ brl | CAD c$ ca$ cad | AUD a$ au$ aud | SGD s$ sgd
| NZD nz$ nzd | INR ₹ inr | SEK sek | NOK nok | DKK dkk | PLN zł pln | CZK kč czk
| RON lei ron | DOLLAR $ | CROWN kr kr."""
SHARED = {  # a sign of several currencies: the first whose marks are in the text; "": unsure
    "DOLLAR": {
        "CAD": r"\bcanada|\b(?:[hp]st|tps|tvq|interac)\b|, (?:ab|bc|on|qc)\b",
        "AUD": r"\baustralia|\babn\b", "SGD": r"\bsingapore", "NZD": r"\bnew zealand",
        "": r"\b(?:eftpos|gst|vat|iva|tva|rfc|rut|nit|cuit|cnpj|mxn|hkd|clp)\b|\bhong kong"
        r"|\d,\d\d ?DOLLAR|DOLLAR ?[\d.]*,\d\d(?!\d)",
        "USD": "",
    },
    "CROWN": {
        "NOK": r"\bmva\b|norge", "DKK": r"\bcvr\b|danmark|dankort|\bi alt\b|at betale|udgor",
        "SEK": r"sverige|kvitto|vaxel|att betala|\btotalt\b", "": "",
    },
    "JPY": {"": r"JPY ?[\d,]*\.\d\d", "JPY": ""},  # yuan have cents
}  # fmt: skip

ACCENTS = re.compile("[\u0300-\u036f\u3099\u309a]")
ROWS = [row.split(": ") for row in fold(LABEL_WORDS.replace("\n  ", " ")).splitlines()]
KIND_WORDS = {kind: words.replace("|", "").split() for kind, words in ROWS}
*LABEL_KINDS, _, _ = KIND_WORDS  # without deadline and receipt
NUMBERED = r"^(?:bill|bon|check|mesa|order|table|ticket|tisch)\W*\d"
# M&S is a word, EUR is none now; there is no name below a phone's 9:41.
WORDLESS = r"^(?!.*[^\W\dA-Z_]&?[^\W\dA-Z_])(?!\d\d?:\d\d)"
RECEIPT = re.compile(f"{match_any(KIND_WORDS['receipt'])}|{NUMBERED}|{WORDLESS}")
DEADLINE = re.compile(match_any(KIND_WORDS["deadline"]) + r"(?!.*\d$)")  # unless it has its own
RANKS = {kind: rank for rank, kind in enumerate([*LABEL_KINDS, "", "number"])}
LABELS = {word: kind for kind in LABEL_KINDS for word in KIND_WORDS[kind]}
KIND_OF = {word.rstrip("*").replace("_", ""): kind for word, kind in LABELS.items()}
KNOWN = re.compile(rf"{match_any(LABELS)}|\d+")
NUMBERED_MONTHS = enumerate(fold(MONTH_NAMES).split("|"), 1)
MONTHS = {name: month for month, names in NUMBERED_MONTHS for name in names.split()}
FULL_NAME = r"(?:\w*(?:day|[dt]ag|di|tai))?(?![a-z])"  # monday, not money
DAYS = fold(WEEKDAY_NAMES).split("|")
WEEKDAYS = [re.compile(match_any(names.split(), end=FULL_NAME)) for names in DAYS]
SIGNS = [group.split() for group in CURRENCIES.split("|")]
CODE_OF = {fold(sign): code for code, *signs in SIGNS for sign in signs}
CURRENCY = re.compile(match_any(CODE_OF))
ANY_CODE = re.compile("[A-Z]{3,}")
MAX_LINE_LETTERS = 200
LONG_ENOUGH = re.compile(r"[^\W\dA-Z_]{3}|[\u3040-\u9fff]{2}|cb|%")  # not the KG behind an amount
PERCENT = re.compile(r"\d+ ?%")
HALF = re.compile(r"[\d.,] ?$")  # what stands before it: 1 250, .99
ALONE = re.compile(r"\W*(?:[A-Z]{3,}\W*)?$")  # what stands behind it; not $46 12
SPACED_OUT = re.compile(r"\b[^\W\d_](?: [^\W\d_]\b)+")  # T O T A L
WITHOUT_SEPARATORS = str.maketrans("", "", ".,' -")
# 1,234.50  1.234,50  1'234.50  1 234,50  45.-  -RM 5.00  RM -5.00  5.00-  and, misread,
# 12. 80  12-80; but not 6.00%, 5€50, 1,23,456.00 or l2.50, whose first digit is unknown.
AMOUNT = re.compile(
    r"(?=[-A-Z\d])(?<![\w-])(?<!\d[.,])"
    r"(?P<minus>-?)(?:(?P<before>[A-Z]{3,})[ :.]{0,3})?(?P<sign>-?)"
    r"(?P<whole>\d{1,3}(?:[,.']\d{3}){1,2}|\d{1,3}(?: \d{3}){1,2}(?=,[\d-]| ?[A-Z]{3})"
    r"|0|[1-9]\d{0,6})"
    r"(?P<point>[.,-] ?(?P<cents>\d\d)|[.,:]--?|)"
    r"(?!\d|[a-z]{2}|[.,:/-]\d| ?(?:%|km|uhr|uur|tot \d|l\b)|[A-Z]{3,}\d\d(?!\d))"
    r"(?P<minus_behind>-?)"
    r"(?= ?(?P<behind>[A-Z]{3,})|)"
)
MONTH = rf"({match_any(MONTHS, end='')})[a-z]*\W{{0,3}}"
DAY = r"(\d\d?)(?:st|nd|rd|th|er)?"
# Two digits are no hour and don't go on (12.11.10.25), but a time may stick: 201718:45.
YEAR = r"(?:de )?(20\d\d|\d\d(?! ?(?:[:h]|[ap]m|uhr)))(?![.,/-]?\d(?!\d?:\d))"
DATE = re.compile(
    r"(?<!\d)(?<!\b[li])(?:(20\d\d) ?[-/.年] ?(\d\d?) ?[-/.月] ?(\d\d?)(?!\d)"
    rf"|(?<!\d[./])(\d\d?) ?(?P<sign>[-/.]) ?(\d\d?) ?(?P=sign) ?{YEAR}"
    r"|(\d\d)(\d\d)(20\d\d)(?!\d)"
    rf"|{DAY}[ ./,-]{{0,3}}(?:de |of )?{MONTH}{YEAR}(?!,? 20\d\d\b(?!-)))"  # Table 2 Oct 27, 2026
    # Not Bread 4.00, though March begins so in Czech.
    rf"|{MONTH}{DAY}(?![.,]\d\d\b)[ .,'-]{{1,3}}{YEAR}"
)
TWO_DIGITS = re.compile(r"\d\d")  # quicker: without, there is no date
TIME = re.compile(r"\d\d? ?[:h] ?\d\d")
# House numbers, versions, articles look so, too: 3-14-13, 1.2.12, 1 Martini 18, Decaf 12 24.
VAGUE_DATE = re.compile(r"[\d.-]{5,7}$|\d+ [a-z]{4,} \d\d$|[a-z]{4,} \d\d? \d\d$")

LEGAL_FORMS = """sdn_bhd son_bhd sdn_bnd bhd s/b ltd limited plc llc corp sarl ltda aps
gmbh gmbh_&_co_kg s.p.a s.r.l s.l s.a b.v a/s s.r.o sp._z_o._o"""
INC = r"\binc(?!\w|\W+(?:gst|vat|tax))"  # not INC GST, included
LEGAL_FORM = re.compile(rf"(?i).*\w\W+(?:{match_any(LEGAL_FORMS.split())}|{INC})\.?")
GOES_ON = re.compile(r"(?i)\W|co\b|sdn|\w+ sdn")
NAME = re.compile(r"[A-Z0-9À-ÖØ-ÞĀ-Ž][^#<>{}|_=~*]*$")
# A telephone, an amount, a date, a time, an address, a form's field, a place: Cary, NC.
NO_NAME = re.compile(r"\d{5}|\d[.,/-]\d\d(?!\d)|\d:\d\d|\bwww|@|: |:$|, [A-Z]{2}\b")
HEAD_LINES = 6  # the name stands above the address


# --- the command line ---

SAMPLE = Path(__file__).resolve().parent / "samples" / "receipt.jpg"
CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
ADVICE = {  # for the first that is found in an error's name and text
    "OcrError 1": "a hint came before the answer; the photo may have arrived",
    "OcrError (3|404)": "check the address",
    "OcrError (401|the API key)": "check the key",
    "OcrError 403": "check the key, or wait",  # it refuses haste so, too
    "OcrError 413": "send a smaller file",
    "OcrError (429|[5-9])": "try again later",
    "OcrError": "see https://ocr.space/ocrapi",
    "CERTIFICATE_VERIFY": "can't verify the certificate - see REQUESTS_CA_BUNDLE",
    "WRONG_VERSION|record layer": "no TLS at that port - try http:// instead of https://",
    "EOF occurred": BROKEN,  # over TLS a refusal in the middle looks like this
    "ProxyError": "the proxy doesn't answer - check HTTP_PROXY and HTTPS_PROXY",
    "Max retries": CANT_CONNECT,
    "timed out": "no answer in time - try again later",
    "Connection aborted": BROKEN,
    "Connection broken": "the answer broke off - the file may have arrived",
    "No connection adapters|Invalid URL|to parse|://": "that address can't be used - check it",
}


def describe(receipt: Receipt) -> str:
    """Return the values of a receipt, one a line."""
    other = " (or in another order)" if receipt["date_is_ambiguous"] else ""
    total = f"{receipt['total']} {receipt['currency'] or ''}".rstrip()
    return (
        f"  merchant  {receipt['merchant'] or 'not found'}\n"
        f"  date      {receipt['date'] or 'not found'}{other}\n"
        f"  total     {'not found' if receipt['total'] is None else total}"
    )


def save_whole(image: Image.Image, path: Path) -> None:
    """Save a picture whole, or leave what stood there, and nothing else."""
    part = path.with_name(f"part-{path.name}")
    try:
        image.save(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def explain(error: Exception, url: str | None) -> str:
    """Return why nothing came, and what to do; no address, it may hold a password."""
    text = str(error)
    named = f"{type(error).__name__} {text}"
    advice = next((ADVICE[sign] for sign in ADVICE if re.search(sign, named)), text)
    if isinstance(error, OcrError):  # its text is the API's
        return f"{text} - {advice}"
    launcher = Path(__file__).parent / "tests" / "offline.py"
    if advice != CANT_CONNECT or not launcher.exists():
        return advice
    python = "uv run" if "UV" in os.environ else "python"
    words = [str(launcher), Path(__file__).name, *sys.argv[1:]]
    words = [word for word in words if word not in ("--url", url, f"--url={url}")]
    command = " ".join(f'"{word}"' if " " in word else word for word in words)
    return f"{advice} - try: {python} {command}"


def scan_images(args: argparse.Namespace, url: str) -> int:
    """Scan what the command line names, print each receipt; return the exit code."""
    scanner = ReceiptScanner(url=url, language=args.language, day_first=args.day_first)
    receipts, exit_code = [], 0
    for image in args.images or [str(SAMPLE)]:
        source = args.from_json or image
        receipt = None
        try:
            if args.from_json:
                reply = json.loads(Path(source).read_bytes())
            else:
                reply = scanner.recognize(source)
            receipt = parse_reply(reply, day_first=args.day_first)
            receipts.append({"file": source, **receipt})
            if args.annotate:
                save_whole(annotate(prepare_photo(image), reply, receipt), args.annotate)
        except (OcrError, OSError, ValueError) as error:  # requests' errors are OSErrors
            name = "" if getattr(error, "filename", None) else f"{Path(source).name}: "
            print(f"error: {name}{explain(error, args.url)}", file=sys.stderr)
            exit_code = 1
        if receipt and not args.json:
            print(source, describe(receipt), sep="\n")
    if args.json:
        print(json.dumps(receipts, indent=2, default=str))
    return exit_code


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Read merchant, date and total from photos of receipts.",
        epilog="example: receipt_scanner.py lunch.jpg --day-first --annotate marked.png",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="default: a sample")
    parser.add_argument("--language", default="eng", metavar="CODE", help="eng, ger, fre ...")
    parser.add_argument("--day-first", action="store_true", help="read 03/04/2026 as 3 April")
    parser.add_argument("--json", action="store_true", help="print the receipts as a JSON list")
    parser.add_argument("--annotate", type=Path, metavar="OUT.png", help="mark what was found")
    parser.add_argument("--from-json", metavar="REPLY", help="a saved reply: no key, no network")
    parser.add_argument("--url", help=f"where to (default: {OCR_URL})")
    args = parser.parse_args()
    if args.annotate and len(args.images) > 1:
        parser.error("--annotate marks one image")
    wanted = 1 if args.annotate else 0
    if args.from_json and len(args.images) != wanted:
        parser.error("--from-json goes with no image, or with the one to --annotate")
    url = args.url or os.environ.get("OCR_SPACE_URL") or OCR_URL
    if isinstance(sys.stdout, io.TextIOWrapper):  # or a letter that it lacks ends the run
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        sys.exit(scan_images(args, url))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
