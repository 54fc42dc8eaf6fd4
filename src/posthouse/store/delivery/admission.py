"""Who of a transaction may have the message now: lock, usage, quota, folder (DURABILITY 3.6 a, message-store 5).

    admit -> READY            lock held, size reserved, place chosen
          -> LATER            waits for the lock or for a recount; `ready` is called when it has become READY
          -> MailboxError     refused; nothing is held

A lock is waited for at most `LOCK_WAIT` seconds, by at most `MOST_WAITING` addressees of one owner; nothing is held
meanwhile and other owners are not touched.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, cast

from posthouse.journal.disk import Disk
from posthouse.mail.imap_flags import maildir_flags
from posthouse.store.delivery.account import Account, Entry
from posthouse.store.delivery.accounts import Accounts
from posthouse.store.delivery.quota_notices import QuotaNotices
from posthouse.store.delivery.record import Place
from posthouse.store.delivery.seen import Seen, line_of
from posthouse.store.delivery.transaction import FOLDER_OF_RELAY, OVER_QUOTA, Addressee, Message, Transaction
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import (
    AlreadyStored,
    MailboxError,
    MailboxIOError,
    MailboxLocked,
    PersistentQuotaExceeded,
    QuotaExceeded,
)
from posthouse.store.mailbox.faults import fault_of
from posthouse.store.mailbox.folder import open_folder
from posthouse.store.mailbox.folder_name import Unwritable
from posthouse.store.mailbox.marked import keyword_letters, open_marked
from posthouse.store.mailbox.recount import recount
from posthouse.store.quota.clock import Forward
from posthouse.store.quota.decision import QuotaPolicy
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.notification import Notification

if TYPE_CHECKING:
    from posthouse.store.mailbox.maildirsize import Sizes

LOCK_WAIT = 5.0
MOST_WAITING = 16
_POLL = 0.02
_log = logging.getLogger("posthouse.store")
_BUSY, _UNCOUNTED = Entry.BUSY, Entry.UNCOUNTED


class Surroundings(Protocol):
    """Clock, timer and threads, passed in."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def steady(self) -> float:
        """Seconds of a clock that cannot be set."""
        ...

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back after some time."""
        ...

    def in_thread(self, job: Callable[[], object], then: Callable[[object], None]) -> None:
        """Run a job that blocks; `then` gets its result, or the exception it raised."""
        ...


class Settings(NamedTuple):
    """What store.conf says about deliveries."""

    policy: QuotaPolicy
    defaults: Limits
    flag_transfer: bool
    """xdflg value 1 counts (the channel has `flagtransfer`)"""
    notification: Notification | None = None
    """how owners are told about their quota, if they are"""
    unwritable: Unwritable = Unwritable.REFUSED
    """how folder names with characters a Maildir++ cannot write are treated"""


class _Waiting(NamedTuple):
    transaction: Transaction
    addressee: Addressee
    message: Message
    account: Account


class Admission:
    """Admits addressees. Its owner calls `leave` for every one it has admitted.

    Args:
        ready: told of an addressee that was LATER and is READY, or refused with the given fault.
    """

    def __init__(
        self,
        disk: Disk,
        accounts: Accounts,
        names: BaseNames,
        settings: Settings,
        around: Surroundings,
        ready: Callable[[Transaction, Addressee, MailboxError | None], None],
    ) -> None:
        self.settings = settings
        self.seen: Seen | None = None
        """what was stored under which XQID; None: `store.dupcheck` is off"""
        self._storing: set[bytes] = set()
        """lines of `seen` whose messages are under way"""
        self._disk = disk
        self._accounts = accounts
        self._names = names
        self._around = around
        self._ready = ready
        self._notices = QuotaNotices(disk, accounts, names, around)
        self._forward = Forward(around.now, around.steady)
        self._waiting: list[_Waiting] = []
        self._polling = False

    def admit(self, transaction: Transaction, addressee: Addressee, message: Message) -> bool:
        """Try to admit; False: later.

        Raises:
            MailboxError: refused.
        """
        target = addressee.target
        if isinstance(target, MailboxError):
            raise target
        now = self._around.now()
        try:
            account = self._accounts.get(target.owner, now)
            entry = account.enter(now)
            if entry is _BUSY:
                self._wait(_Waiting(transaction, addressee, message, account), now)
                return False
            addressee.account = account
            if addressee.xqid and self.seen is not None and self._is_under_way(addressee, self.seen, target.owner):
                addressee.account = None
                account.leave()
                self._wait(_Waiting(transaction, addressee, message, account), now)
                return False
            if entry is _UNCOUNTED:
                if not account.maildir.fresh:
                    self._count(transaction, addressee, message)
                    return False
                account.maildir.fresh = False
                account.begin(now)
            return self._decide(transaction, addressee, message, now)
        except Exception as error:
            self._refuse(addressee, message, target.owner, error)

    def _refuse(self, addressee: Addressee, message: Message, owner: str, error: Exception) -> NoReturn:
        """Nothing is held any more. What nobody foresaw is a fault of the store, and temporary.

        Raises:
            MailboxError: what the error means.
        """
        self.leave(addressee, message, placed=False)
        if isinstance(error, MailboxError):
            raise error
        if isinstance(error, OSError):
            raise fault_of(error, owner) from error
        _log.error("%s: cannot be decided", owner, exc_info=error)
        raise MailboxIOError(f"{owner}: {error!r}") from error

    def _decide(self, transaction: Transaction, addressee: Addressee, message: Message, now: float) -> bool:
        account, target, settings = addressee.account, addressee.target, self.settings
        assert account is not None
        assert not isinstance(target, MailboxError)
        given, xqid, bypass = addressee.given, addressee.xqid, bool(addressee.flags & OVER_QUOTA)
        try:
            admitted = account.admit(message.size, given, xqid, settings.defaults, settings.policy, bypass=bypass, now=now)
        except MailboxError as fault:
            with contextlib.suppress(OSError):  # a limit just lowered shows at once; the refusal stands anyway
                account.keep_sizes(self._names.unsized, settings.defaults, now)
            if isinstance(fault, PersistentQuotaExceeded) and self._spares(account):
                raise QuotaExceeded(f"{fault}; the clock was set forward") from fault
            raise
        if not admitted:
            self._count(transaction, addressee, message)
            return False
        addressee.reserved = True
        account.keep_sizes(self._names.unsized, settings.defaults, now)
        directory = ""
        if target.folder:
            make = bool(addressee.flags & FOLDER_OF_RELAY) and settings.flag_transfer
            folder = addressee.folder = open_folder(
                account.maildir, target.folder, make=make, unwritable=settings.unwritable
            )
            directory = folder.directory if folder is not None else ""
        base = self._names.next(message.size, message.wire_size)
        marks = self._marks(addressee, account, now) if addressee.imap_flags else ""
        if addressee.line:
            self._storing.add(addressee.line)
            addressee.place = Place(target.owner, directory, base, addressee.xqid, marks)
        else:
            addressee.place = Place(target.owner, directory, base, b"", marks)
        return True

    def _spares(self, account: Account) -> bool:
        """Whether only the clock says that a grace period is over, as it was set forward."""
        settings = self.settings
        limits = account.saved.limits.resolved(settings.defaults)
        return settings.policy.grace > 0 and 0 not in limits and self._forward.lately()

    def _marks(self, addressee: Addressee, account: Account, now: float) -> str:
        """The flags the message comes with, as the end of its name; its folder is one with `cur/` then.

        Raises:
            OSError: there is no `cur/`.
        """
        letters, keywords = maildir_flags(addressee.imap_flags)
        if keywords:
            folder = addressee.folder.fd if addressee.folder is not None else account.maildir.root
            letters += keyword_letters(self._disk, folder, keywords, now)
        if not letters:
            return ""
        addressee.folder = open_marked(account.maildir, addressee.folder)
        return f":2,{letters}"

    def leave(self, addressee: Addressee, message: Message, *, placed: bool) -> None:
        """The addressee is settled: quota line, lock and folder are given back."""
        account = addressee.account
        if addressee.folder is not None:
            addressee.folder.close()
            addressee.folder = None
        if account is None:
            return
        addressee.account = None
        if addressee.reserved:
            addressee.reserved = False
            self._storing.discard(addressee.line)
            (account.charge if placed else account.release)(message.size)
        if (notification := self.settings.notification) is not None:
            self._notices.look(account, notification, self.settings.defaults)
        account.leave()
        self._accounts.left(account)

    def _is_under_way(self, addressee: Addressee, seen: Seen, owner: str) -> bool:
        """Whether the same is being stored just now: what comes of that is the answer. The owner's lock is held.

        Raises:
            AlreadyStored: it was stored.
            OSError: what was stored cannot be read.
        """
        line = addressee.line = line_of(addressee.xqid, owner)
        if line in self._storing:
            return True
        if seen.known(line):
            raise AlreadyStored(f"{owner}: stored before, XQID {addressee.xqid.decode()}")
        return False

    def _wait(self, waiting: _Waiting, now: float) -> None:
        addressee, account = waiting.addressee, waiting.account
        if not addressee.deadline:
            addressee.deadline = now + LOCK_WAIT
        if now >= addressee.deadline or account.waiting >= MOST_WAITING:
            raise MailboxLocked(f"{account.maildir.owner}: the lock was not had")
        account.waiting += 1
        self._waiting.append(waiting)
        if not self._polling:
            self._polling = True
            self._around.later(_POLL, self.poll)

    def poll(self) -> None:
        """Try all that wait for a lock again."""
        waiting, self._waiting = self._waiting, []
        self._polling = False
        for item in waiting:
            item.account.waiting -= 1
            self._accounts.left(item.account)
            self._try(item.transaction, item.addressee, lambda item=item: self.admit(*item[:3]))  # type: ignore[misc]

    def _try(self, transaction: Transaction, addressee: Addressee, step: Callable[[], bool]) -> None:
        try:
            if step():
                self._ready(transaction, addressee, None)
        except MailboxError as fault:
            self._ready(transaction, addressee, fault)

    def _count(self, transaction: Transaction, addressee: Addressee, message: Message) -> None:
        """Count the mailbox in a thread, its lock held, then decide."""
        account = addressee.account
        assert account is not None
        account.counting = True

        def decide(result: object) -> bool:
            account.counting = False
            try:
                if isinstance(result, OSError):
                    raise result
                if isinstance(result, BaseException):
                    raise MailboxIOError(str(result)) from result
                sizes, steady = cast("tuple[Sizes, bool]", result)
                now = self._around.now()
                account.counted(
                    sizes, steady=steady, name=self._names.unsized(), defaults=self.settings.defaults, now=now
                )
                return self._decide(transaction, addressee, message, now)
            except Exception as error:
                self._refuse(addressee, message, account.maildir.owner, error)

        self._around.in_thread(
            lambda: recount(self._disk, account.maildir.root),
            lambda result: self._try(transaction, addressee, lambda: decide(result)),
        )
