import io
import os
import re
import unicodedata

import requests
from PIL import Image, ImageOps

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
DEVICES = ["con", "prn", "aux", "nul"]
DEVICES += [f"{name}{number}" for name in ("com", "lpt") for number in range(1, 10)]


def safe_filename(name, media_type):
    name = re.split(r"[/\\]", name)[-1]
    stem = os.path.splitext(name)[0]
    stem = "".join(c for c in stem if unicodedata.category(c)[0] != "C")
    stem = re.sub(r'[<>:"|?*. ]', "_", stem).strip("_")
    stem = stem.encode()[:200].decode(errors="ignore")
    if not stem or stem.lower() in DEVICES:
        stem = "picture_" + stem
    return stem + EXTENSIONS[media_type]


class ProfilePictureUploader:
    def __init__(self, url="https://httpbin.org/post", max_pixels=40_000_000):
        self.url = url
        self.max_size = 5 * 1024 * 1024
        self.max_pixels = max_pixels

    def find_type(self, path):
        with open(path, "rb") as f:
            head = f.read(12)
        if head.startswith(b"\xff\xd8\xff"):
            return "image/jpeg"
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return "image/png"
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return "image/webp"
        raise ValueError("not a JPEG, PNG or WebP picture")

    def clean(self, path, media_type):
        with Image.open(path) as image:
            if image.width * image.height > self.max_pixels:
                raise ValueError("too many pixels")
            image.load()
            upright = ImageOps.exif_transpose(image)
            copy = Image.new(upright.mode, upright.size)
            copy.paste(upright)
        file = io.BytesIO()
        copy.save(file, FORMATS[media_type])
        return file.getvalue()

    def upload(self, path, user_id):
        if os.path.getsize(path) > self.max_size:
            raise ValueError("the picture is too large")
        media_type = self.find_type(path)
        data = self.clean(path, media_type)
        name = safe_filename(os.path.basename(path), media_type)
        response = requests.post(
            self.url,
            files={"file": (name, data, media_type)},
            data={"user_id": user_id},
            timeout=10,
        )
        response.raise_for_status()
        return response.json()


if __name__ == "__main__":
    uploader = ProfilePictureUploader()
    result = uploader.upload("avatar.jpg", "42")
    print("uploaded for user", result["form"]["user_id"])
