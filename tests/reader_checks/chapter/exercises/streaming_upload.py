import os
from pathlib import Path

import requests

URL = "https://httpbin.org/post"


class FileChanged(Exception):
    pass


def show_percent(bytes_sent, total_bytes):
    print(f"\r{100 * bytes_sent / total_bytes:.1f}%", end="")


class ProgressFileReader:
    def __init__(self, path, chunk_size=8192, on_progress=show_percent):
        self.path = path
        self.chunk_size = chunk_size
        self.on_progress = on_progress
        self.total = os.path.getsize(path)

    def __len__(self):
        return self.total

    def __iter__(self):
        sent = 0
        with open(self.path, "rb") as f:
            while sent < self.total:
                chunk = f.read(min(self.chunk_size, self.total - sent))
                if not chunk:
                    raise FileChanged("the file shrank")
                sent += len(chunk)
                self.on_progress(sent, self.total)
                yield chunk
            if f.read(1):
                raise FileChanged("the file grew")


class MultipartReader:
    def __init__(self, reader):
        self.reader = reader
        self.boundary = "a-boundary-that-no-file-holds"
        name = Path(reader.path).name
        self.head = (
            f"--{self.boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self.tail = f"\r\n--{self.boundary}--\r\n".encode()

    def __len__(self):
        return len(self.head) + len(self.reader) + len(self.tail)

    def __iter__(self):
        yield self.head
        yield from self.reader
        yield self.tail


def stream_upload(path, url=URL, chunk_size=8192, multipart=False):
    body = ProgressFileReader(path, chunk_size)
    headers = {}
    if multipart:
        body = MultipartReader(body)
        headers["Content-Type"] = f"multipart/form-data; boundary={body.boundary}"
    response = requests.post(url, data=body, headers=headers, timeout=30)
    response.raise_for_status()
    return response


if __name__ == "__main__":
    response = stream_upload("video.mp4")
    print("\nUploaded:", response.status_code)
