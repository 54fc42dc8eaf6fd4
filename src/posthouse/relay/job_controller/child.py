"""One channel worker as its parent sees it: started with a socketpair, spoken to in frames, missed when it ends.

The child inherits data/lock and jobs.lock, and our end's other end; nothing else. A child that ends is started anew after 0.2 s,
twice as long after each quick end, up to 30 s; a run of 60 s makes that 0.2 s again. A worker says each second that its loop
turns; one that has been silent for a minute (ten while it starts) is killed. The minute is counted in turns of our own: where
we were frozen with it, it has not passed.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from posthouse.dispatcher.starting import Process, start
from posthouse.dispatcher.trouble import Trouble
from posthouse.relay.job_controller.protocol import Downward, FrameError, Frames, Upward, frame, read_upward

FIRST_WAIT = 0.2
LONGEST_WAIT = 30.0
GOOD_RUN = 60.0
QUICK_ENDS = 3
"""after which a person is told"""
SILENT = 60
SILENT_START = 600
"""a worker of ims-ms may be replaying a journal"""
_log = logging.getLogger("posthouse")


class Child(asyncio.Protocol):
    """The worker of one pool.

    Args:
        pool: its name.
        instance: the instance's folder.
        locks: descriptors it inherits.
        heard: told the messages of a frame.
        lost: told when it has ended, before it is started anew.
    """

    def __init__(
        self,
        pool: str,
        instance: Path,
        locks: Sequence[int],
        heard: Callable[[str, list[Upward]], None],
        lost: Callable[[str], None],
    ) -> None:
        self.pool = pool
        self._instance = instance
        self._locks = tuple(locks)
        self._heard = heard
        self._lost = lost
        self._frames = Frames()
        self._process: Process | None = None
        self._transport: asyncio.Transport | None = None
        self._started = 0.0
        self._wait = FIRST_WAIT
        self._silence = 0
        self._patience = SILENT_START
        self.module = ""
        """what it was started as"""
        self.not_before = 0.0
        """loop time before which it is not started again"""
        self._quick_ends = 0
        self._failing_since = 0.0

    @property
    def running(self) -> bool:
        """Whether it can be spoken to."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def pid(self) -> int:
        """Process id, 0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    async def start(self, module: str) -> None:
        """Start it.

        Args:
            module: what it is to run (`programs.worker_module`).

        Raises:
            OSError: it cannot be started now.
        """
        loop = asyncio.get_running_loop()
        self._started = loop.time()
        self.module = module
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            command = [sys.executable, "-m", module, "--instance", str(self._instance), "--pool", self.pool]
            self._process = start(
                [*command, "--link", str(theirs.fileno())], pass_fds=(theirs.fileno(), *self._locks), environment=os.environ
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._frames = Frames()
        self._silence, self._patience = 0, SILENT_START
        await loop.create_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Our end is ready."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own

    def data_received(self, data: bytes) -> None:
        """Frames from the worker."""
        self._silence, self._patience = 0, SILENT
        try:
            for body in self._frames.feed(data):
                self._heard(self.pool, read_upward(body))
        except FrameError as error:
            _log.error("channel worker of pool %s: %s", self.pool, error)
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """The worker has ended, or is about to."""
        del exc
        self._transport = None
        loop = asyncio.get_running_loop()
        if loop.time() - self._started >= GOOD_RUN:
            self._wait, self._quick_ends = FIRST_WAIT, 0
        if not self._quick_ends:
            self._failing_since = time.time()
        self._quick_ends += 1
        self.not_before = loop.time() + self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        self._lost(self.pool)

    def send(self, messages: list[Downward]) -> None:
        """One frame; lost when it has ended: it will be missed."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(messages))

    def trouble(self) -> Trouble | None:
        """That it ends again and again, until it has lasted for GOOD_RUN."""
        if self._quick_ends < QUICK_ENDS or (self.running and asyncio.get_running_loop().time() - self._started >= GOOD_RUN):
            return None
        text = f"the channel worker of pool {self.pool} has ended {self._quick_ends} times: see the log for the reason"
        return Trouble("worker", self._failing_since, text)

    def second(self) -> bool:
        """A second has passed: whether the worker has been silent for too long, told once."""
        if not self.running:
            return False
        self._silence += 1
        return self._silence == self._patience

    def ended(self) -> bool:
        """Whether the process is gone; collects its exit status."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)


async def watch(children: Mapping[str, Child], alarm: Callable[[str], None]) -> None:
    """Kill what is silent, for ever."""
    while True:
        await asyncio.sleep(1.0)
        for child in children.values():
            if child.second():
                alarm(f"the channel worker of pool {child.pool}, process {child.pid}, is silent: killed")
                child.kill()
