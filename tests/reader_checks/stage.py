"""What a script finds in place of the world: console, keyboard, clock, httpbin's manners."""

from __future__ import annotations

import contextlib
import io
import operator
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn


class Stop(BaseException):
    """Ends the script's work from outside; no `except Exception` keeps it."""

    def __init__(self, got: str, hint: str) -> None:
        super().__init__(got)
        self.got = got
        self.hint = hint


class Waits(Stop):
    """The script wants to be typed at, now and in each check."""


class Console(io.TextIOWrapper):
    """Takes what a script prints, and notes where it does."""

    def __init__(self, find_line: Callable[[], int | None]) -> None:
        self.bytes = io.BytesIO()
        self.find_line = find_line
        self.writes: list[tuple[str, int | None]] = []
        super().__init__(self.bytes, "utf-8", "backslashreplace", newline="\n", write_through=True)

    def write(self, text: str) -> int:
        self.writes.append((text, self.find_line()))
        return super().write(text)

    def text(self) -> str:
        return self.bytes.getvalue().decode("utf-8", "replace")

    def forget(self) -> None:
        self.writes.clear()
        self.bytes.seek(0)
        self.bytes.truncate()

    def close(self) -> None:
        """A script that closes its stdout closes nothing of ours."""


class Keyboard(io.StringIO):
    """Nobody sits there: a script that asks would wait for ever."""

    def readline(self, size: int | None = -1, /) -> NoReturn:
        raise Waits(
            "the script waits for input",
            "the checks can't type: give the value in a variable or as a parameter",
        )

    read = readline


class Clock:
    """Time that passes at once when a script sleeps."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.slept = 0

    def sleep(self, seconds: Any) -> None:
        self.slept += 1
        self.offset += max(seconds, 0)
        if self.slept > 1000:
            raise Stop("the script slept 1,000 times", "nothing ends this waiting: set a limit")


CLOCK = Clock()  # of the script that is checked now


def replace_clock() -> None:
    """Let all that is imported from now on see our time, whenever it took its `time.time`."""

    def shift(read: Callable[[], float]) -> Callable[[], float]:
        return lambda: read() + CLOCK.offset

    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, shift(getattr(time, name)))
    time.sleep = CLOCK.sleep


class Patch(contextlib.ExitStack):
    """Replaces things inside of `with`, and puts them back."""

    def setattr(self, owner: Any, name: str, value: object) -> None:
        """Replace an attribute."""
        self.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def setitem(self, owner: Any, key: str, value: object) -> None:
        """Replace a value of a dict, or add it."""
        self.delitem(owner, key)
        owner[key] = value

    def delitem(self, owner: Any, key: str) -> None:
        """Take a key out of a dict."""
        if key in owner:
            self.callback(operator.setitem, owner, key, owner.pop(key))
        else:
            self.callback(owner.pop, key, None)


def wait_for_threads(threads: set[threading.Thread], seconds: float = 60) -> None:
    """Wait as Python does at its end: for threads that are no daemons, and for what a pool has."""
    for thread in threads:
        if not thread.daemon:
            with contextlib.suppress(AttributeError, IndexError, TypeError):
                pool = thread._args[0]()  # type: ignore[attr-defined]
                if isinstance(pool, ThreadPoolExecutor):
                    pool.shutdown(wait=False)
            thread.join(seconds)


HTTPBIN_PATHS = re.compile(
    r"/(anything|status|image|bytes|stream|stream-bytes|range|delay|drip|redirect|redirect-to"
    r"|relative-redirect|absolute-redirect|base64|cache|etag|cookies|links|basic-auth"
    r"|hidden-basic-auth|digest-auth|deny|encoding|html|json|xml|gzip|deflate|brotli|headers|ip"
    r"|uuid|user-agent|bearer|robots\.txt|response-headers)?(/.*)?"
)


def find_trouble(method: str, host: str, path: str) -> int | None:
    """Return the status with which httpbin or OCR.space would refuse an address."""
    if re.fullmatch(r"(api\d?|apipro\d)\.ocr\.space", host):
        return None if path.lower() in ("/parse/image", "/parse/imageurl") else 404
    if host not in ("httpbin.org", "www.httpbin.org", "eu.httpbin.org"):
        return None
    if path in ("/get", "/post", "/put", "/patch", "/delete"):
        allowed = {"GET", "HEAD"} if path == "/get" else {path[1:].upper()}
        return None if method in allowed else 405
    return None if HTTPBIN_PATHS.fullmatch(path) else 404


def is_library(path: Path) -> bool:
    """Tell whether a file belongs to Python or to what is installed."""
    return path.is_relative_to(sys.prefix) or path.is_relative_to(sys.base_prefix)
