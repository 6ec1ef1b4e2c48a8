"""Properties: what holds for every name, every text, every size, every way a download breaks.

Hypothesis makes the examples, and looks for the smallest one that fails. They are the same at each
run, so that nothing here depends on chance; `fuzz.py` is the one that goes on searching.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import itertools
import queue
import socket
import socketserver
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_profile_picture_uploader import check_name

from download_file import ContentTypeMismatch, IncompleteDownload, download_file
from profile_picture_uploader import EXTENSIONS, safe_filename
from receipt_scanner import Receipt, parse_receipt
from streaming_upload import MultipartFileReader, ProgressFileReader

pytestmark = pytest.mark.slow
settings.register_profile("chapter", deadline=None, derandomize=True, database=None)
settings.load_profile("chapter")  # no deadline: a loaded machine is slow

FIRST_DATE = datetime.date(2000, 1, 1)
TODAY = datetime.date(2026, 3, 14)
LINE = st.text(st.characters(), max_size=20)  # any characters, lone surrogates too
MEDIA_TYPES = st.sampled_from(sorted(EXTENSIONS))


# --- a safe file name --------------------------------------------------------------------------

PIECES = (
    r". .. / \ : * ? \" < > | - ~ _ $ ¹ con CON nul com lpt 1 conin$ .jpg .php .tar.gz é 北 a b"
).split()
PIECES += [" ", "\0", "\r\n", "\u202e", "\u200d", "\u0301", "\ud800", "\ue000", "\u2028", "\u0378"]
PIECES += ["x" * 100, "é" * 60, "e\u0301" * 60, "😀" * 30, "e\u200d\u0301"]
RESERVED = st.tuples(
    st.sampled_from("con PRN aux Nul COM0 lpt9 Com¹ LPT³ conin$ CONOUT$".split()),
    st.sampled_from(["", " ", ".png", ".tar.gz", "\u200d.jpg", "1"]),
).map("".join)
NAMES = st.lists(st.sampled_from(PIECES) | LINE, max_size=8).map("".join) | RESERVED
HARMLESS = st.characters(categories=["L", "M", "N", "P", "S"], exclude_characters='./\\:*?"<>|')


@given(NAMES, MEDIA_TYPES)
@settings(max_examples=100)
def test_any_name_is_made_safe_and_a_safe_one_stays(name: str, media_type: str) -> None:
    safe = safe_filename(name, media_type)
    check_name(safe)
    assert safe.endswith(EXTENSIONS[media_type]), f"{safe!r} is sent as {media_type}"
    again = safe_filename(safe, media_type)
    assert again == safe, f"called safe_filename({safe!r}): got {again!r}. Hint: it is safe already"


@given(st.text(HARMLESS, min_size=1, max_size=60), MEDIA_TYPES)
def test_a_harmless_name_keeps_its_letters(text: str, media_type: str) -> None:
    stem = unicodedata.normalize("NFC", f"a {text} z")
    for name in (stem, f"{stem}.png", f"/home/ada/{stem}.jpeg", f"C:\\{stem}.gif"):
        got = safe_filename(name, media_type)
        assert got == stem + EXTENSIONS[media_type], f"called safe_filename({name!r}): got {got!r}"


@given(st.text("xé北😀", min_size=260, max_size=300), MEDIA_TYPES)
def test_a_long_name_keeps_its_beginning(text: str, media_type: str) -> None:
    stem, extension = safe_filename(text, media_type).rsplit(".", 1)
    got = len(f"{stem}.{extension}".encode())
    assert text.startswith(stem), f"{stem[-3:]!r} ends it. Hint: a letter may be cut through"
    assert 255 - 3 <= got <= 255, f"{got} bytes, and a letter has at most 4"


# --- the text of a receipt ---------------------------------------------------------------------

LABELS = (
    "TOTAL SUBTOTAL TAX CASH CHANGE TIP ROUNDING Total: AMOUNT_DUE Summe Gesamt total_tota1 Visa ¤"
).split()
AMOUNTS = (
    "12.34 1,234.50 1.234,50 -5.00 .50 0.00 5.00- 12.5O 7.5 0.125 $12 £3.00 €4,00 RM5.00 ١٢.٣٤ ²"
).split()
WORDS = (
    "EUR 01/02/2026 31.12.2025 2026-03-14 2027-01-01 1970-01-01 14032026 14 March 2026 Dez 12:30 "
    "Date valid until SDN BHD Ltd. GmbH & Co. KG İstanbul ẞ ٣ 北京"
).split()
AMOUNTS += ["\uff11\uff12.\uff13\uff14", "1" + ",000" * 15 + ".00"]  # wide digits; a sextillion
WORDS += ["12/0\uff13/2026", "9" * 400, *LABELS, *AMOUNTS]
SPACES = ["\n", "\n", " ", "\t", "\r\n", "\0", "\x0b", "\x85", "\u2028", "\u00a0", ""]
LABELLED = st.tuples(st.sampled_from(LABELS), st.just(" "), st.sampled_from(AMOUNTS)).map("".join)
TEXTS = st.lists(
    st.tuples(LABELLED | st.sampled_from(WORDS) | LINE, st.sampled_from(SPACES)).map("".join),
    max_size=20,
).map("".join)


def show_line(line: str) -> str:
    """Return a line as evidence shows it: single spaces, and nothing that a terminal obeys."""
    return "".join(filter(str.isprintable, " ".join(line.split())))


def check_receipt(receipt: Receipt, text: str) -> None:
    """Fail unless a receipt keeps to its types and limits, and to the text."""
    total, date = receipt["total"], receipt["date"]
    if total is not None:
        assert isinstance(total, Decimal), f"the total is a {type(total).__name__}"
        places = total.as_tuple().exponent
        assert places in (-2, 0), f"the total {total} is no number of cents, nor of yen"
    if date is not None:
        assert type(date) is datetime.date
        assert FIRST_DATE <= date <= TODAY + datetime.timedelta(days=1), f"read the date {date}"
    assert date or not receipt["date_is_ambiguous"]
    assert receipt["merchant"] is None or receipt["merchant"].strip()
    assert receipt["currency"] is None or len(receipt["currency"]) == 3
    assert receipt["text"] == text
    values: Any = receipt
    found = {name for name in ("merchant", "date", "total") if values[name] is not None}
    assert set(receipt["evidence"]) == found, "Hint: evidence is for what was found"
    lines = {show_line(line) for line in text.splitlines()}
    for name, line in receipt["evidence"].items():
        assert line in lines, f"the {name} is from {line!r}, which is no line of the text"


@given(TEXTS)
@settings(max_examples=100)
def test_any_text_is_read_without_a_crash_and_within_limits(text: str) -> None:
    month_first = parse_receipt(text, today=TODAY)
    day_first = parse_receipt(text, day_first=True, today=TODAY)
    check_receipt(month_first, text)
    check_receipt(day_first, text)
    changed = {key for key, value in day_first.items() if value != month_first.get(key)}
    if not month_first["date_is_ambiguous"]:
        assert not changed, f"day_first changed {changed}, and no date was ambiguous"
    else:
        assert changed == {"date"}, f"day_first changed {changed}"
        us, uk = month_first["date"], day_first["date"]
        assert us
        assert us.replace(day=us.month, month=us.day) == uk, f"read as {us} and {uk}"


@given(
    total=st.decimals("0.01", "999999.99", places=2),
    date=st.dates(FIRST_DATE, TODAY),
    style=st.sampled_from(["us", "uk", "de"]),
)
def test_what_a_plain_receipt_says_is_read(total: Decimal, date: datetime.date, style: str) -> None:
    amount, when, currency = {
        "us": (f"$ {total:,}", f"{date:%m/%d/%Y}", "USD"),
        "uk": (f"£{total}", f"{date.day} {date:%b} {date:%Y}", "GBP"),
        "de": (f"EUR {total:,}".translate({44: ".", 46: ","}), f"{date:%d.%m.%Y}", "EUR"),
    }[style]
    text = f"CORNER CAFE\n{when}  12:30\n2 Coffee  0.00\nTOTAL  {amount}\nThank you"
    receipt = parse_receipt(text, day_first=style == "de", today=TODAY)
    read = (receipt["merchant"], receipt["date"], receipt["total"], receipt["currency"])
    assert read == ("CORNER CAFE", date, total, currency), f"called parse_receipt({text!r})"


# --- the wire ----------------------------------------------------------------------------------


class Upload(NamedTuple):
    """An upload as it came in; `extra` is what came after its announced end."""

    headers: dict[str, str]
    body: bytes
    extra: bytes


class Wire(socketserver.ThreadingTCPServer):
    """A server on loopback that keeps the bytes that it receives, and sends those it is given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.uploads: queue.Queue[Upload] = queue.Queue()  # a new one for each example
        self.answer: Callable[[dict[str, str]], Iterable[bytes]]  # to the headers of a GET

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that leave."""


class Connection(socketserver.StreamRequestHandler):
    """One request and its answer."""

    server: Wire
    timeout = 20
    disable_nagle_algorithm = True

    def handle(self) -> None:
        uploads = self.server.uploads
        method, *_ = self.rfile.readline().split()
        lines = iter(lambda: self.rfile.readline().decode("latin-1").strip(), "")
        headers = dict(line.split(": ", 1) for line in lines)
        if method == b"GET":
            for block in self.server.answer(headers):
                self.wfile.write(block)
            return
        body = self.rfile.read(int(headers.get("Content-Length", 0)))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        self.connection.shutdown(socket.SHUT_WR)
        uploads.put(Upload(headers, body, extra=self.rfile.read()))


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        thread = threading.Thread(target=wire.serve_forever, args=(0.05,))
        thread.start()
        yield wire
        wire.shutdown()
        thread.join()


# --- a file in chunks --------------------------------------------------------------------------

CHUNK_SIZES = st.integers(1, 20_000)
FIELDS = st.dictionaries(
    st.sampled_from(["user", "caption", "x"]),
    LINE.map(lambda text: text.encode(errors="replace").decode()),
)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, int]:
    """Return a file, often of a few whole chunks or a byte more or less, and a chunk size."""
    chunk_size = draw(CHUNK_SIZES)
    size = chunk_size * draw(st.integers(0, 8)) + draw(st.integers(-1, 1) | st.integers(0, 99))
    seed = draw(st.binary(max_size=2))
    return hashlib.shake_128(seed).digest(max(size, 0)), chunk_size


def receive(
    wire: Wire, data: bytes, chunk_size: int, make: Callable[..., Any], **options: Any
) -> bytes:
    """Send a file with a reader; return the body that the server received."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.bin")
        path.write_bytes(data)
        reader = make(path, chunk_size, lambda sent, total: None, **options)
        headers = {"Content-Type": reader.content_type}
        wire.uploads = queue.Queue()
        requests.post(wire.url, data=reader, headers=headers, timeout=(5, 10))
    upload = wire.uploads.get(timeout=20)
    assert "Transfer-Encoding" not in upload.headers, "Hint: what has a len() isn't sent chunked"
    assert upload.headers["Content-Length"] == str(len(upload.body))
    assert upload.headers["Content-Type"] == reader.content_type
    assert upload.extra == b"", "more went out than was announced"
    return upload.body


@given(files())
@settings(max_examples=30, phases=[Phase.generate])  # a body that is too short costs ten seconds
def test_a_server_receives_any_file_in_any_chunks(wire: Wire, file: tuple[bytes, int]) -> None:
    data, chunk_size = file
    got = receive(wire, data, chunk_size, ProgressFileReader)
    assert got == data, f"{len(data):,} bytes by {chunk_size:,}: the server got {len(got):,}"


@given(files(), FIELDS)
@settings(max_examples=30, phases=[Phase.generate])
def test_a_server_receives_any_file_as_one_part(
    wire: Wire, file: tuple[bytes, int], metadata: dict[str, str]
) -> None:
    data, chunk_size = file
    body = receive(wire, data, chunk_size, MultipartFileReader, field="video 1", metadata=metadata)
    # RFC 2046, 5.1.1; no part holds a boundary, which is random.
    boundary = body.partition(b"\r\n")[0]
    before, *parts, after = body.split(boundary)
    assert (before, after) == (b"", b"--\r\n"), "the body doesn't begin or end as multipart does"
    got = {}
    for part in parts:
        assert part[:2] == part[-2:] == b"\r\n", "a part stands between line ends"
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        got[head.partition(b' name="')[2].partition(b'"')[0].decode()] = content
    sent = {name: text.encode() for name, text in metadata.items()}
    assert got == {**sent, "video 1": data}, f"{len(data):,} bytes by {chunk_size:,} got changed"


# --- a download that breaks --------------------------------------------------------------------

OLD = b"what stood there before"
PICTURE = b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"properties").digest(30_000)
CUTS = st.floats(0, 1, exclude_max=True)  # where a reply breaks off, as a share of it
REFUSALS = (IncompleteDownload, ContentTypeMismatch, requests.RequestException)


def frame(body: bytes, kind: str, framing: str, sizes: list[int]) -> tuple[bytes, bytes]:
    """Return head and body of a good reply; `sizes` are those of its chunks."""
    headers = ["HTTP/1.1 200 OK", f"Content-Type: {kind}"]
    if "gzip" in framing:
        body = gzip.compress(body, mtime=0)
        headers.append("Content-Encoding: gzip")
    if "chunked" in framing:
        headers.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in split(body, sizes))
        body += b"0\r\n\r\n"
    elif framing != "until it closes":
        headers.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*headers, "\r\n"]).encode(), body


def split(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Yield the data in blocks of these sizes, over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


@given(
    length=st.sampled_from([4, 100, 511, 512, 513, 5000, len(PICTURE)]),
    kind=st.sampled_from(["image/jpeg", "application/octet-stream"]),
    framing=st.sampled_from(["length", "chunked", "gzip", "gzip chunked", "until it closes"]),
    cut=st.none() | CUTS,
    sizes=st.lists(st.integers(50, 9000), min_size=1, max_size=5),
    chunk_size=CHUNK_SIZES,
)
def test_a_download_is_whole_or_absent_wherever_it_breaks(
    wire: Wire,
    length: int,
    kind: str,
    framing: str,
    cut: float | None,
    sizes: list[int],
    chunk_size: int,
) -> None:
    head, body = frame(PICTURE[:length], kind, framing, sizes)
    reply = head + body
    if cut is not None:
        # Without a length the body ends where the connection does: only the head can break.
        reply = reply[: int(cut * len(head if framing == "until it closes" else reply))]
    wire.answer = lambda _headers: split(reply, sizes)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "photo.jpg")
        target.write_bytes(OLD)
        with suppress(*REFUSALS) if cut is not None else nullcontext():
            download_file(wire.url, target, kind, chunk_size)
        got = target.read_bytes()
        if cut is None or got != OLD:
            assert got == PICTURE[:length], f"saved {len(got):,} bytes that are not the file's"
        assert [path.name for path in Path(folder).iterdir()] == ["photo.jpg"], "something is left"
