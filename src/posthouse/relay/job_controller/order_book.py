"""Which copies operators' orders are for, from the asking to the result (see orders.py).

A copy is asked for by the controller's number. It is taken as soon as no worker has it, waits in `ready` for the worker of its
pool, and goes back to where it was when the order leaves something of it: to the schedule, or among the held ones. A lost
worker's orders are given again.
"""

from typing import TYPE_CHECKING

from posthouse.relay.job_controller.ages import SPARED
from posthouse.relay.job_controller.backoff import Tries, Verdict
from posthouse.relay.job_controller.cargo import Cargo, cargo_of
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.orders import ORDERS, Asked, Order
from posthouse.relay.job_controller.protocol import Job, Lease, Result

if TYPE_CHECKING:
    from posthouse.relay.job_controller.stock import Stock

ORDERED = frozenset((*ORDERS.values(), Job.ASK))
_REROUTING = {Job.REROUTE, Job.ASK}
_SETTLING = {Job.BOUNCE, Job.DROP, *_REROUTING}
_ENDED = {Verdict.DONE, Verdict.HELD, Verdict.GONE}


class OrderBook:
    """The copies that are asked for.

    Args:
        stock: all copies.
    """

    def __init__(self, stock: "Stock") -> None:
        self._stock = stock
        self._asked: dict[int, Asked] = {}
        self.ready: list[int] = []
        """those that are ours now and wait for a worker"""

    def __contains__(self, key: int) -> bool:
        return key in self._asked

    def __bool__(self) -> bool:
        return bool(self._asked)

    @property
    def under_way(self) -> list[Order]:
        """All orders with a copy that has no result yet."""
        return list({id(asked.order): asked.order for asked in self._asked.values()}.values())

    def ask(self, entry: Entry, asked: Asked) -> None:
        """Have an order carried out on a copy, now or when it comes back."""
        self._asked[entry.key] = asked
        self.call(entry)

    def call(self, entry: Entry) -> None:
        """Take a copy that is asked for, if it is not out with a worker."""
        kept = entry.state is State.TAKEN and cargo_of(entry).job is None  # it waits to be filed as .HELD, or was lent
        if entry.key in self._asked and (kept or self._stock.schedule.take(entry.key) is not None):
            self.take(entry.key)

    def take(self, key: int) -> None:
        """The copy is ours: it waits for its worker."""
        self.ready.append(key)

    def lend(self, name: str, attempts: int, now: float) -> Entry:
        """Take a held copy into the schedule, never to be delivered: it is asked for."""
        _, cargo = self._stock.held.pop(name)
        entry = self._stock.add(attempts, cargo, now)
        self._stock.schedule.take(entry.key)
        cargo.job = None
        return entry

    def lease(self, key: int) -> Lease | None:
        """The lease that has an order carried out; None when the copy is gone."""
        entry, asked = self._stock.schedule.get(key), self._asked.get(key)
        if entry is None or asked is None:
            return None
        lease = self._stock.lease_of(entry, asked.order.job)
        if asked.ids and len(asked.ids) < len(lease.open):
            lease.open, lease.some = asked.ids, True
        return lease

    def missed(self, key: int) -> None:
        """The copy was delivered, held or taken away before the order could have it."""
        if (asked := self._asked.pop(key, None)) is not None:
            asked.order.not_now()

    def give_up(self, now: float) -> None:
        """Wait no longer for copies that are out with a worker for something else, or have none."""
        for key in [key for key, asked in self._asked.items() if asked.order.deadline <= now]:
            entry = self._stock.schedule.get(key)
            if entry is not None and cargo_of(entry).job in ORDERED:
                continue
            if key in self.ready:
                self.ready.remove(key)
                asked = self._asked.pop(key)
                if entry is not None:
                    self._back(entry, cargo_of(entry))
                asked.order.not_now()
            else:
                self.missed(key)

    def book(self, entry: Entry, cargo: Cargo, result: Result, now: float) -> None:
        """An order has been carried out on a copy, or could not be."""
        asked, rerouting = self._asked.pop(entry.key, None), cargo.job in _REROUTING
        good = result.verdict in {Verdict.DONE, Verdict.REST} and cargo.job in _SETTLING and not result.code
        good |= result.verdict is Verdict.HELD and cargo.job is Job.HOLD
        good |= result.verdict is Verdict.AGAIN and cargo.job is Job.RELEASE and result.file.endswith(".00")
        if result.verdict in _ENDED or not cargo.recipients:  # a file without one that cannot be removed: a scan will do it
            self._stock.forget(entry, cargo, result)
        else:
            if result.file:
                cargo.file = result.file
            if good and cargo.job is Job.RELEASE:
                cargo.be_released(now + SPARED)
                entry.rank, entry.next_try, entry.tries = -1, 0.0, Tries()
            self._back(entry, cargo)
        if asked is None:
            return
        text = f"{cargo.identity}: {result.text or result.verdict.value}"
        if rerouting and result.verdict is Verdict.AGAIN and not result.code:
            asked.order.stays(text if result.text else "")
            return
        if rerouting and good and result.text:
            asked.order.leave(text)
        asked.order.result(good=good, text=text)

    def _back(self, entry: Entry, cargo: Cargo) -> None:
        """The copy goes back to where it was."""
        cargo.job = None
        if cargo.file.endswith(".HELD"):
            self._stock.schedule.remove(entry.key)
            self._stock.names.pop(cargo.name, None)
            self._stock.held[cargo.name] = (entry.channel, cargo)
            cargo.pack()
        else:
            self._stock.give_back(entry)
