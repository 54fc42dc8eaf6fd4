"""Counts what the transaction log's records tell of channels (logging.md 6), in memory, and keeps it in a counter file.

Counting is adding to numbers of this process. They go to the file at most SAVE_SECONDS apart, with the records that come, and
what came last with `tick`: a process that is killed loses the counts of a moment. A counter file that is damaged is told of
once and counted anew; one that cannot be written is told of once, tried again now and then, and stops nothing.
"""

import logging
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from posthouse.trace.counter_file import MOST_ROWS, CounterFile, DamagedCounters
from posthouse.trace.figures import (
    ATTEMPTED,
    CODES,
    DELIVERED,
    FAILED,
    FIRST,
    FIRST_MS,
    QUEUED,
    QUEUED_MS,
    RECEIVED,
    REJECTED,
    REPLIES,
    SUBMITTED,
    Row,
    add,
    new_row,
)
from posthouse.trace.record import Action, Record

SAVE_SECONDS = 0.05
PATIENCE = 10.0
"""seconds a file that could not be written is left alone"""
_log = logging.getLogger("posthouse")
_ENQUEUED, _DEQUEUED, _DEFERRED, _PARTLY = Action.ENQUEUED, Action.DEQUEUED, Action.DEFERRED, Action.PARTLY
_RETURNED, _DROPPED, _REFUSED = Action.RETURNED, Action.DROPPED, Action.REFUSED
_PLACE_OF_CODE = {code: REPLIES + 1 + number for number, code in enumerate(CODES)}
_DELIVERED_RECIPIENTS = DELIVERED + 1


class _Channels(dict[str, Row]):
    """A row for each channel. What has no name, and what is too much, is counted where nobody looks."""

    def __missing__(self, channel: str) -> Row:
        row = new_row()
        if channel and len(self) < MOST_ROWS:
            self[channel] = row
        return row


class Counters:
    """What one process of a relay counts. Messages of the queue are copies: one for each queue file.

    Args:
        folder: the instance's `data/counters`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = _Channels()
        self._file: CounterFile | None = None
        self._next = 0.0
        self._unsaved = False
        self._failing = False

    def count(self, records: Sequence[Record]) -> None:
        """Count what they tell."""
        self._add(records)
        self._unsaved = True
        if time.monotonic() >= self._next:
            self._save()

    def left(self, channel: str, blocks: int, waited: float, attempts: int) -> None:
        """A copy has left the queue: delivered, returned or dropped, to its last recipient.

        Args:
            channel: dequeued from.
            blocks: its size.
            waited: seconds in the queue.
            attempts: made before this one.
        """
        row, milliseconds = self._rows[channel], max(0, int(waited * 1000))
        self._unsaved = True
        row[DELIVERED] += 1
        row[DELIVERED + 2] += blocks
        row[QUEUED] += 1
        row[QUEUED_MS] += milliseconds
        if not attempts:
            row[FIRST] += 1
            row[FIRST_MS] += milliseconds

    def tick(self) -> None:
        """Now and then: keep what was counted last."""
        if self._unsaved and time.monotonic() >= self._next:
            self._save()

    def close(self) -> None:
        """Keep everything and leave the file to the next process."""
        if self._unsaved:
            self._save()
        self._release()
        self._rows.clear()  # the file has them

    def _add(self, records: Sequence[Record]) -> None:
        rows = self._rows
        seen: set[str] = set()
        for record in records:
            action = record.ac
            if action is _ENQUEUED:
                if channel := record.dc:  # else it leads where another recipient leads
                    into, out = rows[channel], rows[record.sc]
                    into[RECEIVED + 1] += 1
                    out[SUBMITTED + 1] += 1
                    if (file := record.fi) not in seen:
                        seen.add(file)
                        into[RECEIVED] += 1
                        into[RECEIVED + 2] += record.sz
                    if (message := record.ei) not in seen:
                        seen.add(message)
                        out[SUBMITTED] += 1
                        out[SUBMITTED + 2] += record.sz
            elif action is _DEQUEUED:
                rows[record.sc][_DELIVERED_RECIPIENTS] += 1
            elif action is _DEFERRED or action is _PARTLY:
                _count_one(rows[record.sc], ATTEMPTED, record, record.fi, seen)
            elif action is _RETURNED or action is _DROPPED:
                rows[record.sc][_DELIVERED_RECIPIENTS] += 1
                _count_one(rows[record.sc], FAILED, record, record.fi, seen)
            elif action is _REFUSED:
                _count_one(rows[record.sc], REJECTED, record, record.ei, seen)

    def _save(self) -> None:
        try:
            if self._file is None or self._file.is_removed:
                self._take()
            assert self._file is not None
            self._file.write(self._rows)
        except OSError as error:
            self._next = time.monotonic() + PATIENCE
            if not self._failing:
                self._failing = True
                _log.error("%s: counters cannot be kept: %s; mail goes on", self._folder, error.strerror or error)
        else:
            self._next = time.monotonic() + SAVE_SECONDS
            self._unsaved = self._failing = False

    def _take(self) -> None:
        """Have a file, and go on counting where it ends."""
        self._release()
        file = CounterFile.take(self._folder)
        try:
            rows = file.read()
        except DamagedCounters as error:
            _log.error("%s: a counter file is damaged, its counters begin anew: %s", self._folder, error)
            rows = {}
        except OSError:
            file.close()
            raise
        self._file = file
        add(rows, self._rows)  # its rows stay where they are in it
        self._rows.clear()
        self._rows.update(islice(rows.items(), MOST_ROWS))

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class StoreCounters(Counters):
    """What one process of a store counts: what it answers 2yz is received and delivered at once, 4yz attempted, 5yz failed."""

    def _add(self, records: Sequence[Record]) -> None:
        rows = self._rows
        seen: set[str] = set()
        for record in records:
            row = rows[record.sc]
            row[_PLACE_OF_CODE.get(record.co, REPLIES)] += 1
            action = record.ac
            if action is _DEQUEUED:
                row[RECEIVED + 1] += 1
                row[_DELIVERED_RECIPIENTS] += 1
                if (session := record.tr) not in seen:  # a session has one transaction at a time
                    seen.add(session)
                    size = record.sz
                    row[RECEIVED] += 1
                    row[RECEIVED + 2] += size
                    row[DELIVERED] += 1
                    row[DELIVERED + 2] += size
            else:
                _count_one(row, ATTEMPTED if action is _DEFERRED else FAILED, record, record.tr, seen)


def _count_one(row: Row, kind: int, record: Record, message: str, seen: set[str]) -> None:
    """A recipient of a kind, and his message where it is the first of it; one without a name is a message of its own."""
    row[kind + 1] += 1
    known = f"{kind} {message}"
    if not message or known not in seen:
        seen.add(known)
        row[kind] += 1
        row[kind + 2] += record.sz
