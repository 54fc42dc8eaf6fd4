"""The processes below a process, from /proc: what `status` shows of processes nobody reports, and what an end must wait for."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Descendant:
    """A living process.

    Args:
        pid, parent: process ids.
        arguments: its command line.
        since: Unix time of its start.
    """

    pid: int
    parent: int
    arguments: tuple[str, ...]
    since: float

    def option(self, name: str) -> str:
        """The value after an option on its command line, "" when it is not there."""
        if name in self.arguments[:-1]:
            return self.arguments[self.arguments.index(name) + 1]
        return ""


def below(pid: int) -> list[Descendant]:
    """Every descendant of a process, parents before children. Zombies are left out."""
    found: list[Descendant] = []
    boot = time.time() - float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    waiting = children(pid)
    while waiting:
        child = waiting.pop(0)
        seen = _look(child, boot)
        if seen is not None:
            found.append(seen)
            waiting += children(child)
    return found


def children(pid: int) -> list[int]:
    """The pids of a process's children, of all its threads."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    except OSError:
        return found
    return found


def _look(pid: int, boot: float) -> Descendant | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    if stat[0] == "Z":
        return None
    arguments = tuple(word.decode("utf-8", "replace") for word in command.rstrip(b"\0").split(b"\0"))
    return Descendant(pid, int(stat[1]), arguments, boot + int(stat[19]) / _TICKS)
