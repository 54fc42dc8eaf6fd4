r"""pipe_programs: the programs mail may be given to (directory.md 6, imta-cnf 3.3). Without the file there is none.

    [PROGRAM=procmail]          a name for mailProgramDeliveryInfo, in any case: letters, digits and `_.-`
    COMMAND=/usr/bin/procmail -t -a "$S" -d $U
    FORMAT=mbox                 unix (default): LF line ends; mbox: a `From ` line in front too; smtp: CRLF, as it came
    TIMEOUT=60                  seconds; without it SHELL_TIMEOUT of the channel's option file
    OUTPUT_LIMIT=65536          octets a program may write

COMMAND is a path and words, quoted with `"`, `'` and `\` as for a shell, but no shell ever sees them. In a word
`$A` is the address that was expanded, `$R` the one given at RCPT TO, `$S` the envelope From (empty for the null sender),
`$U` the user, `$P` the program's name, `$I` the envelope id and `$$` a dollar sign. What a code gives never becomes two words.
A program that is missing, or that others may write to, is warned about here and not run.
"""

import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from posthouse.config.sections import Section, Values, read_sections
from posthouse.config.source import Source

FILE = "pipe_programs"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
OUTPUT_LIMIT = 65_536
_CODE = re.compile(r"\$(.?)", re.DOTALL)
_CODES = frozenset("ARSUPI")
_KNOWN = ("COMMAND", "FORMAT", "TIMEOUT", "OUTPUT_LIMIT")


class Format(StrEnum):
    """How the message is written to the program."""

    UNIX = "unix"
    MBOX = "mbox"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class PipeProgram:
    """One registered program."""

    name: str
    path: str
    words: tuple[tuple[tuple[str, str], ...], ...]
    """of each argument its pieces: a code letter and "", or "" and literal text"""
    format: Format
    timeout: int
    """seconds, 0 for the channel's"""
    output_limit: int
    command: str
    """as written"""
    file: str
    line: int


def read_pipe_programs(path: Path, source: Source) -> Mapping[str, PipeProgram]:
    """The registered programs by lower-case name; faults go to the source."""
    everywhere, sections = read_sections(path, source, ("PROGRAM",))
    for option in everywhere.options:
        source.faults.error(option.file, option.line, f"{option.name} stands before the first [PROGRAM=name]")
    made = [_program(section, source) for section in sections]
    return MappingProxyType({each.name.lower(): each for each in made if each is not None})


def _program(section: Section, source: Source) -> PipeProgram | None:
    faults = source.faults
    for option in section.options:
        if option.name not in _KNOWN:
            faults.warn(option.file, option.line, f"unknown option {option.name}")
    if not NAME.fullmatch(section.name):
        faults.error(section.file, section.line, f"{section.name[:64]!r} is no name for a program")
        return None
    values = Values((section,), source)
    command = values.option("COMMAND")
    if command is None or not command.text:
        faults.error(section.file, section.line, f"program {section.name} has no COMMAND")
        return None
    timeout, limit = values.integer("TIMEOUT", 0, 1), values.integer("OUTPUT_LIMIT", OUTPUT_LIMIT, 0)
    wanted = values.option("FORMAT")
    shape = wanted.text.lower() if wanted is not None else Format.UNIX.value
    if shape not in set(Format):
        assert wanted is not None
        faults.error(wanted.file, wanted.line, f"FORMAT: {wanted.text[:40]!r} is not {', '.join(Format)}")
        return None
    try:
        file, words = command_words(command.text)
    except ValueError as fault:
        faults.error(command.file, command.line, f"COMMAND: {fault}")
        return None
    unsafe = untrustworthy(file)
    if unsafe:
        faults.warn(command.file, command.line, f"COMMAND: {unsafe}; it is not run")
    return PipeProgram(
        section.name, file, words, Format(shape), timeout, limit, command.text, section.file, section.line
    )  # fmt: skip


def command_words(text: str) -> tuple[str, tuple[tuple[tuple[str, str], ...], ...]]:
    """The path and the argument templates of a COMMAND.

    Raises:
        ValueError: it is none; the text says why.
    """
    try:
        path, *arguments = shlex.split(text)
    except ValueError as fault:
        raise ValueError(f"{fault}".lower()) from None
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is no absolute path")
    if "$" in path:
        raise ValueError("the program itself cannot have codes")
    return path, tuple(_pieces(word) for word in arguments)


def _pieces(word: str) -> tuple[tuple[str, str], ...]:
    pieces: list[tuple[str, str]] = []
    at = 0
    for found in _CODE.finditer(word):
        if found.start() < at:
            continue
        if found.start() > at:
            pieces.append(("", word[at : found.start()]))
        letter = found[1].upper()
        if letter == "$":
            pieces.append(("", "$"))
        elif letter in _CODES:
            pieces.append((letter, ""))
        else:
            raise ValueError(f"unknown code {found[0]}")
        at = found.end()
    if at < len(word) or not word:
        pieces.append(("", word[at:]))
    return tuple(pieces)


def untrustworthy(path: str) -> str:
    """Why this file is not to be run; empty when it may be."""
    try:
        found = Path(path).stat()
    except OSError as error:
        return f"{path}: {(error.strerror or str(error)).lower()}"
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
        return f"{path} is no executable file"
    if found.st_mode & stat.S_IWOTH:
        return f"everybody may write to {path}"
    return ""
