"""How the faults of test_faults.py are provoked, and how it is told what they leave behind.

A Case plays one fault twice: with our script, as a user runs it, and with the tutorials' way to do
the same (naive/). Each act returns what the user sees; `left` looks at what is there afterwards.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import requests
from conftest import ROOT, call_main, cpu_seconds
from offline import PracticeServer
from PIL import Image
from practice import faults
from practice.faults import practice_bytes

import concurrent_upload
import download_file
import profile_picture_uploader
import receipt_scanner
import streaming_upload
from faults.naive import batch, downloads, pictures, receipts, uploads

OLD = b"what stood there before"
DATA = practice_bytes(200_000)
KEY = "K-secret-12345"
SCRIPT = b"<script>alert(1)</script>"


class Stage:
    """Where a row is played: an empty folder, the practice server, and what a terminal shows."""

    def __init__(
        self,
        server: PracticeServer,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.url, self.folder, self.capsys, self.monkeypatch = (
            server.url,
            folder,
            capsys,
            monkeypatch,
        )
        self.answer = ""
        self.token = f"token={time.monotonic_ns()}"

    def address(self, route: str) -> str:
        """Return a route's address, as if it were asked for the first time."""
        if "://" in route:
            return route
        return f"{self.url}{route}{'&' if '?' in route else '?'}{self.token}"

    def run_main(self, script: ModuleType, *arguments: object) -> tuple[int, str, str]:
        """Run a script's `main`; return its exit code and what it printed."""
        self.capsys.readouterr()
        code = call_main(script.main, *arguments)
        out, err = self.capsys.readouterr()
        if isinstance(code, str):  # Python prints it to stderr, and exits with 1
            code, err = 1, f"{err}{code}\n"
        return code, out, err

    def run(self, script: ModuleType, *arguments: object) -> str:
        """Run a script's `main`; return its last line, or its one error line."""
        code, out, err = self.run_main(script, *arguments)
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, len(errors)) in ((0, 0), (1, 1)), f"exit code {code}, stderr: {err}"
        assert "Traceback" not in err
        return errors[0] if errors else out.splitlines()[-1]

    def run_batch(self, script: ModuleType, *arguments: object) -> str:
        """Run a script's `main`; return all that it prints to stdout, and its exit code."""
        code, out, _ = self.run_main(script, *arguments)
        *lines, summary = out.splitlines()
        return " | ".join([*sorted(lines), summary, f"exit code {code}"])

    def call(self, function: Callable[..., object], *arguments: Any, **options: Any) -> str:
        """Call a function; return its result or its exception, as text."""
        try:
            result = function(*arguments, **options)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return result if isinstance(result, str) else "no error"


Act = Callable[[Stage], str]


class Case(NamedTuple):
    """How to provoke a fault: with our script, with the tutorial's code, and what to look at."""

    script: str
    ours: Act
    tutorial: Act
    left: Act


# --- what is looked at afterwards --------------------------------------------------------------


def look_at_folder(stage: Stage, whole: bytes) -> str:
    """Say what stands under the final name, and what else there is."""
    words = []
    for path in sorted(stage.folder.iterdir(), key=lambda path: path.name):
        data = path.read_bytes() if path.is_file() else b""
        if path.name != "photo.jpg":
            name = path.name.replace("photo.jpg", "NAME")
            words.append("a hidden part" if re.fullmatch(r"\..+\.part", name) else name)
        elif not path.is_file():
            words.append("the folder")
        elif data in (OLD, whole):
            words.append("the old file" if data == OLD else "the whole file")
        elif whole.startswith(data):
            words.append("a part of the file" if data else "an empty file")
        else:
            words.append("an HTML page" if data.startswith(b"<!") else "wrong bytes")
    return ", ".join(words) or "nothing"


def look_at_arrivals(_stage: Stage) -> str:
    """Say what the server received, upload by upload."""
    words = []
    for arrival in [*faults.ARRIVALS]:
        if "stowaway" in arrival.path:
            word = "a request that nobody made"
        elif b"\r\nX-Admin: yes" in arrival.body:
            word = "a forged header"
        elif DATA in arrival.body or PNG in arrival.body:
            word = "the whole file"
        else:
            word = "a part of the file" if DATA[:4] in arrival.body else "an empty file"
        if arrival.headers.get("Transfer-Encoding") == "chunked":
            word += " in chunks"
        words.append(word if arrival.is_whole else f"{word}, broken off")
    return ", then ".join(words) or "nothing"


def look_at_count(_stage: Stage) -> str:
    """Say how many uploads arrived."""
    return f"{len(faults.ARRIVALS)} uploads"


def look_at_key(_stage: Stage) -> str:
    """Say who received the API key."""
    hosts = [
        arrival.headers["Host"].partition(":")[0]
        for arrival in faults.ARRIVALS
        if KEY in arrival.headers.get("Apikey", "")
    ]
    return f"the key at {' and '.join(hosts)}"


def look_at_picture(stage: Stage) -> str:
    """Say what is in the picture that was sent."""
    if not faults.ARRIVALS:
        return "nothing sent"
    body = faults.ARRIVALS[-1].body
    _, _, rest = body[body.index(b'name="file"') :].partition(b"\r\n\r\n")
    data = rest.rpartition(b"\r\n--")[0]
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            frames = getattr(image, "n_frames", 1)
            words = [f"a {image.format} of {image.width}x{image.height}"]
    except (OSError, Image.DecompressionBombError):
        return "no picture that opens"
    if frames > 1:
        words.append(f"{frames} frames")
    if SCRIPT in data:
        words.append("the script in it")
    if b"EXIF" in data:
        words.append("its EXIF")
    return ", ".join(words)


# --- how a fault is provoked -------------------------------------------------------------------


def make_png(size: int = 32) -> bytes:
    """Return a picture that nothing is wrong with."""
    return encode(Image.new("RGB", (size, size), "teal"), "PNG")


def encode(picture: Image.Image, format_: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


PNG = make_png()
NOISE = Image.effect_noise((200, 200), 100)


def download(
    route: str,
    *options: object,
    tutorial: Callable[[str, Path], object] = downloads.download,
    whole: bytes = practice_bytes(100_000),
    times: int = 1,
    meanwhile: Callable[[Stage], object] = id,
) -> Case:
    """GET a route over an old file, so many times; `meanwhile` happens before the last time."""

    def play(stage: Stage, act: Callable[[str, Path], str]) -> str:
        target = stage.folder / "photo.jpg"
        target.write_bytes(OLD)
        for _ in range(times - 1):
            act(stage.address(route), target)
        meanwhile(stage)
        return act(stage.address(route), target)

    return Case(
        "download_file.py",
        lambda stage: play(stage, lambda *args: run_download(stage, *args, *options)),
        lambda stage: play(stage, lambda *args: stage.call(tutorial, *args)),
        functools.partial(look_at_folder, whole=whole),
    )


def run_download(stage: Stage, url: str, target: Path, *options: object) -> str:
    """Run our script as a user does."""
    return stage.run(download_file, url, "-o", target, *options)


def upload(
    script: ModuleType,
    route: str,
    *options: object,
    tutorial: Callable[[Path, str], object] = uploads.upload_form,
    data: bytes = DATA,
) -> Case:
    """POST a file to a route."""

    def make(stage: Stage) -> Path:
        path = stage.folder / "video.bin"
        path.write_bytes(data)
        return path

    def ours(stage: Stage) -> str:
        arguments = (make(stage), "--url", stage.address(route), *options)
        return (stage.run_batch if script is concurrent_upload else stage.run)(script, *arguments)

    def theirs(stage: Stage) -> str:
        return stage.call(tutorial, make(stage), stage.address(route))

    return Case(f"{script.__name__}.py", ours, theirs, look_at_arrivals)


def upload_while(change: Callable[[Path], object]) -> Case:
    """POST a file that is changed when its first chunk has gone."""

    def prepare(stage: Stage) -> tuple[Path, Callable[..., object]]:
        path, calls = stage.folder / "video.bin", itertools.count()
        path.write_bytes(DATA)
        return path, lambda *_: change(path) if next(calls) == 0 else None

    def ours(stage: Stage) -> str:
        path, on_progress = prepare(stage)
        address = stage.address("/sink")
        return stage.call(streaming_upload.stream_upload, path, address, on_progress=on_progress)

    def theirs(stage: Stage) -> str:
        path, on_progress = prepare(stage)
        address = stage.address("/sink")
        return stage.call(uploads.upload_with_progress, path, address, on_progress, timeout=0.5)

    return Case("streaming_upload.py", ours, theirs, look_at_arrivals)


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"POST /sink?stowaway HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")


def shrink(path: Path) -> None:
    os.truncate(path, 100_000)


def send_media_type(ours: Callable[[Path, str, str], object], script: str) -> Case:
    """Send a part with a media type that another server has given."""
    forged = "image/jpeg\r\nX-Admin: yes"

    def act(stage: Stage) -> str:
        path = stage.folder / "me.png"
        path.write_bytes(PNG)
        return stage.call(ours, path, stage.address("/sink"), forged)

    def theirs(stage: Stage) -> str:
        return stage.call(uploads.upload_as, "me.png", stage.address("/sink"), forged)

    return Case(script, act, theirs, look_at_arrivals)


def send_multipart(path: Path, url: str, media_type: str) -> None:
    reader = streaming_upload.MultipartFileReader(path, media_type=media_type)
    requests.post(url, data=reader, headers={"Content-Type": reader.content_type}, timeout=5)


def disk_full(stage: Stage) -> Any:
    """Let no file grow over 50,000 bytes, as if the disk were full there."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def download_to_full_disk() -> Case:
    """GET a file while the disk is full, and once more when it is not."""
    plain = download("/faults/file?size=100000", "--expect", "application/")

    def act(stage: Stage, play: Act) -> str:
        free = disk_full(stage)
        try:
            return play(stage)
        finally:
            free()

    return plain._replace(
        ours=functools.partial(act, play=plain.ours),
        tutorial=functools.partial(act, play=plain.tutorial),
    )


def download_into(make: Callable[[Path], object]) -> Case:
    """GET a file to a place that can't take it."""

    def act(stage: Stage, get: Callable[[str, Path], str]) -> str:
        target = stage.folder / "photo.jpg"
        make(target)
        try:
            return get(stage.address("/faults/type?is=image/jpeg"), target)
        finally:
            stage.folder.chmod(0o700)

    return Case(
        "download_file.py",
        lambda stage: act(stage, functools.partial(run_download, stage)),
        lambda stage: act(stage, functools.partial(stage.call, downloads.download)),
        functools.partial(look_at_folder, whole=b""),
    )


def write_protect(target: Path) -> None:
    target.write_bytes(OLD)
    target.chmod(0o400)
    target.parent.chmod(0o500)


def download_twice_at_once() -> Case:
    """Two GETs of different files to one name; each has begun before the other goes on."""

    def act(stage: Stage, get: Callable[[str, Path, Callable[..., object]], str]) -> str:
        both, seen = threading.Barrier(2, timeout=30), []

        def work() -> None:
            waits: Iterator[Callable[[], object]] = itertools.chain(
                [both.wait], itertools.repeat(int)
            )
            target = stage.folder / "photo.jpg"
            seen.append(get(stage.address("/faults/changing"), target, lambda *_: next(waits)()))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ", ".join(sorted(seen, reverse=True))

    def ours(stage: Stage) -> str:
        return act(
            stage,
            lambda url, path, wait: stage.call(
                download_file.download_file, url, path, chunk_size=8192, on_progress=wait
            ),
        )

    def left(stage: Stage) -> str:
        (name,) = [path.name for path in stage.folder.iterdir()]
        data = (stage.folder / name).read_bytes()
        return f"{name}: {'one' if len(set(data[4:])) == 1 else 'a mixture of both'}"

    return Case(
        "download_file.py",
        ours,
        lambda stage: act(stage, functools.partial(stage.call, downloads.download_by_part)),
        left,
    )


def download_with_little_patience(route: str) -> Case:
    """GET a route that stalls, with less patience than the half minute of the command line."""
    plain = download(route, tutorial=functools.partial(downloads.download, timeout=0.5))

    def ours(stage: Stage) -> str:
        target = stage.folder / "photo.jpg"
        target.write_bytes(OLD)
        address = stage.address(route)
        return stage.call(download_file.download_file, address, target, timeout=(5, 0.5))

    return plain._replace(ours=ours)


def download_killed() -> Case:
    """GET a route that stalls and kill -9 the process; our script is run once more."""

    def kill(stage: Stage, *command: object) -> None:
        (stage.folder / "photo.jpg").unlink(missing_ok=True)
        words = [sys.executable, *map(str, command)]
        with subprocess.Popen(words, cwd=ROOT / "tests", stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 30
            while not any(path.stat().st_size for path in stage.folder.iterdir()):
                assert time.monotonic() < deadline, "nothing was written"
                time.sleep(0.02)
            process.kill()

    def ours(stage: Stage) -> str:
        url, target = f"{stage.url}/faults/stall?size=2000000", stage.folder / "photo.jpg"
        kill(stage, ROOT / "download_file.py", url, "-o", target)
        assert not target.exists()
        return run_download(stage, f"{stage.url}/faults/type?size=2000000&is=image/jpeg", target)

    def theirs(stage: Stage) -> str:
        url, target = f"{stage.url}/faults/stall?size=2000000", stage.folder / "photo.jpg"
        code = "import sys; from faults.naive.downloads import *; "
        code += "download(sys.argv[1], Path(sys.argv[2]))"
        kill(stage, "-c", code, url, target)
        return "nothing"

    whole = practice_bytes(2_000_000)
    return Case("download_file.py", ours, theirs, functools.partial(look_at_folder, whole=whole))


def complete_part(stage: Stage) -> None:
    """Leave what an earlier call would leave that was killed just before it renamed the part."""
    (stage.folder / "photo.jpg.part").write_bytes(practice_bytes(1_000_000))


def lengthen_part(stage: Stage) -> None:
    """Leave the part of another program, or of a longer version."""
    with open(stage.folder / "photo.jpg.part", "ab") as file:
        file.write(bytes(1_000_000))


def save(stage: Stage, data: bytes, name: str) -> Path:
    """Put a file into the folder."""
    path = stage.folder / name
    path.write_bytes(data)
    return path


def look_at_nothing(_stage: Stage) -> str:
    """For what leaves no trace."""
    return "-"


def visit(
    script: ModuleType, route: str, tutorial: Callable[[Path, str], object] = uploads.upload_form
) -> Case:
    """Use one of the six scripts against a route, or another address."""

    def ours(stage: Stage) -> str:
        address = visit_address(stage, route)
        if script is download_file:
            return run_download(stage, address, stage.folder / "photo.jpg")
        path = save(stage, PNG, "me.png")
        run = stage.run_batch if script is concurrent_upload else stage.run
        return run(script, path, "--url", address)

    def theirs(stage: Stage) -> str:
        address = visit_address(stage, route)
        if script is download_file:
            return stage.call(downloads.download, address, stage.folder / "photo.jpg")
        scan_or_upload = receipts.scan if script is receipt_scanner else tutorial
        return stage.call(scan_or_upload, save(stage, PNG, "me.png"), address)

    left = (
        functools.partial(look_at_folder, whole=DATA)
        if script is download_file
        else look_at_nothing
    )
    return Case(f"{script.__name__}.py", ours, theirs, left)


def visit_address(stage: Stage, route: str) -> str:
    """Return the address for a route; make names that end in .invalid unknown to the DNS."""
    stage.monkeypatch.setenv("NO_PROXY", "*")
    look_up = socket.getaddrinfo

    def look_up_here(host: Any, *args: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    stage.monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    return stage.address(route.replace("https://HERE", stage.url.replace("http:", "https:")))


def send_key_elsewhere() -> Case:
    """Scan a receipt with a key of one's own; the service redirects to another host."""

    def act(stage: Stage, scan: Callable[[Path, str], str]) -> str:
        stage.monkeypatch.setenv("OCR_SPACE_API_KEY", KEY)
        address = stage.address("/faults/redirect/307?host=localhost&to=/sink")
        return scan(save(stage, PNG, "bill.png"), address)

    return Case(
        "receipt_scanner.py",
        lambda stage: act(stage, lambda path, url: stage.run(receipt_scanner, path, "--url", url)),
        lambda stage: act(stage, lambda path, url: stage.call(receipts.scan, path, url, KEY)),
        look_at_key,
    )


def scan(route: str, tutorial: Callable[..., object] = receipts.scan, key: str = KEY) -> Case:
    """Scan a receipt; the route is the service."""

    def ours(stage: Stage) -> str:
        stage.monkeypatch.setenv("OCR_SPACE_API_KEY", key)
        return stage.run(
            receipt_scanner, save(stage, PNG, "bill.png"), "--url", stage.address(route)
        )

    def theirs(stage: Stage) -> str:
        return stage.call(tutorial, save(stage, PNG, "bill.png"), stage.address(route), key)

    return Case("receipt_scanner.py", ours, theirs, look_at_nothing)


class Clock:
    """Time that passes only while somebody sleeps, so that nobody has to wait."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) > 10:
            raise RuntimeError("still waiting after 10 times")

    def monotonic(self) -> float:
        return 1000 + sum(self.pauses)

    def time(self) -> float:
        return time.time()


def upload_batch(
    *kinds: str,
    died: str = "",
    route: str = "/sink",
    tutorial: Callable[[list[Path], str], object] = batch.upload_all,
) -> Case:
    """Upload files of these kinds; a worker dies at the file of that name."""

    def make(stage: Stage) -> list[Path]:
        stage.monkeypatch.setattr(concurrent_upload, "MAX_BYTES", 10_000)
        paths = []
        for kind in kinds:
            path = stage.folder / kind
            if kind != "missing":
                path.write_bytes({"empty": b"", "huge": bytes(10_001)}.get(kind, PNG))
            if kind == "unreadable":
                path.chmod(0)
            paths.append(path)
        return paths

    def break_worker(stage: Stage, module: ModuleType, name: str) -> None:
        upload = getattr(module, name)

        def upload_or_die(path: str | Path, *args: object, **options: object) -> object:
            if Path(path).name == died:
                raise MemoryError
            return upload(path, *args, **options)

        stage.monkeypatch.setattr(module, name, upload_or_die)

    def ours(stage: Stage) -> str:
        paths = make(stage)
        break_worker(stage, concurrent_upload, "upload_single_file")
        url = stage.address(route)
        return stage.run_batch(concurrent_upload, *paths, "--workers=1", "--url", url)

    def theirs(stage: Stage) -> str:
        paths = make(stage)
        break_worker(stage, batch, "upload")
        return stage.call(tutorial, paths, stage.address(route))

    return Case("concurrent_upload.py", ours, theirs, look_at_nothing)


def interrupt_batch() -> Case:
    """Upload six files with one worker; Ctrl-C while the first is on its way."""

    def act(stage: Stage, submits: int, upload: Callable[[list[Path], str], str]) -> str:
        paths = [save(stage, PNG, f"{number}.png") for number in range(6)]
        stopped, submitted = threading.Event(), threading.Semaphore(0)
        submit, receive = ThreadPoolExecutor.submit, faults.receive

        def press(_number: int, _frame: object) -> None:
            stopped.set()
            raise KeyboardInterrupt

        def receive_and_interrupt(request: Any) -> faults.Arrival:
            arrival = receive(request)
            if not stopped.is_set():
                for _ in range(submits):  # press when all is handed over that will be
                    submitted.acquire(timeout=5)
                time.sleep(0.05)  # until the batch waits
                os.kill(os.getpid(), signal.SIGINT)
                stopped.wait(30)
            return arrival

        def submit_and_tell(pool: Any, *args: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = submit(pool, *args, **options)
            submitted.release()
            return future

        stage.monkeypatch.setattr(faults, "receive", receive_and_interrupt)
        stage.monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_and_tell)
        before = signal.signal(signal.SIGINT, press)
        try:
            return upload(paths, stage.address("/sink"))
        finally:
            signal.signal(signal.SIGINT, before)

    def ours(stage: Stage) -> str:
        return act(
            stage,
            1,  # so many are taken from the paths for one worker
            lambda paths, url: stage.run_batch(
                concurrent_upload, *paths, "--workers=1", "--url", url
            ),
        )

    def theirs(stage: Stage) -> str:
        def upload(paths: list[Path], url: str) -> str:
            try:
                return f"{len([*batch.upload_as_completed(paths, url)])} sent"
            except KeyboardInterrupt:
                return "KeyboardInterrupt"

        return act(stage, 6, upload)

    return Case("concurrent_upload.py", ours, theirs, look_at_count)


def send_picture(
    picture: bytes | Callable[[Path], object], check: Callable[[Path], object]
) -> Case:
    """Send a picture; the tutorial checks it in its way, then sends the file."""

    def act(stage: Stage, send: Callable[[Path, str], str]) -> str:
        path = stage.folder / "me.jpg"
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture(path)
        return send(path, stage.address("/sink"))

    def check_and_send(path: Path, url: str) -> str:
        check(path)
        uploads.upload_form(path, url)
        return "no error"

    return Case(
        "profile_picture_uploader.py",
        lambda stage: act(
            stage,
            lambda path, url: stage.run(profile_picture_uploader, path, "--url", url),
        ),
        lambda stage: act(stage, functools.partial(stage.call, check_and_send)),
        look_at_picture,
    )


def name_picture(name: str, tutorial: Callable[[str], str] = pictures.clean_name) -> Case:
    """Send a picture under a name that a user has given."""

    def ours(stage: Stage) -> str:
        stage.answer = profile_picture_uploader.safe_filename(name, "image/jpeg")
        return repr(stage.answer)

    def theirs(stage: Stage) -> str:
        stage.answer = stage.call(tutorial, name)
        return repr(stage.answer)

    return Case("profile_picture_uploader.py", ours, theirs, lambda stage: judge_name(stage.answer))


def judge_name(name: str) -> str:
    """Say what a file name does where it arrives."""
    stem = name.split(".")[0]
    harms = {
        "no name at all": not name.strip(". "),
        "a path": "/" in name or "\\" in name,
        "no text": any("\ud800" <= letter <= "\udfff" for letter in name),
        "a control character in it": any(letter < " " for letter in name),
        "not for Windows": any(letter in '<>:"|?*' for letter in name),
        "seems to be another": "\u202e" in name,
        "too long for a disk": len(name.encode(errors="replace")) > 255,
        "the console on Windows": stem.upper() == "CON",
        "two extensions": name.count(".") > 1,
        "its twin looks the same": name != unicodedata.normalize("NFC", name),
        "hidden": name.startswith("."),
    }
    return next((harm for harm, is_done in harms.items() if is_done), "safe")


def ask_what_arrives(name: str) -> str:
    """Return the file name that requests puts on the wire."""
    files = {"file": (name, b"data", "image/jpeg")}
    body = requests.Request("POST", "http://x", files=files).prepare().body
    assert isinstance(body, bytes)
    return body.partition(b'filename="')[2].partition(b'"\r\n')[0].decode()


class BlindConsole(io.TextIOWrapper):
    """A console that has nothing but ASCII."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "ascii")

    def read_all(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return " | ".join(buffer.getvalue().decode("ascii").splitlines())


def print_name(script: ModuleType, *options: object) -> Case:
    """Use a file with a name that the console can't print."""
    name = "東京.png"

    def ours(stage: Stage) -> str:
        console = BlindConsole()
        stage.monkeypatch.setattr(sys, "stdout", console)
        reply = faults.ocr_reply(ParsedText=f"CAFE {name}\r\nTOTAL\t5.00\r\n").encode()
        data = reply if script is receipt_scanner else PNG
        words = [option if option != name else save(stage, data, name) for option in options]
        if "--url" in words:
            words.append(stage.address("/sink"))
        code = call_main(script.main, *words)
        return f"{console.read_all()}, exit code {code}"

    def theirs(stage: Stage) -> str:
        stage.monkeypatch.setattr(sys, "stdout", BlindConsole())
        return stage.call(batch.report, Path(name))

    return Case(f"{script.__name__}.py", ours, theirs, look_at_nothing)


def print_into_closed_pipe(script: ModuleType, *options: str) -> Case:
    """Print to a reader that has left, as `| head -1` does."""

    def act(stage: Stage, show: Callable[[], str]) -> str:
        reader, writer = os.pipe()
        os.close(reader)
        stage.monkeypatch.setattr(sys, "stdout", open(writer, "w", encoding="utf-8"))  # noqa: SIM115
        pipe = sys.stdout
        try:
            return show()
        finally:
            with suppress(BrokenPipeError):
                pipe.close()

    def ours(stage: Stage) -> str:
        words = list(options)
        if "--url" in words:
            words.append(stage.address("/sink"))
        code = act(stage, lambda: str(call_main(script.main, *words)))
        return f"{stage.capsys.readouterr().err}exit code {code}"

    def theirs(stage: Stage) -> str:
        return act(stage, lambda: stage.call(batch.report, Path("me.png")))

    return Case(f"{script.__name__}.py", ours, theirs, look_at_nothing)


def read_text(text: str, tutorial: Callable[[str], object]) -> Case:
    """Read a long text, in no more seconds of the processor than given."""

    def within(seconds: float, text: str, read: Callable[[str], object]) -> object:
        with cpu_seconds(seconds):
            return read(text)

    def ours(stage: Stage) -> str:
        return stage.call(within, 60, text, receipt_scanner.parse_receipt)

    def theirs(stage: Stage) -> str:
        return stage.call(within, 0.1, text, tutorial)  # it would take hours

    return Case("receipt_scanner.py", ours, theirs, look_at_nothing)


def wait_at_pipe() -> Case:
    """Send a FIFO that nobody writes to."""
    plain = send_picture(os.mkfifo if os.name == "posix" else Path.mkdir, pictures.check_signature)

    def theirs(stage: Stage) -> str:
        waiting = threading.Thread(target=plain.tutorial, args=[stage])
        waiting.start()
        deadline, writer = time.monotonic() + 20, -1
        while writer < 0 and time.monotonic() < deadline:
            with suppress(OSError):  # nobody has opened it for reading yet
                writer = os.open(stage.folder / "me.jpg", os.O_WRONLY | os.O_NONBLOCK)
        os.close(writer)  # or it would wait for ever
        waiting.join()
        return "waits for somebody to write"

    return plain._replace(tutorial=theirs)


def swap_after_check() -> Case:
    """Send a picture that becomes a web page when it has been checked."""

    def act(stage: Stage, send: Callable[[Path, str], str]) -> str:
        path, open_image = save(stage, PNG, "me.png"), Image.open

        def open_and_swap(*args: Any, **options: Any) -> Image.Image:
            image = open_image(*args, **options)
            save(stage, SCRIPT, "other").replace(path)
            return image

        stage.monkeypatch.setattr(Image, "open", open_and_swap)
        result = send(path, stage.address("/sink"))
        stage.monkeypatch.setattr(Image, "open", open_image)
        return result

    run = profile_picture_uploader
    return Case(
        "profile_picture_uploader.py",
        lambda stage: act(stage, lambda path, url: stage.run(run, path, "--url", url)),
        lambda stage: act(stage, functools.partial(stage.call, pictures.check_and_send)),
        look_at_picture,
    )


@functools.cache
def make_bomb(side: int = 14_143) -> bytes:
    """Return a PNG of 24 KB with 200 million black pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side + 7) // 8 + 1) * side, 9)
    end = chunk(b"IEND", b"")
    return PNG[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + end


def make_exif(text: str = "EXIF") -> bytes:
    """Return a picture with much text about it."""
    exif = Image.Exif()
    exif[0x010E] = text
    return encode(Image.new("RGB", (32, 32)), "PNG", exif=exif)


def make_frames(format_: str, count: int = 20) -> bytes:
    """Return an animation."""
    frames = [Image.new("RGB", (32, 32), (number, 0, 0)) for number in range(0, 10 * count, 10)]
    return encode(frames[0], format_, save_all=True, append_images=frames[1:])


def resume(then: str = "", times: int = 2, **options: Any) -> Case:
    """GET a file that is cut off the first time, with --resume, and once more."""
    options.setdefault("whole", practice_bytes(1_000_000))
    flags = ("--resume", "--expect=application/")
    route = "/faults/file?size=1000000&cut=600000"
    return download(route + then, *flags, tutorial=downloads.resume, times=times, **options)


def wait_for(value: str, tutorial: Callable[[Path, str], object] = batch.upload_patiently) -> Case:
    """Upload to a server that is too busy; the text ends with how long was waited."""

    def act(stage: Stage, clock: Clock, upload: Callable[[Path, str], object]) -> str:
        stage.monkeypatch.setattr(random, "uniform", lambda low, _high: low)  # no spread
        path, url = save(stage, PNG, "me.png"), stage.address(f"/faults/retry-after/{value}")
        text = stage.call(lambda: str(upload(path, url)))
        return f"{text}, waited {sum(clock.pauses):.0f} s"

    def ours(stage: Stage) -> str:
        clock = Clock()
        upload = functools.partial(concurrent_upload.upload_single_file, sleep=clock.sleep)
        return act(stage, clock, upload)

    def theirs(stage: Stage) -> str:
        clock = Clock()
        stage.monkeypatch.setattr(batch, "time", clock)
        return act(stage, clock, tutorial)

    return Case("concurrent_upload.py", ours, theirs, look_at_count)


def make_unreadable(path: Path) -> None:
    """Write a picture that only root may read."""
    path.write_bytes(PNG)
    path.chmod(0)


def read_merchant(text: str) -> Case:
    """Read the merchant from the text of a receipt."""
    return Case(
        "receipt_scanner.py",
        lambda _: repr(receipt_scanner.parse_receipt(text)["merchant"]),
        lambda _: repr(receipts.find_merchant(text)),
        look_at_nothing,
    )
