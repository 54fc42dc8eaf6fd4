"""Accepting: answered when durable, announced after the answers, refused when it cannot be made durable."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from posthouse.journal.body_file import INLINE_LIMIT, BodyReference
from posthouse.journal.commit import Completion, Item
from posthouse.relay.queue.enqueue import Enqueuer, at_once
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.recovery import copies_of
from posthouse.testing.failing_disk import FailingDisk, disk_full
from support.queue_world import SEGMENT, body_of, empty_places, message, message_id, read_segment

Fault = Callable[[str, str], OSError | None]


def no_sync(operation: str, _name: str) -> OSError | None:
    """A fault: what is written is not made durable."""
    return OSError(errno.EIO, os.strerror(errno.EIO)) if operation == "fdatasync" else None


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with empty_places(FailingDisk(), tmp_path) as opened:
        yield opened


class Told:
    """What an enqueuer said, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.changed = threading.Condition()
        self.announced = ("", 0)

    def announce(self, segment: str, offset: int) -> None:
        self.announced = (segment, offset)
        self.say("announced", offset)

    def say(self, what: str, value: object) -> None:
        with self.changed:
            self.events.append((what, value))
            self.changed.notify_all()

    def wait(self, count: int) -> list[tuple[str, object]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.events) >= count, 20), self.events
            return list(self.events)


def enqueuer(places: Places, told: Told, max_waiting: int = 64 << 20) -> Enqueuer:
    return Enqueuer(
        places.disk, places.journal, "test", call_soon=at_once, segment_size=SEGMENT, max_waiting=max_waiting,
        announce=told.announce,
    )  # fmt: skip


def test_an_answer_then_the_announcement_of_what_can_be_read(places: Places) -> None:
    told = Told()
    accepting = enqueuer(places, told)
    accepting.start()
    envelope = message(1, (0, 1), 300)
    assert accepting.submit(envelope, [body_of(1, 300)], lambda error: told.say("answered", error))
    (answered, announced) = told.wait(2)
    assert answered == ("answered", None)
    assert announced[0] == "announced"
    segment, upto = told.announced
    ((ref, found),), _ = read_segment(places.segment(segment), 0, upto)
    assert found == envelope
    opened = [open_copy(places, each.ref) for each in copies_of(ref, found)]
    assert [b"".join(each.parts()) for each in opened] == [body_of(1, 300)] * 2
    assert [[who.id for who in each.recipients] for each in opened] == [[0], [1]]
    accepting.stop()


def test_answers_come_in_the_loop(places: Places) -> None:
    threads = set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        accepting = Enqueuer(
            places.disk, places.journal, "test", call_soon=loop.call_soon_threadsafe, segment_size=SEGMENT,
            announce=lambda _segment, _offset: threads.add(threading.get_ident()),
        )  # fmt: skip
        accepting.start()

        def answer(error: OSError | None) -> None:
            threads.add(threading.get_ident())
            done.set_result(error)

        accepting.submit(message(1, size=50), [body_of(1, 50)], answer)
        assert await asyncio.wait_for(done, 20) is None
        await asyncio.to_thread(accepting.stop)

    asyncio.run(main())
    assert threads == {threading.get_ident()}


def test_a_full_disk_is_told_and_nothing_is_announced(places: Places) -> None:
    disk = places.disk
    assert isinstance(disk, FailingDisk)
    disk.fault = disk_full
    told = Told()
    accepting = enqueuer(places, told)
    accepting.start()
    accepting.submit(message(1, size=50), [body_of(1, 50)], lambda error: told.say("answered", error))
    ((_, error),) = told.wait(1)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    accepting.stop()
    assert len(told.events) == 1


def test_more_than_may_wait_is_not_taken(places: Places) -> None:
    accepting = enqueuer(places, Told(), max_waiting=1000)
    assert accepting.submit(message(1, size=900), [body_of(1, 900)], print)
    assert not accepting.submit(message(2, size=900), [body_of(2, 900)], print)


def test_what_cannot_be_a_record_is_refused(places: Places) -> None:
    accepting = enqueuer(places, Told())
    large = INLINE_LIMIT + 1
    with pytest.raises(ValueError, match="body file"):
        accepting.submit(message(1, size=large), [bytes(large)], print)
    with pytest.raises(ValueError, match="size"):
        accepting.submit(message(1, size=51), [bytes(50)], print)
    with pytest.raises(ValueError, match="size"):
        accepting.submit(message(1, size=51), BodyReference(message_id(1), 50, 0), print)
    recipients = message(1, (0, 0)).recipients
    with pytest.raises(ValueError, match="places"):
        accepting.submit(message(1).__class__(*("A" * 18, "", "", "", 0, 0, recipients[1:])), [], print)


class Turns:
    """A loop's queue: what comes from the committer's thread runs when the test says so."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Callable[[list[Completion]], None], list[Completion]]] = SimpleQueue()

    def call_soon(self, function: Callable[[list[Completion]], None], done: list[Completion]) -> None:
        self._queue.put((function, done))

    def turn(self) -> None:
        """The next one, when it is there."""
        function, done = self._queue.get(timeout=20)
        function(done)

    @property
    def empty(self) -> bool:
        return self._queue.empty()


class Quick:
    """An enqueuer whose disk is as quick as one says; its first batch, which makes the segment, is through."""

    def __init__(self, places: Places, seconds: float = 60) -> None:
        self.turns, self.told = Turns(), Told()
        self.enqueuer = Enqueuer(
            places.disk, places.journal, "test", call_soon=self.turns.call_soon, segment_size=SEGMENT, quick_seconds=seconds,
            announce=self.told.announce,
        )  # fmt: skip
        self.enqueuer.start()
        assert self.submit(0) == 1
        assert self.said() == []
        self.turns.turn()
        assert self.said() == ["0", "announced"]

    def item(self, number: int, then: Callable[[], object] = lambda: None) -> Item:
        def done(error: OSError | None) -> None:
            self.told.say(f"{number} {errno.errorcode[error.errno or 0]}" if error is not None else f"{number}", None)
            then()

        return self.enqueuer.item(message(number, size=50), [body_of(number, 50)], done)

    def submit(self, *numbers: int) -> int:
        return self.enqueuer.submit_all([self.item(number) for number in numbers])

    def said(self) -> list[str]:
        """What was said since the last time."""
        events, self.told.events = self.told.events, []
        return [what for what, _ in events]


def test_while_the_disk_is_quick_answers_come_at_once(places: Places) -> None:
    quick = Quick(places)
    assert quick.submit(1, 2) == 2
    assert quick.said() == ["1", "2", "announced"]
    segment, upto = quick.told.announced
    assert (segment, upto) <= quick.enqueuer.writer.synced
    assert [found.id for _, found in read_segment(places.segment(segment), 0, upto)[0]] == [message_id(n) for n in (0, 1, 2)]
    assert quick.turns.empty
    quick.enqueuer.stop()


def test_nothing_overtakes_what_is_not_answered_yet(places: Places) -> None:
    quick = Quick(places)
    assert quick.enqueuer.submit(message(1, size=50), [body_of(1, 50)], lambda _: quick.told.say("1", None))
    assert quick.submit(2) == 1
    assert quick.said() == []
    while len(quick.told.events) < 3:
        quick.turns.turn()
    assert [what for what in quick.said() if what != "announced"] == ["1", "2"]
    quick.enqueuer.stop()
    while not quick.turns.empty:
        quick.turns.turn()


def test_what_an_answer_submits_is_announced_after_its_own_batch(places: Places) -> None:
    quick = Quick(places)
    more = [quick.item(3)]
    assert quick.enqueuer.submit_all([quick.item(1, lambda: quick.enqueuer.submit_all(more)), quick.item(2)]) == 2
    assert quick.said() == ["1", "2", "announced"]
    before = quick.told.announced
    quick.turns.turn()
    assert quick.said() == ["3", "announced"]
    assert quick.told.announced > before
    assert quick.submit(4) == 1
    assert quick.said() == ["4", "announced"]
    quick.enqueuer.stop()


def test_an_answer_that_fails_leaves_the_way_open(places: Places) -> None:
    quick = Quick(places)

    def fail() -> None:
        raise KeyError("a session")

    with pytest.raises(KeyError):
        quick.enqueuer.submit_all([quick.item(1, fail)])
    assert quick.said() == ["1"]
    assert quick.submit(2) == 1
    assert quick.said() == ["2", "announced"]
    quick.enqueuer.stop()


def test_a_slow_disk_is_waited_for_in_its_thread(places: Places) -> None:
    slow = Quick(places, seconds=0)
    for number in (1, 2):
        assert slow.submit(number) == 1
        assert slow.said() == []
        slow.turns.turn()
        assert slow.said() == [str(number), "announced"]
    slow.enqueuer.stop()


@pytest.mark.parametrize(("fault", "code"), [(disk_full, "ENOSPC"), (no_sync, "EIO")], ids=["full", "broken"])
def test_a_batch_that_fails_at_once_is_told_and_not_announced(places: Places, fault: Fault, code: str) -> None:
    quick = Quick(places)
    disk = places.disk
    assert isinstance(disk, FailingDisk)
    disk.fault = fault
    assert quick.submit(1, 2) == 2
    assert quick.said() == [f"1 {code}", f"2 {code}"]
    disk.fault = None
    first = quick.told.announced[0]
    assert quick.submit(3) == 1, "a new segment is a thread's work"
    assert quick.said() == []
    quick.turns.turn()
    quick.enqueuer.stop()
    (_, *rest) = quick.said() or [""]
    assert rest == (["announced"] if quick.told.announced[0] != first else [])


def test_of_a_batch_only_so_many_are_taken_as_may_wait(places: Places) -> None:
    accepting = enqueuer(places, Told(), max_waiting=1000)
    items = [accepting.item(message(number, size=400), [body_of(number, 400)], print) for number in (1, 2, 3)]
    taken = accepting.submit_all(items)
    assert 0 < taken < 3
    assert accepting.submit_all(items[taken:]) == 0
    assert accepting.writer.waiting <= 1000
