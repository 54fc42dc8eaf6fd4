"""Alias expansion: from an address of ours to the addresses its owner's entry makes of it (directory.md 3-6, 9).

One step only: every address that comes out is rewritten and, if it is local again, expanded again by route.py.
A refusal is raised as Refuse with the reply of the tables in directory.md and option-dat.md.
"""

from dataclasses import dataclass

from posthouse.mail.address import Address, parse_address, unquote
from posthouse.mail.status import Status
from posthouse.relay.directory.question import Domain, Entry, Kind
from posthouse.relay.routing.clause_template import ClauseInputs, Whole, render_clause
from posthouse.relay.routing.delivery_options import BUILT, Clause, active_clauses, ignored_values
from posthouse.relay.routing.entry_status import State, entry_state
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.lookup import FoundEntry, Redirect, find_owner
from posthouse.relay.routing.quota import quota_text
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.rules import Rules

_ROUTING_CHARACTERS = frozenset("+%@")


class Refuse(Exception):  # noqa: N818 - a reply, not a fault
    """The recipient is refused; reason is for the log."""

    def __init__(self, refusal: Refusal, reason: str, text: str | None = None) -> None:
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason
        self.text = text


class Nobody(Refuse):
    """Nobody has the address."""


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """What travels with every address made from one user's entry."""

    address: str
    """the address that entered alias expansion"""
    quota: str
    block_limit: int
    """in octets, 0 for none"""
    sieve: bool
    """the user has a Sieve script"""


@dataclass(frozen=True, slots=True)
class Made:
    """One address that expansion yields."""

    address: str
    why: str
    file: str = ""
    line: int = 0
    held: bool = False
    keep_route: bool = False
    owner: OwnerFacts | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """What one address becomes. key names the owner in the visited set."""

    key: str
    made: tuple[Made, ...]
    notes: tuple[str, ...] = ()
    """what of the entry is not acted on, for the log and explanations"""


def expand(rules: Rules, inquiry: Inquiry, address: str, now: float) -> Asking[Expansion]:
    """Expand one address on the local channel.

    Raises:
        Refuse: nobody has the address, or its owner must not or cannot receive.
        NoAnswer: the directory is silent.
        AmbiguousEntry: more than one entry has the address.
    """
    parsed = parse_address(address)
    owner = yield from find_owner(rules, inquiry, parsed.local, parsed.domain)
    match owner:
        case None:
            raise Nobody(Refusal.UNKNOWN_ALIAS, "nobody has this address")
        case Redirect():
            made = tuple(Made(one, owner.why, owner.file, owner.line, keep_route=owner.keep_route) for one in owner.addresses)
            return Expansion(owner.key, made)
        case FoundEntry():
            return Expansion(owner.entry.dn.lower(), _of_entry(rules, owner, address, parsed, now), _notes(rules, owner))


def _of_entry(rules: Rules, owner: FoundEntry, address: str, parsed: Address, now: float) -> tuple[Made, ...]:
    domain, entry = owner.domain, owner.entry
    state = entry_state(domain, entry)
    if isinstance(state, Refusal):
        raise Refuse(state, f"status of {entry.dn} or its domain")
    held = state is State.HOLD
    clauses = active_clauses(rules.clauses, entry, now, held=held)
    if not clauses:
        if held:
            raise Refuse(Refusal.NOT_BUILT, "status hold", "no delivery option hold for a user on hold")
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"no delivery option for {entry.dn}")
    if not all(_any_host(rules, clause, entry) for clause in clauses):
        elsewhere = _other_host(rules, domain, entry, address)
        if elsewhere is not None:
            return (elsewhere,)
    routing = entry.first("mailroutingaddress")
    if routing and not held:
        return (Made(routing, "mailRoutingAddress", keep_route=True),)
    for clause in clauses:
        _refuse_unbuilt(clause, rules, entry)
    return _render_all(rules, owner, clauses, address, parsed)


def _any_host(rules: Rules, clause: Clause, entry: Entry) -> bool:
    """Whether `#` counts for this clause and entry: only listed stores, where any is listed, speak LMTP."""
    if not clause.any_host:
        return False
    if not clause.template.through_lmtp or rules.lmtp_stores is None:
        return True
    return entry.first("mailhost").lower() in rules.lmtp_stores


def _other_host(rules: Rules, domain: Domain, entry: Entry, address: str) -> Made | None:
    """The route to the host that handles the entry in our stead; None: this one does."""
    host = entry.first("mailhost")
    if host.lower() in rules.this_host or (not host and entry.kind is Kind.GROUP):
        return None
    if host:
        return Made(f"@{host}:{address}", f"mailHost {host} is another machine", keep_route=True)
    return _without_mail_host(domain, entry, address)


def _without_mail_host(domain: Domain, entry: Entry, address: str) -> Made:
    smart_host = domain.first("mailroutingsmarthost")
    if not smart_host:
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"{entry.dn} has no mailHost")
    return Made(f"@{smart_host}:{address}", f"no mailHost; smart host of {domain.name}", keep_route=True)


def _refuse_unbuilt(clause: Clause, rules: Rules, entry: Entry) -> None:
    if clause.name not in BUILT:
        text = f"delivery option {clause.name} is not available yet"
        raise Refuse(Refusal.NOT_BUILT, f"{clause.name} of {entry.dn}", text)
    if clause.offline:
        text = f"delivery option {clause.name} asks for the reprocess channel, which is not available yet"
        raise Refuse(Refusal.NOT_BUILT, f"{clause.name} of {entry.dn}", text)
    if clause.template.through_lmtp and "X" in clause.template.uses and entry.first("mailhost").lower() in rules.this_host:
        text = f"mailHost {entry.first('mailhost')} is this very host: LMTP is not possible in single-system deployments"
        raise Refuse(Refusal.NOT_BUILT, f"{entry.dn} by LMTP to ourselves", text)


def _render_all(rules: Rules, owner: FoundEntry, clauses: tuple[Clause, ...], address: str, parsed: Address) -> tuple[Made, ...]:
    entry, domain = owner.entry, owner.domain
    if entry.kind is Kind.USER and not _ROUTING_CHARACTERS.isdisjoint(entry.uid):
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"uid {entry.uid!r} of {entry.dn} contains + % or @")
    facts = owner_facts(rules, owner, address)
    inputs = clause_inputs(rules, owner, address, parsed)
    made: list[Made] = []
    for clause in clauses:
        if "X" in clause.template.uses and not inputs.mail_host:
            return (_without_mail_host(domain, entry, address),)
        made += (
            Made(one, f"clause {clause.text}", clause.file, clause.line, clause.hold, owner=facts)
            for one in clause_addresses(clause, inputs, entry)
        )
    if not made:
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"no delivery option gives an address for {entry.dn}")
    return tuple(made)


def clause_addresses(clause: Clause, inputs: ClauseInputs, entry: Entry) -> tuple[str, ...]:
    """The addresses one clause yields; members of a group are not expanded here."""
    match clause.template.whole:
        case Whole.FORWARD:
            return entry.all("mailforwardingaddress")
        case Whole.EXPAND:
            return ()
        case Whole.TEXT:
            one = render_clause(clause.template, inputs)
            return () if one is None else (one,)


def owner_facts(rules: Rules, owner: FoundEntry, address: str) -> OwnerFacts:
    """Quota, size limit and filter of the entry."""
    entry, domain = owner.entry, owner.domain
    limits = [
        _blocks(entry.first("mailmsgmaxblocks")),
        _blocks(domain.first("maildomainmsgmaxblocks") or domain.first("mailmsgmaxblocks")),
    ]
    limit = min((one for one in limits if one), default=0) * rules.block_size
    return OwnerFacts(address, quota_text(domain, entry), limit, sieve=bool(entry.all("mailsieverulesource")))


def _blocks(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def clause_inputs(rules: Rules, owner: FoundEntry, address: str, parsed: Address) -> ClauseInputs:
    """What the templates of this entry's clauses draw on."""
    entry, domain = owner.entry, owner.domain
    name = unquote(parsed.local)
    mailbox = name.partition(rules.subaddress_char)[0] if owner.subaddress else name
    return ClauseInputs(
        address=address,
        local=parsed.local,
        mailbox=mailbox,
        subaddress=owner.subaddress,
        domain=parsed.domain,
        route=",".join(f"@{host}" for host in parsed.route).removeprefix("@"),
        uid=entry.uid,
        hosted_domain="" if domain.canonical == rules.default_domain else domain.canonical,
        mail_host=entry.first("mailhost"),
        program=entry.first("mailprogramdeliveryinfo"),
        delivery_file=entry.first("maildeliveryfileurl"),
        filter=rules.class_filter,
        spare={number: entry.first(f"spare{number}") for number in range(1, 6) if entry.first(f"spare{number}")},
    )


def status_of(rules: Rules, refuse: Refuse, given: str) -> Status:
    """The reply for a refusal."""
    return rules.refusals.status(refuse.refusal, given, refuse.text)


def _notes(rules: Rules, owner: FoundEntry) -> tuple[str, ...]:
    notes = [f"mailDeliveryOption {value}: no such clause" for value in ignored_values(rules.clauses, owner.entry)]
    if owner.entry.all("mailsieverulesource"):
        notes.append("mailSieveRuleSource is not run yet: mail goes to INBOX")
    return tuple(notes)

