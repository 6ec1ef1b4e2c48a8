"""The practice server's OCR engine: a picture in, rows of text boxes out.

Two networks that come with rapidocr do the work. One finds strips of text, in a small copy of the
picture: it finds the same strips there, at a quarter of the cost. The other reads each strip, cut
out of the picture as large as it came. Which strips stand in one row of a receipt, and which way
up the picture is, is decided here.

Rows are straight lines of one slope: on bent paper an article may lose its price.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import resources
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray
from onnxruntime import InferenceSession, SessionOptions  # type: ignore[import-untyped]
from PIL import Image, ImageDraw

FIND_SIDES = (512, 1024)  # pixels of a small copy: its short side, or its long one if that is more
TILE_HEIGHT, TILE_OVERLAP = 1280, 48  # of a small copy that is longer
CONTRAST = 32  # of 255: what is less is paper, or the noise of a camera
BLANK = 64  # of 2000 pixels: a blank band that parts a head from a foot, not a line from the next
READ_HEIGHT = 48  # pixels of a strip, as the reading network learned it
THREADS = 2
MIN_SCORE = 0.5  # the engine's own limit for a strip worth showing
GOOD_SCORE = 0.85  # upright print scores 0.92 and more, print that is upside down under 0.8
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
engine_lock = threading.Lock()


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
        if not likely_turns(boxes):
            break
    boxes = [box._replace(text=clean(box.text, keep_cjk)) for box in boxes]
    return Reading(group_rows([b for b in boxes if b.text and b.score >= MIN_SCORE]), degrees)


def recognize(picture: Image.Image) -> list[TextBox]:
    """Return every strip of text that is found; one picture at a time, or memory runs short."""
    key = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()
    with engine_lock:
        if key not in _known:
            pixels = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)  # as the networks learned
            with ThreadPoolExecutor(THREADS) as pool:
                strips = pool.map(partial(read_strip, pixels), find_strips(pixels))
                _known[key] = [strip for strip in strips if strip.text]
        return _known[key]


def find_strips(pixels: MatLike) -> Iterator[MatLike]:
    """Yield the corners of each strip of text, clockwise from the top left."""
    height, width = pixels.shape[:2]
    for left, top, right, bottom in printed_parts(pixels):
        short, long = sorted((right - left, bottom - top))
        scale = min(1.0, max(FIND_SIDES[0] / short, FIND_SIDES[1] / long))
        tiles = math.ceil((bottom - top) * scale / TILE_HEIGHT)
        overlap = round(TILE_OVERLAP / scale)
        for start, stop in pairwise(np.linspace(top, bottom, tiles + 1, dtype=int)):
            above, below = max(start - overlap, top), min(stop + overlap, bottom)
            for corners in find_in_tile(pixels[above:below, left:right], scale):
                corners += (left, above)
                if start <= corners[:, 1].mean() < stop:  # else the next tile has it whole
                    yield np.clip(corners, 0, (width, height), dtype=np.float32)


def printed_parts(pixels: MatLike) -> Iterator[tuple[int, int, int, int]]:
    """Yield left, top, right, bottom of what isn't blank: of a photo, mostly all of it.

    Amid a large blank page the finding network sees no small letters.
    """
    shrink = max(1.0, max(pixels.shape) / 2000)
    size = [max(1, round(side / shrink)) for side in pixels.shape[1::-1]]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    around = np.ones((9, 9), np.uint8)
    contrast = cv2.dilate(grey, around) - cv2.erode(grey, around)
    printed = contrast > min(CONTRAST, contrast.max() // 3)
    for top, bottom in spans(printed.any(axis=1), BLANK):
        for left, right in spans(printed[top:bottom].any(axis=0), gap=max(size)):
            yield (
                round(left * shrink),
                round(top * shrink),
                round(right * shrink),
                round(bottom * shrink),
            )


def spans(marked: NDArray[np.bool_], gap: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of what is marked, with a margin, in one where the gaps are small."""
    margin = 16
    places = np.flatnonzero(marked)
    for run in np.split(places, np.flatnonzero(np.diff(places) > gap) + 1):
        if run.size:
            yield max(0, int(run[0]) - margin), min(len(marked), int(run[-1]) + margin)


def find_in_tile(pixels: MatLike, scale: float) -> Iterator[MatLike]:
    """Yield the corners of each strip that the finding network sees in a small copy."""
    height, width = pixels.shape[:2]
    size = [max(32, round(side * scale / 32) * 32) for side in (width, height)]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    certainty = run_network(_networks().finder, small)[0]
    mask = cv2.dilate((certainty > 0.3).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    for contour in contours:
        centre, (long, short), angle = cv2.minAreaRect(contour)
        if min(long, short) >= 3:
            rim = 1.9 * long * short / (long + short)  # the network marks the core of a strip
            corners = cv2.boxPoints((centre, (long + rim, short + rim), angle))
            yield clockwise(corners * (width / size[0], height / size[1]))


def clockwise(corners: MatLike) -> MatLike:
    """Return the corners of a strip clockwise from the top left."""
    by_column = corners[np.argsort(corners[:, 0])]
    (top_left, bottom_left), (top_right, bottom_right) = (
        side[np.argsort(side[:, 1])] for side in (by_column[:2], by_column[2:])
    )
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)


def read_strip(pixels: MatLike, corners: MatLike) -> TextBox:
    """Return what the reading network reads in a strip."""
    box = TextBox("", 0.0, tuple((float(x), float(y)) for x, y in corners))
    width, height = max(1, round(box.width)), max(1, round(box.height))
    level = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, level)
    border = cv2.BORDER_REPLICATE
    strip = cv2.warpPerspective(pixels, matrix, (width, height), None, cv2.INTER_CUBIC, border)
    if height >= 1.5 * width:
        strip = np.rot90(strip)
    size = (math.ceil(READ_HEIGHT * strip.shape[1] / strip.shape[0]), READ_HEIGHT)
    strip = cv2.resize(strip, size, interpolation=cv2.INTER_AREA)
    certainty = run_network(_networks().reader, strip)  # of each letter, step by step to the right
    best = certainty.argmax(axis=1)  # 0: none
    starts = np.flatnonzero(best * np.diff(best, prepend=0))
    if not starts.size:
        return box
    letters = [_networks().letters[number] for number in best[starts]]
    steps = np.diff(starts, prepend=starts[0])
    for place in np.flatnonzero(steps > max(4, 2 * np.median(steps))):
        letters[place] = f" {letters[place]}"  # a space that the network didn't see
    text = " ".join("".join(letters).split())
    return box._replace(text=text, score=float(certainty[starts].max(axis=1).mean()))


class Networks(NamedTuple):
    """The two networks, and the letters that the reader's numbers stand for."""

    finder: InferenceSession
    reader: InferenceSession
    letters: list[str]


@cache
def _networks() -> Networks:
    options = SessionOptions()
    options.log_severity_level = 3  # errors only
    options.intra_op_num_threads = THREADS
    # Or a thread that waits for another turns in circles: the busier the machine, the longer.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The finder's numbers come close to zero, where a processor takes its time. The first
    # session of a process decides for all.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    models = resources.files("rapidocr") / "models"
    finder = InferenceSession((models / "PP-OCRv6_det_small.onnx").read_bytes(), options)
    options.intra_op_num_threads = 1  # a strip is too small to be shared: two are read at once
    reader = InferenceSession((models / "PP-OCRv6_rec_small.onnx").read_bytes(), options)
    letters = reader.get_modelmeta().custom_metadata_map["character"].splitlines()
    return Networks(finder, reader, ["", *letters, " "])


def run_network(network: InferenceSession, pixels: MatLike) -> Any:
    """Return what a network makes of a picture."""
    planes = (pixels / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)
    return network.run(None, {"x": planes[None]})[0][0]


def warm_up() -> None:
    """Load the networks and let each of them run once."""
    picture = Image.new("RGB", (160, 64), "white")
    ImageDraw.Draw(picture).text((40, 20), "TOTAL 1.00", "black")
    recognize(picture)


def likely_turns(boxes: list[TextBox]) -> list[int]:
    """Return the clockwise turns worth a try, none when the picture looks upright."""
    letters = sum(len(box.text) for box in boxes) or 1
    tall = sum(len(box.text) for box in boxes if box.height > 1.2 * box.width) / letters
    score = sum(len(box.text) * box.score for box in boxes) / letters
    if tall > 0.5:
        # The engine turns tall strips to the left before it reads them, so that a good score
        # means that the text runs downwards.
        return [90, 270] if score >= GOOD_SCORE else [270, 90]
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
