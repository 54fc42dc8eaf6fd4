"""The store beside Dovecot's LMTP with maildir quota: the same load in turn, each server started anew for each round.

CPU is counted from the first connection of the load to the server's clean end after SIGTERM, so nothing is put off past it.
Nothing is deleted between rounds; mail goes to 500 mailboxes in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ours
from measure import STORE_USERS, load, median, syncs
from peers import Dovecot, Missing

GOAL_CPU, GOAL_RATE = 6.0, 3.0


@dataclass(frozen=True)
class Case:
    name: str
    connections: int
    messages: int
    recipients: int = 1
    size: int = 4096
    goal: bool = False


CASES = [
    Case("4 KiB, 1 connection", 1, 1500),
    Case("4 KiB, 8 connections", 8, 4000, goal=True),
    Case("4 KiB, 32 connections", 32, 4000),
    Case("4 KiB, 8 connections, 10 recipients", 8, 300, recipients=10),
    Case("64 KiB, 8 connections", 8, 500, size=65536),
    Case("1 MiB, 8 connections", 8, 80, size=1 << 20),
]


def one_round(server: Any, case: Case) -> dict[str, float]:
    server.start()
    try:
        return _measured(server, case)
    finally:
        server.stop()


def _measured(server: Any, case: Case) -> dict[str, float]:
    load(server.address, server.port, messages=200, connections=8, lmtp=True, users=STORE_USERS)
    before = server.group.cpu()
    server.group.watch()
    figures = load(
        server.address, server.port, messages=case.messages, connections=case.connections, recipients=case.recipients,
        size=case.size, lmtp=True, users=STORE_USERS,
    )  # fmt: skip
    rss, pss = server.group.unwatch(), server.group.pss()
    server.stop()
    deliveries = figures["ok"]
    return {
        "cpu": (server.group.cpu() - before) / deliveries * 1000,
        "rate": figures["deliv_s"],
        "p99_ms": figures["p99_ms"],
        "rss_mib": rss / 2**20,
        "pss_mib": pss / 2**20,
    }


def warm(server: Any) -> None:
    """Every mailbox exists before anything is measured."""
    server.start()
    load(server.address, server.port, messages=STORE_USERS * 2, connections=16, lmtp=True, users=STORE_USERS)
    server.stop()


def run(root: Path, rounds: int) -> dict[str, Any]:
    servers: dict[str, Any] = {"posthouse": ours.store(root)}
    missing = []
    try:
        peer = Dovecot(root)
        warm(peer)
        servers["dovecot"] = peer
    except Missing as reason:
        missing.append(str(reason))
    warm(servers["posthouse"])
    result: dict[str, Any] = {"missing": missing, "cases": []}
    for case in CASES:
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, server in servers.items():
                measured[name].append(one_round(server, case))
        row: dict[str, Any] = {"case": case.name, "goal": case.goal, "servers": {}}
        for name, runs in measured.items():
            row["servers"][name] = {key: round(median(runs, key), 4) for key in runs[0]}
        if len(servers) == 2:
            pairs = list(zip(measured["posthouse"], measured["dovecot"], strict=True))
            row["cpu_ratio"] = median([{"r": theirs["cpu"] / mine["cpu"]} for mine, theirs in pairs], "r")
            row["rate_ratio"] = median([{"r": mine["rate"] / theirs["rate"]} for mine, theirs in pairs], "r")
        result["cases"].append(row)
    result["syncs"] = count_syncs(servers["posthouse"])
    for server in servers.values():
        server.group.remove()
    return result


def count_syncs(server: Any) -> dict[str, float] | None:
    """Sync calls for each message at 8 connections, by strace in a round of its own."""
    server.start()
    messages = 500
    counted = syncs(
        server.group, lambda: load(server.address, server.port, messages=messages, connections=8, lmtp=True, users=STORE_USERS)
    )
    server.stop()
    return {name: number / messages for name, number in counted.items()} if counted is not None else None
