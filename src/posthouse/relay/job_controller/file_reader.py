"""Finding queue files that are not known and reading them, a few in each turn of the event loop (see shelf.py)."""

import asyncio
import time
from collections.abc import Callable, Iterable

from posthouse.relay.job_controller.files import read_files
from posthouse.relay.job_controller.shelf import Shelf
from posthouse.relay.job_controller.stock import Stock
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.tree import QueueEntry


class FileReader:
    """The files of one controller.

    Args:
        places: the folders.
        stock: takes the copies.
        alarm: told of damaged files.
        soon: called when there is something new.
    """

    def __init__(self, places: Places, stock: Stock, alarm: Callable[[str], None], soon: Callable[[], None]) -> None:
        self._places = places
        self._stock = stock
        self._alarm = alarm
        self._soon = soon
        self._shelf = Shelf(stock.guess)
        self.damaged: dict[str, tuple[QueueEntry, str]] = {}
        """held files whose envelope cannot be read, and why; found anew by each scan"""
        self.reading: asyncio.Task[None] | None = None
        self.ended = False

    @property
    def unread(self) -> int:
        """Files whose copies are not known: not read yet, or no room for them."""
        return len(self._shelf) + self._shelf.beyond + self._stock.dropped

    @property
    def has_room(self) -> bool:
        """Whether half of the copies have gone since some had no room (MAX_MESSAGES)."""
        return bool(self.unread and not len(self._shelf)) and len(self._stock) <= self._stock.plan.most // 2

    def look_at(self, entries: Iterable[QueueEntry]) -> None:
        """These are all files there are: read those that are not known."""
        stock = self._stock
        self.damaged.clear()
        new = (each for each in entries if not stock.knows_file(each.name.message, each.name.copy, each.ref.path))
        self._shelf.put(new, max(0, stock.plan.most - len(stock)))
        stock.dropped = 0
        if len(self._shelf) and (self.reading is None or self.reading.done()):
            self.reading = asyncio.get_running_loop().create_task(self._read())
        self._soon()

    async def _read(self) -> None:
        while len(self._shelf) and not self.ended:
            now = time.time()
            for cargo, attempts, mtime in read_files(self._places, self._shelf.take(), self.hold_damaged):
                self._stock.admit_file(cargo, attempts, mtime, now)
            self._soon()
            await asyncio.sleep(0)

    def hold_damaged(self, entry: QueueEntry, reason: str, *, news: bool) -> None:
        """A file cannot be read: it is `.HELD` now."""
        self.damaged[entry.ref.path] = (entry, reason)
        if news:
            self._alarm(f"{entry.ref.path}: {reason}; held")
