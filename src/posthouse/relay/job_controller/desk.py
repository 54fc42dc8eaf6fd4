"""What operators ask of the running controller: `posthouse queue list|summary|why|retry` and orders (queue.md 6).

Questions are answered from memory. Orders go to the channel workers and are answered when they are carried out and durable;
`--dry-run` changes nothing and is answered at once; that of a reroute goes to the workers, for it asks the directory. A held file
whose envelope cannot be read is listed by id, channel, state and age; no order touches it, and one meant counts as failed.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from posthouse.mail.status import Status
from posthouse.relay.job_controller.cargo import HELD, NO_PROGRAM, Cargo, cargo_of, damaged_listing, iso, listing
from posthouse.relay.job_controller.control import Line
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.orders import ORDERS, PATIENCE, Asked, Order
from posthouse.relay.job_controller.protocol import Job
from posthouse.relay.job_controller.selection import Matcher, Selection, missing
from posthouse.relay.job_controller.stock import Stock
from posthouse.relay.job_controller.summary import Counted, summary_of
from posthouse.relay.queue.names import parse
from posthouse.relay.queue.tree import QueueEntry
from posthouse.relay.routing.result import ON_HOLD

Damaged = dict[str, tuple[QueueEntry, str]]


class Found(NamedTuple):
    """A copy that is meant."""

    channel: str
    cargo: Cargo
    entry: Entry | None
    """None for a held copy"""
    ids: tuple[int, ...]
    """the recipients that are meant"""


class Desk:
    """Questions and orders.

    Args:
        stock: all copies.
        damaged: held files that cannot be read, by path, and why.
        queue: path of the queue folder.
    """

    def __init__(self, stock: Stock, damaged: Damaged, queue: str) -> None:
        self._stock = stock
        self._damaged = damaged
        self._queue = queue

    def select(self, selection: Selection, now: float) -> Iterator[Found]:
        """Every copy that is meant."""
        matcher = Matcher(selection, now)
        for entry in self._stock.schedule:
            cargo = cargo_of(entry)
            state = "journal" if cargo.record is not None else "file"
            packed = cargo.is_packed
            if matcher.copy(cargo.identity, entry.channel, entry.host_name, state, entry.enqueued):
                ids = matcher.people(cargo.envelope, cargo.recipients, partial(_reply, cargo, self._stock.waits_for(entry)))
                if ids:
                    yield Found(entry.channel, cargo, entry, ids)
                if packed:
                    cargo.pack()
        for channel, cargo in self._stock.held.values():
            enqueued = cargo.envelope.enqueued / 1000
            if matcher.copy(cargo.identity, channel, cargo.recipients[0].host, "held", enqueued):
                ids = matcher.people(cargo.envelope, cargo.recipients, cargo.reply)
                if ids:
                    yield Found(channel, cargo, None, ids)
            cargo.pack()

    def row(self, found: Found) -> dict[str, Any]:
        """One element of `queue list`."""
        channel, cargo, entry, _ = found
        if entry is None:
            return listing(cargo, channel, cargo.recipients[0].host, attempts_of(cargo), 0.0, self._queue)
        why = self._stock.waits_for(entry)
        due = self._stock.schedule.due(entry) if why is not NO_PROGRAM else 0.0
        return listing(cargo, channel, entry.host_name, entry.tries.attempts, due, self._queue, why)

    def rows(self, selection: Selection) -> list[dict[str, Any]]:
        """All rows; of held copies with the reason."""
        now = time.time()
        rows = [self.row(found) | self._held(found) for found in self.select(selection, now)]
        return rows + self._damaged_rows(selection, now)

    @staticmethod
    def _held(found: Found) -> dict[str, str]:
        return {"why": found.cargo.reason or HELD} if found.entry is None else {}

    def _damaged_rows(self, selection: Selection, now: float) -> list[dict[str, Any]]:
        return [damaged_listing(entry, reason, self._queue) for entry, reason in self._unreadable(selection, now)]

    def _unreadable(self, selection: Selection, now: float) -> Iterator[tuple[QueueEntry, str]]:
        """Held files that cannot be read and are meant."""
        matcher = Matcher(selection, now)
        for entry, reason in self._damaged.values():
            known = matcher.copy(entry.name.message, entry.ref.channel, "", "held", entry.mtime)
            if known and not matcher.asks_people:
                yield entry, reason

    def why(self, selection: Selection) -> list[dict[str, Any]]:
        """All rows, each with the reason it waits and the state of its host."""
        now = time.time()
        rows = [{**self.row(found), **self._why(found)} for found in self.select(selection, now)]
        return rows + [{**row, "host_state": None} for row in self._damaged_rows(selection, now)]

    def _why(self, found: Found) -> dict[str, Any]:
        _, cargo, entry, _ = found
        if entry is None:
            return self._held(found) | {"host_state": None}
        host = entry.host
        assert host is not None
        blocked = bool(host.blocked_until)
        state = {
            "up": host.up, "failures": host.failures, "reason": host.reason, "waiting": host.ready_count,
            "under_way": host.in_flight, "sessions": host.sessions, "next_probe": iso(host.blocked_until) if blocked else None,
        }  # fmt: skip
        return {"why": self._words(entry, cargo), "host_state": state}

    def _words(self, entry: Entry, cargo: Cargo) -> str:
        host = entry.host
        assert host is not None
        if self._stock.waits_for(entry) is NO_PROGRAM:
            return NO_PROGRAM.text
        if entry.state is State.LEASED:
            return "it is being delivered"
        if entry.state is State.TAKEN:
            return "it is being filed, or its sender is being told"
        if host.blocked_until:
            down = f"{entry.host_name} is down, {host.failures} attempts failed ({host.reason})"
            return f"{down}; the next for all its mail: {iso(host.blocked_until)}"
        if entry.state is State.WAITING:
            said = cargo.status
            reason = f"last reply {said}" if said is not None else "it was put off"
            return f"{reason}; attempt {entry.tries.attempts + 1} at {iso(entry.next_try)}"
        before = host.ready_count - 1
        return f"it may go: {before} others for {entry.host_name or entry.channel} and {host.sessions} sessions share the way"

    def summary(self, selection: Selection) -> dict[str, Any]:
        """Counts and octets by channel, host and state, the oldest of each, and what should have gone."""
        now = time.time()
        copies = (
            Counted(
                each.channel, each.cargo.recipients[0].host if each.entry is None else each.entry.host_name,
                "held" if each.entry is None else "file" if each.cargo.file else "journal", len(each.cargo.recipients),
                each.cargo.envelope.size, each.cargo.envelope.enqueued / 1000,
            )
            for each in self.select(selection, now)
        )  # fmt: skip
        return summary_of(copies, len(self._damaged), self._stock.ages.overdue(now))

    def waiting(self) -> dict[str, Any]:
        """For `posthouse metrics`, which asks again and again: copies by channel and state, when the oldest of a channel came.

        Nothing is unpacked for it, so held copies have no age.
        """
        copies: Counter[tuple[str, str]] = Counter()
        oldest: dict[str, float] = {}
        for entry in self._stock.schedule:
            channel = entry.channel
            copies[channel, "file" if cargo_of(entry).record is None else "journal"] += 1
            if entry.enqueued < oldest.get(channel, math.inf):
                oldest[channel] = entry.enqueued
        copies.update((channel, "held") for channel, _ in self._stock.held.values())
        return {
            "groups": [{"channel": channel, "state": state, "copies": number} for (channel, state), number in copies.items()],
            "oldest": oldest, "damaged": len(self._damaged), "overdue": self._stock.ages.overdue(time.time()),
        }  # fmt: skip

    def retry(self, selection: Selection, *, dry_run: bool) -> dict[str, Any]:
        """Let them go now, all recipients of each copy; how many there are. A dry run says which. What is held stays so."""
        meant = list(self.select(selection, time.time()))
        todo = [found for found in meant if found.entry is not None]
        keys = [found.entry.key for found in todo if found.entry is not None]
        would = {"dry_run": True, "would": [self._meant_row(found) for found in todo]} if dry_run else {}
        return {
            "copies": len(meant), "retried": len(keys) if dry_run else self._stock.retry(keys), "held": len(meant) - len(keys),
            "missing": missing(selection, (found.cargo.identity for found in meant)),
            **would,
        }  # fmt: skip

    def _meant_row(self, found: Found) -> dict[str, Any]:
        return {**self.row(found), "selected": list(found.ids)}

    def order(self, line: Line, selection: Selection, finished: Callable[[Order], None]) -> dict[str, Any] | None:
        """Begin an order; with `dry_run` the answer, which says what it would be done to."""
        now = time.time()
        asks = line.dry_run and line.op == "reroute"  # only a worker can ask the directory
        job = Job.ASK if asks else ORDERS[line.op]
        order = Order(job, now + PATIENCE, self._released(finished) if line.op == "release" else finished)
        meant = list(self.select(selection, now))  # a list: orders change what is gone through
        order.copies, order.recipients = len(meant), sum(len(found.ids) for found in meant)
        unwanted = [found for found in meant if not _changes(order.job, found)]
        order.unchanged = len(unwanted)
        unreadable = list(self._unreadable(selection, now))
        order.cannot(f"{entry.ref.path}: {reason}" for entry, reason in unreadable)
        known = [*(found.cargo.identity for found in meant), *(entry.name.message for entry, _ in unreadable)]
        order.missing = missing(selection, known)
        if line.dry_run and not asks:
            rows = [self._meant_row(found) for found in meant if _changes(order.job, found)]
            return {**order.answer(), "dry_run": True, "would": rows}
        todo = [found for found in meant if _changes(order.job, found)]
        order.left = len(todo)
        for found in todo:
            entry = found.entry
            if entry is None:
                entry = self._stock.orders.lend(found.cargo.name, attempts_of(found.cargo), now)
            if entry.key in self._stock.orders:
                order.not_now()
                continue
            order.keys.append(entry.key)
            whole = order.job in {Job.HOLD, Job.RELEASE}
            self._stock.orders.ask(entry, Asked(order, () if whole else found.ids))
        order.settle()
        return None

    def _released(self, finished: Callable[[Order], None]) -> Callable[[Order], None]:
        """What ends a release: its copies go at once, also to a host that is waited for: one try for them all."""

        def ended(order: Order) -> None:
            self._stock.retry(order.keys)
            finished(order)

        return ended


def _reply(cargo: Cargo, otherwise: Status | None, recipient: int) -> Status | None:
    return cargo.reply(recipient) or otherwise


def _changes(job: Job, found: Found) -> bool:
    if job is Job.HOLD:  # one that waits for its recipient's status is the operator's from now on (decision 180)
        return found.entry is not None or found.cargo.reason == ON_HOLD
    return job is not Job.RELEASE or found.entry is None


def attempts_of(cargo: Cargo) -> int:
    """The attempts a held copy's name counts."""
    name = parse(cargo.file.rpartition("/")[2])
    return name.attempts if name is not None else 0
