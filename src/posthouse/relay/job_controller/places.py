"""Pools, channels and hosts of the schedule, and the counting of their sessions.

A "job" of the chapter is a group of at most MAX_CLIENT_THREADS sessions of one channel. A channel has at most
min(maxjobs, JOB_LIMIT) jobs; the jobs of all channels of a pool together are at most its JOB_LIMIT. A host's first
session may take the last free place; every further one must leave a quarter of the channel's sessions, and one job of the
pool when other channels share it, for first sessions of others: so a slow host never starves another.
"""

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posthouse.relay.job_controller.entry import Entry


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """What the configuration says of one channel.

    Args:
        pool: name of its pool.
        maxjobs: most jobs at once.
        client_threads: sessions in one job (MAX_CLIENT_THREADS).
        threaddepth: waiting messages of one host that call for one more session.
        program: whether this version has a program for the channel; without one its copies only wait.
        first_backoff: seconds; a host that is down is tried again after this long at most.
    """

    pool: str
    maxjobs: int = 100
    client_threads: int = 10
    threaddepth: int = 10
    program: bool = True
    first_backoff: float = 3600.0


@dataclass(slots=True, eq=False)
class PoolState:
    """One pool."""

    name: str
    limit: int
    jobs: int = 0
    channels: "list[ChannelState]" = field(default_factory=list)
    turn: int = 0
    """which channel is served first next time"""

    def reserve(self) -> int:
        """Jobs that further sessions leave free."""
        return 1 if self.limit > 1 and sum(channel.limits.program for channel in self.channels) > 1 else 0


@dataclass(slots=True, eq=False)
class ChannelState:
    """One channel."""

    name: str
    limits: ChannelLimits
    pool: PoolState
    sessions: int = 0
    hosts: "dict[str, HostState]" = field(default_factory=dict)
    active: "dict[str, HostState]" = field(default_factory=dict)
    """hosts with ready copies that are not being waited for"""

    @property
    def limit(self) -> int:
        """Most sessions at once."""
        return min(self.limits.maxjobs, self.pool.limit) * self.limits.client_threads

    @property
    def jobs(self) -> int:
        """Jobs in use."""
        return -(-self.sessions // self.limits.client_threads)

    def can_grow(self, *, first: bool) -> bool:
        """Whether one more session fits, for a host that has none (first) or some."""
        after = self.sessions + 1
        limit = self.limit
        spare = 0 if first else limit // 4
        if after + spare > limit:
            return False
        if self.sessions % self.limits.client_threads:
            return True
        keep = 0 if first else self.pool.reserve()
        return self.pool.jobs + 1 + keep <= self.pool.limit


@dataclass(slots=True, eq=False)
class HostState:
    """One destination of one channel."""

    name: str
    channel: ChannelState
    ready: "list[tuple[int, float, int, Entry]]" = field(default_factory=list)
    """heap by priority, time of acceptance, key; entries that are no longer ready are skipped"""
    ready_count: int = 0
    in_flight: int = 0
    sessions: int = 0
    told: int = 0
    """sessions the worker was last told of"""
    up: bool = False
    failures: int = 0
    down_since: float = 0.0
    """when the first of them was told"""
    blocked_until: float = 0.0
    last_news: float = 0.0
    """when it last answered or was given one more session"""
    answered: float = 0.0
    recovered: float = 0.0
    """when it answered again after it had been down; 0.0 once it has had as many sessions as it may"""
    yielding: bool = False
    reason: str = ""

    def set_sessions(self, count: int) -> None:
        """Change the number of sessions and every sum it is part of."""
        channel = self.channel
        before = channel.jobs
        channel.sessions += count - self.sessions
        channel.pool.jobs += channel.jobs - before
        self.sessions = count

    def set_back(self, seconds: float) -> None:
        """The clock was set back by so many seconds."""
        for name in ("down_since", "blocked_until", "last_news", "answered", "recovered"):
            if was := getattr(self, name):
                setattr(self, name, was - seconds)

    def head(self) -> "Entry | None":
        """The next ready copy, or None."""
        ready = self.ready
        while ready:
            entry = ready[0][3]
            if entry.in_ready and entry.host is self:
                return entry
            heapq.heappop(ready)
        return None
