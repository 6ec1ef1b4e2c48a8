#!/usr/bin/env bash
# requests.post(url, data=gzip.open(...)): how much of the file arrives depends on Python.
#
# An open file streams, and gzip.open() gives one that unpacks as it is read. For the length
# requests 2.34.2 asks such an object for its fileno(), and the system for the size of that file:
# the PACKED size. Up to Python 3.12 it doesn't get that far: GzipFile.mode is a number there, and
# looking for a "b" in it raises a TypeError that requests swallows, so that the content goes
# out whole, in chunks, without a length. Python 3.13 made the mode "rb", as that of other files.
# Since then Content-Length is the packed size, while the unpacked content is sent. A server takes
# the first bytes of it, as many as were announced, for the whole file, and answers 200.
#
# Output seen, 1,024,000 bytes packed into 4,319 (the second line where there is a Python 3.13):
#   Python 3.11.7: Transfer-Encoding: chunked, the server took 1024000 bytes, 200
#   Python 3.13.0: Content-Length: 4319, the server took 4319 bytes, 200
#
# Takes the interpreters as arguments, or else those of python3.10 ... python3.14 that are there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pythons=("$@")
if [ $# = 0 ]; then
    for name in python3.{10..14}; do
        "$name" -c 0 2>/dev/null && pythons+=("$(command -v "$name")")
    done
fi
cd "$work"

cat > upload.py <<'PY'
import gzip
import os
import platform
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import requests

CONTENT = bytes(range(256)) * 4000


class Take(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Read a body as its header says, and answer its size."""
        length = self.headers["Content-Length"]
        body = self.rfile.read(int(length)) if length else b"".join(iter(self.chunk, b""))
        reply = f"the server took {len(body)} bytes, 200".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply)

    def chunk(self):
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def log_message(self, *_):
        pass


with gzip.open("content.gz", "wb") as file:
    file.write(CONTENT)
server = HTTPServer(("127.0.0.1", 0), Take)
threading.Thread(target=server.serve_forever, daemon=True).start()
with gzip.open("content.gz") as file:
    response = requests.post(f"http://127.0.0.1:{server.server_port}/", data=file, timeout=10)
sent = response.request.headers
name = "Content-Length" if "Content-Length" in sent else "Transfer-Encoding"
print(f"Python {platform.python_version()}: {name}: {sent[name]}, {response.text}")
cut = f"took {os.path.getsize('content.gz')} bytes" in response.text
whole = f"took {len(CONTENT)} bytes" in response.text
sys.exit(not (cut if sys.version_info >= (3, 13) else whole))
PY
for python in "${pythons[@]}"; do
    "$python" -m venv venv --clear
    venv/bin/pip install --quiet requests==2.34.2 urllib3==2.8.0
    venv/bin/python upload.py
done
