"""One service of dispatcher.cnf at work: its ports, its pool's decisions carried out, its counters.

Every accepted connection is counted, asked about (PORT_ACCESS, then the service's DNS lists), and handed to the worker
the pool names, or kept until there is one. It is kept open here until its worker says that it has taken it over.
"""

import asyncio
import logging
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from posthouse.config.dispatcher_cnf import Service
from posthouse.dispatcher import handoff, pool_action
from posthouse.dispatcher.access import Access, ask_lists
from posthouse.dispatcher.debug import Bit, DebugLog
from posthouse.dispatcher.family import EX_SOFTWARE
from posthouse.dispatcher.farewell import Farewells
from posthouse.dispatcher.handoff import Connection
from posthouse.dispatcher.lifetime import Limits, State
from posthouse.dispatcher.listener import Listener
from posthouse.dispatcher.pool import Pool
from posthouse.dispatcher.trouble import Since, Trouble
from posthouse.dispatcher.worker_process import WorkerProcess
from posthouse.mapping import access as mapping_access

RETIRE_SECONDS = 300.0
"""how long a retiring worker's kept sessions may go on before they are told to come again"""
_STATISTICS_SECONDS = 60.0
canonical_address = lru_cache(4096)(mapping_access.canonical_address)  # parsing costs more than the rest of an accept
TOO_MANY = "421 4.7.0 Too many connections from your address"


def limits_of(service: Service) -> Limits:
    """The options of a service that decide over its workers."""
    return Limits(
        min_procs=service.min_procs,
        max_procs=service.max_procs,
        min_conns=service.min_conns,
        max_conns=service.max_conns,
        max_shutdown=service.max_shutdown,
        max_life_time=service.max_life_time,
        max_life_conns=service.max_life_conns,
        max_idle_time=service.max_idle_time,
        historical_time=service.historical_time,
        max_handoffs=service.max_handoffs,
    )


def listeners_of(service: Service) -> list[Listener]:
    """The ports of a service, bound. Raises `ListenError`; what was bound until then is closed."""
    made: list[Listener] = []
    try:
        for ports, tls in ((service.ports, False), (service.tls_ports, True)):
            made += [Listener(port, service.interface_address, tls=tls, backlog=service.backlog) for port in ports]
    except Exception:
        for listener in made:
            listener.close()
        raise
    return made


@dataclass(slots=True)
class Family:
    """What all services of a Dispatcher share."""

    loop: asyncio.AbstractEventLoop
    log: logging.Logger
    access: Access
    farewells: Farewells
    serials: Iterator[int]
    changed: Callable[[], None] = field(default=lambda: None)
    """called when a worker became ready, failed or ended"""


class ServiceAtWork:
    """A service that listens.

    Args:
        service: its section.
        listeners: its ports, bound by `listeners_of`.
        command: program and arguments of a worker, without `--fd`.
        family: what it shares with the others.
    """

    def __init__(self, service: Service, listeners: list[Listener], command: Sequence[str], family: Family) -> None:
        self.service = service
        self.listeners = listeners
        self.counters: Counter[str] = Counter()
        self.failure: tuple[int, tuple[str, ...]] | None = None
        """exit code and reasons of a worker that could not start or gave up by itself"""
        self.pool = Pool(limits_of(service))
        self._command = command
        self._family = family
        self._log = family.log
        self._debug = DebugLog(service.debug, family.log)
        self._processes: dict[int, WorkerProcess] = {}
        self._pids: dict[int, int] = {}  # number -> pid, kept while its worker is in the history
        self._kept: dict[int, tuple[socket.socket, Connection]] = {}  # what no worker has taken over yet
        self._asking: set[asyncio.Task[None]] = set()
        self._told = time.monotonic()
        self._troubles: dict[int, tuple[Trouble, ...]] = {}
        self._unable = Since(lambda found: self._troubles.update({0: tuple(found)}))

    # life

    def begin(self) -> None:
        """Start the workers of MIN_PROCS; the ports stay closed."""
        self._do(self.pool.begin(self._now()))

    def open(self) -> None:
        """Accept connections."""
        for listener in self.listeners:
            listener.open(self._family.loop, partial(self._accepted, listener))

    def tick(self) -> None:
        """A second has passed."""
        self._do(self.pool.tick(self._now()))
        if self._debug.wants(Bit.STATISTICS) and self._now() - self._told >= _STATISTICS_SECONDS:
            self._told = self._now()
            self._log.info("%s: %s", self.service.name, self.statistics())

    def drain(self) -> None:
        """Close the ports, drop what waits, tell every worker to end its sessions with 421 and to exit."""
        for listener in self.listeners:
            listener.close()
        self.pool.close()
        for n in self.pool.forget_waiting():
            self._refuse(self._kept.pop(n)[0], "421 4.3.2 Service closing")
        for process in self._processes.values():
            process.send(handoff.Shutdown(0))

    def kill(self) -> None:
        """End all workers by force."""
        for process in self._processes.values():
            process.kill()

    def reload(self) -> None:
        """Have every worker read its configuration again; why the last one could not start may be over."""
        self._unable.say({})
        for process in self._processes.values():
            process.send(handoff.Reload())

    @property
    def is_gone(self) -> bool:
        """Whether no worker process is left."""
        return not self._processes

    # status

    def processes(self) -> list[dict[str, Any]]:
        """What `status` tells of the workers; the ended ones for HISTORICAL_TIME."""
        wall = time.time() - self._now()
        role = "smtp" if "smtp" in self.service.image else "lmtp"
        found: list[dict[str, Any]] = [
            {
                "pid": self._pids.get(worker.number, 0),
                "role": role,
                "service": self.service.name,
                "state": worker.state.value,
                "active": len(worker.active),
                "served": worker.served,
                "since": wall + worker.started,
            }
            for worker in self.pool.workers.values()
        ]
        for ended in self.pool.history:
            facts = {"pid": self._pids.get(ended.number, 0), "role": role, "service": self.service.name, "state": "ended"}
            found.append({**facts, "active": 0, "served": ended.served, "since": wall + ended.started})
        return found

    def troubles(self) -> list[Trouble]:
        """What its workers say is wrong with them, and why the last one could not start."""
        return [trouble for told in self._troubles.values() for trouble in told]

    def statistics(self) -> dict[str, int]:
        """The service's counters (dispatcher-cnf.md 5)."""
        names = ("accepted", "refused_port_access", "refused_dns", "refused_address", "handed_off", "shed", "started")
        counted = self.counters + self.pool.counters
        facts = {name: counted[name] for name in (*names, "expired_conns", "expired_time", "expired_idle", "died")}
        return {**facts, "waiting": self.pool.waiting, "active": self.pool.active, "peak": self.pool.peak}

    # connections

    def _accepted(self, listener: Listener, sock: socket.socket, address: tuple[str, int]) -> None:
        self.counters["accepted"] += 1
        peer = (canonical_address(address[0]), address[1])
        local = (listener.address or canonical_address(sock.getsockname()[0]), listener.port)
        probe = f"TCP|{local[0]}|{local[1]}|{peer[0]}|{peer[1]}"  # mapping.access.port_probe, of addresses already canonical
        self._debug.say(Bit.SERVICE, "%s: accepted %s", self.service.name, probe)
        refusal = self._family.access.ask(probe)
        if refusal is not None:
            self.counters["refused_port_access"] += 1
            self._log.info("%s: %s refused by PORT_ACCESS", self.service.name, probe)
            self._refuse(sock, "" if listener.tls else refusal.text)
            return
        n = next(self._family.serials)
        connection = Connection(self.service.name, self.service.channel, local, peer, probe, listener.tls, n)
        if self.service.dns_verify_domains:
            task = self._family.loop.create_task(self._look_up(sock, connection))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        else:
            self._admit(sock, connection)

    async def _look_up(self, sock: socket.socket, connection: Connection) -> None:
        look_up = partial(self._family.loop.getaddrinfo, port=None)
        refusal = await ask_lists(connection.peer[0], connection.local[1], self.service.dns_verify_domains, look_up)
        if refusal is None:
            self._admit(sock, connection)
            return
        self.counters["refused_dns"] += 1
        self._log.info("%s: %s refused by a DNS list", self.service.name, connection.port_probe)
        self._refuse(sock, "" if connection.tls else refusal.text)

    def _admit(self, sock: socket.socket, connection: Connection) -> None:
        self._kept[connection.serial] = (sock, connection)
        self._do(self.pool.arrived(connection.serial, connection.local[1], connection.peer[0], self._now()))

    def _refuse(self, sock: socket.socket, text: str) -> None:
        self._family.farewells.say(sock, text)

    def _let_go(self, n: int) -> None:
        """Connection n is a worker's, or nobody's."""
        kept = self._kept.pop(n, None)
        if kept is not None:
            kept[0].close()

    # what the pool decides

    def _now(self) -> float:
        return self._family.loop.time()

    def _do(self, actions: list[pool_action.Action]) -> None:
        for action in actions:
            match action:
                case pool_action.HandOff(worker=number, n=n):
                    sock, connection = self._kept[n]
                    self._debug.say(Bit.HANDOFF, "%s: connection %s to worker %s", self.service.name, n, self._pids[number])
                    self._processes[number].send(handoff.Handed(connection), sock)
                case pool_action.Spawn(worker=number):
                    self._spawn(number)
                case pool_action.Listen(port=port, on=on):
                    for listener in self.listeners:
                        if listener.port == port:
                            listener.switch(on=on)
                case pool_action.Ask(worker=number):
                    self._processes[number].send(handoff.AskIdlest())
                case pool_action.ShedSession(worker=number, n=n):
                    self._processes[number].send(handoff.Shed(n))
                case pool_action.RefuseAddress(n=n):
                    sock, connection = self._kept.pop(n)
                    self._log.info("%s: %s refused: too many of this address", self.service.name, connection.port_probe)
                    self._refuse(sock, "" if connection.tls else TOO_MANY)
                case pool_action.Drop(n=n):
                    self._log.warning("%s: %s dropped: no worker took it over", self.service.name, self._kept[n][1].port_probe)
                    self._let_go(n)
                case pool_action.Retire(worker=number, why=why):
                    self._debug.say(Bit.PROCESS, "%s: worker %s retires: %s", self.service.name, self._pids[number], why)
                    self._processes[number].send(handoff.Shutdown(RETIRE_SECONDS))
                case pool_action.Kill(worker=number):
                    self._log.error("%s: worker %s is silent: killed", self.service.name, self._pids[number])
                    self._processes[number].kill()

    def _spawn(self, number: int) -> None:
        try:
            process = WorkerProcess(
                self._family.loop,
                self._command,
                self.service.logfile,
                partial(self._heard, number),
                partial(self._gone, number),
                partial(self._ended, number),
            )
        except OSError as error:
            self._log.error("%s: no worker can be started: %s", self.service.name, error)
            self._fail(EX_SOFTWARE, (f"{self.service.name}: no worker can be started: {error}",))
            self._family.loop.call_soon(self._ended, number, 0)
            return
        self._processes[number] = process
        self._pids[number] = process.pid
        self._debug.say(Bit.PROCESS, "%s: worker %s starts", self.service.name, process.pid)

    def _heard(self, number: int, message: handoff.FromWorker) -> None:
        now = self._now()
        if number not in self.pool.workers:
            return
        self.pool.heard(number, now)
        self._debug.say(Bit.WORKER, "%s: worker %s: %s", self.service.name, self._pids[number], message)
        match message:
            case handoff.Accepted(n=n):
                self._let_go(n)
                self._do(self.pool.taken(n, now))
            case handoff.Closed(n=n):
                self._do(self.pool.closed(number, n, now))
            case handoff.Idle(n=n, seconds=seconds):
                self._do(self.pool.idlest(number, n, seconds, now))
            case handoff.Ready():
                self._unable.say({})
                self._do(self.pool.ready(number, now))
                self._family.changed()
            case handoff.Leaving():
                self._do(self.pool.leaving(number, now))
            case handoff.Failed(code=code, reasons=reasons):
                self._fail(code, reasons)
                for reason in reasons:
                    self._log.error("%s: %s", self.service.name, reason)
            case handoff.Troubled(troubles=troubles):
                self._troubles[number] = troubles
            case handoff.Beat():
                pass

    def _fail(self, code: int, reasons: tuple[str, ...]) -> None:
        """A worker could not start: the others go on, and no new one comes before this is mended."""
        self.failure = (code, reasons)
        self._unable.say({"worker": f"{self.service.name}: a new worker cannot start: {'; '.join(reasons[:3])}"})

    def _gone(self, number: int) -> None:
        if number in self.pool.workers:
            self._do(self.pool.gone(number, self._now()))

    def _ended(self, number: int, code: int) -> None:
        self._processes.pop(number, None)
        self._troubles.pop(number, None)
        if code:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            told = f"{self.service.name}: worker {self._pids.get(number, 0)} ended with {how}"
            self._log.warning("%s", told)
            replaced = self.pool.workers[number].state is State.SHUTDOWN
            if code > 0 and not replaced and not self._troubles.get(0):  # it had no words for it
                self._unable.say({"worker": f"{told}, and none has started since: see the log"})
            if code > 0 and self.failure is None:
                self.failure = (EX_SOFTWARE, (told,))
        self._do(self.pool.exited(number, self._now(), killed=code == -signal.SIGKILL))
        if not any(ended.number == number for ended in self.pool.history):
            self._pids.pop(number, None)
        self._family.changed()
