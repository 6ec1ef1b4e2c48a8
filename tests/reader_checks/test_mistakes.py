"""The checks for readers are checked: right scripts pass them, each known mistake fails its own."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest

from reader_checks.beside import Beside
from reader_checks.catalog import CHECKS, HEAD, LEVELS, ROOT, SCRIPTS, read_checks
from reader_checks.judge import BASES, Case, read_cases

MISTAKES = [*read_cases("mistakes")]
# What a reader makes of the exercises is run in test_mine.py.
RIGHT = [Case(script, "as_in_the_chapter", "chapter", [], [], "", []) for script in SCRIPTS]
RIGHT += read_cases("right")


@pytest.mark.slow
@pytest.mark.parametrize("case", RIGHT, ids=str)
def test_a_right_script_passes(case: Case, judge: Beside) -> None:
    if "tqdm" in case.write()[0]:
        pytest.importorskip("tqdm")
    failures = judge.get(case)
    assert not failures, "\n".join(f"{check}\n{failures[check]}" for check in failures)


@pytest.mark.slow
@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_a_mistake_fails_its_check_with_its_hint(case: Case, judge: Beside) -> None:
    failures = judge.get(case)
    said = "\n".join(f"{check}\n{failures[check]}" for check in failures)
    assert [*failures] == case.checks, said
    first = failures[case.checks[0]]
    assert first.hint == case.hint, said
    line = case.write()[1]
    assert line is None or f"line {line}" in dict(first.facts), f"not line {line}:\n{said}"


def join(missing: Iterable[str]) -> str:
    return "\n".join(missing)


def test_each_script_is_registered_and_has_its_files() -> None:
    assert not join(
        f"{path.name} is not registered: add it to SCRIPTS in {CHECKS / 'catalog.py'}"
        for path in ROOT.glob("*.py")
        if path.name not in SCRIPTS
    )
    for script in SCRIPTS:
        stem = script.removesuffix(".py")
        for path, what in (
            (CHECKS / f"check_{script}", "its checks"),
            (BASES["chapter"] / script, "the book's own listing"),
            (BASES["exercise"] / script, "a reader's solution of its exercises"),
            (CHECKS / f"mistakes/{stem}.diff", "the mistakes that its checks find"),
            (CHECKS / f"right/{stem}.diff", "right versions of it"),
        ):
            assert path.exists(), f"{script} is registered: add {path} with {what}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_check_is_found_and_has_a_mistake(script: str) -> None:
    checks = read_checks(script)
    text = (CHECKS / f"check_{script}").read_text("utf-8")
    unfound = {*re.findall(r"^def (test_\w+)", text, re.MULTILINE)} - {one.name for one in checks}
    assert not unfound, f"{unfound} of check_{script}: write its head as {HEAD.pattern}"
    mistaken = {check for case in MISTAKES if case.script == script for check in case.checks}
    assert not join(
        f"{check.name} has no mistake that it finds: add one to mistakes/{script[:-3]}.diff"
        for check in checks
        if check.name not in mistaken
    )
    passed = {check for case in RIGHT if case.script == script for check in case.only}
    unknown = (mistaken | passed) - {check.name for check in checks}
    assert not unknown, f"{script[:-3]}.diff names {unknown}: add it to check_{script}"
    for level, least in zip(LEVELS, (5, 3), strict=True):
        assert sum(check.level == level for check in checks) >= least
