import os
import requests


class ProgressFileReader:
    def __init__(self, path, chunk_size=8192):
        self.path = path
        self.chunk_size = chunk_size
        self.total = os.path.getsize(path)

    def __iter__(self):
        sent = 0
        with open(self.path, "rb") as f:
            while True:
                chunk = f.read(self.chunk_size)
                if not chunk:
                    break
                sent += len(chunk)
                percent = sent / self.total * 100
                print(f"\r{percent:.1f}%", end="")
                yield chunk
        print()


reader = ProgressFileReader("video.mp4")
response = requests.post("https://httpbin.org/post", data=reader, timeout=30)
response.raise_for_status()
print("Uploaded:", response.status_code)
