"""How far the expansion of one recipient has come: the final addresses that have been enqueued, kept over a crash.

    data/journal/expansion/<message id>-<recipient id>     8 octets for each final address on its channel: a hash

Only an expansion that is enqueued in more than one step has a file. Order (DURABILITY 4.7): the copies of a step are durable,
then their hashes are written and synced, then the next step begins; the mark D of the recipient comes before the file
goes. After a crash the group is read anew and whoever stands here is passed over: nobody is left out, whatever has
changed in the directory meanwhile, and at most the members of one step get the message twice. An end that is no whole hash is
not looked at. Files nobody has written to for KEPT_DAYS belong to messages that were given up; `sweep` removes them.
"""

import hashlib
import struct
from typing import Final

from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk

FOLDER: Final = "expansion"
KEPT_DAYS = 60
_HASH = struct.Struct("<Q")


def fingerprint(channel: str, address: str) -> int:
    """What stands for one final address on its channel."""
    digest = hashlib.blake2b(f"{channel}\n{address}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    found: int = _HASH.unpack(digest)[0]
    return found


class ExpansionProgress:
    """The progress of one recipient. File operations: call them in a thread.

    Args:
        disk: the disk.
        journal: descriptor of data/journal.
        message: id of the message that is expanded.
        recipient: id of the recipient.
    """

    def __init__(self, disk: Disk, journal: int, message: str, recipient: int) -> None:
        self._disk = disk
        self._folder = open_folder(disk, FOLDER, journal)
        self._name = f"{message}-{recipient}"
        self._fd = -1
        self._size = 0

    def load(self) -> set[int]:
        """What was enqueued before.

        Raises:
            OSError: it cannot be read.
        """
        if self._disk.stat(self._name, self._folder) is None:
            return set()
        self._fd = self._disk.open_file(self._name, self._folder, write=True)
        octets = self._disk.pread(self._fd, self._disk.fstat(self._fd).size, 0)
        self._size = len(octets) - len(octets) % _HASH.size
        return {one for (one,) in _HASH.iter_unpack(octets[: self._size])}

    def add(self, fingerprints: list[int]) -> None:
        """These have been enqueued and are durable; so is this when the call returns.

        Raises:
            OSError: it is not: after a crash they may be enqueued again.
        """
        if self._fd < 0:
            self._fd = self._disk.create_excl(self._name, self._folder)
            self._disk.fsync_dir(self._folder)
        octets = b"".join(map(_HASH.pack, fingerprints))
        done = 0
        while done < len(octets):
            done += self._disk.pwrite(self._fd, octets[done:], self._size + done)
        self._disk.fdatasync(self._fd)
        self._size += len(octets)

    def end(self) -> None:
        """The recipient is settled: the file goes."""
        if self._fd >= 0:
            self._disk.unlink(self._name, self._folder)
        self.close()

    def close(self) -> None:
        """Keep the file, for the next try."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1
        if self._folder >= 0:
            self._disk.close(self._folder)
            self._folder = -1


def sweep(disk: Disk, journal: int, now: float) -> None:
    """Remove what belongs to messages given up long ago."""
    folder = open_folder(disk, FOLDER, journal)
    try:
        for name in disk.listdir(folder):
            status = disk.stat(name, folder)
            if status is not None and status.mtime_ns < (now - KEPT_DAYS * 86_400) * 1e9:
                disk.unlink(name, folder)
    finally:
        disk.close(folder)
