"""A word to who waits at the terminal: what a command waits for, when that takes more than two seconds."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 2.0


@contextmanager
def told_when_slow(text: str) -> Iterator[None]:
    """Write the line to stderr if what is done meanwhile takes longer than SECONDS."""
    timer = threading.Timer(SECONDS, sys.stderr.write, (f"{text}\n",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
