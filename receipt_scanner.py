"""Scan a receipt: send its photo to OCR.space, read merchant, date and total out of the text.

The photo goes as multipart/form-data, upright and under the API's 1 MB; the reply is checked
before it is believed; plain regular expressions do the rest.

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
import itertools
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, NamedTuple, TypedDict, cast

import requests
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

OCR_URL = "https://api.ocr.space/parse/image"
DEMO_KEY = "helloworld"  # OCR.space shares it with all who try
TIMEOUT_SECONDS = (10, 30)  # to connect and for each block sent; for the answer
SLOWEST_BYTES_PER_SECOND = 50_000
SEND_BUFFER_BYTES = 4 * 1024 * 1024  # what the system may hold when all is handed over
MAX_BYTES = 1024 * 1024  # what OCR.space takes with a free key
OCR_OPTIONS = {
    "isOverlayRequired": "true",  # where each word stands
    "detectOrientation": "true",
    "scale": "true",
    "isTable": "true",  # an article and its price in one line
    # 2 reads receipts best, whatever Western language they are in. 1 knows Asian scripts,
    # and goes by `language`; 3 reads handwriting, and takes several times as long.
    "OCREngine": "2",
}


class OcrError(Exception):
    """The API answered with something that is not a reading; the text is the API's own."""


class InvalidPhoto(ValueError):
    """The file is not a picture that can be decoded; the text says why."""


class Receipt(TypedDict):
    """What was read from a receipt; a value that was not found is None, never guessed."""

    merchant: str | None
    date: datetime.date | None
    date_is_ambiguous: bool  # read by day_first, and the other order was possible too
    total: Decimal | None
    currency: str | None  # ISO 4217
    text: str
    evidence: dict[str, str]  # of merchant, date and total: the line it came from


class ReceiptScanner:
    """Reads receipts with OCR.space. The key travels in a header, and appears nowhere else.

    `language` is the receipt's, as OCR.space abbreviates it: eng, ger, fre, spa, jpn, ...
    """

    def __init__(
        self,
        api_key: str | None = None,
        url: str = OCR_URL,
        *,
        language: str = "eng",
        day_first: bool = False,
        timeout: float | tuple[float, float] = TIMEOUT_SECONDS,
    ) -> None:
        self.api_key = api_key or os.environ.get("OCR_SPACE_API_KEY") or DEMO_KEY
        self.url = url
        self.language = language
        self.day_first = day_first
        self.timeout = timeout

    def scan(self, path: str | Path | BinaryIO) -> Receipt:
        """Return what the receipt in a photo says: a path, or a file opened with "rb".

        Raises OSError for a file that can't be read, InvalidPhoto before anything is sent,
        OcrError, requests.RequestException.
        """
        reply = self.recognize(path)
        return parse_reply(reply, day_first=self.day_first)

    def recognize(self, path: str | Path | BinaryIO) -> dict[str, Any]:
        """Send a photo and return the API's reply, checked; raises as `scan` does."""
        photo = prepare_photo(path)
        key = self.api_key.strip()
        if not re.fullmatch("[!-~]+", key):  # requests would print it in its complaint
            raise OcrError("the API key holds letters that no header can carry")
        response = requests.post(
            self.url,
            headers={"apikey": key},
            files={"file": build_part(photo)},
            data={**OCR_OPTIONS, "language": self.language},
            auth=send_in_blocks,
            timeout=allow_for_slow_line(self.timeout, len(photo)),
            allow_redirects=False,  # requests would take the key along to another host
        )
        reply = read_body(response)
        if response.status_code != 200 or not find_pages(reply):
            failure = describe_failure(response, reply)
            raise OcrError(failure.replace(key, "[key]"))
        assert isinstance(reply, dict)
        return reply


# --- the text of a receipt ---


class Line(NamedTuple):
    """A line as printed, simplified for the rules, and taken apart at its amounts."""

    printed: str
    text: str  # lower case; a currency is ¤, a word for a total is `total`
    parts: list[tuple[str, Decimal | None]]  # words and the amount behind them; None at the end


class Labelled(NamedTuple):
    """An amount, what its label makes of it, and the line of the label."""

    weight: int
    kind: str
    value: Decimal
    printed: str


CURRENCY = re.compile(r"rm|myr|[$£€]|eur(?![a-z])|usd|gbp|chf|fr\. ?(?=\d)|sek|nok|dkk|kr(?![a-z])")
TOTAL = re.compile(  # as the OCR reads it, and in other languages
    r"t[oa0]ta(?:al|le|lt|[1il])|(?<![a-z])(?:tt?l|summ?[ae]?|gesamt[a-z]*|importe?|i alt)(?![a-z])"
    r"|(?<=en)summe"
)
# 1,234.50  1.234,50  1'234.50  1 234,50  .50  45.-  -¤5.00  ¤-5.00  5.00-  and, misread, 12. 80
# 12-80  1O.OO  RN5.00; but nothing in 1,23,456.00  1.2.345  6.00%  l2.50 (who knows which digit).
AMOUNT = re.compile(
    r"(?=[-¤.\do])(?<![\dbilosz'(/-])(?<!\d[.,])(?P<minus>(?:-?¤ ?)?-?)"
    r"(?P<whole>\d{1,3}(?:[,']\d{3}){1,2}(?=\.)|\d{1,3}(?:[.' ]\d{3}){1,2}(?=,)"
    r"|[0o]|[1-9][\do]{0,6}|)(?:(?<=[\do])(?:[.,] ?|-)|(?<![^ ¤-])\.)"
    r"(?P<cents>[\do]{2}|--?)(?!\w|[.,/-]\d| ?%)(?P<minus_behind>-?)"
)
LABEL = re.compile(r"[^\W\d_]{3}")  # shorter words stand behind amounts: S, SR, KG
WORD = re.compile(r"[^\W\d_]{4}")  # and shorter ones than this say nothing: EDC, CAS
TIP = re.compile(r"tips?\b|gratuity|suggest")  # its lines name totals that nobody owes yet

# What the words before an amount make of it: the first pattern that fits decides. The total is the
# amount with the highest weight, of equals the last. Weights 1, 2 and 5 are sums: see `add_up`.
RULES = [
    (kind, weight, re.compile(pattern))
    for kind, weight, pattern in (
        # Before `discount`: TOTAL AFTER DISCOUNT.
        ("total", 4, r"total after dis"),
        # Saved, counted, or the head of a table; but ITEMS 2 TOTAL is a total.
        ("other", 0, r"sav(?:ing|ed)|dis[ck]|rabatt|points?\b|average|summary"),
        ("other", 0, r"(?:qty|quantity|items?\b|count)(?!.{0,20}total)"),
        # Before `due`: CHANGE DUE.
        ("change", 0, r"change|r[üu]ckgeld|rendu|cambio|resto\b|wisselgeld|växel|byttepen|veksel"),
        # Before `total`: TOTAL PAID is what was handed over.
        ("cash", 0, r"total (?:paid|tender)|accepted|received"),
        # Where a receipt rounds or adds tax, one line says which total counts.
        ("total", 6, r"total.{0,20}(?:rounded|payable)|rounded total|grand total|nett total"),
        ("total", 6, r"final total|amount (?:due|payable|to be)|after (?:round|adj)|due\b"),
        ("total", 6, r"to pay\b|payer\b|pagar\b|zu zahlen|zahlbetrag|endbetrag|[etå] betal"),
        ("rounding", 0, r"round|rundung|avrund|öresut"),
        # Before `total`: SUBTOTAL, TOTAL EXCL. GST, TOTAL HT.
        ("subtotal", 0, r"sub.{0,2}total|sous.total|deltotal|zwischentotal|total ht\b|imponib"),
        ("subtotal", 0, r"excl|before|without|netto"),
        # Before `total`: TOTAL GST; but TOTAL GST INCL. is a total.
        ("tax", 0, r"total ?(?:gst|tax|vat)(?! ?inc)|gst payable|tax payable"),
        ("tax", 0, r"^\W*(?:gst|tax|vat|serv|mwst|ust|tva|iva|btw|moms|mva)"),
        # TOTAL INCLUDES GST 9.00, or 0.51: the total of some shops, the tax of others.
        ("total", 3, r"total includ"),
        ("total", 4, r"total|amount incl"),
        ("cash", 0, r"cash\b|paid|pay\b|payment|tender|card|visa|master|credit|debit"),
        ("cash", 0, r"^bar\b|esp[eè]ces|efectivo|kontant|contant"),
    )
]


def read_lines(text: str) -> list[Line]:
    """Return the lines of a text, their amounts found."""
    printed = [" ".join(line.split()) for line in text.splitlines()]
    if not "".join(printed).isprintable():  # codes for the terminal, marks that turn the writing
        printed = ["".join(filter(str.isprintable, line)) for line in printed]
    simple = TOTAL.sub("total", CURRENCY.sub("¤", "\n".join(printed).lower())).split("\n")
    return [
        Line(*line, list(split_at_amounts(line[1]))) for line in zip(printed, simple, strict=False)
    ]


def split_at_amounts(text: str) -> Iterator[tuple[str, Decimal | None]]:
    """Yield the words before each amount with the amount; at the end, the words without one."""
    end = 0
    for match in AMOUNT.finditer("" if TIP.search(text) else text):
        sign = "-" if "-" in match["minus"] + match["minus_behind"] else ""
        whole, cents = re.sub("[.,' ]", "", match["whole"]), match["cents"].strip("-") or "00"
        yield text[end : match.start()], Decimal(f"{sign}{whole}.{cents}".replace("o", "0"))
        end = match.end()
    yield text[end:], None


def classify(words: str) -> tuple[int, str] | None:
    """Return weight and kind of the rule that fits a label."""
    for kind, weight, pattern in RULES:
        if pattern.search(words):
            return weight, kind
    return None


def label_amounts(lines: list[Line]) -> Iterator[Labelled]:
    """Yield the amounts that have a label: in its row, or in a run below a run of labels."""
    labels: list[tuple[str, str]] = []
    values: list[Decimal] = []
    for printed, _, parts in [*lines, Line("", "", [("end", None)])]:
        for words, value in parts:
            is_label = LABEL.search(words)
            is_end_of_row = value is None and labels and labels[-1][1] is printed
            if values and (is_label or is_end_of_row):
                yield from pair(labels, values)
                labels, values = [], []
            if is_label:
                if value is not None:  # a label in a row stands alone
                    labels = []
                labels.append((words, printed))
            if value is not None:
                values.append(value)


def pair(labels: list[tuple[str, str]], values: list[Decimal]) -> Iterator[Labelled]:
    """Pair labels with amounts, from the end: the first labels may have had their amounts."""
    named = []
    for words, printed in reversed(labels):
        if rule := classify(words):
            named.append((*rule, printed))
        elif WORD.search(words):
            break
    if len(set(values)) <= len(named):  # more amounts than labels are columns of a table
        for (weight, kind, printed), value in zip(named, reversed(values), strict=False):
            yield Labelled(weight, kind, value, printed)


def add_up(named: dict[str, Decimal], row: list[Decimal]) -> Iterator[tuple[int, Decimal]]:
    """Yield weight and value of each sum that should be the total."""
    if "cash" in named and "change" in named:
        yield 5, abs(named["cash"]) - abs(named["change"])
    if "subtotal" in named and named.keys() & {"tax", "cash", "change"}:  # else tax may follow
        zero = Decimal(0)
        yield 1, named["subtotal"] + named.get("tax", zero) + named.get("rounding", zero)
    for total, cash, change in zip(row, row[1:], row[2:], strict=False):  # whatever their labels
        if change >= 0 and total == abs(cash) - change:
            yield 2, total


def find_total(lines: list[Line]) -> tuple[Decimal | None, str]:
    """Return the total and the line that it came from."""
    labelled = list(label_amounts(lines))
    named = {kind: value for _, kind, value, _ in labelled}
    row = [(value, line.printed) for line in lines for _, value in line.parts if value is not None]
    where = dict(row) | {value: printed for _, _, value, printed in sorted(labelled)}
    for weight, value in add_up(named, [value for value, _ in row]):
        if value in where:  # a sum that is not printed holds a misread amount
            labelled.append(Labelled(weight, "sum", value, where[value]))
    possible = [one for one in labelled if one.weight and one.value]
    if not possible:
        return None, ""
    best = max(reversed(possible), key=lambda one: one.weight)
    return best.value, best.printed


MONTHS = {
    name: number
    for number, names in enumerate(
        "jan gen ene/feb fév fev/mar mär mrz mrt maa/apr avr abr/may mai maj mei mag/jun juin giu/"
        "jul juil lug/aug aoû aou ago/sep set/oct okt ott/nov/dec dez déc dic des".split("/"),
        start=1,
    )
    for name in names.split()
}
MONTH = rf"({'|'.join(MONTHS)})[a-zéûä]{{0,7}}[ ./,'-]{{0,3}}"
DAY = r"(?<!\d)(\d\d?)(?:st|nd|rd|th|er)?[ ./,-]{0,3}(?:de |of )?"
# A year and no more of the number (12.11.10.25), but the time may stick to it: 201718:45.
YEAR = r"(?:de )?((?:19|20)\d\d|\d\d)(?!\d(?!\d?:\d)|[.,/-]\d)"
DATES = [  # the orders that a form may have (- is the separator, twice the same), the form
    (("y-md",), re.compile(r"(?<!\d)((?:19|20)\d\d)([-/.])(\d\d?)\2(\d\d?)(?!\d)")),
    (("m-dy", "d-my"), re.compile(rf"(?<!\d)(?<!\d[./])(\d\d?) ?([-/.]) ?(\d\d?) ?\2 ?{YEAR}")),
    (("mdy", "dmy"), re.compile(r"(?<!\d)(\d\d)(\d\d)(20\d\d)(?!\d)")),
    (("dmy",), re.compile(DAY + MONTH + YEAR)),
    (("mdy",), re.compile(MONTH + r"(\d\d?)(?:st|nd|rd|th)?[ .,'-]{1,3}" + YEAR)),
]
TWO_DIGITS = re.compile(r"\d\d")  # without, there is no date
PURCHASE_DATE = re.compile(r"dat[aeou]|fecha|\d:\d\d")  # or beside a time
OTHER_DATE = re.compile(r"expir|valid|until")
FIRST_DATE = datetime.date(1990, 1, 1)


def read_date(order: str, fields: tuple[str, ...], latest: datetime.date) -> datetime.date | None:
    """Return the date whose fields stand in this order, if there was such a day."""
    part = dict(zip(order, fields, strict=True))
    year = int(part["y"]) + (2000 if len(part["y"]) == 2 else 0)
    try:
        date = datetime.date(year, MONTHS.get(part["m"]) or int(part["m"]), int(part["d"]))
    except ValueError:
        return None
    return date if FIRST_DATE <= date <= latest else None


def find_date(
    lines: list[Line], day_first: bool, latest: datetime.date
) -> tuple[datetime.date | None, bool, str]:
    """Return the date, whether another order was possible, and the line that it came from."""
    found: list[tuple[int, datetime.date, bool, str]] = []
    for printed, text, _ in lines:
        dates: list[datetime.date] = []
        for orders, pattern in DATES if TWO_DIGITS.search(text) else []:
            for match in pattern.finditer(text):
                readings = [read_date(order, match.groups(), latest) for order in orders]
                dates = dates or [date for date in readings if date]
        if dates:
            weight = bool(PURCHASE_DATE.search(text)) - 2 * bool(OTHER_DATE.search(text))
            found.append((weight, dates[-1 if day_first else 0], len(set(dates)) > 1, printed))
            if weight > 0:
                break
    if not found:
        return None, False, ""
    return max(found, key=lambda one: one[0])[1:]


LEGAL_FORM = re.compile(
    r".*\b(?:s[do]n\W{0,2}b[hn]d|bhd|s/b|ltd|limited|plc|inc|llc|corp|gmbh(?: & co\.? kg)?|sarl"
    r"|s\.p\.a|s\.r\.l|s\.l|b\.v|a/s|aps|(?:ag|ab|oy|sas?|srl|spa|bv)$)(?!\w)\.?",
    re.IGNORECASE,
)
NOT_A_NAME = re.compile(r"invoice|receipt|welcome|thank|\btel\b|\d{5}|date|www", re.IGNORECASE)
HEAD_LINES = 6  # the name stands above the address


def find_merchant(lines: list[Line]) -> tuple[str | None, str]:
    """Return the shop's name, without its registration number, and the line that it came from."""
    head = [line.printed for line in lines if line.printed][:HEAD_LINES]
    for above, printed in zip(["", *head], head, strict=False):
        if match := LEGAL_FORM.match(printed):
            # The form alone, or a name that goes on: the line above belongs to it.
            goes_on = re.match(r"\W|co\b|sdn|\w+ sdn", printed, re.IGNORECASE)
            return f"{above} {match[0]}".strip() if goes_on else match[0], printed
    for printed in head:
        if re.search(r"[^\W\d_]{2}", printed) and not NOT_A_NAME.search(printed):
            return re.sub(r"\W?\w{0,2}\d{5}.*", "", printed).strip(" *-(") or None, printed
    return None, ""


CURRENCIES = {  # the first that fits; a dollar is American unless the text names a country
    "MYR": r"\brm ?\d+[.,]\d|\(rm\)|\bmyr\b|malaysia|\bbhd\b",
    "GBP": r"£|\bgbp\b",
    "EUR": r"€|\beuro?\b",
    "CHF": r"\bchf\b|\bfr\. ?\d",
    "SEK": r"\bsek\b|växel",
    "NOK": r"\bnok\b|\bmva\b",
    "DKK": r"\bdkk\b|byttepenge",
    "CAD": r"\bcad\b|canada",
    "AUD": r"\baud\b|australia",
    "SGD": r"\bsgd\b|singapore",
    "USD": r"\bus ?\$|(?<!\b[a-z])(?<!\b[a-z]{2})\$|\busd\b",  # HK$ is not American
}


def parse_receipt(
    text: str, *, day_first: bool = False, today: datetime.date | None = None
) -> Receipt:
    """Return what the text of a receipt says.

    03/04/2024 is read month first, or day first if you say so. A date after today is refused,
    with a day of grace for the shop's time zone.
    """
    lines = read_lines(text)
    latest = (today or datetime.date.today()) + datetime.timedelta(days=1)
    merchant, merchant_line = find_merchant(lines)
    date, is_ambiguous, date_line = find_date(lines, day_first, latest)
    total, total_line = find_total(lines)
    lower = text.lower()
    currencies = (code for code, pattern in CURRENCIES.items() if re.search(pattern, lower))
    evidence = {"merchant": merchant_line, "date": date_line, "total": total_line}
    return Receipt(
        merchant=merchant,
        date=date,
        date_is_ambiguous=is_ambiguous,
        total=total,
        currency=next(currencies, None),
        text=text,
        evidence={name: line for name, line in evidence.items() if line},
    )


# --- the photo ---


def prepare_photo(path: str | Path | BinaryIO) -> bytes:
    """Return a photo as the API takes it: JPEG or PNG, upright, under 1 MB; or a PDF.

    Untouched where it is so already; else without EXIF, where the camera's position stands.
    Raises OSError for a file that can't be read, InvalidPhoto for one that can't be sent.
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
        raise InvalidPhoto("takes over 400 MB to decode - save it with fewer pixels") from error
    except Exception as error:  # on damaged data Pillow raises nearly anything
        reason = error if isinstance(error, InvalidPhoto) else "not a picture, or damaged"
        raise InvalidPhoto(reason) from error
    is_turned = orientation in range(2, 9)
    if is_small and not is_turned and image.format in ("JPEG", "PNG") and not is_deep(image):
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
    if data.startswith(b"%PDF-"):
        raise InvalidPhoto("a PDF over 1 MB - send a picture of its first page")
    if data.startswith(b"\xff\xd8"):  # not by Image.open: it refuses 179 megapixels
        image: Image.Image = JpegImageFile(file)
    elif data[4:12] in HEIC_BRANDS and b"avif" not in data[12:40]:
        try:
            import pillow_heif  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise InvalidPhoto(HEIC_ADVICE) from None
        pillow_heif.register_heif_opener()
        image = Image.open(file, formats=["HEIF"])
    elif data.startswith(CAMERA_RAW) or data[4:12] == b"ftypcrx ":
        raise InvalidPhoto(RAW_ADVICE)
    else:
        image = Image.open(file, formats=OTHER_FORMATS)
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if TAG_DNG in tags or tags.get(TAG_SUBFILE, 0) & 1:  # a thumbnail of what follows
        raise InvalidPhoto(RAW_ADVICE)
    if image.width * image.height * find_cost(image) + len(data) > MAX_MEMORY_BYTES:
        raise Image.DecompressionBombError
    return image


def find_cost(image: Image.Image) -> float:
    """Return how many bytes of memory each pixel takes, as measured."""
    if not isinstance(image, JpegImageFile):
        is_plain = image.mode in ("1", "L", "P", "RGB")  # the others are copied once more
        return COSTS.get(image.format or "", 9) + (0 if is_plain else 5)
    if "progressive" not in image.info:
        return 1.4
    samples = [across * down for _, across, down, _ in image.layer]
    return 2.5 * sum(samples) / samples[0]  # all of them are held at once


def is_deep(image: Image.Image) -> bool:
    """Tell whether it is grey with 16 or 32 bits, as a scanner's: not for every program."""
    return image.mode[0] in "IF"


def decode_small(image: Image.Image, data: bytes) -> Image.Image:
    """Decode a whole picture, into no more pixels than are sent, as RGB or YCbCr.

    A JPEG's decoder can halve it on the way, and again: `draft` says so. It must be said
    before anything is loaded, by exif_transpose(), too; later it does nothing.
    """
    pixels = image.width * image.height
    scale = min(1, math.sqrt(SENT_PIXELS / pixels), MAX_SIDE_PIXELS / max(image.size))
    size = [max(round(side * scale), 1) for side in image.size]
    if not isinstance(image, JpegImageFile):
        return make_rgb(image).resize(size, Image.Resampling.BILINEAR)
    part = 1
    while pixels > 4 * SENT_PIXELS * part**2:
        part *= 2
    width, height = image.width // part, image.height // part
    if pixels <= SENT_PIXELS or image.mode != "RGB" or "progressive" in image.info:
        image.draft(None, (width, height))
        return make_rgb(image).resize(size, Image.Resampling.BILINEAR)
    # Brightness and colour apart, as a JPEG has them: one byte a pixel, where RGB takes four.
    image.draft("L", (width, height))
    bands = [image.resize(size, Image.Resampling.BILINEAR)]
    colour = JpegImageFile(io.BytesIO(data))
    colour.draft(None, (width // 4, height // 4))
    for band in colour.convert("YCbCr").split()[1:]:
        bands.append(band.resize(size, Image.Resampling.NEAREST))
    return Image.merge("YCbCr", bands)


def make_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB: white paper behind it, and grey of many bits scaled to 8."""
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
    """Return a picture as JPEG in the best of a few qualities that keep to the limit."""
    if profile[16:20] != b"RGB " or len(profile) > MAX_BYTES // 8:  # it was grey, or CMYK
        profile = b""
    while True:
        for quality in JPEG_QUALITIES:
            jpeg = io.BytesIO()
            photo.save(jpeg, "JPEG", quality=quality, icc_profile=profile)
            if jpeg.tell() <= MAX_BYTES:
                return jpeg.getvalue()
        photo = photo.resize([side * 4 // 5 for side in photo.size])  # only noise comes here


MAX_SIDE_PIXELS = 10_000  # the API's limit
SENT_PIXELS = 4_900_000  # as many as 1 MB holds sharply; half of them would lose small print
JPEG_QUALITIES = (88, 82, 76, 70, 64)  # as Pillow counts them; below, letters blur
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_MEMORY_BYTES = 380_000_000
COSTS = {"WEBP": 17, "AVIF": 11, "HEIF": 13}
OTHER_FORMATS = ("PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftypheim", b"ftypheis", b"ftyphevc", b"ftypmif1")
HEIC_ADVICE = (
    "a HEIC photo - pip install pillow-heif, or let the iPhone take JPEG: "
    "Settings, Camera, Formats, Most Compatible"
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


def read_body(response: requests.Response) -> object:
    """Return the JSON of an answer, or else the beginning of its text, but no HTML."""
    with suppress(ValueError):
        return response.json()
    text = response.content[:1000].decode(errors="replace")
    return "" if text.lstrip().startswith("<") else text


def find_pages(reply: object) -> list[dict[str, Any]]:
    """Return the pages that were read; none where the API reports a failure.

    It does so by a bare string, by a flag with a message or a list of messages, or, with
    the flag unset, by an exit code of each page (https://ocr.space/ocrapi). Exit code 2 of
    the whole: some pages were read, others weren't.
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


def find_words(reply: object) -> str:
    """Return what the API says of a failure, each message once, or an empty string."""
    messages = [reply]
    if isinstance(reply, dict):
        results = reply.get("ParsedResults")
        parts = [reply, *(results if isinstance(results, list) else [])]
        dicts = [part for part in parts if isinstance(part, dict)]
        messages = [part.get(name) for part in dicts for name in MESSAGE_FIELDS]
    lists = [message if isinstance(message, list) else [message] for message in messages]
    said = dict.fromkeys(" ".join(str(word).split()) for word in itertools.chain(*lists) if word)
    new = [word for word in said if not any(word in other for other in said if other != word)]
    return " ".join(new)[:MAX_MESSAGE]


def describe_failure(response: requests.Response, reply: object) -> str:
    """Return status, the API's words, and what to do."""
    status = response.status_code
    words = find_words(reply) or "no text in the reply"
    if status != 200:
        reason = response.reason or http.client.responses.get(status, "")
        words = f"{status} {reason}: {find_words(reply)}".rstrip(": ")
    advice = ADVICE.get(status) or ADVICE.get(status // 100, "see https://ocr.space/ocrapi")
    shown = "".join(filter(str.isprintable, words))  # no codes for the terminal
    return f"{shown} - {advice}"


def parse_reply(reply: dict[str, Any], *, day_first: bool = False) -> Receipt:
    """Return what a reply of the API says; raises OcrError when it is not a reading."""
    pages = find_pages(reply)
    if not pages:
        raise OcrError(find_words(reply) or "no text in the reply")
    texts = []
    for page in pages:
        rows = [] if "\t" in page["ParsedText"] else read_rows(page)  # without table mode
        texts.append("\n".join(map(join_row, rows)) or page["ParsedText"])
    return parse_receipt("\n".join(texts), day_first=day_first)


class Box(NamedTuple):
    """A piece of text and where it stands, in pixels of the picture that was sent."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def find_level(self, slope: float) -> float:
        """Return how far down its middle stands, once a skewed photo is levelled."""
        return (self.top + self.bottom - slope * (self.left + self.right)) / 2


def read_rows(page: dict[str, Any]) -> list[list[Box]]:
    """Return the overlay's pieces of text in rows, top to bottom; none if it has none."""
    boxes, slopes = [], []
    with suppress(AttributeError, LookupError, TypeError, ValueError):  # not as documented
        for line in page["TextOverlay"]["Lines"]:
            first, last = line["Words"][0], line["Words"][-1]
            left, right = float(first["Left"]), float(last["Left"])
            top, bottom = sorted([float(first["Top"]), float(last["Top"])])
            if right > left:
                slopes.append((last["Top"] - first["Top"]) / (right - left))
            right, bottom = right + last["Width"], bottom + last["Height"]
            boxes.append(Box(str(line["LineText"]), left, top, right, bottom))
    slope = median(slopes or [0.0])
    reach = median([box.bottom - box.top for box in boxes] or [0.0]) / 2
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.find_level(slope)):
        if rows and box.find_level(slope) - rows[-1][0].find_level(slope) < reach:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [sorted(row, key=lambda box: box.left) for row in rows]


def join_row(row: list[Box]) -> str:
    """Return a row as the API's table mode writes it."""
    return "\t".join(box.text for box in row)


def annotate(photo: bytes, reply: dict[str, Any], receipt: Receipt) -> Image.Image:
    """Return the photo that was sent, with marks where merchant, date and total were found."""
    page = find_pages(reply)[0]
    rows = read_rows(page)
    if not rows:
        raise OcrError("no coordinates in this reply")
    if photo.startswith(b"%PDF-"):
        raise InvalidPhoto("a PDF can't be marked - send a picture of its page")
    turn = float(page.get("TextOrientation") or 0)  # degrees that the API turned it back
    image = make_rgb(Image.open(io.BytesIO(photo))).rotate(turn, expand=True)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(image.width / 36)
    values: Mapping[str, object] = receipt
    for name, line in receipt["evidence"].items():
        likeness = [SequenceMatcher(None, join_row(row), line).ratio() for row in rows]
        row = rows[likeness.index(max(likeness))]
        for box in row:
            draw.rectangle(box[1:], outline="red", width=1 + image.width // 400)
        label = f" {name}: {values[name]} "
        corner = (max(box.right, font.getlength(label)), max(box.top, image.width / 24))
        draw.rectangle(draw.textbbox(corner, label, font, anchor="rb"), "red")
        draw.text(corner, label, "white", font, anchor="rb")
    return image


MAX_MESSAGE = 200  # letters of what the API says about a failure
MESSAGE_FIELDS = ("error", "details", "ErrorMessage", "ErrorDetails")
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

# --- the command line ---

SAMPLE = Path(__file__).resolve().parent / "samples" / "receipt.jpg"
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
    """Save a picture; when that fails nothing is left, and what stood there still stands."""
    part = path.with_name(f"part-{path.name}")
    try:
        image.save(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
    import warnings

    parser = argparse.ArgumentParser(
        description="Read merchant, date and total from photos of receipts.",
        epilog="example: receipt_scanner.py lunch.jpg --day-first --annotate marked.png",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="default: a sample")
    parser.add_argument("--language", default="eng", metavar="CODE", help="eng, ger, fre, jpn ...")
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
    if args.from_json and len(args.images) != bool(args.annotate):
        parser.error("--from-json goes with no image, or with the one to --annotate")
    url = args.url or os.environ.get("OCR_SPACE_URL") or OCR_URL
    given = sys.argv[1:] if argv is None else argv
    rest = [word for word in given if word not in ("--url", args.url, f"--url={args.url}")]
    warnings.filterwarnings("ignore", module="PIL")  # on broken EXIF; the pixels decide
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
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
