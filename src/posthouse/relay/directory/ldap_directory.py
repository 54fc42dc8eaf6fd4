"""The directory on LDAP servers: python-ldap, a cache before it, the loop never waiting.

Guarantees: every question is answered within LDAP_TIMEOUT seconds, by Unknown when no server has answered by then; a server that
is slow is given no more at once than it can answer in that time, and what it answers later is remembered; one search
for an entry of a known domain, none while the cache holds it; lost connections are made again with the next question;
a question whose connection broke under it is asked once more on a new one, then at the next server, as is one whose search a
server refuses.

A process has one connection to each server it uses. Connecting, TLS and bind run in a thread of their own, which may hang
without harm; searches are sent from the loop on a socket that does not block. (Searches in threads cost three times the CPU
time, nearly all of it for waking threads.)
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.relay.directory.cache import AnswerCache, Flights, Lifetimes
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.layout import Layout
from posthouse.relay.directory.ldap_bind import LdapBinder
from posthouse.relay.directory.ldap_connection import LdapConnection, ServerTroubleError
from posthouse.relay.directory.ldap_link import Job, LdapLink
from posthouse.relay.directory.ldap_options import LdapOptions, read_ldap_options
from posthouse.relay.directory.ldap_pages import read_pages
from posthouse.relay.directory.ldap_servers import LdapServers
from posthouse.relay.directory.password import PasswordAnswer
from posthouse.relay.directory.question import Answer, NeedMembers, NeedUrl, Question, Unknown
from posthouse.relay.directory.search import Steps, plan

_SERVERS_SHARE = 0.9
"""part of the time limit the servers have, so that a silent one is known as such before the asker gives up"""
_CONNECTS = 4.0
"""times LDAP_CONNECT_TIMEOUT after which a thread that connects is not waited for any more"""
_log = logging.getLogger("posthouse.directory")
_WARM_UP = NeedUrl("ldap:///??base?(objectClass=*)")
"""the root DSE: connects, and every server lets it be read"""


class LdapDirectory:
    """Answers from LDAP servers.

    Args:
        layout: how the tree is built.
        options: how to reach the servers.
        lifetimes: of the cache.
    """

    def __init__(
        self,
        layout: Layout,
        options: LdapOptions,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        self._layout = layout
        self._options = options
        self._cache = AnswerCache(lifetimes or Lifetimes(), time.monotonic)
        self._flights = Flights(self._cache, self._submit, options.timeout)
        self._servers = LdapServers(options.uris, time.monotonic, options.timeout)
        self._binder = LdapBinder(self._servers, options)
        self._links: dict[str, LdapLink] = {}
        self._in_doubt: Question = _WARM_UP
        self._connecting: dict[str, list[Job]] = {}
        self._paging: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def cached(self, question: Question) -> Answer | None:
        """The answer when the cache has it."""
        return self._cache.fresh(question)

    def ask(self, question: Question, done: Callable[[Answer], None]) -> None:
        """Have `done` called with the answer, within LDAP_TIMEOUT seconds."""
        if self._loop is None:
            asyncio.get_running_loop().call_soon(done, Unknown("the directory is not open"))
        else:
            self._flights.ask(question, done)

    async def answer(self, question: Question) -> Answer:
        """The answer, within LDAP_TIMEOUT seconds."""
        if self._loop is None:
            return Unknown("the directory is not open")
        return await self._flights.answer(question)

    async def check_password(self, dn: str, password: str) -> PasswordAnswer:
        """Whether a server lets this entry in with this password, within LDAP_TIMEOUT seconds."""
        if self._loop is None:
            return Unknown("the directory is not open")
        return await self._binder.check(dn, password)

    async def start(self) -> None:
        """Begin to connect; servers that are down are no error."""
        self._loop = asyncio.get_running_loop()
        self._submit(_WARM_UP, lambda _: None)

    async def close(self) -> None:
        """Questions under way get Unknown, connections end."""
        self._loop = None
        self._flights.give_up("the directory is closed")
        self._binder.close()
        for link in tuple(self._links.values()):
            link.close()
        self._links.clear()
        self._connecting.clear()

    def probe(self) -> None:
        """Ask what had no answer last, else for the root: an answer makes a server well again."""
        if self._loop is not None:
            self._flights.ask(self._in_doubt, lambda _: None)

    def health(self) -> str:
        """`ok`, `degraded` or `down` with the servers."""
        return self._servers.health()

    def _submit(self, question: Question, done: Callable[[Answer], None]) -> None:
        assert self._loop is not None
        if type(question) is NeedMembers:
            task = self._loop.create_task(self._in_pages(question, done))
            self._paging.add(task)
            task.add_done_callback(self._paging.discard)
            return
        self._ask(Job(question, self._loop.time() + self._options.timeout * _SERVERS_SHARE, done))

    async def _in_pages(self, question: NeedMembers, done: Callable[[Answer], None]) -> None:
        """Members are asked for on a connection of their own: pages belong to the connection they began on."""
        tried: set[str] = set()
        while (uri := self._servers.next(tried)) is not None:
            tried.add(uri)
            try:
                answer = await asyncio.to_thread(read_pages, uri, self._options, self._layout, question)
            except ServerTroubleError as problem:
                self._servers.failed(uri, str(problem))
                continue
            if not isinstance(answer, Unknown):
                self._servers.worked(uri)
            done(answer)
            return
        done(Unknown(f"no directory server answers: {self._servers.trouble()}"))

    def _ask(self, job: Job) -> None:
        """Give the question to the next server that may have it."""
        if self._loop is None:
            return
        uri = self._servers.next(job.tried)
        left = job.ends - self._loop.time()
        if uri is None or left <= 0:
            job.done(Unknown(job.refused or f"no directory server answers: {self._servers.trouble() or 'no time left'}"))
            return
        job.tried |= {uri}
        link = self._links.get(uri)
        if link is not None:
            self._begin(job, link)
        elif uri in self._connecting:
            self._connecting[uri].append(job)
        else:
            waiting = self._connecting[uri] = [job]
            longest = _CONNECTS * self._options.connect_timeout
            self._loop.call_later(longest, self._connected, uri, waiting, "connecting does not end")
            threading.Thread(target=self._connect, args=(uri, waiting, self._loop), name="ldap-connect", daemon=True).start()

    def _begin(self, job: Job, link: LdapLink) -> None:
        assert self._loop is not None
        link.begin(job, (job.ends - self._loop.time()) / (len(self._options.uris) - len(job.tried) + 1))

    def _connect(self, uri: str, waiting: list[Job], loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: open a connection and hand it, or the reason why not, to the loop."""
        found: LdapConnection | str
        try:
            found = LdapConnection.open(uri, self._options)
        except ServerTroubleError as problem:
            found = str(problem)
        except Exception as problem:
            _log.exception("directory: cannot connect to %s", uri)
            found = str(problem)
        try:
            loop.call_soon_threadsafe(self._connected, uri, waiting, found)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if isinstance(found, LdapConnection):
                found.close()

    def _connected(self, uri: str, jobs: list[Job], found: LdapConnection | str) -> None:
        if self._connecting.get(uri) is not jobs:  # closed, or given up: a thread may hang for ever
            if isinstance(found, LdapConnection):
                found.close()
            return
        del self._connecting[uri]
        if isinstance(found, str):
            self._servers.failed(uri, found)
            for job in jobs:
                self._ask(job)
            return
        link = self._links[uri] = LdapLink(
            found, self._plan, self._lost, self._worked, self._refused, lambda: self._servers.is_spare(uri)
        )  # fmt: skip
        for job in jobs:
            self._begin(job, link)

    def _worked(self, uri: str) -> None:
        self._in_doubt = _WARM_UP
        self._servers.worked(uri)

    def _refused(self, job: Job, uri: str, reason: str) -> None:
        """Another server may do it; the question is what tells whether this one does again."""
        self._in_doubt = job.question
        self._servers.refused(uri, reason)
        self._ask(job)

    def _lost(self, link: LdapLink, jobs: list[Job], reason: str, silent: bool) -> None:
        """A link is over: its questions go elsewhere, after one more try on a new connection unless the server was silent."""
        if self._links.get(link.uri) is link:
            del self._links[link.uri]
        if silent or (jobs and not link.answered):
            self._servers.failed(link.uri, reason)
            self._in_doubt = jobs[0].question if jobs else self._in_doubt
        for job in jobs:
            if not silent and link.uri not in job.again:
                job.again |= {link.uri}
                job.tried -= {link.uri}
            self._ask(job)

    def _plan(self, question: Question) -> Steps:
        return plan(self._layout, question)


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
