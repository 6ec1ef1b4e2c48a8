"""What download_file.py does: look at status and header first, then write chunk by chunk."""

from __future__ import annotations

import ast
import gzip
import re
from collections.abc import Callable
from typing import Any

import requests

from reader_checks.claims import expect_no_claim, find_catching
from reader_checks.hints import describe_error
from reader_checks.script import Result, Script, Unusable, chapter, exercise
from reader_checks.stage import Patch
from reader_checks.web import HTML, Received, Reply, answer_as_httpbin, draw_picture

URL = "https://httpbin.org/image/jpeg"
NAME = "from_the_check.jpg"  # no name that a script uses itself
JPEG = {"Content-Type": "image/jpeg"}
BODY = draw_picture() + b"\r\n\n\r\x1a" + bytes(range(256)) * 270  # of no whole number of chunks
PAGE = Reply(b"<!DOCTYPE html><html><body>not here</body></html>", headers=HTML)
OLD = b"what stood there before"
CHUNK_BYTES = 8192
LARGE_BYTES = 2_000_000
CUT_BYTES = 60_000
ETAG, DATE = '"version-1"', "Sat, 14 Mar 2026 09:41:00 GMT"
VERSION = JPEG | {"ETag": ETAG, "Last-Modified": DATE, "Accept-Ranges": "bytes"}
NONE = r"(?i)^None$|.*\b(saved|to|as|in|file|path|downloaded|done|wrote)\b\W*None\b.*"
LOGS = (".txt", ".log", ".json", ".csv", ".md")
REFUSED = (
    "a picture was refused: 'image/jpeg' is not equal to 'image/', it begins with it: compare with"
    " startswith()"
)
TURNED_ROUND = "it is turned round: 'image/jpeg' begins with 'image/', not the other way"
UPSIDE_DOWN = "a picture was refused, and a web page is not: the comparison lacks a not"
RETURNED = "an exception that is returned stops nobody: raise it"
KEEPS_WHOLE = re.compile(r"\b(replace|rename|renames|move|remove|unlink|tempfile)\b")


def download(
    script: Script, answer: Reply | Callable[[Received], Reply], name: str = NAME, **options: object
) -> Result:
    """Call download_file with a server that answers so."""
    function = script.find("download_file")  # this may already run it, with the usual server
    script.web.answer = (lambda _: answer) if isinstance(answer, Reply) else answer
    result = script.attempt(function, URL, name, **options)
    if isinstance(result.error, AttributeError) and "'str' object" in str(result.error):
        return script.attempt(function, URL, script.folder / name, **options)  # it takes a Path
    if isinstance(result.error, requests.exceptions.MissingSchema) and name in str(result.error):
        got, _, line = script.explain(result.error)
        hint = "the file's name was taken for the URL: the URL comes first, then the path"
        raise Unusable(script.called, got, "a saved file, no exception", hint, line)
    return result


def expect_success(script: Script, result: Result, hint: str = REFUSED) -> None:
    """Fail when the call raised something, with `hint` when it refused the type."""
    if result.error:
        got, usual, line = script.explain(result.error)
        if is_a(result.error, "ContentTypeMismatch"):
            usual = explain_refusal(script, hint)
        script.fail(got, "a saved file, no exception", usual, line)


def explain_refusal(script: Script, hint: str = REFUSED) -> str:
    """Return why a picture may have been refused."""
    if script.search(r"prefix\w*\.startswith\("):
        return TURNED_ROUND
    if script.search(r"\.upper\(\)"):
        return "upper() makes other letters of it: 'image/' is written in small ones"
    if script.search(r"request\.headers"):
        return "request.headers are those that were sent: ask response.headers"
    if not script.search(r"(?i)['\"]content-type['\"]") and script.search(r"\bheaders\b"):
        return "the header is called Content-Type: look at the name letter by letter"
    called, line = script.called, script.error_line
    page = download(script, PAGE)
    script.called, script.error_line = called, line
    return hint if page.error else UPSIDE_DOWN


def is_a(error: BaseException | None, name: str) -> bool:
    """Tell whether it is an exception of the script's with this name."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


def is_exception(value: object) -> bool:
    """Tell whether a function returned what it should raise."""
    is_kind = isinstance(value, type) and issubclass(value, BaseException)
    return is_kind or isinstance(value, BaseException)


def describe_type(media_type: str | None) -> str:
    return f"Content-Type: {media_type}" if media_type else "an answer without Content-Type"


def describe_end(result: Result) -> str:
    """Return how a call ended, in words."""
    return describe_error(result.error) if result.error else "no exception"


def find_request(script: Script) -> int | None:
    """Return the line of the last request."""
    return script.sent[-1].line if script.sent else None


def find_writing(script: Script) -> int | None:
    """Return the line that last opened a file to write."""
    lines = [opened.line for opened in script.opened if opened.is_written]
    return lines[-1] if lines else None


def describe_saved(script: Script, name: str = NAME) -> str:
    """Return what is under a name, in words."""
    path = script.folder / name
    return f"{name} with {path.stat().st_size:,} bytes" if path.exists() else f"no {name}"


def read(script: Script, name: str = NAME) -> bytes | None:
    """Return what is under a name, None when nothing is."""
    path = script.folder / name
    return path.read_bytes() if path.exists() else None


@chapter
def test_saves_a_picture_in_binary_mode(script: Script) -> None:
    """Download a picture when the script is run, and write it in binary mode."""
    run = script.run_with_files(URL, NAME)
    for opened in script.opened:
        if opened.is_text and opened.is_written and opened.path.suffix not in LOGS:
            raise Unusable(
                script.called,
                f"open({opened.path.name!r}, {opened.mode!r})",
                f"open({opened.path.name!r}, 'wb')",
                "the file was opened in text mode, and a picture is bytes: open it with 'wb'",
                opened.line,
            )
    if run.error and script.web.received and is_a(run.error, "ContentTypeMismatch"):
        media_type = answer_as_httpbin(script.web.received[-1]).headers.get("Content-Type", "")
        hint = "the last answer was no picture, and nothing catches that: ask for /image/jpeg"
        got, line = describe_error(run.error), script.error_line
        if media_type.startswith("image/"):
            called, hint = script.called, explain_refusal(script)
            script.called = called
        raise Unusable(script.called, got, "a picture, saved", hint, line)
    if run.error:
        script.raise_unusable(run.error)
    script.expect(
        script.sent,
        got="no request",
        expected="a picture, saved",
        hint="nothing was downloaded when the script ran: call download_file at its end",
        line=script.search("def download_file"),
    )
    saved = [path for path in script.folder.rglob("*") if path.is_file() and path != script.path]
    script.expect(
        saved,
        got=f"no file, and it printed {run.out!r}",
        expected="a picture, saved",
        hint="the picture was asked for and not saved: write what comes into a file",
        line=find_request(script),
    )
    none = re.search(NONE, run.out, re.MULTILINE)
    script.expect(
        not none,
        got=f"it printed {none[0] if none else ''}",
        expected="the path of the file",
        hint="None was printed: a function without return gives None back",
        line=script.find_print(r"\bNone\b"),
    )
    script.expect_results_printed()


@chapter
def test_saves_what_came_byte_for_byte(script: Script) -> None:
    """Save what the server sends, byte for byte."""
    script.load()
    script.forget()
    expect_success(script, download(script, Reply(BODY, headers=JPEG)))
    hint = "other bytes were saved than came: write each chunk of iter_content() as it is, once"
    opened = [one for one in script.opened if one.is_written and one.path.name == NAME]
    if len(opened) > 2 and "w" in opened[-1].mode:
        hint = "'wb' empties the file for each chunk: open it once, before the loop"
    elif read(script) and BODY.endswith(read(script) or b""):
        hint = "only the last chunk was written: write each one, in the loop"
    elif read(script) and BODY.startswith(read(script) or b""):
        hint = "only the beginning was saved: the loop ends too early"
    elif read(script) is None and find_writing(script):
        hint = f"it was saved under another name than {NAME}: open output_path, as it was given"
    where = script.search(r"\.write\(") if "chunk was" in hint else None
    if "too early" in hint:
        where = script.search(r"^ +(break|return)\b")
    script.expect(
        read(script) == BODY,
        got=describe_saved(script),
        expected=f"{NAME} with the same {len(BODY):,} bytes that came",
        hint=hint,
        line=where or find_writing(script),
    )
    download(script, Reply(BODY, headers=JPEG))
    script.expect(
        read(script) == BODY,
        got=f"{describe_saved(script)} after the same call again",
        expected=f"{NAME} with {len(BODY):,} bytes, as before",
        hint="the new file was added to the old one: 'ab' appends, 'wb' starts anew",
        line=find_writing(script),
    )
    packed = gzip.compress(BODY[:CHUNK_BYTES])
    download(script, lambda request: pack(request, packed))
    script.expect(
        read(script) != packed,
        got=f"{NAME} packed, as a server may send it: Content-Encoding: gzip",
        expected=f"{NAME} with the {CHUNK_BYTES:,} bytes that were packed",
        hint="response.raw gives out what travelled, packed by gzip: iter_content() unpacks it",
        line=script.search(r"\.raw\b") or find_writing(script),
    )


def pack(request: Received, packed: bytes) -> Reply:
    """Answer with a body in gzip where requests says, as it does, that it can undo that."""
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return Reply(BODY, headers=JPEG)
    return Reply(packed, headers=JPEG | {"Content-Encoding": "gzip"})


@chapter
def test_raises_content_type_mismatch(script: Script) -> None:
    """Raise ContentTypeMismatch unless the Content-Type begins with expected_prefix."""
    hints = {
        HTML["Content-Type"]: "a web page was taken for a picture: compare the Content-Type header"
        " with expected_prefix",
        'text/html; instead-of="image/jpeg"': "the prefix may stand in the middle of another type:"
        " compare where the header begins, with startswith()",
        None: "a server may send no Content-Type at all: ask with .get(), and don't take that for a"
        " picture",
    }
    for media_type, hint in hints.items():
        headers = {"Content-Type": media_type} if media_type else {}
        result = download(script, Reply(PAGE.body, headers=headers))
        line = script.error_line or script.search("(?i)content[-_]type") or find_request(script)
        if result.error and not is_a(result.error, "ContentTypeMismatch"):
            if not script.has("ContentTypeMismatch") or re.match(
                "raise|assert", script.show_line(line)
            ):
                hint = "this is another exception: raise the chapter's own ContentTypeMismatch"
            elif media_type:
                _, hint, line = script.explain(result.error)
        elif is_exception(result.value):
            hint, line = RETURNED, script.search(r"return \w*Mismatch")
        caught = [where for error, where in script.caught if is_a(error, "ContentTypeMismatch")]
        if caught and not result.error:
            hint = "ContentTypeMismatch was raised, and caught again here: let it through"
            line = caught[-1]
        told = script.find_print(re.escape(media_type)) if media_type else None
        if told and not result.error and not caught:
            hint, line = "the other type was only printed: raise ContentTypeMismatch here", told
        script.expect(
            is_a(result.error, "ContentTypeMismatch"),
            got=f"{describe_end(result)} for {describe_type(media_type)}",
            expected="ContentTypeMismatch",
            hint=hint,
            line=line,
        )
    png = Reply(draw_picture("PNG"), headers={"Content-Type": "image/png; charset=binary"})
    expect_success(
        script,
        download(script, png),
        "'image/png; charset=binary' is a picture's type, too: compare only where it begins",
    )
    if script.takes(script.find("download_file"), "expected_prefix"):
        pdf = Reply(b"%PDF-1.4\n", headers={"Content-Type": "application/pdf"})
        expect_success(
            script,
            download(script, pdf, "from_the_check.pdf", expected_prefix="application/pdf"),
            "the type was compared with a fixed one: compare it with the parameter expected_prefix",
        )


@chapter
def test_checks_the_header_before_it_writes(script: Script) -> None:
    """Look at the Content-Type before anything is written."""
    script.load()
    for before in (None, OLD):
        if before:
            script.make_file(NAME, before)
        if not download(script, PAGE).error:
            return  # no check at all: that is the check before
        script.expect(
            read(script) == before,
            got=describe_saved(script),
            expected=f"the old {NAME}, untouched" if before else f"no {NAME}",
            hint="the file was opened too early: opening with 'wb' empties it, so look at the"
            " header first",
            line=find_writing(script),
        )


@chapter
def test_checks_the_status(script: Script) -> None:
    """Check the status before the body is used."""
    for status in (404, 500):
        result = download(script, Reply(BODY, status, JPEG))
        hint, line = script.explain_status(
            "the status was not checked: an error's body was saved as if it were the file;"
            " call raise_for_status()",
            script.error_line if result.error else find_request(script),
        )
        if caught := find_catching(script):
            hint, line = "the failure was caught here, and its body saved: let it through", caught
        script.expect(
            not read(script),
            got=f"{describe_saved(script)}, though the status was {status}",
            expected="requests.HTTPError, and nothing saved",
            hint=hint,
            line=line,
        )
    if not script.search(r"^\s*except\b"):
        return
    script.web.answer = answer_as_httpbin
    good = script.run_with_files(URL, NAME)
    printed: list[str] = []  # before each answer

    def answer(request: Received) -> Reply:
        printed.append(script.printed)
        return Reply(BODY, 500, JPEG)

    script.web.answer = answer
    script.caught.clear()
    bad = script.run_with_files(URL, NAME)
    expect_no_claim(script, good, bad, printed[0] if printed else "")


@chapter
def test_downloads_in_chunks(script: Script) -> None:
    """Take a large file in chunks: memory stays flat."""
    sizes: list[object] = []
    iter_content = requests.Response.iter_content

    def note(self: requests.Response, chunk_size: Any = 1, *rest: Any, **options: Any) -> Any:
        sizes.append(chunk_size)
        return iter_content(self, chunk_size, *rest, **options)

    with Patch() as patch:
        patch.setattr(requests.Response, "iter_content", note)
        expect_success(script, download(script, Reply(draw_picture(), headers=JPEG)))
    single = script.search(r"chunk_size *= *1\b|iter_content\(1\)")
    script.expect(
        1 not in sizes,
        got="chunks of 1 byte",
        expected=f"chunks of {CHUNK_BYTES:,} bytes",
        hint="one byte at a time takes for ever: a chunk has a few thousand, such as 8192"
        if single
        else "iter_content() takes single bytes unless you give it a chunk_size",
        line=single or script.search(r"iter_content\(") or find_request(script),
    )
    large = Reply(BODY + bytes(range(256)) * (LARGE_BYTES // 256), headers=JPEG)
    with script.measure_memory() as memory:
        expect_success(script, download(script, large, chunk_size=CHUNK_BYTES))
    script.expect(
        memory.peak < LARGE_BYTES * 3 / 4,
        got=f"{memory.peak:,} bytes in memory for a file of {LARGE_BYTES:,}",
        expected="not much more than one chunk in memory",
        hint="all of the file was held in memory: take it in pieces, with iter_content()"
        if script.sent[-1].stream
        else "all of the file was read before the first chunk: ask for it with stream=True",
        line=(script.search(r"\.content\b") or find_writing(script))
        if script.sent[-1].stream
        else find_request(script),
    )


@chapter
def test_sets_a_timeout(script: Script) -> None:
    """Give each request a timeout."""
    download(script, Reply(BODY, headers=JPEG))
    script.expect(script.sent, got="no request", expected="a GET", hint="use requests.get")
    script.expect_timeouts()


@exercise
def test_shows_progress(script: Script) -> None:
    """Call on_progress(bytes_received, total_bytes) after each chunk."""
    begun = script.takes(script.find("download_file"), "on_progress")
    script.require(begun, "no parameter on_progress")
    calls: list[tuple[object, ...]] = []
    line: int | None = None

    def on_progress(*values: object) -> None:
        nonlocal line
        calls.append(values)
        line = script.current_line()

    for reply in (Reply(BODY, headers=JPEG), Reply([BODY], headers=JPEG)):
        calls.clear()
        result = download(script, reply, chunk_size=CHUNK_BYTES, on_progress=on_progress)
        expect_success(script, result)
        total = len(BODY) if isinstance(reply.body, bytes) else None
        expected = f"(8192, {total}), ... up to ({len(BODY)}, {total})"
        script.expect(
            len(calls) > 1 and {len(values) for values in calls} == {2},
            got=f"calls: {len(calls)}" + (f", the last with {calls[-1]}" if calls else ""),
            expected=expected,
            hint="call on_progress after each chunk, with two numbers",
            line=line,
        )
        received: list[Any] = [values[0] for values in calls]
        script.expect(
            received[-1] == len(BODY) and received == sorted({*received}),
            got=f"..., {calls[-2]}, {calls[-1]}",
            expected=expected,
            hint="the bytes so far are wrong: add up len(chunk), the last chunk is shorter",
            line=line,
        )
        script.expect(
            {values[1] for values in calls} == {total},
            got=f"..., {calls[-2]}, {calls[-1]}",
            expected=expected,
            hint="the total is the Content-Length as a number, or None where the server sends none",
            line=line,
        )


@exercise
def test_caps_the_size(script: Script) -> None:
    """Raise DownloadTooLarge beyond max_bytes, announced or counted."""
    begun = script.takes(script.find("download_file"), "max_bytes")
    script.require(begun, "no parameter max_bytes")
    size = len(BODY)
    result = download(script, Reply(BODY, headers=JPEG), max_bytes=size)
    script.expect(
        not result.error,
        got=f"{describe_end(result)} for {size:,} bytes",
        expected=f"{NAME}, and no exception",
        hint="max_bytes itself is still allowed: refuse only what is more",
        line=script.error_line,
    )
    for reply, length, hint in (
        (
            Reply(BODY, headers=JPEG),
            "announced",
            "Content-Length says at once that it is too much: refuse it before it is read",
        ),
        (
            Reply([BODY], headers=JPEG),
            "without Content-Length",
            "this server announces no length: count what comes, too, and stop at max_bytes",
        ),
    ):
        result = download(script, reply, max_bytes=size - 1, chunk_size=CHUNK_BYTES)
        if result.error and length == "announced":
            hint = "this is another exception: raise DownloadTooLarge, a class of your own"
        script.expect(
            is_a(result.error, "DownloadTooLarge"),
            got=f"{describe_end(result)} for {size:,} bytes, {length}",
            expected="DownloadTooLarge",
            hint=hint,
            line=script.error_line or script.search("max_bytes *[<>]|[<>] *max_bytes|max_bytes"),
        )


@exercise
def test_refuses_a_lying_header(script: Script) -> None:
    """Raise ContentTypeMismatch for a web page that is announced as a picture."""
    result = download(script, Reply(PAGE.body, headers=JPEG))
    if not result.error:
        script.require(compares_bytes(script), "nothing looks at the first bytes")
    script.expect(
        is_a(result.error, "ContentTypeMismatch"),
        got=f"{describe_end(result)} for a web page announced as image/jpeg",
        expected="ContentTypeMismatch",
        hint="the header is only a claim: look at the first bytes for a picture's signature",
        line=script.error_line or find_writing(script),
    )
    script.expect(
        read(script) is None,
        got=describe_saved(script),
        expected=f"no {NAME}",
        hint="the first bytes were checked too late: check them before the file is opened",
        line=script.error_line,
    )


def compares_bytes(script: Script) -> bool:
    """Tell whether there is something in the script that first bytes could be compared with."""
    nodes = list(ast.walk(ast.parse(script.source)))
    return "PIL" in script.source or any(
        isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value
        for node in nodes
    )


@exercise
def test_leaves_nothing_half_written(script: Script) -> None:
    """Keep the old file, and no part of the new one, when the body is cut off."""
    script.load()
    script.make_file(NAME, OLD)
    names = {path.name for path in script.folder.iterdir()}
    for body, announced in ((BODY[:CUT_BYTES], len(BODY)), ([BODY[:CUT_BYTES]], None)):
        reply = Reply(body, headers=JPEG, announced=announced, hangs_up=True)
        result = download(script, reply, chunk_size=CHUNK_BYTES)
        if read(script) != OLD:
            script.require(KEEPS_WHOLE.search(script.source) is not None, "written in place")
        script.expect(
            read(script) == OLD,
            got=f"{describe_saved(script)}, after the connection broke",
            expected=f"the old {NAME}, untouched",
            hint="a broken download destroyed the old file: write under another name beside it, and"
            " rename it when all is there",
            line=script.error_line,
        )
        script.expect(
            result.error,
            got="no exception",
            expected="an exception",
            hint="nobody learns that the file is not whole: let the exception through",
            line=find_writing(script),
        )
        left = {path.name for path in script.folder.iterdir()} - names
        script.expect(
            not left,
            got=f"{sorted(left)} beside {NAME}",
            expected="nothing else",
            hint="half a file stayed behind: remove it when the download fails",
            line=script.error_line,
        )


@exercise
def test_resumes_an_interrupted_download(script: Script) -> None:
    """Go on with resume=True where an interrupted call ended."""
    begun = script.takes(script.find("download_file"), "resume")
    script.require(begun, "no parameter resume")
    interrupt(script, NAME)
    result = download(script, serve_ranges, resume=True)
    asked = [one.headers["Range"] for one in script.web.received if "Range" in one.headers]
    script.expect(
        asked,
        got="a second request without Range",
        expected="Range: bytes=...-",
        hint="all of it was asked for again: keep the part of the first call, and ask for the rest"
        " with a Range header",
        line=find_request(script),
    )
    script.expect(
        not result.error,
        got=f"{describe_end(result)} after a request with Range: {asked[0]}",
        expected="the whole file, no exception",
        hint="the second call failed: status 206 is a success, and brings the rest only",
        line=script.error_line,
    )
    script.expect(
        read(script) == BODY,
        got=f"{describe_saved(script)}, after a request with Range: {asked[0]}",
        expected=f"{NAME} with the {len(BODY):,} bytes of the server's file",
        hint="the rest doesn't fit: ask from the size of the part on, and append what comes",
        line=find_writing(script),
    )
    interrupt(script, "changed.jpg")
    new = BODY[:-1]
    result = download(script, Reply(new, headers=JPEG), "changed.jpg", resume=True)
    script.expect(
        not result.error and read(script, "changed.jpg") == new,
        got=describe_error(result.error) if result.error else describe_saved(script, "changed.jpg"),
        expected=f"changed.jpg with the {len(new):,} bytes that came with status 200",
        hint="a 200 brings the whole file, not the rest: start over, append only to a 206",
        line=find_writing(script),
    )


def serve_ranges(request: Received) -> Reply:
    """Answer with the part that was asked for, or with all of it."""
    headers = {**VERSION}
    asked = re.fullmatch(r"bytes=(\d+)-\d*", request.headers.get("Range", ""))
    if not asked or request.headers.get("If-Range", ETAG) not in (ETAG, DATE):
        return Reply(BODY, 200, headers)
    start, size = int(asked[1]), len(BODY)
    headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    return Reply(BODY[start:], 206, headers)


def interrupt(script: Script, name: str) -> None:
    """Call download_file with a server that hangs up before the end."""
    reply = Reply(BODY[:CUT_BYTES], 200, VERSION, len(BODY), hangs_up=True)
    download(script, reply, name, resume=True, chunk_size=CHUNK_BYTES)
    script.forget()
