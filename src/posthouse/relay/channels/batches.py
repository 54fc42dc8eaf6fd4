"""Work on leases in batches, one batch at a time, in a thread: what is put in meanwhile waits for the next.

A batch is all that waits with the same job as the first, at most BATCH leases.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.protocol import Lease

if TYPE_CHECKING:
    import asyncio

BATCH = 500
T = TypeVar("T")


class Batches(ABC, Generic[T]):
    """One kind of work of a channel worker."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._waiting: list[Lease] = []
        self._running = False

    @abstractmethod
    def _work(self, batch: Sequence[Lease]) -> T:
        """Do it. In a thread."""

    @abstractmethod
    def _ended(self, batch: Sequence[Lease], done: "asyncio.Future[T]") -> None:
        """Tell the controller of each lease what came of it."""

    @property
    def busy(self) -> bool:
        """Whether a batch is under way or waits."""
        return self._running or bool(self._waiting)

    def put(self, lease: Lease) -> None:
        """Take a lease; `pump` afterwards."""
        self._waiting.append(lease)

    def pump(self) -> None:
        """Begin a batch if none is under way."""
        if self._running or not self._waiting:
            return
        job = self._waiting[0].job
        batch = [lease for lease in self._waiting if lease.job is job][:BATCH]
        chosen = {lease.key for lease in batch}
        self._waiting = [lease for lease in self._waiting if lease.key not in chosen]
        self._running = True
        future = self._shop.loop.run_in_executor(None, self._work, batch)
        future.add_done_callback(lambda done: self._over(batch, done))

    def _over(self, batch: Sequence[Lease], done: "asyncio.Future[T]") -> None:
        self._running = False
        self._ended(batch, done)
        self.pump()
