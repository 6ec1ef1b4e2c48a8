#!/usr/bin/env python3
"""Measure the scripts beside curl, wget and other Python clients, on this machine's loopback.

The server is a process of its own that forgets what it gets and makes up what it sends; the raw
socket loop is the limit. What isn't installed is skipped.

    uv run tests/tools/benchmark.py --quick     under a minute
    uv run tests/tools/benchmark.py --plot      a quarter of an hour, draws the README's pictures
"""
# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "requests>=2.33,<3",
#     "Pillow>=12.3,<14",
#     "requests-toolbelt>=1,<2",
#     "httpx>=0.28,<1",
#     "aiohttp>=3.13.4,<4",
#     "matplotlib>=3.10,<4",
#     "psutil>=7,<8",
# ]
# ///

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import importlib.util
import math
import multiprocessing
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import requests  # noqa: E402

import download_file  # noqa: E402
from concurrent_upload import upload_files  # noqa: E402
from receipt_scanner import parse_receipt  # noqa: E402
from streaming_upload import stream_upload  # noqa: E402

PICTURES = ROOT / "samples" / "pictures"
BLOCK = b"\xff\xd8\xff" + b"picture " * 8192  # begins as a JPEG; 64 KiB keep it in the cache
SERVER_SECONDS = 0.05
WORKERS = 16
SMALL_UPLOADS = 200
SMALL_BYTES = 10_000
CHUNK_SIZES = [2**power for power in range(12, 19)]  # an upload caps them at 256 KiB
PLOT_ROUNDS = 7
SAMPLE_SECONDS = 0.005
COLORS = ["#d1495b", "#2e6fb7", "#1a936f"]
MIB = 2**20
TIMEOUT_SECONDS = 60


class Plan(NamedTuple):
    """How much a run measures."""

    name: str
    transfer_bytes: int
    largest_bytes: int  # a sparse file: it takes no room
    rounds: int
    files: int


FULL = Plan("full run", transfer_bytes=10**9, largest_bytes=10**10, rounds=9, files=100_000)
QUICK = Plan(
    "QUICK run, less certain", transfer_bytes=10**8, largest_bytes=10**9, rounds=3, files=1_000
)


HEADER = """\
A {plan.name}: medians of {plan.rounds} rounds. In a round each runs once, in changing order; a
ratio is that of two runs of the same round. Only the transfer counts, not the start of a program:
curl's own time_total, wget's time less that for 3 bytes. 1 GB is 10**9 bytes. Files are in
{folder}."""


# --- the server ----------------------------------------------------------------------------------


def serve(listener: socket.socket) -> None:
    """Answer connections for ever, each in a thread."""
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """Take what is posted; send what GET /picture/BYTES asks for; /slow takes its time."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, contextlib.suppress(ConnectionError):
        data = b""
        while more := connection.recv(len(BLOCK)):
            data += more
            head, blank, body = data.partition(b"\r\n\r\n")
            if not blank:
                continue
            head, data = head.lower(), b""
            if head.startswith(b"get /picture/"):
                send_picture(connection, int(head[13:].split()[0]))
                continue
            if b"100-continue" in head:  # curl waits a second for this
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if b"transfer-encoding: chunked" in head:
                skip_chunks(connection, body)
            else:
                length = int(head.partition(b"content-length:")[2].split()[0])
                skip_bytes(connection, length - len(body))
            if b" /slow" in head:
                time.sleep(SERVER_SECONDS)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def send_picture(connection: socket.socket, length: int) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode())
    for _ in range(length // len(BLOCK)):
        connection.sendall(BLOCK)
    connection.sendall(BLOCK[: length % len(BLOCK)])


def skip_bytes(connection: socket.socket, length: int) -> None:
    buffer = bytearray(4 * len(BLOCK))
    discard = socket.MSG_TRUNC if sys.platform == "linux" else 0  # tcp(7): nothing is copied
    while length > 0:
        count = connection.recv_into(buffer, min(length, len(buffer)), discard)
        if not count:
            raise ConnectionError
        length -= count


def skip_chunks(connection: socket.socket, body: bytes) -> None:
    tail = body[-5:]
    while tail != b"0\r\n\r\n":  # RFC 9112, 7.1; BLOCK has no such bytes
        data = connection.recv(4 * len(BLOCK))
        if not data:
            raise ConnectionError
        tail = (tail + data[-5:])[-5:]


@contextlib.contextmanager
def start_server() -> Iterator[str]:
    """Run the server in a process of its own; yield its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            process.join()


# --- the contestants: each is called with a URL and a path ---------------------------------------


def time_curl(*arguments: str) -> float:
    """Return the seconds that curl says the transfer took, its start left out."""
    command = ["curl", "--fail", "--write-out", "%{stderr}\n%{time_total}", *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return float(done.stderr.splitlines()[-1])


def time_wget(url: str, path: str) -> float:
    """Return the seconds that wget takes, less those for three bytes: its start."""
    seconds = []
    for address in (url, re.sub(r"\d+$", "3", url)):
        started = time.perf_counter()
        command = ["wget", "--progress=dot:giga", "-O", path, address]
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return seconds[0] - seconds[1]


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 80))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as HTTP clients do
    return connection


def upload_raw(url: str, path: str, chunk_size: int = 65536) -> None:
    buffer = memoryview(bytearray(chunk_size))
    with connect(url) as connection, open(path, "rb", 0) as file:
        length = os.fstat(file.fileno()).st_size
        connection.sendall(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
        while count := file.readinto(buffer):
            connection.sendall(buffer[:count])
        connection.recv(1024)


def download_raw(url: str, path: str) -> None:
    buffer = memoryview(bytearray(256 * 1024))
    with connect(url) as connection, open(path, "wb", 0) as file:
        connection.sendall(f"GET {urlsplit(url).path} HTTP/1.1\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)  # the server hangs up when it has sent all
        while count := connection.recv_into(buffer):
            file.write(buffer[:count])


def upload_ours(url: str, path: str, chunk_size: int, multipart: bool = False) -> None:
    stream_upload(path, url, chunk_size=chunk_size, multipart=multipart).close()


def download_ours(url: str, path: str, chunk_size: int = download_file.CHUNK_BYTES) -> None:
    show = download_file.print_progress
    download_file.download_file(url, path, chunk_size=chunk_size, on_progress=show)


def upload_open_file(url: str, path: str) -> None:
    with open(path, "rb") as file:
        requests.post(url, data=file, timeout=TIMEOUT_SECONDS).raise_for_status()


def upload_generator(url: str, path: str) -> None:
    with open(path, "rb") as file:
        chunks = iter(partial(file.read, 8192), b"")
        requests.post(url, data=chunks, timeout=TIMEOUT_SECONDS).raise_for_status()


def upload_files_argument(url: str, path: str) -> None:
    with open(path, "rb") as file:
        requests.post(url, files={"file": file}, timeout=TIMEOUT_SECONDS).raise_for_status()


def upload_toolbelt(url: str, path: str) -> None:
    from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor

    with open(path, "rb") as file:
        encoder = MultipartEncoder({"file": ("file", file, "application/octet-stream")})
        body = MultipartEncoderMonitor(encoder, lambda monitor: None)
        headers = {"Content-Type": body.content_type}
        requests.post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS).raise_for_status()


def upload_httpx(url: str, path: str, multipart: bool = False) -> None:
    import httpx

    with open(path, "rb") as file:
        if multipart:
            response = httpx.post(url, files={"file": file}, timeout=TIMEOUT_SECONDS)
        else:
            response = httpx.post(url, content=file, timeout=TIMEOUT_SECONDS)
    response.raise_for_status()


async def upload_aiohttp(url: str, path: str, multipart: bool = False) -> None:
    import aiohttp

    with open(path, "rb") as file:
        data = {"file": file} if multipart else file
        async with aiohttp.request("POST", url, data=data) as response:
            response.raise_for_status()


def download_requests(url: str, path: str) -> None:
    with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        with open(path, "wb") as file:
            for chunk in response.iter_content(8192):
                file.write(chunk)


def download_httpx(url: str, path: str) -> None:
    import httpx

    with httpx.stream("GET", url, timeout=TIMEOUT_SECONDS) as response, open(path, "wb") as file:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            file.write(chunk)


async def download_aiohttp(url: str, path: str) -> None:
    import aiohttp

    async with aiohttp.request("GET", url) as response:
        response.raise_for_status()
        with open(path, "wb") as file:
            async for chunk in response.content.iter_chunked(256 * 1024):
                file.write(chunk)


def upload_small_ours(url: str, path: str) -> None:
    results = upload_files([path] * SMALL_UPLOADS, url, max_workers=WORKERS)
    assert all([result.ok for result in results])  # noqa: C419 - every one


def upload_small_threads(url: str, path: str) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(upload_files_argument, [url] * SMALL_UPLOADS, [path] * SMALL_UPLOADS))


async def upload_small_httpx(url: str, path: str) -> None:
    import httpx

    turn = asyncio.Semaphore(WORKERS)
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:

        async def upload() -> None:
            async with turn:
                with open(path, "rb") as file:
                    (await client.post(url, files={"file": file})).raise_for_status()

        await asyncio.gather(*(upload() for _ in range(SMALL_UPLOADS)))


async def upload_small_aiohttp(url: str, path: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WORKERS)) as session:

        async def upload() -> None:
            with open(path, "rb") as file:
                async with session.post(url, data={"file": file}) as response:
                    response.raise_for_status()

        await asyncio.gather(*(upload() for _ in range(SMALL_UPLOADS)))


def in_loop(
    function: Callable[..., Coroutine[Any, Any, None]], **options: bool
) -> Callable[[str, str], None]:
    return lambda url, path: asyncio.run(function(url, path, **options))


class Contestant(NamedTuple):
    """A way to do a piece of work. It may return the seconds itself, if it knows better."""

    name: str
    run: Callable[[str, str], float | None]
    needs: str = "requests"  # a package or a program
    target: float | None = None  # times the first of its race


UPLOADS = [
    Contestant("curl -T", lambda url, path: time_curl("-T", path, url), "curl"),
    Contestant("raw socket loop, 64 KiB", upload_raw),
    Contestant("raw socket loop, 8 KiB", partial(upload_raw, chunk_size=8192)),
    Contestant("ours, 64 KiB chunks", partial(upload_ours, chunk_size=65536), target=1.0),
    Contestant("ours, 8 KiB chunks", partial(upload_ours, chunk_size=8192), target=2.4),
    Contestant("requests, data=open()", upload_open_file),
    Contestant("requests, data=generator()", upload_generator),
    Contestant("httpx, content=open()", upload_httpx, "httpx"),
    Contestant("aiohttp, data=open()", in_loop(upload_aiohttp), "aiohttp"),
]
MULTIPART_UPLOADS = [
    Contestant("curl -F", lambda url, path: time_curl("-F", f"file=@{path}", url), "curl"),
    Contestant("raw socket loop", upload_raw),
    Contestant(
        "ours, 64 KiB chunks", partial(upload_ours, chunk_size=65536, multipart=True), target=1.1
    ),
    Contestant("requests, files=", upload_files_argument),
    Contestant("toolbelt, encoder and monitor", upload_toolbelt, "requests_toolbelt"),
    Contestant("httpx, files=", partial(upload_httpx, multipart=True), "httpx"),
    Contestant("aiohttp, data={...}", in_loop(upload_aiohttp, multipart=True), "aiohttp"),
]
DOWNLOADS = [
    Contestant("curl -o", lambda url, path: time_curl("-o", path, url), "curl"),
    Contestant("raw socket loop", download_raw),
    Contestant("ours", download_ours, target=1.0),
    Contestant("wget", time_wget, "wget"),
    Contestant("requests, iter_content(8192)", download_requests),
    Contestant("httpx, stream()", download_httpx, "httpx"),
    Contestant("aiohttp, iter_chunked()", in_loop(download_aiohttp), "aiohttp"),
]
SMALL = [
    Contestant("the ideal", lambda *_: math.ceil(SMALL_UPLOADS / WORKERS) * SERVER_SECONDS),
    Contestant("ours", upload_small_ours, target=1.1),
    Contestant("requests in executor.map", upload_small_threads),
    Contestant("httpx, AsyncClient", in_loop(upload_small_httpx), "httpx"),
    Contestant("aiohttp", in_loop(upload_small_aiohttp), "aiohttp"),
]


# --- measuring -----------------------------------------------------------------------------------


def is_installed(needs: str) -> bool:
    return bool(importlib.util.find_spec(needs) or shutil.which(needs))


def time_run(run: Callable[[str, str], float | None], url: str, path: str) -> float:
    """Return the seconds of one run; what it prints is lost."""
    gc.collect()
    if "/picture/" in url:  # a new file each time: to overwrite an old one takes another time
        Path(path).unlink(missing_ok=True)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        started = time.perf_counter()
        seconds = run(url, path)
        return time.perf_counter() - started if seconds is None else seconds


def race(title: str, contestants: list[Contestant], url: str, path: str, rounds: int) -> None:
    """Let the contestants run in turns and print a table.

    The ratio is the median of the rounds' ratios to the first: both were measured in the same
    round, so what slows the machine for a while slows both.
    """
    ready = [contestant for contestant in contestants if is_installed(contestant.needs)]
    tiny = f"{path}.tiny"
    Path(tiny).write_bytes(BLOCK[:3])
    for contestant in ready:  # three bytes at full speed: what happens only once is no transfer
        time_run(contestant.run, re.sub(r"slow|\d+$", "3", url), tiny)
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in ready}
    for number in range(rounds):
        turn = number % len(ready)
        for contestant in ready[turn:] + ready[:turn]:
            seconds[contestant.name].append(time_run(contestant.run, url, path))
    first = ready[0].name
    print(f"\n{title:<42}{'x ' + first:>14}{'to reach':>10}{'seconds':>10}")
    for contestant in contestants:
        if contestant not in ready:
            print(f"  {contestant.name:<40}  skipped: {contestant.needs} is not installed")
            continue
        pairs = zip(seconds[contestant.name], seconds[first], strict=True)
        ratio = statistics.median(mine / theirs for mine, theirs in pairs)
        known = contestant.target and contestants[0] in ready  # else it is to something else
        target = f"{contestant.target:.2f}" if known else ""
        median = statistics.median(seconds[contestant.name])
        print(f"  {contestant.name:<40}{ratio:>14.2f}{target:>10}{median:>10.3f}", flush=True)


# Linux keeps for ru_maxrss what the parent had before exec, so it would show our own memory.
PRINT_PEAK = """
import re, resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":
    with open("/proc/self/status") as status:
        peak = int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])
print(peak * (1 if sys.platform == "darwin" else 1024))
"""
UPLOAD_CODE = {  # what a process runs whose memory is measured
    "ours, ProgressFileReader": "import streaming_upload as s; s.stream_upload(path, url)",
    "ours, multipart": "import streaming_upload as s; s.stream_upload(path, url, multipart=True)",
    "requests, data=open()": "requests.post(url, data=open(path, 'rb'))",
    "requests, files=": "requests.post(url, files={'file': open(path, 'rb')})",
}
BATCH_CODE = {
    "ours, upload_files()": """
from itertools import islice, repeat
from concurrent_upload import upload_files
for result in islice(upload_files(repeat(path), url, max_workers=workers), count):
    assert result.ok
""",
    "executor.map": """
from concurrent.futures import ThreadPoolExecutor
from concurrent_upload import upload_single_file
with ThreadPoolExecutor(workers) as pool:
    for result in pool.map(upload_single_file, [path] * count, [url] * count):
        assert result.ok
""",
    "submit all, as_completed": """
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent_upload import upload_single_file
with ThreadPoolExecutor(workers) as pool:
    for future in as_completed([pool.submit(upload_single_file, path, url) for _ in range(count)]):
        assert future.result().ok
""",
}


def start_python(code: str, url: str, path: str, count: int = 0) -> subprocess.Popen[str]:
    """Start an interpreter that imports requests, then runs `code`."""
    values = f"path, url, count, workers = {path!r}, {url!r}, {count}, {WORKERS}"
    code = f"import requests\n{values}\n{code}"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def measure_peak(code: str, url: str, path: str, count: int = 0) -> float:
    """Return the peak memory in MiB of an interpreter that does nothing but this."""
    with start_python(code + "\n" + PRINT_PEAK, url, path, count) as process:
        return int(process.communicate()[0]) / MIB


def describe_bytes(size: int) -> str:
    """Return a size in the units of disks: 1 GB is 10**9 bytes."""
    return f"{size / 1e9:g} GB" if size >= 10**9 else f"{size / 1e6:g} MB"


def compare_memory(plan: Plan, base: str, folder: Path) -> None:
    """Print the peak memory of processes that upload, less that of one that doesn't."""
    path, url = str(folder / "sparse"), f"{base}/post"
    bare = measure_peak("", url, path)
    print(f"\n{'peak memory, beyond a bare import requests':<56}{'to reach':>10}{'MiB':>10}")
    for name, code in UPLOAD_CODE.items():
        ours = name.startswith("ours")
        for size in [5 * 10**6, plan.transfer_bytes, plan.largest_bytes]:
            if ours or size == plan.transfer_bytes:
                with open(path, "wb") as file:
                    file.truncate(size)
                extra = measure_peak(code, url, path) - bare
                row = f"upload {describe_bytes(size)}, {name}"
                print(
                    f"  {row:<54}{'3.0' if ours else '':>10}{round(extra, 1) + 0:>10.1f}",
                    flush=True,
                )
    Path(path).unlink()


def compare_batches(plan: Plan, base: str, path: str) -> None:
    """Print how much memory a large batch takes beyond a small one."""
    title = f"{plan.files:,} files, {WORKERS} workers"
    print(f"\n{title + ', beyond 100 files':<46}{'files/s':>10}{'to reach':>10}{'MiB':>10}")
    for name, code in BATCH_CODE.items():
        few = measure_peak(code, f"{base}/post", path, 100)
        started = time.perf_counter()
        extra = measure_peak(code, f"{base}/post", path, plan.files) - few
        rate = plan.files / (time.perf_counter() - started)
        target = "2.0" if name.startswith("ours") else ""
        print(f"  {name:<44}{rate:>10.0f}{target:>10}{round(extra, 1) + 0:>10.1f}", flush=True)


PHOTO_CODE = {
    "ours": "receipt_scanner.prepare_photo(path)",
    "in full size": """
import bisect, io
from PIL import Image, ImageOps
def encode(quality):
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", quality=quality)
    return jpeg.tell()
photo = ImageOps.exif_transpose(Image.open(path))
paper = Image.new("RGBA", photo.size, "white")
photo = Image.alpha_composite(paper, photo.convert("RGBA")).convert("RGB")
while not bisect.bisect_right(range(60, 96), 2**20, key=encode):
    photo = photo.resize([side * 4 // 5 for side in photo.size])
""",
}
PHOTOS = [  # megapixels, how it is saved, and which share of the other way is to be reached
    (12, {}, "1/4"),
    (48, {}, "1/10"),
    (48, {"progressive": True}, "1/4"),
    (200, {}, ""),
]


def save_photo(path: str, megapixels: int, **options: Any) -> None:
    """Save the sample receipt enlarged, with a grain that no JPEG can make small."""
    from PIL import Image, ImageChops

    with Image.open(ROOT / "samples" / "receipt.jpg") as sample:
        factor = math.sqrt(megapixels * 1e6 / (sample.width * sample.height))
        size = round(sample.width * factor), round(sample.height * factor)
        photo = sample.convert("RGB").resize(size)
    noise = Image.effect_noise((1000, 1000), 8)
    grain = Image.new("L", size)
    for left in range(0, size[0], 1000):
        for top in range(0, size[1], 1000):
            grain.paste(noise, (left, top))
    photo = ImageChops.add(photo, Image.merge("RGB", [grain] * 3), 1, -128)
    photo.save(path, "JPEG", quality=82, **options)


def measure_photo(code: str, path: str) -> tuple[float, float]:
    """Return processor time in seconds and peak memory in MiB of an interpreter that does this."""
    begin = "import time, receipt_scanner\nstarted = time.process_time()\n"
    end = "\nprint(time.process_time() - started)\n"
    with start_python(begin + code + end + PRINT_PEAK, "", path) as process:
        seconds, peak = map(float, process.communicate()[0].split())
    return seconds, peak / MIB


def compare_photos(plan: Plan, folder: Path) -> None:
    """Print what it costs to bring a photo under the 1 MB that OCR.space takes."""
    path = str(folder / "photo.jpg")
    _, bare = measure_photo("", path)
    print(f"\n{'a photo made fit for OCR.space':<46}{'CPU s':>10}{'to reach':>10}{'MiB':>10}")
    for megapixels, options, target in PHOTOS[:1] if plan.rounds < FULL.rounds else PHOTOS:
        save_photo(path, megapixels, **options)
        for name, code in PHOTO_CODE.items():
            if megapixels < 100 or name == "ours":  # Pillow refuses 200
                seconds, peak = measure_photo(code, path)
                row = f"{megapixels} megapixels{', progressive' if options else ''}, {name}"
                share = target if name == "ours" else ""
                print(f"  {row:<44}{seconds:>10.2f}{share:>10}{peak - bare:>10.0f}", flush=True)


def time_receipts(rounds: int) -> None:
    """Print how long the text of a receipt takes to parse."""
    medians = []
    for path in (ROOT / "tests" / "scripts" / "receipt_texts").glob("*.txt"):
        text = path.read_text("utf-8").partition("---\n")[2]  # before it: what is to be found
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            parse_receipt(text)
            seconds.append(time.perf_counter() - started)
        medians.append(1e6 * statistics.median(seconds))
    title = f"a receipt parsed, {len(medians)} texts"
    print(f"\n{title:<56}{'to reach':>10}{'us':>10}")
    print(f"  {'median':<54}{'500':>10}{statistics.median(medians):>10.0f}")
    print(f"  {'the slowest':<54}{'':>10}{max(medians):>10.0f}", flush=True)


# --- the pictures --------------------------------------------------------------------------------


def trace_memory(code: str, url: str, path: str) -> tuple[list[float], list[float]]:
    """Return how much memory an interpreter held over time, in seconds and MiB."""
    import psutil

    seconds, mebibytes = [], []
    with start_python(f"print(flush=True)\n{code}", url, path) as process:
        assert process.stdout
        process.stdout.readline()  # requests is imported
        watched = psutil.Process(process.pid)
        started = time.perf_counter()
        while process.poll() is None:
            if resident := watched.memory_info().rss:  # 0 when it is over
                seconds.append(time.perf_counter() - started)
                mebibytes.append(resident / MIB)
            time.sleep(SAMPLE_SECONDS)
    return seconds, mebibytes


def draw_axes(title: str, x_label: str, y_label: str) -> tuple[Any, Any]:
    """Return a figure and its axes; a white ground, as a dark page would swallow the text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=150, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd")
    return figure, axes


def plot_memory(base: str, path: str, size: int, picture: Path) -> None:
    title = f"Memory while {describe_bytes(size)} is uploaded"
    figure, axes = draw_axes(title, "seconds", "resident memory, MiB")
    names = ["requests, files=", "requests, data=open()", "ours, ProgressFileReader"]
    for name, style, color in zip(names, ["-", "-", "--"], COLORS, strict=True):
        seconds, mebibytes = trace_memory(UPLOAD_CODE[name], f"{base}/post", path)
        label = f"{name.partition(', ')[2]} ({max(mebibytes):,.0f} MiB)"
        axes.plot(seconds, mebibytes, style, color=color, linewidth=2.5, label=label)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(picture)


def plot_speed(base: str, path: str, size: int, picture: Path) -> None:
    title = f"Speed over chunk size, {describe_bytes(size)}"
    figure, axes = draw_axes(title, "chunk size, KiB", "GB/s")
    works: list[tuple[str, Callable[..., None], str, str, Contestant]] = [
        ("stream_upload()", upload_ours, f"{base}/post", path, UPLOADS[0]),
        ("download_file()", download_ours, f"{base}/picture/{size}", f"{path}.copy", DOWNLOADS[0]),
    ]
    for (name, run, url, file, curl), color in zip(works, COLORS, strict=False):
        runs: list[Callable[[str, str], float | None]] = [
            partial(run, chunk_size=chunk) for chunk in CHUNK_SIZES
        ]
        runs += [curl.run] if is_installed(curl.needs) else []
        rounds = [
            [size / 1e9 / time_run(run, url, file) for run in runs] for _ in range(PLOT_ROUNDS)
        ]
        speeds = [statistics.median(column) for column in zip(*rounds, strict=True)]
        ours = speeds[: len(CHUNK_SIZES)]
        axes.plot(CHUNK_SIZES, ours, "o-", color=color, linewidth=2.5, label=name)
        for speed in speeds[len(CHUNK_SIZES) :]:
            axes.axhline(speed, linestyle=":", color=color, label=curl.name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(CHUNK_SIZES, [str(chunk // 1024) for chunk in CHUNK_SIZES])
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(picture)


# --- the run -------------------------------------------------------------------------------------


def choose_folder(plan: Plan) -> str | None:
    """Return a folder in memory, so that no disk is measured; None where there is none."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 4 * plan.transfer_bytes
    return str(memory) if has_room else None


def describe_machine() -> str:
    """Return the versions that matter, and the cores."""
    modules = ["requests", "urllib3", "requests_toolbelt", "httpx", "aiohttp"]
    versions = [
        f"{name} {importlib.metadata.version(name)}" for name in modules if is_installed(name)
    ]
    for program in filter(is_installed, ("curl", "wget")):
        done = subprocess.run([program, "--version"], capture_output=True, check=True, text=True)
        versions += re.findall(r"\A.+? [\d.]+", done.stdout)
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return ", ".join([f"Python {platform.python_version()}", *versions, system])


def run(plan: Plan, pictures: Path | None = None) -> None:
    """Measure everything; draw the pictures into a folder if there is one."""
    with tempfile.TemporaryDirectory(dir=choose_folder(plan)) as name, start_server() as base:
        folder = Path(name)
        source, output, small = (str(folder / name) for name in ("source", "output", "small"))
        with open(source, "wb") as file:
            for _ in range(plan.transfer_bytes // len(BLOCK)):
                file.write(BLOCK)
            file.write(BLOCK[: plan.transfer_bytes % len(BLOCK)])
        Path(small).write_bytes(BLOCK[:SMALL_BYTES])
        print(textwrap.fill(describe_machine(), 100))
        print(HEADER.format(plan=plan, folder=folder.parent), flush=True)
        size = describe_bytes(plan.transfer_bytes)
        batch = f"{SMALL_UPLOADS} uploads by {WORKERS} workers, 50 ms server"
        races = [
            (f"upload {size}, Content-Length", UPLOADS, f"{base}/post", source),
            (f"upload {size}, multipart/form-data", MULTIPART_UPLOADS, f"{base}/post", source),
            (f"download {size}", DOWNLOADS, f"{base}/picture/{plan.transfer_bytes}", output),
            (batch, SMALL, f"{base}/slow", small),
        ]
        for title, contestants, url, path in races:
            race(title, contestants, url, path, plan.rounds)
        if sys.platform == "win32":
            print("\nmemory: skipped, Windows has no peak to ask for")
        else:
            compare_memory(plan, base, folder)
            compare_batches(plan, base, small)
            compare_photos(plan, folder)
        time_receipts(2 * plan.rounds + 1)
        if pictures:
            plot_memory(base, source, plan.transfer_bytes, pictures / "benchmark_memory.png")
            plot_speed(base, source, plan.transfer_bytes, pictures / "benchmark_speed.png")
            print(f"\ndrew {pictures}/benchmark_*.png")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Measure the scripts beside curl, wget and other Python clients.",
        epilog="example: uv run tests/tools/benchmark.py --quick",
    )
    parser.add_argument("--quick", action="store_true", help="fewer bytes, files and rounds")
    parser.add_argument("--plot", action="store_true", help="draw the README's pictures")
    args = parser.parse_args()
    if args.plot and not (is_installed("matplotlib") and is_installed("psutil")):
        parser.error(
            "matplotlib or psutil is missing - uv run tests/tools/benchmark.py --plot has them"
        )
    os.environ["NO_PROXY"] = "127.0.0.1"
    run(QUICK if args.quick else FULL, PICTURES if args.plot else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
