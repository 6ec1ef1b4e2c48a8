"""Nothing lost, no one let in: each fault, what its user sees, and what it leaves behind.

TABLE is the heart of this file, and is made to be read. A row says what goes wrong; then, for our
script and for the way that most tutorials write it (naive/), what the user sees and what is
left behind. Both are run against the practice server, and what they show and leave is put into
these very words: a row whose tutorial does no harm would fail just as one whose script does.

`…` stands for any text. `error: …` alone on its line is exit code 1, `Name: …` an exception.
See a fault yourself: start `tests/offline.py`, and give a script the address that the row names.
"""

from __future__ import annotations

import ast
import functools
import gzip
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import NOWHERE, ROOT
from offline import PracticeServer
from PIL import Image
from practice import faults
from practice.faults import practice_bytes, repeated_bytes

import basic_upload
import concurrent_upload
import download_file
import receipt_scanner
import streaming_upload
from faults.cases import (
    KEY,
    NOISE,
    PNG,
    SCRIPT,
    Case,
    Stage,
    ask_what_arrives,
    complete_part,
    download,
    download_into,
    download_killed,
    download_to_full_disk,
    download_twice_at_once,
    download_with_little_patience,
    encode,
    grow,
    interrupt_batch,
    lengthen_part,
    make_bomb,
    make_exif,
    make_frames,
    make_unreadable,
    name_picture,
    print_into_closed_pipe,
    print_name,
    read_merchant,
    read_text,
    resume,
    scan,
    send_key_elsewhere,
    send_media_type,
    send_multipart,
    send_picture,
    shrink,
    swap_after_check,
    upload,
    upload_batch,
    upload_while,
    visit,
    wait_at_pipe,
    wait_for,
    write_protect,
)
from faults.naive import batch, downloads, pictures, receipts, uploads

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, pipes or limits")
not_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything"
)


class Fault(NamedTuple):
    """A row of the table. `ours` and `tutorial`: what the user sees, what is left behind.

    A row is for what tutorials get wrong; all that a script does is in its own tests. A row that
    `says` something is a limit: the script lets it pass, to stay plain, and its docstring says so
    in these words.
    """

    what: str
    case: Case
    ours: tuple[str, str]
    tutorial: tuple[str, str]
    marks: Sequence[pytest.MarkDecorator] = ()
    says: str = ""


# --- the table ---------------------------------------------------------------------------------

BROKE = "error: it broke off or is damaged - try again, "

TYPES_AND_PAGES = [
    Fault(
        "the server answers 200 with an HTML page and says so",
        download("/faults/html"),
        ours=("error: 'text/html…' instead of 'image/' - look at it in a browser", "the old file"),
        tutorial=("no error", "an HTML page"),
    ),
    Fault(
        "the server calls its HTML error page image/jpeg",
        download("/faults/html-as-jpeg", tutorial=downloads.download_image),
        ours=("error: it is an HTML page, not 'image/jpeg' - …", "the old file"),
        tutorial=("no error", "an HTML page"),
    ),
    Fault(
        "the Content-Type is in capitals, with blanks before it and a parameter behind",
        download(
            "/faults/type?size=100000&is=%20%20IMAGE/JPEG;%20q=1",
            tutorial=downloads.download_image,
        ),
        ours=("saved …: 100,000 bytes", "the whole file"),
        tutorial=("ValueError: not an image", "the old file"),
    ),
    Fault(
        "the Content-Type is empty",
        download("/faults/type?size=100000&is="),
        ours=("error: 'no Content-Type' instead of 'image/' - …", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
    Fault(
        "there is no Content-Type",
        download("/faults/type?size=100000", tutorial=downloads.download_image),
        ours=("error: 'no Content-Type' instead of 'image/' - …", "the old file"),
        tutorial=("KeyError: 'content-type'", "the old file"),
    ),
    Fault(
        "there are two headers Content-Type, the first of them text/html",
        download(
            "/faults/type?size=100000&is=text/html&is=image/jpeg",
            tutorial=downloads.download_image,
        ),
        ours=("error: 'text/html, image/jpeg' instead of 'image/' - …", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
    Fault(
        "the server answers 302, but says no place to go to; a page comes with it",
        download("/faults/status/302", whole=practice_bytes(10_000)),
        ours=("error: 302 FOUND - check the address", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
]

BODIES = [
    Fault(
        "the body is shorter than its Content-Length",
        download("/faults/truncate/100000"),
        ours=(f"{BROKE}the server can't resume", "the old file"),
        tutorial=("ChunkedEncodingError: …", "a part of the file"),
    ),
    Fault(
        "a chunked body is cut off",
        download("/faults/chunked-cut/100000"),
        ours=(f"{BROKE}the server can't resume", "the old file"),
        tutorial=("ChunkedEncodingError: …", "a part of the file"),
    ),
    Fault(
        "the body stalls in the middle: a ConnectionError, not a ReadTimeout",
        download_with_little_patience("/faults/stall?size=100000"),
        ours=("IncompleteDownload: it broke off…", "the old file"),
        tutorial=("ConnectionError: …Read timed out.", "a part of the file"),
        marks=[pytest.mark.slow],
    ),
    Fault(
        "the body comes compressed: its length is not that of the file",
        download(
            "/faults/gzip", tutorial=downloads.download_checked, whole=repeated_bytes(100_000)
        ),
        ours=("saved …: 100,000 bytes", "the whole file"),
        tutorial=("ValueError: … % came", "the whole file"),
    ),
    Fault(
        "a compressed body without a length ends early",
        download("/faults/gzip?cut=1000", whole=repeated_bytes(100_000)),
        ours=("saved …: 886 bytes", "a part of the file"),
        tutorial=("no error", "a part of the file"),
        says="may be cut off unnoticed, a packed one, too",
    ),
    Fault(
        "a .tar.gz whose own gzip is called a Content-Encoding",
        download(
            "/faults/backup.tar.gz",
            "--expect=application/",
            whole=gzip.compress(bytes(100_000), mtime=0),
        ),
        ours=("saved …", "the whole file"),
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "a body without a length doesn't end",
        download(
            "/faults/endless?size=3000000",
            "--max-bytes=1000000",
            tutorial=downloads.download_small,
            whole=(practice_bytes(faults.CHUNK_BYTES) * 12)[:3_000_000],
        ),
        ours=("error: over max_bytes = 1,000,000, and it goes on", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
    Fault(
        "3 KB are announced, and unpack to 3 MB",
        download(
            "/faults/bomb?megabytes=3",
            "--max-bytes=1000000",
            tutorial=downloads.download_small,
            whole=practice_bytes(4) + bytes(3_000_000),
        ),
        ours=("error: over max_bytes = 1,000,000, and it goes on", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
]

DISK = [
    Fault(
        "the disk is full",
        download_to_full_disk(),
        ours=("error: [Errno …] …", "the old file"),
        tutorial=("OSError: …", "a part of the file"),
        marks=[posix_only],
    ),
    Fault(
        "the target is a folder",
        download_into(Path.mkdir),
        ours=("error: …photo.jpg is not a file", "the folder"),
        tutorial=("IsADirectoryError: …", "the folder"),
        marks=[posix_only],
    ),
    Fault(
        "nothing may be written there",
        download_into(write_protect),
        ours=("error: [Errno 13] Permission denied: …", "the old file"),
        tutorial=("PermissionError: …", "the old file"),
        marks=[posix_only, not_root],
    ),
    Fault(
        "kill -9 in the middle; then it is run again",
        download_killed(),
        ours=("saved …: 2,000,000 bytes", "a hidden part, the whole file"),
        tutorial=("nothing", "a part of the file"),
        marks=[posix_only, pytest.mark.slow],
        says="`kill -9` leaves a hidden part",
    ),
    Fault(
        "two downloads to one name at the same time",
        download_twice_at_once(),
        ours=("no error, no error", "photo.jpg: one"),
        tutorial=("no error, FileNotFoundError: …", "photo.jpg: …"),
    ),
]


SAVED = ("saved …: 1,000,000 bytes", "the whole file")
RESUMES = [
    Fault(
        "the body is cut off, to be continued",
        resume(times=1),
        ours=(f"{BROKE}with resume", "the old file, NAME.part, NAME.part.etag"),
        tutorial=("ChunkedEncodingError: …", "the old file, NAME.part"),
    ),
    Fault(
        "meanwhile the file has changed on the server",
        resume("&then=changed", whole=practice_bytes(1_000_000)[::-1]),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the server knows no Range and sends all of it",
        resume("&then=whole"),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the server sends another range than the one asked for",
        resume("&then=wrong"),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the server ignores If-Range and sends the rest of another version",
        resume("&then=ignores", whole=practice_bytes(1_000_000)[::-1]),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the same, and doesn't even name the version",
        resume("&then=nameless", whole=practice_bytes(1_000_000)[::-1]),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the server names no version that can be asked for again: a weak ETag",
        resume("&etag=weak", times=1),
        ours=(f"{BROKE}the server can't resume", "the old file"),
        tutorial=("ChunkedEncodingError: …", "the old file, NAME.part"),
    ),
    Fault(
        "the part is whole already, only its new name was missing: 416",
        resume(meanwhile=complete_part),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the part is longer than the file: 416",
        resume(meanwhile=lengthen_part),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
]

TWICE = "the whole file, then the whole file"
UPLOADS = [
    Fault(
        "307 to another path: the body must go again",
        upload(
            streaming_upload,
            "/faults/redirect/307?to=/sink",
            tutorial=uploads.upload_generator,
        ),
        ours=("sent 200,…: 200", TWICE),
        tutorial=("no error", "the whole file in chunks, then an empty file in chunks"),
    ),
    Fault(
        "307 to another host, from a reader with a length that can't begin again",
        upload(
            streaming_upload,
            "/faults/redirect/307?host=localhost&to=/sink",
            tutorial=functools.partial(uploads.upload_with_progress, timeout=0.5),
        ),
        ours=("sent 200,…: 200", TWICE),
        tutorial=("ReadTimeout: …", "the whole file, then an empty file, broken off"),
        marks=[pytest.mark.slow],
    ),
    Fault(
        "307 for a form",
        upload(
            streaming_upload,
            "/faults/redirect/307?to=/sink",
            "--multipart",
            tutorial=uploads.upload_generator,
        ),
        ours=("sent 200,…: 200", TWICE),
        tutorial=("no error", "the whole file in chunks, then an empty file in chunks"),
    ),
    Fault(
        "302: the redirect becomes a GET, which brings no file but gets a 200",
        upload(basic_upload, "/faults/redirect/302?to=/get"),
        ours=(
            "error: 302 FOUND - the file may have arrived; if not, check the address",
            "the whole file",
        ),
        tutorial=("no error", "the whole file"),
    ),
    Fault(
        "the file grows while it is sent",
        upload_while(grow),
        ours=("FileChanged: video.bin grew while it was being sent", "the whole file"),
        tutorial=("no error", "the whole file, then a request that nobody made"),
    ),
    Fault(
        "the file shrinks while it is sent",
        upload_while(shrink),
        ours=("FileChanged: video.bin shrank …", "a part of the file, broken off"),
        tutorial=("ReadTimeout: …", "a part of the file, broken off"),
        marks=[pytest.mark.slow],
    ),
    Fault(
        "the file is empty",
        upload(streaming_upload, "/sink", data=b"", tutorial=uploads.upload_open_file),
        ours=("sent 0 bytes: 200", "an empty file"),
        tutorial=("no error", "an empty file in chunks"),
    ),
    Fault(
        "the server answers 413 before it has read the body",
        upload(basic_upload, "/faults/too-large"),
        ours=("…413 REQUEST ENTITY TOO LARGE… - …", "nothing"),
        tutorial=("no error", "nothing"),
    ),
    Fault(
        "the server says 200 when it has read 8 KB, and never has the rest",
        upload(
            streaming_upload,
            "/faults/early",
            tutorial=uploads.upload_open_file,
            data=bytes(20_000_000),
        ),
        ours=("error: answered 200 after … of 20,000,000 bytes…", "nothing"),
        tutorial=("no error", "nothing"),
    ),
    Fault(
        "the server resets the connection in the middle of the body",
        upload(basic_upload, "/faults/reset?after=10"),
        ours=("error: the connection broke - the file may be larger…", "nothing"),
        tutorial=("ConnectionError: ('Connection aborted.'…", "nothing"),
    ),
    *[
        Fault(
            "a media type from elsewhere has a line break in it",
            send_media_type(send, script),
            ours=("ValueError: a media type has no line breaks", "nothing"),
            tutorial=("no error", "a forged header"),
        )
        for script, send in (
            (
                "basic_upload.py",
                lambda *args: basic_upload.upload_file(*args[:2], media_type=args[2]),
            ),
            ("streaming_upload.py", send_multipart),
        )
    ],
]

CANT_CONNECT = "…can't connect - try: …tests/offline.py …"


def wherever_it_goes(what: str, route: str, says: str, tutorial: str, **others: str) -> list[Fault]:
    """Return a row for each way to talk to a server; `others` names those that differ."""
    rows = []
    for script in (basic_upload, download_file, receipt_scanner):
        name, left = script.__name__, "nothing" if script is download_file else "-"
        ours = others.get(name, f"error: {says}"), left
        harm = others.get(f"{name}_tutorial", tutorial), others.get(f"{name}_left", left)
        rows.append(Fault(what, visit(script, route), ours, harm))
    return rows


NETWORK = [
    *wherever_it_goes(
        "the server answers 404",
        "/status/404",
        "…404 NOT FOUND…",
        "no error",
        download_file_left="an empty file",
        receipt_scanner_tutorial="JSONDecodeError: …",
    ),
    *wherever_it_goes(
        "the server answers 500",
        "/status/500",
        "…500 INTERNAL SERVER ERROR…",
        "no error",
        download_file_left="an empty file",
        receipt_scanner_tutorial="JSONDecodeError: …",
    ),
    *wherever_it_goes(
        "nobody listens at the address",
        NOWHERE,
        CANT_CONNECT,
        "ConnectionError: …",
    ),
    *wherever_it_goes(
        "nobody knows the host's name",
        "http://no-such-host.invalid/",
        CANT_CONNECT,
        "ConnectionError: …",
    ),
    *wherever_it_goes(
        "the server doesn't speak TLS, or its certificate is not to be trusted",
        "https://HERE/",
        "…no TLS at that port…",
        "SSLError: …",
    ),
    *wherever_it_goes(
        "a redirect leads to an address that is none",
        "/faults/redirect/307?host=.invalid",
        "that address can't be used…",
        "LocationParseError: …",
        receipt_scanner="error: …307 TEMPORARY REDIRECT…",
    ),
    *wherever_it_goes(
        "a redirect leads to itself",
        "/faults/loop",
        "Exceeded 30 redirects…",
        "TooManyRedirects: …",
        receipt_scanner="error: …307 TEMPORARY REDIRECT…",
    ),
    Fault(
        "the server's words hold a code for the terminal",
        visit(basic_upload, "/faults/red", uploads.say_what_went_wrong),
        ours=("error: 404 [31mRED…", "-"),
        tutorial=("error: …\x1b[31mRED…", "-"),
    ),
    Fault(
        "a redirect leads to another host, with an API key in a header",
        send_key_elsewhere(),
        ours=("error: bill.png: 307 …", "the key at 127.0.0.1"),
        tutorial=("…", "the key at 127.0.0.1 and localhost"),
    ),
]


BUSY = [
    Fault(
        "429 with Retry-After: 7",
        wait_for("7", batch.upload),
        ours=("OK me.png: 200, waited 7 s", "2 uploads"),
        tutorial=("429, waited 0 s", "1 uploads"),
    ),
    Fault(
        "503 with Retry-After: 7",
        wait_for("7?status=503"),
        ours=("OK me.png: 200, waited 7 s", "2 uploads"),
        tutorial=("503, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 with Retry-After as a date",
        wait_for("date"),
        ours=("OK me.png: 200, waited … s", "2 uploads"),
        tutorial=("ValueError: …, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 with Retry-After: 999999, which is eleven days",
        wait_for("999999"),
        ours=("FAIL me.png: 429 TOO MANY REQUESTS…, waited 0 s", "1 uploads"),
        tutorial=("200, waited 999999 s", "2 uploads"),
    ),
    Fault(
        "429 with Retry-After: soon",
        wait_for("soon"),
        ours=("OK me.png: 200, waited 1 s", "2 uploads"),
        tutorial=("ValueError: …, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 without Retry-After",
        wait_for("absent"),
        ours=("OK me.png: 200, waited 1 s", "2 uploads"),
        tutorial=("KeyError: …, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 each time",
        wait_for("7?always=yes"),
        ours=("FAIL me.png: 429 TOO MANY REQUESTS…, waited 63 s", "10 uploads"),
        tutorial=("RuntimeError: still waiting after 10 times, waited 77 s", "11 uploads"),
    ),
]

KEPT = "/faults/hang-up-kept"
BATCHES = [
    Fault(
        "one file of the batch is missing",
        upload_batch("a.png", "missing", "b.png"),
        ours=(
            "FAIL missing: No such file or directory | OK a.png: 200 | OK b.png: 200 | 2 sent, …",
            "-",
        ),
        tutorial=("FileNotFoundError: …", "-"),
    ),
    Fault(
        "one is empty, which is no fault, and one too large for the memory",
        upload_batch("empty", "huge"),
        ours=(
            "FAIL huge: over 10,000 bytes - use streaming_upload.py | OK empty: 200 | 1 sent, …",
            "-",
        ),
        tutorial=("no error", "-"),
    ),
    Fault(
        "one may not be read",
        upload_batch("a.png", "unreadable"),
        ours=("FAIL unreadable: Permission denied | OK a.png: 200 | 1 sent, 1 failed…", "-"),
        tutorial=("PermissionError: …", "-"),
        marks=[posix_only, not_root],
    ),
    Fault(
        "the server closes a connection that it has kept, as our next file sets out",
        upload_batch("a.png", "b.png", "c.png", route=KEPT, tutorial=batch.upload_in_session),
        ours=("OK a.png: 200 | OK b.png: 200 | OK c.png: 200 | 3 sent, 0 failed…", "-"),
        tutorial=("ConnectionError: ('Connection aborted.'…", "-"),
        says="a repeat may store that twice",
    ),
    Fault(
        "a worker dies",
        upload_batch("a.png", "b.png", "c.png", died="b.png"),
        ours=("FAIL b.png: …MemoryError… | OK a.png: 200 | OK c.png: 200 | 2 sent, 1 failed…", "-"),
        tutorial=("MemoryError: ", "-"),
    ),
    Fault(
        "Ctrl-C while the first of six files is on its way",
        interrupt_batch(),
        ours=("OK 0.png: 200 | 1 sent, 0 failed, 5 without a result: …exit code 130", "1 uploads"),
        tutorial=("KeyboardInterrupt", "6 uploads"),
        marks=[posix_only],
    ),
]

NOT_ON_THE_LIST = {
    "an SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>",
    "a web page": faults.HTML_PAGE.encode(),
    "a shell script": b"#!/bin/sh\nrm -rf /\n",
}
DAMAGED = "error: me.jpg: damaged or cut off"
SENT = "sent as me.…: … bytes, 200"
PICTURES = [
    *[
        Fault(
            f"{what} is called me.jpg",
            send_picture(data, pictures.check_extension),
            ours=("error: me.jpg: not a JPEG, PNG, GIF or WebP", "nothing sent"),
            tutorial=("no error", "…"),
        )
        for what, data in NOT_ON_THE_LIST.items()
    ],
    Fault(
        "a JPEG is nothing but its signature",
        send_picture(b"\xff\xd8\xff\xe0", pictures.check_signature),
        ours=(DAMAGED, "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "a JPEG ends in the middle",
        send_picture(encode(NOISE, "JPEG")[:10_000], pictures.check_verify),
        ours=(DAMAGED, "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "a JPEG ends in the middle, with an end marker behind",
        send_picture(encode(NOISE, "JPEG")[:10_000] + b"\xff\xd9", pictures.check_verify),
        ours=(SENT, "a JPEG of 200x200"),
        tutorial=("no error", "a JPEG of 200x200"),
        says="half a JPEG with an end marker behind passes, its rest decoded as grey",
    ),
    Fault(
        "a PNG of 24 KB holds 200 megapixels",
        send_picture(lambda path: path.write_bytes(make_bomb()), pictures.check_signature),
        ours=("error: me.jpg: over 40,000,000 pixels", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "the file is empty",
        send_picture(b"", pictures.check_extension),
        ours=("error: me.jpg: empty", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "it is a folder",
        send_picture(Path.mkdir, pictures.check_extension),
        ours=("error: me.jpg: …not a file…", "nothing sent"),
        tutorial=("IsADirectoryError: …", "nothing sent"),
        marks=[posix_only],
    ),
    Fault(
        "it is a link to a device",
        send_picture(lambda path: path.symlink_to(os.devnull), pictures.check_extension),
        ours=("error: me.jpg: …not a file…", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
        marks=[posix_only],
    ),
    Fault(
        "it is a pipe that nobody writes to",
        wait_at_pipe(),
        ours=("error: me.jpg: …not a file…", "nothing sent"),
        tutorial=("waits for somebody to write", "nothing sent"),
        marks=[posix_only],
    ),
    Fault(
        "it may not be read",
        send_picture(make_unreadable, pictures.check_extension),
        ours=("error: me.jpg: …Permission denied…", "nothing sent"),
        tutorial=("PermissionError: …", "nothing sent"),
        marks=[posix_only, not_root],
    ),
    Fault(
        "a script stands behind a PNG",
        send_picture(PNG + SCRIPT, pictures.check_verify),
        ours=(SENT, "a PNG of 32x32"),
        tutorial=("no error", "a PNG of 32x32, the script in it"),
    ),
    Fault(
        "a script stands in a GIF's comment",
        send_picture(
            encode(Image.new("P", (32, 32)), "GIF", comment=SCRIPT),
            pictures.check_verify,
        ),
        ours=(SENT, "a GIF of 32x32"),
        tutorial=("no error", "a GIF of 32x32, the script in it"),
    ),
    *[
        Fault(
            f"a {format_} has 20 frames",
            send_picture(make_frames(format_), pictures.check_verify),
            ours=(SENT, f"a {format_} of 32x32"),
            tutorial=("no error", f"a {format_} of 32x32, 20 frames"),
        )
        for format_ in ("GIF", "WEBP")
    ],
    *[
        Fault(
            f"a picture is {what}: not every format has that",
            send_picture(
                encode(Image.new(mode, (32, 32)), format_),
                functools.partial(pictures.encode_again, format_=other),
            ),
            ours=(SENT, f"a {format_} of 32x32"),
            tutorial=("OSError: cannot write mode …", "nothing sent"),
        )
        for what, mode, format_, other in (
            ("transparent", "RGBA", "PNG", "JPEG"),
            ("of 256 colours", "P", "PNG", "JPEG"),
            ("of 16 bits", "I;16", "PNG", "JPEG"),
            ("in CMYK", "CMYK", "JPEG", "PNG"),
        )
    ],
    Fault(
        "a PNG has 2 MB of EXIF",
        send_picture(make_exif("EXIF" * 500_000), pictures.check_verify),
        ours=(SENT, "a PNG of 32x32"),
        tutorial=("no error", "a PNG of 32x32, its EXIF"),
    ),
    Fault(
        "the EXIF is broken",
        send_picture(encode(NOISE, "JPEG", exif=b"Exif\x00\x00broken"), pictures.turn_upright),
        ours=(SENT, "a JPEG of 200x200"),
        tutorial=("KeyError: …", "nothing sent"),
    ),
    Fault(
        "the file is another one when it has been checked",
        swap_after_check(),
        ours=("…me.png: not a JPEG, PNG, GIF or WebP", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
]

NAMES = [
    Fault(what, name_picture(name), (f"'{safe}'", "safe"), ("…", harm))
    for what, name, safe, harm in (
        ("a name has a line break", "a\r\nb.jpg", "ab.jpg", "a control character in it"),
        ("a name has a quote", 'a"b.jpg', "a_b.jpg", "not for Windows"),
        ("a name has a NUL", "a\0b.jpg", "ab.jpg", "a control character in it"),
        ("a name has backslashes", "..\\x.jpg", "x.jpg", "a path"),
        ("a name has half a surrogate pair", "a\ud800.jpg", "a.jpg", "no text"),
        ("a name turns the writing", "gpj.\u202egpj", "gpj.jpg", "seems to be another"),
        ("a name has 300 letters", "x" * 300 + ".jpg", "x" * 251 + ".jpg", "too long for a disk"),
        ("a name is CON", "CON.jpg", "_CON.jpg", "the console on Windows"),
        ("a name has two extensions", "a.php.jpg", "a_php.jpg", "two extensions"),
        ("a name is empty", "", "picture.jpg", "no name at all"),
        ("a name is two dots", "..", "__.jpg", "no name at all"),
        ("a name is a blank", " ", "picture.jpg", "no name at all"),
        ("a name is hidden", ".htaccess", "_htaccess.jpg", "hidden"),
        ("a name is decomposed", "e\u0301.jpg", "\xe9.jpg", "its twin looks the same"),
    )
] + [
    Fault(
        f"a name has {what}, and requests sends it as it is",
        name_picture(name, ask_what_arrives),
        (f"'{safe}'", "safe"),
        (sees, harm),
    )
    for what, name, safe, sees, harm in (
        ("../ in it", "../x.jpg", "x.jpg", "…", "a path"),
        ("a NUL in it", "a\0b.jpg", "ab.jpg", "…", "a control character in it"),
        ("half a surrogate pair in it", "a\ud800.jpg", "a.jpg", "…UnicodeEncodeError…", "…"),
    )
]

OCR_SAYS = "error: bill.png: "
OCR = [
    *[
        Fault(
            f"the OCR service answers {what}",
            scan(f"/faults/ocr/{shape}"),
            ours=(f"{OCR_SAYS}{says} - see https://ocr.space/ocrapi", "-"),
            tutorial=(harm, "-"),
            marks=[pytest.mark.slow] if shape == "huge" else [],
        )
        for shape, what, says, harm in (
            ("html", "a web page", "no text in the reply", "JSONDecodeError: …"),
            ("empty", "nothing", "no text in the reply", "JSONDecodeError: …"),
            ("string", "a string", "Unable to process the request", "TypeError: …"),
            ("list", "a list", "…", "TypeError: …"),
            ("number", "a number", "…", "TypeError: …"),
            ("null", "null", "no text in the reply", "TypeError: …"),
            ("huge", "5 MB of excuses", "no no no …", "KeyError: …"),
            ("error-list", "a list of errors", "E1 E2", "TypeError: …"),
            ("error-string", "an error", "E3", "KeyError: …"),
            ("no-results", "no pages", "no text in the reply", "IndexError: …"),
            ("results-null", "null instead of pages", "no text in the reply", "TypeError: …"),
            ("results-text", "a text instead of pages", "TOTAL 1.00", "TypeError: …"),
            ("text-missing", "a page without text", "no text in the reply", "KeyError: …"),
            ("text-null", "a page with null as its text", "no text in the reply", "no error"),
            ("text-number", "a page with a number as its text", "no text in the reply", "no error"),
        )
    ],
    *[
        Fault(
            f"the OCR service refuses: {what}",
            scan("/parse/image", key=key),
            ours=(f"{OCR_SAYS}{says}", "-"),
            tutorial=(harm, "-"),
        )
        for key, what, says, harm in (
            (KEY, "403, the key", "403…E555…check the key…", "KeyError: …"),
            ("practice-throttled", "403, a string", "403…only perform…wait", "TypeError: …"),
            ("practice-blocked", "403, an object", "403…is blocked…", "KeyError: …"),
            ("practice-plain-text", "400, a text", "400…processed - …", "JSONDecodeError: …"),
            ("practice-outage", "its flag is set", "E101: Timed out…", "TypeError: …"),
            ("practice-timeout", "only a page's exit code says so", "OCR engine timed out…", "…"),
        )
    ],
    Fault(
        "the service's words hold a code for the terminal",
        scan("/faults/ocr/red", receipts.scan_and_tell),
        ours=(f"{OCR_SAYS}[31mRED - …", "-"),
        tutorial=("ValueError: …\x1b[31mRED…", "-"),
    ),
    Fault(
        "the merchant's name holds a code for the terminal",
        read_merchant("CORNER \x07CAFE\nTOTAL 5.00"),
        ours=("'CORNER CAFE'", "-"),
        tutorial=("'CORNER \\x07CAFE'", "-"),
    ),
    Fault(
        "the service repeats the API key in its error",
        scan("/faults/ocr/quotes-the-key", receipts.scan_and_tell),
        ours=(f"{OCR_SAYS}The API key [key] is over its limit - …", "-"),
        tutorial=(f"ValueError: …{KEY}…", "-"),
    ),
    Fault(
        "the address is wrong, and the key is a part of it",
        scan("/status/404", receipts.scan_by_address),
        ours=(f"{OCR_SAYS}404 NOT FOUND - …", "-"),
        tutorial=(f"HTTPError: 404 Client Error: NOT FOUND for url: …{KEY}…", "-"),
    ),
]

LETTERS = 200_000
TEXTS = [
    Fault(
        f"the service reads 200 KB of {what}",
        read_text(text, tutorial),
        ours=("no error", "-"),
        tutorial=("TimeoutError: still busy", "-"),
        marks=[posix_only, pytest.mark.slow],
    )
    for what, text, tutorial in (
        ("digits", "7" * LETTERS, receipts.find_amounts),
        ("blanks", " " * LETTERS + "x", receipts.tidy_lines),
        ("TOTAL TOTAL …", "TOTAL " * (LETTERS // 6), receipts.find_total),
    )
]

CONSOLES = [
    Fault(
        "the console can't print the name",
        print_name(script, *options),
        ours=(says, "-"),
        tutorial=("UnicodeEncodeError: …", "-"),
    )
    for script, options, says in (
        (concurrent_upload, ("東京.png", "--url"), "OK \\u6771\\u4eac.png: 200…exit code 0"),
        (receipt_scanner, ("--from-json", "東京.png"), "…\\u6771\\u4eac.png…exit code 0"),
    )
] + [
    Fault(
        "nobody reads the output: | head -1",
        print_into_closed_pipe(script, *options),
        ours=("…exit code 1", "-"),
        tutorial=("BrokenPipeError: …", "-"),
        marks=[posix_only],
    )
    for script, options in (
        (concurrent_upload, [str(ROOT / "README.md"), "--url"]),
        (receipt_scanner, ["--from-json", str(ROOT / "samples" / "replies" / "good.json")]),
    )
]

TABLE = [
    *TYPES_AND_PAGES,
    *BODIES,
    *DISK,
    *RESUMES,
    *UPLOADS,
    *NETWORK,
    *BUSY,
    *BATCHES,
    *PICTURES,
    *NAMES,
    *OCR,
    *TEXTS,
    *CONSOLES,
]


# --- the checks --------------------------------------------------------------------------------


@pytest.fixture
def stage(
    server: PracticeServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    faults.ARRIVALS.clear()
    return Stage(server, tmp_path, capsys, monkeypatch)


def check(seen: str, left: Callable[[], str], expected: tuple[str, str]) -> None:
    """Compare what was seen and what is left with a row's words."""
    assert fits(seen, expected[0]), f"the user sees {seen!r}"
    deadline = time.monotonic() + 30
    while not fits(left(), expected[1]) and time.monotonic() < deadline:
        time.sleep(0.01)  # the server may still be reading what a client left behind
    assert fits(left(), expected[1]), f"what is left: {left()}"


def fits(text: str, words: str) -> bool:
    """Compare a text with a row's words."""
    return bool(re.fullmatch(".*".join(map(re.escape, words.split("…"))), text, re.DOTALL))


def name_row(row: Fault) -> str:
    """Return the row's name in the test report."""
    return f"{row.case.script}: {row.what}"


def make_parameters(rows: Sequence[Fault]) -> list[Any]:
    """Return rows as pytest wants them."""
    return [pytest.param(row, id=name_row(row), marks=row.marks) for row in rows]


@pytest.mark.parametrize("row", make_parameters(TABLE))
def test_our_script_does_as_the_table_says(row: Fault, stage: Stage) -> None:
    check(row.case.ours(stage), lambda: row.case.left(stage), row.ours)


@pytest.mark.slow
@pytest.mark.parametrize("row", make_parameters(TABLE))
def test_the_tutorial_does_the_harm_that_the_table_says(row: Fault, stage: Stage) -> None:
    assert row.says or row.tutorial != row.ours, "this is no harm"
    check(row.case.tutorial(stage), lambda: row.case.left(stage), row.tutorial)


@pytest.mark.parametrize("row", make_parameters([row for row in TABLE if row.says]))
def test_a_limit_is_said_where_the_reader_of_the_script_finds_it(row: Fault) -> None:
    tree = ast.parse((ROOT / row.case.script).read_text(encoding="utf-8"))
    places = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, places)]
    assert row.says in " ".join(" ".join(docs).split()), f"{row.case.script} is silent about it"
