"""`posthouse queue show` of many copies: all are found, and the queue is gone through once for all of them."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from posthouse.cli.queue_on_disk import list_from_disk
from posthouse.cli.queue_show import read_copies
from posthouse.config.instance import Instance
from posthouse.journal.disk import LinuxDisk
from posthouse.relay.job_controller.selection import Selection
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.move_out import Moving, move_out
from posthouse.relay.queue.tree import QueueEntry, QueueTree
from support.queue_world import Accepting, make_folders, message, open_places


def test_many_copies_are_read_in_one_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = LinuxDisk()
    (tmp_path / "data").mkdir()
    root = disk.open_dir(str(tmp_path / "data"))
    make_folders(disk, root)
    disk.close(root)
    places = open_places(disk, str(tmp_path / "data"))
    accepting = Accepting(disk, places.journal)
    bodies = {number: b"Subject: number %d\r\n\r\ntext\r\n" % number for number in range(20)}
    refs = accepting.accept([(message(number, (0, 1), len(body)), body) for number, body in bodies.items()])
    accepting.end()
    move_out(places, [Moving(JournalCopy(ref.segment, ref.offset, 0), "tcp_lmtpcs") for ref in refs])
    places.close()

    walks = 0
    entries = QueueTree.entries

    def counted(tree: QueueTree) -> Iterator[QueueEntry]:
        nonlocal walks
        walks += 1
        return entries(tree)

    rows = list_from_disk(Instance(tmp_path), Selection())
    monkeypatch.setattr(QueueTree, "entries", counted)
    copies = read_copies(Instance(tmp_path), rows)
    assert walks == 1
    assert sorted((copy["state"], copy["copy"], copy["header"].strip()) for copy in copies) == sorted(
        (state, copy, f"Subject: number {number}") for number in bodies for copy, state in ((0, "file"), (1, "journal"))
    )
    (path,) = {row["file"] for row in rows if row["id"] == rows[0]["id"] and row["file"]}
    Path(path).unlink()
    gone = [copy for copy in read_copies(Instance(tmp_path), rows) if copy["id"] == rows[0]["id"] and not copy["copy"]]
    assert [{each["state"] for each in copy["states"]} for copy in gone] == [{"moved to a file", "to do"}]


def test_who_gets_mail_by_a_group_is_found_on_the_disk_by_his_own_address(tmp_path: Path) -> None:
    disk = LinuxDisk()
    (tmp_path / "data").mkdir()
    root = disk.open_dir(str(tmp_path / "data"))
    make_folders(disk, root)
    disk.close(root)
    places = open_places(disk, str(tmp_path / "data"))
    accepting = Accepting(disk, places.journal)
    envelope = message(1, (0, 0), size=4)
    people = tuple(msgspec.structs.replace(each, original="team@example.com") for each in envelope.recipients)
    accepting.accept([(msgspec.structs.replace(envelope, recipients=people), b"text")])
    accepting.end()
    places.close()
    for address, found in (("team@example.com", 1), ("user1@example.com", 1), ("user2@example.com", 0)):
        rows = list_from_disk(Instance(tmp_path), Selection(recipients=(address,)))
        assert len(rows) == found
        assert all(set(each) == {"id", "address", "original", "status"} for row in rows for each in row["recipients"])
