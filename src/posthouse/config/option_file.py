r"""Option files: option.dat and `<channel>_option` (option-dat 1).

    NAME=value     names in any case; `#`, `!` or `;` in column 1 is a comment, also between continuation lines
    value \        continued; the next line's leading blanks are dropped after the test for a comment

A blank line ends a continued value. The last assignment of a name wins. Unknown names are kept and warned about, and so are
options of the product whose work nobody does here (idle.py); a known number that is none is an error. A comment inside
DELIVERY_OPTIONS that looks like a clause is warned about: a clause begins with `#`, so its line must be indented.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from posthouse.config import known_options
from posthouse.config.dns_servers import dns_servers
from posthouse.config.idle import idle_channel_option, idle_option, is_of_a_scanner
from posthouse.config.source import Line, Logical, Source
from posthouse.config.value import BadValueError, integer, number

_COMMENTS = "#!;"
_CLAUSE = re.compile(r"[#!][*&@$^%/!#]*\w+=")
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class OptionValue:
    """One assignment."""

    text: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class OptionFile:
    """The options of one file, names in upper case. Numbers were checked when the file was read."""

    values: Mapping[str, OptionValue] = field(default_factory=lambda: MappingProxyType({}))

    def get(self, name: str) -> OptionValue | None:
        """The assignment with its place, or None."""
        return self.values.get(name.upper())

    def text(self, name: str, default: str = "") -> str:
        """The text, or the default when the option is not set."""
        value = self.values.get(name)
        return default if value is None else value.text

    def integer(self, name: str, default: int = 0) -> int:
        """The whole number, or the default when the option is not set.

        Raises:
            BadValueError: the text is no integer and the name is not one of those checked when the file was read.
        """
        value = self.values.get(name)
        return default if value is None else integer(value.text)

    def number(self, name: str, default: float = 0.0) -> float:
        """The number, or the default when the option is not set.

        Raises:
            BadValueError: as for integer.
        """
        value = self.values.get(name)
        return default if value is None else number(value.text)


@dataclass(frozen=True, slots=True)
class _Names:
    """The options of one kind of file."""

    integers: frozenset[str]
    numbers: frozenset[str]
    texts: frozenset[str]
    idle: Callable[[str, str], str]
    """name and value to why it does nothing, or empty"""

    def has(self, name: str) -> bool:
        """Whether the product has the option."""
        return name in self.integers or name in self.numbers or name in self.texts or is_of_a_scanner(name)


_GLOBAL = _Names(known_options.INTEGERS, known_options.NUMBERS, known_options.TEXTS, idle_option)
_OF_CHANNEL = _Names(
    known_options.CHANNEL_INTEGERS, known_options.CHANNEL_NUMBERS, known_options.CHANNEL_TEXTS, idle_channel_option
)


def read_option_dat(path: Path, source: Source) -> OptionFile:
    """The instance's option.dat; a missing file has no options."""
    return _read(path, source, _GLOBAL)


def read_channel_option(path: Path, source: Source) -> OptionFile:
    """A `<channel>_option` file; a missing file has no options."""
    return _read(path, source, _OF_CHANNEL)


def _read(path: Path, source: Source, names: _Names) -> OptionFile:
    faults = source.faults

    def skipped(first: Line, comment: Line) -> None:
        if first.text.upper().startswith("DELIVERY_OPTIONS") and _CLAUSE.match(comment.text):
            faults.warn(comment.file, comment.line, "this line of DELIVERY_OPTIONS is a comment; indent it to make it a clause")

    values: dict[str, OptionValue] = {}
    for line in source.logical(path, _COMMENTS, skipped):
        if line is None:
            continue
        name, equals, text = (part.strip() for part in line.joined("").partition("="))
        if not equals or not _NAME.fullmatch(name):
            faults.error(line.file, line.line, f"{name[:40]!r} is not NAME=value" if not equals else f"{name[:40]!r} is no name")
            continue
        name = name.upper().replace("ERROR_TEST_", "ERROR_TEXT_")
        if not names.has(name):
            faults.warn(line.file, line.line, f"unknown option {name}")
        elif idle := names.idle(name, text):
            shown = " is set" if "PASSWORD" in name else f"={text[:40]}"
            faults.warn(line.file, line.line, f"{name}{shown}: {idle}")
        values[name] = OptionValue(text, line.file, line.line)
        _check_number(line, name, text, source, names)
    return OptionFile(MappingProxyType(values))


def _check_number(line: Logical, name: str, text: str, source: Source, names: _Names) -> None:
    try:
        if name in names.integers:
            integer(text)
        elif name in names.numbers:
            number(text)
        elif name == "DNS_SERVERS":
            dns_servers(text)
    except BadValueError as fault:
        source.faults.error(line.file, line.line, f"{name}: {fault}")
