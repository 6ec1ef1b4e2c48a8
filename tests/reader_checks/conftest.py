"""What the tests of the checks share: a judge, at work while other tests wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reader_checks.judge import Case, Judge


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
    for item in request.session.items:
        case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
        if isinstance(case, Case):
            judge.begin(case)
