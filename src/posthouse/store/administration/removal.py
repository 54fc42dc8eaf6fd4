"""Taking a mailbox away from its owner's name: delete and rename, safe beside running deliveries.

Lock and order that make it safe (DURABILITY 5, "mailbox deleted or renamed while records are unchecked"):

    1  `hold`: the lock deliveries take. Nothing of this owner is between its record and its reply from here on
    2  wait until the checkpoint has passed every record that names the owner: no replay can bring the old name back
    3  `retire` the lock file: a delivery that looked at the name before 4 and gets the lock after 4 reads GONE, 420
    4  one rename: to the new owner's name, or to `.deleted-...`, a name no owner can have
    5  fsync of the partition's folder, only then the lock is given back (and a removed mailbox emptied)

Killed between any two of them: the mailbox stands under the old name or the new one, whole. After 4 of a delete the emptying
is finished by the next `check`. The lock goes with the folder, so a delivery to the new name waits for 5 as well. Mail for the
old name that comes later makes a new mailbox (or is 511 without `store.autocreate`): the directory is changed first.
"""

import errno
import os
from collections.abc import Callable, Iterator

from posthouse.journal.disk import Disk
from posthouse.store.administration.lock import Pace, hold
from posthouse.store.administration.mailboxes import Mailbox, Mailboxes
from posthouse.store.administration.unchecked import wait_until_checked
from posthouse.store.mailbox.errors import MailboxBadFormat, MailboxError, MailboxIOError
from posthouse.store.mailbox.faults import fault_of, reason_of
from posthouse.store.mailbox.maildir import LOCK

DELETED = ".deleted-"
_ALL = 0o700
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class MailboxExistsError(Exception):
    """The new owner has a mailbox already."""


class NotEmptiedError(MailboxIOError):
    """The mailbox is away, but something that was in it could not be removed."""


def rename(mailboxes: Mailboxes, mailbox: Mailbox, owner: str, pace: Pace, name: str) -> Mailbox:
    """Give a mailbox to another owner, in the same partition.

    Args:
        mailboxes: the store.
        mailbox: it.
        owner: its new owner's name.
        pace: time.
        name: unique.

    Raises:
        MailboxExistsError: the new owner has one.
        MailboxError: the old one cannot be had, or is locked.
        OSError: the disk failed.
    """
    disk, partition = mailboxes.disk, mailboxes.descriptor(mailbox.partition)
    if mailboxes.find(owner) is not None:
        raise MailboxExistsError(f"{owner} has a mailbox already")
    with hold(disk, partition, mailbox.owner, pace) as held:
        wait_until_checked(disk, mailboxes.journal, mailbox.owner, pace)
        held.retire(name)
        mailboxes.unmark(mailbox.owner)
        try:
            disk.rename(mailbox.owner, owner, partition, partition)
        except OSError as error:
            if disk.stat(owner, partition) is not None:  # a delivery has made it meanwhile
                raise MailboxExistsError(f"{owner} has a mailbox already") from None
            raise fault_of(error, mailbox.owner) from error
        disk.fsync_dir(partition)
    return Mailbox(mailbox.partition, owner)


def remove(
    mailboxes: Mailboxes, mailbox: Mailbox, pace: Pace, name: str, tell: Callable[[Iterator[str]], None] | None = None
) -> None:
    """Remove a mailbox and everything in it.

    Args:
        mailboxes: the store.
        mailbox: it.
        pace: time.
        name: unique.
        tell: runs the emptying, which yields the name of each thing it removes; to show how far it is.

    Raises:
        NotEmptiedError: it is away, with something left of it.
        MailboxError: it cannot be had, or is locked.
        OSError: the disk failed.
    """
    disk, partition = mailboxes.disk, mailboxes.descriptor(mailbox.partition)
    with hold(disk, partition, mailbox.owner, pace) as held:
        wait_until_checked(disk, mailboxes.journal, mailbox.owner, pace)
        try:
            held.retire(name)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            held.retire(name, saved=b"")  # room is made by this, so it must not need any
        mailboxes.unmark(mailbox.owner)
        hidden = f"{DELETED}{name}"
        disk.rename(mailbox.owner, hidden, partition, partition)
        disk.fsync_dir(partition)
        removed = empty(disk, hidden, partition)
        try:
            if tell is not None:
                tell(removed)
            for _ in removed:
                pass
        except OSError as error:
            left = f"{mailbox.partition}/{hidden}: {error.filename}: {reason_of(error)}"
            raise NotEmptiedError(f"{mailbox.owner}: removed, but not emptied: {left}") from None


def finish_removals(mailboxes: Mailboxes, *, repair: bool) -> Iterator[tuple[str, str]]:
    """Removed mailboxes whose emptying was cut short; emptied with `repair`.

    Yields:
        The path below `data/store`, and what kept it from being emptied.
    """
    disk = mailboxes.disk
    for partition in mailboxes.partitions:
        folder = mailboxes.descriptor(partition)
        for name in sorted(disk.listdir(folder)):
            if name.startswith(DELETED) and not _is_held(disk, name, folder):
                reason = ""
                try:
                    for _ in empty(disk, name, folder) if repair else ():
                        pass
                except MailboxError as error:
                    reason = str(error)
                except OSError as error:
                    reason = f"{error.filename}: {reason_of(error)}"
                yield f"{partition}/{name}", reason


def _is_held(disk: Disk, name: str, folder: int) -> bool:
    """Whether a command is still emptying it."""
    try:
        root = disk.open_dir(name, folder)
    except OSError:
        return False
    try:
        lock = disk.open_file(LOCK, root, write=True)
        try:
            return not disk.flock(lock)
        finally:
            disk.close(lock)
    except OSError:
        return False
    finally:
        disk.close(root)


def empty(disk: Disk, name: str, folder: int) -> Iterator[str]:
    """Remove a folder with all that is in it, the lock file last; links are removed, not followed. A mode does not keep it.

    Raises:
        OSError: the disk failed, or something in it is another user's.
    """
    found = disk.stat(name, folder)
    if found is None:
        return
    if not found.is_folder:
        raise MailboxBadFormat(f"{name}: no folder")
    if found.mode & _ALL != _ALL:
        os.chmod(name, _ALL, dir_fd=folder)
    fd = disk.open_dir(name, folder)
    try:
        for each in sorted(disk.listdir(fd), key=lambda each: (each == LOCK, each)):
            inside = disk.stat(each, fd)
            if inside is not None and inside.is_folder:
                yield from empty(disk, each, fd)
            elif inside is not None:
                disk.unlink(each, fd)
                yield each
    finally:
        disk.close(fd)
    disk.rmdir(name, folder)
