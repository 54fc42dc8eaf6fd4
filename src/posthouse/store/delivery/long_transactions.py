"""Transactions with many addressees: admitted in slices, between which others are served (decision 172).

    take -> waits -> admitted, `AT_ONCE` addressees in a turn of the loop -> begun -> placed, or refused

The next one begins when it and those on their way to the disk are no more than `TOGETHER` addressees, or nobody is on the way:
so their mailboxes are not all open at a time, and no batch holds many names. Who waits for a lock or a recount keeps nobody.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

from posthouse.store.delivery.transaction import Addressee, Transaction
from posthouse.store.mailbox.errors import MailboxError

AT_ONCE = 12
"""addressees; a transaction with no more is not a long one. New mailboxes take some 0.3 ms each"""
TOGETHER = 200
"""addressees of several transactions that may be on their way at the same time"""

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
        """one is being admitted, or will be in the next turn"""
        self.current: list[Addressee] = []
        """those on their way, as far as is known"""

    def take(self, transaction: Transaction, fault: MailboxError | None) -> None:
        """Deliver it when its turn comes."""
        self._waiting.append((transaction, fault))
        self.look()

    def look(self) -> None:
        """Something has changed: the next one begins when it may."""
        self.current = [addressee for addressee in self.current if addressee.open]
        if self._busy or not self._waiting:
            return
        if not self.current or len(self.current) + len(self._waiting[0][0].addressees) <= TOGETHER:
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
            self._busy = False
            self.current += ready
            self._begin(transaction, ready)
            self.look()

        step()
