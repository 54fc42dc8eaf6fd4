"""When messages go to the journal: together with those that are about to be whole, so that one sync serves many.

A message waits for the transactions that are under way as long as another one is whole every SECONDS, LONGEST in all. A client
that stays in the middle of its transaction would make every batch wait: after such a one the next SKIPS batches wait
only for as many as are still to come.
Nothing is answered here: the order is kept, and what was handed in is sent on exactly once.
"""

import asyncio
from collections.abc import Callable

SECONDS = 0.003
LONGEST = 0.012
SKIPS = 16


class Gather:
    """Says when.

    Args:
        loop: for the time.
        send: hands everything that waits to the journal.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[], None]) -> None:
        self._loop = loop
        self._send = send
        self._count = self._seen = 0
        self._skips = 0
        self._until = 0.0
        self._sending = False
        self._timer: asyncio.TimerHandle | None = None
        self.coming = 0
        """transactions that have begun and are not whole yet"""

    def arrived(self) -> None:
        """A message is whole and waits."""
        self._count += 1
        if not self.coming or (self._skips and self._count >= self.coming):
            if not self._sending:  # at the end of this turn of the loop: what it still brings goes along
                self._sending = True
                self._loop.call_soon(self._go)
        elif self._timer is None and not self._sending:
            self._until = self._loop.time() + LONGEST
            self._wait()

    def _wait(self) -> None:
        self._seen = self._count
        self._timer = self._loop.call_later(SECONDS, self._late)

    def _late(self) -> None:
        if self._count > self._seen and self._loop.time() < self._until:
            self._wait()
            return
        self._timer = None
        self._skips = SKIPS
        self._go()

    def _go(self) -> None:
        self._sending = False
        self._count = 0
        self._skips -= bool(self._skips)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send()
