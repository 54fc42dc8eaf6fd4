"""Patterns work on every Python we run on: 3.11 before 3.11.5, Debian 12's own among them, matches possessive repeats wrongly."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]

SOURCE = Path(__file__).parents[2] / "src" / "posthouse"
WRONG = {_constants.POSSESSIVE_REPEAT, _constants.ATOMIC_GROUP}


def _operations(parsed: object) -> Iterator[object]:
    if isinstance(parsed, list | tuple | _parser.SubPattern):
        for part in parsed:
            yield part
            yield from _operations(part)


def _is_wrong(text: str | bytes) -> bool:
    try:
        parsed = _parser.parse(text)
    except (re.error, OverflowError, RecursionError):
        return False
    return any(isinstance(part, int) and part in WRONG for part in _operations(parsed))


def _constants_of(file: Path) -> Iterator[str | bytes]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and len(node.value) < 2000:
            signs = ("++", "*+", "?+", "}+", "(?>")
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            if "Maildir++" not in text and any(sign in text for sign in signs):
                yield node.value


def test_it_is_found() -> None:
    assert _is_wrong(r"(?:a|b)*+c")
    assert _is_wrong(rb"(?>a)b")
    assert not _is_wrong(r"[*+]a+")


def test_no_pattern_has_possessive_repeats() -> None:
    found = [(file.name, text) for file in SOURCE.rglob("*.py") for text in _constants_of(file) if _is_wrong(text)]
    assert not found
