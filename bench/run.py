#!/usr/bin/env python3
"""`make bench [BENCH=store|relay|queue|figures]`: paired figures beside Dovecot and Postfix, in one run. `BENCH=kills`: see kills.py.

Prints tables, writes results/latest.json, and exits 1 when a goal is missed; a peer that is not installed is a missed goal.
BENCH_DIR names a folder on the file system to measure on (default: this checkout); BENCH_ROUNDS the rounds (default 3).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backlog
import figures
import kills
import ours
import relay
import store
from measure import file_system, processor

BENCHES = {"store": (store, "dovecot"), "relay": (relay, "postfix"), "queue": (backlog, ""), "figures": (figures, "")}


def main() -> int:
    if sys.argv[1:] == ["kills"]:  # no figures: it is right or it is not
        return kills.main()
    names = sys.argv[1:] or list(BENCHES)
    if unknown := [name for name in names if name not in BENCHES]:
        sys.stderr.write(f"bench: unknown: {', '.join(unknown)}; there are {', '.join(BENCHES)}, kills\n")
        return 64
    rounds = max(3, int(os.environ.get("BENCH_ROUNDS", "3")))
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="posthouse-bench-", dir=os.environ.get("BENCH_DIR") or results))
    root.chmod(0o755)
    latest: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": f"{processor()}, {os.cpu_count()} cores",
        "kernel": platform.release(), "file_system": file_system(root), "rounds": rounds, **ours.facts(),
    }  # fmt: skip
    print(f"file system: {latest['file_system']}; {latest['machine']}; kernel {latest['kernel']}; median of {rounds} rounds")
    missed: list[str] = []
    try:
        for name in names:
            module, peer = BENCHES[name]
            latest[name] = module.run(root, rounds)
            if name == "figures":
                missed += figures.report(latest[name], f"{latest['machine']}, {latest['file_system']}")
            elif name == "queue":
                missed += backlog.report(latest[name])
            else:
                missed += report(name, latest[name], peer)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    latest["missed"] = missed
    (results / "latest.json").write_text(json.dumps(latest, indent=2) + "\n")
    for fault in missed:
        print(f"missed: {fault}")
    print("all goals met" if not missed else f"{len(missed)} goals missed")
    return 1 if missed else 0


def report(name: str, result: dict[str, Any], peer: str) -> list[str]:
    """Print one bench's table; the goals it missed."""
    missed = [f"{name}: {reason}" for reason in result["missing"]]
    print(f"\n{name}: CPU seconds for each 1000 deliveries, deliveries a second, MiB\n")
    print(f"{'case':<38}{'server':<11}{'CPU':>8}{'rate':>9}{'p99 ms':>9}{'RSS':>7}{'PSS':>7}{'CPU ratio':>11}{'rate ratio':>11}")
    for row in result["cases"]:
        for server, measured in row["servers"].items():
            shown = ""
            if server == "posthouse" and "ratios" in row:
                shown = f"{'1/' + format(row['ratios']['cpu'], '.1f'):>11}{format(row['ratios']['rate'], '.1f') + 'x':>11}"
            print(
                f"{row['case']:<38}{server:<11}{measured['cpu']:>8.3f}{measured['rate']:>9,.0f}{measured['p99_ms']:>9.1f}"
                f"{measured['rss_mib']:>7.0f}{measured['pss_mib']:>7.0f}{shown}"
            )
    judged = list(_judged(result, peer))
    print()
    for text, met in judged:
        print(f"{'met   ' if met else 'missed'}  {text}")
    missed += [f"{name}, {text}" for text, met in judged if not met]
    if result.get("syncs"):
        print("syncs for each message: " + ", ".join(f"{call} {number:.3f}" for call, number in sorted(result["syncs"].items())))
    return missed


def _judged(result: dict[str, Any], peer: str) -> Iterator[tuple[str, bool]]:
    """Each goal in words, and whether it is met."""
    for row in result["cases"]:
        for figure, goals in row["goal"].items():
            for goal in goals if isinstance(goals, tuple) else (goals,):
                if "ratios" in row:
                    ratio = row["ratios"][figure]
                    yield f"{row['case']}: {figure} {ratio:.2f} times as good as {peer}'s, goal {goal:g}", ratio >= goal
    for row in result.get("growth", []):
        words = f"{row['few']:.3f} becomes {row['many']:.3f}, {row['ratio']:.2f} times, goal {row['goal']:g}"
        yield f"{row['case']}: {words}", row["ratio"] <= row["goal"]
    for row in result.get("counts", []):
        yield f"{row['case']}: {row['count']:g}, goal {row['most']:g}", row["count"] <= row["most"]


if __name__ == "__main__":
    sys.exit(main())
