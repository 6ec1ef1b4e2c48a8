"""What the worker's process does: it runs a check against a script, where that does no harm."""

from __future__ import annotations

import contextlib
import gc
import importlib
import linecache
import os
import pickle
import queue
import sys
import tempfile
import threading
import traceback
import types
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import requests

from reader_checks.hints import NOT_YOURS, NOTHING_OUT, describe_error, shorten_text
from reader_checks.script import Mistake, NotStarted, Script, Unusable
from reader_checks.source import (
    find_always_true,
    find_bad_guard,
    find_idle_line,
    find_uncalled_line,
)
from reader_checks.stage import Stop, Waits, replace_clock
from reader_checks.web import Web
from reader_checks.worker import Outcome


def serve(folder: str, needed: frozenset[str]) -> None:
    """Answer what `Worker.judge` asks, until it goes; `needed` is what requests imports."""
    questions: queue.SimpleQueue[Any] = queue.SimpleQueue()
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # the script gets neither
    os.dup2(nothing, 1)
    threading.Thread(target=take_questions, args=(incoming, questions), daemon=True).start()
    lock = threading.Lock()

    def answer(value: object) -> None:
        with lock:
            pickle.dump(value, outgoing)
            outgoing.flush()

    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    root = Path(folder).resolve()
    guard(root)
    replace_clock()
    gc.freeze()
    gc.set_threshold(100_000)  # a check leaves little behind, and looking for it takes a tenth
    while True:
        module, check, script, limit = questions.get()
        source = Path(script)
        late = threading.Timer(limit, lambda path=source: answer(find_place(path, root)))
        late.daemon = True
        late.start()
        outcome = run_check(module, check, source, root, needed)
        late.cancel()
        late.join()
        answer(outcome)


def take_questions(incoming: BinaryIO, questions: queue.SimpleQueue[Any]) -> None:
    """Hand on what is asked; when nobody is there any more, end, whatever a script does."""
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            questions.put(pickle.load(incoming))
    os._exit(0)


def find_place(source: Path, root: Path) -> tuple[tuple[str, str], ...]:
    """Return the fact that says where the script is now."""
    frame: types.FrameType | None = sys._current_frames()[threading.main_thread().ident or 0]
    while frame:
        path = Path(frame.f_code.co_filename)
        if path.name == source.name and path.is_relative_to(root):
            lines = source.read_text("utf-8", "replace").splitlines()
            return ((f"line {frame.f_lineno}", shorten_text(lines[frame.f_lineno - 1])),)
        frame = frame.f_back
    return (("line", "not known"),)


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
STARTS = ("os.fork", "subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.startfile")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
HERE = ("127.0.0.1", "::1", "localhost", None)


def guard(root: Path) -> None:
    """Let nothing change outside of `root`, nothing leave this machine, nothing be started.

    That is for accidents: who wants to get past it can.
    """
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
    requests.utils.should_bypass_proxies = lambda *_, **__: True


def run_check(module: str, check: str, source: Path, root: Path, needed: frozenset[str]) -> Outcome:
    """Run one check against one script."""
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
            expect_nothing_hidden(script, needed)
            expect_no_slip(script)
            with script.staged():
                function(script)
        except NotStarted as reason:
            return Outcome("not started", (("not there", str(reason)),))
        except (Mistake, Stop) as found:
            state = "unusable" if isinstance(found, (Unusable, Waits)) else "failed"
            return describe(script, state, found)
        except BaseException as error:  # of the script's in an unexpected place, or the check's own
            return describe(script, "failed", error)
    return Outcome("passed")


def expect_nothing_hidden(script: Script, needed: frozenset[str]) -> None:
    """Expect no requests.py, or the like, that Python would import in place of the real one."""
    file = script.find_hiding(needed)
    if file:
        name = file.partition("/")[0].removesuffix(".py")
        raise Unusable(
            f"python {script.name}",
            f"{file} beside it, which Python takes for {name}",
            f"the module {name}",
            f"a file of yours hides the module {name}: call {file} something else",
            script.search(rf"\b(import|from) {name}\b"),
        )


def expect_no_slip(script: Script) -> None:
    """Expect nothing that can be seen to be wrong before the script runs."""
    called, source = f"python {script.name}", script.source
    if line := find_bad_guard(source):
        hint = 'nothing begins when the script is run: it must be called "__main__" here'
        raise Unusable(called, "nothing", "what stands below this line", hint, line)
    if named := find_uncalled_line(source):
        hint = f"{named[0]} is only named here: it needs () to be called"
        raise Unusable(called, "nothing", f"a call of {named[0]}", hint, named[1])
    if line := find_idle_line(source):
        hint = "this line keeps nothing: an = is missing, or there is one too many"
        raise Unusable(called, "nothing", "what the line is there for", hint, line)
    if line := find_always_true(source):
        hint = "what stands behind or is true by itself: write the whole comparison twice"
        raise Unusable(called, "a condition that is always true", "a comparison", hint, line)


def describe(script: Script, state: str, error: Any) -> Outcome:
    """Return an outcome for the reader: called, got, expected, their own line, the hint."""
    full = "".join(traceback.format_exception(error.__cause__ or error))
    if not isinstance(error, Mistake):
        got, hint, line = script.explain(error)
        expected = "an end" if isinstance(error, Stop) else ""
        error = Mistake(script.called or f"python {script.name}", got, expected, hint, line)
    facts = {"called": error.called, "got": error.got, "expected": error.expected}
    hint, line = error.hint, error.line
    if script.hidden:
        hidden, line = script.hidden[-1]
        facts["hidden"] = describe_error(hidden)
        hint = "what went wrong is hidden here: print it, or let the exception through"
    facts[f"line {line}"] = shorten_text(script.show_line(line))
    shown = tuple((name, fact) for name, fact in facts.items() if fact)
    return Outcome(state, shown, hint, full)
