#!/usr/bin/env bash
# A bucket has moved: the server answers a PUT with 301 and the new address. What is stored there?
#
# RFC 9110, 15.4.2, lets a client turn a POST into a GET after a 301, and no other method. requests
# 2.34.2 keeps the PUT, but sends it without its body: the new address gets an empty file, and
# answers 201. Its own transport, urllib3 2.8.0, sends the whole file there, as httpx 0.28.1 and
# aiohttp 3.14.5 do. After a 302 requests and httpx send a GET, which stores nothing and gets its
# 200; after a 307 all four send the file.
#
# Output seen (Python 3.11.7):
#   301 requests PUT 0 bytes
#   301 urllib3  PUT 1000 bytes
#   301 httpx    PUT 1000 bytes
#   301 aiohttp  PUT 1000 bytes
#   302 requests GET 0 bytes
#   302 urllib3  PUT 1000 bytes
#   302 httpx    GET 0 bytes
#   302 aiohttp  PUT 1000 bytes
#   307 requests PUT 1000 bytes
#   307 urllib3  PUT 1000 bytes
#   307 httpx    PUT 1000 bytes
#   307 aiohttp  PUT 1000 bytes
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5
cat > move.py <<'PY'
import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import requests
import urllib3

FILE = b"x" * 1000


class Storage(BaseHTTPRequestHandler):
    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/old":
            self.send_response(status)
            self.send_header("Location", "/new")
        else:
            stored.append(f"{self.command} {len(body)} bytes")
            self.send_response(201 if self.command == "PUT" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT

    def log_message(self, *_):
        pass


async def put_with_aiohttp():
    async with aiohttp.ClientSession() as session, session.put(url, data=FILE) as response:
        return response.status


server = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/old"
clients = {
    "requests": lambda: requests.put(url, data=FILE, timeout=5).status_code,
    "urllib3": lambda: urllib3.request("PUT", url, body=FILE, timeout=5).status,
    "httpx": lambda: httpx.put(url, content=FILE, follow_redirects=True).status_code,
    "aiohttp": lambda: asyncio.run(put_with_aiohttp()),
}
for status in (301, 302, 307):
    for name, put in clients.items():
        stored = []
        assert put() in (200, 201)
        print(status, f"{name:8}", *stored)
PY
NO_PROXY=127.0.0.1 venv/bin/python move.py | tee seen
diff seen - <<'SEEN'
301 requests PUT 0 bytes
301 urllib3  PUT 1000 bytes
301 httpx    PUT 1000 bytes
301 aiohttp  PUT 1000 bytes
302 requests GET 0 bytes
302 urllib3  PUT 1000 bytes
302 httpx    GET 0 bytes
302 aiohttp  PUT 1000 bytes
307 requests PUT 1000 bytes
307 urllib3  PUT 1000 bytes
307 httpx    PUT 1000 bytes
307 aiohttp  PUT 1000 bytes
SEEN
