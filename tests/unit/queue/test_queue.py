"""The queue's functions on a real disk: accept, recover, move out, attempt, hold, free."""

import time
from pathlib import Path

import pytest

from posthouse.journal.body_file import BodyFile
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import Mark
from posthouse.relay.job_controller.files import read_files
from posthouse.relay.queue.copy_ref import FileCopy, JournalCopy
from posthouse.relay.queue.free import free_segment
from posthouse.relay.queue.move_out import Moving, move_out
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import OpenQueueFile, Replaced, read_with_history
from posthouse.relay.queue.queue_format import Attempt, State
from posthouse.relay.queue.recovery import recover
from posthouse.relay.queue.release import hold, release
from posthouse.testing.failing_disk import FailingDisk
from support.queue_world import (
    Accepting,
    again,
    body_of,
    file_one,
    is_settled,
    make_folders,
    message,
    message_id,
    open_places,
    read,
)

LATER = 4e9


def test_a_segment_another_process_has_freed_is_let_go(places: Places, tmp_path: Path) -> None:
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(1, (0,), 500), body_of(1, 500))])
    accepting.end()
    (kept,) = accepting.accept([(message(2, (0,), 500), body_of(2, 500))])
    accepting.end()
    worker = open_places(LinuxDisk(), str(tmp_path))
    segments = [worker.segment(each.segment) for each in (ref, kept)]
    worker.mark(ref.segment, ref.first_slot, Mark.DONE)
    free_segment(places, ref.segment, [ref])
    worker.forget_freed()
    assert [segment.fd >= 0 for segment in segments] == [False, True]
    with pytest.raises(OSError, match="Bad file descriptor"):
        segments[0].mark(ref.first_slot, Mark.DONE)
    worker.close()


def test_recovery_finds_every_open_copy_and_frees_what_is_settled(places: Places, tmp_path: Path) -> None:
    accepting = Accepting(places.disk, places.journal)
    (one,) = accepting.accept([(message(1, (0, 0, 1), 100), body_of(1, 100))])
    accepting.end()
    (two,) = accepting.accept([(message(2, (0,), 100), body_of(2, 100))])
    accepting.end()
    places.mark(one.segment, one.first_slot, Mark.DONE)
    places.mark(two.segment, two.first_slot, Mark.FAILED)
    found = recover(again(places, tmp_path), LATER)
    assert [(each.ref.copy, [r.id for r in each.recipients]) for each in found.copies] == [(0, [1]), (1, [2])]
    assert list(found.segments) == [one.segment]
    assert two.segment not in places.disk.listdir(places.journal)
    assert found.alarms == []


def test_a_living_writers_segment_is_left_to_it(places: Places) -> None:
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(1, size=100), body_of(1, 100))])
    found = recover(places, LATER)
    assert found.live == [ref.segment]
    assert found.copies == []
    accepting.end()
    assert [each.ref.offset for each in recover(places, LATER).copies] == [ref.offset]


def test_a_moved_copy_stands_in_its_file_with_its_open_recipients(places: Places, tmp_path: Path) -> None:
    history = (Attempt(5, 2, 1, "4.2.0", 420, "Mailbox Locked", "store0"),)
    copy = file_one(places, subdirs=20, attempts=2, history=history)
    assert copy.name == f"ZX{message_id(1)}0000.00"
    opened = open_copy(places, copy)
    assert isinstance(opened, OpenQueueFile)
    assert read(opened) == body_of(1, 500)
    assert [each.id for each in opened.recipients] == [0, 1]
    assert opened.envelope.recipients == message(1, (0, 0, 1), 500).recipients[:2]
    assert opened.history() == list(history)
    opened.close()
    found = recover(again(places, tmp_path), LATER)
    assert [(entry.ref, entry.name.attempts) for entry in found.files] == [(copy, 2)]
    assert [each.ref.copy for each in found.copies] == [1]


def test_moving_what_is_settled_makes_no_file(places: Places) -> None:
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(1, size=100), body_of(1, 100))])
    accepting.end()
    places.mark(ref.segment, 0, Mark.DONE)
    moving = Moving(JournalCopy(ref.segment, ref.offset, 0), "tcp_lmtpcs")
    assert move_out(places, [moving]).settled == [moving]
    assert list(places.tree.entries()) == []


def test_the_file_beats_the_record(places: Places, tmp_path: Path) -> None:
    copy = file_one(places)
    (name,) = [name for name in places.disk.listdir(places.journal) if name.endswith(".seg")]
    places.segment(name).mark_run(0, 2, Mark.OPEN)
    hold(places.tree, copy)
    found = recover(again(places, tmp_path), LATER)
    assert [each.ref.copy for each in found.copies] == [1]
    assert places.segment(name).marks(0, 3) == b"MM\0"


def test_an_attempt_renames_to_the_next_prefix_and_the_last_removes(places: Places) -> None:
    opened = open_copy(places, file_one(places))
    assert isinstance(opened, OpenQueueFile)
    opened.settle(0, State.DONE)
    opened.add_history([Attempt(9, 1, 1, "4.2.0", 420, "Mailbox Locked", "store0")])
    copy = opened.next_attempt()
    opened.close()
    assert copy.name.startswith("ZY")
    later = open_copy(places, copy)
    assert isinstance(later, OpenQueueFile)
    assert [each.id for each in later.recipients] == [1]
    assert [each.text for each in later.history()] == ["Mailbox Locked"]
    later.settle(1, State.FAILED)
    later.remove()
    places.tree.sync_touched()
    later.close()
    assert list(places.tree.entries()) == []


def test_a_replaced_file_is_neither_renamed_nor_removed(places: Places) -> None:
    opened = open_copy(places, file_one(places))
    assert isinstance(opened, OpenQueueFile)
    held = hold(places.tree, opened.ref)
    with pytest.raises(Replaced):
        opened.next_attempt()
    for each in opened.recipients:
        opened.settle(each.id, State.DONE)
    with pytest.raises(Replaced):
        opened.remove()
    opened.close()
    assert [entry.ref for entry in places.tree.entries()] == [held]


def test_hold_keeps_the_name_and_a_released_file_goes_at_once(places: Places) -> None:
    copy = file_one(places, attempts=3, held=True)
    assert copy.name.endswith(".HELD")
    assert read_with_history(places.tree, copy)[0].envelope.recipients[0].held
    released = release(places.tree, copy)
    assert released == FileCopy(copy.channel, copy.subdir, "ZZ" + copy.name[2:].replace(".HELD", ".00"))
    assert release(places.tree, released) == released
    assert hold(places.tree, released).name == released.name.replace(".00", ".HELD")


def test_a_large_body_is_read_from_its_file_moved_and_removed(places: Places, tmp_path: Path) -> None:
    body = body_of(5, 700_000)
    arriving = BodyFile(places.disk, places.body, message_id(5))
    arriving.write(body[:300_000])
    arriving.write(body[300_000:])
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(5, (0, 1), len(body)), arriving.finish())])
    accepting.end()
    BodyFile(places.disk, places.body, "orphan").finish()
    found = recover(again(places, tmp_path), LATER)
    assert places.disk.listdir(places.body) == [message_id(5)]
    opened = open_copy(places, found.copies[1].ref)
    assert read(opened) == body
    opened.settle(1, State.DONE)
    opened.close()
    ((_, copy),) = move_out(places, [Moving(found.copies[0].ref, "tcp_lmtpcs")]).moved
    filed = open_copy(places, copy)
    assert read(filed) == body
    filed.close()
    assert is_settled(places.segment(ref.segment), found.segments[ref.segment])
    free_segment(places, ref.segment, found.segments[ref.segment])
    assert places.disk.listdir(places.body) == []
    assert sorted(places.disk.listdir(places.journal)) == ["body"]


def test_a_body_that_arrives_is_no_orphan(places: Places) -> None:
    arriving = BodyFile(places.disk, places.body, "arriving")
    recover(places, time.time())
    assert places.disk.listdir(places.body) == ["arriving"]
    arriving.abandon()


@pytest.mark.parametrize("operation", ["create_excl", "mkdir", "pwrite", "syncfs", "rename"])
def test_a_full_or_broken_disk_leaves_the_copy_in_the_journal(tmp_path: Path, operation: str) -> None:
    disk = FailingDisk()
    root = disk.open_dir(str(tmp_path))
    make_folders(disk, root)
    places = open_places(disk, str(tmp_path))
    accepting = Accepting(disk, places.journal)
    (ref,) = accepting.accept([(message(1, (0, 0), 100), body_of(1, 100))])
    accepting.end()
    moving = Moving(JournalCopy(ref.segment, ref.offset, 0), "tcp_lmtpcs", 20)
    disk.fault = lambda what, _name: OSError(28, "No space left on device") if what == operation else None
    result = move_out(places, [moving])
    assert [each for each, _ in result.failed] == [moving]
    assert (result.moved, result.settled, result.unsynced) == ([], [], set())
    disk.fault = None
    assert list(places.tree.entries()) == []
    assert [each.recipients for each in recover(places, LATER).copies] == [message(1, (0, 0), 100).recipients]
    assert len(move_out(places, [moving]).moved) == 1
    places.close()


def test_one_copy_that_cannot_be_written_does_not_hold_the_others(places: Places, tmp_path: Path) -> None:
    accepting = Accepting(places.disk, places.journal)
    one, two = accepting.accept([(message(n, size=100), body_of(n, 100)) for n in (1, 2)])
    accepting.end()
    (tmp_path / "queue" / "blocked").write_text("a file where a folder should be")
    batch = [Moving(JournalCopy(one.segment, one.offset, 0), "blocked"), Moving(JournalCopy(two.segment, two.offset, 0), "hold")]
    result = move_out(places, batch)
    assert [each for each, _ in result.failed] == batch[:1]
    assert [each for each, _ in result.moved] == batch[1:]


def test_other_things_in_the_tree_are_passed_over(places: Places, tmp_path: Path) -> None:
    copy = file_one(places, subdirs=20)
    channel = tmp_path / "queue" / "tcp_lmtpcs"
    (channel / "README").write_text("x")
    (channel / "notes").mkdir()
    (channel / "notes" / copy.name).write_text("x")
    (channel / ".tmp-half").write_text("x")
    (channel / "link.00").symlink_to(channel / copy.subdir / copy.name)
    (tmp_path / "queue" / "strange").symlink_to(channel)
    assert [entry.ref for entry in places.tree.entries()] == [copy]
    places.tree.files().remove_unfinished()
    assert not (channel / ".tmp-half").exists()
    assert (channel / "README").exists()


def test_a_changed_subdirs_loses_no_file(places: Places) -> None:
    for number, subdirs in ((1, 0), (2, 7), (3, 20)):
        file_one(places, number, subdirs=subdirs)
    assert {entry.name.message for entry in places.tree.entries()} == {message_id(number) for number in (1, 2, 3)}


def test_a_copy_is_found_by_its_unique_name_wherever_its_file_stands(places: Places, tmp_path: Path) -> None:
    copies = [file_one(places, number, subdirs=subdirs, held=held) for number, subdirs, held in ((1, 0, False), (2, 7, True))]
    channel = tmp_path / "queue" / "tcp_lmtpcs"
    (channel / f"ZZ{message_id(3)}0000.00").mkdir()
    files = places.tree.files()
    assert [files.find(message_id(number), 0) for number in (1, 2, 3, 4)] == [*copies, None, None]
    assert files.find(message_id(1), 1) is None
    assert len(files) == 3
    (channel / copies[0].name).unlink()
    assert files.find(message_id(1), 0) is None, "its name is not believed"


def test_a_name_that_is_taken_is_not_overwritten(places: Places, tmp_path: Path) -> None:
    copy = file_one(places)
    other = tmp_path / "queue" / "tcp_lmtpcs" / copy.name.replace(".00", ".HELD")
    other.write_text("an operator's")
    with pytest.raises(FileExistsError):
        hold(places.tree, copy)
    assert other.read_text() == "an operator's"


def test_only_some_recipients_may_be_asked_for(places: Places) -> None:
    copy = file_one(places)
    opened = open_copy(places, copy)
    opened.narrow((1,))
    assert [each.id for each in opened.recipients] == [1]
    opened.settle(1, State.DONE)
    assert opened.recipients == ()
    opened.close()
    later = open_copy(places, copy)
    assert [each.id for each in later.recipients] == [0], "the other one is still to do"
    later.close()


def test_however_long_the_history_its_end_is_read(places: Places) -> None:
    copy = file_one(places)
    opened = open_copy(places, copy)
    assert isinstance(opened, OpenQueueFile)
    long = "x" * 400
    opened.add_history(Attempt(at, at, at % 2, "4.2.2", 422, long, "store0") for at in range(5000))
    opened.add_history([Attempt(9999, 5000, 0, "4.2.0", 420, "Mailbox Locked", "store0")])
    assert opened.history()[-1].text == "Mailbox Locked"
    opened.close()
    content, history, why = read_with_history(places.tree, copy)
    assert (content.open_ids, why) == ((0, 1), "")
    assert {line.recipient: line.code for line in history} == {0: 420, 1: 422}


def test_a_restart_remembers_each_recipient_s_last_reply(places: Places) -> None:
    first = (
        Attempt(1, 0, 0, "4.4.1", 451, "connection refused", "store0"),
        Attempt(2, 1, 0, "4.2.2", 422, "Quota Exceeded", "store0"),
        Attempt(3, 1, 1, "4.2.0", 420, "Mailbox Locked", "store0"),
    )
    file_one(places, history=first)
    damaged: list[str] = []
    entries = list(places.tree.entries())
    ((cargo, _, _),) = read_files(places, entries, lambda _, reason, *, news: damaged.append(f"{reason} {news}"))
    assert damaged == []
    assert [str(cargo.reply(at)) for at in (0, 1)] == ["422 4.2.2 Quota Exceeded", "420 4.2.0 Mailbox Locked"]
    assert str(cargo.status) == "420 4.2.0 Mailbox Locked", "the newest"
    assert cargo.told


@pytest.mark.parametrize("ids", [(0, 1, 2), (0, 2), (2, 1), (1,)])
def test_recipients_settled_together_are_marked_as_one_by_one(places: Places, ids: tuple[int, ...]) -> None:
    accepting = Accepting(places.disk, places.journal)
    (ref,) = accepting.accept([(message(1, (0, 0, 0), 100), body_of(1, 100))])
    accepting.end()
    opened = open_copy(places, JournalCopy(ref.segment, ref.offset, 0))
    opened.settle_all(ids, State.DONE)
    opened.close()
    assert places.segment(ref.segment).marks(0, 3) == bytes(ord("D") if slot in ids else 0 for slot in range(3))


def test_states_in_a_queue_file_are_settled_together(places: Places) -> None:
    opened = open_copy(places, file_one(places))
    assert isinstance(opened, OpenQueueFile)
    opened.settle_all([0, 1], State.DONE)
    opened.close()
    again = open_copy(places, opened.ref)
    assert again.recipients == ()
    again.close()
