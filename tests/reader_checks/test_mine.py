"""`pytest --mine=FOLDER` as a reader runs it: a process of its own, and what it prints."""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reader_checks.catalog import CHECKS, ROOT, SCRIPTS, read_checks
from reader_checks.judge import BASES, read_cases
from reader_checks.worker import Outcome, Worker

pytestmark = pytest.mark.slow

RunPytest = Callable[..., "subprocess.CompletedProcess[str]"]


def write(folder: Path, **scripts: str) -> None:
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text, "utf-8")


GREEN = """
import requests
with open("photo.jpg", "rb") as file:
    requests.post("https://httpbin.org/post", files={"file": file}, timeout=5).raise_for_status()
"""
RED = GREEN.replace(", timeout=5", "")
FINE = "All checks pass"


def test_a_script_under_almost_its_name_is_told(run_pytest: RunPytest, mine: Path) -> None:
    (mine / "download_file.py").touch()
    (mine / "basic-upload.py").touch()
    done = run_pytest(f"--mine={mine}")
    assert re.search(r"basic_upload.py +-+  not started yet, but basic-upload.py is", done.stdout)
    assert re.search(r"download_file.py +-+  not started yet, the file is empty", done.stdout)
    assert "Next: basic_upload.py is not started yet, but basic-upload.py is" in done.stdout


def test_an_empty_folder_is_no_failure(run_pytest: RunPytest, mine: Path) -> None:
    done = run_pytest(f"--mine={mine}")
    assert done.returncode == 0
    assert done.stdout.count("not started yet\n") == len(SCRIPTS)
    assert "Nothing started yet: write basic_upload.py there" in done.stdout


def test_six_green_lines_for_who_passes_every_check(run_pytest: RunPytest, mine: Path) -> None:
    for name in SCRIPTS:
        shutil.copy(BASES["exercise"] / name, mine)
    done = run_pytest(f"--mine={mine}", "--color=yes")
    assert done.returncode == 0, done.stdout
    for name in SCRIPTS:
        count = len(read_checks(name))
        line = rf"{name} +\x1b\[32m#{{10}}\x1b\[0m  {count}/{count} checks\n"
        assert re.search(line, done.stdout), done.stdout
    assert FINE in done.stdout
    assert sorted(path.name for path in mine.iterdir()) == sorted(SCRIPTS)  # nothing is left there


@pytest.mark.parametrize(
    ("stands_in", "sign"),
    [("samples", "="), ("mine", " "), ("mine in the checkout", "=")],
)
def test_the_checks_run_from_wherever_the_reader_stands(
    stands_in: str, sign: str, run_pytest: RunPytest, mine: Path
) -> None:
    with tempfile.TemporaryDirectory(prefix=".my scripts ", dir=ROOT) as in_the_checkout:
        if stands_in == "mine in the checkout":
            mine = Path(in_the_checkout)
        write(mine, basic_upload=RED)
        (mine / "conftest.py").write_text("import nothing_that_is_there\n", "utf-8")
        here = mine if stands_in.startswith("mine") else ROOT / stands_in
        folder = "." if here == mine else mine
        option = ["--mine", folder] if sign == " " else [f"--mine={folder}"]
        done = run_pytest(*option, "-k", "timeout", folder=here)
    assert "basic_upload.py              ----------  0/1 checks" in done.stdout, done.stderr
    assert done.returncode == 1


def test_a_checkout_may_lie_below_a_folder_with_brackets(
    tmp_path: Path, run_pytest: RunPytest, mine: Path
) -> None:
    copy = tmp_path / "My Book [2026]"
    shutil.copytree(CHECKS, copy / "tests/reader_checks", ignore=shutil.ignore_patterns("test_*"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    write(mine, basic_upload=GREEN)
    path = os.pathsep.join([str(copy / "tests"), *sys.path])
    done = run_pytest(f"--mine={mine}", "-k", "timeout", folder=copy, env={"PYTHONPATH": path})
    assert "basic_upload.py              ##########  1/1 checks" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-k", "nothing_is_called_so"], "No check ran: a path, -k or -m has chosen none"),
        (["--collect-only"], "No check ran: --collect-only only lists them"),
        (["tests/test_project.py"], "No check ran: a path, -k or -m has chosen none"),
        (["--maxfail=1"], "Stopped after 5 of 72 checks"),
        (
            ["-k", "basic and (binary_mode or as_multipart)"],
            "All 2 chosen checks pass; 70 were left out",
        ),
    ],
)
def test_what_did_not_run_is_not_called_well(
    arguments: list[str], says: str, run_pytest: RunPytest, mine: Path
) -> None:
    for name in SCRIPTS:
        (mine / name).write_text("pass\n", "utf-8")
    write(mine, basic_upload=RED)
    done = run_pytest(f"--mine={mine}", *(word.format(mine=mine) for word in arguments))
    assert f"\n{says}" in done.stdout
    assert FINE not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no process group gets a Ctrl-C there")
def test_ctrl_c_is_told(mine: Path) -> None:
    for_ever = "import threading\nthreading.Event().wait()\n"
    write(mine, basic_upload=GREEN, profile_picture_uploader=for_ever)
    lets_ctrl_c = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    with subprocess.Popen(
        [sys.executable, "-c", f"{lets_ctrl_c} import pytest; pytest.main()", f"--mine={mine}"],
        cwd=ROOT,
        encoding="utf-8",
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        out = ""
        while "check_profile" not in out and process.poll() is None:
            out += process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out += process.communicate(timeout=60)[0]
    assert "\nStopped after 12 of 24 checks" in out
    assert FINE not in out


def test_pytest_xdist_loses_no_failure(run_pytest: RunPytest, mine: Path) -> None:
    pytest.importorskip("xdist")
    write(mine, basic_upload=RED)
    done = run_pytest(f"--mine={mine}", "-n2")
    assert "Next: basic_upload.py - a server that never answers" in done.stdout
    assert done.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="no pty there")
def test_facts_are_folded_and_the_hint_stands_out_on_a_terminal(mine: Path) -> None:
    import pty

    write(mine, basic_upload=RED)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", f"--mine={mine}", "-k", "timeout"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "60", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
    ):
        os.close(theirs)
        out = b""
        with contextlib.suppress(OSError):  # Linux's word for the end
            while piece := os.read(ours, 10_000):
                out += piece
    os.close(ours)
    lines = out.decode().replace("\r", "").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("  called "))
    end = next(n for n, line in enumerate(lines) if "Hint: " in line)
    assert all(len(line) < 60 for line in lines[start:end])
    assert any(line.startswith(" " * 12) for line in lines[start:end])  # below its fact
    assert re.match(r"\x1b\[1m\x1b\[36mHint: ", lines[end])
    assert any(re.match(r"\x1b\[1m\x1b\[36mNext: ", line) for line in lines)


BROKEN = {  # what stands in a script, what the reader is told of it
    "basic_upload": (
        "import requests\nwith open('a.jpg', 'rb' as f:\n    pass\n",
        "Hint: Python can't read line 2: look there, and at the line above",
    ),
    "profile_picture_uploader": (
        "import requestz\n",
        "Hint: a module is not installed: the chapter needs requests and Pillow only",
    ),
    "streaming_upload": (
        "import os\nos._exit(3)\n",
        "Hint: let functions return or raise: don't end the process",
    ),
    "download_file": (
        "name = input('what? ')\n",
        "Hint: the checks can't type: give the value in a variable or as a parameter",
    ),
    "concurrent_upload": (
        "import urllib.request\nurllib.request.urlopen('http://example.com')\n",
        "Hint: the checks answer what goes through requests: send it with that",
    ),
    "receipt_scanner": ("x = 1\n", "Hint: the chapter calls it ReceiptScanner"),
}


def test_a_script_that_cannot_run_is_told_once(run_pytest: RunPytest, mine: Path) -> None:
    write(mine, **{name: text for name, (text, _) in BROKEN.items()})
    done = run_pytest(f"--mine={mine}", f"--junitxml={mine.parent / 'report.xml'}")
    assert done.returncode == 1
    for name, (_, hint) in BROKEN.items():
        block = re.search(rf"^{name}\.py: .*\n(?:  .*\n)+{re.escape(hint)}", done.stdout, re.M)
        assert block, f"{name}:\n{done.stdout}"
        if name != "receipt_scanner":
            assert done.stdout.count(f"\n{name}.py: ") == 1
    assert "Traceback" not in done.stdout
    assert f"Next: basic_upload.py - {BROKEN['basic_upload'][1][6:]}\n" in done.stdout
    cases = ElementTree.parse(mine.parent / "report.xml").findall(".//testcase")
    said = [
        case.findtext("failure") for case in cases if "basic_upload" in case.attrib["classname"]
    ]
    assert [BROKEN["basic_upload"][1] in (text or "") for text in said].count(True) == 1


def test_prints_what_the_readme_shows(run_pytest: RunPytest, mine: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.findall(r"^\$ uv run pytest --mine=.+\n((?:(?!```).*\n)+)", readme, re.M)
    mistake = next(one for one in read_cases("mistakes") if one.name == "counts_chunk_size")
    write(mine, streaming_upload=mistake.write()[0])
    shutil.copy(ROOT / "basic_upload.py", mine)
    done = run_pytest(f"--mine={mine}")
    want, got = (
        re.sub(r"([_=])\1+|/\S+/my[_ ]scripts", r"\1", text)  # as wide as the window
        for text in (*shown, done.stdout)
    )
    assert doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS), got


def test_the_readme_names_the_check_of_each_exercise() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for script in SCRIPTS:
        section = readme.partition(f"\n## {script}\n")[2].partition("\n## ")[0]
        named = re.findall(r"Check:\s+`(test_\w+)`", section)
        assert named == [one.name for one in read_checks(script) if one.level == "exercise"]


def test_full_trace_shows_the_traceback_and_the_level_leaves_the_exercises_out(
    run_pytest: RunPytest, mine: Path
) -> None:
    write(mine, basic_upload="import requests\nprint(1 / 0)\n")
    done = run_pytest(f"--mine={mine}", "--level=chapter", "--full-trace")
    assert done.stdout.count("Traceback") == 1
    assert "ZeroDivisionError" in done.stdout
    count = sum(check.level == "chapter" for check in read_checks("basic_upload.py"))
    assert f"basic_upload.py              ----------  0/{count} checks" in done.stdout


def test_a_folder_that_is_none_is_wrong_usage(run_pytest: RunPytest, mine: Path) -> None:
    done = run_pytest(f"--mine={mine / 'missing'}")
    assert done.returncode == 4
    assert "is not there" in done.stderr


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.stop()


def judge(worker: Worker, folder: Path, script: str | bytes) -> Outcome:
    """Return what the first check says of a basic_upload.py in this folder."""
    path = folder / "basic_upload.py"
    path.write_bytes(script if isinstance(script, bytes) else script.encode())
    return worker.judge(read_checks(path.name)[0], path)


def test_a_script_that_never_ends_is_stopped_and_the_next_one_is_checked(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker, "limit_seconds", 1)
        outcome = judge(worker, tmp_path, "import time\nwhile True:\n    pass\n")
    assert outcome.state == "unusable"
    assert re.search(r"didn't end within 1 s\n  line [23] ", str(outcome))
    assert judge(worker, tmp_path, (ROOT / "basic_upload.py").read_bytes()).state == "passed"


def test_a_script_reaches_neither_the_readers_files_nor_other_programs(
    worker: Worker, mine: Path
) -> None:
    kept = mine / "kept.txt"
    kept.write_text("kept", "utf-8")
    attempts = [
        f"open({str(kept)!r}, 'w')",
        f"os.remove({str(kept)!r})",
        f"shutil.rmtree({str(mine)!r})",
        f"pathlib.Path({str(mine)!r}, 'new.txt').touch()",
        f"os.rename({str(kept)!r}, 'here.txt')",
        f"subprocess.run(['rm', {str(kept)!r}])",
        f"os.system('rm {kept}')",
        "socket.create_connection(('192.0.2.1', 80), 1)",
    ]
    lines = ["import os, pathlib, shutil, socket, subprocess", "refused = 0"]
    for attempt in attempts:
        lines += ["try:", f"    {attempt}", "except PermissionError:", "    refused += 1"]
    lines += ["open('own.txt', 'w').close()", "os.remove('own.txt')"]  # here it may
    lines += ["os.makedirs('a/b')", "shutil.rmtree('a')", "raise ValueError(refused)"]
    outcome = judge(worker, mine, "\n".join(lines))
    assert f"ValueError: {len(attempts)}\n" in str(outcome)
    assert kept.read_text("utf-8") == "kept"
    assert sorted(path.name for path in mine.iterdir()) == ["basic_upload.py", "kept.txt"]


UPLOAD = """
import requests
with open("photo.jpg", "rb") as file:
    print(requests.post(URL, files={"file": file}, timeout=5))
"""


def test_a_script_may_import_what_lies_beside_it(worker: Worker, tmp_path: Path) -> None:
    """A helper module, and a script of the reader's with the name of one of ours."""
    (tmp_path / "helper.py").write_text("import download_file\nURL = download_file.URL\n", "utf-8")
    (tmp_path / "download_file.py").write_text("URL = 'https://httpbin.org/post'\n", "utf-8")
    assert str(judge(worker, tmp_path, f"from helper import URL\n{UPLOAD}")) == ""
    (tmp_path / "download_file.py").write_text("URL = (\n", "utf-8")
    outcome = judge(worker, tmp_path, f"from helper import URL\n{UPLOAD}")
    assert "Python can't read line 1 of download_file.py" in outcome.hint


@pytest.mark.parametrize("name", ["requests.py", "email.py", "PIL/__init__.py"])
def test_a_file_that_hides_a_module_is_told(worker: Worker, tmp_path: Path, name: str) -> None:
    """Python looks beside the script first; our own process has imported the real ones."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("", "utf-8")
    (tmp_path / "notes.py").write_text("", "utf-8")  # hides nothing
    script = f"import PIL\nURL = 'https://httpbin.org/post'\n{UPLOAD}"
    outcome = judge(worker, tmp_path, script)
    assert outcome.state == "unusable"
    assert f"call {name} something else" in outcome.hint


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        (b"\xef\xbb\xbfURL = 'https://httpbin.org/post'\r\n" + UPLOAD.encode(), ""),
        ("name = 'é'\n".encode("latin-1"), "save the script as UTF-8"),
        ("name = 'e'\n".encode("utf-16"), "save the script as UTF-8"),
        (b"path = 'C:\\Users\\me'\n", "write / instead"),
        (b"if 1:\n\tx = 1\n        y = 2\n", "indent with four spaces"),
        (b"import requests\nrequests.post('photo.jpg')\n", "this is no URL"),
        (b"class A:\n    def f(x):\n        pass\nA().f(1)\n", "the first is self"),
        (b"print(None.text)\n", "this is None"),
    ],
)
def test_the_hint_names_the_cause(script: bytes, hint: str, worker: Worker, tmp_path: Path) -> None:
    assert hint in judge(worker, tmp_path, script).hint
    assert bool(hint) == (judge(worker, tmp_path, script).state == "unusable")
