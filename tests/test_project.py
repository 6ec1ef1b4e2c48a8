"""Checks of what holds the scripts together: bounds, the top level, what is installed."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, SCRIPTS

TOP_LEVEL = {"LICENSE", "README.md", "pyproject.toml", "samples", "tests", *SCRIPTS}


def find_bounds(text: str) -> set[str]:
    """Return the requirements of runtime packages that a text holds."""
    return set(re.findall(r'"((?:requests|Pillow)[<>=][^"]+)"', text))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_asks_for_the_versions_that_pyproject_asks_for(script: str) -> None:
    code = (ROOT / script).read_text(encoding="utf-8")
    block = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", code, re.MULTILINE)
    assert block, f"{script} has no PEP 723 block"
    bounds = find_bounds(block[1])
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert bounds <= find_bounds(project), f"{script} asks for {bounds}"
    imports_pillow = bool(re.search(r"^from PIL ", code, re.MULTILINE))
    assert len(bounds) == 1 + imports_pillow, f"{script} asks for {bounds}"
    assert 'requires-python = ">=3.10"' in block[1]
    assert 'requires-python = ">=3.10"' in project


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_stands_alone(script: str) -> None:
    code = (ROOT / script).read_text(encoding="utf-8")
    others = {Path(other).stem for other in SCRIPTS} | {"offline", "conftest", "tests"}
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", code, re.MULTILINE))
    assert not imported & others, f"{script} imports {imported & others}"


def test_the_top_level_holds_what_the_readme_names_and_no_more() -> None:
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    names = {line.partition("/")[0] for line in listed.splitlines()}
    assert {name for name in names if not name.startswith(".")} == TOP_LEVEL
    assert not [line for line in listed.splitlines() if line.endswith(".lock")]


def test_no_test_reaches_the_network() -> None:
    with pytest.raises(AssertionError, match="tried to reach"), socket.socket() as outside:
        outside.connect(("192.0.2.1", 80))  # RFC 5737: an address that nobody has
