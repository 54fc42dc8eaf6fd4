"""Freeing what is settled: a segment without an open slot, and the body files it named (DURABILITY 3.5).

The caller is the controller; it knows that the segment has no writer and none of its copies a lease.
"""

import contextlib
from collections.abc import Iterable

from posthouse.journal.body_file import BodyReference
from posthouse.journal.segment import CorruptRecord, RecordRef, Segment
from posthouse.relay.queue.places import Places


def free_segment(places: Places, name: str, records: Iterable[RecordRef]) -> None:
    """Make the marks durable, take the segment's name away and close it, then remove its body files.

    The missing name itself need not be durable: a segment that is back has no open slot.

    Raises:
        OSError: the marks may not be durable; the segment stays, try again.
    """
    segment = places.segment(name)
    bodies = body_names(segment, records)
    try:
        segment.sync_marks()
    except OSError:
        segment.rewrite_marks()  # or the next sync would have nothing to write and believe itself
        raise
    places.disk.unlink(name, places.journal)
    places.forget(name)
    remove_bodies(places, bodies)


def body_names(segment: Segment, records: Iterable[RecordRef]) -> list[str]:
    """The body files the records name."""
    found = []
    for ref in records:
        if ref.body_in_file:
            with contextlib.suppress(CorruptRecord):
                found.append(BodyReference.decode(segment.read_body(ref)).name)
    return found


def remove_bodies(places: Places, names: Iterable[str]) -> None:
    """Remove body files; only after a successful sync of the marks that settle them."""
    for name in names:
        with contextlib.suppress(FileNotFoundError, ValueError):
            places.disk.unlink(name, places.body)
