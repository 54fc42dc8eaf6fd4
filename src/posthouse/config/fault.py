"""A fault in a configuration file: file, line, reason. Faults are collected, so that one run shows all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Whether the configuration may be used all the same."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Args:
        file: path below the instance's folder, or absolute when it lies elsewhere.
        line: from 1; 0 when the fault is the file as a whole.
        reason: one sentence without a full stop.
        severity: errors stop the start, warnings are shown.
    """

    file: str
    line: int
    reason: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class ConfigurationError(Exception):
    """The configuration cannot be used.

    Args:
        faults: all that was found, errors and warnings, in the order of the files.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self._errors)))

    @property
    def first(self) -> str:
        """The first error and how many others there are: one line, for a log."""
        first, *others = map(str, self._errors)
        return f"{first} (and {len(others)} more)" if others else first

    @property
    def _errors(self) -> list[Fault]:
        return [fault for fault in self.faults if fault.severity is Severity.ERROR]


class Faults:
    """Collects faults while files are read; the same fault is kept once."""

    def __init__(self) -> None:
        self._found: dict[Fault, None] = {}

    def error(self, file: str, line: int, reason: str) -> None:
        """Something that stops the start."""
        self._found[Fault(file, line, reason)] = None

    def warn(self, file: str, line: int, reason: str) -> None:
        """Something the operator should know."""
        self._found[Fault(file, line, reason, Severity.WARNING)] = None

    def add(self, fault: Fault) -> None:
        """A fault somebody else found."""
        self._found[fault] = None

    @property
    def all(self) -> tuple[Fault, ...]:
        """Everything found, file by file in the order the files were read, by line within a file."""
        files: dict[str, list[Fault]] = {}
        for fault in self._found:
            files.setdefault(fault.file, []).append(fault)
        return tuple(fault for found in files.values() for fault in sorted(found, key=lambda fault: fault.line))

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """What does not stop the start."""
        return tuple(fault for fault in self.all if fault.severity is Severity.WARNING)

    def about(self, file: str) -> bool:
        """Whether anything was found in the file."""
        return any(fault.file == file for fault in self._found)

    @property
    def has_errors(self) -> bool:
        """Whether anything found stops the start."""
        return any(fault.severity is Severity.ERROR for fault in self._found)
