"""What stands in a reader's script, as far as one can tell without running it."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import re
import types
from collections.abc import Callable
from pathlib import Path

EXTENSIONS = "jpe?g|png|gif|webp|pdf|txt|csv|md|json|docx|zip|mp4|mov|avi|mkv|mp3|wav|bin|dat|heic"
FILE_NAME = re.compile(rf"[\w .()\-/\\]*[\w)]\.({EXTENSIONS})", re.IGNORECASE)
NOTE = "_note_what_is_caught"  # stands in each handler of an exception


@functools.lru_cache(maxsize=64)
def find_file_names(source: str) -> set[str]:
    """Return the names of files that a script mentions, "doc{number}.txt" with each digit."""
    names: set[str] = set()
    for node in walk(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            pieces = [
                piece.value if isinstance(piece, ast.Constant) else None for piece in node.values
            ]
            for digit in "0123456789":
                names.add("".join(digit if piece is None else str(piece) for piece in pieces))
    return {name for name in names if FILE_NAME.fullmatch(name) and not Path(name).is_absolute()}


@functools.lru_cache(maxsize=8)
def walk(source: str) -> list[ast.AST]:
    """Return what a script consists of, nothing where Python can't read it."""
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return [*ast.walk(ast.parse(source))]
    return []


def find_node(source: str, is_wanted: Callable[[ast.AST], object]) -> int | None:
    """Return the first line of a script where such a thing stands."""
    lines = [getattr(node, "lineno", 0) for node in walk(source) if is_wanted(node)]
    return min(lines, default=None)


@functools.lru_cache(maxsize=256)
def find_line(source: str, pattern: str) -> int | None:
    """Return the first line of a script's code that looks so."""
    for number, line in enumerate(source.splitlines(), 1):
        if re.search(pattern, line) and not line.lstrip().startswith("#"):
            return number
    return None


def find_none_at_the_end(source: str) -> int | None:
    """Return the line of a loop that waits until read() gives None, which it never does."""
    names = {
        target.id
        for node in walk(source)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
        and ast.unparse(node.value).endswith(")")
        and ".read(" in ast.unparse(node.value)
    }
    stored = [
        node.id
        for node in walk(source)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]

    def waits(node: ast.AST) -> bool:
        if not isinstance(node, ast.While):
            return False
        return any(
            isinstance(one, ast.If)
            and isinstance(one.body[0], (ast.Break, ast.Return))
            and re.fullmatch(r"(\w+) (is|==) None", said := ast.unparse(one.test))
            and said.split()[0] in names
            and stored.count(said.split()[0]) == 1
            for one in node.body
        )

    return find_node(source, waits)


def find_lost_json(source: str) -> int | None:
    """Return the line of a call with json= beside files=, which requests drops."""

    def loses(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        given = [one.arg for one in node.keywords if isinstance(one.value, (ast.Dict, ast.Name))]
        passed = [one.arg for one in node.keywords if getattr(one.value, "id", "") == one.arg]
        return {"files", "json"} <= {*given} and "json" not in passed

    return find_node(source, loses)


def find_uncalled(source: str, method: str) -> int | None:
    """Return the line where a method is named without () behind it."""
    tree = walk(source)
    called = {id(node.func) for node in tree if isinstance(node, ast.Call)}
    lines = [
        node.lineno
        for node in tree
        if isinstance(node, ast.Attribute) and node.attr == method and id(node) not in called
    ]
    return min(lines, default=None)


@functools.lru_cache(maxsize=64)
def parse_script(source: bytes) -> ast.Module:
    try:
        return ast.parse(importlib.util.decode_source(source))  # as Python itself reads a script
    except ValueError as error:
        line = None
        if isinstance(error, UnicodeDecodeError):
            line = source.count(b"\n", 0, error.start) + 1
        raise SyntaxError("this is not UTF-8", (None, line, None, None)) from None


@functools.lru_cache(maxsize=64)
def find_imports(source: bytes) -> list[str]:
    """Return the names of the modules that a script imports."""
    names: list[str] = []
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(parse_script(source)):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.append(str(node.module))
    return names


def compile_script(source: bytes, name: str) -> types.CodeType:
    """Return the code of a script; each check has it under another path."""
    return compile(add_notes(source), name, "exec", dont_inherit=True)


@functools.lru_cache(maxsize=64)
def add_notes(source: bytes) -> ast.Module:
    """Return a script that notes what it catches, in NOTE(line, whether it hides that)."""
    tree = parse_script(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            arguments: list[ast.expr] = [ast.Constant(node.lineno), ast.Constant(hides(node))]
            note = ast.Expr(ast.Call(ast.Name(NOTE, ast.Load()), arguments, []))
            ast.copy_location(note, node)
            ast.fix_missing_locations(note)
            node.body.insert(0, note)
    return tree


def hides(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler takes any exception and does nothing."""
    kinds = ast.walk(handler.type) if handler.type else ()
    names = {node.id for node in kinds if isinstance(node, ast.Name)}
    is_broad = handler.type is None or bool(names & {"Exception", "BaseException"})
    return is_broad and all(map(does_nothing, handler.body))


def does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Return):
        return statement.value is None or (
            isinstance(statement.value, ast.Constant) and not statement.value.value
        )
    return isinstance(statement, (ast.Pass, ast.Continue, ast.Break)) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


METHODS = {"close", "flush", "join", "read", "result", "seek", "start", "submit", "write"}


@functools.lru_cache(maxsize=8)
def find_uncalled_line(source: str) -> tuple[str, int] | None:
    """Return a function that is only named in a line of its own, and that line."""
    nodes = walk(source)
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Name) and value.id in functions:
            return value.id, value.lineno
        if isinstance(value, ast.Attribute) and value.attr in METHODS | functions:
            return value.attr, value.lineno
    return None


@functools.lru_cache(maxsize=8)
def find_idle_line(source: str) -> int | None:
    """Return a line that compares or computes something, and keeps nothing of it."""
    lines = [
        node.lineno
        for node in walk(source)
        if isinstance(node, ast.Expr) and isinstance(node.value, (ast.Compare, ast.BinOp))
    ]
    return min(lines, default=None)


@functools.lru_cache(maxsize=8)
def find_always_true(source: str) -> int | None:
    """Return the line of an `if status == 200 or 201`, which is always true."""
    tests = [node.test for node in walk(source) if isinstance(node, (ast.If, ast.While, ast.IfExp))]
    lines = [
        test.lineno
        for test in tests
        if isinstance(test, ast.BoolOp)
        and isinstance(test.op, ast.Or)
        and any(isinstance(one, ast.Constant) and one.value for one in test.values[1:])
    ]
    return min(lines, default=None)


@functools.lru_cache(maxsize=8)
def find_bad_guard(source: str) -> int | None:
    """Return the line of an `if __name__ == ...` that is never true when a script is run."""
    return find_node(
        source,
        lambda node: (
            isinstance(node, ast.Compare)
            and isinstance(node.left, ast.Name)
            and node.left.id == "__name__"
            and isinstance(node.ops[0], ast.Eq)
            and isinstance(node.comparators[0], ast.Constant)
            and node.comparators[0].value != "__main__"
        ),
    )


@functools.lru_cache(maxsize=64)
def find_listed_files(source: str) -> tuple[str, ...]:
    """Return the names in the longest list of files that a script holds."""
    lists: list[tuple[str, ...]] = [()]
    for node in walk(source):
        if isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) > 1:
            names = [one.value if isinstance(one, ast.Constant) else "" for one in node.elts]
            if all(isinstance(name, str) and FILE_NAME.fullmatch(name) for name in names):
                lists.append(tuple(Path(str(name)).name for name in names))
    return max(lists, key=len)


FOLDERS = (
    r"(?:listdir|scandir|walk)\(\s*['\"]([^'\"]+)['\"]",
    r"Path\(\s*['\"]([^'\"]+)['\"]\s*\)\.(?:r?glob|iterdir)",
    r"['\"]([\w ./-]+)/(?:\*\*/)?\*[^'\"]*['\"]",
    r"(?i:\b\w*(?:folder|dir|directory)\w*)\s*=\s*(?:Path\()?['\"]([^'\"]+)['\"]",
)


def find_folders(source: str) -> set[tuple[str, str]]:
    """Return the folders whose files a script takes, and the extension that it asks for."""
    extension = re.search(r"\*\.(\w+)|endswith\(['\"]\.(\w+)", source)
    wanted = (extension[1] or extension[2]) if extension else "txt"
    names = {name for pattern in FOLDERS for name in re.findall(pattern, source)}
    return {(name, wanted) for name in names if re.fullmatch(r"[\w -]+(/[\w -]+)*", name)}


def find_late_lambda(source: str) -> int | None:
    """Return the line of a lambda in a loop that sees the loop's last value when it runs."""
    loops = [node for node in walk(source) if isinstance(node, (ast.For, ast.comprehension))]
    targets = {
        name.id for loop in loops for name in ast.walk(loop.target) if isinstance(name, ast.Name)
    }
    lines = [
        call.lineno
        for call in walk(source)
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "submit"
        for one in call.args[:1]
        if isinstance(one, ast.Lambda)
        and {name.id for name in ast.walk(one.body) if isinstance(name, ast.Name)} & targets
        and not {argument.arg for argument in one.args.args} & targets
    ]
    return min(lines, default=None)
