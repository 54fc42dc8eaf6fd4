"""What is asked of the DNS, and the answers: found, absent or unknown, as of a directory.

    await names.exchangers(domain) -> Exchangers | Absent | Unknown      MX records; none of them is an answer too
    await names.addresses(host)    -> Addresses | Absent | Unknown       A and AAAA together

Absent is said only by a server that knows that the name does not exist. Whatever else goes wrong is Unknown: mail waits for it.
CNAMEs are followed. Implementations: `dns_names.DnsNames`; `posthouse.testing.names.MemoryNames`.
"""

from dataclasses import dataclass
from typing import Protocol

NULL = "."
"""the exchanger of a domain that takes no mail (RFC 7505)"""


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One MX record."""

    preference: int
    host: str
    """lower case, without the final dot; `NULL` for the null MX"""


@dataclass(frozen=True, slots=True)
class Exchangers:
    """The name exists."""

    records: tuple[Exchanger, ...]


@dataclass(frozen=True, slots=True)
class Addresses:
    """The name exists."""

    ipv6: tuple[str, ...] = ()
    ipv4: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody could say."""

    reason: str


class NameService(Protocol):
    """The seam."""

    async def exchangers(self, domain: str) -> Exchangers | Absent | Unknown:
        """The domain's MX records."""
        ...

    async def addresses(self, host: str) -> Addresses | Absent | Unknown:
        """The host's addresses; found when either family was, absent when the name is."""
        ...
