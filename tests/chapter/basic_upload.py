import requests

with open("photo.jpg", "rb") as f:
    response = requests.post("https://httpbin.org/post", files={"file": f}, timeout=10)

response.raise_for_status()
data = response.json()
print(response.status_code)
print(response.request.headers["Content-Type"])
print(data["files"]["file"][:60])
