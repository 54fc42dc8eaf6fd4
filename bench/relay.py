"""The relay beside Postfix: SMTP in, users and routes from one slapd of 10,000 users, LMTP out to a sink, drained.

CPU is counted from the first connection of the load to the relay's clean end after SIGTERM; slapd and sink are not counted. The
time to the store is that from the write of the final dot to the sink's reply, by one clock, the same way for both; of a message
over 4 KiB it is that from its first octet.

Nearly every recipient is new to the relay, for its cache ends with it: each costs a search. Where they are known, all users have had
mail before the load begins, from both.

What is ours alone is in `relay_alone.py`: the directory's work, a user's script, a long list.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ours
import relay_alone
from measure import DOMAIN, LDAP_USERS, Goals, load, median, ratios, syncs
from peers import BASE, Missing, Postfix, Sink, Slapd

WARM = 300
STORES = [f"store{number}.{DOMAIN}" for number in (1, 2)]


@dataclass(frozen=True)
class Case:
    name: str
    connections: int
    messages: int
    recipients: int = 1
    size: int = 4096
    known: bool = False
    goal: Goals = field(default_factory=dict)


AS_GOOD = {"cpu": 1, "rate": 1}
CASES = [
    Case("4 KiB, 8 connections", 8, 3000,
         goal={"cpu": (4, 6), "rate": (3, 4), "to_store_p50_ms": 1, "to_store_p99_ms": 1, "pss_mib": 3}),
    Case("4 KiB, 32 connections", 32, 3000,
         goal={"cpu": (4, 8), "rate": (3, 6), "to_store_p50_ms": 1, "to_store_p99_ms": 1, "pss_mib": 3}),
    Case("4 KiB, 8 connections, 10 recipients", 8, 300, recipients=10, goal={"cpu": 6, "rate": 3}),
    Case("4 KiB, 8 connections, recipients known", 8, 3000, known=True, goal={"cpu": 6, "rate": 4}),
    Case("4 KiB, 32 connections, recipients known", 32, 3000, known=True, goal={"cpu": 8, "rate": 6}),
    Case("4 KiB, 8 connections, 10 recipients, known", 8, 300, recipients=10, known=True, goal={"cpu": 6, "rate": 3}),
    Case("64 KiB, 8 connections", 8, 500, size=65536, goal=AS_GOOD),
    Case("1 MiB, 8 connections", 8, 60, size=1 << 20, goal=AS_GOOD),
]  # fmt: skip


def one_round(server: Any, case: Case, sink: Sink) -> dict[str, float]:
    os.sync()  # what others wrote is not written in this round
    server.start()
    try:
        return _measured(server, case, sink)
    finally:
        server.stop()


def _measured(server: Any, case: Case, sink: Sink) -> dict[str, float]:
    messages, each = (LDAP_USERS // 10, 10) if case.known else (WARM, 1)
    load(server.address, server.port, messages=messages, connections=8, recipients=each, lmtp=False, users=LDAP_USERS)
    drain(server, messages * each)
    sink.since()
    before = server.group.cpu()
    server.group.watch()
    began = time.monotonic()
    figures = load(
        server.address, server.port, messages=case.messages, connections=case.connections, recipients=case.recipients,
        size=case.size, lmtp=False, users=LDAP_USERS,
    )  # fmt: skip
    deliveries = case.messages * case.recipients
    drain(server, deliveries)
    seconds = time.monotonic() - began
    rss, pss, heard = server.group.unwatch(), server.group.pss(), sink.since()
    server.stop()
    return {
        "cpu": (server.group.cpu() - before) / deliveries * 1000,
        "rate": deliveries / seconds,
        "accepted_s": figures["deliv_s"],
        "p99_ms": figures["p99_ms"],
        "to_store_p50_ms": heard["p50_ms"],
        "to_store_p99_ms": heard["p99_ms"],
        "rss_mib": rss / 2**20,
        "pss_mib": pss / 2**20,
    }


def drain(server: Any, deliveries: int) -> None:
    """Wait until this many more recipients have their message."""
    if isinstance(server, Postfix):
        server.drain()
    else:
        server.goal = getattr(server, "goal", 0) + deliveries
        server.drain(server.goal)


def run(root: Path, rounds: int) -> dict[str, Any]:
    slapd = Slapd(root, LDAP_USERS, STORES[0], relay_alone.entries(STORES))
    sink = Sink(root, len(STORES))
    result: dict[str, Any] = {"missing": [], "cases": []}
    try:
        slapd.start()
        sink.start()
    except Missing as reason:
        return {**result, "missing": [str(reason)], "syncs": None}
    try:
        mine = ours.Relay(root, slapd.uri, BASE, sink.port, sink.addresses)
        servers: dict[str, Any] = {"posthouse": mine}
        try:
            servers["postfix"] = Postfix(root, slapd, f"lmtp:inet:127.0.0.1:{sink.port}")
            one_round(servers["postfix"], Case("", 8, 200), sink)
        except Missing as reason:
            result["missing"].append(str(reason))
            servers.pop("postfix", None)
        one_round(mine, Case("", 8, 200), sink)
        result["cases"] = [_case(case, servers, sink, rounds) for case in CASES]
        result["counts"] = [*relay_alone.searches(mine, slapd), *relay_alone.long_list(mine, sink, STORES)]
        result["growth"] = [relay_alone.script(mine, rounds)]
        result["syncs"] = _count_syncs(mine)
        for server in servers.values():
            server.group.remove()
    finally:
        for server in (sink, slapd):
            server.stop()
            server.group.remove()
    return result


def _case(case: Case, servers: dict[str, Any], sink: Sink, rounds: int) -> dict[str, Any]:
    measured: dict[str, list[dict[str, float]]] = {server: [] for server in servers}
    for _ in range(rounds):
        for server, started in servers.items():
            measured[server].append(one_round(started, case, sink))
    row: dict[str, Any] = {"case": case.name, "goal": case.goal, "servers": {}}
    for server, runs in measured.items():
        row["servers"][server] = {key: round(median(runs, key), 4) for key in runs[0]}
    if len(servers) == 2:
        row["ratios"] = ratios(measured["posthouse"], measured["postfix"])
    return row


def _count_syncs(server: Any) -> dict[str, float] | None:
    server.start()
    messages = 500

    def work() -> None:
        load(server.address, server.port, messages=messages, connections=8, lmtp=False, users=LDAP_USERS)
        drain(server, messages)

    counted = syncs(server.group, work)
    server.stop()
    return {name: number / messages for name, number in counted.items()} if counted is not None else None
