"""Transactions into UNIX mailboxes with a writer that is scripted: one result each, order, waiting for locks, bounds."""


from pathlib import Path

from posthouse.journal.disk import Disk
from posthouse.store.delivery.seen import Seen
from posthouse.store.delivery.transaction import Addressee, Message, Transaction
from posthouse.store.mailbox.errors import (
    AlreadyStored,
    MailboxError,
    MailboxIOError,
    MailboxLocked,
    MailboxNonexistent,
    MessageContainsNull,
)
from posthouse.store.mailbox.owner import Target
from posthouse.store.native.append import Entry
from posthouse.store.native.delivery import MAX_WAITING, NativeDelivery
from posthouse.store.native.entry import Quoting
from posthouse.store.native.settings import LockWait, NativeSettings
from posthouse.store.quota.limits import Limits, parse_limits
from posthouse.testing.failing_disk import FailingDisk
from support.store_world import Clock


class Writes:
    """A writer whose mailboxes may be locked or broken."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}
        self.calls: list[tuple[str, int]] = []
        self.done: list[tuple[str, bytes, int]] = []

    def write(self, target: Target, entry: Entry, limit: int) -> None:
        self.calls.append((target.owner, limit))
        if target.owner in self.faults:
            raise self.faults[target.owner]
        self.done.append((target.owner, entry.octets, limit))


class Rig:
    def __init__(self) -> None:
        self.clock, self.writer, self.finished = Clock(), Writes(), list[Transaction]()
        settings = NativeSettings(Path("/spool"), None, None, Quoting.MBOXRD, bounce=False, defaults=Limits(777, -1))
        self.delivery = NativeDelivery(settings, self.writer, self.clock, self.finished.extend)

    def send(
        self, *owners: str | MailboxError, fault: MailboxError | None = None, quota: str = "", flags: int = 0
    ) -> Transaction:
        given = parse_limits(quota) if quota else None
        addressees = [
            Addressee(b"<x>", owner if isinstance(owner, MailboxError) else Target(owner), given, flags) for owner in owners
        ]
        transaction = Transaction(b"s@x", addressees)
        self.delivery.deliver(transaction, Message(b"Return-Path: <s@x>\nA: b\n\nFrom\n", 30, 33), fault)
        return transaction


def kinds(transaction: Transaction) -> list[type | None]:
    return [type(each.fault) if each.fault else None for each in transaction.addressees]


def test_each_addressee_has_one_result() -> None:
    rig = Rig()
    rig.writer.faults["broken"] = MailboxIOError("x")
    rig.writer.faults["strange"] = RuntimeError("a fault of ours")
    sent = rig.send("jdoe", "broken", MailboxNonexistent("no"), "strange", "jdoe")
    assert rig.finished == [sent]
    assert kinds(sent) == [None, MailboxIOError, MailboxNonexistent, MailboxIOError, None]
    assert [name for name, _, _ in rig.writer.done] == ["jdoe", "jdoe"]
    assert not any(each.open for each in sent.addressees)


def test_a_fault_of_the_message_is_everybody_s() -> None:
    rig = Rig()
    assert kinds(rig.send("a", MailboxNonexistent("no"), fault=MessageContainsNull("x"))) == [MessageContainsNull] * 2
    assert kinds(rig.send("a", MailboxNonexistent("no"), fault=MailboxIOError("x"))) == [MailboxIOError, MailboxNonexistent]
    assert rig.writer.calls == []


def test_a_locked_mailbox_is_asked_for_until_the_time_is_over_and_holds_nobody_else() -> None:
    rig = Rig()
    rig.writer.faults["jdoe"] = MailboxLocked("x")
    late, other = rig.send("jdoe", "anna"), rig.send("anna")
    assert rig.finished == [other]
    rig.clock.run(LockWait().seconds - 1)
    assert len(rig.writer.calls) > 10
    assert rig.finished == [other]
    rig.clock.run(1.5)
    assert rig.finished == [other, late]
    assert kinds(late) == [MailboxLocked, None]


def test_a_lock_that_is_given_back_in_time() -> None:
    rig = Rig()
    rig.writer.faults["jdoe"] = MailboxLocked("x")
    first, second = rig.send("jdoe"), rig.send("jdoe")
    rig.clock.run(2)
    del rig.writer.faults["jdoe"]
    rig.clock.run(1)
    assert set(rig.finished) == {first, second}
    assert kinds(first) == kinds(second) == [None]


def test_a_bounded_number_waits_for_one_mailbox() -> None:
    rig = Rig()
    rig.writer.faults["jdoe"] = MailboxLocked("x")
    for _ in range(MAX_WAITING):
        rig.send("jdoe")
    assert rig.finished == []
    refused = rig.send("jdoe")
    assert rig.finished == [refused]
    assert kinds(refused) == [MailboxLocked]


def test_limits() -> None:
    rig = Rig()
    rig.send("a", quota="1K,5")
    rig.send("a", quota="-2,5")
    rig.send("a", quota="-1,5")
    rig.send("a", quota=",5")
    rig.send("a")
    rig.send("a", quota="1K,5", flags=2)
    assert [limit for _, _, limit in rig.writer.done] == [1024, 777, -1, -1, -1, -1]


def test_a_queue_is_forgotten_when_it_is_empty() -> None:
    rig = Rig()
    rig.send("a", "b")
    assert rig.delivery._queues == {}


def test_what_comes_again_is_answered_and_not_appended_twice(tmp_path: Path) -> None:
    rig = Rig()
    disk: Disk = FailingDisk()
    rig.delivery.seen = Seen(disk, disk.open_dir(str(tmp_path)), rig.clock.now)
    for fault in (MailboxLocked("x"), None):
        rig.writer.faults = {"jdoe": fault} if fault else {}
        for xqid in (b"id.0", b"id.1", b"id.0"):
            transaction = Transaction(b"s@x", [Addressee(b"<x>", Target("jdoe"), None, 0, xqid)])
            rig.delivery.deliver(transaction, Message(b"A: b\n\n", 6, 8))
        rig.clock.run(LockWait().seconds + 1)
    assert [kinds(each) for each in rig.finished] == [[MailboxLocked]] * 3 + [[None], [None], [AlreadyStored]]
    assert len(rig.writer.done) == 2
    rig.delivery.seen.close()
