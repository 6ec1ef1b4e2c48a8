#!/usr/bin/env bash
# A server sends "103 Early Hints" (RFC 8297) before its answer to an upload: who reads the answer?
#
# Node's own http server hints at a stylesheet (response.writeEarlyHints) and then answers
# 201 to a POST of a few bytes. A client has to skip any 1xx that it does not know.
#
# requests 2.34.2 and urllib3 2.8.0 (both on http.client of Python 3.11) return 103 as the status
# of the upload, with an empty body; response.ok is True, raise_for_status() is content.
# httpx 0.28.1, aiohttp 3.14.5 and curl return 201.
#
# Output seen (Python 3.11.7, Node.js 20.20.2):
#   requests  103 ok=True ''
#   urllib3   103
#   httpx     201
#   aiohttp   201
#   curl      201
set -euo pipefail
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5

cat > server.js <<'JS'
const server = require('node:http').createServer((request, response) => {
  request.resume().on('end', () => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' });
    setTimeout(() => response.writeHead(201).end('created'), 200);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
JS
node server.js > port &
server=$!
until [ -s port ]; do sleep 0.1; done
url=http://127.0.0.1:$(cat port)/

cat > clients.py <<'PY'
import asyncio
import sys

import aiohttp
import httpx
import requests
import urllib3

url = sys.argv[1]


async def post():
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=b"abc") as response:
            return response.status


response = requests.post(url, data=b"abc", timeout=10)
print(f"requests  {response.status_code} ok={response.ok} {response.text!r}")
print(f"urllib3   {urllib3.request('POST', url, body=b'abc').status}")
print(f"httpx     {httpx.post(url, content=b'abc').status_code}")
print(f"aiohttp   {asyncio.run(post())}")
PY
venv/bin/python clients.py "$url" | tee seen
printf 'curl      %s\n' "$(curl -s -o /dev/null -w '%{http_code}' --data abc "$url")" | tee -a seen
diff seen - <<'EOF'
requests  103 ok=True ''
urllib3   103
httpx     201
aiohttp   201
curl      201
EOF
