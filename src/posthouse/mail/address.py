r"""Addresses as route, local part and domain, text kept exactly as given (source-routes 1).

    [ "@" host *( "," "@" host ) ":" ] local [ "@" domain ]

The local part stays quoted if it was. Limits: RFC 5321 4.5.3.1 with room for internal forms: 1024 octets.
Refused: control characters, an empty local part, an unfinished quoted string, blanks outside quotes.
"""

import re
from dataclasses import dataclass

MAX_OCTETS = 1024
_ATOM = r"[^\s\"@<>()\[\],;:\\\x00-\x20\x7f]+"
_LOCAL = re.compile(rf'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|{_ATOM}|)')
_HOST = r"(?:\[[^\s\[\]\\\x00-\x20\x7f]*\]|[^\s\"@<>()\[\],;:\\\x00-\x20\x7f]+)"
_ROUTE = re.compile(rf"@({_HOST}(?:,@{_HOST})*):")
_DOMAIN = re.compile(rf"@({_HOST})\Z")
_NEEDS_QUOTES = re.compile(r"[\s\"@<>()\[\],;:\\]|^\.|\.\.|\.\Z")


class AddressError(ValueError):
    """The text is no address; the message says why, in words fit for a 501 reply."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address in three parts, each exactly as given."""

    route: tuple[str, ...]
    local: str
    domain: str

    def __str__(self) -> str:
        route = ",".join("@" + host for host in self.route)
        return (route + ":" if route else "") + self.local + ("@" + self.domain if self.domain else "")


def parse_address(text: str) -> Address:
    """Take an address apart.

    An internal address may have an empty local part (`+/path@native-daemon` has not, `@hold-daemon:` would);
    an address with neither local part nor domain is refused.

    Raises:
        AddressError: the text is not an address.
    """
    if len(text.encode("utf-8", "surrogateescape")) > MAX_OCTETS:
        raise AddressError("address is too long")
    route: tuple[str, ...] = ()
    rest = text
    if text.startswith("@"):
        match = _ROUTE.match(text)
        if not match:
            raise AddressError("source route is not finished by a colon")
        route = tuple(host.lstrip("@") for host in match[1].split(","))
        rest = text[match.end() :]
    match = _LOCAL.match(rest)
    local = match[0] if match else ""
    rest = rest[len(local) :]
    domain = ""
    if rest:
        found = _DOMAIN.match(rest)
        if not found:
            raise AddressError("illegal character in address")
        domain = found[1]
    if not local:
        raise AddressError("empty local part")
    return Address(route, local, domain)


def unquote(local: str) -> str:
    """The local part without quotes and backslashes."""
    if len(local) >= 2 and local[0] == local[-1] == '"':
        return re.sub(r"\\(.)", r"\1", local[1:-1])
    return local


def quote(local: str) -> str:
    """The local part as it must be written: quoted where its characters need it (RFC 5321 4.1.2)."""
    if local.isalnum() or (local and not _NEEDS_QUOTES.search(local)):
        return local
    return '"' + re.sub(r"([\"\\])", r"\\\1", local) + '"'
