"""The checks for readers are checked: right scripts pass them, each known mistake fails its own."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
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


def find_failures(worker: Worker, script: Path, *levels: str) -> dict[str, Outcome]:
    """Return what the checks of a script find, as far as they can run."""
    failures: dict[str, Outcome] = {}
    for check in find_checks(script.stem, *levels):
        outcome = worker.judge(f"checks.test_{script.stem}", check, script)
        if outcome.state != "passed":
            failures[check] = outcome
        if outcome.state == "unusable":
            break
    return failures


Judge = Callable[[Path], "dict[str, Outcome]"]


@pytest.fixture(scope="module")
def judge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judge]:
    """Judge the right and wrong versions that these tests ask for, all at once."""
    workers: SimpleQueue[Worker] = SimpleQueue()

    def judge_ahead(path: Path) -> dict[str, Outcome]:
        worker = workers.get()
        try:
            if path.suffix == ".py":
                return find_failures(worker, path, "chapter")
            mistake, script = read_mistake(path), f"{path.parent.name}.py"
            right = (CHAPTER if mistake.of == "chapter" else ROOT) / script
            wrong = tmp_path_factory.mktemp(path.stem) / script
            wrong.write_text(mistake.patch(right.read_text("utf-8")), "utf-8")
            return find_failures(worker, wrong, *LEVELS[: 1 + (mistake.of == "solution")])
        finally:
            workers.put(worker)

    count = 1 + (os.cpu_count() or 1)  # one more: a few wait
    with ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            workers.put(Worker())
        wanted = [
            getattr(item, "callspec").params.get("path")  # noqa: B009 - pytest types it nowhere
            for item in request.session.items
            if item.path == Path(__file__)
        ]
        judged = {path: pool.submit(judge_ahead, path) for path in wanted if path}
        yield lambda path: judged[path].result()
        pool.shutdown(cancel_futures=True)
    while not workers.empty():
        workers.get().stop()


def name_version(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", [CHAPTER / name for name in SCRIPTS], ids=name_version)
def test_a_script_typed_from_the_book_passes_the_chapters_checks(path: Path, judge: Judge) -> None:
    assert not judge(path)


@pytest.mark.parametrize("path", MISTAKES, ids=name_version)
def test_a_mistake_fails_its_check_with_its_hint(path: Path, judge: Judge) -> None:
    mistake, failures = read_mistake(path), judge(path)
    assert {check: outcome.hint for check, outcome in failures.items()} == {
        mistake.check: mistake.hint
    }, "\n".join(map(str, failures.values()))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_has_checks_and_mistakes_enough(script: str) -> None:
    stem = Path(script).stem
    assert len([*find_checks(stem, "chapter")]) >= 5
    assert 3 <= len([*find_checks(stem, "exercise")]) <= 5
    mistakes = [read_mistake(path) for path in MISTAKES if path.parent.name == stem]
    assert len(mistakes) >= 7
    assert {mistake.check for mistake in mistakes} <= {*find_checks(stem, *LEVELS)}
