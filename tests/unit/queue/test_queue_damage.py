"""Damage to what is queued is noticed, told, and kept: no other message goes out in its place."""

from pathlib import Path

import pytest

from posthouse.journal.body_file import BodyFile
from posthouse.journal.segment import CorruptRecord
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.move_out import Moving, move_out
from posthouse.relay.queue.open_copy import open_copy, set_aside
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import hold_damaged
from posthouse.relay.queue.queue_format import DamagedQueueFile
from posthouse.relay.queue.recovery import recover
from support.queue_world import Accepting, again, body_of, file_one, message, message_id, read

LATER = 4e9


@pytest.mark.parametrize(
    ("find", "put", "reason"),
    [
        (b"message 0", b"massage 0", "b; does not agree"),
        (b"z;500", b"z;498", "no boundary"),
        (b"z;500", b"z;999", "shorter than z"),
        (b"k;T0", b"k;X0", "unknown recipient state"),
        (b"i;0TEST", b"i;0TOAST", "do not agree"),
        (b"v;1\n", b"v;9\n", "v;1"),
    ],
)
def test_a_damaged_file_is_held_and_stays(places: Places, tmp_path: Path, find: bytes, put: bytes, reason: str) -> None:
    copy = file_one(places)
    path = tmp_path / "queue" / copy.path
    path.write_bytes(path.read_bytes().replace(find, put, 1))
    with pytest.raises(DamagedQueueFile, match=reason):
        open_copy(places, copy)
    held = hold_damaged(places.tree, copy)
    assert held.name.endswith(".HELD")
    assert (tmp_path / "queue" / held.path).exists()


def test_every_truncation_of_a_queue_file_is_noticed(places: Places, tmp_path: Path) -> None:
    copy = file_one(places)
    path = tmp_path / "queue" / copy.path
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(DamagedQueueFile):
            open_copy(places, copy)


def test_no_changed_octet_of_a_queue_file_gives_another_message(places: Places, tmp_path: Path) -> None:
    copy = file_one(places)
    path = tmp_path / "queue" / copy.path
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            opened = open_copy(places, copy)
        except DamagedQueueFile:
            noticed += 1
        else:
            assert read(opened) == body_of(1, 500)
            opened.close()
    assert noticed > 500


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_body_file_that_is_not_what_was_accepted_is_not_sent(places: Places, tmp_path: Path, damage: str) -> None:
    body = body_of(5, 300_000)
    arriving = BodyFile(places.disk, places.body, message_id(5))
    arriving.write(body)
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(5, (0,), len(body)), arriving.finish())])
    accepting.end()
    path = tmp_path / "journal" / "body" / message_id(5)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(body.replace(b"0", b"1", 1))
    with pytest.raises(CorruptRecord):
        open_copy(places, JournalCopy(ref.segment, ref.offset, 0))


@pytest.mark.parametrize("at", [8, 70, 400])
def test_a_corrupt_record_is_kept_aside_and_its_slots_are_void(places: Places, at: int) -> None:
    accepting = Accepting(places.disk, places.journal)
    one, two = accepting.accept([(message(n, size=600), body_of(n, 600)) for n in (1, 2)])
    accepting.end()
    segment = places.segment(one.segment)
    places.disk.pwrite(segment.fd, b"\xff", one.offset + at)
    ref = JournalCopy(one.segment, one.offset, 0)
    with pytest.raises(CorruptRecord):
        open_copy(places, ref)
    result = move_out(places, [Moving(ref, "tcp_lmtpcs"), Moving(JournalCopy(two.segment, two.offset, 0), "tcp_lmtpcs")])
    assert isinstance(result.failed[0][1], CorruptRecord)
    assert len(result.moved) == 1
    name = set_aside(places, ref, one.slots, one.first_slot)
    aside = places.disk.open_dir("aside", places.journal)
    found = places.disk.stat(name, aside)
    assert found
    assert found.size == one.end - one.offset
    assert segment.marks(0, 2) == b"VM"
    places.disk.close(aside)


def test_damage_is_set_aside_once_and_told(places: Places, tmp_path: Path) -> None:
    accepting = Accepting(places.disk, places.journal)
    for number in range(3):
        accepting.accept([(message(number, size=600), body_of(number, 600))])
    name = accepting.committer.current.name if accepting.committer.current else ""
    accepting.end()
    segment = places.segment(name)
    places.disk.pwrite(segment.fd, b"\xff", 18 * 4096 + 200)
    found = recover(again(places, tmp_path), LATER)
    assert len(found.copies) == 2
    assert "acknowledged mail is damaged" in found.alarms[0]
    assert recover(again(places, tmp_path), LATER).alarms == found.alarms
    assert len(list((tmp_path / "journal" / "aside").iterdir())) == 1


def test_a_segment_with_an_unreadable_header_is_set_aside_whole(places: Places, tmp_path: Path) -> None:
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(1, size=600), body_of(1, 600))])
    accepting.end()
    places.disk.pwrite(places.segment(ref.segment).fd, b"\xff", 9)
    found = recover(again(places, tmp_path), LATER)
    assert found.copies == []
    assert found.unreadable
    assert (tmp_path / "journal" / "aside" / ref.segment).exists()
