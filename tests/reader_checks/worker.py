"""Runs the checks in a process of their own: a script may hang, crash, or change anything there."""

from __future__ import annotations

import contextlib
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NamedTuple

from reader_checks.catalog import CHECKS, Check

LIMIT_SECONDS = 15  # for one check
# Neither pytest's main module nor a requests.py in the working folder is imported there.
BOOT = """
import sys
started = {*sys.modules}
sys.path[:] = [sys.argv[1], *(path for path in sys.path if path)]
import requests
needed = frozenset(name for name in {*sys.modules} - started if "." not in name)
from reader_checks.sandbox import serve
serve(sys.argv[2], needed)
"""


class Outcome(NamedTuple):
    """What came of a check."""

    state: str  # passed, failed, unusable (no check of this script can run), not started
    facts: tuple[tuple[str, str], ...] = ()  # for the reader: called, got, expected, line 7
    hint: str = ""
    full: str = ""  # the traceback

    def __str__(self) -> str:
        lines = [f"  {name:<9} {fact}" for name, fact in self.facts]
        return "\n".join([*lines, *([f"Hint: {self.hint}"] if self.hint else [])])


class Worker:
    """A process that runs one check after the other; a new one takes over when it dies."""

    def __init__(self, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.limit_seconds = limit_seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the process, and don't wait until it is ready."""
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.answers = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOT, str(CHECKS.parent), self.folder.name],
            cwd=self.folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us
        )
        reader = (self.process.stdout, self.answers)
        threading.Thread(target=pass_on, args=reader, daemon=True).start()

    def stop(self) -> None:
        process, self.process = self.process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe
                    pipe.close()
            self.folder.cleanup()  # not theirs: who is killed cleans nothing up

    def judge(self, check: Check, script: Path) -> Outcome:
        """Run a check against a script and return what came of it; raises nothing."""
        if not self.process:
            self.start()
        process = self.process
        assert process
        assert process.stdin
        with contextlib.suppress(OSError):  # it has died: then nothing comes back
            pickle.dump((check.module, check.name, str(script), self.limit_seconds), process.stdin)
            process.stdin.flush()
        place: tuple[tuple[str, str], ...] = ()
        try:
            answer = self.answers.get(timeout=self.limit_seconds + 5)
            if isinstance(answer, Outcome):
                return answer
            if answer is None:
                got = f"the script ended Python itself, with exit code {process.wait()}"
                hint = "let functions return or raise: don't end the process"
            else:
                place = answer
        except queue.Empty:
            pass
        if place or process.poll() is None:
            got = f"the script didn't end within {self.limit_seconds:g} s"
            hint = "something in it waits for ever: a loop without an end, or a request"
        self.stop()
        facts = (("called", f"python {script.name}"), ("got", got), *place)
        return Outcome("unusable", facts, hint)


def pass_on(pipe: Any, answers: queue.SimpleQueue[Any]) -> None:
    """Hand over what comes out of a pipe, None at its end."""
    with contextlib.suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
        while True:
            answers.put(pickle.load(pipe))
    answers.put(None)
