"""The checks for readers are checked: right scripts pass them, each known mistake fails its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from checks.worker import Outcome, Worker
from conftest import ROOT, SCRIPTS
from mine import LEVELS

TESTS = ROOT / "tests"
CHAPTER = TESTS / "chapter"  # the scripts as a beginner types them from the book
MISTAKES = sorted(TESTS.glob("mistakes/*/*.diff"))

pytestmark = pytest.mark.slow


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
    module = importlib.import_module(f"checks.test_{script}")
    for name, value in vars(module).items():
        if any(mark.name in levels for mark in getattr(value, "pytestmark", [])):
            yield name


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


def judge(worker: Worker, script: Path, *levels: str) -> dict[str, Outcome]:
    """Return what a script's checks say, as far as they can run."""
    outcomes: dict[str, Outcome] = {}
    for check in find_checks(script.stem, *levels):
        outcomes[check] = worker.judge(f"checks.test_{script.stem}", check, script)
        if outcomes[check].state == "unusable":
            break
    return outcomes


def find_failures(outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    return {check: outcome for check, outcome in outcomes.items() if outcome.state != "passed"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_typed_from_the_book_passes_the_chapters_checks(
    script: str, worker: Worker
) -> None:
    outcomes = judge(worker, CHAPTER / script, "chapter")
    assert len(outcomes) >= 3
    assert not find_failures(outcomes)


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_mistake_fails_its_check_with_its_hint(
    path: Path, worker: Worker, tmp_path: Path
) -> None:
    mistake = read_mistake(path)
    script = f"{path.parent.name}.py"
    right = (CHAPTER if mistake.of == "chapter" else ROOT) / script
    wrong = tmp_path / script
    wrong.write_text(mistake.patch(right.read_text("utf-8")), "utf-8")
    levels = ["chapter"] if mistake.of == "chapter" else LEVELS
    outcomes = judge(worker, wrong, *levels)
    failures = find_failures(outcomes)
    assert {check: outcome.hint for check, outcome in failures.items()} == {
        mistake.check: mistake.hint
    }, "\n".join(map(str, failures.values()))


def test_there_are_enough_mistakes() -> None:
    assert len(MISTAKES) >= 40
    assert {path.parent.name for path in MISTAKES} == {Path(name).stem for name in SCRIPTS}
