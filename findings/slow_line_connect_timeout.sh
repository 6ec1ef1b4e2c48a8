#!/usr/bin/env bash
# A slow uplink and the connect timeout: who takes it for a limit on sending?
#
# 12 MB go to a server on this machine that takes 2 MB a second: six seconds of sending,
# without a pause. The client allows 1 second to connect and 60 for everything else.
#
# requests 2.34.2 with urllib3 2.8.0: a body of bytes (so also files=) dies after 1 s as
#   ConnectionError(ProtocolError('Connection aborted.', TimeoutError('timed out')));
#   the same bytes as an open file arrive: there the limit starts anew with each block of 16 KB.
# httpx 0.28.1: the bytes arrive; its limit for writing is one of its own, for each write.
# aiohttp 3.14.5: the bytes arrive; sock_connect ends with connecting.
#
# Output seen (Python 3.11.7):
#   requests, data=bytes        ConnectionError
#   requests, data=open file    200
#   httpx, content=bytes        200
#   aiohttp, data=bytes         200
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5

cat > clients.py <<'PY'
import asyncio
import io
import socket
import threading
import time

import aiohttp
import httpx
import requests

SIZE, RATE = 12_000_000, 2_000_000
BODY = bytes(SIZE)


def serve(listener):
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=answer, args=[connection], daemon=True).start()


def answer(connection):
    """Take RATE bytes a second, then answer 200."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1000)
    taken, started = len(head.partition(b"\r\n\r\n")[2]), time.monotonic()
    while taken < SIZE:
        if taken > (time.monotonic() - started) * RATE:
            time.sleep(0.01)
        elif block := connection.recv(16384):
            taken += len(block)
        else:
            return
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def with_bytes(url):
    return requests.post(url, data=BODY, timeout=(1, 60)).status_code


def with_file(url):
    return requests.post(url, data=io.BytesIO(BODY), timeout=(1, 60)).status_code


def with_httpx(url):
    return httpx.post(url, content=BODY, timeout=httpx.Timeout(60, connect=1)).status_code


def with_aiohttp(url):
    async def post():
        limits = aiohttp.ClientTimeout(total=None, sock_connect=1, sock_read=60)
        async with aiohttp.ClientSession(timeout=limits) as session:
            async with session.post(url, data=BODY) as response:
                return response.status

    return asyncio.run(post())


def name(client, url):
    try:
        return client(url)
    except Exception as error:
        return type(error).__name__


with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    threading.Thread(target=serve, args=[listener], daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    print(f"requests, data=bytes        {name(with_bytes, url)}")
    print(f"requests, data=open file    {name(with_file, url)}")
    print(f"httpx, content=bytes        {name(with_httpx, url)}")
    print(f"aiohttp, data=bytes         {name(with_aiohttp, url)}")
PY
venv/bin/python clients.py | tee seen
diff seen - <<'EOF'
requests, data=bytes        ConnectionError
requests, data=open file    200
httpx, content=bytes        200
aiohttp, data=bytes         200
EOF
