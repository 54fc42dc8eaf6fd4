"""Mail of one owner that the journal would still put back: records above a segment's checkpoint (DURABILITY 1, T2 to T4).

A replay finds a mailbox by its owner's name and makes it when it is missing. So whoever takes a mailbox away from its name
holds its lock (no new record can name it then) and waits until no unchecked record does (DURABILITY 5). On a running store the
checkpoint moves each second. On a stopped one nobody moves it: `recover_stopped` does what a start would do.
"""

import msgspec

from posthouse.journal.adopt import segment_names
from posthouse.journal.barrier import Barriers
from posthouse.journal.disk import Disk
from posthouse.journal.scan import scan
from posthouse.journal.segment import RECORDS_AT, JournalError, Mark, Segment, Tier
from posthouse.store.administration.lock import Pace
from posthouse.store.administration.mailboxes import Mailboxes
from posthouse.store.delivery.record import decode_placement
from posthouse.store.delivery.recovery import Leftovers, recover
from posthouse.store.mailbox.errors import MailboxLocked

WAIT = 15.0
_POLL = 0.1
_SETTLED = frozenset({Mark.VOID.value, Mark.DONE.value})


def is_unchecked(disk: Disk, journal: int, owner: str) -> bool:
    """Whether an unchecked record names the owner.

    Raises:
        OSError: a segment cannot be read.
    """
    return any(_names(disk, journal, name, owner) for name in segment_names(disk, journal))


def _names(disk: Disk, journal: int, name: str, owner: str) -> bool:
    try:
        segment = Segment.open(disk, journal, name)
    except (FileNotFoundError, JournalError):  # freed meanwhile; a start sets an unreadable one aside
        return False
    try:
        if segment.tier is not Tier.STORE:
            return False
        for ref in scan(segment, None, segment.checkpoint() or RECORDS_AT).records:
            try:
                places = decode_placement(segment.read_envelope(ref)).places
            except (JournalError, msgspec.DecodeError):
                continue
            marks = segment.marks(ref.first_slot, ref.slots)
            if any(place.owner == owner and mark not in _SETTLED for place, mark in zip(places, marks, strict=False)):
                return True
    finally:
        segment.close()
    return False


def wait_until_checked(disk: Disk, journal: int, owner: str, pace: Pace, seconds: float = WAIT) -> None:
    """Wait for the checkpoint to pass everything of an owner whose lock is held.

    Raises:
        MailboxLocked: it did not in time.
        OSError: a segment cannot be read.
    """
    deadline = pace.now() + seconds
    while is_unchecked(disk, journal, owner):
        if pace.now() >= deadline:
            raise MailboxLocked(f"{owner}: the journal still holds mail of this mailbox after {seconds:g} s; see the store's log")
        pace.pause(_POLL)


def recover_stopped(mailboxes: Mailboxes) -> tuple[int, int]:
    """What a start does first, for a store that does not run: its caller holds `data/lock`.

    Returns:
        How many segments were replayed and freed, and how many hold mail that cannot be placed.

    Raises:
        OSError: the disk failed.
        UnknownVersion: a newer version wrote a segment.
    """
    disk, journal = mailboxes.disk, mailboxes.journal
    if not disk.listdir(journal):
        return 0, 0
    barriers = Barriers(disk)
    try:
        partitions = [mailboxes.descriptor(name) for name in mailboxes.partitions]
        return recover(disk, Leftovers(disk, mailboxes.store, journal, partitions, barriers), journal)
    finally:
        barriers.close()
