"""Transactions with many addressees: one after another, each admitted in slices between which others are served (decision 172).

    take -> waits -> admitted, `AT_ONCE` addressees in a turn of the loop -> begun -> placed, or refused -> the next

The next one begins when no addressee of the one before is on its way to the disk any more: so the mailboxes of one are open at
a time, and one batch never holds the names of many. Who waits for a lock or a recount keeps nobody.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

from posthouse.store.delivery.transaction import Addressee, Transaction
from posthouse.store.mailbox.errors import MailboxError

AT_ONCE = 32
"""addressees; a transaction with no more is not a long one. New mailboxes take some 0.3 ms each"""

Admit = Callable[[Transaction, Addressee, MailboxError | None], bool]
Begin = Callable[[Transaction, list[Addressee]], None]


class LongTransactions:
    """Those that wait and the one under way.

    Args:
        admit: try to admit an addressee; the fault is the message's.
        begin: these are admitted: on to the disk.
        later: call back after so many seconds.
    """

    def __init__(self, admit: Admit, begin: Begin, later: Callable[[float, Callable[[], None]], None]) -> None:
        self._admit = admit
        self._begin = begin
        self._later = later
        self._waiting: deque[tuple[Transaction, MailboxError | None]] = deque()
        self._busy = False
        self.current: list[Addressee] = []
        """admitted and begun; empty when, as far as is known, all are placed or refused"""

    def take(self, transaction: Transaction, fault: MailboxError | None) -> None:
        """Deliver it when its turn comes."""
        self._waiting.append((transaction, fault))
        if not self._busy:
            self._busy = True
            self._later(0, self._next)

    def _next(self) -> None:
        transaction, fault = self._waiting.popleft()
        left = iter(transaction.addressees)
        ready: list[Addressee] = []

        def step() -> None:
            if turn := list(islice(left, AT_ONCE)):
                ready.extend([addressee for addressee in turn if self._admit(transaction, addressee, fault)])
                self._later(0, step)
                return
            self._begin(transaction, ready)
            self.current = ready
            self.look()

        step()

    def look(self) -> None:
        """Something was settled: the next one begins when it may."""
        if any(addressee.open for addressee in self.current):
            return
        self.current = []
        self._busy = bool(self._waiting)
        if self._busy:
            self._later(0, self._next)
