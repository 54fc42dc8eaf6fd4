"""One connection to one LDAP server; the only module that imports python-ldap.

`open` connects, encrypts and binds: it blocks, for a bounded time, and is for a thread. After that nothing blocks: the
socket does not, `send` hands a search to it and `results` takes what has come. What goes wrong is told apart in two
ways: ServerTroubleError, the connection is of no use any more; Refused, the server will not do this search.
"""

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import ldap
from ldap.ldapobject import SimpleLDAPObject

from posthouse.relay.directory.ldap_options import LdapOptions
from posthouse.relay.directory.ldif import RawEntry
from posthouse.relay.directory.search import BASE_MISSING, Result, Scope, Search

SCOPES = {Scope.BASE: ldap.SCOPE_BASE, Scope.ONE: ldap.SCOPE_ONELEVEL, Scope.SUB: ldap.SCOPE_SUBTREE}
_BROKEN = (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.DECODING_ERROR, ldap.BUSY, ldap.UNAVAILABLE, ldap.UNWILLING_TO_PERFORM)
"""errors after which another server, or a new connection, is the better choice"""


class ServerTroubleError(Exception):
    """The server cannot be reached, or is of no use now."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server has refused a search; the connection is still good."""

    reason: str


class _Handle(SimpleLDAPObject):  # type: ignore[misc] # python-ldap has no types
    """libldap's handle."""

    def taken(self) -> tuple[int | None, list[tuple[str, dict[str, list[bytes]]]], int, object]:
        """`result4` for the next message that is there; without the lock for handles that several threads have.

        Raises:
            ldap.LDAPError: as `result4` does.
        """
        found: tuple[int | None, list[tuple[str, dict[str, list[bytes]]]], int, object]
        found = self._l.result4(ldap.RES_ANY, ldap.MSG_ONE, 0, 0, 0, 0)
        return found


@dataclass(slots=True)
class LdapConnection:
    """Connected, encrypted where asked for, bound."""

    uri: str
    handle: Any
    fd: int
    _entries: dict[int, list[RawEntry]] = field(default_factory=dict)
    """of searches that have not ended, by number"""

    @classmethod
    def open(cls, uri: str, options: LdapOptions) -> "LdapConnection":
        """Connect; blocks for LDAP_CONNECT_TIMEOUT, three times that at the worst.

        Raises:
            ServerTroubleError: it did not work.
        """
        seconds = options.connect_timeout
        handle = None
        try:
            handle = connected(uri, options)
            bind(handle, options.bind_dn, options.secret() if options.bind_dn else "", seconds)
            fd = handle.fileno()
            os.set_blocking(fd, False)
        except (ldap.LDAPError, OSError) as problem:
            close_handle(handle)
            raise ServerTroubleError(reason_of(problem)) from None
        return cls(uri, handle, fd)

    def send(self, search: Search) -> int:
        """Start a search; its number.

        Raises:
            ServerTroubleError: the connection is broken or full.
        """
        try:
            number: int = self.handle.search_ext(
                search.base, SCOPES[search.scope], search.filter, list(search.attributes) or None
            )
        except ldap.LDAPError as problem:
            raise ServerTroubleError(reason_of(problem)) from None
        return number

    def abandon(self, number: int) -> None:
        """The answer is not wanted any more."""
        self._entries.pop(number, None)
        with contextlib.suppress(ldap.LDAPError):
            self.handle.abandon_ext(number)

    def results(self) -> Iterator[tuple[int, Result | Refused]]:
        """The searches that have ended, by number; ends when no more is there to read.

        Messages are taken one by one: libldap would stop behind each entry of a search that has not ended, for another look
        at the socket.

        Raises:
            ServerTroubleError: the connection is broken.
        """
        entries, taken = self._entries, self.handle.taken
        while True:
            try:
                kind, found, number, _ = taken()
            except ldap.TIMEOUT:
                return
            except ldap.LDAPError as problem:
                told = problem.args[0] if problem.args else None
                number = told.get("msgid") if isinstance(told, dict) else None
                if not number or isinstance(problem, _BROKEN):
                    raise ServerTroubleError(reason_of(problem)) from None
                entries.pop(number, None)
                yield number, BASE_MISSING if isinstance(problem, ldap.NO_SUCH_OBJECT) else Refused(reason_of(problem))
                continue
            if kind is None:
                return
            if kind == ldap.RES_SEARCH_ENTRY:
                entries.setdefault(number, []).extend([entry_of(dn, given) for dn, given in found])
            elif kind == ldap.RES_SEARCH_RESULT:
                yield number, tuple(entries.pop(number, ()))

    def close(self) -> None:
        """Say good-bye."""
        close_handle(self.handle)


def connected(uri: str, options: LdapOptions) -> Any:
    """A handle, encrypted where that is asked for; nobody has bound on it. Blocks.

    Raises:
        ldap.LDAPError, OSError: it did not work.
    """
    if uri.lower().startswith("ldaps:"):
        _shake_hands(uri, options, options.connect_timeout)
    handle = _Handle(uri)
    _configure(handle, uri, options, options.connect_timeout)
    if options.starttls and uri.lower().startswith("ldap:"):
        try:
            handle.start_tls_s()
        except ldap.LDAPError:
            close_handle(handle)
            raise
    return handle


def bind(handle: Any, dn: str, password: str, seconds: float) -> None:
    """Bind; blocks for so long.

    libldap minds its time limit between messages only: where one stops half-way it would wait in a read for ever. So reads and
    writes on the socket have an end of their own; libldap looks at its limit then.

    Raises:
        ldap.LDAPError, OSError: it did not work, or the server says no.
    """
    number = handle.simple_bind(dn, password)
    whole, part = divmod(seconds, 1.0)
    limit = struct.pack("ll", int(whole), max(1, int(part * 1_000_000)))
    with socket.socket(fileno=os.dup(handle.fileno())) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    handle.result(number, ldap.MSG_ALL, seconds)


def entry_of(dn: str, given: dict[str, list[bytes]]) -> RawEntry:
    """An entry as python-ldap gives it."""
    found: dict[str, tuple[str, ...]] = {}
    for name, values in given.items():
        if len(values) == 1:
            found[name.lower()] = (values[0].decode("utf-8", "surrogateescape"),)
        else:
            found[name.lower()] = tuple([value.decode("utf-8", "surrogateescape") for value in values])
    return RawEntry(dn, found)


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


def close_handle(handle: Any) -> None:
    """Say good-bye, if there is anybody."""
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
