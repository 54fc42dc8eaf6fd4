"""The life of a worker process: hands each passed connection to its program, drains, ends.

A program (`relay.smtp_server`, `store.lmtp_server`) is started as

    python -m PACKAGE ARGUMENTS        (worker_arguments.py)

and its `__main__` is `sys.exit(run_worker(make))`. Promise:

* `ready` is sent only after `Program.start` returned; until then no connection comes.
* SIGTERM, `shutdown` from the Dispatcher and end-of-file on the wire drain: no more connections, `shed()` on every session
  (it sends 421 at its next quiet point), then `Program.stop`, then exit 0. What is still open after 28 s is cut off.
* The Dispatcher gone: the same, but the process ends within 4.5 s whatever happens.
* SIGHUP and `reload`: `Program.reload`; when it raises, the fault is logged and the old state goes on.
* A connection of a TLS_PORT begins with TLS; the program has the same certificate for STARTTLS. The files are read again at a
  reload: the new ones are for handshakes from then on. That the one in use has expired or soon will is told.
* SIGINT is ignored: the terminal sends it to the whole family, the supervisor decides.
* A beat every 10 s tells that the loop turns.

Exit codes: 0 drained, 64 wrong arguments, 70 the program failed, 78 its configuration is bad (each fault on stderr).
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import uvloop

from posthouse.config.certificate_dates import told
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.config.tls_files import dates_in, reason
from posthouse.dispatcher import handoff
from posthouse.dispatcher.family import DRAIN_SECONDS, EX_CONFIG, EX_SOFTWARE, EX_USAGE, end_hard_when_closed, ignore_interrupt
from posthouse.dispatcher.handoff import Connection
from posthouse.dispatcher.process_log import open_process_log
from posthouse.dispatcher.trouble import Since, Tell, Trouble
from posthouse.dispatcher.worker_arguments import Arguments

BEAT_SECONDS = 10.0
_ORPHAN_DRAIN_SECONDS = 3.0
_CUT_SECONDS = DRAIN_SECONDS - 2  # leaves time for an orderly `Program.stop`
_RETIRE_CUT_SECONDS = 600.0
_KEPT_OCTETS = 16 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

__all__ = ["Connection", "Program", "Session", "WorkerContext", "run_worker"]


class Session(Protocol):
    """One connection's protocol object; it is an `asyncio.BaseProtocol` (`Protocol` or `BufferedProtocol`) as well."""

    def idle_since(self) -> float | None:
        """The loop's time since when it has been outside a transaction; None inside one."""

    def shed(self) -> None:
        """Send 421 at the next quiet point and close. Called again it changes nothing."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a program gets of its worker.

    Args:
        instance, service, channel: as on the command line.
        loop: the worker's event loop.
        log: the process log.
    """

    instance: Instance
    service: str
    channel: str
    loop: asyncio.AbstractEventLoop
    log: logging.Logger
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    """the service's certificate as it was last read; None: it has none"""
    tell: Tell = lambda _: None
    """told all that is wrong with the program now, as often as it likes: `posthouse status` shows it"""


class Program(Protocol):
    """What a worker serves."""

    async def start(self, worker: WorkerContext) -> None:
        """Make ready to serve. Raises `ConfigurationError` when the configuration forbids it."""

    def session(self, connection: Connection, closed: Callable[[], None]) -> Session:
        """The protocol object of a new connection; it calls `closed` once, from `connection_lost`."""

    async def stop(self) -> None:
        """All sessions have ended: make the last things durable and release what is held."""

    async def reload(self) -> None:
        """Read the configuration again. When it is bad, raise and go on with the old one."""


def run_worker(make: Callable[[Instance, str, str], Program]) -> int:
    """Run a program until it is drained; returns the exit code.

    Args:
        make: makes the program from instance, service name and channel name; does no I/O.
    """
    try:
        arguments = Arguments.parse(sys.argv[1:])
    except ValueError as error:
        sys.stderr.write(f"worker: {error}; workers are started by the Dispatcher\n")
        return EX_USAGE
    ignore_interrupt()
    if arguments.stacksize >= 32768:
        threading.stack_size(arguments.stacksize)
    log = open_process_log(arguments.service or "worker", level=logging.DEBUG if arguments.debug else logging.INFO)
    instance = Instance(arguments.instance)
    program = make(instance, arguments.service, arguments.channel)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Worker(program, arguments, log).run(instance))


def _keep_freed_memory() -> None:
    """Let the C library keep some freed memory: pages given back and taken anew cost a fifth of a 1 MiB message's CPU.

    Where the library has no `mallopt` (it is not glibc) nothing changes.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(option, _KEPT_OCTETS)


class _Worker:
    def __init__(self, program: Program, arguments: Arguments, log: logging.Logger) -> None:
        self._program = program
        self._arguments = arguments
        self._log = log
        self._sessions: dict[int, Session] = {}
        self._transports: dict[int, asyncio.BaseTransport] = {}
        self._shed: set[int] = set()  # told to end, not gone yet: others are asked for next
        self._opening: set[asyncio.Task[None]] = set()
        self._reloading: asyncio.Task[None] | None = None
        self._leaving = False  # no more connections; ends with the last session
        self._draining = False  # and every session was told to end
        self._started = False
        self._troubles: tuple[Trouble, ...] = ()  # what was told last
        self._of_program: tuple[Trouble, ...] = ()
        self._of_certificate: tuple[Trouble, ...] = ()
        self._dates: tuple[float, float] | None = None
        self._since = Since(self._certificate_told)
        self._tls: ssl.SSLContext | None = None
        self._loop = cast("asyncio.AbstractEventLoop", None)
        self._wire = cast("handoff.Wire", None)
        self._finished = cast("asyncio.Future[None]", None)

    async def run(self, instance: Instance) -> int:
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        sock = socket.socket(fileno=self._arguments.fd)
        sock.setblocking(False)
        sock.set_inheritable(False)
        self._wire = handoff.Wire(sock, self._loop, self._received, self._gone)
        end_hard_when_closed(self._arguments.fd)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminated)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        context = WorkerContext(
            instance, self._arguments.service, self._arguments.channel, self._loop, self._log, lambda: self._tls,
            self._tell,
        )  # fmt: skip
        try:
            self._read_certificate()
            await self._program.start(context)
        except ConfigurationError as error:
            reasons = tuple(str(fault) for fault in error.faults)
            sys.stderr.write("".join(f"{reason}\n" for reason in reasons))
            self._wire.send(handoff.Failed(EX_CONFIG, reasons))
            return EX_CONFIG
        except Exception as error:
            self._log.exception("cannot start")
            self._wire.send(handoff.Failed(EX_SOFTWARE, (f"{self._arguments.service}: cannot start: {error}",)))
            return EX_SOFTWARE
        _keep_freed_memory()
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 50, 50)
        self._started = True
        self._wire.send(handoff.Ready(os.getpid()))
        self._beat()
        self._finish_when_empty()
        await self._finished
        return await self._stop()

    async def _stop(self) -> int:
        if self._reloading is not None:
            with contextlib.suppress(Exception):
                await self._reloading
        try:
            await self._program.stop()
        except Exception:
            self._log.exception("did not end cleanly")
            return EX_SOFTWARE
        finally:
            self._wire.close()
        return 0

    def _read_certificate(self) -> None:
        files = self._arguments.tls
        if files is None:
            return
        try:
            self._tls = files.context()
            self._dates = dates_in(files.certificate)
        except OSError as error:
            raise ConfigurationError((Fault(str(files.certificate), 0, f"cannot be used: {reason(error)}"),)) from error

    def _beat(self) -> None:
        self._wire.send(handoff.Beat())
        self._look_at_dates()
        self._loop.call_later(BEAT_SECONDS, self._beat)

    def _tell(self, troubles: Sequence[Trouble]) -> None:
        self._of_program = tuple(troubles)
        self._send_troubles()

    def _certificate_told(self, troubles: Sequence[Trouble]) -> None:
        self._of_certificate = tuple(troubles)
        self._send_troubles()

    def _send_troubles(self) -> None:
        all_of_them = (*self._of_program, *self._of_certificate)
        if all_of_them != self._troubles:
            self._troubles = all_of_them
            self._wire.send(handoff.Troubled(all_of_them))

    def _look_at_dates(self) -> None:
        words, files = told(self._dates, time.time()), self._arguments.tls
        self._since.say({"certificate": f"{files.certificate}: {words}; renew it, then reload"} if words and files else {})

    # what the Dispatcher says

    def _received(self, packet: bytes, fds: list[int]) -> None:
        message = handoff.decode_to_worker(packet)
        match message:
            case handoff.Handed(connection=connection):
                task = self._loop.create_task(self._open(connection, socket.socket(fileno=fds[0])))
                self._opening.add(task)
                task.add_done_callback(self._opened)
            case handoff.AskIdlest():
                self._wire.send(self._idlest())
            case handoff.Shed(n=n):
                session = self._sessions.get(n)
                if session is not None:
                    self._shed.add(n)
                    session.shed()
            case handoff.Shutdown(seconds=seconds):
                self._leave(seconds)
            case handoff.Reload():
                self._reload()

    def _gone(self) -> None:
        self._log.warning("the Dispatcher is gone: ending")
        self._drain(_ORPHAN_DRAIN_SECONDS)

    def _terminated(self) -> None:
        self._wire.send(handoff.Leaving())
        self._drain(_CUT_SECONDS)

    # connections

    async def _open(self, connection: Connection, sock: socket.socket) -> None:
        n = connection.serial

        def closed() -> None:
            self._sessions.pop(n, None)
            self._shed.discard(n)
            self._transports.pop(n, None)
            self._wire.send(handoff.Closed(n))
            self._finish_when_empty()

        def make() -> asyncio.BaseProtocol:
            session = self._program.session(connection, closed)
            self._sessions[n] = session
            return cast("asyncio.BaseProtocol", session)

        self._wire.send(handoff.Accepted(n))  # before anything is said: from now on nobody else may serve it
        try:
            tls = self._tls if connection.tls else None
            if connection.tls and tls is None:
                raise ConfigurationError((Fault(connection.service, 0, "TLS_PORT without TLS_CERTIFICATE"),))
            transport, _ = await self._loop.connect_accepted_socket(make, sock, ssl=tls)
        except (ConnectionError, ssl.SSLError, TimeoutError) as error:
            self._log.info("connection %s from %s ended before its session: %s", n, connection.peer[0], error)
            sock.close()
            closed()
            return
        except Exception:
            self._log.exception("connection %s from %s could not be served", n, connection.peer[0])
            sock.close()
            closed()
            return
        session = self._sessions.get(n)
        if session is None:  # over already
            return
        self._transports[n] = transport
        if self._draining:
            session.shed()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._finish_when_empty()

    def _idlest(self) -> handoff.Idle:
        best: int | None = None
        oldest = 0.0
        for n, session in self._sessions.items():
            since = session.idle_since() if n not in self._shed else None
            if since is not None and (best is None or since < oldest):
                best, oldest = n, since
        return handoff.Idle(best, self._loop.time() - oldest if best is not None else 0.0)

    # the end

    def _leave(self, seconds: float) -> None:
        self._leaving = True
        if seconds <= 0:
            self._drain(_CUT_SECONDS)
        else:
            self._loop.call_later(seconds, self._drain, _RETIRE_CUT_SECONDS)
            self._finish_when_empty()

    def _drain(self, seconds: float) -> None:
        self._leaving = True
        if self._draining:
            return
        self._draining = True
        for session in list(self._sessions.values()):
            session.shed()
        self._loop.call_later(seconds, self._cut)
        self._finish_when_empty()

    def _cut(self) -> None:
        for transport in list(self._transports.values()):
            transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        self._loop.call_later(0.5, self._finish)

    def _finish_when_empty(self) -> None:
        if self._leaving and self._started and not self._sessions and not self._opening:
            self._finish()

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    # reload

    def _reload(self) -> None:
        if self._reloading is None and self._started and not self._leaving:
            self._reloading = self._loop.create_task(self._run_reload())

    async def _run_reload(self) -> None:
        try:
            self._read_certificate()
            self._look_at_dates()
            await self._program.reload()
            self._log.info("configuration read again")
        except ConfigurationError as error:
            for fault in error.faults:
                self._log.error("reload refused, the old configuration goes on: %s", fault)
        except Exception:
            self._log.exception("reload failed, the old configuration goes on")
        finally:
            self._reloading = None
