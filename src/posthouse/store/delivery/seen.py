"""XQIDs answered: what a relay sends once more is answered 250 again and not stored twice (message-store 5, DURABILITY 3.6 e).

    data/store/seen.<hour>[.<part>]     appended to by every worker; a line for each recipient that was stored:

        <xqid> <owner>                  neither can hold a line end, the first blank divides them

Only 250 is remembered: whoever was refused may try again. The order makes it right. A line is appended after its message was
placed and before the owner's lock is given up, so whoever has the lock next knows; before the answer, so what was answered is
known; before the checkpoint passes the record, so the barrier that frees a record has made its line durable. A record that is
replayed gives its line again. A line without its message cannot be: it would be a loss. A message without its line can, where
a message of the way without a record is placed and the process dies at once: it comes twice.

Remembered for 24 hours, at most `MOST_LINES` lines or `MOST_OCTETS` octets, then the oldest file goes. In memory there are the
lines' hashes only: what they say is looked up in the files. A line that was cut off by a crash is closed with CAN, which no
owner has, and means nothing; a line that cannot be written means a message that may come twice, never a refusal.
"""

import contextlib
import logging
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from posthouse.journal.disk import Disk

REMEMBERED_HOURS = 24
MOST_LINES = 1_000_000
MOST_OCTETS = 64 << 20
PART_OCTETS = 4 << 20
"""a file that has grown to this is not appended to any more: the next part is"""
_NAME = re.compile(r"seen\.([0-9]{1,9})(?:\.([0-9]{1,6}))?")
_CANCEL = b"\x18\n"
_PIECE = 1 << 20
_log = logging.getLogger("posthouse.store")


class Part(NamedTuple):
    """One file, as its name says; they sort by age."""

    hour: int
    part: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"seen.{self.hour}.{self.part}" if self.part else f"seen.{self.hour}"


def line_of(xqid: bytes, owner: str) -> bytes:
    """What is remembered of a recipient."""
    return b"%b %b" % (xqid, owner.encode())


def parts(disk: Disk, store: int) -> list[Part]:
    """The files that are there, oldest first."""
    found = (_NAME.fullmatch(name) for name in disk.listdir(store))
    return sorted(Part(int(match[1]), int(match[2] or 0)) for match in found if match)


def feed(disk: Disk, store: int, lines: Iterable[bytes], now: float) -> None:
    """Have these lines remembered, unless they are: for a replay. Every worker reads them before its next decision.

    Raises:
        OSError: the disk failed.
    """
    missing, there = set(lines), parts(disk, store)
    for part in reversed(there):
        if not missing:
            return
        missing.difference_update(_read(disk, store, part.name).split(b"\n"))
    if not missing:
        return
    hour = int(now // 3600)
    current = max([Part(hour, 0), *there])
    fd = disk.open_file(current.name, store, append=True)
    try:
        whole = _read(disk, store, current.name)
        _append(disk, fd, b"".join(line + b"\n" for line in sorted(missing)), torn=bool(whole) and not whole.endswith(b"\n"))
    finally:
        disk.close(fd)


class Seen:
    """What one worker knows. `known` and `add` are for one thread, the owner's lock held.

    Args:
        disk: the disk.
        store: descriptor of data/store.
        now: Unix time in seconds.
    """

    def __init__(self, disk: Disk, store: int, now: Callable[[], float]) -> None:
        self._disk = disk
        self._store = store
        self._now = now
        self._hashes: set[int] = set()
        self._of: dict[Part, array[int]] = {}
        self._octets: dict[Part, int] = {}
        self._current = Part(0, 0)
        self._reader = self._writer = -1
        self._read_upto = self._own = 0
        """what was read of the current file; what was appended to it since, by this worker"""
        self._until = 0.0
        self._torn = False
        try:
            self._turn(int(now() // 3600))
        except OSError as error:  # a full disk: the service starts all the same, and tries again with each message
            _log.error("seen: %s", error)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._hashes)

    def known(self, line: bytes) -> bool:
        """Whether this recipient's message was stored, by whichever worker.

        Raises:
            OSError: that cannot be known now.
        """
        if self._reader < 0:
            self._turn(int(self._now() // 3600))
        end = self._read_upto + self._own
        if self._disk.pread(self._reader, 1, end):  # an octet behind ours: others have appended
            self._read_on()
        else:
            self._read_upto, self._own = end, 0
        if end >= PART_OCTETS or self._now() >= self._until:
            self._turn(int(self._now() // 3600))
        return hash(line) in self._hashes and self._stands(line)

    def add(self, lines: list[bytes]) -> None:
        """These have been stored."""
        octets = b"\n".join(lines) + b"\n"
        hashes = [hash(line) for line in lines]
        self._hashes.update(hashes)
        self._of[self._current].extend(hashes)
        try:
            _append(self._disk, self._writer, octets, torn=self._torn)
        except OSError as error:
            self._torn = True
            _log.warning("%s: %s; what is sent again now will be stored again", self._current.name, error)
            return
        self._own += len(octets) + (len(_CANCEL) if self._torn else 0)
        self._torn = False

    def close(self) -> None:
        """Close the files."""
        for fd in (self._reader, self._writer):
            if fd >= 0:
                self._disk.close(fd)
        self._reader = self._writer = -1

    def _turn(self, hour: int) -> None:
        """Read the files others have gone on to; go on to the newest, or to a new one. Never back, whatever the clock does."""
        if self._reader >= 0:
            self._read_on()  # what came last
        for part in parts(self._disk, self._store):
            if part > self._current:
                self._open(part)
        current = self._current
        if current.hour < hour:
            self._open(Part(hour, 0))
        elif self._reader < 0:  # the first hour of all: a machine that does not know the time yet
            self._open(current)
        elif self._read_upto >= PART_OCTETS:
            self._open(Part(current.hour, current.part + 1))
        self._expire()

    def _open(self, part: Part) -> None:
        """Append to this file from now on, and know what it says."""
        writer = self._disk.open_file(part.name, self._store, append=True)
        try:
            reader = self._disk.open_file(part.name, self._store)
        except BaseException:
            self._disk.close(writer)
            raise
        self._octets[self._current] = self._read_upto
        self.close()
        self._writer, self._reader, self._current = writer, reader, part
        self._until = 3600.0 * (part.hour + 1)
        self._read_upto = self._own = 0
        self._of[part] = array("q")
        self._read_on()
        self._torn = self._disk.fstat(reader).size > self._read_upto

    def _read_on(self) -> None:
        """Whole lines only: another worker may be in the middle of one."""
        data = b"".join(_pieces(self._disk, self._reader, self._read_upto))
        end = data.rfind(b"\n") + 1
        if end:
            hashes = [hash(line) for line in data[: end - 1].split(b"\n")]
            self._hashes.update(hashes)
            self._of[self._current].extend(hashes)
            self._read_upto += end
        self._own = 0

    def _stands(self, line: bytes) -> bool:
        """Whether the files say so, the newest first: two lines may have one hash."""
        whole = b"\n%b\n" % line
        for part in sorted(self._of, reverse=True):
            with contextlib.suppress(OSError):
                if whole in b"\n" + _read(self._disk, self._store, part.name):
                    return True
        return False

    def _expire(self) -> None:
        """Forget what is too old or too much, the file that is appended to excepted."""
        oldest = self._current.hour - REMEMBERED_HOURS
        for part in sorted(self._of):
            octets = sum(self._octets.get(each, 0) for each in self._of)
            if part == self._current or not (
                part.hour < oldest or len(self._hashes) > MOST_LINES or octets > MOST_OCTETS
            ):
                return
            self._hashes.difference_update(self._of.pop(part))
            self._octets.pop(part, None)
            with contextlib.suppress(OSError):  # another worker was quicker, or the next start finds it
                self._disk.unlink(part.name, self._store)


def _append(disk: Disk, fd: int, octets: bytes, *, torn: bool) -> None:
    """One write: whole lines, whoever else appends.

    Raises:
        OSError: not all of it was written.
    """
    if torn:
        octets = _CANCEL + octets
    if disk.write(fd, octets) != len(octets):
        raise OSError("not all could be written")


def _pieces(disk: Disk, fd: int, offset: int) -> Iterator[bytes]:
    while piece := disk.pread(fd, _PIECE, offset):
        yield piece
        offset += len(piece)


def _read(disk: Disk, store: int, name: str) -> bytes:
    try:
        fd = disk.open_file(name, store)
    except FileNotFoundError:
        return b""
    try:
        return b"".join(_pieces(disk, fd, 0))
    finally:
        disk.close(fd)
