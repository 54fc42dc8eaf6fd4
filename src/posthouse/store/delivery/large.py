"""A message too large for memory: it streams into a file of somebody's `tmp/` while it arrives (DURABILITY 3.6).

The file is in the mailbox of the first addressee that has one; nobody's lock is held meanwhile. When no mailbox can take
it the octets are thrown away and every addressee gets its own fault, or that of the disk.
"""

from posthouse.journal.disk import Disk
from posthouse.store.delivery.accounts import Accounts
from posthouse.store.delivery.placement import remove, write_all
from posthouse.store.delivery.stored_form import LineEnds, return_path
from posthouse.store.delivery.transaction import Addressee, Message, Transaction
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError
from posthouse.store.mailbox.faults import fault_of
from posthouse.store.mailbox.owner import Target


class LargeMessage:
    """One arriving message. Ends with `end` or `abort`.

    Args:
        now: Unix time in seconds.
    """

    def __init__(self, disk: Disk, accounts: Accounts, names: BaseNames, transaction: Transaction, now: float) -> None:
        self._disk = disk
        self._accounts = accounts
        self._line_ends = LineEnds()
        self._message = Message(b"", 0, 0)
        self.fault: MailboxError | None = MailboxIOError("no mailbox to keep it in")
        for addressee in transaction.addressees:
            if isinstance(addressee.target, Target) and self._open(addressee, addressee.target.owner, names.unsized(), now):
                break
        self._append(return_path(transaction.sender))

    def _open(self, addressee: Addressee, owner: str, name: str, now: float) -> bool:
        try:
            account = self._accounts.get(owner, now)
            self._message.fd = self._disk.create_excl(name, account.maildir.tmp)
        except MailboxError as fault:
            addressee.target = fault
            return False
        except OSError as error:
            addressee.target = fault_of(error, owner)
            return False
        account.pins += 1
        self._message.holder, self._message.name = account, name
        self.fault = None
        return True

    def _append(self, stored: bytes) -> None:
        message = self._message
        at = message.size
        message.size += len(stored)
        if self.fault is not None:
            return
        try:
            write_all(self._disk, message.fd, stored, at)
        except OSError as error:
            assert message.holder is not None
            self.fault = fault_of(error, message.holder.maildir.owner)

    def write(self, data: bytes, lf: bytes | None = None) -> None:
        """The next octets as they came, dots removed; `lf` with LF line ends, if they are known."""
        self._append(self._line_ends.convert(data, lf))

    def end(self) -> Message:
        """The whole message is here; `fault` says what kept it from being written."""
        self._append(self._line_ends.end())
        self._message.wire_size = self._message.size + self._line_ends.taken + 1
        return self._message

    def abort(self) -> None:
        """It will not be delivered: remove the file."""
        message = self._message
        if message.holder is None:
            return
        remove(self._disk, message.name, message.holder.maildir.tmp)
        self._disk.close(message.fd)
        message.fd = -1
        message.holder.pins -= 1
        self._accounts.left(message.holder)
        message.holder = None
