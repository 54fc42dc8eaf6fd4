"""Calls of a program's own coroutine, bounded in number and time.

Promise: every call ends in one status, whatever the coroutine does.

    it returns a 2yz, 4yz or 5yz status    that
    it returns anything else, or raises    `failed`, with the traceback in the log
    it takes longer than allowed           it is cancelled; 450 4.4.7
    it is cancelled by `end`, or too late  450 4.3.2
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from posthouse.dialogue.reply import render
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
        self._ended = False
        self._running: set[asyncio.Task[Any]] = set()
        self._users: set[asyncio.Task[None]] = set()

    def use(self, user: Coroutine[Any, Any, None]) -> None:
        """What waits for statuses and tells the client, as a task."""
        task = asyncio.get_running_loop().create_task(user)
        self._users.add(task)
        task.add_done_callback(self._users.discard)

    @property
    def inside(self) -> bool:
        """Whether it is a call that asks."""
        return asyncio.current_task() in self._running

    async def status(self, what: str, call: Callable[[], Awaitable[Status]]) -> Status:
        """The call's status.

        Args:
            what: as the log names it.
            call: makes the coroutine, once it is its turn.
        """
        if self._ended:
            return STOPPING
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in one
        self._running.add(task)
        try:
            async with self._turns:
                return await self._called(what, call)
        except asyncio.CancelledError:
            return STOPPING
        finally:
            self._running.discard(task)

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

    async def wait(self) -> None:
        """Wait until nothing is under way."""
        while self._users:
            await asyncio.wait(self._users)

    async def end(self) -> None:
        """Cancel what is under way; from now on nothing is called."""
        self._ended = True
        for task in tuple(self._running):
            task.cancel()
        if self._users:
            await asyncio.wait(self._users, timeout=_LAST_SECOND)


def _checked(status: object) -> Status:
    """The status, if it can be a final reply.

    Raises:
        TypeError: it is none.
        ValueError: its code is no final one, the enhanced code is of another class, or its text cannot be sent.
    """
    if not isinstance(status, Status):
        raise TypeError(f"the program returned {status!r}, wanted a posthouse.mail.status.Status")
    first = status.code // 100
    if first not in {2, 4, 5} or (status.enhanced and status.enhanced[0] != str(first)):
        raise ValueError(f"the program returned {str(status)!r}, which is no final reply")
    render(status)
    return status
