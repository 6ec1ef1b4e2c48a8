"""The pytest plugin behind `pytest --mine=FOLDER`: checks a reader's own scripts, and says how far.

The checks are in check_*.py. They run in a process of their own, against the scripts in FOLDER, or
against ours where no folder is given.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import queue
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from reader_checks.catalog import CHECKS, LEVELS, Check, read_checks
from reader_checks.catalog import ROOT as ROOT
from reader_checks.catalog import SCRIPTS as SCRIPTS
from reader_checks.worker import Outcome, Worker

BAR_WIDTH = 10
NOT_STARTED = "not started yet"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mine", "checks for your own scripts")
    group.addoption("--mine", metavar="FOLDER", help="--mine=FOLDER checks your scripts in FOLDER")
    group.addoption("--level", choices=LEVELS, help="only what the chapter, or exercises, ask for")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Read no conftest.py for a reader: neither ours nor what lies where they stand is needed."""
    known = early_config.known_args_namespace
    if known.mine is not None:
        known.noconftest = True


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chapter: what a script of the chapter does")
    config.addinivalue_line("markers", "exercise: what an exercise of the README adds")
    mine = config.getoption("mine")
    if mine is None and config.rootpath != ROOT:
        return  # somebody else's tests
    if mine is not None:
        folder = Path(mine).expanduser()
        if not folder.is_dir():
            reason = "is a file" if folder.exists() else "is not there"
            raise pytest.UsageError(f"--mine takes a folder, and {mine!r} {reason}")
        # pytest-xdist, pytest-forked: the checks have their processes, and go by each other.
        for name, value in (("dist", "no"), ("tx", []), ("forked", False)):
            if hasattr(config.option, name):
                setattr(config.option, name, value)
        if idle := config.pluginmanager.get_plugin("hypothesispytest"):  # slow to say nothing
            config.pluginmanager.unregister(idle)
        if (
            getattr(config.option, "reportchars", "") == "fE"
        ):  # the default: a list of what failed, said already
            config.option.reportchars = "N"
    config.pluginmanager.register(Checks(config), "checks")


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Collect the checks; their modules are imported by the process that runs them."""
    if module_path.parent == CHECKS and module_path.name.startswith("check_"):
        return CheckFile.from_parent(parent, path=module_path)
    return None


class CheckFile(pytest.File):
    """The checks of one script."""

    def collect(self) -> Iterator[CheckItem]:
        for check in read_checks(self.path.name.removeprefix("check_")):
            yield CheckItem.from_parent(self, name=check.name, check=check)


class CheckItem(pytest.Item):
    """One check."""

    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check
        self.outcome: Outcome | None = None
        self.add_marker(check.level)
        if self.config.getoption("mine") is None:  # our scripts have quicker tests of their own
            self.add_marker("slow")

    def runtest(self) -> None:
        checks: Checks | None = self.config.pluginmanager.get_plugin("checks")
        assert checks
        self.outcome = checks.judge(self)
        if self.outcome.state == "not started":
            pytest.skip("exercise not started yet")
        if self.outcome.state != "passed":
            raise CheckFailed(self.outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what the reader can use, and no traceback unless `--full-trace` asks for it."""
        if self.outcome and isinstance(excinfo.value, CheckFailed):
            full = self.outcome.full if self.config.getoption("fulltrace", False) else ""
            return Explanation(self.check, self.outcome, full)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.check.line, self.name


class CheckFailed(Exception):
    """A check failed; the outcome is for the reader."""


class Explanation:
    """What is shown of a check that failed."""

    def __init__(self, check: Check, outcome: Outcome, full: str) -> None:
        asks = "can't be checked yet" if outcome.state == "unusable" else check.asks
        self.head = f"{check.script}: {asks}"
        self.outcome = outcome
        self.full = f"{full}\n" if full else ""

    def __str__(self) -> str:
        return f"{self.full}{self.head}\n{self.outcome}"

    def toterminal(self, tw: Any) -> None:
        """Write it for pytest, in colour and folded where that is a terminal."""
        tw.write(f"{self.full}{fold('', self.head)}\n")
        for name, fact in self.outcome.facts:
            tw.line(fold(f"  {name:<9} ", fact))
        if self.outcome.hint:
            write_advice(tw, "Hint: ", self.outcome.hint)


def fold(head: str, text: str) -> str:
    """Return a text, on a terminal folded so that all its lines stand behind the head."""
    if not sys.stdout.isatty():
        return head + text
    width = max(shutil.get_terminal_size().columns - 1 - len(head), 20)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return head + f"\n{' ' * len(head)}".join(lines)


def write_advice(writer: Any, head: str, text: str) -> None:
    """Write what the reader should look at, so that it stands out on a terminal."""
    writer.write(head, bold=True, cyan=True)
    writer.write(f"{fold(head, text)[len(head) :]}\n", bold=True)


class Ahead:
    """Runs checks ahead of pytest, two scripts at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[Worker] = []
        self.futures: dict[Check, Future[Outcome | None]] = {}  # None where a script is broken
        self.scripts: queue.SimpleQueue[list[Check]] = queue.SimpleQueue()
        self.is_over = False

    def begin(self, checks: list[Check]) -> None:
        """Begin with all checks that will be asked for, once."""
        if self.futures or not checks:
            return
        self.futures = {check: Future() for check in checks}
        for _, of_a_script in itertools.groupby(checks, lambda check: check.script):
            self.scripts.put([*of_a_script])
        for _ in range(min(2, self.scripts.qsize())):
            self.workers.append(Worker())
            self.workers[-1].start()
            threading.Thread(target=self.work, args=self.workers[-1:], daemon=True).start()

    def work(self, worker: Worker) -> None:
        """Run one script's checks after the other's."""
        with contextlib.suppress(queue.Empty):
            while True:
                outcome: Outcome | None = Outcome("passed")
                for check in self.scripts.get_nowait():
                    if outcome and outcome.state != "unusable":
                        outcome = worker.judge(check, self.folder / check.script)
                    else:
                        outcome = None
                    if self.is_over:
                        return
                    self.futures[check].set_result(outcome)

    def get(self, check: Check) -> Outcome | None:
        """Return what came of a check, None where its script can't be checked at all."""
        return self.futures[check].result()

    def stop(self) -> None:
        self.is_over = True
        for worker in self.workers:
            worker.stop()


class Checks:
    """Runs the checks, and remembers what came of them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_mine = config.getoption("mine") is not None
        self.folder = Path(config.getoption("mine") or ROOT).expanduser().resolve()
        self.ahead = Ahead(self.folder)
        self.chosen: list[CheckItem] = []
        self.total = 0  # of all scripts' checks
        self.results: dict[str, str] = {}  # passed, failed, skipped, by the check's id

    # ------------------------------------------------------------------ what is run

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        """Collect the checks for a reader, wherever they stand and this checkout lies."""
        if not self.is_mine:
            return None
        wanted = self.find_wanted()
        items: list[pytest.Item] = []
        for script in SCRIPTS:
            path = CHECKS / f"check_{script}"
            id_ = path.relative_to(ROOT).as_posix()
            file = CheckFile.from_parent(session, path=path, nodeid=id_)
            report = file.ihook.pytest_make_collect_report(collector=file)
            self.total += len(report.result)
            report.result = [
                item
                for item in report.result
                if any(name in ("", item.name) for of, name in wanted if of == script)
            ]
            file.ihook.pytest_collectreport(report=report)
            items += report.result
        session.items = items
        hook = self.config.hook
        hook.pytest_collection_modifyitems(session=session, config=self.config, items=items)
        hook.pytest_collection_finish(session=session)
        session.testscollected = len(items)
        return True

    def find_wanted(self) -> list[tuple[str, str]]:
        """Return scripts, and the name of one check or "", of what stands on the command line."""
        wanted = []
        given: Iterable[str] = self.config.args
        if self.config.args_source is not pytest.Config.ArgsSource.ARGS:
            given = [str(self.folder)]
        for argument in given:
            path, _, check = argument.partition("::")
            script = Path(path).name.removeprefix("check_")
            if script in SCRIPTS:
                wanted.append((script, check.rpartition("::")[2]))
            elif Path(path).is_dir():
                wanted += [(script, "") for script in SCRIPTS]
            else:
                raise pytest.UsageError(f"{argument} is none of the chapter's scripts")
        return wanted

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what was asked for, in the order of the chapter."""
        level = self.config.getoption("level")
        if not (self.is_mine or level):
            return
        chosen = [
            item
            for item in items
            if isinstance(item, CheckItem) and (not level or item.check.level == level)
        ]
        if len(chosen) < len(items):
            left_out = [item for item in items if item not in chosen]
            self.config.hook.pytest_deselected(items=left_out)
        chosen.sort(key=lambda item: (SCRIPTS.index(item.check.script), *place(item)))
        items[:] = chosen

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.chosen = [item for item in session.items if isinstance(item, CheckItem)]
        if self.is_mine and not self.config.option.collectonly:
            self.ahead.begin(self.find_started())  # while pytest gets ready

    def find_started(self) -> list[Check]:
        return [item.check for item in self.chosen if self.is_started(item.check.script)]

    def judge(self, item: CheckItem) -> Outcome:
        """Run a check; skip it where the script is not there, or broken."""
        if not self.is_started(item.check.script):
            pytest.skip(NOT_STARTED)
        self.ahead.begin(self.find_started())
        outcome = self.ahead.get(item.check)
        if outcome is None:
            pytest.skip(f"{item.check.script} can't be checked, see above")
        return outcome

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.results[report.nodeid] = report.outcome

    def pytest_unconfigure(self) -> None:
        self.ahead.stop()

    # ------------------------------------------------------------------ what is said

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.is_mine:
            return
        terminalreporter.ensure_newline()
        terminalreporter.section(f"your scripts in {self.folder}")
        for name in SCRIPTS:
            self.report_script(terminalreporter, name)
        for head, text in self.say_what_next():
            write_advice(terminalreporter, head, text)

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
            if path.suffix not in (".png", ".jpg", ".gif", ".webp")  # of samples/
        ]
        close = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
        close += [path.parent.name + "/" + name for path in self.folder.glob(f"*/{name}")]
        return f"{NOT_STARTED}, but {close[0]} is there" if close else NOT_STARTED

    def report_script(self, reporter: pytest.TerminalReporter, name: str) -> None:
        """Write a script's line: `basic_upload.py   #####-----  5/9 checks`."""
        checks = [item for item in self.chosen if item.check.script == name]
        done = sum(self.results.get(item.nodeid) == "passed" for item in checks)
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

    def say_what_next(self) -> Iterator[tuple[str, str]]:
        """Yield what to mend, to write or to try now, and what the checks can't tell."""
        missing = [name for name in SCRIPTS if not self.is_started(name)]
        almost = [name for name in missing if self.say_why_not(name) != NOT_STARTED]
        chosen = [item for item in self.chosen if item.check.script not in missing]
        count, ran = len(chosen), [item for item in chosen if item.nodeid in self.results]
        if len(missing) == len(SCRIPTS) and not almost:
            yield "Nothing started yet: ", f"write {SCRIPTS[0]} there, and run this again"
            return
        if self.config.option.collectonly or not (count or almost):
            listed = "--collect-only only lists them"
            yield "No check ran: ", listed if count else "a path, -k or -m has chosen none"
            return
        if len(ran) < count:
            yield "Stopped ", f"after {len(ran)} of {count} checks"
        for level in LEVELS:
            for item in ran:
                if item.check.level == level and self.results[item.nodeid] == "failed":
                    hint = item.outcome.hint if item.outcome else ""
                    yield "Next: ", f"{item.check.script} - {hint or f'{item.name}, see above'}"
                    return
        if almost:
            yield "Next: ", f"{almost[0]} is {self.say_why_not(almost[0])}"
            return
        if missing:
            yield "Next: ", f"write {missing[0]}"
            return
        for item in ran:
            if item.outcome and item.outcome.state == "not started":
                yield "Next: ", f"an exercise for {item.check.script} - {item.check.asks}"
                return
        if any(self.results.get(item.nodeid) != "passed" for item in chosen):
            return  # stopped
        if count < self.total:
            yield f"All {count} chosen checks pass", f"; {self.total - count} were left out"
        else:
            yield "All checks pass", ""


def place(item: CheckItem) -> tuple[int, int]:
    """Return where a check stands among those of its script: the chapter comes first."""
    return LEVELS.index(item.check.level), item.check.line
