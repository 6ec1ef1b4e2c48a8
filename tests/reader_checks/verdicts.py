"""What the checks say of right and wrong scripts, judged while the other tests wait for servers."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from reader_checks.mine import CHECKS, LEVELS, ROOT
from reader_checks.worker import Outcome, Worker

CHAPTER = CHECKS / "chapter"  # the scripts as a beginner types them from the book
MISTAKES = sorted(CHECKS.glob("mistakes/*/*.diff"))


class Mistake(NamedTuple):
    """A wrong version: which right one it is made of, the check that fails, the hint, the patch."""

    of: str  # chapter, or solution: the script of ours
    check: str
    hint: str
    hunks: list[tuple[str, str]]  # what stands there, what replaces it

    def patch(self, right: str) -> str:
        for old, new in self.hunks:
            assert right.count(old) == 1, f"stands there {right.count(old)} times:\n{old}"
            right = right.replace(old, new)
        return right


def read_mistake(path: Path) -> Mistake:
    """Read a .diff: three lines of facts, then hunks of lines that begin with ` `, - or +."""
    head, *hunks = path.read_text("utf-8").rstrip("\n").split("\n\n")
    facts = dict(line.split(": ", 1) for line in head.splitlines())

    def side(hunk: str, sign: str) -> str:
        return "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[0] in f" {sign}")

    return Mistake(**facts, hunks=[(side(hunk, "-"), side(hunk, "+")) for hunk in hunks])


def find_checks(script: str, *levels: str) -> Iterator[str]:
    """Yield the names of a script's checks in the order in which they are written."""
    module = importlib.import_module(f"reader_checks.check_{script}")
    for name, value in vars(module).items():
        if any(mark.name in levels for mark in getattr(value, "pytestmark", [])):
            yield name


def find_failures(worker: Worker, script: Path, *levels: str) -> dict[str, Outcome]:
    """Return what the checks of a script find, as far as they can run."""
    failures: dict[str, Outcome] = {}
    for check in find_checks(script.stem, *levels):
        outcome = worker.judge(f"reader_checks.check_{script.stem}", check, script)
        if outcome.state != "passed":
            failures[check] = outcome
        if outcome.state == "unusable":
            break
    return failures


class Verdicts:
    """Judges each version that is asked for, in processes that give way to the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[Worker] = []
        self.own = threading.local()
        self.pool = ThreadPoolExecutor(1 + (os.cpu_count() or 1))  # one more: a few wait
        self.futures: dict[Path, Future[dict[str, Outcome]]] = {}

    def begin(self, path: Path) -> None:
        """Judge a script of the chapter, or what a .diff makes of one."""
        self.futures[path] = self.pool.submit(self.judge, path)

    def get(self, path: Path) -> dict[str, Outcome]:
        """Return what the checks found."""
        return self.futures[path].result()

    def judge(self, path: Path) -> dict[str, Outcome]:
        if path.suffix == ".py":
            return find_failures(self.get_worker(), path, "chapter")
        mistake, script = read_mistake(path), f"{path.parent.name}.py"
        is_chapter = mistake.of == "chapter"
        right = (CHAPTER if is_chapter else ROOT) / script
        wrong = self.folder / name_version(path) / script
        wrong.parent.mkdir()
        wrong.write_text(mistake.patch(right.read_text("utf-8")), "utf-8")
        levels = ("chapter",) if is_chapter else LEVELS
        return find_failures(self.get_worker(), wrong, *levels)

    def get_worker(self) -> Worker:
        """Return this thread's own worker."""
        if not hasattr(self.own, "worker"):
            self.own.worker = Worker()
            self.workers.append(self.own.worker)
            self.own.worker.start()
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, self.own.worker.process.pid, 5)
        worker: Worker = self.own.worker
        return worker

    def stop(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        for worker in self.workers:
            worker.stop()


def name_version(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"
