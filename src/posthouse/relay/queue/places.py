"""The folders of one relay's queue, opened: data/journal, data/journal/body, data/queue, and the segments in use.

One `Places` for each process. Segments are opened for marks when first asked for and kept until `forget`, or until the job
controller has freed them (`forget_freed`): a descriptor that stays open keeps their 32 MiB on the disk.
"""

import threading

from posthouse.journal.adopt import BODY, open_folder
from posthouse.journal.barrier import Barriers
from posthouse.journal.disk import Disk
from posthouse.journal.segment import Mark, Segment
from posthouse.relay.queue.tree import QueueTree


class Places:
    """Everything the queue's functions need.

    Args:
        disk: the disk.
        journal: path of data/journal; the folder exists.
        queue: path of data/queue; the folder exists.
        kernel: version of the kernel for the barrier, asked from the system when not given.

    Raises:
        OSError: a folder cannot be opened.
    """

    def __init__(self, disk: Disk, journal: str, queue: str, *, kernel: tuple[int, int] | None = None) -> None:
        self.disk = disk
        self.journal = disk.open_dir(journal)
        self.body = open_folder(disk, BODY, self.journal)
        self.tree = QueueTree(disk, disk.open_dir(queue))
        self.barriers = Barriers(disk, kernel)
        self.barriers.of(self.tree.root)
        self._segments: dict[str, Segment] = {}
        self._lock = threading.Lock()

    def segment(self, name: str) -> Segment:
        """The open segment.

        Raises:
            FileNotFoundError: it was freed.
            JournalError: its header is damaged or not known.
        """
        with self._lock:
            found = self._segments.get(name)
            if found is None:
                found = self._segments[name] = Segment.open(self.disk, self.journal, name, write=True)
            return found

    def keep(self, segment: Segment) -> None:
        """Keep a segment somebody opened (and locked) already."""
        with self._lock:
            self._segments[segment.name] = segment

    def forget(self, name: str) -> None:
        """Close a segment that is not needed here any more."""
        with self._lock:
            found = self._segments.pop(name, None)
        if found is not None:
            found.close()

    def forget_freed(self) -> None:
        """Close the segments that have no name any more: no slot of them is open and none of their copies leased."""
        with self._lock:
            opened = list(self._segments.values())
        for segment in opened:
            if not self.disk.fstat(segment.fd).links:
                self.forget(segment.name)

    def mark(self, segment: str, slot: int, mark: Mark) -> None:
        """Set one mark at once; durable at the controller's next sync.

        Raises:
            OSError: the recipient will be tried again.
        """
        self.segment(segment).mark(slot, mark)

    def close(self) -> None:
        """Close everything."""
        for name in list(self._segments):
            self.forget(name)
        self.tree.close()
        self.barriers.close()
        for fd in (self.tree.root, self.body, self.journal):
            self.disk.close(fd)
