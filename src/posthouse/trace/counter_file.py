"""Counter files, `data/counters/NUMBER`: one writer each, whoever holds the file's lock; readers add all of them up without one.

    0   8 octets   PHCOUNT1
    8   u32, u32   numbers in a row, rows
    16  rows       the channel's name in 64 octets, then its numbers of 64 bits, little-endian (`figures`)

A process that begins takes the first file nobody holds and carries on in it, so there are as many files as processes that ever
counted at once. They are written in place and never synced: a power failure costs what the kernel had not yet written. A number
is written whole, and a row is there before the head says so. `data/counters/cleared` has the same form: what had been counted
when somebody cleared the counters, which nothing but their display looks at.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from posthouse.trace.figures import WIDTH, Rows, add

CLEARED = "cleared"
MOST_FILES = 4096
MOST_ROWS = 512
_MAGIC = b"PHCOUNT1"
_HEAD = struct.Struct("<8sII")
_NAME = 64
_ROW = struct.Struct(f"<{_NAME}s{WIDTH}Q")
_WHOLE = (1 << 64) - 1
_LARGEST = 1 << 22


class DamagedCounters(ValueError):  # noqa: N818 - says what was found
    """The octets are no counter file."""


class Totals(NamedTuple):
    """What is counted in all files of a folder."""

    rows: Rows
    faults: tuple[str, ...]
    """files that could not be read, and why"""


class CounterFile:
    """A file that is ours.

    Args:
        fd: open and locked.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rows = -1

    @classmethod
    def take(cls, folder: Path) -> "CounterFile":
        """The first file nobody holds; the folder is made when missing.

        Raises:
            OSError: there is none that can be had.
        """
        folder.mkdir(mode=0o750, exist_ok=True)
        for number in range(1, MOST_FILES + 1):
            path = folder / str(number)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            except PermissionError:  # made by another user, who may have it
                if not path.exists():
                    raise
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink:
                    return cls(fd)
            except BlockingIOError:
                pass
            except OSError:
                os.close(fd)
                raise
            os.close(fd)
        raise OSError(errno.ENFILE, "every counter file is taken")

    def read(self) -> Rows:
        """What is in it.

        Raises:
            OSError: it cannot be read.
            DamagedCounters: it is no counter file; `write` makes it one.
        """
        octets = os.pread(self._fd, _LARGEST, 0)
        return unpack(octets) if octets else {}

    def write(self, rows: Rows) -> None:
        """Put these in place of what is in it.

        Raises:
            OSError: it cannot be written.
        """
        head, *packed = pack(rows)
        if self._rows < 0:
            _write_at(self._fd, head + b"".join(packed), 0)
        else:
            _write_at(self._fd, b"".join(packed), _HEAD.size)
            if len(packed) != self._rows:  # behind the rows: nobody reads one that is not there
                _write_at(self._fd, head, 0)
        self._rows = len(packed)

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed it: nobody reads it any more."""
        return os.fstat(self._fd).st_nlink == 0

    def close(self) -> None:
        """Leave it to the next process."""
        os.close(self._fd)


def _write_at(fd: int, octets: bytes, offset: int) -> None:
    if os.pwrite(fd, octets, offset) != len(octets):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def pack(rows: Rows) -> Iterator[bytes]:
    """The head and each row; a number over 64 bits begins again at 0."""
    yield _HEAD.pack(_MAGIC, WIDTH, len(rows))
    for channel, row in rows.items():
        yield _ROW.pack(channel.encode("utf-8", "replace"), *[number & _WHOLE for number in row])


def unpack(octets: bytes) -> Rows:
    """The rows of a file's octets.

    Raises:
        DamagedCounters: they are none.
    """
    if len(octets) < _HEAD.size:
        raise DamagedCounters("it is too short")
    magic, width, count = _HEAD.unpack_from(octets)
    if magic != _MAGIC or width > 1024 or count > MOST_ROWS or len(octets) < _HEAD.size + count * (_NAME + 8 * width):
        raise DamagedCounters("it is no counter file, or only a part of one")
    row = struct.Struct(f"<{_NAME}s{width}Q")
    rows: Rows = {}
    for at in range(_HEAD.size, _HEAD.size + count * row.size, row.size):
        name, *numbers = row.unpack_from(octets, at)
        channel = name.rstrip(b"\0").decode("utf-8", "replace")
        if not channel or not channel.isprintable():
            raise DamagedCounters("a row has no channel's name")
        add(rows, {channel: (numbers + [0] * WIDTH)[:WIDTH]})
    return rows


def read_all(folder: Path) -> Totals:
    """Everything counted on an instance; a file that cannot be read is left out and named.

    Raises:
        OSError: the folder cannot be read.
    """
    rows: Rows = {}
    faults = []
    try:
        paths = [path for path in folder.iterdir() if path.name.isdecimal()]  # a glob is silent about a folder it may not read
    except FileNotFoundError:
        paths = []
    for path in sorted(paths):
        try:
            octets = _octets(path)
            add(rows, unpack(octets) if octets else {})
        except (OSError, DamagedCounters) as error:
            faults.append(f"{path}: {_reason(error)}")
    return Totals(rows, tuple(faults))


def read_cleared(folder: Path) -> tuple[Rows, float, str]:
    """What is not shown any more, since when (Unix seconds; 0: never cleared), and why that cannot be said."""
    path = folder / CLEARED
    try:
        return unpack(_octets(path)), path.lstat().st_mtime, ""
    except FileNotFoundError:
        return {}, 0.0, ""
    except (OSError, DamagedCounters) as error:
        return {}, 0.0, f"{path}: {_reason(error)}"


def write_cleared(folder: Path, rows: Rows) -> None:
    """Show these no more.

    Raises:
        OSError: it cannot be written; nothing has changed.
    """
    new = folder / f"{CLEARED}.{os.getpid()}"
    try:
        with new.open("xb") as file:
            file.write(b"".join(pack(rows)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / CLEARED)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _octets(path: Path) -> bytes:
    """What a file holds; whoever runs the instance may have put something else there for root to read."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DamagedCounters("it is no file")
        return os.pread(fd, _LARGEST, 0)
    finally:
        os.close(fd)


def _reason(error: Exception) -> str:
    return str((error.strerror if isinstance(error, OSError) else None) or error)
