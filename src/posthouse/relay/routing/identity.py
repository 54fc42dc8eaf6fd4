"""Who is it that logs in? A name given to AUTH, from the directory to the entry whose password is to be checked.

    john.doe@example.com    any of a user's addresses
    jdoe@example.com        the uid, in the domain's part of the directory
    jdoe                    the same in the default domain

Only users that may use the system are found: inactive, disabled, deleted and removed ones, and those of such domains, are not;
a user over quota or on hold may send. A name that fits several entries is nobody's.
"""

from typing import NamedTuple
from urllib.parse import quote as percent

from posthouse.mail.address import quote
from posthouse.relay.directory.filter import escape
from posthouse.relay.directory.question import Domain, Entry, Kind
from posthouse.relay.routing.entry_status import State, entry_state
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry
from posthouse.relay.routing.refusal import Refusal

MAX_NAME = 320
_ADDRESSES = ("mail", "mailalternateaddress", "mailequivalentaddress")
_MAY_SEND = frozenset({State.ACTIVE, State.HOLD, Refusal.OVER_QUOTA})


class Identity(NamedTuple):
    """A user."""

    dn: str
    address: str
    """primary address"""
    addresses: frozenset[str]
    """all of them, lower case"""


def identify(name: str, default_domain: str) -> Asking[Identity | None]:
    """The user of this name, None: there is none who may log in.

    Args:
        name: as given to AUTH.
        default_domain: of names without a domain.

    Raises:
        NoAnswer: the directory is silent.
    """
    local, _, given = name.rpartition("@")
    if "@" not in name:
        local, given = name, default_domain
    if not local or not given or len(name) > MAX_NAME or not name.isprintable():
        return None
    inquiry = Inquiry()
    domain = yield from inquiry.domain(given)
    if domain is None:
        return None
    try:
        entry = yield from inquiry.entry(quote(local), domain, given)
        if entry is None:
            entry = yield from _by_uid(inquiry, local, domain)
    except AmbiguousEntry:
        return None
    if entry is None or entry.kind is not Kind.USER or entry_state(domain, entry) not in _MAY_SEND:
        return None
    address = entry.first("mail") or f"{entry.uid}@{domain.canonical}"
    others = (one.lower() for name in _ADDRESSES for one in entry.all(name))
    return Identity(entry.dn, address, frozenset((address.lower(), *others)))


def _by_uid(inquiry: Inquiry, uid: str, domain: Domain) -> Asking[Entry | None]:
    """The entry with this uid below the domain's; found by its address, so that object classes are checked as for all others."""
    if not domain.base_dn:
        return None
    wanted = percent(f"(uid={escape(uid)})", safe="=()")
    address = yield from inquiry.url(f"ldap:///{percent(domain.base_dn, safe='=,')}?mail?sub?{wanted}")
    local, _, given = (address or "").rpartition("@")
    there = (yield from inquiry.domain(given)) if local else None
    if there is None or there.canonical != domain.canonical:
        return None
    entry = yield from inquiry.entry(local, there, given)
    return entry if entry is not None and entry.uid.lower() == uid.lower() else None
