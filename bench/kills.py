#!/usr/bin/env python3
"""`make bench BENCH=kills`: a relay and two stores under load while their processes are killed; then every mailbox is counted.

200 kills by SIGKILL: each role of both tiers, and each whole family, as often as the others, in an order and at moments chosen by
the seed. At the end everything the relay acknowledged has to stand, whole, in the mailboxes it was for. Duplicates are counted; each
needs a kill between its two copies that could have made it. Exit 1 when anything is lost, torn, foreign, or twice without a reason.

KILLS (200), KILLS_SEED (1) and KILLS_SECONDS (300; no kill is begun after them) are environment variables; BENCH_DIR as for the others.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.journey_mail import Load, Verdict, reconcile, wait_delivered
from support.journey_tiers import journey
from support.kills import Kill, Killer, settle, unexplained

USERS = 40
SIZES = (400,) * 20 + (3000,) * 15 + (40_000,) * 4 + (300_000,)


def main() -> int:
    count, seed = int(os.environ.get("KILLS", "200")), int(os.environ.get("KILLS_SEED", "1"))
    limit = float(os.environ.get("KILLS_SECONDS", "300"))
    root = Path(tempfile.mkdtemp(prefix="posthouse-kills-", dir=os.environ.get("BENCH_DIR")))
    try:
        verdict, kills, seconds = run(root, count, seed, limit)
    except BaseException:
        print(f"everything is kept below {root}")
        raise
    faults = report(verdict, kills, count, seed, seconds)
    if faults:
        print(f"everything is kept below {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    for fault in faults:
        print(f"missed: {fault}")
    return 1 if faults else 0


def run(root: Path, count: int, seed: int, limit: float) -> tuple[Verdict, list[Kill], float]:
    """The kills, and what stands in the mailboxes afterwards."""

    def told(done: int) -> None:
        if done % 20 == 0:
            print(f"{done} kills, {load.ledger.accepted} messages accepted, {time.monotonic() - begin:.0f} s", flush=True)

    users = [f"user{number}" for number in range(USERS)]
    with journey(root, users=USERS) as tiers:
        begin = time.monotonic()
        with Load(tiers.relay.port, users, clients=4, most=4, sizes=SIZES, pause=0.05) as load:
            killer = Killer(tiers, random.Random(seed), load.ledger)
            killer.many(count, begin + limit, told)
        seconds = time.monotonic() - begin
        try:
            wait_delivered(load.ledger, tiers.stores)
        except AssertionError as missing:
            print(missing)
        settle(tiers)
        return reconcile(load.ledger, tiers.stores), killer.kills, seconds


def report(verdict: Verdict, kills: list[Kill], count: int, seed: int, seconds: float) -> list[str]:
    """Print the figures; what must not be."""
    print(f"\nseed {seed}: {len(kills)} kills of {count} wanted, in {seconds:.0f} s")
    for (tier, role), times in sorted(Counter((each.tier, each.role) for each in kills).items()):
        print(f"  {tier:<7}{role:<16}{times:>4}")
    print(
        f"acknowledged {verdict.accepted} recipients, delivered {verdict.delivered} ({verdict.unanswered} of them never acknowledged)\n"
        f"lost {len(verdict.lost)}, torn {len(verdict.garbled)}, foreign {len(verdict.foreign)}, duplicates {verdict.duplicates}"
    )
    faults = [f"lost: message {token} for {user}" for token, user in verdict.lost]
    faults += [f"torn: {path}" for path in verdict.garbled]
    faults += [f"foreign: message {token} in the mailbox of {user}" for token, user in verdict.foreign]
    return faults + unexplained(verdict, kills)


if __name__ == "__main__":
    sys.exit(main())
