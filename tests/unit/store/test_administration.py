"""The administrator's lock against deliveries, unchecked records, removals cut short, snapshots of moving mail."""

import asyncio
import errno
import os
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from posthouse.config.instance import Instance
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.lock import Pace, hold
from posthouse.store.administration.mailboxes import Mailbox, Mailboxes
from posthouse.store.administration.removal import MailboxExistsError, finish_removals, remove, rename
from posthouse.store.administration.snapshot import Snapshot
from posthouse.store.administration.unchecked import is_unchecked, recover_stopped, wait_until_checked
from posthouse.store.delivery.account import Account, Entry
from posthouse.store.mailbox.errors import MailboxLocked, MailboxNonexistent
from posthouse.store.mailbox.maildir import open_maildir
from posthouse.store.quota.limits import Limits
from support.store_alone import message
from support.store_files import running_store, store_instance


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    @property
    def pace(self) -> Pace:
        return Pace(lambda: self.time, self._pause)

    def _pause(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return store_instance(tmp_path)


@pytest.fixture
def mailboxes(instance: Instance) -> Iterator[Mailboxes]:
    opened = Mailboxes(cast("Disk", LinuxDisk()), str(instance.data))
    yield opened
    opened.close()


def make(mailboxes: Mailboxes, owner: str) -> Mailbox:
    open_maildir(mailboxes.disk, mailboxes.descriptor("primary"), owner, create=True).close()
    return Mailbox("primary", owner)


def account(mailboxes: Mailboxes, owner: str) -> Account:
    return Account(mailboxes.disk, open_maildir(mailboxes.disk, mailboxes.descriptor("primary"), owner, create=True))


def test_deliveries_and_commands_keep_each_other_out(mailboxes: Mailboxes) -> None:
    delivery, clock = account(mailboxes, "ann"), Clock()
    partition = mailboxes.descriptor("primary")
    with hold(mailboxes.disk, partition, "ann", clock.pace):
        assert delivery.enter(clock.time) is Entry.BUSY
    assert delivery.enter(clock.time) is Entry.UNCOUNTED
    with pytest.raises(MailboxLocked), hold(mailboxes.disk, partition, "ann", clock.pace, 5.0):
        raise AssertionError
    assert clock.time == pytest.approx(1_700_000_005.0, abs=0.1)
    delivery.leave()
    with pytest.raises(MailboxNonexistent), hold(mailboxes.disk, partition, "bob", clock.pace):
        raise AssertionError
    delivery.close()


@pytest.mark.parametrize("how", ["rename", "delete"])
def test_a_delivery_that_looked_before_does_not_deliver_after(mailboxes: Mailboxes, how: str) -> None:
    """It has the lock file open from before; the name was looked at just before the command ran."""
    delivery, clock = account(mailboxes, "ann"), Clock()
    delivery.enter(clock.time)
    delivery.leave()
    if how == "rename":
        rename(mailboxes, Mailbox("primary", "ann"), "bob", clock.pace, "unique")
    else:
        remove(mailboxes, Mailbox("primary", "ann"), clock.pace, "unique")
    with pytest.raises(MailboxLocked):
        delivery.enter(clock.time)
    assert delivery.holders == 0
    assert not delivery.maildir.still_there(clock.time)
    delivery.close()
    fresh = account(mailboxes, "bob" if how == "rename" else "ann")
    assert fresh.enter(clock.time) is Entry.UNCOUNTED
    fresh.leave()
    fresh.close()


def test_limits_go_with_a_renamed_mailbox(mailboxes: Mailboxes) -> None:
    clock, partition = Clock(), mailboxes.descriptor("primary")
    make(mailboxes, "ann")
    with hold(mailboxes.disk, partition, "ann", clock.pace) as held:
        saved = held.saved._replace(over_since=5.0)
        held.save(saved)
    rename(mailboxes, Mailbox("primary", "ann"), "bob", clock.pace, "unique")
    with hold(mailboxes.disk, partition, "bob", clock.pace) as held:
        assert held.saved == saved
    make(mailboxes, "ann")
    with pytest.raises(MailboxExistsError):
        rename(mailboxes, Mailbox("primary", "ann"), "bob", clock.pace, "unique")


def test_a_removal_cut_short_is_finished_later(mailboxes: Mailboxes, instance: Instance) -> None:
    clock, root = Clock(), instance.store / "primary"
    make(mailboxes, "ann")
    (root / "ann" / "cur" / "mail").touch()

    def killed(names: Iterator[str]) -> None:
        next(names)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove(mailboxes, Mailbox("primary", "ann"), clock.pace, "unique", killed)
    assert list(mailboxes.all()) == []
    assert list(finish_removals(mailboxes, repair=False)) == [("primary/.deleted-unique", "")]
    assert list(finish_removals(mailboxes, repair=True)) == [("primary/.deleted-unique", "")]
    assert list(root.iterdir()) == []


class FullDisk(LinuxDisk):
    """Takes new names, but no octet in a file that has none."""

    @staticmethod
    def pwrite(fd: int, data: Any, offset: int, /) -> int:
        if not os.fstat(fd).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(fd, data, offset)


def test_a_mailbox_can_be_removed_from_a_full_disk(mailboxes: Mailboxes, instance: Instance) -> None:
    ann = make(mailboxes, "ann")
    with hold(mailboxes.disk, mailboxes.descriptor("primary"), "ann", Clock().pace) as held:
        held.save(held.saved._replace(limits=Limits(5, 5)))
    mailboxes.disk = cast("Disk", FullDisk())
    with pytest.raises(OSError, match="No space"):
        rename(mailboxes, ann, "eve", Clock().pace, "unique")
    root = instance.store / "primary" / "ann"
    assert sorted(path.name for path in root.iterdir()) == [".lmtp-lock", "cur", "new", "tmp"]  # as it was
    with hold(mailboxes.disk, mailboxes.descriptor("primary"), "ann", Clock().pace) as held:
        assert held.saved.limits == Limits(5, 5)
    remove(mailboxes, ann, Clock().pace, "unique")
    remove(mailboxes, make(mailboxes, "bob"), Clock().pace, "unique")  # nothing is saved for him: his lock file is empty
    assert list((instance.store / "primary").iterdir()) == []


async def test_unchecked_mail_is_waited_for(instance: Instance, mailboxes: Mailboxes) -> None:
    def send(port: int) -> bool:
        with smtplib.LMTP("127.0.0.1", port, timeout=10) as client:
            client.sendmail("a@x.org", ["ann"], message("one"))
        return is_unchecked(mailboxes.disk, mailboxes.journal, "ann")

    async with running_store(instance) as (_, port):
        assert await asyncio.to_thread(send, port)
        assert not is_unchecked(mailboxes.disk, mailboxes.journal, "bob")
        clock = Clock()  # stands still in the real world: nothing is checked meanwhile
        with pytest.raises(MailboxLocked):
            wait_until_checked(mailboxes.disk, mailboxes.journal, "ann", clock.pace, 0.3)
        pace = Pace(time.time, time.sleep)
        await asyncio.to_thread(wait_until_checked, mailboxes.disk, mailboxes.journal, "ann", pace)
        assert not is_unchecked(mailboxes.disk, mailboxes.journal, "ann")
    assert recover_stopped(mailboxes) == (0, 0)


def test_a_snapshot_reads_copies_as_often_as_they_are_there(mailboxes: Mailboxes, instance: Instance) -> None:
    make(mailboxes, "ann")
    root = instance.store / "primary" / "ann"
    for folder in (".A", ".B"):
        for part in ("cur", "new", "tmp"):
            (root / folder / part).mkdir(parents=True)
    (root / "cur" / "one:2,").write_bytes(b"one")
    (root / ".A" / "cur" / "one:2,S").hardlink_to(root / "cur" / "one:2,")
    (root / "new" / "two").write_bytes(b"two")
    (root / "new" / "three").write_bytes(b"three")
    fd = mailboxes.open_root(Mailbox("primary", "ann"))
    snapshot = Snapshot(mailboxes.disk, fd)
    assert snapshot.count == 4
    (root / "new" / "two").rename(root / ".B" / "cur" / "two:2,FS")
    (root / "cur" / "one:2,").rename(root / "cur" / "one:2,T")
    (root / "new" / "three").unlink()
    read = sorted((*found.entry, found.octets) for found in snapshot.messages())
    mailboxes.disk.close(fd)
    assert read == [
        ("", "cur", "one:2,T", b"one"), (".A", "cur", "one:2,S", b"one"), (".B", "cur", "two:2,FS", b"two"),
    ]  # fmt: skip


def test_a_snapshot_ends_though_one_of_two_copies_was_deleted_meanwhile(
    mailboxes: Mailboxes, instance: Instance
) -> None:
    make(mailboxes, "ann")
    root = instance.store / "primary" / "ann"
    for part in ("cur", "new", "tmp"):
        (root / ".A" / part).mkdir(parents=True)
    (root / "cur" / "one:2,").write_bytes(b"one")
    (root / ".A" / "cur" / "one:2,S").hardlink_to(root / "cur" / "one:2,")
    fd = mailboxes.open_root(Mailbox("primary", "ann"))
    snapshot = Snapshot(mailboxes.disk, fd)
    assert snapshot.count == 2
    (root / ".A" / "cur" / "one:2,S").unlink()
    assert [found.entry.directory for found in snapshot.messages()] == [""]
    mailboxes.disk.close(fd)
