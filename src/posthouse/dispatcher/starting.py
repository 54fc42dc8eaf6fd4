"""Starting a process of the family: forked from the template where there is one, else as a program.

Both ways the new process is the same to everybody: command line, environment, inherited descriptors, empty input, exit code.
Forked, it is a child of the template, which reports its end. A template that was killed cannot report: the end is seen all
the same, its exit code is then taken to be SIGKILL. One that does not answer for PATIENCE_SECONDS is not asked again by anybody:
who asks is an event loop.

    POSTHOUSE_TEMPLATE_FD     the line on which the Dispatcher and the job controller ask the template. What they start
                              inherits neither the variable nor the line.
"""

import array
import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from posthouse.dispatcher import template
from posthouse.dispatcher.user import User, runs_as

TEMPLATE_VARIABLE = "POSTHOUSE_TEMPLATE_FD"
PATIENCE_SECONDS = 5.0
_REPORT_SECONDS = 2.0
_PROGRAM = 2
"""words of a command before its module: the interpreter and `-m`"""


class Process(Protocol):
    """A started process."""

    pid: int

    def fileno(self) -> int:
        """A descriptor that is readable when it has ended; open until its exit code has been asked for."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""

    def wait(self) -> int:
        """Its exit code, once it has ended."""

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it has ended."""


class _Started(ABC):
    """A process and its pidfd."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._code: int | None = None

    def fileno(self) -> int:
        return self._pidfd

    def poll(self) -> int | None:
        return self.wait() if self._code is None and self._has_ended(0) else self._code

    def wait(self) -> int:
        if self._code is None:
            self._has_ended(None)
            self._code = self._collect()
            os.close(self._pidfd)
        return self._code

    def send_signal(self, number: int) -> None:
        """To this process and nobody else, even when its number has been given away."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _has_ended(self, milliseconds: int | None) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(milliseconds))

    @abstractmethod
    def _collect(self) -> int:
        """The exit code, now that it has ended."""


class Program(_Started):
    """A process of our own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(process.pid, os.pidfd_open(process.pid))
        self._process = process

    def _collect(self) -> int:
        return self._process.wait()


class Forked(_Started):
    """A process of the template's, which reports its end."""

    def __init__(self, pid: int, pidfd: int, report: socket.socket) -> None:
        super().__init__(pid, pidfd)
        self._report = report

    def disown(self) -> None:
        """It is not what we asked for: nothing is done with it."""
        os.close(self._pidfd)
        self._report.close()

    def _collect(self) -> int:
        self._report.settimeout(_REPORT_SECONDS)
        packet = b""
        with contextlib.suppress(OSError):
            packet = self._report.recv(template.NUMBER.size)
        self._report.close()
        if packet:
            return int(template.NUMBER.unpack(packet)[0])
        with contextlib.suppress(ChildProcessError):  # without its parent it is the supervisor's to collect
            os.waitpid(self.pid, os.WNOHANG)
        return -signal.SIGKILL


def start(
    command: Sequence[str],
    *,
    pass_fds: Sequence[int],
    environment: Mapping[str, str],
    output: int | None = None,
    user: User | None = None,
    line: socket.socket | None = None,
) -> Process:
    """Start a process. Raises OSError when there is no such program or no process to be had.

    Args:
        command: program and arguments.
        pass_fds: what it inherits, under the same numbers.
        environment: of the new process.
        output: where its output and errors go; None: output goes where errors go.
        user: whom it runs as; None = as we do. Forked, it runs as the template does.
        line: to the template; None: the one this process inherited, if any.
    """
    told = dict(environment)
    if told.get(TEMPLATE_VARIABLE) not in {str(fd) for fd in pass_fds}:
        told.pop(TEMPLATE_VARIABLE, None)
    forked = _fork(command, pass_fds, told, output, line)
    if forked is not None:
        if user is None or runs_as(forked.pid, forked.fileno(), user):
            return forked
        forked.disown()
    return Program(
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2 if output is None else output,
            stderr=output,
            pass_fds=pass_fds,
            env=told,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=list(user.groups) if user else None,
        )
    )


def _fork(
    command: Sequence[str], pass_fds: Sequence[int], environment: dict[str, str], output: int | None, line: socket.socket | None
) -> Forked | None:
    """None: it must be started as a program."""
    inherited = os.environ.get(TEMPLATE_VARIABLE, "")
    if tuple(command[:_PROGRAM]) != (sys.executable, "-m") or (line is None and not inherited.isdigit()):
        return None
    arguments, shown = tuple(command[_PROGRAM:]), tuple(command)
    try:
        packet = msgspec.json.encode(template.Request(arguments, shown, environment, tuple(pass_fds), output is not None))
    except UnicodeEncodeError:  # JSON is for UTF-8 only, names of files are not
        return None
    if len(packet) > template.MAX_PACKET:
        return None
    given = [*([] if output is None else [output]), *pass_fds]
    asked = line if line is not None else socket.socket(fileno=int(inherited))
    try:
        return _ask(asked, packet, given)
    finally:
        if line is None:
            asked.detach()


def _ask(line: socket.socket, packet: bytes, given: Sequence[int]) -> Forked | None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    passing = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno(), *given]))]
    pid, fds = 0, array.array("i")
    try:
        line.sendmsg([packet], passing, socket.MSG_DONTWAIT)
        theirs.close()
        pid, fds = _answer(line, ours)
    except OSError:  # the template is gone, or hangs
        pass
    finally:
        theirs.close()
    if pid > 0 and fds:
        return Forked(pid, fds[0], ours)
    ours.close()
    if pid:  # positive: it lives, and we had no room for its descriptor; it ends with its parent's end of whatever it was given
        raise OSError(-pid, os.strerror(-pid)) if pid < 0 else OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return None


def _answer(line: socket.socket, ours: socket.socket) -> tuple[int, "array.array[int]"]:
    """The first report. Without one in time the template finds nobody at the other end, and nobody asks it again."""
    ours.settimeout(PATIENCE_SECONDS)
    try:
        return _report(ours)
    except TimeoutError:
        line.shutdown(socket.SHUT_WR)  # all who have this line
        ours.shutdown(socket.SHUT_RD)
        return _report(ours)  # what came just before


def _report(ours: socket.socket) -> tuple[int, "array.array[int]"]:
    answer, ancillary, _, _ = ours.recvmsg(template.NUMBER.size, template.ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    return int(template.NUMBER.unpack(answer)[0]) if answer else 0, template.passed(ancillary)
