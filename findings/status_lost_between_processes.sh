#!/usr/bin/env bash
# A worker process uploads, the server says 503, raise_for_status() raises: what does the parent
# process get?
#
# An exception of requests carries its request, the request carries its body, and an exception
# goes from process to process as a pickle. requests 2.34.2 in a ProcessPoolExecutor:
# with data=bytes or files= the parent gets HTTPError and its status; with data=open(...), the
# form that streams, it gets "TypeError: cannot pickle '_io.BufferedReader' object" instead. The
# 503 is nowhere in it, and a ConnectionError is lost in the same way.
#
# Output seen (Python 3.11.7):
#   requests data=bytes       HTTPError 503
#   requests files=open(...)  HTTPError 503
#   requests data=open(...)   TypeError
#   requests nobody listens   TypeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet requests==2.34.2 urllib3==2.8.0
printf abc > file
cat > pool.py <<'PY'
import threading
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import requests


class Busy(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def upload(form, url):
    with open("file", "rb") as file:
        if form == "data=bytes":
            response = requests.post(url, data=file.read(), timeout=5)
        elif form == "files=open(...)":
            response = requests.post(url, files={"file": file}, timeout=5)
        else:
            response = requests.post(url, data=file, timeout=5)
    response.raise_for_status()


def show(form, url):
    error = pool.submit(upload, form, url).exception(timeout=20)
    status = getattr(getattr(error, "response", None), "status_code", "")
    print(f"requests {form:16} {type(error).__name__} {status}".rstrip())


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Busy)
    with ProcessPoolExecutor(1) as pool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        for form in ("data=bytes", "files=open(...)", "data=open(...)"):
            show(form, url)
        show("nobody listens", "http://127.0.0.1:9/")
PY
venv/bin/python pool.py | tee seen
diff seen - <<'EOF'
requests data=bytes       HTTPError 503
requests files=open(...)  HTTPError 503
requests data=open(...)   TypeError
requests nobody listens   TypeError
EOF
