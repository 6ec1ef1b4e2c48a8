"""What basic_upload.py does: one file as multipart/form-data, its bytes untouched."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reader_checks.hints import TEXT_MODE, shorten_text
from reader_checks.script import SETTINGS, Opened, Run, Script, Unusable, chapter, exercise
from reader_checks.web import Received, Reply, answer_as_httpbin

PHOTO = "photo.jpg"
PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
SUCCESS = re.compile(r"\b(success\w*|succeeded|uploaded|ok|done)\b", re.IGNORECASE)
FAILURE = re.compile(
    r"(?<!no )(?<!0 )(?<!without )\b(fail\w*|error|not ok|unsuccessful\w*)\b", re.IGNORECASE
)
SMALL = bytes(range(64))  # a body of it fits where only the beginning is printed


def find_callables(script: Script) -> Iterator[Callable[..., Any]]:
    """Yield what may send a file in a script that only defines things: functions, then methods."""
    functions = script.own_functions()
    yield from sorted(functions.values(), key=lambda one: one.__name__ != "upload_file")
    for value in [*vars(script.load()).values()]:
        if inspect.isclass(value) and value.__module__ == script.path.stem:
            instance = script.attempt(value).value
            if instance is not None:
                yield from script.methods(instance).values()


def try_upload(script: Script) -> Run:
    """Let the script send a file, as it likes: when it is run, or by a function of its own."""
    if not (script.folder / PHOTO).exists():
        script.make_file(PHOTO)
    run = script.run_with_files(PHOTO)
    if script.sent or run.error:
        return run
    called = script.called
    for function in find_callables(script):
        result = script.attempt(function, PHOTO)
        if script.sent or script.opened:
            return Run(0, f"{script.printed}{result}", result.error)
    script.called = called
    return run


def upload(script: Script) -> Run:
    """Let the script send a file, without any trouble; when nothing comes, nothing can be checked.

    A traceback is left to the other checks where the server found no file in the request: its
    answer then lacks what the script looks for.
    """
    run = try_upload(script)
    posts = get_posts(script)
    opened = find_text(script)
    if opened and not posts:  # decoding it has failed
        expected = f"open({opened.path.name!r}, 'rb')"
        raise Unusable(script.called, str(opened), expected, TEXT_MODE, opened.line)
    if run.error and (not posts or posts[-1].files):
        script.raise_unusable(run.error)
    if not posts:
        got = f"no POST, and the script printed {run.out!r}" if run.out else "no POST"
        hint, line = "nothing was sent: send the file with requests.post", None
        if script.sent:
            got, line = f"a {script.sent[0].method}", script.sent[0].line
            hint = "httpbin takes an upload as a POST: send the file with requests.post"
        raise Unusable(script.called, shorten_text(got), "one POST", hint, line)
    return run


def find_text(script: Script) -> Opened | None:
    """Return a file that was read in text mode, where no other one was read to be sent."""
    read = [one for one in script.opened if not one.is_written and not is_setting(one.path)]
    if any(not opened.is_text for opened in read):
        return None
    return read[0] if read else None


def is_setting(path: Path) -> bool:
    return bool(SETTINGS.search(path.name))


def get_posts(script: Script) -> list[Received]:
    return [request for request in script.web.received if request.method == "POST"]


def get_line(script: Script, number: int = 0) -> int | None:
    """Return the line of the script that sent the first POST, or a later one."""
    lines = [sent.line for sent in script.sent if sent.method == "POST"]
    return lines[min(number, len(lines) - 1)] if lines else None


def answer_with(status: int, request: Received) -> Reply:
    """Return httpbin's usual words under another status: only the status tells."""
    reply = answer_as_httpbin(request)
    reply.status = status
    return reply


def blur(text: str) -> str:
    """Take from an output what differs between any two runs, and the status."""
    text = text.replace("Internal Server Error", "OK")
    return re.sub(r"[0-9a-f]{32}|\d+", "#", text)


@chapter
def test_opens_the_file_in_binary_mode(script: Script) -> None:
    """Open the file in binary mode."""
    whole = {path: script.read_file(path) for path in find_files(script)}
    upload(script)
    opened = find_text(script)
    if opened:
        script.fail(str(opened), f"open({opened.path.name!r}, 'rb')", TEXT_MODE, opened.line)
    for opened in script.opened:
        is_emptied = "w" in opened.mode and whole.get(opened.path)
        script.expect(
            not is_emptied or script.read_file(opened.path),
            got=f"{opened}, and the file is empty",
            expected=f"open({opened.path.name!r}, 'rb')",
            hint=f"{opened.mode!r} empties the file when it opens it: 'rb' opens it to read",
            line=opened.line,
        )
    read: set[Path] = set()
    for opened in script.opened:
        script.expect(
            "w" not in opened.mode or opened.path not in read,
            got=f"{opened}, after it was sent",
            expected="the file as it was",
            hint="this overwrites the file that was sent: write what came under another name",
            line=opened.line,
        )
        read |= set() if opened.is_written else {opened.path}


@chapter
def test_sends_the_file_as_multipart(script: Script) -> None:
    """Send the file with files=, as multipart/form-data."""
    upload(script)
    post = get_posts(script)[0]
    header = post.headers.get("Content-Type", "none")
    script.expect(
        post.parts or b"Content-Disposition: form-data" not in post.body,
        got=f"parts in the body, but the header Content-Type: {header}",
        expected="Content-Type: multipart/form-data; boundary=..., with the body's own boundary",
        hint="Content-Type was set by hand, and the boundary got lost: leave it to requests",
        line=script.search("(?i)content-type") or get_line(script),
    )
    script.expect(
        post.parts,
        got=f"a body without parts, Content-Type: {header}",
        expected="a body of the type multipart/form-data, with the file as a part",
        hint="the file has no part of its own: pass the open file in files=, not in data= or json=",
        line=get_line(script),
    )


@chapter
def test_sends_all_bytes_unchanged(script: Script) -> None:
    """Send all bytes of the file, unchanged, each time that it is sent."""
    script.make_file(PHOTO)
    for path in find_files(script):
        if not is_setting(path):
            path.write_bytes(path.read_bytes() * 20)  # more than one read() of any buffer
    whole = {path: script.read_file(path) for path in find_files(script)}
    upload(script)
    expect_all_bytes(script, whole)
    again = [get_line(script, number) for number in range(len(get_posts(script)))]
    sent = [
        (post.path, line, part.filename, part.content)
        for post, line in zip(get_posts(script), again, strict=True)
        for part in post.files
    ]
    loop = script.search(r"^\s*(for|while)\b")
    script.expect(
        len({*sent}) > 1 or len(sent) < 2 or not loop,
        got=f"the same file in {len(sent)} requests, and the server answered 200 to each",
        expected="one request, when all is well",
        hint="it was sent again although all went well: end the loop with break",
        line=loop,
    )
    script.web.answer = lambda request: (
        answer_with(503, request) if len(script.web.received) == 1 else None
    )
    try_upload(script)  # who tries again must send the same
    expect_all_bytes(script, whole, "after an answer 503, ")


def find_files(script: Script) -> list[Path]:
    return [path for path in script.folder.rglob("*") if path.is_file() and path != script.path]


def expect_all_bytes(script: Script, whole: dict[Path, bytes], when: str = "") -> None:
    """Compare what came with the files that were opened, and with all that lay or lie there."""
    if find_text(script):
        return  # another check's business
    elsewhere = [opened.path for opened in script.opened if opened.path.is_file()]
    files = {path: script.read_file(path) for path in (*find_files(script), *elsewhere)}
    names, contents = {path.name for path in files}, {*files.values(), *whole.values()}
    for number, post in enumerate(get_posts(script)):
        for part in post.files:
            content = part.content
            if Path(content.decode("latin-1")).name in names:
                hint = "files= got the name of the file, not the file: open it, pass the handle"
            elif content in contents or not script.opened:
                continue
            elif number and not content:
                hint = "the first request left the handle at its end: rewind it, or open it again"
            elif any(one.endswith(content) for one in contents):
                hint = "something read from the handle before it was sent: rewind it with seek(0)"
            elif any(one.startswith(content) for one in contents):
                hint = "only the beginning was sent: pass the handle, or read() without a size"
            elif content in (b"rb", b"r", b"image/jpeg"):
                hint = "this is no file: the order is (name, handle, media type)"
            elif any(not opened.path.exists() for opened in script.opened):
                continue  # a file that the script made and removed
            else:
                hint = "the bytes were changed: send what read() returns, don't encode or decode it"
            script.fail(
                f"{when}request {number + 1}: {len(content):,} bytes, {content[:16]!r}",
                "the bytes of the file, all of them",
                hint,
                get_line(script, number),
            )


@chapter
def test_gives_the_part_a_file_name(script: Script) -> None:
    """Give the part a file name."""
    upload(script)
    parts = get_posts(script)[0].parts
    script.expect(
        not parts or any("." in (part.filename or "") for part in parts),
        got=", ".join(f"name={part.field!r} filename={part.filename!r}" for part in parts),
        expected=f"filename={PHOTO!r}, or any name of a file",
        hint="the part doesn't say what the file is called: pass the handle, or (name, handle)",
        line=get_line(script),
    )


@chapter
def test_sets_a_timeout(script: Script) -> None:
    """Set a timeout."""
    upload(script)
    script.expect_timeouts()


@chapter
def test_checks_the_status_before_it_reports_success(script: Script) -> None:
    """Check the status before you report success."""
    well = upload(script)
    script.expect_results_printed()
    printed_before = ""

    def answer(request: Received) -> Reply:
        nonlocal printed_before
        printed_before = script.printed
        return answer_with(500, request)

    script.web.answer = answer
    run = try_upload(script)
    usual = blur(well.out).splitlines()
    says_no = [said for said in run.out.splitlines() if FAILURE.search(said)]
    script.expect(
        not says_no or blur(says_no[0]) not in usual or SUCCESS.search(well.out),
        got=f"the server answered 200, and the script said {(says_no or [''])[0]!r}",
        expected="no failure, when all is well",
        hint="all went well, and the script says that it failed: compare response.status_code"
        " with a number",
        line=script.find_print(FAILURE.pattern),
    )
    tells = run.error or run.exit_code or blur(run.out) != blur(well.out) or "500" in run.out
    hint, line = script.explain_status(
        "the script goes on as if all was well: check the status with raise_for_status()",
        get_line(script),
    )
    script.expect(
        tells,
        got=f"the server answered 500, and the script said {run.out!r}",
        expected="an exception, or words that tell of the failure",
        hint=hint,
        line=line,
    )
    is_told = says_no and blur(says_no[0]) not in usual
    no_claim = {"done"} if is_told else set()  # the end, as in a finally
    for number, said in enumerate(run.out.splitlines()):
        is_before = number < len(printed_before.splitlines())
        words = {word.lower() for word in SUCCESS.findall(said)} - no_claim
        claims = words and (not is_before or "success" in said.lower())
        looks = script.search(r"raise_for_status\(|\.ok\b|status_code *[=!<>]")
        if is_before or looks:
            line = script.find_print(re.escape(said))
            hint = "success is reported before the status is known: check it first"
            if not is_before and line and looks and looks < line:
                hint = (
                    "success is reported although the status told of a failure: say it only when"
                    " all went well"
                )
        script.expect(
            not claims or "500" in said or blur(said) not in usual,
            got=f"the server answered 500, and the script printed {said!r}",
            expected="no such words after a failure",
            hint=hint,
            line=line,
        )


@chapter
def test_closes_the_file(script: Script) -> None:
    """Close the file."""
    upload(script)
    for opened in script.opened:
        script.expect(
            opened.file.closed or opened.is_written,  # such as a log, which Python closes
            got=f"{opened.path.name} is still open when the script has done its work",
            expected="a closed file",
            hint="the handle was not closed: open it in a with block",
            line=opened.line,
        )


def find_upload_file(script: Script) -> Callable[..., Any]:
    """Return the reader's upload_file; the exercises ask for a function of this name."""
    is_there = re.search(r"^def upload_file\(", script.source, re.MULTILINE)
    script.require(bool(is_there), "upload_file() is not there yet")
    upload_file: Callable[..., Any] = script.find("upload_file")
    return upload_file


@exercise
def test_sends_metadata_as_form_fields(script: Script) -> None:
    """Send metadata beside the file: upload_file(path, metadata={"caption": "me"})."""
    upload_file = find_upload_file(script)
    script.require(script.takes(upload_file, "metadata"), "no parameter metadata yet")
    script.make_file(PHOTO)
    script.call(upload_file, PHOTO, metadata={"caption": "me"})
    posts = get_posts(script)
    form = posts[0].form if posts else {}
    script.expect(
        form.get("caption") == "me",
        got=f"the form fields {form}",
        expected="the form fields {'caption': 'me'}",
        hint="each entry is a form field of its own: pass the dict in data= as it is"
        if form
        else "the metadata got lost: pass it in data=, for json= beside files= is dropped silently",
        line=get_line(script),
    )
    script.expect(
        posts[0].files,
        got="form fields without a file",
        expected="both in one request",
        hint="the file got lost: files= and data= go into the same call",
        line=get_line(script),
    )


@exercise
def test_tells_the_media_type_by_the_extension(script: Script) -> None:
    """Give the part the media type that the file's extension stands for."""
    upload_file = find_upload_file(script)
    usual = "pass the type that the extension means, third in (name, handle, media type)"
    expected = {
        "photo.jpg": ("image/jpeg", usual),
        "drawing.png": ("image/png", usual),
        "paper.pdf": ("application/pdf", usual),
        "PHOTO2.JPG": (
            "image/jpeg",
            "capital letters make no other extension: compare it in lower case",
        ),
        "data.unknown": (
            "application/octet-stream",
            "an unknown extension says nothing: send application/octet-stream",
        ),
    }
    got: dict[str, str | None] = {}
    for name in expected:
        script.forget()
        script.make_file(name)
        script.call(upload_file, name)
        files = [part for post in get_posts(script) for part in post.files]
        got[name] = files[0].media_type if files else None
    script.require(len(set(got.values())) > 1, "all parts have the same media type")
    for name, (media_type, hint) in expected.items():
        script.called = f"upload_file({name!r})"
        script.expect(
            got[name] == media_type,
            got=f"the part has the media type {got[name] or 'none'}",
            expected=media_type,
            hint=hint,
            line=get_line(script),
        )


def run_with(script: Script, option: str, content: bytes) -> str:
    """Run the script with an option that sends nothing; return what it prints."""
    script.require(option in script.source, f"{option} is not there yet")
    script.make_file(PHOTO, content)
    run = script.run(PHOTO, option)
    if run.error:
        script.fail_with(run.error, "a run without an error")
    script.expect(
        not run.exit_code,
        got=f"exit code {run.exit_code}: {run.out}",
        expected="a run without an error",
        hint=f"the script must know {option} beside the name of a file",
        line=script.search(re.escape(option)),
    )
    script.expect(
        not script.sent,
        got="the request was sent",
        expected="nothing is sent",
        hint=f"{option} only shows: build the request with prepare(), and don't send it"
        if option == "--show-body"
        else f"{option} only looks at the file: leave out the request then",
        line=get_line(script),
    )
    return run.out


@exercise
def test_peek_shows_the_first_bytes_in_hex(script: Script) -> None:
    """Show the first bytes in hex with --peek, and send nothing."""
    out = run_with(script, "--peek", PNG_HEAD + bytes(20_000) + b"\xde\xad\xbe\xef")
    digits = re.sub(r"0x|\\x|[^0-9a-z]", "", out.lower())
    script.expect(
        PNG_HEAD[:8].hex() in digits,
        got=out,
        expected=PNG_HEAD[:8].hex(" "),
        hint="two hex digits for each byte are wanted: bytes have a method hex()",
        line=script.find_print("PNG") or script.find_print(r"\S"),
    )
    script.expect(
        "deadbeef" not in digits,
        got=f"{len(out):,} letters, the last bytes too",
        expected="only the first bytes",
        hint="all of the file was shown: give read() a size",
        line=script.find_print(r"\S"),
    )


@exercise
def test_show_body_prints_the_request_and_sends_nothing(script: Script) -> None:
    """Print the request with its boundary with --show-body, and send nothing."""
    out = run_with(script, "--show-body", SMALL)
    header = re.search(r"multipart/form-data; boundary=([\w-]+)", out)
    types = [line for line in out.splitlines() if "Content-Type" in line]
    script.expect(
        header,
        got="\n".join(types) or out,
        expected="the header Content-Type: multipart/form-data; boundary=...",
        hint="the boundary stands in the Content-Type: print the headers of the prepared request",
        line=script.find_print("Content-Type") or script.find_print(r"\S"),
    )
    boundary = header[1] if header else ""
    script.expect(
        f'filename="{PHOTO}"' in out,
        got=out,
        expected=f'a part header with filename="{PHOTO}"',
        hint="the part is missing, or its headers: print the body of the prepared request too",
        line=script.find_print(r"\S"),
    )
    delimiters = [*dict.fromkeys(re.findall(r"--[\w-]{8,}?(?=--|\W)", out))]
    script.expect(
        f"--{boundary}" in out,  # who shows only the beginning shows no last one
        got=f"a body with {' and '.join(delimiters) or 'no boundary'}",
        expected=f"a body with --{boundary}",
        hint="header and body don't fit: each prepare() makes a new boundary, so print one request",
        line=script.find_print("--"),
    )


@exercise
def test_refuses_a_redirect_that_loses_the_file(script: Script) -> None:
    """Raise an error when a redirect turns the POST into a GET: what answers 200 got no file."""
    upload_file = find_upload_file(script)
    script.make_file(PHOTO)
    status = 302

    def answer(request: Received) -> Reply:
        if len(script.web.received) == 1:
            return Reply(status=status, headers={"Location": "/moved"})
        return answer_as_httpbin(script.web.received[0])  # all seems well

    script.web.answer = answer
    result = script.attempt(upload_file, PHOTO)
    is_begun = result.error or re.search(r"redirect|history|\.method", script.source)
    script.require(bool(is_begun), "no redirect is looked at yet")
    script.expect(
        result.error,
        got=f"302 Found, then GET /moved, and the function returned {result}",
        expected="an exception: what answered 200 got no file",
        hint="requests went on with a GET, without the file: look at response.request.method",
        line=get_line(script),
    )
    script.forget()
    status = 307
    result = script.attempt(upload_file, PHOTO)
    script.expect(
        not result.error,
        got=f"307 Temporary Redirect, then {result}",
        expected="the file sent again to the new address, and no exception",
        hint="307 and 308 keep the POST and its file: refuse only what became a GET",
        line=script.error_line,
    )
