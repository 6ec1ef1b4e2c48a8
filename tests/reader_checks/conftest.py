"""What the tests of the checks share: a judge, at work while other tests wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reader_checks.catalog import CHECKS
from reader_checks.judge import Case, Judge


def find_case(item: pytest.Item) -> Case | None:
    """Return the case that a test is about."""
    callspec = getattr(item, "callspec", None)
    case = callspec.params.get("case") if callspec else None
    return case if isinstance(case, Case) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the judge begin at once, and be asked last."""
    items.sort(key=lambda item: 2 if find_case(item) else item.path.parent != CHECKS)


@pytest.fixture(scope="session")
def judge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judge]:
    judge = Judge(tmp_path_factory.mktemp("cases"))
    yield judge
    judge.stop()


@pytest.fixture(scope="package", autouse=True)
def begin(judge: Judge, request: pytest.FixtureRequest) -> None:
    """Judge all that will be asked for from the start."""
    shares = hasattr(request.config, "workerinput")  # pytest-xdist: who knows who is asked what
    for item in [] if shares else request.session.items:
        if case := find_case(item):
            judge.begin(case)
