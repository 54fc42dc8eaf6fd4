"""The memory of XQIDs: what one worker adds every worker knows, for a day, within its bounds, whatever a crash left of a line."""

import pytest

from posthouse.journal.disk import Disk
from posthouse.store.delivery import seen as module
from posthouse.store.delivery.seen import Part, Seen, feed, line_of, parts
from posthouse.store.mailbox.errors import AlreadyStored, MailboxLocked, QuotaExceeded
from posthouse.testing.crash_disk import CrashDisk
from posthouse.testing.crash_state import Extreme
from posthouse.testing.failing_disk import disk_full
from support.store_world import Clock, World

BODY = b"Subject: x\r\n\r\nbody\r\n"
HOUR = 1_800_000_000 // 3600


def store_folder(disk: Disk) -> int:
    root = disk.open_dir("/")
    disk.mkdir("store", root)
    return disk.open_dir("store", root)


def content(disk: Disk, store: int, name: str) -> bytes:
    fd = disk.open_file(name, store)
    return disk.pread(fd, 1 << 24, 0)


def line(number: int) -> bytes:
    return line_of(b"0000ABCD.%d" % number, "bob")


def test_a_line_is_known_to_every_worker_at_once_and_after_a_restart() -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    one, two = Seen(disk, store, clock.now), Seen(disk, store, clock.now)
    one.add([line(1), line(2)])
    two.add([line(3)])
    one.add([line(4)])
    for worker in (one, two, Seen(disk, store, clock.now)):
        assert all(worker.known(line(number)) for number in (1, 2, 3, 4))
        assert not worker.known(line(5))
        assert not worker.known(line_of(b"0000ABCD.1", "sue"))
    assert content(disk, store, f"seen.{HOUR}") == b"".join(line(number) + b"\n" for number in (1, 2, 3, 4))


def test_lines_are_forgotten_after_a_day_and_their_file_is_gone() -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    worker, idle = Seen(disk, store, clock.now), Seen(disk, store, clock.now)
    worker.add([line(0)])
    for number in range(1, 24):
        clock.time += 3600
        assert worker.known(line(0))
        worker.add([line(number)])
    assert idle.known(line(0))
    assert idle.known(line(23))
    assert len(idle) == 24
    clock.time += 2 * 3600
    assert not worker.known(line(0))
    assert worker.known(line(1))
    assert parts(disk, store)[0] == Part(HOUR + 1, 0)
    assert len(worker) == 23
    clock.time += 40 * 3600
    assert not any(worker.known(line(number)) for number in range(24))
    assert parts(disk, store) == [Part(HOUR + 65, 0)]
    assert not len(Seen(disk, store, clock.now))


def test_a_machine_that_does_not_know_the_time_yet_remembers_too() -> None:
    disk, clock = CrashDisk(), Clock()
    clock.time = 100.0
    store = store_folder(disk)
    one, two = Seen(disk, store, clock.now), Seen(disk, store, clock.now)
    assert not one.known(line(1))
    one.add([line(1)])
    assert one.known(line(1))
    assert two.known(line(1))
    clock.time = HOUR * 3600.0
    assert not two.known(line(2))
    two.add([line(2)])
    assert one.known(line(2))


def test_a_clock_that_steps_back_forgets_nothing() -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    worker = Seen(disk, store, clock.now)
    worker.add([line(1)])
    clock.time -= 7 * 3600
    worker.add([line(2)])
    for each in (worker, Seen(disk, store, clock.now)):
        assert each.known(line(1))
        assert each.known(line(2))


def test_lines_and_octets_are_bounded_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_OCTETS", 2000)
    monkeypatch.setattr(module, "MOST_LINES", 1000)
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    worker, idle = Seen(disk, store, clock.now), Seen(disk, store, clock.now)
    for number in range(5000):
        assert not worker.known(line(number))
        worker.add([line(number)])
    assert len(worker) <= 1000 + 2000 // len(line(0))
    assert sum(len(content(disk, store, part.name)) for part in parts(disk, store)) < 30_000
    assert all(idle.known(line(number)) == worker.known(line(number)) for number in range(4000, 5000))
    assert worker.known(line(4999))
    assert worker.known(line(4200))
    assert not worker.known(line(3000))
    monkeypatch.setattr(module, "MOST_OCTETS", 8000)
    for number in range(5000, 5500):
        worker.known(line(number))
        worker.add([line(number)])
    assert sum(len(content(disk, store, part.name)) for part in parts(disk, store)) < 8000 + 2 * 2100


@pytest.mark.parametrize("cut", [1, 5, len(line(1)), len(line(1)) - 1])
def test_a_line_that_was_cut_off_says_nothing_and_hurts_no_other(cut: int) -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    fd = disk.open_file(f"seen.{HOUR}", store, append=True)
    disk.write(fd, line(1) + b"\n" + line_of(b"0000ABCD.2", "bobby")[:cut])
    worker = Seen(disk, store, clock.now)
    worker.add([line(3)])
    for each in (worker, Seen(disk, store, clock.now)):
        assert each.known(line(1))
        assert each.known(line(3))
        assert not each.known(line_of(b"0000ABCD.2", "bobby"))
        assert not each.known(line_of(b"0000ABCD.2", "bobby")[:cut])
    assert b"\x18\n" in content(disk, store, f"seen.{HOUR}")


def test_a_hash_alone_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    monkeypatch.setattr(module, "hash", lambda _: 7, raising=False)
    worker = Seen(disk, store, clock.now)
    worker.add([line(1)])
    assert worker.known(line(1))
    assert not worker.known(line(2))


def test_a_full_disk_loses_the_memory_of_a_line_and_nothing_else() -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    worker = Seen(disk, store, clock.now)
    worker.add([line(1)])
    disk.fault = disk_full
    worker.add([line(2)])
    disk.fault = lambda _operation, _name: None
    worker.add([line(3)])
    assert [worker.known(line(number)) for number in (1, 2, 3)] == [True, False, True]


def test_a_disk_without_room_at_the_start_is_tried_again_with_each_message() -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    real = disk.open_file

    def full(name: str, folder: int, *, write: bool = False, append: bool = False) -> int:
        raise OSError(28, "full")

    disk.open_file = full  # type: ignore[method-assign]
    worker = Seen(disk, store, clock.now)
    with pytest.raises(OSError, match="full"):
        worker.known(line(1))
    disk.open_file = real  # type: ignore[method-assign]
    assert not worker.known(line(1))
    worker.add([line(1)])
    assert worker.known(line(1))


def test_a_replay_feeds_each_line_once() -> None:
    disk, clock = CrashDisk(), Clock()
    store = store_folder(disk)
    feed(disk, store, [line(1), line(2)], clock.now())
    worker = Seen(disk, store, clock.now)
    feed(disk, store, [line(2), line(3)], clock.now() + 3600)
    feed(disk, store, [line(1), line(2), line(3)], clock.now() + 3600)
    clock.time += 3600
    assert all(worker.known(line(number)) for number in (1, 2, 3))
    assert content(disk, store, f"seen.{HOUR + 1}") == line(3) + b"\n"


# --- deliveries ---


def test_a_repeat_is_answered_as_the_first_time_and_stored_once() -> None:
    world = World(CrashDisk())
    world.send(BODY, "<bob> xqid=AAAA.0", "<sue> xqid=AAAA.1")
    again = world.send(BODY, "<bob> xqid=AAAA.0", "<sue> xqid=AAAA.1", "<tim> xqid=AAAA.2")
    assert [type(each.fault) for each in again.addressees] == [AlreadyStored, AlreadyStored, type(None)]
    world.send(BODY, "<bob> xqid=AAAB.0", "<bob>", "<bob>")
    assert len(world.messages("bob")) == 4
    assert len(world.messages("sue")) == len(world.messages("tim")) == 1


def test_who_was_refused_is_decided_anew() -> None:
    world = World(CrashDisk())
    first = world.send(BODY, "<bob> xquota=10,1 xqid=AAAA.0")
    assert isinstance(first.addressees[0].fault, QuotaExceeded)
    second = world.send(BODY, "<bob> xquota=1000,1 xqid=AAAA.0")
    assert second.addressees[0].fault is None
    assert len(world.messages("bob")) == 1


def test_a_repeat_waits_for_the_first_that_is_under_way() -> None:
    world = World(CrashDisk())
    first = world.deliver(BODY, "<bob> xqid=AAAA.0")
    second = world.deliver(BODY, "<bob> xqid=AAAA.0")
    world.clock.run(0.1)
    assert not world.finished
    world.commit()
    world.clock.run(0.1)
    assert world.finished == [first, second]
    assert isinstance(second.addressees[0].fault, AlreadyStored)
    assert len(world.messages("bob")) == 1


def test_a_repeat_of_one_that_fails_is_stored() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>")
    first = world.deliver(BODY, "<bob> xqid=AAAA.0")
    second = world.deliver(BODY, "<bob> xqid=AAAA.0")
    disk.fault = lambda operation, _name: OSError(5, "broken") if operation == "rename" else None
    world.commit()
    disk.fault = lambda _operation, _name: None
    world.clock.run(0.1)
    world.commit()
    assert first.addressees[0].fault is not None
    assert second.addressees[0].fault is None
    assert len(world.messages("bob")) == 2


def test_a_repeat_waits_no_longer_than_for_a_lock() -> None:
    world = World(CrashDisk())
    world.deliver(BODY, "<bob> xqid=AAAA.0")
    second = world.deliver(BODY, "<bob> xqid=AAAA.0")
    world.clock.run(6)
    assert world.finished == [second]
    assert isinstance(second.addressees[0].fault, MailboxLocked)


def test_one_transaction_with_one_xqid_twice_stores_it_once() -> None:
    world = World(CrashDisk())
    both = world.deliver(BODY, "<bob> xqid=AAAA.0", "<bob> xqid=AAAA.0")
    world.commit()
    world.clock.run(0.1)
    assert world.finished == [both]
    assert len(world.messages("bob")) == 1


def test_switched_off_nothing_is_remembered() -> None:
    world = World(CrashDisk())
    world.delivery.seen = None
    world.send(BODY, "<bob> xqid=AAAA.0")
    world.send(BODY, "<bob> xqid=AAAA.0")
    assert len(world.messages("bob")) == 2
    assert content(world.disk, world.store, f"seen.{HOUR}") == b""


@pytest.mark.parametrize("fstype", [0xEF53, 0x01021994])
def test_everything_killed_and_everything_sent_again(fstype: int) -> None:
    """SIGKILL: what programs saw stays, with or without records."""
    disk = CrashDisk(fstype)
    world = World(disk)
    world.send(BODY, "<bob> xqid=AAAA.0")
    world.deliver(BODY, "<bob> xqid=AAAB.0")  # its record may or may not be written when all are killed
    disk = disk.survivor(Extreme.MOST)
    world = World(disk, number=2)
    for number in (b"AAAA", b"AAAB"):
        world.send(BODY, f"<bob> xqid={number.decode()}.0")
        world.send(BODY, f"<bob> xqid={number.decode()}.0")
    assert len(world.messages("bob")) == 2
