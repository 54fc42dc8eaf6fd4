"""Queue files known by their names only, read in the order in which they fall due (DURABILITY 6).

A start over many files is ready when their names are known. They are read in small batches while mail comes in and goes out
already; whoever asks for all copies waits until the last is read. At most MAX_MESSAGES copies are known at once
(job-controller-cnf 2): what is beyond stays on disk only, and is looked for again when half of them have gone.
"""

import heapq

BATCH = 50
Waiting = tuple[float, str, str, str]
"""Unix time at which a file is likely to be tried next; its channel, subfolder and name. A tuple, because there may be many."""


class Shelf:
    """The names."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self.beyond = 0
        """files of the last scan there was no room for"""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, found: list[Waiting], room: int) -> None:
        """Instead of what stood here: files nobody has read, as many as there is room for, first due first; keeps the list."""
        self.beyond = max(0, len(found) - room)
        if self.beyond:
            found = heapq.nsmallest(room, found)
        found.sort(reverse=True)
        self._waiting = found

    def take(self) -> list[Waiting]:
        """The next batch."""
        batch = self._waiting[-BATCH:]
        del self._waiting[-BATCH:]
        batch.reverse()
        return batch
