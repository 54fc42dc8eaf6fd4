r"""The quota file of Maildir++ (message-store 6): what an owner's folders hold, as a sum of changes.

    line 1        [<bytes>S][,][<messages>C]      the limits; `0S` when there are none
    other lines   <bytes> <messages>              changes, perhaps negative, any blanks; their sum is the usage

Lines are appended with one write each. Readers: Dovecot and others append, and replace the file when they recount; we
see that by its inode and length. Our own replacement (limits changed, `COMPACT_AT` octets reached) sums what was there and
takes over every line that was appended to the old file while and after it was replaced, for `LINGER` seconds.
A recount is asked for (None) when the file is missing, empty, garbled (NUL, line 1 no limits, no number, an unfinished
line), over 1 MiB or its sum negative.
"""

import contextlib
import functools
import re
from typing import NamedTuple

from posthouse.journal.disk import Disk

NAME = "maildirsize"
COMPACT_AT = 4096
"""well before the 5120 octets at which Dovecot counts the mailbox, and loses what comes meanwhile (decision 193)"""
LINGER = 2.0
RECOUNT = b"%d 0\n" % -(1 << 52)
"""a line that makes the sum negative: whoever reads it next counts the mailbox"""
_USUAL = 2 * COMPACT_AT
_MOST = 1 << 20
_TOO_MUCH = 10**20
"""no sum of anything"""
_LIMITS = re.compile(rb"[0-9]+[SC](?:,[0-9]+[SC])*[ \t\r]*\n")
_CHANGES = re.compile(rb"(?:[ \t]*[+-]?[0-9]{1,20}[ \t]+[+-]?[0-9]{1,20}[ \t\r]*\n){1,512}")
"""some lines: a match keeps a note of each"""


class Sizes(NamedTuple):
    """What an owner has in all folders."""

    bytes: int
    messages: int


NO_SIZES = Sizes(0, 0)


@functools.lru_cache(maxsize=1024)
def limits_line(octets: int, messages: int) -> bytes:
    """Line 1 for these limits; negative is unlimited. A limit of 0 is shown as 1: 0 would mean unlimited to readers."""
    parts = [b"%dS" % max(octets, 1)] if octets >= 0 else []
    if messages >= 0:
        parts.append(b"%dC" % max(messages, 1))
    return b",".join(parts) or b"0S"


def sum_changes(data: bytes, start: int = 0) -> Sizes | None:
    """The sum of the lines from `start` on; None when one is no line of changes."""
    lines = data[start:]
    numbers = lines.split()
    count, odd = divmod(len(numbers), 2)
    if odd or lines.translate(None, b"0123456789-") != b" \n" * count or not lines.endswith(b"\n"):
        end = 0  # blanks as nobody writes them, or no lines of changes
        while end < len(lines):
            match = _CHANGES.match(lines, end)
            if match is None:
                return None
            end = match.end()
    try:
        total = Sizes(sum(map(int, numbers[::2])), sum(map(int, numbers[1::2])))
    except ValueError:
        return None
    return total if abs(total.bytes) < _TOO_MUCH and abs(total.messages) < _TOO_MUCH else None


def parse(data: bytes) -> tuple[bytes, Sizes] | None:
    """Line 1 and the sum; None when the file is garbled or the sum negative."""
    head = _LIMITS.match(data)
    total = sum_changes(data, head.end()) if head is not None else None
    if head is None or total is None or total.bytes < 0 or total.messages < 0:
        return None
    return head[0][:-1], total


class SizeFile:
    """The maildirsize of one open mailbox. Used under the owner's lock only."""

    __slots__ = ("_disk", "_fd", "_length", "_old", "_root", "_sizes", "_tmp", "limits")

    def __init__(self, disk: Disk, root: int, tmp: int) -> None:
        self._disk = disk
        self._root = root
        self._tmp = tmp
        self._fd = -1
        self._length = -1
        self._sizes = NO_SIZES
        self._old: tuple[int, int, float] | None = None
        self.limits = b""
        """line 1 as it stands in the file"""

    def load(self, now: float) -> Sizes | None:
        """The usage; None: count anew and call `write`.

        Raises:
            OSError: the disk failed.
        """
        if self._old:
            self._late_lines(now)
        if self._fd >= 0:
            found = self._disk.fstat(self._fd)
            if found.links and found.size == self._length:
                return self._sizes
            if not found.links:
                self._close_file()
        return self._read()

    def _read(self) -> Sizes | None:
        disk = self._disk
        try:
            fd = disk.open_file(NAME, self._root, write=True, append=True)
        except FileNotFoundError:
            return None
        data = disk.pread(fd, _USUAL, 0)
        if len(data) == _USUAL:
            data += disk.pread(fd, _MOST + 1 - _USUAL, _USUAL)
        parsed = parse(data) if len(data) <= _MOST else None
        if parsed is None:
            disk.close(fd)
            return None
        self._close_file()
        self._fd = fd
        self.limits, self._sizes = parsed
        self._length = len(data)
        return self._sizes

    def add(self, octets: int, messages: int) -> None:
        """Append a change. What cannot be written down makes the next `load` ask for a recount."""
        if self._fd < 0:
            return
        line = b"%d %d\n" % (octets, messages)
        try:
            written = self._disk.write(self._fd, line)
        except OSError:
            written = -1
        if written != len(line):
            self.forget()
            return
        self._length += written
        self._sizes = Sizes(self._sizes.bytes + octets, self._sizes.messages + messages)

    @property
    def present(self) -> bool:
        """Whether the file was there when it was last looked at."""
        return self._fd >= 0

    @property
    def wants_rewrite(self) -> bool:
        """Whether the file has grown to the size at which its lines are summed into one."""
        return self._length >= COMPACT_AT

    def write(self, limits: bytes, sizes: Sizes, name: str, now: float, *, keep_late: bool = True) -> None:
        """Replace the file by one with these limits and one line of usage.

        Args:
            limits: line 1.
            sizes: the usage, as loaded or counted.
            name: a unique name for it in `tmp` meanwhile.
            now: seconds.
            keep_late: lines somebody appends to the old file from now on are taken over; not after a recount.
        """
        disk = self._disk
        self._drop_old()
        reader = -1
        if keep_late and self._fd >= 0:
            reader = disk.open_file(NAME, self._root)
            current = disk.fstat(self._fd)
            replaced = disk.fstat(reader).inode != current.inode
            if replaced or (current.size != self._length and self._read() is None):
                disk.close(reader)
                self.forget()
                return
            sizes = self._sizes
        at = self._length
        data = limits + b"\n%d %d\n" % sizes
        try:
            self._replace(name, data)
        except BaseException:
            if reader >= 0:
                disk.close(reader)
            raise
        self._close_file()
        self._fd = disk.open_file(NAME, self._root, append=True)
        self.limits, self._sizes, self._length = limits, sizes, len(data)
        if reader >= 0:
            self._old = (reader, at, now + LINGER)
            self._late_lines(now)

    def _replace(self, name: str, data: bytes) -> None:
        disk = self._disk
        fd = disk.create_excl(name, self._tmp)
        try:
            disk.pwrite(fd, data, 0)
            disk.rename(name, NAME, self._tmp, self._root)
        except BaseException:
            with contextlib.suppress(OSError):
                disk.unlink(name, self._tmp)
            raise
        finally:
            disk.close(fd)

    def _late_lines(self, now: float) -> None:
        """Take over what was appended to the replaced file."""
        if self._old is None:
            return
        reader, at, until = self._old
        late = self._disk.pread(reader, _MOST, at)
        whole = late[: late.rfind(b"\n") + 1]
        total = sum_changes(whole)
        self._old = (reader, at + len(whole), until)
        if total is None:
            self.forget()
        elif whole:
            self.add(*total)
        if now > until:
            self._drop_old()

    def forget(self) -> None:
        """Remove the file: the next `load` asks for a recount."""
        self._close_file()
        try:
            self._disk.unlink(NAME, self._root)
        except OSError:
            return

    def _drop_old(self) -> None:
        if self._old is not None:
            self._disk.close(self._old[0])
            self._old = None

    def _close_file(self) -> None:
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
        self._length = -1

    def close(self) -> None:
        """Close what is open; what was appended to a replaced file until now is taken over."""
        if self._old is not None:
            with contextlib.suppress(OSError):  # the next count will tell
                self._late_lines(0.0)
            self._drop_old()
        self._close_file()
