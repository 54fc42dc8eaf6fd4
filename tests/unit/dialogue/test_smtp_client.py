"""The SMTP client as a pure machine: opening, TLS, AUTH, one reply for all, and every way the octets may be cut."""

import base64
from dataclasses import dataclass, field

import pytest
from hypothesis import given, strategies

from posthouse.dialogue.client_event import (
    Bye,
    ClientEvent,
    Greeting,
    ProtocolError,
    Ready,
    RecipientResult,
    Refused,
    TransactionDone,
    WantBody,
    WantTls,
)
from posthouse.dialogue.smtp_client import Credentials, Opening, SmtpClient
from posthouse.dialogue.transaction import ClientPhase, Transaction
from posthouse.dialogue.upgrade import Tls

GREETING = b"220 mx.remote.test ESMTP\r\n"
PLAIN_EHLO = b"250-mx.remote.test\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
TLS_EHLO = b"250-mx.remote.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
TWO = Transaction(b"a@b", 10, (b"<u@c>", b"<v@c>"))
BODY = b"x\r\n.\r\n"


@dataclass
class Told:
    """A client that acts by itself: handshakes when asked, sends TWO once, then leaves."""

    opening: Opening = field(default_factory=Opening)
    transactions: list[Transaction] = field(default_factory=lambda: [TWO])
    events: list[ClientEvent] = field(default_factory=list)
    said: bytes = b""

    def __post_init__(self) -> None:
        self.client = SmtpClient("relay1", self.opening)

    def hear(self, octets: bytes) -> "Told":
        self.client.feed(octets)
        self._drain()
        return self

    def eof(self) -> "Told":
        self.client.eof()
        self._drain()
        return self

    def _drain(self) -> None:
        while (event := self.client.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, WantTls):
                self._take()
                self.said += b"<handshake>"
                self.client.tls_started()
            elif isinstance(event, WantBody):
                self._take()
                self.said += BODY
                self.client.body_sent()
            elif isinstance(event, Ready | TransactionDone) and self.client.phase is ClientPhase.IDLE:
                if self.transactions:
                    self.client.begin(self.transactions.pop(0))
                else:
                    self.client.quit()
        self._take()

    def _take(self) -> None:
        self.said += self.client.to_send()

    @property
    def results(self) -> list[tuple[int, int, bool]]:
        return [(e.index, e.status.code, e.final) for e in self.events if isinstance(e, RecipientResult)]

    @property
    def refusal(self) -> str:
        (event,) = [e for e in self.events if isinstance(e, Refused)]
        return str(event.status)

    @property
    def broken(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, ProtocolError))


def may(user: str = "", *, needed: bool = True, in_clear: bool = False) -> Opening:
    return Opening(Tls.MAY, Credentials(user, "secret", needed, in_clear) if user else None)


SCRIPTS: dict[str, list[bytes]] = {
    "plain": [GREETING, PLAIN_EHLO, b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n", b"250 2.0.0 taken\r\n", b"221 bye\r\n"],
    "helo": [GREETING, b"502 what\r\n", b"250 hi\r\n", *[b"250 ok\r\n"] * 3, b"354 go\r\n", b"451 later\r\n", b"221 bye\r\n"],
    "none": [GREETING, PLAIN_EHLO, b"250 ok\r\n550 no\r\n450 no\r\n354 go\r\n", b"554 empty\r\n", b"221 bye\r\n"],
    "mail": [GREETING, PLAIN_EHLO, b"451 4.7.1 grey\r\n503 no\r\n503 no\r\n503 no\r\n", b"221 bye\r\n"],
    "early": [GREETING, PLAIN_EHLO, b"250 ok\r\n250-a\r\n250 b\r\n421 4.3.2 closing\r\n"],
    "refused": [b"554-go\r\n554 5.7.1 away\r\n"],
}
"""what the server says, each piece after what it answers"""


def play(name: str, *, first: int | None = None, single: bool = False) -> Told:
    """The script; its octets cut once behind `first` of them, or everywhere."""
    told, left = Told(), first
    for step in SCRIPTS[name]:
        if single:
            for octet in step:
                told.hear(bytes([octet]))
        elif left is not None and left < len(step):
            told.hear(step[:left]).hear(step[left:])
            left = None
        else:
            told.hear(step)
            left = None if left is None else left - len(step)
    return told


@pytest.mark.parametrize("name", SCRIPTS)
def test_wherever_the_octets_are_cut_the_events_are_the_same(name: str) -> None:
    whole = play(name)
    for cut in range(sum(map(len, SCRIPTS[name]))):
        parts = play(name, first=cut)
        assert (parts.events, parts.said) == (whole.events, whole.said), f"cut at {cut}"
    single = play(name, single=True)
    assert (single.events, single.said) == (whole.events, whole.said)


@pytest.mark.parametrize("name", SCRIPTS)
def test_wherever_the_replies_break_off_only_own_replies_settle(name: str) -> None:
    stream = SCRIPTS[name]
    final = [result for result in play(name).results if result[2]]
    for length in range(sum(map(len, stream))):
        told, left = Told(), length
        for step in stream:
            told.hear(step[:left])
            left = max(0, left - len(step))
        told.eof()
        assert told.client.closed
        own = [result for result in told.results if result[2]]
        assert own == final[: len(own)], f"cut at {length}"
        if any(isinstance(event, Ready) for event in told.events):
            assert sorted(index for index, _, _ in told.results) == [0, 1], "each recipient has one result"


def test_one_reply_is_every_accepted_recipient_s() -> None:
    told = play("plain")
    assert told.results == [(1, 550, True), (0, 250, True)]
    assert told.said == (
        b"EHLO relay1\r\nMAIL FROM:<a@b> SIZE=10\r\nRCPT TO:<u@c>\r\nRCPT TO:<v@c>\r\nDATA\r\n" + BODY + b"QUIT\r\n"
    )


def test_after_a_refused_ehlo_helo_and_no_extension_is_used() -> None:
    told = play("helo")
    assert told.said.startswith(b"EHLO relay1\r\nHELO relay1\r\nMAIL FROM:<a@b>\r\nRCPT TO:<u@c>\r\n")
    assert told.results == [(0, 451, True), (1, 451, True)]


def test_a_channel_without_ehlo_says_helo_at_once() -> None:
    assert Told(Opening(ehlo=False)).hear(GREETING).said == b"HELO relay1\r\n"


def test_354_for_nobody_is_answered_by_an_empty_message() -> None:
    told = play("none")
    assert told.results == [(0, 550, True), (1, 450, True)]
    assert told.said.endswith(b"DATA\r\n.\r\nQUIT\r\n")
    assert isinstance(told.events[-1], Bye)


def test_a_size_nobody_knows_is_not_announced() -> None:
    told = Told(Opening(), [Transaction(b"", -1, (b"<u@c>",))]).hear(GREETING).hear(PLAIN_EHLO)
    assert b"MAIL FROM:<>\r\n" in told.said


def test_421_in_the_middle_leaves_the_others_unsettled() -> None:
    told = Told().hear(GREETING).hear(PLAIN_EHLO).hear(b"250 ok\r\n550 no\r\n421 4.3.2 going down\r\n")
    assert told.results == [(0, 550, True), (1, 421, False)]


def test_221_is_no_answer_to_a_message() -> None:
    told = Told().hear(GREETING).hear(PLAIN_EHLO).hear(b"250 ok\r\n" * 3 + b"354 go\r\n").hear(b"221 2.0.0 bye\r\n")
    assert told.results == [(0, 451, False), (1, 451, False)]


def begun() -> Told:
    return Told(transactions=[]).hear(GREETING)


def streaming() -> Told:
    """A body is under way and its end not yet written."""
    told = begun()
    told.client.feed(PLAIN_EHLO)
    assert isinstance(told.client.next_event(), Ready)
    told.client.begin(TWO)
    told.client.feed(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    assert told.client.next_event() == WantBody()
    return told


def test_a_refusal_of_the_body_while_it_is_written_counts_and_ends_the_connection() -> None:
    told = streaming().hear(b"552 5.3.4 too big\r\n")
    assert told.results == [(0, 552, True), (1, 552, True)]
    assert told.client.closed


def test_a_success_together_with_the_354_is_no_delivery() -> None:
    told = Told(transactions=[TWO]).hear(GREETING).hear(PLAIN_EHLO).hear(b"250 ok\r\n" * 3 + b"354 go\r\n250 2.0.0 fine\r\n")
    assert told.results == [(0, 451, False), (1, 451, False)]
    assert "before the end" in told.broken


def test_a_success_before_the_end_of_the_body_is_no_delivery() -> None:
    told = streaming().hear(b"250 2.0.0 fine\r\n")
    assert told.results == [(0, 451, False), (1, 451, False)]
    assert "before the end" in told.broken


@pytest.mark.parametrize(
    "stream",
    [
        b"220 hi\r\n",
        b"354 go\r\n",
        b"garbage\r\n",
        b"250 ok\r\n" * 40,
        b"\r\n",
        b"250-" + b"x" * 5000,
        b"250-x\r\n" * 200,
        b"250-a\r\n251 b\r\n",
        b"999 x\r\n",
    ],
)
def test_nonsense_after_mail_settles_nobody(stream: bytes) -> None:
    told = Told().hear(GREETING).hear(PLAIN_EHLO).hear(stream).eof()
    assert told.client.closed
    assert not any(code < 300 and final for _, code, final in told.results)
    assert not any(isinstance(event, WantBody) for event in told.events) or told.results


ALONE = b"250 mx.remote.test\r\n"
"""no PIPELINING: each command waits for the reply to the one before"""


@pytest.mark.parametrize(
    "pieces",
    [
        [GREETING + b"220 and again\r\n", ALONE, b"250 ok\r\n", b"250 ok\r\n"],
        [GREETING, b"220 and again\r\n", ALONE, b"250 ok\r\n", b"250 ok\r\n"],
        [GREETING + ALONE, ALONE, b"250 ok\r\n", b"250 ok\r\n"],
        [GREETING, ALONE, b"250 ok\r\n250 really\r\n", b"250 ok\r\n"],
        [GREETING, ALONE, b"250 ok\r\n", b"250 ok\r\n250 really\r\n"],
    ],
)
def test_a_reply_that_was_there_before_its_command_shifts_nobodys(pieces: list[bytes]) -> None:
    told = Told()
    for piece in [*pieces, b"550 the second does not exist\r\n"]:
        told.hear(piece)
    assert told.broken
    assert not any(final for _, _, final in told.results)
    assert told.client.closed


def test_what_comes_with_a_354_for_nobody_is_no_reply_to_the_empty_message() -> None:
    told = Told(transactions=[TWO, TWO]).hear(GREETING).hear(PLAIN_EHLO)
    told.hear(b"250 ok\r\n550 no\r\n550 no\r\n354 go\r\n250 early\r\n").hear(b"554 empty\r\n")
    assert told.results == [(0, 550, True), (1, 550, True)], "and the next two are not refused for the empty message"
    assert told.broken


def test_a_server_may_leave_together_with_any_reply() -> None:
    told = Told().hear(GREETING + b"421 4.3.2 too many\r\n")
    assert told.refusal.startswith("421")
    told = Told().hear(GREETING).hear(ALONE).hear(b"250 ok\r\n421 4.3.2 closing\r\n")
    assert told.results == [(0, 421, False), (1, 421, False)]
    assert not told.broken


# TLS


def test_starttls_forgets_what_was_said_in_clear() -> None:
    told = Told(may()).hear(GREETING).hear(TLS_EHLO).hear(b"220 go\r\n")
    assert told.said == b"EHLO relay1\r\nSTARTTLS\r\n<handshake>EHLO relay1\r\n"
    told.hear(b"250 mx.remote.test\r\n")
    assert told.said.endswith(b"EHLO relay1\r\nMAIL FROM:<a@b>\r\n"), "no PIPELINING, no SIZE: they were listed in clear"
    assert told.client.secured


@pytest.mark.parametrize("injected", [b"250-evil\r\n250 PIPELINING\r\n", b"x", b"\0", b"220 again\r\n"])
@pytest.mark.parametrize("at_once", [True, False])
def test_octets_behind_the_reply_to_starttls_end_the_connection(injected: bytes, *, at_once: bool) -> None:
    client = SmtpClient("relay1", may())
    for piece in (GREETING, TLS_EHLO):
        client.feed(piece)
        while client.next_event() is not None:
            pass
    if at_once:
        client.feed(b"220 go\r\n" + injected)
    else:
        client.feed(b"220 go\r\n")
        assert client.next_event() == WantTls()
        client.feed(injected)
    event = client.next_event()
    assert isinstance(event, ProtocolError)
    assert "in clear" in event.text
    assert client.closed
    with pytest.raises(ValueError, match="no handshake"):
        client.tls_started()


@pytest.mark.parametrize("reply", [b"454 4.7.0 no\r\n", b"502 what\r\n"])
def test_a_refused_starttls_is_passed_over_only_with_may(reply: bytes) -> None:
    assert b"MAIL" in Told(may()).hear(GREETING).hear(TLS_EHLO).hear(reply).said
    told = Told(Opening(Tls.MUST)).hear(GREETING).hear(TLS_EHLO).hear(reply)
    assert told.refusal.startswith("451 4.7.4 STARTTLS was refused")
    assert b"MAIL" not in told.said


@pytest.mark.parametrize("hello", [[PLAIN_EHLO], [b"502 what\r\n", b"250 hi\r\n"]])
def test_musttls_never_speaks_in_clear(hello: list[bytes]) -> None:
    told = Told(Opening(Tls.MUST)).hear(GREETING)
    for reply in hello:
        told.hear(reply)
    assert told.refusal.startswith("451 4.7.4")
    assert told.said.endswith(b"QUIT\r\n")
    assert b"MAIL" not in told.said


def test_without_tls_wanted_starttls_is_not_used() -> None:
    assert b"STARTTLS" not in Told().hear(GREETING).hear(TLS_EHLO).said


# AUTH


def secured(opening: Opening, offer: bytes) -> Told:
    return Told(opening).hear(GREETING).hear(TLS_EHLO).hear(b"220 go\r\n").hear(b"250-mx\r\n250 AUTH " + offer + b"\r\n")


def test_auth_plain_goes_before_login_and_only_under_tls() -> None:
    told = secured(may("joe"), b"LOGIN PLAIN")
    assert told.said.endswith(b"AUTH PLAIN " + base64.b64encode(b"\0joe\0secret") + b"\r\n")
    told.hear(b"235 2.7.0 ok\r\n")
    assert told.client.authenticated
    assert b"MAIL FROM" in told.said


def test_auth_login() -> None:
    told = secured(may("joe"), b"login").hear(b"334 VXNlcm5hbWU6\r\n").hear(b"334 UGFzc3dvcmQ6\r\n")
    assert told.said.endswith(b"AUTH LOGIN\r\n" + base64.b64encode(b"joe") + b"\r\n" + base64.b64encode(b"secret") + b"\r\n")
    assert b"MAIL FROM" in told.hear(b"235 ok\r\n").said


@pytest.mark.parametrize("reply", [b"535 5.7.8 bad\r\n", b"454 4.7.0 later\r\n", b"250 ok\r\n", b"334 \r\n"])
def test_refused_credentials_are_our_fault_and_temporary(reply: bytes) -> None:
    told = secured(may("joe"), b"PLAIN").hear(reply)
    assert told.refusal.startswith("454 4.7.8 our credentials were refused")


@pytest.mark.parametrize(
    ("opening", "refusal"),
    [(may("joe"), "451 4.7.11"), (may("joe", in_clear=True), ""), (may("joe", needed=False), "")],
)
def test_the_password_is_not_sent_in_clear(opening: Opening, refusal: str) -> None:
    told = Told(opening).hear(GREETING).hear(b"250-mx\r\n250 AUTH PLAIN\r\n")
    clear = opening.credentials is not None and opening.credentials.in_clear
    assert (b"AUTH PLAIN" in told.said) is clear
    if refusal:
        assert told.refusal.startswith(refusal)
    else:
        assert clear or b"MAIL FROM" in told.said


def test_no_mechanism_of_ours() -> None:
    assert secured(may("joe"), b"GSSAPI").refusal.startswith("451 4.7.4")
    assert b"MAIL FROM" in secured(may("joe", needed=False), b"GSSAPI").said


# anything at all

_LINES = strategies.sampled_from(
    b"220 x,250-x,250 x,250 PIPELINING,250 STARTTLS,354 x,334 x,235 x,421 x,450 x,550 x,,x,221 x,500 message too big".split(b",")
)


@given(strategies.lists(_LINES, max_size=25), strategies.booleans())
def test_whatever_a_server_says_each_recipient_has_one_result(lines: list[bytes], tls: bool) -> None:
    told = Told(Opening(Tls.MAY if tls else Tls.NEVER))
    for line in lines:
        told.hear(line + b"\r\n")
    told.eof()
    assert told.client.closed
    indexes = [index for index, _, _ in told.results]
    assert indexes == sorted(set(indexes)) or sorted(indexes) == [0, 1]
    assert len(indexes) in {0, 2}
    delivered = [code for _, code, _ in told.results if code < 400]
    assert not delivered or BODY in told.said, "nobody has what was not sent"
    assert all(final for _, code, final in told.results if code < 400)
    assert not [event for event in told.events if isinstance(event, Refused) and event.status.code < 400]


def test_the_greeting_event_comes_first() -> None:
    assert isinstance(begun().events[0], Greeting)
