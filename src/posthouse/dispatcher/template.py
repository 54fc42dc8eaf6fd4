"""The template: a process that has read every module the others need, and does nothing but become them by fork.

What is forked shares its memory until it writes there; five processes that each read the modules for themselves need half as
much again. It is forked from the supervisor before there is a thread or an event loop, holds `data/lock` as every process
of the family does, and ends when the supervisor does. It is a convenience: without it, or when it has been killed, processes
are started as programs, and nothing else is different (`starting`).

Everything forked runs as the template does, which is IMTA_USER: nothing that is asked of it can become root. A Dispatcher
that begins as root is therefore started as a program.

A request is one packet on its line, a SOCK_SEQPACKET pair: JSON `Request`, and beside it the descriptors: where to report,
the new process's output if it is to have its own, and what it inherits, in the order of `targets`. Reports are two packets
of one signed number: the pid with a pidfd (negative: errno, nothing was started), later the exit code (negative: the signal).

The new process has a default set of signals, no descriptor but those it was given, /dev/null as input, the environment and
command line of the request, and runs the module as `python -m` does. A `__main__` that was read with the modules is not read
again: an upgrade of the files gives nobody a beginning that does not fit the rest.
"""

import array
import contextlib
import fcntl
import gc
import importlib.util
import logging
import os
import runpy
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NoReturn

import msgspec

from posthouse.dispatcher.command_line import CommandLine
from posthouse.dispatcher.user import User, become

MODULE = "posthouse.dispatcher.template"
NUMBER = struct.Struct("!i")
MAX_PACKET = 131072
_MAX_PASSED = 32
ANCILLARY = socket.CMSG_SPACE(_MAX_PASSED * array.array("i").itemsize)
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Request(msgspec.Struct):
    """Start this."""

    arguments: tuple[str, ...]
    """as `python -m` gets them: the module first"""
    command_line: tuple[str, ...]
    environment: dict[str, str]
    targets: tuple[int, ...]
    """numbers the inherited descriptors have in the new process"""
    has_output: bool


class Template:
    """The supervisor's end of it.

    Args:
        pid: its process.
        user: whom it and all it forks run as; None = as the supervisor does.
        line: where it is asked.
        life: closed, the template ends.
    """

    def __init__(self, pid: int, user: User | None, line: socket.socket, life: socket.socket) -> None:
        self.pid = pid
        self.user = user
        self.line = line
        self._life = life

    def close(self) -> None:
        """End it. What it started goes on."""
        self.line.close()
        self._life.close()


def make(modules: Sequence[str], user: User | None, keep: int, instance: str, log: logging.Logger) -> Template | None:
    """Read the modules and fork the template; None when something forbids that, which is no fault.

    Args:
        modules: by name; one that cannot be read is told of by the process that needs it.
        user: whom it becomes; None: it stays what we are.
        keep: descriptor of the family's lock.
        instance: its folder, for the command line.
        log: told why there is none.
    """
    command_line, shown = CommandLine(), (sys.executable, "-m", MODULE, "--instance", instance)
    if not command_line.has_room:
        return None
    try:
        for module in modules:
            importlib.import_module(module)
        mains = {module: _code(module) for module in modules if module.endswith(".__main__")}
    except Exception as error:
        log.info("no template: %s", error)
        return None
    gc.collect()
    gc.freeze()
    if len(list(Path("/proc/self/task").iterdir())) != 1:  # a lock some other thread holds would stay locked in a fork
        return None
    line, our_line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    life, our_life = socket.socketpair()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        pid = os.fork()
    except OSError as error:
        log.warning("no template: %s", error)
        return None
    if pid == 0:
        try:
            command_line.write(shown)
            _close_all_but({keep, life.fileno(), line.fileno()})
            if user is not None:
                become(user)
            _Forks(line, life.fileno(), command_line, mains).serve()
        except BaseException:  # whatever it is, this process must never become a second supervisor
            traceback.print_exc()
        finally:
            os._exit(1)
    line.close()
    life.close()
    return Template(pid, user, our_line, our_life)


def passed(ancillary: Iterable[tuple[int, int, bytes]]) -> "array.array[int]":
    """The descriptors that came beside a packet."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds


def _code(module: str) -> CodeType | None:
    spec = importlib.util.find_spec(module)
    get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
    return get_code(module) if get_code is not None else None


def _close_all_but(kept: set[int]) -> None:
    """Our input becomes empty, our output goes where errors go, everything else is closed."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    for entry in list(Path("/proc/self/fd").iterdir()):
        fd = int(entry.name)
        if fd not in kept | {0, 1, 2}:
            with contextlib.suppress(OSError):
                os.close(fd)


def _is_left(report: socket.socket) -> bool:
    """Whether whoever asked has died or lost patience."""
    poll = select.poll()
    poll.register(report, 0)  # hang-up is always told
    return bool(poll.poll(0))


class _Forks:
    """The template at work."""

    def __init__(self, line: socket.socket, life: int, command_line: CommandLine, mains: Mapping[str, CodeType | None]) -> None:
        self._line = line
        self._life = life
        self._command_line = command_line
        self._mains = mains
        self._living: dict[int, tuple[int, socket.socket]] = {}
        """pidfd -> pid, and where its end is reported"""
        self._poll = select.poll()
        self._hearing = {number: signal.getsignal(number) for number in _ENDING}
        """what the supervisor was started with: a signal that its caller ignores stays ignored, as in a program"""

    def serve(self) -> NoReturn:
        """Start what is asked for until the supervisor is gone."""
        for number in _ENDING:  # the supervisor decides when it is over
            signal.signal(number, signal.SIG_IGN)
        for fd in (self._life, self._line.fileno()):
            self._poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._life:
                    os._exit(0)
                elif fd in self._living:
                    self._ended(fd)
                else:
                    self._asked()

    def _asked(self) -> None:
        packet, ancillary, _, _ = self._line.recvmsg(MAX_PACKET, ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        fds = passed(ancillary)
        try:
            if not packet:  # nobody is left who could ask
                self._poll.unregister(self._line.fileno())
            elif fds:
                report = socket.socket(fileno=os.dup(fds[0]))
                self._start(msgspec.json.decode(packet, type=Request), report, fds[1:])
        except (OSError, msgspec.DecodeError):
            pass  # whoever asked sees the end of its line for reports, and starts a program instead
        finally:
            for fd in fds:
                os.close(fd)

    def _start(self, request: Request, report: socket.socket, fds: Sequence[int]) -> None:
        fitting = len(fds) == len(request.targets) + request.has_output and self._command_line.fits(request.command_line)
        if not fitting or _is_left(report):  # two processes must never have the same descriptors
            report.close()
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # one that comes before the new process is itself waits for it
        try:
            pid = os.fork()
        except OSError as error:
            report.send(NUMBER.pack(-(error.errno or 1)))
            report.close()
            return
        else:
            if pid == 0:
                _Born(request, fds, self._command_line, self._hearing, self._mains).live()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        pidfd = os.pidfd_open(pid)
        self._living[pidfd] = pid, report
        self._poll.register(pidfd, select.POLLIN)
        try:
            report.sendmsg([NUMBER.pack(pid)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))])
        except OSError:  # whoever wanted it has died or lost patience
            os.kill(pid, signal.SIGKILL)

    def _ended(self, pidfd: int) -> None:
        pid, report = self._living.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            report.send(NUMBER.pack(code))
        report.close()


class _Born:
    """The new process."""

    def __init__(
        self,
        request: Request,
        fds: Sequence[int],
        command_line: CommandLine,
        hearing: Mapping[signal.Signals, Any],
        mains: Mapping[str, CodeType | None],
    ) -> None:
        self._request = request
        self._mains = mains
        self._fds = fds
        self._command_line = command_line
        self._hearing = hearing

    def live(self) -> NoReturn:
        """Become what was asked for and end with its exit code."""
        code = 1
        try:
            self._take_descriptors()
            request = self._request
            self._command_line.write(request.command_line)
            os.environ.clear()
            os.environ.update(request.environment)
            sys.argv = list(request.arguments)
            sys.orig_argv = list(request.command_line)
            self._hear_signals()
            self._run(request.arguments[0])
            code = 0
        except SystemExit as end:
            code = _exit_code(end)
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    def _run(self, module: str) -> None:
        if (main := self._mains.get(f"{module}.__main__")) is not None:
            sys.modules["__main__"] = ModuleType("__main__")
            exec(main, sys.modules["__main__"].__dict__)  # noqa: S102 - it is ours, as it was read with the others
            return
        for name in (module, f"{module}.__main__"):
            if not hasattr(sys.modules.get(name), "__path__"):  # runpy warns of what has been read already
                sys.modules.pop(name, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)

    def _take_descriptors(self) -> None:
        """Those we were given under the numbers they are known by; all others are closed."""
        targets = ([1] if self._request.has_output else []) + list(self._request.targets)
        beyond = max([2, *targets]) + 1
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, beyond) for fd in self._fds]
        _close_all_but(set(moved))
        for fd, target in zip(moved, targets, strict=True):
            os.dup2(fd, target)
            os.close(fd)
        if self._request.has_output:
            os.dup2(1, 2)

    def _hear_signals(self) -> None:
        for number, handler in self._hearing.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _exit_code(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1
