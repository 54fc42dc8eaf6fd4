"""`data/lock`: one family of processes for an instance (DURABILITY 3.L).

The supervisor takes the lock and every process of the family inherits the descriptor, so the lock is free only when all of
them are dead: no pid file, host name or boot id has to be believed. Nothing is written to the file. Root gives it to whom
`data` belongs to, so that commands that work as that user can ask for it.
"""

import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

WAIT_SECONDS = 10.0
_STEP_SECONDS = 0.05


class AlreadyRunning(Exception):  # noqa: N818 - a fact, not a mistake
    """Processes of another start hold the lock.

    Args:
        pids: of those that can be seen, lowest first.
    """

    def __init__(self, path: Path, pids: list[int]) -> None:
        named = ", ".join(str(pid) for pid in pids) or "of another user"
        super().__init__(f"{path} is held by processes {named}: this instance is running already")


def take(path: Path, seconds: float = WAIT_SECONDS, *, hopeless: Callable[[], bool] = lambda: False) -> int:
    """The descriptor of the lock file, locked; it may be inherited.

    Args:
        path: `data/lock`, made when missing.
        seconds: how long to wait for an old family to end.
        hopeless: asked while waiting; true ends the wait.

    Raises:
        AlreadyRunning: it is still held after that time.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _give_to_owner(fd, path.parent)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline or hopeless():
                os.close(fd)
                raise AlreadyRunning(path, holders(path)) from None
            time.sleep(_STEP_SECONDS)
        else:
            return fd


def _give_to_owner(fd: int, folder: Path) -> None:
    """A file with a second name is left alone: whoever owns the folder may have linked one of root's there."""
    found, owner = os.fstat(fd), folder.stat()
    if os.geteuid() == 0 and found.st_uid == 0 != owner.st_uid and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        os.fchown(fd, owner.st_uid, owner.st_gid)


def is_held(path: Path) -> bool:
    """Whether some process of a family lives. A missing file is not held; one we may not open counts as held."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def wait_until_free(path: Path, seconds: float) -> bool:
    """Wait for the family to end; False when it still lives after so many seconds."""
    deadline = time.monotonic() + seconds
    while is_held(path):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_STEP_SECONDS)
    return True


def holders(path: Path) -> list[int]:
    """The pids of the processes, as far as they can be seen, that have the lock file open; this one left out."""
    try:
        wanted = path.stat()
    except OSError:
        return []
    mine = os.getpid()
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(pid for pid in pids if pid != mine and _has_open(pid, wanted))


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for link in links:
        try:
            if os.path.samestat(link.stat(), wanted):
                return True
        except OSError:
            continue
    return False
