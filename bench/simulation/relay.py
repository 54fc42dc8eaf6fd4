"""A relay: looks up, makes durable, answers; then its own schedule says what goes when, over how many sessions.

Backoff, probing of a host that is down, the growth and the limits of sessions are posthouse.relay.job_controller.Schedule with
the limits `posthouse init` writes; a copy of it here is a batch. One channel worker, one core, sends for the pool.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from posthouse.config.channel import Channel
from posthouse.mail.envelope import Priority
from posthouse.relay.channels.lmtp_host import CONNECT_SECONDS
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.controller import MOVES_AT_ONCE
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.places import ChannelLimits
from posthouse.relay.job_controller.schedule import Schedule
from posthouse.relay.job_controller.stock import OLD, TURN
from simulation.clock import Clock
from simulation.directory import Asker, Directory
from simulation.load import Batch, World
from simulation.stations import Cores, Disk
from simulation.store import Store

CHANNEL, POOL, JOB_LIMIT, MAXJOBS, THREADS, DEPTH = "tcp_lmtpcs", "SMTP_POOL", 10, 7, 10, 10
"""as `posthouse init relay` writes them"""
INTERVALS = Channel(CHANNEL, "", (), {}, (), "", 0).backoff(Priority.NORMAL)
RESTART = 2.0
"""seconds from the start of a relay until it listens"""


@dataclass
class _Host:
    """The worker's side of one store."""

    queue: deque[Entry] = field(default_factory=deque)
    sessions: int = 0
    busy: int = 0
    connected: bool = False
    connecting: bool = False


class Relay:
    """One of them.

    Args:
        clock: of the simulation.
        world: its size and costs.
        directory: whom it asks.
        stores: where it sends.
        chance: of this simulation.
        accepted: told of each batch that was answered 250.
    """

    def __init__(
        self, clock: Clock, world: World, directory: Directory, stores: list[Store], chance: random.Random,
        accepted: Callable[[Batch], None],
    ) -> None:  # fmt: skip
        self.up = True
        self.kept: dict[int, Batch] = {}
        """what it has answered for and not settled, by key: its disk"""
        self.cores = Cores(clock, world.cores)
        self.sender = Cores(clock, 1)
        self._clock, self._world, self._directory, self._stores = clock, world, directory, stores
        self._chance, self._accepted = chance, accepted
        self._life = 0
        self._offers: dict[int, Callable[[bool], None]] = {}
        self._begin_life()

    def _begin_life(self) -> None:
        world, clock = self._world, self._clock
        self._life += 1
        self.cores, self.sender = Cores(clock, world.cores), Cores(clock, 1)
        self._disk = Disk(clock, world.costs.sync, world.costs.octets)
        self._asker = Asker(clock, self._directory)
        self._hosts = [_Host() for _ in self._stores]
        self._young: deque[Batch] = deque()
        self._pumping = False
        self._wake = 0.0
        self._schedule = Schedule(self._chance.random)
        self._schedule.set_pool(POOL, JOB_LIMIT)
        depth = max(1, DEPTH // world.batch)
        self._schedule.set_channel(CHANNEL, ChannelLimits(POOL, MAXJOBS, THREADS, depth, first_backoff=INTERVALS[0]))
        self._plan(1.0, self._each_second)
        self._plan(TURN, self._each_turn)

    def _plan(self, seconds: float, action: Callable[[], None]) -> None:
        """An event of this life of the relay only."""
        self._clock.after(seconds, self._living(action))

    def _living(self, action: Callable[[], None]) -> Callable[[], None]:
        life = self._life
        return lambda: action() if self._life == life else None

    # in

    def offer(self, batch: Batch, answer: Callable[[bool], None]) -> None:
        """RCPT, data, 250; False: 4xx, or the connection was cut."""
        self._offers[batch.key] = answer

        def found(known: bool) -> None:
            if known:
                self.cores.do(batch.weight * self._world.costs.accept, self._living(received))
            else:
                self._offers.pop(batch.key)(False)

        def received() -> None:
            self._disk.commit(batch.weight * self._world.costs.message, self._living(durable))

        def durable() -> None:
            self.kept[batch.key] = batch
            batch.accepted = self._clock.now
            self._accepted(batch)
            self._offers.pop(batch.key)(True)
            self._add(batch)

        life = self._life
        self._asker.ask(batch.asks, lambda known: found(known) if self._life == life else None)

    def _add(self, batch: Batch) -> None:
        self._schedule.add(Entry(batch.key, CHANNEL, str(batch.store), 1, batch.accepted, INTERVALS, batch))
        self._young.append(batch)
        self._soon()

    # out

    def _soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._plan(0.001, self._pump)

    def _pump(self) -> None:
        self._pumping = False
        now = self._clock.now
        touched = {}
        for entry in self._schedule.lease(now):
            self._hosts[int(entry.host_name)].queue.append(entry)
            touched[int(entry.host_name)] = True
        for _, name, sessions in self._schedule.grants():
            self._hosts[int(name)].sessions = sessions
            touched[int(name)] = True
        for number in touched:
            self._work(number)
        wake = self._schedule.wake()
        if wake is not None and wake != self._wake:
            self._wake = wake
            self._clock.at(wake, self._living(self._soon))

    def _work(self, number: int) -> None:
        host = self._hosts[number]
        if host.queue and not host.connected:
            self._connect(number)
            return
        while host.queue and host.busy < max(host.sessions, 1):
            host.busy += 1
            self._send(number, host.queue.popleft())

    def _connect(self, number: int) -> None:
        host, store = self._hosts[number], self._stores[number]
        if host.connecting:
            return
        host.connecting = True

        def connected() -> None:
            host.connecting = False
            if not store.up:
                self._down(number)
                return
            host.connected = True
            self._schedule.host_up(CHANNEL, str(number), self._clock.now)
            self._work(number)
            self._soon()

        self._plan(self._world.costs.round_trip if store.up else CONNECT_SECONDS, connected)

    def _down(self, number: int) -> None:
        """It cannot be reached: one copy has an attempt on it, the others go back."""
        host = self._hosts[number]
        self._schedule.host_down(CHANNEL, str(number), self._clock.now)
        verdict = Verdict.HOST_DOWN
        while host.queue:
            self._schedule.finish(host.queue.popleft().key, verdict, self._clock.now)
            verdict = Verdict.AGAIN
        self._soon()

    def _send(self, number: int, entry: Entry) -> None:
        batch, life = entry.cargo, self._life
        assert isinstance(batch, Batch)

        def replied(taken: bool) -> None:
            if self._life != life:  # nobody hears it: the batch is sent again by the next life
                return
            host = self._hosts[number]
            host.busy -= 1
            if taken:
                del self.kept[batch.key]
                self._schedule.finish(entry.key, Verdict.DONE, self._clock.now)
            else:
                host.connected = False
                self._schedule.finish(entry.key, Verdict.DEFERRED, self._clock.now)
            self._work(number)
            self._soon()

        self.sender.do(batch.weight * self._world.costs.send, self._living(lambda: self._stores[number].take(batch, replied)))

    # by the clock

    def _each_second(self) -> None:
        self._schedule.relieve(self._clock.now)
        self._soon()
        self._plan(1.0, self._each_second)

    def _each_turn(self) -> None:
        """Copies that are old are moved to queue files, so many at once."""
        room, costs = MOVES_AT_ONCE, self._world.costs
        while room > 0 and self._young and self._young[0].accepted + OLD <= self._clock.now:
            batch = self._young.popleft()
            entry = self._schedule.get(batch.key)
            if entry is None or entry.state is State.LEASED or batch.filed:
                continue
            batch.filed = True
            room -= batch.weight
            self._schedule.take(batch.key)

            def moved(batch: Batch = batch) -> None:
                self._schedule.give_back(batch.key)
                self._soon()

            self.sender.do(batch.weight * costs.move, self._living(moved))
            self._disk.commit(batch.weight * costs.message, lambda: None)
        self._plan(TURN, self._each_turn)

    # its own trouble

    def stop(self) -> None:
        """It dies: what was not answered was not taken; what was answered stays on its disk."""
        self.up = False
        self._life += 1
        cut, self._offers = self._offers, {}
        for answer in cut.values():
            answer(False)

    def start(self) -> None:
        """It is started again and reads what it has."""

        def listens() -> None:
            self.up = True
            self._begin_life()
            for batch in list(self.kept.values()):
                self._add(batch)

        self._clock.after(RESTART, listens)
