"""What streaming_upload.py does: a file of any size in chunks, with percent-complete."""

from __future__ import annotations

import dataclasses
import inspect
import io
import itertools
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from reader_checks.claims import expect_no_claim, find_catching
from reader_checks.hints import describe_error, shorten
from reader_checks.script import Mistake, Run, Script, Unusable, chapter, exercise
from reader_checks.source import find_none_at_the_end
from reader_checks.web import Received, Reply, answer_as_httpbin

MEGABYTE = 1_000_000
TEXT = b"0123456789abcde\n" * 6_251  # 100,016 bytes, the same in text mode
CHUNK_BYTES = 7_000  # the last chunk of TEXT is shorter
MOST_OF_CHUNKS = 105  # percent, where each chunk counts as a whole one
TEXT_AT_THE_END = r"""\biter\(.*\bread\b.*, *(""|'')\)|\bwhile\b.*!= *(""|'')"""
DRAWS_BY_CLOCK = r"tqdm|rich|alive|progressbar|Thread|time\b"


def show(*values: Any) -> None:
    """Print what a callback for progress is told: bytes and total, or bytes, or percent."""
    sent, total = (*values, 100 if values[0] < 1_000 else len(TEXT))[:2]
    print(f"{100 * sent / total} %")


def make_reader(script: Script, path: Path, chunk_size: int, **options: object) -> Any:
    """Return the script's reader of a file, made with a Path or, where it wants one, a str."""
    kind = script.find("ProgressFileReader", kind="class")
    for name, parameter in inspect.signature(kind).parameters.items():
        is_free = parameter.default in (None, parameter.empty)
        if is_free and re.search("progress|callback|update|report|notify|hook|^on_", name):
            options.setdefault(name, show)
    options["chunk_size"] = chunk_size
    result = script.attempt(kind, path, **options)
    if result.error:
        result = script.attempt(kind, path.name, **options)
    if result.error:
        raise Unusable(script.called, *explain_reading(script, result.error))
    reader = result.value
    script.expect(
        hasattr(reader, "__iter__") or hasattr(reader, "read"),
        got="neither __iter__ nor read",
        expected="an object that can be iterated",
        hint="requests takes the body chunk by chunk: let __iter__ yield the chunks",
        line=script.search(r"def _*iter") or script.search("^class ProgressFileReader"),
    )
    called = re.sub(r"<function (?:[^>]*>\.)?(\w+)>", r"\1", script.called)
    script.called = f"list({called})"
    return reader.__enter__() if hasattr(reader, "__enter__") else reader


def explain_reading(script: Script, error: BaseException) -> tuple[str, str, str, int | None]:
    """Return what is got, expected, a hint and a line for an exception of the reader's."""
    got, hint, line = script.explain(error)
    if "multiple values" in got:
        hint, line = "the path comes first, then chunk_size", script.search("def __init__")
    if re.search(r"'(\w*Path|str)' object has no attribute '(read|seek|tell|fileno)'", got):
        hint = "the reader is given a path, no open file: let it open the file itself"
    return got, "an object that can be iterated", hint, line


def read_chunks(
    script: Script, reader: Any, chunk_size: int, limit: int, pause: float = 0
) -> Iterator[bytes]:
    """Yield chunks as requests takes them; of a reader that never ends, no more than `limit`."""
    try:
        if hasattr(reader, "read"):  # this one goes first, as in urllib3
            chunks = itertools.takewhile(bool, map(reader.read, itertools.repeat(chunk_size)))
        else:
            chunks = iter(reader)
        for chunk in itertools.islice(chunks, limit):
            if not isinstance(chunk, bytes) and not any(one.is_text for one in script.opened):
                script.fail(
                    f"the chunk {shorten(chunk, 60)}",
                    "bytes",
                    "the chunks are no bytes: yield what read() returns, as it is",
                    script.search(r"\byield\b|return"),
                )
            yield chunk.encode() if isinstance(chunk, str) else chunk
            threading.Event().wait(pause)
    except Mistake:
        raise
    except Exception as error:
        if hasattr(script.load(), "FileChanged") and isinstance(error, script.find("FileChanged")):
            raise
        script.fail(*explain_reading(script, error))


def rewind(reader: Any) -> None:
    """Do what requests does before it sends a body again."""
    if hasattr(reader, "seek"):
        reader.seek(0)


def read_percents(script: Script, reader: Any, pause: float = 0) -> list[float]:
    """Read TEXT to its end; return the percentages that were printed meanwhile."""
    script.forget()
    for _ in read_chunks(script, reader, CHUNK_BYTES, len(TEXT), pause):
        script.clock.offset += 1  # who shows progress once a second shows it here
    return find_percents(script.printed)


def find_percents(text: str) -> list[float]:
    found = re.findall(r"(-?\d+(?:[.,]\d+)?)\s*(?:%|percent)", text)
    return [float(percent.replace(",", ".")) for percent in found]


def show_percents(percents: list[float]) -> str:
    shown = [f"{percent:.5g} %" for percent in percents]
    return ", ".join(shown if len(shown) < 9 else [*shown[:3], "...", *shown[-3:]])


def upload(script: Script, may_fail: bool = False) -> Run:
    """Let the script send a file: when it is run, alone or with a name, or by its own function."""
    hint = "read() never gives None: at the end it gives b'', so ask if not chunk"
    endless = find_none_at_the_end(script.source)
    if script.search(r"[\"']rb[\"']") and (text := script.search(TEXT_AT_THE_END)):
        hint, endless = "a file opened with 'rb' ends with b'', which is never equal to ''", text
    if endless:
        raise Unusable(
            f"python {script.name}",
            "a loop without an end",
            "an end where read() gives no more bytes",
            hint,
            endless,
        )
    path = script.make_file("video.bin")
    run = script.run_with_files(path.name)
    called = script.called
    if run.error and not may_fail:
        script.raise_unusable(run.error)
    if not script.sent:
        for name, function in script.own_functions().items():
            required = [
                one
                for one in inspect.signature(function).parameters.values()
                if one.default is one.empty
            ]
            if required and re.search("upload|send|stream|post", name):
                result = script.attempt(function, path.name)
                if script.sent:
                    exit_code = int(result.error is not None)
                    return Run(exit_code, f"{script.printed}{result}", result.error)
    if not script.sent:
        script.called = called
    return run


@chapter
def test_opens_the_file_in_binary_mode(script: Script) -> None:
    """Open the file in binary mode."""
    upload(script)
    script.expect_binary_mode()


@chapter
def test_yields_the_whole_file_in_chunks(script: Script) -> None:
    """Let the reader yield the whole file, in chunks of at most chunk_size bytes."""
    path = script.make_file("video.bin", TEXT)
    reader = make_reader(script, path, CHUNK_BYTES)
    chunks = [*read_chunks(script, reader, CHUNK_BYTES, limit=len(TEXT))]
    largest = max(map(len, chunks), default=0)
    line = find_reading(script)
    if script.takes(script.find("ProgressFileReader"), "chunk_size"):
        script.expect(
            largest <= CHUNK_BYTES,
            got=f"a chunk of {largest:,} bytes",
            expected=f"chunks of at most {CHUNK_BYTES:,} bytes",
            hint="a chunk was larger than chunk_size: read chunk_size bytes at a time",
            line=line,
        )
    data = b"".join(chunks)
    hint = "the chunks are not the whole file: read until read() returns nothing, then stop"
    if len(chunks) >= len(TEXT):
        hint = "the chunks have no end, or are single bytes: stop when read() returns nothing"
    elif len(data) <= len(TEXT) % CHUNK_BYTES:
        hint = "only the end came out: yield each chunk, inside of the loop"
        line = script.search(r"\byield\b") or line
    elif len(TEXT) - len(data) == CHUNK_BYTES:
        hint = "a chunk got lost: yield the one that was read before you read the next"
        line = script.search(r"\byield\b") or line
    elif len(TEXT) - len(data) == len(TEXT) % CHUNK_BYTES:
        hint = "the last chunk, which is shorter, got lost: stop when read() returns nothing"
    elif data and data != TEXT and len(data) >= len(TEXT):
        hint = "more comes out than is in the file: yield each chunk once, as it was read"
    script.expect(
        data == TEXT and len(chunks) < len(TEXT),
        got=f"{len(data):,} bytes in {len(chunks)} chunks",
        expected=f"the {len(TEXT):,} bytes of the file, unchanged",
        hint=hint,
        line=line,
    )


def find_reading(script: Script) -> int | None:
    """Return the line where the reader reads its file."""
    return script.search(r"\.read\w*\(|in f\w*:$") or script.search("def __iter__")


@chapter
def test_holds_only_a_chunk_in_memory(script: Script) -> None:
    """Hold no more than a chunk of the file in memory."""
    size = 4 * MEGABYTE
    path = script.make_large_file("video.bin", size)
    script.load()
    with script.measure_memory() as memory:
        reader = make_reader(script, path, 64_000)
        for _ in read_chunks(script, reader, 64_000, limit=size // 500):
            pass
    hint = "the whole file was in memory at once: read chunk_size bytes at a time"
    line = script.search(r"\.read\(\)|readlines|read_bytes")
    kept = script.search(r"\.(append|extend)\(|\+= *\[?(chunk|data|block|piece|buf\w*)\b")
    if kept and not line:
        hint, line = "the chunks were collected, all of them: yield each one as it is read", kept
    script.expect(
        memory.peak < size / 2,
        got=f"{memory.peak / MEGABYTE:.0f} MB in memory for a file of 4 MB",
        expected="one chunk at a time",
        hint=hint,
        line=line or find_reading(script),
    )


@chapter
def test_sends_the_reader_as_the_body(script: Script) -> None:
    """Hand the reader itself to requests.post, as data=."""
    upload(script)
    posts = [sent for sent in script.sent if sent.method in ("POST", "PUT")]
    script.expect(
        posts,
        got="no POST was sent",
        expected="one POST",
        hint="send the reader with requests.post",
        line=script.sent[0].line if script.sent else script.search(r"= *ProgressFileReader\("),
    )
    in_memory = [sent for sent in posts if isinstance(sent.body, (bytes, str, type(None)))]
    if len(in_memory) == len(posts):
        content = posts[0].body
        is_form = "multipart" in posts[0].headers.get("Content-Type", "")
        hint = "the body is not the reader: pass the reader itself as data=, not its bytes"
        if is_form:
            hint = "files= builds the whole body in memory: pass the reader as data="
        script.fail(
            f"a body of {len(content or ''):,} bytes" + " from files=" * is_form,
            "a body that requests reads chunk by chunk",
            hint,
            posts[0].line,
        )
    script.expect(
        not all(isinstance(sent.body, io.BufferedReader) for sent in posts),
        got="the open file as the body",
        expected="the ProgressFileReader as the body",
        hint="the open file shows no progress: pass the reader as data=, not the file",
        line=posts[0].line,
    )
    script.expect(
        any(request.size for request in script.web.received),
        got="an empty body",
        expected="the bytes of the file",
        hint="nothing came out of the reader: was it read to its end before it was sent?",
        line=posts[0].line,
    )


@chapter
def test_shows_percent_complete_up_to_100(script: Script) -> None:
    """Show percent-complete after each chunk, up to exactly 100."""
    path = script.make_file("video.bin", TEXT)
    percents = read_percents(script, make_reader(script, path, CHUNK_BYTES))
    script.expect_results_printed()
    shown = script.find_print(r"\d") or find_reading(script)
    if not any(0 < percent < 100 for percent in percents):  # some draw by a clock of their own
        pause = 0.11 if re.search(DRAWS_BY_CLOCK, script.source) else 0
        slow = read_percents(script, make_reader(script, path, CHUNK_BYTES), pause)
        percents = slow or percents or find_percents(upload(script).out)
    largest = max(percents, default=0)
    zeros, whole = percents.count(0), {*percents} <= {0, 100}
    line = script.find_print(r"%|percent")
    for is_right, hint, where in (
        (percents, "no percentage was shown: print percent-complete, with a % sign", shown),
        (
            not (whole and zeros > 1 and percents[-1] == 100),
            "the share was cut to a whole number before it became percent: multiply by 100 first",
            script.search(r"//|int\(|round\("),
        ),
        (
            largest != 10_000,
            "the % in the format multiplies by 100 itself: leave one of the two out",
            line,
        ),
        (
            largest not in (10, 1000),
            "a share is percent when it is multiplied by 100, no more and no less",
            script.search(r"\* *\d+") or line,
        ),
        (
            largest <= MOST_OF_CHUNKS,
            "the total is not the size of the file: ask os.path.getsize() for it",
            script.search(r"\b(total|size|length|file_?size)\w* *=[^=]|len\("),
        ),
        (
            largest <= 100,
            "more than 100 %: the last chunk is shorter than the others, so add len(chunk)",
            script.search(r"\+=") or line,
        ),
        (
            largest != 1 or len(percents) < 3,
            "a share of 1 was shown as 1 %: multiply it by 100",
            line,
        ),
        (
            largest > 6,  # a chunk is 7 %
            "it hardly grows: count bytes, with len(chunk), and not chunks",
            script.search(r"\+= *1\b") or line,
        ),
        (
            any(0 < percent < 100 for percent in percents),
            "progress was shown only at the end: show it after each chunk",
            line,
        ),
        (
            len({*percents[1:-1]}) > 1 or len(percents) < 4,
            "each chunk is counted alone: add up all that was sent so far, with +=",
            script.search(r"=\+? *len\(") or line,
        ),
        (
            percents[-1:] != [0] or percents != sorted(percents, reverse=True),
            "it counts down: show how much was sent, not how much is left",
            line,
        ),
        (percents == sorted(percents), "progress went back: add up all that was sent so far", line),
        (
            percents[-1:] == [100.0],
            "it didn't end at 100 %: count the chunk first, then divide by the size of the file",
            line,
        ),
    ):
        script.expect(
            is_right,
            got=show_percents(percents) or "no percentage",
            expected="percentages that grow, up to exactly 100 %",
            hint=hint,
            line=where,
        )


@chapter
def test_sets_a_timeout(script: Script) -> None:
    """Send with a timeout."""
    upload(script)
    script.expect_timeouts()


@chapter
def test_checks_the_status(script: Script) -> None:
    """Say so when the server answers with an error."""
    good = upload(script)
    if not script.sent:
        return
    script.expect_results_printed()
    printed_before = ""

    def answer(request: Received) -> Reply:
        nonlocal printed_before
        printed_before = script.printed
        return dataclasses.replace(answer_as_httpbin(request), status=500)

    script.web.answer = answer
    script.caught.clear()
    bad = upload(script, may_fail=True)
    script.called += ", while the server answers 500"
    expect_no_claim(script, good, bad, printed_before)
    hint, line = script.explain_status(
        "the status was not checked: call raise_for_status() before you use the answer",
        script.sent[0].line,
    )
    if caught := find_catching(script):
        hint, line = (
            "the failure was caught here, and nobody is told: print what went wrong",
            caught,
        )
    script.expect(
        bad.exit_code or blur(bad.out) != blur(good.out) or re.search(r"\b500\b", bad.out),
        got="the same as when it answers 200",
        expected="an error",
        hint=hint,
        line=line,
    )


def blur(text: str) -> str:
    """Take from an output what differs between any two runs."""
    return re.sub(r"\d", "", text.replace("Internal Server Error", "OK"))


@exercise
def test_tells_progress_to_a_callback(script: Script) -> None:
    """Tell progress to on_progress(bytes_sent, total_bytes)."""
    kind = script.find("ProgressFileReader", kind="class")
    script.require(script.takes(kind, "on_progress"), "no parameter on_progress")
    told: list[tuple[object, ...]] = []

    def show(*values: object) -> None:
        told.append(values)

    path = script.make_file("video.bin", TEXT[:2_500])
    reader = make_reader(script, path, 1_000, on_progress=show)
    sizes = [len(chunk) for chunk in read_chunks(script, reader, 1_000, limit=2_500)]
    expected = [(sent, 2_500) for sent in itertools.accumulate(sizes)]
    script.expect(
        told,
        got="no call of on_progress",
        expected=str(expected),
        hint="on_progress was never called: call it after each chunk",
        line=script.search("on_progress"),
    )
    calls = [call for call, _ in itertools.groupby(told) if call != (0, 2_500)]
    script.expect(
        calls == expected,
        got=calls,
        expected=str(expected),
        hint="on_progress gets two numbers: all bytes sent so far, and the size of the file",
        line=script.search(r"on_progress\(") or script.search("on_progress"),
    )


@exercise
def test_announces_the_length(script: Script) -> None:
    """Send Content-Length: let len(reader) be the size of the file."""
    path = script.make_file("video.bin", TEXT)
    reader = make_reader(script, path, CHUNK_BYTES)
    request = requests.Request("POST", "https://httpbin.org/post", data=reader).prepare()
    length = request.headers.get("Content-Length")
    script.require(bool(length) or hasattr(reader, "__len__"), "no __len__")
    script.called = script.called.replace("list", "len", 1)
    script.expect(
        length == str(len(TEXT)),
        got=f"Content-Length: {length!s}",
        expected=f"Content-Length: {len(TEXT)}, the size of the file",
        hint="the length counts bytes, not chunks: let len() be the size of the file",
        line=script.search("def __len__"),
    )
    upload(script)
    for sent, received in zip(script.sent, script.web.received, strict=False):
        script.expect(
            not received.is_chunked,
            got="Transfer-Encoding: chunked",
            expected="Content-Length with the size of the file",
            hint="a generator has no length: hand requests the reader, which knows its own",
            line=sent.line,
        )


@exercise
def test_starts_afresh_after_a_redirect(script: Script) -> None:
    """Send the whole file again when the server answers 307."""
    path = script.make_file("video.bin", TEXT)
    reader = make_reader(script, path, CHUNK_BYTES)
    first = read_percents(script, reader)
    script.called = f"{script.called}, for the second time"
    try:
        rewind(reader)
        got = f"{sum(map(len, read_chunks(script, reader, CHUNK_BYTES, limit=len(TEXT)))):,} bytes"
    except Exception as error:
        got = error.got if isinstance(error, Mistake) else describe_error(error)
    is_whole = got == f"{len(TEXT):,} bytes"
    script.require(is_whole or hasattr(reader, "__len__") or hasattr(reader, "seek"), "one pass")
    script.expect(
        is_whole,
        got=got,
        expected=f"the {len(TEXT):,} bytes of the file again",
        hint="a redirect asks for the body again: open the file in __iter__, not before",
        line=script.search("def __(iter|next)__|def read"),
    )
    rewind(reader)
    percents = read_percents(script, reader)
    script.expect(
        max(percents, default=0) <= max(first, default=0),
        got=show_percents(percents),
        expected="progress from the start, up to 100 %",
        hint="the second time the count goes on from the first: set it to 0 in __iter__",
        line=script.search("[+]="),
    )
    rewind(reader)
    script.web.answer = lambda request: (
        Reply(status=307, headers={"Location": "/new"}) if request.path == "/old" else None
    )
    script.patience = 5  # a wrong one announces a body that never comes
    result = script.attempt(requests.post, "https://example.org/old", data=reader)
    script.called = "requests.post(url, data=reader), and the server answers 307"
    sizes = [request.size for request in script.web.received if request.path == "/new"]
    script.expect(
        sizes == [len(TEXT)],
        got=describe_error(result.error) if result.error else f"{sum(sizes):,} bytes",
        expected=f"the {len(TEXT):,} bytes of the file at the new address",
        hint="a redirect asks for the body again: give the reader an __iter__ that starts afresh",
        line=script.search("def __(iter|next)__|def read"),
    )


@exercise
def test_notices_a_file_that_changes(script: Script) -> None:
    """Raise FileChanged when the file shrinks or grows while it is sent; never send more."""
    script.require(script.has("FileChanged"), "no FileChanged")
    size, chunk_size = MEGABYTE, 150_000  # no multiple: a last chunk that grows is seen
    for new_size, verb in ((size // 2, "shrank"), (2 * size, "grew")):
        path = script.make_large_file("video.bin", size)
        chunks = read_chunks(script, make_reader(script, path, chunk_size), chunk_size, limit=size)
        sent, error = len(next(chunks, b"")), None
        os.truncate(path, new_size)
        script.called = f"{script.called}, and the file {verb} after the first chunk"
        try:
            for chunk in chunks:
                sent += len(chunk)
        except Exception as raised:
            error = raised
        script.expect(
            sent <= size,
            got=f"{sent:,} bytes",
            expected=f"no more than the {size:,} bytes that were announced",
            hint="more than the announced length went out: read no more than what is left of it",
            line=find_reading(script),
        )
        script.expect(
            isinstance(error, script.find("FileChanged")),
            got=describe_error(error) if error else "no exception",
            expected="FileChanged",
            hint=f"the file {verb} and nobody noticed: compare what was sent with the size before",
            line=find_reading(script),
        )


@exercise
def test_streams_multipart(script: Script) -> None:
    """Stream the file as multipart/form-data with stream_upload(path, multipart=True)."""
    script.require(script.has("stream_upload"), "no stream_upload")
    upload = script.find("stream_upload")
    script.require(script.takes(upload, "multipart"), "no parameter multipart")
    content = bytes(range(256)) * 200 + b"\r\n--\r\n"
    path = script.make_file("video.bin", content)
    script.call(upload, path, multipart=True)
    received = script.web.received[-1]
    script.expect(
        received.parts,
        got=f"Content-Type: {received.headers.get('Content-Type', 'none')}",
        expected="multipart/form-data, with the boundary that stands in the body",
        hint="the server finds no parts: Content-Type must name the boundary between them",
        line=script.sent[-1].line,
    )
    file = received.files[0] if received.files else None
    script.expect(
        file and file.filename == path.name,
        got=f"filename={file and file.filename!r}",
        expected=f"filename={path.name!r}",
        hint="a part without its filename is no file for the server: name it in the part's header",
        line=script.sent[-1].line,
    )
    script.expect(
        file and file.content == content,
        got=f"{len(file.content) if file else 0:,} bytes, not the same",
        expected=f"the {len(content):,} bytes of the file",
        hint="the part is not the file: nothing but a line end stands before each boundary",
        line=script.sent[-1].line,
    )
    path = script.make_large_file("large.bin", 4 * MEGABYTE)
    with script.measure_memory() as memory:
        script.call(upload, path, multipart=True, chunk_size=64_000)
    script.expect(
        memory.peak < 3 * MEGABYTE,
        got=f"{memory.peak / MEGABYTE:.0f} MB in memory for a file of 4 MB",
        expected="one chunk at a time",
        hint="the multipart body was built in memory: yield its head, the chunks, its end",
        line=script.sent[-1].line,
    )
