"""An open connection in the event loop: many questions on it at once, each within its own time.

Searches are sent after the round of ready sockets in which they came, as many on the way as the server works on
(ldap_window.py), and their results taken when the socket is readable. Those of one round that look for addresses in the same
place go as one search, at most 16 together; each entry is given to whom it answers by its addresses. Who has none of the
entries asks once more alone: that nobody has an address is only ever said by a search of its own.

Nothing waits. When the server has been silent for longer than a search on the way allows, or the connection breaks, the link
is over: `lost` is called once with the questions that have no answer. A search that is late while others are answered is
waited for a while longer, for the sake of the cache, where no other server could do better: a slow server is better than none.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from posthouse.relay.directory.ldap_connection import LdapConnection, Refused, ServerTroubleError
from posthouse.relay.directory.ldap_window import Window
from posthouse.relay.directory.question import Answer, Question, Unknown
from posthouse.relay.directory.search import Entries, Result, Search, Steps, spelling

if TYPE_CHECKING:
    from posthouse.relay.directory.ldif import RawEntry

TOGETHER = 16
"""searches made as one"""
_LATE = 3.0
"""times its own time a search that is late is waited for"""
_log = logging.getLogger("posthouse.directory")


class Job(msgspec.Struct, eq=False):
    """One question on its way."""

    question: Question
    ends: float
    """loop time at which an answer is of no more use"""
    done: Callable[[Answer], None]
    tried: frozenset[str] = frozenset()
    """servers asked"""
    again: frozenset[str] = frozenset()
    """servers whose connection broke under it; each gets one more try on a new one"""
    steps: Steps | None = None
    seconds: float = 0.0
    """time this server has for each search"""
    search: Search | None = None
    """the one that is to be answered next"""
    refused: str = ""
    """what a server said that would not do a search for it"""


class _Sent(msgspec.Struct, eq=False):
    """A search on the way and whose it is: several jobs when it was made for all of them."""

    jobs: list[Job]
    at: float
    """loop time at which it went out"""
    seconds: float
    by: float
    """loop time by which it must have been answered"""
    late: bool = False


class LdapLink:
    """Questions on one connection.

    Args:
        connection: open and bound.
        plan: makes the steps of a question.
        lost: called when the link is over: the questions left, the reason, whether the server was silent.
        worked: called when a search is answered that is the first, or the first after one that was refused.
        refused: called with a question of which the server will not do a search, and why.
        spare: whether there is another server that is well.
    """

    def __init__(
        self,
        connection: LdapConnection,
        plan: Callable[[Question], Steps],
        lost: Callable[["LdapLink", list[Job], str, bool], None],
        worked: Callable[[str], None],
        refused: Callable[[Job, str, str], None],
        spare: Callable[[], bool],
    ) -> None:
        self.uri = connection.uri
        self.answered = 0
        """searches answered so far"""
        self._connection = connection
        self._plan = plan
        self._lost = lost
        self._worked = worked
        self._refused = refused
        self._well = False
        self._spare = spare
        self._window = Window()
        self._heard = 0.0
        """when the server last said something"""
        self._waiting: dict[int, _Sent] = {}
        self._queue: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._round = False
        """whether the queue is looked at after this round"""
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fd, self._read)

    def begin(self, job: Job, seconds: float) -> None:
        """Ask; the server has so many seconds for each search."""
        job.seconds = seconds
        job.steps = self._plan(job.question)
        try:
            job.search = next(job.steps)
        except StopIteration as stop:
            job.done(stop.value)
            return
        self._put(job)

    def close(self, reason: str = "closed") -> None:
        """End it; whoever waits is told by `lost`."""
        self._end(reason, silent=False)

    # sending

    def _put(self, job: Job) -> None:
        self._queue.append(job)
        if not self._round:
            self._round = True
            self._loop.call_soon(self._send_round)

    def _send_round(self) -> None:
        """Send what waits, as far as the server may have it; searches alike go together."""
        self._round = False
        queue, now, window = self._queue, self._loop.time(), self._window
        while queue and len(self._waiting) < window.size and not self._over:
            first = queue.popleft()
            if first.ends - now <= window.need(first.seconds):
                first.done(Unknown(f"{self.uri} is too slow"))
                continue
            jobs = [first]
            while queue and len(jobs) < TOGETHER and _alike(first, queue[0]):
                jobs.append(queue.popleft())
            self._send(jobs)

    def _send(self, jobs: list[Job]) -> None:
        search = jobs[0].search
        assert search is not None
        if len(jobs) > 1:
            search = replace(search, filter=f"(|{''.join([job.search.filter for job in jobs if job.search is not None])})")
        now, seconds = self._loop.time(), jobs[0].seconds
        by = now + seconds
        try:
            number = self._connection.send(search)
        except ServerTroubleError as problem:
            self._waiting[-1] = _Sent(jobs, now, seconds, by)
            self._end(str(problem), silent=False)
            return
        except Exception as problem:  # it cannot be sent, to no server
            self._unsent(jobs, problem)
            return
        self._waiting[number] = _Sent(jobs, now, seconds, by)
        if self._timer is None:
            self._timer = self._loop.call_at(by, self._look)

    def _unsent(self, jobs: list[Job], problem: Exception) -> None:
        """The others of a round are not to go without an answer for one of them."""
        if len(jobs) > 1:
            for job in jobs:
                self._alone(job)
            return
        _log.error("directory: a search cannot be sent: %r", problem)
        jobs[0].done(Unknown(f"internal error: {problem}"))

    # hearing

    def _read(self) -> None:
        try:
            for number, result in self._connection.results():
                full = bool(self._queue) or len(self._waiting) >= self._window.size
                sent = self._waiting.pop(number, None)
                self.answered += 1
                now = self._heard = self._loop.time()
                if sent is not None:
                    self._window.heard(sent.at, now, sent.seconds, full=full)
                    if not self._well and not isinstance(result, Refused):
                        self._well = True
                        self._worked(self.uri)
                    self._answer(sent.jobs, result)
                if self._over or not self._waiting:  # what else comes makes the socket readable again
                    break
        except ServerTroubleError as problem:
            self._end(str(problem), silent=False)
        except Exception as problem:
            _log.exception("directory: %s", self.uri)
            self._end(f"internal error: {problem}", silent=True)
        if self._queue and not self._round and not self._over:
            self._send_round()

    def _answer(self, jobs: list[Job], result: Result | Refused) -> None:
        if len(jobs) == 1:
            self._step(jobs[0], result)
        elif isinstance(result, tuple):
            self._share(jobs, result)
        else:
            for job in jobs:
                self._alone(job)

    def _share(self, jobs: list[Job], entries: Entries) -> None:
        """Give each job its entries; who has none asks alone."""
        owners: dict[str, list[RawEntry]] = {}
        holders = jobs[0].search.holders if jobs[0].search is not None else ()
        for entry in entries:
            for address in {spelling(value) for name in holders for value in entry.attributes.get(name, ())}:
                owners.setdefault(address, []).append(entry)
        for job in jobs:
            addresses = job.search.addresses if job.search is not None else ()
            found = {entry.dn: entry for address in addresses for entry in owners.get(address, ())}
            if found:
                self._step(job, tuple(found.values()))
            else:
                self._alone(job)

    def _alone(self, job: Job) -> None:
        assert job.search is not None
        job.search = replace(job.search, addresses=(), holders=())
        self._put(job)

    def _step(self, job: Job, result: Result | Refused) -> None:
        if isinstance(result, Refused):
            self._well = False
            job.refused = f"{self.uri} refuses the search: {result.reason}"
            self._refused(job, self.uri, result.reason)
            return
        assert job.steps is not None
        try:
            job.search = job.steps.send(result)
        except StopIteration as stop:
            self._loop.call_soon(job.done, stop.value)  # all that came are read first (decision 148)
            return
        self._put(job)

    # the end

    def _look(self) -> None:
        """Is anybody's time up? If not, look again when the next one's is."""
        self._timer = None
        if not self._waiting:
            return
        now = self._loop.time()
        oldest = next(iter(self._waiting.values()))
        silent_at = max(self._heard, oldest.at) + oldest.seconds
        if silent_at <= now:
            self._end("no answer in time", silent=True)
            return
        for number, sent in [pair for pair in self._waiting.items() if pair[1].by <= now]:
            if self._spare():
                self._end("answers come too late", silent=True)
                return
            self._is_late(number, sent, now)
        earliest = min([silent_at, *(sent.by for sent in self._waiting.values())])
        self._timer = self._loop.call_at(earliest, self._look)
        if self._queue and not self._round:
            self._send_round()

    def _is_late(self, number: int, sent: _Sent, now: float) -> None:
        """Others are answered, this one is not. Its askers are told by the clock of who asks; what comes yet is remembered."""
        if sent.late:
            del self._waiting[number]
            self._connection.abandon(number)
            for job in sent.jobs:
                job.done(Unknown(f"{self.uri} has not answered"))
            return
        sent.late, sent.by = True, sent.at + _LATE * sent.seconds
        self._window.late(sent.at, now)

    def _end(self, reason: str, *, silent: bool) -> None:
        if self._over:
            return
        self._over = True
        self._loop.remove_reader(self._connection.fd)
        if self._timer is not None:
            self._timer.cancel()
        jobs = [*(job for sent in self._waiting.values() for job in sent.jobs), *self._queue]
        self._waiting.clear()
        self._queue.clear()
        self._connection.close()
        self._lost(self, jobs, reason, silent)


def _alike(one: Job, other: Job) -> bool:
    """Whether both look for addresses in the same place, so that one search does for both."""
    left, right = one.search, other.search
    if left is None or right is None or not left.holders or left.holders != right.holders:
        return False
    alike = left.attributes is right.attributes or left.attributes == right.attributes
    return alike and left.base == right.base and left.scope is right.scope
