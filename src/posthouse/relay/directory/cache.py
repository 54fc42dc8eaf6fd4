"""Answers remembered: lifetimes for found and absent, a size for each kind, and one search in flight for equal questions.

    found entry or URL value   ALIAS_ENTRY_CACHE_TIMEOUT (600 s), at most ALIAS_ENTRY_CACHE_SIZE (1000)
    absent or ambiguous entry  ALIAS_ENTRY_CACHE_NEGATIVE (0 s = asked anew each time), as many again
    domain, found or absent    DOMAIN_MATCH_CACHE_TIMEOUT (600 s), at most DOMAIN_MATCH_CACHE_SIZE (100,000)
    catch-all (local part "")  as a domain
    members of a group         as an entry; more than MEMBERS of one search are not remembered

When full the oldest answer goes. Found answers stay behind their lifetime until they are the oldest: when the directory
does not answer (Unknown) such a stale one is used, with no limit of time. Nothing stale ever says absent, and a fresh
Absent wipes out what was found before. Unknown is never remembered. The clock is passed in; not for use by several threads.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from posthouse.config.option_file import OptionFile
from posthouse.relay.directory.dn import normal_dn
from posthouse.relay.directory.question import (
    Answer,
    Found,
    NeedDn,
    NeedDomain,
    NeedEntry,
    NeedMembers,
    Question,
    Unknown,
)

MEMBERS = 200
Key: TypeAlias = str | tuple[str, ...]
Submit: TypeAlias = Callable[[Question, Callable[[Answer], None]], None]


def key_of(question: Question) -> Key:
    """What makes two questions equal: letters' case does not differ, nor how a name of an entry is spelled."""
    if isinstance(question, NeedEntry):
        return (question.local.lower(), question.given_domain.lower(), question.domain.base_dn)
    if isinstance(question, NeedDomain):
        return question.domain.lower()
    if isinstance(question, NeedDn):
        return ("dn", normal_dn(question.dn) or question.dn)
    if isinstance(question, NeedMembers):
        return ("members", question.url, str(question.every), str(question.limit))
    return (question.url,)


def is_long(answer: Answer) -> bool:
    """Whether the answer is a list of members too long to be remembered."""
    return isinstance(answer, Found) and isinstance(answer.value, tuple) and len(answer.value) > MEMBERS


@dataclass(frozen=True)
class Lifetimes:
    """How long and how many; times in seconds."""

    entry: float = 600.0
    entry_absent: float = 0.0
    entries: int = 1000
    domain: float = 600.0
    domains: int = 100_000

    @classmethod
    def of(cls, options: OptionFile) -> "Lifetimes":
        """What option.dat says."""
        return cls(
            entry=options.number("ALIAS_ENTRY_CACHE_TIMEOUT", cls.entry),
            entry_absent=options.number("ALIAS_ENTRY_CACHE_NEGATIVE", cls.entry_absent),
            entries=options.integer("ALIAS_ENTRY_CACHE_SIZE", cls.entries),
            domain=options.number("DOMAIN_MATCH_CACHE_TIMEOUT", cls.domain),
            domains=options.integer("DOMAIN_MATCH_CACHE_SIZE", cls.domains),
        )


class _Shelf:
    """Answers of one sort, oldest first."""

    __slots__ = ("answers", "seconds", "size")

    def __init__(self, seconds: float, size: int) -> None:
        self.seconds = seconds
        self.size = size
        self.answers: OrderedDict[Key, tuple[float, Answer]] = OrderedDict()

    def put(self, key: Key, answer: Answer, now: float) -> None:
        self.answers.pop(key, None)
        if self.seconds <= 0 or self.size <= 0:
            return
        if len(self.answers) >= self.size:
            self.answers.popitem(last=False)  # a plain dict would step over all that went before
        self.answers[key] = (now + self.seconds, answer)


class AnswerCache:
    """Remembers answers.

    Args:
        lifetimes: how long and how many.
        clock: seconds, never going back.
    """

    def __init__(self, lifetimes: Lifetimes, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries = _Shelf(lifetimes.entry, lifetimes.entries)
        self._absent = _Shelf(lifetimes.entry_absent, lifetimes.entries)
        self._domains = _Shelf(lifetimes.domain, lifetimes.domains)
        self._no_domains = _Shelf(lifetimes.domain, lifetimes.domains)

    def fresh(self, question: Question) -> Answer | None:
        """The answer when there is one within its lifetime."""
        key = key_of(question)
        found, absent = self._shelves(question)
        kept = found.answers.get(key) or (absent.answers.get(key) if absent.answers else None)
        return kept[1] if kept is not None and kept[0] > self._clock() else None

    def stale(self, question: Question) -> Answer | None:
        """What was found once, however long ago."""
        kept = self._shelves(question)[0].answers.get(key_of(question))
        return kept[1] if kept is not None else None

    def put(self, question: Question, answer: Answer, key: Key | None = None) -> None:
        """Remember the answer; Unknown is not remembered. key: the question's, where it is at hand."""
        if isinstance(answer, Unknown) or (isinstance(question, NeedMembers) and is_long(answer)):
            return
        key = key or key_of(question)
        found, absent = self._shelves(question)
        is_found = isinstance(answer, Found)
        (absent if is_found else found).answers.pop(key, None)
        (found if is_found else absent).put(key, answer, self._clock())

    def _shelves(self, question: Question) -> tuple[_Shelf, _Shelf]:
        """Where found and absent answers to such a question stand."""
        if isinstance(question, NeedDomain):
            return self._domains, self._no_domains
        if isinstance(question, NeedEntry) and not question.local:
            return self._entries, self._no_domains
        return self._entries, self._absent


class _Flight:
    """A search under way and who waits for it."""

    __slots__ = ("asked", "ends", "key", "question", "waiting")

    def __init__(self, key: Key, question: Question, ends: float) -> None:
        self.key = key
        self.question = question
        self.ends = ends
        self.asked = False
        self.waiting: list[Callable[[Answer], None]] = []


class Flights:
    """One search for equal questions, an answer within the limit for everybody who asks.

    Args:
        cache: asked first, and told what is found.
        submit: starts a search and calls back, once, in the loop's thread.
        limit: seconds after which the answer is Unknown, or what the cache found once.
    """

    def __init__(self, cache: AnswerCache, submit: Submit, limit: float) -> None:
        self._cache = cache
        self._submit = submit
        self._limit = limit
        self._loop: asyncio.AbstractEventLoop | None = None
        """the one that asks, looked up once: that costs a system call"""
        self._open: dict[Key, _Flight] = {}
        self._order: deque[_Flight] = deque()
        """in the order of their ends, some of them landed"""
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, question: Question, done: Callable[[Answer], None]) -> None:
        """Have `done` called with the answer, never before this returns."""
        key = key_of(question)
        flight = self._open.get(key)
        if flight is not None:
            flight.waiting.append(done)
            return
        loop = self._loop = self._loop or asyncio.get_running_loop()
        flight = self._open[key] = _Flight(key, question, loop.time() + self._limit)
        flight.waiting.append(done)
        self._order.append(flight)
        if self._timer is None:
            self._timer = loop.call_at(flight.ends, self._look)

        def answered(answer: Answer) -> None:
            self._cache.put(question, answer, key)
            other = self._open.get(key)
            if other is not flight and other is not None and isinstance(answer, Found):
                self._land(other, answer)  # it was asked once more meanwhile
            elif flight.asked:
                self._land(flight, answer)
            else:
                loop.call_soon(self._land, flight, answer)

        self._submit(question, answered)
        flight.asked = True

    async def answer(self, question: Question) -> Answer:
        """The answer, fresh where possible."""
        known = self._cache.fresh(question)
        if known is not None:
            return known
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.ask(question, lambda answer: None if future.done() else future.set_result(answer))
        return await future

    def give_up(self, reason: str) -> None:
        """Answer all that wait."""
        for flight in tuple(self._open.values()):
            self._land(flight, Unknown(reason), stale=False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Time is up for the oldest."""
        self._timer = None
        loop, order = asyncio.get_running_loop(), self._order
        while order and (order[0].ends <= loop.time() or not order[0].waiting):
            self._land(order.popleft(), Unknown(f"no answer within {self._limit:g} s"))
        if order:
            self._timer = loop.call_at(order[0].ends, self._look)

    def _land(self, flight: _Flight, answer: Answer, *, stale: bool = True) -> None:
        if self._open.get(flight.key) is not flight:
            return
        del self._open[flight.key]
        if stale and isinstance(answer, Unknown):
            answer = self._cache.stale(flight.question) or answer
        waiting, flight.waiting = flight.waiting, []
        order = self._order
        while order and not order[0].waiting:
            order.popleft()
        for done in waiting:
            done(answer)
