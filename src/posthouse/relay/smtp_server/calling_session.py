"""One client of a server inside a Python program: its commands become calls (docs/library.md).

Promise: replies come in the order of the commands; nothing is obeyed while a call is under way. From the final dot on a message
belongs to its call, memory and all: a client that goes away changes nothing for it. A login that is refused says nothing of its
reason, neither by words nor by time (`guessing`).
"""

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from posthouse.dialogue.event import (
    BodyPart,
    Event,
    Fault,
    Hello,
    Login,
    Mail,
    Message,
    MessageEnd,
    MessageRefused,
    Oversize,
    Quit,
    Rcpt,
    Reset,
    StartTls,
)
from posthouse.dialogue.policy import PATIENCE
from posthouse.dispatcher.handoff import Connection
from posthouse.mail.status import Status
from posthouse.relay.smtp_server import guessing
from posthouse.relay.smtp_server.arrival import Arrival
from posthouse.relay.smtp_server.line import LEAST_RATE, Line
from posthouse.relay.smtp_server.received import helo_name, protocol_name

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.server import SmtpServer

_UNKNOWN = Connection("", "", ("", 0), ("", 0), "", tls=False, serial=0)
_TOO_MANY = Status(421, "4.7.0", "Too many recipients in one connection")
_GONE = Status(451, "4.4.2", "the client is gone")
_NOT_UTF8 = Status(535, "5.7.8", "not UTF-8")
_FOR_ANOTHER = Status(535, "5.7.8", "acting for somebody else")  # is not possible (RFC 4616 2)
_NUL = Status(554, "5.6.0", "message contains null")


class CallingSession(Line):
    """The protocol object of one connection.

    Args:
        server: what all sessions share.
    """

    def __init__(self, server: "SmtpServer") -> None:
        super().__init__(server, _UNKNOWN, server.left, server.policy)
        self._host = server
        self._helo, self._esmtp, self._user = "", False, ""
        self._bad_logins = 0
        self._refusal: asyncio.TimerHandle | None = None
        """of a login, that waits to be told"""
        self._sender = ""
        self._recipients: list[str] = []
        self._parts: list[bytes] = []
        self._size = self._refused = 0
        self._arrival: Arrival | None = None
        self._last = 0.0
        """the loop's time when the last command came or was answered"""

    # --- what the loop and the server ask ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, if there is room."""
        if not self._host.admit(transport):
            return
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.connection = replace(_UNKNOWN, peer=(peer[0], peer[1]))
        super().connection_made(transport)

    def idle_since(self) -> float | None:
        """The loop's time since when no transaction is open, or since when the one that is open has stood still.

        None for a connection that is to go already: it makes no more room than it does by that.
        """
        if self.server.closing:
            return None
        return self._last if self._stands_still() or not (self.server.in_transaction or self._deaf) else None

    def _stands_still(self) -> bool:
        """Whether the client leaves its transaction waiting: no whole command, or less of the body than the least rate.

        Who waits to be refused a login stands still too: else those who guess would keep all others out.
        """
        if self._refusal is not None:
            return True
        if self.server.awaiting or self._stalled:  # for us
            return False
        if self.receiving_since is None:
            return self._host.loop.time() - self._last > PATIENCE
        waited = self._host.loop.time() - self.receiving_since
        return waited > PATIENCE and self._octets < waited * LEAST_RATE

    def shed(self) -> None:
        """421 at the next quiet point, which is now for a transaction that stands still; who reads no reply hears none."""
        if self._deaf and self._stands_still():
            self.cut()
        elif self.server.in_transaction and self._stands_still():
            self.hang_up()
        else:
            super().shed()

    def begun(self) -> None:
        """From now on it may be idle."""
        self._last = self._host.loop.time()

    def begun_tls(self) -> None:
        """What the client said in clear is forgotten (RFC 3207 4.2)."""
        self._helo = self._user = ""
        self.server.tls_started(self._host.secured)

    def over(self) -> None:
        """Forget the transaction; a call that is under way goes on."""
        self._forget()
        if self._refusal is not None:
            self._refusal.cancel()
            self._refusal = None

    def lost(self) -> None:
        """Nothing more to say."""

    # --- what the client says ---------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Obey one event of the dialogue."""
        self._last = self._host.loop.time()
        match event:
            case Rcpt():
                self._rcpt(_text(event.recipient))
            case Mail():
                self._mail(event)
            case Message():
                self._message(event.lf, event.faults)
            case BodyPart():
                octets = event.data if event.lf is None else event.lf  # without: it will be refused
                self._parts.append(octets)
                self._size += len(octets)
                self.hold(self._size)
            case MessageEnd():
                data = b"".join(self._parts)
                self._parts.clear()
                self._message(data, event.faults)
            case Hello():
                self._forget()
                self._helo = helo_name(event.name)
                self._esmtp = event.verb != "HELO"
            case Reset() | Oversize() | MessageRefused():
                self._forget()
            case Quit():
                self.abrupt = True
            case StartTls():
                assert self._host.tls is not None  # else it would not have been offered
                self.start_tls(self._host.tls)
            case Login():
                self._host.program_calls.use(self._log_in(event))

    # --- logins -----------------------------------------------------------------------------------------------------

    async def _log_in(self, event: Login) -> None:
        host, began = self._host, self._host.loop.time()
        status = await self._judge_login(event)
        if status.is_success or self.abrupt:  # who is to go anyway waits for nothing
            self.go_on(self._logged_in, event.user, status)
        elif self.transport is not None:
            due = began + guessing.wait(host.limits.login_seconds, self._bad_logins)
            self._refusal = host.loop.call_at(due, self.go_on, self._logged_in, event.user, status)

    async def _judge_login(self, event: Login) -> Status:
        host, address = self._host, self.connection.peer[0]
        what = f"login of {_text(event.user)!r} from {address}"
        said = await host.program_calls.status(what, partial(self._ask_login, event))
        if said.is_success:
            return guessing.let_in(event.mechanism)
        host.log.info("a %s was refused: %s", what, said)
        if not said.is_permanent:
            return said if said is guessing.TOO_MANY else guessing.UNKNOWN
        if address:  # over a Unix socket all have the same
            host.failures.note(address)
        return guessing.WRONG

    async def _ask_login(self, event: Login) -> Status:
        """The program's word, when it is its turn: not about a client that is gone by then, or has guessed too often."""
        host, address = self._host, self.connection.peer[0]
        if self.transport is None:
            return _GONE
        if host.failures.too_many(address):
            return guessing.TOO_MANY
        try:
            user, password, acts_for = event.user.decode(), event.password.decode(), event.acts_for.decode()
        except UnicodeDecodeError:
            return _NOT_UTF8
        if acts_for not in {"", user}:
            return _FOR_ANOTHER
        return await host.login(user, password, address)

    def _logged_in(self, user: bytes, status: Status) -> None:
        self._refusal = None
        self._last = self._host.loop.time()
        self.server.answer_login(status)
        if status.is_success:
            self._user = _text(user)
        elif status.is_permanent:
            self._bad_logins += 1
            if self._bad_logins >= self._host.limits.bad_logins:
                self.abrupt = True
                self.server.shed(guessing.LAST_ONE)

    # --- the message ------------------------------------------------------------------------------------------------

    def _mail(self, event: Mail) -> None:
        host, limits = self._host, self._host.limits
        user = self._user
        protocol = protocol_name(esmtp=self._esmtp, utf8="SMTPUTF8" in event.params, tls=self.secured, user=bool(user))
        address, port = self.connection.peer
        self._arrival = Arrival(host.ids.next(), host.hostname, address, port, self._helo, protocol, user)
        self._sender = _text(event.sender)
        self.transaction_ends = host.loop.time() + 12 * max(limits.command_seconds, limits.data_seconds)
        self.server.accept()

    def _rcpt(self, recipient: str) -> None:
        host, arrival = self._host, self._arrival
        assert arrival is not None
        if host.judges:
            host.program_calls.use(self._ask(recipient, arrival))
            return
        self._recipients.append(recipient)
        self.server.accept()

    async def _ask(self, recipient: str, arrival: Arrival) -> None:
        host = self._host
        judge = partial(self._judge_recipient, self._sender, recipient, arrival)
        status = await host.program_calls.status(f"recipient {recipient}", judge)
        self.go_on(self._judged, recipient, arrival, status)

    async def _judge_recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:
        """The program's word, when it is its turn: not about a client that is gone by then."""
        return await self._host.recipient(sender, recipient, arrival) if arrival is self._arrival else _GONE

    def _judged(self, recipient: str, arrival: Arrival, status: Status) -> None:
        if arrival is not self._arrival:  # it was hung up meanwhile
            return
        self._last = self._host.loop.time()
        self.server.answer(status)
        if status.is_success:
            self._recipients.append(recipient)
            return
        self._refused += 1
        if self._refused >= self._host.limits.rejections:  # as `disconnectrejectlimit` of a relay's channel
            self._forget()
            self.server.hang_up(_TOO_MANY)

    def _message(self, data: bytes | None, faults: frozenset[Fault]) -> None:
        if data is None or Fault.NUL in faults:  # bare line ends the dialogue has refused
            self._forget()
            self.server.answer_data([_NUL])
            return
        host, arrival = self._host, self._arrival
        assert arrival is not None
        host.memory.change(len(data))  # the call's now, however long the connection lives
        self.hold(0)
        host.program_calls.use(self._deliver(self._sender, tuple(self._recipients), data, arrival))

    async def _deliver(self, sender: str, recipients: tuple[str, ...], message: bytes, arrival: Arrival) -> None:
        host = self._host
        try:
            deliver = partial(host.deliver, sender, recipients, message, arrival)
            status = await host.program_calls.status(f"deliver {arrival.id}", deliver)
        finally:
            host.memory.change(-len(message))
        if arrival is self._arrival:
            self._forget()
            self.go_on(self.server.answer_data, [status])

    def _forget(self) -> None:
        self._arrival = None
        self._recipients = []
        self._parts.clear()
        self._size = 0
        self._last = self._host.loop.time()
        self.transaction_ends = float("inf")
        self.hold(0)


def _text(address: bytes) -> str:
    return address.decode("utf-8", "surrogateescape")
