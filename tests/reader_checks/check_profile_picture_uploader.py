"""What profile_picture_uploader.py does: look at the bytes, then send them under a safe name."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from PIL import ExifTags, Image, ImageFile, ImageOps

from reader_checks.claims import expect_no_claim
from reader_checks.hints import shorten, shorten_text
from reader_checks.script import (
    Mistake,
    Result,
    Run,
    Script,
    Unusable,
    chapter,
    exercise,
    find_usual_value,
)
from reader_checks.source import find_lost_json, find_node
from reader_checks.stage import Patch
from reader_checks.web import (
    Part,
    Received,
    Reply,
    answer_as_httpbin,
    draw_large_jpeg,
    draw_picture,
)

LARGE_BYTES = 60 * 1024 * 1024  # over any cap for a profile picture
PHOTO_BYTES = 900_000  # as a phone makes them, and under any cap
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
ABOUT_SIZE = re.compile(r"size|large|big|bytes|\bmb\b", re.IGNORECASE)
MIB = 1024 * 1024
WIDE_RANGE = r"\[[^\]]*[^\w\\\[]-[A-Z_]"  # [.-_] holds what lies between, ; ? and @ among it
WEB_PAGE = b"<!DOCTYPE html><html><body>not a picture</body></html>"
WAV = b"RIFF\x2c\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" + bytes(28)


def make(script: Script, **options: object) -> Any:
    """Return a new uploader."""
    try:
        kind = script.find("ProfilePictureUploader", kind="class")
        return script.call(kind, **options)
    except Mistake as error:
        if options:
            raise
        hint = error.hint
        if "__init__() missing" in error.got:
            hint = "an uploader is made before there is a file: let its methods take the path"
        raise Unusable(error.called, error.got, error.expected, hint, error.line) from None


def call(script: Script, method: str, path: str | Path, **options: object) -> Result:
    """Call a method of a new uploader with a path, wherever its parameter for one stands."""
    function = getattr(make(script, **options), method)
    parameters = inspect.signature(function).parameters
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    wanted = [
        name
        for pattern in ("path", "file|image|picture|photo|avatar")
        for name in names
        if re.search(pattern, name.lower())
    ]
    unknown = [  # a file or a user, in the reader's language
        name
        for name in names
        if parameters[name].default is inspect.Parameter.empty and find_usual_value(name) is None
    ]
    result = Result(None, None)
    for target in wanted[:1] or unknown or names[:1] or [""]:
        others = {name: "42" for name in unknown if name != target}
        if target in ("", *names[:1]):
            result = script.attempt(function, path, **others)
        else:
            result = script.attempt(function, **{target: path}, **others)
        if script.web.received:
            break
    return result


def find_upload(script: Script) -> tuple[str, Callable[[str], str | Path]]:
    """Return the name of the method that posts a good picture, and the type of path it takes."""
    if "upload" in script.found:
        found: tuple[str, Callable[[str], str | Path]] = script.found["upload"]
        return found
    script.make_file("me.jpg")
    methods = [
        name
        for name, method in script.methods(make(script)).items()
        if inspect.signature(method).parameters
    ]
    methods.sort(key=lambda name: "upload" not in name.lower())
    called, expected = f"import {script.path.stem}", "one POST with the picture, a good JPEG"
    hint = "a good JPEG is not sent: write a method upload that takes its path and posts it"
    problem = Unusable(called, "no method sends a picture", expected, hint)
    kinds: tuple[Callable[[str], str | Path], ...] = (str, Path)
    for kind in kinds:
        for method in methods:
            script.forget()
            result = call(script, method, kind("me.jpg"))
            if script.web.received:
                script.found["upload"] = method, kind
                return method, kind
            is_first = kind is str or "'str'" in problem.got  # a Path may get further
            if result.error and is_first and "upload" in method.lower():
                got, hint, line = script.explain(result.error)
                if is_own_refusal(script, result.error):
                    hint, line = find_refusal(script, method, kind("me.jpg"), line)
                problem = Unusable(script.called, got, expected, hint, line)
    raise problem


def is_own_refusal(script: Script, error: BaseException) -> bool:
    """Tell whether the script itself raised an exception on purpose."""
    return bool(re.match(r"raise\b", script.show_line(script.find_error_line(error))))


def find_refusal(
    script: Script, method: str, path: str | Path, line: int | None
) -> tuple[str, int | None]:
    """Return why a good picture was refused, and the line; `line` is where it was raised."""
    called = script.called
    said_no = script.trace_no(lambda: call(script, method, path))
    script.called = called
    is_final = not script.find_condition(said_no)
    return explain_refusal(script, line if said_no is None or is_final else said_no)


def explain_refusal(script: Script, line: int | None) -> tuple[str, int | None]:
    """Return why a good and small picture may have been refused, and the line."""
    condition = script.find_condition(line)
    if ABOUT_SIZE.search(script.show_line(condition)):
        hint = "a small picture was refused as too large: look at the comparison with the cap"
        return hint, condition
    if re.search(r"\bnot\b.*\bor\b.*\bnot\b|!=.*\bor\b.*!=", script.show_line(condition)):
        return "not the one or not the other is always true: write and in place of or", condition
    if raw := script.search(r"\b(rb|br)['\"].*\\x"):
        return "with r before the quotes a \\x is four letters and no byte: write b only", raw
    if short := script.search(r"\.read\([12]\)"):
        return "too little was read: the signature of a JPEG has three bytes, a PNG's eight", short
    if text := script.search(r"(==|in) *\(?['\"]\\x"):
        return "a text is never equal to bytes: write b before the quotes", text
    if misspelt := find_misspelt_signature(script):
        return "a signature is misspelt: compare each byte of it with the chapter's", misspelt
    reads = [
        number
        for number, text in enumerate(script.source.splitlines(), 1)
        if re.search(r"\b(el)?if\b.*\.read\(", text)
    ]
    if len(reads) > 1 and not script.search(r"\.seek\("):
        return "a second read() goes on where the first ended: read once, compare twice", reads[1]
    names = re.findall(r"^ *(\w+) *= *b['\"]\\xff\\xd8\\xff['\"]", script.source, re.MULTILINE)
    equal = script.search(rf"== *(b['\"]|({'|'.join(names) or '$'})\b)")
    if equal and not script.search(r"\[:?\d*:\d+\] *== *b|read\(3\)"):
        return "more bytes than the signature were compared: ask if they start with it", equal
    if lost := find_lost_text(script):
        return "a text alone returns nothing: write return before it", lost
    if script.search(r"splitext|\.suffix|endswith|mimetypes|imghdr"):
        return "a good picture was refused: let the first bytes decide, and not the name", line
    return "a good picture was refused: compare its first bytes with both signatures", line


def find_misspelt_signature(script: Script) -> int | None:
    """Return the line of bytes that begin as a signature does, and go on otherwise."""

    def is_misspelt(node: ast.AST) -> bool:
        value = node.value if isinstance(node, ast.Constant) else None
        if not isinstance(value, bytes) or value[:1] not in (b"\xff", b"\x89"):
            return False
        return not any(value.startswith(one) or one.startswith(value) for one in SIGNATURES)

    return find_node(script.source, is_misspelt)


def find_lost_text(script: Script) -> int | None:
    """Return the line of an if in which a text stands alone."""
    return find_node(
        script.source,
        lambda node: (
            isinstance(node, ast.If)
            and isinstance(node.body[-1], ast.Expr)
            and isinstance(node.body[-1].value, ast.Constant)
        ),
    )


def upload(script: Script, name: str, **options: object) -> Result:
    """Upload a file; what was sent is in `script.web.received`."""
    method, kind = find_upload(script)
    script.forget()
    return call(script, method, kind(name), **options)


def is_refused(script: Script, name: str, **options: object) -> bool:
    """Tell whether a file is not sent; or, where all is sent, whether a method says no to it."""
    upload(script, name, **options)
    return was_refused(script, name, **options)


def was_refused(script: Script, name: str, **options: object) -> bool:
    """Tell the same of a file that was just uploaded."""
    if not script.web.received:
        return True
    called = script.called
    script.make_file("notes.txt")
    upload(script, "notes.txt")
    sends_all = bool(script.web.received)
    refused = sends_all and says_no(script, name, **options)
    script.called = called
    return refused


def says_no(script: Script, name: str, **options: object) -> bool:
    """Tell whether a method that only looks makes a difference between a file and a good one."""
    upload_method, kind = find_upload(script)

    def judge(method: str, name: str) -> object:
        result = call(script, method, kind(name), **options)
        value = result.value
        if isinstance(value, tuple) and value:  # (False, "too large")
            value = value[0]
        return result.error is None and ("good", bool(value))

    for method, function in script.methods(make(script)).items():
        if method != upload_method and inspect.signature(function).parameters:
            good = judge(method, "me.jpg")
            if good and judge(method, name) != good:
                return True
    return False


def find_checking(script: Script) -> int | None:
    """Return the line where the method begins that looks at a file, or the one that sends it."""
    return script.search(r"def \w*(valid|check|detect|is_|type|verify)") or script.search(
        r"def \w*upload"
    )


def files_sent(script: Script) -> list[Part]:
    return [part for request in script.web.received for part in request.files]


def find_media_type(content: bytes) -> str | None:
    """Return the media type of a whole picture, None where it is none."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return Image.MIME[str(picture.format)]
    except (OSError, SyntaxError, ValueError):
        return None


@chapter
def test_sends_a_jpeg_and_a_png_with_their_media_types(script: Script) -> None:
    """Send a JPEG and a PNG, each with its media type."""
    for name in ("me.jpg", "me.png"):
        given = script.make_file(name).read_bytes()
        result = upload(script, name)
        if not script.web.received:
            got, called, line = str(result), script.called, script.error_line
            method, to_path = find_upload(script)
            hint, line = find_refusal(script, method, to_path(name), line)
            if result.error and not is_own_refusal(script, result.error):
                got, hint, line = script.explain(result.error)
            script.called = called
            script.fail(got, "one POST with the picture", hint, line or find_checking(script))
        line = script.sent[0].line
        received, parts = script.web.received[0], files_sent(script)
        script.expect(
            len(parts) == 1,
            got=f"{len(parts)} files in a body of the type {received.media_type or 'none'}",
            expected="multipart/form-data with one file",
            hint="pass the open file in files=, as (name, file, media type)",
            line=line,
        )
        content = parts[0].content
        script.expect(
            content == given or not given.endswith(content),
            got=f"{len(content):,} of {len(given):,} bytes arrived, the first ones are missing",
            expected="all bytes of the file",
            hint="reading the signature moved on in the file: go back to its start with seek",
            line=line,
        )
        kind = find_media_type(content)
        script.expect(
            kind,
            got=f"{shorten(content, 60)} arrived",
            expected="a picture that can be opened",
            hint="the order is another: (name, file, media type)"
            if re.fullmatch(rb"\w+/\w+", content)
            else "what arrived is no picture any more: send the bytes as they are",
            line=line,
        )
        script.expect(
            parts[0].media_type,
            got="a part without a media type",
            expected=f"the media type {kind}",
            hint="requests does not guess the media type: name it beside the file",
            line=line,
        )
        script.expect(
            parts[0].media_type == kind,
            got=f"the media type {shorten_text(str(parts[0].media_type), 60)}",
            expected=f"the media type {kind}",
            hint="a function was named and not called: write () behind it"
            if "<bound method" in str(parts[0].media_type)
            else "the media type is misspelt, or another picture's: each signature has its own",
            line=line,
        )
    lost = find_lost_json(script.source)
    script.expect(
        not lost,
        got="json= beside files=, and no such field arrived",
        expected="the fields in data=",
        hint="json= beside files= is dropped silently: pass the fields in data=",
        line=lost,
    )
    script.make_file("page.jpg", WEB_PAGE)
    looks_into_files = is_refused(script, "page.jpg")
    script.make_file("ME.JPG")
    result = upload(script, "ME.JPG")
    script.expect(
        script.web.received or not looks_into_files,
        got=str(result) if result.error else "nothing was sent",
        expected="one POST with the picture",
        hint="cameras write .JPG: let the first bytes decide, or compare in lower case",
        line=script.error_line or script.search(r"splitext|suffix|endswith|mimetypes"),
    )
    script.expect_results_printed()
    script.expect_loads()


@chapter
def test_believes_the_first_bytes_and_not_the_name(script: Script) -> None:
    """Let the signature decide, all of it, and not the name."""
    script.make_file("page.jpg", WEB_PAGE)
    script.expect(
        is_refused(script, "page.jpg"),
        got="it was let in",
        expected="a refusal: page.jpg is a web page",
        hint="a name says nothing, nor does a type guessed from it: compare the first bytes",
        line=script.search(r"splitext|suffix|endswith|mimetypes|imghdr") or find_checking(script),
    )
    for name, content in {
        "two_bytes.jpg": b"\xff\xd8 and then only text",
        "two_bytes.png": b"\x89Pretends to be a PNG",
    }.items():
        script.make_file(name, content)
        script.expect(
            is_refused(script, name),
            got="it was let in",
            expected=f"a refusal: the file begins with {content[:8]!r}",
            hint="two magic bytes are no signature: a JPEG begins with three, a PNG with eight",
            line=script.search(r"b['\"].*\\x(ff|89|FF)") or find_checking(script),
        )
    script.make_file("png.jpg", draw_picture("PNG"))
    upload(script, "png.jpg")
    for part in files_sent(script):  # refusing a wrong name is good as well
        kind = find_media_type(part.content)
        script.expect(
            kind is None or part.media_type in (kind, None),
            got=f"an {kind} was sent as {part.media_type}",
            expected="the media type that the signature shows",
            hint="the media type was taken from the name: take it from the first bytes",
            line=script.sent[0].line,
        )


@chapter
def test_refuses_a_large_file_before_reading_it(script: Script) -> None:
    """Refuse a file that is too large, and ask for its size before you read it."""
    line = script.search(r"getsize|st_size|(?i:max\w*(size|bytes|mb))")
    script.make_file("photo.jpg", draw_large_jpeg(PHOTO_BYTES))
    script.web.answer = lambda request: answer_as_httpbin(request, echoes=False)
    result = upload(script, "photo.jpg")
    script.expect(
        script.web.received,
        got=str(result) if result.error else "nothing was sent",
        expected=f"one POST: a photo may have {PHOTO_BYTES:,} bytes",
        hint="a photo of 1 MB was refused: 5 MB are 5 * 1024 * 1024 bytes",
        line=line or script.error_line,
    )
    os.truncate(script.make_file("large.jpg"), LARGE_BYTES)  # a good picture, then nothing
    with script.measure_memory() as memory:
        upload(script, "large.jpg")
    was_sent = bool(script.web.received)
    hint = "60 MB were let in: refuse what is over a cap of a few MB"
    if letters := script.search(r"len\((path|file\w*|name|picture|photo)\)"):
        hint, line = "len() counts the letters of a path: ask os.path.getsize()", letters
    script.expect(
        was_refused(script, "large.jpg"),
        got="it was let in",
        expected=f"a refusal: the file has {LARGE_BYTES:,} bytes",
        hint=hint,
        line=line or find_checking(script),
    )
    script.expect(
        was_sent or memory.peak < LARGE_BYTES / 2,
        got=f"refused, but {memory.peak / 1e6:.0f} MB of it were read into memory",
        expected="a refusal that reads no more than the cap",
        hint="the size was asked when all was in memory: ask the file system first",
        line=next((opened.line for opened in script.opened), None),
    )
    floored = script.search(r"size.*// *\(?(1024|1000|1_000|10\*\*|MB|MIB)")
    if floored:
        were_sent = [is_sent(script, size) for size in (6 * MIB - 1, 6 * MIB + 1)]
        script.expect(
            were_sent != [True, False],
            got="6 MB less a byte were let in, 6 MB and a byte were not",
            expected="a refusal of each byte over 5 MB",
            hint="// makes 5 of 5.9 MB: compare the bytes with 5 * 1024 * 1024",
            line=floored,
        )


def is_sent(script: Script, size: int) -> bool:
    """Tell whether a picture of so many bytes is sent."""
    script.web.received.clear()
    os.truncate(script.make_file("photo.jpg", draw_picture()), size)
    upload(script, "photo.jpg")
    return bool(script.web.received)


@chapter
def test_sends_nothing_that_was_refused(script: Script) -> None:
    """Send nothing when the file is refused."""
    script.make_file("notes.txt")
    upload(script, "notes.txt")
    script.expect(
        not script.web.received,
        got="a POST with notes.txt",
        expected="no request at all",
        hint="text was sent as a picture: when the check says no, end the upload before it posts",
        line=script.sent[0].line if script.sent else None,
    )


def throws_away(node: ast.AST) -> bool:
    """Tell whether this makes a new text of one, and nothing takes it."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    method, arguments = getattr(node.value.func, "attr", ""), node.value.args
    return (method, len(arguments)) in (("sub", 3), ("replace", 2), ("basename", 1), ("lower", 0))


@chapter
def test_sends_a_name_without_its_folders(script: Script) -> None:
    """Send the file's name, without the folders before it."""
    script.make_file("album/ada.jpg")
    result = upload(script, "album/ada.jpg")
    got, hint, line = str(result), "open the path as it was given: only the name is cut", None
    if result.error:
        got, hint, line = script.explain(result.error)
    script.expect(
        script.web.received,
        got=got if result.error else "nothing was sent",
        expected="one POST with the picture",
        hint=hint,
        line=line or find_checking(script),
    )
    thrown_away = find_node(script.source, throws_away)
    script.expect(
        not thrown_away,
        got="a clean name that nobody keeps",
        expected="the clean name, under a name of its own",
        hint="a text never changes: keep what this returns, with name = before it",
        line=thrown_away,
    )
    script.make_file("album/me.jpg")
    upload(script, "album/../album/me.jpg")
    for part in files_sent(script):
        script.expect(
            not re.search(r"[/\\]|^\.\.", str(part.filename)),
            got=f"the file name {part.filename!r}",
            expected="a file name such as 'me.jpg'",
            hint="the folders were sent too, and ../ leads out of the server's: keep the last part",
            line=script.sent[0].line,
        )
    if wide := script.search(WIDE_RANGE):
        script.web.received.clear()
        script.make_file("me;you & I.jpg")
        upload(script, "me;you & I.jpg")
        names = [str(part.filename) for part in files_sent(script)]
        script.expect(
            not any(";" in name and "&" not in name for name in names),
            got=f"the file name {names[0]!r}" if names else "",
            expected="a name without ; like the one without &",
            hint="a - between two characters in [] means all from one to the other: put it last",
            line=wide,
        )


@chapter
def test_sets_a_timeout(script: Script) -> None:
    """Give each request a timeout."""
    upload(script, "me.jpg")
    script.expect_timeouts()


@chapter
def test_does_not_take_a_failure_for_a_success(script: Script) -> None:
    """Check the status of the response."""
    usual: Reply | None = None
    printed_before = ""

    def answer_with(status: int) -> Callable[[Received], Reply]:
        def answer(request: Received) -> Reply:
            nonlocal usual, printed_before
            printed_before = script.printed
            usual = usual or answer_as_httpbin(request)  # kept: each request has its own boundary
            return dataclasses.replace(usual, status=status)

        return answer

    method, kind = find_upload(script)

    def upload_and_look(status: int) -> tuple[bool, str]:
        script.web.answer = answer_with(status)
        script.forget()
        result = call(script, method, kind("me.jpg"))
        is_response = isinstance(result.value, requests.Response)  # its caller may look at it
        return result.error is not None, script.printed + ("" if is_response else str(result))

    is_seen = upload_and_look(200) != upload_and_look(500)
    called, line = script.called, script.sent[0].line
    if is_seen and not script.search(r"^\s*except\b"):
        return

    def run_with(status: int) -> Run:
        script.web.answer = answer_with(status)
        script.caught.clear()
        return script.run_with_files("me.jpg")

    good, bad = run_with(200), run_with(500)
    expect_no_claim(script, good, bad, printed_before)
    is_seen = is_seen or good[:2] != bad[:2]
    script.called = called
    hint, line = script.explain_status(
        "a failed upload looks like a good one: check the status before you use the response", line
    )
    script.expect(
        is_seen,
        got="the same from a server that answers 500 as from one that answers 200",
        expected="an exception, or another result",
        hint=hint,
        line=line,
    )


@exercise
def test_accepts_webp_but_no_other_riff(script: Script) -> None:
    """Accept WebP, and no other RIFF."""
    script.require("webp" in script.source.lower(), "WebP")
    script.make_file("me.webp")
    result = upload(script, "me.webp")
    script.expect(
        files_sent(script),
        got=str(result) if result.error else "nothing was sent",
        expected="one POST with the picture",
        hint="a WebP was refused: it begins with RIFF, four bytes of length, then WEBP",
        line=script.error_line,
    )
    part = files_sent(script)[0]
    script.expect(
        part.media_type == find_media_type(part.content),
        got=f"the media type {part.media_type}",
        expected=f"the media type {find_media_type(part.content)}",
        hint="the media type and the picture don't fit: a WebP has a media type of its own",
        line=script.sent[0].line,
    )
    script.make_file("sound.webp", WAV)
    script.expect(
        is_refused(script, "sound.webp"),
        got="it was let in",
        expected=f"a refusal: the file begins with {WAV[:12]!r}",
        hint="RIFF alone may be a sound or a film: compare the letters behind the length too",
        line=script.search("RIFF"),
    )


@exercise
def test_refuses_a_picture_that_is_cut_off(script: Script) -> None:
    """Refuse a picture that is cut off."""
    for name in ("half.jpg", "half.png"):
        content = draw_picture(name[5:].replace("jpg", "jpeg"))
        script.make_file(name, content[: len(content) // 2])
        refused = is_refused(script, name)
        script.require(refused or "PIL" in script.source, "decoding")
        script.expect(
            refused,
            got="it was let in",
            expected="a refusal: the second half of the file is missing",
            hint="only decoding all of a picture shows that some is missing: verify() doesn't, "
            "load() does",
            line=script.search(r"\.verify\(|Image\.open"),
        )


@exercise
def test_caps_the_pixels_before_decoding(script: Script) -> None:
    """Cap the pixels, and ask for them before you decode."""
    kind = type(make(script))
    script.require(script.takes(kind, "max_pixels"), "max_pixels")
    decoded: list[tuple[int, int]] = []
    load_prepare = ImageFile.ImageFile.load_prepare

    def watch(picture: ImageFile.ImageFile) -> None:
        decoded.append(picture.size)
        load_prepare(picture)

    script.make_file("wide.png", draw_picture("PNG", (2000, 400)))
    result = upload(script, "wide.png", max_pixels=1_000_000)
    script.expect(
        script.web.received,
        got=str(result) if result.error else "nothing was sent",
        expected="one POST: 2,000 x 400 are 800,000 pixels, max_pixels is 1,000,000",
        hint="a picture under the cap was refused: pixels are width times height",
        line=script.error_line,
    )
    script.make_file("huge.png", draw_picture("PNG", (1300, 900)))
    with Patch() as patch:
        patch.setattr(ImageFile.ImageFile, "load_prepare", watch)
        refused = is_refused(script, "huge.png", max_pixels=1_000_000)
    script.expect(
        refused,
        got="it was let in",
        expected="a refusal: 1,300 x 900 are 1,170,000 pixels, max_pixels is 1,000,000",
        hint="a small file can hold a huge picture: refuse it when width times height is too much",
        line=script.search("max_pixels *[<>]|[<>] *(self.)?max_pixels|pixels"),
    )
    script.expect(
        (1300, 900) not in decoded,
        got="refused, but after all pixels were decoded",
        expected="a refusal before that",
        hint="decoding takes the memory that the cap should save: compare before load()",
        line=script.search(r"\.load\(|max_pixels"),
    )


@exercise
def test_strips_the_position_and_turns_upright(script: Script) -> None:
    """Strip the GPS position, and turn the picture upright."""
    picture = Image.open(io.BytesIO(draw_picture()))
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was held upright
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    script.make_file("phone.jpg", file.getvalue())
    upload(script, "phone.jpg")
    parts = files_sent(script)
    is_cut = parts and file.getvalue().endswith(parts[0].content)
    script.require(not is_cut or parts[0].content.startswith(b"\xff\xd8"), "a whole picture")
    script.expect(
        parts and find_media_type(parts[0].content),
        got="no picture arrived",
        expected="one POST with the picture",
        hint="a photo with EXIF in it is a good picture: let it in",
        line=script.error_line or find_checking(script),
    )
    script.require(parts[0].content != file.getvalue(), "a copy without EXIF")
    arrived = Image.open(io.BytesIO(parts[0].content))
    script.expect(
        not arrived.getexif().get_ifd(ExifTags.IFD.GPSInfo),
        got="a picture whose EXIF holds a GPS position",
        expected="a picture without one",
        hint="the place where it was taken went with the picture: save the copy without its EXIF",
        line=script.sent[0].line,
    )
    upright = ImageOps.exif_transpose(arrived).convert("RGB").getchannel("R")
    row = upright.height // 4 * upright.width
    left, right = (upright.tobytes()[row + upright.width * part // 5] for part in (1, 4))
    script.expect(
        upright.height > upright.width and left > 200 > 100 > right,  # white, teal
        got=f"a picture of {upright.width} x {upright.height} that lies on its side",
        expected="it upright, as its EXIF said",
        hint="the orientation went with the EXIF: turn the pixels first, then leave the EXIF out",
        line=script.sent[0].line,
    )


RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)\d)", re.IGNORECASE)
# Names that do harm somewhere, the rule that keeps them out, and the hint.
HARM: list[tuple[list[str], Callable[[str], object], str]] = [
    (
        ["../../me.jpg", r"..\..\me.jpg"],
        lambda name: not re.search(r"[/\\]", name),
        "a folder stayed in the name: / parts folders everywhere and \\ on Windows, cut at both",
    ),
    (
        ["me.php", "me", ".jpg", ""],
        lambda name: re.fullmatch(r"[^.].*\.jpg", name),
        "a name is something, then the extension of the media type, whatever was there before",
    ),
    (
        ['a<b>c:d"e|f?g*.jpg'],
        lambda name: not re.search(r'[<>:"|?*]', name),
        'Windows takes none of <>:"|?* in a name: replace them',
    ),
    (
        ["me\u202egpj.exe.jpg", "me\r\n.jpg", "\x1b[2Jme.jpg", "m\u200be.jpg"],
        lambda name: not any(unicodedata.category(letter)[0] == "C" for letter in name),
        "letters that nobody sees stayed: leave out the control and format categories of Unicode",
    ),
    (
        ["con.jpg", "AUX.jpg", "lpt1.jpg", "nul"],
        lambda name: not RESERVED.fullmatch(name.split(".")[0].rstrip()),
        "Windows means a device by this name, whatever the extension: put a letter before it",
    ),
    (
        ["x" * 300 + ".jpg", "ß" * 200 + ".jpg"],
        lambda name: len(name.encode()) <= 255,
        "file systems take 255 bytes, and one letter may need more than one: shorten the stem",
    ),
    (
        ["ada.jpg"],
        lambda name: "ada" in name,
        "a harmless name lost its letters: keep what does no harm, so that names stay different",
    ),
]


@exercise
def test_makes_names_safe_on_every_system(script: Script) -> None:
    """Make names safe on every system."""
    owner: Any = script.load()
    if not script.has("safe_filename") and script.has("ProfilePictureUploader"):
        owner = make(script)
    function = getattr(owner, "safe_filename", None)
    script.require(function is not None, "safe_filename")
    assert function
    script.require(script.takes(function, "media_type"), "safe_filename")
    for names, is_safe, hint in HARM:
        for name in names:
            safe = script.call(function, name, "image/jpeg")
            script.expect(
                isinstance(safe, str) and is_safe(safe),
                got=shorten(safe),
                expected="a name that is safe on every system, such as 'me.jpg'",
                hint=hint,
                line=script.search("def safe_filename"),
            )
