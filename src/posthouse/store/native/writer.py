"""Root's writer process: appends to the mailboxes of users, each time as the owner and nobody else.

    python -m posthouse.store.native.writer --instance DIR        started by the supervisor when root started the instance

Workers run as IMTA_USER and ask on `run/native_writer.sock`; only they and root are heard (SO_PEERCRED). For each owner a
child is forked. It asks the accounts itself, opens the spool the configuration names, gives root up for good (`privileges`),
appends, answers, and waits a while for the owner's next request (`owner_process`). So a request can name a user and octets,
never a path or an owner. A child that is killed has its undo note carried out here. SIGHUP reads the configuration again; a bad
one keeps the old. SIGTERM, and the parent gone: the end, after the children's. Exit codes: 0, 64 usage, 69 the socket cannot be
had, 78 bad configuration.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence
from typing import NoReturn, cast

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
from posthouse.store.native.accounts import UnixAccounts
from posthouse.store.native.locks import lock_record
from posthouse.store.native.notes import Notes, adopt
from posthouse.store.native.owner_process import KEPT, Order, OwnerProcess
from posthouse.store.native.request import receive
from posthouse.store.native.settings import IMAGE, NativeSettings, native_settings

FOLDER = "native_writer"
"""below data/: root's own, for undo notes"""
MOST = 32
KEEP_SECONDS, LIFE_SECONDS, STUCK_SECONDS = 5.0, 60.0, 60.0
_LOOK_SECONDS = 1.0
_REQUESTS = 128
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


class _Owner:
    """One forked process and what it is asked."""

    def __init__(self, name: str, pid: int, sock: socket.socket, now: float, spool: tuple[int, int] | None) -> None:
        self.name = name
        self.pid = pid
        self.spool = spool  # as it was at the fork
        self.sock = sock
        self.born = self.since = now
        """when it was forked; when its last request began or ended"""
        self.slot = -1
        """that of the request it works on"""
        self.waiting: deque[Order] = deque()


class WriterProcess:
    """Accepts requests, has each appended by its owner's process, looks after what those leave.

    An owner's process is kept `KEEP_SECONDS` for his next request, and `LIFE_SECONDS` at most: then accounts are looked at anew.
    It has the spool open and goes as soon as that name means another folder: mounted, moved, gone. At most `MOST` live; where
    another one is needed the one that is idle longest goes. One that works on a request for `STUCK_SECONDS` is killed: its owner
    may have stopped it.
    """

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
        self._arriving: dict[socket.socket, asyncio.TimerHandle] = {}
        self._waiting: deque[Order] = deque()
        """for whom no process could be forked yet"""
        self._owners: dict[str, _Owner] = {}
        """those that take requests, by the name they are asked for"""
        self._children: dict[int, _Owner] = {}
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
        gc.freeze()  # what is there now is not touched, and so not copied, in the children
        self._accept(on=True)
        self._tidy()
        self._look()
        parent.announce(ready=True)
        await self._ended.wait()
        self._accept(on=False)
        self._sock.close()
        deadline = loop.time() + _END_SECONDS
        while (self._children or self._waiting or self._arriving) and loop.time() < deadline:
            self._retire_idle()
            await asyncio.sleep(0.02)
            self._reap()
        self._notes.close()

    # --- requests -----------------------------------------------------------------------------------------------

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
        uid = control.peer_user(connection)
        if uid not in self._peers:
            self._log.error("a request of uid %d is not heard", uid)
            connection.close()
            return
        connection.setblocking(False)
        self._arriving[connection] = self._loop.call_later(_REQUEST_SECONDS, self._give_up, connection)
        self._loop.add_reader(connection.fileno(), self._arrived, connection)
        self._throttle()

    def _throttle(self) -> None:
        if not self._ended.is_set():
            self._accept(on=len(self._arriving) + len(self._waiting) < _REQUESTS)

    def _give_up(self, connection: socket.socket) -> None:
        """No request came."""
        self._taken(connection)
        connection.close()

    def _taken(self, connection: socket.socket) -> None:
        self._arriving.pop(connection).cancel()
        self._loop.remove_reader(connection.fileno())
        self._throttle()

    def _arrived(self, connection: socket.socket) -> None:
        """A request comes in one piece: workers send it so."""
        self._taken(connection)
        try:
            request, fd = receive(connection)
        except (OSError, ValueError) as error:
            self._log.error("a request failed: %s", error)
            connection.close()
            return
        connection.setblocking(True)
        self._hand_over(Order(request, fd, connection))

    def _hand_over(self, order: Order) -> None:
        owner = self._owners.get(order.request.owner)
        if owner is not None and owner.slot < 0 and owner.spool != self._settings.spool_now():
            self._retire(owner)
            owner = None
        if owner is None and len(self._children) >= MOST:
            self._waiting.append(order)
            self._retire_idlest()
            return
        if owner is None:
            try:
                owner = self._fork(order.request.owner)
            except OSError as error:
                self._log.error("a request cannot be served: %s", error)
                order.close()
                return
        owner.waiting.append(order)
        if owner.slot < 0:
            self._next(owner)

    def _next(self, owner: _Owner) -> None:
        """Its next request."""
        order = owner.waiting.popleft()
        try:
            owner.slot = self._notes.take()
            owner.since = self._loop.time()
            order.send(owner.sock, owner.slot)
        except OSError as error:  # it has been killed, perhaps; the relay tries again
            self._log.error("a request cannot be served: %s", error)
        order.close()

    # --- the owners' processes ----------------------------------------------------------------------------------

    def _fork(self, name: str) -> _Owner:
        self._accounts.refresh()
        spool = self._settings.spool_now()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if not pid:
            ours.close()
            self._child(theirs, parent)
        theirs.close()
        owner = self._owners[name] = self._children[pid] = _Owner(name, pid, ours, self._loop.time(), spool)
        self._loop.add_reader(ours.fileno(), self._told, owner)
        return owner

    def _child(self, orders: socket.socket, parent: int) -> NoReturn:
        """In the forked process: nothing of other owners' stays open."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._sock.close()
            for owner in self._children.values():
                owner.sock.close()
                for order in owner.waiting:
                    order.close()
            for order in self._waiting:
                order.close()
            for connection in self._arriving:
                connection.close()
            OwnerProcess(orders, self._disk, self._notes, self._accounts, self._settings, parent).run()
        finally:
            os._exit(1)

    def _told(self, owner: _Owner) -> None:
        """Its request is answered, or it is gone."""
        try:
            told = owner.sock.recv(16)
        except OSError:
            told = b""
        if told:
            self._settle(owner)
        old = self._loop.time() - owner.born > LIFE_SECONDS or owner.spool != self._settings.spool_now()
        done = told != KEPT or self._ended.is_set() or old
        if done or self._waiting:  # others first; its own requests go behind them
            self._retire(owner)
        elif owner.waiting:
            self._next(owner)

    def _settle(self, owner: _Owner) -> None:
        slot, owner.slot, owner.since = owner.slot, -1, self._loop.time()
        if slot >= 0:
            self._notes.give_back(slot, lock_record)

    def _retire(self, owner: _Owner) -> None:
        """It gets no more requests, and ends."""
        if self._owners.get(owner.name) is owner:
            del self._owners[owner.name]
        if owner.sock.fileno() >= 0:
            self._loop.remove_reader(owner.sock.fileno())
            owner.sock.close()
            owner.since = self._loop.time()
        self._waiting.extend(owner.waiting)
        owner.waiting.clear()

    def _retire_idlest(self) -> None:
        idle = [owner for owner in self._owners.values() if owner.slot < 0]
        if idle:
            self._retire(min(idle, key=lambda owner: owner.since))

    def _retire_idle(self) -> None:
        for owner in [each for each in self._owners.values() if each.slot < 0 and not each.waiting]:
            self._retire(owner)

    def _look(self) -> None:
        """Who was not asked for some time goes; who is stuck is killed."""
        now = self._loop.time()
        for owner in list(self._children.values()):
            retired = owner.sock.fileno() < 0
            if not retired and owner.slot < 0 and now - owner.since > KEEP_SECONDS:
                self._retire(owner)
            elif now - owner.since > (KEEP_SECONDS if retired else STUCK_SECONDS):
                self._log.error("process %d of %s does not answer: killed", owner.pid, owner.name)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(owner.pid, signal.SIGKILL)
        self._loop.call_later(_LOOK_SECONDS, self._look)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            owner = self._children.pop(pid, None)
            if owner is not None:
                if status:
                    self._log.error("child %d ended with status %d", pid, status)
                self._retire(owner)
                self._settle(owner)
        for _ in range(len(self._waiting)):
            self._hand_over(self._waiting.popleft())
        self._throttle()

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
            return
        for owner in list(self._owners.values()):
            if owner.slot < 0:
                self._retire(owner)
            else:
                owner.born = float("-inf")


if __name__ == "__main__":
    leave(main())
