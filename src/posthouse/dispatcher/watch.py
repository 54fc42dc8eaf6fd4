"""The supervisor's watch over children that live and no longer answer (DURABILITY 5).

A ready child with a control socket is asked for its status every PERIOD_SECONDS. One that has left QUESTIONS in a row
unanswered, after one to two minutes, is killed; the supervisor starts it again. Questions are counted, not seconds: a machine
that slept, or a family that was frozen as a whole, misses one at most. One that we cannot ask (no descriptors, no memory) is not
held to be silent.
"""

import asyncio
import errno
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from posthouse.dispatcher import control

PERIOD_SECONDS = 15.0
QUESTIONS = 4
SOCKETS = {"dispatcher": control.DISPATCHER, "job_controller": control.JOB_CONTROLLER}
"""of the children that can be asked, in `run/`"""
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""errors that say nothing about the child"""


class Watched(Protocol):
    """What is asked of a child."""

    role: str
    pid: int
    is_ready: bool

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""


class Watch:
    """Asks the children in turn until it is cancelled.

    Args:
        children: by role.
        run: folder of the sockets.
        log: told who was killed.
        period: seconds between two questions, and most seconds an answer may take.
    """

    def __init__(self, children: Mapping[str, Watched], run: Path, log: logging.Logger, period: float = PERIOD_SECONDS) -> None:
        self._children = children
        self._run = run
        self._log = log
        self._period = period
        self._missed: dict[int, int] = {}
        """pid -> questions in a row without an answer"""

    async def run(self) -> None:
        """Watch."""
        while True:
            await asyncio.sleep(self._period)
            await asyncio.gather(*(self._look_at(self._children[role]) for role in SOCKETS.keys() & self._children.keys()))

    async def _look_at(self, child: Watched) -> None:
        pid = child.pid
        if not child.is_ready or await answers(self._run, child.role, self._period):
            self._missed.pop(pid, None)
            return
        missed = self._missed[pid] = self._missed.get(pid, 0) + 1
        if missed >= QUESTIONS and child.is_ready and child.pid == pid:
            del self._missed[pid]
            self._log.error("%s %s does not answer: killed", child.role, pid)
            child.signal(signal.SIGKILL)


async def answers(run: Path, role: str, seconds: float) -> bool:
    """Whether a child with a socket answers in time, as far as we can tell."""
    try:
        await control.ask_async(run / SOCKETS[role], {"op": "status"}, seconds)
    except (control.NotRunning, OSError) as error:
        cause = error.__cause__ if isinstance(error, control.NotRunning) else error
        return isinstance(cause, OSError) and cause.errno in _OURS
    except RuntimeError:  # no thread to ask in
        return True
    return True
