"""Errors of the disk as faults of a mailbox.

A symbolic link or a special file met on the way is `MailboxNotSupported`, something else of the wrong kind
`MailboxBadFormat`, everything else `MailboxIOError` (disk full, no permission, the disk itself).
"""

import errno

from posthouse.journal.disk import WRITABLE, FileStat
from posthouse.store.mailbox.errors import MailboxBadFormat, MailboxError, MailboxIOError, MailboxNotSupported

_KINDS: dict[int | None, type[MailboxError]] = {
    errno.ELOOP: MailboxNotSupported,
    errno.ESPIPE: MailboxNotSupported,  # a fifo is read
    errno.ENXIO: MailboxNotSupported,  # a socket is opened
    errno.ENOTDIR: MailboxBadFormat,
    errno.EISDIR: MailboxBadFormat,
}


def fault_of(error: OSError, what: str) -> MailboxError:
    """The fault that an error of the disk is, when it happened to `what`."""
    return _KINDS.get(error.errno, MailboxIOError)(f"{what}: {reason_of(error)}")


def reason_of(error: OSError) -> str:
    """What the error says, in an administrator's words where the system's mislead."""
    return "a symbolic link stands there" if error.errno == errno.ELOOP else error.strerror or str(error)


def need_folder(found: FileStat, owner: str, part: str = "") -> None:
    """Accept only a folder that can be written to.

    Args:
        found: what stands there.
        owner: whose mailbox it is, or is in.
        part: its name in the mailbox.

    Raises:
        MailboxBadFormat: it is a file.
        MailboxNotSupported: it is a link or a special file, or read-only.
    """
    if found.is_folder and found.mode & WRITABLE == WRITABLE:
        return
    what = f"{owner}/{part}" if part else owner
    if found.is_file:
        raise MailboxBadFormat(f"{what}: a file stands where a folder belongs")
    if not found.is_folder:
        raise MailboxNotSupported(f"{what}: a link or special file stands where a folder belongs")
    raise MailboxNotSupported(f"{what}: read-only")
