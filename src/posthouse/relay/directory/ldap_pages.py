"""All entries an LDAP URL finds, page by page (RFC 2696), on a connection of its own; for a thread.

Either every page was read, or the answer is Unknown: a server's size limit, a page that fails or a connection that breaks
never makes a list shorter. Of an entry only its addresses are kept. With a limit reading ends as soon as more are found.
"""

import os
from typing import Any, TypeAlias

import ldap
from ldap.controls import SimplePagedResultsControl

from posthouse.relay.directory.layout import Layout
from posthouse.relay.directory.ldap_connection import SCOPES, LdapConnection, ServerTroubleError, entry_of, reason_of
from posthouse.relay.directory.ldap_options import LdapOptions
from posthouse.relay.directory.question import Found, MembersAnswer, NeedMembers, Unknown
from posthouse.relay.directory.search import Search, addresses_of, members_search

PAGE = 500
_Given: TypeAlias = tuple[str, dict[str, list[bytes]]]


def read_pages(uri: str, options: LdapOptions, layout: Layout, question: NeedMembers) -> MembersAnswer:
    """Connect, read, and hang up; blocks.

    Raises:
        ServerTroubleError: the server cannot be reached, or was lost.
    """
    try:
        search = members_search(layout, question)
    except ValueError as problem:
        return Unknown(str(problem))
    connection = LdapConnection.open(uri, options)
    try:
        os.set_blocking(connection.fd, True)
        found: list[str] = []
        cookie: bytes | None = b""
        while cookie is not None and not (question.limit and len(found) > question.limit):
            entries, cookie = _page(connection.handle, search, cookie, options.timeout)
            found += addresses_of(layout, question, [entry_of(dn, given) for dn, given in entries if dn is not None])
        return Found(tuple(found))
    except ldap.NO_SUCH_OBJECT:
        return Unknown(f"{search.base}, where {question.url[:200]} looks for members, is missing")
    except (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.BUSY, ldap.UNAVAILABLE) as problem:
        raise ServerTroubleError(reason_of(problem)) from None
    except ldap.LDAPError as problem:
        return Unknown(f"{uri} does not say all members of {question.url[:200]}: {reason_of(problem)}")
    finally:
        connection.close()


def _page(handle: Any, search: Search, cookie: bytes, seconds: float) -> tuple[list[_Given], bytes | None]:
    """One page, and the cookie of the next; None when it was the last."""
    asked = SimplePagedResultsControl(criticality=False, size=PAGE, cookie=cookie)
    number = handle.search_ext(
        search.base, SCOPES[search.scope], search.filter, list(search.attributes) or None, serverctrls=[asked]
    )
    _, entries, _, controls = handle.result3(number, ldap.MSG_ALL, seconds)
    told = [one.cookie for one in controls if isinstance(one, SimplePagedResultsControl)]
    return entries, (told[0] or None) if told else None
