"""Appending one entry to one mailbox file: whole and durable, or the file is as it was (DURABILITY 3.6, message-store 7).

    a  lock file, then open or make the file (0600), then fcntl lock          another has one: MailboxLocked
    b  look: a plain file, one link, the owner's, writable, begins `From `    MailboxNotSupported, MailboxBadFormat
    c  the limit                                                              QuotaExceeded, PersistentQuotaExceeded
    d  the undo note, durable                                                 (`notes`)
    e  append, fsync; a new file's folder too                                 on any error: cut back, MailboxIOError
    f  the note is of the lock only, durable; unlock                                   only now may the sender hear 250

No name on the way is followed when it is a symbolic link. Runs in whatever process has the owner's rights; blocks on the disk
but never on a lock.
"""

import contextlib
import errno
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

from posthouse.journal.disk import Disk, FileStat
from posthouse.store.mailbox.errors import (
    MailboxBadFormat,
    MailboxError,
    MailboxIOError,
    MailboxLocked,
    MailboxNotSupported,
    PersistentQuotaExceeded,
    QuotaExceeded,
)
from posthouse.store.native.locks import LockFile, RecordLock, dot_lock
from posthouse.store.native.notes import Note, Notes

_CHUNK = 1 << 20
_OWNER_MAY_WRITE = 0o200
_log = logging.getLogger("posthouse.store")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is appended: octets in memory, or an open file that holds nothing else.

    Args:
        size: octets.
        crc: crc32 of all.
        head: the first octets, as far as they are needed to know it again.
        octets: the whole, or empty when `fd` has it.
        fd: an open file, -1 when there is none.
    """

    size: int
    crc: int
    head: bytes
    octets: bytes = b""
    fd: int = -1

    def parts(self, disk: Disk) -> Iterator[bytes]:
        """All octets, in pieces that memory can hold."""
        if self.fd < 0:
            yield self.octets
            return
        at = 0
        while at < self.size:
            part = disk.pread(self.fd, min(_CHUNK, self.size - at), at)
            if not part:
                raise OSError(errno.EIO, "the message's file has become shorter")
            yield part
            at += len(part)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The file to append to.

    Args:
        folder: open.
        path: the folder's path, for the undo note.
        name: of the file.
        uid: who must own it.
        limit: octets it may have at most, below 0 any number.
        bounce: a message that does not fit is refused for good (channel keyword noexquota).
    """

    folder: int
    path: str
    name: str
    uid: int
    limit: int = -1
    bounce: bool = False


class Appender:
    """Appends with undo notes.

    Args:
        disk: the disk.
        notes: of this process.
        lock: takes the fcntl lock.
    """

    def __init__(self, disk: Disk, notes: Notes, lock: RecordLock) -> None:
        self._disk = disk
        self._notes = notes
        self._lock = lock

    def append(self, mailbox: Mailbox, entry: Entry, slot: int) -> None:
        """Append.

        Args:
            mailbox: where.
            entry: what.
            slot: the caller's slot of the notes.

        Raises:
            MailboxError: the file is as it was.
        """
        try:
            with self.locked(mailbox, slot) as lock:
                self.append_locked(mailbox, entry, slot, lock)
        except OSError as error:
            raise MailboxIOError(f"{mailbox.path}/{mailbox.name}.lock: {error.strerror or error}") from error

    def locked(self, mailbox: Mailbox, slot: int) -> AbstractContextManager[LockFile]:
        """Hold the mailbox's lock file, noted in the slot. As `dot_lock`."""
        return dot_lock(
            self._disk,
            mailbox.folder,
            mailbox.name,
            lambda lock: self._notes.intend(slot, Note(mailbox.path, mailbox.name, lock)),
        )

    def append_locked(self, mailbox: Mailbox, entry: Entry, slot: int, lock: LockFile) -> None:
        """Append while the caller holds this lock file.

        Raises:
            MailboxError: the file is as it was.
        """
        what = f"{mailbox.path}/{mailbox.name}"
        try:
            fd = self._open(mailbox, what)
        except OSError as error:
            raise _opening_fault(error, what) from error
        try:
            size = self._look(mailbox, fd, what)
            gap = self._gap(fd, size, what)
            _check_limit(mailbox, entry, size + len(gap), what)
            found = self._disk.fstat(fd)
            start = size + len(gap)
            note = Note(
                mailbox.path, mailbox.name, lock, found.device, found.inode, size, start + entry.size, start, entry.crc,
                entry.head.decode("latin-1"),
            )  # fmt: skip
            self._notes.write(slot, note)
            self._write(mailbox, entry, fd, note, gap)
        except OSError as error:
            raise MailboxIOError(f"{what}: {error.strerror or error}") from error
        finally:
            self._disk.close(fd)
        try:
            self._notes.write(slot, note.of_lock)
        except OSError as error:  # the message is safe; a crash before the slot is used again finds it whole
            _log.error("%s: the undo note cannot be cleared: %s", what, error)

    def _open(self, mailbox: Mailbox, what: str) -> int:
        """The file, made when it is not there."""
        disk = self._disk
        found = disk.stat(mailbox.name, mailbox.folder)
        if found is None:
            return disk.create_excl(mailbox.name, mailbox.folder)
        _need_mailbox(found, mailbox.uid, what)
        return disk.open_file(mailbox.name, mailbox.folder, write=True)

    def _look(self, mailbox: Mailbox, fd: int, what: str) -> int:
        """Lock what was opened and see that it is the mailbox; returns its length."""
        if not self._lock(fd):
            raise MailboxLocked(f"{what}: another program has an fcntl lock")
        found = self._disk.fstat(fd)
        _need_mailbox(found, mailbox.uid, what)
        named = self._disk.stat(mailbox.name, mailbox.folder)
        if named is None or (named.device, named.inode) != (found.device, found.inode):
            raise MailboxLocked(f"{what}: replaced by another file just now")
        if found.size and self._disk.pread(fd, 5, 0) != b"From ":
            raise MailboxBadFormat(f"{what}: does not begin with a From line")
        return found.size

    def _gap(self, fd: int, size: int, what: str) -> bytes:
        """Line ends that the last message lacks: a blank line stands before every From line."""
        if not size:
            return b""
        tail = self._disk.pread(fd, 2, size - 2)
        if len(tail) != 2:
            raise MailboxIOError(f"{what}: cannot be read to its end")
        return b"" if tail == b"\n\n" else b"\n" if tail.endswith(b"\n") else b"\n\n"

    def _write(self, mailbox: Mailbox, entry: Entry, fd: int, note: Note, gap: bytes) -> None:
        disk, at = self._disk, note.old
        try:
            for part in chain((gap,), entry.parts(disk)):
                view = memoryview(part)
                while view:
                    written = disk.pwrite(fd, view, at)
                    at += written
                    view = view[written:]
            disk.fsync(fd)
            if not note.old:  # perhaps its name is not durable yet
                disk.fsync_dir(mailbox.folder)
        except BaseException:
            with contextlib.suppress(OSError):  # else the note still stands for it
                disk.ftruncate(fd, note.old)
                disk.fsync(fd)
            raise


def _need_mailbox(found: FileStat, uid: int, what: str) -> None:
    if not found.is_file:
        raise MailboxNotSupported(f"{what}: a link, folder or special file stands where the mailbox belongs")
    if found.links > 1:
        raise MailboxNotSupported(f"{what}: the file has {found.links} names")
    if found.uid != uid:
        raise MailboxNotSupported(f"{what}: belongs to uid {found.uid}, not {uid}")
    if not found.mode & _OWNER_MAY_WRITE:
        raise MailboxNotSupported(f"{what}: read-only")


def _check_limit(mailbox: Mailbox, entry: Entry, size: int, what: str) -> None:
    if mailbox.limit < 0 or size + entry.size <= mailbox.limit:
        return
    kind = PersistentQuotaExceeded if mailbox.bounce or not mailbox.limit else QuotaExceeded
    raise kind(f"{what}: {size} octets and {entry.size} more, of {mailbox.limit}")


def _opening_fault(error: OSError, what: str) -> MailboxError:
    if error.errno in {errno.ELOOP, errno.EROFS, errno.EISDIR, errno.ENXIO}:
        return MailboxNotSupported(f"{what}: {error.strerror}")
    if isinstance(error, FileExistsError | FileNotFoundError):
        return MailboxLocked(f"{what}: made or removed by another program just now")
    return MailboxIOError(f"{what}: {error.strerror or error}")
