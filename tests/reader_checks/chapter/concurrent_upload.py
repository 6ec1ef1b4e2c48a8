import requests
from concurrent.futures import ThreadPoolExecutor, as_completed

files = ["doc1.txt", "doc2.txt", "doc3.txt"]

def upload_single_file(filename):
    try:
        with open(filename, "rb") as f:
            response = requests.post("https://httpbin.org/post", files={"file": f}, timeout=30)
        response.raise_for_status()
        return f"OK {filename}: {response.status_code}"
    except Exception as e:
        return f"FAIL {filename}: {e}"

with ThreadPoolExecutor(max_workers=3) as executor:
    futures = [executor.submit(upload_single_file, name) for name in files]
    for future in as_completed(futures):
        print(future.result())
