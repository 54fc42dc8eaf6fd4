"""Address reversal: the primary address of whose address is written (option-dat.md, "Address reversal").

    local@domain -> `mail` of the entry that has it      a subaddress stays: jd+lists@ becomes John.Doe+lists@

Promise: what comes out is the address as given or another one that can stand in an envelope and in a header, whatever the
directory says. As given stay: addresses of domains that are not ours, of nobody, of several entries, of a catch-all entry;
those that are as good as the primary one (mailEquivalentAddress); and a primary address in other letters' case. While the
directory is silent an envelope From stays as given, too: that it does not answer here is no reason to refuse mail.
"""

from collections.abc import Sequence

import msgspec

from posthouse.mail.address import AddressError, parse_address, quote, unquote
from posthouse.relay.directory.question import Domain, Entry
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry, NoAnswer
from posthouse.relay.routing.lookup import find_entry
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rules import Reversal, Rules

_LONGEST = 254
"""octets of an address (RFC 5321 4.5.3.1.3, without brackets)"""


def reversed_sender(rules: Rules, sender: str, *, utf8: bool = False) -> Asking[str]:
    """The envelope From as it goes on, by the rules' reversal; itself while the directory is silent."""
    if rules.reversal is None or not rules.reversal.envelope:
        return sender
    try:
        return (yield from reversed_address(rules, Inquiry(), sender, utf8=utf8))
    except NoAnswer:
        return sender


def kept(reversal: Reversal, given: str, targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets; copies for channels with `noreverse` have the envelope From as it was given."""
    exempt = reversal.exempt
    return tuple(
        msgspec.structs.replace(one, sender=given) if one.channel in exempt and not one.sender else one for one in targets
    )


def reversed_address(rules: Rules, inquiry: Inquiry, address: str, *, utf8: bool = False) -> Asking[str]:
    """The primary address, or the address itself.

    Args:
        rules: how subaddresses are cut off.
        inquiry: keeps the domains it has met.
        address: as written, without brackets.
        utf8: it may become one outside ASCII.

    Raises:
        NoAnswer: the directory is silent.
    """
    domain = (yield from inquiry.domain(address.rpartition("@")[2])) if "@" in address else None
    if domain is None:
        return address
    try:
        given = parse_address(address)
    except AddressError:
        return address
    if given.route or not given.domain:
        return address
    name = unquote(given.local)
    try:
        found = yield from find_entry(rules, inquiry, name, domain, given.domain)
    except AmbiguousEntry:
        return address
    if found is None:
        return address
    rest = name[-len(found.subaddress) - 1 :] if found.subaddress else ""
    local = quote(name.removesuffix(rest)).lower()
    if _is_to_stay(found.entry, local, given.domain.lower(), domain):
        return address
    primary = _primary(found.entry, rest)
    return primary if primary and (utf8 or primary.isascii()) else address


def _is_to_stay(entry: Entry, local: str, given: str, domain: Domain) -> bool:
    """Whether the entry has this address as a primary one, or as one that is as good."""
    if f"{local}@{given}" in map(str.lower, entry.all("mail")):
        return True
    spellings = {f"{local}@{name}" for name in (given, domain.name, domain.canonical)}
    return any(one.lower() in spellings for one in entry.all("mailequivalentaddress"))


def _primary(entry: Entry, rest: str) -> str:
    """The primary address with what follows its local part, or nothing where the directory has none that can be written."""
    try:
        primary = parse_address(entry.first("mail"))
    except AddressError:
        return ""
    local = quote(unquote(primary.local) + rest) if rest else primary.local
    made = f"{local}@{primary.domain}"
    fits = len(made.encode()) <= _LONGEST and ".." not in made and primary.domain and not primary.route
    return made if fits else ""
