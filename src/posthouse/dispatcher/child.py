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
import time
from collections.abc import Callable, Sequence

import msgspec

from posthouse.dispatcher.family import LOCK_VARIABLE, PARENT_VARIABLE
from posthouse.dispatcher.lifetime import Respawn
from posthouse.dispatcher.starting import TEMPLATE_VARIABLE, Process, start
from posthouse.dispatcher.template import Template
from posthouse.dispatcher.user import User


class Child:
    """A process that is to run as long as the supervisor does.

    Args:
        role: as `status` names it.
        command: program and arguments.
        lock: the descriptor to inherit.
        user: whom to run it as; None = as we are.
        template: what it and its children are to be forked from, if there is one.
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
        template: Template | None = None,
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
        self._template = template
        self._changed = changed
        self._log = log
        self._respawn = Respawn()
        self._process: Process | None = None
        self._pipe: socket.socket | None = None
        self._born = 0.0
        self._heard = bytearray()
        self._late: list[signal.Signals] = []
        """to be sent when it is ready"""

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
        passed, line = [theirs.fileno(), self._lock], None
        if self._template is not None:
            line = self._template.line if self._user == self._template.user else None
            environment[TEMPLATE_VARIABLE] = str(self._template.line.fileno())
            passed.append(self._template.line.fileno())
        try:
            process = start(self._command, pass_fds=passed, environment=environment, user=self._user, line=line)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._process, self._pipe = process, ours
        self.pid, self.since, self._born = process.pid, time.time(), loop.time()
        self._heard.clear()
        self._late.clear()
        loop.add_reader(process.fileno(), self._exited, loop)
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

    def signal_when_ready(self, number: signal.Signals) -> None:
        """Send it a signal that would end it before it is ready, where it ends whoever does not hear it yet."""
        if self.is_ready:
            self.signal(number)
        elif number not in self._late:
            self._late.append(number)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens when it is dead."""
        if self._process is not None:
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
                    while self._late:
                        self.signal(self._late.pop())
                    self._changed()

    def _exited(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._process is not None
        assert self._pipe is not None
        loop.remove_reader(self._process.fileno())
        loop.remove_reader(self._pipe.fileno())
        self._pipe.close()
        self.exit_code = self._process.wait()
        self._process = None
        self.is_ready = False
        self._respawn.died(loop.time(), loop.time() - self._born, killed=self.exit_code == -signal.SIGKILL)
        self._changed()
