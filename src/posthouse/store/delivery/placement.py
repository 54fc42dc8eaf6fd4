"""One file, its names: written to `tmp/`, and only after the sync that covers it linked and renamed into `new/`.

A message that comes with flags gets its name in `cur/`, with the flags behind the base name.
`write_tmp` comes before the record (DURABILITY 3.6 b), `place` behind its sync (3.6 d), and `void` marks in the record whom it
failed for. `place_synced` is the way without a record: fsync of the file, names, fsync of every folder that got one. A name that
cannot be a hard link (too many links, another file system) or must not be one (a large message, xdflg value 16) gets a copy of
its own.
"""

import errno
import logging

from posthouse.journal.disk import Disk
from posthouse.journal.segment import JournalError, Mark, RecordRef, Segment
from posthouse.store.delivery.transaction import OWN_COPY, Addressee, Part
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError, MailboxLocked

_PIECE = 1 << 20
_NO_LINK = frozenset({errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""what file systems without hard links say, and those with too many"""
_log = logging.getLogger("posthouse.store")


def write_all(disk: Disk, fd: int, data: bytes, offset: int = 0) -> None:
    """Write all of it.

    Raises:
        OSError: not all could be written.
    """
    written = disk.pwrite(fd, data, offset)
    while written < len(data):
        more = disk.pwrite(fd, memoryview(data)[written:], offset + written)
        if not more:
            raise OSError(errno.ENOSPC, "not all could be written")
        written += more


def write_copy(disk: Disk, source: int, fd: int) -> None:
    """Write what another open file has.

    Raises:
        OSError: not all could be read or written.
    """
    offset = 0
    while piece := disk.pread(source, _PIECE, offset):
        write_all(disk, fd, piece, offset)
        offset += len(piece)


def write_tmp(disk: Disk, name: str, tmp: int, data: bytes) -> int:
    """Make the file in `tmp/`; its descriptor.

    Raises:
        OSError: it cannot be made; nothing is left of it.
    """
    fd = disk.create_excl(name, tmp)
    try:
        write_all(disk, fd, data)
    except BaseException:
        disk.close(fd)
        remove(disk, name, tmp)
        raise
    return fd


def remove(disk: Disk, name: str, folder: int) -> None:
    """Take a name away if it is there; a stray file in `tmp/` is removed after 36 hours anyway."""
    try:
        disk.unlink(name, folder)
    except OSError:
        return


def new_of(addressee: Addressee) -> int:
    """The `new/` of the addressee's folder, or its `cur/` for a message with flags."""
    if addressee.folder is not None:
        return addressee.folder.new
    assert addressee.account is not None
    return addressee.account.maildir.new


def place(disk: Disk, part: Part) -> list[OSError | None]:
    """Give the part's file all its names in `new/`; its name in `tmp/` becomes the last of them.

    Returns:
        For each addressee what kept it from getting its name.
    """
    results = [_link(disk, part, addressee, sync=False) for addressee in part.addressees[1:]]
    first = part.addressees[0]
    assert first.place is not None
    try:
        disk.rename(part.name, first.place.base + first.place.marks, part.tmp, new_of(first))
    except OSError as error:
        remove(disk, part.name, part.tmp)
        return [error, *results]
    return [None, *results]


def unplaced(error: OSError) -> MailboxError:
    """The fault of an addressee that got no name. A folder that was removed just now is none of the disk's: again soon."""
    return (MailboxLocked if error.errno == errno.ENOENT else MailboxIOError)(f"cannot be placed: {error}")


def void(disk: Disk, journal: int, record: RecordRef, slot: int) -> None:
    """Mark one recipient of a record as one that is not to be placed again: its sender was told to try again.

    Args:
        disk: the disk.
        journal: descriptor of data/journal.
        record: where the record stands.
        slot: the recipient's number in it.
    """
    try:
        segment = Segment.open(disk, journal, record.segment, write=True)
    except (OSError, JournalError) as error:
        _log.error("mark: %s", error)
        return
    try:
        segment.mark(record.first_slot + slot, Mark.VOID)
    finally:
        segment.close()


def place_synced(disk: Disk, part: Part) -> list[OSError | None]:
    """The way without a record: everything is durable when this returns None for an addressee. Blocks."""
    try:
        disk.fsync(part.fd)
    except OSError as error:
        return [error] * len(part.addressees)
    return [_place_one_synced(disk, part, addressee) for addressee in part.addressees]


def _place_one_synced(disk: Disk, part: Part, addressee: Addressee) -> OSError | None:
    error = _link(disk, part, addressee, sync=True)
    account, folder = addressee.account, addressee.folder
    assert account is not None
    if error is not None:
        return error
    try:
        disk.fsync_dir(new_of(addressee))
        if folder is not None:
            disk.fsync_dir(folder.fd)
        if folder is not None or not account.rooted:
            disk.fsync_dir(account.maildir.root)
            disk.fsync_dir(account.maildir.partition)
            account.rooted = True
    except OSError as failed:
        assert addressee.place is not None
        remove(disk, addressee.place.base + addressee.place.marks, new_of(addressee))  # it will be sent again
        return failed
    return None


def _link(disk: Disk, part: Part, addressee: Addressee, *, sync: bool) -> OSError | None:
    assert addressee.place is not None
    assert addressee.account is not None
    base = addressee.place.base
    try:
        try:
            if part.message.fd >= 0 and addressee.flags & OWN_COPY and len(part.transaction.addressees) > 1:
                raise OSError(errno.EMLINK, "a copy of its own is wanted")
            disk.link(part.name, base + addressee.place.marks, part.tmp, new_of(addressee))
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            copy_file(disk, part, base, addressee, sync=sync)
    except OSError as error:
        return error
    return None


def copy_file(disk: Disk, part: Part, base: str, addressee: Addressee, *, sync: bool) -> None:
    """A file of its own for the addressee.

    Raises:
        OSError: it cannot be had.
    """
    assert addressee.account is not None
    assert addressee.place is not None
    tmp = addressee.account.maildir.tmp
    name = f"{base}.copy"  # the message itself may be there as `base`
    source = disk.open_file(part.name, part.tmp)
    try:
        fd = disk.create_excl(name, tmp)
        try:
            write_copy(disk, source, fd)
            if sync:
                disk.fsync(fd)
            disk.rename(name, base + addressee.place.marks, tmp, new_of(addressee))
        except BaseException:
            remove(disk, name, tmp)
            raise
        finally:
            disk.close(fd)
    finally:
        disk.close(source)
