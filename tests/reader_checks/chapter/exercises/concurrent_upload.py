import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import requests

URL = "https://httpbin.org/post"
MAX_BYTES = 50 * 1024 * 1024
MAX_TRIES = 5
local = threading.local()


def get_session():
    if not hasattr(local, "session"):
        local.session = requests.Session()
    return local.session


def send(path):
    for attempt in range(MAX_TRIES):
        with open(path, "rb") as f:
            response = get_session().post(URL, files={"file": f}, timeout=30)
        if response.status_code not in (429, 503):
            break
        if attempt < MAX_TRIES - 1:
            time.sleep(int(response.headers.get("Retry-After", "1")))
    response.raise_for_status()
    return response


def upload_single_file(path):
    try:
        if os.path.getsize(path) > MAX_BYTES:
            return f"FAIL {path}: larger than 50 MB"
        return f"OK {path}: {send(path).status_code}"
    except Exception as e:
        return f"FAIL {path}: {e}"


def upload_files(paths, max_workers=3):
    paths = iter(paths)
    with ThreadPoolExecutor(max_workers=max_workers) as executor:
        waiting = set()
        while True:
            for path in paths:
                waiting.add(executor.submit(upload_single_file, path))
                if len(waiting) >= 2 * max_workers:
                    break
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


if __name__ == "__main__":
    for line in upload_files(["doc1.txt", "doc2.txt", "doc3.txt"]):
        print(line)
