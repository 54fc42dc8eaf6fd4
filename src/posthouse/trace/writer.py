"""Appends records to the two transaction logs (logging.md 1, DESIGN 9).

    log/mail.log_current       text, only for channels with the keyword `logging`
    log/transactions.jsonl     JSON lines, always everything

Every call is one write(2) for each file, opened for appending, so lines of several processes never mix. A file that was
renamed away (rotation) is opened anew within a second. A log that cannot be written never stops mail: the fault is
kept in `fault` and the records are dropped.
"""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from posthouse.trace.options import LogOptions
from posthouse.trace.record import Record
from posthouse.trace.text_line import TextLines

TEXT_LOG = "mail.log_current"
JSON_LOG = "transactions.jsonl"
_json = msgspec.json.Encoder()


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
        self.fault = ""

    def write(self, octets: bytes) -> None:
        now = time.monotonic()
        if now - self._looked >= 1:
            self._looked = now
            self._look()
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            os.write(self._fd, octets)
            self.fault = ""
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
            self.close()

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
    """

    def __init__(self, folder: Path, options: LogOptions, logging_channels: Iterable[str]) -> None:
        self._text = _Appender(folder / TEXT_LOG)
        self._json = _Appender(folder / JSON_LOG)
        self._lines = TextLines(options)
        self._channels = frozenset(logging_channels)
        self.options = options
        self.process = f"{os.getpid():x}"

    @property
    def fault(self) -> str:
        """Why the last write failed, or empty."""
        return self._text.fault or self._json.fault

    def write(self, records: Sequence[Record]) -> None:
        """Append the records to both files."""
        if not records:
            return
        self._json.write(_json.encode_lines(records))
        shown = [r for r in records if r.sc in self._channels or r.dc in self._channels]
        if shown:
            render = self._lines.render
            self._text.write("".join([render(r) for r in shown]).encode("utf-8", "replace"))

    def close(self) -> None:
        """Close both files; a later write opens them again."""
        self._text.close()
        self._json.close()
