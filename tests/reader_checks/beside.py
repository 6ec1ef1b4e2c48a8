"""What goes on beside the tests, in processes that none of them can disturb.

A test may let the disk be full, change the umask or a variable: for this process, and for what is
started meanwhile. These are started before.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from reader_checks.catalog import ROOT
from reader_checks.judge import Case, judge
from reader_checks.worker import Outcome

Done = subprocess.CompletedProcess[str]


class Beside:
    """As many processes as there are processors, and what they are to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asks_all = False  # of each mistake
        self.pool = ProcessPoolExecutor(
            os.cpu_count(), multiprocessing.get_context("spawn"), prepare, (folder,)
        )
        self.verdicts: dict[str, Future[dict[str, Outcome]]] = {}

    def begin(self, case: Case) -> None:
        """Let a case be judged."""
        if str(case) not in self.verdicts:
            self.verdicts[str(case)] = self.pool.submit(judge, case, self.folder, self.asks_all)

    def get(self, case: Case) -> dict[str, Outcome]:
        """Return what the checks found, in their order."""
        self.begin(case)
        return self.verdicts[str(case)].result()

    def stop(self) -> None:
        self.pool.shutdown(cancel_futures=True)


def prepare(folder: Path) -> None:
    """Let a process leave its files where pytest tidies up."""
    tempfile.tempdir = str(folder)


def run_pytest(
    arguments: list[str], folder: Path = ROOT, env: dict[str, str] | None = None
) -> Done:
    """Run pytest in the project, as its README says; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        check=False,
        cwd=folder,
        encoding="utf-8",
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    assert "INTERNALERROR" not in done.stdout + done.stderr
    return done
