"""Moving copies from the journal into queue files (DURABILITY 3.3).

The order is the contract:

    a. `.tmp-*` with the copy's open recipients   b. barrier   c. rename   d. barrier   e. marks M   f. sync of the segments

Only then may the file be leased. Whatever fails before e leaves the copy in the journal, to be tried again from there, and no
queue file (best effort; one that stays has all it needs, and at the next start the file beats the record). When f fails the
copies are files and stay files: `MovedOut.unsynced` names the segments to sync before their files are leased.
Blocks for two barriers: in a job, in batches, never in the controller's loop. The caller has the copies' leases.
"""

import contextlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from posthouse.journal.disk import Octets
from posthouse.journal.segment import CorruptRecord, Mark
from posthouse.relay.queue import names
from posthouse.relay.queue.copy_ref import FileCopy, JournalCopy
from posthouse.relay.queue.open_copy import OpenRecord
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_format import Attempt, encode_head, encode_held, encode_history, new_boundary


@dataclass(frozen=True, slots=True)
class Moving:
    """One copy to be moved out."""

    ref: JournalCopy
    channel: str
    subdirs: int = 0
    """`subdirs` of the channel, 0 for none"""
    attempts: int = 0
    """made so far: the file begins with that prefix"""
    held: bool = False
    history: tuple[Attempt, ...] = ()
    why: str = ""
    """why it is held"""


@dataclass(slots=True)
class MovedOut:
    """What became of a batch."""

    moved: list[tuple[Moving, FileCopy]] = field(default_factory=list)
    failed: list[tuple[Moving, OSError | CorruptRecord]] = field(default_factory=list)
    """they stay in the journal; CorruptRecord: they cannot be read"""
    settled: list[Moving] = field(default_factory=list)
    """nothing of them was left to do"""
    unsynced: set[str] = field(default_factory=set)
    """segments whose marks M may not be durable: `sync_marks` before the files are leased"""


@dataclass(slots=True)
class _Written:
    """One file between a and e."""

    moving: Moving
    ref: FileCopy
    tmp: str
    folder: int
    fd: int
    segment: str
    slots: list[int]


class MoveOut:
    """Moves batches. A class, so that a test can leave out one step and see that it is missed."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def run(self, batch: Sequence[Moving]) -> MovedOut:
        """Move a batch of leased copies; never raises OSError."""
        result = MovedOut()
        written: list[_Written] = []
        try:
            for moving in batch:
                self._write_one(moving, written, result)
            if written and self._publish(written, result):
                self._mark(written, result)
        finally:
            for each in written:
                self._places.disk.close(each.fd)
        return result

    def _write_one(self, moving: Moving, written: list[_Written], result: MovedOut) -> None:
        try:
            opened = OpenRecord(self._places, moving.ref)
            try:
                if opened.recipients:
                    written.append(self._write_file(moving, opened))
                else:
                    result.settled.append(moving)
            finally:
                opened.close()
        except (OSError, CorruptRecord) as error:
            result.failed.append((moving, error))

    def _write_file(self, moving: Moving, opened: OpenRecord) -> _Written:
        disk, tree = self._places.disk, self._places.tree
        envelope, unique = opened.envelope, names.unique(opened.envelope.id, moving.ref.copy)
        subdir = names.subdir(unique, moving.subdirs)
        folder = tree.folder(moving.channel, subdir, make=True)
        self._places.barriers.of(folder)  # opened before the first write there
        name = names.file_name(envelope.id, moving.ref.copy, moving.attempts, held=moving.held)
        tmp, boundary = names.TMP + unique, new_boundary(unique)
        if disk.stat(tmp, folder) is not None:  # of a former try whose removal failed; the lease says it is ours
            disk.unlink(tmp, folder)
        fd = disk.create_excl(tmp, folder)
        try:
            self._write_content(fd, opened, boundary, moving)
        except BaseException:
            disk.close(fd)
            self._forget(tmp, folder)
            raise
        slots = [opened.record.first_slot + each.id for each in opened.recipients]
        return _Written(moving, FileCopy(moving.channel, subdir, name), tmp, folder, fd, moving.ref.segment, slots)

    def _write_content(self, fd: int, opened: OpenRecord, boundary: bytes, moving: Moving) -> None:
        crc, last = 0, b"\n"
        for part in opened.parts():
            crc = zlib.crc32(part, crc)
            last = part[-1:] or last
        offset = self._put(fd, encode_head(opened.envelope, opened.recipients, boundary, crc), 0)
        for part in opened.parts():
            offset = self._put(fd, part, offset)
        closing = (b"" if last == b"\n" else b"\n") + boundary + b"\n"
        reason = encode_held(moving.why) if moving.held and moving.why else b""
        self._put(fd, closing + encode_history(moving.history) + reason, offset)

    def _put(self, fd: int, octets: Octets, offset: int) -> int:
        view = memoryview(octets)
        while view:
            done = self._places.disk.pwrite(fd, view, offset)
            offset += done
            view = view[done:]
        return offset

    def _publish(self, written: list[_Written], result: MovedOut) -> bool:
        """Steps b to d. False: nothing was moved, all stay in the journal."""
        disk = self._places.disk
        try:
            self._barrier(written)
            for each in written:
                disk.rename(each.tmp, each.ref.name, each.folder, each.folder)
            self._barrier(written)
        except OSError as error:
            for each in written:
                self._forget(each.tmp, each.folder)
                self._forget(each.ref.name, each.folder)
                result.failed.append((each.moving, error))
            return False
        return True

    def _barrier(self, written: list[_Written]) -> None:
        by_barrier: dict[int, list[_Written]] = {}
        barriers = {}
        for each in written:
            barrier = self._places.barriers.of(each.folder)
            barriers[id(barrier)] = barrier
            by_barrier.setdefault(id(barrier), []).append(each)
        for key, those in by_barrier.items():
            barriers[key].sync([each.fd for each in those], {each.folder for each in those})

    def _mark(self, written: list[_Written], result: MovedOut) -> None:
        """Steps e and f."""
        for each in written:
            result.moved.append((each.moving, each.ref))
            try:
                for slot in each.slots:
                    self._places.mark(each.segment, slot, Mark.MOVED)
            except OSError:  # the file is durable and beats the record at the next start
                result.unsynced.add(each.segment)
        for name in {each.segment for each in written}:
            try:
                sync_marks(self._places, name)
            except OSError:
                result.unsynced.add(name)

    def _forget(self, name: str, folder: int) -> None:
        with contextlib.suppress(OSError):
            self._places.disk.unlink(name, folder)


def move_out(places: Places, batch: Sequence[Moving]) -> MovedOut:
    """Move a batch of leased copies into queue files; see the module."""
    return MoveOut(places).run(batch)


def sync_marks(places: Places, segment: str) -> None:
    """Make a segment's marks durable after a failed sync, or each second.

    Raises:
        OSError: they may not be; call again, they are then written anew.
    """
    opened = places.segment(segment)
    try:
        opened.sync_marks()
    except OSError:
        opened.rewrite_marks()
        raise
