"""Transactions with many addressees take turns, with each other and with everybody else."""

from posthouse.store.delivery.long_transactions import AT_ONCE, TOGETHER
from posthouse.store.mailbox.errors import MailboxIOError
from posthouse.testing.crash_disk import CrashDisk
from support.store_world import World

BODY = b"Subject: x\r\n\r\nx\r\n"
MANY = TOGETHER // 2 + 1


def users(letter: str, number: int = MANY) -> list[str]:
    return [f"<{letter}{each}>" for each in range(number)]


def turn(world: World) -> None:
    """What the loop runs before it looks at its sockets again."""
    timers, world.clock.timers = world.clock.timers, []
    for _, callback in timers:
        callback()


def owners(world: World) -> list[str]:
    return [each.owner for each in world.accepted]


def test_others_are_served_between_the_slices_of_a_long_one() -> None:
    world = World(CrashDisk())
    long = world.deliver(BODY, *users("a"))
    turn(world)
    assert [each.place is not None for each in long.addressees].count(True) == AT_ONCE
    world.deliver(BODY, "<bob>")
    turn(world)
    assert [each.place is not None for each in long.addressees].count(True) == 2 * AT_ONCE
    world._make_durable(world._items)
    assert owners(world) == ["bob"]
    world._items = []
    world.commit()
    assert owners(world) == ["bob", *(each.strip("<>") for each in users("a"))]


def test_the_next_long_one_begins_when_the_one_before_is_placed() -> None:
    world = World(CrashDisk())
    first, second = world.deliver(BODY, *users("a")), world.deliver(BODY, *users("b"))
    world.clock.run()
    assert all(each.place for each in first.addressees)
    assert not any(each.place for each in second.addressees)
    assert not world.finished
    world.commit()
    world.commit()
    assert world.finished == [first, second]
    assert len({each.owner for each in world.accepted}) == 2 * MANY


def test_short_ones_of_the_long_go_together() -> None:
    world = World(CrashDisk())
    sent = [world.deliver(BODY, *users(letter, AT_ONCE + 1)) for letter in "abc"]
    world.clock.run()
    assert len(world._items) == len(sent)
    world.commit()
    assert world.finished == sent


def test_who_waits_for_a_lock_does_not_keep_the_next_long_one() -> None:
    world = World(CrashDisk())
    other = World(world.disk, number=2)
    other.deliver(BODY, "<a1>")  # its lock is held until its commit
    first, second = world.deliver(BODY, *users("a")), world.deliver(BODY, *users("b"))
    world.commit()
    world.commit()
    assert world.finished == [second]
    other.commit()
    world.clock.run(1.0)
    world.commit()
    assert world.finished == [second, first]
    assert world.refused == []


def test_long_ones_that_are_refused_whole_are_answered_and_keep_nobody() -> None:
    world = World(CrashDisk())
    world.delivery.closed = MailboxIOError("no barrier")
    refused = [world.deliver(BODY, *users(letter)) for letter in "abc"]
    world.clock.run()
    assert world.finished == refused
    assert len(world.refused) == 3 * MANY
    world.delivery.closed = None
    world.send(BODY, *users("d"))
    assert len(world.accepted) == MANY


def test_a_failed_sync_answers_a_long_one_and_the_next_is_tried() -> None:
    disk = CrashDisk()
    world = World(disk)
    first, second = world.deliver(BODY, *users("a")), world.deliver(BODY, *users("b"))
    world.clock.run()
    disk.fault = lambda operation, _name: OSError(5, "io") if operation == "fdatasync" else None
    world.commit()
    disk.fault = lambda _operation, _name: None
    assert world.finished == [first]
    assert {type(each) for each in world.refused} == {MailboxIOError}
    world.commit()
    assert world.finished == [first, second]
    assert len(world.accepted) == MANY


def test_what_nobody_foresaw_in_opening_a_mailbox_is_one_addressees_fault() -> None:
    disk = CrashDisk()
    world = World(disk)
    disk.fault = lambda _operation, name: RuntimeError("unforeseen") if name == "a40" else None  # type: ignore[assignment, return-value]
    world.send(BODY, *users("a"))
    assert len(world.accepted) == MANY - 1
    assert [type(each) for each in world.refused] == [MailboxIOError]
