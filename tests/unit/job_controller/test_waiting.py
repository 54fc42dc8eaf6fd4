"""What `posthouse metrics` asks of the job controller: counted without unpacking a copy."""

from pathlib import Path

import msgspec

from posthouse.cli.metrics.facts import Group, Waiting
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import cargo_of
from posthouse.relay.job_controller.desk import Desk
from posthouse.relay.job_controller.protocol import Job, Result
from posthouse.relay.job_controller.selection import Selection
from support.stock_world import START, C, World


def test_copies_by_channel_and_state(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        number = world.put("a")
        ((job, key),) = world.jobs(START + 100)
        assert job is Job.MOVE
        world.stock.book(Result(key, Verdict.AGAIN, file=f"{C}/000/ZY{number}0000.00"), START + 100)
        world.put("a", "b")
        world.put("hold", channel="hold")
        (held,) = (entry for entry in world.stock.schedule if entry.channel == "hold")
        world.stock.schedule.take(held.key)
        world.stock.book(Result(held.key, Verdict.HELD, file="hold/ZZ.HELD"), START)
        desk = Desk(world.stock, {}, "/queue")
        before = [cargo_of(entry).is_packed for entry in world.stock.schedule]
        found = msgspec.convert(desk.waiting(), Waiting)
        assert sorted(found.groups, key=str) == [Group("hold", "held", 1), Group(C, "file", 1), Group(C, "journal", 2)]
        assert found.oldest == {C: START}
        assert [cargo_of(entry).is_packed for entry in world.stock.schedule] == before
        summary = desk.summary(Selection(every=True))
        counted = {(group["channel"], group["state"]): 0 for group in summary["groups"]}
        for group in summary["groups"]:
            counted[group["channel"], group["state"]] += group["copies"]
        assert counted == {(group.channel, group.state): group.copies for group in found.groups}
    finally:
        world.enqueuer.stop()
