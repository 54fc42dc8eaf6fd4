"""A leased copy, opened: the same four things for a record and for a queue file (DURABILITY 3.2, 3.4).

    opened = open_copy(places, ref);  opened.envelope, opened.recipients, opened.parts();  opened.settle(id, state)

All crcs are checked before the first octet is handed out; what does not agree is `CorruptRecord` (see `set_aside`) or
`DamagedQueueFile` (see `hold_damaged`), and is never sent, bounced or deleted. `settle` comes before anything else is done with
replies: one pwrite for each recipient, or for all whose replies came together and whose slots are neighbours.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from posthouse.journal.adopt import set_record_aside
from posthouse.journal.body_file import BodyReference, check_parts, read_parts
from posthouse.journal.segment import CorruptRecord, Mark, RecordRef, Segment
from posthouse.mail.envelope import Envelope, Recipient, as_copy
from posthouse.relay.queue.copy_ref import CopyRef, FileCopy, JournalCopy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import OpenQueueFile
from posthouse.relay.queue.queue_format import State
from posthouse.relay.queue.record import envelope_of

MARK_OF = {State.TO_DO: Mark.OPEN, State.DONE: Mark.DONE, State.FAILED: Mark.FAILED}


class OpenCopy(Protocol):
    """What a job needs of a copy, wherever it stands."""

    @property
    def envelope(self) -> Envelope:
        """The envelope with this copy's sender; its recipients may be more than this copy's."""
        ...

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """The copy's recipients still to do when it was opened."""
        ...

    def narrow(self, ids: Collection[int]) -> None:
        """Leave out of `recipients` all others than these."""

    def parts(self) -> Iterator[bytes]:
        """The message in parts of at most 256 KiB, checked already."""
        ...

    def settle(self, recipient: int, state: State) -> None:
        """Write down what became of one recipient, at once."""
        ...

    def settle_all(self, recipients: Sequence[int], state: State) -> None:
        """Write down at once what became of recipients, where it is the same."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class OpenRecord:
    """A copy that stands in a record.

    Args:
        places: the folders.
        ref: where it stands.
        record: the record's header as the job controller has read it; without it, it is read here.
        still: ids of the recipients still to do, as the controller has booked them; without it, the marks are read.
    """

    def __init__(
        self, places: Places, ref: JournalCopy, record: RecordRef | None = None, still: Collection[int] | None = None
    ) -> None:
        self._segment: Segment = places.segment(ref.segment)
        self._disk = places.disk
        self._fd = -1
        self.record: RecordRef = record or self._segment.header(ref.offset)
        octets, self._body = self._segment.read(self.record)
        self.envelope: Envelope = envelope_of(self.record, octets)
        if still is None:
            marks = self._segment.marks(self.record.first_slot, self.record.slots)
            still = [number for number, mark in enumerate(marks) if not mark]
        self.recipients: tuple[Recipient, ...] = tuple(
            [each for each in self.envelope.recipients if each.copy == ref.copy and each.id in still]
        )
        if self.recipients and self.recipients[0].sender:
            self.envelope = as_copy(self.envelope, self.recipients[0].sender)
        self._reference = BodyReference.decode(self._body) if self.record.body_in_file else None
        if self._reference is not None:
            self._open_file(places, self._reference)

    def narrow(self, ids: Collection[int]) -> None:
        """Leave out of `recipients` all others than these."""
        self.recipients = tuple(each for each in self.recipients if each.id in ids)

    def parts(self) -> Iterator[bytes]:
        """The message."""
        if self._reference is not None:
            return read_parts(self._disk, self._fd, 0, self._reference.size)
        return iter((self._body,))

    def settle(self, recipient: int, state: State) -> None:
        """Set the recipient's mark."""
        self._segment.mark(self.record.first_slot + recipient, MARK_OF[state])

    def settle_all(self, recipients: Sequence[int], state: State) -> None:
        """Set the recipients' marks, those of neighbours together."""
        first, count = recipients[0], len(recipients)
        if [*recipients] == [*range(first, first + count)]:
            self._segment.mark_run(self.record.first_slot + first, count, MARK_OF[state])
            return
        for each in recipients:
            self.settle(each, state)

    def close(self) -> None:
        """Close the body file; the segment stays open for the next."""
        if self._fd >= 0:
            self._disk.close(self._fd)
            self._fd = -1

    def _open_file(self, places: Places, reference: BodyReference) -> None:
        try:
            self._fd = places.disk.open_file(reference.name, places.body)
        except (FileNotFoundError, ValueError):
            raise CorruptRecord(f"{self._segment.name}: body file {reference.name!r} is missing") from None
        try:
            check_parts(places.disk, self._fd, 0, reference.size, reference.crc)
        except BaseException:
            self.close()
            raise


def open_copy(
    places: Places, ref: CopyRef, record: RecordRef | None = None, still: Collection[int] | None = None
) -> OpenRecord | OpenQueueFile:
    """Open a leased copy; record and still as for `OpenRecord`.

    Raises:
        CorruptRecord: the record or its body file is not what was accepted.
        DamagedQueueFile: the queue file is not; the text is the reason.
        FileNotFoundError: it is gone: settled or moved by an operator.
        OSError: it cannot be read now.
    """
    if isinstance(ref, FileCopy):
        return OpenQueueFile.open(places.tree, ref)
    return OpenRecord(places, ref, record, still)


def set_aside(places: Places, ref: JournalCopy, slots: int, first_slot: int) -> str:
    """Keep a corrupt record's octets in `aside/` for a person, then mark its open slots V; the file's name.

    Args:
        places: the folders.
        ref: the record's place.
        slots: number of its slots, as the controller knows it: the record's own header may be what is damaged.
        first_slot: the first of them.
    """
    segment = places.segment(ref.segment)
    name = set_record_aside(places.disk, places.journal, segment, ref.offset)
    for number, octet in enumerate(segment.marks(first_slot, slots)):
        if not octet:
            segment.mark(first_slot + number, Mark.VOID)
    return name
