"""A relay's life on a disk that loses power, and what must hold after it (DURABILITY 4, 7).

`Relay.live()` accepts, delivers, bounces, moves out, retries, holds, frees. After every changing operation `check` looks at
disks as they may be found after a power cut just then: it recovers there and compares with what was promised up to then.
"""

import random
from collections.abc import Callable, Iterable

from posthouse.journal.adopt import segment_names
from posthouse.journal.body_file import BodyFile, BodyReference
from posthouse.journal.commit import Committer, SegmentMaker
from posthouse.journal.scan import scan
from posthouse.journal.segment import BLOCK, RECORDS_AT, RecordRef
from posthouse.mail.envelope import Envelope
from posthouse.relay.queue.copy_ref import CopyRef, FileCopy, JournalCopy
from posthouse.relay.queue.free import free_segment
from posthouse.relay.queue.move_out import MoveOut, Moving, sync_marks
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import OpenQueueFile
from posthouse.relay.queue.queue_format import Attempt, DamagedQueueFile, State
from posthouse.relay.queue.record import envelope_of
from posthouse.relay.queue.recovery import recover
from posthouse.relay.queue.release import hold, release
from posthouse.testing.crash_disk import EXT4, CrashDisk
from posthouse.testing.crash_state import Extreme
from support.queue_world import Accepting, body_of, is_settled, make_folders, message, open_places, read_segment

SIZE = RECORDS_AT + 8 * BLOCK
LATER = 4e9
Who = tuple[str, int]
Batch = list[tuple[Envelope, bytes | BodyReference]]
"""message id and recipient id"""


class Broken(AssertionError):  # noqa: N818 - an invariant is
    """A promise of DURABILITY was broken."""


def require(holds: bool, what: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(what)


class Promises:
    """What the world outside was told and given up to now."""

    def __init__(self) -> None:
        self.submitted: dict[str, bytes] = {}
        self.accepted: set[Who] = set()
        self.delivered: set[Who] = set()
        self.failed: set[Who] = set()
        """their notice was accepted"""

    def check(self, waiting: dict[Who, bytes]) -> None:
        """Compare with what waits after a recovery."""
        for who, body in waiting.items():
            require(body == self.submitted.get(who[0]), f"{who}: waits with foreign octets")
        for who in self.accepted:
            require(who in waiting or who in self.delivered or who in self.failed, f"{who}: lost")


def waiting_after_recovery(places: Places) -> dict[Who, bytes]:
    """Recover, then everything that waits with its octets; Broken when something waits twice or cannot be read."""
    found = recover(places, LATER)
    require(not any("acknowledged" in alarm for alarm in found.alarms), str(found.alarms))
    waiting: dict[Who, bytes] = {}
    refs: list[CopyRef] = [*(each.ref for each in found.copies), *(each.ref for each in found.files)]
    for ref in refs:
        try:
            opened = open_copy(places, ref)
        except DamagedQueueFile as reason:
            raise Broken(f"{ref}: {reason}") from reason
        body = b"".join(opened.parts())
        for each in opened.recipients:
            who = (opened.envelope.id, each.id)
            require(who not in waiting, f"{who}: waits twice")
            waiting[who] = body
        opened.close()
    return waiting


class Relay:
    """One relay, its world, and the check after each operation."""

    maker = SegmentMaker
    mover = MoveOut
    committer = Committer

    def __init__(self, seed: int, states: int = 2, again: int = 12, fstype: int = EXT4) -> None:
        self.random = random.Random(seed)
        self.states = states
        self.again = again
        self.checked = 0
        self.promises = Promises()
        self.disk = CrashDisk(fstype)
        make_folders(self.disk, self.disk.open_dir("/"))
        self.places = open_places(self.disk, "")
        self.accepting = Accepting(self.disk, self.places.journal, SIZE, self.maker)
        self.accepting.committer.__class__ = self.committer
        self.records: dict[str, list[RecordRef]] = {}
        self.announced: dict[str, int] = {}
        self.number = 0
        self.disk.after = lambda _operation: self.check()

    # what is checked

    def check(self) -> None:
        """Every state a power cut may leave now; some are cut again inside their recovery."""
        choices: Iterable[Extreme | random.Random] = [*Extreme, *([self.random] * self.states)]
        for choose in choices:
            self.checked += 1
            self.check_state(self.disk.survivor(choose), cut_again=self.checked % self.again == 0)
        if self.checked % self.again < len(Extreme):
            self.check_killed()

    def check_killed(self) -> None:
        """Every process is killed now, the next ones recover, and then the power goes."""
        disk = self.disk.killed()
        places = open_places(disk, "")
        disk.after = lambda _operation: self.check_state(disk.survivor(self.random), cut_again=False)
        self.promises.check(waiting_after_recovery(places))
        disk.after = lambda _operation: None
        for choose in (Extreme.LEAST, Extreme.MOST, self.random):
            self.check_state(disk.survivor(choose), cut_again=False)

    def check_state(self, disk: CrashDisk, *, cut_again: bool) -> None:
        """Recover on the disk and compare."""
        if cut_again:
            disk.after = lambda _operation: self.check_state(disk.survivor(self.random), cut_again=False)
        places = open_places(disk, "")
        waiting = waiting_after_recovery(places)
        self.promises.check(waiting)
        if cut_again:
            require(waiting_after_recovery(places) == waiting, "recovering twice gives another result")

    # what the relay does

    def accept(self, count: int, copies: tuple[int, ...] = (0, 0, 1), *, in_file: bool = False) -> list[RecordRef]:
        """One batch of messages; a refused one is not promised."""
        batch: Batch = []
        for _ in range(count):
            self.number += 1
            body = body_of(self.number, 3000 if in_file else self.random.choice((100, 900, 5000)))
            envelope = message(self.number, copies, len(body))
            self.promises.submitted[envelope.id] = body
            if in_file:
                file = BodyFile(self.disk, self.places.body, envelope.id)
                file.write(body)
                batch.append((envelope, file.finish()))
            else:
                batch.append((envelope, body))
        try:
            refs = self.accepting.accept(batch)
        except OSError:
            return []
        self.promises.accepted |= {(envelope.id, each.id) for envelope, _ in batch for each in envelope.recipients}
        for ref in refs:
            self.records.setdefault(ref.segment, []).append(ref)
            self.announced[ref.segment] = ref.end
        return refs

    def deliver(self, ref: CopyRef, *, fail: tuple[int, ...] = (), defer: tuple[int, ...] = ()) -> FileCopy | None:
        """One attempt of a copy."""
        opened = open_copy(self.places, ref)
        body = b"".join(opened.parts())
        identity = opened.envelope.id
        require(body == self.promises.submitted[identity], f"{identity}: foreign octets sent")
        for each in opened.recipients:
            if each.id in defer:
                continue
            if each.id in fail:
                self.bounce(identity, each.id, lambda who=each.id: opened.settle(who, State.FAILED))  # type: ignore[misc]
            else:
                self.promises.delivered.add((identity, each.id))
                opened.settle(each.id, State.DONE)
        left = None
        if isinstance(opened, OpenQueueFile):
            if defer:
                opened.add_history([Attempt(1, 1, who, "4.2.0", 420, "Mailbox Locked", "store0") for who in defer])
                left = opened.next_attempt()
            else:
                opened.remove()
        opened.close()
        return left

    def bounce(self, identity: str, recipient: int, settle: Callable[[], None]) -> None:
        """The notice first, then the mark."""
        if self.accept(1, (0,)):
            self.promises.failed.add((identity, recipient))
            settle()

    def move(self, *refs: RecordRef, copy: int = 0, held: bool = False) -> list[FileCopy]:
        """Move copies out; they may be leased only when their marks are durable."""
        batch = [Moving(JournalCopy(ref.segment, ref.offset, copy), "tcp_lmtpcs", 20, 1, held=held) for ref in refs]
        result = self.mover(self.places).run(batch)
        for name in result.unsynced:
            sync_marks(self.places, name)
        return [each for _, each in result.moved]

    def second(self) -> None:
        """What the controller does each second."""
        for name in segment_names(self.disk, self.places.journal):
            if name in self.records:
                try:
                    sync_marks(self.places, name)
                except OSError:
                    continue
                current = self.accepting.committer.current
                if (current is None or current.name != name) and is_settled(self.places.segment(name), self.records[name]):
                    free_segment(self.places, name, self.records.pop(name))
        self.places.tree.sync_touched()

    def lookahead(self, *, beyond: bool) -> None:
        """What the controller leases from while the writer lives must have been accepted.

        Args:
            beyond: read everything that is there, not only what was announced: a mutant.
        """
        for name in segment_names(self.disk, self.places.journal):
            segment = self.places.segment(name)
            if beyond:
                seen = [envelope_of(ref, segment.read_envelope(ref)) for ref in scan(segment).records]
            else:
                seen = [envelope for _, envelope in read_segment(segment, 0, self.announced.get(name, 0))[0]]
            for envelope in seen:
                require((envelope.id, 0) in self.promises.accepted, f"{envelope.id}: leased before it was accepted")

    def live(self) -> None:
        """A short life with everything in it."""
        first = self.accept(3)
        self.deliver(JournalCopy(first[0].segment, first[0].offset, 0))
        second = self.accept(2, (0, 1, 1))
        files = self.move(first[1], *second[:1])
        self.second()
        self.deliver(JournalCopy(first[0].segment, first[0].offset, 1), fail=(2,))
        left = self.deliver(files[0], defer=(1,))
        assert left
        (large,) = self.accept(1, (0, 1), in_file=True)
        held = self.move(large, held=True)
        released = release(self.places.tree, held[0])
        self.deliver(JournalCopy(large.segment, large.offset, 1))
        self.deliver(hold_and_release(self.places, released), fail=(0,))
        self.second()
        self.accept(5, (0,))
        self.accepting.end()
        self.deliver(left, fail=(1,))
        for ref in (first[1], first[2], second[0], second[1]):
            for copy in (0, 1):
                opened = open_copy(self.places, JournalCopy(ref.segment, ref.offset, copy))
                opened.close()
                if opened.recipients:
                    self.deliver(JournalCopy(ref.segment, ref.offset, copy))
        self.second()
        self.deliver(files[1])
        self.second()
        for refs in list(self.records.values()):
            for ref in refs:
                self.deliver(JournalCopy(ref.segment, ref.offset, 0))
        self.accepting.end()
        self.second()


def hold_and_release(places: Places, ref: FileCopy) -> FileCopy:
    """What an operator does."""
    return release(places.tree, hold(places.tree, ref))
