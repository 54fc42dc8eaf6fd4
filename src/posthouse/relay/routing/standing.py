"""What an entry means for every address that reaches it: refused, sent elsewhere, or which clauses count (directory.md 4-6).

A standing depends on the entry, its domain and, only where a clause with `^` or `%` is chosen, on the time. The directory
hands out the same entry object while nothing has changed, so a standing is kept for as long as entry and domain are
the same objects; at most REMEMBERED of them. Most entries of a domain differ in name only: what was decided for one serves
for all that have the same values of the attributes in SHAPE, at most SHAPES of these.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from posthouse.config.imta_cnf import ImtaCnf
from posthouse.relay.directory.question import Domain, Entry, Kind
from posthouse.relay.routing.clause_template import OwnerValues
from posthouse.relay.routing.delivery_options import (
    BUILT,
    BUILT_BY_LMTP,
    BUILT_BY_PROGRAM,
    Clause,
    active_clauses,
    ignored_values,
)
from posthouse.relay.routing.entry_status import State, deciding_status, entry_state
from posthouse.relay.routing.quota import quota_text
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.user_filter import UserFilter, user_filter

REMEMBERED = 20_000
SHAPES = 1000
SHAPE = (
    "inetuserstatus", "mailuserstatus", "inetmailgroupstatus", "groupstatus", "mailhost", "mailroutingaddress",
    "maildeliveryoption", "mailprogramdeliveryinfo", "maildeliveryfileurl", "mailquota", "mailmsgquota", "mailmsgmaxblocks",
    "mailsieverulesource", "spare1", "spare2", "spare3", "spare4", "spare5",
)  # fmt: skip
"""every attribute of an entry that decides here, but uid and the dates"""
_ROUTING_CHARACTERS = frozenset("+%@")


class Refuse(Exception):  # noqa: N818 - a reply, not a fault
    """The recipient is refused; reason is for the log, text replaces the refusal's own."""

    def __init__(self, refusal: Refusal, reason: str, text: str | None = None) -> None:
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason
        self.text = text


class TooDeep(Refuse):
    """The owner stands behind too many others on this way.

    Args:
        key: of the owner; empty when he is met a second time on it.
        level: where.
        reason: for the log.
    """

    def __init__(self, key: str, level: int, reason: str) -> None:
        super().__init__(Refusal.EXPANSION_LOOP, reason)
        self.key = key
        self.level = level


class Standing(NamedTuple):
    """One entry's standing. Exactly one of refuse, route_to, replaced_by and clauses is set."""

    entry: Entry
    domain: Domain
    key: str
    """names the entry in the visited set"""
    refuse: Refuse | None = None
    route_to: str = ""
    """another host: the address is routed there as received"""
    why: str = ""
    replaced_by: str = ""
    """mailRoutingAddress"""
    clauses: tuple[Clause, ...] = ()
    offline: bool = False
    """one of the clauses must be acted on in the reprocess channel"""
    values: OwnerValues | None = None
    quota: str = ""
    block_limit: int = 0
    """in octets, 0 for none"""
    notes: tuple[str, ...] = ()
    """the entry and what of it is not acted on, for the log and explanations"""
    filter: UserFilter | None = None
    recipes: "dict[str, Any] | None" = None
    """by source channel, shared by all entries of the shape: kept by usual.py"""


def twin(rules: Rules, domain: Domain, entry: Entry) -> Standing | None:
    """The standing of another entry of the domain with which this one has everything in common but its names."""
    known: Standing | None = rules.shapes.get(_shape(entry))
    if known is None or known.domain is not domain or not entry.uid or not _ROUTING_CHARACTERS.isdisjoint(entry.uid):
        return None
    return known


def _shape(entry: Entry) -> tuple[Any, ...]:
    return (entry.kind, *map(entry.attributes.get, SHAPE))


def standing(rules: Rules, domain: Domain, entry: Entry, now: float) -> Standing:
    """The entry's standing at this time."""
    known: Standing | None = rules.standings.get(entry.dn)
    if known is not None and known.entry is entry and known.domain is domain:
        return known
    other = twin(rules, domain, entry)
    if other is not None:
        made = _like(other, entry)
    else:
        made = _decide(rules, domain, entry, now)
        wanted = {value.lower() for value in entry.all("maildeliveryoption")}
        if any(clause.name in wanted and (clause.inside_dates or clause.outside_dates) for clause in rules.clauses):
            return made
        if made.recipes is not None and made.entry.uid:
            if len(rules.shapes) >= SHAPES:
                rules.shapes.clear()
            rules.shapes[_shape(entry)] = made
    if len(rules.standings) >= REMEMBERED:
        rules.standings.clear()
    rules.standings[entry.dn] = made
    return made


def _like(other: Standing, entry: Entry) -> Standing:
    """The standing of an entry of the same shape, in the same domain, that is not refused."""
    dn, values = entry.dn, other.values
    if values is None:
        return other._replace(entry=entry, key=dn.lower())
    filters = user_filter(entry, values.hosted_domain) if other.filter is not None else None
    return Standing(
        entry, other.domain, dn.lower(), None, "", "", "", other.clauses, other.offline,
        OwnerValues(entry.uid, *values[1:]), other.quota, other.block_limit, (_named(entry), *other.notes[1:]),
        filters, other.recipes,
    )  # fmt: skip


def _named(entry: Entry) -> str:
    return f"{entry.kind.value} {entry.dn}"


def _decide(rules: Rules, domain: Domain, entry: Entry, now: float) -> Standing:
    plain = Standing(entry, domain, entry.dn.lower())
    try:
        return _active(rules, plain, now)
    except Refuse as refuse:
        return plain._replace(refuse=refuse)


def _active(rules: Rules, plain: Standing, now: float) -> Standing:
    entry, domain = plain.entry, plain.domain
    state = entry_state(domain, entry)
    if isinstance(state, Refusal):
        name, status, _ = deciding_status(domain, entry)
        raise Refuse(state, f"{name} {status} of {domain.dn if 'Domain' in name else entry.dn}")
    held = state is State.HOLD
    clauses = active_clauses(rules.clauses, entry, now, held=held)
    if not clauses:
        if held:
            raise Refuse(Refusal.NOT_BUILT, "status hold", "no delivery option hold for a user on hold")
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"no delivery option for {entry.dn}")
    mail_host = entry.first("mailhost")
    if not all(_any_host(rules, clause, mail_host) for clause in clauses) and mail_host.lower() not in rules.this_host:
        if mail_host:
            return plain._replace(route_to=mail_host, why=f"mailHost {mail_host} is another machine", recipes={})
        if entry.kind is Kind.USER:
            return _to_smart_host(plain)
    routing = entry.first("mailroutingaddress")
    if routing and not held:
        return plain._replace(replaced_by=routing)
    for clause in clauses:
        _refuse_unbuilt(clause, rules, entry)
    if entry.kind is Kind.USER and not _ROUTING_CHARACTERS.isdisjoint(entry.uid):
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"uid {entry.uid!r} of {entry.dn} contains + % or @")
    if not mail_host and any("X" in clause.template.uses for clause in clauses):
        return _to_smart_host(plain)
    return plain._replace(
        clauses=clauses,
        offline=any(clause.offline for clause in clauses),
        values=owner_values(rules, domain, entry),
        quota=quota_text(domain, entry),
        block_limit=_block_limit(rules, domain, entry),
        filter=user_filter(entry, "" if domain.canonical == rules.default_domain else domain.canonical),
        notes=_notes(rules, domain, entry, clauses, held=held),
        recipes={},
    )


def _any_host(rules: Rules, clause: Clause, mail_host: str) -> bool:
    """Whether `#` counts for this clause and store: only listed stores, where any is listed, speak LMTP."""
    if not clause.any_host:
        return False
    return not clause.template.through_lmtp or rules.lmtp_stores is None or mail_host.lower() in rules.lmtp_stores


def _to_smart_host(plain: Standing) -> Standing:
    smart_host = plain.domain.first("mailroutingsmarthost")
    if not smart_host:
        raise Refuse(Refusal.UNKNOWN_ALIAS, f"{plain.entry.dn} has no mailHost")
    return plain._replace(route_to=smart_host, why=f"no mailHost; smart host of {plain.domain.name}", recipes={})


def _refuse_unbuilt(clause: Clause, rules: Rules, entry: Entry) -> None:
    if not is_built(clause, rules.imta):
        text = f"delivery option {clause.name} is not available yet"
        raise Refuse(Refusal.NOT_BUILT, f"{clause.name} of {entry.dn}", text)
    mail_host = entry.first("mailhost").lower()
    here = mail_host in rules.this_host and mail_host not in rules.mailboxes_here
    if here and clause.template.through_lmtp and "X" in clause.template.uses:
        text = f"mailHost {mail_host} is this very host: LMTP is not possible in single-system deployments"
        raise Refuse(Refusal.NOT_BUILT, f"{entry.dn} by LMTP to ourselves", text)


def is_built(clause: Clause, imta: ImtaCnf) -> bool:
    """Whether anybody delivers what the clause makes: the MTA itself, or a channel there is."""
    if clause.name in BUILT:
        return True
    if clause.name in BUILT_BY_PROGRAM:
        channel = imta.by_tag(clause.text.rpartition("@")[2].strip())
        return channel is not None and not channel.is_smtp and not channel.is_lmtp and channel.name != "l"
    return clause.name in BUILT_BY_LMTP and clause.template.through_lmtp


def owner_values(rules: Rules, domain: Domain, entry: Entry) -> OwnerValues:
    """What the templates of this entry's clauses draw on."""
    return OwnerValues(
        uid=entry.uid,
        hosted_domain="" if domain.canonical == rules.default_domain else domain.canonical,
        mail_host=entry.first("mailhost"),
        program=entry.first("mailprogramdeliveryinfo"),
        delivery_file=delivery_file(entry.first("maildeliveryfileurl")),
        filter=rules.class_filter,
        spare={number: entry.first(f"spare{number}") for number in range(1, 6) if entry.first(f"spare{number}")},
    )


def delivery_file(url: str) -> str:
    """The path in a mailDeliveryFileURL: `file:///path`, `+/path` or `/path` (message-store 7); empty when it is none.

    Whether it may be written is for the store to say, which has one folder for such files.
    """
    path = url.removeprefix("+")
    if url[:7].lower() == "file://":
        _, slash, rest = url[7:].partition("/")
        path = slash + unquote(rest)
    return path if path.startswith("/") else ""


def _block_limit(rules: Rules, domain: Domain, entry: Entry) -> int:
    limits = [
        _blocks(entry.first("mailmsgmaxblocks")),
        _blocks(domain.first("maildomainmsgmaxblocks") or domain.first("mailmsgmaxblocks")),
    ]
    return min((limit for limit in limits if limit), default=0) * rules.block_size


def _blocks(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _notes(rules: Rules, domain: Domain, entry: Entry, active: Sequence[Clause], *, held: bool) -> tuple[str, ...]:
    """The entry; what of it is not acted on, and why it is treated as it is."""
    notes = [_named(entry)]
    if held:
        name, status, _ = deciding_status(domain, entry)
        notes.append(f"{name} {status}: the only delivery option is hold")
    ignored = ignored_values(rules.clauses, entry)
    notes += [f"mailDeliveryOption {value}: no such clause" for value in ignored]
    wanted = {value.lower() for value in entry.all("maildeliveryoption")}
    names = {clause.name for clause in active}
    dated = {clause.name for clause in rules.clauses if clause.inside_dates or clause.outside_dates}
    if not held:
        notes += [f"mailDeliveryOption {name}: not at this time ({_dates(entry)})" for name in sorted(wanted & dated - names)]
        if not names & wanted:
            notes.append("no mailDeliveryOption that counts: the clause for users or groups without one")
    if entry.all("mailsieverulesource"):
        notes.append("mailSieveRuleSource: the script decides when the message is there")
    return tuple(notes)


def _dates(entry: Entry) -> str:
    names = ("vacationStartDate", "vacationEndDate")
    given = [f"{name} {value}" for name in names if (value := entry.first(name.lower()))]
    return ", ".join(given) or "no vacation dates"
