#!/usr/bin/env python3
"""Ten stores, four relays, one directory: how queues grow and drain when something fails. Seeded: the same seed, the same figures.

    simulate.py [--rate 2000] [--seed 1] [--batch 40] [--write] [FAULT...]

A simulation of events (simulation/): mail arrives by chance, recipients are looked up, relays and stores have cores and disks with
queues before them, sessions and retries are those of the relay's own schedule, and the world outside tries again what was told
4xx. Prints a table; `--write` (`make docs/scale.svg`) puts it into docs/scale.md and draws docs/scale.svg.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from simulation.load import World
from simulation.page import picture, table
from simulation.scenario import FAULTS, Scenario

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- bench/simulate.py --write -->\n", "<!-- end -->\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", choices=[[], *(fault.name for fault in FAULTS)])
    parser.add_argument("--rate", type=float, default=World.rate, help="messages a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=World.batch, help="messages that go together")
    parser.add_argument("--write", action="store_true", help="into docs/scale.md and docs/scale.svg")
    given = parser.parse_args()
    logging.getLogger("posthouse").setLevel(logging.CRITICAL)  # what the relays would log of a directory that fails
    world = World(rate=given.rate, batch=given.batch)
    chosen = [fault for fault in FAULTS if fault.name in given.faults] or list(FAULTS)
    outcomes = [Scenario(fault, world, given.seed).run() for fault in chosen]
    stamp = (
        f"{world.relays} relays, {world.stores} stores of {world.cores} cores, {world.rate:,.0f} messages/s in batches of {world.batch}, "
        f"seed {given.seed}"
    )
    print(f"{stamp}\n\n{table(outcomes)}")
    lost = sum(found.left for found in outcomes)
    if lost:
        sys.exit(f"simulate: {lost} messages were not delivered")
    if given.write:
        page = (DOCS / "scale.md").read_text()
        before, rest = page.split(BEGIN)
        (DOCS / "scale.md").write_text(f"{before}{BEGIN}\n{stamp}:\n\n{table(outcomes)}\n{END}{rest.split(END)[1]}")
        (DOCS / "scale.svg").write_text(picture(outcomes, stamp))


if __name__ == "__main__":
    main()
