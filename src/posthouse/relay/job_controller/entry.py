"""One copy in the schedule: what it is, where it stands, when it may go next."""

from enum import IntEnum
from typing import TYPE_CHECKING

from posthouse.relay.job_controller.backoff import Tries

if TYPE_CHECKING:
    from posthouse.relay.job_controller.places import HostState


class State(IntEnum):
    """Where a copy is."""

    READY = 0
    WAITING = 1
    """until its own next try"""
    LEASED = 2
    """with a worker, to be delivered"""
    TAKEN = 3
    """with a worker for something else: a notice, a move to a file"""
    OUT = 4
    """no longer in the schedule"""


_NONE = Tries()


class Entry:
    """One copy of one message.

    Args:
        key: the controller's number for it.
        channel: its channel's name.
        host_name: what it is grouped by.
        rank: -1 released, 0 urgent, 1 normal, 2 non-urgent.
        enqueued: Unix time of acceptance.
        intervals: backoff values for its priority, seconds.
        cargo: whatever the controller needs to know of it.
    """

    __slots__ = (
        "cargo", "channel", "enqueued", "host", "host_name", "in_ready", "intervals", "key", "next_try", "out_in", "rank",
        "state", "tries",
    )  # fmt: skip

    def __init__(
        self,
        key: int,
        channel: str,
        host_name: str,
        rank: int,
        enqueued: float,
        intervals: tuple[float, ...],
        cargo: object = None,
    ) -> None:
        self.key = key
        self.channel = channel
        self.host_name = host_name
        self.rank = rank
        self.enqueued = enqueued
        self.intervals = intervals
        self.cargo = cargo
        self.tries = _NONE
        self.next_try = 0.0
        self.state = State.OUT
        self.in_ready = False
        self.host: HostState | None = None
        self.out_in = ""
        """the pool whose worker has it, or had it last; a reload may give its channel another one meanwhile"""
