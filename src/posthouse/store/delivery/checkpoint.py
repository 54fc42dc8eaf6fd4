"""The checkpoint: from when on the journal is needed no more, because the mailboxes are durable (DURABILITY 3.7, 3.X).

    a  the position below which everything is placed (`note`, told after each batch)
    b  a barrier on the mailboxes' file systems
    c  the position into block 1 of the segment, durable
    d  sealed segments whose end is reached lose their names
    e  segments of dead writers are adopted

A failed barrier means that anything placed since the last one may be lost: deliveries are refused, all unchecked records
are replayed over their files, and a new barrier is tried, each `MEND_SECONDS`, until one succeeds. `run` is for a thread of
its own; everything else is called from the delivering one.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from posthouse.journal.disk import Disk
from posthouse.journal.segment import JournalError, Segment
from posthouse.store.delivery.recovery import Leftovers

EVERY_SECONDS = 1.0
EVERY_OCTETS = 16 << 20
MEND_SECONDS = 30.0
ADOPT_SECONDS = 60.0
_log = logging.getLogger("posthouse.store")


class Checkpointed(Protocol):
    """What a checkpoint asks of the journal's writer."""

    sealed: list[tuple[str, int]]

    def checkpoint(self, segment: str, offset: int) -> None:
        """Write block 1, durably."""
        ...

    def release(self, segment: str) -> None:
        """Forget a sealed segment that was unlinked."""
        ...


class Position(NamedTuple):
    """How far everything is placed."""

    segment: str
    offset: int
    sealed: tuple[tuple[str, int], ...]
    """segments that were sealed by then: all their records were placed as well"""


class Checkpoint:
    """Moves the checkpoint of one writer.

    Args:
        disk: the disk.
        journal: descriptor of data/journal.
        writer: the journal's writer.
        leftovers: for barriers, adoption and mending.
        refuse: told why deliveries must be refused, and None when they may go on; called in the checkpoint's thread.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        disk: Disk,
        journal: int,
        writer: Checkpointed,
        leftovers: Leftovers,
        refuse: Callable[[str | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._writer = writer
        self._leftovers = leftovers
        self._refuse = refuse
        self._clock = clock
        self._placed: Position | None = None
        self._checked: Position | None = None
        self._octets = 0
        self._broken = False
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self.run, name="checkpoint", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def note(self, position: Position) -> None:
        """Everything below the position is placed."""
        before = self._placed
        self._placed = position
        self._octets += position.offset - (before.offset if before is not None and before.segment == position.segment else 0)
        if before is self._checked or self._octets >= EVERY_OCTETS:
            with self._wake:
                self._wake.notify()

    @property
    def unchecked_segments(self) -> int:
        """Sealed segments whose end is not reached."""
        return len(self._writer.sealed)

    def run(self) -> None:
        """The thread's work until `stop`."""
        ended = adopted = self._clock()
        while not self._stopping:
            with self._wake:
                pause = MEND_SECONDS if self._broken else EVERY_SECONDS
                if self._placed is self._checked and not self._broken:
                    self._wake.wait(ADOPT_SECONDS)
                    if self._placed is not self._checked and not self._stopping:
                        self._wake.wait_for(self._urgent, EVERY_SECONDS)
                else:
                    self._wake.wait_for(self._urgent, max(0.0, ended + pause - self._clock()))
            self.step()
            ended = self._clock()
            if ended - adopted >= ADOPT_SECONDS:
                self._adopt()
                adopted = ended

    def _urgent(self) -> bool:
        return self._stopping or (self._octets >= EVERY_OCTETS and not self._broken)

    def step(self) -> bool:
        """One checkpoint; False when it failed."""
        position, self._octets = self._placed, 0
        if position is None or (position is self._checked and not self._broken):
            return True
        try:
            if self._broken:
                self._mend(position)
            self._barrier()
        except (OSError, JournalError) as error:
            _log.error("checkpoint: mail is refused until the disk is well: %s", error)
            self._broken = True
            self._refuse(str(error))
            return False
        try:
            self._free(position)
        except (OSError, JournalError) as error:
            _log.warning("checkpoint: %s", error)
            return False
        self._checked = position
        if self._broken:
            self._broken = False
            self._refuse(None)
        return True

    def _barrier(self) -> None:
        self._leftovers.sync()

    def _mend(self, position: Position) -> None:
        """Write all unchecked records over their files again; what users have deleted stays deleted."""
        replay = self._leftovers.replay()
        for name in {*(name for name, _ in position.sealed), position.segment}:
            try:
                segment = Segment.open(self._disk, self._journal, name, write=True)
            except FileNotFoundError:
                continue
            try:
                upto = position.offset if name == position.segment else None
                if not replay.segment(segment, put_back=False, upto=upto):
                    raise OSError(f"{name}: not everything could be written again")
            finally:
                segment.close()

    def _free(self, position: Position) -> None:
        sealed = {name for name, _ in position.sealed}
        if position.segment and position.segment not in sealed:
            self._writer.checkpoint(position.segment, position.offset)
        for entry in position.sealed:
            if entry in self._writer.sealed:
                self._disk.unlink(entry[0], self._journal)
                self._writer.release(entry[0])
        if sealed:
            self._disk.fsync_dir(self._journal)

    def _adopt(self) -> None:
        try:
            gone, kept = self._leftovers.adopt()
        except (OSError, JournalError) as error:
            _log.error("journal: %s", error)
            return
        if gone:
            _log.warning("journal: took over %d segments of workers that are dead", gone)
        if kept:
            _log.error("journal: %d segments hold mail that cannot be placed", kept)

    def stop(self, position: Position | None) -> bool:
        """End the thread, then the last checkpoint; whether it succeeded. Blocks.

        Args:
            position: the end of everything, all segments sealed.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        if position is not None:
            self._placed = position
        return self.step()
