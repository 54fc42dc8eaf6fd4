"""UNIX sockets in an instance's run folder, whatever the length of its path.

A socket address has room for 107 octets; a path may be longer. So the folder is opened and the socket is named through
/proc/self/fd, which is short for every folder.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from posthouse.dispatcher.control import JOB_CONTROLLER

NAME = JOB_CONTROLLER


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for the path that fits into a socket address while the block runs.

    Raises:
        OSError: the folder cannot be opened.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
