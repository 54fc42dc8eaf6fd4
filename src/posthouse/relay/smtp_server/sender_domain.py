"""`mailfromdnsverify` (imta-cnf 3.2, smtp-relay.md 1): does the domain of MAIL FROM exist for mail?

    MX record, or an A or AAAA record      250
    a name without any of them, or none    550 5.1.8, text by ERROR_TEXT_MAILFROMDNSVERIFY
    a null MX: nobody can answer there     550 5.7.27 (RFC 7505 4.2)
    the DNS does not say                   450 4.4.3; never a 5xx for trouble

The null sender, an address literal, a sender without a domain and what the hosts file lists are taken without a question.
"""

from collections.abc import Collection

from posthouse.mail.status import Status
from posthouse.relay.names.literal import literal
from posthouse.relay.names.name_service import NULL, Absent, Addresses, Exchangers, NameService, Unknown
from posthouse.relay.routing.refusal import reply

DEFAULT_TEXT = "invalid/host-not-in-DNS return address not allowed"


class SenderDomains:
    """Judges senders.

    Args:
        names: the DNS.
        listed: names of the hosts file, lower case.
        text: of the refusal.
    """

    def __init__(self, names: NameService, listed: Collection[str], text: str = DEFAULT_TEXT) -> None:
        self._names = names
        self._listed = listed
        self._text = text or DEFAULT_TEXT

    async def refusal(self, sender: str) -> Status | None:
        """The reply that refuses the sender, None when he may go on."""
        domain = sender.rpartition("@")[2].lower().rstrip(".") if "@" in sender else ""
        if not domain or domain.startswith("[") or domain in self._listed:
            return None
        if literal(domain):  # an address without brackets is no domain, whatever a resolver makes of it
            return reply(550, "5.1.8", self._text, sender)
        found: Exchangers | Addresses | Absent | Unknown = await self._names.exchangers(domain)
        if isinstance(found, Exchangers):
            if found.records:
                null = all(record.host == NULL for record in found.records)
                return reply(550, "5.7.27", "the domain of the return address takes no mail (null MX)", sender) if null else None
            found = await self._names.addresses(domain)
            if isinstance(found, Addresses) and (found.ipv4 or found.ipv6):
                return None
        if isinstance(found, Unknown):
            return reply(450, "4.4.3", "the DNS does not answer about the domain of the return address", sender)
        return reply(550, "5.1.8", self._text, sender)
