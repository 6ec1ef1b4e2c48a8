"""What the tests of the checks share: a judge and runs of pytest, at work while others wait."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from reader_checks.catalog import CHECKS, ROOT
from reader_checks.judge import Case, Judge

RunPytest = Callable[..., "subprocess.CompletedProcess[str]"]
OUTCOME: pytest.StashKey[Future[object]] = pytest.StashKey()  # of a test that was begun ahead


def make_run_pytest() -> RunPytest:
    """Return what runs pytest in the project, as its README says."""
    environment = {**os.environ}  # of now: other tests change theirs

    def run(
        *arguments: object, folder: Path = ROOT, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments)],
            capture_output=True,
            check=False,
            cwd=folder,
            encoding="utf-8",
            env=environment | (env or {}),
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert "INTERNALERROR" not in done.stdout + done.stderr
        return done

    return run


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my scripts"
    folder.mkdir()
    return folder


@pytest.fixture
def run_pytest() -> RunPytest:
    return make_run_pytest()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A reader's folder."""
    return make_folder(tmp_path)


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    judge = Judge(tmp_path_factory.mktemp("cases"))
    yield judge
    judge.stop()


# --- what is begun ahead -----------------------------------------------------------------------


def find_parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def find_case(item: pytest.Item) -> Case | None:
    """Return the case that a test asks the judge about."""
    case = find_parameters(item).get("case")
    return case if isinstance(case, Case) else None


def only_runs_pytest(item: pytest.Item) -> bool:
    """Tell whether a test waits for a run of pytest, and needs folders at most."""
    if not isinstance(item, pytest.Function):
        return False
    needs = {*inspect.signature(item.obj).parameters} - {*find_parameters(item)}
    return "run_pytest" in needs <= {"run_pytest", "mine", "tmp_path"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let all that is begun ahead begin with the first test, and end with the last ones."""

    def find_place(item: pytest.Item) -> int:
        return 2 if find_case(item) or only_runs_pytest(item) else item.path.parent != CHECKS

    items.sort(key=find_place)


@pytest.fixture(scope="session", autouse=True)
def begin(
    judge: Judge, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Begin with all that takes long and goes on by itself."""
    shares = hasattr(request.config, "workerinput")  # pytest-xdist: nobody knows who gets what
    run_pytest = make_run_pytest()
    with ThreadPoolExecutor(1) as pool:
        for item in [] if shares else request.session.items:
            if case := find_case(item):
                judge.begin(case)
            elif isinstance(item, pytest.Function) and only_runs_pytest(item):
                folder = tmp_path_factory.mktemp("ahead")
                values = {
                    "run_pytest": run_pytest,
                    "mine": make_folder(folder),
                    "tmp_path": folder,
                    **find_parameters(item),
                }
                needs = inspect.signature(item.obj).parameters
                work = partial(item.obj, **{name: values[name] for name in needs})
                item.stash[OUTCOME] = pool.submit(work)
        yield
        pool.shutdown(cancel_futures=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for a test that was begun ahead."""
    if outcome := pyfuncitem.stash.get(OUTCOME, None):
        outcome.result()
        return True
    return None
