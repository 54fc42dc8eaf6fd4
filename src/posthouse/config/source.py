r"""Physical and logical lines of configuration files, with includes and continuations (imta-cnf 1, option-dat 1).

    comment        a sign of the dialect in column 1
    `<name`        in column 1: that file here; relative to the including file; nesting at most 10
    `\`            as last character: the next line continues this one

Every piece of a logical line keeps its own file and line. Files are UTF-8; octets that are not are kept as they are
(surrogate escapes), with a warning where they stand in no comment. A control character, a missing include or a loop of
includes is a fault.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from posthouse.config.fault import Faults
from posthouse.config.instance import Instance

_FOREIGN = re.compile(r"^(?![!#;]).*[\ud800-\udfff]", re.MULTILINE)
"""a line that is no comment with an octet that is no UTF-8"""
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
MAX_NESTING = 10
MAX_FILE = 16 * 1024 * 1024
"""octets; a longer configuration file is surely another file"""


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line without its line end."""

    text: str
    file: str
    line: int

    @property
    def blank(self) -> bool:
        """Nothing but spaces and tabs."""
        return not self.text.strip(" \t")


@dataclass(frozen=True, slots=True)
class Logical:
    """A line with its continuations, each piece without its backslash. Never empty."""

    pieces: tuple[Line, ...]

    @property
    def file(self) -> str:
        """File of the first piece."""
        return self.pieces[0].file

    @property
    def line(self) -> int:
        """Line of the first piece."""
        return self.pieces[0].line

    def joined(self, glue: str) -> str:
        """One text: the continuations' leading blanks are dropped, the glue stands between pieces."""
        first, *others = (piece.text for piece in self.pieces)
        return glue.join([first, *(other.lstrip(" \t") for other in others)])


class Source:
    """Opens files of one instance and collects what is wrong with them.

    Args:
        instance: names files in faults.
        faults: where faults go.
        path: resolves a written file name (`IMTA_TABLE:x`, relative, absolute) against the folder of the file it stands in.
    """

    def __init__(self, instance: Instance, faults: Faults, path: Callable[[str, Path], Path]) -> None:
        self.instance = instance
        self.faults = faults
        self._path = path
        self.read: dict[Path, str] = {}
        """digests of what was read, by path; empty for what was not there"""

    def note(self, path: Path) -> None:
        """This file was read by others."""
        self.read[path] = digest_of(path) or ""

    def text(self, path: Path) -> list[str] | None:
        """The file's lines, or None when there is no such file; a file that cannot be read is a fault and None."""
        name = self.instance.name_of(path)
        self.read[path] = ""
        try:
            if path.stat().st_size > MAX_FILE:
                self.faults.error(name, 0, f"larger than {MAX_FILE} octets")
                return None
            octets = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.faults.error(name, 0, f"cannot be read: {error.strerror or error}")
            return None
        self.read[path] = sha256(octets).hexdigest()
        control = _CONTROL.search(octets)
        if control:
            line = octets.count(b"\n", 0, control.start()) + 1
            self.faults.error(name, line, f"contains the control character {control[0][0]:#04x}")
            return None
        text = octets.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n")
        foreign = None if text.isascii() else _FOREIGN.search(text)
        if foreign:
            reason = "is not UTF-8 from here on (ISO 8859-1?): such octets go out as they stand"
            self.faults.warn(name, text.count("\n", 0, foreign.start()) + 1, reason)
        return text.removesuffix("\n").split("\n") if text else []

    def lines(self, path: Path, *, includes: bool = True, _above: tuple[Path, ...] = ()) -> Iterator[Line]:
        """Physical lines, includes put in their place. A missing file gives none."""
        name = self.instance.name_of(path)
        for number, text in enumerate(self.text(path) or (), 1):
            if not includes or not text.startswith("<"):
                yield Line(text, name, number)
                continue
            target = text[1:].strip()
            if not target:
                self.faults.error(name, number, "include without a file name")
                continue
            inner = self._path(target, path.parent)
            if inner in (*_above, path) or len(_above) + 1 >= MAX_NESTING:
                self.faults.error(name, number, f"includes nested too deep at {target}")
            elif not inner.is_file():
                away = Path(target).is_absolute() or (":" in target and not target.upper().startswith("IMTA_"))
                advice = f"; put it into config/ and write <IMTA_TABLE:{re.split('[/:]', target)[-1]}" if away else ""
                self.faults.error(name, number, f"included file {target} does not exist{advice}")
            else:
                yield from self.lines(inner, _above=(*_above, path))

    def logical(self, path: Path, comments: str, skipped: Callable[[Line, Line], None] | None = None) -> Iterator[Logical | None]:
        """Logical lines; None stands for a blank line.

        A comment line is skipped, between continuations too. A blank line ends a continuation.

        Args:
            path: the file; a missing one gives nothing.
            comments: the signs that make a line a comment when they stand in column 1.
            skipped: told of a comment between continuations: the first line of the value, the comment.
        """
        return _join(self.lines(path), comments, self.faults, skipped)


def digest_of(path: Path) -> str | None:
    """What tells one content of a file from another; empty where there is none, None where this user may not look."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except PermissionError:
        return None
    except OSError:
        return ""


def _join(
    lines: Iterator[Line], comments: str, faults: Faults, skipped: Callable[[Line, Line], None] | None
) -> Iterator[Logical | None]:
    """Comments out, continuations together; None stands for a blank line."""
    pieces: list[Line] = []
    for line in lines:
        if line.text[:1] and line.text[0] in comments:
            if pieces and skipped:
                skipped(pieces[0], line)
            continue
        if line.blank:
            yield from _whole(pieces)
            pieces = []
            yield None
            continue
        text = line.text
        continued = text.endswith("\\")
        if not continued and text.rstrip(" \t").endswith("\\"):
            faults.warn(line.file, line.line, "blanks behind the backslash: the line is not continued")
        pieces.append(Line(text[:-1], line.file, line.line) if continued else line)
        if not continued:
            yield from _whole(pieces)
            pieces = []
    yield from _whole(pieces)


def _whole(pieces: list[Line]) -> Iterator[Logical]:
    """The pieces as one line; nothing when they hold nothing but backslashes."""
    if not all(piece.blank for piece in pieces):
        yield Logical(tuple(pieces))
