"""From a question to searches and from the entries found to the answer: no I/O, the same for LDAP and LDIF.

`plan` is a generator: it yields a Search and is sent what was found, a tuple of entries, or BASE_MISSING when the
search's base does not exist. It returns the answer (directory.md 1-3). A question about an entry of a known domain costs
one search, a second only with vanity domains. Whatever can only be a fault of the directory's content is Unknown.
Values that come from addresses are escaped here, once, where they enter a filter or a name.
"""

from collections.abc import Generator, Iterable, Iterator
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from posthouse.mail.address import quote, unquote
from posthouse.relay.directory.dn import domain_of, escape_value
from posthouse.relay.directory.filter import escape, parse
from posthouse.relay.directory.layout import Layout, Renames, UrlTemplate, split_url
from posthouse.relay.directory.ldif import RawEntry
from posthouse.relay.directory.question import (
    Absent,
    Ambiguous,
    Answer,
    Domain,
    DomainAnswer,
    Entry,
    EntryAnswer,
    Found,
    Kind,
    MembersAnswer,
    NeedDn,
    NeedDomain,
    NeedEntry,
    NeedMembers,
    NeedUrl,
    Question,
    Unknown,
    UrlAnswer,
)

MAX_DOMAIN = 255
PREPARED = 10_000
MAX_FILTER = 1024
"""octets of the filter of a group's URL (directory.md 8)"""
_SAME_FOR_ALL = frozenset({"R", "K", "$"})
"""codes of a filter that is the same for all addresses but for the addresses themselves"""
_UNPREPARED = (None, None)
_LOCAL = "\x00"
"""stands for the local part in a prepared filter: `escape` leaves no NUL in one, and no local part has one"""


class Scope(StrEnum):
    """How deep a search goes."""

    BASE = "base"
    ONE = "one"
    SUB = "sub"


class Missing(StrEnum):
    """What may be sent to a plan instead of entries."""

    BASE_MISSING = "base missing"


class Search(msgspec.Struct, frozen=True):
    """One search to make."""

    base: str
    scope: Scope
    filter: str
    attributes: tuple[str, ...] = ()
    """names in the directory; none means all"""
    addresses: tuple[str, ...] = ()
    """as `spelling` has them. An entry with one of them in `holders` answers this search, one without does not; none: that
    cannot be told from the entry, so this search is never made together with others"""
    holders: tuple[str, ...] = ()
    """attributes that may have an address, lower case"""


Entries: TypeAlias = tuple[RawEntry, ...]
Result: TypeAlias = Entries | Missing
Steps: TypeAlias = Generator[Search, Result, Answer]
BASE_MISSING: Final = Missing.BASE_MISSING


def plan(layout: Layout, question: Question) -> Steps:
    """The searches that answer the question, and the answer."""
    match question:
        case NeedEntry():
            return _entry(layout, question)
        case NeedDomain(domain):
            return _domain(layout, domain)
        case NeedUrl(url):
            return _url(url)
        case NeedDn(dn):
            return _by_name(layout, dn)
        case NeedMembers():
            return _members(layout, question)


def _domain(layout: Layout, asked: str) -> Generator[Search, Result, DomainAnswer]:
    whole = name = asked.lower().rstrip(".")
    if not name or name.startswith("[") or len(name) > MAX_DOMAIN:
        return Absent()
    find = _domain_schema1 if layout.schema == 1 else _domain_schema2
    while name:
        answer = yield from find(layout, name)
        if not isinstance(answer, Absent):
            return answer
        name = name.partition(".")[2] if layout.uplevel_retry else ""
    if layout.domain_match is not None:
        search = _fill(layout, layout.domain_match, "", (whole,), "", "")
        if search is not None and _entries((yield search)):
            return Found(Domain(whole, whole, ""))
    return Absent()


def _domain_schema1(layout: Layout, name: str) -> Generator[Search, Result, DomainAnswer]:
    """The DC tree: one entry for each domain, perhaps an alias of another."""
    wanted = layout.domain_attributes
    base = ",".join([*(f"dc={escape_value(label)}" for label in name.split(".")), layout.domain_root])
    condition = layout.domain_filter.replace("$D", escape(name))
    result = yield Search(base, Scope.BASE, condition, wanted)
    if result is BASE_MISSING:
        root = yield Search(layout.domain_root, Scope.BASE, "(objectClass=*)", ("objectClass",))
        return Absent() if _entries(root) else Unknown(f"the domain tree {layout.domain_root} is missing")
    for hop in ("name", "alias"):
        entries = _entries(result)
        if not entries:
            return Absent()
        found = _renamed(entries[0], layout.domain_renames)
        user_base = found.get("inetdomainbasedn")
        if user_base:
            canonical = found.get("inetcanonicaldomainname", (domain_of(entries[0].dn) or name,))[0]
            return Found(Domain(name, canonical.lower(), user_base[0], entries[0].dn, found))
        target = found.get("aliasedobjectname")
        if not target:
            return Absent()
        if hop == "alias":
            return Unknown(f"{entries[0].dn} is an alias of an alias")
        result = yield Search(target[0], Scope.BASE, condition, wanted)
    return Absent()


def _domain_schema2(layout: Layout, name: str) -> Generator[Search, Result, DomainAnswer]:
    """Native: domains are organizations anywhere below the root."""
    condition = layout.domain_filter.replace("$D", escape(name))
    result = yield Search(layout.domain_root, Scope.SUB, condition, layout.domain_attributes)
    if result is BASE_MISSING:
        return Unknown(f"the domain tree {layout.domain_root} is missing")
    candidates = [(entry, _renamed(entry, layout.domain_renames)) for entry in _entries(result)]
    if len(candidates) > 1:
        preferred = [one for one in candidates if name in _lower(one[1].get("sunpreferreddomain", ()))]
        candidates = preferred or candidates
    if len(candidates) > 1:
        main = [one for one in candidates if "inetcanonicaldomainname" not in one[1]]
        candidates = main or candidates
    if len(candidates) > 1:
        return Unknown(f"several entries for the domain {name}: " + "; ".join(sorted(entry.dn for entry, _ in candidates)))
    for entry, found in candidates:
        canonical = (found.get("inetcanonicaldomainname") or found.get("sunpreferreddomain") or (name,))[0]
        user_base = (found.get("inetdomainbasedn") or (entry.dn,))[0]
        return Found(Domain(name, canonical.lower(), user_base, entry.dn, found))
    return Absent()


def _entry(layout: Layout, question: NeedEntry) -> Generator[Search, Result, EntryAnswer]:
    domain, local = question.domain, unquote(question.local)
    if "\x00" in local:
        return Absent()
    for url in layout.alias_urls if local else (layout.catchall_url,):
        search = _search_for(layout, url, domain, question.given_domain, quote(local) if local else "")
        if search is None:
            continue
        result = yield search
        if result is BASE_MISSING:
            return Unknown(f"{search.base}, the users of {domain.name}, is missing")
        found = _eligible(layout, domain, _entries(result))
        if len(found) > 1:
            return Ambiguous(tuple(sorted(entry.dn for entry in found)))
        if found:
            return Found(found[0])
    return Absent()


def _url(url: str) -> Generator[Search, Result, UrlAnswer]:
    try:
        base, names, scope, condition = split_url(url)
        parse(condition)
    except ValueError as problem:
        return Unknown(str(problem))
    for entry in _entries((yield Search(base, Scope(scope), condition, names))):
        for name in names or entry.attributes:
            values = entry.attributes.get(name.lower())
            if values:
                return Found(values[0])
    return Absent()


def _by_name(layout: Layout, dn: str) -> Generator[Search, Result, EntryAnswer]:
    for raw in _entries((yield Search(dn, Scope.BASE, "(objectClass=*)", layout.user_attributes))):
        found = _eligible(layout, None, (raw,))
        return Found(found[0] if found else Entry(raw.dn, Kind.OTHER, "", _renamed(raw, layout.user_renames)))
    return Absent()


def _members(layout: Layout, question: NeedMembers) -> Generator[Search, Result, MembersAnswer]:
    try:
        search = members_search(layout, question)
    except ValueError as problem:
        return Unknown(str(problem))
    result = yield search
    if result is BASE_MISSING:
        return Unknown(f"{search.base}, where {question.url[:200]} looks for members, is missing")
    return Found(tuple(addresses_of(layout, question, _entries(result))))


def members_search(layout: Layout, question: NeedMembers) -> Search:
    """The search for members.

    Raises:
        ValueError: the URL is none, its filter is not to be understood or longer than 1024 octets.
    """
    base, _, scope, condition = split_url(question.url)
    if len(condition.encode()) > MAX_FILTER:
        raise ValueError(f"the filter of {question.url[:60]}... has more than {MAX_FILTER} octets")
    parse(condition)
    return Search(base or layout.user_root, Scope(scope), condition, layout.mail_attributes)


def addresses_of(layout: Layout, question: NeedMembers, entries: Iterable[RawEntry]) -> Iterator[str]:
    """What the entries found contribute."""
    first = layout.mail_attributes[0].lower()
    for raw in entries:
        if question.every:
            for name in layout.mail_attributes:
                yield from raw.attributes.get(name.lower(), ())
        else:
            yield from raw.attributes.get(first, ())[:1]


def _spellings(layout: Layout, domain: Domain, given: str) -> tuple[str, ...]:
    """The domains an address may be listed under: as given, canonical when given is an alias, as found with uplevel bit 1."""
    names = [given]
    if domain.name == given or layout.uplevel_address:
        names += [domain.name, domain.canonical]
    return tuple(dict.fromkeys(names))


def _search_for(layout: Layout, url: UrlTemplate, domain: Domain, given: str, local: str) -> Search | None:
    """As `_fill`. What does not depend on the local part is made once for each domain."""
    key = (id(url), given)  # it is the layout's own; what it holds takes long to compare
    of, known = layout.prepared.get(key, _UNPREPARED)
    if of is not domain or not isinstance(known, Search):
        domains = _spellings(layout, domain, given.lower().rstrip("."))
        if "A" in url.base.codes:
            return _fill(layout, url, domain.base_dn, domains, local, escape(local))
        known = _fill(layout, url, domain.base_dn, domains, "", _LOCAL)
        if known is None:
            return None
        if _told_by_address(layout, url):
            holders = tuple([name.lower() for name in layout.mail_attributes])
            known = msgspec.structs.replace(known, addresses=tuple([f"@{name.lower()}" for name in domains]), holders=holders)
        if len(layout.prepared) >= PREPARED:
            layout.prepared.clear()
        layout.prepared[key] = domain, known
    condition = known.filter.replace(_LOCAL, escape(local))
    if not known.holders or not local.isascii():
        return Search(known.base, known.scope, condition, known.attributes)
    name = spelling(local)
    addresses = tuple([name + at for at in known.addresses])
    return Search(known.base, known.scope, condition, known.attributes, addresses, known.holders)


def spelling(address: str) -> str:
    """An address as equality of addresses sees it (caseIgnoreIA5Match, RFC 4517 4.2.3)."""
    return " ".join(address.lower().split())


def _told_by_address(layout: Layout, url: UrlTemplate) -> bool:
    """Whether an entry answers such a search exactly when it has the address: the address filter alone or with others to hold."""
    text = url.filter.text
    listed = {name.lower() for name in layout.user_attributes}
    asked_for = not listed or listed.issuperset(name.lower() for name in layout.mail_attributes)
    plain = text == "$R" or (text.startswith("(&") and "(|" not in text and "(!" not in text and "$R" in text)
    return asked_for and plain and url.filter.codes <= _SAME_FOR_ALL


def _fill(
    layout: Layout, url: UrlTemplate, user_base: str, domains: tuple[str, ...], local: str, escaped: str
) -> Search | None:
    """The search a template means for `local@domains[0]`; None where a code has no value. escaped: local as in a filter."""
    if not user_base and not url.codes.isdisjoint(("V", "1V")):
        return None
    roots = {"V": user_base, "1V": user_base, "B": layout.user_root, "C": layout.domain_root, "$": "$"}
    values = roots | {"R": _address_filter(layout.mail_attributes, domains, escaped), "K": layout.class_filter}
    filters: list[str] = []
    for domain in domains:
        values["D"] = escape(domain)
        values["A"] = f"{escaped}@{values['D']}"
        filled = url.filter.fill(values)
        if filled not in filters:
            filters.append(filled)
    first = domains[0]
    base = url.base.fill(roots | {"D": escape_value(first), "A": escape_value(f"{local}@{first}")})
    condition = filters[0] if len(filters) == 1 else f"(|{''.join(filters)})"
    return Search(base, Scope(url.scope), condition, layout.user_attributes)


def _address_filter(attributes: tuple[str, ...], domains: tuple[str, ...], escaped: str) -> str:
    """Any of the attributes is the local part, escaped already, at any of the domains ($R)."""
    addresses = [f"{escaped}@{escape(domain)}" for domain in domains]
    return "(|" + "".join([f"({name}={address})" for name in attributes for address in addresses]) + ")"


def _eligible(layout: Layout, domain: Domain | None, entries: Entries) -> list[Entry]:
    """The users and groups among the entries; a user without uid is none."""
    separator = domain.first("domainuidseparator") if domain is not None else ""
    eligible: list[Entry] = []
    for raw in entries:
        kind = _kind(layout, raw.attributes.get("objectclass", ()))
        found = raw.attributes if raw.attributes.keys() <= layout.user_plain else _renamed(raw, layout.user_renames)
        uid = found.get("uid", ("",))[0]
        if separator and separator in uid:
            uid = uid.rpartition(separator)[0]
        if kind is Kind.GROUP or (kind is Kind.USER and uid):
            eligible.append(Entry(raw.dn, kind, uid, found))
    return eligible


def _kind(layout: Layout, classes: tuple[str, ...]) -> Kind:
    """What an entry of these object classes is; most have the same, so that it is found out once."""
    kinds = layout.kinds
    kind = kinds.get(classes)
    if kind is None:
        there = frozenset(_lower(classes))
        if any(one <= there for one in layout.user_classes):
            kind = Kind.USER
        else:
            kind = Kind.GROUP if any(one <= there for one in layout.group_classes) else Kind.OTHER
        if len(kinds) >= PREPARED:
            kinds.clear()
        kinds[classes] = kind
    return kind


def _renamed(entry: RawEntry, names: Renames) -> dict[str, tuple[str, ...]]:
    """The attributes we know, under their default names, with language tags (`mailautoreplytext;lang-de`) kept."""
    found: dict[str, tuple[str, ...]] = {}
    for name, values in entry.attributes.items():
        if ";" not in name:
            for default in names.get(name, ()):
                found[default] = values
            continue
        kind, _, tag = name.partition(";")
        for default in names.get(kind, ()):
            found[f"{default};{tag}"] = values
    return found


def _entries(result: Result) -> Entries:
    return () if isinstance(result, Missing) else result


def _lower(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value.lower() for value in values)
