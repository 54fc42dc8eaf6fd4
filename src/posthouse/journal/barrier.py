"""A barrier: everything written to a file system before it began is durable when it returns (DURABILITY 3.B).

ext4, xfs and btrfs on kernel 5.8 or later: `syncfs` on a descriptor opened before the first write and kept, so that every
write error since is heard; then `.barrier` is overwritten and fsynced, which shows that the file system still was alive
afterwards. Elsewhere `trusted` is False and each file and each folder the caller names is fsynced instead.

An OSError means: nothing of what was to be durable may be believed to be. The next call may succeed for other data, never
for this data. One barrier serves one file system: `Barriers` finds the one of a folder by its device.
"""

import os
import struct
import threading
from collections.abc import Iterable

from posthouse.journal.disk import Disk

NAME = ".barrier"
TRUSTED = frozenset({0xEF53, 0x58465342, 0x9123683E})
"""ext2/3/4, xfs, btrfs"""
TRUSTED_KERNEL = (5, 8)


def kernel_version(release: str | None = None) -> tuple[int, int]:
    """Major and minor version of the kernel; (0, 0) when the text is none."""
    major, _, rest = (release or os.uname().release).partition(".")
    minor = "".join(rest[: next((at for at, char in enumerate(rest) if not char.isdigit()), len(rest))])
    return (int(major), int(minor)) if major.isdigit() and minor else (0, 0)


class Barrier:
    """The barrier of the file system an open folder stands on. Open it before the first write there.

    Args:
        disk: the disk.
        folder: descriptor of a folder of ours; `.barrier` is made in it.
        kernel: version, asked from the system when not given.
    """

    def __init__(self, disk: Disk, folder: int, kernel: tuple[int, int] | None = None) -> None:
        self._disk = disk
        self._lock = threading.Lock()
        self._count = 0
        try:
            self._fd = disk.open_file(NAME, folder, write=True)
        except FileNotFoundError:
            try:
                self._fd = disk.create_excl(NAME, folder)
            except FileExistsError:  # another process was quicker
                self._fd = disk.open_file(NAME, folder, write=True)
        self.trusted = disk.fstype(self._fd) in TRUSTED and (kernel or kernel_version()) >= TRUSTED_KERNEL
        """whether `syncfs` is believed here; if not, `sync` needs to be told the files and folders"""

    def sync(self, files: Iterable[int] = (), folders: Iterable[int] = ()) -> None:
        """Make everything durable; where `trusted` is False: the given files, then the given folders.

        Raises:
            OSError: it is not, or may not be.
        """
        disk = self._disk
        if not self.trusted:
            for fd in files:
                disk.fsync(fd)
            for fd in folders:
                disk.fsync_dir(fd)
            return
        with self._lock:
            disk.syncfs(self._fd)
            self._count += 1
            disk.pwrite(self._fd, struct.pack("<Q", self._count), 0)
            disk.fsync(self._fd)

    def close(self) -> None:
        """Close the descriptor."""
        self._disk.close(self._fd)


class Barriers:
    """One barrier for each file system that was met."""

    def __init__(self, disk: Disk, kernel: tuple[int, int] | None = None) -> None:
        self._disk = disk
        self._kernel = kernel
        self._by_device: dict[int, Barrier] = {}
        self._lock = threading.Lock()

    def of(self, folder: int) -> Barrier:
        """The barrier of the folder's file system; opened at the first call, which must come before the first write there."""
        device = self._disk.fstat(folder).device
        with self._lock:
            found = self._by_device.get(device)
            if found is None:
                found = self._by_device[device] = Barrier(self._disk, folder, self._kernel)
            return found

    def close(self) -> None:
        """Close all descriptors."""
        for barrier in self._by_device.values():
            barrier.close()
        self._by_device.clear()
