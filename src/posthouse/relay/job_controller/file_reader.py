"""Finding queue files that are not known and reading them, a few in each turn of the event loop (see shelf.py).

First every name is looked at: since when its file stands as it is tells in which order they fall due. Then the heads are read.
Mail comes in and goes out meanwhile. A copy whose file somebody has removed is forgotten, and an alarm says so.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import cargo_of
from posthouse.relay.job_controller.entry import State
from posthouse.relay.job_controller.files import read_files
from posthouse.relay.job_controller.protocol import Result
from posthouse.relay.job_controller.shelf import Shelf, Waiting
from posthouse.relay.job_controller.stock import Stock
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.names import parse, unique
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.tree import Files, QueueEntry

if TYPE_CHECKING:
    from posthouse.relay.queue.names import QueueName

LOOKED_AT = 500
"""names in a turn"""


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
        self._shelf = Shelf()
        self._names: Iterator[tuple[FileCopy, QueueName]] | None = None
        """not looked at yet"""
        self._left = 0
        self._seen: set[str] = set()
        """known copies among the names looked at"""
        self._found: list[Waiting] = []
        """looked at, and not known"""
        self._is_told = False
        """that some file cannot be looked at in this scan"""
        self.damaged: dict[str, tuple[QueueEntry, str]] = {}
        """held files whose envelope cannot be read, and why; found anew by each scan"""
        self.reading: asyncio.Task[None] | None = None
        self.ended = False

    @property
    def unread(self) -> int:
        """Files whose copies are not known: not read yet, or no room for them."""
        looked_for = len(self._found) + max(0, self._left - len(self._stock))
        return looked_for + len(self._shelf) + self._shelf.beyond + self._stock.dropped

    @property
    def has_room(self) -> bool:
        """Whether half of the copies have gone since some had no room (MAX_MESSAGES)."""
        return self._knows_all and self.unread > 0 and len(self._stock) <= self._stock.plan.most // 2

    @property
    def _knows_all(self) -> bool:
        """Nothing is left to be looked at or read; what has no room stays on disk."""
        return self._names is None and not len(self._shelf)

    def look_at(self, files: Files) -> None:
        """These are all files there are: read those that are not known. A few are looked at at once."""
        self.damaged.clear()
        self._names, self._left = files.apart(), len(files)
        self._found, self._seen, self._is_told = [], set(), False
        self._stock.dropped = 0
        self._look_on()
        if not self._knows_all and (self.reading is None or self.reading.done()):
            self.reading = asyncio.get_running_loop().create_task(self._read())
        self._soon()

    def _look_on(self) -> None:
        """Some names more. After the last the files have their order."""
        assert self._names is not None
        stock, seen = self._stock, 0
        for ref, name in islice(self._names, LOOKED_AT):
            seen += 1
            known = unique(name.message, name.copy)
            if known in stock.names or known in stock.held:
                self._seen.add(known)
            if not stock.knows_file(name.message, name.copy, ref.path):
                entry = self._look(ref, name)
                if entry is not None:
                    self._found.append((stock.guess(entry), ref.channel, ref.subdir, ref.name))
        self._left -= seen
        if seen < LOOKED_AT:
            self._order()

    def _order(self) -> None:
        """All that will be looked at has been."""
        self._shelf.put(self._found, max(0, self._stock.plan.most - len(self._stock)))
        self._names, self._left, self._found = None, 0, []
        self._forget_removed()
        self._seen = set()

    def _forget_removed(self) -> None:
        """Copies that wait in a queue file nobody has seen: it is gone, if it does not stand there after all."""
        stock, gone = self._stock, []
        for name in [name for name in stock.names if name not in self._seen]:
            entry = stock.schedule.get(stock.names[name])
            if entry is None or entry.state not in {State.READY, State.WAITING}:
                continue
            cargo = cargo_of(entry)
            if cargo.record is None and self._is_gone(path := cargo.path):
                stock.forget(entry, cargo, Result(entry.key, Verdict.GONE))
                gone.append(path)
        for name in [name for name in stock.held if name not in self._seen]:
            if self._is_gone(path := stock.held[name][1].path):
                del stock.held[name]
                gone.append(path)
        if gone:
            self._alarm(f"{len(gone)} queue files were removed and are forgotten, the first: {gone[0]}")

    def _is_gone(self, path: str) -> bool:
        channel, *middle, file = path.split("/")
        name = parse(file)
        assert name is not None, "a copy's file has a queue file's name"
        try:
            return self._places.tree.look(FileCopy(channel, middle[0] if middle else "", file), name) is None
        except OSError:
            return False

    async def _read(self) -> None:
        while not self._knows_all and not self.ended:
            if self._names is not None:
                self._look_on()
            else:
                self._read_some()
            self._soon()
            await asyncio.sleep(0)

    def _read_some(self) -> None:
        now = time.time()
        for cargo, attempts, mtime in read_files(self._places, self._batch(), self.hold_damaged):
            self._stock.admit_file(cargo, attempts, mtime, now)

    def _batch(self) -> list[QueueEntry]:
        """The next files to read, those that are still there."""
        found = []
        for _, channel, subdir, name in self._shelf.take():
            taken_apart = parse(name)
            assert taken_apart is not None, "it was when it was looked at"
            entry = self._look(FileCopy(channel, subdir, name), taken_apart)
            if entry is not None:
                found.append(entry)
        return found

    def _look(self, ref: FileCopy, name: "QueueName") -> QueueEntry | None:
        """The file; None: it is gone, or cannot be looked at, which keeps nobody else waiting. The first such one is told of."""
        try:
            return self._places.tree.look(ref, name)
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                self._alarm(f"{ref.path} cannot be looked at: {error}; the next scan tries again")
            return None

    def hold_damaged(self, entry: QueueEntry, reason: str, *, news: bool) -> None:
        """A file cannot be read: it is `.HELD` now."""
        self.damaged[entry.ref.path] = (entry, reason)
        if news:
            self._alarm(f"{entry.ref.path}: {reason}; held")
