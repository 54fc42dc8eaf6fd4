import asyncio
from collections.abc import Callable

import pytest

from posthouse.relay.directory.cache import AnswerCache, Flights, Lifetimes
from posthouse.relay.directory.question import (
    Absent,
    Ambiguous,
    Answer,
    Domain,
    Entry,
    Found,
    Kind,
    NeedDn,
    NeedDomain,
    NeedEntry,
    NeedUrl,
    Question,
    Unknown,
)
from posthouse.testing.directory import options

OURS = Domain("example.com", "example.com", "o=x")
JOHN = NeedEntry("john", OURS, "example.com")
CATCH_ALL = NeedEntry("", OURS, "example.com")
FOUND = Found(Entry("uid=j", Kind.USER, "j"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> AnswerCache:
    return AnswerCache(Lifetimes(entry=10, entry_absent=5, entries=3, domain=20, domains=2), clock)


def test_the_defaults_are_those_of_the_reference() -> None:
    assert Lifetimes.of(options()) == Lifetimes(600, 0, 1000, 600, 100_000)
    given = options(ALIAS_ENTRY_CACHE_TIMEOUT="1.5", ALIAS_ENTRY_CACHE_NEGATIVE="2", ALIAS_ENTRY_CACHE_SIZE="3")
    assert Lifetimes.of(given) == Lifetimes(1.5, 2, 3, 600, 100_000)
    assert Lifetimes.of(options(DOMAIN_MATCH_CACHE_TIMEOUT="4", DOMAIN_MATCH_CACHE_SIZE="5")) == Lifetimes(domain=4, domains=5)


@pytest.mark.parametrize(
    ("question", "answer", "seconds"),
    [
        (JOHN, FOUND, 10),
        (JOHN, Absent(), 5),
        (JOHN, Ambiguous(("a", "b")), 5),
        (NeedDomain("example.com"), Found(OURS), 20),
        (NeedDomain("remote.test"), Absent(), 20),
        (CATCH_ALL, FOUND, 10),
        (CATCH_ALL, Absent(), 20),
        (NeedUrl("ldap:///x"), Found("y"), 10),
    ],
)
def test_answers_live_as_long_as_their_sort(
    cache: AnswerCache, clock: Clock, question: Question, answer: Answer, seconds: float
) -> None:
    cache.put(question, answer)
    clock.now += seconds - 0.1
    assert cache.fresh(question) == answer
    clock.now += 0.1
    assert cache.fresh(question) is None


def test_letters_case_does_not_make_another_question(cache: AnswerCache) -> None:
    cache.put(JOHN, FOUND)
    assert cache.fresh(NeedEntry("JOHN", OURS, "Example.COM")) == FOUND
    assert cache.fresh(NeedEntry("john", OURS, "example.org")) is None


def test_unknown_is_not_remembered_and_wipes_out_nothing(cache: AnswerCache) -> None:
    cache.put(JOHN, FOUND)
    cache.put(JOHN, Unknown("down"))
    assert cache.fresh(JOHN) == FOUND


def test_the_oldest_answer_goes_first(cache: AnswerCache) -> None:
    questions = [NeedEntry(f"u{number}", OURS, "example.com") for number in range(4)]
    for question in questions:
        cache.put(question, FOUND)
    assert [cache.fresh(question) for question in questions] == [None, FOUND, FOUND, FOUND]


def test_many_absent_ones_do_not_push_out_what_was_found(cache: AnswerCache) -> None:
    cache.put(JOHN, FOUND)
    for number in range(50):
        cache.put(NeedEntry(f"x{number}", OURS, "example.com"), Absent())
    assert cache.fresh(JOHN) == FOUND


def test_stale_is_only_ever_found(cache: AnswerCache, clock: Clock) -> None:
    cache.put(JOHN, FOUND)
    clock.now += 1000
    assert (cache.fresh(JOHN), cache.stale(JOHN)) == (None, FOUND)
    cache.put(JOHN, Absent())
    clock.now += 1000
    assert (cache.fresh(JOHN), cache.stale(JOHN)) == (None, None)


def test_absent_that_may_not_be_remembered_still_wipes_out_what_was_found(clock: Clock) -> None:
    cache = AnswerCache(Lifetimes(entry_absent=0), clock)
    cache.put(JOHN, FOUND)
    cache.put(JOHN, Absent())
    assert (cache.fresh(JOHN), cache.stale(JOHN)) == (None, None)


class Searches:
    """Searches under way, answered when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Question, Callable[[Answer], None]]] = []

    def __call__(self, question: Question, done: Callable[[Answer], None]) -> None:
        self.waiting.append((question, done))


async def test_equal_questions_fly_together(cache: AnswerCache) -> None:
    searches = Searches()
    flights = Flights(cache, searches, 5)
    tasks = [asyncio.ensure_future(flights.answer(NeedEntry(name, OURS, "example.com"))) for name in ("john", "JOHN", "jane")]
    await asyncio.sleep(0)
    assert len(searches.waiting) == 2
    for _, done in searches.waiting:
        done(FOUND)
    assert await asyncio.gather(*tasks) == [FOUND] * 3
    assert await flights.answer(JOHN) == FOUND
    assert len(searches.waiting) == 2


async def test_one_name_however_spelled_flies_once(cache: AnswerCache) -> None:
    """A group in a group, two groups with the same member: what is asked at once is one search."""
    searches = Searches()
    flights = Flights(cache, searches, 5)
    spellings = (
        "uid=j,ou=People,o=x",
        "UID=J, OU=people , o=X",
        "uid=\\6a,ou=People,o=x",
        "uid=j\\2b,ou=People,o=x",
        "uid=j\\+,ou=People,o=x",
    )
    tasks = [asyncio.ensure_future(flights.answer(NeedDn(dn))) for dn in (*spellings, "broken=\\", "worse=\\")]
    await asyncio.sleep(0)
    asked = [question.dn for question, _ in searches.waiting if isinstance(question, NeedDn)]
    assert asked == [spellings[0], spellings[3], "broken=\\", "worse=\\"]
    for _, done in searches.waiting:
        done(FOUND)
    assert await asyncio.gather(*tasks) == [FOUND] * 7
    cache.put(NeedDn(spellings[0]), FOUND)
    assert cache.fresh(NeedDn(spellings[1])) == FOUND


async def test_no_answer_in_time_is_unknown_and_a_late_one_is_still_remembered(cache: AnswerCache) -> None:
    searches = Searches()
    flights = Flights(cache, searches, 0.02)
    assert isinstance(await flights.answer(JOHN), Unknown)
    searches.waiting[0][1](FOUND)
    assert cache.fresh(JOHN) == FOUND


async def test_a_late_answer_does_not_land_in_the_next_flight(clock: Clock) -> None:
    searches = Searches()
    flights = Flights(AnswerCache(Lifetimes(entry=0), clock), searches, 0.02)
    await flights.answer(JOHN)
    second = asyncio.ensure_future(flights.answer(JOHN))
    await asyncio.sleep(0)
    searches.waiting[0][1](Absent())
    searches.waiting[1][1](FOUND)
    assert await second == FOUND


async def test_unknown_becomes_what_was_found_once(cache: AnswerCache, clock: Clock) -> None:
    searches = Searches()
    flights = Flights(cache, searches, 5)
    cache.put(JOHN, FOUND)
    clock.now += 1000
    task = asyncio.ensure_future(flights.answer(JOHN))
    await asyncio.sleep(0)
    searches.waiting[0][1](Unknown("down"))
    assert await task == FOUND
    assert cache.fresh(JOHN) is None


async def test_giving_up_answers_everybody(cache: AnswerCache) -> None:
    flights = Flights(cache, Searches(), 5)
    task = asyncio.ensure_future(flights.answer(JOHN))
    await asyncio.sleep(0)
    flights.give_up("closing")
    assert await task == Unknown("closing")
