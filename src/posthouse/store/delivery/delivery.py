"""Protocol 6 of DURABILITY 3: one transaction in, one result for each addressee out, in this order for every message.

    a  locks and quota            (`admission`); who is refused is not in the record
    b  the file in `tmp/`         (`placement.write_tmp`)
    c  the record, durable        (`gathering`; everything that waits shares one sync)
    d  links and rename to `new/` (`placement.place`); who cannot be placed gets mark V and a temporary fault
    e  lines of `seen`, quota lines
    f  `finished`, once for all transactions a batch has finished

Without a record (larger than `RECORD_LIMIT`, no trusted syncfs, or too much unchecked): the file and every folder are
synced in a thread instead of c, and the rest is the same. Runs in one thread, never blocks in it; nothing here is lost
by a crash that was answered.
"""

import logging
from collections.abc import Callable, Sequence

from posthouse.journal.commit import Completion
from posthouse.journal.disk import Disk
from posthouse.journal.segment import RecordRef
from posthouse.store.delivery.accounts import Accounts
from posthouse.store.delivery.admission import Admission, Settings, Surroundings
from posthouse.store.delivery.gathering import Gathering, Journal
from posthouse.store.delivery.long_transactions import AT_ONCE, LongTransactions
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.delivery.placement import place, place_synced, remove, unplaced, void, write_tmp
from posthouse.store.delivery.seen import Seen
from posthouse.store.delivery.transaction import OWN_COPY, Addressee, Message, Part, Transaction, by_partition
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError
from posthouse.store.mailbox.faults import fault_of

RECORD_LIMIT = 262_144
"""octets of a message that is journalled; a larger one is synced by itself"""
_log = logging.getLogger("posthouse.store")


class Delivery:
    """Delivers transactions. Recipients in one partition share one file.

    Args:
        disk: the disk.
        partitions: where mailboxes are.
        journal_folder: descriptor of data/journal.
        names: makes base names.
        settings: of store.conf.
        around: clock, timer, threads.
        accounts: the open mailboxes.
        journal: None where no barrier can be trusted: every message is synced by itself.
        finished: told of transactions whose addressees are all settled, once for each batch.
    """

    def __init__(
        self,
        disk: Disk,
        partitions: Partitions,
        journal_folder: int,
        names: BaseNames,
        settings: Settings,
        around: Surroundings,
        accounts: Accounts,
        journal: Journal | None,
        finished: Callable[[list[Transaction]], None],
    ) -> None:
        self._disk = disk
        self.several = len(partitions) > 1
        """there are several partitions, so a message may need a file in each"""
        self._journal_folder = journal_folder
        self._around = around
        self._accounts = accounts
        self._finished = finished
        self._admission = Admission(disk, accounts, names, settings, around, self._late)
        self._long = LongTransactions(self._admit, self._begin, around.later)
        self._arrived: list[tuple[Transaction, MailboxError | None]] = []
        self._done: list[Transaction] = []
        self.gathering = Gathering(journal, partitions, around)
        self.expect, self.expect_no_more = self.gathering.expect, self.gathering.expect_no_more
        self.without_record = journal is None
        """no barrier can be trusted; or too many segments are unchecked, until the checkpoint returns (DURABILITY 3.7)"""
        self.closed: MailboxError | None = None
        """why nothing is delivered at all just now (DURABILITY 3.X)"""

    @property
    def settings(self) -> Settings:
        """The settings of store.conf; may be replaced at a reload."""
        return self._admission.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._admission.settings = settings

    @property
    def seen(self) -> Seen | None:
        """What was stored under which XQID; may be replaced at a reload, None: `store.dupcheck` is off."""
        return self._admission.seen

    @seen.setter
    def seen(self, seen: Seen | None) -> None:
        self._admission.seen = seen

    def deliver(self, transaction: Transaction, message: Message, fault: MailboxError | None = None) -> None:
        """Deliver to at least one addressee; `finished` is told, perhaps before this returns.

        A fault is what is wrong with the message itself: all addressees get it.
        """
        transaction.message = message
        if len(transaction.addressees) > AT_ONCE:
            self._long.take(transaction, fault)
        elif len(self.gathering.peers) <= 1:
            self._begin(transaction, self._admitted(transaction, fault))
        else:
            if not self._arrived:
                self._around.later(0, self._arrive)
            self._arrived.append((transaction, fault))

    def _arrive(self) -> None:
        """Steps a and b for what came in one turn of the loop, each step for all before the next (decision 148)."""
        arrived, self._arrived = self._arrived, []
        for each in [(transaction, self._admitted(transaction, fault)) for transaction, fault in arrived]:
            self._start_all(*each)
        self.gathering.send_soon()
        self.flush()

    def _admitted(self, transaction: Transaction, fault: MailboxError | None) -> list[Addressee]:
        return [each for each in transaction.addressees if self._admit(transaction, each, fault)]

    def _begin(self, transaction: Transaction, ready: list[Addressee]) -> None:
        """Steps b and c for those who are admitted."""
        self._start_all(transaction, ready)
        self.gathering.send_soon()
        self.flush()

    def _start_all(self, transaction: Transaction, ready: list[Addressee]) -> None:
        message = transaction.message
        assert message is not None
        shared = [addressee for addressee in ready if not addressee.flags & OWN_COPY]
        if shared:
            for group in by_partition(shared) if self.several else (shared,):
                self._start(Part(transaction, group, message))
        for addressee in ready:
            if addressee.flags & OWN_COPY:
                self._start(Part(transaction, [addressee], message))

    def _admit(self, transaction: Transaction, addressee: Addressee, fault: MailboxError | None) -> bool:
        assert transaction.message is not None
        fault = fault or self.closed
        try:
            if fault is not None and not (isinstance(fault, MailboxIOError) and isinstance(addressee.target, MailboxError)):
                raise fault
            return self._admission.admit(transaction, addressee, transaction.message)
        except MailboxError as refused:
            self._settle(transaction, addressee, refused)
            return False

    def _late(self, transaction: Transaction, addressee: Addressee, fault: MailboxError | None) -> None:
        assert transaction.message is not None
        if fault is None:
            self._start(Part(transaction, [addressee], transaction.message))
            self.gathering.send_soon()
        else:
            self._settle(transaction, addressee, fault)
        self.flush()

    def _settle(self, transaction: Transaction, addressee: Addressee, fault: MailboxError | None) -> None:
        """The addressee's one result."""
        assert addressee.open
        assert transaction.message is not None
        addressee.open = False
        if fault is not None:
            addressee.refuse(fault)
        self._admission.leave(addressee, transaction.message, placed=fault is None)
        transaction.open -= 1
        if not transaction.open:
            self._drop_file(transaction.message)
            self._done.append(transaction)

    def flush(self) -> None:
        """Tell `finished` of what has become finished."""
        if self._long.current:
            self._long.look()
        if self._done:
            done, self._done = self._done, []
            self._finished(done)

    def _start(self, part: Part) -> None:
        """Step b. What nobody foresaw is temporary, and a fault of this part only."""
        try:
            self._set_out(part)
        except Exception as error:
            _log.exception("a message cannot be delivered")
            for addressee in part.addressees:
                self._settle(part.transaction, addressee, MailboxIOError(repr(error)))

    def _set_out(self, part: Part) -> None:
        message = part.message
        if message.fd >= 0:
            assert message.holder is not None
            part.tmp, part.fd, part.name = message.holder.maildir.tmp, message.fd, message.name
            self._sync_alone(part)
            return
        if not self._write(part):
            return
        if self.without_record or message.size > RECORD_LIMIT:
            self._sync_alone(part)
        else:
            self._disk.close(part.fd)
            part.fd = -1
            self.gathering.add(part)

    def _write(self, part: Part) -> bool:
        """The file in the `tmp/` of the first addressee who has room for it."""
        while part.addressees:
            first = part.addressees[0]
            assert first.place is not None
            assert first.account is not None
            tmp, name = first.account.maildir.tmp, first.place.base
            try:
                part.fd = write_tmp(self._disk, name, tmp, part.message.stored)
            except OSError as error:
                del part.addressees[0]
                self._settle(part.transaction, first, fault_of(error, first.place.owner))
                continue
            part.tmp, part.name = tmp, name
            return True
        return False

    def journalled(self, completions: Sequence[Completion]) -> None:
        """Steps d to f for a batch: what has a record is durable, what has an error is not."""
        self.gathering.through(len(completions))
        placed = []
        for completion in completions:
            part = completion.token
            assert isinstance(part, Part)
            if completion.record is None:
                self._fail(part, completion.error or OSError("not written"))
                continue
            placed.append((part, self.place(part), completion.record))
        self.remember([each[:2] for each in placed])
        for part, results, record in placed:
            self._settle_part(part, results, record)
        self.gathering.go_on()
        self.flush()

    def place(self, part: Part) -> list[OSError | None]:
        """Step d."""
        return place(self._disk, part)

    def remember(self, placed: Sequence[tuple[Part, Sequence[OSError | None]]]) -> None:
        """Step e: while the owners' locks are held, and after d, for a line without its message would be a loss."""
        if (seen := self._admission.seen) is None:
            return
        lines = [
            addressee.line
            for part, results in placed
            for addressee, error in zip(part.addressees, results, strict=True)
            if addressee.line and error is None
        ]
        if lines:
            seen.add(lines)

    def _fail(self, part: Part, error: OSError) -> None:
        _log.error("journal: %s", error)
        remove(self._disk, part.name, part.tmp)
        for addressee in part.addressees:
            self._settle(part.transaction, addressee, MailboxIOError(f"journal: {error}"))

    def _settle_part(self, part: Part, results: Sequence[OSError | None], record: RecordRef | None) -> None:
        for slot, (addressee, error) in enumerate(zip(part.addressees, results, strict=True)):
            if error is None:
                self._settle(part.transaction, addressee, None)
                continue
            if record is not None:
                void(self._disk, self._journal_folder, record, slot)
            # Whatever went wrong after the record is temporary: the relay must try again (DURABILITY 3.6 d).
            self._settle(part.transaction, addressee, unplaced(error))

    def _sync_alone(self, part: Part) -> None:
        """Steps c and d without a record, in a thread."""

        def then(result: object) -> None:
            if part.message.fd < 0:
                self._disk.close(part.fd)
                remove(self._disk, part.name, part.tmp)
            if isinstance(result, list):
                self.remember(((part, result),))
                self._settle_part(part, result, None)
            else:
                self._settle_part(part, [OSError(str(result))] * len(part.addressees), None)
            self.flush()

        self._around.in_thread(lambda: place_synced(self._disk, part), then)

    def _drop_file(self, message: Message) -> None:
        """The file of a large message has all its names: take the one in `tmp/` away."""
        holder = message.holder
        if holder is None:
            return
        remove(self._disk, message.name, holder.maildir.tmp)
        self._disk.close(message.fd)
        message.fd, message.holder = -1, None
        holder.pins -= 1
        self._accounts.left(holder)
