"""Finding what stands in a segment after whatever happened to it (DURABILITY 2, scan).

A record is good if its header's crc, its payload's crc, its lengths and its seq are: seq rises, by one where no gap is.
Behind a damaged record whose header is good the scan goes on at its end; else at the next multiple of 8 where a header of
this segment stands (batches begin on block boundaries, so none is missed). Good records after a gap count.

A gap that begins below the `synced` of a later good record was durable once: it is damage. Any other gap is a torn tail.
Gaps of zeros only are no gaps. No exception for any content; OSError when the segment cannot be read.
"""

import zlib
from dataclasses import dataclass

from posthouse.journal.segment import (
    HEADER_LENGTH,
    RECORD_MAGIC,
    RECORDS_AT,
    CorruptRecord,
    Flag,
    RecordRef,
    Segment,
    decode_record_header,
    next_block,
)

_LAST = Flag.LAST.value
_STEP = 1 << 20
_WINDOW = 1 << 15
_ZEROS = bytes(_STEP + HEADER_LENGTH)


@dataclass(frozen=True, slots=True)
class Damage:
    """Octets of a segment that are no good record."""

    offset: int
    length: int
    acknowledged: bool
    """they were durable once: acknowledged mail may have been there. False: a torn tail"""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a segment holds."""

    records: tuple[RecordRef, ...]
    """good ones, in order"""
    damage: tuple[Damage, ...]
    end: int
    """block boundary behind the last good record: where an appending writer would go on"""


def scan(segment: Segment, upto: int | None = None, start: int = RECORDS_AT, *, bodies: bool = True) -> Scan:
    """Read a segment from `start`, a batch's beginning, up to an offset or its end.

    Args:
        segment: the segment.
        upto: records that begin at or behind it are not looked at.
        start: where to begin.
        bodies: False checks the envelopes only and does not read the bodies: for an announced `upto`; all below it was
            durable, so any damage there is to acknowledged mail.
    """
    limit = min(upto if upto is not None else segment.size, segment.disk.fstat(segment.fd).size)
    records: list[RecordRef] = []
    gaps: list[tuple[int, int]] = []
    offset, gap, seq, stop = start, -1, 0, limit
    looked = not bodies
    while offset < stop:
        ref = _good_header(segment, offset, limit, seq)
        if ref is None:
            after_last = bool(records) and gap < 0 and records[-1].flags & 1
            following = next_block(offset) if after_last else offset
            if following != offset:
                ref = _good_header(segment, following, limit, seq)
                offset = following
        if ref is None:
            if not looked:  # nearly always zeros are all that follows: they are read once
                looked, stop = True, offset + _used(segment, offset, limit)
            gap = offset if gap < 0 else gap
            offset = next_header(segment, offset + 8, stop)
            continue
        seq = ref.seq
        if not _good_payload(segment, ref, bodies=bodies):
            gap = offset if gap < 0 else gap
            offset = ref.end
            continue
        if gap >= 0:
            gaps.append((gap, offset))
            gap = -1
        records.append(ref)
        offset = ref.end
    if gap >= 0:
        gaps.append((gap, stop))
    end = next_block(records[-1].end) if records else start
    known = limit if upto is not None and not bodies else max((ref.synced for ref in records), default=0)
    return Scan(tuple(records), _judge(segment, gaps, known), end)


def read_announced(segment: Segment, start: int, upto: int) -> list[tuple[RecordRef, bytes]] | None:
    """The records between two offsets and their envelopes, read in few large pieces; None: `scan` has to look closely.

    Args:
        segment: the segment; its writer lives.
        start: a batch's beginning.
        upto: the announced offset: all below it is durable.
    """
    found: list[tuple[RecordRef, bytes]] = []
    offset, seq = start, 0
    window, base = b"", start
    while offset < upto:
        at = offset - base
        if at + HEADER_LENGTH > len(window):
            window, base, at = segment.disk.pread(segment.fd, min(_WINDOW, upto - offset), offset), offset, 0
        ref = None
        if at + HEADER_LENGTH <= len(window):
            ref = decode_record_header(segment.name, segment.seed, window, at, offset)
        if ref is None or ref.seq <= seq or ref.end > next_block(upto):
            return None
        begin = at + HEADER_LENGTH
        end = begin + ref.envelope_length
        envelope = (
            window[begin:end]
            if end <= len(window)
            else segment.disk.pread(segment.fd, ref.envelope_length, offset + HEADER_LENGTH)
        )
        if len(envelope) != ref.envelope_length or zlib.crc32(envelope, segment.seed) != ref.envelope_crc:
            return None
        found.append((ref, envelope))
        seq = ref.seq
        offset = next_block(ref.end) if ref.flags & _LAST else ref.end
    return found


def _good_header(segment: Segment, offset: int, limit: int, seq: int) -> RecordRef | None:
    try:
        ref = segment.header(offset)
    except CorruptRecord:
        return None
    return ref if ref.seq > seq and ref.end <= next_block(limit) else None


def _good_payload(segment: Segment, ref: RecordRef, *, bodies: bool) -> bool:
    try:
        if bodies:
            segment.read(ref)
        else:
            segment.read_envelope(ref)
    except CorruptRecord:
        return False
    return True


def next_header(segment: Segment, offset: int, limit: int) -> int:
    """The first place at or behind the offset where a header of this segment stands, or the limit."""
    while offset < limit:
        octets = segment.disk.pread(segment.fd, min(_STEP, limit - offset) + HEADER_LENGTH, offset)
        at = -1 if _is_empty(octets) else octets.find(RECORD_MAGIC)
        while 0 <= at <= min(_STEP, len(octets) - HEADER_LENGTH):
            if (offset + at) % 8 == 0 and decode_record_header(segment.name, segment.seed, octets, at, offset + at):
                return min(offset + at, limit)
            at = octets.find(RECORD_MAGIC, at + 1)
        offset += _STEP
    return limit


def _judge(segment: Segment, gaps: list[tuple[int, int]], synced: int) -> tuple[Damage, ...]:
    """The gaps that hold anything but zeros, or that are known to have been full."""
    found = []
    for begin, end in gaps:
        acknowledged = begin < synced
        length = _used(segment, begin, end)
        if length or (acknowledged and end - begin):
            found.append(Damage(begin, length or end - begin, acknowledged))
    return tuple(found)


def _used(segment: Segment, begin: int, end: int) -> int:
    """Octets up to the last one that is not zero."""
    length = 0
    for offset in range(begin, end, _STEP):
        octets = segment.disk.pread(segment.fd, min(_STEP, end - offset), offset)
        length = length if _is_empty(octets) else offset - begin + len(octets.rstrip(b"\0"))
    return length


def _is_empty(octets: bytes) -> bool:
    """Whether all are zero. One comparison: searching the unused rest of a segment octet by octet takes 0.1 s of CPU."""
    return octets == _ZEROS[: len(octets)]
