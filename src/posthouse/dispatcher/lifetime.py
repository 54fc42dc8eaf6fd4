"""When a worker's life ends and when a dead one is replaced (dispatcher-cnf.md 4). Pure: the time is passed in.

A worker is due when it has served MAX_LIFE_CONNS connections, is MAX_LIFE_TIME seconds old, or has had no connection for
MAX_IDLE_TIME seconds while the service has more than MIN_PROCS workers; 0 switches a limit off. A worker that ends
unasked is replaced at most once a second; while they keep dying within 5 s of their start the pause doubles up to 60 s,
except that SIGKILL comes from outside and never makes the pause longer.
A worker that was not heard of for 60 s (600 s while it starts: it may be replaying a journal) is to be killed.
"""

from dataclasses import dataclass
from enum import StrEnum

QUICK_DEATH_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0
SILENT_SECONDS = 60.0
SILENT_START_SECONDS = 600.0


class State(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    SHUTDOWN = "shutdown"
    LOST = "lost"
    """its wire is closed and its process has not ended yet"""


class Due(StrEnum):
    """Why a worker is to be retired; the value is its counter's name."""

    CONNECTIONS = "expired_conns"
    AGE = "expired_time"
    IDLE = "expired_idle"


@dataclass(frozen=True, slots=True)
class Limits:
    """The options of a service that decide over its workers; times in seconds, names as in dispatcher.cnf."""

    min_procs: int = 1
    max_procs: int = 5
    min_conns: int = 3
    max_conns: int = 10
    max_shutdown: int = 2
    max_life_time: float = 86400
    max_life_conns: int = 300
    max_idle_time: float = 0
    historical_time: float = 0
    max_handoffs: int = 5

    @property
    def capacity(self) -> int:
        """How many sessions the service can hold."""
        return max(1, self.max_conns * self.max_procs)

    @property
    def for_one_address(self) -> int:
        """How many of them one client address may hold: half."""
        return max(1, self.capacity // 2)


def due(limits: Limits, *, served: int, age: float, idle: float | None, live: int) -> Due | None:
    """Why a READY worker is to be retired, or None.

    Args:
        limits: of its service.
        served: connections in its life.
        age: seconds since its start.
        idle: seconds without a connection; None while it has one.
        live: STARTING and READY workers of the service, this one included.
    """
    if 0 < limits.max_life_conns <= served:
        return Due.CONNECTIONS
    if 0 < limits.max_life_time <= age:
        return Due.AGE
    if idle is not None and 0 < limits.max_idle_time <= idle and live > limits.min_procs:
        return Due.IDLE
    return None


def silent(state: State, seconds: float) -> bool:
    """Whether a worker that was not heard of for so many seconds hangs."""
    return seconds > (SILENT_START_SECONDS if state is State.STARTING else SILENT_SECONDS)


class Respawn:
    """The pause before a service may start another worker."""

    def __init__(self) -> None:
        self._pause = 0.0
        self._not_before = 0.0
        self._last = float("-inf")

    def died(self, now: float, lived: float, *, killed: bool = False) -> None:
        """A worker ended unasked, so many seconds after its start, `killed` by SIGKILL."""
        if lived < QUICK_DEATH_SECONDS and not killed:
            self._pause = min(LONGEST_PAUSE_SECONDS, max(1.0, self._pause * 2))
            self._not_before = now + self._pause
        else:
            self._pause = self._pause if killed else 0.0
            self._not_before = max(now, self._last + 1)
        self._last = self._not_before

    def allows(self, now: float) -> bool:
        """Whether a worker may be started now."""
        return now >= self._not_before
