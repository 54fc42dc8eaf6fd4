"""Which segments are replayed, when, and when they go (DURABILITY 3 Start, 3.7 e).

    recover(...)        at start: every segment whose writer is dead, with putting back
    Leftovers.adopt()   later: segments of workers that died meanwhile, without putting back (what was answered had been
                        placed), and those a former try could not finish, with

A segment is locked while it is replayed, so two processes never replay the same one. Its name goes only after a barrier
that began after the last write. An unreadable segment is set aside; one of an unknown version refuses the start.
"""

import logging
import time
from collections.abc import Callable, Iterable

from posthouse.journal.adopt import adopt, remove_unfinished, segment_names, set_segment_aside
from posthouse.journal.barrier import Barriers
from posthouse.journal.disk import Disk
from posthouse.journal.segment import Segment, Tier, UnreadableSegment
from posthouse.store.delivery.replay import Replay

_log = logging.getLogger("posthouse.store")


class Leftovers:
    """Segments nobody writes any more.

    Args:
        disk: the disk.
        store: descriptor of data/store.
        journal: descriptor of data/journal.
        partitions: descriptors of the partitions, each on one file system.
        barriers: those of the partitions' file systems, opened before the first write.
        now: Unix time in seconds.
    """

    def __init__(
        self, disk: Disk, store: int, journal: int, partitions: Iterable[int], barriers: Barriers,
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._disk = disk
        self._store = store
        self._journal = journal
        self._now = now
        self._of = barriers.of
        self._trusted = True
        self._barriers = [barriers.of(store)]  # `seen` is in the store's own folder
        for partition in partitions:
            self.include(partition)
        self._old = frozenset(segment_names(disk, journal))
        """what stood there when we started: the machine may have forgotten what it says"""

    def include(self, partition: int) -> bool:
        """From now on barriers are on this partition's file system too; whether one can be trusted there.

        Raises:
            OSError: none can be opened.
        """
        barrier = self._of(partition)
        if not barrier.trusted:
            self._trusted = False
        if barrier not in self._barriers:
            self._barriers.append(barrier)  # by the delivering thread, while the checkpoint's goes through them
        return barrier.trusted

    def _include_all(self) -> None:
        """Another process may have taken partitions we have not met; what it left is about to be written there."""
        for name in self._disk.listdir(self._store):
            found = None if name.startswith(".") else self._disk.stat(name, self._store)
            if found is not None and found.is_folder:
                folder = self._disk.open_dir(name, self._store)
                try:
                    self.include(folder)
                finally:
                    self._disk.close(folder)

    def replay(self) -> Replay:
        """A replay of this instance."""
        return Replay(self._disk, self._store, self._journal, sync=not self._trusted, now=self._now)

    def sync(self) -> None:
        """One barrier on every file system of the store.

        Raises:
            OSError: what was written may not be durable.
        """
        for barrier in self._barriers:
            barrier.sync()

    def adopt(self) -> tuple[int, int]:
        """Replay every segment whose writer is dead; how many are gone now, and how many stay for a later try.

        Raises:
            OSError: the barrier failed; all of them stay.
            UnknownVersion: a newer version wrote one.
        """
        replay: Replay | None = None
        good, kept = [], 0
        try:
            for name in segment_names(self._disk, self._journal):
                segment = self._take(name)
                if segment is None:
                    continue
                if replay is None:
                    self._include_all()
                    replay = self.replay()
                if self._finish(replay, segment):
                    good.append(segment)
                else:
                    kept += 1
                    segment.close()
            if good:
                self._free(good)
        finally:
            for segment in good:
                segment.close()
        return len(good), kept

    def _take(self, name: str) -> Segment | None:
        try:
            segment = adopt(self._disk, self._journal, name, Tier.STORE)
        except UnreadableSegment as error:
            _log.error("%s: set aside", error)
            set_segment_aside(self._disk, self._journal, name)
            return None
        except FileNotFoundError:  # another process has just freed it
            return None
        if segment is not None and segment.tier is not Tier.STORE:
            segment.close()
            return None
        return segment

    def _finish(self, replay: Replay, segment: Segment) -> bool:
        try:
            return replay.segment(segment, put_back=segment.name in self._old)
        except OSError as error:
            _log.error("%s: %s", segment.name, error)
            return False

    def _free(self, segments: list[Segment]) -> None:
        self.sync()
        for segment in segments:
            self._disk.unlink(segment.name, self._journal)
        self._disk.fsync_dir(self._journal)


def recover(disk: Disk, leftovers: Leftovers, journal: int) -> tuple[int, int]:
    """Everything of the last run, before anybody is served.

    Returns:
        How many segments were replayed and freed, and how many stay.

    Raises:
        OSError: the disk failed.
        UnknownVersion: a newer version wrote a segment.
    """
    remove_unfinished(disk, journal)
    return leftovers.adopt()
