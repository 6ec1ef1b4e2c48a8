#!/usr/bin/env python3
"""Throw damaged pictures, replies and texts at the scripts until the time is over.

What a script promises to raise is fine; any other exception, a wrong result, or an input that
takes too long is a find. The input is kept in a temporary folder.

Sample run::

    $ uv run tests/tools/fuzz.py --seconds 60 --seed 1
    pictures: 6,315 inputs, 1,629 of them accepted, the slowest took 0.8 s
    photos: 5,665 inputs, 1,891 of them accepted, the slowest took 0.5 s
    replies: 9,664 inputs, 2,161 of them accepted, the slowest took 0.0 s
    texts: 1,154 inputs, 1,154 of them accepted, the slowest took 0.1 s
    found nothing
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import io
import json
import random
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from profile_picture_uploader import InvalidPicture, ProfilePictureUploader  # noqa: E402
from receipt_scanner import (  # noqa: E402
    MAX_BYTES,
    MAX_MESSAGE,
    InvalidPhoto,
    OcrError,
    Receipt,
    parse_receipt,
    parse_reply,
    prepare_photo,
)

SECONDS_PER_PICTURE = 20  # of computing; 40 megapixels take their time
SECONDS_PER_KB = 0.02
HANG_SECONDS = 120
ENDINGS = (b"", b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1")
FRAGMENTS = (
    "TOTAL ¤ $ £ € RM 12.34 1,234.50 1.234,50 -5.00 .50 123 1 0 o O 9 12/ 03/04/2026 2026-03-14 14 "
    "March dez 20 SUB TAX CASH CHANGE tip round valid date Ltd sdn bhd GmbH & Co. KG a ß İ 北 \0 "
    "\ud800 ٣ ² , . ' - / ( ) % * : ; _ # \u202e \u0301"
).split(" ")
NUMBERS = "1 12 123 0 ¤".split()
SEPARATORS = " .,'-"
VALUES: list[Any] = [None, True, 0, 1, -1, 3.5, 1e308, float("nan"), "", "x", "1.00", "\0"]
VALUES += ["\ud800", "TOTAL 1.00\n" * 50, [], {}, [[]], [None], {"Words": []}, "9" * 5000]


# --- inputs ------------------------------------------------------------------------------------


def mutate(original: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few changes: flipped, set, cut out, doubled, put in, cut off."""
    data = bytearray(original)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        # Half of the changes at the beginning, where a format keeps what it is about.
        start = chance.randrange(chance.choice((min(64, len(data)), len(data))) + 1)
        end = start + chance.choice((1, 2, 4, chance.randrange(1, 200)))
        match chance.randrange(6):
            case 0 if data:
                data[min(start, len(data) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                data[start : start + 4] = chance.choice(ENDINGS)
            case 2:
                del data[start:end]
            case 3:
                data[start:start] = data[start:end]
            case 4:
                data[start:end] = chance.randbytes(end - start)
            case 5 if chance.random() < 0.3:
                del data[start:]
    return bytes(data)


def mutate_inside_png(data: bytes, chance: random.Random) -> bytes:
    """Return a PNG with one chunk damaged and its checksum right, so that decoders go on."""
    chunks, start = [], 8
    while start + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, start)
        chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + size]))
        start += 12 + size
    number = chance.randrange(len(chunks))
    kind, content = chunks[number]
    if kind == b"IDAT" and chance.random() < 0.5:
        content = zlib.compress(mutate(zlib.decompressobj().decompress(content), chance))
    else:
        content = mutate(content, chance)
    chunks[number] = (kind, content)
    out = data[:8]
    for kind, content in chunks:
        checksum = zlib.crc32(kind + content)
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    return out


def draw_picture(chance: random.Random) -> bytes:
    """Return a small picture in any format, mode and with anything that a file may carry."""
    size = (chance.randrange(1, 80), chance.randrange(1, 80))
    picture = Image.effect_noise(size, 50)
    mode = chance.choice(("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "I", "F"))
    format_ = chance.choice(("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"))
    options: dict[str, Any] = {}
    exif = Image.Exif()
    exif[0x0112] = chance.randrange(10)  # orientation
    exif[0x010E] = chance.choice(("text", "x" * 3000))
    exif.get_ifd(0x8825)[2] = (chance.random(), 2.0, 3.0)  # GPS latitude
    if chance.random() < 0.7 and format_ != "TIFF":
        block = exif.tobytes()
        options["exif"] = mutate(block, chance) if chance.random() < 0.7 else block
    if chance.random() < 0.2:
        options["icc_profile"] = chance.randbytes(chance.randrange(300))
    if chance.random() < 0.2:
        options |= {"progressive": True, "interlace": 1, "lossless": True}
    if chance.random() < 0.2:
        frames = [Image.effect_noise(size, 90) for _ in range(chance.randrange(1, 5))]
        options |= {"save_all": True, "append_images": frames, "duration": 9}
    if mode == "P" and chance.random() < 0.5:
        options["transparency"] = chance.randrange(256)
    out = io.BytesIO()
    try:
        picture.convert("RGB").convert(mode).save(out, format_, **options)
    except Exception:  # not every mix exists, and Pillow raises nearly anything
        picture.save(out := io.BytesIO(), "PNG")
    return out.getvalue()


def make_picture(chance: random.Random) -> bytes:
    """Return a picture, drawn here or a sample, most often damaged."""
    if chance.random() < 0.1:
        name = chance.choices(("png", "gif", "webp", "jpg"), (4, 4, 4, 1))[0]
        data = (ROOT / "samples" / f"avatar.{name}").read_bytes()
    else:
        data = draw_picture(chance)
    how = chance.random()
    if how < 0.1:
        return data
    if how < 0.5 and data.startswith(b"\x89PNG"):
        return mutate_inside_png(data, chance)
    return mutate(data, chance)


def load_replies() -> list[Any]:
    """Return the saved replies, the good one without table mode too."""
    paths = sorted((ROOT / "samples" / "replies").glob("*.json"))
    replies = {path.stem: json.loads(path.read_bytes()) for path in paths}
    plain = copy.deepcopy(replies["good"])
    for page in plain["ParsedResults"]:
        page["ParsedText"] = page["ParsedText"].replace("\t", "\r\n")
    return [*replies.values(), plain, plain, plain]


def find_places(value: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Yield the places of a reply where a value stands, depth by depth."""
    level = [value] if isinstance(value, dict | list) else []
    while level:
        keys = [
            (node, key)
            for node in level
            for key in (node if isinstance(node, dict) else range(len(node)))
        ]
        yield keys
        level = [node[key] for node, key in keys if isinstance(node[key], dict | list)]


def make_reply(chance: random.Random) -> bytes:
    """Return the JSON of a saved reply with values replaced, taken away and doubled."""
    reply = copy.deepcopy(chance.choice(load_replies()))
    for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
        places = chance.choice(list(find_places(reply)) or [[]])
        if not places:
            continue
        parent, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, list):
                parent.append(parent[key])
            case _:
                parent[key] = copy.deepcopy(chance.choice(VALUES))
    if chance.random() < 0.02:
        reply = chance.choice(VALUES)
    return json.dumps(reply).encode()


def make_text(chance: random.Random) -> bytes:
    """Return a text: a receipt with changes, fragments in any order, or one over and over."""
    how = chance.random()
    if how < 0.4:
        path = chance.choice(sorted((ROOT / "tests" / "scripts" / "receipt_texts").glob("*.txt")))
        return mutate(path.read_bytes(), chance)
    if how < 0.7:
        count = chance.randrange(300)
        words = [chance.choice(FRAGMENTS) + chance.choice(("", " ", "\n")) for _ in range(count)]
        return "".join(words).encode(errors="surrogatepass")
    pool = chance.choice((FRAGMENTS, NUMBERS))  # what repeats is what takes a bad pattern long
    count = chance.randrange(1, 4)
    unit = "".join(chance.choice(pool) + chance.choice(SEPARATORS) for _ in range(count))
    return (unit * 40_000)[:40_000].encode(errors="surrogatepass")


# --- what is promised --------------------------------------------------------------------------


def check_picture(path: Path) -> bool:
    """Return whether the uploader accepts a picture; what it would send must be one."""
    uploader = ProfilePictureUploader()
    try:
        media_type = uploader.validate(path)
        prepared = uploader.prepare(path)
    except InvalidPicture:
        return False
    assert media_type == prepared.media_type, "validate and prepare differ"
    sent = Image.open(io.BytesIO(prepared.data))
    sent.load()
    assert Image.MIME[sent.format or ""] == media_type, f"{sent.format} sent as {media_type}"
    assert not sent.getexif(), "EXIF was sent"
    return True


def check_photo(path: Path) -> bool:
    """Return whether the scanner accepts a photo; what it would send must be one."""
    try:
        data = prepare_photo(path)
    except InvalidPhoto:
        return False
    assert len(data) <= MAX_BYTES, "larger than the API takes"
    sent = Image.open(io.BytesIO(data))
    sent.load()
    assert sent.format in ("JPEG", "PNG"), f"sent as {sent.format}"
    return True


def check_values(receipt: Receipt) -> None:
    """Fail for a total that isn't in cents or yen, and for evidence that isn't in the text."""
    total = receipt["total"]
    assert total is None or isinstance(total, Decimal), total
    assert total is None or total.as_tuple().exponent in (-2, 0), total
    lines = [" ".join(line.split()) for line in receipt["text"].splitlines()]
    shown = {"".join(filter(str.isprintable, line)) for line in lines}
    assert set(receipt["evidence"].values()) <= shown, receipt["evidence"]


def check_saved_reply(path: Path) -> bool:
    """Return whether a reply is taken for a reading."""
    reply = json.loads(path.read_bytes())
    try:
        check_values(parse_reply(reply))
    except OcrError as error:
        message = str(error)
    else:
        return True
    assert 0 < len(message) <= MAX_MESSAGE, f"a message of {len(message)} letters"
    return False


def check_text(path: Path) -> bool:
    """Return True: any text is read."""
    check_values(parse_receipt(path.read_bytes().decode(errors="surrogateescape")))
    return True


# --- the run -----------------------------------------------------------------------------------


@dataclass
class Target:
    """A kind of input, the check for it, and how it went."""

    make: Callable[[random.Random], bytes]
    check: Callable[[Path], bool]
    limit: Callable[[int], float]  # seconds of computing that so many bytes may take
    inputs: int = 0
    accepted: int = 0
    slowest: float = 0
    seconds: float = 0
    finds: dict[str, str] = field(default_factory=dict)  # the file, by what it showed


def run(target: Target, name: str, folder: Path, chance: random.Random) -> None:
    """Check one more input; keep it where it shows something new."""
    started = time.perf_counter()
    path = folder / f"{name}-{target.inputs}"
    path.write_bytes(target.make(chance))
    computing = time.process_time()
    kind = show = ""
    try:
        target.accepted += target.check(path)
    except Exception as error:  # whatever it is, it is what we look for
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
        show = f"{kind}: {str(error)[:100]}"
    computing = time.process_time() - computing
    if not kind and computing > target.limit(path.stat().st_size):
        kind, show = "too slow", f"too slow: {computing:.1f} s"
    target.inputs += 1
    target.slowest = max(target.slowest, computing)
    if kind and kind not in target.finds:  # one of each is enough
        target.finds[kind] = show
        print(f"{path}: {show}", flush=True)
    else:
        path.unlink()
    target.seconds += time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Throw damaged pictures, replies and texts at the scripts.",
        epilog="example: fuzz.py --seconds 60",
    )
    parser.add_argument("--seconds", type=float, default=60, help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="of an earlier run, for the same inputs")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    warnings.simplefilter("ignore")  # Pillow's, on broken EXIF
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"seed {seed}; what shows something stays in {folder}", file=sys.stderr)

    def limit_picture(size: int) -> float:
        return SECONDS_PER_PICTURE

    def limit_text(size: int) -> float:
        return 0.5 + SECONDS_PER_KB * size / 1024

    targets = {
        "pictures": Target(make_picture, check_picture, limit_picture),
        "photos": Target(make_picture, check_photo, limit_picture),
        "replies": Target(make_reply, check_saved_reply, limit_text),
        "texts": Target(make_text, check_text, limit_text),
    }
    chances = {name: random.Random(f"{seed} {name}") for name in targets}
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        name = min(targets, key=lambda name: targets[name].seconds)  # the same time for each
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        run(targets[name], name, folder, chances[name])
    faulthandler.cancel_dump_traceback_later()
    for name, target in targets.items():
        accepted = f"{target.inputs:,} inputs, {target.accepted:,} of them accepted"
        print(f"{name}: {accepted}, the slowest took {target.slowest:.1f} s")
    finds = sum(len(target.finds) for target in targets.values())
    if finds:
        print(f"found {finds}: see {folder}")
        return 1
    folder.rmdir()
    print("found nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
