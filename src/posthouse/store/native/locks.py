"""The two locks of a mailbox file, in the order everybody takes them: `<mailbox>.lock`, then an fcntl lock on the file.

The lock file is made by the link-count method: a file of our own gets the name by `link`, and two names of it prove that we
have it, on network file systems too. It holds our pid, as liblockfile writes it. One that nobody has touched for ten minutes
is stale. Nothing here waits: a lock that another has is `MailboxLocked`, and whoever wants it asks again.
The fcntl lock is an open file description's: it conflicts with those of other processes and with other threads of ours.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxLocked

RecordLock: TypeAlias = Callable[[int], bool]
"""takes the fcntl lock of an open file; False when another has it"""

class LockFile(NamedTuple):
    """Which lock file is ours: numbers of inodes are used again, their times are not. `own` is the name it is made under."""

    inode: int
    mtime_ns: int
    own: str


SUFFIX = ".lock"
STALE_NS = 600 * 1_000_000_000
_log = logging.getLogger("posthouse.store")
_FLOCK = struct.Struct("@hhqqi4x")


def lock_record(fd: int) -> bool:
    """The write lock of the whole file; False when another has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def dot_lock(disk: Disk, folder: int, name: str, before: Callable[[LockFile], None]) -> Iterator[LockFile]:
    """Hold `<name>.lock`.

    Args:
        disk: the disk.
        folder: where the mailbox is.
        name: of the mailbox.
        before: told which file will be the lock, before it is made and before it gets the name: a crash must not leave one that
            nobody knows of.

    Raises:
        MailboxLocked: another has it.
        OSError: it cannot be made.
    """
    mine = _take(disk, folder, name, before)
    try:
        yield mine
    finally:
        drop_lock(disk, folder, name, mine)


def drop_lock(disk: Disk, folder: int, name: str, mine: LockFile) -> None:
    """Remove the lock file if it is still this one. Where that fails it is stale in ten minutes."""
    try:
        found = disk.stat(name + SUFFIX, folder)
        if found is not None and (found.inode, found.mtime_ns) == mine[:2]:
            disk.unlink(name + SUFFIX, folder)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.error("%s%s cannot be removed: %s", name, SUFFIX, error)


def forget_lock(disk: Disk, folder: int, name: str, mine: LockFile) -> None:
    """Remove what a dead process left of its lock."""
    drop_lock(disk, folder, name, mine)
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(mine.own, folder)


def _take(disk: Disk, folder: int, name: str, before: Callable[[LockFile], None]) -> LockFile:
    own = f".lk{os.getpid()}.{secrets.token_hex(8)}"
    before(LockFile(0, 0, own))
    fd = disk.create_excl(own, folder, 0o644)
    try:
        disk.pwrite(fd, b"%d\n" % os.getpid(), 0)
        made = disk.fstat(fd)
        mine = LockFile(made.inode, made.mtime_ns, own)
        before(mine)
        for _ in range(2):
            with contextlib.suppress(FileExistsError):
                disk.link(own, name + SUFFIX, folder, folder)
            if disk.fstat(fd).links == 2:
                return mine
            if not _remove_stale(disk, folder, name, own, made.mtime_ns):
                break
        raise MailboxLocked(f"{name}: another program holds {name}{SUFFIX}")
    finally:
        disk.close(fd)
        try:
            disk.unlink(own, folder)
        except OSError as error:
            _log.error("%s cannot be removed: %s", own, error)


def _remove_stale(disk: Disk, folder: int, name: str, own: str, now_ns: int) -> bool:
    """Take away a lock nobody has touched for ten minutes; False when it is not one."""
    lock = disk.stat(name + SUFFIX, folder)
    if lock is None:
        return True
    if now_ns - lock.mtime_ns < STALE_NS:
        return False
    aside = f"{own}.stale"
    try:
        disk.rename(name + SUFFIX, aside, folder, folder)
    except FileNotFoundError:
        return True
    moved = disk.stat(aside, folder)
    stale = moved is None or moved.inode == lock.inode
    if not stale:  # somebody was quicker, and this is the lock he has made since: give it back
        with contextlib.suppress(FileExistsError):
            disk.link(aside, name + SUFFIX, folder, folder)
    disk.unlink(aside, folder)
    return stale
