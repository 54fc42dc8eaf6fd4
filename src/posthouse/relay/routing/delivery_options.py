"""DELIVERY_OPTIONS: the clauses, and which of them count for an entry (option-dat 2).

    DELIVERY_OPTIONS = clause *( "," clause )      at most 20
    clause           = *( "*" / "&" / "@" / "$" / "^" / "%" / "#" / "/" / "!" ) name "=" template

Every fault of the option is reported, each with the option's file and line. Clauses that no part of the system acts on yet
are parsed, chosen and rendered like the others; BUILT names those that deliver.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from posthouse.config.fault import Fault
from posthouse.relay.directory.question import Entry, Kind
from posthouse.relay.routing.clause_template import ClauseError, ClauseTemplate, parse_clause_template

MAX_CLAUSES = 20
BUILT = frozenset({"mailbox", "forward", "members", "members_offline", "autoreply", "hold"})
"""names of the clauses whose addresses are really delivered; a recipient with another active clause is deferred whole"""
BUILT_BY_PROGRAM = frozenset({"program"})
"""delivered by a channel that runs registered programs: only where the template's domain is such a channel's tag"""
BUILT_BY_LMTP = frozenset({"native", "unix", "file"})
"""delivered by the native service of a store, so only where their template routes through .LMTPN (imta-cnf 3.3)"""
DEFAULT = (
    "*mailbox=$M%$\\$2I$_+$2S@ims-ms-daemon,&members=*,*native=$M@native-daemon,/hold=@hold-daemon:$A,"
    "*unix=$M@native-daemon,&file=+$F@native-daemon,&@members_offline=*,program=$M%$P@pipe-daemon,"
    "#forward=**,*^!autoreply=$M+$D@bitbucket"
)
_NATIVE_TAG = "@native-daemon"
_UNTAGGED = re.compile(r"@[^:]*\.lmtpn:[^@]*", re.IGNORECASE)
"""a template of the 2005Q4 edition: it leaves out the tag, without which no channel is named (imta-cnf 3.3)"""
_CLAUSE = re.compile(r"([*&@$^%/!#]*)(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause. name is lower case; users and groups: for which kind of entry it is."""

    name: str
    users: bool
    groups: bool
    any_host: bool
    """`#`: mailHost need not be this machine"""
    offline: bool
    """`@` or `$`: only in the reprocess channel"""
    inside_dates: bool
    """`^`"""
    outside_dates: bool
    """`%`"""
    hold: bool
    """`/`"""
    autoreply: bool
    """`!`"""
    template: ClauseTemplate
    text: str
    """as written"""
    shown: str
    """for explanations"""
    file: str
    line: int


def parse_delivery_options(text: str, file: str, line: int) -> tuple[tuple[Clause, ...], list[Fault]]:
    """All clauses that can be understood, and every fault of the others."""
    faults: list[Fault] = []
    clauses: list[Clause] = []
    written = [clause.strip() for clause in text.split(",")]
    if len(written) > MAX_CLAUSES:
        faults.append(Fault(file, line, f"DELIVERY_OPTIONS has {len(written)} clauses; {MAX_CLAUSES} are allowed"))
    for place, clause in enumerate(written, 1):
        try:
            clauses.append(_clause(clause, file, line))
        except ClauseError as fault:
            faults.append(Fault(file, line, f"DELIVERY_OPTIONS clause {place} {clause[:60]!r}: {fault}"))
    names = [clause.name for clause in clauses]
    repeated = {name for name in names if names.count(name) > 1}
    faults += [Fault(file, line, f"DELIVERY_OPTIONS names {name} twice") for name in sorted(repeated)]
    return tuple(clauses), faults


def _clause(text: str, file: str, line: int) -> Clause:
    found = _CLAUSE.fullmatch(text)
    if not found:
        raise ClauseError("expected prefixes, a name, = and a template")
    prefixes, name, template = found.groups()
    template = template.strip()
    if _UNTAGGED.fullmatch(template):
        template += _NATIVE_TAG
    both = "*" not in prefixes and "&" not in prefixes
    return Clause(
        name=name.lower(),
        users=both or "*" in prefixes,
        groups=both or "&" in prefixes,
        any_host="#" in prefixes,
        offline="@" in prefixes or "$" in prefixes,
        inside_dates="^" in prefixes,
        outside_dates="%" in prefixes,
        hold="/" in prefixes,
        autoreply="!" in prefixes,
        template=parse_clause_template(template),
        text=text,
        shown=f"clause {text}",
        file=file,
        line=line,
    )


def active_clauses(clauses: Sequence[Clause], entry: Entry, now: float, *, held: bool) -> tuple[Clause, ...]:
    """The clauses that count for the entry, in the order of the option (option-dat 2.2).

    Args:
        clauses: all of the option.
        entry: user or group.
        now: Unix time in seconds.
        held: the status is hold: only the clause `hold` counts. Empty when there is no such clause.
    """
    fitting = [clause for clause in clauses if (clause.users if entry.kind is Kind.USER else clause.groups)]
    if held:
        return tuple(clause for clause in fitting if clause.name == "hold")
    wanted = {value.lower() for value in entry.all("maildeliveryoption")}
    chosen = [clause for clause in fitting if clause.name in wanted]
    if any(clause.inside_dates or clause.outside_dates for clause in chosen):
        inside = on_vacation(entry, now)
        chosen = [clause for clause in chosen if not (clause.outside_dates if inside else clause.inside_dates)]
    if not chosen:
        default = 0 if entry.kind is Kind.USER else 1
        return tuple(clauses[default : default + 1])
    return tuple(chosen)


def ignored_values(clauses: Iterable[Clause], entry: Entry) -> tuple[str, ...]:
    """Values of mailDeliveryOption for which there is no clause, for the log."""
    names = {clause.name for clause in clauses if (clause.users if entry.kind is Kind.USER else clause.groups)}
    return tuple(value for value in entry.all("maildeliveryoption") if value.lower() not in names)


def on_vacation(entry: Entry, now: float) -> bool:
    """Whether now is inside vacationStartDate and vacationEndDate; a missing or unreadable one is open."""
    start, end = _moment(entry.first("vacationstartdate")), _moment(entry.first("vacationenddate"))
    return (start is None or now >= start) and (end is None or now < end)


def _moment(text: str) -> float | None:
    try:
        return datetime.strptime(text.strip().upper(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
