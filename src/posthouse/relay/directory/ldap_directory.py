"""The directory on LDAP servers: python-ldap in a few threads, a cache before them, the loop never waiting.

Guarantees: every question is answered within LDAP_TIMEOUT seconds, by Unknown when no server has answered by then; one search
for an entry of a known domain, none while the cache holds it; lost connections are made again with the next question;
a question whose connection died under it is asked once more on a new one, then at the next server.
Threads are made as they are needed, up to LDAP_MAX_CONNECTIONS; each has its own connection to each server it uses.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.relay.directory.cache import AnswerCache, Flights, Lifetimes
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.layout import Layout
from posthouse.relay.directory.ldap_connection import LdapConnection, SearchTroubleError, ServerTroubleError
from posthouse.relay.directory.ldap_options import LdapOptions, read_ldap_options
from posthouse.relay.directory.ldap_servers import LdapServers
from posthouse.relay.directory.question import Answer, NeedUrl, Question, Unknown
from posthouse.relay.directory.search import plan

_THREADS_SHARE = 0.9
"""part of the time limit the threads may use, so that a silent server is known as such before the asker gives up"""
_log = logging.getLogger("posthouse.directory")
_WARM_UP = NeedUrl("ldap:///??base?(objectClass=*)")
"""the root DSE: connects, and every server lets it be read"""


@dataclass(frozen=True, slots=True)
class _Job:
    question: Question
    ends: float
    done: Callable[[Answer], None]


class LdapDirectory:
    """Answers from LDAP servers.

    Args:
        layout: how the tree is built.
        options: how to reach the servers.
        lifetimes: of the cache.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        layout: Layout,
        options: LdapOptions,
        lifetimes: Lifetimes | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._options = options
        self._clock = clock
        self._cache = AnswerCache(lifetimes or Lifetimes(), clock)
        self._flights = Flights(self._cache, self._submit, options.timeout)
        self._servers = LdapServers(options.uris, clock, options.timeout)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._outstanding = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def cached(self, question: Question) -> Answer | None:
        """The answer when the cache has it."""
        return self._cache.fresh(question)

    async def answer(self, question: Question) -> Answer:
        """The answer, within LDAP_TIMEOUT seconds."""
        if self._loop is None:
            return Unknown("the directory is not open")
        return await self._flights.answer(question)

    async def start(self) -> None:
        """Begin to connect; servers that are down are no error."""
        self._loop = asyncio.get_running_loop()
        self._submit(_WARM_UP, lambda _: None)

    async def close(self) -> None:
        """Questions under way get Unknown; threads end when their server lets them."""
        self._loop = None
        self._flights.give_up("the directory is closed")
        for _ in self._threads:
            self._jobs.put(None)
        await asyncio.to_thread(self._join)
        self._threads.clear()

    def health(self) -> str:
        """`ok`, `degraded` or `down` with the servers."""
        return self._servers.health()

    def _submit(self, question: Question, done: Callable[[Answer], None]) -> None:
        self._jobs.put(_Job(question, self._clock() + self._options.timeout * _THREADS_SHARE, done))
        self._outstanding += 1
        if self._outstanding > len(self._threads) and len(self._threads) < self._options.connections:
            name = f"ldap-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _join(self) -> None:
        ends = time.monotonic() + 1.0
        for thread in self._threads:
            thread.join(max(ends - time.monotonic(), 0.01))

    # -- in the threads

    def _work(self) -> None:
        connections: dict[str, LdapConnection] = {}
        while (job := self._jobs.get()) is not None:
            try:
                answer = self._ask(job, connections)
            except Exception as problem:
                _log.exception("directory: %s", job.question)
                answer = Unknown(f"internal error: {problem}")
            self._finish(job.done, answer)
        for connection in connections.values():
            connection.close()

    def _ask(self, job: _Job, connections: dict[str, LdapConnection]) -> Answer:
        tried: set[str] = set()
        while (left := job.ends - self._clock()) > 0:
            uri = self._servers.next(tried)
            if uri is None:
                break
            tried.add(uri)
            share = left / (len(self._options.uris) - len(tried) + 1)
            try:
                answer = self._ask_server(uri, job.question, share, connections)
            except ServerTroubleError as problem:
                self._servers.failed(uri, str(problem))
                continue
            self._servers.worked(uri)
            return answer
        return Unknown(f"no directory server answers: {self._servers.trouble() or 'no time left'}")

    def _ask_server(self, uri: str, question: Question, seconds: float, connections: dict[str, LdapConnection]) -> Answer:
        """The answer of one server; a kept connection that turns out dead is made anew once."""
        ends = self._clock() + seconds
        kept = connections.pop(uri, None)
        if kept is not None:
            try:
                return self._ask_connection(kept, question, ends, connections)
            except ServerTroubleError:
                if self._clock() + 0.1 > ends:
                    raise
        connection = LdapConnection.open(uri, self._options, min(self._options.connect_timeout, ends - self._clock()))
        return self._ask_connection(connection, question, ends, connections)

    def _ask_connection(
        self, connection: LdapConnection, question: Question, ends: float, connections: dict[str, LdapConnection]
    ) -> Answer:
        steps = plan(self._layout, question)
        try:
            search = next(steps)
            while True:
                search = steps.send(connection.search(search, ends - self._clock()))
        except StopIteration as stop:
            connections[connection.uri] = connection
            answer: Answer = stop.value
            if isinstance(answer, Unknown):
                _log.error("directory: %s: %s", connection.uri, answer.reason)
            return answer
        except SearchTroubleError as problem:
            connections[connection.uri] = connection
            _log.error("directory: %s refuses a search: %s", connection.uri, problem)
            return Unknown(f"the directory refuses: {problem}")

    def _finish(self, done: Callable[[Answer], None], answer: Answer) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._land, done, answer)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    # -- in the loop

    def _land(self, done: Callable[[Answer], None], answer: Answer) -> None:
        self._outstanding -= 1
        done(answer)


def open_ldap(configuration: Configuration, layout: Layout) -> Directory:
    """The directory on the servers of LDAP_HOST.

    Raises:
        ConfigurationError: an option is wrong, or nothing says where domains are.
    """
    tailor = configuration.tailor
    options = read_ldap_options(configuration.options, lambda name: tailor.path(name, tailor.table))
    if not layout.domain_root:
        reason = "LDAP_HOST is set but neither LDAP_USER_ROOT nor LDAP_DOMAIN_ROOT"
        raise ConfigurationError([Fault("config/option.dat", 0, reason)])
    return LdapDirectory(layout, options, Lifetimes.of(configuration.options))
