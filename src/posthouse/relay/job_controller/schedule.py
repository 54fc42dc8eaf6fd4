"""The schedule: every copy that waits, and which may go now. In memory, no I/O, no clock: time and chance are passed in.

Guarantees (each is a test): a copy has at most one lease; sessions never exceed the limits of host, channel and pool;
a host that has not answered has one copy and one session out at most; when it fails, all its copies wait together and
one of them probes; when it answers again its sessions double with each second; nothing is leased before its time; a host that
is slow takes neither the sessions nor the turn of another (see places.py). Within a host: released, urgent, normal,
non-urgent, and the oldest first.

A host gets ceil(waiting / threaddepth) sessions, and one more for each second without news from it while copies wait behind
others, if the last one it was given was answered: one locked mailbox does not hold its neighbours.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator

from posthouse.relay.job_controller.backoff import Verdict, after, host_wait
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.places import ChannelLimits, ChannelState, HostState, PoolState
from posthouse.relay.job_controller.sharing import fill, first_sessions, grow

_NO_NEWS = frozenset((Verdict.HOST_DOWN, Verdict.AGAIN))
_OVER = frozenset((Verdict.DONE, Verdict.HELD, Verdict.GONE))
_LEASED = State.LEASED
_OUT = State.OUT


class Schedule:
    """All copies of one relay.

    Args:
        chance: a number from 0.0 to 1.0, new at each call.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._pools: dict[str, PoolState] = {}
        self._channels: dict[str, ChannelState] = {}
        self._entries: dict[int, Entry] = {}
        self._timers: list[tuple[float, int, Entry]] = []
        self._blocked: list[tuple[float, int, HostState]] = []
        self._serial = 0
        self._changed: dict[HostState, None] = {}

    # -- configuration

    def set_pool(self, name: str, limit: int) -> None:
        """Make a pool, or change its JOB_LIMIT."""
        pool = self._pools.get(name)
        if pool is None:
            self._pools[name] = PoolState(name, limit)
        else:
            pool.limit = limit

    def set_channel(self, name: str, limits: ChannelLimits) -> None:
        """Make a channel, or change its limits. Its pool must exist."""
        pool = self._pools[limits.pool]
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = ChannelState(name, limits, pool)
            pool.channels.append(channel)
            return
        jobs = channel.jobs
        channel.pool.jobs -= jobs
        channel.pool.channels.remove(channel)
        channel.limits, channel.pool = limits, pool
        pool.channels.append(channel)
        pool.jobs += channel.jobs
        ready = {name: host for name, host in channel.hosts.items() if host.ready_count and not host.blocked_until}
        channel.active = ready if limits.program else {}

    @property
    def channels(self) -> tuple[str, ...]:
        """All that were made, also those that the configuration has no more."""
        return tuple(self._channels)

    def knows(self, channel: str) -> bool:
        """Whether the channel has been made."""
        return channel in self._channels

    def pool_of(self, channel: str) -> str:
        """The pool's name of a channel."""
        return self._channels[channel].pool.name

    # -- copies

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: int) -> Entry | None:
        """The copy with this number, or None when it is settled or unknown."""
        return self._entries.get(key)

    def add(self, entry: Entry, next_try: float = 0.0) -> None:
        """Take a copy in; it may go at `next_try`."""
        self._entries[entry.key] = entry
        channel = self._channels[entry.channel]
        host = channel.hosts.get(entry.host_name)
        if host is None:
            host = channel.hosts[entry.host_name] = HostState(entry.host_name, channel)
        entry.host = host
        self._put(entry, next_try)

    def remove(self, key: int) -> Entry | None:
        """Take a copy out for good, whatever its state; None when it is not there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._leave(entry)
            entry.state = State.OUT
        return entry

    def _put(self, entry: Entry, next_try: float) -> None:
        entry.next_try = next_try
        if next_try > 0.0:
            entry.state = State.WAITING
            heapq.heappush(self._timers, (next_try, entry.key, entry))
            return
        host = entry.host
        assert host is not None
        entry.state = State.READY
        entry.in_ready = True
        host.ready_count += 1
        heapq.heappush(host.ready, (entry.rank, entry.enqueued, entry.key, entry))
        if host.blocked_until == 0.0 and host.channel.limits.program:
            host.channel.active[host.name] = host

    def _leave(self, entry: Entry) -> None:
        """Out of the ready heap or off the lease count."""
        host = entry.host
        assert host is not None
        if entry.in_ready:
            entry.in_ready = False
            host.ready_count -= 1
            if not host.ready_count:
                host.channel.active.pop(host.name, None)
        elif entry.state is State.LEASED:
            host.in_flight -= 1
        if host.in_flight < host.sessions and (not host.ready_count or host.yielding or host.blocked_until):
            host.set_sessions(host.in_flight)
            host.yielding = False

    # -- leases for delivery

    def busy_pools(self, now: float) -> list[str]:
        """Pools with a copy that may go now."""
        self._fall_due(now)
        return [pool.name for pool in self._pools.values() if any(channel.active for channel in pool.channels)]

    def lease(self, now: float, pools: Collection[str] | None = None) -> list[Entry]:
        """Every copy that may go now (of these pools), leased. Call `grants` afterwards."""
        self._fall_due(now)
        out: list[Entry] = []
        for pool in self._pools.values():
            if (pools is None or pool.name in pools) and any(channel.active for channel in pool.channels):
                self._changed.update(dict.fromkeys(first_sessions(pool, now)))
                for channel in pool.channels:
                    for host in tuple(channel.active.values()):
                        if host.sessions:
                            grow(host, now)
                            self._changed[host] = None
                            fill(host, out)
        return out

    def relieve(self, now: float) -> None:
        """Once a second: one more session for a host whose copies, all handed out, wait behind one that takes long."""
        for channel in self._channels.values():
            if channel.sessions:
                for host in channel.hosts.values():
                    if host.in_flight > host.sessions:
                        grow(host, now)
                        self._changed[host] = None

    def grants(self, runs: Callable[[str], bool] = lambda _: True) -> list[tuple[str, str, int]]:
        """Channel, host and number of sessions for every host whose number changed since the worker was told.

        Args:
            runs: whether a pool has a worker that can be told; the others are told later.
        """
        out: list[tuple[str, str, int]] = []
        later: dict[HostState, None] = {}
        for host in self._changed:
            if not runs(host.channel.pool.name):
                later[host] = None
            elif host.told != host.sessions:
                host.told = host.sessions
                out.append((host.channel.name, host.name, host.sessions))
        self._changed = later
        return out

    def tell_again(self) -> None:
        """The workers forget what they were told of sessions: `grants` says it all once more."""
        for channel in self._channels.values():
            for host in channel.hosts.values():
                host.told = 0
                self._changed[host] = None

    def _fall_due(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, _, entry = heapq.heappop(timers)
            if entry.state is State.WAITING and entry.next_try == at:
                self._put(entry, 0.0)
        while self._blocked and self._blocked[0][0] <= now:
            at, _, host = heapq.heappop(self._blocked)
            if host.blocked_until == at:
                self._unblock(host)

    @staticmethod
    def _unblock(host: HostState) -> None:
        host.blocked_until = 0.0
        if host.ready_count and host.channel.limits.program:
            host.channel.active[host.name] = host

    # -- what came of it

    def finish(self, key: int, verdict: Verdict, now: float) -> float | None:
        """End a lease. Returns the time of the next try (0.0: as soon as there is room), or None when nothing is left."""
        entry = self._entries.get(key)
        if entry is None or entry.state is not _LEASED:
            return None
        self._leave(entry)
        entry.state = _OUT
        host = entry.host
        assert host is not None
        if verdict not in _NO_NEWS:
            host.last_news = host.answered = now
        if verdict in _OVER:
            del self._entries[key]
            return None
        tries, wait = after(entry.tries, verdict, entry.intervals, self._chance())
        entry.tries = tries.shared()
        self._put(entry, now + wait if wait else 0.0)
        return entry.next_try

    def host_up(self, channel: str, host_name: str, now: float) -> None:
        """A session to the host is ready."""
        host = self._channels[channel].hosts.get(host_name)
        if host is not None:
            if host.failures:
                host.recovered = now
            host.up = True
            host.failures = 0
            host.reason = ""
            host.last_news = host.answered = now
            if host.blocked_until:
                self._unblock(host)

    def host_down(self, channel: str, host_name: str, now: float, reason: str = "") -> None:
        """The host cannot be reached: all its copies wait together. Told twice in one wait it counts once."""
        state = self._channels[channel]
        host = state.hosts.get(host_name)
        if host is None or host.blocked_until:
            return
        host.up = False
        host.down_since = host.down_since if host.failures else now
        host.failures += 1
        host.reason = reason
        host.blocked_until = now + host_wait(host.failures, state.limits.first_backoff, self._chance())
        self._serial += 1
        heapq.heappush(self._blocked, (host.blocked_until, self._serial, host))
        state.active.pop(host_name, None)
        if host.in_flight < host.sessions:
            host.set_sessions(host.in_flight)

    def hosts_down(self) -> set[HostState]:
        """The hosts that have failed and not answered since."""
        return {host for channel in self._channels.values() for host in channel.hosts.values() if host.failures}

    def worker_lost(self, pool: str) -> list[Entry]:
        """The pool's worker is gone: what it had out, still leased; `finish` or `give_back` each."""
        for channel in self._pools[pool].channels:
            for host in channel.hosts.values():
                host.told = 0
                self._changed[host] = None
        out = {State.LEASED, State.TAKEN}
        return [entry for entry in self if entry.state in out and entry.out_in == pool]

    def waiting_for(self, channel: str, host_name: str) -> list[Entry]:
        """The copies that are ready for the host and held back by it."""
        host = self._channels[channel].hosts.get(host_name)
        return [item[3] for item in host.ready if item[3].in_ready] if host is not None else []

    # -- other reasons to hold a copy

    def take(self, key: int) -> Entry | None:
        """Lease a copy that waits for something other than delivery; None when it is out or unknown."""
        entry = self._entries.get(key)
        if entry is None or entry.state not in {State.READY, State.WAITING}:
            return None
        self._leave(entry)
        entry.state = State.TAKEN
        entry.out_in = self.pool_of(entry.channel)
        return entry

    def give_back(self, key: int) -> None:
        """End what `take` began: the copy waits on for the time it waited for before."""
        entry = self._entries.get(key)
        if entry is not None and entry.state is State.TAKEN:
            self._put(entry, entry.next_try)

    def retry(self, keys: Iterable[int]) -> int:
        """Let these copies go at once, their hosts too; how many there were."""
        count = 0
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                continue
            count += 1
            host = entry.host
            assert host is not None
            if host.blocked_until:
                self._unblock(host)
            if entry.state is State.WAITING:
                self._put(entry, 0.0)
            elif entry.state is State.TAKEN:
                entry.next_try = 0.0
        return count

    def due(self, entry: Entry) -> float:
        """Unix time before which the copy does not go, 0.0 for at once: its own time or its host's."""
        host = entry.host
        assert host is not None
        return max(entry.next_try, host.blocked_until)

    def wake(self) -> float | None:
        """Unix time of the next thing that falls due, None when nothing waits for a time."""
        times = [heap[0][0] for heap in (self._timers, self._blocked) if heap]
        return min(times, default=None)

    def set_back(self, seconds: float) -> None:
        """The clock was set back: every wait under way ends as much earlier, as it would have."""
        for entry in self:
            if entry.next_try:
                entry.next_try -= seconds
        self._timers = [(at - seconds, key, entry) for at, key, entry in self._timers]
        self._blocked = [(at - seconds, serial, host) for at, serial, host in self._blocked]
        for channel in self._channels.values():
            for host in channel.hosts.values():
                host.set_back(seconds)
