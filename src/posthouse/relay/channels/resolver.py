"""Names to addresses: the instance's hosts file first, then the system, in a thread (`nodns`: no MX is ever asked for).

What the system said is remembered for 60 s, failures are not. A name that does not resolve is temporary here: on a relay
it is a configuration fault or a resolver that is down, and mail must not bounce for either (source-routes 4.1).
"""

import asyncio
import socket
from collections.abc import Mapping

from posthouse.relay.names.literal import literal

REMEMBER_SECONDS = 60.0


class Unresolved(OSError):  # noqa: N818 - says what was found
    """The name has no address now; the text says why."""


class Resolver:
    """Answers for one worker.

    Args:
        hosts: lower-case name to addresses, from the hosts file.
    """

    def __init__(self, hosts: Mapping[str, tuple[str, ...]]) -> None:
        self._hosts = hosts
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def listed(self, name: str) -> tuple[str, ...]:
        """What the hosts file has for the name."""
        return self._hosts.get(name.lower().rstrip("."), ())

    async def resolve(self, name: str) -> tuple[str, ...]:
        """The addresses, in the order to try them.

        Raises:
            Unresolved: there is none now; the text is why, without the name.
        """
        key = name.lower().rstrip(".")
        found = self._hosts.get(key) or literal(key)
        if found:
            return found
        loop = asyncio.get_running_loop()
        until, known = self._known.get(key, (0.0, ()))
        if until > loop.time():
            return known
        try:
            answer = await loop.getaddrinfo(key, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unresolved(str(getattr(error, "strerror", None) or error)) from error
        addresses = tuple(dict.fromkeys(str(each[4][0]) for each in answer))
        self._known[key] = (loop.time() + REMEMBER_SECONDS, addresses)
        return addresses
