"""The aliases file: `name: address, address`, continued by lines that begin with a blank (directory.md 1).

`!` or `#` in column 1 comments, `<file` includes. Names are compared without case; a name given twice is a fault, so is an
alias without an address. Addresses may be quoted; commas inside quotes do not separate.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from posthouse.config.source import Line, Source

_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"|@[^:\s]*:|[^",])+')
_NAME = re.compile(r'("(?:[^"\\]|\\.)*"|[^":]+)(@[^:\s]*)?\s*:(.*)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Alias:
    """One alias."""

    name: str
    """as written"""
    addresses: tuple[str, ...]
    file: str
    line: int


def read_aliases(path: Path, source: Source) -> Mapping[str, Alias]:
    """Lower-case name to alias; a missing file has none."""
    found: dict[str, Alias] = {}
    entries: list[tuple[Line, str]] = []
    for line in source.lines(path):
        if line.blank or line.text[0] in "!#":
            continue
        if line.text[0] not in " \t":
            entries.append((line, line.text))
        elif entries:
            entries[-1] = (entries[-1][0], entries[-1][1] + " " + line.text.strip())
        else:
            source.faults.error(line.file, line.line, "continuation before the first alias")
    for line, text in entries:
        alias = _alias(line, text, source)
        if alias is None:
            continue
        if alias.name.lower() in found:
            first = found[alias.name.lower()].line
            source.faults.error(line.file, line.line, f"alias {alias.name} given twice, first at line {first}")
        found.setdefault(alias.name.lower(), alias)
    return MappingProxyType(found)


def _alias(line: Line, text: str, source: Source) -> Alias | None:
    match = _NAME.fullmatch(text)
    if not match:
        source.faults.error(line.file, line.line, f"{text.strip()[:40]!r} is not name: address, ...")
        return None
    name = (match[1] + (match[2] or "")).strip()
    addresses = tuple(part.strip().strip("<>") for part in _PART.findall(match[3]) if part.strip())
    if not name or not addresses:
        source.faults.error(line.file, line.line, f"alias {name or text.strip()[:40]} has no address")
        return None
    return Alias(name, addresses, line.file, line.line)
