"""A reader's script as a check sees it: what it does when it is run, loaded, or called."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import inspect
import io
import itertools
import linecache
import logging
import os
import pathlib
import re
import sys
import tempfile
import threading
import traceback
import tracemalloc
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import requests
from PIL import Image, ImageFile
from requests.adapters import HTTPAdapter

from reader_checks.catalog import ROOT
from reader_checks.hints import (
    NO_HINT,
    TEXT_MODE,
    describe_error,
    give_hint,
    guess_name,
    shorten,
    shorten_text,
)
from reader_checks.source import (
    FILE_NAME,
    NOTE,
    compile_script,
    find_file_names,
    find_imports,
    find_line,
    find_node,
    find_uncalled,
    walk,
)
from reader_checks.stage import (
    CLOCK,
    Console,
    Keyboard,
    Patch,
    Stop,
    find_trouble,
    is_library,
    wait_for_threads,
)
from reader_checks.web import Web, draw_picture

MAX_REQUESTS = {"concurrent_upload.py": 1000}  # of one call: who sends more never stops
KEY_IN_ENVIRONMENT = "test-key"
KEY_NAME = re.compile(r"(?:environ\W+(?:get\W+)?|getenv\W+)(\w*(?:KEY|TOKEN|SECRET)\w*)")
TEMPLATE = r"\{[a-z_][\w.\[\]'\"()]*(?:[:!][^{}]*)?\}"  # of an f-string that has no f
SETTINGS = re.compile(
    r"\.(env|ini|cfg|conf|toml|ya?ml|json|key)$|(key|token|secret|config)\w*\.(txt|md)$", re.I
)


class Mistake(Exception):
    """A check found something: what was called, what came back, what was expected, and a hint."""

    def __init__(
        self, called: str, got: str, expected: str, hint: str, line: int | None = None
    ) -> None:
        super().__init__(hint)
        self.called = called
        self.got = got
        self.expected = expected
        self.hint = hint
        self.line = line


class Unusable(Mistake):
    """The script doesn't run at all: no other check of it can say more."""


class NotStarted(Exception):
    """An exercise that the reader has not begun."""


def chapter(check: Callable[[Script], None]) -> Callable[[Script], None]:
    """Mark what a script of the chapter does; catalog.py reads this."""
    return check


def exercise(check: Callable[[Script], None]) -> Callable[[Script], None]:
    """Mark what an exercise of the README adds; catalog.py reads this."""
    return check


# ---------------------------------------------------------------------------- what is seen


class Sent(NamedTuple):
    """A request as the script handed it to `requests`; what arrived is in `web.received`."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any
    timeout: Any
    stream: bool
    line: int | None  # of the script
    thread: int
    adapter: int  # the same for all requests of a Session


class Opened(NamedTuple):
    """A file that the script opened, or a library for it. `file` is kept to see if it closes."""

    path: Path
    mode: str
    file: Any
    line: int | None

    @property
    def is_text(self) -> bool:
        return "b" not in self.mode

    @property
    def is_written(self) -> bool:
        return not set(self.mode).isdisjoint("wax+")

    def __str__(self) -> str:
        return f"open({self.path.name!r}, {self.mode!r})"


class Run(NamedTuple):
    """What came of a script that was run as `python SCRIPT`."""

    exit_code: int
    out: str
    error: BaseException | None  # what it ended with, where it was no SystemExit

    def __str__(self) -> str:
        return self.out


class Result(NamedTuple):
    """What a call returned, or raised."""

    value: Any
    error: BaseException | None

    def __str__(self) -> str:
        return describe_error(self.error) if self.error else shorten(self.value)


class Memory:
    """The most that Python objects took, in bytes, while `measure_memory` watched."""

    peak = 0


# What a parameter that the chapter's listings may have, and ours don't, gets to see.
USUAL_VALUES: list[tuple[str, object]] = [
    (r"key|token|secret", KEY_IN_ENVIRONMENT),
    (r"url|endpoint|uri|server|address", "https://httpbin.org/post"),
    (r"user|_id\b|^id\b", "42"),
    (r"chunk", 8192),
    (r"mb$|mega", 5),
    (r"pixel", 40_000_000),
    (r"max_?bytes|max_?size|limit|size", 5 * 1024 * 1024),
    (r"workers|threads", 3),
    (r"timeout", 5),
    (r"prefix|expected", "image/"),
    (r"header", {}),
    (r"meta|data|fields|extra|param", {}),
    (r"type|mime", "application/octet-stream"),
    (r"name|field|title|caption|description", "sample"),
]


def find_usual_value(name: str) -> object:
    """Return what a parameter of this name usually gets, None where nobody knows."""
    return next((value for words, value in USUAL_VALUES if re.search(words, name.lower())), None)


@functools.cache
def make_sample(extension: str) -> bytes:
    """Return a small file of the kind that an extension announces."""
    kinds = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP"}
    if extension in kinds:
        return draw_picture(kinds[extension])
    if extension == "pdf":
        return b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< >>\nendobj\n%%EOF\n"
    if extension in ("mp4", "mov"):
        return b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(range(256)) * 400
    if extension == "json":
        return b'{"name": "sample"}\n'
    if extension in ("txt", "csv", "md"):
        return b"one line of text\n"
    return bytes(range(256)) * 64


class Script:
    """One script in a folder of its own, with a server that answers it.

    Made anew for each check. `folder` is the working folder: it holds a copy of the script and a
    small sample of each file that the script mentions. Whatever address the script asks for,
    `web` answers.
    """

    def __init__(self, source: Path, folder: Path, web: Web) -> None:
        self.name = source.name
        self.home = source.parent
        self.path = folder / source.name
        self.folder = folder
        self.web = web
        self.sent: list[Sent] = []
        self.opened: list[Opened] = []
        self.caught: list[tuple[BaseException, int]] = []  # and the line of its handler
        self.hidden: list[tuple[BaseException, int]] = []  # the same, by `except: pass`
        self.console = Console(self.current_line)
        self.clock = CLOCK
        self.clock.slept = 0
        self.patience = 10.0  # seconds that a request waits at most, whatever its timeout
        self.called = ""
        self.error_line: int | None = None
        self.load_error: BaseException | None = None  # what importing it ended with
        self.max_requests = MAX_REQUESTS.get(self.name, 40)
        self.arguments: tuple[str, ...] | None = None  # with which it does something
        self.found: dict[str, Any] = {}  # what a check's helpers found out, once
        self._module: types.ModuleType | None = None
        self._source = source.read_bytes()
        self.path.write_bytes(self._source)
        self.source = self._source.decode("utf-8-sig", "replace")

    # ------------------------------------------------------------------ what the script has

    def load(self) -> types.ModuleType:
        """Return the script as a module; what it does while it is imported is forgotten.

        Where that ends in an exception, what is defined above is checked all the same: often
        it says more than the exception.
        """
        if self._module is None:
            module = types.ModuleType(self.path.stem)
            module.__file__ = str(self.path)
            setattr(module, NOTE, self._note_caught)
            sys.modules[module.__name__] = module
            self._import_own_modules()
            self.called = f"import {self.path.stem}"
            before = {*threading.enumerate()}
            try:
                exec(compile_script(self._source, str(self.path)), module.__dict__)
            except (SyntaxError, Stop) as error:
                self.raise_unusable(error)
            except (Exception, SystemExit) as error:
                self.load_error = error
            wait_for_threads({*threading.enumerate()} - before)
            self._module = module
            self.forget()
        return self._module

    def expect_loads(self) -> None:
        """Expect that importing it ended well."""
        self.load()
        if self.load_error and not isinstance(self.load_error, SystemExit):
            self.called = f"import {self.path.stem}"
            self.raise_unusable(self.load_error)

    def find(self, name: str, kind: str = "function") -> Any:
        """Return what the script has under this name, which the chapter asks for."""
        if not self.has(name):
            hint, line = f"the chapter calls it {name}: write it, or check the spelling", None
            if isinstance(self.load_error, SystemExit):
                hint = f"the script ends in this line, before there is a {name}: leave it out"
                line = self.find_error_line(self.load_error)
            elif self.load_error:
                self.expect_loads()
            elif line := find_line(self.source, rf"^\s+(def|class)\s+{name}\b"):
                hint = f"{name} is hidden in something else: let this line begin at the margin"
            elif meant := guess_name(name, [*vars(self.load())]):
                line = self.search(rf"^(class|def) {meant}\b")
            called = f"import {self.path.stem}"
            raise Unusable(called, f"no {kind} named {name}", f"a {kind} named {name}", hint, line)
        return getattr(self.load(), name)

    def has(self, name: str) -> bool:
        """Tell whether the script has this name."""
        return hasattr(self.load(), name)

    def own_functions(self) -> dict[str, Callable[..., Any]]:
        """Return the functions that the script itself defines."""
        module = self.load()
        return {
            name: value
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        }

    def methods(self, instance: object) -> dict[str, Callable[..., Any]]:
        """Return the public methods of an object, in the order in which they are written."""
        names = [
            name
            for kind in reversed(type(instance).__mro__)
            for name, value in vars(kind).items()
            if not name.startswith("_") and inspect.isroutine(value) and kind is not object
        ]
        return {name: getattr(instance, name) for name in dict.fromkeys(names)}

    def takes(self, function: Callable[..., Any], *names: str) -> bool:
        """Tell whether a function has one of these parameters."""
        parameters = inspect.signature(function).parameters.values()
        return any(
            parameter.name in names or parameter.kind is parameter.VAR_KEYWORD
            for parameter in parameters
        )

    def require(self, begun: bool, what: str) -> None:
        """An exercise of which nothing is there yet is no failure."""
        if not begun:
            raise NotStarted(what)

    # ------------------------------------------------------------------ what the script does

    def run(self, *arguments: object) -> Run:
        """Run the script as `python SCRIPT ARGUMENT ...` in its folder, and return what came."""
        arguments_ = [str(argument) for argument in arguments]
        self.called = " ".join(["python", self.name, *arguments_])
        self._import_own_modules()
        self.forget()
        self.hidden.clear()
        exit_code, error = 0, None
        before = {*threading.enumerate()}
        with Patch() as patch:
            patch.setattr(sys, "argv", [str(self.path), *arguments_])
            try:
                module = types.ModuleType("__main__")
                module.__file__ = str(self.path)
                setattr(module, NOTE, self._note_caught)
                patch.setitem(sys.modules, "__main__", module)
                exec(compile_script(self._source, str(self.path)), module.__dict__)
            except SystemExit as end:
                exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
                if isinstance(end.code, str):
                    print(end.code)
            except (SyntaxError, Stop) as end:
                self.raise_unusable(end)
            except BaseException as end:
                exit_code, error = 1, end
                self.error_line = self.find_error_line(end)
            wait_for_threads({*threading.enumerate()} - before)
        return Run(exit_code, self.printed, error)

    def run_well(self, *arguments: object) -> Run:
        """Run the script; when it ends with a traceback, no other check of it is tried."""
        run = self.run(*arguments)
        if run.error:
            self.raise_unusable(run.error)
        return run

    def run_with_files(self, *names: str) -> Run:
        """Run the script, with the names of files where it does nothing without."""
        if self.arguments is not None:
            return self.run(*self.arguments)
        first: Run | None = None
        tries: list[tuple[str, ...]] = [()]
        if self.reads_arguments():
            tries = [names, *self.guess_options(*names), ()]
        for arguments in tries:
            run = self.run(*arguments)
            if self.sent or self.opened or (run.error and not arguments):
                self.arguments = arguments
                return run
            first = first or run
        return self.run(*names) if first is None else first

    def reads_arguments(self) -> bool:
        """Tell whether the script looks at its command line."""
        return bool(re.search(r"\b(argv|argparse|click|typer|fire)\b", self.source))

    def guess_options(self, *files: str) -> Iterator[tuple[str, ...]]:
        """Yield the arguments that the script's options ask for, with files where they take one."""
        options = [
            (str(node.args[0].value), {one.arg for one in node.keywords})
            for node in walk(self.source)
            if isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") in ("add_argument", "option")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ]
        given: list[str] = []
        for option, settings in options:
            if re.search(r"file|path|image|photo|picture|input|receipt|avatar|folder|dir", option):
                takes = files if "nargs" in settings else files[:1]
                given += [*([option] if option.startswith("-") else []), *takes]
            elif "required" in settings:
                given += [option, str(find_usual_value(option) or "sample")]
            elif not option.startswith("-") and not {"nargs", "default"} & settings:
                given.append(str(find_usual_value(option) or "sample"))
        if given:
            yield tuple(given)

    def attempt(self, function: Callable[..., Any], *values: object, **options: object) -> Result:
        """Call a function of the script; return what it returned or raised.

        Options that it has no parameter for are left out; a parameter without default that got
        nothing gets what such a parameter usually gets.
        """
        arguments, options = self._fit(function, values, options)
        self.called = self._show_call(function, arguments, options)
        self.error_line = None
        self.hidden.clear()
        self.caught.clear()
        try:
            return Result(function(*arguments, **options), None)
        except (Exception, SystemExit) as error:
            self.error_line = self.find_error_line(error)
            return Result(None, error)

    def call(self, function: Callable[..., Any], *values: object, **options: object) -> Any:
        """Call a function of the script as `attempt` does; what it raises is a mistake."""
        result = self.attempt(function, *values, **options)
        if result.error:
            self.fail_with(result.error, "a result, no exception")
        return result.value

    @property
    def printed(self) -> str:
        """What the script printed since it was last forgotten."""
        return self.console.text()

    def find_print(self, pattern: str) -> int | None:
        """Return the line of the script that last printed something that looks so."""
        lines = [line for text, line in self.console.writes if re.search(pattern, text)]
        return lines[-1] if lines else None

    def forget(self) -> None:
        """Forget what was sent, opened and printed so far."""
        self.sent.clear()
        self.opened.clear()
        self.web.received.clear()
        self.web.peak = 0
        self.console.forget()

    @contextlib.contextmanager
    def measure_memory(self) -> Iterator[Memory]:
        """Measure what is allocated inside of `with`."""
        memory = Memory()
        tracemalloc.start()
        try:
            yield memory
        finally:
            memory.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    # ------------------------------------------------------------------ files to work on

    def make_file(self, name: str, content: bytes | None = None) -> Path:
        """Write a file into the folder, by default a small sample of its kind; return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_sample(path.suffix[1:].lower()) if content is None else content)
        return path

    def read_file(self, path: Path) -> bytes:
        """Return what is in a file; the script did not open it."""
        with self._real_open(path, "rb") as file:
            content: bytes = file.read()
        return content

    def make_large_file(self, name: str, size: int) -> Path:
        """Make a file of `size` bytes that takes no room on the disk; return its path."""
        path = self.make_file(name, b"")
        os.truncate(path, size)
        return path

    def make_mentioned_files(self) -> None:
        """Lay a sample at each file that the script mentions, and the reader's own settings."""
        for path in self.home.iterdir():
            if SETTINGS.search(path.name) and path.is_file() and path.stat().st_size < 100_000:
                self.make_file(path.name, path.read_bytes())
        texts = [self.source]
        for module in self._find_own_modules():
            with contextlib.suppress(OSError):
                texts.append((self.home / f"{module}.py").read_text("utf-8", "replace"))
        for name in {name for text in texts for name in find_file_names(text)}:
            path = (self.folder / name.replace("\\", "/")).resolve()
            if path.is_relative_to(self.folder.resolve()) and not path.exists():
                with contextlib.suppress(OSError):
                    self.make_file(str(path.relative_to(self.folder.resolve())))

    # ------------------------------------------------------------------ what is found

    def expect(
        self, holds: object, *, got: object, expected: str, hint: str, line: int | None = None
    ) -> None:
        """Raise Mistake unless it holds. `got` is shown as it is when it is a text."""
        if not holds:
            self.fail(got, expected, hint, line)

    def expect_timeouts(self) -> None:
        """Expect a timeout, for connecting and for reading, of each request so far."""
        for sent in self.sent:
            limits = sent.timeout if isinstance(sent.timeout, tuple) else [sent.timeout]
            hint = "a server that never answers would hold the script for ever: set timeout="
            if len(limits) == 2 and {*limits} != {None}:
                kind = "connecting" if limits[0] is None else "the answer"
                hint = f"None is no limit, here for {kind}: give both a number of seconds"
            self.expect(
                None not in limits,
                got=f"timeout={sent.timeout}",
                expected="timeout= with a number of seconds, or two: connect and read",
                hint=hint,
                line=sent.line,
            )

    def expect_binary_mode(self) -> None:
        """Expect that no file so far was read as text, nor emptied instead of read."""
        for opened in self.opened:
            self.expect(
                not opened.is_text or opened.is_written or SETTINGS.search(opened.path.name),
                got=str(opened),
                expected=f"open({opened.path.name!r}, 'rb')",
                hint=TEXT_MODE,
                line=opened.line,
            )

    def expect_results_printed(self) -> None:
        """Expect that what was printed is no function in place of its result, nor a template."""
        shown = re.search(r"<(bound method|built-in|function)\b.*", self.printed)
        template = re.search(TEMPLATE, self.printed)
        hint = "a function was named and not called: write () behind it"
        if template and template[0] in self.source and not shown:
            shown = template
            hint = "the braces are nothing special in this text: write f before its quotes"
        if shown:
            where = self.find_print(re.escape(shown[0][:20]))
            self.fail(f"printed {shown[0]}", "what it stands for", hint, where)

    def explain_status(self, usual: str, line: int | None) -> tuple[str, int | None]:
        """Return a hint, and its line, for a script that goes on after an error's status."""
        uncalled = find_uncalled(self.source, "raise_for_status")
        if uncalled:
            return "raise_for_status is only named here: it needs () to be called", uncalled
        return usual, line

    def fail(self, got: object, expected: str, hint: str, line: int | None = None) -> NoReturn:
        """Raise Mistake. `hint` is in the words of the chapter, without the solution's code."""
        text = shorten_text(got) if isinstance(got, str) else shorten(got)
        raise Mistake(self.called or f"python {self.name}", text, expected, hint, line)

    def fail_with(self, error: BaseException, expected: str) -> NoReturn:
        """Raise Mistake for what the script raised."""
        got, hint, line = self.explain(error)
        raise Mistake(self.called, got, expected, hint, line) from error

    def raise_unusable(self, error: BaseException, expected: str = "") -> NoReturn:
        """Raise Unusable for what the script ended with."""
        got, hint, line = self.explain(error)
        expected = expected or "a run without a traceback"
        raise Unusable(self.called, got, expected, hint, line) from error

    def explain(self, error: BaseException) -> tuple[str, str, int | None]:
        """Return what an exception of the script's is, a hint, and the line that it is about."""
        error = self._unwrap(error)
        got, hint, line = describe_error(error), give_hint(error), self.find_error_line(error)
        shown = self.show_line(line)
        if isinstance(error, Stop):
            got, hint = error.got, error.hint
        elif isinstance(error, IsADirectoryError) and (made := self.search("mkdir|makedirs")):
            hint, line = "a folder was made in place of the file: make its parent", made
        elif isinstance(error, NameError) and (
            unnamed := self.search(r"^\s*with .*\bopen\([^)]*\)\s*:")
        ):
            hint, line = f"the open file has no name: write as {error.name} before the :", unnamed
        elif isinstance(error, FileNotFoundError) and self.name == "download_file.py":
            if re.search(r"\bopen\((?!.*['\"][wax])", shown):
                hint = "a file that is not there yet can't be read: 'wb' makes it, and writes"
        elif isinstance(error, UnicodeDecodeError):  # blame who opened it, not who read it
            line = next((one.line for one in reversed(self.opened) if one.is_text), line)
        elif isinstance(error, io.UnsupportedOperation):
            is_read = "read" in str(error)
            for opened in reversed(self.opened):
                if opened.is_written == is_read:
                    line = opened.line
                    if is_read and "w" in opened.mode:
                        hint = (
                            f"{opened.mode!r} empties the file when it opens it:"
                            " 'rb' opens it to read"
                        )
                    break
        elif isinstance(error, SyntaxError):
            got, hint, line = self._explain_syntax(error)
        elif isinstance(error, TypeError) and "not callable" in got:
            submitted = find_node(self.source, calls_in_submit)
            if submitted:
                line = submitted
                hint = "submit() calls the function itself: give it the name, then the argument"
        elif (
            isinstance(error, KeyError) and self.web.received and "content-type" not in got.lower()
        ):
            if self.web.received[-1].path.startswith("/post"):
                hint = (
                    f"the answer has no {error} there: print it, and see what httpbin gives back as"
                    " files, form, data and json"
                )
        elif isinstance(error, FileNotFoundError) and re.search(
            rf"(?<!['\".])\b{re.escape(str(error.filename))} *[,=)]", self.source
        ):
            hint = f"{error.filename} is in quotes, and so no name of a variable: leave them out"
        elif isinstance(error, AttributeError) and type(error.obj).__module__ in (
            "__main__",
            self.path.stem,
        ):
            known = [name for name in dir(error.obj) if not name.startswith("__")]
            meant = guess_name(str(error.name), known)
            hint = f"self.{error.name} has no value: set it in __init__"
            if meant or self.search(rf"self\.{error.name} *="):
                hint = f"there is no {error.name} in it: " + (
                    f"did you mean {meant}?" if meant else "set it in __init__, for all methods"
                )
        elif "iterable. Instead was <_" in got and self.search(r"def __iter__\(\)"):
            hint, line = "the first parameter of a method is self", self.search("def __iter__")
        elif "iterable. Instead was <_" in got and (where := self.search(r"def __iter__")):
            hint, line = "__iter__ gives no chunks: write yield chunk in its loop, no return", where
        elif isinstance(error, TypeError) and "bytes-like" in got and ".text" in shown:
            hint = ".text is the answer as a text: its bytes come from iter_content() or .content"
        elif isinstance(error, TypeError) and "bytes-like" in got and "str(" in shown:
            hint = "str() makes a text of bytes: leave it out"
        elif "start no other programs" in got and re.search("Process|multiproc", self.source):
            hint = "the checks start no other processes: take threads, a ThreadPoolExecutor"
        elif isinstance(error, TypeError) and ".result(" in shown and "argument" in got:
            line = self.search(r"submit\(") or line
        elif isinstance(error, NameError) and re.search(
            rf"self\.{error.name}\b|def {error.name}\(self", self.source
        ):
            hint = f"there is no {error.name} here: did you mean self.{error.name}?"
        elif hint == NO_HINT and re.match(r"(raise|assert)\b", shown):
            hint = "this is the script's own exception: look at what it asks before this line"
        return got, hint, line

    def trace_no(self, function: Callable[[], object]) -> int | None:
        """Return the line where a function of the script last returned None or False."""
        lines: list[int] = []

        def note(frame: types.FrameType, event: str, value: Any) -> None:
            if event == "return" and not value and frame.f_code.co_filename == str(self.path):
                lines.append(frame.f_lineno)

        sys.setprofile(note)
        try:
            function()
        finally:
            sys.setprofile(None)
        said = [line for line in lines if self.show_line(line).startswith("return")]
        return said[-1] if said else None

    def find_condition(self, line: int | None) -> int | None:
        """Return the line of the if under which a line of the script stands."""
        lines = self.source.splitlines()[: line or 0]
        indent = len(lines[-1]) - len(lines[-1].lstrip()) if lines else 0
        for number in range(len(lines) - 1, 0, -1):
            text = lines[number - 1]
            if text.strip() and len(text) - len(text.lstrip()) < indent:
                return number if re.match(r"\s*(el)?if\b", text) else None
        return None

    def _unwrap(self, error: BaseException) -> BaseException:
        """Return what was raised in the script itself, where requests made a ConnectionError of it.

        It does so with an OSError of the reader that it sends.
        """
        inner = error
        while isinstance(error, requests.ConnectionError) and inner.__context__:
            inner = inner.__context__
        frames = traceback.extract_tb(inner.__traceback__)
        return inner if frames and frames[-1].filename == str(self.path) else error

    def _explain_syntax(self, error: SyntaxError) -> tuple[str, str, int | None]:
        got, place = f"{type(error).__name__}: {error.msg}", f"line {error.lineno}"
        line = error.lineno
        if error.filename and Path(error.filename).is_file():  # of what it imports
            place += f" of {Path(error.filename).name}"
            line = self.find_error_line(error)
        hint = f"Python can't read {place}: look there, and at the line above"
        if "unicodeescape" in got:
            hint = "a backslash in a path means something else to Python: write / instead"
        elif isinstance(error, TabError):
            hint = "tabs and spaces are mixed: indent with four spaces"
        elif error.lineno is None or "not UTF-8" in got:
            hint = "Python can't read these letters: save the script as UTF-8"
        return got, hint, line

    def show_line(self, number: int | None) -> str:
        """Return a line of the script."""
        lines = self.source.splitlines()
        return lines[number - 1].strip() if number and number <= len(lines) else ""

    def search(self, pattern: str) -> int | None:
        """Return the first line of the script's code that looks so."""
        return find_line(self.source, pattern)

    def find_error_line(self, error: BaseException) -> int | None:
        """Return the last line of the script that an exception went through."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(self.path)]
        return lines[-1] if lines else None

    # ------------------------------------------------------------------ inside

    def _fit(
        self, function: Callable[..., Any], values: tuple[object, ...], options: dict[str, object]
    ) -> tuple[list[object], dict[str, object]]:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            return [*values], options
        names = {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            options = {name: value for name, value in options.items() if name in names}
        arguments = [*values]
        positional = [
            one
            for one in parameters
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        ]
        if not any(one.kind is one.VAR_POSITIONAL for one in parameters):
            arguments = arguments[: len(positional)]
        for one in itertools.chain(
            positional[len(arguments) :],
            (one for one in parameters if one.kind is one.KEYWORD_ONLY),
        ):
            if one.default is one.empty and one.name not in options:
                value = find_usual_value(one.name)
                if value is not None:
                    options[one.name] = value
        return arguments, options

    def _show_call(
        self, function: Callable[..., Any], arguments: list[object], options: dict[str, object]
    ) -> str:
        def show(value: object) -> str:
            if isinstance(value, Path) and value.is_relative_to(self.folder):
                return repr(value.relative_to(self.folder).as_posix())
            if inspect.isfunction(value):
                return value.__name__
            if isinstance(value, list) and all(isinstance(one, Path) for one in value):
                return f"[{', '.join(map(show, value[:3]))}{', ...' * (len(value) > 3)}]"
            return shorten(value, 60)

        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        shown = [show(value) for value in arguments]
        shown += [f"{key}={show(value)}" for key, value in options.items()]
        return f"{name.removesuffix('.__init__')}({', '.join(shown)})"

    def current_line(self) -> int | None:
        """Return the line of the script that called what calls this."""
        frame: types.FrameType | None = sys._getframe(2)
        path = str(self.path)
        while frame:
            if frame.f_code.co_filename == path:
                return frame.f_lineno
            frame = frame.f_back
        return None

    def _note_caught(self, line: int, hides: bool) -> None:
        error = sys.exc_info()[1]
        if error:
            self.caught.append((error, line))
        if error and hides:
            self.hidden.append((error, line))

    # ------------------------------------------------------------------ the stage

    def find_hiding(self, needed: frozenset[str]) -> str | None:
        """Return the file beside the script that Python imports in place of a known module."""
        imported = {name.partition(".")[0] for name in find_imports(self._source)}
        known = needed | (imported & (sys.stdlib_module_names | {"PIL"}))
        for name in sorted(self._beside & known - {*sys.builtin_module_names}):
            for file in (f"{name}.py", f"{name}/__init__.py"):
                if (self.home / file).is_file():
                    return file
        return None

    @functools.cached_property
    def _beside(self) -> set[str]:
        """The modules that lie beside the reader's script."""
        return {
            path.stem
            for path in self.home.iterdir()
            if path.suffix == ".py" or (not path.suffix and path.is_dir())
        }

    def _find_own_modules(self) -> list[str]:
        """Return what the script imports from the reader's folder."""
        names = find_imports(self._source)
        return [name for name in names if name.partition(".")[0] in self._beside]

    def _import_own_modules(self) -> None:
        """Let the scripts that this one imports run now: what they send is not this one's."""
        for name in self._find_own_modules():
            with contextlib.suppress(BaseException):  # the script's own import raises it again
                importlib.import_module(name)

    def _open(self, file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        opened = self._real_open(file, mode, *rest, **options)
        with contextlib.suppress(TypeError, ValueError, OSError):
            path = self._inside / os.fsdecode(file)
            if ".." in path.parts:
                path = path.resolve()
            is_here = path.is_relative_to(self._inside) and path.name != self.name
            if is_here or (FILE_NAME.fullmatch(path.name) and not is_library(path)):
                self.opened.append(Opened(path, mode, opened, self.current_line()))
        return opened

    def _send(
        self,
        adapter: HTTPAdapter,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        *_: Any,
        **__: Any,
    ) -> requests.Response:
        address = str(request.url)
        headers = {name: str(value) for name, value in request.headers.items()}
        self.sent.append(
            Sent(
                str(request.method),
                address,
                headers,
                request.body,
                timeout,
                stream,
                self.current_line(),
                threading.get_ident(),
                id(adapter),
            )
        )
        if len(self.sent) > self.max_requests:
            raise Stop(
                f"more than {self.max_requests} requests",
                "nothing ends these repetitions: set a limit, then give up",
            )
        rerouted = request.copy()
        parts = urlsplit(address)
        if trouble := find_trouble(str(request.method), str(parts.hostname), parts.path):
            parts = parts._replace(path=f"/status/{trouble}")
        rerouted.url = parts._replace(scheme="http", netloc=self.web.url[7:]).geturl()
        try:
            response = self._real_send(
                adapter, rerouted, stream=stream, timeout=self._shorten_timeout(timeout)
            )
        except requests.RequestException as error:
            error.request = request
            raise
        response.request = request
        response.url = address
        return response

    def _shorten_timeout(self, timeout: Any) -> Any:
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        limits = []
        for given, most in ((connect, 10.0), (read, self.patience)):
            if given is None:
                limits.append(most)
            elif isinstance(given, (int, float)) and given > 0:
                limits.append(min(given, most))
            else:
                return timeout  # requests says what is wrong with it
        return tuple(limits)

    @contextlib.contextmanager
    def staged(self) -> Iterator[Script]:
        """Let the script see our server, our clock and our folder, and nothing else."""
        self._real_open = builtins.open
        self._real_send = HTTPAdapter.send
        self._inside = self.folder.resolve()
        before, threads = {*sys.modules}, {*threading.enumerate()}
        with Patch() as patch:
            patch.setattr(builtins, "open", self._open)
            patch.setattr(io, "open", self._open)
            if accessor := getattr(pathlib, "_normal_accessor", None):  # Python 3.10
                patch.setattr(accessor, "open", self._open)
            patch.setattr(
                HTTPAdapter, "send", lambda adapter, *a, **k: self._send(adapter, *a, **k)
            )
            patch.setattr(sys, "stdout", self.console)
            patch.setattr(sys, "stderr", self.console)
            patch.setattr(sys, "stdin", Keyboard())
            patch.setattr(sys, "argv", [str(self.path)])
            others = [path for path in sys.path if path != str(ROOT)]  # else they import ours
            patch.setattr(sys, "path", [str(self.folder), str(self.home), *others])
            patch.setattr(tempfile, "tempdir", str(self.folder))
            patch.setattr(logging.root, "handlers", [])  # else the first script keeps the console
            patch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # scripts set these
            patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
            for name in ("HTTPBIN_URL", "OCR_SPACE_URL", "OCR_SPACE_API_KEY"):
                patch.delitem(os.environ, name)
            for name in KEY_NAME.findall(self.source):
                patch.setitem(os.environ, name, KEY_IN_ENVIRONMENT)  # as a reader who has one
            patch.callback(os.chdir, Path.cwd())
            os.chdir(self.folder)
            linecache.checkcache()
            try:
                yield self
            finally:
                wait_for_threads({*threading.enumerate()} - threads, 2)
                for name in {*sys.modules} - before:
                    if name == self.path.stem or name.partition(".")[0] in self._beside:
                        del sys.modules[name]
                for opened in self.opened:
                    with contextlib.suppress(Exception):
                        opened.file.close()


def calls_in_submit(node: ast.AST) -> object:
    """Tell whether this is submit(f(x)), which calls f at once."""
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "attr", "") == "submit"
        and node.args
        and isinstance(node.args[0], ast.Call)
        and "partial" not in ast.dump(node.args[0].func)
    )
