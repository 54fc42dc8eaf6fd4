"""A segment of 20 records, every one-octet change and every truncation: good ones found, nothing wrong read."""

import functools
import random
import struct
import zlib
from dataclasses import dataclass

import pytest

from posthouse.journal.commit import Committer, Item, NewSegment, SegmentMaker
from posthouse.journal.scan import Scan, scan
from posthouse.journal.segment import (
    BLOCK,
    MARKS_AT,
    RECORDS_AT,
    CorruptRecord,
    RecordRef,
    Segment,
    Tier,
    UnknownVersion,
    UnreadableSegment,
)
from posthouse.testing.crash_disk import CrashDisk

SIZE = RECORDS_AT + 12 * BLOCK


@dataclass(frozen=True)
class Written:
    octets: bytes
    records: tuple[RecordRef, ...]
    payloads: tuple[tuple[bytes, bytes], ...]


@functools.cache
def written() -> Written:
    """Seven batches, 20 records; one batch is larger than a block."""
    disk = CrashDisk()
    root = disk.open_dir("/")
    made: list[NewSegment] = []

    def provide() -> NewSegment:
        made.append(SegmentMaker(disk, root, Tier.RELAY, "test", SIZE).make())
        return made[-1]

    committer = Committer(disk, provide, lambda _segment: None, lambda: 1_700_000_000.0)
    records: list[RecordRef] = []
    payloads = [(b"envelope %d" % n, random.Random(n).randbytes(n * 7 % 60 if n != 9 else 5000)) for n in range(20)]
    waiting = [Item(None, envelope, (body,), 1, len(envelope) + len(body)) for envelope, body in payloads]
    while waiting:
        batch, waiting = waiting[:3], waiting[3:]
        records += [each.record for each in committer.commit(batch) if each.record]
    octets = disk.pread(made[0].fd, SIZE, 0)
    assert len(records) == 20
    assert len(made) == 1
    return Written(octets, tuple(records), tuple(payloads))


def opened(octets: bytes) -> Segment:
    disk = CrashDisk()
    root = disk.open_dir("/")
    disk.pwrite(disk.create_excl(written().records[0].segment, root), octets, 0)
    return Segment.open(disk, root, written().records[0].segment)


def check(segment: Segment, found: Scan, missing: set[int]) -> None:
    """All records but the missing ones are found, and what is read is what was written."""
    expected = [ref for number, ref in enumerate(written().records) if number not in missing]
    assert list(found.records) == expected
    for ref in found.records:
        assert segment.read(segment.header(ref.offset)) == written().payloads[written().records.index(ref)]


def used(number: int) -> range:
    """Where a record's header and payload stand, padding left out."""
    ref = written().records[number]
    return range(ref.offset, ref.offset + 64 + ref.envelope_length + ref.body_length)


def test_undamaged() -> None:
    segment = opened(written().octets)
    found = scan(segment)
    check(segment, found, set())
    assert found.damage == ()
    assert found.end == RECORDS_AT + 8 * BLOCK
    assert scan(segment, bodies=False) == found
    upto = written().records[5].end
    assert scan(segment, upto).records == written().records[:6]


def test_the_unused_rest_is_read_once() -> None:
    class Counting(CrashDisk):
        read = 0

        def pread(self, fd: int, count: int, offset: int, /) -> bytes:
            octets = super().pread(fd, count, offset)
            self.read += len(octets) if offset >= RECORDS_AT + 8 * BLOCK else 0
            return octets

    disk = Counting()
    root = disk.open_dir("/")
    disk.pwrite(disk.create_excl(written().records[0].segment, root), written().octets, 0)
    found = scan(Segment.open(disk, root, written().records[0].segment))
    assert found.records == written().records
    assert disk.read < 5 * BLOCK, "four blocks were never written"


def test_every_changed_octet_of_every_record_harms_that_record_only() -> None:
    octets = bytearray(written().octets)
    for number in range(20):
        last = max(used(number))
        places = [place for place in used(number) if number != 9 or place < used(9)[200] or place % 97 == 0 or place == last]
        for place in places:
            octets[place] ^= 1 << place % 8
            segment = opened(bytes(octets))
            found = scan(segment)
            octets[place] ^= 1 << place % 8
            check(segment, found, {number})
            (damage,) = found.damage
            assert damage.offset <= written().records[number].offset
            assert place < damage.offset + damage.length or not octets[place]
            assert damage.acknowledged is (number < 18), "the last batch is not known to have been synced"
            with pytest.raises(CorruptRecord):
                segment.read(segment.header(written().records[number].offset))


def test_octets_between_the_records_do_not_matter() -> None:
    taken = {place for number in range(20) for place in used(number)}
    octets = bytearray(written().octets)
    records = (*range(RECORDS_AT, RECORDS_AT + 3 * BLOCK, 53), *range(RECORDS_AT, SIZE, 997))
    for place in (*records, *range(MARKS_AT, RECORDS_AT, 4999)):
        if place in taken:
            continue
        octets[place] ^= 0xFF
        segment = opened(bytes(octets))
        check(segment, scan(segment), set())
        octets[place] ^= 0xFF


def test_every_changed_octet_of_the_header_is_noticed_or_harmless() -> None:
    octets = bytearray(written().octets)
    for place in range(100):
        octets[place] ^= 0x10
        if place < 44:
            with pytest.raises(UnreadableSegment):
                opened(bytes(octets))
        else:
            check(opened(bytes(octets)), scan(opened(bytes(octets))), set())
        octets[place] ^= 0x10


def test_an_unknown_version_is_not_skipped() -> None:
    octets = bytearray(written().octets)
    octets[4:6] = struct.pack("<H", 2)
    octets[40:44] = struct.pack("<I", zlib.crc32(octets[:40]))
    with pytest.raises(UnknownVersion):
        opened(bytes(octets))


def test_every_truncation_finds_what_is_whole() -> None:
    ends = {end for number in range(20) for end in (*used(number)[:90], used(number)[-1], used(number)[-1] + 1)}
    for end in sorted(ends | set(range(RECORDS_AT, SIZE, 911))):
        segment = opened(written().octets[:end])
        found = scan(segment)
        check(segment, found, {number for number in range(20) if used(number)[-1] >= end})
        assert not any(damage.acknowledged for damage in found.damage)


@pytest.mark.parametrize("end", [0, 1, BLOCK - 1])
def test_a_segment_shorter_than_its_header_is_unreadable(end: int) -> None:
    with pytest.raises(UnreadableSegment):
        opened(written().octets[:end])


def test_lost_blocks_of_the_last_batch_are_a_torn_tail() -> None:
    octets = bytearray(written().octets)
    octets[written().records[18].offset :] = bytes(SIZE - written().records[18].offset)
    segment = opened(bytes(octets))
    found = scan(segment)
    check(segment, found, {18, 19})
    assert found.damage == ()


def test_a_batch_lost_from_the_middle_is_damage_though_it_reads_as_zeros() -> None:
    octets = bytearray(written().octets)
    first, end = written().records[3].offset, written().records[6].offset
    octets[first:end] = bytes(end - first)
    segment = opened(bytes(octets))
    found = scan(segment)
    check(segment, found, {3, 4, 5})
    (damage,) = found.damage
    assert (damage.offset, damage.length, damage.acknowledged) == (first, end - first, True)


def test_records_of_another_segment_never_match() -> None:
    foreign = bytearray(written().octets)
    foreign[8:24] = bytes(16)
    foreign[40:44] = struct.pack("<I", zlib.crc32(foreign[:40]))
    assert scan(opened(bytes(foreign))).records == ()


def test_a_scan_goes_on_where_the_last_one_ended() -> None:
    segment = opened(written().octets)
    middle = written().records[9].offset
    assert scan(segment, start=middle).records == written().records[9:]


def test_damage_below_an_announced_offset_is_to_acknowledged_mail() -> None:
    octets = bytearray(written().octets)
    last = written().records[19]
    octets[last.offset + 3] ^= 1
    found = scan(opened(bytes(octets)), last.end, bodies=False)
    assert found.records == written().records[:19]
    assert [damage.acknowledged for damage in found.damage] == [True]
