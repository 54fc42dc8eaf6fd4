"""What `posthouse check` finds in the entries of an LDIF directory: what they ask for that is not done.

The faults of the file itself are the directory's to tell.
"""

from collections.abc import Iterable, Iterator, Sequence

from posthouse.cli.check_pipe import pipe_channels
from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity
from posthouse.relay.directory.ldif import LdifError, RawEntry, read_ldif
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.routing import rules
from posthouse.relay.routing.standing import is_built
from posthouse.relay.routing.user_filter import joined_script


def check_entries(configuration: Configuration) -> list[Fault]:
    """LMTP to this very host; and warnings: scripts with a fault or of domains, programs and delivery options nobody has."""
    path = configuration.ldif_file
    if path is None or not path.is_file():
        return []
    try:
        entries = read_ldif(path.read_bytes()).values()
    except (LdifError, OSError):
        return []
    file = configuration.instance.name_of(path)
    reasons = [
        _scripts(configuration, entries),
        _programs(configuration, entries) if pipe_channels(configuration) else "",
        _options(configuration, entries),
        _domain_scripts(configuration, entries),
        _schema(configuration, entries),
    ]
    warnings = [Fault(file, 0, reason, Severity.WARNING) for reason in reasons if reason]
    return [*_hosts(configuration, entries), *warnings]


def _attribute(configuration: Configuration, option: str, default: str) -> str:
    return (configuration.options.text(option) or default).lower()


def _hosts(configuration: Configuration, entries: Iterable[RawEntry]) -> list[Fault]:
    host = _attribute(configuration, "LDAP_MAILHOST", "mailHost")
    option = _attribute(configuration, "LDAP_DELIVERY_OPTION", "mailDeliveryOption")
    hosts = {
        entry.dn: (entry.attributes[host][0].lower(), tuple(value.lower() for value in entry.attributes.get(option, ())))
        for entry in entries
        if entry.attributes.get(host)
    }
    return rules.single_system_entries(configuration, hosts)


def _scripts(configuration: Configuration, entries: Iterable[RawEntry]) -> str:
    script = _attribute(configuration, "LDAP_FILTER", "mailSieveRuleSource")
    broken = [(entry.dn, fault) for entry in entries if (fault := _script_fault(entry.attributes.get(script, ())))]
    if not broken:
        return ""
    first, fault = broken[0]
    return f"{len(broken)} entries have a Sieve script with a fault: their mail is kept in INBOX (first: {first}, {fault})"


def _script_fault(values: Sequence[str]) -> str:
    """The first fault of a user's script, or empty."""
    if not values:
        return ""
    try:
        compile_script(joined_script(values), joined=len(values) > 1)
    except ScriptError as error:
        return str(error.problems[0])
    return ""


def _programs(configuration: Configuration, entries: Iterable[RawEntry]) -> str:
    name, known = _attribute(configuration, "LDAP_PROGRAM_INFO", "mailProgramDeliveryInfo"), configuration.pipe_programs
    missing = [(dn, value) for dn, value in _values(_run_here(configuration, entries), name) if value.lower() not in known]
    if not missing:
        return ""
    dn, value = missing[0]
    return f"{len(missing)} values of {name} name no registered program: their mail waits (first: {dn}, {value[:64]!r})"


def _run_here(configuration: Configuration, entries: Iterable[RawEntry]) -> Iterable[RawEntry]:
    """Those whose programs run here: without `#` on the clause mail goes to the mailHost first (option-dat.md 2.1)."""
    clauses, _ = rules.delivery_clauses(configuration.options)
    if any(clause.name == "program" and clause.any_host for clause in clauses):
        return entries
    host, here = _attribute(configuration, "LDAP_MAILHOST", "mailHost"), rules.hosts_here(configuration)
    return [entry for entry in entries if here.issuperset(value.lower() for value in entry.attributes.get(host, ()))]


def _options(configuration: Configuration, entries: Iterable[RawEntry]) -> str:
    """Delivery options whose clause leads to no channel that delivers."""
    name = _attribute(configuration, "LDAP_DELIVERY_OPTION", "mailDeliveryOption")
    clauses, _ = rules.delivery_clauses(configuration.options)
    unbuilt = {clause.name for clause in clauses if not is_built(clause, configuration.imta)}
    found = [(dn, value) for dn, value in _values(entries, name) if value.lower() in unbuilt]
    if not found:
        return ""
    dn, value = found[0]
    return f"{len(found)} values of {name} name an option nobody delivers: their mail is answered 450 (first: {dn}, {value})"


def _values(entries: Iterable[RawEntry], name: str) -> Iterator[tuple[str, str]]:
    """Every value of an attribute, with the name of the entry that has it."""
    return ((entry.dn, value) for entry in entries for value in entry.attributes.get(name, ()))


def _domain_scripts(configuration: Configuration, entries: Iterable[RawEntry]) -> str:
    name = _attribute(configuration, "LDAP_DOMAIN_ATTR_FILTER", "mailDomainSieveRuleSource")
    found = [entry.dn for entry in entries if entry.attributes.get(name)]
    return f"{len(found)} domains have a Sieve script, which is not run (first: {found[0]})" if found else ""


def _schema(configuration: Configuration, entries: Iterable[RawEntry]) -> str:
    """Domains of the other schema only: not one of them would be found."""
    level = 1 if configuration.options.text("LDAP_SCHEMALEVEL", "2").strip() == "1" else 2
    classes = [{value.lower() for value in entry.attributes.get("objectclass", ())} for entry in entries]
    counts = {1: sum("inetdomain" in each for each in classes), 2: sum("sunmanagedorganization" in each for each in classes)}
    other = 3 - level
    if counts[level] or not counts[other]:
        return ""
    return f"there is no domain of schema {level}, and {counts[other]} of schema {other}: is LDAP_SCHEMALEVEL={other} meant?"
