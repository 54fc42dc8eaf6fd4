"""Messages that come with IMAP flags: their names in `cur/`, keywords under Dovecot's lock, and what a replay puts back."""

import msgspec
import pytest

from posthouse.store.delivery.record import Place, decode_placement
from posthouse.store.mailbox.errors import MailboxIOError
from posthouse.store.mailbox.maildirsize import parse
from posthouse.testing.crash_disk import CrashDisk
from posthouse.testing.crash_state import Extreme
from support.store_world import World

BODY = b"Subject: x\r\n\r\nbody\r\n"
STORED = b"Return-Path: <s@example.org>\nSubject: x\n\nbody\n"


def names(world: World, shelf: str, owner: str = "bob", directory: str = "") -> list[str]:
    disk = world.disk
    root = disk.open_dir(owner, world.partition)
    return disk.listdir(disk.open_dir(shelf, disk.open_dir(directory, root) if directory else root))


def timed() -> World:
    """A world whose disk has its clock."""
    times: list[World] = []
    made = World(CrashDisk(now_ns=lambda: int(times[0].clock.now() * 1e9) if times else 0))
    times.append(made)
    return made


def keywords(world: World, directory: str = "") -> bytes:
    disk = world.disk
    root = disk.open_dir("bob", world.partition)
    return disk.pread(disk.open_file("dovecot-keywords", disk.open_dir(directory, root) if directory else root), 1000, 0)


def test_a_message_with_flags_stands_in_cur_and_counts_like_any_other() -> None:
    world = World(CrashDisk())
    flagged = ("<bob> xflags=\\Seen,\\Flagged", "<bob+a> xdflg=1 xflags=\\Answered", "<bob+a> xdflg=17 xflags=\\Draft")
    world.send(BODY, "<sue>", *flagged)
    (name,) = names(world, "cur")
    assert name.endswith(":2,FS")
    assert names(world, "new") == []
    assert len(names(world, "new", "sue")) == 1
    assert sorted(name[-4:] for name in names(world, "cur", directory=".a")) == [":2,D", ":2,R"]
    assert names(world, "new", directory=".a") == names(world, "tmp") == []
    root = world.disk.open_dir("bob", world.partition)
    found = parse(world.disk.pread(world.disk.open_file("maildirsize", root), 1000, 0))
    assert found is not None
    assert found[1] == (3 * len(STORED), 3)


def test_keywords_get_the_letters_dovecot_gave_them_or_new_ones() -> None:
    world = timed()
    world.send(BODY, "<bob> xflags=work,$Junk,\\Seen")
    assert keywords(world) == b"0 work\n1 $Junk\n"
    world.clock.run(2)
    world.send(BODY, "<bob> xflags=WORK,later")
    assert keywords(world) == b"0 work\n1 $Junk\n2 later\n"
    assert sorted(name.partition(":2,")[2] for name in names(world, "cur")) == ["Sab", "ac"]
    root = world.disk.open_dir("bob", world.partition)
    assert "dovecot-uidlist.lock" not in world.disk.listdir(root)


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_new_keyword_is_left_out_while_dovecot_has_its_lock_or_the_file_is_of_this_second(seconds: int) -> None:
    world = timed()
    world.send(BODY, "<bob> xflags=work")
    root = world.disk.open_dir("bob", world.partition)
    if seconds:
        world.clock.run(seconds)
        world.disk.close(world.disk.create_excl("dovecot-uidlist.lock", root))
    world.send(BODY, "<bob> xflags=work,later")
    world.send(BODY, "<bob> xflags=later")
    assert keywords(world) == b"0 work\n"
    assert [name.partition(":2,")[2] for name in names(world, "cur")] == ["a", "a"]
    assert len(names(world, "new")) == 1  # no flag is left: it is a new message
    assert ("dovecot-uidlist.lock" in world.disk.listdir(root)) is bool(seconds)


def test_the_27th_keyword_of_a_folder_is_left_out() -> None:
    world = World(CrashDisk())
    world.send(BODY, "<bob> xflags=" + ",".join(f"k{number}" for number in range(30)))
    assert keywords(world).count(b"\n") == 26
    assert names(world, "cur")[0].endswith(":2,abcdefghijklmnopqrstuvwxyz")


def test_a_cur_that_is_gone_is_a_fault_for_now() -> None:
    world = World(CrashDisk())
    world.send(BODY, "<bob>")
    world.disk.rmdir("cur", world.disk.open_dir("bob", world.partition))
    world.send(BODY, "<bob> xflags=\\Seen")
    assert [type(each) for each in world.refused] == [MailboxIOError]
    again = World(world.disk, number=2)  # whoever opens the mailbox anew makes it
    again.send(BODY, "<bob> xflags=\\Seen")
    assert len(names(again, "cur")) == 1


def test_what_a_power_cut_took_is_put_back_with_its_flags_once() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob> xflags=\\Seen", "<bob+a> xdflg=1 xflags=\\Flagged", "<sue>")
    again = World(disk.survivor(Extreme.LEAST), number=2)
    assert [name[-4:] for name in names(again, "cur")] == [":2,S"]
    assert [name[-4:] for name in names(again, "cur", directory=".a")] == [":2,F"]
    assert len(names(again, "new", "sue")) == 1
    for owner, directory in (("bob", ""), ("bob", ".a"), ("sue", "")):
        assert len(again.messages(owner, directory)) == 1


def test_a_place_an_older_store_wrote_has_no_flags() -> None:
    old = msgspec.msgpack.encode(["primary", [["bob", "", "1.M1P1R1Q1.host,S=1,W=1"]]])
    assert decode_placement(old).places == (Place("bob", "", "1.M1P1R1Q1.host,S=1,W=1"),)
