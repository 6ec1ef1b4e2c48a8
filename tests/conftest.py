"""What all tests share: no network, the practice server, and scripts run as a reader runs them."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from reader_checks.mine import ROOT as ROOT
from reader_checks.mine import SCRIPTS as SCRIPTS

if TYPE_CHECKING:
    from offline import PracticeServer

pytest_plugins = ["reader_checks.mine"]  # not installed, pytest doesn't know it yet
SAMPLES = ROOT / "samples"
NOWHERE = "http://127.0.0.1:9"  # nobody listens there: a server that is down
PROGRESS = re.compile(r" *\d+ %.*|waiting for the answer")
# A process that Ctrl-C stops even where the tests run in a background that ignores it.
STOPPABLE_PYTHON = (
    sys.executable,
    "-c",
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')",
)
RunScript = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Let nothing out but to this machine: sockets here, a dead proxy for the processes."""
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_to_loopback)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.setenv(name.upper(), NOWHERE)
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name in ("HTTPBIN_URL", "OCR_SPACE_URL", "OCR_SPACE_API_KEY"):
            patch.delenv(name, raising=False)
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # each process would compile anew
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Let Hypothesis keep nothing in the reader's folder, where a test has imported it."""
    if hypothesis := sys.modules.get("hypothesis"):
        folder = tempfile.mkdtemp(prefix="hypothesis-")
        hypothesis.configuration.set_hypothesis_home_dir(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    """Let no garbage collection go through modules and tests again: they stay."""
    gc.freeze()


@pytest.fixture(scope="session")
def server() -> Iterator[PracticeServer]:
    """A practice server on loopback, one for all tests; its `url` says where."""
    from offline import PracticeServer  # takes its time, which `--mine` has no use for

    with PracticeServer() as server:
        yield server


@pytest.fixture
def run_script(server: PracticeServer, tmp_path: Path) -> RunScript:
    """Run a script as a process, as a reader does: `run_script("basic_upload.py", "-h")`.

    It finds the practice server through its variables and runs in an empty folder. `folder`
    takes the script from somewhere else, `env` adds variables.
    """

    def run(
        script: str, *arguments: str | Path, folder: Path = ROOT, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(folder / script), *map(str, arguments)],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            encoding="utf-8",
            env=os.environ | server.environment | (env or {}),
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    return run


@contextmanager
def cpu_seconds(limit: float) -> Iterator[None]:
    """Raise TimeoutError in what computes for longer, however busy the machine is."""

    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError("still busy")

    if os.name != "posix":
        pytest.skip("needs a timer of computing time")
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def call_main(main: Callable[[], object], *arguments: object) -> Any:
    """Run a script's main as its command line would; return what it leaves to sys.exit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        try:
            return main() or 0
        except SystemExit as end:
            return end.code or 0


def run_main(
    main: Callable[[], object], capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run a script's main; return the exit code and what it printed to stdout and stderr."""
    code = call_main(main, *arguments)
    said = ""
    if not isinstance(code, int):  # Python prints it to stderr, and exits with 1
        code, said = 1, f"{code}\n"
    out, err = capsys.readouterr()
    return code, out, err + said


def check_error(
    main: Callable[[], object], capsys: pytest.CaptureFixture[str], *arguments: object
) -> str:
    """Run a script's main, which must fail; return its one line, without the progress before."""
    code, _, err = run_main(main, capsys, *arguments)
    assert code == 1, f"exit code {code} with {arguments}"
    error = err.splitlines()[-1]
    others = [line for line in err.splitlines()[:-1] if not PROGRESS.fullmatch(line)]
    assert error.startswith("error: "), f"printed {err!r}: no error line at its end"
    assert not others, f"printed {err!r}: more than one line"
    return error
