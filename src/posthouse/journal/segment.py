"""One segment file of the journal: its layout, and reading and marking it (DURABILITY 2).

Little endian. A segment has one writer in its life (`posthouse.journal.commit`); this module reads it, sets marks and the
checkpoint, and never touches a block of records.

    block 0       header: PHJ1, version, tier, 16 random octets of id, size, slots, crc32
    block 1       checkpoint (store): u64 offset, crc32; unreadable = 0 = replay everything
    blocks 2-17   marks: one octet for each recipient slot
    block 18...   batches, each beginning on a 4 KiB boundary; records in them begin on multiples of 8

    record        64 octets of header, envelope, body, zeros up to a multiple of 8
    its header    magic, crc32 of the rest of the header, seq, flags, kind, first slot, slots, envelope length, body
                  length, crc32 of the envelope, crc32 of envelope and body, synced, time in ms

All crcs are seeded with the segment's id, so that nothing older or foreign can match. A body over 256 KiB is a file of its
own: the flag BODY_FILE says that the record's body is a reference (`posthouse.journal.body_file`).
An unreadable header is `UnreadableSegment` (set the file aside); an unknown version is `UnknownVersion` (do not start).
"""

import errno
import struct
import zlib
from enum import Enum, IntEnum, IntFlag
from typing import Self

import msgspec

from posthouse.journal.disk import Disk, Octets

BLOCK = 4096
CHECKPOINT_AT = BLOCK
MARKS_AT = 2 * BLOCK
SLOTS = 16 * BLOCK
RECORDS_AT = 18 * BLOCK
SEGMENT_SIZE = 32 << 20
VERSION = 1
SUFFIX = ".seg"

_HEAD = struct.Struct("<4sHBx16sQII")
_CHECKPOINT = struct.Struct("<QI")
_CRC = struct.Struct("<I")
RECORD_HEADER = struct.Struct("<4sIQHHIIIIIIQQ4x")
RECORD_BEGINNING = struct.Struct("<4sI")
RECORD_REST = struct.Struct("<QHHIIIIIIQQ4x")
HEADER_LENGTH = RECORD_HEADER.size
HEAD_MAGIC = b"PHJ1"
RECORD_MAGIC = b"\x89PhR"


class Tier(IntEnum):
    """Whose segment it is."""

    RELAY = 1
    STORE = 2


class Flag(IntFlag):
    """Flags of a record."""

    LAST = 1
    """last record of its batch"""
    BODY_FILE = 2
    """the body is a reference to a body file"""


_BODY_FILE = Flag.BODY_FILE.value  # a flag of its own class costs 2 us to compare


class Mark(Enum):
    """State of one recipient slot."""

    OPEN = 0
    DONE = ord("D")
    FAILED = ord("F")
    """failed for good and its notice is durable"""
    MOVED = ord("M")
    """a queue file has it"""
    VOID = ord("V")
    """answered 4xx: it was never accepted"""


_SETTLING = bytes(mark.value for mark in Mark if mark is not Mark.OPEN)
_NORMAL = bytes(octet if octet in _SETTLING else 0 for octet in range(256))


class RecordRef(msgspec.Struct, frozen=True, array_like=True):
    """Where one record stands; enough to read and to mark it."""

    segment: str
    """file name of the segment"""
    offset: int
    seq: int
    kind: int
    """what the writer of the record says it is; the journal does not look at it"""
    flags: int
    first_slot: int
    slots: int
    """number of recipients; their slots are first_slot, first_slot + 1, ..."""
    envelope_length: int
    body_length: int
    envelope_crc: int
    crc: int
    synced: int
    """offset below which everything was synced when this record was written"""
    time: int
    """Unix time in milliseconds"""

    @property
    def end(self) -> int:
        """Offset of the first octet behind the record, a multiple of 8."""
        return self.offset + record_length(self.envelope_length + self.body_length)

    @property
    def body_in_file(self) -> bool:
        """Whether the body is a reference to a body file."""
        return bool(self.flags & _BODY_FILE)


class JournalError(Exception):
    """Something in the journal is not as it must be."""


class UnreadableSegment(JournalError):  # noqa: N818 - says what was found
    """The segment's header is damaged: the file is to be set aside."""


class UnknownVersion(JournalError):  # noqa: N818 - says what was found
    """The segment was written by a newer version: the start is to be refused."""


class CorruptRecord(JournalError):  # noqa: N818 - says what was found
    """The octets at the offset are no intact record of this segment."""


def record_length(payload: int) -> int:
    """Octets a record with so many octets of envelope and body takes."""
    return HEADER_LENGTH + ((payload + 7) & ~7)


def next_block(offset: int) -> int:
    """The first block boundary at or behind the offset."""
    return (offset + BLOCK - 1) & ~(BLOCK - 1)


def encode_head(tier: Tier, identity: bytes, size: int) -> bytes:
    """Block 0 of a new segment."""
    head = _HEAD.pack(HEAD_MAGIC, VERSION, tier, identity, size, SLOTS, RECORDS_AT)
    return (head + _CRC.pack(zlib.crc32(head))).ljust(BLOCK, b"\0")


def decode_record_header(segment: str, seed: int, octets: Octets, at: int, offset: int) -> RecordRef | None:
    """The record whose header stands at `at` in the octets and at `offset` in the segment; None when it is none."""
    magic, header_crc, *fields = RECORD_HEADER.unpack_from(octets, at)
    if magic != RECORD_MAGIC or zlib.crc32(octets[at + 8 : at + HEADER_LENGTH], seed) != header_crc:
        return None
    seq, flags, kind, first_slot, slots, envelope_length, body_length, envelope_crc, crc, synced, time = fields
    return RecordRef(
        segment, offset, seq, kind, flags, first_slot, slots, envelope_length, body_length, envelope_crc, crc, synced, time
    )


class Segment:
    """An open segment, for reading and for marks. Made by `Segment.open`; the writer keeps a descriptor of its own."""

    def __init__(self, disk: Disk, fd: int, name: str, head: bytes) -> None:
        magic, version, tier, identity, size, slots, start = _HEAD.unpack_from(head)
        if magic != HEAD_MAGIC or zlib.crc32(head[: _HEAD.size]) != _CRC.unpack_from(head, _HEAD.size)[0]:
            raise UnreadableSegment(f"{name}: no readable header")
        if version != VERSION or slots != SLOTS or start != RECORDS_AT or tier not in set(Tier):
            raise UnknownVersion(f"{name}: version {version} is not known here")
        self.disk = disk
        self.fd = fd
        self.name = name
        self.id: bytes = identity
        self.seed = zlib.crc32(identity)
        self.size: int = size
        self.tier = Tier(tier)

    @classmethod
    def open(cls, disk: Disk, folder: int, name: str, *, write: bool = False) -> Self:
        """Open a segment, with `write` to set marks and the checkpoint too.

        Raises:
            UnreadableSegment: the header is damaged.
            UnknownVersion: another version wrote it.
            OSError: it cannot be opened or read.
        """
        fd = disk.open_file(name, folder, write=write)
        try:
            head = disk.pread(fd, BLOCK, 0)
            if len(head) < BLOCK:
                raise UnreadableSegment(f"{name}: shorter than its header")
            return cls(disk, fd, name, head)
        except BaseException:
            disk.close(fd)
            raise

    def close(self) -> None:
        """Close the descriptor (and so give up a lock taken on it). What still has this object hits no other file."""
        fd, self.fd = self.fd, -1
        self.disk.close(fd)

    def header(self, offset: int) -> RecordRef:
        """The record that begins at the offset; its envelope and body are not looked at.

        Raises:
            CorruptRecord: none begins there.
        """
        octets = self.disk.pread(self.fd, HEADER_LENGTH, offset)
        ref = decode_record_header(self.name, self.seed, octets, 0, offset) if len(octets) == HEADER_LENGTH else None
        if ref is None:
            raise CorruptRecord(f"{self.name}: no record at {offset}")
        return ref

    def read_envelope(self, ref: RecordRef) -> bytes:
        """The record's envelope, its own crc checked; the body is not read.

        Raises:
            CorruptRecord: the octets are not those that were written.
        """
        envelope = self.disk.pread(self.fd, ref.envelope_length, ref.offset + HEADER_LENGTH)
        if len(envelope) != ref.envelope_length or zlib.crc32(envelope, self.seed) != ref.envelope_crc:
            raise CorruptRecord(f"{self.name}: damaged envelope at {ref.offset}")
        return envelope

    def read(self, ref: RecordRef) -> tuple[bytes, bytes]:
        """Envelope and body of the record, both crcs checked.

        Raises:
            CorruptRecord: the octets are not those that were written.
        """
        payload = self.disk.pread(self.fd, ref.envelope_length + ref.body_length, ref.offset + HEADER_LENGTH)
        if len(payload) != ref.envelope_length + ref.body_length or zlib.crc32(payload, self.seed) != ref.crc:
            raise CorruptRecord(f"{self.name}: damaged record at {ref.offset}")
        return payload[: ref.envelope_length], payload[ref.envelope_length :]

    def read_body(self, ref: RecordRef) -> bytes:
        """The record's body, checked together with its envelope; see `read`."""
        return self.read(ref)[1]

    def marks(self, first: int = 0, count: int = SLOTS) -> bytes:
        """The marks of the slots as octets; what is no mark reads as 0 (open)."""
        return self.disk.pread(self.fd, count, MARKS_AT + first).ljust(count, b"\0").translate(_NORMAL)

    def mark(self, slot: int, mark: Mark) -> None:
        """Set one slot's mark at once. Durable after `sync_marks`; readable by every process now."""
        self.disk.pwrite(self.fd, bytes((mark.value,)), MARKS_AT + slot)

    def mark_run(self, first: int, count: int, mark: Mark) -> None:
        """Set the marks of neighbouring slots, as `mark` does.

        Raises:
            OSError: not all of them may be set.
        """
        if self.disk.pwrite(self.fd, bytes((mark.value,)) * count, MARKS_AT + first) != count:
            raise OSError(errno.EIO, f"{self.name}: marks were written in part")

    def sync_marks(self) -> None:
        """Make marks durable.

        Raises:
            OSError: they may be lost. Call `rewrite_marks` before the next try, or it would succeed without writing anything.
        """
        self.disk.fdatasync(self.fd)

    def rewrite_marks(self) -> None:
        """Write all marks over themselves, so that the next sync has something to write again."""
        self.disk.pwrite(self.fd, self.disk.pread(self.fd, SLOTS, MARKS_AT), MARKS_AT)

    def checkpoint(self) -> int:
        """Offset below which everything is known to be placed (store); 0 when nothing is or the block cannot be read."""
        octets = self.disk.pread(self.fd, _CHECKPOINT.size, CHECKPOINT_AT)
        if len(octets) < _CHECKPOINT.size:
            return 0
        offset, crc = _CHECKPOINT.unpack(octets)
        return offset if zlib.crc32(octets[:8], self.seed) == crc else 0

    def set_checkpoint(self, offset: int) -> None:
        """Write the checkpoint and make it durable.

        Raises:
            OSError: it may not be; the former one or none counts.
        """
        octets = struct.pack("<Q", offset)
        self.disk.pwrite(self.fd, octets + _CRC.pack(zlib.crc32(octets, self.seed)), CHECKPOINT_AT)
        self.disk.fdatasync(self.fd)
