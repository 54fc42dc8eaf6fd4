"""The journal's writer: many append, one thread makes durable (DURABILITY 3.1, 3.X).

    append (any thread, never blocks) -> all that waits: one pwritev, one fdatasync -> completed([...]) in the committer thread
    commit_now (one caller that appends alone) -> the same in the caller's thread, as long as the disk is quick

* A completion with a record is durable. A completion with an error is to be answered 451/452; nothing of it will be
  delivered, or, after a failed sync, perhaps (DURABILITY 5).
* `synced` is the segment and the offset below which everything is durable: all a reader may know about.
* The next segment is made ahead in a second thread. When it cannot be made (disk full, or `max_segments` sealed ones of
  this writer still stand), completions carry that error at once, and making is tried again each second.
* Memory: at most `max_waiting` octets that wait; beyond it `append` says False and the caller stops reading sockets.
* Any exception but OSError in the committer ends the process: nobody could be answered.
"""

import errno
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from posthouse.journal.commit import Committer, Completion, Item, NewSegment, SegmentMaker
from posthouse.journal.disk import Disk, Octets
from posthouse.journal.segment import RECORDS_AT, SEGMENT_SIZE, SLOTS, Segment, Tier, record_length

RETRY_SECONDS = 1.0
MAX_SEGMENTS = 16
QUICK_SECONDS = 0.005
"""after a batch that took longer nobody stands still for the next one"""


def end_process(error: BaseException) -> None:
    """Say what happened and end at once, without another write: what is not answered was not accepted."""
    traceback.print_exception(error, file=sys.stderr)
    os._exit(70)


class Writer:
    """One writer with segments of its own in the folder.

    Args:
        disk: the disk.
        folder: descriptor of data/journal.
        tier: relay or store.
        role: first part of the segments' names, e.g. `smtp-1234`.
        completed: called with all completions of a batch, in the thread that made it durable.
        segment_size: octets of a segment, a multiple of 4096.
        max_waiting: octets that may wait for their sync.
        max_segments: sealed segments of this writer that may stand before accepting stops.
        retry_seconds: pause before a segment that could not be made is tried again.
        quick_seconds: what a batch may take for the next one to be made durable by `commit_now`.
        now: Unix time in seconds.
        fatal: what to do with an exception that is no OSError.
    """

    def __init__(
        self,
        disk: Disk,
        folder: int,
        tier: Tier,
        role: str,
        *,
        completed: Callable[[list[Completion]], None],
        segment_size: int = SEGMENT_SIZE,
        max_waiting: int = 64 << 20,
        max_segments: int = MAX_SEGMENTS,
        retry_seconds: float = RETRY_SECONDS,
        quick_seconds: float = QUICK_SECONDS,
        now: Callable[[], float] = time.time,
        fatal: Callable[[BaseException], None] = end_process,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._maker = SegmentMaker(disk, folder, tier, role, segment_size)
        self._completed = completed
        self._max_waiting = max_waiting
        self._max_segments = max_segments
        self._retry_seconds = retry_seconds
        self._quick_seconds = quick_seconds
        self._fatal = fatal
        self._room = segment_size - RECORDS_AT
        self._waiting: SimpleQueue[Item | None] = SimpleQueue()
        self._octets = 0
        self._octets_lock = threading.Lock()
        self._quick = True
        self._committing = threading.Lock()
        self._state = threading.Condition()
        self._spare: NewSegment | None = None
        self._error: OSError | None = None
        self._stopping = False
        self._committer = Committer(disk, self._next_segment, self._note_sealed, now)
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for work, name in ((self._commit_loop, "journal-committer"), (self._make_loop, "journal-maker"))
        ]
        self.synced: tuple[str, int] = ("", 0)
        """name of the current segment and the offset below which it is durable; ("", 0) before the first record"""
        self._kept: dict[str, int] = {}
        self.sealed: list[tuple[str, int]] = []
        """name and end of each segment that gets no more records; see `release`"""

    def start(self) -> None:
        """Start both threads; the first segment is made at once."""
        for thread in self._threads:
            thread.start()

    def append(
        self, token: object, envelope: bytes, body: Sequence[Octets], slots: int, *, kind: int = 0, flags: int = 0
    ) -> bool:
        """Let a record be written; its completion will carry the token. From any thread, without blocking.

        Args:
            token: given back in the completion.
            envelope: octets kept apart from the body, so that they can be read alone.
            body: the body in pieces that stay unchanged until the completion.
            slots: number of recipients, each gets a mark.
            kind: any number below 65536; what the reader makes of it.
            flags: `Flag.BODY_FILE` when the body is a reference.

        Returns:
            False: too much waits; nothing was taken.

        Raises:
            ValueError: the record would not fit into an empty segment.
        """
        return self.put(self.item(token, envelope, body, slots, kind=kind, flags=flags))

    def item(self, token: object, envelope: bytes, body: Sequence[Octets], slots: int, *, kind: int = 0, flags: int = 0) -> Item:
        """A record for `put` or `commit_now`; arguments and errors are those of `append`."""
        payload = len(envelope) + sum(map(len, body))
        if record_length(payload) > self._room or not 0 <= slots <= SLOTS:
            raise ValueError("record is larger than a segment")
        return Item(token, envelope, body, slots, payload, kind, flags)

    def put(self, item: Item) -> bool:
        """As `append`."""
        payload = item.payload
        with self._octets_lock:
            if self._octets + payload > self._max_waiting and self._octets:
                return False
            self._octets += payload
        self._waiting.put(item)
        return True

    def commit_now(self, items: Sequence[Item]) -> bool:
        """Make these durable in the caller's thread; `completed` is called before this returns. Only for one who appends alone.

        Returns:
            False: nothing was done, `append` them. What was appended is not durable yet, the segment has no room for them, or the
            last batch took so long that the caller had better not wait for this one.
        """
        if self._octets or not self._quick:
            return False
        try:
            with self._committing:
                if not self._committer.fits(items):
                    return False
                done = self._commit(items)
        except BaseException as error:
            self._fatal(error)
            raise
        self._completed(done)
        return True

    def _commit(self, items: Sequence[Item]) -> list[Completion]:
        began = time.monotonic()
        done = self._committer.commit(items)
        self._quick = time.monotonic() - began < self._quick_seconds
        self.synced = self._position()
        return done

    @property
    def fault(self) -> OSError | None:
        """Why the next segment cannot be made, if it cannot."""
        return self._error

    @property
    def waiting(self) -> int:
        """Octets that wait for their sync."""
        return self._octets

    def checkpoint(self, segment: str, offset: int) -> None:
        """Write a segment's checkpoint and make it durable (store).

        A descriptor of its own: had it the committer's, one of the two would not hear the other's failed sync.

        Raises:
            OSError: it is not durable.
        """
        opened = Segment.open(self._disk, self._folder, segment, write=True)
        try:
            opened.set_checkpoint(offset)
        finally:
            opened.close()

    def release(self, segment: str) -> None:
        """Forget a sealed segment: its owner has unlinked it or leaves it to others. Gives up the lock a store's writer kept."""
        with self._state:
            self.sealed = [each for each in self.sealed if each[0] != segment]
            fd = self._kept.pop(segment, None)
        if fd is not None:
            self._disk.close(fd)

    def stop(self) -> None:
        """Make durable what waits, answer it, seal the segment, end both threads. Blocks; nothing may be appended any more.

        Segments without a record are removed.
        """
        self._waiting.put(None)
        with self._state:
            self._stopping = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join()
        if self._spare is not None:
            self._maker.remove(self._spare)
            self._spare = None

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._fatal(error)

    def _commit_loop(self) -> None:
        waiting = self._waiting
        last = False
        while not last:
            first = waiting.get()
            batch = [item for item in (first, *(waiting.get() for _ in range(waiting.qsize()))) if item is not None]
            last = first is None or (self._stopping and waiting.empty())
            if batch:
                with self._committing:
                    done = self._commit(batch)
                with self._octets_lock:
                    self._octets -= sum(item.payload for item in batch)
                self._completed(done)
        self._end_segment()

    def _position(self) -> tuple[str, int]:
        current = self._committer.current
        return (current.name, current.offset) if current is not None else self.synced

    def _end_segment(self) -> None:
        with self._committing:
            current = self._committer.current
            if current is not None and not current.seq:
                self._committer.current = None
                self._maker.remove(current)
            self._committer.seal()

    def _note_sealed(self, segment: NewSegment) -> None:
        if self._maker.tier is not Tier.STORE:
            self._disk.close(segment.fd)
        with self._state:
            if self._maker.tier is Tier.STORE:
                # Another worker must not adopt it while ours still places its last records: locked until `release`.
                self._kept[segment.name] = segment.fd
            self.sealed = [*self.sealed, (segment.name, segment.offset)]

    def _next_segment(self) -> NewSegment:
        with self._state:
            while self._spare is None and self._error is None and not self._stopping:
                self._state.wait()
            spare, self._spare = self._spare, None
            self._state.notify_all()
            if spare is not None:
                return spare
            raise self._error or OSError(errno.ESHUTDOWN, "the journal is closing")

    def _make_loop(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._spare is None or self._stopping)
                if self._stopping:
                    return
            try:
                self._refuse_too_many()
                spare = self._maker.make()
            except OSError as error:
                with self._state:
                    self._error = error
                    self._state.notify_all()
                    self._state.wait_for(lambda: self._stopping, self._retry_seconds)
            else:
                with self._state:
                    self._spare, self._error = spare, None
                    self._state.notify_all()

    def _refuse_too_many(self) -> None:
        if len(self.sealed) < self._max_segments:
            return
        names = set(self._disk.listdir(self._folder))
        for name in [name for name, _ in self.sealed if name not in names]:
            self.release(name)
        if len(self.sealed) >= self._max_segments:
            raise OSError(errno.ENOSPC, "too many segments wait to be emptied")
