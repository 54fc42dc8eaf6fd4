"""Appends records to the two transaction logs (logging.md 1, DESIGN 9).

    log/mail.log_current       text, only for channels with the keyword `logging`
    log/transactions.jsonl     JSON lines, always everything

Every call is one write(2) for each file, opened for appending, so lines of several processes never mix. A file that was
renamed away (rotation) is opened anew within a second. A log that cannot be written never stops mail: the records are
dropped, and the process log says so once, and how many they were once it can be written again. A line that a full disk
has cut short is ended before the next one; another process that is quicker appends to it, which `reader` understands.
What the records tell is counted as well (`counters`), whether they could be written or not.
"""

import errno
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.record import Record
from posthouse.trace.text_line import TextLines

TEXT_LOG = "mail.log_current"
JSON_LOG = "transactions.jsonl"
_json = msgspec.json.Encoder()
_log = logging.getLogger("posthouse")


def stamp(now: float) -> str:
    """Unix seconds as ISO 8601 UTC with milliseconds, as records carry it."""
    whole = int(now)
    return f"{_second(whole)}.{int((now - whole) * 1000):03d}Z"


_last_second = (0, "")


def _second(whole: int) -> str:
    global _last_second  # noqa: PLW0603 -- one entry of cache for the whole process
    if whole != _last_second[0]:
        _last_second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return _last_second[1]


class _Appender:
    """One file opened for appending, looked at once a second for rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._looked = 0.0
        self._torn = False
        self._lost = 0

    def write(self, octets: bytes) -> None:
        now = time.monotonic()
        if now - self._looked >= 1:
            self._looked = now
            self._look()
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._append(octets)
        except OSError as error:
            self._missed(octets, error)
        else:
            if self._lost:
                self._found_again()

    def _append(self, octets: bytes) -> None:
        whole = b"\n" + octets if self._torn else octets
        written = os.write(self._fd, whole)
        if written == len(whole):
            self._torn = False
            return
        self._torn = self._torn or written > 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _missed(self, octets: bytes, error: OSError) -> None:
        if not self._lost:
            _log.error("%s cannot be written: %s; mail goes on, what happens to it is not recorded", self._path, error.strerror)
        self._lost += octets.count(b"\n")
        self.close()

    def _found_again(self) -> None:
        _log.warning("%s can be written again; some %d records are missing", self._path, self._lost)
        self._lost = 0

    def _look(self) -> None:
        if self._fd < 0:
            return
        try:
            there, mine = self._path.stat(), os.fstat(self._fd)
        except OSError:
            self.close()
            return
        if (there.st_ino, there.st_dev) != (mine.st_ino, mine.st_dev):
            self.close()
            self._torn = False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class TransactionLog:
    """The transaction logs of one instance, as one process sees them.

    Args:
        folder: the instance's log folder.
        options: which fields the text shows.
        logging_channels: names of the channels with the keyword `logging`.
        counters: told of every record.
    """

    def __init__(self, folder: Path, options: LogOptions, logging_channels: Iterable[str], counters: Counters) -> None:
        self._text = _Appender(folder / TEXT_LOG)
        self._json = _Appender(folder / JSON_LOG)
        self._lines = TextLines(options)
        self._channels = frozenset(logging_channels)
        self.options = options
        self.counters = counters
        self.process = f"{os.getpid():x}"

    def write(self, records: Sequence[Record]) -> None:
        """Append the records to both files."""
        if not records:
            return
        self.counters.count(records)
        self._json.write(_json.encode_lines(records))
        shown = [r for r in records if r.sc in self._channels or r.dc in self._channels]
        if shown:
            render = self._lines.render
            self._text.write("".join([render(r) for r in shown]).encode("utf-8", "replace"))

    def close(self) -> None:
        """Close all files; a later write opens them again."""
        self._text.close()
        self._json.close()
        self.counters.close()
