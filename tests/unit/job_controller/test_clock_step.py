"""A clock that is set under a relay: no wait lasts longer by the difference, nothing is returned that was not tried."""

from pathlib import Path

import pytest

from posthouse.relay.job_controller.ages import SPARED
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import Cargo, cargo_of
from posthouse.relay.job_controller.clock_step import LEAST, ClockStep, set_back, set_forward
from posthouse.relay.job_controller.orders import PATIENCE, Asked, Order
from posthouse.relay.job_controller.protocol import Job, Result
from support.stock_world import START, C, World

DAY = 86_400.0


def in_a_file(world: World) -> Cargo:
    """What the tree is found to hold at a start: a copy that is no more in the journal."""
    number = world.put("a")
    (entry,) = world.stock.schedule
    known = cargo_of(entry)
    world.stock.forget(entry, known, Result(entry.key, Verdict.DONE))
    return Cargo(known.envelope, 0, known.recipients, None, f"{C}/000/ZY{number}0000.00")


def test_a_step_counts_once_and_what_is_slewed_is_none() -> None:
    wall, steady = [1000.0], [5.0]
    clock = ClockStep(lambda: wall[0], lambda: steady[0])
    for by in (1.0, 0.5, -LEAST + 0.1, LEAST - 0.1, 0.0):
        steady[0] += 1.0
        wall[0] += 1.0 + by
        assert clock.step() == 0.0
    for by in (DAY, -DAY):
        steady[0] += 1.0
        wall[0] += 1.0 + by
        assert clock.step() == pytest.approx(by)
        assert clock.step() == 0.0


def test_a_host_that_was_down_is_tried_when_it_would_have_been(world: World) -> None:
    world.put("a")
    world.put("a")
    (probe,) = world.lease(START + DAY)
    world.stock.host_down(C, "a", START + DAY, "refused")
    world.stock.book(Result(probe.key, Verdict.HOST_DOWN, (), 451, "4.4.1", "refused"), START + DAY)
    set_back(world.stock, DAY)
    assert {world.stock.schedule.due(entry) for entry in world.stock.schedule} == {START + 60.0}
    (host,) = world.stock.schedule.hosts_down()
    assert host.down_since == START
    assert world.lease(START + 59.0) == []
    assert len(world.lease(START + 60.0)) == 1, "mail that came with the right time, too, would have waited a day"


def test_copies_go_and_are_filed_when_they_would_have_been(world: World) -> None:
    world.put("a")
    (lease,) = world.lease(START + DAY)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START + DAY)
    set_back(world.stock, DAY)
    assert world.jobs(START) == [(Job.MOVE, lease.key)]
    world.stock.book(Result(lease.key, Verdict.AGAIN, file=f"{C}/000/ZY.00"), START)
    (entry,) = world.stock.schedule
    due = world.stock.schedule.due(entry)
    assert START < due < START + DAY
    assert [again.key for again in world.lease(due)] == [lease.key]


def test_an_operator_s_order_is_given_up_when_it_would_have_been(world: World) -> None:
    world.put("a")
    (lease,) = world.lease(START + DAY)
    order = Order(Job.HOLD, START + DAY + PATIENCE, lambda _: None, left=1)
    world.stock.orders.ask(next(iter(world.stock.schedule)), Asked(order, ()))
    set_back(world.stock, DAY)
    world.stock.orders.give_up(START + PATIENCE - 1.0)
    assert order.left == 1
    world.stock.orders.give_up(START + PATIENCE)
    assert (order.left, order.busy) == (0, 1), "it would have held the copy a day after the operator was told that it did not"
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START + PATIENCE)


def test_warnings_come_by_the_age_of_the_copy(world: World) -> None:
    world.put("a")
    (lease,) = world.lease(START)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START)
    set_back(world.stock, DAY)
    assert world.notices(START + 3 * 3600.0 - 1) == []
    assert [job for job, _ in world.notices(START + 3 * 3600.0 + 40)] == [Job.WARN]


def test_what_a_step_forward_makes_too_old_is_tried_before_it_is_returned(world: World) -> None:
    world.put("a")
    (lease,) = world.lease(START)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START)
    world.notices(START)
    now = START + 30 * DAY
    set_forward(world.stock, now)
    assert [job for job, _ in world.notices(now)] == [Job.WARN]
    world.stock.book(Result(lease.key, Verdict.AGAIN, file=f"{C}/000/ZY.00"), now)
    assert world.notices(now + SPARED - 1) == []
    assert [again.key for again in world.lease(now)] == [lease.key]
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), now)
    assert [job for job, _ in world.notices(now + SPARED + 60)] == [Job.RETURN]


def test_of_the_warnings_a_step_forward_passes_the_sender_gets_the_newest(tmp_path: Path) -> None:
    world = World(tmp_path, "1 2 4 7", 0)
    world.put("a")
    (lease,) = world.lease(START)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START)
    world.notices(START)
    now = START + 4 * DAY + 60
    set_forward(world.stock, now)
    assert [job for job, _ in world.notices(now)] == [Job.WARN]
    world.stock.book(Result(lease.key, Verdict.AGAIN, file=f"{C}/000/ZY.00"), now)
    assert world.notices(now + 3 * DAY - 120) == [], "it was told three times in a moment"
    assert [job for job, _ in world.notices(now + 3 * DAY)] == [Job.RETURN]


def test_what_has_grown_too_old_while_the_relay_was_off_is_tried_before_it_is_returned(world: World) -> None:
    cargo = in_a_file(world)
    now = START + 30 * DAY
    assert world.stock.admit_file(cargo, 1, START, now)
    assert world.jobs(now + 60) == []
    (lease,) = world.lease(now + 60)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded", file=cargo.file), now + 60)
    assert [job for job, _ in world.jobs(now + SPARED + 60)] == [Job.RETURN]


def test_a_queue_file_from_the_future_waits_its_backoff_at_most(world: World) -> None:
    cargo = in_a_file(world)
    assert world.stock.admit_file(cargo, 1, START + DAY, START)
    (entry,) = world.stock.schedule
    assert START < world.stock.schedule.due(entry) <= START + entry.intervals[0]
