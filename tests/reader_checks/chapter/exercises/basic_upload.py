import sys
from pathlib import Path

import requests

URL = "https://httpbin.org/post"
TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".pdf": "application/pdf"}


def get_part(path, f):
    suffix = Path(path).suffix.lower()
    return Path(path).name, f, TYPES.get(suffix, "application/octet-stream")


def upload_file(path, url=URL, metadata=None):
    with open(path, "rb") as f:
        files = {"file": get_part(path, f)}
        response = requests.post(url, files=files, data=metadata, timeout=10)
    response.raise_for_status()
    if response.request.method != "POST":
        raise requests.HTTPError("a redirect lost the file")
    return response


def show_body(path):
    with open(path, "rb") as f:
        files = {"file": get_part(path, f)}
        request = requests.Request("POST", URL, files=files).prepare()
    for name, value in request.headers.items():
        print(f"{name}: {value}")
    print()
    print(request.body)


def peek(path):
    with open(path, "rb") as f:
        print(f.read(16).hex(" "))


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else "photo.jpg"
    if "--peek" in sys.argv:
        peek(path)
    elif "--show-body" in sys.argv:
        show_body(path)
    else:
        response = upload_file(path)
        print("Uploaded:", response.status_code)
