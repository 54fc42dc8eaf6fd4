"""Copies from their discovery to their end, over a real journal, with time passed in."""

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import Cargo, cargo_of
from posthouse.relay.job_controller.places import ChannelLimits
from posthouse.relay.job_controller.protocol import Job, Result
from posthouse.relay.job_controller.stock import FAR, OLD
from support.stock_world import START, C, World


def test_each_copy_of_a_message_goes_its_own_way(world: World) -> None:
    world.put("a", "b")
    first, second = world.lease(START)
    assert {(first.host, first.open), (second.host, second.open)} == {("a", (0,)), ("b", (1,))}
    world.stock.book(Result(first.key, Verdict.DONE, ((first.open[0], "D"),)), START)
    assert len(world.stock.schedule) == 1
    assert world.open_slots() == 1


def test_far_next_tries_are_filed_near_ones_are_not(world: World) -> None:
    world.put("a")
    (lease,) = world.lease(START)
    world.stock.book(Result(lease.key, Verdict.BUSY, (), 420, "4.2.0", "Mailbox Locked"), START)
    assert world.jobs(START + 1) == [], "fast retry: it is tried again from the journal"
    (lease,) = world.lease(START + 2)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START + 2)
    assert world.jobs(START + 2) == [(Job.MOVE, lease.key)]
    assert world.lease(START + 4000) == [], "it is out with the mover"
    world.stock.book(Result(lease.key, Verdict.AGAIN, file=f"{C}/000/ZX.00"), START + 3)
    assert world.open_slots() == 0, "the file has it"
    (lease,) = world.lease(START + 4000)
    assert (lease.record, lease.file, lease.attempts) == (None, f"{C}/000/ZX.00", 2)


def test_old_copies_are_filed(world: World) -> None:
    world.put("a")
    assert world.jobs(START + OLD - 1) == []
    assert [job for job, _ in world.jobs(START + OLD)] == [Job.MOVE]


def test_a_move_that_fails_is_tried_again_and_the_copy_stays_deliverable(world: World) -> None:
    world.put("a")
    ((_, key),) = world.jobs(START + OLD)
    world.stock.book(Result(key, Verdict.DEFERRED, (), 451, "4.3.1", "disk full"), START + OLD)
    assert [lease.key for lease in world.lease(START + OLD + 1)] == [key]
    world.stock.book(Result(key, Verdict.AGAIN), START + OLD + 2)
    assert world.jobs(START + OLD + 3) == []
    assert [job for job, _ in world.jobs(START + OLD + 31)] == [Job.MOVE]


def test_a_move_that_fails_leaves_the_last_reply_as_it_was(world: World) -> None:
    world.put("a")
    (lease,) = world.lease(START)
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 422, "4.2.2", "Quota Exceeded"), START)
    assert world.jobs(START) == [(Job.MOVE, lease.key)]
    world.stock.book(Result(lease.key, Verdict.DEFERRED, (), 451, "4.3.1", "disk full"), START + 1)
    (entry,) = world.stock.schedule
    assert str(cargo_of(entry).reply(0)) == "422 4.2.2 Quota Exceeded"


def test_copies_of_a_host_that_is_down_are_filed_when_its_wait_is_long(world: World) -> None:
    world.put("a")
    world.put("a")
    (probe,) = world.lease(START)
    world.stock.host_down(C, "a", START, "refused")
    world.stock.book(Result(probe.key, Verdict.HOST_DOWN, (), 451, "4.4.1", "refused"), START)
    due = {world.stock.schedule.due(entry) for entry in world.stock.schedule}
    assert due == {START + 60.0}
    assert FAR < 60.0
    assert len(world.jobs(START)) == 2
    world.put("a")
    assert len(world.jobs(START)) == 1, "what comes later for a host that is down too"


def test_held_copies_are_filed_at_once_and_never_leased(world: World) -> None:
    number = world.put("a", held=True)
    assert world.lease(START) == []
    ((job, key),) = world.jobs(START)
    assert job is Job.MOVE
    world.stock.book(Result(key, Verdict.DEFERRED, (), 451, "4.3.1", "disk full"), START)
    assert world.lease(START + 1) == [], "not even when the move failed"
    ((_, key),) = world.jobs(START + 31)
    path = f"{C}/ZZ{number}0000.HELD"
    world.stock.book(Result(key, Verdict.HELD, file=path), START + 31)
    assert world.open_slots() == 0
    assert world.stock.held[number + "0000"][1].file == path
    assert world.stock.knows_file(number, 0, path)
    assert not world.stock.knows_file(number, 0, path.replace(".HELD", ".00")), "somebody has released it"


def test_what_was_taken_before_its_channel_moved_is_missed_with_the_worker_that_got_it(world: World) -> None:
    world.put("a", held=True)
    world.stock.schedule.set_pool("OTHER", 1)
    world.stock.schedule.set_channel(C, ChannelLimits("OTHER"))
    ((_, key),) = world.jobs(START)
    assert [entry.key for entry in world.stock.schedule.worker_lost("OTHER")] == [key]


def test_warning_then_return_never_while_it_is_out(world: World) -> None:
    world.put("a")
    hour = 3600.0
    (lease,) = world.lease(START)
    assert world.jobs(START + 3 * hour) == []
    world.stock.book(Result(lease.key, Verdict.BUSY, (), 420, "4.2.0", "Mailbox Locked"), START + 3 * hour)
    ((job, key),) = world.notices(START + 3 * hour + 40)
    assert job is Job.WARN
    world.stock.book(Result(key, Verdict.AGAIN), START + 3 * hour + 41)
    assert world.notices(START + 6 * hour - 1) == []
    assert world.notices(START + 6 * hour) == [(Job.RETURN, key)]
    world.stock.book(Result(key, Verdict.DONE, ((0, "F"),)), START + 6 * hour)
    assert len(world.stock.schedule) == 0
    assert world.open_slots() == 0


def test_a_file_keeps_its_attempts_and_its_time(world: World) -> None:
    people = (Recipient(0, 0, C, "u@x", "u@x", "a"),)
    envelope = Envelope("0T8K00A01BCDEF9999", "a@x", "tcp_local", "", int(START * 1000), 3, people)
    cargo = Cargo(envelope, 0, people, None, f"{C}/ZY.00")
    assert world.stock.admit_file(cargo, 1, START, START + 10)
    assert not world.stock.admit_file(cargo, 1, START, START + 10), "once is enough"
    assert world.lease(START + 3599) == []
    (lease,) = world.lease(START + 3600)
    assert lease.attempts == 1


def test_mail_of_an_unknown_channel_only_waits(world: World) -> None:
    world.put("a", channel="tcp_gone")
    assert world.lease(START + 1e7) == []
    assert world.jobs(START + 1e9) == [(Job.MOVE, 1)], "no notice: nobody may judge it"


def test_a_copy_that_ends_its_workers_waits_in_the_end(world: World) -> None:
    world.put("a")
    schedule = world.stock.schedule
    for _ in range(3):
        world.lease(START)
        (entry,) = schedule.worker_lost("SMTP_POOL")
        world.stock.lost(entry, None, START)
    (lease,) = world.lease(START)
    (entry,) = schedule.worker_lost("SMTP_POOL")
    world.stock.lost(entry, None, START)
    assert lease.key == entry.key
    assert schedule.due(entry) == START + 3600.0


BUSY = Status(420, "4.2.0", "Mailbox Locked")
FULL = Status(422, "4.2.2", "Quota Exceeded")


def two_of_a_copy(world: World) -> None:
    """One copy with recipients 0 and 1; the first is over quota, the second one's mailbox is locked."""
    people = tuple(Recipient(at, 0, C, f"u{at}@x", f"u{at}@x", "a") for at in (0, 1))
    envelope = Envelope("0T8K00A01BCDEF7777", "a@x", "tcp_local", "", int(START * 1000), 3, people)
    world.stock.admit_file(Cargo(envelope, 0, people, None, f"{C}/ZZ.00"), 0, START, START)


def busy(key: int) -> Result:
    own = tuple((at, each.code, each.enhanced, each.text) for at, each in enumerate((FULL, BUSY)))
    return Result(key, Verdict.BUSY, (), FULL.code, FULL.enhanced, FULL.text, f"{C}/ZY.00", own, (0,))


def test_a_busy_neighbour_s_fast_retries_leave_the_others_alone(world: World) -> None:
    two_of_a_copy(world)
    (lease,) = world.lease(START)
    assert (lease.open, lease.some) == ((0, 1), False)
    world.stock.book(busy(lease.key), START)
    assert world.lease(START + 0.5) == []
    for second in (1, 2, 3):
        (lease,) = world.lease(START + second)
        assert (lease.open, lease.some) == ((1,), True)
        again = Result(lease.key, Verdict.BUSY, (), BUSY.code, BUSY.enhanced, BUSY.text, f"{C}/ZX.00")
        world.stock.book(again, START + second)
    (entry,) = world.stock.schedule
    assert [cargo_of(entry).reply(at) for at in (0, 1)] == [FULL, BUSY]
    (lease,) = world.lease(START + 4)
    world.stock.book(Result(lease.key, Verdict.REST, ((1, "D"),), file=f"{C}/ZW.00"), START + 4)
    assert world.stock.schedule.due(entry) == START + 3600.0, "its own backoff, from its own failure"
    assert cargo_of(entry).reply(0) == FULL
    assert world.lease(START + 3599) == []
    (lease,) = world.lease(START + 3600)
    assert (lease.open, lease.some, lease.attempts) == ((0,), False, 5)


def test_a_patient_neighbour_joins_when_its_time_has_come_and_at_a_retry(world: World) -> None:
    two_of_a_copy(world)
    (lease,) = world.lease(START)
    world.stock.book(busy(lease.key), START)
    (lease,) = world.lease(START + 3700)
    world.stock.book(Result(lease.key, Verdict.BUSY, (), BUSY.code, BUSY.enhanced, BUSY.text), START + 3700)
    (lease,) = world.lease(START + 3702)
    assert (lease.open, lease.some) == ((0, 1), False)
    world.stock.book(busy(lease.key), START + 3702)
    assert world.stock.retry([lease.key]) == 1
    (lease,) = world.lease(START + 3702)
    assert (lease.open, lease.some) == ((0, 1), False)


def test_a_worker_lost_while_only_some_were_tried_loses_nobody(world: World) -> None:
    two_of_a_copy(world)
    (lease,) = world.lease(START)
    world.stock.book(busy(lease.key), START)
    world.lease(START + 1)
    (entry,) = world.stock.schedule.worker_lost("SMTP_POOL")
    people = cargo_of(entry).recipients
    filed = Cargo(cargo_of(entry).envelope, 0, people[:1], None, f"{C}/ZY.00")  # the mark D of the other one was set
    world.stock.lost(entry, filed, START + 2)
    (lease,) = world.lease(START + 2)
    world.stock.book(Result(lease.key, Verdict.REST, file=f"{C}/ZY.00"), START + 2)
    (lease,) = world.lease(START + 3600)
    assert lease.open == (0,)
