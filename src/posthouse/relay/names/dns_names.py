"""The name service by dnspython, on the event loop; answers and refusals are kept for their TTL, at most 10,000 of them.

Servers: those given, each with its port, else the system's (resolv.conf), read when the service is made. Nothing is searched:
every name is taken as absolute. UDP first, TCP when an answer is cut. 3 s for each try, 8 s in all.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver

from posthouse.relay.names.name_service import NULL, Absent, Addresses, Exchanger, Exchangers, Unknown

if TYPE_CHECKING:
    from dns.resolver import Answer

TRY_SECONDS = 3.0
ALL_SECONDS = 8.0
REMEMBERED = 10_000
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


class DnsNames:
    """Answers of DNS servers.

    Args:
        servers: addresses and ports; none for the system's.
    """

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._fault = ""
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        except (dns.resolver.NoResolverConfiguration, OSError) as error:
            self._fault = f"no DNS server: {error}"
            self._resolver = dns.asyncresolver.Resolver(configure=False)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(address, port) for address, port in servers]
        self._resolver.timeout = TRY_SECONDS
        self._resolver.lifetime = ALL_SECONDS
        self._resolver.use_edns(0, 0, 1232)
        self._resolver.cache = dns.resolver.LRUCache(REMEMBERED)

    async def exchangers(self, domain: str) -> Exchangers | Absent | Unknown:
        """MX records of the domain; names that no host can have are passed over."""
        answer = await self._ask(domain, dns.rdatatype.MX)
        if isinstance(answer, Absent | Unknown):
            return answer
        records = ((int(each.preference), _text(each.exchange)) for each in answer)
        found = tuple(Exchanger(p, host) for p, host in records if host == NULL or _HOST.fullmatch(host))
        return Unknown(f"{domain}: its MX records name no host") if answer and not found else Exchangers(found)

    async def addresses(self, host: str) -> Addresses | Absent | Unknown:
        """A and AAAA records, asked for at the same time."""
        wide, narrow = await asyncio.gather(self._ask(host, dns.rdatatype.AAAA), self._ask(host, dns.rdatatype.A))
        found = Addresses(
            () if isinstance(wide, Absent | Unknown) else tuple(str(each.address) for each in wide),
            () if isinstance(narrow, Absent | Unknown) else tuple(str(each.address) for each in narrow),
        )
        if found.ipv6 or found.ipv4:
            return found
        for answer in (narrow, wide):
            if isinstance(answer, Unknown):
                return answer
        return narrow if isinstance(narrow, Absent) else found

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any] | Absent | Unknown:
        if self._fault:
            return Unknown(self._fault)
        try:
            full = dns.name.from_text(name.rstrip(".") + ".")
        except (dns.exception.DNSException, UnicodeError, ValueError) as error:
            return Absent(f"{name[:80]}: no domain name: {error}")
        try:
            answer: Answer = await self._resolver.resolve(full, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return Absent(f"{name}: no such domain")
        except (dns.exception.DNSException, OSError) as error:
            return Unknown(f"{name}: {_reason(error)}")
        return [] if answer.rrset is None else list(answer.rrset)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else NULL


def _reason(error: Exception) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "no DNS server answered in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the DNS servers failed to answer"
    return str(error) or type(error).__name__
