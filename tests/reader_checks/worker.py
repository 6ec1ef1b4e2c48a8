"""Runs the checks in a process of their own: a script may hang, crash, or change anything there."""

from __future__ import annotations

import contextlib
import importlib
import linecache
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
import types
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

LIMIT_SECONDS = 20  # for one check


class Outcome(NamedTuple):
    """What came of a check."""

    state: str  # passed, failed, unusable (no check of this script can run), not started
    lines: tuple[str, ...] = ()  # for the reader
    hint: str = ""
    full: str = ""  # the traceback

    def __str__(self) -> str:
        return "\n".join([*self.lines, *([f"Hint: {self.hint}"] if self.hint else [])])


class Worker:
    """A process that runs one check after the other; a new one takes over when it dies."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.limit_seconds = limit_seconds
        self.process: Any = None
        self.connection: Any = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")  # the same on all systems
        self.connection, theirs = context.Pipe()
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.process = context.Process(target=serve, args=(theirs, self.folder.name))
        self.process.start()
        theirs.close()
        self.connection.recv()  # ready: the time that it takes to start is nobody's check

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.folder.cleanup()  # not theirs: who is killed cleans nothing up
            self.process = None

    def judge(self, module: str, check: str, script: Path) -> Outcome:
        """Run a check against a script and return what came of it; raises nothing."""
        if not self.process:
            self.start()
        try:
            self.connection.send((module, check, str(script), self.limit_seconds))
            line = ""
            if self.connection.poll(self.limit_seconds + 1):
                answer: Outcome | str = self.connection.recv()
                if isinstance(answer, Outcome):
                    return answer
                line = answer
            self.stop()
            got = f"the script didn't end within {self.limit_seconds:g} s"
            hint = "something in it waits for ever: a loop without an end, or a request"
        except (EOFError, OSError):
            self.process.join()
            got = f"the script ended Python itself, with exit code {self.process.exitcode}"
            hint = "let functions return or raise: don't end the process"
            self.stop()
            line = ""
        lines = (f"  called    python {script.name}", f"  got       {got}", line)
        return Outcome("unusable", tuple(filter(None, lines)), hint)


def serve(connection: Connection, folder: str) -> None:
    """Answer what `judge` asks, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    root = Path(folder).resolve()
    importlib.import_module("reader_checks.script")
    guard(root)
    connection.send("ready")
    with contextlib.suppress(EOFError, OSError):
        while True:
            module, check, script, limit = connection.recv()
            source = Path(script)
            late = threading.Timer(limit, tell_place, (connection, source, root))
            late.daemon = True
            late.start()
            outcome = run_check(module, check, source, root)
            late.cancel()
            late.join()
            connection.send(outcome)


def tell_place(connection: Connection, source: Path, root: Path) -> None:
    """Send the line of a report that says where the script is now, "" where nobody knows."""
    place = ""
    frame: types.FrameType | None = sys._current_frames()[threading.main_thread().ident or 0]
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.name == source.name and path.is_relative_to(root):
            lines = source.read_text("utf-8", "replace").splitlines()
            place = f"  {f'line {frame.f_lineno}':<9} {lines[frame.f_lineno - 1].strip()[:160]}"
            break
        frame = frame.f_back
    connection.send(place)


# What changes files: the places of each path, and of the folder's descriptor that it may be in.
CHANGES = {
    "os.remove": [(0, 1)],
    "os.rmdir": [(0, 1)],
    "os.mkdir": [(0, 2)],
    "os.rename": [(0, 2), (1, 3)],
    "os.link": [(0, 2), (1, 3)],
    "os.symlink": [(1, 2)],
    "os.chmod": [(0, 2)],
    "os.utime": [(0, 3)],
    "os.truncate": [(0, -1)],
    "shutil.rmtree": [(0, 1)],
}
STARTS = ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.startfile")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HERE = ("127.0.0.1", "::1", "localhost", None)


def guard(root: Path) -> None:
    """Let nothing change outside of `root`, nothing leave this machine, nothing be started.

    That is for accidents: who wants to get past it can.
    """
    from reader_checks.script import NOT_YOURS, NOTHING_OUT

    inside: set[tuple[int, int]] = set()  # the folders in `root`, as the system numbers them

    def is_ours(path: Any, folder: object = None) -> bool:
        if isinstance(path, int):
            return True  # open already
        if isinstance(folder, int) and folder >= 0:
            place = os.fstat(folder)
            if (place.st_dev, place.st_ino) not in inside:
                found = (Path(one).stat() for one, _, _ in os.walk(root))
                inside.update((one.st_dev, one.st_ino) for one in found)
            return (place.st_dev, place.st_ino) in inside
        name = os.path.realpath(os.fsdecode(path))
        return name == os.path.realpath(os.devnull) or Path(name).is_relative_to(root)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & WRITES:
            if not is_ours(args[0]):
                raise PermissionError(f"{NOT_YOURS}: {args[0]!r}")
        elif event in CHANGES:
            for path, folder in CHANGES[event]:
                if not is_ours(args[path], args[folder] if 0 <= folder < len(args) else None):
                    raise PermissionError(f"the checks change no file of yours: {args[path]!r}")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            address = args[:1] if event == "socket.getaddrinfo" else args[1]
            host = address[0] if isinstance(address, tuple) else None  # else a socket in a folder
            if host not in HERE:
                raise PermissionError(f"{NOTHING_OUT}, to {host!r}")
        elif event in STARTS:
            raise PermissionError("the checks start no other programs")

    sys.addaudithook(watch)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


def run_check(module: str, check: str, source: Path, root: Path) -> Outcome:
    """Run one check against one script."""
    from reader_checks.script import Mistake, NotStarted, Script, Stop, Unusable, Waits
    from reader_checks.web import Web

    function = getattr(importlib.import_module(module), check)
    linecache.clearcache()
    with (
        tempfile.TemporaryDirectory(dir=root, ignore_cleanup_errors=True) as folder,
        Web() as web,
    ):
        script = Script(source, Path(folder), web)
        if source.name != "download_file.py":  # what it mentions are the files that it makes
            script.make_mentioned_files()
        try:
            with script.staged():
                function(script)
        except NotStarted as reason:
            return Outcome("not started", (str(reason),))
        except (Mistake, Stop) as found:
            state = "unusable" if isinstance(found, (Unusable, Waits)) else "failed"
            return describe(script, state, found)
        except BaseException as error:  # of the script's in an unexpected place, or the check's own
            return describe(script, "failed", error)
    return Outcome("passed")


def describe(script: Any, state: str, error: Any) -> Outcome:
    """Return an outcome for the reader: called, got, expected, their own line, the hint."""
    from reader_checks.script import Stop, describe_error, give_hint, shorten_text

    line = getattr(error, "line", None) or script.find_line(error)
    facts = {
        "called": getattr(error, "called", script.called or f"python {script.name}"),
        "got": getattr(error, "got", describe_error(error)),
        "expected": getattr(error, "expected", "an end" if isinstance(error, Stop) else ""),
        f"line {line}": shorten_text(script.show_line(line)),
    }
    lines = tuple(f"  {name:<9} {fact}" for name, fact in facts.items() if fact)
    hint = getattr(error, "hint", None) or give_hint(error)
    return Outcome(state, lines, hint, "".join(traceback.format_exception(error)))
