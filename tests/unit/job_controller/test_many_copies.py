"""A large queue: octets for each waiting copy, what is packed comes back, the order of reading, what has no room."""

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.agenda import Agenda
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import Cargo
from posthouse.relay.job_controller.protocol import Job, Result
from posthouse.relay.job_controller.shelf import BATCH, Shelf, Waiting
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.names import file_name, parse
from posthouse.relay.queue.tree import QueueEntry
from support.stock_world import START, C, World

COPIES = 3000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, notices="3 6 9 12", units=0)
    yield world
    world.enqueuer.stop()


def cargo_of_file(number: int, *, held: bool = False) -> Cargo:
    identity, host = f"0T8K00A01BCDEF{number:06d}", f"store{number % 5}.example.com.lmtp"
    user = f"somebody{number}"
    person = Recipient(0, 0, C, f"@{host}:{user}@lmtpcs-daemon", f"{user}@example.com", host, quota="1000000,1000", held=held)
    message = f"<{identity}@mail.remote.test>"
    source = f"mx{number}.remote.test [192.0.2.1]"
    sender = f"sender{number}@remote.test"
    envelope = Envelope(identity, sender, "tcp_local", source, int(START * 1000) + number, 4096, (person,), message_id=message)
    cargo = Cargo(envelope, 0, (person,), None, f"{C}/0{number % 20:02d}/{file_name(identity, 0, 1, held=held)}")
    cargo.status = Status(452, "4.2.2", f"<{user}> over quota")
    return cargo


@pytest.mark.parametrize("held", [False, True])
def test_a_waiting_copy_takes_less_than_a_kibibyte(world: World, held: bool) -> None:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(COPIES):
            assert world.stock.admit_file(cargo_of_file(number, held=held), 1, START, START)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(world.stock) == COPIES
    assert (after - before) / COPIES < 1000, "octets for each copy, in the schedule and everything else"


_text = st.text(st.characters(codec="utf-8"), max_size=40)
_status = st.builds(Status, st.integers(200, 599), _text, _text)


@given(
    addresses=st.lists(st.tuples(_text, _text), min_size=1, max_size=4),
    host=_text,
    status=st.none() | _status,
    reply=_status,
    held=st.booleans(),
)
def test_what_is_packed_comes_back(
    addresses: list[tuple[str, str]], host: str, status: Status | None, reply: Status, held: bool
) -> None:
    people = tuple(
        Recipient(at, 3, C, f"@{host}:{address}", original, host, sender=original, held=held)
        for at, (address, original) in enumerate(addresses)
    )
    envelope = Envelope("0T8K00A01BCDEF0001", "a@x", "", "", 1_795_428_000_123, 77, ())
    cargo = Cargo(envelope, 3, people, None, f"{C}/ZY0T8K00A01BCDEF00010003.00")
    cargo.status, cargo.replies, cargo.reason = status, {0: reply}, "why"
    cargo.pack()
    assert cargo.is_packed
    assert cargo.path == f"{C}/ZY0T8K00A01BCDEF00010003.00"
    assert cargo.is_packed, "asking for the path leaves it small"
    assert (cargo.recipients, cargo.envelope, cargo.file) == (people, envelope, f"{C}/ZY0T8K00A01BCDEF00010003.00")
    assert (cargo.status, cargo.replies, cargo.reason) == (status, {0: reply}, "why")
    assert not cargo.is_packed


def test_what_a_copy_does_not_have_is_an_error() -> None:
    cargo = cargo_of_file(1)
    cargo.pack()
    with pytest.raises(AttributeError):
        _ = cargo.colour
    assert sys.getsizeof(cargo) < 200


def waiting(world: World, number: int, attempts: int, mtime: float) -> Waiting:
    name = file_name(f"0T8K00A01BCDEF{number:06d}", 0, attempts)
    parsed = parse(name)
    assert parsed is not None
    return world.stock.guess(QueueEntry(FileCopy(C, "", name), parsed, mtime, 4096)), C, "", name


def test_files_are_read_in_the_order_they_fall_due(world: World) -> None:
    shelf = Shelf()
    shelf.put([waiting(world, 1, 1, START), waiting(world, 2, 0, START), waiting(world, 3, 1, START - 1000.0)], 10)
    assert [name[-8] for *_, name in shelf.take()] == ["2", "3", "1"]
    assert not len(shelf)


def test_what_there_is_no_room_for_stays_on_disk(world: World) -> None:
    shelf = Shelf()
    shelf.put([waiting(world, number, 1, START - number) for number in range(3 * BATCH)], BATCH + 1)
    assert (len(shelf), shelf.beyond) == (BATCH + 1, 2 * BATCH - 1)
    assert shelf.take()[0][-1].endswith(f"{3 * BATCH - 1:06d}0000.00"), "the first due are read"
    shelf.put([], 10)
    assert (len(shelf), shelf.beyond) == (0, 0)


def test_beyond_max_messages_a_filed_copy_is_known_by_the_disk_only(tmp_path: Path) -> None:
    jobs = tmp_path / "config" / "job_controller.cnf"
    world = World(tmp_path)
    jobs.write_text("MAX_MESSAGES=10\n" + jobs.read_text())
    world.reload(tmp_path)
    for _ in range(12):
        world.put("a")
    leases = list(world.stock.due_jobs(START + 100, 100))
    for lease in leases:
        assert lease.job is Job.MOVE
        world.stock.book(Result(lease.key, Verdict.AGAIN, file=f"{C}/000/{lease.key}.00"), START + 100)
    assert (len(world.stock), world.stock.dropped) == (10, 2)
    assert world.open_slots() == 0
    world.enqueuer.stop()


def test_numbers_fall_due_not_early_and_hardly_late() -> None:
    agenda = Agenda(10.0)
    for when, key in ((100.0, 1), (95.0, 2), (101.0, 3), (300.0, 4)):
        agenda.add(when, key)
    assert list(agenda.due(99.9)) == []
    assert sorted(agenda.due(100.0)) == [1, 2]
    assert list(agenda.due(109.0)) == []
    assert list(agenda.due(1000.0)) == [3, 4]
    assert list(agenda.due(2000.0)) == []
