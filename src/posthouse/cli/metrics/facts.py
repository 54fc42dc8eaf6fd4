"""What is known of an instance now, asked of whoever answers within a few seconds and else read from its files.

Each part is there or missing by itself: a stopped or hanging process costs what only it could have said.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from posthouse.cli.status import processes, room
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.client import ControllerDown, request
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.job_controller.selection import Selection
from posthouse.trace.counter_file import read_all
from posthouse.trace.figures import Rows

PATIENCE = 3.0
"""seconds for each who is asked: a scraper waits ten for all"""


class Group(msgspec.Struct, frozen=True):
    """Copies of one channel and state."""

    channel: str
    state: str
    copies: int


class Overdue(msgspec.Struct, frozen=True):
    """Copies that should have gone."""

    copies: int
    oldest_seconds: float
    """how long ago the oldest of them should have"""


class Waiting(msgspec.Struct, frozen=True):
    """What waits, as the job controller answers `waiting`."""

    groups: tuple[Group, ...]
    oldest: dict[str, float]
    """Unix seconds when the oldest copy of a channel came that is not held"""
    damaged: int
    """queue files that cannot be read"""
    beyond: int = 0
    """queue files the job controller has no room for"""
    overdue: Overdue | None = None
    """what should have gone; None when no job controller answers"""
    troubles: tuple[str, ...] = ()
    """what is wrong with deliveries on this machine"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one moment."""

    now: float
    """Unix seconds"""
    supervised: dict[str, Any]
    """as `posthouse status --json`: state, ready, processes, listeners, services"""
    rows: Rows
    """what was counted of each channel"""
    faults: tuple[str, ...]
    """counter files that cannot be read"""
    queue: Waiting | None
    """None where there is none"""
    room: dict[str, Any] | None
    """free below data/"""


def collect(place: Instance) -> Facts:
    """Ask and read.

    Raises:
        SystemExit: 77, the instance is another user's; it was said.
    """
    supervised = processes(place, PATIENCE)
    try:
        rows, faults = read_all(place.counters)
    except OSError as error:
        rows, faults = {}, (f"{place.counters}: {error.strerror}",)
    return Facts(time.time(), supervised, rows, faults, _queue(place), room(place))


def _queue(place: Instance) -> Waiting | None:
    try:
        answer = request(place.run / NAME, "waiting", PATIENCE)
        return msgspec.convert(answer, Waiting)
    except (ControllerDown, msgspec.ValidationError):
        return _queue_on_disk(place)


def _queue_on_disk(place: Instance) -> Waiting | None:
    from posthouse.cli.queue_on_disk import summary_from_disk

    try:
        found = summary_from_disk(place, Selection())
    except OSError:
        return None
    oldest: dict[str, float] = {}
    for group in found["groups"]:
        if group["state"] != "held":
            came = datetime.fromisoformat(group["oldest"]).timestamp()
            oldest[group["channel"]] = min(came, oldest.get(group["channel"], came))
    groups = tuple(Group(group["channel"], group["state"], group["copies"]) for group in found["groups"])
    return Waiting(groups, oldest, found["total"]["damaged"]) if groups or found["total"]["damaged"] else None
