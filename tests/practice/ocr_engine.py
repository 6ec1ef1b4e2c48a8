"""The practice server's OCR engine: a picture in, rows of text boxes out.

RapidOCR finds strips of text and reads each; which strips stand in one row of a receipt, and
which way up the picture is, is decided here.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache
from statistics import median
from typing import NamedTuple

from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.output import RapidOCROutput

MIN_SCORE = 0.5  # the engine's own limit for a strip worth showing
GOOD_SCORE = 0.85  # upright print scores 0.95 and more, print that is upside down under 0.75
FULL_TURN = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
# Han, kana, hangul and their punctuation: what the engine makes of dashes and stains.
CJK = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
FULL_WIDTH = re.compile("[\u3000\uff01-\uff60\uffe0-\uffe6]")

Point = tuple[float, float]
_known: dict[bytes, list[TextBox]] = {}  # a photo that is sent again is not read again
_engine_lock = threading.Lock()


class TextBox(NamedTuple):
    """A strip of text; its corners clockwise from the top left, in pixels of the picture read."""

    text: str
    score: float
    corners: tuple[Point, ...]

    @property
    def width(self) -> float:
        """Length of the top edge, in pixels."""
        return math.dist(self.corners[0], self.corners[1])

    @property
    def height(self) -> float:
        """Length of the left edge, in pixels."""
        return math.dist(self.corners[0], self.corners[3])

    @property
    def slope(self) -> float:
        """Direction of the top edge in radians, 0 for level, positive for falling."""
        (left, left_top), (right, right_top) = self.corners[:2]
        return math.atan2(right_top - left_top, right - left)

    def words(self) -> Iterator[tuple[str, float, float, float, float]]:
        """Yield each word with left, top, width, height; the box is shared out by letters."""
        top_left, top_right, bottom_right, bottom_left = self.corners
        for match in re.finditer(r"\S+", self.text):
            corners = [
                point_between(start, end, letters / len(self.text))
                for start, end in ((top_left, top_right), (bottom_left, bottom_right))
                for letters in match.span()
            ]
            left, top = map(min, zip(*corners, strict=True))
            right, bottom = map(max, zip(*corners, strict=True))
            yield match[0], left, top, right - left, bottom - top


def point_between(start: Point, end: Point, share: float) -> Point:
    """Return the point at a share of the way."""
    return (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))


class Reading(NamedTuple):
    """Rows of boxes from top to bottom, and the clockwise turn of the text in the picture."""

    rows: list[list[TextBox]]
    degrees: int


def read_picture(picture: Image.Image, *, keep_cjk: bool, find_orientation: bool) -> Reading:
    """Read a picture that is already upright as its EXIF says.

    With `find_orientation` a picture that lies on its side or stands on its head is turned and
    read again; the boxes then belong to the turned picture. An upright one is read once.
    """
    boxes = recognize(picture)
    degrees = 0
    for turn in likely_turns(boxes) if find_orientation else ():
        turned = recognize(picture.transpose(FULL_TURN[turn]))
        if amount_read(turned) > amount_read(boxes):
            boxes, degrees = turned, turn
    boxes = [box._replace(text=clean(box.text, keep_cjk)) for box in boxes]
    return Reading(group_rows([b for b in boxes if b.text and b.score >= MIN_SCORE]), degrees)


def recognize(picture: Image.Image) -> list[TextBox]:
    """Return every strip the engine finds; one picture at a time, it uses all cores."""
    key = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
    with _engine_lock:
        if key not in _known:
            _known[key] = find_strips(picture)
        return _known[key]


def find_strips(picture: Image.Image) -> list[TextBox]:
    result = _engine()(picture)
    if not isinstance(result, RapidOCROutput) or result.boxes is None:
        return []
    strips = zip(result.boxes.tolist(), result.txts or (), result.scores or (), strict=True)
    return [TextBox(text, score, tuple(map(tuple, corners))) for corners, text, score in strips]


@cache
def _engine() -> RapidOCR:
    # Without the classifier that turns single strips: it costs time, turns upright digits too,
    # and with it print that is upside down would score as well as upright print.
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.text_score": 0.0,
        }
    )


def likely_turns(boxes: list[TextBox]) -> list[int]:
    """Return the clockwise turns worth a try, none when the picture looks upright."""
    letters = sum(len(box.text) for box in boxes) or 1
    tall = sum(len(box.text) for box in boxes if box.height > 1.2 * box.width) / letters
    score = sum(len(box.text) * box.score for box in boxes) / letters
    if tall > 0.5:
        # The engine turns tall strips to the left before it reads them, so that a good score
        # means that the text runs downwards.
        return [90] if score >= GOOD_SCORE else [270]
    return [] if score >= GOOD_SCORE or not boxes else [180]


def amount_read(boxes: list[TextBox]) -> float:
    """Return how many letters were read in level strips, each counted by its certainty."""
    return sum(
        len(box.text) * box.score
        for box in boxes
        if box.score >= MIN_SCORE and box.height <= 1.2 * box.width
    )


def clean(text: str, keep_cjk: bool) -> str:
    """Return the text with full-width forms narrowed and, on request, without CJK letters."""
    text = FULL_WIDTH.sub(lambda wide: unicodedata.normalize("NFKC", wide[0]), text)
    return (text if keep_cjk else CJK.sub("", text)).strip()


def group_rows(boxes: list[TextBox]) -> list[list[TextBox]]:
    """Return the boxes in rows, top to bottom, each from left to right.

    The picture's skew is taken out first: at 5 degrees the price at the right edge of a receipt
    stands lower than the article of the next row.
    """
    angle = skew(boxes)
    level = {box: _levelled(box, angle) for box in boxes}
    rows: list[list[TextBox]] = []
    for box in sorted(boxes, key=lambda box: level[box][1]):
        best = max(
            rows, key=lambda row: _closeness(level[box], [level[b] for b in row]), default=[]
        )
        if best and _closeness(level[box], [level[b] for b in best]) >= 0.5:
            best.append(box)
        else:
            rows.append([box])
    rows.sort(key=lambda row: sum(level[box][1] for box in row) / len(row))
    return [sorted(row, key=lambda box: level[box][0]) for row in rows]


def skew(boxes: list[TextBox]) -> float:
    """Return the median slope of the wide boxes in radians; short strips point anywhere."""
    return median([box.slope for box in boxes if box.width > 3 * box.height] or [0.0])


def _levelled(box: TextBox, angle: float) -> tuple[float, float, float, float]:
    """Return centre x, centre y, width and height with the skew taken out."""
    x, y = (sum(axis) / 4 for axis in zip(*box.corners, strict=True))
    cos, sin = math.cos(angle), math.sin(angle)
    return (x * cos + y * sin, y * cos - x * sin, box.width, box.height)


def _closeness(
    box: tuple[float, float, float, float], row: list[tuple[float, float, float, float]]
) -> float:
    """Return the vertical overlap with the nearest box of the row, as a share of the lower one."""
    x, y, width, height = box
    near_x, near_y, near_width, near_height = min(row, key=lambda other: abs(other[0] - x))
    if (width + near_width) / 2 - abs(x - near_x) > 0.3 * min(width, near_width):
        return 0.0  # one above the other, whatever their heights say
    return ((height + near_height) / 2 - abs(y - near_y)) / min(height, near_height)
