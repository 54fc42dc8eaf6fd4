"""The segments of the relay's journal as the controller knows them: how far they may be read, how many slots are open.

* Records are read only below the announced offset while their writer lives; when its lock is free, to the end of the segment,
  each record checked whole (DURABILITY 3.1, 3.2, 4.8). Damage is set aside and reported, never an exception.
* Slots are counted down as recipients are settled. A segment whose writer is gone and whose slots are all settled is freed:
  marks durable, then unlinked (3.5), then the folder is synced. Its body files go after that.
* Marks set by workers become durable once a second (`sync`, in a thread). After a failed sync the marks are written
  again before the next try, so that it cannot succeed without them.

Used from the event loop's thread but for `sync`.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from posthouse.journal.adopt import keep_damage, set_segment_aside
from posthouse.journal.body_file import BodyReference
from posthouse.journal.disk import Disk
from posthouse.journal.scan import read_announced, scan
from posthouse.journal.segment import (
    RECORDS_AT,
    Flag,
    JournalError,
    Mark,
    RecordRef,
    Segment,
    Tier,
    UnreadableSegment,
    next_block,
)
from posthouse.mail.envelope import Envelope, decode_envelope

_BODY_FILE = Flag.BODY_FILE.value
_log = logging.getLogger("posthouse")


class NewRecord(NamedTuple):
    """A record that has become readable, and which of its recipients are open."""

    record: RecordRef
    envelope: Envelope
    open: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Book:
    """What is known of one segment."""

    segment: Segment
    known: int = RECORDS_AT
    """records below this offset have been read"""
    open: int = 0
    """open slots among them"""
    writer: object = None
    """the connection that announces it; None when none does"""
    complete: bool = False
    """its writer is gone and it has been read to the end"""
    dirty: bool = False
    """marks were set since the last sync"""
    bodies: list[str] = field(default_factory=list)
    """body files its records name"""


class Ledger:
    """All segments.

    Args:
        disk: the disk.
        folder: descriptor of data/journal.
        alarm: told in words of damage and of syncs that failed.
    """

    def __init__(self, disk: Disk, folder: int, alarm: Callable[[str], None]) -> None:
        self._disk = disk
        self._folder = folder
        self._alarm = alarm
        self._books: dict[str, Book] = {}
        self._foreign: set[str] = set()
        """segments of the store's, where both tiers keep their journals in one folder"""

    def __len__(self) -> int:
        return len(self._books)

    def get(self, name: str) -> Book | None:
        """What is known of a segment, None when it is freed or unknown."""
        return self._books.get(name)

    def synced(self, writer: object, name: str, offset: int) -> list[NewRecord]:
        """A living writer says how far its segment is durable: the records that are new.

        Another segment than before of the same writer seals that one: its records come too.
        """
        book = self._books.get(name)
        found: list[NewRecord] = []
        if book is None:
            for other in [each for each in self._books.values() if each.writer is writer]:
                other.writer = None
                found += self.adopt(other)
            book = self._open(name)
            if book is None:
                return found
        book.writer = writer
        if offset > book.known and not book.complete:
            found += self._read(book, offset)
        return found

    def writer_gone(self, writer: object) -> list[NewRecord]:
        """A writer's connection has closed: what it acknowledged and did not announce."""
        found = []
        for book in tuple(self._books.values()):
            if book.writer is writer:
                book.writer = None
                found += self.adopt(book)
        return found

    def orphans(self) -> list[NewRecord]:
        """Look again at segments that are not complete, and at files in the folder nobody told us of.

        A writer gives up a segment's lock when it seals it. Where no room is left for its next segment it announces nothing
        more, and only this look lets the full one be freed.
        """
        found = []
        names = self._disk.listdir(self._folder)
        self._foreign.intersection_update(names)
        for name in names:
            if name.endswith(".seg") and name not in self._books and name not in self._foreign:
                self._open(name)
        for book in tuple(self._books.values()):
            if not book.complete:
                found += self.adopt(book)
        return found

    def adopt(self, book: Book) -> list[NewRecord]:
        """Read a segment to its end if its writer has given up the lock."""
        if book.complete or not self._disk.flock(book.segment.fd):
            return []
        if not self._disk.fstat(book.segment.fd).links:  # made ahead and never used: its writer has removed it
            del self._books[book.segment.name]
            book.segment.close()
            return []
        book.complete = True
        return self._read(book, None)

    def _open(self, name: str) -> Book | None:
        try:
            segment = Segment.open(self._disk, self._folder, name, write=True)
        except FileNotFoundError:
            return None
        except UnreadableSegment as fault:
            self._alarm(f"{fault}: set aside in journal/aside")
            set_segment_aside(self._disk, self._folder, name)
            return None
        except (JournalError, OSError) as fault:
            self._alarm(f"{name}: {fault}")
            return None
        if segment.tier is not Tier.RELAY:
            segment.close()
            self._foreign.add(name)
            return None
        book = self._books[name] = Book(segment)
        return book

    def _read(self, book: Book, upto: int | None) -> list[NewRecord]:
        segment = book.segment
        try:
            announced = read_announced(segment, book.known, upto) if upto is not None else None
            if announced:
                return self._take_all(book, announced)
            result = scan(segment, upto, book.known, bodies=upto is None)
        except OSError as fault:
            self._alarm(f"{segment.name}: {fault}")
            book.complete = False
            return []
        for damage in result.damage:
            name = keep_damage(self._disk, self._folder, segment, damage)
            words = "damage in acknowledged records" if damage.acknowledged else "a torn tail"
            (self._alarm if damage.acknowledged else _log.info)(f"{segment.name}: {words}, kept in journal/aside/{name}")
        found = []
        for ref in result.records:
            try:
                found.append(self._take(book, ref, segment.read_envelope(ref), segment.marks(ref.first_slot, ref.slots)))
            except (msgspec.DecodeError, JournalError) as fault:
                self._complain(book, ref, fault)
        book.known = result.end  # a batch's beginning; what was announced ends where its last record does
        return found

    def _take_all(self, book: Book, announced: list[tuple[RecordRef, bytes]]) -> list[NewRecord]:
        """Records that follow each other without a fault."""
        found = []
        first, last = announced[0][0].first_slot, announced[-1][0]
        marks = book.segment.marks(first, last.first_slot + last.slots - first)
        for ref, envelope in announced:
            begin = ref.first_slot - first
            try:
                found.append(self._take(book, ref, envelope, marks[begin : begin + ref.slots]))
            except (msgspec.DecodeError, JournalError) as fault:
                self._complain(book, ref, fault)
        book.known = next_block(last.end)
        return found

    def _complain(self, book: Book, ref: RecordRef, fault: Exception) -> None:
        self._alarm(f"{book.segment.name}: record at {ref.offset}: {fault}")
        book.open += 1  # keeps the segment for a person

    def _take(self, book: Book, ref: RecordRef, octets: bytes, marks: bytes) -> NewRecord:
        envelope = decode_envelope(octets)
        if ref.flags & _BODY_FILE:
            book.bodies.append(BodyReference.decode(book.segment.read_body(ref)).name)
        still = tuple([place for place, mark in enumerate(marks) if not mark])
        book.open += len(still)
        return NewRecord(ref, envelope, still)

    def settled(self, name: str, count: int) -> None:
        """So many slots of the segment were marked by a worker."""
        book = self._books.get(name)
        if book is not None and count:
            book.open -= count
            book.dirty = True

    def reread(self, ref: RecordRef, open_ids: Iterable[int]) -> tuple[int, ...]:
        """After a worker was lost: those of the recipients it had that are still open. The others are counted as settled."""
        book = self._books.get(ref.segment)
        ids = tuple(open_ids)
        if book is None:
            return ()
        marks = book.segment.marks(ref.first_slot, ref.slots)
        still = tuple(key for key in ids if not marks[key])
        self.settled(ref.segment, len(ids) - len(still))
        return still

    def mark(self, ref: RecordRef, ids: Iterable[int], mark: Mark) -> None:
        """Set marks from here."""
        book = self._books.get(ref.segment)
        if book is not None:
            done = tuple(ids)
            for key in done:
                book.segment.mark(ref.first_slot + key, mark)
            self.settled(ref.segment, len(done))

    def to_sync(self) -> list[Book]:
        """Segments with marks to be made durable, and those to be freed; hand them to `sync` in a thread."""
        out = [book for book in self._books.values() if book.dirty or (book.complete and not book.open)]
        for book in out:
            book.dirty = False
        return out

    @staticmethod
    def sync(books: list[Book]) -> list[tuple[Book, OSError | None]]:
        """Make marks durable. Runs in a thread; hand the result to `synced_marks`."""
        done: list[tuple[Book, OSError | None]] = []
        for book in books:
            try:
                book.segment.sync_marks()
                done.append((book, None))
            except OSError as error:
                done.append((book, error))
        return done

    def synced_marks(self, done: list[tuple[Book, OSError | None]]) -> list[str]:
        """Take the result of `sync`: free what can be freed. Returns the body files nobody names any more."""
        bodies: list[str] = []
        freed = False
        for book, error in done:
            if error is not None:
                self._alarm(f"{book.segment.name}: marks are not durable: {error}")
                book.dirty = True
                book.segment.rewrite_marks()
            elif book.complete and book.open <= 0 and not book.dirty:
                with contextlib.suppress(FileNotFoundError):  # its writer removes one that was never used
                    self._disk.unlink(book.segment.name, self._folder)
                book.segment.close()
                del self._books[book.segment.name]
                bodies += book.bodies
                freed = True
        if freed:
            self._disk.fsync_dir(self._folder)
        return bodies

    def close(self) -> None:
        """Make the last marks durable and close everything."""
        for book in self._books.values():
            if book.dirty:
                book.segment.sync_marks()
            book.segment.close()
        self._books.clear()
