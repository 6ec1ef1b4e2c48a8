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
import bisect
import datetime
import io
import itertools
import json
import os
import re
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from decimal import Decimal
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypedDict

import requests
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps

OCR_URL = os.environ.get("OCR_SPACE_URL") or "https://api.ocr.space/parse/image"
DEMO_KEY = "helloworld"  # OCR.space shares it with all who try
TIMEOUT_SECONDS = (5, 30)  # connect, read
MAX_BYTES = 1024 * 1024  # what OCR.space takes with a free key
MAX_SIDE_PIXELS = 10_000
MAX_PIXELS = 80_000_000  # a GIF of 48 bytes can ask for gigabytes of memory
MIN_BYTES = 10_000  # of a tiny photo: below, a JPEG's tables would not fit
JPEG_QUALITIES = range(60, 96)  # below, letters blur; above, only the file grows
PHOTO_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
MAX_MESSAGE = 200  # letters of what the API says about a failure
OCR_OPTIONS = {
    "language": "eng",
    "isOverlayRequired": "true",  # where each word stands
    "detectOrientation": "true",
    "scale": "true",
    "isTable": "true",  # an article and its price in one line
    "OCREngine": "2",  # the better one for receipts
}
SAMPLE = Path(__file__).resolve().parent / "samples" / "receipt.jpg"


class OcrError(Exception):
    """The API answered with something that is not a reading; the text is the API's own."""


class InvalidPhoto(ValueError):
    """The file is not a picture that can be decoded."""


class Receipt(TypedDict):
    """What was read from a receipt; a value that was not found is None, never guessed."""

    merchant: str | None
    date: datetime.date | None
    date_is_ambiguous: bool  # read by day_first, and the other order was possible too
    total: Decimal | None
    currency: str | None  # ISO 4217
    text: str
    evidence: dict[str, str]  # of merchant, date and total: the line it came from


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


def encode_jpeg(photo: Image.Image, quality: int) -> bytes:
    """Return a picture as JPEG; `quality` as Pillow counts it, 1 to 95."""
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", quality=quality)
    return jpeg.getvalue()


def prepare_photo(path: str | Path) -> bytes:
    """Return the photo as JPEG or PNG, upright and within the API's limits.

    Untouched where it is so already; else as JPEG in the best quality that fits, and only then
    in fewer pixels. Raises InvalidPhoto for what is missing, empty, or not whole.
    """
    try:
        if not Path(path).is_file():  # asked before opening: a FIFO would wait for ever
            raise InvalidPhoto("not a file" if Path(path).exists() else "no such file")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidPhoto(f"can't be read ({error.strerror})") from error
    if not data:
        raise InvalidPhoto("empty")
    try:
        image = Image.open(io.BytesIO(data), formats=PHOTO_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.load()  # half a JPEG opens without complaint
        upright = ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise InvalidPhoto(f"over {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # on damaged data Pillow raises nearly anything
        raise InvalidPhoto("not a picture, or damaged") from error
    is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    is_small = len(data) <= MAX_BYTES and max(image.size) <= MAX_SIDE_PIXELS
    if is_upright and is_small and image.format in ("JPEG", "PNG"):
        return data
    limit = min(MAX_BYTES, max(len(data), MIN_BYTES)) if image.format == "JPEG" else MAX_BYTES
    paper = Image.new("RGBA", upright.size, "white")  # JPEG has no transparency
    photo = Image.alpha_composite(paper, upright.convert("RGBA")).convert("RGB")
    photo.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS))
    while True:  # quality first: an OCR engine needs pixels more than it needs smooth ones
        fitting = bisect.bisect_right(
            JPEG_QUALITIES, limit, key=lambda quality: len(encode_jpeg(photo, quality))
        )
        if fitting:
            return encode_jpeg(photo, JPEG_QUALITIES[fitting - 1])
        photo = photo.resize([max(side * 4 // 5, 1) for side in photo.size])


def is_read(page: object) -> bool:
    """Tell whether a page of a reply holds text."""
    if not isinstance(page, dict):
        return False
    return page.get("FileParseExitCode") == 1 and isinstance(page.get("ParsedText"), str)


def check_reply(reply: object) -> dict[str, Any]:
    """Return the API's reply when it is a reading; raises OcrError in the API's own words.

    A failure comes as a bare string, as a flag with a message or a list of messages, or, with
    the flag unset, as an exit code of a page (https://ocr.space/ocrapi).
    """
    messages: list[object] = [reply]
    if isinstance(reply, dict):
        results = reply.get("ParsedResults")
        pages = results if isinstance(results, list) else []
        if pages and all(map(is_read, pages)) and not reply.get("IsErroredOnProcessing"):
            return reply
        parts = [part for part in (reply, *pages) if isinstance(part, dict)]
        messages = [part.get(key) for part in parts for key in ("ErrorMessage", "ErrorDetails")]
    lists = (message if isinstance(message, list) else [message] for message in messages)
    said = dict.fromkeys(str(word)[:1000] for word in itertools.chain(*lists) if word)
    words = " ".join(" ".join(said).split())
    words = "".join(filter(str.isprintable, words))  # no codes for the terminal
    raise OcrError(textwrap.shorten(words, MAX_MESSAGE) or "no text in the reply")


class Box(NamedTuple):
    """A piece of text and where it stands, in pixels of the picture that was sent."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def read_rows(page: dict[str, Any]) -> list[list[Box]]:
    """Return the overlay's pieces of text in rows, top to bottom; a skewed photo is levelled."""
    boxes, slopes = [], []
    try:
        for line in (page.get("TextOverlay") or {}).get("Lines") or []:
            first, last = (
                {side: float(word[side]) for side in ("Left", "Top", "Width", "Height")}
                for word in (line["Words"][0], line["Words"][-1])
            )
            top, lower = sorted((first["Top"], last["Top"]))
            right, bottom = last["Left"] + last["Width"], lower + last["Height"]
            boxes.append(Box(str(line["LineText"]), first["Left"], top, right, bottom))
            if last["Left"] > first["Left"]:
                slopes.append((last["Top"] - first["Top"]) / (last["Left"] - first["Left"]))
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
        return []  # not as documented: the plain text has to do
    slope: float = median(slopes or [0])
    reach = median(box.bottom - box.top for box in boxes) / 2 if boxes else 0

    def level(box: Box) -> float:
        return (box.top + box.bottom - slope * (box.left + box.right)) / 2

    rows: list[list[Box]] = []
    for box in sorted(boxes, key=level):
        if rows and level(box) - level(rows[-1][0]) < reach:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [sorted(row, key=lambda box: box.left) for row in rows]


def join_row(row: list[Box]) -> str:
    """Return a row as the API's table mode writes it."""
    return "\t".join(box.text for box in row)


def parse_reply(reply: dict[str, Any], *, day_first: bool = False) -> Receipt:
    """Return what a reply of the API says; raises OcrError when it is not a reading."""
    texts = []
    for page in check_reply(reply)["ParsedResults"]:
        rows = [] if "\t" in page["ParsedText"] else read_rows(page)  # without table mode
        texts.append("\n".join(map(join_row, rows)) or page["ParsedText"])
    return parse_receipt("\n".join(texts), day_first=day_first)


@dataclass
class ReceiptScanner:
    """Reads receipts with OCR.space. The key travels in a header, and appears nowhere else."""

    api_key: str | None = field(default=None, repr=False)
    url: str = OCR_URL
    _: KW_ONLY
    day_first: bool = False
    timeout: tuple[float, float] = TIMEOUT_SECONDS

    def scan(self, path: str | Path) -> Receipt:
        """Return what the receipt in a photo says.

        Raises InvalidPhoto before anything is sent, OcrError, requests.RequestException.
        """
        return parse_reply(self.recognize(path), day_first=self.day_first)

    def recognize(self, path: str | Path) -> dict[str, Any]:
        """Send a photo and return the API's reply, checked; raises as `scan` does."""
        photo = prepare_photo(path)
        kind = "png" if photo.startswith(b"\x89PNG") else "jpeg"
        key = (self.api_key or os.environ.get("OCR_SPACE_API_KEY") or DEMO_KEY).strip()
        if not re.fullmatch("[!-~]+", key):  # requests would print it in its complaint
            raise OcrError("the API key holds letters that no header can carry")
        response = requests.post(
            self.url,
            headers={"apikey": key},
            files={"file": (f"receipt.{kind}", photo, f"image/{kind}")},
            data=OCR_OPTIONS,
            timeout=self.timeout,
            allow_redirects=False,  # requests would take the key along to another host
        )
        try:
            reply = response.json()
        except (ValueError, RecursionError):
            reply = None
        if response.status_code != 200 and not isinstance(reply, str):
            reply = f"{response.status_code} {response.reason}"
        try:
            return check_reply(reply)
        except OcrError as error:
            raise OcrError(str(error).replace(key, "[key]")) from None


def annotate(photo: bytes, reply: dict[str, Any], receipt: Receipt) -> Image.Image:
    """Return the photo that was sent, with marks where merchant, date and total were found."""
    page = reply["ParsedResults"][0]
    rows = read_rows(page)
    if not rows:
        raise OcrError("no coordinates in this reply")
    turn = float(str(page.get("TextOrientation") or 0))  # degrees that the API turned it back
    image = Image.open(io.BytesIO(photo)).convert("RGB").rotate(turn, expand=True)
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


def describe(receipt: Receipt) -> str:
    """Return the values of a receipt, one a line."""
    swapped = " (or day and month swapped)" if receipt["date_is_ambiguous"] else ""
    total = f"{receipt['total']} {receipt['currency'] or ''}".rstrip()
    return (
        f"  merchant  {receipt['merchant'] or 'not found'}\n"
        f"  date      {receipt['date'] or 'not found'}{swapped}\n"
        f"  total     {'not found' if receipt['total'] is None else total}"
    )


def draw_sample(folder: str) -> str:
    """Draw a small receipt, for when this script was copied away from its samples."""
    image = Image.new("L", (640, 400), "white")
    text = "CORNER CAFE\n14 March 2026\n\n2 Coffee  7.00\nTOTAL  $7.00"
    ImageDraw.Draw(image).text((60, 40), text, "black", ImageFont.load_default(48))
    image.save(f"{folder}/receipt.png")
    return f"{folder}/receipt.png"


def explain(error: Exception, name: str) -> str:
    """Return in one line what happened with a file and what to do."""
    if isinstance(error, OcrError):
        return f"{name}: {error} - see https://ocr.space/ocrapi"
    if isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        return f"{name}: no answer in time - try again later"
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection - check the address, and this machine's clock"
    if isinstance(error, requests.ConnectionError):
        return f"can't connect - try: uv run tests/offline.py {Path(__file__).name}"
    if isinstance(error, requests.RequestException):
        return f"{error} - check the address"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror} - check the path"
    return f"{name}: {error} - choose another file"


def scan_images(args: argparse.Namespace) -> int:
    """Scan what the command line names, print each receipt; return the exit code."""
    scanner = ReceiptScanner(url=args.url, day_first=args.day_first)
    receipts, exit_code = [], 0
    with tempfile.TemporaryDirectory() as folder:
        images = args.images or [str(SAMPLE) if SAMPLE.exists() else draw_sample(folder)]
        for source in [args.from_json] if args.from_json else images:
            try:
                if args.from_json:
                    reply = json.loads(Path(source).read_bytes())
                else:
                    reply = scanner.recognize(source)
                receipt = parse_reply(reply, day_first=args.day_first)
                if args.annotate:
                    annotate(prepare_photo(images[0]), reply, receipt).save(args.annotate)
            except (OcrError, OSError, ValueError, RecursionError) as error:
                print(f"error: {explain(error, Path(source).name)}", file=sys.stderr)
                exit_code = 1
                continue
            receipts.append({"file": source, **receipt})
            if not args.json:
                print(source, describe(receipt), sep="\n")
    if args.json:
        print(json.dumps(receipts, indent=2, default=str))
    return exit_code


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Read merchant, date and total from photos of receipts.",
        epilog="example: receipt_scanner.py lunch.jpg --day-first --annotate marked.png",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="default: a sample")
    parser.add_argument("--day-first", action="store_true", help="read 03/04/2026 as 3 April")
    parser.add_argument("--json", action="store_true", help="print the receipts as a JSON list")
    parser.add_argument("--annotate", metavar="OUT.png", help="mark on the photo what was found")
    parser.add_argument("--from-json", metavar="REPLY", help="a saved reply: no key, no network")
    parser.add_argument("--url", default=OCR_URL, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.annotate and len(args.images) > 1:
        parser.error("--annotate marks one image")
    if args.from_json and len(args.images) != bool(args.annotate):
        parser.error("--from-json goes with no image, or with the one to --annotate")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console that lacks a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    warnings.filterwarnings("ignore", module="PIL")  # on broken EXIF; the pixels decide
    try:
        return scan_images(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads our output has seen enough, as `head -1` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
