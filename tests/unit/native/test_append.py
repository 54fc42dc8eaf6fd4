"""One append on a real disk: what it refuses, what it leaves when the disk fails, and who else holds a lock."""

import contextlib
import errno
import fcntl
import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import (
    MailboxBadFormat,
    MailboxIOError,
    MailboxLocked,
    MailboxNotSupported,
    PersistentQuotaExceeded,
    QuotaExceeded,
)
from posthouse.store.native.append import Appender, Entry, Mailbox
from posthouse.store.native.locks import lock_record
from posthouse.store.native.notes import Notes, adopt
from posthouse.testing.failing_disk import FailingDisk, disk_full

FIRST = b"From a  Mon\n\none\n\n"
SECOND = b"From b  Mon\n\n" + b"two\n" * 100 + b"\n"


def entry_of(octets: bytes) -> Entry:
    return Entry(len(octets), zlib.crc32(octets), octets[:64], octets)


class Rig:
    """A spool and undo notes below a folder, on a disk that may be told to fail."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder / "mail"
        self.notes_folder = folder / "notes"
        for path in (self.spool, self.notes_folder):
            path.mkdir(exist_ok=True)
        self.box = self.spool / "jdoe"
        self.disk = FailingDisk()
        self.folder = self.disk.open_dir(str(self.spool))
        self.notes_fd = self.disk.open_dir(str(self.notes_folder))
        self.notes = Notes(self.disk, self.notes_fd)
        self.appender = Appender(self.disk, self.notes, lock_record)

    def append(self, octets: bytes, *, limit: int = -1, bounce: bool = False) -> None:
        slot = self.notes.take()
        try:
            mailbox = Mailbox(self.folder, str(self.spool), "jdoe", os.geteuid(), limit, bounce)
            self.appender.append(mailbox, entry_of(octets), slot)
        finally:
            self.notes.give_back(slot, lock_record)

    def die(self) -> None:
        """The process ends here: its descriptors and locks are gone, its notes file stays."""
        os.close(self.notes._fd)

    def adopt(self) -> int:
        disk: Disk = self.disk
        return adopt(disk, self.notes_fd, lock_record)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    os.close(rig.folder)
    os.close(rig.notes_fd)


def names(rig: Rig) -> list[str]:
    return sorted(path.name for path in rig.spool.iterdir())


def test_entries_follow_each_other(rig: Rig) -> None:
    rig.append(FIRST)
    rig.append(SECOND)
    assert rig.box.read_bytes() == FIRST + SECOND
    assert rig.box.stat().st_mode & 0o777 == 0o600
    assert names(rig) == ["jdoe"]


@pytest.mark.parametrize(("tail", "gap"), [(b"\n\n", b""), (b"\n", b"\n"), (b"", b"\n\n")])
def test_a_blank_line_stands_before_every_entry(rig: Rig, tail: bytes, gap: bytes) -> None:
    rig.box.write_bytes(b"From x  Mon\n\ntext" + tail)
    rig.append(FIRST)
    assert rig.box.read_bytes() == b"From x  Mon\n\ntext" + tail + gap + FIRST


def test_what_is_no_mailbox_of_the_owner_is_refused(rig: Rig) -> None:
    outside = rig.spool.parent / "outside"
    outside.write_bytes(FIRST)
    rig.box.symlink_to(outside)
    with pytest.raises(MailboxNotSupported, match="a link"):
        rig.append(SECOND)
    rig.box.unlink()
    rig.box.mkdir()
    with pytest.raises(MailboxNotSupported):
        rig.append(SECOND)
    rig.box.rmdir()
    rig.box.hardlink_to(outside)
    with pytest.raises(MailboxNotSupported, match="2 names"):
        rig.append(SECOND)
    rig.box.unlink()
    rig.box.write_bytes(b"\0\0\0\0")
    with pytest.raises(MailboxBadFormat):
        rig.append(SECOND)
    rig.box.write_bytes(FIRST)
    rig.box.chmod(0o444)
    with pytest.raises(MailboxNotSupported, match="read-only"):
        rig.append(SECOND)
    assert outside.read_bytes() == rig.box.read_bytes() == FIRST
    assert names(rig) == ["jdoe"]


def test_the_limit_is_the_file_s(rig: Rig) -> None:
    rig.append(FIRST, limit=len(FIRST))
    with pytest.raises(QuotaExceeded):
        rig.append(FIRST, limit=2 * len(FIRST) - 1)
    with pytest.raises(PersistentQuotaExceeded):
        rig.append(FIRST, limit=2 * len(FIRST) - 1, bounce=True)
    with pytest.raises(PersistentQuotaExceeded):
        rig.append(FIRST, limit=0)
    rig.append(FIRST, limit=2 * len(FIRST))
    assert rig.box.read_bytes() == 2 * FIRST


def test_locks_of_others(rig: Rig) -> None:
    rig.append(FIRST)
    lock = rig.spool / "jdoe.lock"
    lock.write_text("0")
    with pytest.raises(MailboxLocked, match=r"jdoe\.lock"):
        rig.append(SECOND)
    os.utime(lock, (lock.stat().st_mtime - 601,) * 2)  # nobody has touched it for ten minutes
    rig.append(SECOND)
    assert names(rig) == ["jdoe"]
    pid = os.fork()
    if not pid:  # an fcntl lock is another process's
        with rig.box.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            (rig.spool.parent / "locked").touch()
            signal.pause()
    try:
        while not (rig.spool.parent / "locked").exists():
            os.sched_yield()
        with pytest.raises(MailboxLocked, match="fcntl"):
            rig.append(SECOND)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    rig.append(SECOND)
    assert rig.box.read_bytes() == FIRST + SECOND + SECOND
    assert names(rig) == ["jdoe"]


def test_a_full_disk_leaves_the_mailbox_as_it_was(rig: Rig) -> None:
    rig.append(FIRST)
    rig.disk.fault = lambda operation, name: disk_full(operation, name) if name == "jdoe" else None
    with pytest.raises(MailboxIOError, match="No space"):
        rig.append(SECOND)
    rig.disk.fault = disk_full
    with pytest.raises(MailboxIOError, match="No space"):
        rig.append(SECOND)
    rig.disk.fault = None
    assert rig.box.read_bytes() == FIRST
    rig.append(SECOND)
    assert rig.box.read_bytes() == FIRST + SECOND
    assert names(rig) == ["jdoe"]


@pytest.mark.parametrize("existing", [b"", FIRST])
def test_a_failing_disk_at_every_operation(tmp_path: Path, existing: bytes) -> None:
    """Each operation fails in its turn: either the entry is there and was accepted, or the mailbox is as it was."""
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        rig = Rig(folder)
        if existing:
            rig.append(existing)
        count = 0

        def fault(operation: str, name: str, number: int = number) -> OSError | None:
            nonlocal count
            count += 1
            return OSError(errno.EIO, "injected") if count == number + 1 else None

        rig.disk.fault = fault
        accepted = False
        with contextlib.suppress(MailboxIOError, OSError):
            rig.append(SECOND)
            accepted = True
        rig.disk.fault = None
        octets = rig.box.read_bytes() if rig.box.exists() else b""
        assert octets == existing + (SECOND if accepted else b""), number
        rig.notes.try_again(lock_record)
        assert rig.notes.stuck == []
        os.close(rig.folder)
        os.close(rig.notes_fd)
        os.close(rig.notes._fd)
        if count <= number:  # no operation was left to fail
            assert accepted
            assert number > 8
            return
    pytest.fail("more operations than expected")


def test_killed_at_every_operation(tmp_path: Path) -> None:
    """A real process dies by SIGKILL before each of its operations: what it left is taken back, no lock stays."""
    for number, rig, status in _killed(tmp_path):
        (leftover, *_) = rig.notes_folder.iterdir()
        assert leftover.suffix == ".notes"
        assert rig.adopt() == 0
        assert list(rig.notes_folder.iterdir()) == []
        octets = rig.box.read_bytes()
        assert octets in {FIRST, FIRST + SECOND}
        assert names(rig) == ["jdoe"]
        os.close(rig.folder)
        os.close(rig.notes_fd)
        if status == 0:
            assert octets == FIRST + SECOND
            assert number > 8
            return
    pytest.fail("more operations than expected")


def test_a_torn_entry_is_durably_cut_off(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []
    for _, rig, _ in _killed(tmp_path):
        if rig.box.read_bytes() == FIRST:
            continue
        os.truncate(rig.box, len(FIRST) + 20)  # a power loss before the file's sync: some of it reached the disk
        rig.disk.fault = lambda operation, name: calls.append((operation, name))
        assert rig.adopt() == 0
        assert rig.box.read_bytes() == FIRST
        cut = calls.index(("ftruncate", "jdoe"))
        assert calls[cut + 1] == ("fsync", "jdoe")
        return
    pytest.fail("nothing was written")


def _killed(tmp_path: Path) -> Iterator[tuple[int, Rig, int]]:
    """Mailboxes with one entry to which a process was adding another when it died; its number of operations and its end."""
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        rig = Rig(folder)
        rig.append(FIRST)
        rig.die()
        pid = os.fork()
        if not pid:
            _append_and_die(folder, number)
        yield number, rig, os.waitpid(pid, 0)[1]


def _append_and_die(folder: Path, number: int) -> None:
    """In a child: append, and die before the operation of this number; otherwise end with 0."""
    rig = Rig(folder)
    count = 0

    def fault(_operation: str, _name: str) -> None:
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    rig.disk.fault = fault
    try:
        rig.append(SECOND)
    finally:
        os._exit(0)
