"""What concurrent_upload.py does: a few files at a time, and what became of each on its line."""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import requests

from reader_checks.hints import TEXT_MODE, describe_error, shorten_text
from reader_checks.script import Script, Unusable, calls_in_submit, chapter, exercise, make_sample
from reader_checks.source import (
    find_file_names,
    find_folders,
    find_late_lambda,
    find_listed_files,
    find_node,
)
from reader_checks.stage import Patch
from reader_checks.web import Received, Reply, answer_as_httpbin

PATIENCE_SECONDS = 5.0  # that a reply is held for what must come; a right script never waits
NAMES = ("doc1.txt", "doc2.txt", "doc3.txt")
ENDLESS = 60  # paths, more than anybody should take
HOLD_SECONDS = 0.3  # that a right script waits once: meanwhile a wrong one takes more
MAX_AHEAD = 24
MOST_WORKERS = 64
FAILED = re.compile(
    r"fail|error|exception|refuse|reject|skip|unable|could ?n[o']t|can(no|')t|not\b|no such|missing"
    r"|timed? ?out|abort|problem|wrong|invalid|exceed|too (large|big)|\bfalse\b|[✗✘❌⚠]",
    re.IGNORECASE,
)
SENT = re.compile(r"\bok\b|success|uploaded|\bsent\b|done|complete|\btrue\b|[✓✔✅]", re.IGNORECASE)
NO_ERROR = re.compile(
    r"(error|fail\w*|exception|reason)['\"]?\s*[:=]\s*(None|null|False|0|''|\"\")", re.IGNORECASE
)
FOLDER = "documents"
UPLOAD_FILES = ("upload_files",)  # in place of arguments: call it
NO_FILES = "no file was opened: give the script a list of names, such as doc1.txt, to upload"


class Batch(NamedTuple):
    """What came of a few uploads."""

    names: list[str]  # of the files, in the order in which they arrived, twice where sent twice
    lines: list[str]  # what was printed and returned
    error: BaseException | None
    contents: dict[str, bytes]  # of the files that lay there

    def __str__(self) -> str:
        said = shorten_text(" | ".join(self.lines))
        if self.error:
            return f"{describe_error(self.error)}{said and f', after: {said}'}"
        return said or "nothing printed, nothing returned"

    def about(self, name: str) -> list[str]:
        """Return what the lines that name this file say, under the last heading."""
        pattern = compile_names(frozenset([name, *self.names]))
        named, heading = [], ""
        for line in self.lines:
            found = {*pattern.findall(line)}
            if name in found:
                named.append(f"{heading} {line}")
            elif not found:
                heading = line if line.rstrip().endswith(":") else ""
        return [re.sub(rf"\S*{re.escape(name)}", "", line) for line in named]


@functools.lru_cache(maxsize=64)
def compile_names(names: frozenset[str]) -> re.Pattern[str]:
    """Return a pattern that finds these names, the longest first."""
    words = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.-])({words})(?!\w)")


def find_name(name: str, line: str) -> bool:
    return bool(re.search(rf"(?<![\w.-]){re.escape(name)}(?!\w)", line))


def says_failed(line: str) -> bool:
    line = NO_ERROR.sub("", line.replace("Internal Server Error", ""))
    return bool(FAILED.search(line))


def says_sent(line: str) -> bool:
    is_open = "500" in line and not re.search(r"\bok\b|success", line, re.IGNORECASE)
    return bool(SENT.search(line)) and not says_failed(line) and not is_open


def to_lines(value: Any) -> Iterator[str]:
    """Yield a line for each file in what a function returned, whatever its shape."""
    if isinstance(value, str):
        yield from value.splitlines()
    elif isinstance(value, Mapping) and any(
        isinstance(one, (list, tuple, dict)) or "." in str(key) for key, one in value.items()
    ):
        yield from (f"{key}: {one}" for key, one in value.items())
    elif isinstance(value, (list, set, Iterator)) or (
        isinstance(value, tuple) and any(isinstance(one, (list, tuple, dict)) for one in value)
    ):
        for one in value:
            yield from to_lines(one)
    elif value is not None:
        text = str(value)
        yield str(vars(value)) if " object at 0x" in text else text


def split_printed(line: str, names: Iterable[str]) -> list[str]:
    """Return a line for each file where a list or dict of all was printed on one."""
    literal = re.search(r"[\[{(].*", line)
    if literal and sum(find_name(name, line) for name in names) > 1:
        with contextlib.suppress(ValueError, SyntaxError):
            return [*to_lines(ast.literal_eval(literal.group()))]
    return [line]


# ---------------------------------------------------------------------------- uploads


def lay_files(script: Script, *names: str, missing: str = "") -> dict[str, bytes]:
    """Make these files and those that the script mentions, no two the same, but for one."""
    for name in names:
        script.make_file(name)
    contents = {}
    for folder, extension in find_folders(script.source):
        if not (script.folder / folder).exists():
            lay_folder(script, folder, extension)
    for path in script.folder.rglob("*.*"):
        if path.is_file() and path != script.path:
            contents[path.name] = make_sample(path.suffix[1:].lower()) + path.name.encode()
            path.write_bytes(contents[path.name])
            if path.name == missing:
                path.unlink()
    script.forget()
    return contents


def name_file(request: Received, contents: dict[str, bytes]) -> str:
    """Return which file came: its own name where the bytes tell, else the name that was sent."""
    bodies = [(part.filename, part.content) for part in request.parts] or [("", request.body)]
    for name, content in contents.items():
        if any(body == content for _, body in bodies):
            return name
    return next((Path(filename).name for filename, _ in bodies if filename), "?")


def find_uploads(script: Script) -> list[Received]:
    return [request for request in script.web.received if request.method in ("POST", "PUT")]


def to_paths(script: Script, names: Iterable[str]) -> Iterator[str | Path]:
    """Yield names as the script itself would write them."""
    return map(Path if "Path(" in script.source else str, names)


def collect(script: Script, contents: dict[str, bytes], value: Any, error: Any) -> Batch:
    """Return what came of what was just called; takes all that it yields."""
    lines: list[str] = []
    try:
        for line in to_lines(value):
            lines.append(line)
    except Exception as failure:
        error, script.error_line = failure, script.find_error_line(failure)
    names = [name_file(request, contents) for request in find_uploads(script)]
    known = {*names, *contents}
    for line in script.printed.splitlines():
        lines += split_printed(line, known)
    return Batch(names, lines, error, contents)


def upload_files(script: Script, *names: str, missing: str = "", **options: object) -> Batch:
    """Call the script's upload_files with these files."""
    contents = lay_files(script, *names, missing=missing)
    result = script.attempt(script.find("upload_files"), [*to_paths(script, names)], **options)
    return collect(script, contents, result.value, result.error)


def upload_some(script: Script, missing: str = "") -> Batch:
    """Let the script upload what it uploads: when it is run, with names, or in upload_files."""
    contents = lay_files(script, *NAMES, missing=missing)
    first: Batch | None = None
    for arguments in guess_arguments(script):
        if arguments == UPLOAD_FILES:
            batch = upload_files(script, *NAMES, missing=missing)
        else:
            contents |= lay_folder(script, FOLDER) if FOLDER in arguments else {}
            run = script.run(*arguments)
            batch = collect(script, contents, None, run.error)
        if any(not opened.is_written for opened in script.opened) or batch.names:
            script.arguments = arguments
            return batch
        first = first or batch
    assert first
    return first


def guess_arguments(script: Script) -> Iterator[tuple[str, ...]]:
    """Yield with what a script may upload something, as it did before, if it did."""
    if script.arguments is not None:
        yield script.arguments
        return
    yield ()
    if script.search("def upload_files"):
        yield UPLOAD_FILES
    if script.reads_arguments():
        yield NAMES
        yield (FOLDER,)
        yield from script.guess_options(FOLDER)
        yield from script.guess_options(*NAMES)


def lay_folder(script: Script, folder: str, extension: str = "txt") -> dict[str, bytes]:
    """Make a folder with a few files; return what is in them."""
    contents = {}
    for number in (1, 2, 3):
        name = f"doc{number}.{extension}"
        contents[name] = make_sample(extension) + name.encode()
        script.make_file(f"{folder}/{name}", contents[name])
    return contents


def upload_well(script: Script) -> Batch:
    """Let the script upload while all is well; where nothing arrives, nothing can be checked."""
    batch = upload_some(script)
    if batch.error or not batch.names:
        got, hint, line = str(batch), NO_FILES, script.search(r"submit\(|\.map\(|Thread\(")
        if batch.error:
            _, hint, line = script.explain(batch.error)
        elif script.opened or script.printed:
            hint, line = explain_loss(script, got, line)
        elif not script.opened:
            hint = "nothing happens when the script runs: does it end early, or call nothing?"
        called = script.called or f"python {script.name}"
        raise Unusable(called, got, "a few files that arrive", hint, line)
    return batch


def explain_loss(script: Script, said: str, line: int | None) -> tuple[str, int | None]:
    """Return why files may not have arrived, and the line."""
    if "closed file" in said:
        where = script.search(r"\bopen\(")
        return "the file was closed before the worker sent it: open it inside of the worker", where
    if "can't decode" in said:
        return TEXT_MODE, script.search(r"\bopen\(")
    if "'_thread._local' object has no attribute" in said:
        hint = "what is set on a threading.local() is this thread's only: set it in the worker"
        return hint, script.search(r"^\w+\.\w+ *=[^=]") or script.search(r"\blocal\(\)")
    for opened in script.opened:
        if "w" in opened.mode and re.search(r"\bread(able)?\b", said):
            hint = f"{opened.mode!r} empties the file when it opens it: 'rb' opens it to read"
            return hint, opened.line
    if single := script.search(r"args *= *\((\w+|['\"][^'\"]*['\"])\)"):
        return "args= takes a tuple, and (name) is none: write (name,) with a comma", single
    if "not tuple" in said:
        return "the worker got a tuple: hand it the name itself, without brackets", line
    if "not list" in said:
        return "the worker got the whole list: submit it once for each file", line
    if re.search(r"directory: '.'", said):
        text = script.search(r"= *['\"][^'\"]+\.\w+['\"]$")
        return "a text is gone through letter by letter: put the names into a list, in []", text
    if not script.opened and not FAILED.search(said):
        return NO_FILES, line
    if FAILED.search(said):
        return "the script itself says what failed: read what it printed", script.find_print(
            FAILED.pattern
        )
    return "an upload that ends in an exception keeps it to itself: look at each result", line


def find_called_at_once(script: Script) -> tuple[str, int] | None:
    """Return a hint, and its line, where a worker is called before it is handed over."""
    submitted = find_node(script.source, calls_in_submit)
    if submitted:
        return "submit() calls the function itself: give it the name, then the argument", submitted
    target = script.search(r"target *= *\w[\w.]*\((?!.*partial)")
    if target:
        return "target= takes the function itself: leave out the (), and use args=", target
    return None


@contextlib.contextmanager
def watch_futures(script: Script) -> Iterator[Callable[[int], None]]:
    """Yield what waits, in `answer`, until so many uploads are over, as futures tell."""
    changed, over = threading.Condition(), 0
    patience = 2.0 if "Executor" in script.source else 0.0

    def count(finish: Callable[..., None]) -> Callable[..., None]:
        def finish_and_count(future: Future[Any], outcome: Any) -> None:
            nonlocal over
            finish(future, outcome)
            with changed:
                over += 1
                changed.notify_all()

        return finish_and_count

    def wait_for(uploads: int) -> None:
        nonlocal patience
        with changed:
            if not changed.wait_for(lambda: over >= uploads, patience):
                patience = 0.0
        time.sleep(0.05)  # until as_completed() waits, too: what is over then comes in any order

    with Patch() as patch:
        for name in ("set_result", "set_exception"):
            patch.setattr(Future, name, count(getattr(Future, name)))
        yield wait_for


def hold_until_two(script: Script) -> None:
    """Let the server answer the first upload when a second one came."""
    script._shorten_timeout = lambda timeout: (10.0, 10.0)  # type: ignore[method-assign]

    def answer(request: Received) -> None:
        if find_uploads(script)[:1] == [request]:
            script.web.wait_for_others(2, PATIENCE_SECONDS)

    script.web.answer = answer


# ---------------------------------------------------------------------------- the chapter


@chapter
def test_sends_each_file_once_and_whole(script: Script) -> None:
    """Send each file once, whole, and under its own name."""
    batch = upload_well(script)
    late = find_late_lambda(script.source)
    if late:
        hint = "a lambda sees the name when it runs, and by then it may be another: submit(f, name)"
        got = "a lambda that takes the name from the loop"
        expected = "the function and the name, each by itself"
        raise Unusable(script.called, got, expected, hint, late)
    sent = dict(zip(batch.names, find_uploads(script), strict=True))
    read = [opened for opened in script.opened if not opened.is_written]
    for opened in read:
        name = opened.path.name
        script.expect(
            not opened.is_text or name not in sent,
            got=f"open({name!r}, {opened.mode!r})",
            expected=f"open({name!r}, 'rb')",
            hint=TEXT_MODE,
            line=opened.line,
        )
    made = {opened.path.name for opened in script.opened if opened.is_written}
    for name, request in sent.items():
        script.expect(
            request.files,
            got=f"a body of the type {request.media_type or 'none'}",
            expected="multipart/form-data with one file",
            hint="pass the open file in files=: data= sends it without name and boundary",
            line=script.sent[0].line,
        )
        filename, content = str(request.files[0].filename), request.files[0].content
        script.expect(
            name not in batch.contents or Path(filename).name == name,
            got=f"{name} arrived under the name {filename!r}",
            expected=f"the name {name!r}",
            hint="requests can't tell the name from bytes: pass the open file, or name and content",
            line=script.sent[0].line,
        )
        whole = content if name in made else batch.contents.get(name, content)
        script.expect(
            content == whole,
            got=f"{name} arrived with {len(content)} bytes",
            expected=f"its {len(whole)} bytes, unchanged",
            hint="the file was read before it was sent: send it from its start",
            line=script.sent[0].line,
        )
        script.expect(
            batch.names.count(name) == 1,
            got=f"{name} arrived {batch.names.count(name)} times",
            expected="each file once",
            hint="one file is handed to several workers: submit each once",
            line=script.search(r"submit\(|\.map\(|Thread\("),
        )
    for name in find_listed_files(script.source):
        script.expect(
            name in sent or not {*find_listed_files(script.source)} & {*sent},
            got=f"{name} was never sent: {batch}",
            expected="each file of the list is sent",
            hint="not all files of the list are sent: does the loop end early?",
            line=script.search(r"\bfor\b|\.map\("),
        )
    lines = {opened.line for opened in read if opened.path.name in sent}
    for opened in read:
        script.expect(
            opened.path.name in sent or opened.line not in lines,
            got=f"{opened.path.name} was opened, but never arrived: {batch}",
            expected="each file that is opened is sent",
            hint=explain_loss(script, str(batch), None)[0],
            line=opened.line,
        )


@chapter
def test_gives_each_request_a_timeout(script: Script) -> None:
    """Give each request a timeout."""
    upload_well(script)
    script.expect_timeouts()


@chapter
def test_uploads_at_the_same_time(script: Script) -> None:
    """Upload several files at the same time."""
    hold_until_two(script)
    upload_well(script)
    hint = "the uploads run one after the other: submit them all, then ask for the results"
    line = script.search(r"\.result\(|\.join\(|submit\(|\.map\(") or script.sent[0].line
    if script.search(r"max_workers *= *1\b|Executor\(1\)"):
        hint = "one worker sends one file at a time: give the pool a few"
        line = script.search(r"max_workers *= *1\b|Executor\(1\)")
    hint, line = find_called_at_once(script) or (hint, line)
    script.expect(
        script.web.peak > 1,
        got="each upload began when the one before had its answer",
        expected="a second upload while the first waits for its answer",
        hint=hint,
        line=line,
    )


@chapter
def test_keeps_to_max_workers(script: Script) -> None:
    """Run no more uploads at once than max_workers says."""
    pools: list[tuple[int | None, int | None]] = []  # max_workers, line
    start = ThreadPoolExecutor.__init__

    def note(self: Any, max_workers: int | None = None, *rest: Any, **options: Any) -> None:
        if sys._getframe(1).f_code.co_filename == str(script.path):  # not asyncio's own
            pools.append((max_workers, script.current_line()))
        start(self, max_workers, *rest, **options)

    with Patch() as patch:
        patch.setattr(ThreadPoolExecutor, "__init__", note)
        upload_well(script)
        script.expect(
            pools
            or not re.search(r"\bThread\(", script.source)
            or re.search("Queue|Semaphore", script.source),
            got="a thread for each file",
            expected="ThreadPoolExecutor(max_workers=...)",
            hint="a thousand files would start a thousand threads: a pool takes a few at a time",
            line=script.search(r"\bThread\("),
        )
        for workers, line in pools:
            script.expect(
                workers is not None,
                got="ThreadPoolExecutor() without a number",
                expected="ThreadPoolExecutor(max_workers=...)",
                hint="how many threads run is left to the machine: set max_workers",
                line=line,
            )
            script.expect(
                workers is None or workers <= MOST_WORKERS,
                got=f"a pool of {workers} workers",
                expected="a few, such as 3 to 10",
                hint="so many threads wear the server down, and this machine: set max_workers to a"
                " few",
                line=line,
            )
            script.expect(
                not re.search(r"(max_workers\s*=|Executor\()\s*len\(", script.show_line(line)),
                got=f"max_workers={workers}, as many as there are files",
                expected="a number that doesn't grow with the files",
                hint="a thousand files would start a thousand threads: set max_workers to a few",
                line=line,
            )
        if script.has("upload_files") and script.takes(script.find("upload_files"), "max_workers"):
            pools.clear()
            upload_files(script, *(f"doc{number}.txt" for number in range(6)), max_workers=2)
            workers, line = pools[0] if pools else (script.web.peak, None)
            script.expect(
                workers is not None and workers <= 2,
                got=f"a pool of {workers} workers",
                expected="a pool of 2",
                hint="the parameter max_workers is ignored: hand it to the pool",
                line=line,
            )


@chapter
def test_names_the_right_file_on_each_line(script: Script) -> None:
    """Say of each file what became of it, on a line with its name."""
    batch = upload_well(script)
    none = re.search(r"^None$", script.printed, re.MULTILINE)
    script.expect(
        not none,
        got=f"printed None: {batch}",
        expected="a line for each file",
        hint="None was printed: does the worker return its result?",
        line=script.find_print(r"^None$"),
    )
    script.expect_results_printed()
    status = {name: (226, 208, 207, 206)[i % 4] for i, name in enumerate(batch.names)}
    # Another one comes last each time: in one of the two runs no order is right by chance.
    for last in [*status][:2]:
        with watch_futures(script) as wait_for:
            script.web.answer = functools.partial(
                answer_late, status, last, batch.contents, wait_for
            )
            expect_right_lines(script, upload_some(script), status)


def answer_late(
    status: dict[str, int],
    last: str,
    contents: dict[str, bytes],
    wait_for: Callable[[int], None],
    request: Received,
) -> Reply | None:
    """Answer each file with its own status, one of them when all others are done."""
    name = name_file(request, contents)
    if name == last:
        wait_for(len(status) - 1)
    return Reply(status=status[name]) if name in status else None


def expect_right_lines(script: Script, batch: Batch, status: dict[str, int]) -> None:
    """Expect a line for each file, and in it no other file's status."""
    hint, where = "nobody knows which file this is about: put its name beside the result", None
    if "<Future at" in str(batch):
        hint = "a future is no result yet: ask it with result()"
    elif "submit" in script.source and not script.search(r"\.result\("):
        hint = "no future was asked for its result: print what result() gives"
    elif (
        len(batch.lines) < len(status)
        and (started := script.search(r"\bThread\("))
        and not script.search(r"\.join\(")
    ):
        where, hint = (
            started,
            "nothing waits for the threads: join() each before you read the results",
        )
    named = [name for name in status if batch.about(name)]
    early = script.search(r"^\s+break\b")
    if len(named) == 1 < len(batch.about(named[0])):
        hint = "each line has the same name, the last of a loop: let each result bring its own"
    elif len(named) == 1 and early:
        hint = "only one result was asked for: break ends the loop, leave it out"
    for name in status:
        script.expect(
            batch.about(name),
            got=str(batch),
            expected=f"a line that names {name}",
            hint=hint,
            line=where or script.find_print(r"\S") or find_result(script),
        )
    for name in status:
        for line in batch.about(name):
            numbers = {int(number) for number in re.findall(r"(?<![\d.])\d{3}(?![\d.]*\d)", line)}
            script.expect(
                status[name] in numbers or numbers.isdisjoint(status.values()),
                got=f"{name}: {line.strip()}",
                expected=f"{name} with {status[name]}, as the server answered",
                hint="results come in another order than files: let each bring its file's name",
                line=script.find_print(re.escape(name)) or find_result(script),
            )


@chapter
def test_reports_a_refused_file_as_failed(script: Script) -> None:
    """Report a file that the server refuses as failed."""
    batch = upload_well(script)
    refused, contents = batch.names[-1], batch.contents
    script.web.answer = lambda request: (
        Reply(status=500) if name_file(request, contents) == refused else None
    )
    batch = upload_some(script)
    told = any(says_failed(line) for name in batch.names for line in batch.about(name))
    hint, line = script.explain_status(
        "an answer is not yet a success: check the status before you say OK", find_result(script)
    )
    script.expect(
        told or not any(map(says_sent, batch.about(refused))),
        got=str(batch),
        expected=f"{refused} as failed: the server answered 500",
        hint=hint,
        line=line,
    )


@chapter
def test_goes_on_when_a_file_fails(script: Script) -> None:
    """Let a file that fails cost only its own line."""
    batch = upload_well(script)
    names = [name for name in sorted({*batch.names}) if batch.about(name)]
    made = {opened.path.name for opened in script.opened if opened.is_written}
    contents = batch.contents
    broken = sorted(batch.names[:2], key=script.source.find)[-1:]  # not the first of the list
    with watch_futures(script) as wait_for:

        def answer(request: Received) -> None:
            if name_file(request, contents) in broken:
                raise ConnectionError("hang up without an answer")
            wait_for(1)

        script.web.answer = answer
        halted = upload_some(script)
        expect_all(script, halted, names, f"the connection of {broken[0]} breaks")
        expect_blame(script, halted, broken[0])
        broken = batch.names
        expect_all(script, upload_some(script), names, "the server is down")
        script.web.answer = lambda request: None
    missing = batch.names[-1]
    is_made = missing not in find_file_names(script.source) - made  # by the script itself
    if not is_made:
        batch = upload_some(script, missing)
        is_made = any(opened.is_written and opened.path.name == missing for opened in script.opened)
        if not is_made:
            expect_all(script, batch, names, f"{missing} is missing")
    if is_made and script.has("upload_files"):
        batch = upload_files(script, *NAMES, missing="doc2.txt")
        expect_all(script, batch, [*NAMES], "doc2.txt is missing")


def expect_blame(script: Script, batch: Batch, broken: str) -> None:
    """Expect that no other file is blamed for the one that failed."""
    blamed = [name for name in batch.names if any(map(says_failed, batch.about(name)))]
    script.expect(
        broken in blamed or not blamed or not batch.about(broken),
        got=f"the connection of {broken} breaks: {batch}",
        expected=f"FAIL for {broken}, and for no other",
        hint="results come in another order than files: let each bring its file's name",
        line=script.search(r"\bzip\(|enumerate\(") or find_result(script),
    )


def find_result(script: Script) -> int | None:
    """Return the line of the script that says what became of a file."""
    return script.search(r"return f?['\"(]|\bOK\b") or script.search(r"\bprint\(")


def names_any(batch: Batch, line: str) -> bool:
    return any(find_name(name, line) for name in (*batch.names, *batch.contents))


def expect_all(script: Script, batch: Batch, names: list[str], what: str) -> None:
    """Expect a line for each of these files, and one that says that something failed."""
    batch = batch._replace(names=names)
    unnamed = [name for name in names if not batch.about(name)]
    hint = "an exception waits in its future until you ask: look at the result of each file"
    if batch.error or len(unnamed) > 1:
        hint = "the first exception ends the batch: catch it for each file, in the worker"
    if isinstance(batch.error, FileNotFoundError):
        hint = "a missing file ends the batch: catch OSError too, not only what requests raises"
    nameless = [line for line in batch.lines if says_failed(line) and not names_any(batch, line)]
    if nameless and not batch.error and len(nameless) <= len(unnamed):
        hint = "the failure doesn't say which file it is about: put its name beside it"
    told = any(says_failed(line) for name in names for line in batch.about(name))
    script.expect(
        not unnamed and (told or not names) and not batch.error,
        got=f"{what}: {batch}",
        expected=f"a line for each of {', '.join(names)}, FAIL where it failed",
        hint=hint,
        line=(script.error_line if batch.error else None)
        or ("say which" in hint and script.search(r"(?i)fail|error"))
        or script.search(r"submit\(|\.map\(")
        or find_result(script),
    )


# ---------------------------------------------------------------------------- exercises


@exercise
def test_refuses_a_file_over_50_mb(script: Script) -> None:
    """Refuse a file over 50 MB before anything is sent."""
    script.require(script.has("upload_single_file"), "no upload_single_file")
    begun = re.search(r"\b50\b|\b5[02]_?\d{3}_?\d{3}\b|getsize|st_size", script.source)
    script.require(bool(begun), "nothing about a size")
    upload = script.find("upload_single_file")
    script.make_large_file("large.mp4", 50 * 1024 * 1024 + 1)
    batch = collect(script, {}, *script.attempt(upload, *to_paths(script, ["large.mp4"])))
    script.expect(
        not batch.error,
        got=describe_error(batch.error) if batch.error else "",
        expected="FAIL large.mp4: ...",
        hint="a file that is too large is a result, no crash: return a FAIL",
        line=script.error_line,
    )
    script.expect(
        not script.web.received,
        got=f"{sum(request.size for request in script.web.received):,} bytes were sent",
        expected="FAIL large.mp4: ..., and nothing sent",
        hint="files= would hold all of it in memory: look at the size before you send",
        line=script.sent[0].line if script.sent else None,
    )
    script.expect(
        any(map(says_failed, batch.lines)),
        got=str(batch),
        expected="FAIL large.mp4: ...",
        hint="nothing was sent, so say that it failed",
        line=script.search(r"\b50\b|getsize|st_size"),
    )
    script.make_large_file("small.mp4", 1024 * 1024)
    script.web.answer = lambda request: answer_as_httpbin(request, echoes=False)
    script.call(upload, *to_paths(script, ["small.mp4"]))
    script.expect(
        script.web.received,
        got="nothing was sent",
        expected="a file of 1 MB is sent",
        hint="50 MB are 50 * 1024 * 1024 bytes: look at the limit",
        line=script.search(r"\b50\b|getsize|st_size"),
    )


@exercise
def test_yields_results_as_they_complete(script: Script) -> None:
    """Yield each result as soon as it is there."""
    require_iterator(script)
    names = ["slow.txt", "quick1.txt", "quick2.txt"]
    contents = lay_files(script, *names)
    one_is_there = threading.Event()
    held_for_nothing = False

    def answer(request: Received) -> None:
        nonlocal held_for_nothing
        if name_file(request, contents) == "slow.txt" and not one_is_there.wait(PATIENCE_SECONDS):
            held_for_nothing = True

    script.web.answer = answer
    script._shorten_timeout = lambda timeout: (10.0, 10.0)  # type: ignore[method-assign]
    results = script.call(script.find("upload_files"), [*to_paths(script, names)])
    first = [*islice(results, 1)]
    one_is_there.set()
    rest = [*results]
    script.expect(
        not held_for_nothing,
        got="no result before slow.txt had its answer",
        expected="the results of the quick files while slow.txt waits",
        hint="the results come when all are done, or in order: yield each as it completes",
        line=script.search(r"\bwait\(|\.map\(|\byield\b"),
    )
    script.expect(
        len(first + rest) == len(names),
        got=f"{len(first + rest)} results",
        expected=f"{len(names)} results, one for each file",
        hint="some result is never yielded: count them",
        line=script.search(r"\byield\b"),
    )


@exercise
def test_gives_each_worker_a_session_of_its_own(script: Script) -> None:
    """Give each worker thread a Session of its own."""
    script.require("session(" in script.source.lower(), "no Session")
    users: dict[int, set[int]] = {}  # the threads of each
    sessions: list[requests.Session] = []  # kept, so that no two have the same id
    send = requests.Session.send

    def note(self: requests.Session, *arguments: Any, **options: Any) -> requests.Response:
        sessions.append(self)
        users.setdefault(id(self), set()).add(threading.get_ident())
        return send(self, *arguments, **options)

    with Patch() as patch:
        patch.setattr(requests.Session, "send", note)
        has_function = script.has("upload_files")
        sessions.clear()
        users.clear()
        hold_until_two(script)
        if has_function:
            upload_files(script, *(f"doc{number}.txt" for number in range(8)))
        else:
            upload_some(script)
    threads = set().union(*users.values())
    script.expect(
        all(len(used_by) == 1 for used_by in users.values()),
        got=f"{len(users)} Session in {len(threads)} threads",
        expected=f"{len(threads)} Sessions, one for each thread",
        hint="threads share a Session, which is not made for that: give each thread its own",
        line=script.sent[0].line if script.sent else None,
    )
    script.expect(
        len(users) <= len(threads),
        got=f"{len(users)} Sessions for {len(sessions)} uploads in {len(threads)} threads",
        expected="one for each thread, for all that it uploads",
        hint="a new Session for each file keeps no connection open: let each thread keep its own",
        line=script.sent[0].line if script.sent else None,
    )


@exercise
def test_waits_as_retry_after_asks(script: Script) -> None:
    """Wait as Retry-After asks, try again, and give up after a few tries."""
    begun = re.search(r"retry|retries|429|503", script.source, re.IGNORECASE)
    script.require(bool(begun) and script.has("upload_single_file"), "nothing is tried again")
    upload = script.find("upload_single_file")
    content = lay_files(script, "doc1.txt")["doc1.txt"]
    times: list[float] = []
    script.max_requests = 40  # for one file

    def answer(_: Received) -> Reply | None:
        times.append(time.monotonic())
        if len(times) == 1:
            return Reply(status=429, headers={"Retry-After": "11"})
        return None

    script.web.answer = answer
    batch = collect(script, {}, *script.attempt(upload, *to_paths(script, ["doc1.txt"])))
    tries = find_uploads(script)
    line = script.sent[-1].line if script.sent else None
    script.expect(
        len(tries) == 2,
        got=f"sent {len(tries)} times, while the server said 429, then 200: {batch}",
        expected="sent twice",
        hint="429 means «not now»: send the file again after the time in Retry-After",
        line=line,
    )
    waited = times[1] - times[0]
    script.expect(
        10.99 < waited < 30,
        got=f"the next try after {waited:.0f} s",
        expected="after 11 s, as Retry-After said",
        hint="the server says in the header Retry-After how many seconds to wait: read it",
        line=line,
    )
    script.expect(
        tries[1].files and tries[1].files[0].content == content,
        got=f"{len(tries[1].files[0].content) if tries[1].files else 0} bytes the second time",
        expected=f"{len(content)} bytes, the whole file again",
        hint="the first try read the file to its end: open it again, or go back to its start",
        line=line,
    )
    script.expect(
        any(says_sent(line) or "200" in line for line in batch.lines),
        got=str(batch),
        expected="OK doc1.txt: 200",
        hint="the second try went well, so this file is no failure",
        line=find_result(script),
    )
    script.web.answer = lambda _: Reply(status=503, headers={"Retry-After": "1"})
    script.forget()
    batch = collect(script, {}, *script.attempt(upload, *to_paths(script, ["doc1.txt"])))
    script.expect(
        len(find_uploads(script)) <= 10,
        got=f"{len(find_uploads(script))} tries",
        expected="a few tries, 10 at most",
        hint="a server that is always busy would be asked too often: give up after a few tries",
        line=line,
    )
    script.expect(
        not batch.error and not any(map(says_sent, batch.lines)),
        got=str(batch),
        expected="FAIL doc1.txt: ...",
        hint="after the last try the file has failed: return that as its result",
        line=script.error_line,
    )


@exercise
def test_takes_only_a_few_paths_ahead(script: Script) -> None:
    """Take only a few paths ahead of the results, so that they may be endless."""
    require_iterator(script)
    taken, most, too_many = 0, 5 + MAX_AHEAD, threading.Event()

    def count_paths() -> Iterator[str | Path]:
        nonlocal taken
        for path in to_paths(script, (f"doc{number}.txt" for number in range(ENDLESS))):
            script.make_file(str(path))
            taken += 1
            if taken > most:
                too_many.set()
            yield path

    def answer_slowly(_: Received) -> None:
        if not too_many.wait(HOLD_SECONDS):  # time to take more, once
            too_many.set()

    script.web.answer = answer_slowly
    script.max_requests = 2 * ENDLESS
    result = script.attempt(script.find("upload_files"), count_paths())
    script.called = "upload_files(a generator of endless paths)"
    batch = collect(script, {}, islice(result.value or (), 5), result.error)
    script.expect(
        not batch.error,
        got=str(batch),
        expected="results, from a generator too",
        hint="a generator has no length and no places: take one path after the other",
        line=script.error_line,
    )
    script.expect(
        taken <= most,
        got=f"{taken} paths were taken for the first 5 results",
        expected=f"{most} at most",
        hint="all paths are taken at once, and these never end: submit one when another is done",
        line=script.search(r"submit\(|\.map\(|sorted\(|list\("),
    )


def require_iterator(script: Script) -> None:
    """Expect an upload_files that doesn't return a finished list."""
    script.require(script.has("upload_files"), "no upload_files")
    lay_files(script, "doc1.txt")
    result = script.attempt(script.find("upload_files"), [*to_paths(script, ["doc1.txt"])])
    script.require(isinstance(result.value, Iterator), "upload_files returns no iterator")
    script.forget()
    for _ in result.value:
        pass
