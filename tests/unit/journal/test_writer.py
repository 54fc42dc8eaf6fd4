"""The writer's threads on a real disk: what is appended is answered once and reads back."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.commit import Completion, Item
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.scan import scan
from posthouse.journal.segment import BLOCK, RECORDS_AT, SLOTS, Flag, Mark, Segment, Tier
from posthouse.journal.writer import Writer

SIZE = RECORDS_AT + 64 * BLOCK


class Answers:
    """Collects completions and lets a test wait for a number of them."""

    def __init__(self) -> None:
        self.done: list[Completion] = []
        self.changed = threading.Condition()

    def __call__(self, done: list[Completion]) -> None:
        with self.changed:
            self.done += done
            self.changed.notify_all()

    def wait(self, count: int) -> list[Completion]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.done) >= count, 20), f"{len(self.done)} of {count} answered"
            return self.done


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    disk = LinuxDisk()
    fd = disk.open_dir(str(tmp_path))
    yield fd
    disk.close(fd)


def test_appended_records_read_back_as_given(folder: int) -> None:
    disk, answers = LinuxDisk(), Answers()
    writer = Writer(disk, folder, Tier.RELAY, "test", completed=answers, segment_size=SIZE)
    writer.start()
    for number in range(20):
        assert writer.append(number, b"envelope %d" % number, [b"body ", bytes([number]) * number], slots=2, kind=7)
    done = answers.wait(20)
    writer.stop()
    assert [each.token for each in done] == list(range(20))
    refs = [each.record for each in done if each.record]
    assert len(refs) == 20
    segment = Segment.open(disk, folder, refs[0].segment)
    for number, ref in enumerate(refs):
        assert segment.read(segment.header(ref.offset)) == (b"envelope %d" % number, b"body " + bytes([number]) * number)
        assert (ref.first_slot, ref.slots, ref.kind) == (2 * number, 2, 7)
    found = scan(segment)
    assert found.records == tuple(refs)
    assert found.damage == ()
    assert found.records[-1].flags & Flag.LAST
    assert writer.sealed == [(refs[0].segment, found.end)]
    segment.close()


def test_what_is_committed_now_is_durable_on_return(folder: int) -> None:
    disk, answers = LinuxDisk(), Answers()
    writer = Writer(disk, folder, Tier.STORE, "test", completed=answers, segment_size=SIZE, quick_seconds=60)
    item = Item("now", b"envelope", (b"body",), 1, 12)
    assert not writer.commit_now([item]), "there is no segment yet"
    writer.start()
    assert writer.append("first", b"envelope", [b"body"], 1)
    answers.wait(1)
    assert writer.commit_now([item, item])
    assert [each.token for each in answers.done] == ["first", "now", "now"]
    ref = answers.done[2].record
    assert ref
    assert writer.synced[0] == ref.segment
    assert writer.synced[1] > ref.offset
    assert writer.append("last", b"envelope", [b"body"], 1)
    answers.wait(4)
    writer.stop()
    assert not writer.commit_now([item]), "the journal is closed"
    segment = Segment.open(disk, folder, ref.segment)
    assert [segment.read(segment.header(each.offset)) for each in scan(segment).records] == [(b"envelope", b"body")] * 4
    segment.close()


def test_what_does_not_fit_is_not_committed_now(folder: int) -> None:
    answers = Answers()
    writer = Writer(LinuxDisk(), folder, Tier.STORE, "test", completed=answers, segment_size=SIZE, quick_seconds=60)
    writer.start()
    body = bytes(100_000)
    assert writer.append(0, b"", [body], 1)
    answers.wait(1)
    assert writer.commit_now([Item(1, b"", (body,), 1, len(body))])
    assert not writer.commit_now([Item(2, b"", (body,), 1, len(body))])
    writer.stop()


def test_nobody_stands_still_for_a_slow_disk(folder: int) -> None:
    answers = Answers()
    writer = Writer(LinuxDisk(), folder, Tier.STORE, "test", completed=answers, segment_size=SIZE, quick_seconds=0)
    writer.start()
    assert writer.append("first", b"", [b"body"], 1)
    answers.wait(1)
    assert not writer.commit_now([Item("now", b"", (b"body",), 1, 4)])
    writer.stop()
    assert len(answers.done) == 1


def test_a_full_segment_is_followed_by_the_next(folder: int) -> None:
    disk, answers = LinuxDisk(), Answers()
    writer = Writer(disk, folder, Tier.RELAY, "test", completed=answers, segment_size=SIZE)
    writer.start()
    body = bytes(100_000)
    for number in range(6):
        assert writer.append(number, b"e", [body], slots=1)
    done = answers.wait(6)
    writer.stop()
    assert [each.error for each in done] == [None] * 6
    assert len({each.record.segment for each in done if each.record}) == 3
    assert len(writer.sealed) == 3
    assert sorted(disk.listdir(folder)) == sorted(name for name, _ in writer.sealed)


def test_a_segment_without_free_slots_is_sealed(folder: int) -> None:
    disk, answers = LinuxDisk(), Answers()
    writer = Writer(disk, folder, Tier.RELAY, "test", completed=answers, segment_size=SIZE)
    writer.start()
    assert writer.append(1, b"e", [b"b"], slots=SLOTS)
    assert writer.append(2, b"e", [b"b"], slots=1)
    first, second = (each.record for each in answers.wait(2))
    writer.stop()
    assert first
    assert second
    assert first.segment != second.segment


def test_more_than_may_wait_is_not_taken(folder: int) -> None:
    writer = Writer(LinuxDisk(), folder, Tier.RELAY, "test", completed=Answers(), segment_size=SIZE, max_waiting=1000)
    assert writer.append(1, b"", [bytes(900)], slots=1)
    assert not writer.append(2, b"", [bytes(101)], slots=1)
    assert writer.append(3, b"", [bytes(100)], slots=1)
    assert writer.waiting == 1000


def test_a_record_larger_than_a_segment_is_refused(folder: int) -> None:
    writer = Writer(LinuxDisk(), folder, Tier.RELAY, "test", completed=Answers(), segment_size=SIZE)
    with pytest.raises(ValueError, match="larger"):
        writer.append(1, b"", [bytes(64 * BLOCK)], slots=1)


def test_marks_are_seen_by_others_at_once(folder: int) -> None:
    disk, answers = LinuxDisk(), Answers()
    writer = Writer(disk, folder, Tier.RELAY, "test", completed=answers, segment_size=SIZE)
    writer.start()
    writer.append(1, b"e", [b"b"], slots=3)
    (ref,) = (each.record for each in answers.wait(1))
    assert ref
    mine, other = (Segment.open(disk, folder, ref.segment, write=True) for _ in range(2))
    mine.mark(1, Mark.DONE)
    mine.mark_run(2, 1, Mark.FAILED)
    disk.pwrite(mine.fd, b"?", 2 * BLOCK + 3)
    assert other.marks(0, 4) == b"\0DF\0"
    mine.sync_marks()
    mine.rewrite_marks()
    assert other.marks(0, 3) == b"\0DF"
    writer.stop()
    mine.close()
    other.close()


def test_the_checkpoint_reads_back_and_damage_means_none(folder: int) -> None:
    disk, answers = LinuxDisk(), Answers()
    writer = Writer(disk, folder, Tier.STORE, "test", completed=answers, segment_size=SIZE)
    writer.start()
    writer.append(1, b"e", [b"b"], slots=3)
    answers.wait(1)
    name, offset = writer.synced
    segment = Segment.open(disk, folder, name, write=True)
    assert segment.checkpoint() == 0
    writer.checkpoint(name, offset)
    assert segment.checkpoint() == offset
    disk.pwrite(segment.fd, b"\xff", BLOCK)
    assert segment.checkpoint() == 0
    writer.stop()
    segment.close()


def test_a_writer_that_wrote_nothing_leaves_nothing(folder: int) -> None:
    disk = LinuxDisk()
    writer = Writer(disk, folder, Tier.RELAY, "test", completed=Answers(), segment_size=SIZE)
    writer.start()
    writer.stop()
    assert disk.listdir(folder) == []
