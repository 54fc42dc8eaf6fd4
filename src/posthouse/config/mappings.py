r"""The mappings file: tables of entries, not yet compiled (mappings.md 1).

    TABLE_NAME             in column 1, begins with a letter
    <blank line>
      pattern   template   each begins with a blank; a blank inside either part is written `$ `
    <blank line>

`!` in column 1 is a comment, `\` continues a line, `<name` includes a file. A missing blank line after the name is accepted
(LMTP chapter 16.4 prints it so); one missing between tables is a fault, so is a third column, a table given twice, or an
entry outside a table. A missing template is an empty one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.fault import Fault, Faults
from posthouse.config.source import Logical, Source


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """One entry as written."""

    pattern: str
    template: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class MappingTable:
    """One table as written; names are compared without case."""

    name: str
    entries: tuple[MappingEntry, ...]
    file: str
    line: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pattern and template of each entry, as the mapping engine takes them."""
        return [(entry.pattern, entry.template) for entry in self.entries]


def read_mappings(path: Path, source: Source) -> tuple[MappingTable, ...]:
    """All tables of the file; a missing file has none."""
    faults = source.faults
    tables: list[tuple[Logical, str, list[MappingEntry]]] = []
    seen: dict[str, int] = {}
    after_blank = True
    for line in source.logical(path, "!"):
        if line is None:
            after_blank = True
            continue
        text = line.joined("")
        if text[:1] in {" ", "\t"}:
            if not tables:
                faults.error(line.file, line.line, "entry before the first table name")
            else:
                tables[-1][2].append(_entry(text, line, faults))
        else:
            name = text.strip(" \t")
            if not name[0].isalpha() or len(name.split()) > 1:
                faults.error(line.file, line.line, f"{name[:40]!r} is neither a table name nor an indented entry")
                continue
            if name.upper() in seen:
                faults.error(line.file, line.line, f"table {name} given twice, first at line {seen[name.upper()]}")
            if not after_blank:
                faults.error(line.file, line.line, f"missing blank line before table {name}")
            seen.setdefault(name.upper(), line.line)
            tables.append((line, name, []))
        after_blank = False
    return tuple(MappingTable(name, tuple(entries), line.file, line.line) for line, name, entries in tables)


def _entry(text: str, line: Logical, faults: Faults) -> MappingEntry:
    pattern, rest = _word(text.lstrip(" \t"))
    template, rest = _word(rest.lstrip(" \t"))
    if rest.strip(" \t"):
        faults.error(line.file, line.line, f"more than two columns, at {rest.strip()[:40]!r}: write a blank as `$ `")
    return MappingEntry(pattern, template, line.file, line.line)


def _word(text: str) -> tuple[str, str]:
    """The text up to the first blank that no dollar quotes, and what follows."""
    at = 0
    while at < len(text) and text[at] not in " \t":
        at += 2 if text[at] == "$" else 1
    return text[:at], text[at:]


def entry_faults(tables: Sequence[MappingTable], found: Iterable[tuple[int, int, str]]) -> Iterator[Fault]:
    """Faults of entries as the mapping engine reports them, with file and line.

    Args:
        tables: the configuration's tables in the order they were compiled.
        found: number of the table, number of the entry in it, reason.
    """
    for table, entry, reason in found:
        at = tables[table].entries[entry]
        yield Fault(at.file, at.line, f"table {tables[table].name}: {reason}")
