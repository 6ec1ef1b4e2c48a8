#!/usr/bin/env bash
# A server refuses an upload in the middle (413, and closes): who still sees it over TLS?
#
# An application behind cheroot 11.1.2, the server of CherryPy, answers 413 without reading the
# body. The client has 20 MB to send, so that it is still sending when the answer comes.
#
# Over plain HTTP requests 2.34.2, httpx 0.28.1 and aiohttp 3.14.5 all return 413: when sending
# fails, urllib3 2.8.0 looks whether an answer has come. It does so for a broken pipe and for a
# reset connection. Over TLS the same event is an ssl.SSLEOFError, so the 413 is left unread, and
# requests reports an SSLError, the class that a bad certificate has. httpx and aiohttp, over the
# same TLS, return 413.
#
# Output seen, three times each (Python 3.11.7, OpenSSL 3.0):
#   http   requests  413 413 413
#   http   httpx     413 413 413
#   http   aiohttp   413 413 413
#   https  requests  SSLError SSLError SSLError
#   https  httpx     413 413 413
#   https  aiohttp   413 413 413
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5 \
    cheroot==11.1.2 trustme==1.2.1
cat > clients.py <<'PY'
import asyncio
import io
import os
import ssl
import threading

import aiohttp
import httpx
import requests
import trustme
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

BODY = bytes(20_000_000)
authority = trustme.CA()
authority.cert_pem.write_to_path("authority.pem")
authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path("server.pem")
trust = ssl.create_default_context(cafile="authority.pem")


def refuse(environ, start_response):
    headers = [("Content-Length", "9"), ("Connection", "close")]
    start_response("413 Content Too Large", headers)
    return [b"too large"]


def serve(scheme):
    server = Server(("127.0.0.1", 0), refuse)
    if scheme == "https":
        server.ssl_adapter = BuiltinSSLAdapter("server.pem", "server.pem")
    server.prepare()
    threading.Thread(target=server.serve, daemon=True).start()
    return f"{scheme}://127.0.0.1:{server.bind_addr[1]}/"


def with_requests(url):
    body = io.BytesIO(BODY)
    return requests.post(url, data=body, verify="authority.pem", timeout=20).status_code


def with_httpx(url):
    return httpx.post(url, content=BODY, verify=trust, timeout=20).status_code


def with_aiohttp(url):
    async def post():
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=BODY, ssl=trust) as response:
                return response.status

    return asyncio.run(post())


def name(client, url):
    try:
        return str(client(url))
    except Exception as error:
        return type(error).__name__


for scheme in ("http", "https"):
    url = serve(scheme)
    for client in (with_requests, with_httpx, with_aiohttp):
        seen = " ".join(name(client, url) for _ in range(3))
        print(f"{scheme:6} {client.__name__.removeprefix('with_'):9} {seen}", flush=True)
os._exit(0)  # without waiting for the servers' threads
PY
venv/bin/python clients.py 2>log | tee seen
diff seen - <<'EOF'
http   requests  413 413 413
http   httpx     413 413 413
http   aiohttp   413 413 413
https  requests  SSLError SSLError SSLError
https  httpx     413 413 413
https  aiohttp   413 413 413
EOF
