"""Which LDAP server to ask next: in the order configured, a server that failed rests, longer each time.

A server rests 1, 2, 4, 8 and then 15 seconds after each failure in a row; one answer to a search and it is well: a connection, or
a bind, is none yet. While all rest `next` has none, and a question fails at once instead of waiting for a server known to be
down. After the rest one asker gets it to try; the others go on without it until that try has ended.

One that refuses every search (REFUSALS of them in a row) rests, too, as long as another server will do; where none will it is
asked all the same, for what it refuses may be what this asker alone is not to see. Safe for several threads.
"""

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

FIRST_REST = 1.0
LONGEST_REST = 15.0
REFUSALS = 3
TOLD_AGAIN = 60.0
"""seconds until the log says once more of a server that it refuses searches: rights may hide a part of the tree"""
_log = logging.getLogger("posthouse.directory")


@dataclass(slots=True)
class _Server:
    uri: str
    failures: int = 0
    rests_until: float = 0.0
    reason: str = ""
    refusals: int = 0
    """searches refused in a row"""
    told: float = -TOLD_AGAIN
    """when the log was told of its refusals"""
    is_told: bool = False
    """whether the log knows that it is not well"""


class LdapServers:
    """Health of the servers.

    Args:
        uris: in order of preference.
        clock: seconds, never going back.
        longest_try: seconds after which a try of a failed server counts as ended, should its end never be told.
    """

    def __init__(self, uris: tuple[str, ...], clock: Callable[[], float], longest_try: float) -> None:
        self._servers = {uri: _Server(uri) for uri in uris}
        self._clock = clock
        self._longest_try = longest_try
        self._lock = threading.Lock()
        self._first = next(iter(uris), None)
        self._all_well = True

    def next(self, tried: Collection[str]) -> str | None:
        """The server to ask now, one not yet tried for this question; None when there is none that may be asked."""
        if self._all_well and not tried:
            return self._first
        now = self._clock()
        with self._lock:
            well = (one for one in self._servers.values() if not one.failures and one.uri not in tried)
            rested = (one for one in self._servers.values() if one.failures and now >= one.rests_until and one.uri not in tried)
            probe = next(rested, None)
            # a rested server of higher rank is tried first: else it would never be used again while a lower one is well
            chosen = next(well, None)
            if chosen is None and probe is None:
                refusing = (one for one in self._servers.values() if one.refusals >= REFUSALS and one.uri not in tried)
                chosen = next(refusing, None)
            if probe is not None and (chosen is None or self._rank(probe) < self._rank(chosen)):
                probe.rests_until = now + self._longest_try
                return probe.uri
            return chosen.uri if chosen is not None else None

    def is_spare(self, uri: str) -> bool:
        """Whether there is a server that is well beside this one."""
        with self._lock:
            return any(not one.failures for one in self._servers.values() if one.uri != uri)

    def worked(self, uri: str) -> None:
        """The server has answered a search."""
        server = self._servers[uri]
        with self._lock:
            told, server.is_told = server.is_told, False
            server.failures, server.reason, server.refusals = 0, "", 0
            self._all_well = not any(one.failures for one in self._servers.values())
        if told:
            _log.warning("directory: %s answers again", uri)

    def let_in(self, uri: str) -> None:
        """It has taken a bind: whether it answers searches may be tried now."""
        with self._lock:
            self._servers[uri].rests_until = self._clock()

    def refused(self, uri: str, reason: str) -> None:
        """The server has refused a search."""
        server = self._servers[uri]
        with self._lock:
            server.refusals += 1
            if server.refusals < REFUSALS:
                server.rests_until = self._clock()  # of one that failed: it is there again, and may do the next search
                return
            now, reason = self._clock(), f"refuses searches: {reason}"
            self._rest(server, reason)
            tell = not server.is_told and now - server.told >= TOLD_AGAIN
            if tell:
                server.told, server.is_told = now, True
        if tell:
            _log.error("directory: %s %s", uri, reason)

    def failed(self, uri: str, reason: str) -> None:
        """The server has not answered, or has answered that it cannot."""
        server = self._servers[uri]
        with self._lock:
            self._rest(server, reason)
            told, server.is_told = server.is_told, True
        if not told:
            _log.error("directory: %s does not answer: %s", uri, reason)

    def _rest(self, server: _Server, reason: str) -> None:
        server.failures += 1
        self._all_well = False
        server.rests_until = self._clock() + min(FIRST_REST * 2 ** min(server.failures - 1, 10), LONGEST_REST)
        server.reason = reason

    def trouble(self) -> str:
        """What is wrong with servers that failed, or ""."""
        with self._lock:
            return "; ".join(f"{one.uri}: {one.reason}" for one in self._servers.values() if one.failures)

    def health(self) -> str:
        """`ok` with the servers, `degraded` with some or `down` with all failing."""
        trouble = self.trouble()
        if not trouble:
            return "ok: " + " ".join(self._servers)
        with self._lock:
            down = all(one.failures for one in self._servers.values())
        return f"{'down' if down else 'degraded'}: {trouble}"

    def _rank(self, server: _Server) -> int:
        return list(self._servers).index(server.uri)
