"""An SMTP server in any Python program (RFC 5321; docs/library.md): the relay's connections before the program's own coroutine.

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status: ...

    await SmtpServer(deliver, port=2525).serve_forever()

It is called once for each message; what it returns is the reply to the final dot (`program_calls`). `recipient`, overridden in
a subclass, is asked about each RCPT before. The message has LF line ends, dots removed; `Arrival.received` makes the trace field
that whoever passes a message on has to add. The server runs in the loop it is started in, asyncio's or uvloop's, and takes
nothing of an instance: no configuration, no journal. Speaks: PIPELINING, ENHANCEDSTATUSCODES, 8BITMIME, SMTPUTF8, SIZE, CHUNKING,
STARTTLS where it is given a certificate, AUTH PLAIN and LOGIN where `login` is overridden. Refused:
a CR or LF alone in a body (550 5.6.11), a NUL (554 5.6.0), anything behind STARTTLS, passwords in clear unless they are allowed.
"""

import asyncio
import logging
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from posthouse.dialogue.policy import smtp_policy
from posthouse.dispatcher.embedded import CommonLimits, EmbeddedServer, Endpoint
from posthouse.dispatcher.program_calls import ProgramCalls
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.relay.smtp_server import guessing
from posthouse.relay.smtp_server.arrival import Arrival
from posthouse.relay.smtp_server.calling_session import CallingSession
from posthouse.relay.smtp_server.host import hang_up_oldest
from posthouse.relay.smtp_server.line import Line
from posthouse.relay.smtp_server.memory import Memory
from posthouse.relay.smtp_server.offers import offered

_EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8")
_MAIL_PARAMS = frozenset({"SIZE", "BODY", "SMTPUTF8"})
_NO_LOGINS = Status(535, "5.7.8", "nobody can log in here")
_OK = Status(250, "2.1.5", "OK")
_FAILED = Status(451, "4.3.0", "delivery failed; try again later")


@dataclass(frozen=True, slots=True)
class Limits(CommonLimits):
    """What one server allows; its times are the relay's. Beyond `memory` bodies are not read for a while."""

    command_seconds: float = 300.0
    data_seconds: float = 180.0
    reply_seconds: float = 300.0
    """a client may leave our replies unread"""
    rejections: int = 100
    """recipients refused in one connection: with the last it is told 421 4.7.0"""
    bad_logins: int = 3
    """the same of logins"""
    login_seconds: float = guessing.LOGIN_DELAY
    """from a login to its refusal; twice as many each further time, at most 16"""


Deliver: TypeAlias = Callable[[str, Sequence[str], bytes, Arrival], Awaitable[Status]]
"""sender, recipients, message, how it came to the reply to the final dot"""


class SmtpServer(EmbeddedServer[Line]):
    """An SMTP server. Give it a coroutine, or override `deliver` in a subclass; override `recipient` to judge each RCPT.

    Override `login` to have AUTH. Use it as `async with server:`, or `start` and `stop` it, or `serve_forever`.

    Args:
        deliver: called once for each message.
        host: the address to listen on.
        port: the port; 0 for any, `address` then says which.
        path: listen on a Unix socket instead.
        hostname: this server's name in its greeting; the system's by default.
        tls: the certificate; STARTTLS is offered where it is given.
        login_first: mail is taken after a login only.
        login_in_clear: passwords are taken without TLS.
        limits: sizes, times and numbers.

    Raises:
        TypeError: there is nothing to call, or no `login`.
        ValueError: a `login` that could never be: without TLS and not in clear.
    """

    def __init__(
        self,
        deliver: Deliver | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        hostname: str = "",
        tls: ssl.SSLContext | None = None,
        login_first: bool = False,
        login_in_clear: bool = False,
        limits: Limits | None = None,
    ) -> None:
        if deliver is None and type(self).deliver is SmtpServer.deliver:
            raise TypeError("SmtpServer wants a coroutine to call, or a subclass with `async def deliver`")
        logs_in = type(self).login is not SmtpServer.login
        if not logs_in and (login_first or login_in_clear):
            raise TypeError("logins want a subclass with `async def login`")
        if logs_in and tls is None and not login_in_clear:
            raise ValueError("passwords are taken under TLS: give `tls`, or say `login_in_clear`")
        self._deliver = deliver
        self.judges = type(self).recipient is not SmtpServer.recipient
        """whether a recipient has to be asked about"""
        self.tls = tls
        self.hostname = hostname or socket.gethostname()
        # what a line asks of its host (`host.LineHost`)
        limits = self.limits = limits or Limits()
        self.memory = Memory(limits.memory)
        self.process_log = logging.getLogger("posthouse.smtp")
        super().__init__(Endpoint(host, port, path), limits, self.process_log)
        size = max(1, min(limits.message_size, self.memory.most))  # a larger one would be begun again and again, and never end
        policy = smtp_policy(self.hostname, (*_EXTENSIONS, f"SIZE {size}", "CHUNKING", "ENHANCEDSTATUSCODES"))
        policy = replace(
            policy, max_size=size, max_recipients=limits.recipients, known_mail_params=_MAIL_PARAMS, known_rcpt_params=frozenset()
        )
        sasl = "must" if login_first else "may" if logs_in else ""
        self.policy, self.secured = offered(policy, "may" if tls is not None else "", sasl, in_clear=login_in_clear)
        self.ids = MessageIds(time.time, secrets.randbits)

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        """Take a message; called by the server.

        Args:
            sender: the envelope's, without brackets; empty for the null sender.
            recipients: those that were accepted, in their order.
            message: LF line ends, dots removed.
            arrival: how it came.

        Returns:
            The reply: 2yz once the message is safe for all recipients, 4yz to have it sent again, 5yz to have it returned.
        """
        assert self._deliver is not None
        return await self._deliver(sender, recipients, message, arrival)

    async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:  # noqa: ARG002 - for subclasses
        """Judge one RCPT; called by the server where a subclass overrides it. Otherwise all are accepted.

        Args:
            sender: as for `deliver`.
            recipient: as on the RCPT line, without brackets.
            arrival: how the message comes.

        Returns:
            The reply: 2yz accepts.
        """
        return _OK

    async def login(self, user: str, password: str, address: str) -> Status:  # noqa: ARG002 - for subclasses
        """Judge a login; called by the server where a subclass overrides it. Otherwise there is no AUTH.

        Args:
            user: the name given, not empty and without NUL, as the password. What is no UTF-8 is refused before.
            password: the one given.
            address: the client's IP address, empty over a Unix socket.

        Returns:
            2yz lets the client in, 5yz does not, 4yz asks it to try later. It hears 235, 535 and 454, and never the text.
        """
        return _NO_LOGINS

    def _begin(self) -> None:
        """Make what sessions share."""
        self.failures = guessing.Failures(self.loop.time)
        self.program_calls = ProgramCalls(self.limits.calls, self.limits.deliver_seconds, _FAILED, self.log)

    def _new_session(self) -> asyncio.Protocol:
        """The protocol object of a new connection."""
        return CallingSession(self)

    def _is_late(self, session: Line, now: float) -> bool:
        """Whether a client's deadline has passed."""
        return session.look(now)

    def look(self, now: float) -> None:
        """End sessions that are too slow; where bodies that do not end hold all memory, the oldest of them.

        What calls hold comes back with their end.
        """
        super().look(now)
        self.memory.resume()
        if sum(line.held for line in self.sessions) > self.memory.most:
            hang_up_oldest(self.sessions, self.memory)

    def report(self, text: str) -> None:
        """A line in the log, with the traceback."""
        self.log.error(text, exc_info=sys.exc_info()[0] is not None)
