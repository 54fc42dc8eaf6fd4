"""Ten stores, four relays, one directory: how queues grow and drain when something fails. Seeded, no clock, no I/O but stdout.

    simulate.py [--rate 2000] [--seed 1] [--store-down | --slow-directory | --relay-dies | all of them]

A simulation of events in steps of one second, with the costs `make bench` measured: CPU seconds for each delivery at relay and
store, on machines of CORES cores of which LOAD is used at most. Mail arrives by chance (Poisson), its store by chance. A store that is down keeps its mail on the
relays; it is tried by one connection each RETRY seconds, and takes what it can carry when it answers. A slow directory bounds what
the relays may accept. A relay that dies has what it acknowledged on its disk; its share of new mail goes to the others.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import dataclass

STORES, RELAYS, CORES, LOAD = 10, 4, 8, 0.6
RELAY_CPU, STORE_CPU = 0.53e-3, 0.40e-3
"""seconds for each delivery: figure 16-2 of bench/figures.py"""
HOUR, RETRY, HITS = 3600, 60, 0.7
"""HITS: part of the recipients the relays' caches know"""


@dataclass(frozen=True)
class Fault:
    name: str
    store_down: tuple[int, int] = (0, 0)
    directory: float = 1e9
    """searches a second it answers while it is slow"""
    slow: tuple[int, int] = (0, 0)
    relay_down: tuple[int, int] = (0, 0)


FAULTS = (
    Fault("store-down", store_down=(600, 600 + HOUR)),
    Fault("slow-directory", directory=400.0, slow=(600, 1500)),
    Fault("relay-dies", relay_down=(600, 1800)),
)


@dataclass(frozen=True)
class Outcome:
    peak: int
    """most messages on the relays"""
    drained: int
    """seconds from the end of the fault until no queue is left"""
    outside: int
    """most messages that waited at their clients, who were told 4xx"""
    waited: float
    """mean seconds a message waited"""


def arrivals(chance: random.Random, rate: float) -> int:
    """How many come in one second."""
    return max(0, round(chance.gauss(rate, math.sqrt(rate))))


def simulate(fault: Fault, rate: float, seed: int) -> Outcome:
    """Until the fault is over and every queue is empty."""
    chance = random.Random(seed)
    queues = [[0] * STORES for _ in range(RELAYS)]
    outside, most_outside, peak, area, delivered, second = 0, 0, 0, 0, 0, 0
    over = max(fault.store_down[1], fault.slow[1], fault.relay_down[1])
    store_carries, relay_carries = int(LOAD * CORES / STORE_CPU), int(LOAD * CORES / RELAY_CPU)
    answers_again = fault.store_down[1] + chance.randrange(RETRY) if fault.store_down[1] else 0
    while second <= over or any(map(any, queues)) or outside:
        living = [n for n in range(RELAYS) if not (n == 0 and fault.relay_down[0] <= second < fault.relay_down[1])]
        asked = fault.directory if fault.slow[0] <= second < fault.slow[1] else 1e9
        offered = arrivals(chance, rate) + outside
        accepted = min(offered, int(asked / (1 - HITS)), relay_carries * len(living))
        outside = offered - accepted
        most_outside = max(most_outside, outside)
        for number in range(accepted):
            queues[living[number % len(living)]][chance.randrange(STORES)] += 1
        room = [0 if store == 0 and fault.store_down[0] <= second < answers_again else store_carries for store in range(STORES)]
        for relay in living:
            left = relay_carries - accepted // len(living)
            for store in chance.sample(range(STORES), STORES):
                done = min(queues[relay][store], room[store], max(left, 0))
                queues[relay][store] -= done
                room[store] -= done
                left -= done
                delivered += done
        waiting = sum(map(sum, queues))
        peak, area, second = max(peak, waiting), area + waiting, second + 1
        if second > over + 24 * HOUR:
            break
    return Outcome(peak, max(0, second - 1 - over), most_outside, area / max(delivered, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument("--seed", type=int, default=1)
    for fault in FAULTS:
        parser.add_argument(f"--{fault.name}", action="store_true")
    given = parser.parse_args()
    chosen = [fault for fault in FAULTS if getattr(given, fault.name.replace("-", "_"))] or list(FAULTS)
    print(f"{RELAYS} relays, {STORES} stores of {CORES} cores, {given.rate:,.0f} messages/s, seed {given.seed}\n")
    print("| fault | most queued | drained after | most outside (4xx) | mean wait |\n|---|--:|--:|--:|--:|")
    for fault in chosen:
        found = simulate(fault, given.rate, given.seed)
        print(f"| {fault.name} | {found.peak:,} | {found.drained} s | {found.outside:,} | {found.waited:.1f} s |")


if __name__ == "__main__":
    main()
