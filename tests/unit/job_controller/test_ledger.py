"""The controller's view of real segments in a folder."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.commit import Completion
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import Mark, RecordRef, Segment, Tier
from posthouse.journal.writer import Writer
from posthouse.mail.envelope import Envelope, Recipient, encode_envelope
from posthouse.relay.job_controller.ledger import Ledger

DISK = LinuxDisk()
WRITER = object()


class Folder:
    """A journal folder with one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = DISK.open_dir(str(path))
        self.alarms: list[str] = []
        self.done: list[Completion] = []
        self.wake = threading.Event()
        self.ledger = Ledger(DISK, self.fd, self.alarms.append)
        self.writer = Writer(DISK, self.fd, Tier.RELAY, "smtp-1", completed=self._completed, segment_size=1 << 20)
        self.writer.start()

    def _completed(self, done: list[Completion]) -> None:
        self.done += done
        self.wake.set()

    def add(self, recipients: int = 2, body: bytes = b"Subject: x\r\n\r\nx\r\n") -> RecordRef:
        people = tuple(Recipient(i, 0, "tcp_lmtpcs", f"u{i}@x", f"u{i}@x", "x") for i in range(recipients))
        envelope = Envelope("0T8K00A01BCDEF0001", "a@x", "tcp_local", "", 1, len(body), people)
        self.wake.clear()
        assert self.writer.append(None, encode_envelope(envelope), [body], recipients)
        assert self.wake.wait(5)
        record = self.done[-1].record
        assert record is not None
        return record

    def names(self) -> list[str]:
        return sorted(path.name for path in self.path.iterdir() if path.suffix == ".seg")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    if not folder.writer._stopping:
        folder.writer.stop()


def test_nothing_above_the_announced_offset_is_read_while_the_writer_lives(folder: Folder) -> None:
    first = folder.add()
    name, offset = folder.writer.synced
    folder.add()
    found = folder.ledger.synced(WRITER, name, offset)
    assert [new.record for new in found] == [first]
    assert found[0].open == (0, 1)
    assert folder.ledger.synced(WRITER, name, offset) == []
    assert folder.ledger.orphans() == [], "the lock is held"
    assert len(folder.ledger.synced(WRITER, *folder.writer.synced)) == 1


def test_what_was_acknowledged_and_not_announced_is_found_when_the_writer_ends(folder: Folder) -> None:
    folder.add()
    folder.ledger.synced(WRITER, *folder.writer.synced)
    second = folder.add()
    folder.writer.stop()
    found = folder.ledger.writer_gone(WRITER)
    assert [new.record for new in found] == [second]
    assert folder.ledger.orphans() == []


def test_a_segment_nobody_announced_is_found_too(folder: Folder) -> None:
    record = folder.add()
    folder.writer.stop()
    assert [new.record for new in folder.ledger.orphans()] == [record]


def test_marks_set_before_are_honoured(folder: Folder) -> None:
    record = folder.add(3)
    segment = Segment.open(DISK, folder.fd, record.segment, write=True)
    segment.mark(record.first_slot + 1, Mark.DONE)
    folder.writer.stop()
    (new,) = folder.ledger.orphans()
    assert new.open == (0, 2)


def test_a_segment_goes_when_all_is_settled_and_its_writer_gone(folder: Folder) -> None:
    record = folder.add()
    folder.ledger.synced(WRITER, *folder.writer.synced)
    folder.ledger.mark(record, (0, 1), Mark.DONE)
    assert folder.ledger.synced_marks(folder.ledger.sync(folder.ledger.to_sync())) == []
    assert record.segment in folder.names(), "its writer lives"
    folder.writer.stop()
    folder.ledger.writer_gone(WRITER)
    folder.ledger.synced_marks(folder.ledger.sync(folder.ledger.to_sync()))
    assert folder.names() == []
    assert len(folder.ledger) == 0


def test_an_open_slot_keeps_its_segment(folder: Folder) -> None:
    record = folder.add()
    folder.writer.stop()
    folder.ledger.orphans()
    folder.ledger.mark(record, (0,), Mark.DONE)
    folder.ledger.synced_marks(folder.ledger.sync(folder.ledger.to_sync()))
    assert folder.names() == [record.segment]


class StubbornDisk(LinuxDisk):
    """A disk whose next fdatasync fails."""

    failing = False

    def fdatasync(self, fd: int, /) -> None:  # type: ignore[override]
        if self.failing:
            self.failing = False
            raise OSError(5, "Input/output error")
        LinuxDisk.fdatasync(fd)


def test_a_failed_sync_of_marks_is_told_and_tried_again(folder: Folder) -> None:
    record = folder.add()
    folder.writer.stop()
    disk = StubbornDisk()
    ledger = Ledger(disk, folder.fd, folder.alarms.append)
    ledger.orphans()
    ledger.mark(record, (0, 1), Mark.DONE)
    disk.failing = True
    ledger.synced_marks(ledger.sync(ledger.to_sync()))
    assert "marks are not durable" in folder.alarms[0]
    assert folder.names() == [record.segment]
    ledger.synced_marks(ledger.sync(ledger.to_sync()))
    assert folder.names() == []


def test_damage_is_set_aside_and_its_neighbours_are_read(folder: Folder) -> None:
    folder.add()
    damaged = folder.add(body=b"y" * 5000)
    last = folder.add()
    folder.writer.stop()
    with (folder.path / damaged.segment).open("r+b") as file:
        file.seek(damaged.offset + 600)
        file.write(b"rot")
    found = folder.ledger.orphans()
    assert [new.record.offset for new in found][-1] == last.offset
    assert len(found) == 2
    assert "damage in acknowledged records" in folder.alarms[0]
    assert list((folder.path / "aside").iterdir())


def test_a_lost_worker_s_marks_are_read_again(folder: Folder) -> None:
    record = folder.add(3)
    folder.writer.stop()
    folder.ledger.orphans()
    segment = Segment.open(DISK, folder.fd, record.segment, write=True)
    segment.mark(record.first_slot, Mark.DONE)
    assert folder.ledger.reread(record, (0, 2)) == (2,)
