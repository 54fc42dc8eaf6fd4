"""One connection to one LDAP server, used by one thread; the only module that imports python-ldap.

Every call returns in bounded time. What goes wrong is told apart in two ways: ServerTroubleError, the server is of no use now
and another may be asked; SearchTroubleError, the server has answered that it will not do this search.
"""

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import ldap

from posthouse.relay.directory.ldap_options import LdapOptions
from posthouse.relay.directory.ldif import RawEntry
from posthouse.relay.directory.search import BASE_MISSING, Result, Scope, Search

_SCOPES = {Scope.BASE: ldap.SCOPE_BASE, Scope.ONE: ldap.SCOPE_ONELEVEL, Scope.SUB: ldap.SCOPE_SUBTREE}
_SEARCH_REFUSED = (
    ldap.FILTER_ERROR,
    ldap.INVALID_DN_SYNTAX,
    ldap.INVALID_SYNTAX,
    ldap.INSUFFICIENT_ACCESS,
    ldap.INAPPROPRIATE_MATCHING,
    ldap.NO_SUCH_ATTRIBUTE,
    ldap.UNDEFINED_TYPE,
    ldap.SIZELIMIT_EXCEEDED,
    ldap.TIMELIMIT_EXCEEDED,
    ldap.ADMINLIMIT_EXCEEDED,
    ldap.REFERRAL,
    ldap.PROTOCOL_ERROR,
)


class ServerTroubleError(Exception):
    """The server cannot be reached, does not answer in time, or is busy. The connection is closed."""


class SearchTroubleError(Exception):
    """The server has refused this search; the connection is still good."""


@dataclass(slots=True)
class LdapConnection:
    """Connected, encrypted where asked for, bound."""

    uri: str
    handle: Any
    searches: int = 0
    """how many have been answered"""

    @classmethod
    def open(cls, uri: str, options: LdapOptions, seconds: float) -> "LdapConnection":
        """Connect within so many seconds.

        Raises:
            ServerTroubleError: it did not work.
        """
        ends = time.monotonic() + seconds
        handle = None
        try:
            if uri.lower().startswith("ldaps:"):
                _shake_hands(uri, options, seconds)
            handle = ldap.initialize(uri)
            _configure(handle, uri, options, seconds)
            if options.starttls and uri.lower().startswith("ldap:"):
                handle.start_tls_s()
            number = handle.simple_bind(options.bind_dn, options.secret() if options.bind_dn else "")
            handle.result(number, ldap.MSG_ALL, max(ends - time.monotonic(), 0.01))
        except (ldap.LDAPError, OSError) as problem:
            _close(handle)
            raise ServerTroubleError(reason_of(problem)) from None
        return cls(uri, handle)

    def search(self, search: Search, seconds: float) -> Result:
        """What the server finds within so many seconds.

        Raises:
            ServerTroubleError: it gave no answer; the connection is closed.
            SearchTroubleError: it refused.
        """
        try:
            number = self.handle.search_ext(search.base, _SCOPES[search.scope], search.filter, list(search.attributes) or None)
            _, found = self.handle.result(number, ldap.MSG_ALL, max(seconds, 0.01))
        except ldap.NO_SUCH_OBJECT:
            self.searches += 1
            return BASE_MISSING
        except _SEARCH_REFUSED as problem:
            raise SearchTroubleError(reason_of(problem)) from None
        except ldap.LDAPError as problem:
            self.close()
            raise ServerTroubleError(reason_of(problem)) from None
        self.searches += 1
        return tuple(_entry(dn, given) for dn, given in found if dn is not None)

    def close(self) -> None:
        """Say good-bye."""
        _close(self.handle)


def _entry(dn: str, given: dict[str, list[bytes]]) -> RawEntry:
    return RawEntry(
        dn, {name.lower(): tuple(value.decode("utf-8", "surrogateescape") for value in values) for name, values in given.items()}
    )


def _shake_hands(uri: str, options: LdapOptions, seconds: float) -> None:
    """A TLS handshake and good-bye: libldap's own has no time limit, so a server that is silent here must be found out first.

    Certificates are libldap's to judge, with its own rules for names.
    """
    context = ssl.create_default_context(cafile=options.ca_file)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    parts = urlsplit(uri)
    with (
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 636), seconds) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname),
    ):
        pass


def _configure(handle: Any, uri: str, options: LdapOptions, seconds: float) -> None:
    handle.protocol_version = ldap.VERSION3
    handle.set_option(ldap.OPT_REFERRALS, ldap.OPT_OFF)
    handle.set_option(ldap.OPT_NETWORK_TIMEOUT, seconds)
    handle.set_option(ldap.OPT_TIMEOUT, seconds)
    handle.set_option(ldap.OPT_X_KEEPALIVE_IDLE, 60)
    handle.set_option(ldap.OPT_X_KEEPALIVE_INTERVAL, 10)
    handle.set_option(ldap.OPT_X_KEEPALIVE_PROBES, 3)
    if options.starttls or uri.lower().startswith("ldaps:"):
        handle.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        if options.ca_file is not None:
            handle.set_option(ldap.OPT_X_TLS_CACERTFILE, str(options.ca_file))
        handle.set_option(ldap.OPT_X_TLS_NEWCTX, 0)


def _close(handle: Any) -> None:
    if handle is None:
        return
    try:
        handle.unbind_ext()
    except ldap.LDAPError:
        return


def reason_of(problem: Exception) -> str:
    """What libldap says, on one line."""
    told = problem.args[0] if problem.args else None
    if isinstance(told, dict):
        return " ".join(f"{told.get('desc', '')} {told.get('info', '')}".split())
    return " ".join(str(problem).split()) or type(problem).__name__
