"""A reader's script as a check sees it: what it does when it is run, loaded, or called."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import importlib.util
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
import time
import traceback
import tracemalloc
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image, ImageFile
from requests import exceptions
from requests.adapters import HTTPAdapter

from reader_checks.web import Web, draw_picture

MAX_REQUESTS = 40  # of one call: who sends more never stops
TEXT_MODE = "the file was opened in text mode: open it with 'rb'"
NOTHING_OUT = "the checks let nothing out"
NOT_YOURS = "the checks write in their own folder only"
ROOT = Path(__file__).resolve().parents[2]
MAX_VALUE = 160  # letters of a value in a report


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


class Stop(BaseException):
    """Ends the script's work from outside; no `except Exception` keeps it."""

    def __init__(self, got: str, hint: str) -> None:
        super().__init__(got)
        self.got = got
        self.hint = hint


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


class Console(io.TextIOWrapper):
    """Takes what a script prints."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, "utf-8", "backslashreplace", newline="\n", write_through=True)

    def text(self) -> str:
        return self.bytes.getvalue().decode("utf-8", "replace")

    def close(self) -> None:
        """A script that closes its stdout closes nothing of ours."""


class Waits(Stop):
    """The script wants to be typed at, now and in each check."""


class Keyboard(io.StringIO):
    """Nobody sits there: a script that asks would wait for ever."""

    def readline(self, size: int | None = -1, /) -> NoReturn:
        raise Waits(
            "the script waits for input",
            "the checks can't type: give the value in a variable or as a parameter",
        )

    read = readline


class Clock:
    """Time that passes at once when a script sleeps."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.offset += max(seconds, 0)
        if len(self.slept) > 1000:
            raise Stop("the script slept 1,000 times", "nothing ends this waiting: set a limit")

    def shift(self, read: Callable[[], float]) -> Callable[[], float]:
        return lambda: read() + self.offset


def shorten(value: object, limit: int = MAX_VALUE) -> str:
    """Return a value as a report shows it, on one line."""
    if isinstance(value, str) and type(value) is not str:
        value = str(value)
    if isinstance(value, requests.Response):
        text = f"<Response [{value.status_code}]>"
    elif isinstance(value, Path):
        text = repr(str(value))
    else:
        try:
            text = repr(value)
        except Exception as error:
            text = f"<{type(value).__name__}, whose repr() raises {type(error).__name__}>"
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(text.split()))
    return text if len(text) <= limit else f"{text[: limit - 20]} ... {text[-15:]}"


def describe_error(error: BaseException) -> str:
    """Return an exception on one line."""
    words = shorten_text(str(error))
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def shorten_text(text: str, limit: int = MAX_VALUE) -> str:
    """Return a text on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


ERROR_HINTS: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
    (UnicodeDecodeError, TEXT_MODE),
    (NameError, "a name is not defined: is it misspelt, or is an import missing?"),
    (
        ModuleNotFoundError,
        "a module is not installed: the chapter needs requests and Pillow only; put a module of"
        " your own beside the script",
    ),
    (ImportError, "an import fails: is the name misspelt?"),
    (FileNotFoundError, "the path leads nowhere: use the path that was given, as it was given"),
    (AttributeError, "this kind of value has no such attribute: is it misspelt?"),
    (SystemExit, "let functions return or raise: don't end the process"),
    (KeyError, "not every answer holds this key: look at the whole answer first"),
    (IndexError, "there may be nothing in this list: ask before you take the first"),
    (TypeError, "a value of another type is needed here: look at what this line works with"),
    (requests.HTTPError, "servers do fail: handle the status, don't let it end the script"),
    (requests.Timeout, "servers do hang: handle the timeout, don't let it end the script"),
    (
        (exceptions.MissingSchema, exceptions.InvalidSchema, exceptions.InvalidURL),
        "this is no URL: is something else passed where the URL belongs?",
    ),
    (requests.RequestException, "networks do fail: handle this error, don't let it end the script"),
    (RecursionError, "a function calls itself without end"),
    (MemoryError, "all of a large file was held in memory: work in chunks"),
]

MESSAGE_HINTS = [  # where the words say more than the kind of exception
    (NOTHING_OUT, "the checks answer what goes through requests: send it with that"),
    ("start no other programs", "leave this line out: the chapter needs no other program"),
    (
        rf"{NOT_YOURS}|change no file of yours",
        "the script has a folder of its own here: use names without a folder",
    ),
    (r"NoneType\b", "this is None: does the function that made it return its result?"),
    (
        r"\w\(\) takes no arguments",
        "the class has no __init__ for these: is it misspelt? Write two underscores on each side",
    ),
    (
        r"\w\.\w+\(\) takes \d+ positional",
        "the call and the method don't fit: compare the parameters, of which the first is self",
    ),
    (
        r"(positional|keyword|required) (only )?argument|multiple values for",
        "the call and the function don't fit: compare the parameters",
    ),
    (r"or iterable\. Instead", "this can't be iterated: is __iter__ misspelt?"),
    (r"closed file", "the file was closed before it was used: close it at the end"),
]


def give_hint(error: BaseException) -> str:
    """Return what usually stands behind an exception."""
    for pattern, hint in MESSAGE_HINTS:
        if re.search(pattern, str(error)):
            return hint
    for kind, hint in ERROR_HINTS:
        if isinstance(error, kind):
            return hint
    return "the script ended here: handle what can be expected, mend what can't"


# What a parameter that the chapter's listings may have, and ours don't, gets to see.
USUAL_VALUES: list[tuple[str, object]] = [
    (r"key|token|secret", "test-key"),
    (r"url|endpoint|uri|server|address", "https://httpbin.org/post"),
    (r"user|_id\b|^id\b", "42"),
    (r"chunk", 8192),
    (r"mb$|mega", 5),
    (r"pixel", 40_000_000),
    (r"max_?bytes|max_?size|limit|size", 5 * 1024 * 1024),
    (r"workers|threads", 3),
    (r"timeout", 5),
    (r"prefix|expected", "image/"),
    (r"meta|data|fields|extra|param", {}),
    (r"type|mime", "application/octet-stream"),
    (r"name|field|title|caption|description", "sample"),
]


def find_usual_value(name: str) -> object:
    """Return what a parameter of this name usually gets, None where nobody knows."""
    return next((value for words, value in USUAL_VALUES if re.search(words, name.lower())), None)


EXTENSIONS = "jpe?g|png|gif|webp|pdf|txt|csv|md|json|docx|zip|mp4|mov|avi|mkv|mp3|wav|bin|dat|heic"
FILE_NAME = re.compile(rf"[\w .()\-/\\]*[\w)]\.({EXTENSIONS})", re.IGNORECASE)


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
    if extension in ("txt", "csv", "md", "json"):
        return b"one line of text\n"
    return bytes(range(256)) * 64


@functools.lru_cache(maxsize=64)
def find_file_names(source: str) -> set[str]:
    """Return the names of files that a script mentions, "doc{number}.txt" with each digit."""
    names: set[str] = set()
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                pieces = [
                    piece.value if isinstance(piece, ast.Constant) else None
                    for piece in node.values
                ]
                for digit in "0123456789":
                    names.add("".join(digit if piece is None else str(piece) for piece in pieces))
    return {name for name in names if FILE_NAME.fullmatch(name) and not Path(name).is_absolute()}


@functools.lru_cache(maxsize=64)
def parse_script(source: bytes) -> ast.Module:
    try:
        return ast.parse(importlib.util.decode_source(source))  # as Python itself reads a script
    except ValueError as error:
        line = None
        if isinstance(error, UnicodeDecodeError):
            line = source.count(b"\n", 0, error.start) + 1
        raise SyntaxError("this is not UTF-8", (None, line, None, None)) from None


@functools.lru_cache(maxsize=64)
def find_imports(source: bytes) -> list[str]:
    """Return the names of the modules that a script imports."""
    names: list[str] = []
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(parse_script(source)):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.append(str(node.module))
    return names


def compile_script(source: bytes, name: str) -> types.CodeType:
    """Return the code of a script; each check has it under another path."""
    return compile(parse_script(source), name, "exec", dont_inherit=True)


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
        self.console = Console()
        self.clock = Clock()
        self.patience = 10.0  # seconds that a request waits at most, whatever its timeout
        self.called = ""
        self.error_line: int | None = None
        self.max_requests = MAX_REQUESTS
        self._module: types.ModuleType | None = None
        self._end_line: int | None = None  # where it ends itself while it is imported
        self._source = source.read_bytes()
        self.path.write_bytes(self._source)
        self.source = self._source.decode("utf-8-sig", "replace")

    # ------------------------------------------------------------------ what the script has

    def load(self) -> types.ModuleType:
        """Return the script as a module; what it does while it is imported is forgotten."""
        if self._module is None:
            module = types.ModuleType(self.path.stem)
            module.__file__ = str(self.path)
            sys.modules[module.__name__] = module
            self._import_own_modules()
            try:
                exec(compile_script(self._source, str(self.path)), module.__dict__)
            except SystemExit as end:
                self._end_line = self.find_line(end)  # what is defined above it can be checked
            except BaseException as error:
                self.called = f"import {self.path.stem}"
                self._raise_unusable(error)
            self._module = module
            self.forget()
        return self._module

    def find(self, name: str, kind: str = "function") -> Any:
        """Return what the script has under this name, which the chapter asks for."""
        if not self.has(name):
            hint = f"the chapter calls it {name}: write it, or check the spelling"
            if self._end_line:
                hint = f"the script ends in this line, before there is a {name}: leave it out"
            raise Unusable(
                f"import {self.path.stem}",
                f"no {kind} named {name}",
                f"a {kind} named {name}",
                hint,
                self._end_line,
            )
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
        exit_code, error = 0, None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(self.path), *arguments_])
            try:
                module = types.ModuleType("__main__")
                module.__file__ = str(self.path)
                patch.setitem(sys.modules, "__main__", module)
                exec(compile_script(self._source, str(self.path)), module.__dict__)
            except SystemExit as end:
                exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
                if isinstance(end.code, str):
                    print(end.code)
            except (SyntaxError, Stop) as end:
                self._raise_unusable(end)
            except BaseException as end:
                exit_code, error = 1, end
                self.error_line = self.find_line(end)
        return Run(exit_code, self.printed, error)

    def run_well(self, *arguments: object) -> Run:
        """Run the script; when it ends with a traceback, no other check of it is tried."""
        run = self.run(*arguments)
        if run.error:
            self._raise_unusable(run.error)
        return run

    def attempt(self, function: Callable[..., Any], *values: object, **options: object) -> Result:
        """Call a function of the script; return what it returned or raised.

        Options that it has no parameter for are left out; a parameter without default that got
        nothing gets what such a parameter usually gets.
        """
        arguments, options = self._fit(function, values, options)
        self.called = self._show_call(function, arguments, options)
        self.error_line = None
        try:
            return Result(function(*arguments, **options), None)
        except (Exception, SystemExit) as error:
            self.error_line = self.find_line(error)
            return Result(None, error)

    def call(self, function: Callable[..., Any], *values: object, **options: object) -> Any:
        """Call a function of the script as `attempt` does; what it raises is a mistake."""
        result = self.attempt(function, *values, **options)
        if result.error:
            self.fail(
                describe_error(result.error),
                "a result, no exception",
                give_hint(result.error),
                self.error_line,
            )
        return result.value

    @property
    def printed(self) -> str:
        """What the script printed since it was last forgotten."""
        return self.console.text()

    def forget(self) -> None:
        """Forget what was sent, opened and printed so far."""
        self.sent.clear()
        self.opened.clear()
        self.web.received.clear()
        self.web.peak = 0
        self.console.bytes.seek(0)
        self.console.bytes.truncate()

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

    def make_large_file(self, name: str, size: int) -> Path:
        """Make a file of `size` bytes that takes no room on the disk; return its path."""
        path = self.make_file(name, b"")
        os.truncate(path, size)
        return path

    def make_mentioned_files(self) -> None:
        """Lay a sample at each file that the script mentions."""
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
            self.expect(
                None not in limits,
                got=f"timeout={sent.timeout}",
                expected="timeout= with a number of seconds, or two: connect and read",
                hint="a server that never answers would hold the script for ever: set timeout=",
                line=sent.line,
            )

    def expect_binary_mode(self) -> None:
        """Expect that no file so far was read as text."""
        for opened in self.opened:
            self.expect(
                not opened.is_text or opened.is_written,
                got=f"open({opened.path.name!r}, {opened.mode!r})",
                expected=f"open({opened.path.name!r}, 'rb')",
                hint=TEXT_MODE,
                line=opened.line,
            )

    def fail(self, got: object, expected: str, hint: str, line: int | None = None) -> NoReturn:
        """Raise Mistake. `hint` is in the words of the chapter, without the solution's code."""
        text = shorten_text(got) if isinstance(got, str) else shorten(got)
        raise Mistake(self.called or f"python {self.name}", text, expected, hint, line)

    def show_line(self, number: int | None) -> str:
        """Return a line of the script."""
        lines = self.source.splitlines()
        return lines[number - 1].strip() if number and number <= len(lines) else ""

    def find_line(self, error: BaseException) -> int | None:
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

    def _current_line(self) -> int | None:
        frame: types.FrameType | None = sys._getframe(2)
        while frame:
            if frame.f_code.co_filename == str(self.path):
                return frame.f_lineno
            frame = frame.f_back
        return None

    def _raise_unusable(self, error: BaseException) -> NoReturn:
        got, hint, line = describe_error(error), give_hint(error), self.find_line(error)
        if isinstance(error, Stop):
            got, hint = error.got, error.hint
        elif isinstance(error, UnicodeDecodeError):  # blame who opened it, not who read it
            line = next((one.line for one in reversed(self.opened) if one.is_text), line)
        elif isinstance(error, SyntaxError):
            got, place = f"{type(error).__name__}: {error.msg}", f"line {error.lineno}"
            if error.filename and Path(error.filename).is_file():  # of what it imports
                place += f" of {Path(error.filename).name}"
            else:
                line = error.lineno
            hint = f"Python can't read {place}: look there, and at the line above"
            if "unicodeescape" in got:
                hint = "a backslash in a path means something else to Python: write / instead"
            elif isinstance(error, TabError):
                hint = "tabs and spaces are mixed: indent with four spaces"
            elif error.lineno is None or "not UTF-8" in got:
                hint = "Python can't read these letters: save the script as UTF-8"
        raise Unusable(self.called, got, "a run without a traceback", hint, line) from error

    # ------------------------------------------------------------------ the stage

    def _find_own_modules(self) -> list[str]:
        """Return what the script imports from the reader's folder."""
        names = find_imports(self._source)
        return [name for name in names if self._is_beside(name.partition(".")[0])]

    def _import_own_modules(self) -> None:
        """Let the scripts that this one imports run now: what they send is not this one's."""
        for name in self._find_own_modules():
            with contextlib.suppress(BaseException):  # the script's own import raises it again
                importlib.import_module(name)

    def _is_beside(self, module: str) -> bool:
        """Tell whether a module lies beside the reader's script."""
        return (self.home / f"{module}.py").is_file() or (self.home / module).is_dir()

    def _open(self, file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        opened = self._real_open(file, mode, *rest, **options)
        with contextlib.suppress(TypeError, ValueError, OSError):
            path = Path(os.fsdecode(file)).resolve()
            if path.is_relative_to(self.folder.resolve()) and path != self.path.resolve():
                self.opened.append(Opened(path, mode, opened, self._current_line()))
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
        self.sent.append(
            Sent(
                str(request.method),
                address,
                dict(request.headers),
                request.body,
                timeout,
                stream,
                self._current_line(),
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

    def _shorten_timeout(self, timeout: Any) -> tuple[float, float]:
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        return min(connect or 10.0, 10.0), min(read or self.patience, self.patience)

    @contextlib.contextmanager
    def staged(self) -> Iterator[Script]:
        """Let the script see our server, our clock and our folder, and nothing else."""
        self._real_open = builtins.open
        self._real_send = HTTPAdapter.send
        before = {*sys.modules}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builtins, "open", self._open)
            patch.setattr(io, "open", self._open)
            if accessor := getattr(pathlib, "_normal_accessor", None):  # Python 3.10
                patch.setattr(accessor, "open", self._open)
            patch.setattr(
                HTTPAdapter, "send", lambda adapter, *a, **k: self._send(adapter, *a, **k)
            )
            patch.setattr(time, "sleep", self.clock.sleep)
            for name in ("time", "monotonic", "perf_counter"):
                patch.setattr(time, name, self.clock.shift(getattr(time, name)))
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
                patch.delenv(name, raising=False)
            for name in re.findall(r"(?:environ\W+(?:get\W+)?|getenv\W+)(\w*KEY)\b", self.source):
                patch.setenv(name, "test-key")  # as a reader who has one
            patch.chdir(self.folder)
            linecache.checkcache()
            try:
                yield self
            finally:
                for name in {*sys.modules} - before:
                    if name == self.path.stem or self._is_beside(name.partition(".")[0]):
                        del sys.modules[name]
                for opened in self.opened:
                    with contextlib.suppress(Exception):
                        opened.file.close()
