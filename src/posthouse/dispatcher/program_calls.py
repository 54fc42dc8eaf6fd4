"""Calls of a program's own coroutine, bounded in number and time.

Promise: every call ends in one status, whatever the coroutine does.

    it returns a 2yz, 4yz or 5yz status    that
    it returns anything else, or raises    `failed`, with the traceback in the log
    it takes longer than allowed           it is cancelled; 450 4.4.7
    it is cancelled by `drain`             450 4.3.2
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from posthouse.mail.status import Status

TOO_SLOW = Status(450, "4.4.7", "delivery took too long; try again later")
STOPPING = Status(450, "4.3.2", "service is shutting down; try again later")
_LAST_SECOND = 1.0
"""given to calls that have been cancelled"""


class ProgramCalls:
    """All calls of one server.

    Args:
        most: at the same time; others wait for their turn.
        seconds: for one call, waiting for its turn not counted.
        failed: the status of a call that failed.
        log: where failures go.
    """

    def __init__(self, most: int, seconds: float, failed: Status, log: logging.Logger) -> None:
        self._turns = asyncio.Semaphore(most)
        self._seconds = seconds
        self._failed = failed
        self._log = log
        self._running: set[asyncio.Task[Status]] = set()
        self._users: set[asyncio.Task[None]] = set()

    def start(self, what: str, call: Callable[[], Awaitable[Status]]) -> asyncio.Task[Status]:
        """A task whose result is the call's status; it never raises, but for the loop's end.

        Args:
            what: as the log names it.
            call: makes the coroutine, once it is its turn.
        """
        task = asyncio.get_running_loop().create_task(self._one(what, call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def use(self, user: Coroutine[Any, Any, None]) -> None:
        """What waits for statuses and tells the client: `drain` waits for it, too."""
        task = asyncio.get_running_loop().create_task(user)
        self._users.add(task)
        task.add_done_callback(self._users.discard)

    @property
    def busy(self) -> bool:
        """Whether there is a call."""
        return bool(self._running)

    async def _one(self, what: str, call: Callable[[], Awaitable[Status]]) -> Status:
        try:
            async with self._turns:
                return await self._called(what, call)
        except asyncio.CancelledError:
            return STOPPING

    async def _called(self, what: str, call: Callable[[], Awaitable[Status]]) -> Status:
        try:
            async with asyncio.timeout(self._seconds) as limit:
                return _checked(await call())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._log.exception("%s was cancelled by itself", what)
        except TimeoutError:
            if limit.expired():
                self._log.error("%s took longer than %g seconds", what, self._seconds)
                return TOO_SLOW
            self._log.exception("%s failed", what)
        except Exception:
            self._log.exception("%s failed", what)
        return self._failed

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way; cancel what is left after that."""
        if self._users:
            await asyncio.wait(self._users, timeout=seconds)
        for task in tuple(self._running):
            task.cancel()
        if self._users:
            await asyncio.wait(self._users, timeout=_LAST_SECOND)


def _checked(status: object) -> Status:
    """The status, if it can be a final reply.

    Raises:
        TypeError: it is none.
        ValueError: its code is no final one, or the enhanced code is of another class.
    """
    if not isinstance(status, Status):
        raise TypeError(f"the program returned {status!r}, wanted a posthouse.mail.status.Status")
    first = status.code // 100
    if first not in {2, 4, 5} or (status.enhanced and status.enhanced[0] != str(first)):
        raise ValueError(f"the program returned {str(status)!r}, which is no final reply")
    return status
