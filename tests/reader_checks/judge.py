"""What the checks say of scripts on file: of mistakes that people make, and of right scripts.

Both stand in lists, mistakes/SCRIPT.diff and right/SCRIPT.diff:

    == no_timeout
    chapter: test_sets_a_timeout
    Hint: a server that never answers would hold the script for ever: set timeout=
    -    response = requests.post(url, files=files, timeout=10)
    >    response = requests.post(url, files=files)

Under the name stands what it is made of (chapter: the listing in chapter/, exercise: the one in
chapter/exercises/, solution: our script, alone: nothing) and the first check that fails, or
`right`; where more checks are named, the first has the hint. Then what stands there (-), what
replaces it (+), and what is kept (space), with an empty line between two places. The report must
name the line with > (it is new) or = (it is kept). @ROOT@ stands for this checkout.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reader_checks.catalog import CHECKS, ROOT, SCRIPTS, read_checks
from reader_checks.worker import Outcome, Worker

BASES = {
    "chapter": CHECKS / "chapter",  # as a beginner types them from the book
    "exercise": CHECKS / "chapter" / "exercises",  # and goes on with them
    "solution": ROOT,
}
LIMIT_SECONDS = 90  # for one check, while other tests keep all processors busy


class Case(NamedTuple):
    """A version of a script, and what must be said of it."""

    script: str
    name: str
    base: str  # chapter, exercise, solution, alone
    checks: list[str]  # that fail, none where it is right
    hint: str
    hunks: list[list[tuple[str, str]]]  # lines, each with the sign before it

    def write(self) -> tuple[str, int | None]:
        """Return the script, and the line that the report must name."""
        text = (BASES[self.base] / self.script).read_text("utf-8") if self.base in BASES else ""
        mark = None
        for hunk in self.hunks:
            old, new = (
                "".join(f"{line}\n" for sign, line in hunk if sign in signs)
                for signs in (" =-", " =+>")
            )
            count = text.count(old)
            assert count == 1 or not text, f"{self} stands there {count} times:\n{old}"
            kept = [sign for sign, _ in hunk if sign != "-"]
            for sign in ">=":
                if sign in kept:
                    mark = text.count("\n", 0, text.find(old)) + kept.index(sign) + 1
            text = text.replace(old, new) if old else text + new
        return text.replace("@ROOT@", ROOT.as_posix()), mark

    def __str__(self) -> str:
        return f"{self.script.removesuffix('.py')}-{self.name}"


def read_cases(folder: str) -> Iterator[Case]:
    """Yield all cases of a folder."""
    for script in SCRIPTS:
        path = CHECKS / folder / f"{Path(script).stem}.diff"
        text = path.read_text("utf-8") if path.exists() else ""
        for section in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
            name, facts, *lines = section.rstrip("\n").split("\n")
            base, _, verdict = facts.partition(": ")
            checks = [] if verdict == "right" else verdict.split(", ")
            hint = lines.pop(0).removeprefix("Hint: ") if checks else ""
            hunks: list[list[tuple[str, str]]] = [[]]
            for line in lines:
                if line:
                    hunks[-1].append((line[0], line[1:]))
                else:
                    hunks.append([])
            yield Case(script, name, base, checks, hint, hunks)


@cache
def get_worker() -> Worker:
    """Return this process's own worker, which gives way to the tests."""
    worker = Worker(LIMIT_SECONDS)
    atexit.register(worker.stop)
    worker.start()
    if worker.process and hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, worker.process.pid, 5)
    return worker


def judge(case: Case, folder: Path) -> dict[str, Outcome]:
    """Return what the checks find in a case, in their order; it is written into a folder."""
    path = folder / str(case) / case.script
    path.parent.mkdir(parents=True)
    path.write_text(case.write()[0], "utf-8")
    return find_failures(get_worker(), path, case.checks)


def find_failures(worker: Worker, script: Path, expected: list[str]) -> dict[str, Outcome]:
    """Return what the checks of a script find, up to the last one that is expected to fail."""
    failures: dict[str, Outcome] = {}
    levels = {check.level for check in read_checks(script.name) if check.name in expected}
    for check in read_checks(script.name):
        if expected and check.level not in levels:
            continue  # a mistake in an exercise leaves the chapter's part as it was
        outcome = worker.judge(check, script)
        if outcome.state not in ("passed", "not started"):
            failures[check.name] = outcome
        if outcome.state == "unusable" or (expected and expected[-1] in failures):
            break
    return failures
