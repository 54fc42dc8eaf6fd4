"""The usual recipient: a plain address of a user with a mailbox, and at most a script, decided without going the whole way.

    usual_recipient(...)          -> what to ask the directory, from what is known already; None: not usual
    usual_result(..., answer)     -> Accepted; None: not usual after all

Promise: what comes out here is what route.py's general way comes to for the same answers, and no question is asked that it
would not ask; for everything else the answer is None, and the general way decides from the beginning (the question already
asked is not asked again). What the addresses of a host have in common is found out once (`Gate`). Most users of a domain
differ in their names only: from the first of them the general way's own functions make a recipe, the target with a gap for
the uid; it serves for all whose entries have the same shape (standing.py) and whose mail comes in on the same channel. The
mailbox may be on another machine: the address goes there behind its mailHost (source-routes 3), which drops the route again.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from posthouse.mail.address import MAX_OCTETS
from posthouse.mapping.access import send_probe
from posthouse.relay.directory.question import Absent, Answer, Domain, Entry, Found, Kind, NeedDomain, NeedEntry, Question
from posthouse.relay.routing.clause_template import Whole, differs_by_uid, render_clause
from posthouse.relay.routing.expansion import clause_inputs
from posthouse.relay.routing.host_part import Place, join, split_plain
from posthouse.relay.routing.result import Accepted, Target
from posthouse.relay.routing.rewrite import Rewritten, Settled
from posthouse.relay.routing.rule_table import REMEMBERED_HOSTS, Purpose, coming_in
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import Standing, standing, twin
from posthouse.relay.routing.target import target_of
from posthouse.relay.routing.way import OwnerFacts, Way

_LONGEST = 64
_NAME = rf"(?![^@]{{{_LONGEST + 1}}})[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
_LONGEST_HOST = 200
_HOST = rf"[A-Za-z0-9._-]{{1,{_LONGEST_HOST}}}"
_PLAIN = re.compile(rf"(?:@({_HOST}):)?({_NAME})@({_HOST})")
"""addresses that can be usual: no subaddress, at most one host in the route, nothing quoted"""
_PLAIN_NAME = re.compile(_NAME)
_GAP = "uQiDgApQ"
"""a uid in whose place others are put; nothing else in a recipe has it"""
_RECEIVED = f"{_GAP}@gap.test"
"""the same for an address as it was received"""
_KEYWORDS = ("aliaslocal", "routelocal", "enqueueremoveroute")
"""of channels whose targets depend on more than the host"""


class Gate(NamedTuple):
    """What all plain addresses of one host have in common, for mail that comes in on one channel."""

    source: str
    purpose: Purpose
    host: str
    """as rewritten, on channel `l`"""
    domains: tuple[NeedDomain, ...]
    """that must be ours and handled here; the last one is the host's"""
    tables: tuple[str, ...]
    """access tables that may have something to say"""


class Usual(NamedTuple):
    """A recipient that may be usual: so says its address."""

    gate: Gate
    sender: str
    question: NeedEntry


class Recipe(NamedTuple):
    """A target with a gap."""

    target: Target
    before: str
    after: str
    received: bool
    """the gap is for the address as it was received, else for the uid"""
    tables: tuple[str, ...]
    """access tables that may have something to say"""
    strangers: tuple[NeedDomain, ...]
    """that must be known to be no domains of ours"""
    filtered: bool
    """the user's own Sieve script decides about it"""


def usual_recipient(
    rules: Rules, source: str, sender: str, recipient: str, known: Callable[[Question], Answer | None]
) -> Usual | None:
    """What is to be asked about a recipient that may be usual.

    Args:
        rules: that count.
        source: channel the message comes in on.
        sender: envelope From.
        recipient: the path of RCPT TO without brackets, exactly as given.
        known: gives what is at hand of the directory's answers.
    """
    plain = _PLAIN.fullmatch(recipient)
    if plain is None:
        return None
    route, local, host = plain.groups()
    gates = rules.gates
    if (source, route, host) not in gates:
        if len(gates) >= REMEMBERED_HOSTS:
            gates.clear()
        gates[source, route, host] = _gate(rules, source, route, host)
    gate: Gate | None = gates[source, route, host]
    if gate is None:
        return None
    domain: Domain | None = None
    for asked in gate.domains:
        answer = known(asked)
        if not isinstance(answer, Found) or not isinstance(answer.value, Domain):
            return None
        domain = answer.value
        if rules.rewriter.local_hosts.routing_host(domain):
            return None
    if domain is None or (gate.tables and not _silent(rules, gate.tables, gate, sender, "l", f"{local}@{gate.host}")):
        return None
    return Usual(gate, sender, NeedEntry(local, domain, gate.host))


def usual_result(
    rules: Rules, usual: Usual, size: int | None, answer: Answer, known: Callable[[Question], Answer | None]
) -> Accepted | None:
    """The recipient is usual, as this one target; None: he is not.

    Args:
        rules: that count.
        usual: what was asked.
        size: octets announced by SIZE=, or None.
        answer: to the question.
        known: as for `usual_recipient`.
    """
    gate, sender, question = usual
    if not isinstance(answer, Found) or not isinstance(answer.value, Entry):
        return None
    uid = answer.value.uid
    stands = twin(rules, question.domain, answer.value)
    if stands is None or stands.recipes is None or _PLAIN_NAME.fullmatch(uid) is None:
        return None
    if gate.source not in stands.recipes:
        stands.recipes[gate.source] = _recipe(rules, stands, gate)
    recipe: Recipe | None = stands.recipes[gate.source]
    if recipe is None:
        return None
    model, before, after, received, tables, strangers, filtered = recipe
    for asked in strangers:
        if not isinstance(known(asked), Absent):
            return None
    address = f"{question.local}@{gate.host}"
    made = before + (address if received else uid) + after
    limit = model.blocklimit
    if (limit and size is not None and size > limit) or (
        tables and not _silent(rules, tables, gate, sender, model.channel, made)
    ):
        return None
    script = standing(rules, question.domain, answer.value, 0.0).filter if filtered else None  # the time: for no one of a shape
    entered = "" if received else address
    return Accepted((Target(model.channel, made, model.host, model.quota, 0, entered, model.held, limit, filter=script),))


def _gate(rules: Rules, source: str, route: str | None, host: str) -> Gate | None:
    """None: the addresses of the host differ, or are not ours to begin with."""
    purpose = coming_in(rules.imta.channels.get(source))
    if route is not None:
        dropped = rules.rewriter.settled(route, Place.ROUTE, purpose)
        if dropped is None or dropped.channel.name != "l" or dropped.ours:
            return None
    settled = rules.rewriter.settled(host, Place.AT, purpose)
    if settled is None or settled.channel.name != "l" or settled.route or len(settled.host) > _LONGEST_HOST:
        return None
    host = settled.host.lower()
    names = [*dict.fromkeys(name.lower() for name in settled.ours if name.lower() != host), host]
    if any(not name or name.startswith("[") for name in names):
        return None
    tables = _speaking(rules, rules.before_tables, source, "l")
    return None if tables is None else Gate(source, purpose, settled.host, tuple(map(NeedDomain, names)), tables)


def _speaking(rules: Rules, names: Sequence[str], source: str, channel: str) -> tuple[str, ...] | None:
    """The access tables that may have an entry for mail from one channel to the other; None: nobody is usual for these tables."""
    if names and (rules.access_orcpt or not all(name.endswith("SEND_ACCESS") for name in names)):
        return None
    return tuple([name for name in names if rules.tables.admits(name, (source, None, channel, None))])


def _silent(rules: Rules, names: Sequence[str], gate: Gate, sender: str, channel: str, address: str) -> bool:
    """Whether none of the tables has anything to say about this address."""
    text = send_probe(gate.source, sender.replace("|", "?"), channel, address.replace("|", "?"))
    return all(rules.tables.at_once(name, text) is None for name in names)


def _recipe(rules: Rules, stands: Standing, gate: Gate) -> Recipe | None:
    """What becomes of all users who stand so; None when not all become the same."""
    if stands.entry.kind is not Kind.USER or stands.offline or rules.max_levels < 1:
        return None
    received = bool(stands.route_to)
    blank, made = (_RECEIVED, f"@{stands.route_to}:{_RECEIVED}") if received else (_GAP, _only_address(rules, stands))
    part = split_plain(made) if made else None
    if part is None or part.rest.count(blank) != 1 or _GAP in part.host:
        return None
    settled, strangers = _among_strangers(rules.rewriter.settled(part.host, part.place, gate.purpose))
    if settled is None or settled.channel.name == "l" or any(map(settled.channel.has, _KEYWORDS)):
        return None
    there = Rewritten(join(part.rest, settled.host, settled.route), settled.channel, settled.host, settled.route)
    owner = None if received else OwnerFacts("", stands.quota, stands.block_limit)
    held = not received and stands.clauses[0].hold
    target = target_of(rules, there, Way(owner=owner, held=held))
    before, gap, after = target.address.partition(blank)
    longest = max(len(made or ""), len(target.address)) + _LONGEST + _LONGEST_HOST
    if not gap or split_plain(target.address) is None or longest > MAX_OCTETS:
        return None
    tables = _speaking(rules, rules.after_tables, gate.source, target.channel)
    if tables is None:
        return None
    return Recipe(target, before, after, received, tables, strangers, stands.filter is not None and not held)


def _among_strangers(settled: Settled | None) -> tuple[Settled | None, tuple[NeedDomain, ...]]:
    """Where a host leads when none of the domains that rules ask about is ours, and these; None: nowhere, or not so simply."""
    strangers: list[NeedDomain] = []
    while settled is not None and settled.ours:
        name, *more = settled.ours
        if more or not name or name.startswith("["):
            return None, ()
        strangers.append(NeedDomain(name.lower()))
        settled = settled.otherwise
    return settled, tuple(strangers)


def _only_address(rules: Rules, stands: Standing) -> str | None:
    """The address of the only clause for a user whose uid is the gap."""
    if stands.values is None or len(stands.clauses) != 1:
        return None
    clause = stands.clauses[0]
    if clause.template.whole is not Whole.TEXT or clause.autoreply or not differs_by_uid(clause.template):
        return None
    return render_clause(clause.template, clause_inputs(rules, stands.values._replace(uid=_GAP), "", "", "", ""))
