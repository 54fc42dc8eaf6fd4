"""One child of the supervisor: started, watched, started again with growing pauses, ended.

The child's standard output goes to our standard error: our own standard output carries the one line `ready`. It inherits
the family's lock and its end of the parent's pipe (`family`).
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

import msgspec

from posthouse.dispatcher.family import LOCK_VARIABLE, PARENT_VARIABLE
from posthouse.dispatcher.lifetime import Respawn
from posthouse.dispatcher.user import User


class Child:
    """A process that is to run as long as the supervisor does.

    Args:
        role: as `status` names it.
        command: program and arguments.
        lock: the descriptor to inherit.
        user: whom to run it as; None = as we are.
        changed: called when it becomes ready or ends.
    """

    def __init__(
        self,
        role: str,
        command: Sequence[str],
        lock: int,
        user: User | None,
        changed: Callable[[], None],
        log: logging.Logger,
    ) -> None:
        self.role = role
        self.pid = 0
        self.since = 0.0
        self.is_ready = False
        self.exit_code: int | None = None
        """of the last run; None while the first one lasts"""
        self._command = command
        self._lock = lock
        self._user = user
        self._changed = changed
        self._log = log
        self._respawn = Respawn()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: socket.socket | None = None
        self._pidfd = -1
        self._born = 0.0
        self._heard = bytearray()

    @property
    def is_alive(self) -> bool:
        """Whether its process lives."""
        return self._process is not None

    def is_dead(self) -> bool:
        """The contrary, as a question."""
        return self._process is None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start it. Raises OSError when there is no such program or no process to be had."""
        ours, theirs = socket.socketpair()
        environment = dict(os.environ)
        environment[PARENT_VARIABLE] = str(theirs.fileno())
        environment[LOCK_VARIABLE] = str(self._lock)
        user = self._user
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=(theirs.fileno(), self._lock),
                env=environment,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=list(user.groups) if user else None,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._process, self._pipe = process, ours
        self.pid, self.since, self._born = process.pid, time.time(), loop.time()
        self._pidfd = os.pidfd_open(process.pid)
        self._heard.clear()
        loop.add_reader(self._pidfd, self._exited, loop)
        loop.add_reader(ours.fileno(), self._readable, loop)

    def start_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start it if it is dead and the pause is over; what goes wrong counts as one more death."""
        if self.is_alive or not self._respawn.allows(loop.time()):
            return
        try:
            self.start(loop)
        except OSError as error:
            self._log.error("%s cannot be started: %s", self.role, error)
            self._respawn.died(loop.time(), 0.0)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it is dead."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._pipe is not None
        try:
            data = self._pipe.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(self._pipe.fileno())
            return
        self._heard += data
        while b"\n" in self._heard:
            line, _, rest = self._heard.partition(b"\n")
            self._heard = bytearray(rest)
            with contextlib.suppress(msgspec.DecodeError):
                if msgspec.json.decode(line, type=dict).get("ready") is True:
                    self.is_ready = True
                    self._changed()

    def _exited(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._process is not None
        assert self._pipe is not None
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        loop.remove_reader(self._pipe.fileno())
        self._pipe.close()
        self.exit_code = self._process.wait()
        self._process = None
        self.is_ready = False
        self._respawn.died(loop.time(), loop.time() - self._born, killed=self.exit_code == -signal.SIGKILL)
        self._changed()
