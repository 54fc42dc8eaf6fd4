"""Root's writer process: appends to the mailboxes of users, each time as the owner and nobody else.

    python -m posthouse.store.native.writer --instance DIR        started by the supervisor when root started the instance

Workers run as IMTA_USER and ask on `run/native_writer.sock`; only they and root are heard (SO_PEERCRED). For each request one
child is forked. It asks the accounts itself, opens the spool the configuration names, gives root up for good (`privileges`),
appends and answers. So a request can name a user and octets, never a path or an owner. A child that is killed has its undo
note carried out here. SIGHUP reads the configuration again; a bad one keeps the old. SIGTERM, and the parent gone: the end,
after the children's. Exit codes: 0, 64 usage, 69 the socket cannot be had, 78 bad configuration.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import cast

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.dispatcher import control
from posthouse.dispatcher.family import EX_CONFIG, EX_UNAVAILABLE, Parent, ignore_interrupt, leave
from posthouse.dispatcher.process_log import open_process_log
from posthouse.dispatcher.programs import instance_of, show_faults
from posthouse.dispatcher.user import NoSuchUser, wanted_user
from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError
from posthouse.store.native.accounts import Account, UnixAccounts
from posthouse.store.native.append import Appender, Entry, Mailbox
from posthouse.store.native.locks import LockFile, lock_record
from posthouse.store.native.notes import Notes, adopt
from posthouse.store.native.privileges import Rights, drop_to, rights_for
from posthouse.store.native.request import Request, answer, receive
from posthouse.store.native.settings import IMAGE, NativeSettings, native_settings

FOLDER = "native_writer"
"""below data/: root's own, for undo notes"""
_CHILDREN = 32
_REQUEST_SECONDS = 30.0
_END_SECONDS = 20.0
_ADOPT_SECONDS = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; returns the exit code."""
    instance = instance_of(sys.argv[1:] if argv is None else argv, "posthouse.store.native.writer")
    ignore_interrupt()
    log = open_process_log("native_writer")
    parent = Parent.from_environment()
    os.umask(0o077)
    try:
        configuration = load(instance)
        settings = _settings(configuration)
        user = wanted_user(configuration.tailor.user)
    except ConfigurationError as error:
        show_faults(error)
        return EX_CONFIG
    except NoSuchUser as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    disk = cast("Disk", LinuxDisk())
    path = instance.run / control.NATIVE_WRITER
    try:
        notes = _open_notes(disk, instance)
        sock = control.bind_unix(path, None if user is None else (user.uid, user.gid))
    except OSError as error:
        sys.stderr.write(f"native_writer: {error}\n")
        return EX_UNAVAILABLE
    peers = frozenset({os.geteuid(), user.uid if user is not None else os.geteuid()})
    process = WriterProcess(instance, settings, disk, notes, sock, peers, log)
    try:
        with asyncio.Runner() as runner:
            runner.run(process.run(parent))
    finally:
        path.unlink(missing_ok=True)
    return 0


def _settings(configuration: Configuration) -> NativeSettings:
    channel = next(each.channel for each in configuration.dispatcher.services if each.image == IMAGE)
    return native_settings(configuration, channel)


def _open_notes(disk: Disk, instance: Instance) -> Notes:
    """Root's undo notes, after what the last writer left has been taken back."""
    data = disk.open_dir(str(instance.data))
    folder = open_folder(disk, FOLDER, data)
    disk.close(data)
    found = disk.fstat(folder)
    if found.uid != os.geteuid() or found.mode & 0o077:
        raise PermissionError(f"data/{FOLDER} must be root's alone")
    adopt(disk, folder, lock_record)
    return Notes(disk, folder)


class WriterProcess:
    """Accepts requests, forks children, looks after what they leave."""

    def __init__(
        self,
        instance: Instance,
        settings: NativeSettings,
        disk: Disk,
        notes: Notes,
        sock: socket.socket,
        peers: frozenset[int],
        log: logging.Logger,
    ) -> None:
        self._instance = instance
        self._disk = disk
        self._notes = notes
        self._sock = sock
        self._peers = peers
        self._log = log
        self._children: dict[int, int] = {}
        self._accepting = False
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._configure(settings)

    def _configure(self, settings: NativeSettings) -> None:
        self._settings = settings
        self._accounts = UnixAccounts(settings.passwd)

    async def run(self, parent: Parent) -> None:
        """Serve until SIGTERM, then wait for the children."""
        loop = self._loop = asyncio.get_running_loop()
        for number, callback in (
            (signal.SIGTERM, self._ended.set), (signal.SIGHUP, self._reload), (signal.SIGCHLD, self._reap),
        ):  # fmt: skip
            loop.add_signal_handler(number, callback)
        parent.watch(loop, self._ended.set)
        self._accept(on=True)
        self._tidy()
        parent.announce(ready=True)
        await self._ended.wait()
        self._accept(on=False)
        self._sock.close()
        deadline = loop.time() + _END_SECONDS
        while self._children and loop.time() < deadline:
            await asyncio.sleep(0.02)
            self._reap()
        self._notes.close()

    def _accept(self, *, on: bool) -> None:
        if on != self._accepting:
            self._accepting = on
            if on:
                self._loop.add_reader(self._sock.fileno(), self._accepted)
            else:
                self._loop.remove_reader(self._sock.fileno())

    def _accepted(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            self._log.error("no request can be taken: %s", error)
            return
        with connection:
            uid = control.peer_user(connection)
            if uid not in self._peers:
                self._log.error("a request of uid %d is not heard", uid)
                return
            self._accounts.refresh()
            try:
                slot = self._notes.take()
                pid = os.fork()
            except OSError as error:
                self._log.error("a request cannot be served: %s", error)
                return
            if not pid:
                self._child(connection, slot)
        self._children[pid] = slot
        if len(self._children) >= _CHILDREN:
            self._accept(on=False)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            slot = self._children.pop(pid, None)
            if slot is not None:
                if status:
                    self._log.error("child %d ended with status %d", pid, status)
                self._notes.give_back(slot, lock_record)
        if not self._ended.is_set():
            self._accept(on=True)

    def _tidy(self) -> None:
        """What could not be undone because its mailbox was locked, once a minute."""
        self._notes.try_again(lock_record)
        self._loop.call_later(_ADOPT_SECONDS, self._tidy)

    def _reload(self) -> None:
        try:
            self._configure(_settings(load(self._instance)))
        except ConfigurationError as error:
            for fault in error.faults:
                self._log.error("reload refused, the old configuration goes on: %s", fault)

    # --- in the child -------------------------------------------------------------------------------------------

    def _child(self, connection: socket.socket, slot: int) -> None:
        """Serve one request and end; never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._sock.close()
            connection.settimeout(_REQUEST_SECONDS)
            request, fd = receive(connection)
            connection.settimeout(None)
            self._write(connection, request, fd, slot)
            code = 0
        except BaseException:
            self._log.exception("a request failed")
        finally:
            logging.shutdown()
            os._exit(code)

    def _write(self, connection: socket.socket, request: Request, fd: int, slot: int) -> None:
        entry = Entry(request.size, request.crc, request.head, fd=fd)
        try:
            account = self._accounts.find(request.owner)
            path = str(self._settings.spool)
            folder = self._disk.open_dir(path)
            mailbox = Mailbox(folder, path, account.name, account.uid, request.limit, self._settings.bounce)
            rights = rights_for(account, os.fstat(folder))
            appender = Appender(self._disk, self._notes, lock_record)
            if rights.root_locks and account.uid:
                self._write_where_only_root_may(connection, mailbox, account, rights, entry, slot)
                return
            drop_to(rights)
            appender.append(mailbox, entry, slot)
        except MailboxError as fault:
            answer(connection, fault)
        except OSError as error:
            answer(connection, MailboxIOError(f"{request.owner}: {error}"))
        else:
            answer(connection, None)

    def _write_where_only_root_may(
        self, connection: socket.socket, mailbox: Mailbox, account: Account, rights: Rights, entry: Entry, slot: int
    ) -> None:
        """Root holds the lock file and makes the mailbox; a child of its own appends as the owner and answers."""
        disk = self._disk
        with Appender(disk, self._notes, lock_record).locked(mailbox, slot) as lock:
            if disk.stat(mailbox.name, mailbox.folder) is None:
                fd = disk.create_excl(mailbox.name, mailbox.folder)
                os.fchown(fd, account.uid, account.gid)
                disk.close(fd)
            pid = os.fork()
            if not pid:
                self._append_and_end(connection, mailbox, rights, entry, slot, lock)
            _, status = os.waitpid(pid, 0)
        if status:
            raise MailboxIOError(f"{mailbox.name}: the appending process ended with status {status}")

    def _append_and_end(
        self, connection: socket.socket, mailbox: Mailbox, rights: Rights, entry: Entry, slot: int, lock: LockFile
    ) -> None:
        code = 1
        try:
            drop_to(rights)
            try:
                Appender(self._disk, self._notes, lock_record).append_locked(mailbox, entry, slot, lock)
            except MailboxError as fault:
                answer(connection, fault)
            else:
                answer(connection, None)
            code = 0
        except BaseException:
            self._log.exception("an append failed")
        finally:
            logging.shutdown()
            os._exit(code)


if __name__ == "__main__":
    leave(main())
