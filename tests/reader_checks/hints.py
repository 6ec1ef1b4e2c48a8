"""What usually stands behind an exception of a beginner's script, in the words of the chapter."""

from __future__ import annotations

import builtins
import difflib
import json
import keyword
import re
import sys
import traceback
from decimal import InvalidOperation
from pathlib import Path
from typing import Any

import requests
from requests import exceptions

TEXT_MODE = "the file was opened in text mode: open it with 'rb'"
NOTHING_OUT = "the checks let nothing out"
NOT_YOURS = "the checks write in their own folder only"
NO_HINT = "the script ended here: handle what can be expected, mend what can't"
MAX_VALUE = 160  # letters of a value in a report


def shorten(value: object, limit: int = MAX_VALUE) -> str:
    """Return a value as a report shows it, on one line."""
    if isinstance(value, str) and type(value) is not str:
        value = str(value)
    if isinstance(value, requests.Response):
        text = f"<Response [{value.status_code}]>"
    elif isinstance(value, Path):
        text = repr(str(value))
    else:
        try:
            text = repr(value)
        except Exception as error:
            text = f"<{type(value).__name__}, whose repr() raises {type(error).__name__}>"
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(text.split()))
    return text if len(text) <= limit else f"{text[: limit - 20]} ... {text[-15:]}"


def shorten_text(text: str, limit: int = MAX_VALUE) -> str:
    """Return a text on one line."""
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def describe_error(error: BaseException) -> str:
    """Return an exception on one line."""
    words = shorten_text(str(error))
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


# The function of requests that an exception came through, and what it was given wrongly.
FRAME_HINTS = {
    "_encode_files": "files= takes a dict: the name of the field, and the open file",
    "to_key_val_list": "this takes a dict: names, and what belongs to each",
    "_encode_params": "data= takes a dict of form fields, bytes, or an open file",
    "prepare_json": "json= takes what JSON knows: no bytes, no file",
    "check_header_validity": "the value of a header is a text: look at what stands there",
    "prepare_headers": "headers= takes a dict of texts",
    "prepare_auth": "auth= takes a name and a password",
}

STATUS_HINTS = {
    404: "404 says that nothing is at this address: look at it letter by letter",
    405: "405 says that this address takes another method: httpbin's /post takes a POST",
}

SURE_HINTS = [  # where the words of an exception say all
    (NOTHING_OUT, "the checks answer what goes through requests: send it with that"),
    ("start no other programs", "leave this line out: the chapter needs no other program"),
    (
        rf"{NOT_YOURS}|change no file of yours",
        "the script has a folder of its own here: use names without a folder",
    ),
    (
        r"(?i)timeout value|timeout cannot",
        "timeout= takes a number of seconds, more than 0 and without quotes",
    ),
    (
        r"^(not readable|read)$",
        "this file was opened to write: open it with 'rb' to read",
    ),
    (r"^(not writable|write)$", "this file was opened to read: open it with 'wb' to write"),
    (
        r"write\(\) argument must be str, not bytes",
        "what comes is bytes, and the file was opened as text: open it with 'wb'",
    ),
    (
        r"cannot schedule new futures",
        "the pool is closed at the end of its with block: submit inside of it",
    ),
    (
        r"'tuple' object has no attribute",
        "a comma makes a tuple of it: look where the bracket ends",
    ),
    (r"'list' object has no attribute 'group'", "findall() gives a list of texts: take one of it"),
    (r"'str' object has no attribute 'group'", "this is a text already: leave out group()"),
    (r"^no such group$", "the pattern has fewer brackets than that: count them"),
    (r"list indices must be integers", "this is a list: take one of it first, with [0]"),
    (r"has no attribute 'result'", "map() gives the results themselves: leave out result()"),
    (r"closed file", "the file was closed before it was used: send it inside of the with block"),
    (
        r"not '\w*Reader'$",
        "files= builds the whole body in memory: pass the reader as data=",
    ),
    (
        r"not JSON serializable",
        "json= takes what JSON knows: a file goes into files=, a reader into data=",
    ),
    (
        r"Instead was <class",
        "the class itself was passed: make a reader of it, with the path in brackets",
    ),
    (
        r"'(\w*Path|str)' object has no attribute '(read|seek|tell|fileno)'",
        "this is a path, and no open file: open it first",
    ),
    (r"not Response$", "the answer itself is no text: call its json()"),
    (
        r"bytes-like object is required, not '(list|tuple|dict)'",
        "a list of lines is no file: pass the handle, or what read() returns",
    ),
    (
        r"for /: 'str' and 'str'",
        "texts are not joined with /: make a Path of the first",
    ),
    (
        r"no attribute '_condition'",
        "as_completed() takes futures, and map() gives results: take submit(), or map() alone",
    ),
    (r"must derive from BaseException", "only an exception can be raised: a class, with the text"),
    (
        r"do not inherit from BaseException",
        "this class is no exception: write (Exception) behind its name",
    ),
    (r"must be an int, it is instead|integer is required", "a number is needed: no quotes"),
    (
        r"BufferedReader' object has no attribute '(translate|replace|encode)'",
        "name and file are in the wrong order: (name, handle, media type)",
    ),
    (
        r"(function|method)'? object is not (subscriptable|iterable)"
        r"|'(function|method|builtin_function_or_method)' object has no attribute"
        r"|'(function|method|builtin_function_or_method)' and "
        r"|not '?(builtin_function_or_method|method|function)'?$",
        "a function was named and not called: write () behind it",
    ),
]

MESSAGE_HINTS = [  # where the words say more than the kind of exception
    (r"or iterable\. Instead", "this can't be iterated: is __iter__ misspelt?"),
    (
        r"NoneType\b|^expected string or bytes-like object$",
        "this is None: does the function that made it return its result?",
    ),
    (
        r"must be (a )?bytes|bytes-like object is required|can't concat str to bytes"
        r"|cannot use a (string|bytes) pattern|must be str.*not bytes|expected str.*bytes",
        "bytes and text don't mix: write b before the quotes, or open the file with 'rb'",
    ),
    (
        r"iter\(\) returned non-iterator",
        "__iter__ gives no chunks: write yield chunk in its loop, no return",
    ),
    (
        r"not '?(list|tuple|dict|set)'?$|argument should be a str.*not '?(list|tuple|dict|set)",
        "one file is needed here, and this is a list of files: take one after the other",
    ),
    (
        r"'(str|int|float|bool|dict|list|bytes|CaseInsensitiveDict)' object is not callable",
        "this is a value and no function: leave out the (), or use [] for one of its entries",
    ),
    (r"'Response' object is not subscriptable", "this is the whole answer: .json() gives its dict"),
    (
        r"string indices must be|'str' object has no attribute '(get|items|keys|status_code|json)'",
        "this is a text, where a dict or an answer is needed: look at what made it",
    ),
    (
        r"for [-+*/%<>=]+: '(str|int|float)' and '(str|int|float)'"
        r"|between instances of '(str|int|float)' and '(str|int|float)'"
        r"|can only concatenate str",
        "a text and a number: int() or float() makes a number of a text, str() a text of a number",
    ),
    (
        r"\w\(\) takes no arguments",
        "the class has no __init__ for these: is it misspelt? Write two underscores on each side",
    ),
    (
        r"\w\.\w+\(\) takes \d+ positional|missing 1 required positional argument: 'self'",
        "the call and the method don't fit: compare the parameters, of which the first is self",
    ),
    (
        r"(positional|keyword|required) (only )?argument|multiple values for",
        "the call and the function don't fit: compare the parameters",
    ),
    (r"has no len\(\)", "this has no length: it yields one value after the other"),
    (
        r"(?i)^'content-type'$",
        "a server may send no Content-Type at all: ask with .get(), and go on without it",
    ),
    (r"could not convert string to float", "there is more than a number in this text: cut it out"),
]

ERROR_HINTS: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
    (UnicodeDecodeError, TEXT_MODE),
    (UnboundLocalError, "this name has no value yet in this function: give it one before"),
    (NameError, "a name is not there: is it misspelt, or is an import or a class missing?"),
    (
        ModuleNotFoundError,
        "a module is not installed: the chapter needs requests and Pillow only; put a module of"
        " your own beside the script",
    ),
    (ImportError, "an import fails: is the name misspelt?"),
    (IsADirectoryError, "this is a folder: take the files in it, one after the other"),
    (FileNotFoundError, "the path leads nowhere: use the path that was given, as it was given"),
    (AttributeError, "this kind of value has no such attribute: is it misspelt?"),
    (SystemExit, "let functions return or raise: don't end the process"),
    (KeyError, "not every answer holds this key: look at the whole answer first"),
    (IndexError, "there may be nothing in this list: ask before you take the first"),
    (ZeroDivisionError, "a file may be empty, and nothing can be divided by 0: ask before"),
    (InvalidOperation, "there is more than a number in this text: cut it out first"),
    (re.error, "this is no regular expression: look at its brackets and backslashes"),
    (TypeError, "a value of another type is needed here: look at what this line works with"),
    (
        (json.JSONDecodeError, exceptions.InvalidJSONError),
        "not every answer is JSON: check the status before you call json()",
    ),
    (requests.HTTPError, "servers do fail: handle the status, don't let it end the script"),
    (requests.Timeout, "servers do hang: handle the timeout, don't let it end the script"),
    (
        (exceptions.MissingSchema, exceptions.InvalidSchema, exceptions.InvalidURL),
        "this is no URL: it begins with https://, or something else stands where it belongs",
    ),
    (
        exceptions.InvalidHeader,
        "the value of a header is a text: look at what stands there",
    ),
    (requests.RequestException, "networks do fail: handle this error, don't let it end the script"),
    (RecursionError, "a function calls itself without end"),
    (MemoryError, "all of a large file was held in memory: work in chunks"),
]


KNOWN_IMPORTS = sys.stdlib_module_names | {
    *("requests", "Path", "ThreadPoolExecutor", "as_completed", "Decimal", "Image", "date"),
    *("datetime", "BytesIO", "dataclass", "urlparse", "ImageDraw", "ImageOps"),
}
KEYS = """ParsedResults ParsedText IsErroredOnProcessing ErrorMessage OCRExitCode TextOverlay
    args data files form headers json origin url""".split()
PARAMETERS = "files data json headers timeout stream params auth max_workers chunk_size".split()


def give_hint(error: BaseException) -> str:
    """Return what usually stands behind an exception."""
    text = str(error)
    if isinstance(error, OSError) and re.search(r"[\x00-\x1f]", str(error.filename)):
        return "a backslash in a path means something else to Python: write / instead"
    if isinstance(error, OSError) and re.match(r"https?:", str(error.filename)):
        return "an address stands where the path belongs: look at the order of the arguments"
    if isinstance(error, OSError) and re.search(r"\{\w", str(error.filename)):
        return "the braces are nothing special in this text: write f before its quotes"
    for pattern, hint in SURE_HINTS:
        if re.search(pattern, text):
            return hint
    if isinstance(error, (TypeError, ValueError, AttributeError)):
        frames = traceback.extract_tb(error.__traceback__)
        through = [frame.name for frame in frames if "requests" in frame.filename]
        for name, hint in FRAME_HINTS.items():
            if name in through and not isinstance(error, (OSError, UnicodeError)):
                return hint
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in STATUS_HINTS:
        return STATUS_HINTS[status]
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unexpected and (meant := guess_name(unexpected[1], PARAMETERS)):
        return f"there is no parameter {unexpected[1]} here: did you mean {meant}?"
    for pattern, hint in MESSAGE_HINTS:
        if re.search(pattern, text):
            return hint
    if isinstance(error, (AttributeError, NameError)) and error.name:
        known = find_known(error)
        if isinstance(error, NameError) and error.name in ("r", "rb", "w", "wb", "a", "ab"):
            return f"{error.name} is a text here: write quotes around it"
        if isinstance(error, NameError) and error.name in KNOWN_IMPORTS:
            return f"{error.name} is not imported: its import at the top is missing"
        if isinstance(getattr(error, "obj", None), requests.Response) and re.match(
            "content_(type|length|encod)", str(error.name).lower()
        ):
            return "the headers of an answer stand in response.headers, under their names"
        if meant := guess_name(str(error.name), known):
            return f"there is no {error.name} here: did you mean {meant}?"
    if isinstance(error, KeyError) and (meant := guess_name(str(error.args[0]), KEYS)):
        return f"there is no {error} in it: did you mean {meant!r}?"
    for kind, hint in ERROR_HINTS:
        if isinstance(error, kind):
            return hint
    return NO_HINT


def find_known(error: Any) -> list[str]:
    """Return the names that are there where an attribute or a name is not."""
    if isinstance(error, AttributeError):
        return [name for name in dir(error.obj) if not name.startswith("_")]
    known = [*vars(builtins), *keyword.kwlist]
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    if frame:
        known += [*frame.tb_frame.f_locals, *frame.tb_frame.f_globals]
    return known


def guess_name(name: str, known: list[str]) -> str:
    """Return a name that is almost the one that is not there, "" where there is none."""
    longer = [one for one in known if len(name) > 3 and one.startswith(name)]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return (close + longer or [""])[0]
