"""The job controller: hears of new mail, decides what goes when, hands it to channel workers, books what became of it.

It never reads a message's body and waits for a disk only to read the heads of queue files it does not know, a few at a time:
marks are synced in a thread each second, moves to queue files are a worker's work. Losing it loses schedules, not mail: all
is read back from journal and queue tree, once `jobs.lock` is free, that is, when the last worker of the former one has ended.

    start: lock, recover, control socket, workers    each turn: results booked, leases handed out
    each 0.25 s: moves and notices that are due      each second: marks, segments to free, unannounced segments
"""

import asyncio
import logging
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from posthouse.config.configuration import Configuration
from posthouse.config.job_controller_cnf import DEFAULT_TIMES
from posthouse.journal.adopt import open_folder
from posthouse.relay.job_controller import control
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import Cargo, cargo_of, iso
from posthouse.relay.job_controller.child import Child
from posthouse.relay.job_controller.commands import Commands
from posthouse.relay.job_controller.control import Line
from posthouse.relay.job_controller.desk import Desk
from posthouse.relay.job_controller.file_reader import FileReader
from posthouse.relay.job_controller.files import filed_copies
from posthouse.relay.job_controller.housekeeping import Housekeeping
from posthouse.relay.job_controller.ledger import Ledger, NewRecord
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.job_controller.periodic import first_after
from posthouse.relay.job_controller.plan import Plan
from posthouse.relay.job_controller.protocol import (
    Alarm,
    Downward,
    Grant,
    HostDown,
    HostUp,
    Job,
    Lease,
    Result,
    Troubled,
    Upward,
)
from posthouse.relay.job_controller.stock import TURN, Stock
from posthouse.relay.job_controller.troubles import channel_troubles, host_troubles
from posthouse.relay.job_controller.workers import Workers
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.recovery import recover

if TYPE_CHECKING:
    from posthouse.dispatcher.trouble import Trouble

MOVES_AT_ONCE = 500
KEPT_ALARMS = 50
_LOCK_SECONDS = 0.05
_log = logging.getLogger("posthouse")


class JobController:
    """The process's one object.

    Args:
        configuration: of the relay.
        places: the queue's folders.
        locks: descriptors for the workers to inherit.
    """

    def __init__(self, configuration: Configuration, places: Places, locks: tuple[int, ...]) -> None:
        self._loop = asyncio.get_running_loop()
        self._configuration = configuration
        self._places = places
        self._alarms: deque[tuple[float, str]] = deque(maxlen=KEPT_ALARMS)
        self._ledger = Ledger(places.disk, places.journal, self.alarm)
        self._stock = Stock(Plan(configuration), self._ledger, random.random)
        self._files = FileReader(places, self._stock, self.alarm, self.soon)
        desk = Desk(self._stock, self._files.damaged, str(configuration.instance.queue))
        self._commands = Commands(self, self._stock, desk, places)
        self._syncing = asyncio.Lock()
        self._workers = Workers(self, self._stock, configuration.instance.root, locks)
        self._server: asyncio.AbstractServer | None = None
        self._pending = False
        self._draining = False
        self._next_scan = self._loop.time() + self._scan_every()
        self._started = time.time()
        self._housekeeping = Housekeeping(self, configuration, self._stock)
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Read what waits, listen, start the first workers.

        Raises:
            UnknownVersion: a newer version wrote the journal.
            OSError: the queue cannot be read, or the socket cannot be bound.
        """
        found = recover(self._places, time.time())
        for name in found.segments:
            self._places.forget(name)  # the ledger takes the lock itself
        for text in found.alarms:
            self.alarm(text)
        self._files.look_at(found.files)
        self._admit(self._ledger.orphans())
        self._server = await control.serve(self._configuration.instance.run / NAME, self)
        await self._workers.start(self._first_pools())
        self._loop.create_task(self._turns())

    def _first_pools(self) -> list[str]:
        return self._stock.plan.program_pools()

    @property
    def reading(self) -> asyncio.Task[None] | None:
        """Under way while queue files are being read."""
        return self._files.reading

    @property
    def beyond(self) -> int:
        """Queue files known by the disk only: copies beyond MAX_MESSAGES."""
        return self._files.unread

    @property
    def wrong_here(self) -> "list[Trouble]":
        """What workers say keeps mail from being delivered on this machine."""
        return self._workers.troubles

    def scan_files(self) -> None:
        """Look for queue files that are not known; they are read in the turns that follow."""
        self._files.look_at(self._places.tree.files())

    def _admit(self, records: list[NewRecord]) -> None:
        now = time.time()
        for record in records:
            self._stock.admit(record, now)
        if records:
            self.soon()

    def alarm(self, text: str) -> None:
        """Something a person must know."""
        _log.error("%s", text)
        self._alarms.append((time.time(), text))

    # what writers and commands say (control.Owner)

    def synced(self, writer: object, segment: str, offset: int) -> None:
        """A writer's segment is durable below the offset."""
        self._admit(self._ledger.synced(writer, segment, offset))

    def writer_gone(self, writer: object) -> None:
        """A writer has ended or hung up."""
        self._admit(self._ledger.writer_gone(writer))
        self._loop.call_later(_LOCK_SECONDS, self._adopt)  # a killed writer's lock may outlive its connection for a moment

    def _adopt(self) -> None:
        if not self._draining:
            self._admit(self._ledger.orphans())

    def request(self, line: Line) -> dict[str, Any] | asyncio.Future[dict[str, Any]]:
        """A command."""
        return self._status() if line.op == "status" else self._commands.request(line)

    def _status(self) -> dict[str, Any]:
        known = self._stock.schedule, self._configuration
        return {
            "started": iso(self._started),
            "waiting": len(self._stock.schedule) + self._files.unread,
            "unread": self._files.unread,
            "held": len(self._stock.held) + len(self._files.damaged),
            "segments": len(self._ledger),
            "overdue": self._stock.ages.overdue(time.time()),
            "workers": self._workers.rows(),
            "alarms": [{"time": iso(when), "text": text} for when, text in self._alarms],
            "troubles": [*host_troubles(*known), *channel_troubles(*known), *self.wrong_here],
        }

    # workers

    def worker(self, pool: str) -> Child | None:
        """The pool's worker if it runs; else it is being started."""
        return self._workers.get(pool)

    def heard(self, pool: str, messages: list[Upward]) -> None:
        """A worker's frame."""
        now, stock = time.time(), self._stock
        for message in messages:
            if isinstance(message, Result):
                if message.file:
                    self._places.tree.touched_file(message.file)
                if message.verdict is Verdict.GONE:
                    self._missed(message)
                stock.book(message, now)
            elif isinstance(message, HostUp):
                stock.schedule.host_up(message.channel, message.host, now)
            elif isinstance(message, HostDown):
                _log.warning("%s: %s", message.host, message.text)
                stock.host_down(message.channel, message.host, now, message.text)
            elif isinstance(message, Alarm):
                self.alarm(message.text)
            elif isinstance(message, Troubled):
                self._workers.is_troubled(pool, message.troubles)
        self.soon()

    def _missed(self, result: Result) -> None:
        """A copy's file is not where it was: an operator's doing. It may stand there under another name."""
        entry = self._stock.schedule.get(result.key)
        path = result.file or (cargo_of(entry).path if entry is not None else "")
        _log.warning("%s: taken away or replaced by somebody else", path or "a copy")
        self._next_scan = min(self._next_scan, self._loop.time() + TURN)

    def give_back(self, pool: str) -> None:
        """A lost worker's process is gone: what it had is to be handed out again."""
        now = time.time()
        entries = self._stock.schedule.worker_lost(pool)
        suspects = {entry.key for entry in entries if cargo_of(entry).job is not Job.MOVE}
        cargos = [cargo for cargo in map(cargo_of, entries) if cargo.file or cargo.job in {Job.MOVE, Job.HOLD}]
        wanted = {(cargo.identity, cargo.copy) for cargo in cargos}
        filed: dict[tuple[str, int], Cargo] = filed_copies(self._places, wanted, self._files.hold_damaged) if wanted else {}
        for entry in entries:
            cargo = cargo_of(entry)
            self._stock.lost(entry, filed.get((cargo.identity, cargo.copy)), now)
        self._show_parts(pool, suspects)
        self.soon()

    def _show_parts(self, pool: str, suspects: set[int]) -> None:
        """The new worker is shown what gathers, but the suspects: one of them may be what has ended the old one."""
        schedule, plan = self._stock.schedule, self._stock.plan
        channels = {each for each in schedule.channels if plan.gathers(each) and schedule.pool_of(each) == pool}
        if channels:
            self._stock.retry(entry.key for entry in schedule if entry.channel in channels and entry.key not in suspects)

    # each turn

    def soon(self) -> None:
        """Hand out what may go, after this turn."""
        if not self._pending:
            self._pending = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Hand out everything that may go."""
        self._pending = False
        if self._draining:
            return
        self._deliver()
        self._commands.hand_out()

    def _deliver(self) -> None:
        schedule, stock, now = self._stock.schedule, self._stock, time.time()
        running = {pool for pool in schedule.busy_pools(now) if self.worker(pool) is not None}
        frames: dict[str, list[Downward]] = {}
        leases = [stock.lease_of(entry, Job.DELIVER) for entry in schedule.lease(now, running)] if running else []
        for channel, host, sessions in schedule.grants(self._workers.runs):
            frames.setdefault(schedule.pool_of(channel), []).append(Grant(channel, host, sessions))
        for lease in leases:
            frames.setdefault(schedule.pool_of(lease.channel), []).append(lease)
        for pool, messages in frames.items():
            self._workers.send(pool, messages)

    async def _turns(self) -> None:
        count = 0
        while not self._draining:
            await asyncio.sleep(TURN)
            count += 1
            try:
                self._housekeeping.look_at_the_clock()
                self._other_jobs()
                if count % 4 == 0:
                    await self._each_second()
            except OSError as error:
                self.alarm(str(error))
            self.soon()

    def _other_jobs(self) -> None:
        frames: dict[str, list[Lease]] = {}
        for lease in self._stock.due_jobs(time.time(), MOVES_AT_ONCE):
            frames.setdefault(self._stock.schedule.pool_of(lease.channel), []).append(lease)
        for pool, leases in frames.items():
            child = self.worker(pool)
            if child is not None:
                child.send(list(leases))
            else:  # it is being started: these come again
                for lease in leases:
                    self._stock.put_off(lease.key, time.time())

    async def _each_second(self) -> None:
        self._stock.schedule.relieve(time.time())
        self._stock.orders.give_up(time.time())
        self._admit(self._ledger.orphans())
        await self.sync_marks()
        await self._loop.run_in_executor(None, self._places.tree.sync_touched)
        if self._files.has_room or self._loop.time() >= self._next_scan:
            self._next_scan = self._loop.time() + self._scan_every()
            self.scan_files()
        await self._housekeeping.each_second()

    async def sync_marks(self) -> OSError | None:
        """Make all marks durable that were set so far; free what can be freed. What is returned kept some from it."""
        async with self._syncing:
            books = self._ledger.to_sync()
            if not books:
                return None
            done = await self._loop.run_in_executor(None, self._ledger.sync, books)
            for name in self._ledger.synced_marks(done):
                self._remove_body(name)
            return next((error for _, error in done if error is not None), None)

    def _remove_body(self, name: str) -> None:
        try:
            self._places.disk.unlink(name, self._places.body)
        except (FileNotFoundError, ValueError):
            return

    def _scan_every(self) -> float:
        jobs, now = self._configuration.job_controller, time.time()
        return first_after(jobs.synch_time if jobs is not None else DEFAULT_TIMES, now) - now

    # reload and end

    def reload(self, configuration: Configuration) -> None:
        """Take a new configuration, and let the workers read it."""
        self._configuration = configuration
        self._next_scan = min(self._next_scan, self._loop.time() + self._scan_every())
        self._stock.reload(Plan(configuration))
        self._housekeeping.configure(configuration)
        self._workers.reload()
        self._stock.schedule.tell_again()
        self.soon()

    async def drain(self) -> None:
        """Hand out nothing more, wait for the workers, make the marks durable."""
        if self._draining:
            return
        self._draining = True
        self._commands.end()
        self._files.ended = True
        await self._workers.drain()
        try:
            self._finish()
        except Exception:
            _log.exception("the end was not clean; the next start reads everything again")
        self.ended.set()

    def _finish(self) -> None:
        if self._server is not None:
            self._server.close()
        self._ledger.orphans()
        for name in self._ledger.synced_marks(self._ledger.sync(self._ledger.to_sync())):
            self._remove_body(name)
        self._ledger.close()
        self._places.tree.sync_touched()


class OrdersOnly(JobController):
    """For commands while the relay does not run: nothing goes, is filed or grows old; operators' orders are carried out."""

    def _first_pools(self) -> list[str]:
        return []

    def _deliver(self) -> None:
        """Nothing is delivered."""

    def _other_jobs(self) -> None:
        """No moves, no notices."""


def open_places(configuration: Configuration, places: type[Places], disk: Any) -> Places:
    """The queue's folders, made when they are missing."""
    data = disk.open_dir(str(configuration.instance.data))
    for name in ("journal", "queue"):
        disk.close(open_folder(disk, name, data))
    disk.close(data)
    return places(disk, str(configuration.instance.journal), str(configuration.instance.queue))
