"""Everything routing needs of a configuration, compiled once; and what is wrong with it, found before mail comes.

`compile` refuses a configuration whose rewrite templates or DELIVERY_OPTIONS cannot be understood, with all their faults.
`check` finds what can be understood but is wrong or risky.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from posthouse.config.aliases import Alias
from posthouse.config.channel import Channel
from posthouse.config.channel_filters import Side
from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault, Severity
from posthouse.config.imta_cnf import ImtaCnf, RewriteRule
from posthouse.config.option_file import OptionFile
from posthouse.mapping.error import MappingError
from posthouse.mapping.table import Tables
from posthouse.relay.routing.clause_check import check_clauses, check_lmtp_channels
from posthouse.relay.routing.clause_template import ClauseError, parse_clause_template
from posthouse.relay.routing.delivery_options import DEFAULT, Clause, parse_delivery_options
from posthouse.relay.routing.detour import joined_channels
from posthouse.relay.routing.refusal import Refusals
from posthouse.relay.routing.rewrite import LocalHosts, Rewriter
from posthouse.relay.routing.rewrite_template import TemplateError
from posthouse.relay.routing.rule_table import Rule, RuleTable, compile_rule
from posthouse.relay.routing.srs import Srs
from posthouse.relay.routing.user_filter import UserFilter

_LMTP_MARK = "lmtp|"
_LMTP_HOST = ".lmtp"
_DEFAULT_CLASSES = {
    "LDAP_USER_OBJECT_CLASSES": "inetLocalMailRecipient+inetMailUser",
    "LDAP_GROUP_OBJECT_CLASSES": "inetLocalMailRecipient+inetMailGroup",
}


class Subaddress(StrEnum):
    """How far a subaddress is ignored in a look-up: the channel keywords."""

    EXACT = "subaddressexact"
    WILD = "subaddresswild"
    RELAXED = "subaddressrelaxed"


class Reversal(NamedTuple):
    """Senders' addresses become primary ones (reversal.py)."""

    envelope: bool
    """REVERSE_ENVELOPE: MAIL FROM, too"""
    exempt: frozenset[str]
    """channels with `noreverse`"""


@dataclass(frozen=True, slots=True)
class Rules:
    """A compiled configuration."""

    imta: ImtaCnf
    rewriter: Rewriter
    clauses: tuple[Clause, ...]
    tables: Tables
    aliases: Mapping[str, Alias]
    refusals: Refusals
    default_domain: str
    """lower case, or empty"""
    this_host: frozenset[str]
    """LDAP_LOCAL_HOST and LDAP_HOST_ALIAS_LIST, else the names of channel l; lower case"""
    local_names: frozenset[str]
    """this_host and every name of channel l"""
    local_host: str
    """official host of channel l, or empty"""
    subaddress_char: str
    subaddress: Subaddress
    class_filter: str
    mailboxes_here: frozenset[str]
    """names of this host that have a rewrite rule `NAME.lmtp` of their own: it leads into the mailboxes of this machine"""
    lmtp_stores: frozenset[str] | None
    """mailHosts that speak LMTP by the general database; None: all of them"""
    max_levels: int
    access_errors: bool
    access_orcpt: bool
    block_size: int
    block_limit: int
    """BLOCK_LIMIT in octets, 0 for none"""
    before_tables: tuple[str, ...]
    """access tables there are, asked before alias expansion"""
    after_tables: tuple[str, ...]
    """access tables there are, asked for each final address"""
    srs: Srs | None = None
    """None: senders of forwarded mail are not rewritten"""
    reversal: Reversal | None = None
    """None, without REVERSE_URL: senders' addresses stay as they are written"""
    or_clauses: bool = False
    """OR_CLAUSES=1: one passed check of a group is enough"""
    joined_channels: frozenset[str] = frozenset()
    """channels that get parts of messages joined (detour.py)"""
    subdirs: Mapping[str, int] = field(default_factory=dict)
    """how many subfolders a channel's queue has, by its name"""
    connect_hosts: dict[tuple[str, str], str] = field(default_factory=dict)
    """answers of connect_host so far"""
    sources: dict[tuple[str, str], str] = field(default_factory=dict)
    """source channels by service's channel and client, kept by switch.py"""
    table_places: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """file and line of each mapping table, by upper-case name"""
    standings: dict[str, Any] = field(default_factory=dict)
    """by DN: kept by standing.py"""
    shapes: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """by the values that decide: kept by standing.py"""
    source_filters: Mapping[str, UserFilter] = field(default_factory=dict)
    """scripts for mail that came in on a channel, by its name"""
    destination_filters: Mapping[str, UserFilter] = field(default_factory=dict)
    """scripts for mail that goes to a channel, by its name"""
    line_limits: Mapping[str, int] = field(default_factory=dict)
    """lines a message may have that goes to a channel, by its name; most have no limit and are not in it"""
    gates: dict[tuple[str, str | None, str], Any] = field(default_factory=dict)
    """by source channel, route and host: kept by usual.py"""


def compile(  # noqa: A001 - rules.compile(...) is how it is called
    configuration: Configuration, *, chance: Callable[[], float] | None = None, clock: Callable[[], float] | None = None
) -> Rules:
    """Compile the configuration.

    Args:
        configuration: of the relay.
        chance: a number from 0 up to 1, for mapping entries with `$?x?`; without it such entries fail.
        clock: seconds for conn_throttle; without it such entries fail.

    Raises:
        ConfigurationError: with every fault of every template and clause.
    """
    imta, options = configuration.imta, configuration.options
    compiled, faults = _rewrite_rules(imta)
    clauses, clause_faults = delivery_clauses(options)
    faults += clause_faults
    if len(options.text("SUBADDRESS_CHAR", "+")) != 1:
        faults.append(_fault_of(options, "SUBADDRESS_CHAR", "SUBADDRESS_CHAR must be one character"))
    tables, table_faults = _tables(configuration, chance, clock)
    faults += table_faults
    if faults:
        raise ConfigurationError(faults)
    return _assemble(configuration, RuleTable(compiled, lambda host: imta.by_tag(host) is not None), clauses, tables)


def _assemble(configuration: Configuration, table: RuleTable, clauses: tuple[Clause, ...], tables: Tables) -> Rules:
    imta, options, local = configuration.imta, configuration.options, configuration.imta.local
    channel_names = frozenset(host.lower() for host in local.hosts) if local else frozenset()
    this_host = _this_host(options) or channel_names
    default_domain = options.text("LDAP_DEFAULT_DOMAIN").lower()
    local_host = local.official_host if local else ""
    rewriter = Rewriter(
        table=table,
        by_tag=imta.by_tag,
        tables=tables,
        general=configuration.general,
        refusals=Refusals(lambda name: options.text(name) or None),
        local_hosts=LocalHosts(this_host, to_routing_host=options.integer("ROUTE_TO_ROUTING_HOST", 0) == 1),
        bare_host=default_domain or local_host,
        subaddress_char=options.text("SUBADDRESS_CHAR", "+"),
    )
    stores = frozenset(key.removeprefix(_LMTP_MARK) for key in configuration.general if key.startswith(_LMTP_MARK))
    block_size = options.integer("BLOCK_SIZE", 1024)
    return Rules(
        imta=imta,
        rewriter=rewriter,
        clauses=clauses,
        tables=tables,
        aliases=configuration.aliases,
        refusals=rewriter.refusals,
        default_domain=default_domain,
        this_host=this_host,
        local_names=this_host | channel_names,
        local_host=local_host,
        subaddress_char=rewriter.subaddress_char,
        subaddress=_subaddress(local),
        class_filter=_class_filter(options),
        mailboxes_here=mailboxes_here(imta, this_host),
        lmtp_stores=stores or None,
        max_levels=options.integer("MAX_ALIAS_LEVELS", 10),
        access_errors=options.integer("ACCESS_ERRORS", 0) == 1,
        access_orcpt=options.integer("ACCESS_ORCPT", 0) == 1,
        block_size=block_size,
        block_limit=options.integer("BLOCK_LIMIT", 0) * block_size,
        before_tables=tuple(name for name in ("ORIG_SEND_ACCESS", "ORIG_MAIL_ACCESS") if name in tables),
        after_tables=tuple(name for name in ("SEND_ACCESS", "MAIL_ACCESS") if name in tables),
        srs=Srs(configuration.srs.domain, configuration.srs.secrets) if configuration.srs is not None else None,
        reversal=_reversal(imta, options),
        or_clauses=options.integer("OR_CLAUSES", 0) == 1,
        joined_channels=joined_channels(imta),
        subdirs={name: channel.subdirs for name, channel in imta.channels.items()},
        table_places={one.name.upper(): (one.file, one.line) for one in configuration.mappings},
        source_filters=_channel_filters(configuration, Side.SOURCE, local_host),
        destination_filters=_channel_filters(configuration, Side.DESTINATION, local_host),
        line_limits=_line_limits(imta, options.integer("LINE_LIMIT", 0)),
    )


def _reversal(imta: ImtaCnf, options: OptionFile) -> Reversal | None:
    if options.text("REVERSE_URL") in {"", "0"}:
        return None
    exempt = frozenset(name for name, channel in imta.channels.items() if channel.has("noreverse"))
    return Reversal(options.integer("REVERSE_ENVELOPE", 1) != 0, exempt)


def mailboxes_here(imta: ImtaCnf, names: frozenset[str]) -> frozenset[str]:
    """Those of these names that have a rewrite rule `NAME.lmtp`: what goes to them by LMTP elsewhere stays on this machine."""
    patterns = {rule.pattern.lower() for rule in imta.rewrite_rules}
    return frozenset(name for name in names if name + _LMTP_HOST in patterns)


def _line_limits(imta: ImtaCnf, for_all: int) -> Mapping[str, int]:
    """The smaller one of `linelimit` and LINE_LIMIT; 0 is none."""
    limits = {name: (channel.number("linelimit", 0), for_all) for name, channel in imta.channels.items()}
    return {name: min(one for one in both if one > 0) for name, both in limits.items() if max(both) > 0}


def _channel_filters(configuration: Configuration, side: Side, local_host: str) -> Mapping[str, UserFilter]:
    """Scripts of channels; of a fault the postmaster hears."""
    mail = f"postmaster@{local_host}" if local_host else ""
    return {
        one.channel: UserFilter(f"channel {one.channel} ({side})", mail, (), one.script, joined=False)
        for one in configuration.channel_filters
        if one.side is side
    }


def delivery_clauses(options: OptionFile) -> tuple[tuple[Clause, ...], list[Fault]]:
    """The clauses of DELIVERY_OPTIONS, or of its default, with every fault."""
    value = options.get("DELIVERY_OPTIONS")
    if value is None:
        return parse_delivery_options(DEFAULT, "", 0)
    return parse_delivery_options(value.text, value.file, value.line)


def check(configuration: Configuration) -> list[Fault]:
    """What is wrong or risky in the rules and delivery options: errors and warnings. Mapping tables are not looked at."""
    imta, options = configuration.imta, configuration.options
    _, faults = _rewrite_rules(imta)
    clauses, clause_faults = delivery_clauses(options)
    faults += clause_faults
    faults += _single_system(clauses, _here(imta, options))
    faults += _vacation_template(options)
    faults += [*check_clauses(imta, clauses), *check_lmtp_channels(imta)]
    for rule in imta.rewrite_rules:
        why = _never(rule, general=bool(configuration.general))
        faults += [Fault(rule.file, rule.line, f"rewrite rule {rule.pattern}: {why}", Severity.WARNING)] if why else []
    for channel in imta.channels.values():
        faults += _channel_warnings(channel)
    return faults


def _never(rule: RewriteRule, *, general: bool) -> str:
    """Why a rule never applies, or empty."""
    template = rule.template.replace("$$", "")
    if rule.pattern in {"$%", "$!"}:
        return "there are no rules for `%` and `!` in local parts: it never applies"
    if "$[" in template:
        return "site routines ($[...]) are not supported"
    if "$(" in template and not general:
        return "$(...) asks general.txt, which is empty or not read (USE_TEXT_DATABASES=1): it never applies"
    return ""


def _rewrite_rules(imta: ImtaCnf) -> tuple[list[Rule], list[Fault]]:
    compiled: list[Rule] = []
    faults: list[Fault] = []
    for rule in imta.rewrite_rules:
        try:
            compiled.append(compile_rule(rule))
        except TemplateError as fault:
            faults.append(Fault(rule.file, rule.line, f"rewrite rule {rule.pattern} {rule.template[:60]}: {fault}"))
    return compiled, faults


def _here(imta: ImtaCnf, options: OptionFile) -> frozenset[str]:
    names = frozenset(host.lower() for host in imta.local.hosts) if imta.local else frozenset()
    return _this_host(options) | names


def single_system_entries(configuration: Configuration, hosts: Mapping[str, tuple[str, tuple[str, ...]]]) -> list[Fault]:
    """A fault for each clause that would send users of a known directory by LMTP to this very host.

    Args:
        configuration: whose delivery options.
        hosts: DN of each user with a mailHost, to that host and the entry's delivery options, all in lower case.
    """
    imta, options = configuration.imta, configuration.options
    here, (clauses, _) = _here(imta, options), delivery_clauses(options)
    here -= mailboxes_here(imta, here)
    faults = []
    for place, clause in enumerate(clauses):
        if not clause.template.through_lmtp or "X" not in clause.template.uses:
            continue
        found = [dn for dn, (host, wanted) in hosts.items() if host in here and (clause.name in wanted if wanted else place == 0)]
        if found:
            reason = f"delivery option {clause.name} sends {len(found)} users by LMTP to this very host (first: {found[0]})"
            faults.append(Fault(clause.file, clause.line, f"{reason}: not possible in single-system deployments"))
    return faults


def hosts_here(configuration: Configuration) -> frozenset[str]:
    """This machine's names: users whose mailHost is one of them are its own. Lower case."""
    return _here(configuration.imta, configuration.options)


def _single_system(clauses: tuple[Clause, ...], here: frozenset[str]) -> list[Fault]:
    faults = []
    for clause in clauses:
        template = clause.template
        if not template.through_lmtp or "X" in template.uses:
            continue
        host = clause.text.partition("=")[2].strip().removeprefix("@").partition(":")[0].lower()
        host = host.removesuffix(".lmtp").removesuffix(".lmtpn")
        if host in here:
            reason = f"delivery option {clause.name} sends users by LMTP to this very host {host}"
            faults.append(Fault(clause.file, clause.line, f"{reason}: not possible in single-system deployments"))
    return faults


def _vacation_template(options: OptionFile) -> list[Fault]:
    """Whether VACATION_TEMPLATE names a file."""
    text = options.text("VACATION_TEMPLATE")
    if not text:
        return []
    try:
        parse_clause_template(text.removeprefix("file://"))
    except ClauseError as fault:
        return [_fault_of(options, "VACATION_TEMPLATE", f"VACATION_TEMPLATE: {fault}")]
    return []


def _channel_warnings(channel: Channel) -> list[Fault]:
    found = []
    if channel.has("routelocal"):
        found.append("routelocal: an address sent to another host by its mailHost would lose its route and expand for ever")
    if channel.has("filter") and (channel.value("filter") or "").lower() != "ssrd:$a":
        found.append("filter: users' own Sieve scripts are read from the directory only (filter ssrd:$A), this one is not run")
    return [Fault(channel.file, channel.line, f"channel {channel.name}: {text}", Severity.WARNING) for text in found]


def _this_host(options: OptionFile) -> frozenset[str]:
    names = [options.text("LDAP_LOCAL_HOST"), *options.text("LDAP_HOST_ALIAS_LIST").split(",")]
    return frozenset(name.strip().lower() for name in names if name.strip())


def _tables(
    configuration: Configuration, chance: Callable[[], float] | None, clock: Callable[[], float] | None
) -> tuple[Tables, list[Fault]]:
    """The mapping tables, none of them when one has a fault."""
    written = [(table.name, [(entry.pattern, entry.template) for entry in table.entries]) for table in configuration.mappings]
    try:
        return Tables.compile(written, general=configuration.general.get, chance=chance, clock=clock), []
    except MappingError as error:
        places = [(configuration.mappings[table].entries[entry], reason) for table, entry, reason in error.faults]
        return Tables.compile([]), [Fault(entry.file, entry.line, reason) for entry, reason in places]


def _fault_of(options: OptionFile, name: str, reason: str) -> Fault:
    value = options.get(name)
    return Fault(value.file if value else "", value.line if value else 0, reason)


def _subaddress(local: Channel | None) -> Subaddress:
    if local:
        for mode in Subaddress:
            if local.has(mode):
                return mode
    return Subaddress.RELAXED


def _class_filter(options: OptionFile) -> str:
    """`$K`: any of the sets of object classes of users and groups."""
    sets = []
    for name, default in _DEFAULT_CLASSES.items():
        for classes in (options.text(name) or default).split(","):
            terms = "".join(f"(objectClass={one.strip()})" for one in classes.split("+") if one.strip())
            sets.append(f"(&{terms})")
    return f"(|{''.join(sets)})"
