import re

import requests


class ReceiptScanner:
    def __init__(self, api_key):
        self.api_key = api_key

    def extract_text(self, image_path):
        with open(image_path, "rb") as f:
            response = requests.post(
                "https://api.ocr.space/parse/image",
                headers={"apikey": self.api_key},
                files={"file": f},
                data={"language": "eng", "isTable": "true"},
                timeout=30,
            )
        response.raise_for_status()
        result = response.json()
        if result["IsErroredOnProcessing"]:
            raise ValueError(result["ErrorMessage"])
        return result["ParsedResults"][0]["ParsedText"]

    def scan(self, image_path):
        text = self.extract_text(image_path)
        total = re.search(r"\btotal[:\s]*\$?(\d+\.\d{2})", text, re.IGNORECASE)
        date = re.search(r"\b\d{1,2}/\d{1,2}/\d{2,4}\b", text)
        return {
            "total": total.group(1) if total else None,
            "date": date.group(0) if date else None,
        }


scanner = ReceiptScanner("helloworld")
receipt = scanner.scan("receipt.jpg")
print("Total:", receipt["total"])
print("Date:", receipt["date"])
