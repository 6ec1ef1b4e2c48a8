"""Downloads as most tutorials write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import requests


def download(url: str, path: Path, timeout: float = 5) -> None:
    """The first that everybody writes: whatever comes is saved, at once under the final name."""
    response = requests.get(url, stream=True, timeout=timeout)
    with open(path, "wb") as file:
        for chunk in response.iter_content(8192):
            file.write(chunk)


def download_image(url: str, path: Path, timeout: float = 5) -> None:
    """With a look at the status and at the Content-Type, as it stands there."""
    response = requests.get(url, stream=True, timeout=timeout)
    response.raise_for_status()
    if "image/" not in response.headers["Content-Type"]:
        raise ValueError("not an image")
    with open(path, "wb") as file:
        for chunk in response.iter_content(8192):
            file.write(chunk)


def download_checked(url: str, path: Path) -> str:
    """With the length compared, and a percentage."""
    response = requests.get(url, stream=True, timeout=5)
    total, received = int(response.headers["Content-Length"]), 0
    with open(path, "wb") as file:
        for chunk in response.iter_content(8192):
            file.write(chunk)
            received += len(chunk)
    if received != total:
        raise ValueError(f"{100 * received // total} % came")
    return "100 %"


def download_small(url: str, path: Path, max_bytes: int = 1_000_000) -> None:
    """With a cap on the size, for servers that tell it and tell the truth."""
    response = requests.get(url, stream=True, timeout=5)
    if int(response.headers.get("Content-Length", 0)) > max_bytes:
        raise ValueError("too large")
    path.write_bytes(response.content)


def resume(url: str, path: Path) -> None:
    """Go on where the last call stopped, trusting that the server plays along."""
    part = Path(f"{path}.part")
    start = part.stat().st_size if part.exists() else 0
    response = requests.get(url, headers={"Range": f"bytes={start}-"}, stream=True, timeout=5)
    with open(part, "ab") as file:
        for chunk in response.iter_content(8192):
            file.write(chunk)
    part.replace(path)


def download_by_part(url: str, path: Path, on_progress: Callable[[int], object] = id) -> None:
    """Write NAME.part and rename it; all who download to this name write the same one."""
    part = Path(f"{path}.part")
    response = requests.get(url, stream=True, timeout=5)
    with open(part, "wb") as file:
        for chunk in response.iter_content(8192):
            file.write(chunk)
            on_progress(len(chunk))
    part.replace(path)
