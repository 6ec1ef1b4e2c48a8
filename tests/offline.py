#!/usr/bin/env python3
"""Run a script of this chapter against a practice server on your own machine.

The practice server is the real httpbin application, plus `/parse/image`, which answers as
OCR.space does with a real OCR engine behind it, plus routes that misbehave on purpose. The script
runs unchanged: it finds the server through the variables HTTPBIN_URL and OCR_SPACE_URL.

Sample run::

    $ python tests/offline.py receipt_scanner.py samples/receipt.jpg

In a test::

    with PracticeServer() as server:
        requests.post(f"{server.url}/post", files=..., timeout=5)
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

try:
    from practice import ocr_space
    from practice.faults import ROUTES, describe_faults, route
    from practice.faults import practice_bytes as practice_bytes  # for tests
    from werkzeug.exceptions import HTTPException, NotFound
    from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
    from werkzeug.wrappers import Request, Response
    from werkzeug.wsgi import LimitedStream
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    sys.exit(f'error: {missing.name} is missing - run: pip install -e ".[test,offline]"')

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PROJECT = Path(__file__).resolve().parent.parent

# --- the practice server -----------------------------------------------------------------------


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request from ROUTES, or from httpbin (the WSGI interface, PEP 3333)."""
    with Request(environ) as request:  # closes its temporary files
        try:
            view, values = ROUTES.bind("localhost").match(request.path, request.method)
            response: Response = view(request, **values)
        except NotFound:
            return httpbin_application(environ, start_response)
        except HTTPException as error:
            return error.get_response(environ)(environ, start_response)
        return response(environ, start_response)


def httpbin_application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request as https://httpbin.org does."""
    # httpbin takes chunked uploads from gunicorn only: it doesn't know that werkzeug, too,
    # ends the input where the last chunk ends.
    environ["SERVER_SOFTWARE"] = "gunicorn/practice"
    logging.getLogger("httpbin").setLevel(logging.ERROR)  # it misses flasgger, we don't
    import httpbin  # takes half a second, which OCR alone need not wait for

    response: Iterable[bytes] = httpbin.app(environ, start_response)
    return response


class Body(LimitedStream):
    """The body of one request, which ends where the next request may begin."""

    def on_disconnect(self, error: Exception | None = None) -> NoReturn:
        """Report a client that left early; the server drops such a connection silently."""
        raise ConnectionAbortedError from error


class Connection(WSGIRequestHandler):
    """A client's connection: kept alive between requests, which werkzeug alone doesn't do."""

    server: PracticeServer
    disable_nagle_algorithm = True  # or each small reply waits 40 ms for an acknowledgement
    rfile: Any  # where werkzeug takes a request's body from
    body: Body | None = None

    def setup(self) -> None:
        """Open the connection."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        """Close the connection."""
        self.server.connections.discard(self.connection)
        super().finish()

    def run_wsgi(self) -> None:
        """Answer one request."""
        stream = self.rfile
        if "Transfer-Encoding" not in self.headers:
            length = self.headers.get("Content-Length", "")
            self.rfile = self.body = Body(stream, int(length) if length.isdecimal() else 0)
        try:
            super().run_wsgi()
        finally:
            self.rfile, self.body = stream, None

    def send_header(self, keyword: str, value: str) -> None:
        """Keep the connection open, against werkzeug's habit, unless a body was left unread."""
        if (keyword, value) != ("Connection", "close") or not (
            self.body and self.body.is_exhausted
        ):
            super().send_header(keyword, value)

    def connection_dropped(self, *_: object) -> None:
        """Close without a word, for a client that left and for a view that drops it."""
        self.close_connection = True

    def log(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the script."""


class PracticeServer(ThreadedWSGIServer):
    """A practice server on a free loopback port, for the time of a `with` block."""

    def __init__(self) -> None:
        self.connections: set[socket.socket] = set()
        # Bound here: werkzeug would print and exit where binding fails.
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            super().__init__("127.0.0.1", 0, application, Connection, fd=listener.fileno())
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that lead a script here, past any proxy; a practice key is kept."""
        key = os.environ.get("OCR_SPACE_API_KEY", "")
        variables = {
            "HTTPBIN_URL": self.url,
            "OCR_SPACE_URL": f"{self.url}/parse/image",
            "OCR_SPACE_API_KEY": key if key in ocr_space.PRACTICE_KEYS else ocr_space.DEMO_KEY,
        }
        for name in ("no_proxy", "NO_PROXY"):  # requests reads either, the small one first
            others = os.environ.get(name)
            variables[name] = f"127.0.0.1,{others}" if others else "127.0.0.1"
        return variables

    def __enter__(self) -> PracticeServer:
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        for connection in self.connections.copy():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # or a stalled one would stay
        self.thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong in a connection, unless the client just left."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


# --- routes ------------------------------------------------------------------------------------

route("/parse/image", "POST")(ocr_space.parse_image)


# --- the launcher ------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run a script against the server and return its exit code, or serve until Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    options = build_parser().parse_args(argv[:1])  # what follows belongs to the script
    needed = ["httpbin"]
    name = Path(options.script or "receipt_scanner.py").name
    if name == "receipt_scanner.py":
        needed += ["rapidocr", "onnxruntime"]  # the other scripts run where these have no wheel
    for package in needed:
        if importlib.util.find_spec(package) is None:
            return fail(f'{package} is missing - run: pip install -e ".[test,offline]"', 1)
    if options.script and not (script := find_script(options.script)):
        return fail(f"no script {options.script!r} - give its path, or a name from the project", 2)
    try:
        server = PracticeServer()
    except OSError as error:
        return fail(f"can't listen on 127.0.0.1: {error.strerror} - is a sandbox in the way?", 1)
    with server:
        if not options.script:
            return serve(server)
        if name == "receipt_scanner.py" and not load_engine():
            return 130
        say(f"practice server at {server.url}")
        return run([sys.executable, str(script), *argv[1:]], os.environ | server.environment)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line: at most one positional, the rest is the script's."""
    faults = "\n".join(
        f"  {path}\n{textwrap.indent(textwrap.fill(text, 72), '      ')}"
        for path, text in describe_faults().items()
    )
    keys = "\n".join(f"  {key}" for key in ocr_space.PRACTICE_KEYS)
    parser = argparse.ArgumentParser(
        usage="%(prog)s [-h] [SCRIPT [ARGUMENT ...]]",
        description=(
            "Run a script of this chapter against a practice server on this machine:\n"
            "httpbin, OCR.space's /parse/image, and routes that misbehave on purpose."
        ),
        epilog=(
            "example:\n"
            "  python tests/offline.py receipt_scanner.py samples/receipt.jpg\n\n"
            "routes that misbehave on purpose; start the server without a SCRIPT, paste\n"
            "what it prints into another terminal, and there, for example:\n"
            "  python download_file.py $HTTPBIN_URL/faults/truncate/10000\n"
            "  python streaming_upload.py --url $HTTPBIN_URL/faults/too-large\n\n"
            f"{faults}\n\n"
            f"values of OCR_SPACE_API_KEY that never give a whole reading:\n{keys}\n"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "script", metavar="SCRIPT", nargs="?", help="without one, serve until Ctrl-C"
    )
    return parser


def find_script(name: str) -> Path | None:
    """Return the script, here or, when it is a bare name, in the project's folder."""
    candidates = [Path(name)]
    if Path(name).name == name:
        candidates.append(PROJECT / name)
    return next((path for path in candidates if path.is_file()), None)


def load_engine() -> bool:
    """Load the OCR engine before a script waits for its answer; False after a Ctrl-C."""
    say("loading the OCR engine")
    try:
        from practice import ocr_engine

        ocr_engine.warm_up()
    except KeyboardInterrupt:
        return False
    show = logging.StreamHandler()
    show.setFormatter(logging.Formatter("offline: %(message)s"))
    ocr_space.log.addHandler(show)
    ocr_space.log.setLevel(logging.INFO)
    return True


def run(command: list[str], environment: dict[str, str]) -> int:
    """Run a command, pass signals on to it, and return its exit code (128+n for signal n)."""
    early: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif os.name == "posix":
            send(child, number)
        # On Windows the console has told the child already.

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, pass_on)
    # In a session of its own the child gets no Ctrl-C from the terminal, just the one we pass on.
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    for number in early:
        pass_on(number, None)
    code = child.wait()
    return code if code >= 0 else 128 - code


def send(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the child and to what it has started, as a terminal would."""
    if child.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


def serve(server: PracticeServer) -> int:
    """Print the lines that lead other terminals here, and serve until Ctrl-C: that is success."""
    for name, value in server.environment.items():
        line = f"set {name}={value}" if os.name == "nt" else f"export {name}={shlex.quote(value)}"
        print(line, flush=True)
    say("paste these lines into another terminal; Ctrl-C stops the server")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in some backgrounds
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


def say(text: str) -> None:
    """Print a line of the launcher's own."""
    print(f"offline: {text}", file=sys.stderr, flush=True)


def fail(text: str, code: int) -> int:
    """Print a one-line error and return the exit code."""
    print(f"error: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    code = main()
    # The engine may be reading yet, in its thread: where Python ends under it, it aborts.
    os._exit(code)
