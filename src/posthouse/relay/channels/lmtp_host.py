"""One destination of an LMTP channel: the copies that wait for it and the sessions that carry them.

* At most as many sessions as the controller grants; one is opened at a time, so a host that does not answer has one at most.
* Copies wait in one queue for all sessions of the host: a session held up by a locked mailbox holds up nothing else.
* A host that cannot be found or reached, or that refuses to talk, is reported once (`HostDown`); one copy has an attempt on it,
  the others go back untouched. While other sessions of the host work, a failure to open one more only means fewer sessions.
* `PORT_ACCESS` of the store refusing us (5yz as greeting) is 4.3.2 and an alarm: our own fault must not bounce mail. So are 503
  and 530 before the message was sent: what the server wants is another session (decision 189).
* A copy that cannot be read is never sent and never bounced: set aside or held, with an alarm (DURABILITY 4.10).
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.connecting import connect
from posthouse.relay.channels.host_finder import temporary
from posthouse.relay.channels.host_session import HostSession
from posthouse.relay.channels.lmtp_session import LmtpSession
from posthouse.relay.channels.settings import ChannelSettings
from posthouse.relay.channels.unreadable import open_leased
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import HostDown, HostUp, Lease, Result
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.connect import WireAddresses, connect_host
from posthouse.trace.record import Action, Record

if TYPE_CHECKING:
    from posthouse.relay.channels.lmtp_client import LmtpChannels

CONNECT_SECONDS = 30.0
HOLD_OFF_SECONDS = 5.0
ANOTHER_SESSION = frozenset({503, 530})
LOG_ENTRIES = 2
"""bit of LOG_CONNECTION that asks for O, C and Y records"""


class Waiting:
    """A copy that waits for a session."""

    __slots__ = ("exact", "lease", "stale")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.stale = False
        """it met a closed session already"""
        self.exact = not lease.instant
        """the server found it too big, or may have: count SIZE over the octets"""


class LmtpHost:
    """One host of one channel."""

    protocol = "LMTP"
    """as the connection log names it"""

    def __init__(self, program: "LmtpChannels", shop: Workshop, settings: ChannelSettings, name: str) -> None:
        self.program = program
        self.shop = shop
        self.settings = settings
        self.name = name
        self.connect_name = connect_host(shop.rules, settings.channel, f"postmaster@{name}")
        self.limit = 1
        self.queue: deque[Waiting] = deque()
        self.sessions: set[HostSession] = set()
        self._idle: list[HostSession] = []
        self._connecting: asyncio.Task[None] | None = None
        self._not_ready = 0
        self._busy = 0
        self._hold_off = 0.0
        self._draining = False
        self.takes_chunks = True
        """what lists CHUNKING is believed until it refuses BDAT or breaks the protocol"""
        self.wires = WireAddresses(shop.rules, settings.channel)
        """addresses as RCPT takes them"""

    @property
    def open_sessions(self) -> int:
        """Sessions that are or are about to be open."""
        return len(self.sessions) + (self._connecting is not None)

    @property
    def idle_sessions(self) -> list[HostSession]:
        """Those without work, longest rested first."""
        return self._idle

    def put(self, lease: Lease) -> None:
        """Take a copy."""
        self.queue.append(Waiting(lease))

    def again(self, job: Waiting, *, stale: bool = False, exact: bool = False) -> None:
        """The copy was not settled through no fault of its own: next."""
        job.stale |= stale
        job.exact |= exact
        if self._draining:
            self._give_back(job)
        else:
            self.queue.appendleft(job)

    def without_own_fault(self, status: Status) -> Status:
        """A reply to MAIL, RCPT or DATA of a host that our configuration names: one about the session is not the sender's."""
        if status.code not in ANOTHER_SESSION:
            return status
        self.shop.alarm(f"{self.connect_name}: {status}")
        return temporary(status)

    def pump(self) -> None:
        """Give waiting copies to sessions, and open one more session where that is allowed."""
        while self.queue and self._idle and self._busy < self.limit:
            session = self._idle.pop()
            if session.usable:
                self._work(session)
        if self.queue and not self._draining and self._may_open():
            self._connecting = self.shop.loop.create_task(self._connect())

    def _may_open(self) -> bool:
        if self._connecting is not None or self._not_ready or len(self.sessions) >= self.limit:
            return False
        return self.shop.loop.time() >= self._hold_off and self.program.make_room(self)

    def _work(self, session: HostSession) -> None:
        while self.queue:
            if session.take(self.queue.popleft()):
                self._busy += 1
                return
        self._idle.append(session)
        session.rest()

    # opening

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._try_addresses()
        except (OSError, TimeoutError) as error:
            text = "connection timed out" if isinstance(error, TimeoutError) else (getattr(error, "strerror", "") or str(error))
            self._connecting = None
            self._log_connection(Action.UNREACHED, "", text)
            self._down(Status(451, "4.4.1", f"{self.connect_name}: {text}"))
        else:
            self._connecting = None

    async def _try_addresses(self) -> None:
        secure = self.settings.tls
        if secure is not None and secure.fault:
            self.shop.alarm(secure.fault)
        if secure is not None and secure.context is None:
            raise OSError("this system's configuration is incomplete")
        addresses = await self.program.resolver.resolve(self.connect_name)
        last: OSError = OSError("no address")
        for address in addresses:
            try:
                await connect(self.shop.loop, LmtpSession(self), address, self.settings.channel.port)
            except OSError as error:
                last = error
                continue
            return
        raise last

    def connected(self, session: HostSession) -> None:
        """The server has accepted a connection; it has not spoken yet."""
        self.sessions.add(session)
        self._not_ready += 1

    def ready(self, session: HostSession, where: str) -> None:
        """A session has been greeted."""
        self._not_ready -= 1
        self._log_connection(Action.OPENED, where, "")
        self.shop.tell(HostUp(self.settings.channel.name, self.name))
        if self._draining:
            session.leave()
            return
        self._idle.append(session)
        self.pump()

    def refused(self, session: HostSession, status: Status, where: str) -> None:
        """The server does not talk to us."""
        del session
        if status.is_permanent:
            self.shop.alarm(f"{self.connect_name} refuses this relay ({status}): see PORT_ACCESS in its mappings file")
            status = Status(451, "4.3.2", f"refused at the greeting: {status}")
        self._log_connection(Action.UNREACHED, where, str(status))
        self._down(status)

    def _down(self, status: Status) -> None:
        if self._draining:  # the connection was given up by us
            return
        if any(session.busy or (session.connected and session.usable) for session in self.sessions):
            self._hold_off = self.shop.loop.time() + HOLD_OFF_SECONDS
            return
        self._give_up(status)

    def _give_up(self, status: Status) -> None:
        """No session could be opened and none is left: nothing goes to this host now."""
        self.shop.tell(HostDown(self.settings.channel.name, self.name, str(status)))
        tried = False
        while self.queue:
            job = self.queue.popleft()
            if not tried:
                tried = self._defer(job, status)
            else:
                self._give_back(job)

    def _give_back(self, job: Waiting) -> None:
        self.shop.tell(Result(job.lease.key, Verdict.AGAIN, (), file=job.lease.file))

    def _defer(self, job: Waiting, status: Status) -> bool:
        """The one copy that has an attempt on the host that is down."""
        opened = self.open(job)
        if opened is None:
            return False
        attempt = Attempt(self.shop, job.lease, opened)
        attempt.verdict = Verdict.HOST_DOWN
        for recipient in opened.recipients:
            attempt.result(recipient, status)
        attempt.end()
        return True

    # sessions

    def finished(self, session: HostSession) -> None:
        """A transaction is over: the next one, or rest."""
        self._busy -= 1
        if self._draining or session.worn_out:
            session.leave()
        elif session.usable and self._busy < self.limit:
            self._work(session)
        elif session.usable:  # the controller wants fewer at work; the connection is kept all the same
            self._idle.append(session)
            session.rest()
        else:
            self.pump()  # it is gone: another may have what waits

    def not_idle(self, session: HostSession) -> None:
        """The session is leaving."""
        if session in self._idle:
            self._idle.remove(session)

    def gone(self, session: HostSession, where: str) -> None:
        """The connection is closed."""
        self.not_idle(session)
        if session in self.sessions:
            self.sessions.remove(session)
        if not session.connected:
            self._not_ready -= 1
        else:
            self._log_connection(Action.CLOSED, where, "")
        self.pump()
        self.program.maybe_drained()

    def open(self, job: Waiting) -> OpenCopy | None:
        """The copy, opened and checked; None: it was reported already."""
        return open_leased(self.shop, job.lease)

    # the end

    def drain(self) -> None:
        """Give back what waits, let what is under way finish, close the rest."""
        self._draining = True
        while self.queue:
            self._give_back(self.queue.popleft())
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        for session in tuple(self.sessions):
            session.leave()

    def _log_connection(self, action: Action, where: str, text: str) -> None:
        shop = self.shop
        if shop.log.options.connection & LOG_ENTRIES:
            record = Record(
                ts=shop.stamp(), ac=action, sc=self.settings.channel.name, dc="-", pi=shop.log.process, tr=where,
                ap=self.protocol, ho=self.connect_name, di=text,
            )  # fmt: skip
            shop.note((record,))
