"""What is known of an instance now, asked of whoever answers within a few seconds and else read from its files.

Each part is there or missing by itself: a stopped or hanging process costs what only it could have said.
"""

import time
from dataclasses import dataclass
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
    queue: dict[str, Any] | None
    """as `posthouse queue summary --json`; None where there is none"""
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


def _queue(place: Instance) -> dict[str, Any] | None:
    from posthouse.cli.queue_on_disk import summary_from_disk

    try:
        answer = request(place.run / NAME, "summary", PATIENCE, filter=msgspec.to_builtins(Selection()))
        if "error" not in answer:
            return answer
    except ControllerDown:
        pass
    try:
        found = summary_from_disk(place, Selection())
    except OSError:
        return None
    return found if found["total"]["copies"] or found["total"]["damaged"] else None
