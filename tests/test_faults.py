"""Nothing lost, no one let in: each fault, what its user sees, and what it leaves behind.

TABLE is the heart of this file, and is made to be read. A row says what goes wrong; then, for our
script and for the way that most tutorials write it (tests/naive/), what the user sees and what is
left behind. Both are run against the practice server, and what they show and leave is put into
these very words: a row whose tutorial does no harm would fail just as one whose script does.

`…` stands for any text. `error: …` alone on its line is exit code 1, `Name: …` an exception.
See a fault yourself: start `tests/offline.py`, and give a script the address that the row names.
"""

from __future__ import annotations

import ast
import functools
import io
import itertools
import os
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
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import faults
import pytest
import requests
from conftest import NOWHERE, ROOT
from faults import practice_bytes, repeated_bytes
from naive import batch, downloads, pictures, receipts, uploads
from offline import PracticeServer
from PIL import Image

import basic_upload
import concurrent_upload
import download_file
import profile_picture_uploader
import receipt_scanner
import streaming_upload

OLD = b"what stood there before"
DATA = practice_bytes(200_000)
KEY = "K-secret-12345"
SCRIPT = b"<script>alert(1)</script>"
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, pipes or limits")
not_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything"
)


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

    def run(self, script: ModuleType, *arguments: object) -> str:
        """Run a script's `main`; return its last line, or its one error line."""
        self.capsys.readouterr()
        code = script.main([str(argument) for argument in arguments])
        out, err = self.capsys.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert (code, len(errors)) in ((0, 0), (1, 1)), f"exit code {code}, stderr: {err}"
        assert "Traceback" not in err
        return errors[0] if errors else out.splitlines()[-1]

    def run_batch(self, script: ModuleType, *arguments: object) -> str:
        """Run a script's `main`; return all that it prints to stdout, and its exit code."""
        self.capsys.readouterr()
        code = script.main([str(argument) for argument in arguments])
        *lines, summary = self.capsys.readouterr().out.splitlines()
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


class Fault(NamedTuple):
    """A row of the table. `ours` and `tutorial`: what the user sees, what is left behind."""

    what: str
    case: Case
    ours: tuple[str, str]
    tutorial: tuple[str, str]
    marks: Sequence[pytest.MarkDecorator] = ()


class Limit(NamedTuple):
    """A row that is not covered, for the script's sake; its docstring says so in these words."""

    what: str
    script: str
    says: str


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
    head, _, rest = body[body.index(b'name="file"') :].partition(b"\r\n\r\n")
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

    def prepare(stage: Stage) -> tuple[Path, Callable[..., None]]:
        path, calls = stage.folder / "video.bin", itertools.count()
        path.write_bytes(DATA)
        return path, lambda *_: None if next(calls) else change(path)  # type: ignore[func-returns-value]

    def ours(stage: Stage) -> str:
        path, on_progress = prepare(stage)
        address = stage.address("/sink")
        return stage.call(streaming_upload.stream_upload, path, address, on_progress=on_progress)

    def theirs(stage: Stage) -> str:
        path, on_progress = prepare(stage)
        address = stage.address("/sink")
        return stage.call(uploads.upload_with_progress, path, address, on_progress, timeout=2)

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
        both, seen = threading.Barrier(2, timeout=10), []

        def work() -> None:
            waits = itertools.chain([both.wait], itertools.repeat(int))
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
    plain = download(route, tutorial=functools.partial(downloads.download, timeout=2))

    def ours(stage: Stage) -> str:
        target = stage.folder / "photo.jpg"
        target.write_bytes(OLD)
        address = stage.address(route)
        return stage.call(download_file.download_file, address, target, timeout=(5, 2))

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
        code = "import sys; from naive.downloads import *; download(sys.argv[1], Path(sys.argv[2]))"
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


def visit(script: ModuleType, route: str) -> Case:
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
        scan_or_upload = receipts.scan if script is receipt_scanner else uploads.upload_form
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
        if len(self.pauses) > 100:
            raise RuntimeError("still waiting after 100 times")

    def monotonic(self) -> float:
        return 1000 + sum(self.pauses)

    def time(self) -> float:
        return time.time()


def wait_and_upload(
    route: str, tutorial: Callable[[Path, str], object], ours: Callable[[Path, str], object]
) -> Case:
    """Upload to a server that is too busy; the text ends with how long was waited."""

    def act(stage: Stage, upload: Callable[[Path, str], object]) -> str:
        clock = Clock()
        for module in (concurrent_upload, batch):
            stage.monkeypatch.setattr(module, "time", clock)
        stage.monkeypatch.setattr(concurrent_upload, "_resume_at", 0.0)
        path, url = save(stage, PNG, "me.png"), stage.address(route)
        text = stage.call(lambda: str(upload(path, url)))
        return f"{text}, waited {sum(clock.pauses):.0f} s"

    return Case(
        "concurrent_upload.py",
        lambda stage: act(stage, ours),
        lambda stage: act(stage, tutorial),
        look_at_count,
    )


def let_another_come(upload: Callable[[Path, str], object]) -> Callable[[Path, str], object]:
    """Upload with one worker, then with another; tell what the other saw."""

    def act(path: Path, url: str) -> object:
        upload(path, url)
        with ThreadPoolExecutor(1) as other:
            return other.submit(upload, path, url).result()

    return act


def upload_batch(*kinds: str, died: str = "") -> Case:
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

        def upload_or_die(path: Path, *args: object) -> object:
            if path.name == died:
                raise MemoryError
            return upload(path, *args)

        stage.monkeypatch.setattr(module, name, upload_or_die)

    def ours(stage: Stage) -> str:
        paths = make(stage)
        break_worker(stage, concurrent_upload, "upload_single_file")
        return stage.run_batch(concurrent_upload, *paths, "--url", stage.address("/sink"))

    def theirs(stage: Stage) -> str:
        paths = make(stage)
        break_worker(stage, batch, "upload")
        return stage.call(batch.upload_all, paths, stage.address("/sink"))

    return Case("concurrent_upload.py", ours, theirs, look_at_nothing)


def interrupt_batch() -> Case:
    """Upload six files with one worker; Ctrl-C while the first is on its way."""

    def act(stage: Stage, cancels: int, upload: Callable[[list[Path], str], str]) -> str:
        paths = [save(stage, PNG, f"{number}.png") for number in range(6)]
        stopped, cancelled = threading.Event(), threading.Semaphore(0)
        cancel, receive = Future.cancel, faults.receive

        def press(_number: int, _frame: object) -> None:
            stopped.set()
            raise KeyboardInterrupt

        def receive_and_interrupt(request: Any) -> faults.Arrival:
            arrival = receive(request)
            if not stopped.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                stopped.wait(30)
                for _ in range(cancels):  # answer when what waits has been called off
                    cancelled.acquire(timeout=5)
            return arrival

        def cancel_and_tell(future: Future[Any]) -> bool:
            result = cancel(future)
            cancelled.release()
            return result

        stage.monkeypatch.setattr(faults, "receive", receive_and_interrupt)
        stage.monkeypatch.setattr(Future, "cancel", cancel_and_tell)
        before = signal.signal(signal.SIGINT, press)
        try:
            return upload(paths, stage.address("/sink"))
        finally:
            signal.signal(signal.SIGINT, before)

    def ours(stage: Stage) -> str:
        return act(
            stage,
            4,  # so many are taken from the paths at a time
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

        return act(stage, 0, upload)

    return Case("concurrent_upload.py", ours, theirs, look_at_count)


def send_picture(
    make: Callable[[Path], object],
    check: Callable[[Path], object],
    options: Sequence[str] = (),
) -> Case:
    """Send a picture; the tutorial checks it in its way, then sends the file."""

    def act(stage: Stage, send: Callable[[Path, str], str]) -> str:
        path = stage.folder / "me.jpg"
        made = make(path)
        if isinstance(made, bytes):
            path.write_bytes(made)
        return send(path, stage.address("/sink"))

    def check_and_send(path: Path, url: str) -> str:
        check(path)
        uploads.upload_form(path, url)
        return "no error"

    return Case(
        "profile_picture_uploader.py",
        lambda stage: act(
            stage,
            lambda path, url: stage.run(profile_picture_uploader, path, "--url", url, *options),
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
        words = [option if option != name else save(stage, PNG, name) for option in options]
        if script is download_file:
            words = [stage.address("/faults/type?is=image/jpeg"), "-o", stage.folder / name]
        elif "--url" in words:
            words.append(stage.address("/parse" if False else "/sink"))
        code = script.main([str(word) for word in words])
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
            words += [
                stage.address("/faults/type?is=image/jpeg" if script is download_file else "/sink")
            ]
        code = act(stage, lambda: str(script.main(words)))
        return f"{stage.capsys.readouterr().err}exit code {code}"

    def theirs(stage: Stage) -> str:
        return act(stage, lambda: stage.call(batch.report, Path("me.png")))

    return Case(f"{script.__name__}.py", ours, theirs, look_at_nothing)


def read_text(text: str, tutorial: Callable[[str], object]) -> Case:
    """Read a text of 1 MB, in no more seconds of the processor than given."""

    def within(seconds: float, stage: Stage, read: Callable[[str], object]) -> str:
        def stop(_number: int, _frame: object) -> None:
            raise TimeoutError("still busy")

        before = signal.signal(signal.SIGVTALRM, stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            return stage.call(read, text)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def ours(stage: Stage) -> str:
        return within(60, stage, receipt_scanner.parse_receipt)

    def theirs(stage: Stage) -> str:
        return within(0.3, stage, tutorial)  # it would take hours

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


# --- the table ---------------------------------------------------------------------------------

AGAIN = "run it again (with --resume it goes on)"

TYPES_AND_PAGES = [
    Fault(
        "the server answers 200 with an HTML page and says so",
        download("/faults/html"),
        ours=("error: 'text/html…' instead of 'image/' - look at it in a browser", "the old file"),
        tutorial=("no error", "an HTML page"),
    ),
    Fault(
        "the server calls its HTML error page image/jpeg",
        download("/faults/html-as-jpeg", tutorial=downloads.download_image),
        ours=("error: announced as 'image/jpeg', but the bytes are no image - …", "the old file"),
        tutorial=("no error", "an HTML page"),
    ),
    Fault(
        "the Content-Type is in capitals, with blanks before it and a parameter behind",
        download(
            "/faults/type?size=100000&is=%20%20IMAGE/JPEG;%20q=1",
            tutorial=downloads.download_image,
        ),
        ours=("saved …: 100,000 bytes", "the whole file"),
        tutorial=("ValueError: not an image", "the old file"),
    ),
    Fault(
        "the Content-Type is empty",
        download("/faults/type?size=100000&is="),
        ours=("error: 'no Content-Type' instead of 'image/' - …", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
    Fault(
        "there is no Content-Type",
        download("/faults/type?size=100000", tutorial=downloads.download_image),
        ours=("error: 'no Content-Type' instead of 'image/' - …", "the old file"),
        tutorial=("KeyError: 'content-type'", "the old file"),
    ),
    Fault(
        "there are two headers Content-Type, the first of them text/html",
        download(
            "/faults/type?size=100000&is=text/html&is=image/jpeg",
            tutorial=downloads.download_image,
        ),
        ours=("error: 'text/html, image/jpeg' instead of 'image/' - …", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
]

BODIES = [
    Fault(
        "the body is shorter than its Content-Length",
        download("/faults/truncate/100000"),
        ours=(f"error: the connection broke - {AGAIN}", "the old file"),
        tutorial=("ChunkedEncodingError: …", "a part of the file"),
    ),
    Fault(
        "a chunked body is cut off",
        download("/faults/chunked-cut/100000"),
        ours=(f"error: the connection broke - {AGAIN}", "the old file"),
        tutorial=("ChunkedEncodingError: …", "a part of the file"),
    ),
    Fault(
        "the body stalls in the middle: a ConnectionError, not a ReadTimeout",
        download_with_little_patience("/faults/stall?size=100000"),
        ours=("IncompleteDownload: the connection broke", "the old file"),
        tutorial=("ConnectionError: …Read timed out.", "a part of the file"),
        marks=[pytest.mark.slow],
    ),
    Fault(
        "the body comes compressed: its length is not that of the file",
        download(
            "/faults/gzip", tutorial=downloads.download_checked, whole=repeated_bytes(100_000)
        ),
        ours=("saved …: 100,000 bytes", "the whole file"),
        tutorial=("ValueError: … % came", "the whole file"),
    ),
    Fault(
        "a body without a length doesn't end",
        download(
            "/faults/endless?size=3000000",
            "--max-bytes=1000000",
            tutorial=downloads.download_small,
            whole=(practice_bytes(faults.CHUNK_BYTES) * 12)[:3_000_000],
        ),
        ours=("error: more than 1,000,000 bytes - allow more with --max-bytes", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
    Fault(
        "3 KB are announced, and unpack to 3 MB",
        download(
            "/faults/bomb?megabytes=3",
            "--max-bytes=1000000",
            tutorial=downloads.download_small,
            whole=practice_bytes(4) + bytes(3_000_000),
        ),
        ours=("error: more than 1,000,000 bytes - allow more with --max-bytes", "the old file"),
        tutorial=("no error", "the whole file"),
    ),
]

DISK = [
    Fault(
        "the disk is full",
        download_to_full_disk(),
        ours=("error: can't save it (…) - choose another place with -o", "the old file"),
        tutorial=("OSError: …", "a part of the file"),
        marks=[posix_only],
    ),
    Fault(
        "the target is a folder",
        download_into(Path.mkdir),
        ours=("error: can't save it (not a file) - choose another place with -o", "the folder"),
        tutorial=("IsADirectoryError: …", "the folder"),
        marks=[posix_only],
    ),
    Fault(
        "nothing may be written there",
        download_into(write_protect),
        ours=("error: can't save it (Permission denied) - choose another place …", "the old file"),
        tutorial=("PermissionError: …", "the old file"),
        marks=[posix_only, not_root],
    ),
    Fault(
        "kill -9 in the middle; then it is run again",
        download_killed(),
        ours=("saved …: 2,000,000 bytes", "a hidden part, the whole file"),
        tutorial=("nothing", "a part of the file"),
        marks=[posix_only, pytest.mark.slow],
    ),
    Fault(
        "two downloads to one name at the same time",
        download_twice_at_once(),
        ours=("no error, no error", "photo.jpg: one"),
        tutorial=("no error, FileNotFoundError: …", "photo.jpg: …"),
    ),
]


def resume(then: str = "", times: int = 2, **options: Any) -> Case:
    """GET a file that is cut off the first time, with --resume, and once more."""
    options = {"whole": practice_bytes(1_000_000), "tutorial": downloads.resume} | options
    flags = ("--resume", "--expect=application/")
    route = "/faults/file?size=1000000&cut=600000"
    return download(route + then, *flags, times=times, **options)


SAVED = ("saved …: 1,000,000 bytes", "the whole file")
RESUMES = [
    Fault(
        "the body is cut off, to be continued",
        resume(times=1),
        ours=(f"error: the connection broke - {AGAIN}", "the old file, NAME.part, NAME.part.etag"),
        tutorial=("ChunkedEncodingError: …", "the old file, NAME.part"),
    ),
    Fault(
        "meanwhile the file has changed on the server",
        resume("&then=changed", whole=practice_bytes(1_000_000)[::-1]),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the server knows no Range and sends all of it",
        resume("&then=whole"),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the server sends another range than the one asked for",
        resume("&then=wrong"),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the part is whole already, only its new name was missing: 416",
        resume(meanwhile=complete_part),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
    Fault(
        "the part is longer than the file: 416",
        resume(meanwhile=lengthen_part),
        ours=SAVED,
        tutorial=("no error", "wrong bytes"),
    ),
]

TWICE = "the whole file, then the whole file"
UPLOADS = [
    Fault(
        "307 to another path: the body must go again",
        upload(
            streaming_upload,
            "/faults/redirect/307?to=/sink",
            tutorial=uploads.upload_generator,
        ),
        ours=("sent 200,000 bytes in …, 200 OK", TWICE),
        tutorial=("no error", "the whole file in chunks, then an empty file in chunks"),
    ),
    Fault(
        "307 to another host, from a reader with a length that can't begin again",
        upload(
            streaming_upload,
            "/faults/redirect/307?host=localhost&to=/sink",
            tutorial=functools.partial(uploads.upload_with_progress, timeout=2),
        ),
        ours=("sent 200,000 bytes in …, 200 OK", TWICE),
        tutorial=("ReadTimeout: …", "the whole file, then an empty file, broken off"),
        marks=[pytest.mark.slow],
    ),
    Fault(
        "307 for a form",
        upload(
            streaming_upload,
            "/faults/redirect/307?to=/sink",
            "--multipart",
            tutorial=uploads.upload_generator,
        ),
        ours=("sent 200,000 bytes in …, 200 OK", TWICE),
        tutorial=("no error", "the whole file in chunks, then an empty file in chunks"),
    ),
    Fault(
        "the file grows while it is sent",
        upload_while(grow),
        ours=("FileChanged: video.bin grew while it was being sent", "the whole file"),
        tutorial=("no error", "the whole file, then a request that nobody made"),
    ),
    Fault(
        "the file shrinks while it is sent",
        upload_while(shrink),
        ours=("FileChanged: video.bin shrank …", "a part of the file, broken off"),
        tutorial=("ReadTimeout: …", "a part of the file, broken off"),
        marks=[pytest.mark.slow],
    ),
    Fault(
        "the file is empty",
        upload(streaming_upload, "/sink", data=b"", tutorial=uploads.upload_open_file),
        ours=("sent 0 bytes in …, 200 OK", "an empty file"),
        tutorial=("no error", "an empty file in chunks"),
    ),
    *[
        Fault(
            "the server answers 413 before it has read the body",
            upload(script, "/faults/too-large", data=data),
            ours=(f"…413 REQUEST ENTITY TOO LARGE{text}", "nothing"),
            tutorial=("no error", "nothing"),
        )
        for script, data, text in (
            (basic_upload, DATA, " - …"),
            (profile_picture_uploader, PNG, " - …"),
            (streaming_upload, DATA, " - check the address and the size"),
            (concurrent_upload, DATA, " | 0 sent, 1 failed…exit code 1"),
        )
    ],
    *[
        Fault(
            "the server resets the connection in the middle of the body",
            upload(script, "/faults/reset?after=10", data=data),
            ours=(f"{text}…", "nothing"),
            tutorial=("ConnectionError: ('Connection aborted.'…", "nothing"),
        )
        for script, data, text in (
            (basic_upload, DATA, "error: the connection broke - the file may be larger"),
            (profile_picture_uploader, PNG, "error: the connection broke - the file may be larger"),
            (streaming_upload, DATA, "error: the connection broke - the file may be larger"),
            (concurrent_upload, DATA, "FAIL video.bin: the server hung up; the file may be larger"),
        )
    ],
    *[
        Fault(
            "a media type from elsewhere has a line break in it",
            send_media_type(send, script),
            ours=("ValueError: a media type has no line breaks", "nothing"),
            tutorial=("no error", "a forged header"),
        )
        for script, send in (
            (
                "basic_upload.py",
                lambda *args: basic_upload.upload_file(*args[:2], media_type=args[2]),
            ),
            ("streaming_upload.py", send_multipart),
        )
    ],
]

CANT_CONNECT = "can't connect - try: uv run tests/offline.py …"
SIX = (
    basic_upload,
    profile_picture_uploader,
    streaming_upload,
    download_file,
    concurrent_upload,
    receipt_scanner,
)


def in_all_scripts(what: str, route: str, says: str, tutorial: str, **others: str) -> list[Fault]:
    """Return a row for each of the six scripts; `others` names those that say something else."""
    rows = []
    for script in SIX:
        name = script.__name__
        left = "nothing" if script is download_file else "-"
        seen = others.get(
            name, f"FAIL …{says}…exit code 1" if "concurrent" in name else f"error: {says}"
        )
        harm = others.get(f"{name}_tutorial", tutorial), others.get(f"{name}_left", left)
        rows.append(Fault(what, visit(script, route), (seen, left), harm))
    return rows


NETWORK = [
    *in_all_scripts(
        "the server answers 404",
        "/status/404",
        "…404 NOT FOUND…",
        "no error",
        download_file_left="an empty file",
        receipt_scanner_tutorial="JSONDecodeError: …",
    ),
    *in_all_scripts(
        "the server answers 500",
        "/status/500",
        "…500 INTERNAL SERVER ERROR…",
        "no error",
        download_file_left="an empty file",
        receipt_scanner_tutorial="JSONDecodeError: …",
    ),
    *in_all_scripts(
        "nobody listens at the address",
        NOWHERE,
        CANT_CONNECT,
        "ConnectionError: …",
        concurrent_upload="FAIL me.png: can't connect…exit code 1",
    ),
    *in_all_scripts(
        "nobody knows the host's name",
        "http://no-such-host.invalid/",
        CANT_CONNECT,
        "ConnectionError: …",
        concurrent_upload="FAIL me.png: can't connect…exit code 1",
    ),
    *in_all_scripts(
        "the server doesn't speak TLS, or its certificate is not to be trusted",
        "https://HERE/",
        "…",
        "SSLError: …",
    ),
    *in_all_scripts(
        "a redirect leads to itself",
        "/faults/loop",
        "Exceeded 30 redirects…",
        "TooManyRedirects: …",
        receipt_scanner="error: …307 TEMPORARY REDIRECT…",
    ),
    Fault(
        "a redirect leads to another host, with an API key in a header",
        send_key_elsewhere(),
        ours=("error: bill.png: the OCR service says: 307 …", "the key at 127.0.0.1"),
        tutorial=("…", "the key at 127.0.0.1 and localhost"),
    ),
]


def wait_for(value: str, tutorial: Callable[[Path, str], object] = batch.upload_patiently) -> Case:
    """Upload once to a server with this Retry-After."""
    route = f"/faults/retry-after/{value}"
    return wait_and_upload(route, tutorial, concurrent_upload.upload_single_file)


BUSY = [
    Fault(
        "429 with Retry-After: 7",
        wait_for("7", batch.upload),
        ours=("OK me.png: 200, waited 7 s", "2 uploads"),
        tutorial=("429, waited 0 s", "1 uploads"),
    ),
    Fault(
        "503 with Retry-After: 7",
        wait_for("7?status=503"),
        ours=("OK me.png: 200, waited 7 s", "2 uploads"),
        tutorial=("503, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 with Retry-After as a date",
        wait_for("date"),
        ours=("OK me.png: 200, waited … s", "2 uploads"),
        tutorial=("ValueError: …, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 with Retry-After: 999999, which is eleven days",
        wait_for("999999"),
        ours=("OK me.png: 200, waited 30 s", "2 uploads"),
        tutorial=("200, waited 999999 s", "2 uploads"),
    ),
    Fault(
        "429 with Retry-After: soon",
        wait_for("soon"),
        ours=("OK me.png: 200, waited 1 s", "2 uploads"),
        tutorial=("ValueError: …, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 without Retry-After",
        wait_for("absent"),
        ours=("OK me.png: 200, waited 1 s", "2 uploads"),
        tutorial=("KeyError: …, waited 0 s", "1 uploads"),
    ),
    Fault(
        "429 each time",
        wait_for("7?always=yes"),
        ours=("FAIL me.png: 429 TOO MANY REQUESTS, waited 21 s", "4 uploads"),
        tutorial=("RuntimeError: still waiting after 100 times, waited 707 s", "101 uploads"),
    ),
    Fault(
        "429 for one worker: the others wait with it",
        wait_and_upload(
            "/faults/retry-after/7?always=yes",
            let_another_come(batch.upload),
            let_another_come(concurrent_upload.upload_single_file),
        ),
        ours=("FAIL me.png: 429 TOO MANY REQUESTS, waited 49 s", "8 uploads"),
        tutorial=("429, waited 0 s", "2 uploads"),
    ),
]

BATCHES = [
    Fault(
        "one file of the batch is missing",
        upload_batch("a.png", "missing", "b.png"),
        ours=(
            "FAIL missing: no such file | OK a.png: 200 | OK b.png: 200 | 2 sent, 1 failed…",
            "-",
        ),
        tutorial=("FileNotFoundError: …", "-"),
    ),
    Fault(
        "one is empty, which is no fault, and one too large for the memory",
        upload_batch("empty", "huge"),
        ours=(
            "FAIL huge: over 10,000 bytes, use streaming_upload.py | OK empty: 200 | 1 sent, …",
            "-",
        ),
        tutorial=("no error", "-"),
    ),
    Fault(
        "one may not be read",
        upload_batch("a.png", "unreadable"),
        ours=("FAIL unreadable: Permission denied | OK a.png: 200 | 1 sent, 1 failed…", "-"),
        tutorial=("PermissionError: …", "-"),
        marks=[posix_only, not_root],
    ),
    Fault(
        "a worker dies",
        upload_batch("a.png", "b.png", "c.png", died="b.png"),
        ours=("FAIL b.png: MemoryError… | OK a.png: 200 | OK c.png: 200 | 2 sent, 1 failed…", "-"),
        tutorial=("MemoryError: ", "-"),
    ),
    Fault(
        "Ctrl-C while the first of six files is on its way",
        interrupt_batch(),
        ours=("OK 0.png: 200 | 1 sent, 0 failed, 5 not sent: …exit code 130", "1 uploads"),
        tutorial=("KeyboardInterrupt", "6 uploads"),
        marks=[posix_only],
    ),
]

NOT_ON_THE_LIST = {
    "an SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>",
    "a web page": faults.HTML_PAGE.encode(),
    "a PDF": b"%PDF-1.7\n",
    "a shell script": b"#!/bin/sh\nrm -rf /\n",
    "an ICO": encode(Image.new("RGB", (32, 32)), "ICO"),
    "a TIFF": encode(Image.new("RGB", (32, 32)), "TIFF"),
    "a HEIC": b"\x00\x00\x00\x18ftypheic" + bytes(64),
}
SIGNATURES = {
    "JPEG": b"\xff\xd8\xff\xe0",
    "PNG": PNG[:8],
    "GIF": b"GIF89a",
    "WebP": b"RIFF\x00\x00\x00\x00WEBP",
}
DAMAGED = "error: me.jpg: damaged or cut off - choose another file"
NOISE = Image.effect_noise((200, 200), 100)
SENT = "sent as me.…: … bytes, 200 OK"
PICTURES = [
    *[
        Fault(
            f"{what} is called me.jpg",
            send_picture(lambda _path, data=data: data, pictures.check_extension),
            ours=("error: me.jpg: not a JPEG, PNG, GIF or WebP picture - …", "nothing sent"),
            tutorial=("no error", "…"),
        )
        for what, data in NOT_ON_THE_LIST.items()
    ],
    *[
        Fault(
            f"a {what} is nothing but its signature",
            send_picture(lambda _path, data=data: data, pictures.check_signature),
            ours=(DAMAGED, "nothing sent"),
            tutorial=("no error", "no picture that opens"),
        )
        for what, data in SIGNATURES.items()
    ],
    Fault(
        "a JPEG ends in the middle",
        send_picture(lambda _: encode(NOISE, "JPEG")[:10_000], pictures.check_verify),
        ours=(DAMAGED, "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "a PNG of 24 KB holds 200 megapixels",
        send_picture(lambda _: make_bomb(), pictures.check_signature),
        ours=("error: me.jpg: over 40,000,000 pixels - choose another file", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "the file is empty",
        send_picture(lambda _: b"", pictures.check_extension),
        ours=("error: me.jpg: empty - choose another file", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
    ),
    Fault(
        "it is a folder",
        send_picture(Path.mkdir, pictures.check_extension),
        ours=("error: me.jpg: not a file - choose another file", "nothing sent"),
        tutorial=("IsADirectoryError: …", "nothing sent"),
        marks=[posix_only],
    ),
    Fault(
        "it is a link to a device",
        send_picture(lambda path: path.symlink_to(os.devnull), pictures.check_extension),
        ours=("error: me.jpg: not a file - choose another file", "nothing sent"),
        tutorial=("no error", "no picture that opens"),
        marks=[posix_only],
    ),
    Fault(
        "it is a pipe that nobody writes to",
        wait_at_pipe(),
        ours=("error: me.jpg: not a file - choose another file", "nothing sent"),
        tutorial=("waits for somebody to write", "nothing sent"),
        marks=[posix_only],
    ),
    Fault(
        "it may not be read",
        send_picture(lambda path: (path.write_bytes(PNG), path.chmod(0)), pictures.check_extension),
        ours=("error: me.jpg: can't be read (Permission denied) - …", "nothing sent"),
        tutorial=("PermissionError: …", "nothing sent"),
        marks=[posix_only, not_root],
    ),
    Fault(
        "a script stands behind a PNG",
        send_picture(lambda _: PNG + SCRIPT, pictures.check_verify),
        ours=(SENT, "a PNG of 32x32"),
        tutorial=("no error", "a PNG of 32x32, the script in it"),
    ),
    Fault(
        "a script stands in a GIF's comment",
        send_picture(
            lambda _: encode(Image.new("P", (32, 32)), "GIF", comment=SCRIPT),
            pictures.check_verify,
        ),
        ours=(SENT, "a GIF of 32x32"),
        tutorial=("no error", "a GIF of 32x32, the script in it"),
    ),
    *[
        Fault(
            f"a {format_} has 20 frames",
            send_picture(
                lambda _path, format_=format_: make_frames(format_), pictures.check_verify
            ),
            ours=(SENT, f"a {format_} of 32x32"),
            tutorial=("no error", f"a {format_} of 32x32, 20 frames"),
        )
        for format_ in ("GIF", "WEBP")
    ],
    *[
        Fault(
            f"a picture is {what}: not every format has that",
            send_picture(
                lambda _path, mode=mode, format_=format_: encode(
                    Image.new(mode, (32, 32)), format_
                ),
                functools.partial(pictures.encode_again, format_=other),
            ),
            ours=(SENT, f"a {format_} of 32x32"),
            tutorial=("OSError: cannot write mode …", "nothing sent"),
        )
        for what, mode, format_, other in (
            ("transparent", "RGBA", "PNG", "JPEG"),
            ("of 256 colours", "P", "PNG", "JPEG"),
            ("of 16 bits", "I;16", "PNG", "JPEG"),
            ("in CMYK", "CMYK", "JPEG", "PNG"),
        )
    ],
    Fault(
        "a PNG has 2 MB of EXIF",
        send_picture(lambda _: make_exif("EXIF" * 500_000), pictures.check_verify),
        ours=(SENT, "a PNG of 32x32"),
        tutorial=("no error", "a PNG of 32x32, its EXIF"),
    ),
    Fault(
        "the EXIF is broken",
        send_picture(
            lambda _: encode(NOISE, "JPEG", exif=b"Exif\x00\x00broken"), pictures.turn_upright
        ),
        ours=(SENT, "a JPEG of 200x200"),
        tutorial=("KeyError: …", "nothing sent"),
    ),
    Fault(
        "the file is another one when it has been checked",
        swap_after_check(),
        ours=(SENT, "a PNG of 32x32"),
        tutorial=("no error", "no picture that opens"),
    ),
]

NAMES = [
    Fault(what, name_picture(name), (f"'{safe}'", "safe"), ("…", harm))
    for what, name, safe, harm in (
        ("a name has a line break", "a\r\nb.jpg", "ab.jpg", "a control character in it"),
        ("a name has a quote", 'a"b.jpg', "a_b.jpg", "not for Windows"),
        ("a name has a NUL", "a\0b.jpg", "ab.jpg", "a control character in it"),
        ("a name has backslashes", "..\\x.jpg", "x.jpg", "a path"),
        ("a name has half a surrogate pair", "a\ud800.jpg", "a.jpg", "no text"),
        ("a name turns the writing", "gpj.\u202egpj", "gpj.jpg", "seems to be another"),
        ("a name has 300 letters", "x" * 300 + ".jpg", "x" * 251 + ".jpg", "too long for a disk"),
        ("a name is CON", "CON.jpg", "_CON.jpg", "the console on Windows"),
        ("a name has two extensions", "a.php.jpg", "a_php.jpg", "two extensions"),
        ("a name is empty", "", "picture.jpg", "no name at all"),
        ("a name is two dots", "..", "_.jpg", "no name at all"),
        ("a name is a blank", " ", "picture.jpg", "no name at all"),
        ("a name is hidden", ".htaccess", "_htaccess.jpg", "hidden"),
        ("a name is decomposed", "e\u0301.jpg", "\xe9.jpg", "its twin looks the same"),
    )
] + [
    Fault(
        f"a name has {what}, and requests sends it as it is",
        name_picture(name, ask_what_arrives),
        (f"'{safe}'", "safe"),
        (sees, harm),
    )
    for what, name, safe, sees, harm in (
        ("../ in it", "../x.jpg", "x.jpg", "…", "a path"),
        ("a NUL in it", "a\0b.jpg", "ab.jpg", "…", "a control character in it"),
        ("half a surrogate pair in it", "a\ud800.jpg", "a.jpg", "…UnicodeEncodeError…", "…"),
    )
]

OCR_SAYS = "error: bill.png: the OCR service says: "
OCR = [
    *[
        Fault(
            f"the OCR service answers {what}",
            scan(f"/faults/ocr/{shape}"),
            ours=(f"{OCR_SAYS}{says} - https://ocr.space/ocrapi explains", "-"),
            tutorial=(harm, "-"),
            marks=[pytest.mark.slow] if shape == "huge" else [],
        )
        for shape, what, says, harm in (
            ("html", "a web page", "no text in the reply", "JSONDecodeError: …"),
            ("empty", "nothing", "no text in the reply", "JSONDecodeError: …"),
            ("string", "a string", "Unable to process the request", "TypeError: …"),
            ("list", "a list", "…", "TypeError: …"),
            ("number", "a number", "…", "TypeError: …"),
            ("null", "null", "no text in the reply", "TypeError: …"),
            ("deep", "100,000 brackets", "no text in the reply", "RecursionError: …"),
            ("huge", "50 MB of excuses", "no no no …[...]", "KeyError: …"),
            ("error-list", "a list of errors", "E1 E2", "TypeError: …"),
            ("error-string", "an error", "E3", "KeyError: …"),
            ("no-results", "no pages", "no text in the reply", "IndexError: …"),
            ("results-null", "null instead of pages", "no text in the reply", "TypeError: …"),
            ("results-text", "a text instead of pages", "no text in the reply", "TypeError: …"),
            ("text-missing", "a page without text", "no text in the reply", "KeyError: …"),
            ("text-null", "a page with null as its text", "no text in the reply", "no error"),
            ("text-number", "a page with a number as its text", "no text in the reply", "no error"),
        )
    ],
    Fault(
        "the service repeats the API key in its error",
        scan("/faults/ocr/quotes-the-key", receipts.scan_and_tell),
        ours=(f"{OCR_SAYS}The API key [key] is over its limit - …", "-"),
        tutorial=(f"ValueError: …{KEY}…", "-"),
    ),
    Fault(
        "the address is wrong, and the key is a part of it",
        scan("/status/404", receipts.scan_by_address),
        ours=(f"{OCR_SAYS}404 NOT FOUND - …", "-"),
        tutorial=(f"HTTPError: 404 Client Error: NOT FOUND for url: …{KEY}…", "-"),
    ),
]

MEGABYTE = 1_000_000
TEXTS = [
    Fault(
        f"the service reads 1 MB of {what}",
        read_text(text, tutorial),
        ours=("no error", "-"),
        tutorial=("TimeoutError: still busy", "-"),
        marks=[posix_only, pytest.mark.slow],
    )
    for what, text, tutorial in (
        ("digits", "7" * MEGABYTE, receipts.find_amounts),
        ("blanks", " " * MEGABYTE + "x", receipts.tidy_lines),
        ("TOTAL TOTAL …", "TOTAL " * (MEGABYTE // 6), receipts.find_total),
    )
]

CONSOLES = [
    Fault(
        "the console can't print the name",
        print_name(script, *options),
        ours=(says, "-"),
        tutorial=("UnicodeEncodeError: …", "-"),
    )
    for script, options, says in (
        (basic_upload, ("東京.png", "--peek"), "\\u6771\\u4eac.png begins with…exit code 0"),
        (
            profile_picture_uploader,
            ("東京.png", "--url"),
            "\\u6771\\u4eac.png is image/png…sent as \\u6771\\u4eac.png…exit code 0",
        ),
        (download_file, (), "saved …\\u6771\\u4eac.png: 10,000 bytes, exit code 0"),
        (concurrent_upload, ("東京.png", "--url"), "OK \\u6771\\u4eac.png: 200…exit code 0"),
    )
] + [
    Fault(
        "nobody reads the output: | head -1",
        print_into_closed_pipe(script, *options),
        ours=("…exit code 1", "-"),
        tutorial=("BrokenPipeError: …", "-"),
        marks=[posix_only],
    )
    for script, options in (
        (basic_upload, ["--peek"]),
        (profile_picture_uploader, [str(ROOT / "samples" / "avatar.png"), "--url"]),
        (streaming_upload, [str(ROOT / "README.md"), "--url"]),
        (concurrent_upload, [str(ROOT / "README.md"), "--url"]),
        (receipt_scanner, ["--from-json", str(ROOT / "samples" / "replies" / "good.json")]),
    )
]

LIMITS = [
    Limit(
        "a gzip body without a length ends early",
        "download_file.py",
        "one that is cut off unnoticed",
    ),
    Limit(
        "a JPEG is cut off, then closed by an end marker",
        "profile_picture_uploader.py",
        "a JPEG cut off and closed again passes",
    ),
    Limit(
        "no answer in time: was the file stored?",
        "concurrent_upload.py",
        "After a timeout nobody knows whether the file was stored, so that is not repeated",
    ),
]

TABLE = [
    *TYPES_AND_PAGES,
    *BODIES,
    *DISK,
    *RESUMES,
    *UPLOADS,
    *NETWORK,
    *BUSY,
    *BATCHES,
    *PICTURES,
    *NAMES,
    *OCR,
    *TEXTS,
    *CONSOLES,
]


# --- the checks --------------------------------------------------------------------------------


@pytest.fixture
def stage(
    server: PracticeServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    faults.ARRIVALS.clear()
    return Stage(server, tmp_path, capsys, monkeypatch)


def check(seen: str, left: Callable[[], str], expected: tuple[str, str]) -> None:
    """Compare what was seen and what is left with a row's words."""
    assert fits(seen, expected[0]), f"the user sees {seen!r}"
    deadline = time.monotonic() + 10
    while not fits(left(), expected[1]) and time.monotonic() < deadline:
        time.sleep(0.01)  # the server may still be reading what a client left behind
    assert fits(left(), expected[1]), f"what is left: {left()}"


def fits(text: str, words: str) -> bool:
    """Compare a text with a row's words."""
    return bool(re.fullmatch(".*".join(map(re.escape, words.split("…"))), text, re.DOTALL))


def name_row(row: Fault | Limit) -> str:
    script = row.script if isinstance(row, Limit) else row.case.script
    return f"{script}: {row.what}"


ROWS = [pytest.param(row, id=name_row(row), marks=row.marks) for row in TABLE]


@pytest.mark.parametrize("row", ROWS)
def test_our_script_does_as_the_table_says(row: Fault, stage: Stage) -> None:
    check(row.case.ours(stage), lambda: row.case.left(stage), row.ours)


@pytest.mark.parametrize("row", ROWS)
def test_the_tutorial_does_the_harm_that_the_table_says(row: Fault, stage: Stage) -> None:
    check(row.case.tutorial(stage), lambda: row.case.left(stage), row.tutorial)


def test_no_tutorial_does_as_well_as_our_script() -> None:
    assert [name_row(row) for row in TABLE if row.ours == row.tutorial] == []


@pytest.mark.parametrize("limit", LIMITS, ids=name_row)
def test_a_limit_is_said_where_the_reader_of_the_script_finds_it(limit: Limit) -> None:
    tree = ast.parse((ROOT / limit.script).read_text(encoding="utf-8"))
    places = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, places)]
    assert limit.says in " ".join(" ".join(docs).split()), f"{limit.script} is silent about it"
