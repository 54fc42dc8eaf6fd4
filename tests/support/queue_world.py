"""A relay's queue folders on any disk, and messages to put there."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from posthouse.journal.adopt import open_folder
from posthouse.journal.body_file import BodyReference
from posthouse.journal.commit import Committer, Item, NewSegment, SegmentMaker
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.journal.segment import BLOCK, RECORDS_AT, Flag, RecordRef, Segment, Tier, next_block
from posthouse.mail.envelope import Envelope, Recipient, encode_envelope
from posthouse.mail.message_id import base36
from posthouse.relay.queue.copy_ref import FileCopy, JournalCopy
from posthouse.relay.queue.move_out import Moving, move_out
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.record import envelope_of

KERNEL = (6, 1)
SEGMENT = RECORDS_AT + 64 * BLOCK


def message_id(number: int) -> str:
    """A valid message id."""
    return "0TEST0" + base36(number, 12)


def message(number: int, copies: Sequence[int] = (0,), size: int = 0, channel: str = "tcp_lmtpcs") -> Envelope:
    """An envelope with one recipient for each number of a copy."""
    recipients = tuple([
        Recipient(
            at, copy, channel, f"@store{copy}.example.com:user{at}@lmtpcs-daemon", f"user{at}@example.com", f"store{copy}",
            intermediate=f"user{at}@example.com",
        )
        for at, copy in enumerate(copies)
    ])  # fmt: skip
    source = "client [192.0.2.1]"
    return Envelope(message_id(number), "sender@example.com", "tcp_local", source, 1_700_000_000_000, size, recipients)


def make_folders(disk: Disk, root: int) -> None:
    """`journal` and `queue` below an open folder, durable."""
    for name in ("journal", "queue"):
        disk.close(open_folder(disk, name, root))
    disk.fsync_dir(root)


def body_of(number: int, size: int) -> bytes:
    """A body that is recognised by its octets."""
    line = b"message %08d of the test, and nothing else\r\n" % number
    return (line * (size // len(line) + 1))[: size - 2] + b"\r\n"


class Accepting:
    """A journal writer without threads: what it returns is durable."""

    def __init__(self, disk: Disk, journal: int, size: int = SEGMENT, maker: type[SegmentMaker] = SegmentMaker) -> None:
        self._disk = disk
        self.maker = maker(disk, journal, Tier.RELAY, "test", size)
        self.sealed: list[NewSegment] = []
        self.committer = Committer(disk, self.maker.make, self._seal, lambda: 1_700_000_000.0)

    def _seal(self, segment: NewSegment) -> None:
        self._disk.close(segment.fd)
        self.sealed.append(segment)

    def accept(self, messages: Sequence[tuple[Envelope, bytes | BodyReference]]) -> list[RecordRef]:
        """One batch; raises what its sync raised."""
        items = []
        for envelope, body in messages:
            octets = encode_envelope(envelope)
            raw = body.encode() if isinstance(body, BodyReference) else body
            flags = Flag.BODY_FILE.value if isinstance(body, BodyReference) else 0
            items.append(Item(None, octets, (raw,), len(envelope.recipients), len(octets) + len(raw), 0, flags))
        done = self.committer.commit(items)
        for each in done:
            if each.error is not None:
                raise each.error
        return [each.record for each in done if each.record is not None]

    def end(self) -> None:
        """As a clean end of the process."""
        self.committer.seal()


def open_places(disk: Disk, root: str) -> Places:
    """The folders opened as a process does."""
    return Places(disk, root + "/journal", root + "/queue", kernel=KERNEL)


@contextlib.contextmanager
def empty_places(disk: Disk, folder: Path) -> Iterator[Places]:
    """A relay's queue made in the folder, opened; closed at the end."""
    root = disk.open_dir(str(folder))
    make_folders(disk, root)
    disk.close(root)
    opened = open_places(disk, str(folder))
    yield opened
    opened.close()


def is_settled(segment: Segment, records: Iterable[RecordRef]) -> bool:
    """Whether no slot of the records is open."""
    marks = segment.marks()
    return not any(0 in marks[ref.first_slot : ref.first_slot + ref.slots] for ref in records)


def again(places: Places, folder: Path) -> Places:
    """The same folders opened anew, as by a process that has just started."""
    places.close()
    places.__dict__.update(open_places(LinuxDisk(), str(folder)).__dict__)
    return places


def read(copy: OpenCopy) -> bytes:
    """The whole message."""
    return b"".join(copy.parts())


def file_one(places: Places, number: int = 1, **options: object) -> FileCopy:
    """One copy of a message with two recipients, moved out to its queue file."""
    accepting = Accepting(places.disk, places.journal)
    body = body_of(number, 500)
    (ref,) = accepting.accept([(message(number, (0, 0, 1), len(body)), body)])
    accepting.end()
    result = move_out(places, [Moving(JournalCopy(ref.segment, ref.offset, 0), "tcp_lmtpcs", **options)])  # type: ignore[arg-type]
    ((_, copy),) = result.moved
    assert not result.unsynced
    return copy


def read_segment(segment: Segment, start: int, upto: int) -> tuple[list[tuple[RecordRef, Envelope]], int]:
    """Records between two offsets that were announced, with their envelopes, and where to go on."""
    offset = next_block(max(start, RECORDS_AT))
    found: list[tuple[RecordRef, Envelope]] = []
    while offset < upto:
        ref = segment.header(offset)
        found.append((ref, envelope_of(ref, segment.read_envelope(ref))))
        offset = next_block(ref.end) if ref.flags & 1 else ref.end
    return found, offset
