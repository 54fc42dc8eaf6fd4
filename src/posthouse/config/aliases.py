r"""The aliases file: `name: address, address`, continued by `\` or by lines that begin with a blank (directory.md 1).

`!` or `#` in column 1 comments, `<file` includes. Names are compared without case; a name given twice is a fault, so is an
alias without an address. Addresses may be quoted; commas inside quotes do not separate. What is no address is warned about: the
product's lists in files (`name: <file, [PARAMETER] ...`) and LDAP URLs are not read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from posthouse.config.source import Logical, Source
from posthouse.mail.address import AddressError, parse_address

_PART = re.compile(r'(?:"(?:[^"\\]|\\.)*"|@[^:\s]*:|[^",])+')
_BETWEEN = re.compile(r"[ \t]+(?=[^\"]*(?:\"[^\"]*\"[^\"]*)*\Z)")
"""blanks outside quotes"""
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
    entries: list[tuple[Logical, str]] = []
    for line in source.logical(path, "!#"):
        if line is None:
            continue
        text = line.joined(" ")
        if text[0] not in " \t":
            entries.append((line, text))
        elif entries:
            entries[-1] = (entries[-1][0], entries[-1][1] + " " + text.strip())
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


def _alias(line: Logical, text: str, source: Source) -> Alias | None:
    match = _NAME.fullmatch(text)
    if not match:
        source.faults.error(line.file, line.line, f"{text.strip()[:40]!r} is not name: address, ...")
        return None
    name = (match[1] + (match[2] or "")).strip()
    parts = [word for part in _PART.findall(match[3]) for word in _addresses(part.strip()) if word]
    addresses = tuple(word.strip("<>") for word in parts)
    if not name or not addresses:
        source.faults.error(line.file, line.line, f"alias {name or text.strip()[:40]} has no address")
        return None
    reason = next((why for word in parts if (why := _why_none(word))), "")
    if reason:
        source.faults.warn(line.file, line.line, f"alias {name}: {reason}")
    return Alias(name, addresses, line.file, line.line)


def _addresses(part: str) -> list[str]:
    """What stands between two commas: one address, or several with blanks between them."""
    words = _BETWEEN.split(part)
    return words if all("@" in word for word in words) else [part]


def _why_none(word: str) -> str:
    """Why this is no address and what mail for the alias is answered, or empty; what the product would have read is named."""
    try:
        parse_address(word.strip("<>"))
    except AddressError as error:
        fault, answer = str(error), "450"
    else:
        fault, answer = "", "550"
    group = f"make it a group of the directory; mail for it is answered {answer}"
    if word.startswith("<") and not word.endswith(">"):
        return f"the list {word[:60]} is not read: write its members here, or {group}"
    if word.startswith("["):
        return f"the list parameter {word[:40]} is not read: {group}"
    if word.strip('"').lower().startswith(("ldap:", "ldaps:")):
        return f"the URL {word[:60]} is not asked: {group}"
    return f"{word[:60]!r} is no address ({fault}); mail for it is answered {answer}" if fault else ""
