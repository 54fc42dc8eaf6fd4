"""Operators' orders in the channel worker (queue.md 6, job-controller-cnf 8): hold, release, return, drop.

* hold of a file, release: a rename, in batches and in a thread, durable before the result. A hold of a record is a move to a
  `.HELD` file (mover.py). Both are logged `H`, a release with the reason `released`. A file that is not what was written is not
  released: it would be held again at its next attempt.
* return: the sender's notice first, then F, as for every failure. NOTIFY=NEVER and the null sender get none.
* drop: F, and nobody is told; logged `K`.
"""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.batches import Batches
from posthouse.relay.channels.workshop import message_of, ref_of
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import HELD_BY_OPERATOR, Job, Lease, Result, own_replies
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.queue.queue_file import OpenQueueFile, append_reason
from posthouse.relay.queue.queue_format import DamagedQueueFile
from posthouse.relay.queue.release import rename_all
from posthouse.trace.record import Action, Record

if TYPE_CHECKING:
    import asyncio

_RETURNED = Status(550, "5.0.0", "returned by the postmaster")
_DROPPED = Status(550, "5.0.0", "dropped by an operator")


def return_to_sender(attempt: Attempt, opened: OpenCopy) -> None:
    """Return the leased recipients: the sender is told what kept them waiting."""
    lease, recipients = attempt.lease, opened.recipients
    attempt.kind = Kind.RETURNED
    if lease.code:
        last = Status(lease.code, lease.enhanced, lease.text)
        attempt.diagnostics = {recipient.id: last for recipient in recipients} | own_replies(lease)
    for recipient in recipients:
        attempt.result(recipient, _RETURNED)
    attempt.end()


def drop(attempt: Attempt, opened: OpenCopy) -> None:
    """Settle the leased recipients; nobody is told."""
    attempt.quiet = _DROPPED.text
    for recipient in opened.recipients:
        attempt.result(recipient, _DROPPED)
    attempt.end()


class Renamer(Batches[list[FileCopy | OSError]]):
    """Holds and releases queue files for one worker."""

    def _work(self, batch: Sequence[Lease]) -> list[FileCopy | OSError]:
        refs = [ref for lease in batch if isinstance(ref := ref_of(lease), FileCopy)]
        hold = batch[0].job is Job.HOLD
        faults = {} if hold else {ref: fault for ref in refs if (fault := self._fault(ref)) is not None}
        done = iter(rename_all(self._shop.places.tree, [ref for ref in refs if ref not in faults], held=hold))
        result = [faults[ref] if ref in faults else next(done) for ref in refs]
        for each in result if hold else ():
            if isinstance(each, FileCopy):
                self._note(each)
        return result

    def _fault(self, ref: FileCopy) -> OSError | None:
        """Why a file cannot be released; one that can is no more said to be held."""
        try:
            opened = OpenQueueFile.open(self._shop.places.tree, ref)
        except DamagedQueueFile as fault:
            return OSError(str(fault))
        except OSError as error:
            return error
        try:
            if opened.held_because():
                with contextlib.suppress(OSError):
                    opened.note_held("")
        finally:
            opened.close()
        return None

    def _note(self, ref: FileCopy) -> None:
        """Write down why it is held, as far as it can be: of no weight."""
        with contextlib.suppress(OSError, DamagedQueueFile):
            append_reason(self._shop.places.tree, ref, HELD_BY_OPERATOR)

    def _ended(self, batch: Sequence[Lease], done: "asyncio.Future[list[FileCopy | OSError]]") -> None:
        fault = done.exception()
        if fault is not None:
            self._shop.alarm(f"held or released files may not be durable: {fault}")
        files = done.result() if fault is None else [fault] * len(batch)
        for lease, new in zip(batch, files, strict=True):
            self._tell(lease, new)

    def _tell(self, lease: Lease, new: FileCopy | BaseException) -> None:
        shop = self._shop
        if isinstance(new, FileNotFoundError):
            shop.tell(Result(lease.key, Verdict.GONE, (), 0, "", "its file is not where it was"))
        elif isinstance(new, BaseException):
            shop.tell(Result(lease.key, Verdict.DEFERRED, (), 0, "", str(new), lease.file))
        else:
            hold = lease.job is Job.HOLD
            reason = HELD_BY_OPERATOR if hold else "released"
            record = Record(
                ts=shop.stamp(), ac=Action.HELD, sc=lease.channel, fi=f"{shop.wording.queue_folder}/{new.path}",
                ei=message_of(new.path), pi=shop.log.process, re=reason, ho=lease.host, at=lease.attempts,
            )  # fmt: skip
            shop.note((record,))
            text = reason if hold else ""
            shop.tell(Result(lease.key, Verdict.HELD if hold else Verdict.AGAIN, (), 0, "", text, new.path))
