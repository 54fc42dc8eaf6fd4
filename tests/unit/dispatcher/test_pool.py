"""The decisions over a service's workers, option by option, on a clock of our own (dispatcher-cnf.md 3 and 4)."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dispatcher.lifetime import Due, Limits, Respawn, State, due, silent
from posthouse.dispatcher.pool import Pool
from posthouse.dispatcher.pool_action import Action, Ask, Drop, HandOff, Kill, Listen, RefuseAddress, Retire, ShedSession, Spawn

QUIET: dict[str, Any] = {"max_life_time": 0, "max_life_conns": 0}


class Bench:
    """A pool whose workers do at once what they are told, unless the test holds them back."""

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**{**QUIET, "max_handoffs": 1000, **limits})
        self.pool = Pool(self.limits)
        self.now = 100.0
        self.n = 0
        self.log: list[Action] = []
        self.instant = True  # workers are ready, and connections taken over, at once
        self.at: dict[int, int] = {}  # connection -> worker
        self.do(self.pool.begin(self.now))

    def do(self, actions: list[Action]) -> list[Action]:
        self.log += actions
        for action in actions:
            if isinstance(action, HandOff):
                self.at[action.n] = action.worker
            if self.instant and isinstance(action, Spawn):
                self.do(self.pool.ready(action.worker, self.now))
            if self.instant and isinstance(action, HandOff):
                self.do(self.pool.taken(action.n, self.now))
        return actions

    def connect(self, address: str = "", port: int = 25) -> int:
        self.n += 1
        self.do(self.pool.arrived(self.n, port, address or f"10.0.{self.n // 250}.{self.n % 250}", self.now))
        return self.n

    def close(self, n: int) -> None:
        self.do(self.pool.closed(self.at[n], n, self.now))

    def tick(self, seconds: float = 1) -> list[Action]:
        self.now += seconds
        for number in self.pool.workers:
            self.pool.heard(number, self.now)
        return self.do(self.pool.tick(self.now))

    def of(self, kind: type) -> list[Any]:
        return [action for action in self.log if isinstance(action, kind)]

    def states(self) -> list[str]:
        return [worker.state.value for worker in self.pool.workers.values()]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_min_procs_workers_are_started_at_once(count: int) -> None:
    bench = Bench(min_procs=count)
    assert len(bench.of(Spawn)) == count
    assert bench.pool.has_started


def test_min_procs_zero_starts_one_for_the_first_connection_and_hands_it_over_when_ready() -> None:
    bench = Bench(min_procs=0)
    bench.instant = False
    n = bench.connect()
    assert bench.of(Spawn) == [Spawn(1)]
    assert bench.of(HandOff) == []
    bench.do(bench.pool.ready(1, bench.now))
    assert bench.of(HandOff) == [HandOff(1, n)]


def test_min_conns_reached_by_all_starts_another_worker() -> None:
    bench = Bench(min_conns=3, max_conns=10, max_procs=5)
    bench.connect()
    bench.connect()
    assert len(bench.pool.workers) == 1
    bench.connect()
    assert len(bench.pool.workers) == 2


def test_max_procs_is_never_exceeded_by_growth() -> None:
    bench = Bench(min_conns=1, max_conns=4, max_procs=3)
    for _ in range(12):
        bench.connect()
    assert len(bench.pool.workers) == 3
    assert [len(worker.active) for worker in bench.pool.workers.values()] == [4, 4, 4]


def test_max_conns_is_a_hard_cap_and_the_rest_waits_for_a_slot() -> None:
    bench = Bench(max_conns=2, max_procs=1, min_conns=2)
    first = bench.connect()
    bench.connect()
    third = bench.connect()
    assert bench.pool.waiting == 1
    bench.close(first)
    assert bench.of(HandOff)[-1] == HandOff(1, third)
    assert bench.pool.peak == 2


def test_choice_is_fewest_active_then_fewest_served_then_oldest() -> None:
    bench = Bench(min_procs=3, min_conns=50, max_conns=50)
    first, second, third = bench.connect(), bench.connect(), bench.connect()
    assert [bench.at[n] for n in (first, second, third)] == [1, 2, 3]  # oldest of the untouched
    bench.close(second)
    fourth = bench.connect()
    assert bench.at[fourth] == 2  # fewest active
    bench.close(fourth)
    bench.close(first)
    assert bench.at[bench.connect()] == 1  # both empty: 1 has served one, 2 two


def test_a_full_service_asks_all_and_sheds_the_idlest_session_only() -> None:
    bench = Bench(min_procs=2, max_procs=2, max_conns=1, min_conns=1)
    first, second = bench.connect(), bench.connect()
    third = bench.connect()
    assert bench.of(Ask) == [Ask(1), Ask(2)]
    bench.do(bench.pool.idlest(1, first, 4.0, bench.now))
    assert bench.of(ShedSession) == []
    bench.do(bench.pool.idlest(2, second, 9.0, bench.now))
    assert bench.of(ShedSession) == [ShedSession(2, second)]
    bench.close(second)
    assert bench.at[third] == 2
    assert bench.pool.counters["shed"] == 1


def test_nobody_inside_a_transaction_is_shed_and_the_question_comes_again_later() -> None:
    bench = Bench(min_procs=1, max_procs=1, max_conns=1, min_conns=1)
    first = bench.connect()
    bench.connect()
    bench.do(bench.pool.idlest(1, None, 0.0, bench.now))
    assert bench.of(ShedSession) == []
    assert len(bench.of(Ask)) == 1
    bench.tick()
    assert len(bench.of(Ask)) == 2
    bench.do(bench.pool.idlest(1, first, 1.0, bench.now))
    assert bench.of(ShedSession) == [ShedSession(1, first)]


def test_a_worker_that_does_not_answer_is_left_out_after_a_second() -> None:
    bench = Bench(min_procs=2, max_procs=2, max_conns=1, min_conns=1)
    first, _ = bench.connect(), bench.connect()
    bench.connect()
    bench.do(bench.pool.idlest(1, first, 4.0, bench.now))
    bench.tick()
    assert bench.of(ShedSession) == [ShedSession(1, first)]


def test_one_address_holds_at_most_half_of_the_service() -> None:
    bench = Bench(max_procs=2, max_conns=4, min_conns=4)
    held = [bench.connect("192.0.2.1") for _ in range(4)]
    refused = bench.connect("192.0.2.1")
    assert bench.of(RefuseAddress) == [RefuseAddress(refused)]
    assert bench.pool.counters["refused_address"] == 1
    bench.connect("192.0.2.2")
    bench.close(held[0])
    bench.connect("192.0.2.1")
    assert len(bench.of(RefuseAddress)) == 1


def test_max_handoffs_under_way_stop_accepting_on_that_port_only() -> None:
    bench = Bench(max_handoffs=2, max_conns=50, min_conns=50)
    bench.instant = False
    first = bench.connect(port=225)
    bench.connect(port=226)
    assert bench.of(Listen) == []
    bench.connect(port=225)
    assert bench.of(Listen) == [Listen(225, on=False)]
    bench.do(bench.pool.taken(first, bench.now))
    assert bench.of(Listen) == [Listen(225, on=False), Listen(225, on=True)]


def test_what_a_dead_worker_has_not_taken_over_goes_to_another_in_order_and_only_once() -> None:
    bench = Bench(max_handoffs=3, max_conns=50, min_conns=50)
    bench.instant = False
    bench.do(bench.pool.ready(1, bench.now))
    first, second, third = (bench.connect(port=225) for _ in range(3))
    bench.do(bench.pool.taken(second, bench.now))
    bench.now += 10
    bench.do(bench.pool.exited(1, bench.now))
    assert bench.pool.waiting == 2
    assert bench.of(Drop) == []
    bench.log.clear()
    bench.do(bench.pool.ready(2, bench.now))
    assert bench.of(HandOff) == [HandOff(2, first), HandOff(2, third)]
    bench.do(bench.pool.taken(first, bench.now))
    bench.now += 10
    bench.do(bench.pool.exited(2, bench.now))
    assert bench.of(Drop) == [Drop(third)]
    assert (bench.pool.waiting, bench.pool.active) == (0, 0)


def test_a_closing_service_drops_what_was_not_taken_over() -> None:
    bench = Bench(max_conns=50, min_conns=50)
    bench.instant = False
    bench.do(bench.pool.ready(1, bench.now))
    n = bench.connect()
    bench.pool.close()
    bench.do(bench.pool.exited(1, bench.now))
    assert bench.of(Drop) == [Drop(n)]


def test_what_dead_workers_drop_is_no_longer_under_way() -> None:
    bench = Bench(max_handoffs=1, max_conns=50, min_conns=50)
    bench.instant = False
    bench.do(bench.pool.ready(1, bench.now))
    bench.connect(port=225)
    for number in (1, 2):
        bench.now += 10
        bench.do(bench.pool.exited(number, bench.now))
        bench.tick()
        bench.do(bench.pool.ready(max(bench.pool.workers), bench.now))
    assert bench.of(Listen)[-1] == Listen(225, on=True)
    assert bench.pool.active == 0


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


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Limits,
        min_procs=st.integers(0, 3),
        max_procs=st.integers(3, 5),
        min_conns=st.integers(0, 4),
        max_conns=st.integers(1, 5),
        max_shutdown=st.integers(0, 2),
        max_life_conns=st.integers(0, 6),
        max_life_time=st.integers(0, 20),
        max_idle_time=st.integers(0, 10),
        max_handoffs=st.integers(1, 4),
    ),
    st.lists(st.tuples(st.sampled_from(["connect", "close", "tick", "die", "idle", "exit"]), st.integers(0, 99)), max_size=80),
)
def test_any_history_keeps_the_promises(limits: Limits, story: list[tuple[str, int]]) -> None:
    bench = Bench(**{name: getattr(limits, name) for name in Limits.__slots__})
    pool = bench.pool
    for event, pick in story:
        workers = list(pool.workers.values())
        open_ones = [(w.number, n) for w in workers for n in w.active]
        if event == "connect":
            bench.connect(f"10.9.9.{pick % 4}")
        elif event == "close" and open_ones:
            number, n = open_ones[pick % len(open_ones)]
            bench.do(pool.closed(number, n, bench.now))
        elif event == "tick":
            bench.tick(pick % 7)
        elif event == "die" and workers:
            bench.do(pool.exited(workers[pick % len(workers)].number, bench.now))
        elif event == "idle" and open_ones:
            number, n = open_ones[pick % len(open_ones)]
            bench.do(pool.idlest(number, n, float(pick), bench.now))
        elif event == "exit":
            for w in workers:
                if w.state is State.SHUTDOWN and not w.active:
                    bench.do(pool.exited(w.number, bench.now))
        assert pool.live <= max(limits.max_procs, limits.min_procs)
        assert all(len(w.active) <= limits.max_conns for w in pool.workers.values())
        assert sum(w.state is State.SHUTDOWN for w in pool.workers.values()) <= limits.max_shutdown
        assert sum(pool._of_address.values()) == pool.active + pool.waiting
        assert sum(pool._under_way.values()) == pool.waiting
        assert set(pool._held) == set(pool._waiting) | {n for w in pool.workers.values() for n in w.active}
