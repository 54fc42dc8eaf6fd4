"""Answers remembered: lifetimes for found and absent, a size for each kind, and one search in flight for equal questions.

    found entry or URL value   ALIAS_ENTRY_CACHE_TIMEOUT (600 s), at most ALIAS_ENTRY_CACHE_SIZE (1000)
    absent or ambiguous entry  ALIAS_ENTRY_CACHE_NEGATIVE (0 s = asked anew each time), as many again
    domain, found or absent    DOMAIN_MATCH_CACHE_TIMEOUT (600 s), at most DOMAIN_MATCH_CACHE_SIZE (100,000)
    catch-all (local part "")  as a domain

When full the oldest answer goes. Found answers stay behind their lifetime until they are the oldest: when the directory
does not answer (Unknown) such a stale one is used, with no limit of time. Nothing stale ever says absent, and a fresh
Absent wipes out what was found before. Unknown is never remembered. The clock is passed in; not for use by several threads.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from posthouse.config.option_file import OptionFile
from posthouse.relay.directory.question import Answer, Found, NeedDomain, NeedEntry, Question, Unknown

Key: TypeAlias = str | tuple[str, ...]
Submit: TypeAlias = Callable[[Question, Callable[[Answer], None]], None]


def key_of(question: Question) -> Key:
    """What makes two questions equal: letters' case does not differ."""
    if isinstance(question, NeedEntry):
        return (question.local.lower(), question.given_domain.lower(), question.domain.base_dn)
    if isinstance(question, NeedDomain):
        return question.domain.lower()
    return (question.url,)


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
        self.answers: dict[Key, tuple[float, Answer]] = {}

    def put(self, key: Key, answer: Answer, now: float) -> None:
        self.answers.pop(key, None)
        if self.seconds <= 0 or self.size <= 0:
            return
        if len(self.answers) >= self.size:
            del self.answers[next(iter(self.answers))]
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
        kept = found.answers.get(key) or absent.answers.get(key)
        return kept[1] if kept is not None and kept[0] > self._clock() else None

    def stale(self, question: Question) -> Answer | None:
        """What was found once, however long ago."""
        kept = self._shelves(question)[0].answers.get(key_of(question))
        return kept[1] if kept is not None else None

    def put(self, question: Question, answer: Answer) -> None:
        """Remember the answer; Unknown is not remembered."""
        if isinstance(answer, Unknown):
            return
        key = key_of(question)
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
        self._waiting: dict[Key, asyncio.Future[Answer]] = {}

    async def answer(self, question: Question) -> Answer:
        """The answer, fresh where possible."""
        known = self._cache.fresh(question)
        if known is not None:
            return known
        key = key_of(question)
        flight = self._waiting.get(key)
        if flight is None:
            flight = self._start(key, question)
        return await asyncio.shield(flight)

    def give_up(self, reason: str) -> None:
        """Answer all that wait."""
        for key in tuple(self._waiting):
            self._land(key, None, Unknown(reason))

    def _start(self, key: Key, question: Question) -> asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        flight: asyncio.Future[Answer] = loop.create_future()
        self._waiting[key] = flight
        timer = loop.call_later(self._limit, self._land, key, question, Unknown(f"no answer within {self._limit:g} s"))

        def landed(answer: Answer) -> None:
            timer.cancel()
            self._cache.put(question, answer)
            if self._waiting.get(key) is flight:
                self._land(key, question, answer)

        self._submit(question, landed)
        return flight

    def _land(self, key: Key, question: Question | None, answer: Answer) -> None:
        flight = self._waiting.pop(key, None)
        if flight is None or flight.done():
            return
        if isinstance(answer, Unknown) and question is not None:
            answer = self._cache.stale(question) or answer
        flight.set_result(answer)
