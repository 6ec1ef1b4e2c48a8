"""What receipt_scanner.py does: a photo to OCR.space, and total and date out of its text."""

from __future__ import annotations

import ast
import contextlib
import datetime
import inspect
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFont

from reader_checks.claims import find_catching
from reader_checks.hints import describe_error, give_hint
from reader_checks.script import Result, Script, Unusable, chapter, exercise
from reader_checks.source import find_lost_json, find_node
from reader_checks.web import Received, Reply, answer_ocr, draw_picture

KEY = "K84127959588957"
PHOTO = "receipt.jpg"
HEAD = "HARBOR LANE COFFEE\nDate: 03/14/2024\n"
PLAIN = f"{HEAD}TOTAL\t$14.35\n"
KEYS = {  # under which a dict may hold a value, the best first
    "total": (r"^total$", r"(?<!sub)(?<!sub.)total", r"amount|sum|price"),
    "date": (r"^date$", r"date"),
}
AMOUNT = r"[^\w\s]?[A-Z]{0,3}[^\w\s]? ?-?\d[\d,.]*( ?[A-Z]{3}| ?[^\w\s])?"
MONTHS = re.compile(
    r"(?i)(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*|(?<=\d)[a-z]{1,2}"
)
DATE = r"\d[\d/.,: +-]*"
BACKSPACE = "\\b is a backspace in these quotes: write r before them, as for each pattern"
GOES_BY_TOTAL = r"(?i)^(?!.*print\().*(re\.\w+\(.*total|['\"] ?total ?:?['\"](?! *[:\]]))"
BLIND_PATTERNS = [  # which find nothing, and why
    (
        r"re\.\w+\(r?['\"].*(?<!\\)\$(?![)|'\"])",
        "$ in a pattern stands for the end: write \\$ for the letter",
    ),
    (r"re\.\w+\((?!\w?['\"])\w+, *r?['\"]", "the pattern comes first, then the text"),
    (
        r"re\.\w+\(\w?['\"]\^(?!.*re\.M)",
        "^ is the beginning of the text: re.MULTILINE makes it that of each line",
    ),
    (r"re\.match\(", "re.match() looks at the beginning of the text only, re.search() everywhere"),
]
NO_KEY = "the result has no {0}: the chapter calls it {0}"
ACCIDENTS = (AttributeError, LookupError, TypeError)  # what nobody raises on purpose

TIMED_OUT: dict[str, Any] = {
    "IsErroredOnProcessing": True,
    "OCRExitCode": 99,
    "ErrorMessage": ["Timed out waiting for results"],
}
FAILURE = answer_ocr(ParsedResults=None, **TIMED_OUT)

Scan = Callable[[str | Reply], Result]  # what the photo says, or what the API answers


def make(script: Script, **options: object) -> Result:
    """Return a scanner; it gets the key where it takes one."""
    kind = script.find("ReceiptScanner", kind="class")
    parameters = inspect.signature(kind).parameters
    names = [name for name in parameters if re.search("key|token|secret", name.lower())]
    needed = [
        name
        for name, one in parameters.items()
        if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    key = dict.fromkeys((names or needed)[:1], KEY)
    made = script.attempt(kind, **key, **options)
    if made.error:
        raise find_trouble(script, made)
    return made


def find_scan(script: Script, **options: object) -> Scan:
    """Return what scans a photo: the method that posts it and returns a dict with a total."""
    made = make(script, **options)
    script.make_file(PHOTO)
    troubles = []
    for path in (PHOTO, Path(PHOTO)):
        for name, method in script.methods(made.value).items():
            if not inspect.signature(method).parameters:
                continue
            scan = build_scan(script, method, path)
            result = scan(answer_ocr(PLAIN))
            if script.sent and any(True for key in KEYS for _ in find_values(result, key)):
                script.forget()
                return scan
            if script.sent or result.error:
                is_meant = bool(re.search("scan|process|receipt", name))
                troubles.append((bool(script.sent), is_meant, find_trouble(script, result)))
    if troubles:
        raise max(troubles, key=lambda trouble: trouble[:2])[2]
    script.called = "each public method with the path of a photo"
    raise find_trouble(script, Result("no photo was posted", None))


def build_scan(script: Script, method: Callable[..., Any], path: str | Path) -> Scan:
    def scan(reply: str | Reply) -> Result:
        answer = answer_ocr(reply.replace("\n", "\r\n")) if isinstance(reply, str) else reply
        script.web.answer = lambda request: answer
        script.forget()
        result = script.attempt(method, path)
        if isinstance(reply, str):
            lines = " / ".join(reply.replace("\t", " ").splitlines())
            script.called += f", and the photo says: {lines or 'nothing'}"
        return result

    return scan


def find_trouble(script: Script, result: Result) -> Unusable:
    """Return why no photo can be scanned."""
    got, hint, line = str(result), "", script.error_line
    if result.error:
        got, hint, line = script.explain(result.error)
    elif result.value is None and (told := script.find_print(r"14\.35")):
        hint, line = "what was found is only printed: return it, as a dict", told
    elif script.sent and result.value is None:
        hint, line = "the method gives nothing back: return total and date", script.sent[-1].line
    elif script.sent and isinstance(result.value, (tuple, list, set)):
        kind = type(result.value).__name__
        hint = f"a {kind} came back, which has no names: return a dict with total and date"
        line = script.search(r"\breturn +(\{|\(|\[|\w+, )") or find_returned(script)
    hint = hint or (
        "write one method that takes the path of a photo and returns a dict with total and date"
    )
    line = line or script.search(r"def (scan|\w*receipt)") or script.search("^class ")
    return Unusable(script.called, got, "a dict with a total and a date", hint, line)


def find_items(value: Any) -> list[tuple[str, Any]]:
    """Return what a result holds under which name: a dict, or an object with attributes."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, Mapping):
        return [(str(name), one) for name, one in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return [*value._asdict().items()]
    if isinstance(value, (str, bytes, int, float, list, tuple, type(None), Decimal)):
        return []
    names = [name for name in dir(value) if not name.startswith("_")]
    return [(name, getattr(value, name, None)) for name in names]


def find_values(result: Result, name: str) -> Iterator[Any]:
    """Yield what may be the total or the date of a result, the best first."""
    items = find_items(result.value)
    for pattern in KEYS[name]:
        yield from (
            value
            for key, value in items
            if re.search(pattern, key.lower()) and not inspect.isroutine(value)
        )


def find_value(result: Result, name: str) -> Any:
    """Return the total or the date of a result, None where there is none."""
    return next(find_values(result, name), None)


def find_amount(result: Result) -> Decimal | None:
    """Return the total of a result, be it a text, a float or a Decimal."""
    text = str(find_value(result, "total")).replace(",", "")
    match = re.search(r"-?\d+(?:\.\d+)?", text)
    return round(Decimal(match[0]), 2) if match else None


def expect_bare(script: Script, value: Any, name: str, pattern: str) -> None:
    """Expect a total or a date alone, without the words that stand around it."""
    takes_all = script.search(rf"(?i){name}.*\.[*+]\??\)|['\"]\.[*+].*\\d")
    line = takes_all or script.search(rf"['\"]{name}['\"] *:|(?i:{name}\w* *=.*(group|match))")
    hint = f"more than the {name} was taken: put only that in brackets, and take group(1)"
    if isinstance(value, re.Match):
        hint = f"a match is not the {name} yet: take what is in its brackets, with group(1)"
    elif inspect.isroutine(value):
        hint = "a function was named and not called: write () behind it"
    elif isinstance(value, (list, tuple, set)):
        hint = f"several values came, and one {name} is wanted: group(1), or one of the list"
    rest = MONTHS.sub("", str(value)) if name == "date" else str(value)
    script.expect(
        value is None or re.fullmatch(pattern, rest),
        got=f"the {name} {value!r}",
        expected=f"the {name} alone",
        hint=hint,
        line=line,
    )


def has_the_date(result: Result) -> bool:
    """Tell whether the date of a result is 14 March 2024, however it is written."""
    text = str(find_value(result, "date")).lower()
    numbers = re.findall(r"\d+", re.sub("mar[a-z]*", " 3 ", text))[:3]
    return {int(number) % 2000 for number in numbers} == {3, 14, 24}


def expect_no_error(script: Script, result: Result, expected: str) -> None:
    if result.error:
        got, hint = describe_error(result.error), give_hint(result.error)
        script.fail(got, expected, hint, script.error_line)


def expect_total(script: Script, result: Result, expected: str, hint: str) -> None:
    expect_no_error(script, result, f"the total {expected}")
    line = script.search(r"(?i)['\"].*total.*\\") or script.search(r"(?i)re\.|total.*in|\btotal")
    found, raw = find_amount(result), str(find_value(result, "total"))
    if not any(True for _ in find_values(result, "total")):
        hint, line = NO_KEY.format("total"), find_returned(script)
    elif found is None:
        hint, line = explain_nothing(script) or (hint, line)
    elif str(found) != expected and expected.endswith(str(found)):
        hint = ".* takes as much as it can, of the digits too: write .*? there, or \\D*"
    elif found == int(Decimal(expected)) and (cut := script.search(r"// *1\b|\bint\(|round\(")):
        hint, line = "the cents got lost in this line: leave the number as it is", cut
    elif re.fullmatch(r"\d+\.\d?", raw) and expected.startswith(raw):
        hint = "the amount was cut: behind the point stand two digits, as \\.\\d{2}"
    elif found == int(Decimal(expected)):
        hint = "the cents got lost: they stand behind the point, as \\.\\d{2}"
    elif "amount is" not in hint and not script.search(GOES_BY_TOTAL):
        hint = "this is another amount: go by the word TOTAL before it"
    if "amount is the c" in hint:
        line = script.search(r"\bmax\(|\[-1\]|sorted\(") or line
    script.expect(
        found == Decimal(expected) or isinstance(find_value(result, "total"), re.Match),
        got=f"the total {find_value(result, 'total')!r}",
        expected=f"the total {expected}",
        hint=hint,
        line=line,
    )
    expect_bare(script, find_value(result, "total"), "total", AMOUNT)


def find_returned(script: Script) -> int | None:
    """Return the line that returns total and date."""
    return script.search(r"\breturn +(\{|dict|\w+\()") or script.search("def scan")


def explain_nothing(script: Script) -> tuple[str, int] | None:
    """Return why a pattern finds nothing, and its line, where that can be seen."""
    if escaped := find_backspace(script):
        return BACKSPACE, escaped
    for pattern, hint in BLIND_PATTERNS:
        if line := script.search(pattern):
            return hint, line
    return None


def find_backspace(script: Script) -> int | None:
    """Return the line of a pattern in which \\b is no border of a word."""
    return find_node(
        script.source,
        lambda node: (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and "\b" in node.value
        ),
    )


def takes_key(script: Script) -> bool:
    """Tell whether ReceiptScanner is given its key."""
    parameters = inspect.signature(script.find("ReceiptScanner", kind="class")).parameters.values()
    return any(
        re.search("key|token|secret", one.name.lower()) or one.default is one.empty
        for one in parameters
    )


def find_key(request: Received) -> str:
    return request.headers.get("Apikey") or request.form.get("apikey") or ""


# ---------------------------------------------------------------------- the chapter


@chapter
def test_sends_the_photo_as_a_file(script: Script) -> None:
    """Open the photo in binary mode, and send it with files=."""
    find_scan(script)(answer_ocr())
    script.expect_binary_mode()
    request, line = script.web.received[-1], script.sent[-1].line
    script.expect(
        request.files,
        got=f"a body of the type {request.media_type or 'none'} without a file",
        expected="multipart/form-data with one file",
        hint="pass the open photo in files=: data= and json= send it as no file",
        line=line,
    )
    part = request.files[0]
    try:
        Image.open(io.BytesIO(part.content)).load()
        is_whole = True
    except OSError:
        is_whole = False
    script.expect(
        is_whole,
        got=f"{len(part.content):,} bytes that are no picture",
        expected=f"the {Path(PHOTO).stat().st_size:,} bytes of the photo",
        hint="files= got the name of the photo, not the photo: open it, pass the handle"
        if part.content.endswith(PHOTO.encode())
        else "send the photo as it is: all of its bytes, from the first on",
        line=line,
    )
    script.expect(
        "." in str(part.filename) or part.media_type or "filetype" in request.form,
        got=f"a file named {part.filename!r}, without a media type",
        expected=f"a file named {PHOTO!r}",
        hint="the API tells the kind of a picture by its name: send the name, with its extension",
        line=line,
    )
    lost = find_lost_json(script.source)
    script.expect(
        not lost,
        got="json= beside files=, and no such field arrived",
        expected="the fields in data=",
        hint="json= beside files= is dropped silently: pass the fields in data=",
        line=lost,
    )
    script.expect_results_printed()
    script.expect_loads()


@chapter
def test_keeps_the_key_secret(script: Script) -> None:
    """Send the key in the header apikey, and show it nowhere."""
    scan = find_scan(script)
    scan(answer_ocr())
    request, sent = script.web.received[-1], script.sent[-1]
    script.expect(
        KEY not in request.path,
        got=sent.url,
        expected="an address without the key",
        hint="addresses end up in logs and messages: send the key in the header apikey",
        line=sent.line,
    )
    key = find_key(request)
    is_given = takes_key(script)
    script.expect(
        key == KEY or (key and not is_given),
        got=f"the key {key!r}" if key else "a request without a key",
        expected=f"the key {KEY!r}, which ReceiptScanner was given" if is_given else "a key",
        hint="the API asks for your key: send the one that ReceiptScanner was given as apikey",
        line=sent.line,
    )
    hint = "the API key was printed: it is a password, keep it out of all output"
    expected = "no key in what is printed"
    printed = script.find_print(re.escape(key))
    script.expect(
        key not in script.printed, got=script.printed, expected=expected, hint=hint, line=printed
    )
    refusal = answer_ocr()
    refusal.status = 403
    for reply, says in ((refusal, "403 Forbidden"), (FAILURE, "IsErroredOnProcessing: true")):
        result = scan(reply)
        script.called += f", and the API answers {says}"
        script.expect(
            key not in f"{result.error} {result.value} {script.printed}",
            got=f"{result} {script.printed}",
            expected="a message without the key",
            hint="the API key is in the message: messages end up in logs, keep it out",
            line=script.error_line,
        )
    with contextlib.suppress(Unusable):  # it may ask for the photo, and nobody answers
        script.run_with_files(PHOTO)
    for key in filter(None, map(find_key, script.web.received)):
        printed = script.find_print(re.escape(key))
        script.expect(
            key not in script.printed,
            got=script.printed,
            expected=expected,
            hint=hint,
            line=printed,
        )


@chapter
def test_sets_a_timeout(script: Script) -> None:
    """Set a timeout."""
    find_scan(script)(answer_ocr())
    script.expect_timeouts()


@chapter
def test_checks_the_reply(script: Script) -> None:
    """Check the status and IsErroredOnProcessing before you read the text."""
    scan = find_scan(script)
    expected = "an exception, or no total"
    reply = answer_ocr(PLAIN)
    reply.status = 503
    result = scan(reply)
    script.called += ", and the API answers 503 Service Unavailable"
    hint, line = script.explain_status(
        "the status was not checked: let raise_for_status look at it before you read",
        script.sent[-1].line,
    )
    if caught := find_catching(script):
        hint = "the failure was caught here, and a total is returned all the same: let it through"
        line = caught
    script.expect(
        find_amount(result) is None, got=str(result), expected=expected, hint=hint, line=line
    )
    for reply in (answer_ocr(PLAIN, **TIMED_OUT), FAILURE):
        result = scan(reply)
        script.called += ", and the API answers IsErroredOnProcessing: true"
        hint = "the reply says IsErroredOnProcessing: ask for it before you read ParsedResults"
        line = script.error_line or script.search("ParsedResults|ParsedText")
        told = script.find_print(re.escape(str(TIMED_OUT["ErrorMessage"][0])))
        if as_text := script.search(r"IsErroredOnProcessing.*([=!]=|\bis|\bin) *[(\[]?['\"]"):
            hint, line = "IsErroredOnProcessing is True or False, and no text: no quotes", as_text
        elif told:
            hint = "the error was only printed, and the text is read all the same: raise it here"
            line = told
        script.expect(
            find_amount(result) is None and not isinstance(result.error, ACCIDENTS),
            got=str(result),
            expected=expected,
            hint=hint,
            line=line,
        )


@chapter
def test_finds_the_total(script: Script) -> None:
    """Find the TOTAL, not the SUBTOTAL, the largest or the last amount."""
    scan = find_scan(script)
    expect_total(
        script,
        scan(PLAIN),
        "14.35",
        "look for TOTAL in any case, and take the amount behind it, with $ or without",
    )
    text = f"{HEAD}SUBTOTAL\t13.25\nTAX\t1.10\nTOTAL\t$14.35\n"
    expect_total(
        script,
        scan(text),
        "14.35",
        "SUBTOTAL holds the word total too: look for TOTAL where a word begins",
    )
    result = scan(f"{HEAD}TEL 207-555-0142\nTOTAL\t$14.35\nCASH\t50.00\nCHANGE\t35.65\n")
    hints = {
        Decimal("50.00"): "the largest amount is the cash handed over: go by the word TOTAL",
        Decimal("35.65"): "the last amount is the change given back: go by the word TOTAL",
    }
    hint = "this is not the amount behind TOTAL: go by the word"
    expect_total(script, result, "14.35", hints.get(find_amount(result) or Decimal(0), hint))


@chapter
def test_finds_the_date(script: Script) -> None:
    """Find the date, not a number that only looks like one."""
    scan = find_scan(script)
    hints = {
        PLAIN: "look for two numbers and a year, with / between them",
        f"TEL 207-555-0142\nORDER 1187/2024/03\nTABLE 3 09:41:27\n{PLAIN}": (
            "not all numbers with - / or : are a date: month and day have one or two digits"
        ),
    }
    for text, hint in hints.items():
        result = scan(text)
        expect_no_error(script, result, "the date 03/14/2024")
        value, line = find_value(result, "date"), script.search(r"(?i)date\b.*(re\.|\\d)|\\d.*/")
        if not any(True for _ in find_values(result, "date")):
            hint, line = NO_KEY.format("date"), find_returned(script)
        elif value is None:
            hint, line = explain_nothing(script) or (hint, line)
        elif len(str(value)) > 5 and "03/14/2024".startswith(str(value)):
            hint = "the year was cut: it has two digits or four, as \\d{2,4}"
        script.expect(
            has_the_date(result) or isinstance(value, re.Match),
            got=f"the date {value!r}",
            expected="the date 03/14/2024",
            hint=hint,
            line=line,
        )
        expect_bare(script, value, "date", DATE)


@chapter
def test_makes_nothing_up(script: Script) -> None:
    """Return None for what is not on the receipt."""
    scan = find_scan(script)
    both = scan(PLAIN)
    for text in ("THANK YOU\nCOME AGAIN\n", "", HEAD, "TOTAL\t$14.35\n"):
        result = scan(text)
        _, hint, line = script.explain(result.error) if result.error else ("", "", None)
        if isinstance(result.error, ACCIDENTS):
            hint = "re.search returns None where nothing fits: ask before you take its group"
        elif result.error:
            hint = "a receipt without a total is no accident: return None for what is not there"
        script.expect(
            not result.error,
            got=str(result),
            expected="None for what is not there",
            hint=hint,
            line=line,
        )
        for name, is_there, hint in (
            ("total", "TOTAL" in text, "no TOTAL stands there: None says so, a 0 is an amount"),
            ("date", "/" in text, "no date stands there: None says so, another one is a guess"),
        ):
            value = find_value(result, name)
            where = script.search(rf"['\"]{name}['\"] *[:\]]") or script.search(rf"(?i){name} *=")
            if is_there:
                script.expect(
                    value is not None or find_value(both, name) is None,  # never is it found
                    got=f"the {name} {value!r}",
                    expected=f"the {name} that stands there",
                    hint="only the other value is missing: return what was found all the same",
                    line=where,
                )
            else:
                if value and not re.search(r"\d", str(value)):
                    hint = "a text in its place is no None, which is what others ask for"
                script.expect(
                    value in (None, ""),
                    got=f"the {name} {value!r}",
                    expected=f"the {name} None",
                    hint=hint,
                    line=where,
                )


# ---------------------------------------------------------------------- the exercises


@exercise
def test_returns_the_total_as_a_decimal(script: Script) -> None:
    """Return the total as a decimal.Decimal, exact to the cent."""
    scan = find_scan(script)
    script.require("decimal" in script.source, "no Decimal in the script")
    totals = []
    for amount in ("0.10", "0.20"):
        result = scan(f"{HEAD}TOTAL\t${amount}\n")
        expect_no_error(script, result, f"Decimal('{amount}')")
        totals.append(find_value(result, "total"))
        script.expect(
            isinstance(totals[-1], Decimal),
            got=f"the total {totals[-1]!r}",
            expected=f"Decimal('{amount}')",
            hint="0.1 + 0.2 is not 0.3 in floats, and no sum in texts: return a Decimal",
            line=script.search(r"(?i)decimal\(|float\(|total.*group|return .*(total|group)"),
        )
    script.expect(
        sum(totals) == Decimal("0.30"),
        got=f"0.10 + 0.20 = {sum(totals)}",
        expected="0.10 + 0.20 = 0.30",
        hint="a Decimal made of a float keeps the float's error: make it of the text",
        line=script.search(r"Decimal\("),
    )


@exercise
def test_refuses_what_is_no_picture(script: Script) -> None:
    """Refuse a file that is no picture, or half of one, before it is sent."""
    scan = find_scan(script)
    photo = draw_picture()
    page = b"<!DOCTYPE html><html><body>not found</body></html>"
    attempts = []
    for name, content, hint in (
        ("an HTML page", page, "a name with .jpg proves nothing: look into the file first"),
        ("an empty file", b"", "an empty file is no picture: look into the file first"),
        (
            "half of a photo",
            photo[: len(photo) // 2],
            "opening a picture reads its head only: decode all of it first",
        ),
    ):
        script.make_file(PHOTO, content)
        result = scan(answer_ocr())
        attempts.append((name, hint, result, script.sent[0].line if script.sent else None))
    begun = "PIL" in script.source or not all(line for *_, line in attempts)
    script.require(begun, "all that is called .jpg is sent")
    called = script.called
    for name, hint, result, line in attempts:
        script.called = f"{called}, which is {name}"
        expected = "an exception before anything is sent"
        script.expect(not line, got="it was sent", expected=expected, hint=hint, line=line)
        script.expect(
            result.error,
            got=str(result),
            expected=expected,
            hint="whoever calls must learn that nothing was sent: raise an exception",
            line=script.search(r"\bopen\(|return None|verify\("),
        )


@exercise
def test_escapes_the_subtotal_trap(script: Script) -> None:
    """Find what is to be paid among all lines that say total."""
    scan = find_scan(script)
    traps = {
        "SUB TOTAL\t13.25\nTAX\t1.10\nTOTAL\t$14.35\n": "SUB TOTAL is a subtotal, written apart: "
        "look at the word before, too",
        "TOTAL\t$14.35\nSUBTOTAL\t13.25\nTAX\t1.10\n": "the subtotal may stand below the total: "
        "go by the words, not by the order",
        "TOTAL TAX\t1.10\nTOTAL\t$14.35\n": "TOTAL TAX is only the tax: look at the word behind, "
        "too",
        "TOTAL\t$14.35\nTOTAL SAVINGS\t2.00\n": "what was saved is not what is to be paid: look "
        "at the word behind, too",
        "TOTAL\t$14.35\nTOTAL PAID\t20.00\nCHANGE\t5.65\n": "TOTAL PAID is what was handed over: "
        "look at the word behind, too",
        "SUBTOTAL\t13.25\nTAX\t1.10\nAMOUNT DUE\t$14.35\nCASH\t20.00\n": "AMOUNT DUE is another "
        "name of the total: look for it where there is no TOTAL",
    }
    is_begun = re.search(r"due|paid|saving|tax|\bsub\b", script.source, re.IGNORECASE)
    for text, hint in traps.items():
        result = scan(HEAD + text)
        is_escaped = find_amount(result) == Decimal("14.35")
        script.require(bool(is_begun or is_escaped), "no line but TOTAL and SUBTOTAL is known")
        expect_total(script, result, "14.35", hint)


@exercise
def test_reports_an_ambiguous_date(script: Script) -> None:
    """Say when a date has two readings, and read it day first on demand."""
    begun = "date_is_ambiguous" in script.source or "day_first" in script.source
    script.require(begun, "no date_is_ambiguous, no day_first")
    swapped = "month and day are swapped: 03/04/2024 is 4 March, 3 April only with day_first=True"
    for day_first in (False, True):
        scan = find_scan(script, day_first=day_first)
        for printed, month, day, is_ambiguous, hint in (
            ("03/04/2024", 4 if day_first else 3, 3 if day_first else 4, True, swapped),
            ("03/14/2024", 3, 14, False, "there is no month 14: only one order is left"),
            ("03/03/2024", 3, 3, False, "3 March is the same in both orders: one reading"),
        ):
            result = scan(f"HARBOR LANE COFFEE\n{printed}\nTOTAL\t$14.35\n")
            script.called = f"with day_first={day_first}: {script.called}"
            date = datetime.date(2024, month, day)
            expect_no_error(script, result, f"the date {date}")
            value = find_value(result, "date")
            if isinstance(value, datetime.datetime):
                value = value.date()
            script.expect(
                isinstance(value, datetime.date) or str(value) == str(date),
                got=f"the date {value!r}",
                expected=f"datetime.date({date.year}, {date.month}, {date.day})",
                hint="a text leaves open which number is the month: return a datetime.date",
                line=script.search(r"(?i)day_first|date.*group|strptime"),
            )
            script.expect(
                str(value) == str(date),
                got=f"the date {value}",
                expected=f"{date}",
                hint=hint,
                line=script.search(r"(?i)= .*day_first|if .*day_first|strptime|\bdate\("),
            )
            flag = dict(find_items(result.value)).get("date_is_ambiguous")
            script.expect(
                flag is is_ambiguous,
                got=f"date_is_ambiguous: {flag!r}",
                expected=f"date_is_ambiguous: {is_ambiguous!r}",
                hint="both numbers can be the month: two readings" if is_ambiguous else hint,
                line=script.search("ambiguous"),
            )


@exercise
def test_draws_the_evidence(script: Script) -> None:
    """Mark on the photo where total and date were found."""
    script.require("--annotate" in script.source, "no option --annotate")
    photo, page, boxes = draw_receipt()
    is_asked = False

    def answer(request: Received) -> Reply:
        nonlocal is_asked
        is_asked = request.form.get("isOverlayRequired", "").lower() == "true"
        overlay = page if is_asked else page | {"TextOverlay": None}
        return answer_ocr(ParsedResults=[overlay])

    script.web.answer = answer
    script.make_file("receipt.png", photo)
    run = script.run("receipt.png", "--annotate", "marked.png")
    script.expect(
        is_asked or not script.sent,
        got="a request without isOverlayRequired",
        expected="isOverlayRequired: true",
        hint="the API says where the words stand only when it is asked: isOverlayRequired",
        line=script.sent[-1].line if script.sent else None,
    )
    marked = Path("marked.png")
    script.expect(
        marked.exists(),
        got=describe_error(run.error) if run.error else f"no marked.png; printed: {run.out}",
        expected="marked.png",
        hint=give_hint(run.error)
        if run.error
        else "save the marked photo under the name behind --annotate",
        line=script.error_line or script.search(r"\.save\(|annotate"),
    )
    before, after = (Image.open(path).convert("RGB") for path in ("receipt.png", marked))
    script.expect(
        before.size == after.size,
        got=f"a picture of {after.width}x{after.height} pixels",
        expected=f"{before.width}x{before.height}",
        hint="draw on the photo that was sent: the coordinates count its pixels",
        line=script.search(r"Image\.open|resize|Image\.new"),
    )
    change = ImageChops.difference(before, after)
    hints = {
        "date": "mark the lines of total and date: Left, Top, Width and Height count pixels",
        "article": "mark only the lines that the values came from, not all that was read",
        "total": "the API may give TOTAL and its amount as two lines: mark one of them, or both",
    }
    for name, box in boxes.items():
        is_marked = any(max(band.tobytes()) > 60 for band in change.crop(box).split())
        should_be = name != "article"
        script.expect(
            is_marked == should_be,
            got=f"{'a mark' if is_marked else 'no mark'} at the {name}, around {box}",
            expected=f"{'a mark' if should_be else 'no mark'} there",
            hint=hints[name],
            line=script.search(r"\.(rectangle|line|polygon|ellipse)\("),
        )


def draw_receipt() -> tuple[bytes, dict[str, Any], dict[str, tuple[int, int, int, int]]]:
    """Return a photo, what the API says of it with coordinates, and where marks are looked for."""
    image = Image.new("RGB", (700, 760), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(28)
    rows = {
        "merchant": "HARBOR LANE COFFEE",
        "date": "Date: 03/14/2024",
        "article": "2 Flat White\t9.00",
        "total": "TOTAL\t$14.35",
    }
    lines, boxes = [], {}
    for number, (name, row) in enumerate(rows.items()):
        top = 60 + 180 * number
        for text, left in zip(row.split("\t"), (100, 500), strict=False):
            words = []
            for word in text.split():
                draw.text((left, top), word, "black", font)
                width = int(font.getlength(word))
                box = {"Left": left, "Top": top, "Height": 30, "Width": width}
                words.append({"WordText": word, **box})
                left += width + 10
            lines.append({"LineText": text, "Words": words, "MaxHeight": 30, "MinTop": top})
        if name != "merchant":
            boxes[name] = (85, top - 15, left + 5, top + 45)
    file = io.BytesIO()
    image.save(file, "PNG")
    page = {
        "TextOverlay": {"Lines": lines, "HasOverlay": True, "Message": None},
        "TextOrientation": "0",
        "FileParseExitCode": 1,
        "ParsedText": "\t\r\n".join(rows.values()),
        "ErrorMessage": "",
        "ErrorDetails": "",
    }
    return file.getvalue(), page, boxes
