r"""Files of `option=value` lines in `[KIND=name]` sections: dispatcher.cnf and job_controller.cnf (dispatcher-cnf 2).

`!` as first character that is no blank comments, blank lines are ignored, `\` continues a value (a comment between does not
end it), `<file` includes. Names of options and kinds are in any case. What stands before the first section is global.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.source import Line, Source
from posthouse.config.value import BadValueError, integer


@dataclass(frozen=True, slots=True)
class Option:
    """One assignment; the name in upper case."""

    name: str
    text: str
    file: str
    line: int


@dataclass(slots=True)
class Section:
    """One section; the global one has kind and name empty. Kind in upper case, name as written."""

    kind: str
    name: str
    file: str
    line: int
    options: list[Option]

    def last(self, name: str) -> Option | None:
        """The last assignment of the name (upper case), or None."""
        return next((option for option in reversed(self.options) if option.name == name), None)


def read_sections(path: Path, source: Source, kinds: Iterable[str]) -> tuple[Section, list[Section]]:
    """The global options and the sections in file order."""
    faults = source.faults
    everywhere = Section("", "", source.instance.name_of(path), 0, [])
    found: list[Section] = []
    current = everywhere
    for line, text in _values(source.lines(path)):
        if text.startswith("["):
            kind, equals, name = (part.strip() for part in text.strip("[]").partition("="))
            kind = kind.upper()
            current = Section(kind, name, line.file, line.line, [])
            if not text.endswith("]") or not equals or not name:
                faults.error(line.file, line.line, f"{text[:40]!r} is not [KIND=name]")
            elif kind not in kinds:
                faults.error(line.file, line.line, f"unknown kind of section {kind}: expected {' or '.join(kinds)}")
            else:
                twin = next((other for other in found if (other.kind, other.name.lower()) == (kind, name.lower())), None)
                if twin:
                    faults.error(line.file, line.line, f"section {kind}={name} given twice, first at line {twin.line}")
                found.append(current)
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            faults.error(line.file, line.line, f"{text[:40]!r} is not option=value")
            continue
        current.options.append(Option(name.upper(), value, line.file, line.line))
    return everywhere, found


def _values(lines: Iterator[Line]) -> Iterator[tuple[Line, str]]:
    """Lines without comments and blank ones, continuations joined."""
    first: Line | None = None
    text = ""
    for line in lines:
        piece = line.text.strip()
        if piece.startswith("!") or (not piece and not first):
            continue
        if first is None:
            first, text = line, piece
        else:
            text += piece
        if text.endswith("\\") and piece:
            text = text[:-1]
            continue
        yield first, text
        first = None
    if first:
        yield first, text


class Values:
    """Typed look-ups in a section with the global options behind it; faults are collected.

    Args:
        sections: asked in this order; the first that has the option counts.
        source: where faults go.
    """

    def __init__(self, sections: Iterable[Section], source: Source) -> None:
        self._sections = tuple(sections)
        self._faults = source.faults

    def option(self, name: str) -> Option | None:
        """The assignment that counts, or None."""
        return next((option for section in self._sections if (option := section.last(name))), None)

    def text(self, name: str) -> str:
        """The text, empty when not set."""
        option = self.option(name)
        return option.text if option else ""

    def integer(self, name: str, default: int, least: int = 0) -> int:
        """The whole number; a fault and the default when it is none or below the least allowed."""
        option = self.option(name)
        if option is None:
            return default
        try:
            value = integer(option.text)
        except BadValueError as fault:
            self._faults.error(option.file, option.line, f"{name}: {fault}")
            return default
        if value < least:
            self._faults.error(option.file, option.line, f"{name}: {value} is below {least}")
            return default
        return value
