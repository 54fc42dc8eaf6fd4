"""Writing mailboxes with the rights this process has: files of the service, and users that have our own uid.

Any other owner's mailbox is refused (`MailboxIOError`): nobody but root can write it, and root does so in a process of its own
(`writer`).
"""

import os
from pathlib import Path
from typing import Protocol

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError, MailboxNonexistent, MailboxNotSupported
from posthouse.store.mailbox.faults import fault_of
from posthouse.store.mailbox.owner import Target
from posthouse.store.native.accounts import UnixAccounts
from posthouse.store.native.append import Appender, Entry, Mailbox
from posthouse.store.native.locks import RecordLock
from posthouse.store.native.notes import Notes
from posthouse.store.native.settings import NativeSettings
from posthouse.store.native.target import FileTarget, below


class Writer(Protocol):
    """Writes one entry to one mailbox; blocks, in any thread."""

    def write(self, target: Target, entry: Entry, limit: int, /) -> None:
        """Append the entry, whole and durable.

        Raises:
            MailboxLocked: another program has a lock; ask again.
            MailboxError: it cannot be; the mailbox is as it was.
        """
        ...


class OwnWriter:
    """Writes as this process's user.

    Args:
        disk: the disk.
        notes: of this process.
        lock: takes the fcntl lock.
        settings: of store.conf; may be replaced.
    """

    def __init__(self, disk: Disk, notes: Notes, lock: RecordLock, settings: NativeSettings) -> None:
        self._disk = disk
        self._notes = notes
        self._lock = lock
        self._appender = Appender(disk, notes, lock)
        self.configure(settings)

    def configure(self, settings: NativeSettings) -> None:
        """Other settings from now on."""
        self._settings = settings
        self._accounts = UnixAccounts(settings.passwd)

    def write(self, target: Target, entry: Entry, limit: int) -> None:
        """Append the entry; see `Writer`."""
        try:
            if isinstance(target, FileTarget):
                folder, path, name = open_file_folder(self._disk, target, self._settings)
            else:
                name, path = self._accounts.find(target.owner).name, str(self._settings.spool)
                self._need_ours(target.owner)
                folder = self._disk.open_dir(path)
        except OSError as error:
            raise fault_of(error, str(self._settings.spool)) from error
        try:
            slot = self._notes.take()
        except OSError as error:
            self._disk.close(folder)
            raise MailboxIOError(str(error)) from error
        try:
            mailbox = Mailbox(folder, path, name, os.geteuid(), limit, self._settings.bounce)
            self._appender.append(mailbox, entry, slot)
        finally:
            self._notes.give_back(slot, self._lock)
            self._disk.close(folder)

    def _need_ours(self, name: str) -> None:
        account = self._accounts.find(name)
        if account.uid != os.geteuid():
            raise MailboxIOError(f"{name} has uid {account.uid}, this service {os.geteuid()}: only root could write the mailbox")


def open_file_folder(disk: Disk, target: FileTarget, settings: NativeSettings) -> tuple[int, str, str]:
    """The folder a file is in, open, its path, and the file's name. Every step is a folder, never a link.

    Raises:
        MailboxError: there is no such folder below the configured one.
        OSError: the disk failed.
    """
    if settings.files is None:
        raise MailboxNotSupported("native.files is not set in store.conf: no mail is delivered to files")
    *steps, name = below(target, str(settings.files))
    path: Path = settings.files
    fd = disk.open_dir(str(path))
    for step in steps:
        path /= step
        try:
            inner = disk.open_dir(step, fd)
        except FileNotFoundError:
            raise MailboxNonexistent(f"{path}: no such folder") from None
        except OSError as error:
            raise _step_fault(error, path) from error
        finally:
            disk.close(fd)
        fd = inner
    return fd, str(path), name


def _step_fault(error: OSError, path: Path) -> MailboxError:
    if isinstance(error, NotADirectoryError):
        return MailboxNotSupported(f"{path}: a file or link stands where a folder belongs")
    return fault_of(error, str(path))
