"""Copies whose recipients have a sender of their own: the copy has that sender, in the journal and in a queue file."""

from pathlib import Path

import msgspec

from posthouse.journal.disk import LinuxDisk
from posthouse.mail.envelope import as_copy
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.move_out import Moving, move_out
from posthouse.relay.queue.open_copy import open_copy
from support.queue_world import Accepting, body_of, make_folders, message, open_places


def test_a_forwarded_copy_keeps_what_the_sender_asked_for() -> None:
    envelope = msgspec.structs.replace(message(1), envid="e1", ret="HDRS")
    forwarded = as_copy(envelope, "SRS0=ABCDEFGH=AA=x.test=y@example.com")
    assert (forwarded.sender[:5], forwarded.envid, forwarded.ret) == ("SRS0=", "e1", "HDRS")
    listed = as_copy(envelope, "srs-list@example.com")
    assert (listed.envid, listed.ret) == ("", "")


def test_each_copy_has_its_own_sender(tmp_path: Path) -> None:
    disk = LinuxDisk()
    root = disk.open_dir(str(tmp_path))
    make_folders(disk, root)
    disk.close(root)
    places = open_places(disk, str(tmp_path))
    plain = message(1, (0, 1), 100)
    first, second = plain.recipients
    listed = msgspec.structs.replace(second, sender="owner-staff@example.com", answers=True)
    envelope = msgspec.structs.replace(plain, recipients=(first, listed), envid="e1", ret="FULL")
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(envelope, body_of(1, 100))])
    accepting.end()

    def opened(copy: int) -> tuple[str, str, str, bool]:
        one = open_copy(places, JournalCopy(ref.segment, ref.offset, copy))
        one.close()
        return one.envelope.sender, one.envelope.envid, one.envelope.ret, one.recipients[0].answers

    assert opened(0) == ("sender@example.com", "e1", "FULL", False)
    assert opened(1) == ("owner-staff@example.com", "", "", True)
    ((_, file),) = move_out(places, [Moving(JournalCopy(ref.segment, ref.offset, 1), "tcp_lmtpcs")]).moved
    filed = open_copy(places, file)
    assert filed.envelope.sender == "owner-staff@example.com"
    assert filed.recipients[0].answers
    filed.close()
    places.close()
