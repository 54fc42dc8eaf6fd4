"""Operators' requests in the running controller: questions answered at once, orders when they are carried out and durable.

Durable means: before the answer the marks of the journal are synced and the folders of changed queue files too, so that a power
cut after it brings nothing back (DURABILITY 2, 3.4). An order the controller's end interrupts is answered with what was done
so far; what is left of it is not done later.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from posthouse.relay.job_controller.control import Line
from posthouse.relay.job_controller.desk import Desk
from posthouse.relay.job_controller.orders import ORDERS, Order
from posthouse.relay.job_controller.protocol import Downward
from posthouse.relay.job_controller.selection import Selection
from posthouse.relay.job_controller.stock import Stock
from posthouse.relay.queue.places import Places

if TYPE_CHECKING:
    from posthouse.dispatcher.trouble import Trouble

AT_ONCE = 500
"""leases in one frame"""
_ALL = Selection(every=True)


class Worker(Protocol):
    """The worker of a pool."""

    def send(self, messages: list[Downward]) -> None:
        """One frame."""


class Controller(Protocol):
    """What is asked of the job controller."""

    @property
    def reading(self) -> asyncio.Task[None] | None:
        """Under way while queue files are being read."""

    @property
    def beyond(self) -> int:
        """Queue files for whose copies there is no room: known by the disk only."""

    @property
    def wrong_here(self) -> "list[Trouble]":
        """What keeps mail from being delivered on this machine."""

    def scan_files(self) -> None:
        """Look for queue files that are not known."""

    def soon(self) -> None:
        """Hand out what may go, after this turn."""

    def worker(self, pool: str) -> Worker | None:
        """The pool's worker if it runs; else it is being started."""

    async def sync_marks(self) -> OSError | None:
        """Make all marks durable that were set so far; why some may not be."""

    def alarm(self, text: str) -> None:
        """Something a person must know."""


class Commands:
    """All requests but those about the controller itself.

    Args:
        controller: ours.
        stock: its copies.
        desk: answers and selects.
        places: the queue's folders.
    """

    def __init__(self, controller: Controller, stock: Stock, desk: Desk, places: Places) -> None:
        self._loop = asyncio.get_running_loop()
        self._controller = controller
        self._stock = stock
        self._desk = desk
        self._places = places
        self._ending: set[asyncio.Task[None]] = set()

    def request(self, line: Line) -> dict[str, Any] | asyncio.Future[dict[str, Any]]:
        """A command: list, summary, waiting, why, retry, scan, hold, release, return, drop, reroute."""
        if line.op in {"retry", "scan", *ORDERS} and not (line.op in ORDERS and line.selection.is_empty):
            self._controller.scan_files()
        reading = self._controller.reading
        return self._answer(line) if reading is None or reading.done() else self._after(reading, line)

    def _after(self, reading: asyncio.Task[None], line: Line) -> asyncio.Future[dict[str, Any]]:
        """The answer when all queue files have been read."""

        async def answer() -> dict[str, Any]:
            await asyncio.wait([reading])
            found = self._answer(line)
            return await found if isinstance(found, asyncio.Future) else found

        return self._loop.create_task(answer())

    def _answer(self, line: Line) -> dict[str, Any] | asyncio.Future[dict[str, Any]]:
        wanted = line.selection
        if line.op in ORDERS:
            return self._order(line, wanted)
        meant = _ALL if wanted.is_empty else wanted
        match line.op:
            case "list":
                return {"copies": self._desk.rows(meant), **self._beyond()}
            case "summary":
                return {**self._desk.summary(meant), **self._beyond()}
            case "waiting":
                wrong = [each.what for each in self._controller.wrong_here]
                return {**self._desk.waiting(), "troubles": wrong, **self._beyond()}
            case "why":
                return {"copies": self._desk.why(meant), **self._beyond()}
            case "retry":
                answer = self._desk.retry(wanted, dry_run=line.dry_run)
                self._controller.soon()
                return {**answer, **self._beyond()}
            case "scan":
                return {"waiting": len(self._stock.schedule)}
        return {"error": f"unknown request {line.op!r}"}

    def _beyond(self) -> dict[str, int]:
        """What no answer from memory can know of: MAX_MESSAGES."""
        return {"beyond": self._controller.beyond}

    def _order(self, line: Line, wanted: Selection) -> dict[str, Any] | asyncio.Future[dict[str, Any]]:
        if wanted.is_empty:
            return {"error": "nothing is selected"}
        future: asyncio.Future[dict[str, Any]] = self._loop.create_future()

        def finished(order: Order) -> None:
            task = self._loop.create_task(self._durable(order, future))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

        answer = self._desk.order(line, wanted, finished)
        self._controller.soon()
        return future if answer is None else {**answer, **self._beyond()}

    async def _durable(self, order: Order, future: asyncio.Future[dict[str, Any]]) -> None:
        answer = {**order.answer(), **self._beyond()}
        try:
            fault = await self._controller.sync_marks()
            if fault is not None:
                raise fault
            await self._loop.run_in_executor(None, self._places.tree.sync_touched)
        except OSError as error:
            self._controller.alarm(f"an operator's order may not be durable: {error}")
            answer["error"] = f"done, but it may not be durable: {error.strerror or error}"
        if not future.done():
            future.set_result(answer)

    def hand_out(self) -> None:
        """Give orders to the workers that run; the others are being started."""
        orders = self._stock.orders
        waiting, orders.ready = orders.ready, []
        frames: dict[str, list[Downward]] = {}
        for key in waiting:
            entry = self._stock.schedule.get(key)
            pool = self._stock.schedule.pool_of(entry.channel) if entry is not None else ""
            if entry is not None and self._controller.worker(pool) is None:
                orders.take(key)
            elif (lease := orders.lease(key)) is not None:
                frames.setdefault(pool, []).append(lease)
        for pool, leases in frames.items():
            self._send(pool, leases)

    def _send(self, pool: str, leases: Sequence[Downward]) -> None:
        worker = self._controller.worker(pool)
        assert worker is not None
        for at in range(0, len(leases), AT_ONCE):
            worker.send(list(leases[at : at + AT_ONCE]))

    def end(self) -> None:
        """The controller ends: answer what is under way with what was done so far."""
        for order in self._stock.orders.under_way:
            order.busy += order.left
            order.left = 0
            order.settle()
