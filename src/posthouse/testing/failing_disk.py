"""A real disk on which chosen operations fail: full, broken, or read-only.

`fault(operation, name)` is asked before each operation and may return the OSError to raise; descriptors have the name they
were opened with. After an error that was raised the disk is as it was before.
"""

# ruff: noqa: D102 - each operation is the protocol's

import errno
import os
from collections.abc import Callable, Sequence

from posthouse.journal.disk import FileStat, LinuxDisk, Octets


def disk_full(operation: str, _name: str) -> OSError | None:
    """A fault for a full disk: nothing can be made or written any more; what exists can be synced, renamed and removed."""
    if operation in {"create_excl", "mkdir", "pwrite", "pwritev", "write", "link"}:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def no_inodes(operation: str, _name: str) -> OSError | None:
    """A fault for a file system without free inodes: nothing can be made, what exists can be written."""
    if operation in {"create_excl", "mkdir"}:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


def read_only(operation: str, _name: str) -> OSError | None:
    """A fault for a file system that the kernel has set read-only."""
    if operation in {
        "create_excl", "mkdir", "pwrite", "pwritev", "write", "ftruncate", "link", "rename", "exchange", "unlink", "syncfs",
    }:  # fmt: skip
        return OSError(errno.EROFS, os.strerror(errno.EROFS))
    return None


class FailingDisk(LinuxDisk):
    """The disk. Set `fault` at any time; None is well again."""

    def __init__(self) -> None:
        self.fault: Callable[[str, str], OSError | None] | None = None
        self._names: dict[int, str] = {}

    def _may(self, operation: str, name: str) -> None:
        error = self.fault(operation, name) if self.fault is not None else None
        if error is not None:
            raise error

    def _may_fd(self, operation: str, fd: int) -> None:
        self._may(operation, self._names.get(fd, ""))

    def open_dir(self, name: str, parent: int | None = None) -> int:
        self._may("open_dir", name)
        fd = super().open_dir(name, parent)
        self._names[fd] = name
        return fd

    def create_excl(self, name: str, folder: int, mode: int = 0o600) -> int:
        self._may("create_excl", name)
        fd = super().create_excl(name, folder, mode)
        self._names[fd] = name
        return fd

    def open_file(self, name: str, folder: int, *, write: bool = False, append: bool = False) -> int:
        self._may("open_file", name)
        fd = super().open_file(name, folder, write=write, append=append)
        self._names[fd] = name
        return fd

    def pread(self, fd: int, count: int, offset: int, /) -> bytes:
        self._may_fd("pread", fd)
        return os.pread(fd, count, offset)

    def listdir(self, folder: int) -> list[str]:
        self._may_fd("listdir", folder)
        return super().listdir(folder)

    def stat(self, name: str, folder: int) -> FileStat | None:
        self._may("stat", name)
        return super().stat(name, folder)

    def folder_inode(self, name: str, folder: int) -> int:
        self._may("stat", name)
        return super().folder_inode(name, folder)

    def flock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        self._may_fd("flock", fd)
        return super().flock(fd, exclusive=exclusive, wait=wait)

    def unlock(self, fd: int) -> None:
        self._may_fd("unlock", fd)
        super().unlock(fd)

    def ftruncate(self, fd: int, size: int, /) -> None:
        self._may_fd("ftruncate", fd)
        os.ftruncate(fd, size)

    def mkdir(self, name: str, folder: int, mode: int = 0o700) -> None:
        self._may("mkdir", name)
        super().mkdir(name, folder, mode)

    def pwrite(self, fd: int, data: Octets, offset: int, /) -> int:  # type: ignore[override] # a method in place of the call
        self._may_fd("pwrite", fd)
        return os.pwrite(fd, data, offset)

    def pwritev(self, fd: int, buffers: Sequence[Octets], offset: int, /) -> int:  # type: ignore[override]
        self._may_fd("pwritev", fd)
        return os.pwritev(fd, buffers, offset)

    def write(self, fd: int, data: Octets, /) -> int:  # type: ignore[override]
        self._may_fd("write", fd)
        return os.write(fd, data)

    def fdatasync(self, fd: int, /) -> None:  # type: ignore[override]
        self._may_fd("fdatasync", fd)
        os.fdatasync(fd)

    def fsync(self, fd: int, /) -> None:  # type: ignore[override]
        self._may_fd("fsync", fd)
        os.fsync(fd)

    def fsync_dir(self, folder: int, /) -> None:  # type: ignore[override]
        self._may_fd("fsync_dir", folder)
        os.fsync(folder)

    def syncfs(self, fd: int) -> None:
        self._may_fd("syncfs", fd)
        super().syncfs(fd)

    def rename(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        self._may("rename", target)
        super().rename(source, target, source_folder, target_folder)

    def exchange(self, name: str, other: str, folder: int) -> None:
        self._may("exchange", name)
        super().exchange(name, other, folder)

    def link(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        self._may("link", target)
        super().link(source, target, source_folder, target_folder)

    def unlink(self, name: str, folder: int) -> None:
        self._may("unlink", name)
        super().unlink(name, folder)
