"""bench/simulation: nothing is lost in it, its accounts agree, its queues are those of the books, a seed says everything."""

import math
import random
from dataclasses import replace

import pytest

from simulation.clock import Clock
from simulation.directory import TIMEOUT, Asker, Directory
from simulation.load import World
from simulation.page import picture, table
from simulation.scenario import BEGINS, FAULTS, Fault, Outcome, Scenario
from simulation.stations import Cores, Disk

SMALL = World(relays=2, stores=3, cores=2, rate=20.0, batch=2)
SHORT = [replace(fault, seconds=240.0) for fault in FAULTS]


def outcome_of(fault: Fault, seed: int = 1, world: World = SMALL) -> Outcome:
    return Scenario(fault, world, seed, quiet=60.0).run()


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_what_was_offered_is_delivered_in_the_end(fault: Fault) -> None:
    found = outcome_of(fault)
    assert found.offered > 0.9 * SMALL.rate * (BEGINS + fault.seconds + 60.0)
    assert (found.delivered, found.left) == (found.offered, 0)


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_littles_law_holds(fault: Fault) -> None:
    """The queue over time, and the waits of the messages, are counted apart."""
    found = outcome_of(fault)
    assert found.area == pytest.approx(found.waited, rel=1e-6)
    assert found.area > 0.0


def test_the_same_seed_is_the_same_run_and_another_one_another() -> None:
    fault, world = replace(SHORT[0], seconds=120.0), replace(SMALL, rate=10.0)
    one, same, other = (outcome_of(fault, seed, world) for seed in (1, 1, 2))
    assert one == same
    assert one.samples != other.samples


def test_a_store_that_is_down_fills_the_relays_and_costs_the_others_nothing() -> None:
    found = outcome_of(SHORT[0])
    assert found.peak > 0.8 * SMALL.rate / SMALL.stores * 240.0
    assert (found.peak_outside, found.refusals) == (0, 0)
    assert found.others_wait < 0.2
    at_the_end = [queued for at, queued, _ in found.samples if at > BEGINS + 240.0 + found.backlog_gone + 10.0]
    assert max(at_the_end, default=0) <= found.peak * 0.01


def test_a_directory_too_slow_sends_mail_away_and_gets_it_later() -> None:
    """20 s for each search: nobody has an answer in time."""
    found = outcome_of(replace(SHORT[2], search=20.0), world=replace(SMALL, directory_threads=1))
    assert found.refusals >= found.peak_outside > 0.8 * SMALL.rate * (1 - SMALL.hits) * 200.0
    assert found.peak < 100
    assert found.drained > 0.0


def test_a_dead_relays_mail_waits_on_its_disk() -> None:
    scenario = Scenario(SHORT[3], SMALL, 1, quiet=60.0)
    scenario.senders.begin(BEGINS)
    scenario.clock.run(300.0)
    scenario.stores[0].stop()
    scenario.clock.run(400.0)
    kept = sum(batch.weight for batch in scenario.relays[0].kept.values())
    scenario.relays[0].stop()
    scenario.stores[0].start()
    scenario.clock.run(1000.0)
    assert sum(batch.weight for batch in scenario.relays[0].kept.values()) == kept > 0
    scenario.relays[0].start()
    scenario.clock.run(6000.0)
    assert (scenario.relays[0].kept, scenario.outcome.delivered) == ({}, scenario.senders.offered)


def test_a_relay_that_dies_in_the_midst_sends_twice_what_it_had_no_reply_for() -> None:
    scenario = Scenario(SHORT[3], SMALL, 1)
    scenario.senders.begin(BEGINS)
    clock, stores = scenario.clock, scenario.stores
    while not any(store.under_way for store in stores):
        clock.run(clock.now + 0.0001)
    under_way = sum(store.under_way for store in stores)
    for relay in scenario.relays:
        relay.stop()
        relay.start()
    clock.run(BEGINS + 5000.0)
    assert sum(store.repeated for store in stores) == under_way
    assert scenario.outcome.delivered == scenario.senders.offered


@pytest.mark.parametrize(("cores", "load"), [(1, 0.5), (1, 0.8), (4, 0.8)])
def test_waits_before_cores_are_those_of_the_books(cores: int, load: float) -> None:
    """M/D/1: load x service / 2(1 - load) (Pollaczek and Khinchine). M/D/c lies near half of Erlang's M/M/c."""
    clock, chance = Clock(), random.Random(7)
    waits: list[float] = []
    station, service = Cores(clock, cores), 1.0

    def arrive() -> None:
        began = clock.now
        station.do(service, lambda: waits.append(clock.now - began - service))
        if len(waits) < 60_000:
            clock.after(chance.expovariate(load * cores / service), arrive)

    arrive()
    clock.run()
    offered = load * cores
    last = offered**cores / math.factorial(cores) / (1 - load)
    queued = last / (sum(offered**n / math.factorial(n) for n in range(cores)) + last)
    expected = queued * service / (cores * (1 - load)) / 2
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.1)


def test_one_sync_covers_all_that_waits() -> None:
    clock = Clock()
    done: list[tuple[int, float]] = []
    disk = Disk(clock, 0.01, 1000.0)
    for number in range(5):
        disk.commit(2.0, lambda number=number: done.append((number, round(clock.now, 6))))  # type: ignore[misc]
    clock.run()
    assert disk.syncs == 2
    assert done == [(0, 0.012), *((number, 0.030) for number in range(1, 5))]


def test_searches_go_together_and_a_slow_server_gets_what_it_can_do() -> None:
    clock = Clock()
    answers: list[bool] = []
    directory = Directory(clock, 1, 1.0)
    asker = Asker(clock, directory)
    for _ in range(33):
        asker.ask(4, answers.append)
    clock.run(0.0)
    assert directory.searches == 4
    clock.run(TIMEOUT - 0.5)
    assert answers.count(True) >= 16, "one thread, a second each, the later searches for four each"
    assert answers.count(False) == 33 - answers.count(True)
    asker.ask(1, answers.append)
    clock.run(2 * TIMEOUT)
    assert (len(answers), answers[-1]) == (34, True), "slow is not silent"


def test_nobody_waits_for_a_server_that_was_silent() -> None:
    clock = Clock()
    answers: list[bool] = []
    asker = Asker(clock, Directory(clock, 1, 100.0))
    for _ in range(9):
        asker.ask(16, answers.append)
    clock.run(TIMEOUT - 0.5)
    assert answers == [False] * 9
    asker.ask(1, answers.append)
    assert answers == [False] * 10, "it rests"


def test_events_of_one_time_happen_as_they_were_planned() -> None:
    clock = Clock()
    seen: list[str] = []
    for name in "abc":
        clock.at(1.0, lambda name=name: seen.append(name))  # type: ignore[misc]
    clock.at(0.5, lambda: seen.append("first"))
    clock.run(2.0)
    assert (seen, clock.now) == (["first", "a", "b", "c"], 2.0)


def test_the_page_shows_every_fault() -> None:
    found = [outcome_of(fault) for fault in SHORT[:2]]
    assert [line.split("|")[1].strip() for line in table(found).splitlines()[2:]] == [fault.words for fault in SHORT[:2]]
    drawn = picture(found, "seed 1")
    assert drawn.count('class="r"') == 3
    assert all(fault.words in drawn for fault in SHORT[:2])
