import requests

url = "https://httpbin.org/post"
filename = "photo.jpg"

# "rb" means: read the bytes as they are
with open(filename, "rb") as f:
    files = {"file": f}
    response = requests.post(url, files=files, timeout=10)

response.raise_for_status()

print("Status:", response.status_code)
print("Sent as:", response.request.headers["Content-Type"])

data = response.json()
print("Received:", data["files"]["file"][:60])
print("Upload successful!")
