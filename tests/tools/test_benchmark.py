"""benchmark.py: that it runs, and that its server takes and gives what the contestants need."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import benchmark as script
import pytest
import requests
from conftest import ROOT
from test_project import find_bounds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with script.start_server() as base:
        yield base


def test_prints_a_line_for_each_contestant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SMALL_UPLOADS", 16)
    monkeypatch.setattr(script, "PHOTOS", [(1, {}, "1/4")])
    for name in ("UPLOAD_CODE", "BATCH_CODE"):  # each starts processes: the last will do
        monkeypatch.setattr(script, name, dict([*getattr(script, name).items()][-1:]))
    script.run(script.Plan("tiny run", 100_000, 1_000_000, rounds=1, files=20))
    out = capsys.readouterr().out
    contestants = script.UPLOADS + script.MULTIPART_UPLOADS + script.DOWNLOADS + script.SMALL
    for contestant in contestants:
        assert f"\n  {contestant.name} " in out
        skipped = f"skipped: {contestant.needs} is not installed"
        assert script.is_installed(contestant.needs) != (skipped in out)
    for title in ("peak memory", "20 files, 16 workers", "a photo made fit", "a receipt parsed"):
        assert f"\n{title}" in out


def test_the_server_sends_a_picture_of_the_size_asked_for(base: str) -> None:
    for size in (3, len(script.BLOCK), 100_000):
        response = requests.get(f"{base}/picture/{size}", timeout=5)
        assert response.headers["Content-Type"] == "image/jpeg"
        assert len(response.content) == size
        assert response.content.startswith(b"\xff\xd8\xff")


def test_the_server_takes_any_body_and_then_the_next_request(base: str) -> None:
    chunk = b"186a0\r\n" + bytes(100_000) + b"\r\n"
    exchanges = [
        (b"POST /post HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"200 OK"),
        (b"POST /post HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", b"100 Con"),
        (b"nine byte", b"200 OK"),
        (b"POST /post HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (chunk + chunk + b"0\r\n\r\n", b"200 OK"),
        (b"PUT /slow HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000), b"200 OK"),
    ]
    with script.connect(base) as connection:
        connection.settimeout(5)
        for request, answer in exchanges:
            connection.sendall(request)
            if answer:
                assert connection.recv(1024).startswith(b"HTTP/1.1 " + answer)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no peak to ask for")
def test_measures_the_memory_that_a_process_takes_at_its_peak() -> None:
    held, bare = (script.measure_peak(code, "", "") for code in ("b'x' * (100 * 2**20)", ""))
    assert 90 < held - bare < 110


def test_without_what_draws_no_picture_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "is_installed", lambda needs: needs != "matplotlib")
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--plot"])
    with pytest.raises(SystemExit, match="2"):
        script.main()


def test_asks_for_the_versions_that_pyproject_asks_for() -> None:
    block, project = (
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("tests/tools/benchmark.py", "pyproject.toml")
    )
    assert find_bounds(block) == find_bounds(project)
