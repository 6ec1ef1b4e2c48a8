import requests


class ContentTypeMismatch(Exception):
    pass


def download_file(url, output_path, expected_prefix="image/", chunk_size=8192):
    response = requests.get(url, stream=True, timeout=10)
    response.raise_for_status()
    content_type = response.headers.get("Content-Type", "")
    if not content_type.startswith(expected_prefix):
        raise ContentTypeMismatch(f"expected {expected_prefix}, got {content_type}")
    with open(output_path, "wb") as f:
        for chunk in response.iter_content(chunk_size=chunk_size):
            f.write(chunk)
    return output_path


path = download_file("https://httpbin.org/image/jpeg", "downloaded.jpg")
print("Saved", path)

try:
    download_file("https://httpbin.org/html", "page.jpg")
except ContentTypeMismatch as error:
    print("Refused:", error)
