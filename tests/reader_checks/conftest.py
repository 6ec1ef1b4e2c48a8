"""What the tests of the checks share: much of their work goes on beside the other tests."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reader_checks import beside
from reader_checks.catalog import CHECKS
from reader_checks.judge import Case

RunPytest = Callable[..., beside.Done]
OUTCOME: pytest.StashKey[Future[None]] = pytest.StashKey()  # of a test that was begun ahead


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my scripts"
    folder.mkdir()
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A reader's folder."""
    return make_folder(tmp_path)


@pytest.fixture
def run_pytest() -> RunPytest:
    """Run pytest in the project: `run_pytest("--mine=FOLDER")`.

    A test that needs nothing but this and folders is begun ahead.
    """
    return lambda *words, **options: beside.run_pytest([*map(str, words)], **options)


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[beside.Beside]:
    judge = beside.Beside(tmp_path_factory.mktemp("beside"))
    yield judge
    judge.stop()


# --- what is begun ahead -----------------------------------------------------------------------


def find_parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def find_case(item: pytest.Item) -> Case | None:
    """Return the case whose verdict a test looks at."""
    case = find_parameters(item).get("case")
    return case if isinstance(case, Case) else None


def only_runs_pytest(item: pytest.Item) -> bool:
    """Tell whether a test looks at a run of pytest, and needs folders at most."""
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
    judge: beside.Beside, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Begin with all that takes long and goes on by itself."""
    shares = hasattr(request.config, "workerinput")  # pytest-xdist: nobody knows who gets what
    items = [] if shares else request.session.items
    waiting = [item for item in items if only_runs_pytest(item)]
    judge.asks_all = {item.path.parent for item in request.session.items} == {CHECKS}
    with ThreadPoolExecutor(len(waiting) or 1) as threads:
        for item in waiting:
            assert isinstance(item, pytest.Function)
            begin_test(item, judge, threads, tmp_path_factory.mktemp("ahead"))
        for item in items:
            if case := find_case(item):
                judge.begin(case)
        yield
        judge.stop()


def begin_test(
    item: pytest.Function, judge: beside.Beside, threads: ThreadPoolExecutor, folder: Path
) -> None:
    """Run a test in a thread; return when it waits for what pytest prints."""
    waits = threading.Event()

    def run_pytest(*words: object, **options: Any) -> beside.Done:
        run = judge.pool.submit(beside.run_pytest, [*map(str, words)], **options)
        waits.set()
        return run.result()

    def work() -> None:
        try:
            item.obj(**{name: values[name] for name in inspect.signature(item.obj).parameters})
        finally:
            waits.set()

    values = {
        "run_pytest": run_pytest,
        "mine": make_folder(folder),
        "tmp_path": folder,
        **find_parameters(item),
    }
    item.stash[OUTCOME] = threads.submit(work)
    waits.wait()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for the end of a test that was begun ahead."""
    if outcome := pyfuncitem.stash.get(OUTCOME, None):
        outcome.result()
        return True
    return None
