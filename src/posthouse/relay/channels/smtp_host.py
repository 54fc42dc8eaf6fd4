"""One destination of an SMTP channel: where its servers are, in which order they are tried, and what it means when none answers.

* Each host of the destination, each of its addresses, until a session is ready: refused connections, greetings that are no
  welcome, broken handshakes and silence all lead to the next one, at most 10 of them; then the last resort.
* An address on which a message was lost half-way goes to the end of the row for an hour.
* All of them refuse for good, or the domain takes no mail: the copies are returned. One of them might answer later: they wait.
  What our own configuration names (`daemon`, a source route from the directory) is never the sender's fault: they wait.
* `IP_ACCESS` may take addresses out of the row, put others in, or end it (`ip_access`): that returns mail only where nothing
  before the end might answer later.
* `maytls`: after a handshake that failed the same address is spoken to in clear, for ten minutes without asking for TLS.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from posthouse.dialogue.smtp_client import Opening
from posthouse.dialogue.upgrade import Tls
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.connecting import connect
from posthouse.relay.channels.host_finder import HostFinder, is_routed, temporary
from posthouse.relay.channels.ip_access import IpAccess
from posthouse.relay.channels.lmtp_host import LmtpHost
from posthouse.relay.channels.smtp_session import SmtpSession
from posthouse.relay.names.literal import literal
from posthouse.trace.record import Action

if TYPE_CHECKING:
    from posthouse.relay.channels.settings import ChannelSettings
    from posthouse.relay.channels.smtp_client import SmtpChannels
    from posthouse.relay.channels.smtp_settings import SmtpSettings
    from posthouse.relay.channels.workshop import Workshop

MOST_TRIED = 10
SOUR_SECONDS = 3600.0
CLEAR_SECONDS = 600.0
_NOWHERE = Status(451, "4.4.1", "no server of the destination could be tried")


class Forbidden(NamedTuple):
    """Here the row ends: this address and those behind it are not to be connected to."""

    status: Status


class Hop(NamedTuple):
    """One address of one host."""

    host: str
    address: str

    @property
    def is_literal(self) -> bool:
        """Whether the host has no name."""
        return bool(literal(self.host))


class SmtpHost(LmtpHost):
    """One destination of one channel."""

    protocol = "SMTP"

    def __init__(
        self, program: "SmtpChannels", shop: "Workshop", settings: "ChannelSettings", name: str, smtp: "SmtpSettings",
        finder: HostFinder, gate: IpAccess,
    ) -> None:  # fmt: skip
        super().__init__(program, shop, settings, name)
        self.program: SmtpChannels = program
        self.smtp = smtp
        self.hello = smtp.hello or shop.host
        self._finder = finder
        self._gate = gate
        self._sour: dict[str, float] = {}
        self._clear: dict[str, float] = {}

    @property
    def open_sessions(self) -> int:
        """Sessions that are or are about to be open."""
        return len(self.sessions) + (self._connecting is not None and not self._not_ready)

    # opening

    async def _connect(self) -> None:
        try:
            status = await self._open_one()
        except Exception as error:
            self.shop.alarm(f"{self.connect_name}: {error!r}")
            status = Status(451, "4.3.0", "internal error")
        self._connecting = None
        if status is not None:
            self._down(status)
        else:
            self.pump()

    async def _open_one(self) -> Status | None:
        """Try until a session is ready; else why none is."""
        secure = self.smtp.tls
        for fault in (self.smtp.fault, secure.fault if secure is not None else ""):
            if fault:
                self.shop.alarm(fault)
        if self.smtp.fault or (secure is not None and secure.context is None):
            return Status(451, "4.3.5", "this system's configuration is incomplete")
        result: Status | None = None
        tried, later, now = 0, [], self.shop.loop.time()
        async for hop in self._hops():
            if isinstance(hop, Forbidden):
                result = _worse(result, hop.status)
                break
            if isinstance(hop, Status):
                result = _worse(result, hop)
            elif self._sour.get(hop.address, 0.0) > now:
                later.append(hop)
            elif tried < MOST_TRIED:
                tried += 1
                status = await self._try(hop)
                if status is None:
                    return None
                result = _worse(result, status)
        for hop in later[: max(0, MOST_TRIED - tried)]:
            status = await self._try(hop)
            if status is None:
                return None
            result = _worse(result, status)
        return result or _NOWHERE

    async def _hops(self) -> AsyncIterator[Hop | Status | Forbidden]:
        """Addresses in their order, and what is wrong with hosts that have none; looked up as they are needed."""
        hosts = await self._finder.hosts(self.connect_name)
        if isinstance(hosts, Status):
            yield hosts
        else:
            for host in hosts:
                async for hop in self._addresses(host):
                    yield hop
        if self.smtp.last_resort and not (isinstance(hosts, Status) and hosts.is_permanent and hosts.enhanced != "5.4.6"):
            async for hop in self._addresses(self.smtp.last_resort):
                if isinstance(hop, Forbidden):
                    hop = hop.status  # noqa: PLW2901 - the destination's own hosts may answer later
                yield temporary(hop) if isinstance(hop, Status) else hop

    async def _addresses(self, host: str) -> AsyncIterator[Hop | Status | Forbidden]:
        found = await self._finder.addresses(host)
        if isinstance(found, Status):
            yield found
            return
        for address in self._gate.judge(host, found):
            yield Forbidden(address) if isinstance(address, Status) else Hop(host, address)

    async def _try(self, hop: Hop) -> Status | None:
        """One address; None: a session is ready there."""
        opening = self._opening(hop)
        status, tls_failed = await self._try_once(hop, opening)
        if tls_failed and opening.tls is Tls.MAY:
            now = self.shop.loop.time()
            self._clear = {address: until for address, until in self._clear.items() if until > now}
            self._clear[hop.address] = now + CLEAR_SECONDS
            status, _ = await self._try_once(hop, self._opening(hop))
        return status

    def _opening(self, hop: Hop) -> Opening:
        opening = self.smtp.opening
        if opening.tls is Tls.MAY and self._clear.get(hop.address, 0.0) > self.shop.loop.time():
            return msgspec.structs.replace(opening, tls=Tls.NEVER)
        return opening

    async def _try_once(self, hop: Hop, opening: Opening) -> tuple[Status | None, bool]:
        source = (self.smtp.interface, 0) if self.smtp.interface else None
        session = SmtpSession(self, hop, opening)
        try:
            async with asyncio.timeout(self.smtp.connect_wait):
                await connect(self.shop.loop, session, hop.address, self.settings.channel.port, source)
        except (OSError, TimeoutError) as error:
            text = "connection timed out" if isinstance(error, TimeoutError) else (getattr(error, "strerror", "") or str(error))
            self._log_connection(Action.UNREACHED, "", f"{hop.host} [{hop.address}]: {text}")
            return Status(451, "4.4.1", f"{hop.host} [{hop.address}]: {text}"), False
        status = await session.opened
        if status is not None:
            self._log_connection(Action.UNREACHED, session.where, str(status))
            if self.smtp.fixed:
                self.shop.alarm(f"{hop.host} [{hop.address}]: {status}")
                status = temporary(status)
        return status, bool(session.tls_failed)

    def turned_sour(self, hop: Hop) -> None:
        """A message was lost half-way on this address: the others go first for a while."""
        now = self.shop.loop.time()
        self._sour = {address: until for address, until in self._sour.items() if until > now}
        self._sour[hop.address] = now + SOUR_SECONDS

    # nobody answers

    def _give_up(self, status: Status) -> None:
        if not status.is_permanent:
            super()._give_up(status)
            return
        while self.queue:
            job = self.queue.popleft()
            opened = self.open(job)
            if opened is None:
                continue
            attempt = Attempt(self.shop, job.lease, opened)
            for recipient in opened.recipients:
                attempt.refuse(recipient, temporary(status) if is_routed(recipient.address) else status)
            attempt.end()


def _worse(known: Status | None, new: Status) -> Status:
    """What counts of two reasons: the one that gives hope."""
    return known if known is not None and known.is_temporary and new.is_permanent else new
