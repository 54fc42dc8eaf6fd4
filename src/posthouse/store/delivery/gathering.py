"""Step c of `delivery.py`: the files that wait for their record, and when they go to the journal together.

A batch goes at the end of the turn of the loop in which its files were written. While transactions are under way it waits for
them, `GATHER_SECONDS` at a time; one that a batch has waited for in vain is not waited for again. An only peer's batch never
waits: nothing else can come.
"""

from collections.abc import Sequence, Sized
from typing import Protocol

from posthouse.journal.commit import Item
from posthouse.journal.disk import Octets
from posthouse.store.delivery.admission import Surroundings
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.delivery.record import Placement, encode_placement
from posthouse.store.delivery.transaction import Part

GATHER_SECONDS = 0.003
"""a batch waits so long for transactions that are under way, at most twice as long"""


class Journal(Protocol):
    """Where records are appended (`journal.Writer`)."""

    def append(self, token: object, envelope: bytes, body: Sequence[Octets], slots: int) -> bool:
        """Take a record; False: too much waits."""
        ...

    def commit_now(self, items: Sequence[Item]) -> bool:
        """Make records durable and tell of them before this returns; False: `append` them."""
        ...


class Gathering:
    """The batch that comes together.

    Args:
        journal: None where no barrier can be trusted: then nothing is ever added.
        partitions: where mailboxes are.
        around: timer.
    """

    def __init__(self, journal: Journal | None, partitions: Partitions, around: Surroundings) -> None:
        self._journal = journal
        self._partitions = partitions
        self._around = around
        self.peers: Sized = ()
        """all who may have something for the next batch, where that is known"""
        self._unsent: list[Part] = []
        """files that wait for their record"""
        self._sending = self._timed = self._held_up = False
        self._committing = 0
        """records that were sent and are not placed yet"""
        self.expected = 0
        """transactions that have begun and are not here yet, as far as a batch waits for them"""
        self._turn = self._timed_for = self._sent = 0

    def expect(self) -> int:
        """A transaction has begun: the batch waits for it. Returns what `expect_no_more` wants to hear."""
        self.expected += 1
        return self._turn

    def expect_no_more(self, turn: int) -> None:
        """The transaction is here, or will not come."""
        if turn == self._turn:
            self.expected -= 1

    def add(self, part: Part) -> None:
        """Its file is written."""
        self._unsent.append(part)

    def send_soon(self) -> None:
        """All of this turn are added: they go once everything that is under way is here, with one switch to the committer."""
        if not self._unsent:
            return
        if self.expected:
            if not self._timed:
                self._timed, self._timed_for = True, self._sent
                self._around.later(GATHER_SECONDS, self._gathered)
        elif self._sending:
            return
        elif len(self.peers) == 1:
            self._send()
        else:
            self._sending = True
            self._around.later(0, self._send)

    def _gathered(self) -> None:
        """The timer: it may have been set for a batch that has gone since; then this one has its time anew."""
        self._timed = False
        if not self._unsent or self._sending:
            return
        if self._timed_for != self._sent:
            self.send_soon()
            return
        self._turn += 1
        self.expected = 0
        self._send()

    def _send(self) -> None:
        """The records of all that wait: made durable in this thread, unless something before them is still under way.

        An only peer's goes to the committer: nobody else waits for this thread, and the answer comes sooner (decision 153).
        """
        assert self._journal is not None
        self._sending = self._held_up = False
        self._sent += 1
        unsent, self._unsent = self._unsent, []
        items = [self._item(part) for part in unsent]
        here = not self._committing and len(self.peers) != 1
        self._committing += len(items)
        if here and self._journal.commit_now(items):
            return
        for number, item in enumerate(items):
            if not self._journal.append(item.token, item.envelope, item.body, item.slots):
                self._unsent = unsent[number:]
                self._committing -= len(self._unsent)
                self._held_up = True  # until the next batch is through
                return

    def _item(self, part: Part) -> Item:
        """The record of a part."""
        places = tuple([addressee.place for addressee in part.addressees if addressee.place is not None])
        envelope, stored = encode_placement(Placement(self._partitions.name(part.partition), places)), part.message.stored
        return Item(part, envelope, (stored,), len(places), len(envelope) + len(stored))

    def through(self, records: int) -> None:
        """So many that were sent are durable, or failed."""
        self._committing -= records

    def go_on(self) -> None:
        """A batch is through: what the journal had no room for goes now."""
        if self._held_up:
            self._send()
