"""What waits: read at the relay's start (DURABILITY 3 Start).

* `recover` reads everything once: names of the queue tree, then segments. An open slot whose message id and copy number have
  a queue file anywhere gets M: the file beats the record. Segments whose writer lives are listed in `live` and left alone:
  the writer will announce them. Segments without an open slot are freed, damage goes to `aside/`.
* Killed anywhere and run again, the result is the same.
"""

import msgspec

from posthouse.journal.adopt import (
    adopt,
    keep_damage,
    remove_unfinished,
    segment_names,
    set_record_aside,
    set_segment_aside,
)
from posthouse.journal.scan import scan
from posthouse.journal.segment import CorruptRecord, Mark, RecordRef, Segment, Tier, UnreadableSegment
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.free import body_names, free_segment, remove_bodies
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.record import envelope_of
from posthouse.relay.queue.tree import Files

ARRIVING_SECONDS = 3600.0


class WaitingCopy(msgspec.Struct, frozen=True):
    """A copy that stands in the journal with a recipient to do."""

    ref: JournalCopy
    record: RecordRef
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    """those to do"""


class Recovered(msgspec.Struct):
    """What was found."""

    files: Files
    """queue files by name; read them when they are due"""
    copies: list[WaitingCopy] = []
    """copies in the journal"""
    segments: dict[str, list[RecordRef]] = {}
    """sealed segments that stay, with their good records: free them when all slots are settled"""
    live: list[str] = []
    """segments whose writer lives"""
    alarms: list[str] = []
    """what a person should look at, in words"""
    unreadable: bool = False
    """a segment was set aside whole: body files may belong to it"""


def copies_of(ref: RecordRef, envelope: Envelope, marks: bytes = b"") -> list[WaitingCopy]:
    """The record's copies with a recipient to do; without marks all are."""
    by_copy: dict[int, list[Recipient]] = {}
    for each in envelope.recipients:
        if not marks or not marks[each.id]:
            by_copy.setdefault(each.copy, []).append(each)
    return [
        WaitingCopy(JournalCopy(ref.segment, ref.offset, copy), ref, envelope, tuple(recipients))
        for copy, recipients in by_copy.items()
    ]


def recover(places: Places, now: float) -> Recovered:
    """Read everything. Only under `jobs.lock`.

    Args:
        places: the folders.
        now: Unix time in seconds; body files younger than an hour may be still arriving and stay.

    Raises:
        UnknownVersion: a segment of a newer version: refuse to start.
        OSError: the journal or the tree cannot be read.
    """
    bodies = _old_bodies(places, now)
    remove_unfinished(places.disk, places.journal)
    files = places.tree.files()
    files.remove_unfinished()
    found = Recovered(files)
    for name in segment_names(places.disk, places.journal):
        _adopt_segment(places, name, found)
    if not found.live and not found.unreadable:
        named = {each for name, records in found.segments.items() for each in body_names(places.segment(name), records)}
        remove_bodies(places, bodies - named)
    return found


def _adopt_segment(places: Places, name: str, found: Recovered) -> None:
    """Take over one segment if its writer is gone, and add what it holds to `found`."""
    disk, folder = places.disk, places.journal
    places.forget(name)
    try:
        segment = adopt(disk, folder, name, Tier.RELAY)
    except UnreadableSegment as error:
        set_segment_aside(disk, folder, name)
        found.alarms.append(f"{error}; the file is in aside/")
        found.unreadable = True
        return
    except FileNotFoundError:
        return
    if segment is None:
        found.live.append(name)
        return
    if segment.tier is not Tier.RELAY:
        segment.close()
        return
    places.keep(segment)
    result = scan(segment)
    for damage in result.damage:
        kept = keep_damage(disk, folder, segment, damage)
        what = "acknowledged mail is damaged" if damage.acknowledged else "a torn tail was kept"
        found.alarms.append(f"{name}: {what}: {damage.length} octets at {damage.offset}, copied to aside/{kept}")
        found.unreadable |= damage.acknowledged
    waiting, moved = 0, _Moved()
    for ref in result.records:
        waiting += _add_record(places, segment, ref, found, moved)
    moved.mark(places, segment)
    if waiting or not _free(places, segment, result.records, found):
        found.segments[name] = list(result.records)


class _Moved:
    """Open slots a queue file has, and where those files are."""

    def __init__(self) -> None:
        self.slots: list[int] = []
        self.folders: set[int] = set()

    def mark(self, places: Places, segment: Segment) -> None:
        """Mark them M, durably, and not before the files' names are durable: a killed job may have left that undone."""
        for folder in self.folders:
            places.disk.fsync_dir(folder)
        for slot in self.slots:
            segment.mark(slot, Mark.MOVED)
        if self.slots:
            segment.sync_marks()


def _add_record(places: Places, segment: Segment, ref: RecordRef, found: Recovered, moved: _Moved) -> int:
    """Add a good record's copies; the number of its slots that stay open."""
    marks = segment.marks(ref.first_slot, ref.slots)
    if 0 not in marks:
        return 0
    try:
        envelope = envelope_of(ref, segment.read_envelope(ref))
    except CorruptRecord as error:
        kept = set_record_aside(places.disk, places.journal, segment, ref.offset)
        found.alarms.append(f"{error}; copied to aside/{kept}")
        found.unreadable = True
        return ref.slots
    waiting = 0
    for copy in copies_of(ref, envelope, marks):
        file = found.files.find(envelope.id, copy.ref.copy)
        if file is not None:
            moved.folders.add(places.tree.of(file))
            moved.slots += (ref.first_slot + each.id for each in copy.recipients)
            continue
        waiting += len(copy.recipients)
        found.copies.append(copy)
    return waiting


def _free(places: Places, segment: Segment, records: tuple[RecordRef, ...], found: Recovered) -> bool:
    try:
        free_segment(places, segment.name, records)
    except OSError as error:
        found.alarms.append(f"{segment.name}: cannot be freed: {error}")
        return False
    return True


def _old_bodies(places: Places, now: float) -> set[str]:
    """Body files that existed an hour ago; asked before the segments are read, so that a record that names one is seen."""
    found = set()
    for name in places.disk.listdir(places.body):
        there = places.disk.stat(name, places.body)
        if there is not None and there.is_file and there.mtime_ns / 1e9 < now - ARRIVING_SECONDS:
            found.add(name)
    return found
