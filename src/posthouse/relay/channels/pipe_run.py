"""One run of a program, in a thread of its own: started in a session of its own, watched, and never left behind.

The message is the program's standard input, a file without a name, so a program that does not read it is no fault; what it
writes goes to one pipe. It is given its words, a clean environment, the folder `/`, umask 077 and no descriptor of ours.
It ends by itself, or is ended: after its time (SIGTERM, SIGKILL after GRACE seconds), when it has written more than it may, or
when the worker ends. The first process's exit status counts: children that keep the pipe are not waited for, and what is
left of its process group is killed. Root never runs one: see `who`.
"""

import contextlib
import os
import pwd
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from posthouse.relay.channels.pipe_command import ENVIRONMENT

GRACE = 2.0
_KEPT = 4096


class End(Enum):
    """How a run ended."""

    EXITED = auto()
    TOO_LONG = auto()
    TOO_MUCH = auto()
    STOPPED = auto()


class Ended(NamedTuple):
    """How it ended; code is negative for a signal."""

    end: End
    code: int
    output: bytes


@dataclass(frozen=True, slots=True)
class As:
    """Whom to run as. None: as we are."""

    uid: int
    gid: int


def who(user: str) -> As | None:
    """Whom programs run as: the channel's `user`, else this process's own user.

    Raises:
        PermissionError: that would be root, or somebody only root could become; the text says which.
    """
    ours = os.geteuid()
    if not user:
        if ours == 0:
            raise PermissionError("programs are never run as root: set IMTA_USER, or `user` on the channel")
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PermissionError(f"user {user}: there is no such user") from None
    if entry.pw_uid == 0:
        raise PermissionError(f"user {user}: programs are never run as root")
    if ours not in {0, entry.pw_uid}:
        raise PermissionError(f"user {user}: this process has uid {ours} and cannot become another")
    return As(entry.pw_uid, entry.pw_gid) if ours == 0 else None


class Run:
    """A run; `stop` may be called from another thread.

    Args:
        words: path and arguments.
        seconds: how long it may take.
        limit: octets it may write.
        user: whom to run as.
    """

    def __init__(self, words: Sequence[bytes], seconds: float, limit: int, user: As | None) -> None:
        self._words = words
        self._seconds = seconds
        self._limit = limit
        self._user = user
        self._wake = os.eventfd(0)

    def stop(self) -> None:
        """End it at once."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Nobody will call `stop` any more."""
        os.close(self._wake)

    def run(self, message: int) -> Ended:
        """Start it and wait for its end.

        Args:
            message: descriptor of its standard input.

        Raises:
            OSError: it cannot be started.
        """
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        try:
            process = self._start(message, writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        handle = os.pidfd_open(process.pid)
        try:
            return self._watch(process, handle, reading)
        finally:
            os.close(handle)
            os.close(reading)

    def _start(self, message: int, writing: int) -> "subprocess.Popen[bytes]":
        uid, gid, groups = (self._user.uid, self._user.gid, ()) if self._user is not None else (None, None, None)
        return subprocess.Popen(
            list(self._words), stdin=message, stdout=writing, stderr=writing, cwd="/", env=ENVIRONMENT, start_new_session=True,
            umask=0o077, user=uid, group=gid, extra_groups=groups,
        )  # fmt: skip

    def _watch(self, process: "subprocess.Popen[bytes]", handle: int, reading: int) -> Ended:
        poll = select.poll()
        for fd in (handle, reading, self._wake):
            poll.register(fd, select.POLLIN)
        deadline, end, total, kept = time.monotonic() + self._seconds, End.EXITED, 0, b""
        while True:
            ready = {fd for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}
            if reading in ready:
                data = self._read(reading)
                if not data:
                    poll.unregister(reading)
                total, kept = total + len(data), (kept + data)[:_KEPT]
            if handle in ready:
                break
            if total > self._limit:
                end = End.TOO_MUCH
            elif self._wake in ready:
                end = End.STOPPED
            elif time.monotonic() >= deadline:
                end = End.TOO_LONG
            if end is not End.EXITED:
                _end(process.pid, handle, gently=end is End.TOO_LONG)
                break
        with contextlib.suppress(ProcessLookupError):  # the first process is not reaped yet: its group is still its own
            os.killpg(process.pid, signal.SIGKILL)
        while end is End.EXITED and len(kept) < _KEPT and (data := self._read(reading)):
            kept = (kept + data)[:_KEPT]
        return Ended(end, process.wait(), kept)

    @staticmethod
    def _read(reading: int) -> bytes:
        try:
            return os.read(reading, 1 << 16)
        except BlockingIOError:
            return b""


def _end(pid: int, handle: int, *, gently: bool) -> None:
    """End the group; returns when its first process has ended."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    for number in (signal.SIGTERM, signal.SIGKILL) if gently else (signal.SIGKILL,):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
        if poll.poll(GRACE * 1000):
            return
