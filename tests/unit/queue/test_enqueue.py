"""Accepting: answered when durable, announced after the answers, refused when it cannot be made durable."""

import asyncio
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.body_file import INLINE_LIMIT, BodyReference
from posthouse.relay.queue.enqueue import Enqueuer, at_once
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.recovery import copies_of, read_segment
from posthouse.testing.failing_disk import FailingDisk, disk_full
from support.queue_world import SEGMENT, body_of, make_folders, message, message_id, open_places


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    disk = FailingDisk()
    root = disk.open_dir(str(tmp_path))
    make_folders(disk, root)
    disk.close(root)
    opened = open_places(disk, str(tmp_path))
    yield opened
    opened.close()


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
    assert accepting.announcements == [(segment, accepting.writer.synced[1])]
    ((ref, found),), _ = read_segment(places.segment(segment), 0, upto)
    assert found == envelope
    opened = [open_copy(places, each.ref) for each in copies_of(ref, found)]
    assert [b"".join(each.parts()) for each in opened] == [body_of(1, 300)] * 2
    assert [[who.id for who in each.recipients] for each in opened] == [[0], [1]]
    accepting.stop()
    assert accepting.announcements == [accepting.writer.synced]


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
    assert accepting.announcements == []
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
