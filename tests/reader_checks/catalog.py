"""What there is to check: the scripts of the chapter, in its order, and the checks of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

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
HEAD = re.compile(
    r'^@(chapter|exercise)\ndef (test_\w+)\(script: Script\) -> None:\n    """(.+?)\.?(?:"""|\n)',
    re.MULTILINE,
)


class Check(NamedTuple):
    """A function of check_<script>.py."""

    script: str  # basic_upload.py
    name: str  # test_sets_a_timeout
    level: str  # chapter, or exercise
    asks: str  # what it asks for, in a sentence
    line: int

    @property
    def module(self) -> str:
        return f"reader_checks.check_{Path(self.script).stem}"


def read_checks(script: str) -> list[Check]:
    """Return the checks of a script as they are written.

    Their modules are read, not imported: that is left to the process that runs them.
    """
    path = CHECKS / f"check_{script}"
    text = path.read_text("utf-8") if path.exists() else ""
    return [
        Check(script, head[2], head[1], head[3], text.count("\n", 0, head.start(2)))
        for head in HEAD.finditer(text)
    ]
