"""The family of processes of one instance: what a child inherits, how it tells that it is ready, how it learns of the end.

Every child gets in its environment:

    POSTHOUSE_LOCK_FD     descriptor of data/lock (DURABILITY 3.L). It must stay open in every process and be passed on to
                          every child (`pass_fds=inherited_locks()`): a free lock then means that the old family is dead.
    POSTHOUSE_PARENT_FD   one end of a socketpair (workers of the Dispatcher: the hand-off wire instead). The child writes
                          one JSON line `{"ready": true, ...}` on it. End-of-file on it means that the parent is gone:
                          finish what must be finished and end within `ORPHAN_SECONDS`.

Started without these (by hand, in a test) a process has no parent to watch and holds no lock.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from posthouse.dispatcher.handoff import Loop

LOCK_VARIABLE = "POSTHOUSE_LOCK_FD"
PARENT_VARIABLE = "POSTHOUSE_PARENT_FD"
ORPHAN_SECONDS = 4.5
DRAIN_SECONDS = 30.0

EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_TEMPFAIL = 75
EX_CONFIG = 78


def inherited_locks() -> tuple[int, ...]:
    """The lock descriptors of this process, to be given to each child as `pass_fds`."""
    text = os.environ.get(LOCK_VARIABLE, "")
    return (int(text),) if text.isdigit() else ()


def end_hard_when_closed(fd: int) -> None:
    """End this process `ORPHAN_SECONDS` after the other end of a socketpair closed, its event loop blocked or not.

    A thread waits for the hang-up, so that a loop busy with replay or a hung disk cannot keep an orphan alive.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(fd, 0)  # hang-up is always told
        while not poll.poll():
            pass
        time.sleep(ORPHAN_SECONDS)
        os._exit(EX_TEMPFAIL)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def leave(code: int) -> NoReturn:
    """End the process: what is buffered is written, then the kernel takes the rest.

    For programs whose work is finished and safe. Taking the interpreter apart object by object costs each process
    some 25 ms of CPU and changes nothing.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def ignore_interrupt() -> None:
    """Leave control-C to the supervisor: the terminal sends it to every process of the group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Parent:
    """This child's end of the parent's pipe.

    Args:
        sock: the end, not blocking; None when there is no parent to watch.
    """

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    @classmethod
    def from_environment(cls) -> "Parent":
        """The end named by POSTHOUSE_PARENT_FD. The variable is removed, so that grandchildren do not hold the pipe."""
        text = os.environ.pop(PARENT_VARIABLE, "")
        if not text.isdigit():
            return cls(None)
        sock = socket.socket(fileno=int(text))
        sock.setblocking(False)
        sock.set_inheritable(False)
        return cls(sock)

    def announce(self, **facts: Any) -> None:
        """Write one JSON line to the parent, e.g. `announce(ready=True)`. A parent that is gone is no error here."""
        if self._sock is None:
            return
        try:
            self._sock.send(msgspec.json.encode(facts) + b"\n")
        except OSError:
            return

    def watch(self, loop: Loop, gone: Callable[[], None]) -> None:
        """Call `gone` once when the parent's end is closed. From then on the process ends hard after ORPHAN_SECONDS."""
        if self._sock is None:
            return
        sock = self._sock

        def readable() -> None:
            try:
                if sock.recv(4096):
                    return
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                pass
            loop.remove_reader(sock.fileno())
            gone()

        end_hard_when_closed(sock.fileno())
        loop.add_reader(sock.fileno(), readable)
