"""A relay's controller and channel worker in one process, on a disk that loses power, and an operator who gives orders.

Everything is the product's own but the way between the two (no socketpair) and the journal's writer (no threads). After each
changing operation `look` recovers disks as a power cut may leave them, and compares with what the operator was told until then:

* a recipient of a copy nobody ordered anything for waits, once, with its octets;
* a recipient of a drop may be gone once it was asked for, and is gone once it was reported; of a return the same, and whenever
  it is gone a notice that names it waits;
* of a reroute the same, and whenever it is gone a message for the mailbox on NEW_STORE waits, held where the old copy was;
* a copy that was reported as held is `.HELD`, one reported as released is not; until then it is one of the two.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.journal.body_file import BodyReference
from posthouse.journal.disk import Disk, Octets
from posthouse.mail.envelope import Envelope
from posthouse.relay.channels.settings import read_all
from posthouse.relay.channels.worker import ChannelWorker
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.child import Child
from posthouse.relay.job_controller.control import Line
from posthouse.relay.job_controller.controller import OrdersOnly
from posthouse.relay.job_controller.protocol import Downward, Upward
from posthouse.relay.job_controller.selection import Selection
from posthouse.relay.notices.notifier import Notifier, Wording
from posthouse.relay.queue.copy_ref import CopyRef, FileCopy
from posthouse.relay.queue.enqueue import Done, Enqueuer
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.queue_format import DamagedQueueFile
from posthouse.relay.queue.recovery import recover
from posthouse.relay.routing import rules as routing_rules
from posthouse.testing.crash_disk import EXT4, CrashDisk
from posthouse.testing.crash_state import Extreme
from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.writer import TransactionLog
from support.crash_relay import LATER, Broken, Relay, Who, require
from support.queue_world import Accepting, open_places

POOL = "SMTP_POOL"
NEW_STORE = "store9.example.com"
P = ParamSpec("P")
T = TypeVar("T")


class Inline(ThreadPoolExecutor):
    """No thread: what is submitted is done at once, so that one operation follows another."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class AtOnce(Enqueuer):
    """The journal's writer without its threads."""

    def __init__(self, disk: Disk, journal: int) -> None:
        self._accepting = Accepting(disk, journal)

    def submit(self, envelope: Envelope, body: "list[Octets] | tuple[Octets, ...] | BodyReference", done: Done) -> bool:  # type: ignore[override]
        error: OSError | None = None
        try:
            self._accepting.accept([(envelope, body if isinstance(body, BodyReference) else b"".join(bytes(b) for b in body))])
        except OSError as fault:
            error = fault
        asyncio.get_running_loop().call_soon(done, error)
        return True

    def stop(self) -> None:
        self._accepting.end()


class Near(Child):
    """The channel worker, in this process."""

    def __init__(self, root: Path, heard: Callable[[str, list[Upward]], None]) -> None:
        super().__init__(POOL, root, (), heard, lambda _pool: None)
        self._heard = heard
        self.worker: ChannelWorker | None = None

    def send(self, messages: list[Downward]) -> None:
        assert self.worker is not None
        for message in messages:
            self.worker.take(message)
        self.worker.pump()

    def up(self, messages: list[Upward]) -> None:
        self._heard(self.pool, messages)


class OneProcess(OrdersOnly):
    """The controller of one queue; its worker is in the same process."""

    near: Near

    def worker(self, pool: str) -> Child | None:
        assert pool == POOL
        return self.near

    def begin(self) -> None:
        """Read what waits."""
        self.near = Near(self._configuration.instance.root, self.heard)
        found = recover(self._places, LATER)
        for name in found.segments:
            self._places.forget(name)
        self._files.look_at(found.files)
        self._admit(self._ledger.orphans())


class Office:
    """Controller and worker on a disk."""

    def __init__(self, disk: CrashDisk, configuration: Configuration) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(Inline(1))
        self.controller = OneProcess(configuration, open_places(disk, ""), ())
        self.controller.begin()
        places = open_places(disk, "")
        rules = routing_rules.compile(configuration, chance=random.random, clock=time.time)
        instance, options = configuration.instance, LogOptions.from_options(configuration.options.integer)
        log = TransactionLog(instance.log, options, [], Counters(instance.counters, loop.call_later))
        enqueuer = AtOnce(disk, places.journal)
        wording = Wording.from_configuration(configuration, "relay1.example.com")
        near = self.controller.near
        shop = Workshop(
            loop, configuration, rules, read_all(configuration), places, log, enqueuer, "relay1.example.com", wording, near.up
        )
        near.worker = ChannelWorker(shop, POOL)
        ids = near.worker.ids
        shop.notifier = Notifier(loop, disk, places.body, enqueuer, ids, time.time, shop.note, "1.1.0")

    async def order(self, op: str, selection: Selection, **more: Any) -> dict[str, Any]:
        """What the operator is told."""
        answer = self.controller.request(Line(op, filter=selection, **more))
        return await answer if isinstance(answer, asyncio.Future) else answer


@dataclass
class Told:
    """What the operator asked for and was told, and what was accepted."""

    bodies: dict[str, bytes]
    accepted: set[Who]
    may_go: set[Who] = field(default_factory=set)
    gone: set[Who] = field(default_factory=set)
    returned: set[Who] = field(default_factory=set)
    rerouted: set[Who] = field(default_factory=set)
    moving: set[Who] = field(default_factory=set)
    """being held or released"""
    held: set[Who] = field(default_factory=set)

    def copy(self) -> "Told":
        """As it stands now."""
        sets = (self.may_go, self.gone, self.returned, self.rerouted, self.moving, self.held)
        return Told(self.bodies, self.accepted, *(set(each) for each in sets))


@dataclass
class Waiting:
    """One recipient that waits."""

    body: bytes
    held: bool
    about: str
    address: str


def waiting_on(disk: CrashDisk) -> dict[Who, Waiting]:
    """Recover there, and everything that waits."""
    places = open_places(disk, "")
    found = recover(places, LATER)
    require(not any("acknowledged" in alarm for alarm in found.alarms), str(found.alarms))
    refs: list[CopyRef] = [*(each.ref for each in found.copies), *(each.ref for each in found.files)]
    waiting: dict[Who, Waiting] = {}
    for ref in refs:
        try:
            opened = open_copy(places, ref)
        except DamagedQueueFile as reason:
            raise Broken(f"{ref}: {reason}") from reason
        body, held = b"".join(opened.parts()), isinstance(ref, FileCopy) and ref.name.endswith(".HELD")
        for each in opened.recipients:
            who = (opened.envelope.id, each.id)
            require(who not in waiting, f"{who}: waits twice")
            waiting[who] = Waiting(body, held or each.held, opened.envelope.about, each.address)
        opened.close()
    places.close()
    return waiting


def compare(told: Told, waiting: dict[Who, Waiting]) -> None:
    """Broken unless what waits is what was told."""
    notices = {(each.about, each.body) for each in waiting.values() if each.about}
    moved = {(each.body, each.held, each.address) for each in waiting.values()}
    for who in told.accepted:
        there = waiting.get(who)
        if there is None:
            require(who in told.may_go, f"{who}: lost")
            if who in told.returned:
                named = f"user{who[1]}@example.com".encode()
                require(any(about == who[0] and named in body for about, body in notices), f"{who}: gone without a notice")
            if who in told.rerouted:
                new = f"@{NEW_STORE}.lmtp:user{who[1]}@lmtpcs-daemon"
                require((told.bodies[who[0]], who in told.held, new) in moved, f"{who}: gone without a new message")
            continue
        require(there.body == told.bodies[who[0]], f"{who}: foreign octets")
        require(who not in told.gone, f"{who}: is back after it was reported")
        require(who in told.moving or there.held is (who in told.held), f"{who}: held is {there.held}")


class Operator(Relay):
    """A queue, the office that runs it, and what its operator was told."""

    def __init__(self, root: Path, seed: int, fstype: int = EXT4) -> None:
        super().__init__(seed, states=2, fstype=fstype)
        self.disk.after = lambda _operation: None
        self.configuration = load(Instance(root))
        self.kept: list[tuple[CrashDisk, Told]] = []
        """survivors an order is to be given to again"""
        self._turn = itertools.count()
        self.broken: list[Broken] = []
        """what `look` found: the product must not get to see it"""

    def fill(self) -> Told:
        """Copies in the journal, in files, and held; each of two or three recipients."""
        refs = self.accept(3, (0, 0, 1))
        self.move(*refs[:2])
        self.move(refs[0], copy=1, held=True)
        self.move(refs[2], copy=1, held=True)
        self.accepting.end()
        for name in list(self.records):
            self.places.forget(name)
        told = Told(self.promises.submitted, set(self.promises.accepted))
        told.held = {who for who, each in waiting_on(self.disk.survivor(Extreme.MOST)).items() if each.held}
        compare(told, waiting_on(self.disk.survivor(Extreme.LEAST)))
        return told

    def watch(self, told: Told, keep_every: int = 25) -> None:
        """From now on look after each operation."""

        def look(_operation: str) -> None:
            choices: Iterable[Extreme | random.Random] = [*Extreme, *([self.random] * self.states)]
            for choose in choices:
                self.checked += 1
                survivor = self.disk.survivor(choose)
                try:
                    compare(told, waiting_on(survivor))
                except Broken as broken:
                    self.broken.append(broken)
                if next(self._turn) % keep_every == 0:
                    self.kept.append((self.disk.survivor(choose), told.copy()))

        self.disk.after = look

    def look_now(self, told: Told) -> None:
        """Look without an operation: something was reported. Raises what was found so far."""
        self.watch(told)
        self.disk.after("")
        if self.broken:
            raise self.broken[0]


def instance_of(root: Path) -> Path:
    """An instance whose configuration has the pool, and in whose directory everybody's mailbox is on NEW_STORE."""
    from support.jobs_relay import LDIF, JobsRelay

    made = JobsRelay(root, 1).root
    begin = LDIF.index("dn: uid=ann")
    users = (LDIF[begin:].replace("ann", f"user{number}").replace("store1.example.com", NEW_STORE) for number in range(3))
    (made / "config" / "people.ldif").write_text("\n".join((LDIF[:begin].lstrip(), *users)))
    return made
