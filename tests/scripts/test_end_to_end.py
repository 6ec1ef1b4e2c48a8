"""What all six have in common: run without arguments, as documented, stopped, on a slow line."""

from __future__ import annotations

import ast
import doctest
import io
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import NOWHERE, ROOT, SAMPLES, SCRIPTS, STOPPABLE_PYTHON, check_error, run_main
from offline import PracticeServer
from PIL import Image
from wire import slow_reader, trust

from basic_upload import upload_file
from concurrent_upload import upload_single_file
from profile_picture_uploader import ProfilePictureUploader
from receipt_scanner import ReceiptScanner
from streaming_upload import stream_upload

RunDocumented = Callable[[str], str]
FIRST_COMMAND = "uv run tests/offline.py receipt_scanner.py samples/receipt.jpg"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_ends_with_an_example_on_80_columns(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("HTTPBIN_URL", "OCR_SPACE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1/100%d")  # argparse gives a % a meaning
    monkeypatch.setattr(sys, "argv", [script])
    main = runpy.run_path(str(ROOT / script))["main"]  # anew: it may read them when it is loaded
    code, out, _ = run_main(main, capsys, "-h")
    assert code == 0
    example = out.strip().splitlines()[-1]
    assert example.startswith(f"example: {script} "), f"the last line was {example!r}"
    check_width(out)


def check_width(text: str) -> None:
    """Fail for a line that a terminal of 80 columns would break."""
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert not wide, f"over 80 columns: {wide}"


@pytest.mark.parametrize("script", ["basic_upload.py", "profile_picture_uploader.py"])
def test_a_script_without_its_samples_names_what_is_missing(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(shutil.copy(ROOT / script, tmp_path)))["main"]
    assert "No such file" in check_error(main, capsys)
    assert [path.name for path in tmp_path.iterdir()] == [script], "it left something beside itself"


def test_a_script_without_its_launcher_offers_no_command_that_needs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(shutil.copy(ROOT / "basic_upload.py", tmp_path)))["main"]
    error = check_error(main, capsys, ROOT / "README.md", "--url", NOWHERE)
    assert "can't connect" in error
    assert "offline.py" not in error


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_ends_with_130_and_no_traceback(script: str, tmp_path: Path) -> None:
    if script in ("concurrent_upload.py", "download_file.py"):
        pytest.skip("it has something to tidy up: see its own tests")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        small = {
            "profile_picture_uploader.py": "avatar.png",
            "receipt_scanner.py": "receipt_uk.jpg",
        }
        arguments = [str(ROOT / "samples" / small[script])] if script in small else []
        process = subprocess.Popen(
            [*STOPPABLE_PYTHON, str(ROOT / script), *arguments],
            cwd=tmp_path,
            env=os.environ | {"HTTPBIN_URL": url, "OCR_SPACE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 130, f"exit code {process.returncode}: {err}"
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == [], "it left something behind"


@pytest.mark.slow
def test_a_slow_line_may_send_for_longer_than_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are for each block, and for the answer, while the system still sends the rest.

    All at once, for each needs its time: an hour or a second, it is the same.
    """
    big, photo = tmp_path / "big.jpg", tmp_path / "photo.jpg"
    big.write_bytes((SAMPLES / "avatar.jpg").read_bytes() + bytes(8_000_000))
    Image.effect_noise((1500, 1500), 80).convert("RGB").save(photo)
    reply = (SAMPLES / "replies" / "good.json").read_bytes()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply)
    limits: dict[str, Any] = {"timeout": (0.8, 0.3)}
    uploader = ProfilePictureUploader(max_bytes=10_000_000, keep_original=True, **limits)
    scanner = ReceiptScanner(**limits)
    trust(monkeypatch, tmp_path)
    with (
        slow_reader(3_500_000) as wire,
        slow_reader(3_500_000, tls=True) as tls,
        slow_reader(700_000, head + reply) as ocr,
        ThreadPoolExecutor(7) as pool,
    ):
        uploader.url, scanner.url = wire.url, ocr.url
        uploads = [
            pool.submit(upload_file, big, wire.url, **limits),
            pool.submit(uploader.upload, big, "42"),
            pool.submit(stream_upload, big, tls.url, on_progress=lambda *_: None, **limits),
        ]
        batch = [pool.submit(upload_single_file, big, wire.url, **limits) for _ in range(3)]
        receipt = pool.submit(scanner.scan, photo)
        for upload in uploads:
            upload.result().close()
        assert [str(upload.result()) for upload in batch] == ["OK big.jpg: 200"] * 3
        assert receipt.result()["total"]
    received = wire.requests + tls.requests + ocr.requests
    assert len(received) == 7
    assert all(len(request.body) == request.length > 700_000 for request in received)


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


@pytest.fixture(scope="module")
def run_documented(
    server: PracticeServer, tmp_path_factory: pytest.TempPathFactory
) -> RunDocumented:
    """Return what a command of the docs prints in a folder like the project's.

    README's first command is a process, with the launcher, which test_offline.py is about. The
    other scripts are run in this process: it has imported already what takes most of the time.
    """
    folder = tmp_path_factory.mktemp("documented") / "project"  # a command writes beside it
    folder.mkdir()
    for name in (*SCRIPTS, "samples", "tests"):
        (folder / name).symlink_to(ROOT / name)
    variables = {**server.environment, "COLUMNS": "80"}

    @cache  # the README and a docstring may show the same run
    def run(command: str) -> str:
        words = command.removeprefix("uv run ").split()
        if command == FIRST_COMMAND:
            return subprocess.run(
                [sys.executable, *words],
                check=True,
                cwd=folder,
                env=os.environ | variables | {"PYTHONIOENCODING": "ascii"},
                stderr=subprocess.STDOUT,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                timeout=300,
            ).stdout
        words = [word for word in words if word != "tests/offline.py"]
        printed = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", words)
            for name, errors in (("stdout", "strict"), ("stderr", "backslashreplace")):
                stream = io.TextIOWrapper(printed, "ascii", errors, write_through=True)
                patch.setattr(sys, name, stream)
            code: object = 0
            try:
                runpy.run_path(words[0], run_name="__main__")
            except SystemExit as end:
                code = end.code
            text = printed.getvalue().decode()
        assert not code, f"exit code {code}: {text}"
        return text

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("where", "command", "output"), list(find_transcripts()))
def test_prints_what_the_docs_show(
    where: str, command: str, output: str, run_documented: RunDocumented
) -> None:
    want, got = normalize(output), normalize(run_documented(command))
    same = doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)
    assert same, f"{where} shows for {command}\n{want}\nbut it prints\n{got}"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_runs_without_arguments(script: str, run_documented: RunDocumented) -> None:
    out = run_documented(f"uv run tests/offline.py {script}")
    assert out
    assert not re.search("error|warning|traceback", out, re.IGNORECASE), out
    check_width(out)


def test_every_script_shows_a_run() -> None:
    shown = {where for where, _, _ in find_transcripts()}
    assert shown == {"README.md", *SCRIPTS}, (
        "a script is not shown. Hint: give its docstring a `Sample run::`"
    )


def test_no_command_of_the_readme_leaves_a_download_in_the_checkout() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"offline\.py download_file\.py.*", readme)
    assert commands
    for command in commands:
        assert " -o ../" in command, f"{command!r} leaves its file here"
