"""How to reach the LDAP servers, from option.dat.

    LDAP_HOST              hosts, host:port or ldap:// ldaps:// ldapi:// URIs, parted by blanks, tried in this order
    LDAP_PORT              for hosts without a port: 389, or 636 with LDAP_TLS=ldaps
    LDAP_TLS               starttls | ldaps | none (default). starttls: on every ldap:// connection, or it is not used;
                           ldaps: hosts given without a scheme are ldaps://. An ldaps:// URI is TLS whatever this says
    LDAP_CA_FILE           PEM file with the authorities to trust, relative to the config folder; default: the system's
    LDAP_USERNAME          DN to bind as; empty = anonymous
    LDAP_PASSWORD          its password, or LDAP_PASSWORD_FILE: first line of this file, read at each connect
    LDAP_TIMEOUT           seconds in which every question gets an answer, if only Unknown: 10
    LDAP_CONNECT_TIMEOUT   seconds to connect to one server, with TLS and bind: 3

LDAP_MAX_CONNECTIONS is not used: a process has one connection to each server it uses, with all its searches on it.
Server certificates are always checked, the name in LDAP_HOST against the certificate; libldap takes the name `localhost`
for the machine's own host name, so with TLS write 127.0.0.1 there and in the certificate. LDAP_TLS, LDAP_CA_FILE,
LDAP_PASSWORD_FILE and LDAP_CONNECT_TIMEOUT are ours, not Sun's; Sun's LDAP_TIMEOUT is 180.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.option_file import OptionFile


@dataclass(frozen=True, slots=True)
class LdapOptions:
    """What a connection needs to know; times in seconds."""

    uris: tuple[str, ...]
    starttls: bool = False
    ca_file: Path | None = None
    bind_dn: str = ""
    password: str = ""
    password_file: Path | None = None
    timeout: float = 10.0
    connect_timeout: float = 3.0

    def secret(self) -> str:
        """The password to bind with.

        Raises:
            OSError: the password file cannot be read.
        """
        if self.password_file is None:
            return self.password
        return self.password_file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")


def read_ldap_options(options: OptionFile, resolve: Callable[[str], Path]) -> LdapOptions:
    """The options.

    Args:
        options: option.dat.
        resolve: the path a file name in an option means.

    Raises:
        ConfigurationError: no host, an unknown scheme or LDAP_TLS, a DN without password, a file that cannot be read.
    """
    faults: list[Fault] = []

    def fault(name: str, reason: str) -> None:
        value = options.get(name)
        faults.append(Fault(value.file if value else "config/option.dat", value.line if value else 0, f"{name}: {reason}"))

    tls = options.text("LDAP_TLS", "none").lower()
    if tls not in {"starttls", "ldaps", "none"}:
        fault("LDAP_TLS", f"{tls!r} is not starttls, ldaps or none")
    files: dict[str, Path | None] = {}
    for name in ("LDAP_CA_FILE", "LDAP_PASSWORD_FILE"):
        files[name] = resolve(options.text(name)) if options.text(name) else None
        path = files[name]
        try:
            if path is not None:
                path.read_bytes()
        except OSError as problem:
            fault(name, f"{path}: {problem.strerror}")
    try:
        uris = tuple(_uris(options.text("LDAP_HOST"), options.integer("LDAP_PORT", 0), ldaps=tls == "ldaps"))
    except ValueError as problem:
        fault("LDAP_HOST", str(problem))
        uris = ()
    if options.text("LDAP_USERNAME") and not (options.text("LDAP_PASSWORD") or files["LDAP_PASSWORD_FILE"]):
        fault("LDAP_USERNAME", "needs LDAP_PASSWORD or LDAP_PASSWORD_FILE")
    for name in ("LDAP_TIMEOUT", "LDAP_CONNECT_TIMEOUT"):
        if options.number(name, 1.0) <= 0:
            fault(name, "must be more than 0")
    if faults:
        raise ConfigurationError(faults)
    return LdapOptions(
        uris=uris,
        starttls=tls == "starttls",
        ca_file=files["LDAP_CA_FILE"],
        bind_dn=options.text("LDAP_USERNAME"),
        password=options.text("LDAP_PASSWORD"),
        password_file=files["LDAP_PASSWORD_FILE"],
        timeout=options.number("LDAP_TIMEOUT", 10.0),
        connect_timeout=options.number("LDAP_CONNECT_TIMEOUT", 3.0),
    )


def _uris(hosts: str, port: int, *, ldaps: bool) -> Iterator[str]:
    scheme, default = ("ldaps", 636) if ldaps else ("ldap", 389)
    if not hosts.split():
        raise ValueError("names no server")
    for host in hosts.split():
        kind, separator, rest = host.partition("://")
        if separator:
            if kind.lower() not in {"ldap", "ldaps", "ldapi"} or not rest.strip("/"):
                raise ValueError(f"{host!r} is no ldap://, ldaps:// or ldapi:// URI of a server")
            yield host
            continue
        plain = host.rpartition(":")[0] if host.count(":") == 1 or "]:" in host else host
        number = host.rpartition(":")[2] if plain != host else str(port or default)
        if not number.isdecimal():
            raise ValueError(f"{host!r}: {number!r} is no port")
        yield f"{scheme}://{f'[{plain}]' if ':' in plain and not plain.startswith('[') else plain}:{number}"
