"""One owner's mailbox held by an administrator's command: no delivery is under way in it, and none begins.

The lock is the one deliveries take, the flock of `.lmtp-lock` (message-store 5), so the kernel gives it back when the command
dies. It is taken by path, and counts only when, with the lock held, the owner's name still means this folder and the name
`.lmtp-lock` in it still means this file. Deliveries meanwhile wait up to five seconds and are then answered Mailbox
Locked; the relay keeps the mail.

A command that takes the mailbox away (delete, rename) first replaces the lock file and leaves `GONE` in the one it
holds (`retire`). A delivery looks at the name, then takes the lock: had it looked just before, it gets the lock of a mailbox
that is another one by now, reads `GONE` there and is answered Mailbox Locked. An `.admin-lock` put there by hand is
honoured: nothing is done in such a mailbox.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from posthouse.journal.disk import Disk
from posthouse.store.administration.mailboxes import MARK
from posthouse.store.mailbox.errors import MailboxLocked, MailboxNonexistent
from posthouse.store.mailbox.faults import fault_of, need_folder
from posthouse.store.mailbox.folder import read_small
from posthouse.store.mailbox.maildir import ADMIN_LOCK, GONE, LOCK
from posthouse.store.quota.saved import LENGTH, SavedQuota, decode_saved

WAIT = 10.0
"""seconds a command waits for deliveries to leave the mailbox"""
_POLL = 0.02


class Pace(NamedTuple):
    """Time, passed in."""

    now: Callable[[], float]
    """Unix time in seconds"""
    pause: Callable[[float], None]


class Held:
    """A mailbox whose lock is held."""

    def __init__(self, disk: Disk, partition: int, owner: str, root: int, lock: int) -> None:
        self.disk = disk
        self.partition = partition
        self.owner = owner
        self.root = root
        self.lock = lock

    @property
    def saved(self) -> SavedQuota:
        """What is remembered of the owner's quota."""
        return decode_saved(self.disk.pread(self.lock, LENGTH, 0))

    def save(self, saved: SavedQuota) -> None:
        """Remember it; deliveries see it when they next take the lock."""
        self.disk.pwrite(self.lock, saved.encode(), 0)

    def retire(self, name: str, *, saved: bytes | None = None) -> None:
        """Put another lock file in the place of the held one, which says `GONE` from now on. Both are held.

        Args:
            name: a unique name for it meanwhile.
            saved: what the new one says; by default what the held one says.

        Raises:
            OSError: the disk failed; nothing has changed.
        """
        disk, octets = self.disk, self.disk.pread(self.lock, LENGTH, 0) if saved is None else saved
        fresh = disk.create_excl(name, self.root)
        try:
            if octets:
                disk.pwrite(fresh, octets, 0)
            disk.fsync(fresh)
            disk.flock(fresh)
            disk.rename(name, LOCK, self.root, self.root)
        except BaseException:
            disk.close(fresh)
            disk.unlink(name, self.root)
            raise
        disk.fsync_dir(self.root)  # a power cut must not leave the old one under this name: nobody would ever get in
        self.give_up()
        disk.close(self.lock)  # whoever gets it now reads GONE
        self.lock = fresh

    def give_up(self) -> None:
        """Let the held lock say `GONE`: who gets it later holds nothing.

        Raises:
            OSError: the disk failed.
        """
        self.disk.ftruncate(self.lock, 0)
        self.disk.ftruncate(self.lock, len(GONE))


@contextlib.contextmanager
def hold(disk: Disk, partition: int, owner: str, pace: Pace, seconds: float = WAIT) -> Iterator[Held]:
    """Hold an owner's mailbox until the block ends.

    Raises:
        MailboxNonexistent: there is none.
        MailboxLocked: the lock was not had in time, `.admin-lock` stands there, or it was moved away.
        MailboxError: it is no mailbox one can work in.
    """
    deadline = pace.now() + seconds
    while (held := _take(disk, partition, owner)) is None:
        if pace.now() >= deadline:
            raise MailboxLocked(f"{owner}: deliveries did not give the lock back in {seconds:g} s")
        pace.pause(_POLL)
    try:
        yield held
    finally:
        disk.close(held.lock)
        disk.close(held.root)


def _take(disk: Disk, partition: int, owner: str) -> Held | None:
    try:
        found = disk.stat(owner, partition)
        if found is None:
            raise MailboxNonexistent(f"{owner}: no mailbox")
        if found.is_file and read_small(disk, owner, partition).startswith(MARK):
            raise MailboxLocked(f"{owner}: was moved to another partition just now")
        need_folder(found, owner)
        root = disk.open_dir(owner, partition)
        lock = -1
        try:
            held_by_hand = disk.stat(ADMIN_LOCK, root)
            if held_by_hand is not None and not held_by_hand.is_folder:  # a folder is one a user has made
                raise MailboxLocked(f"{owner}: {ADMIN_LOCK} stands there")
            try:
                lock = _open_lock(disk, root)
            except OSError as error:
                raise fault_of(error, f"{owner}/{LOCK}") from error
            if disk.flock(lock) and _means(disk, LOCK, root, lock) and _means(disk, owner, partition, root):
                held, root, lock = Held(disk, partition, owner, root, lock), -1, -1
                return held
        finally:
            for fd in (lock, root):
                if fd >= 0:
                    disk.close(fd)
    except OSError as error:
        raise fault_of(error, owner) from error
    return None


def _means(disk: Disk, name: str, folder: int, fd: int) -> bool:
    """Whether the name still means what is open."""
    found, opened = disk.stat(name, folder), disk.fstat(fd)
    return found is not None and (found.device, found.inode) == (opened.device, opened.inode)


def _open_lock(disk: Disk, root: int) -> int:
    while True:
        try:
            return disk.open_file(LOCK, root, write=True)
        except FileNotFoundError:
            try:
                return disk.create_excl(LOCK, root)
            except FileExistsError:
                continue
