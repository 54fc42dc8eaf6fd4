"""Hosts that are down, for `posthouse status`: stores and smart hosts always, the world's when MANY copies wait for them."""

from posthouse.config.configuration import Configuration
from posthouse.dispatcher.trouble import Trouble
from posthouse.relay.job_controller.cargo import iso
from posthouse.relay.job_controller.places import HostState
from posthouse.relay.job_controller.schedule import Schedule

MANY = 100
MOST = 10
"""that are named; the others are counted"""


def host_troubles(schedule: Schedule, configuration: Configuration) -> list[Trouble]:
    """Those that matter, the ones with most mail first."""
    hosts = [host for host in schedule.hosts_down() if _matters(host, configuration)]
    hosts.sort(key=_waiting, reverse=True)
    told = [Trouble("host", host.down_since, _words(host)) for host in hosts[:MOST]]
    if len(hosts) > MOST:
        others = hosts[MOST:]
        text = f"{len(others)} other hosts are down; {sum(map(_waiting, others)):,} copies wait for them"
        told.append(Trouble("host", min(host.down_since for host in others), text))
    return told


def _matters(host: HostState, configuration: Configuration) -> bool:
    channel = configuration.imta.channels.get(host.channel.name)
    return _waiting(host) >= MANY or (channel is not None and (channel.is_lmtp or bool(channel.value("daemon"))))


def _waiting(host: HostState) -> int:
    return host.ready_count + host.in_flight


def _words(host: HostState) -> str:
    count = _waiting(host)
    wait = f"{count:,} copies wait" if count > 1 else "1 copy waits"
    next_try = f"next try {iso(host.blocked_until)}" if host.blocked_until else "it is being tried"
    return f"{host.name.removesuffix('.lmtp')} is down ({host.reason}): {wait}, {next_try}"
