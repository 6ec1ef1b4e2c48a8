"""Scan a receipt: send its photo to OCR.space, find merchant, date and total.

The photo goes as multipart/form-data, upright and under the API's 1 MB; the reply is
checked before it is believed; plain regular expressions do the rest.

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
import math
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from itertools import groupby, takewhile
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, NamedTuple, TypedDict, cast

import requests
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

OCR_URL = "https://api.ocr.space/parse/image"
DEMO_KEY = "helloworld"  # OCR.space shares it with all who try
TIMEOUT_SECONDS = (10, 30)  # to connect, or send a block; to wait for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # what may be under way when all is sent
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
    """The API answered, but with no reading; the text is the API's own."""


class InvalidPhoto(ValueError):
    """The file is not a picture that can be decoded; the text says why."""


class Receipt(TypedDict):
    """What was read from a receipt; what was not found is None, never guessed."""

    merchant: str | None
    date: datetime.date | None
    date_is_ambiguous: bool  # read by day_first; the other order was possible
    total: Decimal | None
    currency: str | None  # ISO 4217
    text: str
    evidence: dict[str, str]  # of merchant, date and total: the line it came from


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

        Raises OSError where that can't be read, InvalidPhoto before it is sent,
        OcrError, requests.RequestException.
        """
        reply = self.recognize(path)
        return parse_reply(reply, day_first=self.day_first)

    def recognize(self, path: str | Path | BinaryIO) -> dict[str, Any]:
        """Send a photo, return the API's reply, checked; raises as `scan` does."""
        photo = prepare_photo(path)
        key = (self.api_key or os.environ.get("OCR_SPACE_API_KEY") or DEMO_KEY).strip()
        if not re.fullmatch("[!-~]+", key):  # requests would print it
            raise OcrError("the API key holds letters that no header can carry")
        response = requests.post(
            self.url,
            headers={"apikey": key},
            files={"file": build_part(photo)},
            data={**OCR_OPTIONS, "language": self.language},
            auth=send_in_blocks,  # no login: it may change the request
            timeout=allow_for_slow_line(self.timeout, len(photo)),
            allow_redirects=False,  # the key would go along to another host
        )
        reply = read_body(response)
        if response.status_code != 200 or not find_pages(reply):
            raise OcrError(describe_failure(response, reply, key))
        assert isinstance(reply, dict)  # it has pages
        return reply


# --- the text of a receipt ---


class Part(NamedTuple):
    """Words of a line, and the amount behind them if one follows."""

    words: str
    kind: str | None  # a column of LANGUAGES, empty if unknown; None for no words
    line: int
    is_amount: bool = False
    value: Decimal = Decimal(0)
    currency: str = ""  # a key of CURRENCIES


class Line(NamedTuple):
    """A line as printed, as the rules read it, and taken apart at its amounts."""

    printed: str
    text: str  # lower case without accents; a currency is its code in capitals
    parts: list[Part]


def parse_receipt(
    text: str, *, day_first: bool = False, today: datetime.date | None = None
) -> Receipt:
    """Return what the text of a receipt says.

    03/04/2024 is read month first, or day first if you say so. A date after today is
    refused, with a day of grace for the shop's time zone.
    """
    lines = read_lines(text)
    total = find_total(lines)
    latest = (today or datetime.date.today()) + datetime.timedelta(days=1)
    date, is_ambiguous, date_line = find_date(lines, day_first, latest)
    merchant, merchant_line = find_merchant(lines)
    total_line = lines[total.line].printed if total else ""
    evidence = {"merchant": merchant_line, "date": date_line, "total": total_line}
    return Receipt(
        merchant=merchant,
        date=date,
        date_is_ambiguous=is_ambiguous,
        total=total.value if total else None,
        currency=find_currency(lines, total),
        text=text,
        evidence={name: line for name, line in evidence.items() if line},
    )


def read_lines(text: str) -> list[Line]:
    """Return the lines that are not blank, without codes for a terminal."""
    printed = [" ".join(line.split()) for line in text.splitlines()]
    if not "".join(printed).isprintable():  # asked once: that is ten times as fast
        printed = ["".join(filter(str.isprintable, line)) for line in printed]
    printed = [line for line in printed if line]
    simple = fold("\n".join(printed))
    simple = SPACED_OUT.sub(lambda match: match[0].replace(" ", ""), simple)
    simple = CURRENCY.sub(lambda match: CODES[match[0]], simple)
    texts = zip(printed, simple.split("\n"), strict=False)
    return [
        Line(line, text, split_at_amounts(text, number))
        for number, (line, text) in enumerate(texts)
    ]


def fold(text: str) -> str:
    """Return a text in lower case and without accents, which OCR engines lose."""
    return ACCENTS.sub("", unicodedata.normalize("NFKD", text.lower()))


def split_at_amounts(text: str, line: int) -> list[Part]:
    """Return the words before each amount with it, and those behind the last."""
    parts: list[Part] = []
    end = 0
    has_no_words = text.isupper()  # but codes
    for match in AMOUNT.finditer(text):
        currency = match["before"] or match["behind"] or ""
        has_cents = match["cents"] or match["dash"] or currency == "JPY"
        words = text[max(end, match.start() - MAX_LABEL) : match.start()]
        kind = classify(words)
        if kind == "points":  # TIP 18% 8.19 TOTAL 57.33
            return [*parts, Part("", None, line)]
        # A whole number is money beside a currency, as a total or alone in its line.
        is_money = kind in ("due", "total") and not words[-1:].islower()  # SUM4 PLN
        if has_cents or is_money or has_no_words:
            value = read_value(match, currency)
            parts.append(Part(words, kind, line, True, value, currency))
            end = match.end()
    words = text[max(end, len(text) - MAX_LABEL) :]
    kind = classify(words)
    if len(parts) == 1 and parts[0].kind is None and kind:  # 12.00 TOTAL
        return [parts[0]._replace(words=words, kind=kind)]
    return [*parts, Part(words, kind, line)]


def read_value(match: re.Match[str], currency: str) -> Decimal:
    """Return the value of an amount; 0 for .99, whose first digits may be lost."""
    if not match["whole"]:
        return Decimal(0)
    whole = match["whole"].translate(NO_SEPARATORS)
    cents = match["cents"] or ("" if currency == "JPY" else "00")
    sign = "-" if match["minus"] or match["sign"] or match["minus_behind"] else ""
    return Decimal(f"{sign}{whole}.{cents}".replace("o", "0"))


def classify(words: str) -> str | None:
    """Return what a label makes of its amount; None if it is too short for one."""
    if not LABEL.search(words):
        return None
    found = [label.translate(NO_SEPARATORS) for label in KNOWN.findall(words)]
    story = "/".join(KINDS.get(label, "number") for label in found)
    if TAX_OR_TOTAL.fullmatch(story):
        return "amount"
    kinds = SAYS_NOTHING.sub("", story).split("/")
    return next((kind for kind in PRECEDENCE if kind in kinds), "") if story else ""


def find_total(lines: list[Line]) -> Part | None:
    """Return the amount that is called the total, else one that others prove."""
    labelled = list(label_amounts(lines))
    total = choose(labelled, "due") or choose(labelled, "total") or prove(lines, labelled)
    if total:
        return total
    above = choose(labelled, "above")
    articles = sum(part.value for part in labelled if not part.kind)
    return above if above and above.value == articles else choose(labelled, "amount")


def label_amounts(lines: list[Line]) -> Iterator[Part]:
    """Yield the amounts with a label: in its row, or a run of them below a run."""
    labels: list[Part] = []
    amounts: list[Part] = []
    parts = [part for line in lines for part in line.parts]
    for part in [*parts, Part("end", "", -1)]:
        is_label = part.kind is not None
        ends_row = not part.is_amount and labels and labels[-1].line == part.line
        if amounts and (is_label or ends_row):
            yield from pair(labels, amounts)
            is_waiting = part.kind == "total" and not part.is_amount
            if is_waiting and len(amounts) > len(labels):  # the one above its own?
                yield amounts[-1]._replace(words=part.words, kind="above", line=part.line)
                part = part._replace(kind="amount")
            labels, amounts = [], []
        if is_label and part.is_amount:  # in a row it stands alone
            labels = [part]
        elif is_label:
            labels.append(part)
        if part.is_amount:
            amounts.append(part)


def pair(labels: list[Part], amounts: list[Part]) -> Iterator[Part]:
    """Yield amounts with labels, from the end: the first may have had theirs."""
    values = sorted({part.value for part in amounts})
    if labels and labels[-1].kind == "total" and sum(values[:-1]) == values[-1]:
        # Net, tax and both, in a table.
        labels = [labels[-1]._replace(kind="amount")]
        amounts = [max(amounts, key=lambda part: part.value)]
    run = labels[::-1]
    if len(run) != len(amounts):
        run = list(takewhile(lambda part: part.kind, run))
    rows = {part.line for part in amounts}
    is_table = len(rows) < len(amounts) and labels and labels[-1].line not in rows
    if is_table or (len(amounts) > len(run) and len(values) > 1):
        return
    for label, amount in zip(run, reversed(amounts), strict=False):
        kind = label.kind
        if kind == "rounding" and amount.value >= 1:
            kind = "total"  # the rounded total
        if kind != "amount" or is_plain(label):
            yield amount._replace(words=label.words, kind=kind, line=label.line)


def choose(labelled: list[Part], kind: str) -> Part | None:
    """Return the amount of a kind that most others speak for, of equals the last."""
    possible = [part for part in labelled if part.kind == kind and part.value]
    native = next((part.currency for part in possible if part.currency), "")
    possible = [part for part in possible if part.currency in ("", native)]
    if len({part.value for part in possible}) > 1:
        votes = Counter(part.value for part in labelled if part.kind in OWED)
        votes.update(add_up(labelled))
        ranks = [(votes[part.value], is_plain(part)) for part in possible]
        best = max(ranks)
        possible = [part for part, rank in zip(possible, ranks, strict=True) if rank == best]
    values = [part.value for part in possible]
    if not values or max(values) - values[-1] >= 1:  # not only rounded
        return None
    return possible[-1]


def is_plain(part: Part) -> bool:
    """Tell whether a label holds no word that we don't know."""
    return not UNKNOWN.search(KNOWN.sub("", part.words))


def add_up(labelled: list[Part]) -> Iterator[Decimal]:
    """Yield what the total should be: the cash less the change."""
    first = {part.kind: abs(part.value) for part in reversed(labelled)}
    if "cash" in first and "change" in first:
        yield first["cash"] - first["change"]


def prove(lines: list[Line], labelled: list[Part]) -> Part | None:
    """Return the largest amount yet that was paid, where no word names the total."""
    parts = [part for line in lines for part in line.parts]
    amounts = [part for part in parts if part.is_amount]
    values = [part.value for part in amounts]
    paid = set(add_up(labelled))
    if any(part.kind == "change" for part in parts):
        rows = zip(values, values[1:], values[2:], strict=False)
        paid.update(value for value, cash, change in rows if value == abs(cash) - change)
    if not paid:
        printed = Counter(values)
        payments = [part.value for part in labelled if part.kind in ("cash", "card")]
        paid.update(value for value in payments if printed[value] > 1)
    found, largest = None, Decimal(0)
    for part in amounts:
        if part.value > largest:
            largest = part.value
            found = part if part.value in paid else found
    return found


def find_currency(lines: list[Line], total: Part | None) -> str | None:
    """Return the currency of the total's line, of most amounts, or of the headings."""
    text = "\n".join(line.text for line in lines)
    parts = [part for line in lines for part in line.parts]
    codes = Counter(part.currency for part in parts if part.currency)
    if total:
        own = {total.currency} if total.currency else CODE.findall(lines[total.line].text)
        codes = Counter(set(own)) or codes
    if not codes and len(set(CODE.findall(text))) == 1:
        heads = [line for line in lines if line.text.isupper() or line.parts[-1].kind]
        codes.update(code for line in heads for code in CODE.findall(line.text))
    most = [code for code, count in codes.items() if count == max(codes.values())]
    if len(most) != 1:
        return None
    for code, marks in SHARED.get(most[0], {}).items():
        if re.search(marks, text):
            return code or None
    return None if most[0] in SHARED else most[0]


FoundDate = tuple[datetime.date | None, bool, str]


def find_date(lines: list[Line], day_first: bool, latest: datetime.date) -> FoundDate:
    """Return the date, whether another order was possible, and its line."""
    best: FoundDate = (None, False, "")
    above = ""
    for line in lines:
        found = list(read_dates(line.text, latest))
        has_time = bool(found and TIME.search(line.text))
        for match, dates in found:
            label = line.text[max(0, match.start() - MAX_LABEL) : match.start()]
            if not (has_time or LABEL.search(label) or above[-1:].isdigit()):
                label = f"{above[-20:]} {label}"
            is_alone = match[0] == line.text
            is_clear = has_time or is_alone or CLEAR_DATE.search(match[0])
            if is_clear and not DEADLINE.search(label) and (has_time or not best[0]):
                date = dates[-1 if day_first else 0]
                best = date, len(set(dates)) > 1, line.printed
                if has_time:
                    return best
        above = line.text
    return best


def read_dates(
    text: str, latest: datetime.date
) -> Iterator[tuple[re.Match[str], list[datetime.date]]]:
    """Yield each date and its readings; a weekday beside it settles which."""
    if not TWO_DIGITS.search(text):
        return
    for orders, pattern in DATES:
        for match in pattern.finditer(text):
            readings = [read_date(order, match.groups(), latest) for order in orders]
            dates = [date for date in readings if date]
            start, end = match.span()
            beside = f"{text[max(0, start - 15) : start]} {text[end : end + 15]}"
            words = WORDS.findall(beside)
            names = {*words, *(word[:3] for word in words)}
            days = {day for name, day in WEEKDAYS if name in names}
            fitting = [date for date in dates if date.weekday() in days]
            if dates:
                yield match, fitting or dates


def read_date(order: str, fields: tuple[str, ...], latest: datetime.date) -> datetime.date | None:
    """Return the date whose fields stand in this order, if there was such a day."""
    part = dict(zip(order, fields, strict=True))
    year = int(part["y"]) + (2000 if len(part["y"]) == 2 else 0)
    month = MONTHS.get(part["m"]) or int(part["m"])
    try:
        date = datetime.date(year, month, int(part["d"]))
    except ValueError:
        return None
    return date if FIRST_DATE <= date <= latest else None


def find_merchant(lines: list[Line]) -> tuple[str | None, str]:
    """Return the shop's name, and the line that it came from."""
    head = [] if lines and STATUS_BAR.match(lines[0].text) else lines[:HEAD_LINES]
    for number, line in enumerate(head):
        if match := LEGAL_FORM.match(line.printed):
            name = match[0].rpartition(": ")[2]
            if number and GOES_ON.match(name):  # the form alone, or SONS SDN BHD
                name = f"{head[number - 1].printed} {name}"
            return check_name(name, line)
    for line in head:
        if any(part.is_amount for part in line.parts):
            break  # below the head
        rest = HEADING.sub("", line.text)
        is_name = TWO_LETTERS.search(rest) if rest == line.text else LABEL.search(rest)
        if is_name and not RECEIPT.search(line.text):
            return check_name(line.printed, line)
    return None, ""


def check_name(name: str, line: Line) -> tuple[str | None, str]:
    """Return a name without ornaments and its line, if it looks like a name."""
    name = name.strip(" *-(|")
    is_name = NAME.match(name) and not NO_NAME.search(name)
    return (name, line.printed) if is_name else (None, "")


def match_any(words: Iterable[str], *branches: str) -> str:
    """Return the pattern of any word; by first letter, that is five times as fast."""
    longest_first = sorted(words, key=lambda word: (word[0], -len(word)))
    for letter, group in groupby(longest_first, key=lambda word: word[0]):
        rest = "|".join(re.escape(word[1:]) + "(?![a-z])" for word in group)
        branches += (f"{re.escape(letter)}(?:{rest})",)
    pattern = "|".join(branches).replace(r"\*(?![a-z])", "")  # * lets a word go on
    return rf"(?<![a-z])(?:{pattern})".replace(r"\ ", "[ .-]{1,2}")


def number_names(column: str) -> Iterator[tuple[str, int]]:
    """Yield the names of months or weekdays with their place in the year or week."""
    for row in COLUMNS[column]:
        for place, names in enumerate(row.split()):
            yield from ((name, place) for name in names.split("/"))


def read_columns() -> dict[str, list[str]]:
    """Return the words of all languages by column."""
    columns: dict[str, list[str]] = {}
    for row in fold(LANGUAGES.replace("\n  ", " ")).splitlines():
        for cell in row.split(" | ")[1:]:
            kind, words = cell.split(": ")
            columns.setdefault(kind, []).extend(words.split(", "))
    return columns


# --- the photo ---


def prepare_photo(path: str | Path | BinaryIO) -> bytes:
    """Return what the API takes: a JPEG or PNG, upright and under 1 MB, or a PDF.

    A photo that is so stays untouched; else it loses its EXIF, where its place stands.
    Raises OSError where the file can't be read, InvalidPhoto where it can't be sent.
    """
    data = read_file(path)
    is_small = len(data) <= MAX_BYTES
    if is_small and data.startswith(b"%PDF-"):
        return data
    try:
        image = open_picture(data)
        is_small = is_small and max(image.size) <= MAX_SIDE_PIXELS
        photo = decode_small(image, data)
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Image.DecompressionBombError as error:
        raise InvalidPhoto("takes over 400 MB - save it smaller") from error
    except Exception as error:  # on damaged data Pillow raises nearly anything
        is_ours = isinstance(error, InvalidPhoto)
        raise InvalidPhoto(error if is_ours else "not a picture, or damaged") from error
    is_turned = orientation in range(2, 9)
    is_readable = image.format in ("JPEG", "PNG") and not is_deep(image)
    if is_small and is_readable and not is_turned:
        return data
    if is_turned:
        photo.getexif()[ExifTags.Base.Orientation] = orientation
        photo = ImageOps.exif_transpose(photo)
    return encode_jpeg(photo, image.info.get("icc_profile", b""))


def read_file(path: str | Path | BinaryIO) -> bytes:
    """Return the bytes of a file, of an open one from its start."""
    if isinstance(path, (str, Path)):
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    else:
        with suppress(OSError):  # a stream can't, and needn't
            path.seek(0)
        data = path.read(MAX_FILE_BYTES + 1)
    if not 0 < len(data) <= MAX_FILE_BYTES:
        raise InvalidPhoto(f"over {MAX_FILE_BYTES:,} bytes" if data else "empty")
    return data


def open_picture(data: bytes) -> Image.Image:
    """Open a picture without decoding it; what we can't read is named."""
    file = io.BytesIO(data)
    brand = data[8:12] if data[4:8] == b"ftyp" else b""  # ISO/IEC 14496-12
    if data.startswith(b"%PDF-"):
        raise InvalidPhoto("a PDF over 1 MB - send a picture of its first page")
    if data.startswith(b"\xff\xd8"):  # not by Image.open: it refuses 179 megapixels
        image: Image.Image = JpegImageFile(file)
    elif brand in HEIC_BRANDS and b"avif" not in data[12:40]:
        try:
            import pillow_heif  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise InvalidPhoto(HEIC_ADVICE) from None
        pillow_heif.register_heif_opener()
        image = Image.open(file, formats=["HEIF"])
    elif brand == b"crx " or data.startswith(CAMERA_RAW):
        raise InvalidPhoto(RAW_ADVICE)
    else:
        image = Image.open(file, formats=OTHER_FORMATS)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if TAG_DNG in tags or tags.get(TAG_SUBFILE, 0) & 1:  # a thumbnail
        raise InvalidPhoto(RAW_ADVICE)
    if image.width * image.height * find_cost(image) + len(data) > MAX_MEMORY_BYTES:
        raise Image.DecompressionBombError
    return image


def find_cost(image: Image.Image) -> float:
    """Return how many bytes of memory each pixel takes, as measured."""
    if not isinstance(image, JpegImageFile):
        is_copied_again = image.mode not in ("1", "L", "P", "RGB")
        return COSTS.get(image.format or "", 9) + 5 * is_copied_again
    if "progressive" not in image.info:
        return 1.4
    samples = [across * down for _, across, down, _ in image.layer]
    return 2.5 * sum(samples) / samples[0]  # all of them are held at once


def is_deep(image: Image.Image) -> bool:
    """Tell whether a picture is grey with 16 or 32 bits, as scanners make it."""
    return image.mode[0] in "IF"


def decode_small(image: Image.Image, data: bytes) -> Image.Image:
    """Decode a whole picture, into no more pixels than are sent, as RGB or YCbCr.

    A JPEG's decoder can halve it on the way, and again: `draft` asks for that. After
    load(), or what loads, as exif_transpose(), it does nothing, and says nothing.
    """
    pixels = image.width * image.height
    scale = min(1, math.sqrt(SENT_PIXELS / pixels))
    scale = min(scale, MAX_SIDE_PIXELS / max(image.size))
    size = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    if not isinstance(image, JpegImageFile):
        return make_rgb(image).resize(size, Image.Resampling.BILINEAR)
    if pixels <= SENT_PIXELS or image.mode != "RGB" or "progressive" in image.info:
        image.draft(None, size)
        return make_rgb(image).resize(size, Image.Resampling.BILINEAR)
    # Brightness and colour apart, as a JPEG has them: RGB takes four bytes a pixel.
    image.draft("L", size)
    bands = [image.resize(size, Image.Resampling.BILINEAR)]
    colour = JpegImageFile(io.BytesIO(data))
    colour.draft(None, (size[0] // 4, size[1] // 4))
    for band in colour.convert("YCbCr").split()[1:]:
        bands.append(band.resize(size, Image.Resampling.NEAREST))
    return Image.merge("YCbCr", bands)


def make_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB: on white paper, grey of many bits scaled to 8."""
    if is_deep(image):
        grey = image.convert("F")
        low, high = cast("tuple[float, float]", grey.getextrema())
        scale = 255 / ((high - low) or 1)
        image = grey.point(lambda value: value * scale - low * scale).convert("L")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(image, mask=image)
        return paper
    return image if image.mode == "RGB" else image.convert("RGB")


def encode_jpeg(photo: Image.Image, profile: bytes) -> bytes:
    """Return a picture as JPEG in the best of a few qualities that fit."""
    if profile[16:20] != b"RGB " or len(profile) > MAX_BYTES // 8:
        profile = b""  # of a picture that was grey or CMYK, or too large
    while True:
        for quality in JPEG_QUALITIES:
            jpeg = io.BytesIO()
            photo.save(jpeg, "JPEG", quality=quality, icc_profile=profile)
            if jpeg.tell() <= MAX_BYTES:
                return jpeg.getvalue()
        photo = photo.resize([side * 4 // 5 for side in photo.size])  # of noise


MAX_SIDE_PIXELS = 10_000  # the API's limit
SENT_PIXELS = 4_900_000  # what 1 MB holds sharply; half of it would lose small print
JPEG_QUALITIES = (88, 82, 76, 70, 64)  # as Pillow counts them; below, letters blur
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_MEMORY_BYTES = 380_000_000
COSTS = {"WEBP": 17, "AVIF": 11, "HEIF": 13}
OTHER_FORMATS = ("PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1")  # or AVIF
HEIC_ADVICE = (
    "a HEIC photo - pip install pillow-heif (uv run --with pillow-heif), or let the iPhone "
    "take JPEG: Settings, Camera, Formats, Most Compatible"
)
CAMERA_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"IIU\0", b"II*\0\x10\0\0\0CR")
RAW_ADVICE = "a camera's raw file - save it as JPEG"
TAG_SUBFILE, TAG_DNG = 254, 50706


# --- the request and the reply ---


def build_part(photo: bytes) -> tuple[str, bytes, str]:
    """Return what `files=` wants for one part: file name, bytes, media type."""
    if photo.startswith(b"%PDF-"):
        return "receipt.pdf", photo, "application/pdf"
    kind = "png" if photo.startswith(b"\x89PNG") else "jpeg"
    return f"receipt.{kind}", photo, f"image/{kind}"


def send_in_blocks(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send the body as a file is sent, and leave ~/.netrc alone; for `auth=`.

    The connect timeout limits sending, too: bytes in all, a file's block by block.
    Without `auth=` requests would put a password from ~/.netrc in place of our token.
    """
    assert isinstance(request.body, bytes)
    request.prepare_body(io.BytesIO(request.body), files=None)
    request.prepare_auth(None)  # user:password@ of the address, no ~/.netrc
    return request


def allow_for_slow_line(timeout: float | tuple[float, float], size: int) -> tuple[float, float]:
    """Return both limits; the system may still send when we begin to wait."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return connect, read + min(size, SEND_BUFFER_BYTES) / SLOWEST_BYTES_PER_SECOND


def read_body(response: requests.Response) -> object:
    """Return the JSON of an answer, or the beginning of its text, but no HTML."""
    with suppress(ValueError):
        return response.json()
    text = response.content[:1000].decode(errors="replace")
    return "" if text.lstrip().startswith("<") else text


def find_pages(reply: object) -> list[dict[str, Any]]:
    """Return the pages that were read; none where the API reports a failure.

    It does so by a bare string, by a flag with a message or a list of messages, or,
    with the flag unset, by the exit code of each page (https://ocr.space/ocrapi). Exit
    code 2 of the whole says that some pages were read, others not.
    """
    if not isinstance(reply, dict):
        return []
    is_failure = reply.get("IsErroredOnProcessing") and reply.get("OCRExitCode") != 2
    results = reply.get("ParsedResults")
    if is_failure or not isinstance(results, list):
        return []
    pages = [page for page in results if isinstance(page, dict)]
    read = [page for page in pages if page.get("FileParseExitCode") == 1]
    return [page for page in read if isinstance(page.get("ParsedText"), str)]


def describe_failure(response: requests.Response, reply: object, key: str) -> str:
    """Return status, the API's words without the key, and what to do."""
    status = response.status_code
    reason = response.reason or http.client.responses.get(status, "")
    words = find_words(reply).replace(key, "[key]")
    if status != 200:
        words = f"{status} {reason}: {words}".rstrip(": ")
    advice = ADVICE.get(status) or ADVICE.get(status // 100) or SEE
    return f"{shorten(words)} - {advice}"


def find_words(reply: object) -> str:
    """Return what the API says of a failure, each message once."""
    if isinstance(reply, str):
        return " ".join(reply.split())
    parts = reply if isinstance(reply, list) else []
    if isinstance(reply, dict):
        parts = [reply.get(name) for name in MESSAGE_FIELDS]
    said = ""
    for words in map(find_words, parts):
        if words not in said:  # the details often repeat the message
            said = f"{said} {words}".strip()
    return said


def shorten(text: str) -> str:
    """Return the beginning of a text, without codes for the terminal."""
    printable = "".join(filter(str.isprintable, text))
    return printable[:MAX_MESSAGE] or "no text in the reply"


def parse_reply(reply: dict[str, Any], *, day_first: bool = False) -> Receipt:
    """Return what a reply of the API says; raises OcrError if that is no reading."""
    pages = find_pages(reply)
    if not pages:
        raise OcrError(shorten(find_words(reply)))
    text = "\n".join(page["ParsedText"] for page in pages)
    return parse_receipt(text, day_first=day_first)


def annotate(photo: bytes, reply: dict[str, Any], receipt: Receipt) -> Image.Image:
    """Return the photo that was sent, with marks where the values were found."""
    page = find_pages(reply)[0]
    rows = read_rows(page)
    if not rows:
        raise OcrError("no coordinates in this reply")
    if photo.startswith(b"%PDF-"):
        raise InvalidPhoto("a PDF can't be marked - send a picture of its page")
    turn = float(page.get("TextOrientation") or 0)  # degrees, turned back
    image = make_rgb(Image.open(io.BytesIO(photo))).rotate(turn, expand=True)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(image.width / 36)
    texts = [" ".join(box.text for box in row) for row in rows]
    for name, line in receipt["evidence"].items():
        likeness = [SequenceMatcher(None, text, line).ratio() for text in texts]
        row = rows[likeness.index(max(likeness))]
        for box in row:
            draw.rectangle(box[1:5], outline="red", width=1 + image.width // 400)
        label = f" {name}: {receipt.get(name)} "
        corner = (max(box.right, font.getlength(label)), max(box.top, image.width / 24))
        draw.rectangle(draw.textbbox(corner, label, font, anchor="rb"), "red")
        draw.text(corner, label, "white", font, anchor="rb")
    return image


class Box(NamedTuple):
    """A piece of text and where it stands, in pixels of the photo sent."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    slope: float | None  # of a skewed photo; one word has none

    def find_level(self, slope: float) -> float:
        """Return how far down its middle stands, once the photo is levelled."""
        return (self.top + self.bottom - slope * (self.left + self.right)) / 2


def read_box(line: dict[str, Any]) -> Box:
    """Return where one of the overlay's lines stands."""
    first, last = line["Words"][0], line["Words"][-1]
    left, right = float(first["Left"]), float(last["Left"])
    tops = float(first["Top"]), float(last["Top"])
    slope = (tops[1] - tops[0]) / (right - left) if right > left else None
    right, bottom = right + last["Width"], max(tops) + last["Height"]
    return Box(str(line["LineText"]), left, min(tops), right, bottom, slope)


def read_rows(page: dict[str, Any]) -> list[list[Box]]:
    """Return the overlay's pieces of text in rows, from top to bottom."""
    boxes: list[Box] = []
    with suppress(AttributeError, LookupError, TypeError, ValueError):  # it has none
        boxes = [read_box(line) for line in page["TextOverlay"]["Lines"]]
    slope = median([box.slope for box in boxes if box.slope is not None] or [0.0])
    reach = median([box.bottom - box.top for box in boxes] or [0.0]) / 2
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.find_level(slope)):
        if rows and box.find_level(slope) - rows[-1][0].find_level(slope) < reach:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [sorted(row, key=lambda box: box.left) for row in rows]


SEE = "see https://ocr.space/ocrapi"
MAX_MESSAGE = 200  # letters of what the API says about a failure
MESSAGE_FIELDS = ("error", "details", "ErrorMessage", "ErrorDetails", "ParsedResults")
ADVICE = {  # by status, or by its first digit
    1: "that was a hint and no answer, the photo may have arrived",
    3: "check the address",
    5: "try again later",
    401: "check the key",
    403: "check the key, or wait",  # it refuses haste so, too
    404: "check the address",
    413: "send a smaller file",
    429: "try again later",
}

# --- the words of fifteen languages, and the patterns ---

# A row a language, a column a kind of label; * lets a word go on: totale, totals.
LANGUAGES = """
English | total: total*, ttl, tot, t0tal*, tota1*, totai*, tatal*, sum, net total, nett
  total | due: to pay, due, payable*, net payable*, net due, net to pay, to be paid,
  grand total, final total, after round*, after adj*, total after dis* | amount:
  amount*, amt, balance*, total includes, total included | subtotal: subtotal*,
  subtota1, sub total, sub ttl, excl*, before, without, net, nett | tax: tax, taxes,
  vat, gst, cgst, sgst, igst, hst, pst, qst, sst | including: incl, inclusive,
  including, includes, included, inc | discount: discount*, disc, saving*, saved,
  coupon* | cash: cash, paid, pay, payment*, tender*, received, accepted, gift card,
  voucher*, deposit | card: card, visa, master*, amex, credit, debit, maestro | change:
  change | rounding: rounding*, rounded, round adj* | points: point*, pts, tip, tips,
  gratuity, suggested | articles: qty, quantity, item, items, count*, number, price*,
  unit, description, summary, average | months: jan feb mar apr may jun jul aug sep oct
  nov dec | weekdays: mon tue wed thu fri sat sun | deadline: valid*, expir*, exp,
  until, use by, redeem*, best before, after, due, since, est, ends, from, return by |
  heading: bill, order, table, check, copy, ticket, purchase, sale, sales, refund, no,
  details, welcome | receipt: receipt*, invoice*, welcome to, thank*, dear, tel,
  customer*, cashier*, your order, your guest
German | total: summe, gesamt, gesamtbetrag, gesamtsumme, gesamtpreis, rechnungsbetrag,
  rechnungssumme, endsumme | due: zu zahlen*, zahlbetrag, endbetrag, zu bezahlen |
  amount: betrag, brutto* | subtotal: zwischensumme, zwischentotal, netto*, exkl, ohne |
  tax: mwst, ust, steuer*, mehrwertsteuer, umsatzsteuer | including: inkl*, enthalten* |
  discount: rabatt*, nachlass, gespart, ersparnis, skonto | cash: bar, barzahlung,
  gegeben, geg, bezahlt, erhalten, gutschein* | card: karte, kreditkarte, girocard,
  kartenzahlung | change: rückgeld, zurück, wechselgeld | rounding: rundung*, gerundet |
  points: punkte*, bonus*, trinkgeld | articles: artikel*, menge, anzahl, stück, preis,
  preise, einzelpreis | months: jan feb mär/mrz apr mai jun jul aug sep okt nov dez |
  weekdays: mo/mon di/die mi/mit do/don fr/fre sa/sam so/son | deadline: gültig*, bis,
  ablauf*, fällig*, seit, zahlbar, haltbar | heading: bon, kopie, tisch, nr | receipt:
  quittung, rechnung*, beleg*, kassenbon, bestell*, kundenbeleg, kunde, herr, frau
French | due: à payer, net à payer, montant dû | amount: montant, ttc, total net, solde
  | subtotal: sous total, ht, hors taxe* | tax: tva, taxe* | including: compris*,
  inclus*, dont | discount: remise*, réduction*, rabais, avantage*, économie* | cash:
  espèces, réglé, paiement, payé, reçu, carte cadeau, ticket restaurant | card: carte,
  cb | change: rendu, monnaie | rounding: arrondi* | points: pourboire, fidélité |
  articles: article*, qté, quantité, nombre, prix | months: jan fév mar avr mai juin
  juil aoû sep oct nov déc | weekdays: lun mar mer jeu ven sam dim | deadline: valable*,
  valide*, jusqu, expire*, avant, depuis, échéance, limite, fin | heading: note,
  commande, duplicata | receipt: facture*, reçu, justificatif, client*, merci, bienvenue
Spanish | due: a pagar | amount: importe | subtotal: base, neto, bruto, sin iva | tax:
  iva, igic, impuesto*, cuota | including: incluid* | discount: descuento*, dto,
  ahorro*, rebaja* | cash: efectivo, entregado, entrega, recibido, pagado, pago, contado
  | card: tarjeta | change: cambio, vuelta | rounding: redondeo | points: puntos,
  propina | articles: artículo*, unidad*, unid, uds, cantidad, precio, descripción |
  months: ene feb mar abr may jun jul ago sep oct nov dic | weekdays: lun mar mié jue
  vie sáb dom | deadline: válid*, hasta, caduca*, vence*, vencimiento, desde,
  devolución, límite | heading: pedido, copia, mesa | receipt: factura*, recibo,
  cliente, gracias, bienvenid*
Italian | due: da pagare | amount: importo | subtotal: imponibile, parziale | tax:
  imposta | including: inclus*, compres* | discount: sconto, sconti, risparmio | cash:
  contant*, pagato, pagamento, buono | card: carta, bancomat, elettronico | change:
  resto | rounding: arrotondamento | points: punti, mancia | articles: articol*, pezzi,
  prezzo, descrizione, quantità | months: gen feb mar apr mag giu lug ago set ott nov
  dic | weekdays: lun mar mer gio ven sab dom | deadline: fino, scade*, scadenza, entro,
  dal | receipt: ricevuta, scontrino, fattura, documento, grazie
Portuguese | amount: valor | subtotal: líquido, sem iva | tax: imposto*, tributos, icms
  | including: com iva | discount: desconto*, acréscimos, poupança | cash: dinheiro,
  numerário, entregue, pagamento | card: cartão, crédito, débito, multibanco | change:
  troco | rounding: arredondamento | points: pontos, gorjeta | articles: itens, artigo*,
  qtd, qtde, quantidade, preço, unit, descrição | months: jan fev mar abr mai jun jul
  ago set out nov dez | weekdays: seg ter qua qui sex sáb dom | deadline: até, validade,
  vencimento | receipt: fatura, cupom, nfc, extrato, cnpj, obrigado
Dutch | total: totaal*, eindtotaal | due: te betalen, te voldoen | amount: bedrag, saldo
  | subtotal: subtotaal | tax: btw | including: inclusief | discount: korting*,
  voordeel, bespaard | cash: contant, betaald, ontvangen, betaling, cadeaukaart | card:
  pin, kaart, bankpas | change: wisselgeld, terug | rounding: afronding | points:
  punten, fooi, zegels | articles: artikelen, aantal, stuks, prijs, omschrijving |
  months: jan feb mrt/maa apr mei jun jul aug sep okt nov dec | weekdays: ma/maa di/din
  wo/woe do/don vr/vri za/zat zo/zon | deadline: geldig*, tot, vervalt, vervaldatum,
  sinds, uiterlijk | receipt: factuur, kassabon, klant, bedankt, welkom
Swedish | total: summa*, totalsumma | due: att betala | amount: belopp | subtotal:
  delsumma | tax: moms | discount: rabatter | cash: kontant*, betalt, mottaget,
  presentkort | card: kort, bankkort | change: växel, tillbaka | rounding:
  öresavrundning, avrundning, öresutjämning | points: poäng, dricks | articles: antal,
  varor, artiklar, pris, benämning | months: jan feb mar apr maj jun jul aug sep okt nov
  dec | weekdays: mån tis ons tor fre lör sön | deadline: giltig*, gäller, bäst före,
  förfall*, senast, sedan | receipt: kvitto*, faktura*, kund, tack, välkommen
Norwegian | total: totalsum | due: å betale, til betaling | amount: beløp | subtotal:
  delsum, mellomsum, eks, ekskl, nettopris | tax: mva, avgift | discount: spart | cash:
  mottatt | card: bankaxept | change: veksel, vekslepenger, tilbake | rounding:
  avrunding, øreavrunding | points: poeng | articles: antall, varer | months: jan feb
  mar apr mai jun jul aug sep okt nov des | weekdays: man tir ons tor fre lør søn |
  deadline: gyldig*, forfall*, utløp*, siden, innen, senest, holdbar | receipt:
  kvittering, ordre*, bestilling*, takk, velkommen
Danish | total: i alt, ialt | due: at betale | amount: beløb | discount: rabat,
  besparelse, sparet | cash: modtaget | card: dankort | change: byttepenge, retur,
  tilbage | rounding: afrunding, øreafrunding | points: drikkepenge | deadline:
  forfald*, udløb* | receipt: tak
Finnish | total: yhteensä, yht, loppusumma | due: maksettava* | subtotal: välisumma,
  veroton* | tax: alv, vero | including: sis | discount: alennu*, säästö, etu | cash:
  käteinen, maksettu, maksu | card: kortti, pankkikortti, korttimaksu | change:
  takaisin, vaihtoraha | rounding: pyöristys | points: pistee*, pistettä | articles:
  kpl, määrä, tuotte*, hinta | months: tam hel maal huh tou kes hei elo syy lok marr jou
  | weekdays: ma/maa ti/tii ke/kes to/tor pe/per la/lau su/sun | deadline: voimassa,
  asti, saakka, eräpäivä, viimeistään, alkaen, ennen | receipt: kuitti, lasku, asiakas,
  kiitos, tervetuloa
Polish | total: razem, suma, ogółem | due: do zapłaty, należność | amount: kwota,
  wartość | subtotal: suma częściowa | tax: ptu, podatek | including: zawiera |
  discount: rabat*, upust*, oszczęd*, zniżka, opust*, kupon | cash: gotówka, zapłacono,
  wpłacono, płatność | card: karta, karty | change: reszta | rounding: zaokrąglenie |
  points: punkt*, napiwek | articles: ilość, szt, pozycji, cena, nazwa | months: sty lut
  mar kwi maj cze lip sie wrz paź lis gru | weekdays: pn/pon wt/wto śr/śro cz/czw pt/pią
  sb/sob nd/nie | deadline: ważn*, do, od, termin*, upływa | receipt: paragon*, nabywca,
  klient, dziękujemy, witamy
Czech | total: celkem, celková, součet | due: k úhradě, k platbě, k zaplacení | amount:
  částka | subtotal: mezisoučet, základ, bez dph | tax: dph | including: vč, včetně |
  discount: sleva, slevy, úspor*, ušetřen* | cash: hotovost*, placeno, zaplaceno,
  přijato | card: kartou | change: vráceno, vrátit, zpět | rounding: zaokrouhlení,
  vyrovnání | points: body, bodů, spropitné | articles: položek, počet, množství, název
  | months: led úno bře dub kvě čer čvc/červenc srp zář říj lis pro | weekdays: po/pon
  út/úte st/stř čt/čtv pá/pát so/sob ne/ned | deadline: plat*, splatn*, spotřebujte |
  receipt: účtenka, doklad, zákazník, děkujeme, vítáme
Romanian | due: de plată, de achitat | amount: valoare | subtotal: fără tva | including:
  cu tva | discount: reducer*, economi* | cash: numerar, plătit, achitat | change: rest
  | rounding: rotunjire | points: puncte, bacșiș | articles: cantitate, preț, buc |
  months: ian feb mar apr mai iun iul aug sep oct noi dec | weekdays: lun mar mie joi
  vin sâm dum | deadline: valabil*, până, expiră, scaden* | heading: fiscal | receipt:
  chitanță, mulțumim
Japanese | total: 合計, 総計 | due: 請求額 | subtotal: 小計 | tax: 税, 対象 |
  discount: 値引, 割引 | cash: 預, 現金, 支払 | change: 釣 | points: ポイント |
  articles: 点数, 数量, 単価 | weekdays: 月 火 水 木 金 土 日 | deadline: 有効, 期限 |
  receipt: 領収, レシート, 電話
"""

CURRENCIES = {
    "EUR": "€ eur euro euros", "GBP": "£ gbp", "USD": "us$ usd$ usd", "CHF": "chf sfr fr.",
    "JPY": "¥ 円 jpy", "MYR": "rm myr", "BRL": "r$ brl", "CAD": "c$ ca$ cad",
    "AUD": "a$ au$ aud", "SGD": "s$ sgd", "NZD": "nz$ nzd",
    "INR": "₹ inr", "SEK": "sek", "NOK": "nok", "DKK": "dkk", "PLN": "zł zl pln",
    "CZK": "kč czk", "RON": "lei ron", "DOLLAR": "$", "CROWN": "kr kr.",
}  # fmt: skip
SHARED = {  # a sign of several currencies: the first whose marks are in the text
    "DOLLAR": {
        "CAD": r"\bcanada|\b[hp]st\b|\b[a-z]\d[a-z][ -]?\d[a-z]\d\b|, (?:ab|bc|on|qc)\b",
        "AUD": r"\baustralia|\babn\b",
        "SGD": r"\bsingapore",
        "NZD": r"\bnew zealand",
        "": r"\b(?:gst|vat|iva|tva|rfc|cnpj)\b|DOLLAR ?\d+,\d\d(?!\d)|\d,\d\d ?DOLLAR",
        "USD": "",
    },
    "CROWN": {
        "NOK": r"\bmva\b|norge|\ba betale",
        "DKK": r"danmark|\bcvr\b|byttepenge|dankort|\bi alt\b|heraf",
        "SEK": r"\bmoms\b|sverige|vaxel|att betala|kvitto",
    },
}

# Of the kinds that a label names, the first here counts: TOTAL TAX is a tax.
PRECEDENCE = (
    "points change discount rounding subtotal tax cash card articles due total amount"
).split()
OWED = ("due", "total", "cash", "card")  # who names the same amount confirms it
# 2 ITEMS TOTAL, ITEMS 2 TOTAL, TOTAL INCL. VAT: the count has its number, the tax no say.
SAYS_NOTHING = re.compile("number/articles|^articles/number|including/(number/)?tax")
TAX_OR_TOTAL = re.compile("total/tax/(.*/)?including")  # TOTAL VAT INCL. may be either


ACCENTS = re.compile("[\u0300-\u036f\u3099\u309a]")
COLUMNS = read_columns()
LABELS = {word: kind for kind in [*PRECEDENCE, "including"] for word in COLUMNS[kind]}
KINDS = {word.rstrip("*").replace(" ", ""): kind for word, kind in LABELS.items()}
KNOWN = re.compile(match_any(LABELS, r"\d+(?![\da-z])"))
DEADLINE = re.compile(match_any(COLUMNS["deadline"]))
MONTHS = {name: place + 1 for name, place in number_names("months")}
WEEKDAYS = set(number_names("weekdays"))
CODES = {fold(mark): code for code, marks in CURRENCIES.items() for mark in marks.split()}
FRANCS = r"fr\.(?= ?\d+[.,](?:\d\d(?![\d.])|-))"  # Fr. 5.50, not Fr. 05.12.2025
CURRENCY = re.compile(f"[€£¥円₹]|{match_any(CODES.keys() - {*'€£¥円₹', 'fr.'}, FRANCS)}")
CODE = re.compile("[A-Z]{3,}")
MAX_LABEL = 80  # letters
LABEL = re.compile(r"[^\W\dA-Z_]{3}|[\u3040-\u9fff]{2}")  # not the KG behind an amount
UNKNOWN = re.compile(r"[^\W\dA-Z_]{2}")
SPACED_OUT = re.compile(r"\b[^\W\d_](?: [^\W\d_]\b)+")
NO_SEPARATORS = str.maketrans("", "", ".,' -")
# 1,234.50  1.234,50  1'234.50  1 234,50  .50  45.-  1,080 of yen; a minus before the
# currency, before the number, or behind it; misread 12. 80  12-80  1O.OO  RN5.00; but
# nothing in 1,23,456.00  1.2.345  6.00%  l2.50 (who knows which digit).
AMOUNT = re.compile(
    r"(?=[-A-Z\do.])(?<![\dbilosz'(/A-Z-])(?<!\d[.,])"
    r"(?:(?P<minus>-?)(?P<before>[A-Z]{3,})[ :.]{0,3})?(?P<sign>-?)"
    r"(?P<whole>\d{1,3}(?:[,']\d{3}){1,2}(?=\.\d)|\d{1,3}(?:[.' ]\d{3}){1,2}(?=,\d)"
    r"|\d{1,3}(?:[,.']\d{3}){1,2}(?![.,]?\d)|[0o]|[1-9][\do]{0,6}|)"
    r"(?:(?:(?<=[\do])(?:[.,] ?|-)|(?<![^ A-Z-])\.)(?P<cents>[\do]{2})"
    r"|(?<=\d)(?P<dash>[.,:]--?)"
    r"|(?<=\d)(?(before)|(?= ?[A-Z]))(?![a-z.,]| \d))"  # whole: beside a currency
    r"(?![\d_]|[a-z]{2}|[.,:/-]\d| ?%)(?P<minus_behind>-?)"
    r"(?= ?(?P<behind>[A-Z]{3,})|)"
)
MONTH = rf"({match_any(name + '*' for name in MONTHS)})[a-z]{{0,9}}[ ./,'-]{{0,3}}"
DAY = r"(?<!\d)(\d\d?)(?:st|nd|rd|th|er)?[ ./,-]{0,3}(?:de |of )?"
# No hour, no more of the number (12.11.10.25), but the time may stick to it: 201718:45.
YEAR = r"(?:de )?((?:19|20)\d\d|\d\d(?! ?(?:[:h]|[ap]m|uhr)))(?!\d(?!\d?:\d)|[.,/-]\d)"
YEAR_FIRST = r"(?<!\d)((?:19|20)\d\d) ?([-/.年]) ?(\d\d?) ?(?:\2|月) ?(\d\d?)(?!\d)"
YEAR_LAST = r"(?<!\d)(?<!\d[./])(\d\d?) ?([-/.]) ?(\d\d?) ?\2 ?" + YEAR
MONTH_FIRST = MONTH + r"(\d\d?)(?:st|nd|rd|th)?[ .,'-]{1,3}" + YEAR
DATES = [  # the orders that a form may have (- is the separator, not used), the form
    (("y-md",), re.compile(YEAR_FIRST)),
    (("m-dy", "d-my"), re.compile(YEAR_LAST)),
    (("mdy", "dmy"), re.compile(r"(?<!\d)(\d\d)(\d\d)(20\d\d)(?!\d)")),
    (("dmy",), re.compile(DAY + MONTH + YEAR)),
    (("mdy",), re.compile(MONTH_FIRST)),
]
TWO_DIGITS = re.compile(r"\d\d")  # without, there is no date
TIME = re.compile(r"\d\d? ?[:h] ?\d\d")
# With two digits for the year, house numbers and versions look so: 3-14-13, 1.2.12.
CLEAR_DATE = re.compile(r"(?:19|20)\d\d|^\d\d?/|^\d\d\.\d\d\.|^\d\d?([-.])[a-z]+\1")
WORDS = re.compile(r"[^\W\d_]+")
FIRST_DATE = datetime.date(1990, 1, 1)

LEGAL_FORM = re.compile(
    r".*\b(?:s[do]n\W{0,2}b[hn]d|bhd|s/b|ltd|limited|plc|inc|llc|corp|sarl|ltda"
    r"|gmbh(?: & co\.? kg)?|s\.p\.a|s\.r\.l|s\.l|s\.a|b\.v|a/s|aps|s\.r\.o"
    r"|sp\. ?z ?o\. ?o)(?!\w)\.?",
    re.IGNORECASE,
)
GOES_ON = re.compile(r"\W|co\b|sdn|\w+ sdn", re.IGNORECASE)
RECEIPT = re.compile(match_any(COLUMNS["receipt"]))
HEADING = re.compile(match_any([*LABELS, *COLUMNS["heading"]]))  # and nothing else
TWO_LETTERS = re.compile(r"[^\W\d_]\W?[^\W\d_]")
NAME = re.compile(r"[A-Z0-9À-ÖØ-ÞĀ-Ž][^#<>{}|_=~*]*$")
# A telephone, a time, an address in the web, a field of a form, a place: Edmonton, AB.
NO_NAME = re.compile(r"\d{5}|\d{3}\W\d{3}|\d:\d\d|\bwww|@|: |:$|, [A-Z]{2}\b")
STATUS_BAR = re.compile(r"\d\d?:\d\d(?!.*\d[/.-]\d)")  # of a phone: a screenshot
HEAD_LINES = 6  # the name stands above the address


# --- the command line ---

SAMPLE = Path(__file__).resolve().parent / "samples" / "receipt.jpg"
CANT_CONNECT = "can't connect"
BROKEN = "the connection broke - the file may be larger than the server takes"
NO_TLS = "no TLS at that port - try http:// instead of https://"
FAILURES = {  # the first that is in the text of an exception; what to say instead
    "CERTIFICATE_VERIFY": "can't verify the certificate - see REQUESTS_CA_BUNDLE",
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


def describe(receipt: Receipt) -> str:
    """Return the values of a receipt, one a line."""
    swapped = " (or day and month swapped)" if receipt["date_is_ambiguous"] else ""
    total = f"{receipt['total']} {receipt['currency'] or ''}".rstrip()
    return (
        f"  merchant  {receipt['merchant'] or 'not found'}\n"
        f"  date      {receipt['date'] or 'not found'}{swapped}\n"
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


def explain(error: Exception, arguments: list[str]) -> str:
    """Return what went wrong, and what to do; no address, it may hold a password."""
    text = str(error)
    if not isinstance(error, requests.HTTPError):  # whose text is ours
        text = next((FAILURES[sign] for sign in FAILURES if sign in text), text)
    launcher = Path(__file__).parent / "tests" / "offline.py"
    if text != CANT_CONNECT or not launcher.exists():
        return text
    python = "uv run" if "UV" in os.environ else "python"
    words = [str(launcher), Path(__file__).name, *arguments]
    command = " ".join(f'"{word}"' if " " in word else word for word in words)
    return f"{text} - try: {python} {command}"


def scan_images(args: argparse.Namespace, url: str, arguments: list[str]) -> int:
    """Scan what the command line names, print each receipt; return the exit code."""
    import json

    scanner = ReceiptScanner(url=url, language=args.language, day_first=args.day_first)
    receipts, exit_code = [], 0
    images = args.images or [str(SAMPLE)]
    for source in [args.from_json] if args.from_json else images:
        receipt = None
        try:
            if args.from_json:
                reply = json.loads(Path(source).read_bytes())
            else:
                reply = scanner.recognize(source)
            receipt = parse_reply(reply, day_first=args.day_first)
            if args.annotate:
                marked = annotate(prepare_photo(images[0]), reply, receipt)
                save_whole(marked, args.annotate)
        except (OcrError, OSError, ValueError) as error:
            text = error if isinstance(error, OcrError) else explain(error, arguments)
            name = "" if isinstance(error, OSError) else f"{Path(source).name}: "
            print(f"error: {name}{text}", file=sys.stderr)
            exit_code = 1
        if receipt and not args.json:
            print(source, describe(receipt), sep="\n")
        if receipt:
            receipts.append({"file": source, **receipt})
    if args.json:
        print(json.dumps(receipts, indent=2, default=str))
    return exit_code


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Read merchant, date and total from photos of receipts.",
        epilog="example: receipt_scanner.py lunch.jpg --day-first --annotate marked.png",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="default: a sample")
    parser.add_argument("--language", default="eng", metavar="CODE", help="eng, ger, fre ...")
    parser.add_argument("--day-first", action="store_true", help="read 03/04/2026 as 3 April")
    parser.add_argument("--json", action="store_true", help="print the receipts as a JSON list")
    parser.add_argument(
        "--annotate", type=Path, metavar="OUT.png", help="mark on the photo what was found"
    )
    parser.add_argument("--from-json", metavar="REPLY", help="a saved reply: no key, no network")
    parser.add_argument("--url", help=f"where to (default: {OCR_URL})")
    args = parser.parse_args(argv)
    if args.annotate and len(args.images) > 1:
        parser.error("--annotate marks one image")
    to_mark = 1 if args.annotate else 0
    if args.from_json and len(args.images) != to_mark:
        parser.error("--from-json goes with no image, or with the one to --annotate")
    url = args.url or os.environ.get("OCR_SPACE_URL") or OCR_URL
    given = sys.argv[1:] if argv is None else argv
    rest = [word for word in given if word not in ("--url", args.url, f"--url={args.url}")]
    if isinstance(sys.stdout, io.TextIOWrapper):  # else a letter may end the run
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        sys.exit(scan_images(args, url, rest))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
