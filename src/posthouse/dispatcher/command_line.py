"""The command line `ps` and /proc show of a process, written anew by the process itself.

The kernel shows the octets the arguments were put into when the program was started, whatever they are now. `posthouse
start` makes room behind the supervisor's own: ROOM empty arguments. What is forked from it (`template`) writes its own line
there. A line that does not fit is not written: `fits` says so beforehand.
"""

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path

ROOM = 1000
"""empty arguments, an octet each"""


class CommandLine:
    """The room of this process; it stays where it is in what is forked from it."""

    def __init__(self) -> None:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        self._begin, end = int(fields[45]), int(fields[46])
        self._size = end - self._begin

    @property
    def has_room(self) -> bool:
        """Whether room was made."""
        return self._begin > 0 and self._size > ROOM

    def fits(self, arguments: Sequence[str]) -> bool:
        """Whether there is room for these, and an octet more: the last one must stay zero."""
        return self._begin > 0 and len(_octets(arguments)) < self._size

    def write(self, arguments: Sequence[str]) -> None:
        """Show these arguments, which fit; `sys.argv` is left alone."""
        ctypes.memmove(self._begin, _octets(arguments).ljust(self._size, b"\0"), self._size)


def without_room(arguments: Sequence[str]) -> list[str]:
    """The arguments without the empty ones at their end."""
    kept = list(arguments)
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _octets(arguments: Sequence[str]) -> bytes:
    return b"".join(word.encode(sys.getfilesystemencoding(), "surrogateescape") + b"\0" for word in arguments)
