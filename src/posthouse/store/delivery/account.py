"""One owner while mail is delivered: the open mailbox, its lock, its usage and what is remembered about its quota.

Deliveries of this process to one owner share the lock (`holders`): each counts what the others have reserved. After
`SHARED_FOR` seconds nobody joins any more, so that other processes get their turn. Under the lock the usage is believed as
long as `maildirsize` has not changed (one fstat).
"""

from collections.abc import Callable
from enum import Enum

from posthouse.journal.disk import Disk
from posthouse.mail.message_id import made_at
from posthouse.store.mailbox.errors import MailboxError, MailboxLocked, PersistentQuotaExceeded, QuotaExceeded
from posthouse.store.mailbox.maildir import GONE, Maildir
from posthouse.store.mailbox.maildirsize import NO_SIZES, SizeFile, Sizes, limits_line
from posthouse.store.quota.decision import QuotaPolicy, Usage, Verdict, decide, exceeds
from posthouse.store.quota.limits import GivenLimits, Limits
from posthouse.store.quota.saved import LENGTH, NOTHING_SAVED, TOLD_AGAIN, SavedQuota, decode_saved

SHARED_FOR = 1.0
COUNT_AGAIN = 900.0
"""seconds after which a mailbox over quota is counted again before mail is refused"""


class Entry(Enum):
    """What came of asking for the lock."""

    HELD = "held"
    BUSY = "busy"
    """somebody else has it"""
    UNCOUNTED = "uncounted"
    """held, but the usage must be counted before anything else"""


# looked up once: a member of an enum costs a tenth of a microsecond each time
_HELD, _BUSY, _UNCOUNTED = Entry
_DELIVER = Verdict.DELIVER


class Account:
    """An owner's open mailbox with its lock and quota. Used in one thread; `counting` says another one reads the folders."""

    __slots__ = (
        "_begins", "_held_since", "_line", "_line_of", "_lock", "_lock_looks", "counting", "disk", "dropped", "holders",
        "maildir", "notices_rest", "pending_bytes", "pending_messages", "pins", "rooted",
        "saved", "saved_octets", "sizes", "usage", "waiting",
    )  # fmt: skip

    def __init__(self, disk: Disk, maildir: Maildir) -> None:
        self.disk = disk
        self.maildir = maildir
        self.sizes = SizeFile(disk, maildir.root, maildir.tmp)
        self.saved = NOTHING_SAVED
        self.saved_octets = b""
        self.usage = NO_SIZES
        self.pending_bytes = self.pending_messages = 0
        self.holders = 0
        self.waiting = 0
        """addressees that wait for this lock"""
        self.pins = 0
        """uses of its folders without the lock"""
        self.rooted = False
        """the names of its folders are known to be durable"""
        self.counting = False
        self.notices_rest = 0.0
        """until when no quota notice is begun: one is under way (for ever), or one failed"""
        self.dropped = False
        """the mailbox is another one now: close this when nobody uses it"""
        self._begins = False
        """the mailbox was made just now; what is known of it is not written down yet"""
        self._held_since = 0.0
        self._lock = self._lock_looks = -1
        self._line = b""
        self._line_of: tuple[Limits, Limits] | None = None

    @property
    def in_use(self) -> bool:
        """Whether its descriptors are needed."""
        return bool(self.holders or self.waiting or self.pins)

    def enter(self, now: float) -> Entry:
        """Ask for the lock without waiting. HELD and UNCOUNTED are to be given back by `leave`.

        Raises:
            MailboxLocked: the mailbox was renamed or removed since it was looked at.
            OSError: the disk failed.
        """
        if self.holders:
            if self.counting or now - self._held_since > SHARED_FOR:
                return _BUSY
            self.holders += 1
            return _HELD
        disk, lock = self.disk, self._lock_file()
        if not disk.flock(lock):
            return _BUSY
        self._held_since, self.holders = now, 1
        try:
            octets = disk.pread(lock, LENGTH, 0)
            if octets != self.saved_octets:
                if octets == GONE:
                    raise MailboxLocked(f"{self.maildir.owner}: renamed or removed just now")
                self.saved_octets, self.saved = octets, decode_saved(octets)
            usage = self.sizes.load(now)
        except BaseException:
            self.leave()
            raise
        if usage is None:
            return _UNCOUNTED
        self.usage = usage
        return _HELD

    def _lock_file(self) -> int:
        """The lock file, opened anew whenever the mailbox has changed: the name may mean another file since."""
        looks = self.maildir.looks
        if self._lock < 0 or looks != self._lock_looks:
            self._close_lock()
            self._lock, self._lock_looks = self.maildir.open_lock(), looks
        return self._lock

    def _close_lock(self) -> None:
        if self._lock >= 0:
            self.disk.close(self._lock)
            self._lock = -1

    def hold(self) -> None:
        """One more hold on the lock that is held."""
        self.holders += 1

    def leave(self) -> bool:
        """Give one hold back; True when that freed the lock."""
        self.holders -= 1
        if self.holders:
            return False
        try:
            self.disk.unlock(self._lock)
        except OSError:  # who leaves is about to answer for a message; closing gives the lock back, too
            self._close_lock()
        return True

    def begin(self, now: float) -> None:
        """Nothing is in a mailbox made just now; `admit` and `keep_sizes` write that down."""
        self._begins = True
        self.usage, self.saved = NO_SIZES, self.saved._replace(counted=now)

    def counted(self, sizes: Sizes, *, steady: bool, name: str, defaults: Limits, now: float) -> None:
        """Take over the result of a recount and write it down, unless the folders changed meanwhile.

        When it finds less than was believed, and that within the limits, the owner is over quota no longer. A recount that
        finds what was known does not end a grace period: a strict quota is never exceeded, only reached.

        Raises:
            OSError: the disk failed.
        """
        saved, limits = self.saved._replace(counted=now), self.saved.limits.resolved(defaults)
        if saved.over_since is not None and sizes < self.usage and not exceeds(Usage(*sizes), limits):
            saved = saved._replace(over_since=None)
        self.usage = sizes
        self.save(saved)
        self.sizes.write(limits_line(*limits), sizes, name, now, keep_late=False)
        if not steady:
            self.sizes.forget()

    def admit(
        self,
        size: int,
        given: GivenLimits | None,
        xqid: bytes,
        defaults: Limits,
        policy: QuotaPolicy,
        *,
        bypass: bool,
        now: float,
    ) -> bool:
        """Decide on one message; when it may come in, its size is reserved until `charge` or `release`.

        Limits that come with it are of the time its relay took it (decision 187), which its id says.

        Returns:
            False: it is refused, but the mailbox should be counted again first.

        Raises:
            MailboxError: it is refused.
            OSError: the disk failed.
        """
        saved = self.saved
        if given is not None and (given.over(saved.limits) is not saved.limits or not 0 <= now - saved.told < TOLD_AGAIN):
            known = made_at(xqid)
            saved = saved.heard(given, now if known is None else known, defaults, now)
        limits = saved.limits.resolved(defaults)
        usage = Usage(self.usage.bytes + self.pending_bytes, self.usage.messages + self.pending_messages)
        decision = decide(usage, size, limits, saved.over_since, policy, bypass=bypass, now=now)
        if decision.verdict is not _DELIVER and now - saved.counted >= COUNT_AGAIN and self.holders == 1:
            self.save(saved)
            return False
        if decision.over_since != saved.over_since:
            saved = saved._replace(over_since=decision.over_since)
        if saved is not self.saved or self._begins:
            self.save(saved)
        if decision.verdict is not _DELIVER:
            raise _REFUSALS[decision.verdict](f"{self.maildir.owner}: {usage} of {limits}, message {size}")
        self.pending_bytes += size
        self.pending_messages += 1
        return True

    def keep_sizes(self, name: Callable[[], str], defaults: Limits, now: float) -> None:
        """Bring line 1 of maildirsize in step with the limits, and sum a file that has grown long; begin a new mailbox's.

        Raises:
            OSError: the disk failed.
        """
        sizes = self.sizes
        if not sizes.present and not self._begins:
            return
        of = (self.saved.limits, defaults)
        if of != self._line_of:
            self._line, self._line_of = limits_line(*self.saved.limits.resolved(defaults)), of
        if self._line != sizes.limits or sizes.wants_rewrite:
            sizes.write(self._line, self.usage, name(), now)
            self._begins = False

    def charge(self, size: int) -> None:
        """A reserved message was placed."""
        self.release(size)
        self.usage = Sizes(self.usage.bytes + size, self.usage.messages + 1)
        self.sizes.add(size, 1)

    def release(self, size: int) -> None:
        """A reserved message will not come."""
        self.pending_bytes -= size
        self.pending_messages -= 1

    def save(self, saved: SavedQuota) -> None:
        """Remember this about the quota, under the lock.

        Raises:
            OSError: the disk failed.
        """
        octets = saved.encode()
        self.disk.pwrite(self._lock, octets, 0)
        self.saved, self.saved_octets = saved, octets

    def sync_saved(self) -> None:
        """Make what was saved durable. Blocks.

        Raises:
            OSError: the disk failed.
        """
        self.disk.fsync(self._lock)

    def close(self) -> None:
        """Close everything."""
        self._close_lock()
        self.sizes.close()
        self.maildir.close()


_REFUSALS: dict[Verdict, type[MailboxError]] = {
    Verdict.EXCEEDED: QuotaExceeded,
    Verdict.PERSISTENT: PersistentQuotaExceeded,
}
