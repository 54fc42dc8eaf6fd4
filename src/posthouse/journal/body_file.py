"""Bodies over 256 KiB: a file each in data/journal/body/, named from a record (DURABILITY 1, R0).

    a record's body with Flag.BODY_FILE:   u64 size, u32 crc32, file name in UTF-8

The file and its name are durable before the record that names it is appended. The crc of the whole file is checked before
a single octet is handed out. A file no record names is nothing: the start removes it.
"""

import struct
import zlib
from collections.abc import Iterator

import msgspec

from posthouse.journal.disk import Disk, Octets
from posthouse.journal.segment import CorruptRecord

INLINE_LIMIT = 256 << 10
"""octets of the largest body that stands in its record"""
PART = 256 << 10
_REFERENCE = struct.Struct("<QI")


class BodyReference(msgspec.Struct, frozen=True):
    """What a record says of its body file."""

    name: str
    size: int
    crc: int
    """crc32 of the whole body"""

    def encode(self) -> bytes:
        """The record's body."""
        return _REFERENCE.pack(self.size, self.crc) + self.name.encode()

    @classmethod
    def decode(cls, octets: bytes) -> "BodyReference":
        """The reference in a record's body.

        Raises:
            CorruptRecord: it is none.
        """
        if len(octets) <= _REFERENCE.size:
            raise CorruptRecord("the reference to a body file is too short")
        size, crc = _REFERENCE.unpack_from(octets)
        return cls(octets[_REFERENCE.size :].decode("utf-8", "replace"), size, crc)


class BodyFile:
    """A body that arrives.

    Args:
        disk: the disk.
        folder: descriptor of data/journal/body.
        name: unique, e.g. the message's id.
    """

    def __init__(self, disk: Disk, folder: int, name: str) -> None:
        self._disk = disk
        self._folder = folder
        self._name = name
        self._crc = 0
        self.size = 0
        self._fd = disk.create_excl(name, folder)

    def write(self, part: Octets) -> None:
        """Add a part.

        Raises:
            OSError: it could not be written; call `abandon`.
        """
        view = memoryview(part)
        self._crc = zlib.crc32(view, self._crc)
        while view:
            done = self._disk.pwrite(self._fd, view, self.size)
            self.size += done
            view = view[done:]

    def finish(self) -> BodyReference:
        """Make the file and its name durable. Blocks: call it in a thread.

        Raises:
            OSError: it is not durable; call `abandon`, never `finish` again.
        """
        self._disk.fsync(self._fd)
        self._disk.fsync_dir(self._folder)
        self._disk.close(self._fd)
        self._fd = -1
        return BodyReference(self._name, self.size, self._crc)

    def abandon(self) -> None:
        """Remove the file: nothing will name it."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
        self._disk.unlink(self._name, self._folder)


def read_parts(disk: Disk, fd: int, offset: int, size: int) -> Iterator[bytes]:
    """The octets of an open file in parts of at most 256 KiB.

    Raises:
        CorruptRecord: the file ends too early.
    """
    end = offset + size
    while offset < end:
        part = disk.pread(fd, min(PART, end - offset), offset)
        if not part:
            raise CorruptRecord("a body is shorter than it was")
        offset += len(part)
        yield part


def check_parts(disk: Disk, fd: int, offset: int, size: int, crc: int) -> None:
    """Read all and compare.

    Raises:
        CorruptRecord: the octets are not those that were written.
    """
    found = 0
    for part in read_parts(disk, fd, offset, size):
        found = zlib.crc32(part, found)
    if found != crc:
        raise CorruptRecord("a body is not what was written")
