"""Sending after the round: what is said goes out when all sockets that are ready have been read.

A peer that a write wakes at once would take the processor in the middle of the round. Where there is one peer only, nobody waits
for the round: it hears at once. Order is kept, for each transport and over all of them; what waits for a transport that is
closing is dropped, as a write to it would be.
"""

import asyncio
from collections.abc import Sized


class SendingRound:
    """What one event loop has still to send.

    Args:
        loop: whose ready sockets make the round.
        peers: all who are spoken to, where that is known.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, peers: Sized = ()) -> None:
        self._loop = loop
        self._peers = peers
        self._waiting: list[tuple[asyncio.WriteTransport, bytes]] = []
        self._held = False

    def send(self, transport: asyncio.WriteTransport, octets: bytes) -> None:
        """Send after this round; to an only peer at once."""
        first = not self._waiting and not self._held
        self._waiting.append((transport, octets))
        if first:
            if len(self._peers) == 1:
                self.send_all()
            else:
                self._loop.call_soon(self.send_all)

    def hold(self) -> None:
        """What is said from now on waits for a `send_all` of the caller's own, whatever happens before."""
        self._held = True

    def send_all(self) -> None:
        """Send all that waits now: before a transport is closed or written to directly."""
        waiting, self._waiting, self._held = self._waiting, [], False
        for transport, octets in waiting:
            if not transport.is_closing():
                transport.write(octets)
