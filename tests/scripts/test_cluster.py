"""concurrent_upload.py on a Dask cluster: the same batch, in processes that may be elsewhere.

Needs the extra `cluster`: uv run --extra cluster pytest tests/scripts/test_cluster.py
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_concurrent_upload import (
    WAIT_SECONDS,
    Uploads,
    check_ctrl_c_elsewhere,
    check_takes_few_paths_at_a_time,
    collect,
    take,
    write_files,
)

from concurrent_upload import UploadResult, upload_files

pytestmark = pytest.mark.slow


@pytest.fixture
def uploads() -> Iterator[Uploads]:
    with Uploads() as server:
        yield server


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """Two worker processes with a thread each, as an executor."""
    distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)


def test_uploads_in_two_processes_at_once(
    executor: Executor,
    uploads: Uploads,
    tmp_path: Path,
) -> None:
    gate = uploads.hold(b"document")
    results: list[UploadResult] = []
    paths = write_files(tmp_path, 6)
    batch = upload_files(paths, uploads.url, max_workers=2, executor=executor)
    consumer = threading.Thread(target=collect, args=(batch, results))
    consumer.start()
    take(uploads.arrived, 2)  # a process has one thread, so these come from two
    gate.set()
    consumer.join(WAIT_SECONDS)
    assert {str(result) for result in results} == {f"OK {path.name}: 200" for path in paths}
    assert uploads.most_under_way == 2


def test_a_bad_file_costs_its_own_result_only_as_with_threads(
    executor: Executor,
    uploads: Uploads,
    tmp_path: Path,
) -> None:
    good = write_files(tmp_path, 4)
    paths = [good[0], tmp_path / "missing.txt", *good, tmp_path]

    def count(executor: Executor | None) -> tuple[Counter[Path], Counter[UploadResult]]:
        uploads.replies = iter([(200, {}), (500, {}), (413, {}), (200, {}), (200, {})])
        results = list(upload_files(paths, uploads.url, max_workers=2, executor=executor))
        # Which files meet the 500 and the 413 is chance; how many do is not.
        fates = Counter(result._replace(path=Path(), seconds=0) for result in results)
        return Counter(result.path for result in results), fates

    reported, fates = count(executor)
    assert reported == Counter(paths)
    assert Counter(fate.status for fate in fates.elements()) == {200: 3, 500: 1, 413: 1, None: 2}
    assert (reported, fates) == count(None)


def test_takes_few_paths_of_an_endless_generator(
    executor: Executor,
    uploads: Uploads,
    tmp_path: Path,
) -> None:
    batch = partial(upload_files, executor=executor)
    check_takes_few_paths_at_a_time(batch, uploads, write_files(tmp_path, 1)[0])


def test_after_ctrl_c_what_the_cluster_was_given_is_told(
    executor: Executor, uploads: Uploads, tmp_path: Path
) -> None:
    """There cancel() is True for a task that runs, and its result would be lost."""
    check_ctrl_c_elsewhere(executor, uploads, tmp_path)


class Deadly:
    """A path that ends the worker which looks at it."""

    def __init__(self, path: Path) -> None:
        self.path, self.here = path, os.getpid()

    def __fspath__(self) -> str:
        if os.getpid() != self.here:
            os._exit(1)
        return str(self.path)


def test_a_worker_that_dies_costs_one_file(
    executor: Executor, uploads: Uploads, tmp_path: Path
) -> None:
    good = write_files(tmp_path, 4)
    paths: list[Any] = [*good[:2], Deadly(tmp_path / "deadly"), *good[2:]]
    results = list(upload_files(paths, uploads.url, max_workers=2, executor=executor))
    assert Counter(result.path.name for result in results if result.ok) == Counter(
        path.name for path in good
    )
    (failed,) = [result for result in results if not result.ok]
    assert str(failed).startswith("FAIL deadly: the worker died: KilledWorker")
