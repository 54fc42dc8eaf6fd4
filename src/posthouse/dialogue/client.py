"""The client's side of LMTP (RFC 2033; LMTP reference 4). What it has in common with SMTP is in `exchange.py`.

SIZE is sent where it is listed, or after the chapter's bare `250 OK`. Each accepted recipient has a final reply of its own, in
the order of the RCPTs. `500 message too big` (LMTP chapter 16.5) is no recipient's own reply but one for the message: it settles
all that have none. More replies than recipients, and 354 where none was accepted, break the protocol. TLS: `upgrade.py`.

A message may go along with its envelope by BDAT (RFC 3030 4.2), to one recipient, for then the one reply to BDAT is surely his.
Refused as a command it is nobody's result: the server lists what it does not know, which breaks the protocol. Nor is a yes behind
which more replies stand already: one of them was too many, and there was no 354 to tell which.
"""

from posthouse.dialogue.client_event import BodySent, Greeting
from posthouse.dialogue.exchange import CUT_OFF, Exchange
from posthouse.dialogue.reply import extensions_of
from posthouse.dialogue.too_big import is_too_big
from posthouse.dialogue.transaction import ClientPhase, Step, Transaction
from posthouse.dialogue.upgrade import Tls, Upgrading
from posthouse.mail.status import Status

__all__ = ["ClientPhase", "LmtpClient", "LmtpTlsClient", "Tls", "Transaction"]

_GREETING = ClientPhase.GREETING
_HELLO = ClientPhase.HELLO
_IDLE = ClientPhase.IDLE
_ENVELOPE = ClientPhase.ENVELOPE
_FINAL = ClientPhase.FINAL
_BDAT = Step.BDAT
_UNKNOWN_COMMAND = frozenset({500, 501, 502, 503, 504})
"""said of a command that is not known or out of place (RFC 5321 4.2.2)"""


class LmtpClient(Exchange):
    """One connection's dialogue; its name stands behind LHLO."""

    def __init__(self, hello: str) -> None:
        super().__init__(hello)
        self.refuses_chunks = False
        """the server lists CHUNKING and does not know BDAT"""

    def _hear_opening(self, status: Status, texts: list[bytes]) -> None:
        if self._phase is _GREETING:
            if status.code != 220:
                self._refuse(status)
                return
            self._phase = _HELLO
            self._say(b"LHLO %b\r\n" % self._hello)
            self._events.append(Greeting(status))
        elif not status.is_success:
            self._refuse(status)
        else:
            self._be_ready(extensions_of(texts), bare=_is_bare(texts))

    def _hear_yes(self, said: list[Status]) -> bool:
        if self._phase is not _FINAL:
            return super()._hear_yes(said)
        codes = [status.code for status in said]
        if len(said) > len(self._accepted) or max(codes) >= 300 or 221 in codes:
            return False
        for status in said:
            self._settle(self._accepted.popleft(), status)
        if not self._accepted:
            self._done()
        return True

    def _hear_step(self, status: Status) -> None:
        if self._steps[0][0] is _BDAT:
            self._steps.popleft()
            self._hear_bdat(status)
            return
        super()._hear_step(status)
        if self._phase is _ENVELOPE and self._accepted and self._steps[0][0] is _BDAT:
            self._events.append(BodySent())

    def _hear_bdat(self, status: Status) -> None:
        """The one reply to a message that was sent along: its recipient's, if that was accepted."""
        if status.code == 221:
            self._leave(CUT_OFF)
        elif not self._accepted and status.code >= 400:
            self._needs_reset = self._mail_refusal is None
            self._done()
        elif not self._accepted or 300 <= status.code < 400:
            self._break(f"unexpected reply to BDAT: {status}")
        elif status.is_success and self._reader.pending and not self._reader.begins(b"421"):
            self._break("more replies than commands: which is the message's is not known")
        elif status.code in _UNKNOWN_COMMAND and not is_too_big(status):
            self.refuses_chunks = True
            self._break(f"BDAT was refused though CHUNKING is listed: {status}")
        else:
            self._phase = _FINAL
            self._hear_final(status)

    def _hear_early(self, status: Status) -> None:
        """A refusal counts once the body is sent; nobody can have taken what is not there yet."""
        if is_too_big(status):
            self._settle_rest(status)
            self._leave(status)
        elif status.code < 400:
            self._break(f"reply before the end of the body: {status}")
        elif len(self._early) >= len(self._accepted):
            self._break("more replies than recipients before the end of the body")
        else:
            self._early.append(status)

    def _hear_final(self, status: Status) -> None:
        if self._phase is not _FINAL:
            if self._phase is _IDLE:
                self._break(f"reply without a command: {status}")
            return
        if 300 <= status.code < 400:
            self._break(f"unexpected final reply: {status}")
        elif is_too_big(status):
            self._settle_rest(status)
            self._leave(status)
        else:
            self._settle(self._accepted.popleft(), status)
            if not self._accepted:
                self._done()


class LmtpTlsClient(Upgrading, LmtpClient):
    """The same under TLS, where the server has it or must have it."""

    def __init__(self, hello: str, tls: Tls) -> None:
        super().__init__(hello, tls)
        self._texts: list[bytes] = []

    def _hear_opening(self, status: Status, texts: list[bytes]) -> None:
        if self._phase is ClientPhase.STARTTLS:
            self._hear_starttls(status)
        elif self._phase is _HELLO and status.is_success:
            self._texts, self._offered = texts, extensions_of(texts)
            self._want_tls()
        else:
            super()._hear_opening(status, texts)

    def _say_hello(self) -> None:
        self._phase = _HELLO
        self._say(b"LHLO %b\r\n" % self._hello)

    def _after_tls(self) -> None:
        self._be_ready(extensions_of(self._texts), bare=_is_bare(self._texts))


def _is_bare(texts: list[bytes]) -> bool:
    return len(texts) == 1 and texts[0].strip().upper() == b"OK"
