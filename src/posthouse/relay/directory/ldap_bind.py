"""Passwords asked of LDAP servers: a bind as the user, on a connection of its own that ends with it.

An empty password is never tried: a server takes such a bind for an anonymous one (RFC 4513 5.1.2). At most THREADS binds are
under way; what waits longer than LDAP_TIMEOUT is Unknown. A server that says neither yes nor no of a user (a policy, a password
kept elsewhere) is asked about others all the same: whoever logs in must not have the directory rest.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import ldap

from posthouse.relay.directory.ldap_connection import ServerTroubleError, bind, close_handle, connected, reason_of
from posthouse.relay.directory.ldap_options import LdapOptions
from posthouse.relay.directory.ldap_servers import LdapServers
from posthouse.relay.directory.password import Password, PasswordAnswer
from posthouse.relay.directory.question import Unknown

THREADS = 8
_WRONG = (
    ldap.INVALID_CREDENTIALS,
    ldap.INAPPROPRIATE_AUTH,  # the entry has no password
    ldap.NO_SUCH_OBJECT,
    ldap.INVALID_DN_SYNTAX,
    ldap.CONSTRAINT_VIOLATION,
    ldap.INSUFFICIENT_ACCESS,
)
_DOWN = (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.DECODING_ERROR, ldap.TIMEOUT, ldap.BUSY, ldap.UNAVAILABLE)
_log = logging.getLogger("posthouse.directory")


class LdapBinder:
    """Asks servers about passwords.

    Args:
        servers: which of them are alive.
        options: how to reach them.
    """

    def __init__(self, servers: LdapServers, options: LdapOptions) -> None:
        self._servers = servers
        self._options = options
        self._threads: ThreadPoolExecutor | None = None

    async def check(self, dn: str, password: str) -> PasswordAnswer:
        """Whether the server lets this entry in with this password, in bounded time."""
        if not dn or not password:
            return Password.WRONG
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "ldap-bind")
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._ask(self._threads, dn, password)
        except TimeoutError:
            return Unknown("no directory server has answered in time")

    async def _ask(self, threads: ThreadPoolExecutor, dn: str, password: str) -> PasswordAnswer:
        tried: set[str] = set()
        unsaid: Unknown | None = None
        loop = asyncio.get_running_loop()
        while (uri := self._servers.next(tried)) is not None:
            tried.add(uri)
            try:
                answer = await loop.run_in_executor(threads, binds, uri, self._options, dn, password)
            except ServerTroubleError as problem:
                self._servers.failed(uri, str(problem))
                continue
            self._servers.let_in(uri)
            if not isinstance(answer, Unknown):
                return answer
            unsaid = answer
        return unsaid or Unknown(f"no directory server answers: {self._servers.trouble()}")

    def close(self) -> None:
        """No more binds; those under way end by themselves."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def binds(uri: str, options: LdapOptions, dn: str, password: str) -> PasswordAnswer:
    """Connect, bind, and hang up; blocks. Unknown: the server does not say.

    Raises:
        ServerTroubleError: it cannot be reached.
    """
    handle = None
    try:
        handle = connected(uri, options)
        bind(handle, dn, password, options.connect_timeout)
    except _WRONG:
        return Password.WRONG
    except (ldap.LDAPError, OSError) as problem:
        _log.warning("directory: %s does not say whether a password is right: %s", uri, reason_of(problem))
        if isinstance(problem, (*_DOWN, OSError)):
            raise ServerTroubleError(reason_of(problem)) from None
        return Unknown(f"{uri} does not say: {reason_of(problem)}")
    else:
        return Password.RIGHT
    finally:
        close_handle(handle)
