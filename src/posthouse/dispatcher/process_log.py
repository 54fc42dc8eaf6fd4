r"""The process log: one line for each event on stderr, of every process of an instance.

    2026-11-22T15:12:16Z dispatcher[4711] warning: text

A line is given up, after a second for the first one, when nobody reads them (a terminal that was stopped, a journal daemon that
hangs), or when the disk is full: mail goes on, and the next line that is written is preceded by how many were not. Times are
UTC. Newlines in a text become `\n`, so that one event is always one line; the traceback of an unexpected exception is the only
exception. Standard logging, because asyncio has loaded it already and workers must start quickly.
"""

import logging
import select
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

PATIENCE_SECONDS = 1.0
_PIECE = 400
"""characters, of which none is more than ten octets: always less than what a pipe that can be written to takes at once (4,096)"""


class _OneLine(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s {role}[%(process)d] %(level)s: %(text)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 - logging's own name and arguments
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.level = record.levelname.lower()
        record.text = record.message.replace("\n", "\\n")
        return super().formatMessage(record)


class _Lines(logging.StreamHandler["TextIO"]):
    """Writes where somebody reads."""

    def __init__(self, stream: "TextIO") -> None:
        super().__init__(stream)
        self._given_up = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record) + self.terminator
            lost = self._given_up
            if lost and self._has_room():
                self.stream.write(f"{lost} lines of process {record.process} are missing here: they could not be written\n")
                self.flush()
                self._given_up = 0
            for start in range(0, len(text), _PIECE):
                if not self._has_room():
                    self._given_up += 1
                    return
                self.stream.write(text[start : start + _PIECE])
                self.flush()
        except OSError:  # the disk is full; what `handleError` would print could not be written either
            self._given_up += 1
        except Exception:  # as the class we are one of does
            self.handleError(record)

    def _has_room(self) -> bool:
        """Whether a piece can be written at once; waits for that while it could until now."""
        try:
            number = self.stream.fileno()
        except (AttributeError, OSError, ValueError):  # no file at all
            return True
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return bool(poll.poll(0 if self._given_up else PATIENCE_SECONDS * 1000))


def open_process_log(role: str, *, level: int = logging.INFO) -> logging.Logger:
    """Send all logging of this process to stderr under the name of its role, and return the logger to use."""
    handler = _Lines(sys.stderr)
    handler.setFormatter(_OneLine(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return logging.getLogger("posthouse")
