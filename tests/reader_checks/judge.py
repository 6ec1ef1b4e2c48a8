"""What the checks say of scripts on file: of mistakes that people make, and of right scripts.

Both stand in lists, mistakes/SCRIPT.diff and right/SCRIPT.diff:

    == no_timeout
    chapter: test_sets_a_timeout
    Hint: a server that never answers would hold the script for ever: set timeout=
    -    response = requests.post(url, files=files, timeout=10)
    >    response = requests.post(url, files=files)

Under the name stands what it is made of (chapter: the listing in chapter/, exercise: the one in
chapter/exercises/, solution: our script, alone: nothing) and the first check that fails, or
`right`; where more checks are named, the first has the hint. `right in` names the checks that a
costly right script is for, and is spared the others. Then what stands there (-), what
replaces it (+), and what is kept (space), with an empty line between two places. The report must
name the line with > (it is new) or = (it is kept). @ROOT@ stands for this checkout.

When the tests of this folder run by themselves, all checks of a right script are run, and those
before a mistake's own, which must not fail and say less. Among all tests that takes too long: there
it is every eighth check of a right script, and all of every eighth mistake.
"""

from __future__ import annotations

import atexit
import os
import re
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reader_checks.catalog import CHECKS, ROOT, SCRIPTS, Check, read_checks
from reader_checks.worker import Outcome, Worker

BASES = {
    "chapter": CHECKS / "chapter",  # as a beginner types them from the book
    "exercise": CHECKS / "chapter" / "exercises",  # and goes on with them
    "solution": ROOT,
}
EVERY = 8
LIMIT_SECONDS = 90  # for one check, while other tests keep all processors busy


class Case(NamedTuple):
    """A version of a script, and what must be said of it."""

    script: str
    name: str
    base: str  # chapter, exercise, solution, alone
    checks: list[str]  # that fail, none where it is right
    only: list[str]  # the checks that a right one is for, none where it is for all
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
            is_right, named = verdict.startswith("right"), verdict.removeprefix("right")
            only = named.removeprefix(" in ").split(", ") if is_right and named else []
            checks = [] if is_right else verdict.split(", ")
            hint = lines.pop(0).removeprefix("Hint: ") if checks else ""
            hunks: list[list[tuple[str, str]]] = [[]]
            for line in lines:
                if line:
                    hunks[-1].append((line[0], line[1:]))
                else:
                    hunks.append([])
            yield Case(script, name, base, checks, only, hint, hunks)


@cache
def get_worker() -> Worker:
    """Return this process's own worker, which gives way to the tests."""
    worker = Worker(LIMIT_SECONDS)
    atexit.register(worker.stop)
    worker.start()
    if worker.process and hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, worker.process.pid, 5)
    return worker


def judge(case: Case, folder: Path, asks_all: bool) -> dict[str, Outcome]:
    """Return what the checks find in a case, in their order; it is written into a folder."""
    path = folder / str(case) / case.script
    path.parent.mkdir(parents=True)
    path.write_text(case.write()[0], "utf-8")
    failures: dict[str, Outcome] = {}
    for check in choose_checks(case, asks_all):
        outcome = get_worker().judge(check, path)
        if outcome.state not in ("passed", "not started"):
            failures[check.name] = outcome
        if outcome.state == "unusable":
            break
    return failures


def choose_checks(case: Case, asks_all: bool) -> list[Check]:
    """Return the checks to run: of a mistake its own, and those before them when all is asked."""
    checks = read_checks(case.script)
    lot = zlib.crc32(str(case).encode()) % EVERY  # always the same
    if not case.checks:
        wanted = [check for check in checks if check.name in case.only or not case.only]
        return wanted if asks_all or len(wanted) < EVERY else wanted[lot::EVERY]
    named = [check for check in checks if check.name in case.checks]
    if not named or not (asks_all or lot == 0):
        return named
    levels = {check.level for check in named}  # an exercise leaves the chapter's part as it was
    return [check for check in checks[: checks.index(named[-1]) + 1] if check.level in levels]
