"""Checks of what holds the scripts together: their form, bounds, the top level, the network."""

from __future__ import annotations

import ast
import importlib
import re
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, SCRIPTS

TOP_LEVEL = {"LICENSE", "findings", "README.md", "pyproject.toml", "samples", "tests", *SCRIPTS}

RULED_LINE = "# --- the command line ---"


class Form(NamedTuple):
    """What a reader takes in of a script: the chapter's piece, and its core functions."""

    piece: str
    cores: tuple[str, ...]
    begins_by: int = 85  # the line
    excepts: int = 3


FORMS = {
    "basic_upload.py": Form("upload_file", ("upload_file",)),
    "profile_picture_uploader.py": Form(
        "ProfilePictureUploader", ("ProfilePictureUploader.upload",), excepts=5
    ),
    "streaming_upload.py": Form(
        "ProgressFileReader", ("ProgressFileReader.__iter__", "stream_upload")
    ),
    "download_file.py": Form("download_file", ("download_file",)),
    "concurrent_upload.py": Form("upload_files", ("upload_files",), begins_by=110),
    "receipt_scanner.py": Form(
        "ReceiptScanner", ("ReceiptScanner.scan", "ReceiptScanner.recognize"), 110, excepts=7
    ),
}


def find_form(script: str) -> Form:
    assert script in FORMS, f"{script} is new. Hint: add a line to FORMS in {Path(__file__).name}"
    return FORMS[script]


def read_code(script: str) -> str:
    return (ROOT / script).read_text(encoding="utf-8")


def find_function(tree: ast.Module, name: str) -> ast.stmt:
    """Return a class or function: `find_function(tree, "Scanner.scan")`."""
    body = tree.body
    for part in name.split("."):
        found = [node for node in body if getattr(node, "name", None) == part]
        assert found, f"there is no {name}. Hint: FORMS in {Path(__file__).name} names it"
        body = getattr(found[0], "body", [])
    return found[0]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_chapters_piece_comes_first_and_fits_the_eye(script: str) -> None:
    form, tree = find_form(script), ast.parse(read_code(script))
    line = find_function(tree, form.piece).lineno
    assert line <= form.begins_by, f"{form.piece} begins at line {line} of {script}"
    for core in form.cores:
        function = find_function(tree, core)
        assert isinstance(function, ast.FunctionDef)
        body = function.body[1:] if ast.get_docstring(function) else function.body
        length = (body[-1].end_lineno or 0) - body[0].lineno + 1
        assert length <= 25, f"{core} in {script} has {length} lines without its docstring"


@pytest.mark.parametrize("script", SCRIPTS)
def test_errors_travel_and_are_caught_in_few_places(script: str) -> None:
    tree = ast.parse(read_code(script))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    assert len(lines) <= find_form(script).excepts, f"{script} has an except in the lines {lines}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_stands_above_the_ruled_line_can_be_copied(script: str) -> None:
    above, *below = read_code(script).split(f"\n{RULED_LINE}\n")
    assert len(below) == 1, f"{script} has {len(below)} ruled lines: {RULED_LINE}"
    tree = ast.parse(above)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    unused = imported - used - {"annotations", "argparse", "sys"}
    assert not unused, f"{script} imports {unused}, which only its command line uses"
    missing = used & {name for name, _ in find_definitions(below[0])}
    assert not missing, f"{script} uses {missing} above the ruled line, but has them below it"


def find_definitions(code: str) -> Iterator[tuple[str, str]]:
    """Yield each name that stands at the top of a module, with the code that makes it."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        name = getattr(targets[0], "id", getattr(node, "name", ""))
        if name:
            yield name, "\n".join(lines[node.lineno - 1 : node.end_lineno])


def test_what_scripts_carry_a_copy_of_is_the_same_in_all() -> None:
    """Who changes a copy on purpose says so in its docstring."""
    copies: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for script in SCRIPTS:
        for name, code in find_definitions(read_code(script)):
            purpose = re.search('""".+', code)
            if purpose and code.startswith("def "):
                copies[name, purpose[0]][script] = code
    assert any(len(codes) > 1 for codes in copies.values())
    for (name, _), codes in copies.items():
        (first, code), *others = codes.items()
        for script, other in others:
            assert other == code, f"{name} differs between {first} and {script}"


def test_what_to_do_about_a_status_is_the_same_for_all_senders() -> None:
    senders = "basic_upload", "profile_picture_uploader", "streaming_upload", "concurrent_upload"
    for name in senders:
        advice = importlib.import_module(name).ADVICE
        rows = {sign: advice[sign] for sign in advice if re.match(r"HTTPError \W?\d", sign)}
        first = importlib.import_module("basic_upload").ADVICE
        assert rows == {sign: first[sign] for sign in first if sign.startswith("HTTPError")}, name


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
    found = {name for name in names if not name.startswith(".")}
    more = found - TOP_LEVEL
    assert not more, f"{more} is new. Hint: add a script to SCRIPTS in reader_checks/catalog.py"
    assert found == TOP_LEVEL, f"{TOP_LEVEL - found} is missing"
    assert not [line for line in listed.splitlines() if line.endswith(".lock")]


def test_no_test_reaches_the_network() -> None:
    with pytest.raises(AssertionError, match="tried to reach"), socket.socket() as outside:
        outside.connect(("192.0.2.1", 80))  # RFC 5737: an address that nobody has
