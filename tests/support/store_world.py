"""A store without sockets, threads or an event loop: deliveries on any disk, one step after the other.

`deliver` writes the tmp files; `commit` makes their records durable and places them (or fails them); `checkpoint` is one
checkpoint. What was answered 250 is in `accepted`: owner, folder's directory, base name and octets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from posthouse.journal.adopt import open_folder
from posthouse.journal.barrier import Barriers
from posthouse.journal.commit import Committer, Item, NewSegment, SegmentMaker
from posthouse.journal.disk import Disk, Octets
from posthouse.journal.segment import Segment, Tier
from posthouse.store.delivery.accounts import Accounts
from posthouse.store.delivery.admission import Settings
from posthouse.store.delivery.checkpoint import Checkpoint, Position
from posthouse.store.delivery.delivery import Delivery
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.delivery.recovery import Leftovers, recover
from posthouse.store.delivery.seen import Seen
from posthouse.store.delivery.stored_form import return_path
from posthouse.store.delivery.transaction import Addressee, Message, Transaction
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.owner import parse_target
from posthouse.store.quota.decision import QuotaPolicy
from posthouse.store.quota.limits import Limits, parse_limits
from posthouse.store.quota.notification import Notification

KERNEL = (6, 1)
STRICT = QuotaPolicy(enforced=True, overdraft=False, grace=3600.0)


@dataclass
class Clock:
    """Time that a test moves."""

    time: float = 1_800_000_000.0
    ahead: float = 0.0
    """seconds it was set forward by"""
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return self.time - self.ahead

    def set_forward(self, seconds: float) -> None:
        self.time += seconds
        self.ahead += seconds

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.timers.append((self.time + seconds, callback))

    def in_thread(self, job: Callable[[], object], then: Callable[[object], None]) -> None:
        try:
            result = job()
        except Exception as error:
            result = error
        then(result)

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass; timers that are due run."""
        until = self.time + seconds
        while due := [timer for timer in self.timers if timer[0] <= until]:
            timer = min(due, key=lambda each: each[0])
            self.timers.remove(timer)
            self.time = max(self.time, timer[0])
            timer[1]()
        self.time = until


@dataclass(frozen=True)
class Accepted:
    """What was answered 250."""

    owner: str
    directory: str
    base: str
    octets: bytes


class World:
    """One store process."""

    checkpoint_class: type[Checkpoint] = Checkpoint
    delivery_class: type[Delivery] = Delivery
    leftovers_class: type[Leftovers] = Leftovers
    seen_class: type[Seen] = Seen

    def __init__(
        self, disk: Disk, *, policy: QuotaPolicy | None = None, defaults: Limits | None = None, segment_size: int = 1 << 18,
        number: int = 1, create: bool = True, notification: Notification | None = None,
    ) -> None:  # fmt: skip
        self.disk = disk
        self.clock = Clock()
        self.accepted: list[Accepted] = []
        self.refused: list[Exception] = []
        self.finished: list[Transaction] = []
        self._items: list[Item] = []
        self._sealed: dict[str, NewSegment] = {}
        self.sealed: list[tuple[str, int]] = []
        self.refusing: str | None = None
        root = disk.open_dir("/")
        data = open_folder(disk, "data", root)
        self.store, self.journal = open_folder(disk, "store", data), open_folder(disk, "journal", data)
        self.partitions = Partitions(disk, self.store)
        self.partition = self.partitions.of("anybody")
        barriers = Barriers(disk, KERNEL)
        trusted = all(barriers.of(folder).trusted for folder in self.partitions.folders)
        self.leftovers = self.leftovers_class(disk, self.store, self.journal, self.partitions.folders, barriers, self.clock.now)
        self.recovered = recover(disk, self.leftovers, self.journal)
        maker = SegmentMaker(disk, self.journal, Tier.STORE, f"lmtp-{number}", segment_size)
        self.committer = Committer(disk, maker.make, self._note_sealed, self.clock.now)
        self.names = BaseNames(self.clock.now, number, number, "store1")
        self.accounts = Accounts(disk, self.partitions, create=create, keep=50)
        self.delivery = self.delivery_class(
            disk, self.partitions, self.journal, self.names,
            Settings(policy or STRICT, defaults or Limits(-1, -1), True, notification),
            self.clock, self.accounts, self if trusted else None, self._finished,
        )  # fmt: skip
        self.delivery.seen = self.seen_class(disk, self.store, self.clock.now)
        self.checkpoints = self.checkpoint_class(disk, self.journal, self, self.leftovers, self._refuse)

    # --- what the checkpoint asks of a writer, what delivery asks of a journal ---

    def append(self, token: object, envelope: bytes, body: Sequence[Octets], slots: int) -> bool:
        self._items.append(Item(token, envelope, body, slots, len(envelope) + sum(map(len, body))))
        return True

    def commit_now(self, items: Sequence[Item]) -> bool:
        """Records wait for `commit`, as they do while the disk is slow."""
        del items
        return False

    def checkpoint(self, segment: str, offset: int) -> None:
        opened = Segment.open(self.disk, self.journal, segment, write=True)
        try:
            opened.set_checkpoint(offset)
        finally:
            opened.close()

    def release(self, segment: str) -> None:
        self.sealed = [each for each in self.sealed if each[0] != segment]
        self.disk.close(self._sealed.pop(segment).fd)

    def _note_sealed(self, segment: NewSegment) -> None:
        self._sealed[segment.name] = segment
        self.sealed.append((segment.name, segment.offset))

    def _refuse(self, reason: str | None) -> None:
        self.refusing = reason

    def _finished(self, transactions: list[Transaction]) -> None:
        for transaction in transactions:
            assert transaction.message is not None
            self.finished.append(transaction)
            for addressee in transaction.addressees:
                if addressee.fault is not None:
                    self.refused.append(addressee.fault)
                    continue
                place = addressee.place
                assert place is not None
                self.accepted.append(Accepted(place.owner, place.directory, place.base, transaction.message.stored))

    # --- what a test does ---

    def deliver(self, body: bytes, *recipients: str, sender: bytes = b"s@example.org") -> Transaction:
        """Send one message; recipients as on a RCPT line, with parameters."""
        addressees = []
        for recipient in recipients:
            token, *params = recipient.encode().split()
            given = flags = None
            xqid, imap_flags = b"", ""
            for name, _, value in (param.partition(b"=") for param in params):
                if name == b"xquota":
                    given = parse_limits(value.decode())
                elif name == b"xqid":
                    xqid = value
                elif name == b"xflags":
                    imap_flags = value.decode()
                else:
                    flags = int(value)
            try:
                target = parse_target(token, "example.com")
            except MailboxError as fault:
                addressees.append(Addressee(token, fault))
            else:
                addressees.append(Addressee(token, target, given, flags or 0, xqid, imap_flags))
        transaction = Transaction(sender, addressees)
        stored = return_path(sender) + body.replace(b"\r\n", b"\n")
        self.delivery.deliver(transaction, Message(stored, len(stored), len(stored) + stored.count(b"\n")))
        return transaction

    def commit(self) -> None:
        """Make durable what waits, and place it."""
        self.clock.run()
        items, self._items = self._items, []
        if not items:
            return
        self._make_durable(items)

    def _make_durable(self, items: Sequence[Item]) -> None:
        done = self.committer.commit(items)
        current = self.committer.current
        position = Position(current.name, current.offset, tuple(self.sealed)) if current else Position("", 0, tuple(self.sealed))
        self.delivery.journalled(done)
        self.checkpoints.note(position)

    def send(self, body: bytes, *recipients: str) -> Transaction:
        """Deliver and commit."""
        transaction = self.deliver(body, *recipients)
        self.commit()
        return transaction

    def stop(self) -> bool:
        """End cleanly: seal, last checkpoint."""
        self.committer.seal()
        return self.checkpoints.stop(Position("", 0, tuple(self.sealed)))

    # --- what lies there ---

    def messages(self, owner: str, directory: str = "") -> dict[str, bytes]:
        """Base name to octets, `new` and `cur` of one folder."""
        found = {}
        root = self.disk.open_dir(owner, self.partition)
        folder = self.disk.open_dir(directory, root) if directory else root
        for shelf in ("new", "cur"):
            if self.disk.stat(shelf, folder) is None:  # a mailbox half made, which nobody was promised
                continue
            fd = self.disk.open_dir(shelf, folder)
            for name in self.disk.listdir(fd):
                file = self.disk.open_file(name, fd)
                base = name.partition(":")[0]
                assert base not in found, "one base name twice"
                found[base] = self.disk.pread(file, 1 << 24, 0)
                self.disk.close(file)
            self.disk.close(fd)
        if directory:
            self.disk.close(folder)
        self.disk.close(root)
        return found

    def everything(self) -> dict[tuple[str, str], bytes]:
        """(owner, base name) to octets, all folders."""
        found = {}
        for owner in self.disk.listdir(self.partition):
            if owner.startswith("."):
                continue
            root = self.disk.open_dir(owner, self.partition)
            folders = [name for name in self.disk.listdir(root) if name.startswith(".") and name != ".lmtp-lock"]
            self.disk.close(root)
            for directory in ["", *folders]:
                for base, octets in self.messages(owner, directory).items():
                    assert (owner, base) not in found, "one message in two folders"
                    found[owner, base] = octets
        return found


class QuickWorld(World):
    """The disk is quick: records are made durable where they are sent."""

    def commit_now(self, items: Sequence[Item]) -> bool:
        if not self.committer.fits(items):
            return False
        self._make_durable(items)
        return True


def write_file(disk: Disk, folder: int, name: str, octets: bytes) -> None:
    """A file as somebody else may have left it."""
    fd = disk.create_excl(name, folder)
    disk.pwrite(fd, octets, 0)
    disk.close(fd)
