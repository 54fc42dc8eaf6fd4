"""What is told of a mailbox that is on its way to another partition, and of a disk it cannot be moved from."""

import errno
import os
from pathlib import Path
from typing import cast

import pytest

from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.lock import hold
from posthouse.store.administration.mailboxes import MARK, Mailbox
from posthouse.store.administration.partition_move import finish_moves
from posthouse.store.delivery.accounts import Accounts
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.mailbox.errors import MailboxIOError, MailboxLocked
from posthouse.testing.failing_disk import FailingDisk
from unit.store.test_partition_move import Time, filled, moved, tree


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "store" / "second").mkdir(parents=True)
    return tmp_path


def test_mail_for_one_on_its_way_from_a_partition_made_meanwhile_is_tried_again_soon(data: Path) -> None:
    mailboxes = filled(cast("Disk", LinuxDisk()), data)
    (data / "store" / "second").rename(data / "not yet")
    accounts = Accounts(mailboxes.disk, Partitions(mailboxes.disk, mailboxes.store), create=True, keep=4)
    (data / "not yet").rename(data / "store" / "second")
    moved(mailboxes, "ann", "second", Time().pace)
    (data / "store" / "second" / "ann").rename(data / "store" / "second" / ".moved-ann")
    (data / "store" / "second" / "ann").write_bytes(MARK + b"1\n")
    with pytest.raises(MailboxLocked, match="on its way"):
        accounts.get("ann", 1e9)


def test_what_is_on_its_way_is_not_told_as_lost(data: Path) -> None:
    mailboxes = filled(cast("Disk", LinuxDisk()), data)
    moved(mailboxes, "ann", "second", Time().pace)
    store = data / "store"
    root = os.open(store / "second" / "ann", os.O_RDONLY)
    lock = mailboxes.disk.open_file(".lmtp-lock", root, write=True)
    assert mailboxes.disk.flock(lock)
    (store / "second" / "ann").rename(store / "second" / ".moved-ann")
    (store / "second" / "ann").write_bytes(MARK + b"1\n")
    assert list(finish_moves(mailboxes, "v", repair=True)) == [], "it is being moved back; primary has a mark, too"
    with pytest.raises(MailboxLocked, match="just now"), hold(mailboxes.disk, mailboxes.descriptor("second"), "ann", Time().pace):
        pass
    mailboxes.disk.close(lock)
    os.close(root)


def test_a_mark_that_was_not_put_in_its_place_is_no_lost_mailbox(data: Path) -> None:
    mailboxes = filled(cast("Disk", LinuxDisk()), data)
    for place in ("primary/.moved-ann", "second/.moving-ann"):
        (data / "store" / place).write_bytes(MARK + b"1\n")
    assert list(finish_moves(mailboxes, "v", repair=True)) == [("primary/.moved-ann", ""), ("second/.moving-ann", "")]
    assert list(finish_moves(mailboxes, "v", repair=False)) == []
    assert mailboxes.find("ann") == Mailbox("primary", "ann")


def test_a_file_system_that_cannot_exchange_names_is_told(data: Path) -> None:
    disk = FailingDisk()
    mailboxes = filled(disk, data)
    before = tree(data / "store" / "primary")
    disk.fault = lambda operation, _: OSError(errno.EINVAL, os.strerror(errno.EINVAL)) if operation == "exchange" else None
    with pytest.raises(MailboxIOError, match="renameat2"):
        moved(mailboxes, "ann", "second", Time().pace)
    assert tree(data / "store" / "primary") == before
