"""Channels whose work is done in this worker have no host that could be down: the controller is told so.

A host nobody has reported as reached gets one copy at a time, as a probe. For process, reprocess, pipe, defragment and
bitbucket that would be one message after another, and one program that hangs would hold all others.
"""

from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.protocol import HostUp, Lease

_SECONDS = 30.0
"""the controller forgets a host it has not heard of for a minute"""
_MOST = 10_000


class Reachable:
    """What the controller has been told; twice a minute for each host is enough."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, lease: Lease) -> None:
        """A copy has been taken for this host."""
        key, now = (lease.channel, lease.host), self._shop.loop.time()
        if now - self._told.get(key, -_SECONDS) < _SECONDS:
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[key] = now
        self._shop.tell(HostUp(lease.channel, lease.host))
