import os

import requests


class ContentTypeMismatch(Exception):
    pass


class DownloadTooLarge(Exception):
    pass


def looks_like_text(head):
    return head.lstrip()[:1] in (b"<", b"{")


def download_file(
    url,
    output_path,
    expected_prefix="image/",
    chunk_size=8192,
    on_progress=None,
    max_bytes=None,
    resume=False,
):
    part = f"{output_path}.part"
    start = os.path.getsize(part) if resume and os.path.exists(part) else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    response = requests.get(url, headers=headers, stream=True, timeout=10)
    response.raise_for_status()
    content_type = response.headers.get("Content-Type", "")
    if not content_type.startswith(expected_prefix):
        raise ContentTypeMismatch(f"expected {expected_prefix}, got {content_type}")
    if response.status_code != 206:
        start = 0
    total = response.headers.get("Content-Length")
    if total is not None:
        total = start + int(total)
        if max_bytes is not None and total > max_bytes:
            raise DownloadTooLarge(f"{total} bytes")
    received = start
    try:
        with open(part, "ab" if start else "wb") as f:
            for chunk in response.iter_content(chunk_size):
                if received == 0 and looks_like_text(chunk):
                    raise ContentTypeMismatch("this is a text")
                received += len(chunk)
                if max_bytes is not None and received > max_bytes:
                    raise DownloadTooLarge(f"more than {max_bytes} bytes")
                f.write(chunk)
                if on_progress:
                    on_progress(received, total)
    except Exception:
        if not resume:
            os.remove(part)
        raise
    os.replace(part, output_path)
    return output_path


if __name__ == "__main__":
    path = download_file("https://httpbin.org/image/jpeg", "downloaded.jpg")
    print("Saved", path)
