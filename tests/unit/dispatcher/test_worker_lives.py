"""How a service's workers end: when they are due, how many at once, what follows a death (dispatcher-cnf.md 3)."""

from typing import Any

import pytest

from posthouse.dispatcher.lifetime import Due, Limits, Respawn, State, due, silent
from posthouse.dispatcher.pool_action import HandOff, Kill, Retire, Spawn
from support.pool_bench import QUIET, Bench


@pytest.mark.parametrize(
    ("limits", "facts", "expected"),
    [
        ({"max_life_conns": 100}, {"served": 99}, None),
        ({"max_life_conns": 100}, {"served": 100}, Due.CONNECTIONS),
        ({"max_life_conns": 0}, {"served": 10**6}, None),
        ({"max_life_time": 60}, {"age": 59.9}, None),
        ({"max_life_time": 60}, {"age": 60.0}, Due.AGE),
        ({"max_life_time": 0}, {"age": 1e9}, None),
        ({"max_idle_time": 600}, {"idle": 599.0}, None),
        ({"max_idle_time": 600}, {"idle": 600.0}, Due.IDLE),
        ({"max_idle_time": 600}, {"idle": None}, None),
        ({"max_idle_time": 600}, {"idle": 600.0, "live": 1}, None),
        ({"max_idle_time": 0}, {"idle": 1e9}, None),
    ],
)
def test_due(limits: dict[str, Any], facts: dict[str, Any], expected: Due | None) -> None:
    known: dict[str, Any] = {"served": 0, "age": 0.0, "idle": None, "live": 2, **facts}
    assert due(Limits(**{**QUIET, **limits}), **known) is expected


def test_max_life_conns_retires_and_replaces() -> None:
    bench = Bench(max_life_conns=2, max_conns=50, min_conns=50)
    held = [bench.connect(), bench.connect()]
    bench.tick()
    assert bench.of(Retire) == [Retire(1, Due.CONNECTIONS)]
    assert bench.states() == ["shutdown", "ready"]
    assert bench.at[bench.connect()] == 2
    for n in held:
        bench.close(n)
    bench.do(bench.pool.exited(1, bench.now))
    assert bench.pool.counters == {"started": 2, "handed_off": 3, "expired_conns": 1}


def test_max_life_time_starts_the_replacement_before_it_retires() -> None:
    bench = Bench(max_life_time=60)
    bench.log.clear()
    bench.tick(60)
    assert bench.log == [Spawn(2), Retire(1, Due.AGE)]


def test_max_shutdown_bounds_how_many_retire_at_once_and_the_others_serve_on() -> None:
    bench = Bench(min_procs=4, max_procs=8, max_life_time=60, max_shutdown=2)
    bench.tick(60)
    assert bench.states().count("shutdown") == 2
    bench.tick()
    assert bench.states().count("shutdown") == 2
    bench.do(bench.pool.exited(1, bench.now))
    bench.tick()
    assert len(bench.of(Retire)) == 3
    assert bench.pool.live == 4


def test_max_shutdown_zero_never_retires() -> None:
    bench = Bench(max_life_time=60, max_shutdown=0)
    bench.tick(1000)
    assert bench.of(Retire) == []


def test_max_idle_time_shrinks_to_min_procs() -> None:
    bench = Bench(min_procs=1, max_procs=5, min_conns=1, max_idle_time=600, max_shutdown=5)
    held = [bench.connect() for _ in range(3)]
    assert bench.pool.live == 4
    for n in held:
        bench.close(n)
    bench.tick(600)
    assert bench.pool.live == 1
    assert bench.pool.counters["expired_idle"] == 3


@pytest.mark.parametrize(("historical", "kept"), [(0, 0), (60, 1)])
def test_historical_time_keeps_ended_workers_in_the_statistics(historical: int, kept: int) -> None:
    bench = Bench(historical_time=historical)
    bench.do(bench.pool.exited(1, bench.now))
    assert len(bench.pool.history) == kept
    bench.tick(61)
    assert len(bench.pool.history) == 0


def test_a_worker_that_dies_is_replaced_and_its_connections_are_given_up() -> None:
    bench = Bench(max_conns=50, min_conns=50)
    bench.connect("192.0.2.1")
    bench.now += 10
    bench.do(bench.pool.exited(1, bench.now))
    assert bench.states() == ["ready"]
    assert bench.pool.counters["died"] == 1
    assert bench.pool.active == 0


def test_quick_deaths_are_answered_with_doubling_pauses_up_to_a_minute() -> None:
    bench = Bench()
    bench.instant = False
    pauses = []
    for _ in range(8):
        bench.do(bench.pool.exited(max(bench.pool.workers), bench.now))
        begin = bench.now
        while not bench.pool.workers:
            bench.tick(0.5)
        pauses.append(bench.now - begin)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_sigkill_never_makes_the_pause_longer() -> None:
    bench = Bench()
    bench.instant = False
    begin = bench.now
    for _ in range(20):
        bench.do(bench.pool.exited(max(bench.pool.workers), bench.now, killed=True))
        while not bench.pool.workers:
            bench.tick(0.25)
    assert 18 <= bench.now - begin <= 20  # one a second


def test_a_worker_whose_wire_is_closed_gets_nothing_and_is_replaced_when_it_has_ended() -> None:
    bench = Bench(max_procs=1, max_conns=50, min_conns=50)
    bench.do(bench.pool.gone(1, bench.now))
    waiting = bench.connect()
    assert not bench.of(HandOff)
    bench.now += 10
    bench.do(bench.pool.exited(1, bench.now))
    assert bench.at[waiting] == 2
    assert bench.pool.counters["died"] == 1


def test_deaths_after_a_good_life_are_replaced_at_once_but_not_twice_in_a_second() -> None:
    respawn = Respawn()
    respawn.died(100.0, lived=50.0)
    assert respawn.allows(100.0)
    respawn.died(100.5, lived=50.0)
    assert not respawn.allows(100.5)
    assert respawn.allows(101.0)


def test_a_due_worker_serves_on_while_nothing_can_replace_it() -> None:
    bench = Bench(min_procs=2, max_procs=2, max_life_time=2)
    bench.now += 1.5
    bench.do(bench.pool.exited(2, bench.now))  # died quickly: a pause of a second
    bench.tick(0.9)
    assert bench.states() == ["ready"]
    assert not bench.of(Retire)
    bench.tick(0.1)
    assert bench.of(Retire) == [Retire(1, Due.AGE)]
    assert bench.states() == ["shutdown", "ready", "ready"]


def test_a_due_worker_serves_on_while_its_replacements_cannot_start() -> None:
    bench = Bench(max_procs=1, max_life_time=60)
    bench.instant = False
    bench.do(bench.pool.ready(1, bench.now))
    for _ in range(300):
        bench.tick()
        for worker in [each for each in bench.pool.workers.values() if each.state is State.STARTING]:
            bench.do(bench.pool.exited(worker.number, bench.now))  # 78: what was edited since the last reload is bad
    assert not bench.of(Retire)
    assert bench.at[bench.connect()] == 1
    bench.tick(60)
    bench.do(bench.pool.ready(max(bench.pool.workers), bench.now))
    assert bench.of(Retire) == [Retire(1, Due.AGE)]


@pytest.mark.parametrize(
    ("state", "seconds", "expected"),
    [("ready", 60, False), ("ready", 61, True), ("starting", 600, False), ("starting", 601, True), ("shutdown", 61, True)],
)
def test_silent(state: str, seconds: float, expected: bool) -> None:
    assert silent(State(state), seconds) is expected


def test_a_silent_worker_is_killed_and_replaced_and_gets_nothing_more() -> None:
    bench = Bench()
    bench.now += 61
    bench.do(bench.pool.tick(bench.now))
    assert bench.of(Kill) == [Kill(1)]
    assert bench.states() == ["shutdown", "ready"]
    assert bench.at[bench.connect()] == 2


def test_somebody_elses_sigterm_is_a_retirement() -> None:
    bench = Bench()
    bench.do(bench.pool.leaving(1, bench.now))
    bench.do(bench.pool.exited(1, bench.now))
    assert bench.states() == ["ready"]
    assert bench.pool.counters["died"] == 0


def test_a_closing_service_starts_and_hands_over_nothing() -> None:
    bench = Bench(max_conns=1, max_procs=1, min_conns=1)
    bench.connect()
    bench.connect()
    bench.pool.close()
    bench.log.clear()
    assert bench.pool.forget_waiting() == [2]
    bench.do(bench.pool.exited(1, bench.now))
    bench.tick(100)
    assert not bench.of(Spawn)
    assert not bench.of(HandOff)
