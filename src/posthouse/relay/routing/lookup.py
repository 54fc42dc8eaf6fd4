"""Whose address is this: directory entry, catch-all, aliases file, catch-all address, smart host (directory.md 3).

The whole local part is asked for first, then, unless channel `l` says subaddressexact, without its subaddress; with
subaddresswild `name+*` is asked for in between.
The first that finds something wins, in this order: entry, catch-all entry, aliases file, mailDomainCatchallAddress,
mailRoutingSmartHost. For an alias file's name without a domain, the domain must be the default domain or a name of this
machine; `postmaster` in it answers for every domain of ours.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from posthouse.config.aliases import Alias
from posthouse.mail.address import quote, unquote
from posthouse.relay.directory.question import Domain, Entry
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.rules import Rules, Subaddress

POSTMASTER = "postmaster"


class FoundEntry(NamedTuple):
    """A user or group, and what of the local part was its subaddress."""

    domain: Domain
    entry: Entry
    subaddress: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another address stands for this one."""

    addresses: tuple[str, ...]
    why: str
    key: str
    """names the redirect in the visited set"""
    file: str = ""
    line: int = 0
    keep_route: bool = False


Owner: TypeAlias = FoundEntry | Redirect | None


def find_owner(rules: Rules, inquiry: Inquiry, local: str, domain_name: str) -> Asking[Owner]:
    """Who receives mail for local@domain_name; None when nobody does.

    Raises:
        NoAnswer: the directory is silent.
        AmbiguousEntry: more than one entry has the address.
    """
    name, given = unquote(local), domain_name
    domain = yield from inquiry.domain(domain_name)
    if domain is None and name.lower() == POSTMASTER and rules.default_domain:
        domain_name = rules.default_domain
        domain = yield from inquiry.domain(domain_name)
    if domain is not None:
        found = yield from find_entry(rules, inquiry, name, domain, domain_name)
        if found is not None:
            return found
        if name.lower() != POSTMASTER:
            entry = yield from inquiry.entry("", domain, domain_name)
            if entry is not None:
                return FoundEntry(domain, entry, "")
    alias = _alias(rules, name, given, domain) or _alias(rules, name, domain_name, domain)
    if alias is not None:
        return Redirect(alias.addresses, f"alias {alias.name}", f"alias {alias.name.lower()}", alias.file, alias.line)
    return _of_domain(local, domain_name, domain)


def _of_domain(local: str, domain_name: str, domain: Domain | None) -> Redirect | None:
    if domain is None:
        return None
    catch_all = domain.first("maildomaincatchalladdress")
    if catch_all:
        return Redirect((catch_all,), f"catch-all address of {domain.name}", f"catch-all {domain.name}")
    smart_host = domain.first("mailroutingsmarthost")
    if smart_host:
        routed = f"@{smart_host}:{local}@{domain_name}"
        return Redirect((routed,), f"smart host of {domain.name}", f"smart host {domain.name}", keep_route=True)
    return None


def find_entry(rules: Rules, inquiry: Inquiry, name: str, domain: Domain, given: str) -> Asking[FoundEntry | None]:
    """The user or group with this address, the local part without quotes; no catch-all entry.

    Raises:
        NoAnswer: the directory is silent.
        AmbiguousEntry: more than one entry has the address.
    """
    entry = yield from inquiry.entry(quote(name), domain, given)
    if entry is not None:
        return FoundEntry(domain, entry, "")
    sign = rules.subaddress_char
    if sign not in name or rules.subaddress is Subaddress.EXACT:
        return None
    bare, _, subaddress = name.partition(sign)
    if not bare:
        return None
    if rules.subaddress is Subaddress.WILD:
        entry = yield from inquiry.entry(quote(f"{bare}{sign}*"), domain, given)
    if entry is None:
        entry = yield from inquiry.entry(quote(bare), domain, given)
    return FoundEntry(domain, entry, subaddress) if entry is not None else None


def _alias(rules: Rules, name: str, domain_name: str, domain: Domain | None) -> Alias | None:
    folded, given = name.lower(), domain_name.lower()
    names = [folded]
    if rules.subaddress is not Subaddress.EXACT and folded.partition(rules.subaddress_char)[0]:
        names.append(folded.partition(rules.subaddress_char)[0])
    here = given in rules.local_names or (domain is not None and domain.canonical == rules.default_domain)
    for candidate in names:
        found = rules.aliases.get(f"{candidate}@{given}")
        if found is None and (here or candidate == POSTMASTER):
            found = rules.aliases.get(candidate)
        if found is not None:
            return found
    return None
