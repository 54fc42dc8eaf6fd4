"""What a configuration is in the words of the schedule."""

from pathlib import Path

from posthouse.relay.job_controller.entry import Entry
from posthouse.relay.job_controller.plan import Plan
from posthouse.relay.job_controller.schedule import Schedule
from posthouse.relay.job_controller.troubles import channel_troubles
from support.relay_files import CHANNELS, relay_configuration
from support.stock_world import START, C, World


def test_without_job_controller_cnf_one_pool_has_ten_jobs(tmp_path: Path) -> None:
    schedule = Schedule(lambda: 0.0)
    Plan(relay_configuration(tmp_path, channels=CHANNELS.replace("maxjobs 7", "maxjobs 20"))).apply(schedule)
    for number in range(200):
        schedule.add(Entry(number, C, f"host{number}", 0, START, (60.0,), object()))
    assert schedule.pool_of(C) == "DEFAULT"
    assert len(schedule.lease(START)) == 10 * 10, "jobs of MAX_CLIENT_THREADS sessions"


def test_what_waits_on_a_channel_that_is_gone_is_told_until_it_is_back(world: World, tmp_path: Path) -> None:
    gone = relay_configuration(tmp_path / "other", channels=CHANNELS.replace("tcp_lmtpcs ", "tcp_other "))
    schedule = world.stock.schedule
    world.put("a", "b")
    assert channel_troubles(schedule, world.stock.plan.configuration) == []
    (trouble,) = channel_troubles(schedule, gone)
    assert (trouble.what, trouble.since) == ("channel", START)
    assert trouble.text == f"imta.cnf has no channel {C}: 2 copies wait until it has"
    world.stock.reload(Plan(gone))
    assert world.lease(START) == [], "there is no program for it"
    for entry in tuple(schedule):
        assert len(channel_troubles(schedule, gone)) == 1
        schedule.remove(entry.key)
    assert channel_troubles(schedule, gone) == []
