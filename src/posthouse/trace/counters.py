"""Counts what the transaction log's records tell of channels (logging.md 6), in memory, and keeps it in a counter file.

Counting is adding to numbers of this process; they go to the file SAVE_SECONDS later, with all that was counted meanwhile, so a
process that is killed loses the counts of a moment. A counter file that is damaged is told of once and counted anew; one that
cannot be written is told of once, tried again now and then, and stops nothing.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from posthouse.trace.counter_file import MOST_ROWS, CounterFile, DamagedCounters
from posthouse.trace.figures import (
    ATTEMPTED,
    CODES,
    FAILED,
    FIRST,
    LATER,
    LEFT_RECIPIENTS,
    QUOTA_CODES,
    QUOTA_REFUSED,
    RECEIVED,
    REJECTED,
    REPLIES,
    SUBMITTED,
    TAKEN,
    TAKEN_BLOCKS,
    Row,
    add,
    new_row,
)
from posthouse.trace.record import Action, Record

SAVE_SECONDS = 0.05
PATIENCE = 10.0
"""seconds a file that could not be written is left alone"""
_log = logging.getLogger("posthouse")
_ENQUEUED, _DEQUEUED, _RETURNED, _DROPPED = Action.ENQUEUED, Action.DEQUEUED, Action.RETURNED, Action.DROPPED
_COUNTED = {
    Action.DEFERRED: ATTEMPTED,
    Action.PARTLY: ATTEMPTED,
    Action.RETURNED: FAILED,
    Action.DROPPED: FAILED,
    Action.REFUSED: REJECTED,
}
_PLACE_OF_CODE = {code: place for place, code in enumerate(CODES, REPLIES + 1)}
_RECEIVED_RECIPIENTS, _RECEIVED_BLOCKS = RECEIVED + 1, RECEIVED + 2
_SUBMITTED_RECIPIENTS, _SUBMITTED_BLOCKS = SUBMITTED + 1, SUBMITTED + 2


Later = Callable[[float, Callable[[], None]], object]


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
        later: calls a function after so many seconds, as the event loop does.
    """

    def __init__(self, folder: Path, later: Later) -> None:
        self._folder = folder
        self._later = later
        self._rows = _Channels()
        self._seen: set[str] = set()
        self._file: CounterFile | None = None
        self._unsaved = False
        self._failing = False

    def count(self, records: Sequence[Record]) -> None:
        """Count what they tell."""
        rows, seen = self._rows, self._seen
        message = file = ""
        for record in records:
            action = record.ac
            if action is _DEQUEUED:
                rows[record.sc][LEFT_RECIPIENTS] += 1
            elif action is _ENQUEUED:
                if channel := record.dc:  # else it leads where another recipient leads
                    into, out, size = rows[channel], rows[record.sc], record.sz
                    into[_RECEIVED_RECIPIENTS] += 1
                    out[_SUBMITTED_RECIPIENTS] += 1
                    if record.ei != message:  # its records stand together
                        message, file = record.ei, record.fi
                        out[SUBMITTED] += 1
                        out[_SUBMITTED_BLOCKS] += size
                    elif record.fi == file or record.fi in seen:
                        continue
                    else:
                        seen.add(record.fi)
                    into[RECEIVED] += 1
                    into[_RECEIVED_BLOCKS] += size
            elif action in _COUNTED:
                if action is _RETURNED or action is _DROPPED:
                    rows[record.sc][LEFT_RECIPIENTS] += 1
                if record.co in QUOTA_CODES and not record.tr:
                    rows[record.sc][QUOTA_REFUSED] += 1
                _count_one(rows[record.sc], _COUNTED[action], record, record.fi or record.ei, seen)
        if seen:
            seen.clear()
        if not self._unsaved:
            self._save_soon()

    def left(self, channel: str, blocks: int, waited: float, attempts: int) -> None:
        """A copy has left the queue: delivered, returned or dropped, to its last recipient.

        Args:
            channel: dequeued from.
            blocks: its size.
            waited: seconds in the queue.
            attempts: made before this one.
        """
        row, at = self._rows[channel], LATER if attempts else FIRST
        row[at] += 1
        row[at + 1] += blocks
        row[at + 2] += int(waited * 1000) if waited > 0 else 0
        if not self._unsaved:
            self._save_soon()

    def close(self) -> None:
        """Keep everything and leave the file to the next process."""
        self._save()
        self._release()
        self._rows.clear()  # the file has them

    def _save_soon(self, seconds: float = SAVE_SECONDS) -> None:
        self._unsaved = True
        self._later(seconds, self._save)

    def _save(self) -> None:
        if not self._unsaved:
            return
        self._unsaved = False
        try:
            if self._file is None or self._file.is_removed:
                self._take()
            assert self._file is not None
            self._file.write(self._rows)
            self._failing = False
        except OSError as error:
            self._save_soon(PATIENCE)
            if not self._failing:
                self._failing = True
                _log.error("%s: counters cannot be kept: %s; mail goes on", self._folder, error.strerror or error)

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

    def count(self, records: Sequence[Record]) -> None:
        """Count what they tell."""
        rows, place_of_code, seen = self._rows, _PLACE_OF_CODE, self._seen
        session = ""
        for record in records:
            row = rows[record.sc]
            row[place_of_code.get(record.co, REPLIES)] += 1
            if record.ac is _DEQUEUED:
                if record.tr != session:  # it has one transaction at a time, whose records stand together
                    session = record.tr
                    row[TAKEN] += 1
                    row[TAKEN_BLOCKS] += record.sz
            elif record.ac in _COUNTED:
                _count_one(row, _COUNTED[record.ac], record, record.tr, seen)
        if seen:
            seen.clear()
        if not self._unsaved:
            self._save_soon()


def _count_one(row: Row, kind: int, record: Record, message: str, seen: set[str]) -> None:
    """A recipient of a kind, and his message where it is the first of it; one without a name is a message of its own."""
    row[kind + 1] += 1
    known = f"{kind} {message}"
    if not message or known not in seen:
        seen.add(known)
        row[kind] += 1
        row[kind + 2] += record.sz
