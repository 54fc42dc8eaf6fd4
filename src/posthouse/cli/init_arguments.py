"""What `posthouse init` is told, taken apart and checked: a bad argument ends with 64, a file that is not there with 66."""

import ipaddress
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from posthouse.mail.address import parse_address
from posthouse.mapping.access import canonical_address

USAGE, NO_INPUT, NO_USER, CANNOT_CREATE = 64, 66, 67, 73


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a service listens."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address else str(self.port)


def refuse(text: str, code: int = USAGE) -> SystemExit:
    """Say why nothing is written; raise what comes back."""
    sys.stderr.write(f"posthouse init: {text}\n")
    return SystemExit(code)


def listener_of(text: str, option: str) -> Listener:
    """`ADDRESS:PORT`, or the port alone."""
    address, _, port = text.rpartition(":")
    address = address.strip("[]")
    try:
        if address:
            ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        raise refuse(f"{option} {text}: give ADDRESS:PORT or PORT, e.g. 127.0.0.1:2225") from None
    if not 0 < number < 65536:
        raise refuse(f"{option} {text}: a port is a number from 1 to 65535")
    return Listener(address, number)


def apart(services: Iterable[tuple[str, Listener | None]]) -> None:
    """No two services on one port; those that are None are not there.

    Args:
        services: the option and what it named.
    """
    there = [(option, listener) for option, listener in services if listener is not None]
    for (first, one), (second, other) in combinations(there, 2):
        if one.port == other.port and (one.address == other.address or not one.address or not other.address):
            raise refuse(f"{second} {other}: {first} has this port")


def interface_line(listener: Listener) -> str:
    """A service's INTERFACE_ADDRESS in dispatcher.cnf."""
    return f"INTERFACE_ADDRESS={listener.address}" if listener.address else "!INTERFACE_ADDRESS="


def address_pattern(text: str, option: str = "--allow") -> str:
    """An address or block as a mapping pattern (mappings.md 2), in the form in which clients are asked about."""
    try:
        network = ipaddress.ip_network(text, strict=False)
        mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
        if mapped is not None and network.prefixlen >= 96:
            network = ipaddress.ip_network((mapped, network.prefixlen - 96))
    except ValueError:
        raise refuse(f"{option} {text}: give an IP address or a block such as 192.0.2.0/24") from None
    if network.num_addresses == 1:
        return canonical_address(str(network.network_address))
    return f"${'(' if network.version == 4 else '{'}{network}{')' if network.version == 4 else '}'}"


def hosts_text(pairs: list[str]) -> str:
    """The file of names that are asked for before the system's resolver."""
    lines = []
    for pair in pairs:
        name, _, address = pair.partition("=")
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise refuse(f"--resolve {pair}: give NAME=ADDRESS, e.g. store1.example.com=192.0.2.10") from None
        lines.append(f"{address}\t{host_name(name, '--resolve')}\n")
    return "# asked before the system's resolver; the syntax of /etc/hosts\n" + "".join(lines) if lines else ""


def host_name(text: str, option: str) -> str:
    """A host or domain name, lower case."""
    labels = text.rstrip(".").split(".")
    if not all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise refuse(f"{option} {text}: not a host or domain name")
    return text.rstrip(".").lower()


def directory_lines(
    ldif: Path | None, ldap: list[str], base: str | None, schema: int, bind_dn: str | None, password_file: Path | None
) -> str:
    """The directory's lines of option.dat."""
    if (ldif is None) == (not ldap):
        raise refuse("give the directory: either --ldif FILE or --ldap URI --base DN")
    if schema not in {1, 2}:
        raise refuse(f"--schema {schema}: 1 or 2")
    if ldif is not None:
        if not ldif.is_file():
            raise refuse(f"--ldif {ldif}: no such file", NO_INPUT)
        lines = ["! an LDIF file, read again when it changes", f"LDAP_LDIF_FILE={ldif.resolve()}"]
        lines += [f"LDAP_USER_ROOT={base}"] if base else []
    else:
        if not base:
            raise refuse("--ldap needs --base DN")
        if bad := [uri for uri in ldap if not uri.startswith(("ldap://", "ldaps://"))]:
            raise refuse(f"--ldap {bad[0]}: give a URI, e.g. ldap://192.0.2.3:389")
        lines = ["! servers are tried in this order", f"LDAP_HOST={' '.join(ldap)}", f"LDAP_USER_ROOT={base}"]
    lines.append(f"LDAP_SCHEMALEVEL={schema}")
    if (bind_dn is None) != (password_file is None) or (bind_dn is not None and not ldap):
        raise refuse("--bind-dn DN and --bind-password-file FILE go together, with --ldap")
    if bind_dn is not None and password_file is not None:
        if not password_file.is_file():
            raise refuse(f"--bind-password-file {password_file}: no such file", NO_INPUT)
        lines += [f"LDAP_USERNAME={bind_dn}", f"LDAP_PASSWORD_FILE={password_file.resolve()}"]
    return "\n".join(lines)


def postmaster_line(address: str) -> str:
    """The line in aliases."""
    try:
        parse_address(address)
    except ValueError as error:
        raise refuse(f"--postmaster {address}: {error}") from None
    return f"postmaster: {address}"
