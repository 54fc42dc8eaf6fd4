"""A process that appends to one owner's mailbox: it becomes the owner with its first request and can never go back.

    from root's process, on a socket of its own:  slot, request, descriptors of the entry and of the worker's connection
    back:   KEPT: the request is answered, the next may come         ENDED: answered, and this process ends

What stays root (spools that only root may write, mailboxes of root's) and what could not become the owner is good for one
request. End of file, and the death of root's process, end it, and with it what it has forked. The owner may stop or kill it:
root's process looks after what it leaves.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import msgspec

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError
from posthouse.store.native.accounts import Account, UnixAccounts
from posthouse.store.native.append import Appender, Entry, Mailbox
from posthouse.store.native.locks import LockFile, lock_record
from posthouse.store.native.notes import Notes
from posthouse.store.native.privileges import Rights, drop_to, rights_for
from posthouse.store.native.request import Request, answer
from posthouse.store.native.settings import NativeSettings

KEPT, ENDED = b"k", b"e"
_SLOT = struct.Struct("=i")
_MAX = 65_536
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_log = logging.getLogger("posthouse.store")


class Order(NamedTuple):
    """One request on its way to the owner's process; `fd` is the entry's file."""

    request: Request
    fd: int
    connection: socket.socket

    def send(self, sock: socket.socket, slot: int) -> None:
        """Hand it over. Raises OSError: it is still ours."""
        data = _SLOT.pack(slot) + msgspec.json.encode(self.request)
        socket.send_fds(sock, [data], [self.fd, self.connection.fileno()])

    def close(self) -> None:
        """Our descriptors of it."""
        os.close(self.fd)
        self.connection.close()


class _Mine(NamedTuple):
    """What the process has become."""

    account: Account
    folder: int
    path: str


class OwnerProcess:
    """The work of the forked process.

    Args:
        sock: the orders' socket.
        disk: the disk.
        notes: root's undo notes.
        accounts: who is who.
        settings: of store.conf, as they were at the fork.
        parent: root's process.
    """

    def __init__(
        self, sock: socket.socket, disk: Disk, notes: Notes, accounts: UnixAccounts, settings: NativeSettings, parent: int
    ) -> None:
        self._sock = sock
        self._disk = disk
        self._notes = notes
        self._accounts = accounts
        self._settings = settings
        self._parent = parent
        self._mine: _Mine | None = None

    def run(self) -> NoReturn:
        """Serve until root's process ends it; never returns."""
        _forked(self._serve_all)

    def _serve_all(self) -> None:
        _die_with(self._parent)
        while self._serve():
            pass

    def _serve(self) -> bool:
        """One order; whether another may follow."""
        data, fds, _, _ = socket.recv_fds(self._sock, _MAX, 2)
        if not data:
            return False
        (slot,) = _SLOT.unpack_from(data)
        request = msgspec.json.decode(data[_SLOT.size :], type=Request)
        fd, connection = fds[0], socket.socket(fileno=fds[1])
        entry = Entry(request.size, request.crc, request.head, fd=fd)
        with connection, contextlib.suppress(OSError):  # the worker has not waited
            try:
                self._append(connection, request, entry, slot)
            except MailboxError as fault:
                answer(connection, fault)
            except OSError as error:
                answer(connection, MailboxIOError(f"{request.owner}: {error}"))
        os.close(fd)
        self._sock.send(KEPT if self._mine is not None else ENDED)
        return self._mine is not None

    def _append(self, connection: socket.socket, request: Request, entry: Entry, slot: int) -> None:
        """Append and answer."""
        appender = Appender(self._disk, self._notes, lock_record)
        if self._mine is not None:
            mine = self._mine
            mailbox = Mailbox(mine.folder, mine.path, mine.account.name, mine.account.uid, request.limit, self._settings.bounce)
            appender.append(mailbox, entry, slot)
            answer(connection, None)
            return
        account = self._accounts.find(request.owner)
        path = str(self._settings.spool)
        folder = self._disk.open_dir(path)
        mailbox = Mailbox(folder, path, account.name, account.uid, request.limit, self._settings.bounce)
        rights = rights_for(account, os.fstat(folder))
        if rights.root_locks and account.uid:
            self._append_where_only_root_may(connection, mailbox, account, rights, entry, slot)
            return
        self._become(rights)
        if rights.uid:
            self._mine = _Mine(account, folder, path)
        appender.append(mailbox, entry, slot)
        answer(connection, None)

    def _become(self, rights: Rights) -> None:
        """The owner, who ends when root's process does, even if he is stopped then."""
        drop_to(rights)
        _prctl(_PR_SET_DUMPABLE, 0)  # it has root's notes: its owner must not look into it, whatever fs.suid_dumpable is
        _die_with(self._parent)

    def _append_where_only_root_may(
        self, connection: socket.socket, mailbox: Mailbox, account: Account, rights: Rights, entry: Entry, slot: int
    ) -> None:
        """Root holds the lock file and makes the mailbox; a child of its own appends as the owner and answers."""
        disk = self._disk
        with Appender(disk, self._notes, lock_record).locked(mailbox, slot) as lock:
            if disk.stat(mailbox.name, mailbox.folder) is None:
                fd = disk.create_excl(mailbox.name, mailbox.folder)
                os.fchown(fd, account.uid, account.gid)
                disk.close(fd)
            self._parent = os.getpid()  # the next one's
            pid = os.fork()
            if not pid:
                _forked(lambda: self._append_as(connection, mailbox, rights, entry, slot, lock))
            _, status = os.waitpid(pid, 0)
        if status:
            raise MailboxIOError(f"{mailbox.name}: the appending process ended with status {status}")

    def _append_as(
        self, connection: socket.socket, mailbox: Mailbox, rights: Rights, entry: Entry, slot: int, lock: LockFile
    ) -> None:
        self._become(rights)
        try:
            Appender(self._disk, self._notes, lock_record).append_locked(mailbox, entry, slot, lock)
        except MailboxError as fault:
            answer(connection, fault)
        else:
            answer(connection, None)


def _forked(work: Callable[[], None]) -> NoReturn:
    """Do a forked process's work and end: nothing the parent has open is flushed or cleaned up here."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        _log.exception("a request failed")
    finally:
        logging.shutdown()
        os._exit(code)


def _die_with(parent: int) -> None:
    """End when the parent does, stopped or not. A change of user clears it.

    Raises:
        MailboxIOError: it has ended.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise MailboxIOError("the parent process is gone")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
