"""An open connection in the event loop: many questions on it at once, each within its own time.

Searches are sent as they come, at most 32 on the way (slapd closes a connection with more than 100), and their results
taken when the socket is readable; nothing waits. When the server has been silent for longer than the most impatient search
on the way allows, or the connection breaks, the link is over: `lost` is called once with the questions that have no answer.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from posthouse.relay.directory.ldap_connection import LdapConnection, Refused, ServerTroubleError
from posthouse.relay.directory.question import Answer, Question, Unknown
from posthouse.relay.directory.search import Result, Search, Steps

ON_THE_WAY = 32
_log = logging.getLogger("posthouse.directory")


@dataclass(slots=True, eq=False)
class Job:
    """One question on its way."""

    question: Question
    ends: float
    """loop time at which an answer is of no more use"""
    done: Callable[[Answer], None]
    tried: set[str] = field(default_factory=set)
    """servers asked"""
    again: set[str] = field(default_factory=set)
    """servers whose connection broke under it; each gets one more try on a new one"""
    steps: Steps | None = None
    seconds: float = 0.0
    """time this server has for each search"""
    by: float = 0.0
    """loop time by which it must have answered the one on the way"""


class LdapLink:
    """Questions on one connection.

    Args:
        connection: open and bound.
        plan: makes the steps of a question.
        lost: called when the link is over: the questions left, the reason, whether the server was silent.
    """

    def __init__(
        self,
        connection: LdapConnection,
        plan: Callable[[Question], Steps],
        lost: Callable[["LdapLink", list[Job], str, bool], None],
    ) -> None:
        self.uri = connection.uri
        self.answered = 0
        """searches answered so far"""
        self._connection = connection
        self._plan = plan
        self._lost = lost
        self._waiting: dict[int, Job] = {}
        self._queue: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fd, self._read)

    def begin(self, job: Job, seconds: float) -> None:
        """Ask; the server has so many seconds for each search."""
        job.seconds = seconds
        if len(self._waiting) >= ON_THE_WAY:
            self._queue.append(job)
        else:
            self._start(job)

    def _start(self, job: Job) -> None:
        job.steps = self._plan(job.question)
        try:
            search = next(job.steps)
        except StopIteration as stop:
            job.done(stop.value)
            return
        self._send(job, search)

    def close(self, reason: str = "closed") -> None:
        """End it; whoever waits is told by `lost`."""
        self._end(reason, silent=False)

    def _send(self, job: Job, search: Search) -> None:
        try:
            number = self._connection.send(search)
        except ServerTroubleError as problem:
            self._waiting[-1] = job
            self._end(str(problem), silent=False)
            return
        self._waiting[number] = job
        job.by = self._loop.time() + job.seconds
        if self._timer is None:
            self._timer = self._loop.call_at(job.by, self._look)

    def _read(self) -> None:
        try:
            for number, result in self._connection.results():
                job = self._waiting.pop(number, None)
                self.answered += 1
                if job is not None:
                    self._step(job, result)
                while self._queue and len(self._waiting) < ON_THE_WAY and not self._over:
                    self._start_next(self._queue.popleft())
                if self._over or not self._waiting:  # what else comes makes the socket readable again
                    return
        except ServerTroubleError as problem:
            self._end(str(problem), silent=False)
        except Exception as problem:
            _log.exception("directory: %s", self.uri)
            self._end(f"internal error: {problem}", silent=True)

    def _start_next(self, job: Job) -> None:
        if job.ends <= self._loop.time():
            job.done(Unknown(f"{self.uri} is too slow"))
        else:
            self._start(job)

    def _step(self, job: Job, result: Result | Refused) -> None:
        if isinstance(result, Refused):
            job.done(Unknown(f"{self.uri} refuses the search: {result.reason}"))
            return
        assert job.steps is not None
        try:
            search = job.steps.send(result)
        except StopIteration as stop:
            job.done(stop.value)
            return
        self._send(job, search)

    def _look(self) -> None:
        """Is anybody's time up? If not, look again when the next one's is."""
        self._timer = None
        if not self._waiting:
            return
        earliest = min(job.by for job in self._waiting.values())
        if earliest <= self._loop.time():
            self._end("no answer in time", silent=True)
        else:
            self._timer = self._loop.call_at(earliest, self._look)

    def _end(self, reason: str, *, silent: bool) -> None:
        if self._over:
            return
        self._over = True
        self._loop.remove_reader(self._connection.fd)
        if self._timer is not None:
            self._timer.cancel()
        jobs = [*self._waiting.values(), *self._queue]
        self._waiting.clear()
        self._queue.clear()
        self._connection.close()
        self._lost(self, jobs, reason, silent)
