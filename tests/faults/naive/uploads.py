"""Uploads as most tutorials write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import requests


def upload_form(path: Path, url: str) -> requests.Response:
    """Send a file as multipart/form-data; who looks at the status?"""
    with open(path, "rb") as file:
        return requests.post(url, files={"file": file}, timeout=5)


def upload_as(name: str, url: str, media_type: str = "image/jpeg") -> requests.Response:
    """Send a part whose name and media type a user or another server has given."""
    return requests.post(url, files={"file": (name, b"data", media_type)}, timeout=5)


def upload_open_file(path: Path, url: str) -> requests.Response:
    """Stream a file."""
    with open(path, "rb") as file:
        return requests.post(url, data=file, timeout=5)


def read_in_chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's chunks, until it ends."""
    with open(path, "rb") as file:
        while chunk := file.read(8192):
            yield chunk


def upload_generator(path: Path, url: str) -> requests.Response:
    """Stream a file with room for a progress bar."""
    return requests.post(url, data=read_in_chunks(path), timeout=5)


class ProgressReader:
    """A file that shows how much of it is sent; its length makes requests announce it."""

    def __init__(self, path: Path, on_progress: Callable[[int], object] = id) -> None:
        self.size = path.stat().st_size
        self.chunks = read_in_chunks(path)
        self.on_progress = on_progress

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            yield chunk
            self.on_progress(len(chunk))


def upload_with_progress(
    path: Path, url: str, on_progress: Callable[[int], object] = id, timeout: float = 5
) -> requests.Response:
    """Stream a file and show it."""
    return requests.post(url, data=ProgressReader(path, on_progress), timeout=timeout)


def say_what_went_wrong(path: Path, url: str) -> str:
    """Tell the user what happened, in the words of the library."""
    try:
        upload_form(path, url).raise_for_status()
    except requests.HTTPError as error:
        return f"error: {error}"
    return "no error"
