"""The one hand that writes records: new segments, batches, and what a failed sync means (DURABILITY 2, 3.1, 3.X).

Synchronous, without threads and without a clock of its own; `posthouse.journal.writer` runs it in a thread.

* `SegmentMaker.make`: `.tmp`, lock, zeros, fsync, rename, fsync of the folder; only then is the segment used.
* `Committer.commit(items)`: as many items as fit go into one batch: one pwritev, one fdatasync. What does not fit seals the
  segment and goes into the next one. A batch begins on a block boundary: a synced block is never written again.
* A failed write or sync fails the whole batch, marks its slots V (best effort) and seals the segment. The same data is
  never synced twice. No item is answered twice; none is left without an answer.
* Refused: nothing here. An item larger than a segment is refused by `Writer.append`.
"""

import contextlib
import errno
import secrets
import time
import zlib
from collections.abc import Callable, Sequence

import msgspec

from posthouse.journal.disk import Disk, Octets
from posthouse.journal.segment import (
    HEADER_LENGTH,
    MARKS_AT,
    RECORD_BEGINNING,
    RECORD_MAGIC,
    RECORD_REST,
    RECORDS_AT,
    SEGMENT_SIZE,
    SLOTS,
    SUFFIX,
    Flag,
    Mark,
    RecordRef,
    Tier,
    encode_head,
    next_block,
)

_ZEROS = bytes(1 << 20)
_BUFFERS = 1024
"""the kernel's limit for one pwritev"""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One record that waits to be written."""

    token: object
    """the caller's own, given back in the completion"""
    envelope: bytes
    body: Sequence[Octets]
    slots: int
    """number of recipients"""
    payload: int
    """octets of envelope and body"""
    kind: int = 0
    flags: int = 0


class Completion(msgspec.Struct, frozen=True, gc=False):
    """What became of one item: a record that is durable, or an error."""

    token: object
    record: RecordRef | None
    error: OSError | None


class NewSegment:
    """A segment as its one writer holds it: a locked descriptor and the place of the next batch."""

    def __init__(self, fd: int, name: str, identity: bytes, size: int) -> None:
        self.fd = fd
        self.name = name
        self.seed = zlib.crc32(identity)
        self.size = size
        self.offset = RECORDS_AT
        """where the next batch begins; everything below is synced"""
        self.slot = 0
        self.seq = 0


class SegmentMaker:
    """Makes segments in one folder. A segment is durable, zero-filled and locked when `make` returns."""

    def __init__(self, disk: Disk, folder: int, tier: Tier, role: str, size: int = SEGMENT_SIZE) -> None:
        self.disk = disk
        self.folder = folder
        self.tier = tier
        self.role = role
        self.size = size

    def make(self) -> NewSegment:
        """A new segment.

        Raises:
            OSError: it cannot be made; nothing is left of it that a start would not remove.
        """
        try:
            return self._make()
        except (BlockingIOError, FileNotFoundError):  # a start beside us took it for a dead writer's before it was locked
            return self._make()

    def _make(self) -> NewSegment:
        stem = f"{self.role}-{secrets.token_hex(8)}"
        identity = secrets.token_bytes(16)
        fd = self.disk.create_excl(stem + ".tmp", self.folder)
        try:
            self._fill(fd, identity)
            self._publish(fd, stem)
        except BaseException:
            for name in (stem + ".tmp", stem + SUFFIX):
                self._forget(name)
            self.disk.close(fd)
            raise
        return NewSegment(fd, stem + SUFFIX, identity, self.size)

    def remove(self, segment: NewSegment) -> None:
        """Remove a segment that was never used and give up its lock."""
        self._forget(segment.name)
        self.disk.close(segment.fd)

    def _fill(self, fd: int, identity: bytes) -> None:
        if not self.disk.flock(fd):
            raise OSError(errno.EWOULDBLOCK, "a new segment is locked by another process")
        # Zeros, not fallocate: an extent that is not yet written costs a file system commit for each fdatasync.
        # The marks in a write of their own: the kernel keeps what is written at once in one piece of its cache, a mebibyte if it
        # can, and looks through all blocks of a piece for each octet set in it.
        done = 0
        while done < self.size:
            written = self.disk.pwrite(fd, _ZEROS[: (self.size if done else RECORDS_AT) - done], done)
            if not written:
                raise OSError(errno.ENOSPC, "a new segment cannot be filled")
            done += written
        head = encode_head(self.tier, identity, self.size)
        if self.disk.pwrite(fd, head, 0) != len(head):
            raise OSError(errno.ENOSPC, "a new segment cannot be headed")
        self.disk.fsync(fd)

    def _publish(self, fd: int, stem: str) -> None:
        del fd
        self.disk.rename(stem + ".tmp", stem + SUFFIX, self.folder, self.folder)
        self.disk.fsync_dir(self.folder)

    def _forget(self, name: str) -> None:
        with contextlib.suppress(OSError):  # not there, or the start will remove it
            self.disk.unlink(name, self.folder)


class Committer:
    """Appends batches.

    Args:
        disk: the disk.
        provide: gives the next segment, OSError when there is none.
        sealed: told of each segment that gets no more records; it has to close the descriptor, which gives up the lock.
        now: Unix time in seconds.
    """

    def __init__(
        self,
        disk: Disk,
        provide: Callable[[], NewSegment],
        sealed: Callable[[NewSegment], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._disk = disk
        self._provide = provide
        self._sealed = sealed
        self._now = now
        self.current: NewSegment | None = None

    def commit(self, items: Sequence[Item]) -> list[Completion]:
        """Make all items durable; one completion for each, in order."""
        done: list[Completion] = []
        while len(done) < len(items):
            if self.current is None:
                try:
                    self.current = self._provide()
                except OSError as error:
                    done += [Completion(item.token, None, error) for item in items[len(done) :]]
                    break
            batch = self._fitting(self.current, items, len(done))
            if not batch:
                self.seal()
                continue
            try:
                done += self._write(self.current, batch)
            except OSError as error:
                self._void(self.current, batch)
                self.seal()
                done += [Completion(item.token, None, error) for item in batch]
        return done

    def fits(self, items: Sequence[Item]) -> bool:
        """Whether there is a segment, with room for all of them."""
        return self.current is not None and len(self._fitting(self.current, items, 0)) == len(items)

    def seal(self) -> None:
        """Append no more to the current segment and tell the owner."""
        segment, self.current = self.current, None
        if segment is not None:
            self._sealed(segment)

    @staticmethod
    def _fitting(segment: NewSegment, items: Sequence[Item], start: int) -> Sequence[Item]:
        room, slots, stop = segment.size - segment.offset, SLOTS - segment.slot, start
        largest = sum([item.payload for item in items]) + len(items) * (HEADER_LENGTH + 7)
        if not start and largest <= room and sum([item.slots for item in items]) <= slots:
            return items  # nearly always
        for item in items[start:] if start else items:
            room -= HEADER_LENGTH + ((item.payload + 7) & ~7)
            slots -= item.slots
            if room < 0 or slots < 0:
                break
            stop += 1
        return items if stop - start == len(items) else items[start:stop]

    def _write(self, segment: NewSegment, batch: Sequence[Item]) -> list[Completion]:
        disk, name, seed, synced = self._disk, segment.name, segment.seed, segment.offset
        now = int(self._now() * 1000)
        buffers: list[Octets] = []
        done: list[Completion] = []
        pad, offset, seq, slot, last = b"", synced, segment.seq, segment.slot, len(batch) - 1
        for number, item in enumerate(batch):
            envelope, payload = item.envelope, item.payload
            length = len(envelope)
            crc = envelope_crc = zlib.crc32(envelope, seed)
            for part in item.body:
                crc = zlib.crc32(part, crc)
            seq += 1
            flags = item.flags | Flag.LAST.value if number == last else item.flags
            fields = (seq, flags, item.kind, slot, item.slots, length, payload - length, envelope_crc, crc, synced, now)
            rest = RECORD_REST.pack(*fields)
            buffers.append(pad + RECORD_BEGINNING.pack(RECORD_MAGIC, zlib.crc32(rest, seed)) + rest + envelope)
            buffers.extend(item.body)
            ref = RecordRef(name, offset, seq, item.kind, flags, slot, item.slots, length, payload - length, *fields[7:])
            done.append(Completion(item.token, ref, None))
            padding = -payload & 7
            pad = b"\0" * padding
            offset += HEADER_LENGTH + payload + padding
            slot += item.slots
        self._put(disk, segment.fd, buffers, synced, offset - len(pad))
        segment.offset, segment.seq, segment.slot = next_block(offset), seq, slot
        return done

    @staticmethod
    def _put(disk: Disk, fd: int, buffers: list[Octets], start: int, end: int) -> None:
        at = start
        for first in range(0, len(buffers), _BUFFERS):
            some = buffers[first : first + _BUFFERS]
            length = sum(map(len, some))
            if disk.pwritev(fd, some, at) != length:
                raise OSError(errno.EIO, "short write to the journal")
            at += length
        assert at == end, "the lengths announced for a batch are not those of its buffers"
        disk.fdatasync(fd)

    def _void(self, segment: NewSegment, batch: Sequence[Item]) -> None:
        """Should the batch be on the disk after all: these were answered 4xx. Best effort; else a duplicate (DURABILITY 5)."""
        slots = sum(item.slots for item in batch)
        with contextlib.suppress(OSError):
            self._disk.pwrite(segment.fd, bytes((Mark.VOID.value,)) * slots, MARKS_AT + segment.slot)


