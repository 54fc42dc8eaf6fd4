"""What the relay is measured at without a peer: searches it makes, what a user's script costs, transactions of a long list.

* Searches are the operations that slapd counts on the relay's connections: after the domain is known at most one for each
  recipient that is new, and none while he is known.
* CPU of mail for users with a Sieve script of twenty lines, beside that for as many without; in turn.
* A list of 10,000 members on two stores: LMTP transactions, counted by the sink, at most one for each begun thousand on a store.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from measure import DOMAIN, load, median
from peers import Sink, Slapd, mailing_list, people

SCRIPTED, PLAIN, LISTED = f"script.{DOMAIN}", f"plain.{DOMAIN}", f"list.{DOMAIN}"
USERS = 500
MEMBERS = 10_000
MESSAGES = 3000
NEW = 400
MOST_SCRIPT = 1.3
MOST_RECIPIENTS = 1000
SCRIPT = """\
require ["fileinto", "envelope", "relational", "comparator-i;ascii-numeric", "subaddress"];
# what lists send
if header :contains "list-id" "announce" {
    fileinto "Lists.Announce";
    stop;
}
if anyof (header :contains "subject" ["[bench]", "lottery", "you have won"], header :is "x-spam-flag" "YES") {
    fileinto "Junk";
    stop;
}
if allof (address :domain :is "from" "customers.example.net", not header :contains "precedence" "bulk") {
    fileinto "Customers";
} elsif envelope :detail "to" "invoices" {
    fileinto "Invoices";
} elsif size :over 5M {
    fileinto "Large";
} elsif header :value "ge" :comparator "i;ascii-numeric" "x-priority-level" "5" {
    fileinto "Urgent";
} else {
    keep;
}"""


def entries(stores: Sequence[str]) -> str:
    """LDIF of the users and the list asked about here."""
    script = f"mailSieveRuleSource:: {base64.b64encode(SCRIPT.encode()).decode()}"
    return "\n".join([
        people(SCRIPTED, USERS, stores[:1], script), people(PLAIN, USERS, stores[:1]),
        people(LISTED, MEMBERS, stores), mailing_list("everybody", LISTED, MEMBERS),
    ])  # fmt: skip


def searches(relay: Any, slapd: Slapd) -> list[dict[str, Any]]:
    """Searches of new recipients and of known ones, in domains that are known."""

    def send(messages: int, users: int) -> None:
        load(relay.address, relay.port, messages=messages, connections=8, lmtp=False, users=users, domain=PLAIN)
        _drain(relay, messages)

    relay.start()
    try:
        send(1, 1)
        new = _asked(slapd, lambda: send(NEW, USERS)) / (NEW - 1)
        known = _asked(slapd, lambda: send(NEW, USERS)) / NEW
    finally:
        relay.stop()
    return [
        {"case": "searches for a new recipient of a known domain", "count": new, "most": 1},
        {"case": "searches for a known recipient", "count": known, "most": 0},
    ]


def _asked(slapd: Slapd, work: Callable[[], None]) -> int:
    before = slapd.asked()["relay"]
    work()
    return slapd.asked()["relay"] - before


def long_list(relay: Any, sink: Sink, stores: Sequence[str]) -> list[dict[str, Any]]:
    """One message to the list."""
    relay.start()
    try:
        sink.since()
        load(relay.address, relay.port, messages=1, connections=1, lmtp=False, users=1, to=f"everybody@{LISTED}")
        _drain(relay, MEMBERS + 1)  # the list's own copy is one, too
        heard = sink.since()
    finally:
        relay.stop()
    if heard["recipients"] != [MEMBERS // len(stores)] * len(stores):
        raise RuntimeError(f"of {MEMBERS} members these had the message: {heard['recipients']}")
    most = -(-MEMBERS // len(stores) // MOST_RECIPIENTS)
    return [
        {"case": f"transactions of a list of {MEMBERS:,}: {store}", "count": count, "most": most}
        for store, count in zip(stores, heard["transactions"], strict=True)
    ]


def script(relay: Any, rounds: int) -> dict[str, Any]:
    """CPU of users without and with a script."""
    without, scripted = [], []
    for _ in range(rounds):
        without.append(_cpu(relay, PLAIN))
        scripted.append(_cpu(relay, SCRIPTED))
    return {
        "case": "CPU of a user without a script, with one", "goal": MOST_SCRIPT,
        "few": median(without, "cpu"), "many": median(scripted, "cpu"),
        "ratio": median([{"r": b["cpu"] / a["cpu"]} for a, b in zip(without, scripted, strict=True)], "r"),
    }  # fmt: skip


def _cpu(relay: Any, domain: str) -> dict[str, float]:
    def send(messages: int) -> None:
        load(relay.address, relay.port, messages=messages, connections=8, lmtp=False, users=USERS, domain=domain)
        _drain(relay, messages)

    relay.start()
    try:
        send(USERS)
        before = relay.group.cpu()
        send(MESSAGES)
    finally:
        relay.stop()
    return {"cpu": (relay.group.cpu() - before) / MESSAGES * 1000}


def _drain(relay: Any, deliveries: int) -> None:
    relay.goal = getattr(relay, "goal", 0) + deliveries
    relay.drain(relay.goal)
