"""Names in the queue tree (queue.md 1, 2).

    <2 characters attempts><message id, 14 or more of 0-9A-Z><copy number, 4 characters base 36>.<00 | HELD>

Attempts count down from ZZ in base 36 and stay at 00 after 1295. Every other name is not a queue file; `.tmp-*` is a file
that is being written. The copy number is part of the unique name, so that no two held copies of a message can meet.
"""

import re
import zlib
from dataclasses import dataclass

from posthouse.mail.message_id import base36

COPY_DIGITS = 4
TMP = ".tmp-"
_MAX_ATTEMPTS = 36 * 36 - 1
_NAME = re.compile(r"([0-9A-Z]{2})([0-9A-Z]{14,200})([0-9A-Z]{4})\.(00|HELD)")
_PREFIXES = tuple([base36(_MAX_ATTEMPTS - tried, 2) for tried in range(16)])
_COPIES = tuple([base36(copy, COPY_DIGITS) for copy in range(16)])
"""what nearly all names are made of"""
_SUBDIR = re.compile(r"[0-9]{3}")


@dataclass(frozen=True, slots=True)
class QueueName:
    """A queue file's name taken apart."""

    message: str
    copy: int
    attempts: int
    held: bool

    @property
    def unique(self) -> str:
        """The part that never changes."""
        return unique(self.message, self.copy)

    def __str__(self) -> str:
        return file_name(self.message, self.copy, self.attempts, held=self.held)


def prefix(attempts: int) -> str:
    """The two characters for a number of attempts: 0 is ZZ, 1 is ZY, 1295 and more 00."""
    return _PREFIXES[attempts] if attempts < len(_PREFIXES) else base36(max(0, _MAX_ATTEMPTS - attempts), 2)


def attempts(text: str) -> int:
    """The number of attempts two characters stand for."""
    return _MAX_ATTEMPTS - int(text, 36)


def unique(message: str, copy: int) -> str:
    """The unique part of a copy's name."""
    return message + (_COPIES[copy] if copy < len(_COPIES) else base36(copy, COPY_DIGITS))


def file_name(message: str, copy: int, tried: int, *, held: bool = False) -> str:
    """The name of a copy's file."""
    return f"{prefix(tried)}{unique(message, copy)}.{'HELD' if held else '00'}"


def parse(name: str) -> QueueName | None:
    """The name taken apart, None when it is not a queue file's."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    return QueueName(match[2], int(match[3], 36), attempts(match[1]), match[4] == "HELD")


def unique_of(name: str) -> str | None:
    """The unique part of a queue file's name, None for every other name; for many names: nothing else is made."""
    match = _NAME.fullmatch(name)
    return match[2] + match[3] if match else None


def subdir(unique_part: str, count: int) -> str:
    """The subfolder for a name with `subdirs count`; empty without."""
    return f"{zlib.crc32(unique_part.encode()) % count:03d}" if count else ""


def is_subdir(name: str) -> bool:
    """Whether a folder of that name holds queue files of the channel above it, whatever `subdirs` says now."""
    return bool(_SUBDIR.fullmatch(name))


def log_path(queue: str, channel: str, count: int, message: str, copy: int, tried: int) -> str:
    """The path the log prints for a copy: the name it has, or would have if it were moved out now.

    Args:
        queue: path of the queue's root.
        channel: its channel.
        count: `subdirs` of the channel, 0 for none.
        message: the message's id.
        copy: copy number.
        tried: attempts made.
    """
    stem = unique(message, copy)
    folder = f"{subdir(stem, count)}/" if count else ""
    return f"{queue}/{channel}/{folder}{prefix(tried)}{stem}.00"
