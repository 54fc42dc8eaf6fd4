"""The store beside Dovecot's LMTP with maildir quota: the same load in turn, each server started anew for each round.

CPU is counted from the first connection of the load to the server's clean end after SIGTERM, so nothing is put off past it.
Nothing is deleted between rounds; mail goes to 500 mailboxes in turn. Goals are how many times better than Dovecot; latency is
that of whole rounds, checkpoints included.

Growth is ours alone: CPU with 1,000 and with 100,000 mailboxes, and with 10 and with 50,000 messages in the mailbox that mail
goes to; the two are measured in turn. For the mailboxes some 700,000 inodes and 4 GiB are needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ours
from measure import STORE_USERS, load, median, ratios, syncs
from peers import Dovecot, Missing

MOST_GROWTH = 1.3
MAILBOXES = (1000, 100_000)
MESSAGES = (10, 50_000)


@dataclass(frozen=True)
class Case:
    name: str
    connections: int
    messages: int
    recipients: int = 1
    size: int = 4096
    users: int = STORE_USERS
    goal: dict[str, float] = field(default_factory=dict)


CASES = [
    Case("4 KiB, 1 connection", 1, 1500, goal={"cpu": 4, "rate": 3}),
    Case("4 KiB, 8 connections", 8, 6000, goal={"cpu": 7, "rate": 3.5, "p99_ms": 1}),
    Case("4 KiB, 32 connections", 32, 6000, goal={"cpu": 10, "rate": 5, "rss_mib": 3, "pss_mib": 1}),
    Case("4 KiB, 8 connections, 10 recipients", 8, 300, recipients=10, goal={"cpu": 12, "rate": 6}),
    Case("64 KiB, 8 connections", 8, 2000, size=65536, goal={"cpu": 4, "rate": 2.5}),
    Case("1 MiB, 8 connections", 8, 80, size=1 << 20, goal={"cpu": 1.5, "rate": 1.2}),
]


def one_round(server: Any, case: Case) -> dict[str, float]:
    os.sync()  # what others wrote is not written in this round
    server.start()
    try:
        return _measured(server, case)
    finally:
        server.stop()


def _measured(server: Any, case: Case) -> dict[str, float]:
    load(server.address, server.port, messages=200, connections=8, lmtp=True, users=case.users)
    before = server.group.cpu()
    server.group.watch()
    figures = load(
        server.address, server.port, messages=case.messages, connections=case.connections, recipients=case.recipients,
        size=case.size, lmtp=True, users=case.users,
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


def warm(server: Any, users: int = STORE_USERS, each: int = 2) -> None:
    """Every mailbox exists before anything is measured, with so many messages and more in it."""
    server.start()
    try:
        load(server.address, server.port, messages=-(-users * each // 10), connections=16, recipients=10, lmtp=True, users=users)
    finally:
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
            row["ratios"] = ratios(measured["posthouse"], measured["dovecot"])
        result["cases"].append(row)
    result["syncs"] = count_syncs(servers["posthouse"])
    for server in servers.values():
        server.group.remove()
    few, many = MAILBOXES
    result["growth"] = [growth(root, f"{few:,} mailboxes, {many:,}", [(few, few, 1), (many, many, 1)], rounds)]
    few, many = MESSAGES
    result["growth"].append(growth(root, f"{few:,} messages in the mailbox, {many:,}", [(few, 1, few), (many, 1, many)], rounds))
    return result


def growth(root: Path, name: str, stores: list[tuple[int, int, int]], rounds: int) -> dict[str, Any]:
    """Our CPU on two stores that differ in one thing.

    Args:
        stores: of each what it is called, its mailboxes, and the messages in each of them.
    """
    folder = root / name.replace(",", "").replace(" ", "-")
    folder.mkdir()
    measured = []
    for label, users, each in stores:
        server = ours.store(folder, f"store-{label}")
        warm(server, users, each)
        measured.append((server, Case(name, 8, 4000 if users > 1 else 1000, users=users), []))
    for _ in range(rounds + 2):  # they differ by less than the peers do
        for server, case, runs in measured:
            runs.append(one_round(server, case))
    for server, _, _ in measured:
        server.group.remove()
    few, many = (runs for _, _, runs in measured)
    return {
        "case": name, "goal": MOST_GROWTH, "few": median(few, "cpu"), "many": median(many, "cpu"),
        "ratio": median([{"r": b["cpu"] / a["cpu"]} for a, b in zip(few, many, strict=True)], "r"),
    }  # fmt: skip


def count_syncs(server: Any) -> dict[str, float] | None:
    """Sync calls for each message at 8 connections, by strace in a round of its own."""
    server.start()
    messages = 500
    counted = syncs(
        server.group, lambda: load(server.address, server.port, messages=messages, connections=8, lmtp=True, users=STORE_USERS)
    )
    server.stop()
    return {name: number / messages for name, number in counted.items()} if counted is not None else None
