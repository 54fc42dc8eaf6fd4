"""Which hosts a domain's mail is taken to, in which order (RFC 5321 5.1, RFC 7505). Pure: chance is passed in.

* Lower preferences first; equal ones by chance, or as the answer had them (`nonrandommx`).
* A host of ours in the list: it and all that are not better are left out, so that mail never goes round (RFC 5321 5.1).
  Nothing left: 5.4.6, the mail would come back to us.
* No MX records: the domain itself is the only host. A null MX: 5.1.10, the domain takes no mail.
* At most `limit` hosts (MAX_MX_RECORDS).
"""

from collections.abc import Callable, Collection, Sequence

from posthouse.mail.status import Status
from posthouse.relay.names.name_service import NULL, Addresses, Exchanger

MAX_RECORDS = 32


def hosts_of(
    domain: str,
    records: Sequence[Exchanger],
    ours: Collection[str],
    chance: Callable[[], float] | None,
    limit: int = MAX_RECORDS,
) -> tuple[str, ...] | Status:
    """Hosts in the order to try them, or why there are none.

    Args:
        domain: whose mail it is.
        records: its MX records, as answered.
        ours: our own names, lower case.
        chance: a number from 0.0 to 1.0, new at each call; None keeps the order of equal preferences.
        limit: most hosts.
    """
    if not records:
        records = (Exchanger(0, domain.lower().rstrip(".")),)
    real = [record for record in records if record.host != NULL]
    if not real:
        return Status(556, "5.1.10", f"{domain} takes no mail (null MX)")
    own = [record.preference for record in real if record.host in ours]
    left = [record for record in real if not own or record.preference < min(own)]
    if not left:
        return Status(554, "5.4.6", f"mail for {domain} would come back to this system")
    keyed = [(record.preference, chance() if chance is not None else 0.0, place) for place, record in enumerate(left)]
    return tuple(dict.fromkeys(left[place].host for _, _, place in sorted(keyed)))[:limit]


def in_turn(found: Addresses, chance: Callable[[], float] | None) -> tuple[str, ...]:
    """The addresses of a host: families take turns, IPv6 first; within a family by chance."""
    families = [_shuffled(family, chance) for family in (found.ipv6, found.ipv4)]
    longest = max(len(family) for family in families)
    return tuple(family[place] for place in range(longest) for family in families if place < len(family))


def _shuffled(addresses: Sequence[str], chance: Callable[[], float] | None) -> list[str]:
    if chance is None:
        return list(addresses)
    return [address for _, address in sorted((chance(), address) for address in addresses)]
