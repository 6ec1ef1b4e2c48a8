"""Routes of the practice server that misbehave on purpose, so that you can see each fault.

Start the server in one terminal and paste the lines that it prints into another::

    $ python tests/offline.py

    $ python download_file.py $HTTPBIN_URL/faults/truncate/10000
    error: the connection broke - try again, the server can't resume
"""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from werkzeug.datastructures import Headers
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

CHUNK_BYTES = 256 * 1024
KEPT_BYTES = 4 * 1024 * 1024  # of each upload
STALL_SECONDS = 60
HTML_PAGE = "<!DOCTYPE html><title>Maintenance</title><p>Back in an hour.</p>\n"

View = Callable[..., Response]
ROUTES = Map(strict_slashes=False, merge_slashes=False)


def route(path: str, *methods: str) -> Callable[[View], View]:
    """Give a path to a view; what has no view here is left to httpbin."""

    def register(view: View) -> View:
        ROUTES.add(Rule(path, methods=methods, endpoint=view))
        return view

    return register


def answer(value: object, status: int = 200, **headers: str) -> Response:
    """Return a JSON response; `Retry_After="2"` becomes the header Retry-After."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(json.dumps(value), status, named, content_type="application/json")


class Arrival(NamedTuple):
    """An upload as it arrived: `size` bytes, the first of them, and whether it came to its end."""

    path: str
    headers: Mapping[str, str]
    size: int
    sha256: str
    body: bytes
    is_whole: bool


ARRIVALS: deque[Arrival] = deque(maxlen=120)  # of the last uploads to the routes here


def receive(request: Request) -> Arrival:
    """Read a body of any size to its end and note what came."""
    size, digest, body, is_whole = 0, hashlib.sha256(), b"", False
    try:
        while chunk := request.stream.read(CHUNK_BYTES):
            size += len(chunk)
            digest.update(chunk)
            body += chunk[: KEPT_BYTES - len(body)]
        is_whole = True
    finally:  # a client that leaves early shows as an exception
        path = request.full_path.rstrip("?")
        arrival = Arrival(path, dict(request.headers), size, digest.hexdigest(), body, is_whole)
        ARRIVALS.append(arrival)
    return arrival


_seen: set[str] = set()  # the paths, with their query, that were asked for before
_seen_lock = threading.Lock()


def first_time(request: Request) -> bool:
    """Tell whether this path and query come for the first time; `?token=...` makes a new one."""
    with _seen_lock:
        first = request.full_path not in _seen
        _seen.add(request.full_path)
    return first


def practice_bytes(size: int) -> bytes:
    """Return what passes for a JPEG at first sight: each size begins as the larger ones do."""
    return (b"\xff\xd8\xff\xe0" + hashlib.shake_128(b"practice").digest(size))[:size]


def repeated_bytes(size: int) -> bytes:
    """Return what passes for a JPEG, too, and compresses well."""
    return (practice_bytes(1000) * (size // 1000 + 1))[:size]


def cut_off(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the first bytes of a body, then drop the connection."""
    yield data[:size]
    raise ConnectionAbortedError


def picture(body: bytes | Iterator[bytes], **headers: str) -> Response:
    """Return a response that calls itself a JPEG."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(body, headers=named, content_type="image/jpeg")


@route("/faults", "GET")
def faults(_request: Request) -> Response:
    """List these routes."""
    return answer(describe_faults())


def describe_faults() -> dict[str, str]:
    """Return the routes that misbehave on purpose, each with a line about it."""
    rules = [rule for rule in ROUTES.iter_rules() if rule.rule.startswith("/faults/")]
    return {rule.rule: (rule.endpoint.__doc__ or "").partition("\n")[0] for rule in rules}


# --- downloads: what a body says of itself -----------------------------------------------------


@route("/faults/html", "GET")
def html(_request: Request) -> Response:
    """200 with an HTML error page that says so."""
    return Response(HTML_PAGE, content_type="text/html")


@route("/faults/html-as-jpeg", "GET")
def html_as_jpeg(_request: Request) -> Response:
    """200 and Content-Type image/jpeg, but the body is an HTML error page."""
    return Response(HTML_PAGE, content_type="image/jpeg")


@route("/faults/type", "GET")
def content_type(request: Request) -> Response:
    """A picture whose Content-Type is `?is=`, whatever that says; twice is twice, none none."""
    response = picture(practice_bytes(request.args.get("size", 10_000, type=int)))
    del response.headers["Content-Type"]
    for media_type in request.args.getlist("is"):
        response.headers.add("Content-Type", media_type)
    return response


BODIES = {  # the kinds of /faults/body, by how they begin
    "svg": b"<?xml version='1.0'?>\n<!-- drawn by hand -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "jxl": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(100),
    "jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100),
    "heic": b"\x00\x00\x00\x18ftypheix\x00\x00\x00\x00mif1heix" + bytes(100),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(100),
    "zip": b"PK\x03\x04\x14\x00" + bytes(100),
    "json": b'{"error": "no such picture"}',
    "text": "Das Bild gibt es nicht mehr, schöne Grüße".encode(),
}


@route("/faults/body/<kind>", "GET")
def body(request: Request, kind: str) -> Response:
    """svg, jxl, jp2, heic, pdf, zip, json or text, all of them called `?is=image/jpeg`."""
    if kind not in BODIES:
        return answer([*BODIES], 404)
    return Response(BODIES[kind], content_type=request.args.get("is", "image/jpeg"))


@route("/faults/status/<int:code>", "GET")
def status(_request: Request, code: int) -> Response:
    """A picture with this status: 302 without a place, 300, 103, a 206 that nobody asked for."""
    response = picture(practice_bytes(10_000))
    response.status_code = code
    return response


@route("/faults/coding/<name>", "GET")
def coding(_request: Request, name: str) -> Response:
    """Comes with Content-Encoding: zstd, br or another name, though nobody asked for it."""
    return picture(practice_bytes(10_000), Content_Encoding=name)


@route("/faults/backup.tar.gz", "GET")
def archive(_request: Request) -> Response:
    """A .tar.gz whose own gzip is called a Content-Encoding, as Apache's AddEncoding does."""
    body = gzip.compress(bytes(100_000), mtime=0)
    return Response(body, headers={"Content-Encoding": "gzip"}, content_type="application/x-tar")


# --- downloads: bodies that end too early, too late, or never ----------------------------------


@route("/faults/truncate/<int:size>", "GET")
def truncate(_request: Request, size: int) -> Response:
    """Announces `size` bytes, sends half of them and drops the connection."""
    return picture(cut_off(practice_bytes(size), size // 2), Content_Length=str(size))


@route("/faults/chunked-cut/<int:size>", "GET")
def chunked_cut(_request: Request, size: int) -> Response:
    """Half of `size` bytes, chunked; the connection drops before the last chunk."""
    return picture(cut_off(practice_bytes(size), size // 2))


@route("/faults/stall", "GET")
def stall(request: Request) -> Response:
    """Sends half of `?size=1000` bytes, nothing for `?seconds=60`, and drops the connection."""
    size = request.args.get("size", 1000, type=int)
    seconds = request.args.get("seconds", STALL_SECONDS, type=int)

    def body() -> Iterator[bytes]:
        yield practice_bytes(size // 2)
        time.sleep(seconds)
        raise ConnectionAbortedError

    return picture(body(), Content_Length=str(size))


@route("/faults/endless", "GET")
def endless(request: Request) -> Response:
    """A picture without a length and without an end, but for `?size=1000000000`."""
    size = request.args.get("size", 10**9, type=int)
    block = practice_bytes(CHUNK_BYTES)
    return picture(block[: size - start] for start in range(0, size, len(block)))


@route("/faults/gzip", "GET")
def compressed(request: Request) -> Response:
    """`?size=` bytes as gzip though nobody asked; `&cut=` ends it there as if that were all."""
    size = request.args.get("size", 100_000, type=int)
    cut = request.args.get("cut", type=int)
    body = gzip.compress(repeated_bytes(size))
    if cut is None:
        return picture(body, Content_Encoding="gzip")  # with its length, that of the gzip
    return picture(iter([body[:cut]]), Content_Encoding="gzip")


@route("/faults/bomb", "GET")
def bomb(request: Request) -> Response:
    """A gzip of a thousandth of the `?megabytes=1000` that it unpacks to."""
    start, megabyte = gzip.compress(practice_bytes(4)), gzip.compress(bytes(1_000_000))
    count = request.args.get("megabytes", 1000, type=int)
    length = len(start) + count * len(megabyte)
    body = (megabyte if number else start for number in range(count + 1))
    return picture(body, Content_Encoding="gzip", Content_Length=str(length))


# --- downloads: files to continue --------------------------------------------------------------


@route("/faults/changing", "GET")
def changing(request: Request) -> Response:
    """Another picture of `?size=` bytes each time: all the same byte, but for the signature."""
    size = request.args.get("size", 100_000, type=int)
    letter = b"a" if first_time(request) else b"b"
    return picture(practice_bytes(4) + letter * (size - 4))


@route("/faults/file", "GET")
def file(request: Request) -> Response:
    """`?size=` bytes with ETag and Range; `&cut=` breaks it off there the first time.

    After that, `&then=changed` has another version, `&then=whole` knows no Range, `&then=wrong`
    gives other bytes than those asked for, and `&then=ignores` the rest of another version,
    whatever If-Range says; with `&then=nameless` it has no ETag. `&etag=weak` or `&etag=none`
    can't be resumed.
    """
    size = request.args.get("size", 100_000, type=int)
    cut = request.args.get("cut", type=int)
    is_cut = cut is not None and first_time(request)
    then = "" if is_cut else request.args.get("then", "")
    is_new = then in ("changed", "ignores", "nameless")
    data = practice_bytes(size)[::-1] if is_new else practice_bytes(size)
    response = Response(data, content_type="application/octet-stream")
    if then != "nameless" and request.args.get("etag") != "none":
        is_weak = request.args.get("etag") == "weak"
        response.set_etag(f"practice-{size}{'changed' if is_new else ''}", is_weak)
    start = request.range.ranges[0][0] if request.range else None
    if start is not None and then in ("wrong", "ignores", "nameless"):
        start = 10 if then == "wrong" else start
        response.status_code, response.data = 206, data[start:]
        response.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    elif then != "whole":
        response.make_conditional(request, accept_ranges=True, complete_length=size)
        response.headers.pop("Date", None)  # the server adds its own
    if is_cut:
        response.response = cut_off(response.get_data(), cut or 0)
    return response


# --- uploads -----------------------------------------------------------------------------------


@route("/sink", "POST", "PUT")
def sink(request: Request) -> Response:
    """Read a body of any size and answer its bytes, its sha256 and the request's headers."""
    arrival = receive(request)
    return answer(
        {"bytes": arrival.size, "sha256": arrival.sha256, "headers": dict(arrival.headers)}
    )


@route("/faults/received", "GET")
def received(_request: Request) -> Response:
    """What /sink and the routes below received last: path, headers, bytes, sha256."""
    return answer(
        [
            {
                "path": arrival.path,
                "headers": dict(arrival.headers),
                "bytes": arrival.size,
                "sha256": arrival.sha256,
                "whole": arrival.is_whole,
            }
            for arrival in ARRIVALS
        ]
    )


class Redirect(Response):
    """A redirect to any place, be it an address or not; werkzeug itself would refuse some."""

    place = ""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        """Add the Location."""
        headers = super().get_wsgi_headers(environ)
        headers["Location"] = self.place
        return headers


@route("/faults/redirect/<int:code>", "GET", "POST", "PUT")
def redirect(request: Request, code: int) -> Response:
    """This redirect (307 keeps a POST) to `?to=/post`, on `?host=localhost` another host."""
    receive(request)
    place = request.args.get("to", "/post")
    if "host" in request.args:
        place = f"http://{request.args['host']}:{request.environ['SERVER_PORT']}{place}"
    response = Redirect(status=code)
    response.place = place
    return response


@route("/faults/loop", "GET", "POST", "PUT")
def loop(request: Request) -> Response:
    """307 to itself, for ever."""
    receive(request)
    return Response(status=307, headers={"Location": "/faults/loop"})


@route("/faults/red", "GET", "POST", "PUT")
def red(request: Request) -> Response:
    """404 with a reason that makes the terminal write in red from there on."""
    receive(request)
    return Response(status="404 \x1b[31mRED")


@route("/faults/too-large", "POST", "PUT")
def too_large(_request: Request) -> Response:
    """413 before the body is read; it still takes the rest, so that the answer arrives."""
    return answer("Request Entity Too Large", 413, Connection="close")


@route("/faults/reset", "POST", "PUT")
def reset(request: Request) -> Response:
    """Resets the connection when it has read the first `?after=1000` bytes of the upload."""
    request.stream.read(request.args.get("after", 1000, type=int))
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError


@route("/faults/early", "POST", "PUT")
def early(request: Request) -> Response:
    """200 when the first `?after=8192` bytes have come, and closes: it never had the rest."""
    request.stream.read(request.args.get("after", 8192, type=int))
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    request.environ["werkzeug.socket"].sendall(ok)
    raise ConnectionAbortedError  # or the rest would still be taken


@route("/faults/slow-line", "POST", "PUT")
def slow_line(request: Request) -> Response:
    """Takes the upload at `?rate=200000` bytes a second, as over a slow line."""
    rate = request.args.get("rate", 200_000, type=int)
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    while chunk := request.stream.read(16_384):
        time.sleep(len(chunk) / rate)
    return answer("At last")


@route("/faults/hint", "POST", "PUT")
def hint(request: Request) -> Response:
    """103 Early Hints before the 200, which Python's http.client takes for the answer."""
    receive(request)
    request.environ["werkzeug.socket"].sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    return answer("Hello")


@route("/faults/slow", "GET", "POST", "PUT")
def slow(request: Request) -> Response:
    """Takes the upload and answers after `?seconds=60`."""
    receive(request)
    time.sleep(request.args.get("seconds", STALL_SECONDS, type=int))
    return answer("Sorry for the delay")


@route("/faults/retry-after/<value>", "GET", "POST", "PUT")
def retry_after(request: Request, value: str) -> Response:
    """429 (`?status=503`) with this Retry-After the first time, or `&always=yes`; then 200.

    `date` is two seconds ahead as a date, `absent` no header. `?token=` starts anew.
    """
    receive(request)
    if not first_time(request) and "always" not in request.args:
        return answer("Welcome back")
    if value == "date":
        value = formatdate(time.time() + 2, usegmt=True)
    headers = {} if value == "absent" else {"Retry-After": value}
    return Response("Too busy\n", request.args.get("status", 429, type=int), headers)


# --- many uploads ------------------------------------------------------------------------------

clock = time.monotonic
_accepted: dict[str, deque[float]] = {}  # by path and query: when the last ones were
_answered: WeakSet[socket.socket] = WeakSet()  # connections that had an answer


@route("/faults/rate-limit", "POST", "PUT")
def rate_limit(request: Request) -> Response:
    """429 with Retry-After: 1 for more than `?per_second=2` uploads. `?token=` starts anew."""
    receive(request)
    per_second, now = request.args.get("per_second", 2, type=int), clock()
    with _seen_lock:
        accepted = _accepted.setdefault(request.full_path, deque(maxlen=per_second))
        if len(accepted) == per_second and now - accepted[0] < 1:
            return Response("Too busy\n", 429, {"Retry-After": "1"})
        accepted.append(now)
    return answer("Welcome")


@route("/faults/hang-up-kept", "POST", "PUT")
def hang_up_kept(request: Request) -> Response:
    """200 for the first upload of a connection; the second one breaks it off, unread."""
    connection: socket.socket = request.environ["werkzeug.socket"]
    if connection in _answered:
        raise ConnectionAbortedError
    receive(request)
    _answered.add(connection)
    return answer("Welcome")


# --- replies of an OCR service -----------------------------------------------------------------


def ocr_reply(**page: object) -> str:
    """Return a reply of OCR.space with one page."""
    results = [{"FileParseExitCode": 1, **page}]
    return json.dumps({"ParsedResults": results, "OCRExitCode": 1, "IsErroredOnProcessing": False})


OCR_REPLIES: dict[str, Callable[[], str]] = {
    "html": lambda: HTML_PAGE,
    "empty": str,
    "string": lambda: json.dumps("Unable to process the request"),
    "list": lambda: json.dumps(["no", "idea"]),
    "number": lambda: "42",
    "null": lambda: "null",
    "huge": lambda: json.dumps({"ErrorMessage": ["no " * 1_700_000]}),  # 5 MB
    "error-list": lambda: json.dumps(
        {"IsErroredOnProcessing": True, "ParsedResults": None, "ErrorMessage": ["E1", "E2"]}
    ),
    "error-string": lambda: json.dumps({"IsErroredOnProcessing": True, "ErrorMessage": "E3"}),
    "quotes-the-key": lambda: json.dumps("The API key [key] is over its limit"),
    "red": lambda: json.dumps("\x1b[31mRED"),
    "no-results": lambda: json.dumps({"ParsedResults": [], "IsErroredOnProcessing": False}),
    "results-null": lambda: json.dumps({"ParsedResults": None, "IsErroredOnProcessing": False}),
    "results-text": lambda: json.dumps({"ParsedResults": "TOTAL 1.00"}),
    "text-missing": ocr_reply,
    "text-null": lambda: ocr_reply(ParsedText=None),
    "text-number": lambda: ocr_reply(ParsedText=42),
}


@route("/faults/ocr/<shape>", "POST")
def ocr(request: Request, shape: str) -> Response:
    """200 from an OCR service, but not a reading; an unknown shape lists the known."""
    receive(request)
    if shape not in OCR_REPLIES:
        return answer([*OCR_REPLIES], 404)
    body = OCR_REPLIES[shape]().replace("[key]", request.headers.get("apikey", ""))
    return Response(body, content_type="application/json")
