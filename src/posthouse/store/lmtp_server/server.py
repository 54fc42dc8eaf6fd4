"""An LMTP server in any Python program (RFC 2033; docs/library.md): the store's sessions before a coroutine of the program's own.

    async def deliver(sender: str, recipient: str, message: bytes) -> Status: ...

    await LmtpServer(deliver, port=2400).serve_forever()

It is called once for each recipient of each message; what it returns is that recipient's reply (`calls`). The message has LF line
ends, dots removed, and no Return-Path. The server runs in the loop it is started in, asyncio's or uvloop's, and takes nothing of
an instance: no configuration, no journal. Speaks: PIPELINING, ENHANCEDSTATUSCODES, 8BITMIME, SMTPUTF8, SIZE, CHUNKING.
No TLS and no AUTH: listen where only those can connect whom you trust (the loopback, or a Unix socket in a folder of your own).
"""

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, cast

from posthouse.dialogue.policy import ESMTP_RCPT, Policy, lmtp_policy
from posthouse.dispatcher.handoff import Connection
from posthouse.dispatcher.sending_round import SendingRound
from posthouse.mail.status import Status
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.lmtp_server.calls import Calls, Deliver, Gathering, Limits
from posthouse.store.lmtp_server.session import DRAINING, LmtpSession
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.owner import Target

_SWEEP_SECONDS = 5.0
_EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8")
_UNKNOWN = Connection("", "", ("", 0), ("", 0), "", tls=False, serial=0)
_NOBODY = Target("")
"""whom an address names is the program's business"""


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the sessions ask for."""

    policy: Policy
    lenient: bool
    command_seconds: float
    data_seconds: float

    @property
    def secured(self) -> Policy:
        """How it would speak under TLS."""
        return self.policy


class LmtpServer:
    """An LMTP server. Give it a coroutine, or override `deliver` in a subclass.

    Use it as `async with server:`, or `start` and `stop` it, or `serve_forever`.

    Args:
        deliver: called once for each recipient of each message.
        host: the address to listen on.
        port: the port; 0 for any, `address` then says which.
        path: listen on a Unix socket instead.
        hostname: this server's name in its greeting; the system's by default.
        limits: sizes, times and numbers.

    Raises:
        TypeError: there is nothing to call.
    """

    def __init__(
        self,
        deliver: Deliver | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        hostname: str = "",
        limits: Limits | None = None,
    ) -> None:
        if deliver is None and type(self).deliver is LmtpServer.deliver:
            raise TypeError("LmtpServer wants a coroutine to call, or a subclass with `async def deliver`")
        self._deliver = deliver
        self._host, self._port, self._path = host, port, path
        self._limits = limits or Limits()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._stopping = False
        name = hostname or socket.gethostname()
        size = self._limits.message_size
        policy = lmtp_policy(name, (*_EXTENSIONS, f"SIZE {size}", "CHUNKING"))
        policy = replace(policy, max_size=size, max_recipients=self._limits.recipients, known_rcpt_params=ESMTP_RCPT)
        # what a session asks of its host (`host.SessionHost`)
        self.settings = _Settings(policy, True, self._limits.command_seconds, self._limits.data_seconds)
        self.log = logging.getLogger("posthouse.lmtp")
        self.sessions: set[LmtpSession] = set()
        self.loop: asyncio.AbstractEventLoop
        self.round: SendingRound
        self.delivery: Calls

    async def deliver(self, sender: str, recipient: str, message: bytes) -> Status:
        """Deliver a message to one recipient; called by the server.

        Args:
            sender: the envelope's, without brackets; empty for the null sender. Octets that are no UTF-8 by surrogateescape.
            recipient: as on the RCPT line, without brackets.
            message: LF line ends, dots removed.

        Returns:
            The recipient's reply: 2yz once the message is safe, 4yz to have it sent again, 5yz to have it returned.
        """
        assert self._deliver is not None
        return await self._deliver(sender, recipient, message)

    @staticmethod
    def tls() -> None:
        """It has no certificate: STARTTLS is not offered."""

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Connections are served by the running loop from now on.

        Raises:
            OSError: the address cannot be had.
            RuntimeError: it is running already.
        """
        if self._server is not None:
            raise RuntimeError("the server is running")
        loop = self.loop = asyncio.get_running_loop()
        self.round = SendingRound(loop)
        self.delivery = Calls(self.deliver, self._limits, self._finished, self.log)
        self._stopping = False
        if self._path is not None:
            self._server = await loop.create_unix_server(self._session, self._path)
        else:
            self._server = await loop.create_server(self._session, self._host, self._port)
        self._sweep()

    @property
    def address(self) -> tuple[str, int] | str:
        """Where it listens: host and port, or the path of the Unix socket.

        Raises:
            RuntimeError: it does not run.
        """
        if self._server is None:
            raise RuntimeError("the server does not run")
        name = self._server.sockets[0].getsockname()
        return name if isinstance(name, str) else (name[0], name[1])

    async def stop(self) -> None:
        """Take no more connections, finish what is under way within `Limits.drain_seconds`, close.

        A client hears the replies to its message if they come in time, then 421 4.3.2. What is still under way after that is
        cancelled and told 450 4.3.2. Stopping a server that does not run changes nothing.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._stopping = True
        self._empty.clear()
        end = self.loop.time() + self._limits.drain_seconds
        for session in tuple(self.sessions):
            session.shed()
        await self.delivery.drain(self._limits.drain_seconds)
        if self.sessions:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), max(end - self.loop.time(), 0.1))
        for session in tuple(self.sessions):
            session.expire()
        await asyncio.sleep(0)
        for session in tuple(self.sessions):
            if isinstance(session, _Session):
                session.cut()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def serve_forever(self) -> None:
        """Serve until the task that waits here is cancelled, as by Ctrl-C under `asyncio.run`; then `stop`."""
        async with self:
            await self.loop.create_future()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # --- sessions -------------------------------------------------------------------------------------------------

    def target(self, token: bytes) -> Target | MailboxError:  # noqa: ARG002 - what a session asks of its host
        """Every address is the program's to judge."""
        return _NOBODY

    def large(self, transaction: Transaction, /) -> Gathering:
        """A message that streams."""
        return Gathering(self.delivery.room, transaction.sender)

    def _session(self) -> asyncio.Protocol:
        return _Session(self)

    def admit(self) -> bool:
        """Whether one more connection can be taken; the one that has been idle longest makes room for it."""
        if self._stopping:
            return False
        if len(self.sessions) < self._limits.connections:
            return True
        idle = [(since, each) for each in self.sessions if (since := each.idle_since()) is not None]
        if not idle:
            return False
        min(idle, key=lambda pair: pair[0])[1].shed()
        return True

    def left(self) -> None:
        """A session has ended."""
        if not self.sessions:
            self._empty.set()

    def _finished(self, transaction: Transaction, statuses: list[Status]) -> None:
        session = cast("LmtpSession", transaction.session)
        session.finish(statuses)
        self.round.send_all()

    def _sweep(self) -> None:
        """Close sessions whose deadline has passed, now and again."""
        now = self.loop.time()
        for session in [each for each in self.sessions if each.deadline < now]:
            session.expire()
        seconds = min(_SWEEP_SECONDS, self._limits.command_seconds / 2, self._limits.data_seconds / 2)
        self._sweeper = self.loop.call_later(seconds, self._sweep)


class _Session(LmtpSession):
    """A connection that the loop accepted, not the Dispatcher."""

    def __init__(self, server: LmtpServer) -> None:
        super().__init__(server, _UNKNOWN, server.left)
        self._host = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, if there is room."""
        if self._host.admit():
            super().connection_made(transport)
            return
        stream = cast("asyncio.Transport", transport)
        stream.write(f"{DRAINING}\r\n".encode())
        stream.close()

    def cut(self) -> None:
        """Close without a word: its replies did not come in time."""
        if self._transport is not None:
            self._transport.abort()
