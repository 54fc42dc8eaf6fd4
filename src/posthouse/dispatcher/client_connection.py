"""What an SMTP and an LMTP connection of a worker have in common: who waits for whom, and the handshake of STARTTLS.

* Nothing is read beyond one buffer while an answer is owed, nothing from a client that does not read our replies: what we have
  to say would grow without end.
* Of commands sent all at once `COMMANDS_IN_A_TURN` are obeyed, then it is the others' turn (decision 146).
* A client that has closed its side still hears what is owed to it.

What events mean, and how long a client may take, is the subclass's.
"""

import asyncio
import logging
import ssl
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, cast

from posthouse.dialogue.policy import Policy
from posthouse.dialogue.server import Server
from posthouse.dispatcher.handoff import Connection
from posthouse.dispatcher.handshake import accept_tls
from posthouse.dispatcher.sending_round import SendingRound

READ_AHEAD = 65_536
"""octets; one read"""
COMMANDS_IN_A_TURN = 50
"""some milliseconds of work"""


class Host(Protocol):
    """What the connections of one program share."""

    loop: asyncio.AbstractEventLoop
    round: SendingRound
    sessions: set[Any]
    """those that are open"""


class ClientConnection(asyncio.Protocol):
    """The protocol object of one connection.

    Args:
        host: what all of them share.
        connection: the hand-off's facts.
        closed: to be called once the connection is gone.
        policy: what the dialogue allows.
        log: of the process.
    """

    __slots__ = (
        "_ahead", "_closed", "_deaf", "_ended", "_handshake", "_leaving", "_log", "_paused", "_resting", "_shared", "_stalled",
        "connection", "secured", "server", "transport",
    )  # with more than 30 attributes in an object's dictionary each costs more  # fmt: skip

    def __init__(
        self, host: Host, connection: Connection, closed: Callable[[], None], policy: Policy, log: logging.Logger
    ) -> None:
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.server = Server(policy)
        self.secured = connection.tls
        """whether TLS is on"""
        self._shared = host
        self._closed = closed
        self._log = log
        self._handshake: asyncio.Task[None] | None = None
        self._ahead = 0
        """octets read while an answer was owed"""
        self._paused = False
        self._deaf = False
        """the client does not read our replies"""
        self._resting = False
        """the others have their turn"""
        self._stalled = False
        """the subclass has no room for what comes"""
        self._ended = False
        """the client has closed its side"""
        self._leaving = False
        """what comes is no longer listened to"""

    # --- what the subclass does ---------------------------------------------------------------------------------

    @abstractmethod
    def begun(self) -> None:
        """The connection is there."""

    @abstractmethod
    def pump(self) -> None:
        """Handle all events the input allows, write what is to be said."""

    @abstractmethod
    def begun_tls(self) -> None:
        """TLS is on: the dialogue is to begin again."""

    @abstractmethod
    def handshaken(self) -> None:
        """The handshake is over, whatever came of it: the client has its time for a command anew."""

    @abstractmethod
    def gone(self) -> None:
        """The connection is gone: what was not complete is forgotten."""

    # --- what the loop calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self.transport = cast("asyncio.Transport", transport)
        self._shared.sessions.add(self)
        self.begun()
        self.pump()

    def eof_received(self) -> bool:
        """The client has closed its side, perhaps behind a message whose replies it still wants to hear."""
        self._ended = True
        self._shared.round.send_all()  # the loop closes as soon as this is False
        return (self.server.awaiting or self._deaf or self._resting) and not self._leaving and not self.secured

    def pause_writing(self) -> None:
        """The client does not read our replies: neither do we read."""
        self._deaf = True
        self._set_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._deaf = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the loop's signature
        """Forget what was not complete."""
        if self not in self._shared.sessions:  # a handshake that fails says so, too
            return
        self._shared.sessions.discard(self)
        self.transport = None
        self.gone()
        self._closed()

    # --- waiting ------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close without a word."""
        if self.transport is not None:
            self.transport.abort()

    def _rested(self) -> None:
        """The others have had their turn."""
        self._resting = False
        self._go_on()

    def _go_on(self) -> None:
        """Obey what came meanwhile, and read on."""
        self.pump()
        self._set_reading()

    def _set_reading(self) -> None:
        """Read, or let the socket wait."""
        transport = self.transport
        wait = self._deaf or self._stalled or self._resting or self._ahead > READ_AHEAD or self._handshake is not None
        if transport is None or wait == self._paused or self._leaving or transport.is_closing():
            return
        self._paused = wait
        transport.pause_reading() if wait else transport.resume_reading()

    # --- TLS ----------------------------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS was heard: nothing is read from here on until 220 has gone out and the handshake begins."""
        assert self.transport is not None
        self._handshake = self._shared.loop.create_task(self._shake_hands(self.transport, context))
        self._set_reading()

    async def _shake_hands(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        self._shared.round.send_all()
        if not transport.is_closing() and self.server.begin_tls():
            secured = await accept_tls(transport, self, context)
            if isinstance(secured, str):
                self._log.info("TLS with %s could not be started: %s", self.connection.peer[0], secured)
                self.connection_lost(None)
                return
            self.transport, self.secured = secured, True
            self.begun_tls()
        self._handshake = None
        self._ahead = 0
        self._set_reading()
        self.handshaken()
        self.pump()
