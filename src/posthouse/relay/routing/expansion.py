"""Alias expansion: from an address of ours to the addresses its owner's entry makes of it (directory.md 3, 5, 6).

One step only: every address that comes out is rewritten and, if it is local again, expanded again by route.py.
A refusal is raised as Refuse with the reply of the tables in directory.md and option-dat.md.
"""

from typing import NamedTuple

from posthouse.mail.address import parse_address, unquote
from posthouse.relay.directory.question import Entry, Kind
from posthouse.relay.routing.clause_template import ClauseInputs, OwnerValues, Whole, render_clause
from posthouse.relay.routing.delivery_options import Clause
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.lookup import Redirect, find_owner
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import Refuse, Standing, standing
from posthouse.relay.routing.way import OwnerFacts

AT_HOME = " at home"
"""behind an owner's key: what else he has than forwards, which is found where he is met first, too"""


class Nobody(Refuse):
    """Nobody has the address."""


class Made(NamedTuple):
    """One address that expansion yields."""

    address: str
    why: str
    file: str = ""
    line: int = 0
    held: bool = False
    keep_route: bool = False
    owner: OwnerFacts | None = None
    forwarded: bool = False
    """a forwarding address"""
    answers: bool = False
    """a vacation answer"""


class Expansion(NamedTuple):
    """What one address becomes. key names the owner in the visited set."""

    key: str
    made: tuple[Made, ...]
    notes: tuple[str, ...] = ()
    """the entry and what of it is not acted on, for the log and explanations"""
    group: Entry | None = None
    """its members are to be found"""
    many: bool = False
    """it stands for others: a group, or a user who forwards"""


def expand(
    rules: Rules, inquiry: Inquiry, address: str, now: float, visited: frozenset[str] = frozenset(), *,
    from_reprocess: bool = False, at_home: bool = False,
) -> Asking[Expansion]:  # fmt: skip
    """Expand one address on the local channel.

    Args:
        rules: compiled configuration.
        inquiry: of this decision.
        address: as it was rewritten.
        now: Unix time in seconds, for vacation dates.
        visited: keys of the owners on the way; a user met again does not forward any more.
        from_reprocess: the message comes from the reprocess channel, so that `@` clauses count.
        at_home: no user forwards.

    Raises:
        Refuse: nobody has the address, or its owner must not or cannot receive.
        NoAnswer: the directory is silent.
        AmbiguousEntry: more than one entry has the address.
    """
    if address.startswith("@"):
        parsed = parse_address(address)
        local, domain_name, route = parsed.local, parsed.domain, ",@".join(parsed.route)
    else:
        local, _, domain_name = address.rpartition("@")
        route = ""
    owner = yield from find_owner(rules, inquiry, local, domain_name)
    if owner is None:
        raise Nobody(Refusal.UNKNOWN_ALIAS, "nobody has this address")
    if isinstance(owner, Redirect):
        made = tuple(Made(one, owner.why, owner.file, owner.line, keep_route=owner.keep_route) for one in owner.addresses)
        return Expansion(owner.key, made)
    stands = standing(rules, owner.domain, owner.entry, now)
    if stands.refuse is not None:
        raise Refuse(stands.refuse.refusal, stands.refuse.reason, stands.refuse.text)
    if stands.route_to:
        return Expansion(stands.key, (Made(f"@{stands.route_to}:{address}", stands.why, keep_route=True),))
    if stands.replaced_by:
        return Expansion(stands.key, (Made(stands.replaced_by, "mailRoutingAddress", keep_route=True),))
    if stands.offline and not from_reprocess:
        return Expansion(stands.key, (_postponed(rules, address),))
    assert stands.values is not None
    inputs = clause_inputs(rules, stands.values, address, local, domain_name, owner.subaddress, route)
    if (at_home or stands.key in visited) and owner.entry.kind is Kind.USER:
        stands = _at_home(rules, stands)
    return _rendered(stands, inputs)


def _at_home(rules: Rules, stands: Standing) -> Standing:
    """The user as he stands when his own forward leads back to him: without it, with a mailbox if nothing else is left."""
    left = tuple(clause for clause in stands.clauses if clause.template.whole is not Whole.FORWARD)
    if not left:
        return stands._replace(key=f"{stands.key} in his mailbox", clauses=rules.clauses[:1])
    return stands._replace(key=f"{stands.key}{AT_HOME}", clauses=left)


def _rendered(stands: Standing, inputs: ClauseInputs) -> Expansion:
    facts = OwnerFacts(inputs.address, stands.quota, stands.block_limit, stands.filter)
    unfiltered = facts._replace(filter=None)
    made: list[Made] = []
    many = False
    for clause in stands.clauses:
        whole = clause.template.whole
        many = many or whole is not Whole.TEXT
        for one in clause_addresses(clause, inputs, stands.entry):
            forwarded = whole is Whole.FORWARD
            by = unfiltered if forwarded or clause.autoreply or clause.hold else facts  # his script decides what is stored
            made.append(Made(one, clause.shown, clause.file, clause.line, clause.hold, False, by, forwarded, clause.autoreply))
    group = None
    if stands.entry.kind is Kind.GROUP and any(clause.template.whole is Whole.EXPAND for clause in stands.clauses):
        group = stands.entry
    if not made and group is None:
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"no delivery option gives an address for {stands.entry.dn}")
    return Expansion(stands.key, tuple(made), stands.notes, group, many)


def _postponed(rules: Rules, address: str) -> Made:
    """The unexpanded address on its way to the reprocess channel."""
    channel = rules.imta.channels.get("reprocess")
    if channel is None:
        text = "a delivery option asks for the missing channel reprocess"
        raise Refuse(Refusal.NOT_BUILT, text, text)
    waiting = f"@{channel.official_host}{',' if address.startswith('@') else ':'}{address}"
    return Made(waiting, "expanded in the reprocess channel")


def clause_addresses(clause: Clause, inputs: ClauseInputs, entry: Entry) -> tuple[str, ...]:
    """The addresses one clause yields; members of a group are not expanded here."""
    match clause.template.whole:
        case Whole.TEXT:
            if "P" in clause.template.uses:
                return _for_each_program(clause, inputs, entry)
            one = render_clause(clause.template, inputs)
            return () if one is None else (one,)
        case Whole.FORWARD:
            return entry.all("mailforwardingaddress")
        case Whole.EXPAND:
            return ()


def _for_each_program(clause: Clause, inputs: ClauseInputs, entry: Entry) -> tuple[str, ...]:
    """One address for each program the entry names."""
    names = entry.all("mailprogramdeliveryinfo") or (inputs.owner.program,)
    owners = (inputs.owner._replace(program=name) for name in names)
    made = (render_clause(clause.template, inputs._replace(owner=owner)) for owner in owners)
    return tuple(one for one in made if one is not None)


def clause_inputs(
    rules: Rules, values: OwnerValues, address: str, local: str, domain: str, subaddress: str, route: str = ""
) -> ClauseInputs:
    """What the templates draw on for this address of the entry's owner."""
    name = unquote(local)
    mailbox = name.partition(rules.subaddress_char)[0] if subaddress else name
    return ClauseInputs(address, local, mailbox, subaddress, domain, route, values)
