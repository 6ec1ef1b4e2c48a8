"""The server that a checked script talks to: it answers as httpbin does and remembers what came."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.parser import HeaderParser
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageDraw

KEPT_BYTES = 2_000_000  # of a body; what is longer is only counted


parse_headers = HeaderParser().parsestr


class Part(NamedTuple):
    """One part of a multipart body; `filename` and `media_type` are None where they are absent."""

    field: str
    filename: str | None
    media_type: str | None
    content: bytes


@dataclass
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]  # the names in title case
    body: bytes = b""  # empty where it is longer than KEPT_BYTES
    size: int = 0
    is_chunked: bool = False

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @functools.cached_property
    def parts(self) -> list[Part]:
        """The parts of a multipart body, empty when it is none or has no boundary."""
        header = parse_headers(f"Content-Type: {self.headers.get('Content-Type')}")
        boundary = header.get_boundary()
        if header.get_content_maintype() != "multipart" or not boundary:
            return []
        parts = []
        for piece in (b"\r\n" + self.body).split(f"\r\n--{boundary}".encode())[1:-1]:
            head, _, content = piece.partition(b"\r\n\r\n")
            headers = parse_headers(head.lstrip(b"\r\n").decode("utf-8", "replace"))
            name = headers.get_param("name", "", "Content-Disposition")
            media_type = headers.get("Content-Type")
            parts.append(Part(str(name), headers.get_filename(), media_type, content))
        return parts

    @property
    def files(self) -> list[Part]:
        return [part for part in self.parts if part.filename is not None]

    @property
    def form(self) -> dict[str, str]:
        """The form fields, of a multipart or of a plain form."""
        if self.media_type == "application/x-www-form-urlencoded":
            fields = parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)
            return {name: values[-1] for name, values in fields.items()}
        return {
            part.field: part.content.decode("utf-8", "replace")
            for part in self.parts
            if part.filename is None
        }


@dataclass
class Reply:
    """What the server answers.

    An iterable `body` goes out chunked. `announced` is a Content-Length that may lie; `hangs_up`
    closes the connection behind the body, however much was announced.
    """

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    hangs_up: bool = False


def show_content(content: bytes) -> str:
    """Return a file as httpbin echoes it: text as it is, anything else as a data URL."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        encoded = base64.b64encode(content).decode()
        return f"data:application/octet-stream;base64,{encoded}"


def answer_as_json(value: object, status: int = 200) -> Reply:
    """Return a reply in JSON."""
    body = json.dumps(value, indent=2).encode()
    return Reply(body, status, {"Content-Type": "application/json"})


def draw_picture(
    format_: str = "JPEG", size: tuple[int, int] = (320, 240), text: str = ""
) -> bytes:
    """Return a small picture in a format of Pillow's."""
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((20, 20, size[0] // 2, size[1] // 2), "teal")
    draw.text((20, size[1] // 2 + 10), text or "sample", "black")
    file = io.BytesIO()
    picture.save(file, format_)
    return file.getvalue()


def draw_large_jpeg(size: int) -> bytes:
    """Return a whole JPEG of so many bytes, nearly all of them comments."""
    picture = draw_picture()
    head, rest = picture[:20], picture[20:]  # SOI and APP0, which readers look at
    comments, left = b"", size - len(picture)
    while left > 4:
        length = min(left - 2, 65_000)
        comments += b"\xff\xfe" + length.to_bytes(2, "big") + bytes(length - 2)
        left -= length + 2
    return head + comments + rest


RECEIPT_TEXT = (
    "HARBOR LANE COFFEE\r\n12 Harbor Lane\r\n03/14/2026 09:41\r\n"
    "2 Flat White\t9.00\r\n1 Almond Croissant\t4.25\r\n"
    "SUBTOTAL\t13.25\r\nTAX\t1.10\r\nTOTAL\t$14.35\r\nCASH\t20.00\r\nCHANGE\t5.65\r\n"
)


def answer_ocr(text: str = RECEIPT_TEXT, **changes: Any) -> Reply:
    """Return what OCR.space says of a picture with this text; `changes` replace its fields."""
    page = {
        "TextOverlay": {"Lines": [], "HasOverlay": False, "Message": "Text overlay not provided"},
        "TextOrientation": "0",
        "FileParseExitCode": 1,
        "ParsedText": text,
        "ErrorMessage": "",
        "ErrorDetails": "",
    }
    reply = {
        "ParsedResults": [page],
        "OCRExitCode": 1,
        "IsErroredOnProcessing": False,
        "ProcessingTimeInMilliseconds": "421",
        "SearchablePDFURL": "Searchable PDF not generated as it was not requested.",
    }
    return answer_as_json(reply | changes)


def answer_as_httpbin(request: Received, echoes: bool = True) -> Reply:
    """Return what httpbin says, or OCR.space where the path is its.

    Without `echoes` it leaves out what the files hold, which is long.
    """
    path = urlsplit(request.path).path
    if path.startswith("/parse/"):
        return answer_ocr()
    if path.startswith("/status/"):
        return Reply(status=int(path.rpartition("/")[2]))
    is_read = request.method in ("GET", "HEAD")
    if is_read and (path.startswith("/image") or path.endswith((".jpg", ".jpeg", ".png"))):
        kind = re.split("[/.]", path)[-1]
        kind = kind if kind in ("png", "webp") else "jpeg"
        return Reply(draw_picture(kind), headers={"Content-Type": f"image/{kind}"})
    if is_read and path.startswith("/html"):
        return Reply(b"<!DOCTYPE html><html><body>hello</body></html>", 200, HTML)
    data = "" if request.parts else show_content(request.body)
    try:
        sent_json = json.loads(request.body) if "json" in request.media_type else None
    except ValueError:
        sent_json = None
    return answer_as_json(
        {
            "args": {},
            "data": "" if request.form and not request.parts else data,
            "files": {
                part.field: show_content(part.content if echoes else b"") for part in request.files
            },
            "form": request.form,
            "headers": request.headers,
            "json": sent_json,
            "origin": "127.0.0.1",
            "url": f"https://httpbin.org{request.path}",
        }
    )


HTML = {"Content-Type": "text/html; charset=utf-8"}


class Web(ThreadingHTTPServer):
    """A server on loopback. `answer` may be replaced: it returns None for the usual answer."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answer: Callable[[Received], Reply | None] = lambda request: None
        self.received: list[Received] = []
        self.in_flight = 0  # requests that came and have no answer yet
        self.peak = 0  # the most that were in flight at once
        self.changed = threading.Condition()
        self.is_over = False

    def __enter__(self) -> Web:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.server_address[1])).close()  # wakes it

    def serve(self) -> None:
        """Answer until it is over; unlike serve_forever() this never wakes in vain."""
        while not self.is_over:
            self.handle_request()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self.is_over

    def wait_for_others(self, count: int, seconds: float) -> bool:
        """In `answer`: hold the reply until so many requests are in flight, or give up."""
        with self.changed:
            return self.changed.wait_for(lambda: self.peak >= count, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore who hangs up: the checks look at what arrived."""


class Headers(HTTPMessage):
    """Headers whose body is none of the parser's business: it prepares for one, in vain."""

    def get_content_maintype(self) -> str:
        return "text"


class Handler(BaseHTTPRequestHandler):
    """Reads one request after the other from a connection, and answers."""

    server: Web
    MessageClass = Headers
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer_request(self) -> None:
        headers = {name.title(): value for name, value in self.headers.items()}
        request = Received(self.command, self.path, headers)
        self.read_body(request)
        with self.server.changed:
            self.server.received.append(request)
            self.server.in_flight += 1
            self.server.peak = max(self.server.peak, self.server.in_flight)
            self.server.changed.notify_all()
        try:
            reply = self.server.answer(request) or answer_as_httpbin(request)
        finally:
            with self.server.changed:
                self.server.in_flight -= 1
                self.server.changed.notify_all()
        self.send(reply)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # all methods alike
            return self.answer_request
        raise AttributeError(name)

    def read_body(self, request: Received) -> None:
        kept, buffer = io.BytesIO(), memoryview(bytearray(65536))
        request.is_chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
        length = int(request.headers.get("Content-Length", 0))
        while length or request.is_chunked:
            if request.is_chunked and not length:
                length = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                if not length:
                    self.rfile.readline()
                    break
            while length:
                count = self.rfile.readinto(buffer[:length])
                if not count:
                    raise ConnectionError("the body ended early")
                length -= count
                request.size += count
                if request.size <= KEPT_BYTES:
                    kept.write(buffer[:count])
            if request.is_chunked:
                self.rfile.readline()
        request.body = kept.getvalue() if request.size <= KEPT_BYTES else b""

    def send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        is_chunked = not isinstance(reply.body, bytes)
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in reply.headers:
            length = len(reply.body) if reply.announced is None else reply.announced  # type: ignore[arg-type]
            self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(OSError):  # a script need not read all of it
            if self.command == "HEAD":
                pass
            elif isinstance(reply.body, bytes):
                self.wfile.write(reply.body)
            else:
                for chunk in reply.body:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                if not reply.hangs_up:
                    self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
            if reply.hangs_up:
                self.connection.shutdown(socket.SHUT_RDWR)
        if reply.hangs_up:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
