"""Small servers on loopback that do what real ones do on a bad day, over plain TCP or TLS.

A server here is one function that plays one connection::

    with canned(b"HTTP/1.1 401 Unauthorized\\r\\n\\r\\nno such key", tls=True) as wire:
        trust(monkeypatch, tmp_path)
        upload_file(path, wire.url)

`serve(play)` takes any other function. What came is in `wire.requests`, one for each request whose
head arrived. Nothing waits longer than PATIENCE_SECONDS, and leaving the `with` ends all of it.
"""

from __future__ import annotations

import functools
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

PATIENCE_SECONDS = 30
READ_BYTES = 16 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
TOO_LARGE = (
    b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 15\r\nConnection: close\r\n\r\nat most 1000000"
)


@dataclass
class Request:
    """A request as it came: the head with its blank line, and as much of the body as was read."""

    head: bytes
    body: bytearray = field(default_factory=bytearray)

    @property
    def line(self) -> str:
        """The request line: `POST /post HTTP/1.1`."""
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    def header(self, name: str) -> str | None:
        """Return a header's value, None where there is none."""
        pattern = rb"(?im)^" + re.escape(name.encode()) + rb": *(.*?)\r?$"
        found = re.search(pattern, self.head)
        return found[1].decode("latin-1") if found else None

    @property
    def length(self) -> int:
        """The Content-Length."""
        return int(self.header("Content-Length") or 0)


class Connection:
    """One connection, as the function that plays it sees it."""

    def __init__(self, sock: socket.socket, requests: list[Request]) -> None:
        self.sock = sock
        self.requests = requests
        self.ahead = b""  # came with the head

    def receive(self, size: int) -> bytes:
        """Return up to `size` bytes, nothing at the end of the stream."""
        if self.ahead:
            data, self.ahead = self.ahead[:size], self.ahead[size:]
            return data
        return self.sock.recv(size)

    def read_head(self) -> Request | None:
        """Read a request's head; None when the client has left instead."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = self.receive(READ_BYTES)
            if not data:
                return None
            head, blank, rest = (head + data).partition(b"\r\n\r\n")
            head += blank
            self.ahead = rest + self.ahead
        request = Request(head)
        self.requests.append(request)
        return request

    def read_body(self, request: Request, size: int | None = None, rate: int = 0) -> None:
        """Read the body, or `size` bytes of it, at `rate` bytes a second."""
        end = request.length if size is None else size
        while len(request.body) < end:
            data = self.receive(min(READ_BYTES, end - len(request.body)))
            if not data:
                return
            request.body += data
            if rate:
                time.sleep(len(data) / rate)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """Break the connection off with a reset: the client's next read or write fails."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Play = Callable[[Connection], object]


class Wire:
    """A server; `url` says where, `requests` what came."""

    def __init__(self, play: Play, *, tls: bool = False, receive_buffer: int = 0) -> None:
        self.play = play
        self.requests: list[Request] = []
        self.context = make_tls_context() if tls else None
        self.listener = socket.socket()
        if receive_buffer:  # before listen(), so that the connections inherit it
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(100)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/post"
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.sockets: list[socket.socket] = []
        self.is_closed = False
        self.threads[0].start()

    def accept(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            if self.is_closed:
                sock.close()
                return
            sock.settimeout(PATIENCE_SECONDS)
            self.sockets.append(sock)
            thread = threading.Thread(target=self.answer, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def answer(self, sock: socket.socket) -> None:
        """Play one connection; the client may leave at any time."""
        with suppress(OSError), closing(sock):
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
                self.sockets.append(sock)
            with closing(sock):
                self.play(Connection(sock, self.requests))

    def close(self) -> None:
        """End the server and what is under way."""
        self.is_closed = True
        with suppress(OSError):  # closing alone doesn't wake accept()
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self.listener.close()
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
        for sock in self.sockets:
            sock.close()


@contextmanager
def serve(play: Play, *, tls: bool = False, receive_buffer: int = 0) -> Iterator[Wire]:
    """Serve each connection by `play(connection)`, in a thread of its own."""
    with closing(Wire(play, tls=tls, receive_buffer=receive_buffer)) as wire:
        yield wire


# --- the servers -------------------------------------------------------------------------------


@contextmanager
def canned(*answers: bytes, tls: bool = False) -> Iterator[Wire]:
    """Read a whole request, send the bytes given for it, and close.

    The first connection gets the first of the answers, and so on; the last one serves all that
    follow. `b""` is a server that hangs up without an answer.
    """
    turns = iter(answers[:-1])

    def play(connection: Connection) -> None:
        answer = next(turns, answers[-1])
        if request := connection.read_head():
            connection.read_body(request)
            connection.send(answer)

    with serve(play, tls=tls) as wire:
        yield wire


@contextmanager
def slow_reader(rate: int, answer: bytes = OK, *, tls: bool = False) -> Iterator[Wire]:
    """Read at `rate` bytes a second, as behind a slow line; then answer."""

    def play(connection: Connection) -> None:
        if request := connection.read_head():
            connection.read_body(request, rate=rate)
            connection.send(answer)

    with serve(play, tls=tls, receive_buffer=READ_BYTES) as wire:
        yield wire


@contextmanager
def refuses_midway(
    after: int = 8192, answer: bytes = TOO_LARGE, *, tls: bool = False
) -> Iterator[Wire]:
    """Answer when `after` bytes of the body have come, and close: the rest is never read.

    With `answer=b""` it hangs up without a word; an OK is the server that took only a part.
    """

    def play(connection: Connection) -> None:
        if request := connection.read_head():
            connection.read_body(request, after)
            connection.send(answer)

    with serve(play, tls=tls) as wire:
        yield wire


@contextmanager
def silent() -> Iterator[Wire]:
    """Read all and answer nothing, until the client gives up."""

    def play(connection: Connection) -> None:
        if request := connection.read_head():
            connection.read_body(request)
            connection.receive(1)

    with serve(play) as wire:
        yield wire


# --- certificates and ~/.netrc -----------------------------------------------------------------


@functools.cache
def authority() -> trustme.CA:
    """Return who signs our certificates: nobody knows it but who calls `trust`."""
    return trustme.CA()


@functools.cache
def make_tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def trust(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let requests trust our certificates, here and in the processes that a test starts."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))


NETRC_PASSWORD = "from-the-netrc"


def put_netrc(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Give the user a ~/.netrc with a password for every host: NETRC_PASSWORD."""
    path = folder / "netrc"
    path.write_text(
        f"machine 127.0.0.1 login me password {NETRC_PASSWORD}\n"
        f"default login me password {NETRC_PASSWORD}\n"
    )
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
