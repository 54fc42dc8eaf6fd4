"""A mailbox goes to another partition, beside running deliveries and with IMAP sessions about (decision 173).

    1  `T/.moving-OWNER`: the copy, made while users and deliveries go on
    2  `hold`: the lock deliveries take; then until no unchecked record names the owner, so no replay comes to the old place
    3  until nobody has a file of it open to write: an IMAP session with the mailbox open has its index so. A command that is
       under way in one would be answered OK with half of it done at the old place
    4  in that moment (each file is leased) the old place is closed: one exchange of names puts a file, the mark, where the
       mailbox stood, and the mailbox aside, `S/.moved-OWNER`. Whatever a program does by a path fails from now on, loudly: it
       cannot make an empty mailbox there
    5  what has changed since 1 is copied, all of it is made durable
    6  `T/.moving-OWNER` is renamed to `T/OWNER`: from here on the mailbox is there. The mark stays in the old place
    7  the mailbox aside is removed as a deleted one is

Anything that goes wrong before 6 undoes 4, and the copy is removed. After a kill `settle` (the next move of the owner, or `store
check`) does the same, or finishes 7: the mark names the copy's inode, so it is known whether 6 was done. Until then deliveries
find the mark and no mailbox, and are answered 420. The mark is removed with the mailbox, or when it comes back here.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import NamedTuple

from posthouse.journal.barrier import Barrier
from posthouse.journal.disk import Disk, FileStat
from posthouse.store.administration.lock import Held, Pace, hold
from posthouse.store.administration.mailboxes import MARK, Mailboxes
from posthouse.store.administration.mirror import Mirror, leased
from posthouse.store.administration.removal import DELETED, MailboxExistsError, empty
from posthouse.store.administration.unchecked import wait_until_checked
from posthouse.store.mailbox.errors import MailboxIOError, MailboxLocked
from posthouse.store.mailbox.folder import read_small
from posthouse.store.mailbox.maildir import ASIDE, LOCK
from posthouse.store.mailbox.maildirsize import NAME as MAILDIRSIZE
from posthouse.store.quota.saved import LENGTH

COPY = ".moving-"
SESSIONS_WAIT = 60.0
"""seconds that sessions have to end"""
_POLL = 0.02
_ROUNDS = 5
_LOST = "the mailbox went to another partition and is in none now (not mounted?); if it is gone for good, remove this file"
_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_OURS = frozenset({LOCK, MAILDIRSIZE})
"""open to write in our own servers, who ask for the lock before they do"""


class Way(NamedTuple):
    """From where to where one owner's mailbox goes."""

    mailboxes: Mailboxes
    owner: str
    source: int
    target: int
    name: str
    """unique"""
    barrier: Barrier
    """of the target's file system, opened before the first write there"""
    pace: Pace

    @property
    def disk(self) -> Disk:
        """The disk."""
        return self.mailboxes.disk


def move(way: Way, tell: Callable[[Iterator[str]], None], waiting: Callable[[str], None]) -> None:
    """Move a mailbox.

    Args:
        way: from where to where.
        tell: runs the copying, which yields the name of each message; to show how far it is.
        waiting: told, once, of a file that a session has open.

    Raises:
        MailboxExistsError: the owner has a mailbox there too.
        MailboxError: it cannot be had, or moved, or is locked.
        OSError: the disk failed; nothing has changed, or (`check` tells) what is left of the old one is still there.
    """
    disk, owner = way.disk, way.owner
    with hold(disk, way.source, owner, way.pace):
        for _ in settle(way.mailboxes, owner, way.name, repair=True):
            pass
        found = disk.stat(owner, way.target)
        if found is not None and found.is_folder:
            raise MailboxExistsError(f"{owner} has a mailbox there too")
        copy, lock = _begin(way)
    try:
        _fill(way, copy, lock, tell, waiting)
    except BaseException:
        if disk.stat(f"{COPY}{owner}", way.target) is not None:
            with contextlib.suppress(OSError):  # `check` tells of it
                _empty(disk, f"{COPY}{owner}", way.target)
        raise
    finally:
        disk.close(lock)
        disk.close(copy)


def _begin(way: Way) -> tuple[int, int]:
    """The copy's folder, new, with its lock held: descriptors of both."""
    disk, name = way.disk, f"{COPY}{way.owner}"
    if disk.stat(name, way.target) is not None:
        raise MailboxLocked(f"{way.owner}: another command is moving this mailbox")
    disk.mkdir(name, way.target)
    copy = disk.open_dir(name, way.target)
    lock = disk.create_excl(LOCK, copy)
    disk.flock(lock)
    return copy, lock


def _fill(way: Way, copy: int, lock: int, tell: Callable[[Iterator[str]], None], waiting: Callable[[str], None]) -> None:
    disk, mirror = way.disk, Mirror(way.disk, copy)
    root = disk.open_dir(way.owner, way.source)
    try:
        messages = mirror.messages(root)
        tell(messages)
        for _ in messages:
            pass
    finally:
        disk.close(root)
    with hold(disk, way.source, way.owner, way.pace) as held:
        wait_until_checked(disk, way.mailboxes.journal, way.owner, way.pace)
        held.retire(way.name)
        try:
            _close_unused(way, held, copy, waiting)
            _finish_copy(way, mirror, held, lock)
            _publish(way)
        except BaseException:
            _undo(way, copy)
            raise
        disk.unlock(lock)
        held.give_up()
        _remove(disk, f"{ASIDE}{way.owner}", way.source, way.name)


def _close_unused(way: Way, held: Held, copy: int, waiting: Callable[[str], None]) -> None:
    """Steps 3 and 4."""
    try:
        _try_to_close(way, held, copy, waiting)
    except OSError as error:
        if error.errno in _UNKNOWN:
            text = f"{way.owner}: the file system it is on knows no leases (F_SETLEASE) or cannot exchange two names (renameat2)"
            raise MailboxIOError(text) from error
        raise


def _try_to_close(way: Way, held: Held, copy: int, waiting: Callable[[str], None]) -> None:
    disk, deadline, told = way.disk, way.pace.now() + SESSIONS_WAIT, False
    while True:
        with leased(disk, held.root, _OURS) as name:
            if not name:
                _close(way, disk.fstat(copy).inode)
        if not name:
            with leased(disk, held.root, _OURS) as name:
                pass
            if not name:
                return
            _undo(way, copy)  # somebody came in that very moment
        if way.pace.now() >= deadline:
            raise MailboxLocked(f"{way.owner}: another program has {name} open, an IMAP session most likely: it must end first")
        if not told:
            waiting(name)
            told = True
        way.pace.pause(_POLL)


def _close(way: Way, inode: int) -> None:
    """Step 4."""
    disk, aside = way.disk, f"{ASIDE}{way.owner}"
    mark = disk.create_excl(aside, way.source)
    try:
        disk.pwrite(mark, b"%s%d\n" % (MARK, inode), 0)
        disk.fsync(mark)
    finally:
        disk.close(mark)
    disk.exchange(way.owner, aside, way.source)
    disk.fsync_dir(way.source)


def _undo(way: Way, copy: int) -> None:
    """Back to before step 4, from wherever it was broken off; not when the copy has the owner's name all the same."""
    disk, aside = way.disk, f"{ASIDE}{way.owner}"
    found, there = disk.stat(aside, way.source), disk.stat(way.owner, way.target)
    if found is None or (there is not None and there.inode == disk.fstat(copy).inode):
        return
    if found.is_folder:
        _reopen(disk, way.owner, way.source)
    else:
        disk.unlink(aside, way.source)


def _reopen(disk: Disk, owner: str, partition: int) -> None:
    """Undo step 4."""
    aside = f"{ASIDE}{owner}"
    disk.exchange(owner, aside, partition)
    disk.unlink(aside, partition)
    disk.fsync_dir(partition)


def _finish_copy(way: Way, mirror: Mirror, held: Held, lock: int) -> None:
    """Step 5."""
    for _ in range(_ROUNDS):
        if not mirror.everything(held.root):
            break
    else:
        raise MailboxLocked(f"{way.owner}: somebody goes on changing it")
    saved = way.disk.pread(held.lock, LENGTH, 0)
    if saved:
        way.disk.pwrite(lock, saved, 0)
    if not way.barrier.trusted:
        mirror.sync()
    way.barrier.sync()


def _publish(way: Way) -> None:
    """Step 6; undone when it cannot be made durable."""
    disk, copy, owner, target = way.disk, f"{COPY}{way.owner}", way.owner, way.target
    marked = way.mailboxes.is_mark(owner, target)
    try:
        if marked:
            disk.exchange(copy, owner, target)
        else:
            disk.rename(copy, owner, target, target)
    except OSError:
        if disk.stat(owner, target) is not None:
            raise MailboxExistsError(f"{owner} has a mailbox there too") from None
        raise
    try:
        disk.fsync_dir(target)
    except BaseException:
        if marked:
            disk.exchange(copy, owner, target)
        else:
            disk.rename(owner, copy, target, target)
        raise
    if marked:
        with contextlib.suppress(OSError):  # `check` removes it
            disk.unlink(copy, target)


def _remove(disk: Disk, aside: str, partition: int, name: str) -> None:
    """Step 7."""
    hidden = f"{DELETED}{name}"
    disk.rename(aside, hidden, partition, partition)
    disk.fsync_dir(partition)
    _empty(disk, hidden, partition)


def _empty(disk: Disk, name: str, folder: int) -> None:
    for _ in empty(disk, name, folder):
        pass


# --- what a kill left -------------------------------------------------------------------------------------------


def settle(mailboxes: Mailboxes, owner: str, name: str, *, repair: bool) -> Iterator[str]:
    """Undo or finish a move of this owner that was cut short; one under way is left alone.

    Args:
        mailboxes: the store.
        owner: whose.
        name: unique.
        repair: do it, else only say it.

    Yields:
        The path below `data/store` of each thing that was left.

    Raises:
        OSError: the disk failed.
    """
    disk, aside, copy = mailboxes.disk, f"{ASIDE}{owner}", f"{COPY}{owner}"
    for partition in mailboxes.partitions:
        folder = mailboxes.descriptor(partition)
        with _left(disk, aside, folder) as found:
            if found is not None:
                yield f"{partition}/{aside}"
                if repair:
                    _settle_aside(mailboxes, owner, folder, name, mailbox=found.is_folder)
        with _left(disk, copy, folder) as found:
            if found is not None:
                yield f"{partition}/{copy}"
                if repair:
                    _empty(disk, copy, folder) if found.is_folder else disk.unlink(copy, folder)


@contextlib.contextmanager
def _left(disk: Disk, name: str, folder: int) -> Iterator[FileStat | None]:
    """What nobody is moving any more, its lock held meanwhile; None: it is not there, or is being moved."""
    found, fds = disk.stat(name, folder), list[int]()
    try:
        if found is not None and found.is_folder:
            fds.append(disk.open_dir(name, folder))
            with contextlib.suppress(FileNotFoundError):
                fds.append(disk.open_file(LOCK, fds[0], write=True))
                if not disk.flock(fds[1]):
                    found = None
        yield found
    finally:
        for fd in reversed(fds):
            disk.close(fd)


def _settle_aside(mailboxes: Mailboxes, owner: str, folder: int, name: str, *, mailbox: bool) -> None:
    disk, aside = mailboxes.disk, f"{ASIDE}{owner}"
    if not mailbox:  # a mark that was not put in its place
        disk.unlink(aside, folder)
    elif (published := _published(mailboxes, owner, folder)) is not None:
        disk.fsync_dir(published)
        _remove(disk, aside, folder, name)
    elif mailboxes.is_mark(owner, folder):
        _reopen(disk, owner, folder)
    else:  # the mark was taken away by hand
        disk.rename(aside, owner, folder, folder)
        disk.fsync_dir(folder)


def _published(mailboxes: Mailboxes, owner: str, folder: int) -> int | None:
    """The partition where the copy that the mark tells of has the owner's name."""
    number = read_small(mailboxes.disk, owner, folder).removeprefix(MARK).strip()
    for partition in mailboxes.partitions:
        found = mailboxes.disk.stat(owner, mailboxes.descriptor(partition))
        if found is not None and found.is_folder and number == str(found.inode).encode():
            return mailboxes.descriptor(partition)
    return None


def finish_moves(mailboxes: Mailboxes, name: str, *, repair: bool) -> Iterator[tuple[str, str]]:
    """Moves of all owners that were cut short; undone or finished with `repair`.

    Yields:
        The path below `data/store`, and what kept it from being repaired.
    """
    owners = set()
    for partition in mailboxes.partitions:
        folder = mailboxes.descriptor(partition)
        for each in sorted(mailboxes.disk.listdir(folder)):
            owners |= {each.removeprefix(head) for head in (ASIDE, COPY) if each.startswith(head)}
            if mailboxes.is_lost(each, folder):
                yield f"{partition}/{each}", _LOST
    for number, owner in enumerate(sorted(owners)):
        path = owner
        try:
            for path in settle(mailboxes, owner, f"{name}-{number}", repair=repair):
                yield path, ""
        except OSError as error:
            yield path, f"{error.filename}: {error.strerror}"
