"""The first host of an address, what is left without it, and putting the two together again (source-routes 1).

A source route wins over the domain right of the at sign; `%` and `!` count only where there is neither, percent
before bang. Nothing inside a quoted local part is ever a host.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from posthouse.mail.address import MAX_OCTETS, Address, AddressError, parse_address


class Place(StrEnum):
    """Where in the address the host stood: the letters of the control sequences of imta-cnf 2.4."""

    AT = "A"
    PERCENT = "P"
    ROUTE = "S"
    BANG = "X"
    NONE = ""
    """no host at all: the local host is meant"""

    __hash__ = str.__hash__  # a key of every look-up of rules: Enum's own is written in Python


class HostPart(NamedTuple):
    """An address split at its first host."""

    host: str
    rest: str
    """everything but the first host: what `$U` inserts"""
    place: Place


_PLAIN = re.compile(
    r"(?:@([A-Za-z0-9._-]+):)?([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+)@([A-Za-z0-9._-]+)",
)


def split_address(text: str) -> HostPart:
    """Parse an address and split it at its first host. The ordinary forms, without quotes, are recognised at once.

    Raises:
        AddressError: the text is not an address.
    """
    return split_plain(text) or first_host(parse_address(text))


def split_plain(text: str) -> HostPart | None:
    """The split of an ordinary form: no quotes, at most one host in the route. None for every other text."""
    plain = _PLAIN.fullmatch(text) if len(text) <= MAX_OCTETS else None
    if plain is None:
        return None
    route, local, domain = plain.groups()
    if route is not None:
        return HostPart(route, f"{local}@{domain}", Place.ROUTE)
    return HostPart(domain, local, Place.AT)


def first_host(address: Address) -> HostPart:
    """Split an address at the host that rewriting looks at first."""
    if address.route:
        rest = Address(address.route[1:], address.local, address.domain)
        return HostPart(address.route[0], str(rest), Place.ROUTE)
    if address.domain:
        return HostPart(address.domain, address.local, Place.AT)
    return _inside(address.local)


def _inside(local: str) -> HostPart:
    if not local.startswith('"'):
        user, sign, host = local.rpartition("%")
        if sign and user and host:
            return HostPart(host, user, Place.PERCENT)
        host, sign, user = local.partition("!")
        if sign and user and host:
            return HostPart(host, user, Place.BANG)
    return HostPart("", local, Place.NONE)


def remaining_address(rest: str) -> str | None:
    """The address left over when the first host was ourselves, or None if no other host is named.

    `jdoe%other.test` comes back as `jdoe@other.test`, so that it is seen as any address would be.
    """
    if "@" not in rest and "%" not in rest and "!" not in rest:
        return None
    try:
        address = parse_address(rest)
    except AddressError:
        return None
    if address.route or address.domain:
        return rest
    inner = _inside(address.local)
    return f"{inner.rest}@{inner.host}" if inner.host else None


def join(user: str, host: str, route: str = "") -> str:
    """The address a template's parts make: `U@H`, or source routed where U brings its own domain."""
    if user.startswith("@"):
        made = f"@{host},{user}"
    elif "@" in user and _has_domain(user):
        made = f"@{host}:{user}"
    else:
        made = f"{user}@{host}"
    if not route:
        return made
    return f"@{route},{made}" if made.startswith("@") else f"@{route}:{made}"


def _has_domain(user: str) -> bool:
    if '"' not in user:
        return True
    try:
        return bool(parse_address(user).domain)
    except AddressError:
        return True
