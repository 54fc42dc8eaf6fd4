"""Queue files known by their names only, read in the order in which they fall due (DURABILITY 6).

A start over many files is ready when their names are known. They are read in small batches while mail comes in and goes out
already; whoever asks for all copies waits until the last is read. At most MAX_MESSAGES copies are known at once
(job-controller-cnf 2): what is beyond stays on disk only, and is looked for again when half of them have gone.
"""

import heapq
from collections.abc import Callable, Iterable

from posthouse.relay.queue.tree import QueueEntry

BATCH = 50
Due = Callable[[QueueEntry], float]


class Shelf:
    """The names.

    Args:
        due: Unix time at which a file is likely to be tried next, guessed from its name and its time of change.
    """

    def __init__(self, due: Due) -> None:
        self._due = due
        self._entries: list[QueueEntry] = []
        self.beyond = 0
        """files of the last scan there was no room for"""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entries: Iterable[QueueEntry], room: int) -> None:
        """Instead of what stood here: files nobody has read, as many as there is room for, the first due first."""
        found = list(entries)
        self.beyond = max(0, len(found) - room)
        chosen = heapq.nsmallest(room, found, key=self._due) if self.beyond else sorted(found, key=self._due)
        chosen.reverse()
        self._entries = chosen

    def take(self) -> list[QueueEntry]:
        """The next batch."""
        batch = self._entries[-BATCH:]
        del self._entries[-BATCH:]
        batch.reverse()
        return batch
