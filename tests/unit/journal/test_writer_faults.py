"""A disk that is full or broken under the writer's threads: errors are answered, then it recovers by itself."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.journal.adopt import adopt, remove_unfinished, segment_names, set_segment_aside
from posthouse.journal.commit import Completion, SegmentMaker
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import BLOCK, RECORDS_AT, Segment, Tier, UnreadableSegment
from posthouse.journal.writer import Writer
from posthouse.testing.failing_disk import FailingDisk, disk_full

SIZE = RECORDS_AT + 4 * BLOCK


class Journal:
    """A writer whose answers can be waited for."""

    def __init__(self, disk: FailingDisk, folder: int, tier: Tier = Tier.RELAY, max_segments: int = 16) -> None:
        self.disk, self.folder = disk, folder
        self.changed = threading.Condition()
        self.done: list[Completion] = []
        self.fatal: list[BaseException] = []
        self.writer = Writer(
            disk, folder, tier, "test", completed=self.completed, segment_size=SIZE, max_segments=max_segments,
            retry_seconds=0.02, fatal=self.fatal.append,
        )  # fmt: skip
        self.writer.start()

    def completed(self, done: list[Completion]) -> None:
        with self.changed:
            self.done += done
            self.changed.notify_all()

    def put(self, size: int = 100) -> Completion:
        """Append one record and wait for its answer."""
        with self.changed:
            before = len(self.done)
            assert self.writer.append(before, b"envelope", [bytes(size)], 1)
            assert self.changed.wait_for(lambda: len(self.done) > before, 20)
            return self.done[before]

    def until(self, wanted: Callable[[Completion], bool]) -> Completion:
        """Append until an answer is as wanted."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = self.put()
            if wanted(found):
                return found
        raise AssertionError(f"never: {found}")


@pytest.fixture
def disk() -> FailingDisk:
    return FailingDisk()


@pytest.fixture
def folder(disk: FailingDisk, tmp_path: Path) -> Iterator[int]:
    fd = disk.open_dir(str(tmp_path))
    yield fd
    disk.close(fd)


@pytest.mark.parametrize("operation", ["fdatasync", "pwritev"])
def test_a_failed_batch_is_answered_and_the_next_segment_is_used(disk: FailingDisk, folder: int, operation: str) -> None:
    journal = Journal(disk, folder)
    first = journal.put().record
    assert first
    failures = iter([OSError(errno.EIO, "I/O error")])
    disk.fault = lambda what, _name: next(failures, None) if what == operation else None
    refused = journal.put()
    assert refused.record is None
    assert isinstance(refused.error, OSError)
    later = journal.put().record
    journal.writer.stop()
    assert later
    assert later.segment != first.segment
    segment = Segment.open(disk, folder, first.segment)
    assert segment.marks(0, 3) == b"\0V\0"
    assert segment.read(segment.header(first.offset)) == (b"envelope", bytes(100))
    segment.close()


def test_a_full_disk_is_answered_at_once_and_ends_by_itself(disk: FailingDisk, folder: int) -> None:
    journal = Journal(disk, folder)
    assert journal.put().record
    disk.fault = disk_full
    refused = journal.until(lambda answer: answer.record is None)
    assert refused.error
    assert refused.error.errno == errno.ENOSPC
    disk.fault = None
    assert journal.until(lambda answer: answer.record is not None).record
    journal.writer.stop()
    assert [name for name in disk.listdir(folder) if name.endswith(".tmp")] == []
    assert journal.fatal == []


def test_too_many_sealed_segments_stop_accepting_until_one_is_freed(disk: FailingDisk, folder: int) -> None:
    journal = Journal(disk, folder, max_segments=2)
    refused = journal.until(lambda answer: answer.record is None)
    assert refused.error
    assert refused.error.errno == errno.ENOSPC
    for name, _ in list(journal.writer.sealed):
        disk.unlink(name, folder)
    assert journal.until(lambda answer: answer.record is not None).record
    journal.writer.stop()


def test_any_other_exception_in_the_committer_is_fatal(disk: FailingDisk, folder: int) -> None:
    ended = threading.Event()
    seen: list[BaseException] = []

    def fatal(error: BaseException) -> None:
        seen.append(error)
        ended.set()

    def completed(_done: list[Completion]) -> None:
        raise RuntimeError("a fault of ours")

    writer = Writer(disk, folder, Tier.RELAY, "test", completed=completed, segment_size=SIZE, fatal=fatal)
    writer.start()
    writer.append(1, b"e", [b"b"], 1)
    assert ended.wait(20)
    writer.stop()
    assert [str(error) for error in seen] == ["a fault of ours"]


def test_a_stores_sealed_segment_stays_locked_until_it_is_released(disk: FailingDisk, folder: int) -> None:
    journal = Journal(disk, folder, Tier.STORE)
    first = journal.put().record
    assert first
    assert journal.until(lambda answer: answer.record is not None and answer.record.segment != first.segment)
    assert adopt(disk, folder, first.segment, Tier.STORE) is None
    journal.writer.release(first.segment)
    adopted = adopt(disk, folder, first.segment, Tier.STORE)
    assert adopted
    adopted.close()
    assert first.segment not in dict(journal.writer.sealed)
    journal.writer.stop()


def test_a_relays_sealed_segment_may_be_adopted(disk: FailingDisk, folder: int) -> None:
    journal = Journal(disk, folder)
    first = journal.put().record
    assert first
    assert adopt(disk, folder, first.segment, Tier.RELAY) is None
    journal.writer.stop()
    assert segment_names(disk, folder) == [first.segment]
    adopted = adopt(disk, folder, first.segment, Tier.RELAY)
    assert adopted
    adopted.close()


def test_unfinished_segments_are_removed_unless_somebody_makes_them(disk: FailingDisk, folder: int) -> None:
    disk.close(disk.create_excl("dead.tmp", folder))
    living = disk.create_excl("living.tmp", folder)
    assert disk.flock(living)
    remove_unfinished(disk, folder)
    assert disk.listdir(folder) == ["living.tmp"]
    disk.close(living)


def takes_it_away(folder: int, name: str) -> int:
    remove_unfinished(LinuxDisk(), folder)
    assert name not in LinuxDisk().listdir(folder)
    return -1


def looks_at_it(folder: int, name: str) -> int:
    fd = LinuxDisk().open_file(name, folder)
    assert LinuxDisk().flock(fd)
    return fd


@pytest.mark.parametrize("start", [takes_it_away, looks_at_it])
def test_a_start_beside_the_writer_costs_one_segment_and_no_message(
    folder: int, tmp_path: Path, start: Callable[[int, str], int]
) -> None:
    held: list[int] = []

    class Beside(LinuxDisk):
        def create_excl(self, name: str, folder: int, mode: int = 0o600) -> int:
            fd = super().create_excl(name, folder, mode)
            if not held:  # before it is locked
                held.append(start(folder, name))
            return fd

    segment = SegmentMaker(Beside(), folder, Tier.RELAY, "test", SIZE).make()
    assert [path.name for path in tmp_path.iterdir()] == [segment.name]
    for fd in (segment.fd, *(each for each in held if each >= 0)):
        LinuxDisk().close(fd)


def test_a_segment_that_is_finished_while_a_start_looks_is_no_fault(folder: int) -> None:
    class Quick(LinuxDisk):
        def listdir(self, folder: int) -> list[str]:
            return [*super().listdir(folder), "finished.tmp"]

    remove_unfinished(Quick(), folder)


def test_an_unreadable_segment_is_set_aside(disk: FailingDisk, folder: int, tmp_path: Path) -> None:
    (tmp_path / "bad.seg").write_bytes(bytes(SIZE))
    with pytest.raises(UnreadableSegment):
        adopt(disk, folder, "bad.seg", Tier.STORE)
    set_segment_aside(disk, folder, "bad.seg")
    assert (tmp_path / "aside" / "bad.seg").stat().st_size == SIZE
