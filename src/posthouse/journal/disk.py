"""The disk as the journal, the queue and the store use it: every step relative to an open folder.

`Disk` is the seam; `LinuxDisk` is the real one, `posthouse.testing.CrashDisk` a second one in memory that can lose
power. Both pass tests/contracts/test_disk.py.

* A name is one step: a name with `/`, an empty one, `.` and `..` are refused with ValueError, so that nothing outside
  the open folder can be reached. Only `open_dir` without a parent takes a whole path.
* No symbolic link is followed, every descriptor is closed in child processes.
* Nothing is durable before the sync that covers it: `fdatasync` or `fsync` for a file's octets, `fsync_dir` for the
  names in a folder, `syncfs` for everything on the file system.
* All failures are OSError with the kernel's errno.
"""

import fcntl
import os
import stat as modes
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias

Octets: TypeAlias = bytes | bytearray | memoryview


class FileStat(NamedTuple):
    """What is known of a file or folder without reading it."""

    device: int
    inode: int
    size: int
    """octets"""
    mtime_ns: int
    links: int
    is_folder: bool
    is_file: bool
    uid: int
    mode: int
    """permission bits"""


class Disk(Protocol):
    """The operations on one disk. Descriptors are numbers, as the kernel's are."""

    def open_dir(self, name: str, parent: int | None = None) -> int:
        """Open a folder: one step below the parent, or a whole path without one."""
        ...

    def close(self, fd: int, /) -> None:
        """Close a descriptor."""
        ...

    def mkdir(self, name: str, folder: int, mode: int = 0o700) -> None:
        """Make a folder."""
        ...

    def create_excl(self, name: str, folder: int, mode: int = 0o600) -> int:
        """Make a new empty file, open for reading and writing; FileExistsError when the name is taken."""
        ...

    def open_file(self, name: str, folder: int, *, write: bool = False, append: bool = False) -> int:
        """Open an existing file to read, with `write` to read and write, with `append` to append only (made if missing).

        With both: to read anywhere and to append, not made.
        """
        ...

    def pread(self, fd: int, count: int, offset: int, /) -> bytes:
        """Read; fewer octets only at the end of the file."""
        ...

    def pwrite(self, fd: int, data: Octets, offset: int, /) -> int:
        """Write in place; the number written, which may be short."""
        ...

    def pwritev(self, fd: int, buffers: Sequence[Octets], offset: int, /) -> int:
        """Write many buffers one after the other; at most 1024 of them."""
        ...

    def write(self, fd: int, data: Octets, /) -> int:
        """Append to a file opened with `append`."""
        ...

    def ftruncate(self, fd: int, size: int, /) -> None:
        """Set the file's length."""
        ...

    def fdatasync(self, fd: int, /) -> None:
        """Make the file's octets and length durable. After an OSError the octets are lost: never try again and believe it."""
        ...

    def fsync(self, fd: int, /) -> None:
        """As fdatasync, with times and modes."""
        ...

    def fsync_dir(self, folder: int, /) -> None:
        """Make the names in the folder durable."""
        ...

    def rename(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        """Rename; replaces what stood at the target."""
        ...

    def exchange(self, name: str, other: str, folder: int) -> None:
        """Let two names in one folder change places at once, files or folders; there is no moment without either."""
        ...

    def link(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        """Give a file another name; FileExistsError when it is taken."""
        ...

    def unlink(self, name: str, folder: int) -> None:
        """Take a file's name away."""
        ...

    def rmdir(self, name: str, folder: int) -> None:
        """Remove an empty folder."""
        ...

    def listdir(self, folder: int) -> list[str]:
        """The names in the folder, in no order."""
        ...

    def stat(self, name: str, folder: int) -> FileStat | None:
        """What stands at the name, links not followed; None when nothing does."""
        ...

    def folder_inode(self, name: str, folder: int) -> int:
        """The inode of a folder its owner may write to and enter; 0: nothing like that stands at the name."""
        ...

    def fstat(self, fd: int) -> FileStat:
        """What is open."""
        ...

    def set_mtime(self, fd: int, mtime_ns: int) -> None:
        """Say when the file was last changed."""
        ...

    def lease(self, fd: int, /) -> bool:
        """Until it is closed nobody else gets the file, open here to read and ours, open to write; False: somebody has it so."""
        ...

    def flock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        """Take the lock of the open file; False when another has it and `wait` is not given."""
        ...

    def unlock(self, fd: int) -> None:
        """Give the lock of the open file up; closing it does the same."""
        ...

    def fstype(self, fd: int) -> int:
        """The file system's magic number (statfs f_type)."""
        ...

    def syncfs(self, fd: int) -> None:
        """Make everything on the descriptor's file system durable; errors since the descriptor was opened are told once."""
        ...


WRITABLE = 0o300
"""of a folder's mode: its owner may write and enter"""
_FOLDER, _FILE = modes.S_IFDIR, modes.S_IFREG
_KIND = 0o170000
_KIND_AND_WRITABLE, _WRITABLE_FOLDER = _KIND | WRITABLE, _FOLDER | WRITABLE
_RENAME_EXCHANGE = 2
_NO_STEP = frozenset({"", ".", ".."})
_new_stat = partial(tuple.__new__, FileStat)  # a NamedTuple's own way costs twice as much
_CLOSE = os.O_CLOEXEC | os.O_NOFOLLOW
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | _CLOSE
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _CLOSE
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CLOSE
_READ = os.O_RDONLY | os.O_NONBLOCK | _CLOSE  # O_NONBLOCK: a fifo somebody put here must not hang us
_READ_WRITE = os.O_RDWR | os.O_NONBLOCK | _CLOSE
_READ_APPEND = _READ_WRITE | os.O_APPEND


def one_step(name: str) -> str:
    """The name itself, when it is a single step below a folder.

    Raises:
        ValueError: it is not.
    """
    if "/" in name or name in _NO_STEP or "\0" in name:
        raise ValueError(f"not a name of one step: {name!r}")
    return name


def _file_stat(found: os.stat_result) -> FileStat:
    mode = found.st_mode
    kind = mode & _KIND
    return _new_stat((
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_nlink,
        kind == _FOLDER, kind == _FILE, found.st_uid, mode & 0o7777,
    ))  # fmt: skip


class LinuxDisk:
    """The real disk."""

    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)
    pwritev = staticmethod(os.pwritev)
    write = staticmethod(os.write)
    ftruncate = staticmethod(os.ftruncate)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    fsync_dir = staticmethod(os.fsync)

    def open_dir(self, name: str, parent: int | None = None) -> int:
        """Open a folder. A whole path may go through links: the operator chose it."""
        if parent is None:
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return os.open(one_step(name), _OPEN_FOLDER, dir_fd=parent)

    def mkdir(self, name: str, folder: int, mode: int = 0o700) -> None:
        """Make a folder."""
        os.mkdir(one_step(name), mode, dir_fd=folder)

    def create_excl(self, name: str, folder: int, mode: int = 0o600) -> int:
        """Make a new file."""
        return os.open(one_step(name), _CREATE, mode, dir_fd=folder)

    def open_file(self, name: str, folder: int, *, write: bool = False, append: bool = False) -> int:
        """Open a file."""
        if append and not write:
            return os.open(one_step(name), _APPEND, 0o600, dir_fd=folder)
        return os.open(one_step(name), _READ_APPEND if append else _READ_WRITE if write else _READ, dir_fd=folder)

    def rename(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        """Rename."""
        os.rename(one_step(source), one_step(target), src_dir_fd=source_folder, dst_dir_fd=target_folder)

    def exchange(self, name: str, other: str, folder: int) -> None:
        """Exchange."""
        _call("renameat2", folder, os.fsencode(one_step(name)), folder, os.fsencode(one_step(other)), _RENAME_EXCHANGE)

    def link(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        """Make a hard link."""
        os.link(
            one_step(source), one_step(target), src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False
        )

    def unlink(self, name: str, folder: int) -> None:
        """Unlink."""
        os.unlink(one_step(name), dir_fd=folder)

    def listdir(self, folder: int) -> list[str]:
        """List a folder."""
        return os.listdir(folder)

    def rmdir(self, name: str, folder: int) -> None:
        """Remove an empty folder."""
        os.rmdir(one_step(name), dir_fd=folder)

    def stat(self, name: str, folder: int) -> FileStat | None:
        """Look at a name."""
        try:
            return _file_stat(os.stat(one_step(name), dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def folder_inode(self, name: str, folder: int) -> int:
        """Look at a folder."""
        try:
            found = os.stat(one_step(name), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return 0
        return found.st_ino if found.st_mode & _KIND_AND_WRITABLE == _WRITABLE_FOLDER else 0

    def fstat(self, fd: int) -> FileStat:
        """Look at a descriptor."""
        return _file_stat(os.fstat(fd))

    def set_mtime(self, fd: int, mtime_ns: int) -> None:
        """Set the times."""
        os.utime(fd, ns=(mtime_ns, mtime_ns))

    def lease(self, fd: int, /) -> bool:
        """Take a lease: processes of others are counted without being seen. Who opens it meanwhile waits, and we get SIGIO."""
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except BlockingIOError:
            return False
        return True

    def flock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        """Lock."""
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(fd, how if wait else how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, fd: int) -> None:
        """Unlock."""
        fcntl.flock(fd, fcntl.LOCK_UN)

    def fstype(self, fd: int) -> int:
        """The magic number of the file system."""
        import ctypes

        buffer = (ctypes.c_long * 32)()
        _call("fstatfs", fd, ctypes.byref(buffer))
        return buffer[0] & 0xFFFFFFFF

    def syncfs(self, fd: int) -> None:
        """Sync the file system."""
        _call("syncfs", fd)


def _call(name: str, *arguments: object) -> None:
    """A call Python has no name for; the interpreter's lock is free meanwhile."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
