"""The checks for readers are checked: right scripts pass them, each known mistake fails its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SCRIPTS

from reader_checks.mine import LEVELS
from reader_checks.verdicts import (
    CHAPTER,
    MISTAKES,
    Verdicts,
    find_checks,
    name_version,
    read_mistake,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", [CHAPTER / name for name in SCRIPTS], ids=name_version)
def test_a_script_typed_from_the_book_passes_the_chapters_checks(
    path: Path, verdicts: Verdicts
) -> None:
    assert not verdicts.get(path)


@pytest.mark.parametrize("path", MISTAKES, ids=name_version)
def test_a_mistake_fails_its_check_with_its_hint(path: Path, verdicts: Verdicts) -> None:
    mistake, failures = read_mistake(path), verdicts.get(path)
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
