"""Every script as a reader runs it: as a process, in an empty folder, when things go wrong."""

from __future__ import annotations

import ast
import doctest
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import NOWHERE, ROOT, SAMPLES, SCRIPTS, RunScript
from offline import PracticeServer

pytestmark = pytest.mark.slow
OFFLINE = ROOT / "tests" / "offline.py"
TAKES_A_FILE = [script for script in SCRIPTS if script != "download_file.py"]


def check_width(text: str) -> None:
    """Fail for a line that a terminal of 80 columns would break."""
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert not wide, f"over 80 columns: {wide}"


def check_error(result: subprocess.CompletedProcess[str], script: str) -> None:
    """Fail unless a script gave up as the house style wants: one line, what to do, exit code 1."""
    assert result.returncode == 1, f"{script}: exit code {result.returncode}: {result.stderr}"
    errors = result.stderr.splitlines()
    assert len(errors) == 1, f"{script} printed {result.stderr!r}, not one line"
    assert re.fullmatch(r"error: .+ - .+", errors[0]), f"{errors[0]!r} says not what to do"


@pytest.mark.parametrize("script", SCRIPTS)
def test_runs_without_arguments(script: str, run_script: RunScript) -> None:
    result = run_script(script, env={"PYTHONIOENCODING": "ascii", "COLUMNS": "80"})
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert not re.search("error|warning|traceback", result.stderr, re.IGNORECASE), result.stderr
    check_width(result.stdout + result.stderr)


@pytest.mark.parametrize("script", SCRIPTS)
def test_runs_when_copied_alone_into_an_empty_folder(
    script: str, run_script: RunScript, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(ROOT / script, alone)
    result = run_script(script, folder=alone)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert [path.name for path in alone.iterdir()] == [script], "it left something beside itself"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_ends_with_an_example(script: str, run_script: RunScript) -> None:
    result = run_script(script, "-h", env={"COLUMNS": "80"})
    assert result.returncode == 0
    example = result.stdout.strip().splitlines()[-1]
    assert example.startswith(f"example: {script} "), f"the last line was {example!r}"
    check_width(result.stdout)


@pytest.mark.parametrize("path", ["missing.jpg", "."])
@pytest.mark.parametrize("script", TAKES_A_FILE)
def test_a_wrong_path_costs_one_line(script: str, path: str, run_script: RunScript) -> None:
    if script == "concurrent_upload.py":
        pytest.skip("a file that fails is a result there: see test_concurrent_upload.py")
    check_error(run_script(script, path), script)


def test_a_batch_reports_a_missing_file_and_ends_with_1(run_script: RunScript) -> None:
    result = run_script("concurrent_upload.py", "missing.jpg")
    assert result.returncode == 1
    assert result.stdout.startswith("FAIL missing.jpg: ")
    assert not result.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_address_that_is_none_costs_one_line(script: str, run_script: RunScript) -> None:
    url = f"http://{'a' * 70}.example/"  # not even requests expects a label this long
    result = run_script(script, *(["--url"] if script != "download_file.py" else []), url)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr, result.stderr
    assert "error: " in result.stderr or "FAIL " in result.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_server_that_is_down_costs_one_line_with_the_way_out(
    script: str, run_script: RunScript
) -> None:
    down = {"HTTPBIN_URL": NOWHERE, "OCR_SPACE_URL": f"{NOWHERE}/parse/image"}
    result = run_script(script, env=down)
    check_error(result, script)
    assert result.stderr.endswith(f"uv run tests/offline.py {script}\n"), result.stderr
    check_width(result.stderr)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_ends_with_130_and_no_traceback(script: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, str(ROOT / script)],
            cwd=tmp_path,
            env=os.environ | {"HTTPBIN_URL": url, "OCR_SPACE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connections = [silent.accept()[0] for _ in range(3 if "concurrent" in script else 1)]
        process.send_signal(signal.SIGINT)
        silent.settimeout(1 if len(connections) > 1 else 0.1)
        with pytest.raises(TimeoutError):
            silent.accept()  # it begins nothing new
        for connection in connections:
            connection.close()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, f"exit code {process.returncode}: {err}"
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == [], "it left something behind"


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe as another error")
@pytest.mark.parametrize("script", SCRIPTS)
def test_says_nothing_when_nobody_reads_its_output(
    script: str, server: PracticeServer, tmp_path: Path
) -> None:
    """As in `script | head -1`, when head has seen enough."""
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    saved = ["--from-json", str(SAMPLES / "replies" / "good.json"), "--json"]
    process = subprocess.run(
        [sys.executable, ROOT / script, *(saved if script == SCRIPTS[-1] else [])],
        check=False,
        cwd=tmp_path,
        env=os.environ | server.environment,
        stdout=writing_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing_end)
    complaints = re.sub(r"^ *\d+ %\n", "", process.stderr, flags=re.M)
    assert (process.returncode, complaints) == (1, "")


# --- what the docstrings and the README show ---------------------------------------------------


def find_transcripts() -> Iterator[tuple[str, str, str]]:
    """Yield (where, command, output) of each run that a docstring or the README shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    texts = [
        ("README.md", text) for text in re.findall(r"^```console\n(.+?)^```", readme, re.M | re.S)
    ]
    for script in SCRIPTS:
        module = ast.parse((ROOT / script).read_text(encoding="utf-8"))
        docstring = ast.get_docstring(module) or ""
        texts.append((script, textwrap.dedent(docstring.partition("Sample run::\n\n")[2])))
    for where, text in texts:
        for run in re.split(r"^\$ ", text, flags=re.M)[1:]:
            command, _, output = run.partition("\n")
            if "pytest" not in command:  # that one is in test_mine.py
                yield where, command, output


def normalize(output: str) -> str:
    """Return the output without what differs from run to run."""
    lines = [line for line in output.rstrip().splitlines() if not line.startswith("offline: ")]
    done = sorted(line for line in lines if line.startswith("OK "))  # in order of completion
    lines = [done.pop(0) if line.startswith("OK ") else line for line in lines]
    text = "\n".join(lines)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"[0-9a-f]{32}", "BOUNDARY", text)
    text = re.sub(r"(sent as \S+:) [\d,]+", r"\1 N", text)  # as Pillow's encoder of the day has it
    text = re.sub(r"^(User-Agent|Accept-Encoding): .+", r"\1: …", text, flags=re.M)
    return re.sub(r"\d+\.\d+ (s|MB/s)\b", r"N \1", text)


@cache  # the README and a docstring may show the same run
def run_documented(command: str) -> str:
    """Return what a command of the docs prints in a folder like the project's."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (*SCRIPTS, "samples", "tests"):
            Path(folder, name).symlink_to(ROOT / name)
        return subprocess.run(
            [sys.executable, *command.removeprefix("uv run ").split()],
            check=True,
            cwd=folder,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        ).stdout


@pytest.mark.parametrize(("where", "command", "output"), list(find_transcripts()))
def test_prints_what_the_docs_show(where: str, command: str, output: str) -> None:
    want, got = normalize(output), normalize(run_documented(command))
    same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
    assert same, f"{where} shows for {command}\n{want}\nbut it prints\n{got}"


def test_every_script_shows_a_run() -> None:
    shown = {where for where, _, _ in find_transcripts()}
    assert shown == {"README.md", *SCRIPTS}


def test_samples_are_all_there() -> None:
    assert len([*SAMPLES.glob("receipt*.*")]) == 8
