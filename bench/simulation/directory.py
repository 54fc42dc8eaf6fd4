"""The directory and how a relay asks it: searches go together, a few are on the way, all have their time (relay/directory/ldap_link).

TOGETHER, the window and the rests of a server that was silent are the relay's own. A relay here has one worker that asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from posthouse.relay.directory.ldap_link import TOGETHER
from posthouse.relay.directory.ldap_servers import LdapServers
from posthouse.relay.directory.ldap_window import Window
from simulation.clock import Clock
from simulation.stations import Cores

TIMEOUT = 10.0
"""LDAP_TIMEOUT, as it is by default"""
SHARE = 0.9
"""part of it the server has"""
NAME = "ldap://directory"
Answered = Callable[[bool], None]


class Directory:
    """The servers' threads.

    Args:
        clock: of the simulation.
        threads: searches at once.
        seconds: for one search.
    """

    def __init__(self, clock: Clock, threads: int, seconds: float) -> None:
        self.seconds = seconds
        self.searches = 0
        self._threads = Cores(clock, threads)

    def search(self, done: Callable[[], None]) -> None:
        """One search."""
        self.searches += 1
        self._threads.do(self.seconds, done)


class Asker:
    """A relay's side.

    Args:
        clock: of the simulation.
        directory: who is asked.
    """

    def __init__(self, clock: Clock, directory: Directory) -> None:
        self._clock = clock
        self._directory = directory
        self._servers = LdapServers((NAME,), lambda: clock.now, TIMEOUT)
        self._queue: deque[tuple[int, float, Answered]] = deque()
        self._on_the_way: dict[int, tuple[float, list[Answered]]] = {}
        self._serial = 0
        self._window = Window()
        self._heard = 0.0

    def ask(self, questions: int, answered: Answered) -> None:
        """So many recipients; answered True, or False when nobody says in time."""
        if not questions:
            answered(True)
        elif self._servers.next(set()) is None:
            answered(False)
        else:
            self._queue.append((questions, self._clock.now + TIMEOUT * SHARE, answered))
            self._send()

    def _send(self) -> None:
        seconds = TIMEOUT * SHARE
        while self._queue and len(self._on_the_way) < self._window.size:
            left = TOGETHER
            together: list[Answered] = []
            while self._queue and (not together or self._queue[0][0] <= left):
                questions, ends, answered = self._queue.popleft()
                if ends - self._clock.now <= self._window.need(seconds):
                    answered(False)
                    continue
                together.append(answered)
                left -= questions
            if together:
                self._search(together)

    def _search(self, together: list[Answered]) -> None:
        self._serial += 1
        number = self._serial
        self._on_the_way[number] = (self._clock.now, together)
        self._directory.search(lambda: self._found(number))
        self._clock.after(TIMEOUT * SHARE, lambda: self._silent(number))

    def _found(self, number: int) -> None:
        full = bool(self._queue) or len(self._on_the_way) >= self._window.size
        sent = self._on_the_way.pop(number, None)
        if sent is None:  # the connection was given up before
            return
        now = self._heard = self._clock.now
        self._servers.worked(NAME)
        self._window.heard(sent[0], now, TIMEOUT * SHARE, full=full)
        for answered in sent[1]:
            answered(True)
        self._send()

    def _silent(self, number: int) -> None:
        """The server has had its time. When it has said nothing meanwhile the connection is over, with all that is on it."""
        if number not in self._on_the_way:
            return
        sent, late = self._on_the_way[number]
        if self._heard > sent:  # its askers are told, its answer is still to come
            self._window.late(sent, self._clock.now)
            self._on_the_way[number] = (sent, [])
            for answered in late:
                answered(False)
            return
        self._servers.failed(NAME, "no answer in time")
        self._window = Window()
        lost = [*(one for _, each in self._on_the_way.values() for one in each), *(each[2] for each in self._queue)]
        self._on_the_way.clear()
        self._queue.clear()
        for answered in lost:
            answered(False)
