import re
import sys
from datetime import date
from decimal import Decimal

import requests
from PIL import Image, ImageDraw

AMOUNT = re.compile(r"\$?(\d+\.\d{2})\s*$")
OTHERS = ["sub", "tax", "saving", "paid", "discount"]


class ReceiptScanner:
    def __init__(self, api_key, day_first=False):
        self.api_key = api_key
        self.day_first = day_first

    def ask(self, image_path):
        with Image.open(image_path) as image:
            image.load()
        with open(image_path, "rb") as f:
            response = requests.post(
                "https://api.ocr.space/parse/image",
                headers={"apikey": self.api_key},
                files={"file": f},
                data={"language": "eng", "isTable": "true", "isOverlayRequired": "true"},
                timeout=30,
            )
        response.raise_for_status()
        result = response.json()
        if result["IsErroredOnProcessing"]:
            raise ValueError(result["ErrorMessage"])
        return result["ParsedResults"][0]

    def scan(self, image_path):
        text = self.ask(image_path)["ParsedText"]
        day, is_ambiguous = self.find_date(text)
        return {"total": find_total(text), "date": day, "date_is_ambiguous": is_ambiguous}

    def find_date(self, text):
        match = re.search(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b", text)
        if not match:
            return None, False
        first, second, year = map(int, match.groups())
        month, day = (second, first) if self.day_first else (first, second)
        if month > 12:
            month, day = day, month
        is_ambiguous = first <= 12 and second <= 12 and first != second
        return date(year, month, day), is_ambiguous


def is_total(line):
    words = line.lower()
    return ("total" in words or "due" in words) and not any(word in words for word in OTHERS)


def find_total(text):
    for line in text.splitlines():
        match = AMOUNT.search(line)
        if match and is_total(line):
            return Decimal(match.group(1))
    return None


def annotate(image_path, page, output_path):
    image = Image.open(image_path).convert("RGB")
    draw = ImageDraw.Draw(image)
    for line in page["TextOverlay"]["Lines"]:
        if is_total(line["LineText"]) or re.search(r"\d/\d", line["LineText"]):
            words = line["Words"]
            left = min(word["Left"] for word in words)
            right = max(word["Left"] + word["Width"] for word in words)
            top = words[0]["Top"]
            bottom = top + words[0]["Height"]
            draw.rectangle((left - 5, top - 5, right + 5, bottom + 5), outline="red", width=3)
    image.save(output_path)


if __name__ == "__main__":
    image_path = sys.argv[1] if len(sys.argv) > 1 else "receipt.jpg"
    scanner = ReceiptScanner("helloworld")
    if "--annotate" in sys.argv:
        page = scanner.ask(image_path)
        annotate(image_path, page, sys.argv[sys.argv.index("--annotate") + 1])
    else:
        receipt = scanner.scan(image_path)
        print("Total:", receipt["total"])
        print("Date:", receipt["date"])
