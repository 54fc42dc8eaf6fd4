"""The open mailboxes of this process: as many as there are descriptors for, the longest unused closed first.

A mailbox that is in use is never closed. Each time it is asked for, its name is looked at once: a mailbox that was removed,
renamed or replaced is opened anew.
"""

import contextlib
from collections import OrderedDict

from posthouse.journal.disk import Disk
from posthouse.store.delivery.account import Account
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.mailbox.errors import MailboxBadFormat, MailboxLocked
from posthouse.store.mailbox.faults import fault_of
from posthouse.store.mailbox.maildir import Maildir, open_maildir, sweep_tmp

FILES_EACH = 6
"""descriptors one open mailbox takes, at most and seldom exceeded"""
SWEEP_EVERY = 16
"""of so many mailboxes that are opened one is looked through for stray files; `posthouse store check` finds the others"""


class Accounts:
    """Open accounts.

    Args:
        disk: the disk.
        partitions: where mailboxes are.
        create: mailboxes are made on first delivery (`store.autocreate`).
        keep: how many stay open.
    """

    def __init__(self, disk: Disk, partitions: Partitions, *, create: bool, keep: int) -> None:
        self._disk = disk
        self._partitions = partitions
        self._keep = keep
        self.create = create
        self._open: OrderedDict[str, Account] = OrderedDict()
        self._opened = 0

    def get(self, owner: str, now: float) -> Account:
        """The owner's account.

        Raises:
            MailboxError: it cannot be had.
        """
        account = self._open.get(owner)
        if account is not None:
            if self._partitions.strays:
                self._partitions.need(account.maildir.partition)
            try:
                if account.maildir.still_there(now):
                    self._open.move_to_end(owner)
                    return account
            except OSError as error:
                raise fault_of(error, owner) from error
            self._drop(account)
        return self._add(owner, now)

    def _add(self, owner: str, now: float) -> Account:
        if len(self._open) >= self._keep:
            self._make_room()
        try:
            try:
                maildir = self._maildir(owner, now)
            except MailboxBadFormat:
                maildir = self._moved(owner, now)
        except OSError as error:
            raise fault_of(error, owner) from error
        if not maildir.fresh and self._opened % SWEEP_EVERY == 0:
            with contextlib.suppress(OSError):  # nothing depends on it
                sweep_tmp(self._disk, maildir.tmp, now)
        self._opened += 1
        account = Account(self._disk, maildir)
        self._open[owner] = account
        return account

    def _moved(self, owner: str, now: float) -> Maildir:
        """His mailbox at another place: it may be moving, or have moved to a partition that was made meanwhile."""
        self._partitions.look()
        moves = self._partitions.moves(owner)  # asked before it is looked for: it may arrive in between
        try:
            return self._maildir(owner, now)
        except MailboxBadFormat as fault:
            if moves:
                raise MailboxLocked(f"{owner}: on its way to another partition") from fault
            raise

    def _maildir(self, owner: str, now: float) -> Maildir:
        partition = self._partitions.of(owner)
        self._partitions.need(partition)
        return open_maildir(self._disk, partition, owner, create=self.create, now=now)

    def _make_room(self) -> None:
        """Close those longest unused, of whom none is in use."""
        while len(self._open) >= self._keep:
            for account in self._open.values():
                if not account.in_use:
                    self._drop(account)
                    break
            else:
                return

    def _drop(self, account: Account) -> None:
        """Forget it; close it now, or when its last delivery leaves (`left`)."""
        self._open.pop(account.maildir.owner, None)
        account.dropped = True
        self.left(account)

    def left(self, account: Account) -> None:
        """Somebody has left the account: close it when it was dropped meanwhile."""
        if account.dropped and not account.in_use:
            account.close()

    def close(self) -> None:
        """Close all that is not in use."""
        for account in list(self._open.values()):
            self._drop(account)


