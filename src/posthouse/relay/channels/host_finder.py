"""Where to connect for a destination: hosts by MX or by their name, each with its addresses, or why there is nowhere.

* The instance's hosts file comes first, for domains and for hosts alike; an address literal needs nobody.
* A name that does not exist, a null MX, a loop: permanent. A server that does not answer: temporary (RFC 5321 5.1).
* `nodns`, and hosts our own configuration names (`daemon`, `lastresort`): whatever is wrong with them is temporary; mail does
  not bounce for our own fault (decision 24).
"""

from collections.abc import Callable, Collection

from posthouse.mail.address import AddressError, parse_address
from posthouse.mail.status import Status
from posthouse.relay.channels.mx import hosts_of, in_turn
from posthouse.relay.channels.resolver import Resolver, Unresolved
from posthouse.relay.channels.smtp_settings import Lookup, SmtpSettings
from posthouse.relay.names.literal import literal
from posthouse.relay.names.name_service import Absent, NameService, Unknown


class HostFinder:
    """Answers for one channel.

    Args:
        settings: of the channel.
        names: the DNS, once it has to be asked.
        resolver: hosts file and the system's look-up.
        ours: names of this system, lower case.
        chance: a number from 0.0 to 1.0, new at each call.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        names: Callable[[], NameService],
        resolver: Resolver,
        ours: Collection[str],
        chance: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._names = names
        self._resolver = resolver
        self._ours = ours
        self._chance = chance if settings.random else None

    async def hosts(self, destination: str) -> tuple[str, ...] | Status:
        """The hosts of a destination, in the order to try them."""
        settings = self._settings
        key = destination.lower().rstrip(".")
        if literal(key) or self._resolver.listed(key):
            return (key,)
        if settings.lookup is not Lookup.MX:
            return self._own_fault(Status(554, "5.4.6", f"{key} is this system")) if key in self._ours else (key,)
        answer = await self._names().exchangers(key)
        if isinstance(answer, Unknown):
            return Status(451, "4.4.3", answer.reason)
        if isinstance(answer, Absent):
            return self._own_fault(Status(550, "5.1.2", answer.reason))
        found = hosts_of(key, answer.records, self._ours, self._chance, settings.most_hosts)
        return self._own_fault(found) if isinstance(found, Status) else found

    async def addresses(self, host: str) -> tuple[str, ...] | Status:
        """The addresses of a host, in the order to try them."""
        key = host.lower().rstrip(".")
        known = self._resolver.listed(key) or literal(key)
        if known:
            return known
        if self._settings.lookup is Lookup.SYSTEM:
            try:
                return await self._resolver.resolve(key)
            except Unresolved as error:
                return Status(451, "4.4.3", f"{host}: {error}")
        answer = await self._names().addresses(key)
        if isinstance(answer, Unknown):
            return Status(451, "4.4.3", answer.reason)
        if isinstance(answer, Absent):
            return self._own_fault(Status(550, "5.4.4", answer.reason))
        return in_turn(answer, self._chance) or self._own_fault(Status(550, "5.4.4", f"{host} has no address"))

    def _own_fault(self, status: Status) -> Status:
        return temporary(status) if self._settings.fixed else status


def temporary(status: Status) -> Status:
    """The same, to be tried again."""
    return Status(451, f"4{status.enhanced[1:]}" if status.enhanced else "", status.text) if status.is_permanent else status


def is_routed(address: str) -> bool:
    """Whether the host was put before the address by our own rules or directory."""
    try:
        return bool(parse_address(address).route)
    except AddressError:
        return False
