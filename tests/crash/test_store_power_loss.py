"""Power loss of a store, on a disk in memory: cut after every operation, find a legal state, recover, look (DURABILITY 4, 7).

What was answered 250 must be there, octet for octet, once for each recipient; nothing torn or foreign may be in `new/` or
`cur/` after recovery; recovering twice, or being cut while recovering, changes nothing. `test_store_mutants.py` breaks the rules.
"""

import random

import pytest

from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Extreme
from support.store_story import BODY, Story, choices, cut_at, examine, operations, run
from support.store_world import QuickWorld, World


def test_nothing_that_was_answered_is_lost_wherever_the_power_is_cut() -> None:
    last = operations(World)
    counts = [*range(1, 90), *range(90, last + 1, 3)]
    assert run(World, counts, samples=2) == []


def test_nothing_is_lost_where_the_batch_is_made_durable_at_once() -> None:
    assert run(QuickWorld, range(1, operations(QuickWorld), 2), samples=1) == []


def test_recovery_may_be_cut_anywhere_and_run_again() -> None:
    last = operations(World)
    for count in range(20, last, 41):
        story = cut_at(count, World)
        disk = story.disk.survivor(random.Random(count))
        steps = _count_recovery(disk.survivor(Extreme.MOST))
        for step in range(1, steps + 1, 9):
            half = disk.survivor(Extreme.MOST)
            _cut_recovery(half, step)
            for choose in (Extreme.LEAST, Extreme.NAMES_ONLY, random.Random(step)):
                again = World(half.survivor(choose), number=3)
                assert examine(story, again) == []
                once = again.everything()
                assert World(half.survivor(choose), number=4).everything() == once


def _count_recovery(disk: CrashDisk) -> int:
    World(disk, number=2)
    return disk.operations


def _cut_recovery(disk: CrashDisk, step: int) -> None:
    disk.cut_at(step)
    with pytest.raises(PowerCut):
        World(disk, number=2)
    disk.after = lambda _operation: None


def test_replaying_twice_adds_nothing() -> None:
    story = cut_at(70, World)
    disk = story.disk.survivor(Extreme.LEAST)
    first = World(disk, number=2).everything()
    assert World(disk.survivor(Extreme.MOST), number=3).everything() == first


def test_without_a_trusted_barrier_every_message_is_synced_by_itself() -> None:
    for count in range(1, 400, 2):
        story = Story(CrashDisk(fstype=0x01021994))
        story.disk.cut_at(count)
        try:
            world = World(story.disk)
            world.accepted = story.accepted
            for number in range(6):
                body = BODY % number
                story.sent.add(b"Return-Path: <s@example.org>\n" + body.replace(b"\r\n", b"\n"))
                world.send(body, "<bob>", "<sue>", "<bob+Lists> xdflg=1")
        except PowerCut:
            pass
        else:
            assert len(story.accepted) == 18
        story.disk.after = lambda _operation: None
        for choose in choices(count, 1):
            again = World(story.disk.survivor(choose), number=2)
            found = again.everything()
            for each in story.accepted:
                assert found.get((each.owner, each.base)) == each.octets, (count, choose)


def test_mail_that_cannot_be_put_back_keeps_its_segment_and_nobody_elses_mail_comes_twice() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY % 1, "<bob>", "<sue>")
    found = disk.survivor(Extreme.LEAST)
    partition = found.open_dir("/data/store/primary")
    found.close(found.create_excl("bob", partition))  # no mailbox can be there
    opened = World(found, number=2)
    assert opened.recovered == (0, 1)
    assert opened.refusing is None
    sue = found.open_dir("new", found.open_dir("sue", partition))
    found.unlink(found.listdir(sue)[0], sue)  # read and deleted
    assert opened.leftovers.adopt() == (0, 1)
    found.unlink("bob", partition)
    assert opened.leftovers.adopt() == (1, 0)
    assert [owner for owner, _ in opened.everything()] == ["bob"]
    assert World(found, number=3).everything() == opened.everything()


def test_a_dead_workers_segment_is_adopted_without_bringing_back_what_was_deleted() -> None:
    disk = CrashDisk()
    living = World(disk, number=1)
    dying = World(disk, number=2)
    dying.send(BODY % 1, "<bob>")
    dying.send(BODY % 2, "<bob>")
    bob = disk.open_dir("new", disk.open_dir("bob", dying.partition))
    gone, kept = sorted(disk.listdir(bob))
    disk.unlink(gone, bob)
    assert living.leftovers.adopt() == (0, 0)  # its lock is held
    assert dying.committer.current is not None
    disk.close(dying.committer.current.fd)
    assert living.leftovers.adopt() == (1, 0)
    assert disk.listdir(living.journal) == []
    assert list(World(disk.survivor(Extreme.LEAST), number=3).everything()) == [("bob", kept)]


# --- a sync that fails ----------------------------------------------------------------------------------------------


def test_a_failed_barrier_refuses_mends_and_goes_on() -> None:
    """X: what the page cache has dropped is written again before a later barrier is believed."""
    story = Story(CrashDisk())
    world = World(story.disk)
    world.accepted = story.accepted
    for number in range(4):
        body = BODY % number
        story.sent.add(b"Return-Path: <s@example.org>\n" + body.replace(b"\r\n", b"\n"))
        world.send(body, "<bob>", "<sue>")
    story.disk.fault = lambda operation, _name: OSError(5, "io") if operation == "syncfs" else None
    assert not world.checkpoints.step()
    refusals = [world.refusing]
    assert not world.checkpoints.step()
    story.disk.fault = lambda _operation, _name: None
    assert world.checkpoints.step()
    assert [*refusals, world.refusing] == ["[Errno 5] io", None]
    assert world.stop()
    for choose in choices(1, 3):
        assert examine(story, World(story.disk.survivor(choose), number=2)) == []


def test_a_failed_record_is_answered_4xx_and_the_next_segment_takes_over() -> None:
    story = Story(CrashDisk())
    world = World(story.disk)
    world.send(BODY % 1, "<bob>")
    story.disk.fault = lambda operation, _name: OSError(5, "io") if operation == "fdatasync" else None
    world.send(BODY % 2, "<bob>")
    story.disk.fault = lambda _operation, _name: None
    world.send(BODY % 3, "<bob>")
    assert [len(world.accepted), len(world.refused)] == [2, 1]
    assert len(world.sealed) == 1
    assert world.stop()
    assert story.disk.listdir(world.journal) == []


# --- mutants: each must be caught -----------------------------------------------------------------------------------
