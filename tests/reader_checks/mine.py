"""The pytest plugin behind `pytest --mine=FOLDER`: checks a reader's own scripts, and says how far.

The checks are in check_*.py. They run in a process of their own, against the scripts in FOLDER, or
against ours where no folder is given.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = Path(__file__).resolve().parent
SCRIPTS = [
    "basic_upload.py",
    "profile_picture_uploader.py",
    "streaming_upload.py",
    "download_file.py",
    "concurrent_upload.py",
    "receipt_scanner.py",
]
LEVELS = ("chapter", "exercise")
BAR_WIDTH = 10
NOT_STARTED = "not started yet"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mine", "checks for your own scripts")
    group.addoption("--mine", metavar="FOLDER", help="--mine=FOLDER checks your scripts in FOLDER")
    group.addoption("--level", choices=LEVELS, help="only what the chapter, or exercises, ask for")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chapter: what a script of the chapter does")
    config.addinivalue_line("markers", "exercise: what an exercise of the README adds")
    mine = config.getoption("mine")
    if mine is None and config.rootpath != ROOT:
        return  # somebody else's tests
    if mine is not None:
        folder = Path(mine).expanduser()
        if config.rootpath != ROOT:  # pytest took the folder behind the space for its root
            raise pytest.UsageError(f"write --mine={mine}, with the equals sign, in {ROOT}")
        if not folder.is_dir():
            reason = "is a file" if folder.exists() else "is not there"
            raise pytest.UsageError(f"--mine takes a folder, and {mine!r} {reason}")
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            # The other tests are ours: don't even import them.
            config.args = [*map(str, sorted(CHECKS.glob("check_*.py")))]
        if config.option.reportchars == "fE":  # the default: a list of what failed, said already
            config.option.reportchars = "N"
    config.pluginmanager.register(Checks(config), "checks")


@pytest.fixture
def script() -> NoReturn:
    """What a check gets, a `reader_checks.script.Script`, is made in the process that runs it."""
    raise AssertionError("a check is marked chapter or exercise")


class CheckFailed(Exception):
    """A check failed; the text is for the reader."""


def get_script(item: pytest.Item) -> str | None:
    """Return the name of the script that a check is for, None for a test that is no check."""
    if item.path.parent == CHECKS and any(map(item.get_closest_marker, LEVELS)):
        return item.path.name.removeprefix("check_")
    return None


def get_sentence(item: pytest.Item) -> str:
    """Return what a check asks for, in words."""
    words = item.function.__doc__ if isinstance(item, pytest.Function) else None
    return (words or item.name).strip().split("\n")[0].rstrip(".")


class Checks:
    """Runs the checks, and remembers what came of them."""

    def __init__(self, config: pytest.Config) -> None:
        from reader_checks.worker import Outcome, Worker

        self.config = config
        self.is_mine = config.getoption("mine") is not None
        self.folder = Path(config.getoption("mine") or ROOT).expanduser().resolve()
        self.worker = Worker()
        self.outcomes: dict[pytest.Item, Outcome] = {}
        self.passed = Outcome("passed")
        self.items: list[pytest.Item] = []

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Our scripts have quicker tests of their own."""
        if get_script(item) and not self.is_mine:
            item.add_marker("slow")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what was asked for, in the order of the chapter."""
        self.items = items
        level = self.config.getoption("level")
        if not (self.is_mine or level):
            return
        chosen = [
            item
            for item in items
            if get_script(item) and (not level or item.get_closest_marker(level))
        ]
        self.config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = sorted(chosen, key=lambda item: SCRIPTS.index(str(get_script(item))))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A check needs no fixtures here; a script that is not there, or broken, no checks."""
        name = get_script(item)
        if name is None:
            return
        item.fixturenames.remove("script")  # type: ignore[attr-defined]
        if not self.is_started(name):
            pytest.skip(NOT_STARTED)
        if any(
            get_script(other) == name and outcome.state == "unusable"
            for other, outcome in self.outcomes.items()
        ):
            pytest.skip(f"{name} can't be checked, see above")

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        name = get_script(pyfuncitem)
        if name is None:
            return None
        module = f"{CHECKS.name}.{pyfuncitem.path.stem}"
        outcome = self.worker.judge(module, pyfuncitem.originalname, self.folder / name)
        self.outcomes[pyfuncitem] = outcome
        if outcome.state == "not started":
            pytest.skip("exercise not started yet")
        if outcome.state != "passed":
            raise CheckFailed(outcome)
        return True

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Show what the reader can use, and no traceback unless `--full-trace` asks for it."""
        result = yield
        if call.excinfo and isinstance(call.excinfo.value, CheckFailed):
            outcome = self.outcomes[item]
            asks = "can't be checked yet" if outcome.state == "unusable" else get_sentence(item)
            full = f"{outcome.full}\n" if self.config.getoption("fulltrace") else ""
            result.get_result().longrepr = f"{full}{get_script(item)}: {asks}\n{outcome}"  # type: ignore[attr-defined]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.is_mine:
            terminalreporter.ensure_newline()
            terminalreporter.section(f"your scripts in {self.folder}")
            for name in SCRIPTS:
                self.report_script(terminalreporter, name)
            terminalreporter.write_line(self.say_what_next())

    def is_started(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and bool(path.read_bytes().strip())

    def say_why_not(self, name: str) -> str:
        """Return why a script is not started: it may lie there under a name that is almost its."""
        if (self.folder / name).is_file():
            return f"{NOT_STARTED}, the file is empty"
        others = [
            path.name
            for path in self.folder.iterdir()
            if path.is_file() and path.name not in SCRIPTS and not path.name.startswith("test_")
        ]
        close = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
        close += [path.parent.name + "/" + name for path in self.folder.glob(f"*/{name}")]
        return f"{NOT_STARTED}, but {close[0]} is there" if close else NOT_STARTED

    def report_script(self, reporter: pytest.TerminalReporter, name: str) -> None:
        """Write a script's line: `basic_upload.py   #####-----  5/9 checks`."""
        checks = [item for item in self.items if get_script(item) == name]
        done = sum(self.outcomes.get(item) == self.passed for item in checks)
        is_there = self.is_started(name)
        filled = BAR_WIDTH * done // max(len(checks), 1)
        bar = "#" * filled + "-" * (BAR_WIDTH - filled)
        says = f"{done}/{len(checks)} checks" if is_there else self.say_why_not(name)
        if not checks and is_there:
            return  # another was asked for
        colour = "green" if done == len(checks) else "yellow"
        reporter.write(f"{name:28} ")
        reporter.write(bar, **({colour: True} if is_there else {}))
        reporter.write(f"  {says}\n")

    def say_what_next(self) -> str:
        """Return one line: what to mend, to write or to try now."""
        there = [name for name in SCRIPTS if self.is_started(name)]
        missing = [name for name in SCRIPTS if name not in there]
        almost = [name for name in missing if self.say_why_not(name) != NOT_STARTED]
        if not there and not almost:
            return f"Nothing started yet: write {SCRIPTS[0]} there, and run this again"
        for level in LEVELS:
            for item in self.items:
                outcome = self.outcomes.get(item)
                if item.get_closest_marker(level) and outcome and outcome.hint:
                    return f"Next: {get_script(item)} - {outcome.hint}"
        if almost:
            return f"Next: {almost[0]} is {self.say_why_not(almost[0])}"
        if missing:
            return f"Next: write {missing[0]}"
        for item in self.items:
            outcome = self.outcomes.get(item)
            if outcome and outcome.state == "not started":
                return f"Next: an exercise for {get_script(item)} - {get_sentence(item)}"
        return "All checks pass"

    def pytest_unconfigure(self) -> None:
        self.worker.stop()
