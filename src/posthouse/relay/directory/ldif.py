"""Reader for LDIF content (RFC 2849), entries only.

    [ "version: 1" ]   then records parted by blank lines, each  dn: ...  followed by  attribute: value  lines
    `name:: base64`    a line that begins with one blank continues the line before    `#` begins a comment line

Text is UTF-8; values that should have been base64 by the letter of the RFC (blanks at the end, octets above 127) are
taken as they stand. Attribute names come out lower case with their options (`mailautoreplytext;lang-de`).
`changetype: add` is passed over: an addition is an entry.
Refused, each with its line: other change records (`changetype:`, `control:`), values by URL (`name:< ...`), a record
without `dn:` first, a second entry of the same name, bad base64, a line without a colon. Reading goes on at the next
record so that all faults are told at once; at most 100.
"""

import base64
import binascii
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from posthouse.relay.directory.dn import normal_dn

MAX_FAULTS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9-]+)*")


class LdifError(ValueError):
    """The text is not LDIF content.

    Args:
        faults: line number and reason of each fault, in order.
    """

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {reason}" for line, reason in faults))
        self.faults = faults


class RawEntry(msgspec.Struct, frozen=True):
    """One entry as the directory holds it: attribute names lower case, values as they stand."""

    dn: str
    attributes: dict[str, tuple[str, ...]]


@dataclass(slots=True)
class _FaultError(Exception):
    line: int
    reason: str


def read_ldif(data: bytes) -> dict[str, RawEntry]:
    """Every entry, by the normal form of its name, in the order of the file.

    Raises:
        LdifError: with every fault found.
    """
    entries: dict[str, RawEntry] = {}
    faults: list[tuple[int, str]] = []
    known: dict[str, str] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise LdifError([(line, "the file is not UTF-8")]) from None
    for line, record in _records(text.replace("\r\n", "\n")):
        try:
            entry = _entry(line, record, known, shared.setdefault)
            if entry is None:
                continue
            name = normal_dn(entry.dn)
            if name in entries:
                raise _FaultError(line, f"there is already an entry named {entry.dn}")
            entries[name] = entry
        except _FaultError as fault:
            faults.append((fault.line, fault.reason))
            if len(faults) == MAX_FAULTS:
                break
    if faults:
        raise LdifError(faults)
    return entries


def _records(text: str) -> Iterator[tuple[int, str]]:
    """Each record's text and the number of its first line."""
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n\n", at)
        end = len(text) if end < 0 else end
        record = text[at:end]
        stripped = record.lstrip("\n")
        if stripped:
            yield line + len(record) - len(stripped), stripped
        line += record.count("\n") + 2
        at = end + 2


def _entry(
    first_line: int, record: str, known: dict[str, str], share: Callable[[tuple[str, ...], tuple[str, ...]], tuple[str, ...]]
) -> RawEntry | None:
    """The entry in a record; None where there are only comments or the version."""
    dn: str | None = None
    attributes: dict[str, tuple[str, ...]] = {}
    for number, line in _lines(record):
        given, colon, value = line.partition(":")
        if not colon:
            raise _FaultError(first_line + number, f"there is no colon in {line[:40]!r}")
        value = _decoded(first_line + number, value) if value[:1] in {":", "<"} else value.lstrip(" ")
        name = known.get(given)
        if name is None:
            name = known[given] = _attribute_name(first_line + number, given)
        if dn is None:
            if name == "version" and value == "1":
                continue
            if name != "dn":
                raise _FaultError(first_line + number, f"a record begins with its dn:, not with {given}:")
            dn = value
        elif name == "changetype" and value.strip().lower() == "add":
            continue
        elif name in {"changetype", "control"}:
            raise _FaultError(first_line + number, f"{given}: belongs to change records; only entries can be read")
        else:
            earlier = attributes.get(name)
            values = (value,) if earlier is None else (*earlier, value)
            attributes[name] = values
    if dn is None:
        return None
    for name, values in attributes.items():
        attributes[name] = share(values, values)
    return RawEntry(dn, attributes)


def _lines(record: str) -> Iterator[tuple[int, str]]:
    """Whole lines without comments, each with its number in the record, from 0."""
    if "\n " not in record and "#" not in record:
        yield from enumerate(record.rstrip("\n").split("\n"))
        return
    whole: list[tuple[int, list[str]]] = []
    for number, line in enumerate(record.rstrip("\n").split("\n")):
        if line.startswith(" ") and whole:
            whole[-1][1].append(line[1:])
        else:
            whole.append((number, [line]))
    for number, parts in whole:
        if not parts[0].startswith("#"):
            yield number, "".join(parts)


def _attribute_name(line: int, given: str) -> str:
    if not _NAME.fullmatch(given):
        raise _FaultError(line, f"{given[:40]!r} is no attribute name")
    return sys.intern(given.lower())


def _decoded(line: int, value: str) -> str:
    if value.startswith("<"):
        raise _FaultError(line, "values by URL are not read")
    try:
        return base64.b64decode(value[1:].strip(" "), validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error:
        raise _FaultError(line, "bad base64") from None
