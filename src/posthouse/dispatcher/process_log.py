r"""The process log: one line for each event on stderr, of every process of an instance.

    2026-11-22T15:12:16Z dispatcher[4711] warning: text

Times are UTC. Newlines in a text become `\n`, so that one event is always one line; the traceback of an unexpected
exception is the only exception. Standard logging, because asyncio has loaded it already and workers must start quickly.
"""

import logging
import sys
import time


class _OneLine(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__(f"%(asctime)s {role}[%(process)d] %(level)s: %(text)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 - logging's own name and arguments
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.level = record.levelname.lower()
        record.text = record.message.replace("\n", "\\n")
        return super().formatMessage(record)


def open_process_log(role: str, *, level: int = logging.INFO) -> logging.Logger:
    """Send all logging of this process to stderr under the name of its role, and return the logger to use."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return logging.getLogger("posthouse")
