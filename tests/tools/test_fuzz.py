"""fuzz.py: that it knows the scripts as they are."""

from __future__ import annotations

import sys

import fuzz as script
import pytest


@pytest.mark.slow
def test_throws_some_of_each_at_the_scripts_and_finds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--seconds=0.5", "--seed=1"])
    assert script.main() == 0
