"""Transactions into UNIX mailboxes: one entry made of the message, appended to each addressee's file, one result each.

Deliveries to one mailbox come one after the other; different mailboxes do not wait for each other. A mailbox that another
program has locked is asked for again and again until `settings.wait` is over (Table 16-1: Mailbox Locked); meanwhile no thread
waits. At most `MAX_WAITING` deliveries wait for one mailbox; one more is answered at once. The transaction is `finished` when
every addressee has its result, and nothing is answered before the entry is durable. What comes again with the same XQID is
answered as the first time and not appended twice; between the append and its line in `seen` a crash can make a duplicate.
"""

import logging
import os
import time
import zlib
from collections import deque
from collections.abc import Callable

from posthouse.store.delivery.admission import Surroundings
from posthouse.store.delivery.seen import Seen, line_of
from posthouse.store.delivery.transaction import OVER_QUOTA, Addressee, Message, Transaction
from posthouse.store.mailbox.errors import AlreadyStored, MailboxError, MailboxIOError, MailboxLocked
from posthouse.store.mailbox.owner import Target
from posthouse.store.native.append import Entry
from posthouse.store.native.entry import entry_of
from posthouse.store.native.own_writer import Writer
from posthouse.store.native.settings import LockWait, NativeSettings
from posthouse.store.native.spool import SpooledMessage

MAX_WAITING = 20
_HEAD = 64
_log = logging.getLogger("posthouse.store")


class _Job:
    """One addressee's delivery."""

    __slots__ = ("addressee", "deadline", "entry", "limit", "pause", "transaction", "wait")

    def __init__(
        self, transaction: Transaction, addressee: Addressee, entry: Entry, limit: int, wait: LockWait, now: float
    ) -> None:
        self.transaction = transaction
        self.addressee = addressee
        self.entry = entry
        self.limit = limit
        self.wait = wait
        self.deadline = now + wait.seconds
        self.pause = wait.first


class NativeDelivery:
    """Delivers transactions.

    Args:
        settings: of store.conf; may be replaced.
        writer: writes mailboxes.
        around: clock, timer, threads.
        finished: told of transactions whose addressees are all settled.
    """

    def __init__(
        self,
        settings: NativeSettings,
        writer: Writer,
        around: Surroundings,
        finished: Callable[[list[Transaction]], None],
    ) -> None:
        self.settings = settings
        self._writer = writer
        self._around = around
        self._finished = finished
        self.seen: Seen | None = None
        """what was appended under which XQID; None: `store.dupcheck` is off"""
        self._queues: dict[Target, deque[_Job]] = {}

    def expect(self) -> int:
        """Nothing is gathered here."""
        return 0

    def expect_no_more(self, turn: int) -> None:
        """Nothing waits for it."""

    def deliver(self, transaction: Transaction, message: Message, fault: MailboxError | None = None) -> None:
        """Deliver; `finished` is told, perhaps before this returns."""
        transaction.message = message
        waiting = []
        for addressee in transaction.addressees:
            target = addressee.target
            if isinstance(target, MailboxError):
                addressee.fault = target if fault is None or isinstance(fault, MailboxIOError) else fault
            elif fault is not None:
                addressee.fault = fault
            elif len(self._queues.get(target, ())) >= MAX_WAITING:
                addressee.fault = MailboxLocked(f"{target.owner or target.folder}: {MAX_WAITING} deliveries wait for it already")
            else:
                waiting.append((addressee, target))
        transaction.open = len(waiting)
        if not waiting:
            self._settled(transaction)
            return
        entry = self._entry(transaction, message)
        for addressee, target in waiting:
            job = _Job(transaction, addressee, entry, self._limit(addressee), self.settings.wait, self._around.now())
            queue = self._queues.setdefault(target, deque())
            queue.append(job)
            if len(queue) == 1:
                self._attempt(target)

    def _entry(self, transaction: Transaction, message: Message) -> Entry:
        if isinstance(message, SpooledMessage):
            return message.entry
        octets = entry_of(transaction.sender, message.stored, self.settings.quoting, time.time())
        return Entry(len(octets), zlib.crc32(octets), octets[:_HEAD], octets)

    def _limit(self, addressee: Addressee) -> int:
        """XQUOTA's octets: how large the file may become (message-store 7)."""
        given = addressee.given
        if given is None or given.bytes is None or addressee.flags & OVER_QUOTA:
            return -1
        return given.bytes if given.bytes >= -1 else self.settings.defaults.bytes

    def _attempt(self, target: Target) -> None:
        job = self._queues[target][0]
        if (repeated := self._is_repeated(target, job)) is not None:
            self._settle(target, job, repeated)
            return
        self._around.in_thread(
            lambda: self._writer.write(target, job.entry, job.limit), lambda result: self._attempted(target, job, result)
        )

    def _is_repeated(self, target: Target, job: _Job) -> MailboxError | None:
        """Why nothing is to be appended: it was, or nobody can say whether it was."""
        addressee = job.addressee
        if self.seen is None or not addressee.xqid:
            return None
        addressee.line = line_of(addressee.xqid, target.owner or target.folder)
        try:
            known = self.seen.known(addressee.line)
        except OSError as error:
            return MailboxIOError(f"seen: {error}")
        return AlreadyStored(f"stored before, XQID {addressee.xqid.decode()}") if known else None

    def _attempted(self, target: Target, job: _Job, result: object) -> None:
        if isinstance(result, MailboxLocked) and self._around.now() < job.deadline:
            self._around.later(job.pause, lambda: self._attempt(target))
            job.pause = min(2 * job.pause, job.wait.most)
            return
        if isinstance(result, BaseException) and not isinstance(result, MailboxError):
            _log.error("native delivery failed", exc_info=result)
            result = MailboxIOError(f"{target.owner or target.folder}: {result}")
        if self.seen is not None and job.addressee.line and not isinstance(result, MailboxError):
            self.seen.add([job.addressee.line])
        self._settle(target, job, result if isinstance(result, MailboxError) else None)

    def _settle(self, target: Target, job: _Job, fault: MailboxError | None) -> None:
        """The head of the mailbox's queue has its result; the next one's turn."""
        if fault is not None:
            job.addressee.refuse(fault)
        queue = self._queues[target]
        queue.popleft()
        if queue:
            self._attempt(target)
        else:
            del self._queues[target]
        job.transaction.open -= 1
        if not job.transaction.open:
            self._settled(job.transaction)

    def _settled(self, transaction: Transaction) -> None:
        message = transaction.message
        for addressee in transaction.addressees:
            addressee.open = False
        if isinstance(message, SpooledMessage) and message.fd >= 0:
            os.close(message.fd)
            message.fd = -1
        self._finished([transaction])
