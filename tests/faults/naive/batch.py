"""Many uploads at once, as most tutorials write it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import requests


def upload(path: Path, url: str) -> int:
    """Return the status."""
    with open(path, "rb") as file:
        return requests.post(url, files={"file": file}, timeout=5).status_code


def upload_all(paths: Iterable[Path], url: str) -> list[int]:
    """One line does it, until the first file fails."""
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda path: upload(path, url), paths))


def upload_in_session(paths: Iterable[Path], url: str) -> list[int]:
    """A Session is faster: it keeps the connection."""
    statuses = []
    with requests.Session() as session:
        for path in paths:
            with open(path, "rb") as file:
                statuses.append(session.post(url, files={"file": file}, timeout=5).status_code)
    return statuses


def upload_as_completed(paths: Iterable[Path], url: str) -> Iterator[int]:
    """Everything is submitted at once."""
    with ThreadPoolExecutor(1) as pool:
        for future in as_completed([pool.submit(upload, path, url) for path in paths]):
            yield future.result()


def upload_patiently(path: Path, url: str) -> int:
    """Wait as Retry-After asks, if it is there, a number, and not a year."""
    while True:
        with open(path, "rb") as file:
            response = requests.post(url, files={"file": file}, timeout=5)
        if response.status_code != 429:
            return response.status_code
        time.sleep(int(response.headers["Retry-After"]))


def report(path: Path) -> None:
    """Tell the user what is done."""
    print(f"{path.name} is uploaded", flush=True)
