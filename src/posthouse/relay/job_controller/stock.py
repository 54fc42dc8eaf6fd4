"""Every waiting copy of the relay, from its discovery to its end: the schedule, the ledger, and what ties them together.

* A copy enters from a journal record (`admit`) or a queue file (`admit_file`), each at most once: message id and copy number
  are its name.
* Results are booked here: slots in the ledger, recipients of the copy, the next try; nothing is settled but by a result.
* Due for other reasons than delivery: a move to a queue file (next try over 30 s away, older than 60 s, held), a notice.

No I/O but the ledger's, no clock: time is passed in.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from posthouse.journal.segment import Mark
from posthouse.mail.envelope import Priority
from posthouse.mail.status import Status
from posthouse.relay.job_controller.agenda import Agenda
from posthouse.relay.job_controller.ages import AGAIN, Ages
from posthouse.relay.job_controller.backoff import BUSY_LIMIT, Tries, Verdict, ordinary_wait
from posthouse.relay.job_controller.cargo import NO_PROGRAM, RANKS, Cargo, cargo_of
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.ledger import Ledger, NewRecord
from posthouse.relay.job_controller.order_book import ORDERED, OrderBook
from posthouse.relay.job_controller.plan import Plan
from posthouse.relay.job_controller.protocol import Job, Lease, Result, own_replies
from posthouse.relay.job_controller.schedule import Schedule
from posthouse.relay.queue.names import unique

if TYPE_CHECKING:
    from posthouse.mail.envelope import Recipient
    from posthouse.relay.queue.tree import QueueEntry

_log = logging.getLogger("posthouse")
_TAKEN = State.TAKEN
FAR = 30.0
"""seconds to the next try beyond which a copy is moved to a queue file"""
OLD = 60.0
"""seconds in the journal after which it is"""
TURN = 0.25
"""seconds between two looks at what is due"""
CRASHES = 4
"""workers a copy may lose before it waits its backoff: it may be what ends them"""
_ANSWERED = {Verdict.DEFERRED, Verdict.PARTLY, Verdict.BUSY}
_ENDED = {Verdict.DONE, Verdict.HELD, Verdict.GONE}


class Stock:
    """All copies.

    Args:
        plan: the configuration.
        ledger: the segments.
        chance: a number from 0.0 to 1.0, new at each call.
    """

    def __init__(self, plan: Plan, ledger: Ledger, chance: Callable[[], float]) -> None:
        self.plan = plan
        self.ledger = ledger
        self.schedule = Schedule(chance)
        self._chance = chance
        self.held: dict[str, tuple[str, Cargo]] = {}
        """channel and copy of what is .HELD, by name; never scheduled"""
        self.orders = OrderBook(self)
        self.dropped = 0
        """copies that stand on disk only, because there was no room for them when they were filed"""
        self.names: dict[str, int] = {}
        self._key = 0
        self.moves = Agenda(TURN)
        self.ages = Ages(self.schedule, plan)
        plan.apply(self.schedule)

    def reload(self, plan: Plan) -> None:
        """Take a new configuration. Copies keep their tries; waits under way stay as they are."""
        self.plan = plan
        plan.apply(self.schedule)
        self.ages = Ages(self.schedule, plan)
        for entry in self.schedule:
            cargo = cargo_of(entry)
            entry.intervals = plan.backoff(entry.channel, cargo.priority)
            self.ages.plan_next(entry)

    def __len__(self) -> int:
        return len(self.schedule) + len(self.held)

    # in

    def guess(self, entry: "QueueEntry") -> float:
        """Unix time at which a file is likely to be tried next, by its name and its time of change."""
        tried = entry.name.attempts
        return entry.mtime + ordinary_wait(self.plan.backoff(entry.ref.channel, Priority.NORMAL), tried, 0.0) if tried else 0.0

    def admit(self, new: NewRecord, now: float) -> None:
        """The open copies of a record."""
        record, envelope = new.record, new.envelope
        if len(envelope.recipients) == 1 and new.open:
            people = envelope.recipients
            self.add(0, Cargo(envelope, people[0].copy, people, record, ""), now)
            return
        wanted = set(new.open)
        copies: dict[int, list[Recipient]] = {}
        for recipient in envelope.recipients:
            if recipient.id in wanted:
                copies.setdefault(recipient.copy, []).append(recipient)
        for copy, recipients in copies.items():
            self.add(0, Cargo(envelope, copy, tuple(recipients), record, ""), now)

    def admit_file(self, cargo: Cargo, attempts: int, mtime: float, now: float) -> bool:
        """A queue file, changed at mtime; False: its copy is known already (then only its path may be news)."""
        file, name = cargo.file, cargo.name
        known = self.names.get(name)
        if known is not None:
            entry = self.schedule.get(known)
            if entry is None or entry.state not in {State.READY, State.WAITING}:
                return False
            if not file.endswith(".HELD"):
                cargo_of(entry).file = file
                return False
            self.schedule.remove(known)  # an operator holds it
            del self.names[name]
        if file.endswith(".HELD"):
            self.held[name] = (sys.intern(cargo.recipients[0].channel), cargo)
            cargo.pack()
            return True
        released = self.held.pop(name, None) is not None
        entry = self.add(attempts, cargo, now, rank=-1 if released else None)
        if attempts and not released and not self.plan.gathers(entry.channel):
            due = min(mtime, now) + ordinary_wait(entry.intervals, attempts, 0.0)  # the clock may have been set back since
            if due > now:
                self._postpone(entry, due)
        cargo.pack()
        return True

    def _postpone(self, entry: Entry, due: float) -> None:
        if self.schedule.take(entry.key) is not None:
            entry.next_try = due
            self.schedule.give_back(entry.key)

    def add(self, attempts: int, cargo: Cargo, now: float, *, rank: int | None = None) -> Entry:
        """Schedule a copy."""
        envelope, first = cargo.envelope, cargo.recipients[0]
        if not self.schedule.knows(first.channel):
            self.schedule.set_channel(first.channel, self.plan.limits_of_unknown())
        self._key += 1
        intervals = self.plan.backoff(first.channel, envelope.priority)
        place = RANKS[envelope.priority] if rank is None else rank
        host = self.plan.host(first.channel, first.host)
        channel, host = sys.intern(first.channel), sys.intern(host)
        entry = Entry(self._key, channel, host, place, envelope.enqueued / 1000, intervals, cargo)
        if attempts:
            entry.tries = Tries(attempts, attempts).shared()
        self.names[cargo.name] = entry.key
        self.schedule.add(entry)
        self.ages.enter(entry, now)
        if cargo.held:
            self.schedule.take(entry.key)  # it must not go: only to a .HELD file
        if cargo.record is not None:
            far = cargo.held or self.schedule.due(entry) - now > FAR  # its host may be known to be down
            self.moves.add(now if far else now + OLD, entry.key)
        return entry

    # out

    def lease_of(self, entry: Entry, job: Job) -> Lease:
        """The lease that hands the copy to a worker."""
        cargo = cargo_of(entry)
        cargo.job = job
        entry.out_in = self.schedule.pool_of(entry.channel)  # what was taken before a reload may go to another pool's worker
        lease = Lease(
            entry.key, job, entry.channel, entry.host_name, cargo.copy, cargo.record, cargo.file, cargo.open,
            entry.tries.attempts, not entry.tries.instant, int(cargo.held or job is Job.HOLD), told=cargo.told,
            why=cargo.recipients[0].why if cargo.held and job is Job.MOVE else "",
        )  # fmt: skip
        if cargo.patient and job is Job.DELIVER:
            lease.open, lease.some = cargo.impatient, True
        status = None if job is Job.DELIVER else cargo.status or self.waits_for(entry)
        if status is not None:
            lease.code, lease.enhanced, lease.text = status.code, status.enhanced, status.text
            lease.replies = tuple((key, each.code, each.enhanced, each.text) for key, each in cargo.replies.items())
        return lease

    def waits_for(self, entry: Entry) -> Status | None:
        """Why the copy waits though it has had no reply of its own: no program, or its host is down. None when it may go."""
        block = self.plan.configuration.imta.channels.get(entry.channel)
        if block is None or not self.plan.has_program(block):
            return NO_PROGRAM
        host = entry.host
        return Status.parse(host.reason) if host is not None and host.blocked_until and host.reason else None

    def due_jobs(self, now: float, most: int) -> Iterator[Lease]:
        """Moves, warnings and returns that are due; at most so many."""
        count = 0
        for key in self.ages.agenda.due(now):
            taken = self.ages.take(key, now)
            if taken is not None:
                count += 1
                yield self.lease_of(*taken)
            if count == most:
                break
        if count == most:
            return
        for key in self.moves.due(now):
            entry = self.schedule.get(key)
            if entry is None or cargo_of(entry).record is None:
                continue
            if key in self.orders:
                self.moves.add(now + AGAIN, key)
                continue
            kept = cargo_of(entry).held and cargo_of(entry).job is None  # taken since it came in
            if not kept and self.schedule.take(key) is None:  # out with a worker: look again later
                self.moves.add(now + AGAIN, key)
                continue
            count += 1
            yield self.lease_of(entry, Job.MOVE)
            if count == most:
                return

    def host_down(self, channel: str, host: str, now: float, reason: str) -> None:
        """The host is down: what waits for it in the journal is filed when the wait is long."""
        self.schedule.host_down(channel, host, now, reason)
        for entry in self.schedule.waiting_for(channel, host):
            if self.schedule.due(entry) - now > FAR and cargo_of(entry).record is not None:
                self.moves.add(now, entry.key)

    def put_off(self, key: int, now: float) -> None:
        """A job of `due_jobs` could not be handed out: it falls due again in a moment."""
        entry = self.schedule.get(key)
        if entry is not None:
            self._again(entry, now + 0.5)
            self.give_back(entry)

    def _again(self, entry: Entry, when: float) -> None:
        """What it was leased for beside delivery falls due again."""
        if cargo_of(entry).job is Job.MOVE:
            self.moves.add(when, entry.key)
        else:
            self.ages.agenda.add(when, entry.key)

    def give_back(self, entry: Entry) -> None:
        """End a lease for something else than delivery. What is to be held stays taken until it is."""
        cargo = cargo_of(entry)
        cargo.job = None
        if entry.key in self.orders:
            self.orders.take(entry.key)
        elif cargo.record is None:
            self.schedule.give_back(entry.key)
            cargo.pack()
        elif not cargo.held:
            self.schedule.give_back(entry.key)

    def knows_file(self, message: str, copy: int, path: str) -> bool:
        """Whether a queue file is the one we know of this copy."""
        name = unique(message, copy)
        held = self.held.get(name)
        if held is not None:
            return held[1].path == path
        key = self.names.get(name)
        entry = self.schedule.get(key) if key is not None else None
        return entry is not None and (cargo_of(entry).path == path or entry.state not in {State.READY, State.WAITING})

    # results

    def book(self, result: Result, now: float) -> None:
        """Write down what a worker says."""
        entry = self.schedule.get(result.key)
        if entry is None:
            return
        cargo = cargo_of(entry)
        if result.settled:
            if cargo.record is not None:
                self.ledger.settled(cargo.record.segment, len(result.settled))
            cargo.settle({key for key, _ in result.settled})
        if result.code and entry.state is not _TAKEN:  # what keeps a move or a notice back is no reply of the next system
            before = {key: said for key in cargo.patient if (said := cargo.reply(key)) is not None}  # not tried this time
            cargo.status = Status(result.code, result.enhanced, result.text)
            cargo.replies = before | own_replies(result)
            cargo.told |= result.verdict in _ANSWERED and not result.enhanced.startswith("4.4.")
        if entry.state is _TAKEN:
            book = self.orders.book if cargo.job in ORDERED else self._book_other
            book(entry, cargo, result, now)
            return
        if result.file:
            cargo.file = result.file
        if result.verdict is Verdict.BUSY and entry.tries.busies == BUSY_LIMIT:
            _log.warning("%s: busy %d times in a row; from now on it waits its backoff", cargo.envelope.id, BUSY_LIMIT)
        failures = entry.tries.failures + 1
        due = self.schedule.finish(result.key, result.verdict, now)
        if cargo.patient or result.patient:
            self._be_patient(entry, cargo, result, now, failures)
        if due is None or not cargo.recipients:
            self.forget(entry, cargo, result)
        elif self.orders and entry.key in self.orders:
            self.orders.call(entry)
        elif cargo.record is None:
            cargo.pack()
        elif self.schedule.due(entry) - now > FAR:
            self.moves.add(now, entry.key)

    def _be_patient(self, entry: Entry, cargo: Cargo, result: Result, now: float, failures: int) -> None:
        """Of a copy with a busy mailbox only that one is tried soon; the others wait their own time."""
        if result.verdict not in {Verdict.BUSY, Verdict.REST, Verdict.AGAIN, Verdict.HOST_DOWN}:
            cargo.patient = {}
            return
        wait = ordinary_wait(entry.intervals, failures, self._chance())
        waits = dict.fromkeys(result.patient, now + wait) | dict(cargo.patient)
        open_ids = set(cargo.open)
        waits = {key: until for key, until in waits.items() if key in open_ids and until > max(now, entry.next_try)}
        if len(waits) < len(open_ids):
            cargo.patient = waits
        elif waits:  # nobody else is left: the copy waits for the first of them
            cargo.patient = {}
            self._postpone(entry, min(waits.values()))

    def retry(self, keys: Iterable[int]) -> int:
        """Let these copies go at once, with all their recipients; how many there were."""
        wanted = tuple(keys)
        for key in wanted:
            entry = self.schedule.get(key)
            if entry is not None:
                cargo_of(entry).patient = {}
        return self.schedule.retry(wanted)

    def _book_other(self, entry: Entry, cargo: Cargo, result: Result, now: float) -> None:
        """A move, a warning or a return is over."""
        if result.verdict in _ENDED or not cargo.recipients:  # a file without one that cannot be removed: a scan will do it
            self.forget(entry, cargo, result)
            return
        if cargo.job is Job.MOVE:
            if result.verdict is Verdict.AGAIN and result.file:
                self._filed(cargo, result.file)
                if len(self) > self.plan.most and entry.key not in self.orders:
                    self.dropped += 1
                    self.forget(entry, cargo, result)
                    return
            else:
                self.moves.add(now + AGAIN, entry.key)
        elif result.file:
            cargo.file = result.file
        if cargo.job is Job.WARN and result.verdict is Verdict.AGAIN:
            cargo.notices += 1
            self.ages.plan_next(entry)
        elif cargo.job in {Job.WARN, Job.RETURN}:
            self.ages.agenda.add(now + AGAIN, entry.key)
        self.give_back(entry)

    def _filed(self, cargo: Cargo, file: str) -> None:
        assert cargo.record is not None
        self.ledger.settled(cargo.record.segment, len(cargo.recipients))
        cargo.record = None
        cargo.file = file

    def forget(self, entry: Entry, cargo: Cargo, result: Result) -> None:
        """The copy is no longer scheduled: settled, held, or somebody took its file."""
        self.schedule.remove(entry.key)
        name = cargo.name
        self.names.pop(name, None)
        if cargo.record is not None and cargo.recipients:
            if cargo.job in {Job.MOVE, Job.HOLD} and result.verdict is Verdict.HELD and result.file.endswith(".HELD"):
                self._filed(cargo, result.file)
            else:
                self.ledger.reread(cargo.record, cargo.open)
        if result.verdict is Verdict.HELD and result.file.endswith(".HELD"):
            cargo.file = result.file
            cargo.reason = result.text
            self.held[name] = (entry.channel, cargo)
            cargo.pack()
        if self.orders and cargo.job not in ORDERED:
            self.orders.missed(entry.key)

    def lost(self, entry: Entry, filed: Cargo | None, now: float) -> None:
        """Its worker is gone: what was written down is settled, the rest is tried again, later after several times.

        Args:
            entry: the copy, still leased.
            filed: its queue file as it stands now, or None when there is none.
            now: Unix seconds.
        """
        cargo = cargo_of(entry)
        cargo.crashes += 1
        if cargo.record is not None and filed is not None:  # the move had got as far as the name: the file beats the record
            self.ledger.mark(cargo.record, cargo.open, Mark.MOVED)
            cargo.record = None
        elif cargo.record is not None:
            still = set(self.ledger.reread(cargo.record, cargo.open))
            cargo.settle({key for key in cargo.open if key not in still})
        if cargo.record is None:
            cargo.file = filed.file if filed is not None else ""
            cargo.recipients = filed.recipients if filed is not None else ()
        if not cargo.recipients:
            self.forget(entry, cargo, Result(entry.key, Verdict.DONE))
        elif entry.state is State.TAKEN and cargo.job in ORDERED:
            self.give_back(entry)  # to the desk: the order is given again
        elif entry.state is State.TAKEN:
            self._again(entry, now + AGAIN)
            self.give_back(entry)
        else:
            self.schedule.finish(entry.key, Verdict.AGAIN if cargo.crashes < CRASHES else Verdict.DEFERRED, now)
