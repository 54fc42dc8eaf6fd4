"""Figures 16-1 and 16-2 side by side: Posthouse both ways, Postfix and Dovecot both ways, the same users in the same slapd.

    16-1   relay -> SMTP -> a whole MTA that looks users up again and queues again -> mailboxes
    16-2   relay -> LMTP -> mailboxes

Relay and store are instances of their own on one machine. A round is: start both, a warm-up, the load, until no queue has
anything left, a clean end. CPU is counted for each tier from the load's begin to that end; searches are the operations on the
directory's connections of each tier; memory is the sum of both tiers' PSS.

Every deployment has a round that does not count before those that do: in it each user gets his mailbox. What is measured is mail
for mailboxes that are there, to users of whom neither tier has heard since its start.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ours
from measure import DOMAIN, LDAP_USERS, free_port, load, median
from peers import BASE, Dovecot, Missing, Postfix, Slapd

MESSAGES, CONNECTIONS, WARM = LDAP_USERS, 16, 300
HOST = f"store1.{DOMAIN}"
PICTURE = Path(__file__).parent.parent / "docs" / "figures.svg"


class Queueing(ours.Relay):
    """An instance of ours with a queue: a relay or a whole MTA."""

    def __init__(self, folder: Path, tier: str, host: str, uri: str, *options: str) -> None:
        port = free_port()
        words = [tier, str(folder), "--smtp", f"127.0.0.1:{port}", "--host", host, "--default-domain", DOMAIN]
        ours.Instance.__init__(
            self, folder, [*words, "--ldap", uri, "--base", BASE, "--resolve", f"{HOST}=127.0.0.1", *options], port
        )
        self._log = folder / "log" / "transactions.jsonl"
        self._read = self.delivered = self.goal = 0

    def drained(self, messages: int) -> None:
        self.goal += messages
        self.drain(self.goal)


@dataclass
class Topology:
    """One deployment: the relay, what stands on the store machine, and those of them with a queue."""

    name: str
    figure: str
    relay: Any
    store: list[Any]
    queues: list[Any]

    @property
    def tiers(self) -> list[Any]:
        return [*self.store, self.relay]


def _posthouse_16_1(root: Path, slapd: Slapd) -> Topology:
    store = Queueing(root / "p161-store", "full", HOST, slapd.store_uri)
    options = ("--deliver-by", "smtp", "--store-smtp-port", str(store.port))
    relay = Queueing(root / "p161-relay", "relay", f"relay1.{DOMAIN}", slapd.uri, *options)
    return Topology("Posthouse", "16-1", relay, [store], [relay, store])


def _posthouse_16_2(root: Path, slapd: Slapd) -> Topology:
    store = ours.store(root, "p162-store")
    relay = Queueing(root / "p162-relay", "relay", f"relay1.{DOMAIN}", slapd.uri, "--lmtp-port", str(store.port))
    return Topology("Posthouse", "16-2", relay, [store], [relay])


def _postfix_virtual(root: Path, slapd: Slapd) -> Topology:
    store = Postfix(root, slapd, "virtual", name="virtual-store", uri=slapd.store_uri, routed=False)
    relay = Postfix(root, slapd, f"smtp:[127.0.0.1]:{store.port}", name="virtual-relay")
    return Topology("Postfix, virtual(8)", "16-1", relay, [store], [relay, store])


def _postfix_smtp_dovecot(root: Path, slapd: Slapd) -> Topology:
    dovecot = Dovecot(root / "smtp")
    store = Postfix(
        root, slapd, f"lmtp:inet:127.0.0.1:{dovecot.port}", name="dovecot-store", uri=slapd.store_uri, routed=False
    )
    relay = Postfix(root, slapd, f"smtp:[127.0.0.1]:{store.port}", name="dovecot-relay")
    return Topology("Postfix, Dovecot", "16-1", relay, [dovecot, store], [relay, store])


def _postfix_lmtp_dovecot(root: Path, slapd: Slapd) -> Topology:
    dovecot = Dovecot(root / "lmtp")
    relay = Postfix(root, slapd, f"lmtp:inet:127.0.0.1:{dovecot.port}", name="lmtp-relay")
    return Topology("Postfix, Dovecot", "16-2", relay, [dovecot], [relay])


MAKERS: tuple[Callable[[Path, Slapd], Topology], ...] = (
    _posthouse_16_1, _posthouse_16_2, _postfix_virtual, _postfix_smtp_dovecot, _postfix_lmtp_dovecot,
)  # fmt: skip


@contextlib.contextmanager
def _running(topology: Topology) -> Iterator[None]:
    started = []
    try:
        for server in topology.tiers:
            started.append(server)
            server.start()
        yield
    finally:
        for server in reversed(started):
            server.stop()


def _drain(topology: Topology, messages: int) -> None:
    for server in [*topology.queues, *topology.queues]:  # what one Postfix has handed over the other may still have
        if isinstance(server, Postfix):
            server.drain()
    for server in topology.queues:
        if isinstance(server, Queueing):
            server.drained(messages)


def _round(topology: Topology, slapd: Slapd, messages: int) -> dict[str, float]:
    relay, store = topology.relay, topology.store
    with _running(topology):
        load(relay.address, relay.port, messages=WARM, connections=8, lmtp=False, users=LDAP_USERS)
        _drain(topology, WARM)
        cpu = relay.group.cpu(), sum(each.group.cpu() for each in store)
        asked, began = slapd.asked(), time.monotonic()
        load(relay.address, relay.port, messages=messages, connections=CONNECTIONS, lmtp=False, users=LDAP_USERS)
        _drain(topology, messages)
        seconds, after = time.monotonic() - began, slapd.asked()
        memory = sum(each.group.pss() for each in topology.tiers)
    spent = relay.group.cpu() - cpu[0], sum(each.group.cpu() for each in store) - cpu[1]
    return {
        "rate": messages / seconds,
        "relay_cpu": spent[0] / messages * 1000,
        "store_cpu": spent[1] / messages * 1000,
        "cpu": sum(spent) / messages * 1000,
        "relay_searches": (after["relay"] - asked["relay"] - 1) / messages,  # one is our own question
        "store_searches": (after["store"] - asked["store"]) / messages,
        "pss_mib": memory / 2**20,
    }


def run(root: Path, rounds: int) -> dict[str, Any]:
    """Every topology in every round, one after the other."""
    result: dict[str, Any] = {"missing": [], "topologies": [], "messages": MESSAGES}
    slapd = Slapd(root, LDAP_USERS, HOST)
    try:
        slapd.start()
    except Missing as reason:
        return {**result, "missing": [str(reason)]}
    made: list[tuple[Topology, list[dict[str, float]]]] = []
    try:
        for maker in MAKERS:
            topology = maker(root, slapd)
            try:
                _round(topology, slapd, MESSAGES)
                made.append((topology, []))
            except Missing as reason:
                result["missing"].append(str(reason))
        for _ in range(rounds):
            for topology, figures in made:
                figures.append(_round(topology, slapd, MESSAGES))
    finally:
        for topology, _ in made:
            for server in topology.tiers:
                server.group.remove()
        slapd.stop()
        slapd.group.remove()
    for topology, figures in made:
        row = {key: round(median(figures, key), 4) for key in figures[0]}
        result["topologies"].append(
            {"name": topology.name, "figure": topology.figure, "queues": len(topology.queues), **row}
        )
    result["ratios"] = _ratios({f"{topology.name} {topology.figure}": figures for topology, figures in made})
    return result


GOALS = (
    ("Posthouse 16-2", "Posthouse 16-1", "store_cpu", 1.5),
    ("Posthouse 16-2", "Postfix, Dovecot 16-2", "store_cpu", 7.0),
    ("Posthouse 16-2", "Postfix, Dovecot 16-2", "cpu", 6.0),
    ("Posthouse 16-2", "Postfix, Dovecot 16-2", "rate", 4.0),
    ("Posthouse 16-1", "Postfix, virtual(8) 16-1", "cpu", 4.0),
)
WORDS = {"store_cpu": "CPU of the store", "cpu": "CPU of both tiers", "rate": "rate"}


def _ratios(runs: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    found = []
    for ours_name, theirs, figure, goal in GOALS:
        if ours_name in runs and theirs in runs:
            pairs = [(a[figure], b[figure]) for a, b in zip(runs[ours_name], runs[theirs], strict=True)]
            each = sorted(a / b if figure == "rate" else b / a for a, b in pairs)
            found.append({"ours": ours_name, "theirs": theirs, "figure": figure, "ratio": round(each[len(each) // 2], 2), "goal": goal})
    return found


def report(result: dict[str, Any], machine: str) -> list[str]:
    """Print the table, draw the picture; the goals that were missed."""
    missed = [f"figures: {reason}" for reason in result["missing"]]
    print("\nfigures: for each 1000 deliveries CPU seconds; searches for each delivery; PSS of both tiers\n")
    print("| deployment | figure | deliveries/s | relay CPU | store CPU | both | relay searches | store searches | queues | MiB |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for row in result["topologies"]:
        print(
            f"| {row['name']} | {row['figure']} | {row['rate']:,.0f} | {row['relay_cpu']:.2f} | {row['store_cpu']:.2f} "
            f"| {row['cpu']:.2f} | {row['relay_searches']:.2f} | {row['store_searches']:.2f} | {row['queues']} | {row['pss_mib']:.0f} |"
        )
    print()
    for row in result.get("ratios", []):
        print(f"{row['ours']} against {row['theirs']}: {WORDS[row['figure']]} {row['ratio']:.1f} times as good, goal {row['goal']:g}")
        if row["ratio"] < row["goal"]:
            missed.append(f"figures, {row['ours']} against {row['theirs']}: {WORDS[row['figure']]} {row['ratio']:.2f}, goal {row['goal']:g}")
    asking = [row for row in result["topologies"] if (row["name"], row["figure"]) == ("Posthouse", "16-2") and row["store_searches"]]
    missed += [f"figures: the store of 16-2 asked the directory {row['store_searches']} times for each delivery" for row in asking]
    if result["topologies"]:
        PICTURE.write_text(draw(result["topologies"], machine))
        print(f"drawn: {PICTURE}")
    return missed


def draw(rows: list[dict[str, Any]], machine: str) -> str:
    """Bars of CPU, relay and store, for each deployment; readable on light and dark pages."""
    widest = max(row["cpu"] for row in rows)
    left, scale, step = 190, 430 / widest, 46
    height = 70 + step * len(rows) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" role="img" aria-labelledby="t" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<style>text{fill:#24292f}.q{fill:#57606a}.r{fill:#0969da}.s{fill:#bf8700}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.q{fill:#9198a1}.r{fill:#4493f8}.s{fill:#d29922}}</style>",
        '<title id="t">CPU seconds for each 1000 deliveries, relay and store</title>',
        '<text x="10" y="20" font-weight="600">CPU seconds for each 1000 deliveries</text>',
        '<rect class="r" x="10" y="32" width="12" height="12"/><text x="27" y="43">relay</text>',
        '<rect class="s" x="80" y="32" width="12" height="12"/><text x="97" y="43">store</text>',
    ]
    for number, row in enumerate(rows):
        y = 62 + step * number
        relay, store = row["relay_cpu"] * scale, row["store_cpu"] * scale
        text = f"{row['cpu']:.2f} s, {row['rate']:,.0f}/s"
        parts += [
            f'<text x="10" y="{y + 13}">{row["name"]}</text>',
            f'<text class="q" x="10" y="{y + 29}" font-size="11">figure {row["figure"]}, queues passed: {row["queues"]}</text>',
            f'<rect class="r" x="{left}" y="{y}" width="{relay:.1f}" height="24"/>',
            f'<rect class="s" x="{left + relay:.1f}" y="{y}" width="{store:.1f}" height="24"/>',
            f'<text x="{left + relay + store + 8:.1f}" y="{y + 17}">{text}</text>',
        ]
    stamp = f"{machine}; {datetime.now(UTC).date()}; median, paired rounds, one slapd of {LDAP_USERS:,} users"
    parts.append(f'<text class="q" x="10" y="{height - 8}" font-size="11">{stamp}</text>')
    return "\n".join([*parts, "</svg>\n"])
