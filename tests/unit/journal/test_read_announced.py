"""Announced records in one read are those a scan finds; anything that is not as it must be is left to the scan."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.commit import Completion
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.scan import read_announced, scan
from posthouse.journal.segment import HEADER_LENGTH, RECORDS_AT, RecordRef, Segment, Tier
from posthouse.journal.writer import Writer

SIZE = 1 << 20
COUNT = 60


class Filled:
    """A segment with records of many sizes."""

    def __init__(self, folder: Path) -> None:
        self.disk = LinuxDisk()
        self.fd = self.disk.open_dir(str(folder))
        self.refs: list[RecordRef] = []
        self._all = threading.Event()
        writer = Writer(self.disk, self.fd, Tier.RELAY, "test", completed=self._take, segment_size=SIZE)
        writer.start()
        for number in range(COUNT):
            envelope = b"envelope %d" % number + b"." * (40_000 if number == 20 else 0)
            assert writer.append(number, envelope, [b"x" * (number * 100), b"y" * (70_000 if number == 30 else 0)], slots=2)
        assert self._all.wait(20)
        writer.stop()
        self.segment = Segment.open(self.disk, self.fd, self.refs[0].segment, write=True)
        self.end = self.refs[-1].end

    def _take(self, done: list[Completion]) -> None:
        self.refs += [each.record for each in done if each.record is not None]
        if len(self.refs) == COUNT:
            self._all.set()

    def close(self) -> None:
        self.segment.close()
        self.disk.close(self.fd)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    made = Filled(tmp_path)
    yield made
    made.close()


def test_the_same_as_a_scan(filled: Filled) -> None:
    found = read_announced(filled.segment, RECORDS_AT, filled.end)
    assert found is not None
    assert [ref for ref, _ in found] == list(scan(filled.segment, filled.end, bodies=False).records) == filled.refs
    assert [envelope for _, envelope in found] == [filled.segment.read_envelope(ref) for ref in filled.refs]


def test_nothing_behind_the_announced_offset(filled: Filled) -> None:
    upto = filled.refs[40].end
    found = read_announced(filled.segment, RECORDS_AT, upto)
    assert found is not None
    assert [ref for ref, _ in found] == filled.refs[:41]


@pytest.mark.parametrize("number", [0, 20, 59])
@pytest.mark.parametrize("place", [4, HEADER_LENGTH + 3])
def test_damage_is_left_to_the_scan(filled: Filled, number: int, place: int) -> None:
    offset = filled.refs[number].offset + place
    octet = filled.disk.pread(filled.segment.fd, 1, offset)
    filled.disk.pwrite(filled.segment.fd, bytes([octet[0] ^ 1]), offset)
    assert read_announced(filled.segment, RECORDS_AT, filled.end) is None


def test_an_offset_beyond_what_was_written(filled: Filled) -> None:
    assert read_announced(filled.segment, RECORDS_AT, filled.end + 8192) is None
