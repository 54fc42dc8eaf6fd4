"""What the queue waits for in vain, for `posthouse status`.

Hosts that are down: stores and smart hosts always, the world's when MANY copies wait for them. Channels that are not in imta.cnf
any more.
"""

import math
from typing import NamedTuple

from posthouse.config.configuration import Configuration
from posthouse.dispatcher.trouble import Trouble
from posthouse.relay.job_controller.cargo import iso
from posthouse.relay.job_controller.entry import State
from posthouse.relay.job_controller.places import HostState
from posthouse.relay.job_controller.schedule import Schedule

MANY = 100
MOST = 10
"""that are named; the others are counted"""


class _Waits(NamedTuple):
    """What waits for a host that is down."""

    copies: int
    next_try: float
    """Unix seconds; 0.0: it is being tried"""


def host_troubles(schedule: Schedule, configuration: Configuration) -> list[Trouble]:
    """Those that matter, the ones with most mail first."""
    waits = _waits(schedule)
    hosts = [host for host, (copies, _) in waits.items() if _matters(host, copies, configuration)]
    hosts.sort(key=lambda host: waits[host].copies, reverse=True)
    told = [Trouble("host", host.down_since, _words(host, waits[host])) for host in hosts[:MOST]]
    if len(hosts) > MOST:
        others = hosts[MOST:]
        text = f"{len(others)} other hosts are down; {sum(waits[host].copies for host in others):,} copies wait for them"
        told.append(Trouble("host", min(host.down_since for host in others), text))
    return told


def channel_troubles(schedule: Schedule, configuration: Configuration) -> list[Trouble]:
    """Channels that are gone, each since its oldest copy came."""
    gone = {channel for channel in schedule.channels if channel not in configuration.imta.channels}
    waits: dict[str, tuple[int, float]] = {}
    for entry in schedule if gone else ():
        if entry.channel in gone:
            copies, oldest = waits.get(entry.channel, (0, math.inf))
            waits[entry.channel] = copies + 1, min(oldest, entry.enqueued)
    return [
        Trouble("channel", oldest, f"imta.cnf has no channel {channel}: {_copies(copies)} until it has")
        for channel, (copies, oldest) in sorted(waits.items())
    ]


def _waits(schedule: Schedule) -> dict[HostState, _Waits]:
    """All copies for each host that is down, also those that wait for a time of their own."""
    down = schedule.hosts_down()
    found: dict[HostState, _Waits] = {}
    for entry in schedule if down else ():
        if (host := entry.host) in down:
            copies, first = found.get(host, (0, math.inf))
            due = 0.0 if entry.state is State.LEASED else schedule.due(entry)
            found[host] = _Waits(copies + 1, min(first, due))
    return found


def _matters(host: HostState, copies: int, configuration: Configuration) -> bool:
    channel = configuration.imta.channels.get(host.channel.name)
    return copies >= MANY or (channel is not None and (channel.is_lmtp or bool(channel.value("daemon"))))


def _words(host: HostState, waits: _Waits) -> str:
    next_try = f"next try {iso(waits.next_try)}" if waits.next_try else "it is being tried"
    return f"{host.name.removesuffix('.lmtp')} is down ({host.reason}): {_copies(waits.copies)}, {next_try}"


def _copies(number: int) -> str:
    return f"{number:,} copies wait" if number > 1 else "1 copy waits"
