"""A message that streams into a nameless file makes the same entry as one in memory, and leaves nothing behind."""

import os
import zlib
from pathlib import Path

import pytest

from posthouse.journal.disk import Disk
from posthouse.store.delivery.stored_form import return_path
from posthouse.store.mailbox.errors import MailboxIOError
from posthouse.store.native.entry import Quoting, entry_of
from posthouse.store.native.spool import SpooledEntry
from posthouse.testing.failing_disk import FailingDisk

NOW = 1_800_000_000.0
WIRE = b"Subject: x\r\n\r\nFrom me\r\n>From you\r\nbare \r cr\r\n" + b"text\r\n" * 1000 + b"From the end"


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("quoting", [Quoting.MBOXRD, Quoting.LENGTH])
def test_pieces_make_the_same_entry(tmp_path: Path, step: int, quoting: Quoting) -> None:
    spooled = SpooledEntry(str(tmp_path), b"a@b", quoting, NOW)
    for at in range(0, len(WIRE), step):
        spooled.write(WIRE[at : at + step])
    message = spooled.end()
    stored = return_path(b"a@b") + WIRE.replace(b"\r\n", b"\n")
    expected = entry_of(b"a@b", stored, quoting, NOW)
    disk: Disk = FailingDisk()
    assert spooled.fault is None
    assert b"".join(message.entry.parts(disk)) == expected
    assert (message.entry.size, message.entry.crc, message.entry.head) == (len(expected), zlib.crc32(expected), expected[:64])
    assert message.size == len(stored)
    os.close(message.fd)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    spooled = SpooledEntry(str(tmp_path / "missing"), b"a@b", Quoting.MBOXRD, NOW)
    spooled.write(WIRE)
    assert isinstance(spooled.fault, MailboxIOError)
    assert spooled.end().fd == -1


def test_given_up(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    spooled = SpooledEntry(str(tmp_path), b"a@b", Quoting.MBOXRD, NOW)
    spooled.write(WIRE)
    spooled.abort()
    spooled.abort()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
