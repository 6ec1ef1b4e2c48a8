"""Draw every sample file in this folder, and write down what a reader should find in it.

All shops, people and places are invented. The pictures come from fixed seeds, so that a second
run with the same libraries writes the same pictures.

Run it again after a change, from any folder::

    uv run --group samples samples/make_samples.py

One file isn't made here: `replies/good.json` is a saved answer to `receipt.jpg`.
"""

import datetime as dt
import importlib.resources
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent
CELL_PIXELS = 24  # width of one printed column; a thermal printer's is 12 dots
MARGIN_PIXELS = 44
CENT = Decimal("0.01")

Shape = tuple[int, ...]  # height, width
Item = tuple[int, str, Decimal]  # count, name, amount for all of them
Pixels = NDArray[Any]  # of float32, 0.0 (black) to 1.0 (white); height x width (x red, green, blue)


# ---- What the receipts say -------------------------------------------------------------------


@dataclass(frozen=True)
class Receipt:
    """A receipt's truth, and the text that prints it on paper of `columns` characters.

    A bar with a space on each side parts what stands at the left margin from what stands at the
    right. Three equal characters are a rule. Letters in brackets before a line say how it is
    printed: c centred, b bold, w double width, t taller, k as a bar code.
    """

    merchant: str
    date: dt.date
    total: Decimal
    currency: str
    text: str
    columns: int
    face: str = "mono"
    logo: str = ""

    def truth(self) -> dict[str, str]:
        """Return the entry for expected.json."""
        return {
            "merchant": self.merchant,
            "date": self.date.isoformat(),
            "total": f"{self.total:.2f}",
            "currency": self.currency,
        }


def cents(amount: Decimal) -> Decimal:
    """Return `amount` rounded to whole cents, half a cent upwards, as tills do."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def share_of_tax(gross: Decimal, percent: int) -> Decimal:
    """Return the tax contained in a price that includes it."""
    return cents(gross * percent / (100 + percent))


def priced(lines: str) -> list[Item]:
    """Return the items from lines such as `2 Flat White 4.75`, the last being the unit price."""
    items: list[Item] = []
    for line in lines.strip().splitlines():
        count, rest = line.split(maxsplit=1)
        name, each = rest.rsplit(maxsplit=1)
        items.append((int(count), name, int(count) * Decimal(each)))
    return items


def listed(items: list[Item], form: str) -> str:
    """Return a line of text per item; `form` uses n, item and amount."""
    return "\n".join(form.format(n=n, item=item, amount=amount) for n, item, amount in items)


def added(items: list[Item]) -> Decimal:
    """Return the sum of the items."""
    return sum((amount for _, _, amount in items), Decimal(0))


def comma(amount: object) -> str:
    """Return `amount`, or text with amounts in it, as it is written in Germany."""
    return str(amount).replace(".", ",")


def coffee_shop() -> Receipt:
    """A coffee shop in the USA: the receipt that the chapter's readers meet first."""
    items = priced("""
        2 Flat White 4.75
        1 Cortado 4.25
        1 Blueberry Muffin 3.95
        1 Avocado Toast 9.50
        1 House Blend 12 oz 15.50
    """)
    when = dt.datetime.fromisoformat("2026-03-14T08:42")
    subtotal = added(items)
    tax = cents(subtotal * 8 / 100)
    total = subtotal + tax
    name = "HARBOR LANE COFFEE"
    text = f"""
        [cbt] {name}
        [c] 214 Harbor Lane
        [c] Portland, ME 04101
        [c] (207) 555-0142

        {when:%m/%d/%Y} | {when:%I:%M %p}
        Order 1187 | Server: Maya
        ---
        {listed(items, "{n} {item} | {amount}")}
        ---
        Subtotal | {subtotal}
        Sales Tax 8% | {tax}
        [bt] TOTAL | ${total}

        VISA ************4242 | {total}
        Auth 038216 | Approved
        ---
        [c] Wifi: harborguest
        [c] Thank you! See you soon.
        [k] 1187031426
    """
    return Receipt(name, when.date(), total, "USD", text, columns=34, logo="cup")


def restaurant() -> Receipt:
    """A restaurant in the USA, where a tip is added to the bill."""
    items = priced("""
        2 Tomato Bisque 7.50
        1 Grilled Salmon 26.00
        1 Steak Frites 31.50
        1 Kale Caesar 13.25
        2 Iced Tea 3.75
        1 Pecan Pie 9.00
    """)
    when = dt.datetime.fromisoformat("2025-11-22T19:36")
    subtotal = added(items)
    tax, tip = cents(subtotal * Decimal("8.25") / 100), cents(subtotal * 20 / 100)
    total = subtotal + tax + tip
    name = "The Copper Kettle"
    text = f"""
        [cbt] {name}
        [c] Kitchen & Bar
        [c] 508 Elm Street, Austin, TX 78701
        [c] 512-555-0178

        Table 12 | Guests: 3
        Server: Luis | Check #40517
        {when:%b %d, %Y} | {when:%I:%M %p}
        ___
        {listed(items, "{n}   {item} | {amount}")}
        ___
        Subtotal | ${subtotal}
        Tax 8.25% | ${tax}
        Tip 20% | ${tip}
        [bt] Total | ${total}

        Mastercard ending 5309
        [c] A tip of 20% was added
        [c] for your party. Thank you!
    """
    return Receipt(name, when.date(), total, "USD", text, columns=36, face="sans")


def bookshop() -> Receipt:
    """A shop in the United Kingdom: VAT is inside the prices, the day stands first."""
    food = priced("""
        2 FLAPJACK 1.95
        1 ELDERFLOWER CORDIAL 4.20
    """)
    books = priced("""
        1 A FIELD GUIDE TO MOSSES 12.99
        1 COASTAL WALKS (MAP) 8.50
    """)
    when = dt.datetime.fromisoformat("2025-08-23T16:07")
    standard, zero = added(food), added(books)
    vat = share_of_tax(standard, 20)
    total = standard + zero
    cash = Decimal("40.00")
    name = "FINCH & MARLOW BOOKS"
    text = f"""
        [cb] {name}
        [c] 17 Castle Row, Ludlow SY8 1AA
        [c] VAT No. GB 000 4821 07
        ***
        {listed(food, "{n} {item} | £{amount} A")}
        {listed(books, "{n} {item} | £{amount} Z")}

        [bw] TOTAL | £{total}
        CASH | £{cash}
        CHANGE | £{cash - total}
        ***
        RATE         NET       VAT | GROSS
        A 20%    {standard - vat:7.2f}   {vat:7.2f} | {standard}
        Z  0%    {zero:7.2f}   {Decimal(0):7.2f} | {zero}

        {when:%d/%m/%Y %H:%M} | TILL 2  OP 07
        [c] Returns within 28 days with receipt
    """
    return Receipt(name, when.date(), total, "GBP", text, columns=38, logo="book")


def drinks_market() -> Receipt:
    """A shop in Germany: decimal commas, two rates of MwSt inside the prices."""
    goods = priced("""
        2 Mineralwasser 12x0,7 5.49
        1 Apfelsaft naturtrüb 2.79
        1 Weißbier Kiste 16.99
    """)
    food = priced("""
        3 Brezel 0.95
        1 Müsli geröstet 4.29
    """)
    when = dt.datetime.fromisoformat("2026-05-29T17:48")
    full, reduced = added(goods), added(food)
    total, cash = full + reduced, Decimal("50.00")
    full_tax, reduced_tax = share_of_tax(full, 19), share_of_tax(reduced, 7)
    name = "Getränkemarkt Lindenhof"
    text = f"""
        [cb] {name}
        [c] Inh. Jörg Brückner
        [c] Mühlstraße 8, 72070 Tübingen
        [c] USt-IdNr. DE000481207

        Artikel | EUR
        {comma(listed(goods, "{n} x {item} | {amount} A"))}
        {comma(listed(food, "{n} x {item} | {amount} B"))}
        ---
        [bt] SUMME | € {comma(total)}
        ===
        Gegeben BAR | € {comma(cash)}
        Rückgeld | € {comma(cash - total)}

        MwSt        Netto     Steuer | Brutto
        A 19%  {comma(full - full_tax):>10} {comma(full_tax):>10} | {comma(full)}
        B  7%  {comma(reduced - reduced_tax):>10} {comma(reduced_tax):>10} | {comma(reduced)}

        Datum {when:%d.%m.%Y} | {when:%H:%M} Uhr
        Bon 5521  Kasse 1 | Es bediente: Ute
        [c] Vielen Dank für Ihren Einkauf!
    """
    return Receipt(name, when.date(), total, "EUR", text, columns=40)


def noodle_house() -> Receipt:
    """A restaurant in Malaysia, where the cash total is rounded to five sen."""
    items = priced("""
        1 MEE GORENG SPECIAL 9.90
        2 NASI LEMAK AYAM 11.50
        3 TEH TARIK 2.80
        1 CENDOL 5.60
    """)
    when = dt.datetime.fromisoformat("2025-09-28T13:05")
    subtotal = added(items)
    tax = cents(subtotal * 6 / 100)
    exact = subtotal + tax
    total = cents((exact / 5).quantize(CENT, ROUND_HALF_UP) * 5)
    cash = Decimal("60.00")
    name = "RESTORAN SERI MELATI"
    text = f"""
        [cb] {name}
        [c] (202501004817 X)
        [c] NO. 23, JALAN KENARI 5
        [c] 47100 PUCHONG, SELANGOR
        [c] SST ID: W10-0000-48170021
        [cb] TAX INVOICE
        INV NO : CS-0093172
        DATE   : {when:%d-%m-%Y  %I:%M %p}
        CASHIER: AINA
        ===
        QTY ITEM | RM
        ===
        {listed(items, "{n}   {item} | {amount}")}
        ---
        SUBTOTAL | {subtotal}
        SERVICE TAX 6% | {tax}
        TOTAL INCL. SST | {exact}
        ROUNDING ADJ. | {total - exact}
        [bt] NET TOTAL | RM {total}
        CASH | RM {cash}
        CHANGE | RM {cash - total}
        ===
        [c] TERIMA KASIH, SILA DATANG LAGI
    """
    return Receipt(name, when.date(), total, "MYR", text, columns=36)


def hardware_store() -> Receipt:
    """A hardware store in the USA: printed on thermal paper and kept for too long."""
    items = priced("""
        1 WOOD SCREWS #8 100CT 8.49
        2 SANDPAPER 120 GRIT 5.29
        1 CARPENTER GLUE 8OZ 6.79
        1 TAPE MEASURE 25FT 14.99
    """)
    when = dt.datetime.fromisoformat("2024-02-29T16:48")
    subtotal = added(items)
    tax = cents(subtotal * 7 / 100)
    total = subtotal + tax
    name = "ORCHARD STREET HARDWARE"
    text = f"""
        [cb] {name}
        [c] 9 ORCHARD STREET
        [c] MADISON, WI 53703
        [c] 608-555-0116

        {when:%Y-%m-%d} | {when:%H:%M}
        REG 03 | CLERK 114
        ...
        {listed(items, "{n} {item} | {amount}")}
        ...
        SUBTOTAL | {subtotal}
        TAX 7% | {tax}
        [bt] TOTAL | ${total}
        DEBIT CARD | {total}

        [c] KEEP THIS RECEIPT FOR
        [c] RETURNS WITHIN 90 DAYS
    """
    return Receipt(name, when.date(), total, "USD", text, columns=32)


def supermarket() -> Receipt:
    """A supermarket in the USA: a long bill with departments and a coupon."""
    departments = {
        "PRODUCE": """
            1 BANANAS 1.87
            1 GALA APPLES 3LB 4.99
            2 AVOCADO HASS 1.25
            1 BABY SPINACH 5OZ 3.49
            1 YELLOW ONIONS 2LB 2.29
            3 LEMONS 0.69
            1 CARROTS 1LB 1.19
            1 CILANTRO BUNCH 0.99""",
        "DAIRY": """
            1 WHOLE MILK GAL 3.89
            2 GREEK YOGURT 1.50
            1 SALTED BUTTER 4.79
            1 LARGE EGGS DOZ 3.99
            1 SHARP CHEDDAR 8OZ 4.29""",
        "MEAT & FISH": """
            1 CHICKEN THIGHS 9.84
            1 GROUND TURKEY 1LB 6.49
            1 SMOKED TROUT 7.99""",
        "GROCERY": """
            2 PENNE RIGATE 1.79
            2 CRUSHED TOMATOES 2.19
            1 OLIVE OIL 500ML 11.99
            1 BLACK BEANS 1.09
            1 BASMATI RICE 2LB 5.49
            1 PEANUT BUTTER 4.59
            1 ROLLED OATS 42OZ 5.29
            1 DARK CHOCOLATE 3.29
            1 SEA SALT CHIPS 3.99
            1 SPARKLING WATER 5.49""",
        "BAKERY": """
            1 SOURDOUGH LOAF 5.99
            1 CINNAMON ROLLS 4.49""",
        "HOUSEHOLD": """
            1 PAPER TOWELS 6CT 9.49
            1 DISH SOAP 3.79
            1 AA BATTERIES 8PK 8.99""",
    }
    when = dt.datetime.fromisoformat("2025-12-19T18:21")
    shelves = {name: priced(lines) for name, lines in departments.items()}
    coupon = Decimal("2.00")
    subtotal = sum(map(added, shelves.values()), -coupon)
    tax = cents(added(shelves["HOUSEHOLD"]) * Decimal("6.25") / 100)
    total = subtotal + tax
    sold = sum(n for items in shelves.values() for n, _, _ in items)
    bought = ""
    for department, items in shelves.items():
        code = "T" if department == "HOUSEHOLD" else "F"
        bought += f"[c] {department}\n{listed(items, '{item} | {amount} ' + code)}\n"
    gap = "\u00a0" * 2  # where the lines above have their tax code
    name = "MAPLE HOLLOW MARKET"
    text = f"""
        [cbt] {name}
        [c] STORE #0417  1200 RIVER ROAD
        [c] CONCORD, MA 01742
        CASHIER: DEE | LANE 06

        {bought}
        STORE COUPON | -{coupon}{gap}
        ---
        SUBTOTAL | {subtotal}{gap}
        TAX 6.25% | {tax}{gap}
        [bt] TOTAL | ${total}{gap}
        CREDIT ****7731 | {total}{gap}
        CHANGE | 0.00{gap}
        ---
        [c] ITEMS SOLD {sold}
        [c] {when:%m/%d/%y  %H:%M}  0417 06 2283
        [cb] YOU SAVED ${coupon} TODAY
        [k] 04170622831219
    """
    return Receipt(name, when.date(), total, "USD", text, columns=34, logo="leaf")


# ---- The printer -----------------------------------------------------------------------------


def load_face(face: str, size: float) -> ImageFont.FreeTypeFont:
    """Return a typeface: "mono" is Droid Sans Mono, "sans" the one inside Pillow (no £, €, ä)."""
    if face == "mono":
        file = importlib.resources.files("captcha") / "data" / "DroidSansMono.ttf"
        return ImageFont.truetype(io.BytesIO(file.read_bytes()), size)
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType")
    return font


def print_row(line: str, columns: int, face: str) -> Image.Image:
    """Return the ink of one line of a receipt's text, white on black."""
    style = ""
    if line.startswith("["):
        style, line = line[1:].split("] ", 1)
    width, height = columns * CELL_PIXELS // (1 + ("w" in style)), CELL_PIXELS * 2
    strip = Image.new("L", (width, height))
    pen, base = ImageDraw.Draw(strip), height * 0.78
    font = load_face(face, CELL_PIXELS / 0.6 if face == "mono" else height * 0.78)
    bold = 1 if "b" in style else 0
    if "k" in style:
        edges = np.random.default_rng(int(line)).integers(1, 4, 60).cumsum() * 4
        edges += (width - int(edges[-1])) // 2
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            pen.rectangle((int(start), 8, int(end) - 1, height), fill=255)
    elif len(line) == 3 and len(set(line)) == 1:
        rule = line[0] * int(width / font.getlength(line[0]))
        pen.text((width / 2, height / 2), rule, 255, font, anchor="mm")
    elif "c" in style:
        pen.text((width / 2, base), line, 255, font, anchor="ms", stroke_width=bold)
    else:
        left, _, right = line.partition(" | ")
        pen.text((2, base), left, 255, font, anchor="ls", stroke_width=bold)
        pen.text((width - 2, base), right, 255, font, anchor="rs", stroke_width=bold)
    stretch = 2.0 if "k" in style else 1.6 if "t" in style else 1.0
    return strip.resize((columns * CELL_PIXELS, int(height * stretch)))


def print_logo(logo: str, width: int) -> Image.Image:
    """Return the shop's emblem, white on black."""
    strip = Image.new("L", (width, 190 if logo else 0))
    pen, x = ImageDraw.Draw(strip), width // 2
    if logo == "cup":
        pen.arc((x + 42, 36, x + 108, 106), -100, 125, 255, 11)
        pen.chord((x - 78, -75, x + 78, 135), 0, 180, 255)
        pen.line((x - 55, 45, x - 40, 95), 0, 5)
        pen.rounded_rectangle((x - 110, 142, x + 110, 152), 5, 255)
    if logo == "leaf":
        along = np.linspace(0, np.pi, 40)
        edge = [(x - 95 + 60 * a, 90 - 20 * a - 46 * np.sin(a)) for a in along]
        edge += [(x - 95 + 60 * a, 90 - 20 * a + 42 * np.sin(a)) for a in along[::-1]]
        pen.polygon(edge, 255)
        pen.line((x - 125, 100, x + 50, 42), 0, 5)
        pen.line((x - 130, 102, x - 95, 90), 255, 7)
    if logo == "book":
        for side in (-1, 1):
            page = [(4, 60), (110, 30), (110, 130), (4, 165)]
            pen.polygon([(x + side * across, down) for across, down in page], 255)
            for y in (70, 90, 110):
                pen.line((x + side * 20, y + 12, x + side * 95, y - 8), 0, 5)
    return strip


def print_receipt(receipt: Receipt) -> Pixels:
    """Return the ink on the paper: 0.0 none, 1.0 black."""
    strips = [print_logo(receipt.logo, receipt.columns * CELL_PIXELS)]
    for line in receipt.text.strip().splitlines():
        strips.append(print_row(line.strip(" "), receipt.columns, receipt.face))
    width = receipt.columns * CELL_PIXELS + 2 * MARGIN_PIXELS
    paper = Image.new("L", (width, sum(s.height for s in strips) + 4 * MARGIN_PIXELS))
    y = 2 * MARGIN_PIXELS
    for strip in strips:
        paper.paste(strip, (MARGIN_PIXELS, y))
        y += strip.height
    return np.asarray(paper, np.float32) / 255


# ---- The camera ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shot:
    """How a receipt is photographed or scanned.

    `corners` are the paper's corners in the picture, as fractions of its width and height:
    top left, top right, bottom right, bottom left. `ink` is the darkness of the print, `curl` and
    `crumple` are how far the paper stands off the table, in pixels of the paper.
    """

    size: tuple[int, int]
    corners: tuple[tuple[float, float], ...]
    table: str = "wood"
    paper: tuple[float, float, float] = (0.95, 0.945, 0.93)
    ink: float = 0.85
    curl: float = 30.0
    crumple: float = 8.0
    folds: tuple[float, ...] = ()
    light: tuple[float, float] = (-0.6, -0.8)  # where it comes from: left, above
    warmth: float = 0.04
    unevenness: float = 0.35
    shadow: float = 0.5
    teeth: float = 7.0  # of the till's tear bar; 0 for a clean cut
    blur: float = 1.0
    noise: float = 0.015
    seed: int = 0
    reduce: int = 1  # taken larger by this factor, then made smaller


def clouds(shape: Shape, cell: tuple[float, float], rng: np.random.Generator) -> Pixels:
    """Return smooth random blotches of about `cell` (height, width) pixels, from -1 to 1."""
    rows, columns = (int(s / c) + 3 for s, c in zip(shape, cell, strict=True))
    small = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Return `pixels` with a Gaussian blur."""
    return cv2.GaussianBlur(pixels, (0, 0), sigma)


def tinted(shade: Pixels, dark: Sequence[float], bright: Sequence[float]) -> Pixels:
    """Return colours between `dark` (shade 0) and `bright` (shade 1)."""
    low, high = np.array(dark, np.float32), np.array(bright, np.float32)
    colours: Pixels = low + shade[..., None] * (high - low)
    return colours


def make_wood(shape: Shape, rng: np.random.Generator) -> Pixels:
    """Return boards with grain, lying at an angle."""
    side = int(np.hypot(shape[0], shape[1]))
    square = (side, side)
    across: Pixels = np.arange(side, dtype=np.float32)[None, :] / side
    drift = clouds(square, (side / 3, side / 9), rng) * 0.05
    board = np.floor((across + 0.03) * 4.3)
    rings = np.sin((across + drift + board * 0.37) * 210) * 0.5 + 0.5
    grain = sum(clouds(square, (side / 3 / k, 4.0 * k), rng) / k for k in (1, 2, 4))
    pores = np.clip(clouds(square, (60, 2.5), rng) - 0.55, 0, 1)
    tone = np.array([0.02, -0.10, 0.06, -0.03, 0.09, 0.0], np.float32)[board.astype(int)]
    shade = 0.5 + tone + 0.10 * rings + 0.14 * np.asarray(grain) - 0.5 * pores
    seam = np.abs((across + 0.03) * 4.3 % 1 - 0.5) > 0.5 - 0.004
    shade = blurred(np.where(seam, shade * 0.25, shade), 1.2)
    wood = tinted(np.clip(shade, 0, 1), (0.19, 0.12, 0.08), (0.72, 0.54, 0.38))
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(rng.uniform(60, 75)), 1.0)
    wood = cv2.warpAffine(wood, turn, square, borderMode=cv2.BORDER_REFLECT)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    return wood[top : top + shape[0], left : left + shape[1]]


def make_cloth(shape: Shape, rng: np.random.Generator) -> Pixels:
    """Return a checked tablecloth."""
    y, x = np.indices(shape, dtype=np.float32)
    x, y = x + 0.12 * y + 6 * clouds(shape, (300, 300), rng), y - 0.12 * x
    check = ((np.sin(x / 55) > 0).astype(np.float32) + (np.sin(y / 55) > 0)) / np.float32(2)
    weave: Pixels = 0.5 + 0.25 * np.sin(x * 1.3) + 0.25 * np.sin(y * 1.3)
    shade = np.clip(0.9 - 0.65 * blurred(check, 2) + 0.12 * weave, 0, 1)
    return tinted(
        shade * (1 + 0.06 * clouds(shape, (500, 400), rng)), (0.12, 0.2, 0.33), (0.9, 0.9, 0.9)
    )


def make_stone(shape: Shape, rng: np.random.Generator) -> Pixels:
    """Return a speckled counter."""
    shade = 0.45 + 0.1 * clouds(shape, (90, 90), rng) + 0.1 * clouds(shape, (4, 4), rng)
    for cell, colour in ((11, 0.15), (14, 0.85), (8, 0.1), (9, 0.7)):
        flecks = np.clip((clouds(shape, (cell, cell), rng) - 0.45) * 6, 0, 1)
        shade += flecks * (colour - shade)
    return tinted(blurred(shade, 1.5), (0.13, 0.13, 0.14), (0.62, 0.60, 0.58))


def make_glass(shape: Shape, rng: np.random.Generator) -> Pixels:
    """Return the white inside of a scanner's lid."""
    return tinted(0.985 + 0.004 * clouds(shape, (400, 400), rng), (0, 0, 0), (1, 1, 1))


TABLES: dict[str, Callable[[Shape, np.random.Generator], Pixels]] = {
    "wood": make_wood,
    "cloth": make_cloth,
    "stone": make_stone,
    "glass": make_glass,
}


def make_sheet(ink: Pixels, shot: Shot, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Return the printed sheet as colours and as coverage, with a border that has none."""
    shape = ink.shape
    uneven = 1 + 0.10 * clouds(shape, (9, 300), rng) + 0.12 * clouds(shape, (200, 120), rng)
    darkness = np.clip(blurred(ink, 0.7) * uneven, 0, 1) * shot.ink
    fibres = 1 + 0.012 * clouds(shape, (5, 5), rng) + 0.015 * clouds(shape, (160, 160), rng)
    sheet = np.array(shot.paper, np.float32) * fibres[..., None]
    sheet = sheet * (1 - darkness[..., None]) + 0.13 * darkness[..., None]
    across = np.arange(shape[1])
    teeth = np.abs(across / 8 % 2 - 1) * shot.teeth + 3
    rows = np.arange(shape[0])[:, None]
    cover = ((rows > teeth) & (rows < shape[0] - 1 - teeth)).astype(np.float32)
    border = shape[1] // 8
    edges = (border, border, border, border)
    return (
        cv2.copyMakeBorder(sheet, *edges, cv2.BORDER_REPLICATE),
        cv2.copyMakeBorder(cover, *edges, cv2.BORDER_CONSTANT, value=0),
    )


def make_relief(shape: Shape, shot: Shot, rng: np.random.Generator) -> Pixels:
    """Return how far the paper stands off the table, in pixels."""
    y, x = np.indices(shape, dtype=np.float32)
    u, v = x / shape[1] - 0.5, y / shape[0] - 0.5
    relief = shot.curl * ((2 * np.abs(v)) ** 5 + 0.5 * (2 * u) ** 2 * (0.5 + v))
    relief += shot.crumple * 1.5 * clouds(shape, (shape[1] * 0.7, shape[1] * 0.6), rng)
    for fold in shot.folds:
        relief -= 22 * np.exp(-np.abs(v + 0.5 - fold + 0.004 * u) * 26)
    for _ in range(9):
        angle, reach = rng.uniform(0, np.pi), rng.uniform(0.08, 0.2)
        px, py = rng.uniform(-0.5, 0.5, 2)
        ratio = shape[0] / shape[1]
        off = (u - px) * np.cos(angle) + (v - py) * ratio * np.sin(angle)
        along = -(u - px) * np.sin(angle) + (v - py) * ratio * np.cos(angle)
        ridge = np.exp(-np.abs(off) / 0.05) * np.exp(-((along / reach) ** 2))
        relief += rng.choice((-1, 1)) * shot.crumple * ridge
    return blurred(relief, 2.0)


def photograph(receipt: Receipt, shot: Shot) -> Image.Image:
    """Return the picture that is taken of the receipt, upright."""
    rng = np.random.default_rng(shot.seed)
    width, height = shot.size
    sheet, cover = make_sheet(print_receipt(receipt), shot, rng)
    shape = cover.shape

    # Where the paper rises it slides towards the lens and turns to the light or away from it.
    relief = make_relief(shape, shot, rng)
    y, x = np.indices(shape, dtype=np.float32)
    middle = (x / shape[1] - 0.5) * 2
    map_x, map_y = x - 0.35 * middle * relief, y + 0.35 * relief
    sheet = cv2.remap(sheet, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.remap(cover, map_x, map_y, cv2.INTER_LINEAR)
    slope_y, slope_x = np.gradient(relief)
    facing = 1 + 0.55 * (slope_x * shot.light[0] + slope_y * shot.light[1])
    sheet = sheet * np.clip(facing, 0.5, 1.12)[..., None]

    # Onto the table, in perspective.
    border = (shape[1] - receipt.columns * CELL_PIXELS - 2 * MARGIN_PIXELS) / 2
    right, bottom = shape[1] - border, shape[0] - border
    source = [(border, border), (right, border), (right, bottom), (border, bottom)]
    target = [(cx * width, cy * height) for cx, cy in shot.corners]
    view = cv2.getPerspectiveTransform(np.array(source, np.float32), np.array(target, np.float32))
    over = cv2.warpPerspective(cover, view, shot.size)
    seen = cv2.warpPerspective(sheet, view, shot.size, borderMode=cv2.BORDER_REPLICATE)
    raised = cv2.warpPerspective((relief - relief.min()) * cover, view, shot.size)

    frame = TABLES[shot.table]((height, width), rng)
    if shot.shadow:
        reach = 0.006 * width
        for spread, weight in ((reach, 0.75), (4 * reach, 0.55)):
            move = np.array([[1, 0, -shot.light[0] * spread], [0, 1, -shot.light[1] * spread]])
            cast = cv2.warpAffine(over + raised / 90 * over, move, shot.size)
            dark = np.clip(blurred(cast, spread * 0.8), 0, 1)
            frame = frame * (1 - shot.shadow * weight * dark)[..., None]
    frame = frame + blurred(over, 0.8)[..., None] * (seen - frame)
    return develop(frame, shot, rng)


def develop(frame: Pixels, shot: Shot, rng: np.random.Generator) -> Image.Image:
    """Return the picture with the room's light, the lens and the sensor's noise in it."""
    shape = frame.shape[:2]
    y, x = np.indices(shape, dtype=np.float32)
    u, v = x / shape[1] - 0.5, y / shape[0] - 0.5
    light = 1 + shot.unevenness * (u * shot.light[0] + v * shot.light[1])
    light -= shot.unevenness * 0.7 * (u**2 + v**2)
    # The shadow of whoever holds the phone: soft, from the corner away from the light.
    away = -np.sign(shot.light[0])
    hand = np.clip((u * 0.9 * away + v * 1.1 + 0.05 * np.sin(v * 9) - 0.42) * 5, 0, 1)
    light *= 1 - shot.unevenness * 0.9 * hand * hand * (3 - 2 * hand)
    light *= 1 + 0.03 * shot.unevenness * clouds(shape, (shape[0] / 4, shape[1] / 3), rng)
    tint = np.array([1 + shot.warmth, 1, 1 - 1.6 * shot.warmth], np.float32)
    frame = frame * light[..., None] * tint
    frame = blurred(frame, shot.blur)
    grain = rng.normal(0, 1, shape).astype(np.float32)
    colour = np.dstack([clouds(shape, (5, 5), rng) for _ in range(3)])
    strength = shot.noise * (0.6 + 0.8 * (1 - np.clip(frame, 0, 1)))
    frame = frame + strength * (blurred(grain, 0.6)[..., None] * 1.6 + 0.5 * colour)
    frame += 0.35 * (frame - blurred(frame, 2.0))  # a phone sharpens
    frame = np.where(frame > 0.8, 0.8 + 0.2 * np.tanh((frame - 0.8) / 0.2), frame)
    if shot.reduce > 1:
        small = (shape[1] // shot.reduce, shape[0] // shot.reduce)
        frame = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    return Image.fromarray((np.clip(frame, 0, 1) * 255).round().astype(np.uint8))


def camera_exif(when: dt.datetime) -> Image.Exif:
    """Return what a phone writes beside the picture; maker and model are invented."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Norvik"
    exif[ExifTags.Base.Model] = "Norvik P4"
    exif[ExifTags.Base.Software] = "P4 camera 2.1"
    exif[ExifTags.Base.DateTime] = f"{when:%Y:%m:%d %H:%M:%S}"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.DateTimeOriginal] = f"{when:%Y:%m:%d %H:%M:%S}"
    details[ExifTags.Base.ExposureTime] = 1 / 60
    details[ExifTags.Base.FNumber] = 1.8
    details[ExifTags.Base.ISOSpeedRatings] = 250
    details[ExifTags.Base.FocalLength] = 5.4
    return exif


def save_photo(picture: Image.Image, path: Path, quality: int, exif: Image.Exif) -> None:
    """Save `picture` as a phone does: lying on its side, with a note to turn it upright."""
    exif[ExifTags.Base.Orientation] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, quality=quality, exif=exif)


# Name of the picture: who printed the receipt, how it is taken, the quality of the JPEG.
# fmt: off
PICTURES: dict[str, tuple[Callable[[], Receipt], Shot, int]] = {
    "receipt.jpg": (coffee_shop, Shot(
        (3024, 4032), ((0.25, 0.075), (0.785, 0.105), (0.785, 0.93), (0.175, 0.90)),
        curl=60, crumple=10, folds=(0.46,), shadow=0.6, seed=21), 88),
    "receipt_scan.png": (coffee_shop, Shot(
        (1060, 1860), ((0.075, 0.040), (0.934, 0.030), (0.943, 0.962), (0.083, 0.972)),
        table="glass", paper=(0.97, 0.97, 0.97), curl=0, crumple=0, warmth=0, unevenness=0,
        shadow=0.4, blur=0.6, noise=0.003, seed=2), 0),
    "receipt_restaurant.jpg": (restaurant, Shot(
        (2400, 3200), ((0.17, 0.10), (0.80, 0.07), (0.86, 0.93), (0.13, 0.95)),
        table="cloth", paper=(0.97, 0.965, 0.95), teeth=0, curl=20, crumple=6,
        light=(0.8, -0.5), seed=3, reduce=2), 82),
    "receipt_uk.jpg": (bookshop, Shot(
        (2200, 2800), ((0.10, 0.06), (0.90, 0.09), (0.88, 0.95), (0.08, 0.94)),
        table="stone", paper=(0.93, 0.94, 0.95), warmth=-0.01, curl=25, crumple=14,
        folds=(0.33, 0.66), unevenness=0.25, seed=4, reduce=2), 80),
    "receipt_de.jpg": (drinks_market, Shot(
        (2400, 2900), ((0.11, 0.05), (0.91, 0.06), (0.90, 0.95), (0.09, 0.94)),
        paper=(0.96, 0.95, 0.90), curl=30, light=(-0.9, -0.2), seed=15, reduce=2), 80),
    "receipt_malaysia.jpg": (noodle_house, Shot(
        (1300, 1800), ((0.065, 0.03), (0.945, 0.035), (0.94, 0.97), (0.06, 0.965)),
        table="glass", paper=(0.94, 0.94, 0.93), ink=0.7, teeth=0, curl=4, crumple=3, warmth=0,
        unevenness=0.08, shadow=0.35, blur=0.8, noise=0.008, seed=6), 78),
    "receipt_faded.jpg": (hardware_store, Shot(
        (2000, 2700), ((0.13, 0.05), (0.86, 0.07), (0.88, 0.95), (0.11, 0.94)),
        table="stone", paper=(0.93, 0.90, 0.80), ink=0.3, curl=35, crumple=16, folds=(0.5,),
        unevenness=0.2, warmth=0.02, seed=7, reduce=2), 82),
    "receipt_supermarket.jpg": (supermarket, Shot(
        (2000, 6000), ((0.12, 0.025), (0.90, 0.03), (0.88, 0.975), (0.10, 0.97)),
        curl=40, crumple=10, folds=(0.27, 0.52, 0.76), unevenness=0.2, seed=8, reduce=2), 80),
}
# fmt: on


def make_receipts() -> None:
    """Write the receipts and expected.json."""
    expected = {}
    for name, (shop, shot, quality) in PICTURES.items():
        receipt = shop()
        expected[name] = receipt.truth()
        picture = photograph(receipt, shot)
        if name == "receipt.jpg":
            taken = dt.datetime.combine(receipt.date, dt.time(8, 51, 7))
            save_photo(picture, FOLDER / name, quality, camera_exif(taken))
        elif quality:
            picture.save(FOLDER / name, quality=quality)
        else:
            picture.convert("L").save(FOLDER / name, optimize=True)
    write_json(FOLDER / "expected.json", expected)


# ---- Profile pictures ------------------------------------------------------------------------

SKIN, HAIR, SHIRT, SKY = "#e8b58f", "#4a2f24", "#2f6f73", "#f3d9a4"


def draw_person(
    size: tuple[int, int], background: str | None = SKY, wink: float = 0.0
) -> Image.Image:
    """Return a portrait; `wink` closes one eye, from 0.0 (open) to 1.0."""
    scale = 2  # drawn larger and made smaller, for smooth edges
    width, height = size[0] * scale, size[1] * scale
    canvas = Image.new("RGBA", (width, height), background or (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas)
    unit, cx, cy = min(width, height) / 100, width / 2, height * 0.46

    def box(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
        x, y, rx, ry = cx + x * unit, cy + y * unit, rx * unit, ry * unit
        return (x - rx, y - ry, x + rx, y + ry)

    if background:
        pen.ellipse(box(0, 0, 44, 44), "#f8e8c8")
    pen.ellipse(box(0, -6, 27, 28), HAIR)
    pen.rounded_rectangle(box(0, 10, 27, 22), 9 * unit, HAIR)
    pen.rounded_rectangle(box(0, 72, 36, 42), 26 * unit, SHIRT)
    pen.rounded_rectangle(box(0, 28, 8, 12), 6 * unit, "#d9a27c")
    pen.chord(box(0, 32, 13, 9), 0, 180, "#d9a27c")
    pen.ellipse(box(0, 0, 21, 26), SKIN)
    pen.pieslice(box(-2, -10, 25, 21), 178, 345, HAIR)
    for side in (-1, 1):
        pen.ellipse(box(side * 13, 9, 4, 2.8), "#e39c7c")
        pen.arc(box(side * 8.5, -4, 5, 4), 200, 340, HAIR, int(1.1 * unit))
        shut = wink if side > 0 else 0.0
        pen.ellipse(box(side * 8.5, 1, 2.3, 2.8 * (1 - shut) + 0.4), "#2b211d")
        if shut < 0.5:
            pen.ellipse(box(side * 8.5 + 0.8, 0, 0.7, 0.7), "white")
    pen.arc(box(0, 7, 2.2, 2.2), 20, 160, "#c98a66", int(0.9 * unit))
    pen.chord(box(0, 12, 7, 6), 15, 165, "#a4453c")
    return canvas.resize(size, Image.Resampling.LANCZOS)


def make_avatars() -> None:
    """Write a portrait in each of the four formats that profile pictures come in."""
    rng = np.random.default_rng(9)
    when = dt.datetime.fromisoformat("2026-06-17T15:20:41")
    portrait = np.asarray(draw_person((3024, 4032)).convert("RGB"), np.float32)
    portrait += 5 * clouds((4032, 3024), (900, 700), rng)[..., None]
    exif = camera_exif(when)
    position = exif.get_ifd(ExifTags.IFD.GPSInfo)  # in the South Pacific, far from any house
    position[ExifTags.GPS.GPSLatitudeRef] = "S"
    position[ExifTags.GPS.GPSLatitude] = (41.0, 30.0, 0.0)
    position[ExifTags.GPS.GPSLongitudeRef] = "W"
    position[ExifTags.GPS.GPSLongitude] = (118.0, 15.0, 0.0)
    photo = Image.fromarray(np.clip(portrait, 0, 255).astype(np.uint8))
    save_photo(photo, FOLDER / "avatar.jpg", 82, exif)

    draw_person((400, 400), background=None).save(FOLDER / "avatar.png", optimize=True)
    draw_person((512, 512)).convert("RGB").save(FOLDER / "avatar.webp", quality=80)
    winks = [draw_person((256, 256), wink=w).convert("RGB") for w in (0, 0.6, 1, 0.6)]
    frames = [f.quantize(48, dither=Image.Dither.NONE) for f in winks]
    frames[0].save(
        FOLDER / "avatar.gif",
        save_all=True,
        append_images=frames[1:],
        duration=[1600, 60, 160, 60],
        loop=0,
    )


# ---- The batch, the impostor and the saved replies -------------------------------------------

NOTES = """\
Notes for the batch upload: what goes where
===========================================

- notes.txt    this file, UTF-8: naïve café, 5 €, Zürich, 東京
- invoice.pdf  one page
- clip.mp4     a second and a half, without sound

A text file's bytes are sent as they are. Which letters they stand for is written nowhere in
them: that is what "charset=utf-8" after the media type is for.
"""

INVOICE = """\
Finch & Marlow Books
Invoice 2026-0142

4 x A Field Guide to Mosses     51.96
Delivery                         3.50
Total GBP                       55.46
"""

ERROR_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><title>404 Not Found</title></head>
<body>
<h1>Not Found</h1>
<p>The picture that you asked for is not here. This page was saved under its name.</p>
</body>
</html>
"""


def make_documents() -> None:
    """Write the three small files of the batch upload, and the page that calls itself .jpg."""
    folder = FOLDER / "documents"
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text(NOTES, encoding="utf-8", newline="\n")
    (FOLDER / "not_a_picture.jpg").write_text(ERROR_PAGE, encoding="utf-8", newline="\n")

    page = Image.new("L", (1240, 1754), 255)
    pen = ImageDraw.Draw(page)
    pen.multiline_text((150, 180), INVOICE, 0, load_face("mono", 38), spacing=24)
    long_ago = time.gmtime(0)  # else the file would differ at every run
    page.convert("1").save(
        folder / "invoice.pdf",
        resolution=150,
        title="Invoice 2026-0142",
        creationDate=long_ago,
        modDate=long_ago,
    )

    size = (320, 240)
    clip = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 20, size)
    for wink in (0, 0, 0.5, 1, 1, 0.5) * 5:
        clip.write(np.asarray(draw_person(size, wink=wink).convert("RGB"))[..., ::-1].copy())
    clip.release()


def refusal(message: list[str] | str | None, exit_code: int = 99) -> dict[str, Any]:
    """Return a reply of OCR.space that carries an error instead of a reading."""
    return {
        "ParsedResults": None,
        "OCRExitCode": exit_code,
        "IsErroredOnProcessing": True,
        "ErrorMessage": message,
        "ErrorDetails": "",
        "ProcessingTimeInMilliseconds": "15",
        "SearchablePDFURL": "",
    }


UNREAD_PAGE = {
    "TextOverlay": None,
    "TextOrientation": "0",
    "FileParseExitCode": -20,
    "ParsedText": "",
    "ErrorMessage": "Parsing Error: the image could not be read",
    "ErrorDetails": "",
}
REPLIES: dict[str, Any] = {
    "bad_key": "The API key is invalid",
    "bad_throttled": "You may only perform this action upto maximum 10 number of times "
    "within 600 seconds",
    "bad_list": refusal(["Value for parameter 'language' is invalid"]),
    "bad_string": refusal("Timed out waiting for results", exit_code=4),
    "bad_page": refusal(None, exit_code=3)
    | {"ParsedResults": [UNREAD_PAGE], "IsErroredOnProcessing": False},
    "bad_too_large": refusal(
        [
            "File failed validation. File size exceeds the maximum permissible file size limit "
            "of 1024 KB"
        ]
    ),
    "bad_file_type": refusal(
        [
            "Unable to recognize the file type",
            "E216:Unable to detect the file extension, or the file extension is incorrect, and "
            "no 'file type' provided in request. Please provide a file with a proper content type "
            "or extension, or provide a file type in the request to manually set the file "
            "extension.",
        ]
    ),
}


def make_replies() -> None:
    """Write the answers of OCR.space that aren't a reading, in each shape that it has for them."""
    (FOLDER / "replies").mkdir(exist_ok=True)
    for name, reply in REPLIES.items():
        write_json(FOLDER / "replies" / f"{name}.json", reply)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> int:
    """Write all samples; return 0."""
    for make in (make_receipts, make_avatars, make_documents, make_replies):
        print(make.__name__.replace("_", " "), file=sys.stderr)
        make()
    return 0


if __name__ == "__main__":
    sys.exit(main())
