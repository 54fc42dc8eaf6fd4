"""The client's side of SMTP (RFC 5321; RFC 3207 STARTTLS, RFC 4954 AUTH). What it has in common with LMTP is in `exchange.py`.

    220 -> EHLO, after 5yz HELO (RFC 5321 3.2) -> [ STARTTLS -> WantTls, tls_started() -> EHLO ] -> [ AUTH ] -> Ready

* STARTTLS: `upgrade.py`.
* AUTH PLAIN, else LOGIN, and only under TLS unless `in_clear`. Credentials that are refused end the connection with 4yz: our own
  configuration's fault must not bounce mail. Without a mechanism of ours, or without TLS, the same where they are `needed`.
* One reply to the body is every accepted recipient's. A refusal while the body is being written settles them too and ends the
  connection; a success before the body's end is a protocol error, never a delivery.
* 354 though every recipient was refused: an empty message ends it (RFC 2920 3.1); its reply changes nothing.
"""

from base64 import b64encode
from collections import deque

import msgspec

from posthouse.dialogue.client_event import Greeting
from posthouse.dialogue.reply import extensions_of
from posthouse.dialogue.transaction import ClientPhase
from posthouse.dialogue.upgrade import Tls, Upgrading
from posthouse.mail.status import Status

_IN_CLEAR = Status(451, "4.7.11", "without TLS the password would be sent in clear")
_NO_MECHANISM = Status(451, "4.7.4", "the server offers neither AUTH PLAIN nor AUTH LOGIN")


class Credentials(msgspec.Struct, frozen=True):
    """Who we are to the server."""

    user: str
    password: str
    needed: bool = True
    """no mail is sent without having been authenticated"""
    in_clear: bool = False
    """the password may go over a connection without TLS"""


class Opening(msgspec.Struct, frozen=True):
    """How a connection is opened."""

    tls: Tls = Tls.NEVER
    credentials: Credentials | None = None
    ehlo: bool = True


class SmtpClient(Upgrading):
    """One connection's dialogue.

    Args:
        hello: our name, behind EHLO.
        opening: TLS and credentials.
    """

    def __init__(self, hello: str, opening: Opening) -> None:
        super().__init__(hello, opening.tls)
        self._opening = opening
        self._answers: deque[bytes] = deque()
        self._ehlo = opening.ehlo
        self.authenticated = False
        self.extended = False
        """whether EHLO was taken"""

    def tls_started(self) -> None:
        """The handshake is done: EHLO, whatever was taken in clear."""
        self._ehlo = True
        super().tls_started()

    def _hear_opening(self, status: Status, texts: list[bytes]) -> None:
        phase = self._phase
        if phase is ClientPhase.GREETING:
            if status.code != 220:
                self._refuse(status)
                return
            self._events.append(Greeting(status))
            self._say_hello()
        elif phase is ClientPhase.HELLO:
            self._hear_hello(status, texts)
        elif phase is ClientPhase.STARTTLS:
            self._hear_starttls(status)
        else:
            self._hear_auth(status)

    # opening

    def _say_hello(self) -> None:
        self._phase = ClientPhase.HELLO
        self._say(b"%b %b\r\n" % (b"EHLO" if self._ehlo else b"HELO", self._hello))

    def _hear_hello(self, status: Status, texts: list[bytes]) -> None:
        if status.is_permanent and self._ehlo:
            self._ehlo = False
            self._say_hello()
        elif not status.is_success:
            self._refuse(status)
        else:
            self.extended = self._ehlo
            self._offered = extensions_of(texts) if self._ehlo else {}
            self._want_tls()

    def _after_tls(self) -> None:
        credentials = self._opening.credentials
        if credentials is None:
            self._be_ready(self._offered)
            return
        refusal = None
        mechanisms = self._offered.get("AUTH", "").upper().split()
        user, password = credentials.user.encode(), credentials.password.encode()
        if not (self.secured or credentials.in_clear):
            refusal = _IN_CLEAR
        elif "PLAIN" in mechanisms:
            self._begin_auth(b"AUTH PLAIN %b" % b64encode(b"\0%b\0%b" % (user, password)))
        elif "LOGIN" in mechanisms:
            self._begin_auth(b"AUTH LOGIN", b64encode(user), b64encode(password))
        else:
            refusal = _NO_MECHANISM
        if refusal is None:
            return
        if credentials.needed:
            self._refuse(refusal)
        else:
            self._be_ready(self._offered)

    def _begin_auth(self, command: bytes, *answers: bytes) -> None:
        self._phase = ClientPhase.AUTH
        self._answers = deque(answers)
        self._say(command + b"\r\n")

    def _hear_auth(self, status: Status) -> None:
        if status.code == 334 and self._answers:
            self._say(self._answers.popleft() + b"\r\n")
        elif status.code == 235 and not self._answers:
            self.authenticated = True
            self._be_ready(self._offered)
        elif status.code == 421:
            self._refuse(status)
        else:
            self._refuse(Status(454, "4.7.8", f"our credentials were refused: {status}"))

    # transactions

    def _hear_early(self, status: Status) -> None:
        if status.is_success or 300 <= status.code < 400:
            self._break(f"reply before the end of the body: {status}")
        else:
            self._settle_rest(status)
            self._leave(status)

    def _hear_final(self, status: Status) -> None:
        if 300 <= status.code < 400:
            self._break(f"unexpected final reply: {status}")
            return
        for index in self._accepted:
            self._settle(index, status)
        self._accepted.clear()
        self._done()

    def _hear_unwanted_go(self) -> None:
        self._phase = ClientPhase.FINAL
        self._say(b".\r\n")
