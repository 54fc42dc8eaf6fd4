"""Operators' orders over a real journal and queue tree: leases, results, what is told, what is never done twice."""

from typing import Any

import pytest

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import Cargo, cargo_of
from posthouse.relay.job_controller.control import Line
from posthouse.relay.job_controller.desk import Desk
from posthouse.relay.job_controller.entry import State
from posthouse.relay.job_controller.orders import MOST_FAULTS, PATIENCE, Order
from posthouse.relay.job_controller.protocol import Job, Lease, Result
from posthouse.relay.job_controller.selection import Selection
from posthouse.relay.routing.result import ON_HOLD
from support.stock_world import START, C, World


class Ordering:
    """Orders given to a world's stock, and their answers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.desk = Desk(world.stock, {}, "/queue")
        self.answers: list[dict[str, Any]] = []

    def give(self, op: str, selection: Selection, **more: Any) -> dict[str, Any] | None:
        return self.desk.order(Line(op, **more), selection, lambda order: self.answers.append(order.answer()))

    def leases(self) -> list[Lease]:
        orders = self.world.stock.orders
        ready, orders.ready = orders.ready, []
        return [lease for key in ready if (lease := orders.lease(key)) is not None]


@pytest.fixture
def ordering(world: World) -> Ordering:
    return Ordering(world)


ALL = Selection(every=True)
BOB = Selection(recipients=("u0@*",))


def filed(world: World, number: str) -> str:
    """The message's copy stands in a file; its path."""
    path = f"{C}/000/ZY{number}0000.00"
    ((job, key),) = world.jobs(START + 100)
    assert job is Job.MOVE
    world.stock.book(Result(key, Verdict.AGAIN, file=path), START + 100)
    return path


def test_a_copy_in_the_journal_is_held_by_a_move(world: World, ordering: Ordering) -> None:
    number = world.put("a")
    assert ordering.give("hold", ALL) is None
    (lease,) = ordering.leases()
    assert (lease.job, lease.notice, lease.record is not None) == (Job.HOLD, 1, True)
    assert world.lease(START) == [], "it is not delivered meanwhile"
    assert world.jobs(START + 100) == [], "nor moved by anybody else"
    path = f"{C}/000/ZZ{number}0000.HELD"
    world.stock.book(Result(lease.key, Verdict.HELD, text="held by an operator", file=path), START)
    assert world.open_slots() == 0, "the file has it"
    assert [(answer["done"], answer["failed"], answer["stayed"]) for answer in ordering.answers] == [(1, 0, [])]
    assert world.stock.held[number + "0000"][1].path == path
    assert ordering.give("hold", ALL) is None
    assert ordering.answers[-1]["unchanged"] == 1


@pytest.mark.parametrize(("reason", "given"), [(ON_HOLD, 1), ("held: it goes in circles", 0), ("held by an operator", 0)])
def test_what_waits_for_a_user_on_hold_is_held_by_the_operator_too(
    world: World, ordering: Ordering, reason: str, given: int
) -> None:
    number = world.put("a", held=True)
    ((job, key),) = world.jobs(START)
    path = f"{C}/000/ZZ{number}0000.HELD"
    world.stock.book(Result(key, Verdict.HELD, text=reason, file=path), START)
    ordering.give("hold", ALL)
    leases = ordering.leases()
    assert (job, [(lease.job, lease.file) for lease in leases]) == (Job.MOVE, [(Job.HOLD, path)] * given)
    for lease in leases:
        world.stock.book(Result(lease.key, Verdict.HELD, text="held by an operator", file=path), START)
        assert world.stock.held[number + "0000"][1].reason == "held by an operator"
    assert [(answer["done"], answer["unchanged"]) for answer in ordering.answers] == [(given, 1 - given)]


def test_a_released_copy_goes_first_and_is_tried_before_it_is_returned(world: World, ordering: Ordering) -> None:
    number = world.put("a")
    filed(world, number)
    ordering.give("hold", ALL)
    (lease,) = ordering.leases()
    world.stock.book(Result(lease.key, Verdict.HELD, file=f"{C}/000/ZY{number}0000.HELD"), START)
    late = START + 100 * 3600
    world.put("a")
    ordering.give("release", Selection(ids=(number,)))
    (lease,) = ordering.leases()
    assert (lease.job, lease.file) == (Job.RELEASE, f"{C}/000/ZY{number}0000.HELD")
    world.stock.book(Result(lease.key, Verdict.AGAIN, file=f"{C}/000/ZZ{number}0000.00"), late)
    assert ordering.answers[-1]["done"] == 1
    for job, key in world.jobs(late):
        assert (job, key) != (Job.RETURN, lease.key), "old as it is, it is tried first"
        world.stock.book(Result(key, Verdict.AGAIN), late)
    (first, *_) = world.lease(late)
    assert first.file == f"{C}/000/ZZ{number}0000.00"
    world.stock.book(Result(first.key, Verdict.DEFERRED, (), 452, "4.2.2", "full", first.file), late)
    assert (Job.RETURN, lease.key) in world.jobs(late + 4000)


def test_released_copies_do_not_wait_for_a_host_that_was_down(world: World, ordering: Ordering) -> None:
    numbers = [world.put("a"), world.put("a")]
    ordering.give("hold", ALL)
    leases = ordering.leases()
    for number, lease in zip(numbers, leases, strict=True):
        world.stock.book(Result(lease.key, Verdict.HELD, file=f"{C}/000/ZZ{number}0000.HELD"), START)
    world.put("a")
    (probe,) = world.lease(START)
    world.stock.host_down(C, "a", START, "refused")
    world.stock.book(Result(probe.key, Verdict.HOST_DOWN, (), 451, "4.4.1", "refused"), START)
    assert world.lease(START + 1) == [], "the host is waited for"
    ordering.give("release", Selection(ids=tuple(numbers)))
    first, second = ordering.leases()
    world.stock.book(Result(first.key, Verdict.AGAIN, file=first.file.replace(".HELD", ".00")), START + 2)
    assert world.lease(START + 2) == [], "a host is tried once for an order, not for each of its copies"
    world.stock.book(Result(second.key, Verdict.AGAIN, file=second.file.replace(".HELD", ".00")), START + 2)
    assert [lease.file for lease in world.lease(START + 2)] == [first.file.replace(".HELD", ".00")]


def test_an_order_waits_for_a_copy_that_is_being_delivered(world: World, ordering: Ordering) -> None:
    world.put("a")
    (out,) = world.lease(START)
    ordering.give("return", ALL)
    assert ordering.leases() == []
    world.stock.book(Result(out.key, Verdict.DEFERRED, (), 452, "4.2.2", "full"), START)
    (lease,) = ordering.leases()
    assert (lease.job, lease.code, lease.text) == (Job.BOUNCE, 452, "full")
    world.stock.book(Result(lease.key, Verdict.DONE, ((0, "F"),)), START)
    assert (ordering.answers[-1]["done"], len(world.stock.schedule), world.open_slots()) == (1, 0, 0)


def test_what_was_delivered_meanwhile_is_told_as_busy(world: World, ordering: Ordering) -> None:
    world.put("a")
    (out,) = world.lease(START)
    ordering.give("drop", ALL)
    world.stock.book(Result(out.key, Verdict.DONE, ((0, "D"),)), START)
    assert (ordering.answers[-1]["done"], ordering.answers[-1]["busy"]) == (0, 1)


def test_an_order_does_not_wait_for_ever(world: World, ordering: Ordering) -> None:
    world.put("a")
    world.put("a")
    world.lease(START)
    ordering.give("hold", ALL)
    world.stock.orders.give_up(10**12)
    assert ordering.answers[-1]["busy"] == 2
    assert not world.stock.orders
    assert world.stock.orders.ready == []
    assert {entry.state for entry in world.stock.schedule} == {State.LEASED, State.READY}
    assert PATIENCE > 1.0


def test_only_the_recipients_that_are_meant(world: World, ordering: Ordering) -> None:
    people = tuple(Recipient(at, 0, C, f"u{at}@x", f"u{at}@x", "a") for at in range(3))
    number = "0T8K00A01BCDEF7777"
    envelope = Envelope(number, "a@x", "tcp_local", "", int(START * 1000), 3, people)
    cargo = Cargo(envelope, 0, people, None, f"{C}/ZY{number}0000.00")
    cargo.status = Status(452, "4.2.2", "full")
    world.stock.admit_file(cargo, 1, START, START)
    dry = ordering.give("drop", BOB, dry_run=True)
    assert dry is not None
    assert (dry["recipients"], [row["selected"] for row in dry["would"]]) == (1, [[0]])
    ordering.give("drop", BOB)
    (lease,) = ordering.leases()
    assert (lease.job, lease.open, lease.some) == (Job.DROP, (0,), True)
    world.stock.book(Result(lease.key, Verdict.REST, ((0, "F"),), file=f"{C}/ZX{number}0000.00"), START)
    (entry,) = world.stock.schedule
    assert (cargo_of(entry).open, cargo_of(entry).file) == ((1, 2), f"{C}/ZX{number}0000.00")
    assert entry.next_try == START + 3600.0, "the others wait on"


def test_an_order_of_a_lost_worker_is_given_again(world: World, ordering: Ordering) -> None:
    number = world.put("a")
    path = filed(world, number)
    ordering.give("hold", ALL)
    (lease,) = ordering.leases()
    (entry,) = world.stock.schedule.worker_lost("SMTP_POOL")
    cargo = cargo_of(entry)
    assert cargo.path == path
    there = Cargo(cargo.envelope, 0, cargo.recipients, None, path.replace(".00", ".HELD"))
    world.stock.lost(entry, there, START)
    (again,) = ordering.leases()
    assert (again.key, again.job, again.file) == (lease.key, Job.HOLD, path.replace(".00", ".HELD"))
    world.stock.book(Result(again.key, Verdict.HELD, file=again.file), START)
    assert ordering.answers[-1]["done"] == 1


def test_a_fault_leaves_the_copy_and_is_told(world: World, ordering: Ordering) -> None:
    number = world.put("a")
    path = filed(world, number)
    ordering.give("hold", ALL)
    (lease,) = ordering.leases()
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 0, "", "File exists", path), START)
    assert ordering.answers[-1]["faults"] == [f"{number}: File exists"]
    assert len(world.stock.schedule) == 1
    assert [each.file for each in world.lease(START + 200)] == [path]


def test_nothing_meant_is_answered_at_once(ordering: Ordering) -> None:
    assert ordering.give("hold", ALL) is None
    nothing = {"copies": 0, "recipients": 0, "done": 0, "unchanged": 0, "in_place": 0, "failed": 0, "busy": 0}
    assert ordering.answers == [{**nothing, "faults": [], "stayed": [], "missing": []}]
    assert Order(Job.HOLD, 0.0, lambda _: None).left == 0


def test_what_is_rerouted_is_done_and_what_stays_says_why(world: World, ordering: Ordering) -> None:
    some, none, later = world.put("a"), world.put("a"), world.put("a")
    assert ordering.give("reroute", ALL) is None
    first, second, third = ordering.leases()
    assert {lease.job for lease in (first, second, third)} == {Job.REROUTE}
    book = world.stock.book
    book(Result(first.key, Verdict.REST, ((first.open[0], "D"),), text="u1: a program"), START)
    book(Result(second.key, Verdict.AGAIN), START)
    book(Result(third.key, Verdict.AGAIN, (), 450, "", "u0: 450 4.3.0 no answer"), START)
    (answer,) = ordering.answers
    assert (answer["done"], answer["unchanged"], answer["in_place"], answer["failed"]) == (1, 1, 1, 1)
    assert (answer["stayed"], answer["faults"]) == ([f"{some}: u1: a program"], [f"{later}: u0: 450 4.3.0 no answer"])
    assert {cargo_of(entry).identity for entry in world.stock.schedule} == {none, later}


def test_an_order_names_some_that_stay_a_dry_run_all(world: World, ordering: Ordering) -> None:
    copies = MOST_FAULTS + 5
    for _ in range(copies):
        world.put("a")
    for dry_run, named in ((False, MOST_FAULTS + 1), (True, copies)):
        ordering.give("reroute", ALL, dry_run=dry_run)
        for lease in ordering.leases():
            world.stock.book(Result(lease.key, Verdict.AGAIN, text="u0: a program"), START)
        answer = ordering.answers[-1]
        assert (answer["unchanged"], answer["in_place"], len(answer["stayed"])) == (copies, 0, named)
    assert ordering.answers[0]["stayed"][-1] == "others stay, too: `--dry-run` names them all"
