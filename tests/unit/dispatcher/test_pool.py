"""The decisions over a service's workers, option by option, on a clock of our own (dispatcher-cnf.md 3 and 4)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dispatcher.lifetime import Limits, State
from posthouse.dispatcher.pool_action import Ask, Drop, HandOff, Listen, RefuseAddress, ShedSession, Spawn
from support.pool_bench import Bench


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


@settings(max_examples=60)
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
        retiring = sum(w.state is State.SHUTDOWN for w in pool.workers.values())
        assert pool.live + retiring <= max(limits.max_procs, limits.min_procs) + limits.max_shutdown
        assert all(len(w.active) <= limits.max_conns for w in pool.workers.values())
        assert retiring <= limits.max_shutdown
        assert sum(pool._of_address.values()) == pool.active + pool.waiting
        assert sum(pool._under_way.values()) == pool.waiting
        assert set(pool._held) == set(pool._waiting) | {n for w in pool.workers.values() for n in w.active}
