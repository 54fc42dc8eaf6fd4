"""Questions to the directory and their answers, as values: routing yields the first and is fed the second.

    NeedDomain(domain)                        Found(Domain) | Absent | Unknown
    NeedEntry(local, domain, given_domain)    Found(Entry)  | Absent | Ambiguous | Unknown
    NeedUrl(url)                              Found(str)    | Absent | Unknown
    NeedDn(dn)                                Found(Entry)  | Absent | Unknown
    NeedMembers(url)                          Found(addresses)       | Unknown

Absent is a fact, only ever said after a server or file has said so. Unknown is "no answer now" and must become a
temporary failure. Attribute names in answers are lower case and always the default names of option-dat.md 3: an
option that renames an attribute in the directory (LDAP_MAILHOST=...) is undone before the answer leaves this package.
Attributes whose option has no default appear as `spare1` ... `spare5`, `autoreplyaddresses` and `groupstatus`. Values keep
their case and the order of the server. Names of domains and locals are compared case-blind; the cache treats them so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")


class Kind(StrEnum):
    """What an entry is (directory.md 3, object class check)."""

    USER = "user"
    GROUP = "group"
    OTHER = "other"
    """neither; only ever the answer to NeedDn"""

    __hash__ = str.__hash__  # part of the key routing looks entries up by: Enum's own is written in Python


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain of ours."""

    name: str
    """the name it was found by, lower case; with DOMAIN_UPLEVEL bit 0 perhaps shorter than the name asked for"""
    canonical: str
    """canonical domain, lower case: decides about the default domain and the store's names"""
    base_dn: str
    """where its users are; "" for a vanity domain (DOMAIN_MATCH_URL), whose users are searched by ALIAS_URL1 only"""
    dn: str = ""
    """the entry the attributes are from"""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def first(self, name: str, default: str = "") -> str:
        """The first value of the attribute (lower-case default name), or the default."""
        values = self.attributes.get(name)
        return values[0] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of the attribute (lower-case default name)."""
        return self.attributes.get(name, ())


class Entry(msgspec.Struct, frozen=True):
    """One user or group, object classes checked."""

    dn: str
    kind: Kind
    uid: str
    """first uid as stored, without domainUidSeparator and what follows; "" only for a group that has none"""
    attributes: Mapping[str, tuple[str, ...]] = {}

    def first(self, name: str, default: str = "") -> str:
        """The first value of the attribute (lower-case default name), or the default."""
        values = self.attributes.get(name)
        return values[0] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of the attribute (lower-case default name)."""
        return self.attributes.get(name, ())


class NeedDomain(msgspec.Struct, frozen=True):
    """Is this domain ours? DOMAIN_UPLEVEL and DOMAIN_MATCH_URL are seen to; mailRoutingHosts is for the asker to judge."""

    domain: str


class NeedEntry(msgspec.Struct, frozen=True):
    """Who is `local@given_domain`?

    The whole local part is looked for, nothing is cut off: the asker asks again without the subaddress, and
    with local="" for the catch-all entry (`mailAlternateAddress: @domain`).
    """

    local: str
    """quoted or not: both spellings are the same question"""
    domain: Domain
    """the answer to NeedDomain(given_domain)"""
    given_domain: str
    """as the sender wrote it"""


@dataclass(frozen=True, slots=True)
class NeedUrl:
    """The first value of the first entry found by an LDAP URL (RFC 4516) whose values are already escaped."""

    url: str


class NeedDn(msgspec.Struct, frozen=True):
    """The entry with this name, of whatever object classes; a member of a group."""

    dn: str


class NeedMembers(msgspec.Struct, frozen=True):
    """The addresses of all entries an LDAP URL finds, however many; never some of them: then it is Unknown.

    A URL without a base means LDAP_USER_ROOT. The URL's own attributes are not looked at.
    """

    url: str
    every: bool = False
    """all addresses of each entry, not its first `mail` only"""
    limit: int = 0
    """when more are found than this, that some are missing is no matter; 0 for none"""


class Found(msgspec.Struct, Generic[T], frozen=True):
    """It is there."""

    value: T


@dataclass(frozen=True, slots=True)
class Absent:
    """The directory has answered: it is not there."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """More than one entry has this address."""

    dns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer: server down, slow or inconsistent. Never a reason for a permanent failure."""

    reason: str


Question: TypeAlias = NeedDomain | NeedEntry | NeedUrl | NeedDn | NeedMembers
DomainAnswer: TypeAlias = Found[Domain] | Absent | Unknown
EntryAnswer: TypeAlias = Found[Entry] | Absent | Ambiguous | Unknown
UrlAnswer: TypeAlias = Found[str] | Absent | Unknown
MembersAnswer: TypeAlias = Found[tuple[str, ...]] | Unknown
Answer: TypeAlias = Found[Domain] | Found[Entry] | Found[str] | Found[tuple[str, ...]] | Absent | Ambiguous | Unknown
