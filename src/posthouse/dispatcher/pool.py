"""The workers of one service: who gets a connection, when one is started, retired, killed (dispatcher-cnf.md 4).

Pure decisions: events go in with the time, actions come out in the order in which they must be done; no process, socket
or clock is touched here. The rules:

* a connection goes to the READY worker with the fewest active ones below MAX_CONNS; ties: fewest served, then oldest;
* none: it waits. A worker is started for it if fewer than MAX_PROCS live; otherwise the session that has been idle
  longest outside a transaction is shed, one for each waiting connection. Waiting connections are served in order;
* a port with MAX_HANDOFFS connections waiting or not yet taken over by a worker accepts no more until one is through;
* a connection whose worker ended before taking it over goes to the front, once; the second time it is dropped;
* one client address holds at most half of MAX_CONNS x MAX_PROCS sessions; more are refused;
* after every event: a worker is started if fewer than MIN_PROCS live, or if all of them have at least MIN_CONNS
  connections and fewer than MAX_PROCS live. STARTING and READY workers live (and a dying one until its process has
  ended), retiring ones do not;
* every second due workers are retired, at most MAX_SHUTDOWN at once; the others go on serving until their turn. One that has to
  be replaced goes when its replacement is READY: with a configuration that is bad by now none becomes so.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from posthouse.dispatcher.lifetime import Limits, Respawn, State, due, silent
from posthouse.dispatcher.pool_action import Action, Ask, Drop, HandOff, Kill, Listen, RefuseAddress, Retire, ShedSession, Spawn

ASK_AGAIN_SECONDS = 1.0
FRESH_SECONDS = 0.5
"""a session that has been idle for less has perhaps only just begun, and would be within a transaction when it is told"""


@dataclass(slots=True)
class Worker:
    """What is known of one worker."""

    number: int
    started: float
    heard: float
    idle_since: float
    state: State = State.STARTING
    served: int = 0
    active: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that is no more, kept in the statistics for HISTORICAL_TIME seconds."""

    number: int
    started: float
    ended: float
    served: int


@dataclass(frozen=True, slots=True)
class _Held:
    port: int
    address: str


class Pool:
    """The workers and waiting connections of one service."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.workers: dict[int, Worker] = {}
        self.history: deque[Ended] = deque()
        self.counters: Counter[str] = Counter()
        self.peak = 0
        self._waiting: deque[int] = deque()
        self._held: dict[int, _Held] = {}  # every connection not yet over
        self._under_way: Counter[int] = Counter()  # port -> connections waiting or not yet taken over
        self._not_taken: set[int] = set()
        self._twice: set[int] = set()  # those of them whose first worker ended
        self._deaf: set[int] = set()  # ports told to stop accepting
        self._of_address: Counter[str] = Counter()
        self._respawn = Respawn()
        self._last_number = 0
        self._shedding: set[int] = set()
        self._asked: set[int] = set()
        self._answers: list[tuple[float, int, int]] = []
        self._ask_not_before = 0.0
        self._closing = False

    # what is seen from outside

    @property
    def active(self) -> int:
        """Connections that workers hold."""
        return sum(len(worker.active) for worker in self.workers.values())

    @property
    def waiting(self) -> int:
        """Connections that wait for a worker."""
        return len(self._waiting)

    @property
    def live(self) -> int:
        """STARTING and READY workers."""
        return sum(worker.state is not State.SHUTDOWN for worker in self.workers.values())

    @property
    def is_ready(self) -> bool:
        """Whether a worker serves, or none has to while nobody connects."""
        return not self._limits.min_procs or any(worker.state is State.READY for worker in self.workers.values())

    @property
    def has_started(self) -> bool:
        """Whether the MIN_PROCS workers of the start serve."""
        return sum(worker.state is State.READY for worker in self.workers.values()) >= self._limits.min_procs

    # events

    def begin(self, now: float) -> list[Action]:
        """The service listens: start MIN_PROCS workers."""
        return self._settle(now)

    def arrived(self, n: int, port: int, address: str, now: float) -> list[Action]:
        """Connection n was accepted on a port and PORT_ACCESS allows it."""
        if self._of_address[address] >= self._limits.for_one_address:
            self.counters["refused_address"] += 1
            return [RefuseAddress(n)]
        self._held[n] = _Held(port, address)
        self._of_address[address] += 1
        self._under_way[port] += 1
        self._not_taken.add(n)
        self._waiting.append(n)
        return self._settle(now)

    def ready(self, number: int, now: float) -> list[Action]:
        """A worker takes connections."""
        worker = self.workers[number]
        worker.heard = now
        if worker.state is State.STARTING:
            worker.state = State.READY
            worker.idle_since = now
        return self._expire(now) + self._settle(now)

    def heard(self, number: int, now: float) -> None:
        """A worker gave a sign of life."""
        self.workers[number].heard = now

    def taken(self, n: int, now: float) -> list[Action]:
        """A worker has made a session of connection n."""
        self._through(n)
        return self._settle(now)

    def closed(self, number: int, n: int, now: float) -> list[Action]:
        """Connection n of a worker is over."""
        worker = self.workers[number]
        if n in worker.active:
            worker.active.discard(n)
            worker.idle_since = now
            self._over(n)
        return self._settle(now)

    def idlest(self, number: int, n: int | None, seconds: float, now: float) -> list[Action]:
        """A worker's answer to `Ask`."""
        if number in self._asked:
            self._asked.discard(number)
            if n is not None and n not in self._shedding and seconds >= FRESH_SECONDS:
                self._answers.append((seconds, number, n))
        return self._settle(now)

    def leaving(self, number: int, now: float) -> list[Action]:
        """Somebody else told a worker to end."""
        self.workers[number].state = State.SHUTDOWN
        return self._settle(now)

    def gone(self, number: int, now: float) -> list[Action]:
        """A worker cannot be spoken to any more: it gets nothing, and is replaced when its process has ended."""
        worker = self.workers[number]
        if worker.state is not State.SHUTDOWN:
            worker.state = State.LOST
        return self._settle(now)

    def exited(self, number: int, now: float, *, killed: bool = False) -> list[Action]:
        """A worker's process has ended, `killed` by SIGKILL."""
        worker = self.workers[number]
        self._died(worker, now, killed=killed)
        del self.workers[number]
        actions: list[Action] = []
        for n in sorted(worker.active, reverse=True):
            if n not in self._not_taken:
                self._over(n)
            elif n in self._twice or self._closing:
                self._over(n)
                actions.append(Drop(n))
            else:
                self._twice.add(n)
                self._waiting.appendleft(n)
        self._asked.discard(number)
        if self._limits.historical_time > 0:
            self.history.append(Ended(number, worker.started, now, worker.served))
        return actions + self._settle(now)

    def tick(self, now: float) -> list[Action]:
        """A second has passed."""
        while self.history and now - self.history[0].ended > self._limits.historical_time:
            self.history.popleft()
        actions = self._kill_silent(now)
        actions += self._expire(now)
        if self._asked and now >= self._ask_not_before:  # whoever has not answered by now has no say
            self._asked.clear()
        return actions + self._settle(now)

    def close(self) -> None:
        """The service ends: nothing is started, retired or shed from now on."""
        self._closing = True

    def forget_waiting(self) -> list[int]:
        """The connections that still wait; they are dropped."""
        dropped = list(self._waiting)
        self._waiting.clear()
        for n in dropped:
            self._over(n)
        return dropped

    # rules

    def _settle(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if not self._closing:
            self._serve_waiting(actions)
            self._grow(now, actions)
            self._make_room(now, actions)
        for port, count in self._under_way.items():
            full = count >= max(1, self._limits.max_handoffs)
            if full != (port in self._deaf):
                (self._deaf.add if full else self._deaf.discard)(port)
                actions.append(Listen(port, not full))
        return actions

    def _serve_waiting(self, actions: list[Action]) -> None:
        while self._waiting:
            worker = self._choose()
            if worker is None:
                return
            n = self._waiting.popleft()
            worker.active.add(n)
            worker.served += 1
            self.counters["handed_off"] += 1
            self.peak = max(self.peak, self.active)
            actions.append(HandOff(worker.number, n))

    def _choose(self) -> Worker | None:
        candidates = [
            worker
            for worker in self.workers.values()
            if worker.state is State.READY and len(worker.active) < self._limits.max_conns
        ]
        return min(candidates, key=lambda w: (len(w.active), w.served, w.started, w.number), default=None)

    def _grow(self, now: float, actions: list[Action]) -> None:
        while self._respawn.allows(now) and self._wants_another():
            actions.append(self._spawn(now))

    def _wants_another(self) -> bool:
        live = [worker for worker in self.workers.values() if worker.state is not State.SHUTDOWN]
        if len(live) < self._limits.min_procs:
            return True
        if len(live) >= self._limits.max_procs:
            return False
        starting = sum(worker.state is State.STARTING for worker in live)
        if starting:
            return len(self._waiting) > starting * self._limits.max_conns
        return bool(live or self._waiting) and all(len(worker.active) >= self._limits.min_conns for worker in live)

    def _spawn(self, now: float) -> Spawn:
        self._last_number += 1
        self.workers[self._last_number] = Worker(self._last_number, started=now, heard=now, idle_since=now)
        self.counters["started"] += 1
        return Spawn(self._last_number)

    def _make_room(self, now: float, actions: list[Action]) -> None:
        if len(self._waiting) <= len(self._shedding) or self._asked or self.live < self._limits.max_procs:
            return
        if any(worker.state is State.STARTING for worker in self.workers.values()):
            return
        if self._answers:
            self._ask_not_before = now  # asking helps: ask again as soon as there is need
        self._answers.sort(reverse=True)
        while self._answers and len(self._waiting) > len(self._shedding):
            _, number, n = self._answers.pop(0)
            worker = self.workers.get(number)
            if worker is not None and worker.state is State.READY and n in worker.active:
                self._shedding.add(n)
                self.counters["shed"] += 1
                actions.append(ShedSession(number, n))
        self._answers.clear()
        if len(self._waiting) > len(self._shedding) and now >= self._ask_not_before:
            self._ask_not_before = now + ASK_AGAIN_SECONDS
            asked = [worker.number for worker in self.workers.values() if worker.state is State.READY]
            self._asked.update(asked)
            actions.extend(Ask(number) for number in asked)

    def _died(self, worker: Worker, now: float, *, killed: bool = False) -> None:
        """The worker serves no more; unless it was told to end, that is a death, counted once."""
        if worker.state is State.SHUTDOWN:
            return
        worker.state = State.SHUTDOWN
        if not self._closing:
            self.counters["died"] += 1
            self._respawn.died(now, now - worker.started, killed=killed)

    def _kill_silent(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for worker in self.workers.values():
            if not silent(worker.state, now - worker.heard):
                continue
            actions.append(Kill(worker.number))
            worker.heard = now  # asked for once a minute, not each second
            self._died(worker, now)
        return actions

    def _expire(self, now: float) -> list[Action]:
        actions: list[Action] = []
        count = Counter(worker.state for worker in self.workers.values())
        staying = count[State.READY] + count[State.STARTING]
        for worker in sorted(self.workers.values(), key=lambda w: w.started):
            if worker.state is not State.READY or count[State.SHUTDOWN] >= self._limits.max_shutdown or self._closing:
                continue
            idle = None if worker.active else now - worker.idle_since
            why = due(self._limits, served=worker.served, age=now - worker.started, idle=idle, live=staying)
            if why is None:
                continue
            staying -= 1
            if count[State.READY] > self._limits.min_procs:
                worker.state = State.SHUTDOWN
                count.subtract({State.READY: 1, State.SHUTDOWN: -1})
                self.counters[why.value] += 1
                actions.append(Retire(worker.number, why))
            elif staying < self._limits.min_procs and self._respawn.allows(now) and self._may_replace(count):
                staying += 1
                count[State.STARTING] += 1
                actions.append(self._spawn(now))
        return actions

    def _may_replace(self, count: Mapping[State, int]) -> bool:
        return count[State.STARTING] + count[State.SHUTDOWN] < self._limits.max_shutdown

    def _through(self, n: int) -> None:
        if n in self._not_taken:
            self._not_taken.discard(n)
            self._twice.discard(n)
            self._under_way[self._held[n].port] -= 1

    def _over(self, n: int) -> None:
        held = self._held.pop(n, None)
        if held is None:
            return
        if n in self._not_taken:
            self._not_taken.discard(n)
            self._twice.discard(n)
            self._under_way[held.port] -= 1
        self._shedding.discard(n)
        self._of_address[held.address] -= 1
        if not self._of_address[held.address]:
            del self._of_address[held.address]
