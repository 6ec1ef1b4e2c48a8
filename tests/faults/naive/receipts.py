"""A receipt scanner as most tutorials write it."""

from __future__ import annotations

import re
from pathlib import Path

import requests


def scan(path: Path, url: str, key: str = "helloworld") -> str:
    """Return the text of a photo: what can go wrong?"""
    with open(path, "rb") as file:
        response = requests.post(url, headers={"apikey": key}, files={"file": file}, timeout=5)
    text: str = response.json()["ParsedResults"][0]["ParsedText"]
    return text


def scan_by_address(photo: str, url: str, key: str = "helloworld") -> None:
    """OCR.space takes a GET too, with the key in the address."""
    response = requests.get(url, params={"apikey": key, "url": photo}, timeout=5)
    response.raise_for_status()


def find_total(text: str) -> str | None:
    """Find the last amount after the word `total`."""
    match = re.search(r"(total.*)+?(\d+\.\d\d)", text, re.IGNORECASE | re.DOTALL)
    return match[2] if match else None


def scan_and_tell(path: Path, url: str, key: str = "helloworld") -> None:
    """Show the user whatever the service says."""
    with open(path, "rb") as file:
        response = requests.post(url, headers={"apikey": key}, files={"file": file}, timeout=5)
    raise ValueError(response.json())


def find_amounts(text: str) -> list[str]:
    """Find all amounts, with commas at the thousands."""
    return re.findall(r"(?:\d+,?)+\.\d\d", text)


def tidy_lines(text: str) -> str:
    """Remove the blanks at the end of each line, and empty lines."""
    return re.sub(r"(\s+)*\n", "\n", text)


def find_merchant(text: str) -> str:
    """Take the first line."""
    return text.splitlines()[0]
