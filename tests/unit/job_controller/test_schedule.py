"""The schedule by table: order, limits, hosts that are slow, down or new."""

from collections.abc import Iterable

from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.places import ChannelLimits
from posthouse.relay.job_controller.schedule import Schedule
from posthouse.relay.job_controller.sharing import WINDOW

C = "tcp_lmtpcs"
BACKOFF = (3600.0, 7200.0)


def make(job_limit: int = 10, maxjobs: int = 100, client_threads: int = 10, threaddepth: int = 10) -> Schedule:
    schedule = Schedule(lambda: 0.0)
    schedule.set_pool("SMTP_POOL", job_limit)
    schedule.set_channel(C, ChannelLimits("SMTP_POOL", maxjobs, client_threads, threaddepth))
    return schedule


def add(schedule: Schedule, count: int, host: str = "a", *, first: int = 0, channel: str = C, rank: int = 1) -> list[int]:
    keys = list(range(first, first + count))
    for key in keys:
        schedule.add(Entry(key, channel, host, rank, float(key), BACKOFF))
    return keys


def keys(entries: Iterable[Entry]) -> list[int]:
    return [entry.key for entry in entries]


def sessions(schedule: Schedule) -> dict[str, int]:
    return {host.name: host.sessions for channel in schedule._channels.values() for host in channel.hosts.values()}


def test_a_host_not_heard_of_gets_one_copy_then_a_window_for_each_session() -> None:
    schedule = make()
    add(schedule, 200)
    assert keys(schedule.lease(1.0)) == [0]
    assert schedule.grants() == [(C, "a", 1)]
    assert schedule.lease(2.0) == []
    schedule.host_up(C, "a", 2.0)
    out = schedule.lease(2.0)
    assert schedule.grants() == [(C, "a", 20)], "200 / threaddepth 10"
    assert keys(out) == list(range(1, 200))


def test_window_bounds_what_is_out() -> None:
    schedule = make(threaddepth=1000)
    add(schedule, 200)
    schedule.lease(1.0)
    schedule.host_up(C, "a", 1.0)
    schedule.lease(1.0)
    assert sum(entry.state is State.LEASED for entry in schedule) == WINDOW


def test_released_then_priority_then_age() -> None:
    schedule = make()
    add(schedule, 1, rank=2)
    add(schedule, 2, rank=1, first=1)
    add(schedule, 1, rank=0, first=3)
    add(schedule, 1, rank=-1, first=4)
    order = []
    while out := schedule.lease(1.0):
        order += keys(out)
        for entry in out:
            schedule.finish(entry.key, Verdict.DONE, 1.0)
    assert order == [4, 3, 1, 2, 0]


def test_maxjobs_times_client_threads_is_the_most() -> None:
    schedule = make(maxjobs=2, client_threads=3, threaddepth=1)
    for number in range(9):
        add(schedule, 1, f"h{number}", first=number)
    assert len(schedule.lease(1.0)) == 6


def test_job_limit_is_shared_by_the_channels_of_a_pool() -> None:
    schedule = make(job_limit=3, client_threads=1)
    schedule.set_channel("tcp_other", ChannelLimits("SMTP_POOL", client_threads=1))
    for number in range(5):
        add(schedule, 1, f"a{number}", first=number)
        add(schedule, 1, f"b{number}", first=10 + number, channel="tcp_other")
    channels = [entry.channel for entry in schedule.lease(1.0)]
    assert sorted(channels) == [C, C, "tcp_other"], "in turn, never more than three"


def test_a_slow_host_leaves_room_for_others() -> None:
    schedule = make(job_limit=2, client_threads=4, threaddepth=1)
    add(schedule, 500, "slow")
    schedule.lease(1.0)
    schedule.host_up(C, "slow", 1.0)
    schedule.lease(1.0)
    assert sessions(schedule)["slow"] == 6
    add(schedule, 1, "quick", first=1000)
    assert keys(schedule.lease(2.0)) == [1000]


def test_a_big_host_yields_when_the_pool_is_full() -> None:
    schedule = make(job_limit=1, client_threads=4, threaddepth=1)
    add(schedule, 500, "big")
    schedule.lease(1.0)
    schedule.host_up(C, "big", 1.0)
    schedule.lease(1.0)
    for number in range(3):
        add(schedule, 1, f"h{number}", first=1000 + number)
    out = keys(schedule.lease(2.0))
    assert out == [1000]
    done = [entry for entry in schedule if entry.state is State.LEASED and entry.host_name == "big"]
    for entry in done:
        schedule.finish(entry.key, Verdict.DONE, 2.0)
    assert 1001 in keys(schedule.lease(2.0))


def test_one_locked_mailbox_gets_company_only_if_the_host_still_answers() -> None:
    schedule = make()
    add(schedule, 5)
    schedule.lease(1.0)
    schedule.host_up(C, "a", 1.0)
    schedule.lease(1.0)
    schedule.grants()
    schedule.lease(1.5)
    assert schedule.grants() == []
    schedule.relieve(2.1)
    assert schedule.grants() == [(C, "a", 2)]
    schedule.relieve(9.0)
    assert schedule.grants() == [], "the second session was never answered"


def test_a_host_that_is_down_holds_all_its_copies_and_is_probed_by_one() -> None:
    schedule = make()
    add(schedule, 30)
    (probe,) = schedule.lease(0.0)
    schedule.host_down(C, "a", 0.0)
    assert schedule.finish(probe.key, Verdict.HOST_DOWN, 0.0) == 0.0
    assert schedule.due(probe) == 60.0
    assert schedule.lease(59.0) == []
    assert schedule.wake() == 60.0
    (probe,) = schedule.lease(60.0)
    schedule.host_down(C, "a", 60.0)
    schedule.finish(probe.key, Verdict.HOST_DOWN, 60.0)
    assert schedule.due(probe) == 180.0
    (probe,) = schedule.lease(180.0)
    schedule.host_up(C, "a", 180.0)
    assert len(schedule.lease(180.0)) == 29
    assert sessions(schedule)["a"] == 2, "it is not knocked over at once"
    schedule.relieve(181.0)
    assert sessions(schedule)["a"] == 3


def test_several_failed_sessions_at_once_are_one_failure() -> None:
    schedule = make()
    (key,) = add(schedule, 1)
    schedule.lease(0.0)
    schedule.host_down(C, "a", 0.0)
    schedule.host_down(C, "a", 1.0)
    assert schedule.due(schedule._entries[key]) == 60.0


def test_retry_lifts_every_wait() -> None:
    schedule = make()
    add(schedule, 2)
    (entry,) = schedule.lease(0.0)
    schedule.host_up(C, "a", 0.0)
    (other,) = schedule.lease(0.0)
    assert schedule.finish(entry.key, Verdict.DEFERRED, 0.0) == 3600.0
    assert schedule.finish(other.key, Verdict.HOST_DOWN, 0.0) == 0.0
    schedule.host_down(C, "a", 0.0)
    assert schedule.lease(1.0) == []
    assert schedule.retry([0, 1, 99]) == 2
    assert keys(schedule.lease(1.0)) == [0]


def test_a_taken_copy_is_not_leased_and_keeps_its_time() -> None:
    schedule = make()
    add(schedule, 1)
    assert schedule.take(0) is not None
    assert schedule.take(0) is None
    assert schedule.lease(1.0) == []
    schedule.give_back(0)
    assert keys(schedule.lease(1.0)) == [0]
    assert schedule.take(0) is None, "never while it is being delivered"
    schedule.finish(0, Verdict.DEFERRED, 1.0)
    schedule.take(0)
    schedule.give_back(0)
    assert schedule.lease(3600.9) == []
    assert keys(schedule.lease(3601.0)) == [0]


def test_a_channel_without_a_program_only_waits() -> None:
    schedule = Schedule(lambda: 0.0)
    schedule.set_pool("DEFAULT", 10)
    schedule.set_channel("tcp_local", ChannelLimits("DEFAULT", program=False))
    add(schedule, 3, channel="tcp_local")
    assert schedule.lease(1.0) == []
    assert schedule.take(0) is not None


def test_a_lost_worker_returns_what_it_had() -> None:
    schedule = make()
    add(schedule, 3)
    schedule.lease(1.0)
    schedule.take(1)
    assert sorted(keys(schedule.worker_lost("SMTP_POOL"))) == [0, 1]


def test_a_worker_keeps_what_it_has_when_its_channel_gets_another_pool() -> None:
    schedule = make()
    add(schedule, 1, "a")
    add(schedule, 1, "b", first=1)
    assert keys(schedule.lease(1.0)) == [0, 1]
    schedule.set_pool("OTHER", 10)
    schedule.set_channel(C, ChannelLimits("OTHER"))
    add(schedule, 1, "c", first=5)
    assert keys(schedule.lease(1.0)) == [5]
    assert sorted(keys(schedule.worker_lost("OTHER"))) == [5]
    assert sorted(keys(schedule.worker_lost("SMTP_POOL"))) == [0, 1]


def test_a_pool_without_a_worker_is_told_later() -> None:
    schedule = make()
    add(schedule, 1)
    schedule.lease(1.0)
    assert schedule.grants(lambda pool: pool != "SMTP_POOL") == []
    assert schedule.grants() == [(C, "a", 1)]


def test_reload_changes_limits_and_pools() -> None:
    schedule = make(client_threads=1, threaddepth=1)
    for number in range(4):
        add(schedule, 1, f"h{number}", first=number)
    schedule.set_pool("SMALL", 2)
    schedule.set_channel(C, ChannelLimits("SMALL", client_threads=1))
    assert len(schedule.lease(1.0)) == 2
    assert schedule.pool_of(C) == "SMALL"


def test_a_channel_takes_its_jobs_along_into_another_pool() -> None:
    schedule = make(job_limit=1, client_threads=1, threaddepth=1)
    for number in range(4):
        add(schedule, 1, f"h{number}", first=number)
    assert len(schedule.lease(1.0)) == 1
    schedule.set_pool("SMALL", 2)
    schedule.set_channel(C, ChannelLimits("SMALL", client_threads=1))
    for first, (channel, pool) in ((10, ("tcp_left", "SMTP_POOL")), (20, ("tcp_there", "SMALL"))):
        schedule.set_channel(channel, ChannelLimits(pool, client_threads=1))
        add(schedule, 2, channel, first=first, channel=channel)
    leased = [schedule.pool_of(entry.channel) for entry in schedule.lease(1.0)]
    assert sorted(leased) == ["SMALL", "SMTP_POOL"], "there is one job left in each"
