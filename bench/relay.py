"""The relay beside Postfix: SMTP in, users and routes from one slapd of 10,000 users, LMTP out to a sink, drained.

CPU is counted from the first connection of the load to the relay's clean end after SIGTERM; slapd and sink are not counted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import ours
from measure import DOMAIN, LDAP_USERS, load, median, ratios, syncs
from peers import BASE, Missing, Postfix, Sink, Slapd

GOAL = {"cpu": 4.0, "rate": 3.0}
CASES = [("4 KiB, 8 connections", 8, 3000), ("4 KiB, 32 connections", 32, 3000)]
WARM = 300


def one_round(server: Any, connections: int, messages: int) -> dict[str, float]:
    server.start()
    try:
        return _measured(server, connections, messages)
    finally:
        server.stop()


def _measured(server: Any, connections: int, messages: int) -> dict[str, float]:
    load(server.address, server.port, messages=WARM, connections=8, lmtp=False, users=LDAP_USERS)
    _drain(server, WARM)
    before = server.group.cpu()
    server.group.watch()
    began = time.monotonic()
    figures = load(server.address, server.port, messages=messages, connections=connections, lmtp=False, users=LDAP_USERS)
    _drain(server, messages)
    seconds = time.monotonic() - began
    rss, pss = server.group.unwatch(), server.group.pss()
    server.stop()
    return {
        "cpu": (server.group.cpu() - before) / messages * 1000,
        "rate": messages / seconds,
        "accepted_s": figures["deliv_s"],
        "p99_ms": figures["p99_ms"],
        "rss_mib": rss / 2**20,
        "pss_mib": pss / 2**20,
    }


def _drain(server: Any, messages: int) -> None:
    if isinstance(server, Postfix):
        server.drain()
    else:
        server.goal = getattr(server, "goal", 0) + messages
        server.drain(server.goal)


def run(root: Path, rounds: int) -> dict[str, Any]:
    slapd = Slapd(root, LDAP_USERS, f"store1.{DOMAIN}")
    sink = Sink(root)
    result: dict[str, Any] = {"missing": [], "cases": []}
    try:
        slapd.start()
        sink.start()
    except Missing as reason:
        return {**result, "missing": [str(reason)], "syncs": None}
    try:
        servers: dict[str, Any] = {"posthouse": ours.Relay(root, slapd.uri, BASE, sink.port)}
        try:
            servers["postfix"] = Postfix(root, slapd, f"lmtp:inet:127.0.0.1:{sink.port}")
            one_round(servers["postfix"], 8, 200)
        except Missing as reason:
            result["missing"].append(str(reason))
            servers.pop("postfix", None)
        one_round(servers["posthouse"], 8, 200)
        for name, connections, messages in CASES:
            result["cases"].append(_case(name, servers, connections, messages, rounds))
        result["syncs"] = _count_syncs(servers["posthouse"])
        for server in servers.values():
            server.group.remove()
    finally:
        for server in (sink, slapd):
            server.stop()
            server.group.remove()
    return result


def _case(name: str, servers: dict[str, Any], connections: int, messages: int, rounds: int) -> dict[str, Any]:
    measured: dict[str, list[dict[str, float]]] = {server: [] for server in servers}
    for _ in range(rounds):
        for server, started in servers.items():
            measured[server].append(one_round(started, connections, messages))
    row: dict[str, Any] = {"case": name, "goal": GOAL, "servers": {}}
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
        _drain(server, messages)

    counted = syncs(server.group, work)
    server.stop()
    return {name: number / messages for name, number in counted.items()} if counted is not None else None
