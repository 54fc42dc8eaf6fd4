"""Moves copies from the journal into queue files, in batches and in a thread (DURABILITY 3.3): two barriers for each batch.

Leases of job MOVE collect while a batch is under way; the next batch takes them all, at most 500. What cannot be moved (disk
full) stays in the journal and is tried again from there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posthouse.journal.segment import CorruptRecord
from posthouse.mail.status import Status
from posthouse.relay.channels.batches import Batches
from posthouse.relay.channels.unreadable import give_up
from posthouse.relay.channels.workshop import message_of, ref_of
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import HELD_BY_OPERATOR, Job, Lease, Result, own_replies
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.move_out import MovedOut, Moving, move_out, sync_marks
from posthouse.relay.queue.queue_format import Attempt
from posthouse.trace.record import Action, Record

if TYPE_CHECKING:
    import asyncio

_FULL = Status(451, "4.3.1", "the queue file could not be written")
_Work = tuple[MovedOut, dict[Moving, Lease]]


class Mover(Batches[_Work]):
    """The move-outs of one worker."""

    def _moving(self, lease: Lease) -> Moving:
        ref = ref_of(lease)
        assert isinstance(ref, JournalCopy)
        settings = self._shop.settings.get(lease.channel)
        subdirs, now = settings.channel.subdirs if settings else 0, int(self._shop.now() * 1000)
        history = _history(lease, now) if lease.code and lease.attempts else ()
        return Moving(
            ref, lease.channel, subdirs, lease.attempts, held=bool(lease.notice), history=history, why=_reason(lease)
        )  # fmt: skip

    def _work(self, batch: Sequence[Lease]) -> _Work:
        leases = {self._moving(lease): lease for lease in batch}
        result = move_out(self._shop.places, tuple(leases))
        for name in tuple(result.unsynced):
            sync_marks(self._shop.places, name)
        return result, leases

    def _ended(self, batch: Sequence[Lease], done: "asyncio.Future[_Work]") -> None:
        error = done.exception()
        if error is not None:  # the marks are not durable: the controller looks again before it leases
            self._shop.alarm(f"moving out: {error}")
            for lease in batch:
                self._shop.tell(Result(lease.key, Verdict.DEFERRED, (), 451, "4.3.0", str(error)))
            return
        result, leases = done.result()
        for moving, ref in result.moved:
            lease = leases[moving]
            if moving.held:
                self._note_held(lease, ref.path)
            verdict = Verdict.HELD if moving.held else Verdict.AGAIN
            self._shop.tell(Result(lease.key, verdict, text=moving.why, file=ref.path))
        for moving in result.settled:  # perhaps by a former try that could not sync its marks: there may be a file
            self._shop.tell(Result(leases[moving].key, Verdict.GONE))
        for moving, fault in result.failed:
            lease = leases[moving]
            if isinstance(fault, CorruptRecord):
                give_up(self._shop, lease, str(fault))
            else:
                why = fault.strerror or str(fault)
                self._shop.alarm(f"a queue file could not be written: {why}")
                self._shop.tell(Result(lease.key, Verdict.DEFERRED, (), _FULL.code, _FULL.enhanced, f"{_FULL.text}: {why}"))

    def _note_held(self, lease: Lease, path: str) -> None:
        shop = self._shop
        record = Record(
            ts=shop.stamp(), ac=Action.HELD, sc=lease.channel, fi=f"{shop.wording.queue_folder}/{path}", ei=message_of(path),
            pi=shop.log.process, re=_reason(lease), ho=lease.host, at=lease.attempts,
        )  # fmt: skip
        shop.note((record,))


def _reason(lease: Lease) -> str:
    """Why it is held."""
    return HELD_BY_OPERATOR if lease.job is Job.HOLD else lease.why


def _history(lease: Lease, now: int) -> tuple[Attempt, ...]:
    """A line for each recipient: its own last reply."""
    all_had = Status(lease.code, lease.enhanced, lease.text)
    own = own_replies(lease)
    replies = ((each, own.get(each, all_had)) for each in lease.open)
    return tuple(Attempt(now, lease.attempts - 1, each, s.enhanced, s.code, s.text, lease.host) for each, s in replies)
