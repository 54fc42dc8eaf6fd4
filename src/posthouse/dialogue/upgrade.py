"""STARTTLS from the client's side (RFC 3207), for SMTP and LMTP alike.

    hello -> [ STARTTLS -> WantTls, tls_started() -> hello again ] -> the rest of the opening

What was listed in clear is forgotten. Octets behind the reply to STARTTLS are an attack or a broken server: protocol error, the
connection is dropped (RFC 3207 6). A server that refuses STARTTLS, or offers none, is spoken to in clear only with `Tls.MAY`.
"""

from abc import abstractmethod
from enum import Enum

from posthouse.dialogue.client_event import WantTls
from posthouse.dialogue.exchange import Exchange
from posthouse.dialogue.reply import ReplyReader
from posthouse.dialogue.transaction import ClientPhase
from posthouse.mail.status import Status

_NO_TLS = Status(451, "4.7.4", "the server offers no STARTTLS, and this channel insists on TLS")


class Tls(Enum):
    """Whether STARTTLS is used."""

    NEVER = "never"
    MAY = "may"
    """where it is offered"""
    MUST = "must"


class Upgrading(Exchange):
    """One connection's dialogue, under TLS where that is wanted.

    Args:
        hello: our name.
        tls: whether.
    """

    def __init__(self, hello: str, tls: Tls) -> None:
        super().__init__(hello)
        self._tls = tls
        self._offered: dict[str, str] = {}
        self.secured = False
        """whether TLS is on"""

    @abstractmethod
    def _say_hello(self) -> None:
        """Say it, for the first time or again."""

    @abstractmethod
    def _after_tls(self) -> None:
        """TLS is on, or is not to be had and not insisted on: go on with what was `_offered`."""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the server."""
        if self._phase is ClientPhase.HANDSHAKE:
            self._break("octets in clear behind the reply to STARTTLS")
        super().feed(data)

    def tls_started(self) -> None:
        """The handshake is done: begin again.

        Raises:
            ValueError: none was wanted.
        """
        if self._phase is not ClientPhase.HANDSHAKE:
            raise ValueError(f"no handshake was wanted while waiting for {self._phase.value}")
        self._reader = ReplyReader()
        self.secured = True
        self._say_hello()

    def _want_tls(self) -> None:
        if self.secured or self._tls is Tls.NEVER:
            self._after_tls()
        elif "STARTTLS" in self._offered:
            self._phase = ClientPhase.STARTTLS
            self._say(b"STARTTLS\r\n")
        elif self._tls is Tls.MUST:
            self._refuse(_NO_TLS)
        else:
            self._after_tls()

    def _hear_starttls(self, status: Status) -> None:
        if status.code == 220:
            if self._reader.pending:
                self._break("octets in clear behind the reply to STARTTLS")
                return
            self._phase = ClientPhase.HANDSHAKE
            self._offered = {}
            self._events.append(WantTls())
        elif status.code == 421 or status.is_success or 300 <= status.code < 400:
            self._refuse(status)
        elif self._tls is Tls.MUST:
            self._refuse(Status(451, "4.7.4", f"STARTTLS was refused: {status}"))
        else:
            self._after_tls()
