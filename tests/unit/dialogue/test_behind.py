"""A transaction begun behind a body whose reply is awaited (RFC 2920 3.1): what is heard belongs to whom it is for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue.client import ClientPhase, LmtpClient, Transaction
from posthouse.dialogue.client_event import Bye, ClientEvent, ProtocolError, Ready, RecipientResult, TransactionDone, WantBody

HELLO = b"250-s\r\n250-PIPELINING\r\n250 SIZE 100\r\n"
ONE = Transaction(b"a@b", 10, (b"<u>",))
TWO = Transaction(b"c@d", 20, (b"<v>", b"<w>"))
GO = b"250 mail\r\n250 rcpt\r\n354 go\r\n"


def hear(client: LmtpClient, octets: bytes) -> list[ClientEvent]:
    client.feed(octets)
    return drain(client)


def drain(client: LmtpClient) -> list[ClientEvent]:
    found = []
    while (event := client.next_event()) is not None:
        found.append(event)
    return found


def sent(transaction: Transaction = ONE, hello: bytes = HELLO) -> LmtpClient:
    """Its body has gone out."""
    client = LmtpClient("relay")
    assert isinstance(hear(client, b"220 s LMTP\r\n" + hello)[-1], Ready)
    client.begin(transaction)
    assert hear(client, b"250 mail\r\n" + b"250 rcpt\r\n" * len(transaction.recipients) + b"354 go\r\n") == [WantBody()]
    client.to_send()
    client.body_sent()
    return client


def behind(transaction: Transaction = TWO) -> LmtpClient:
    client = sent()
    client.begin(transaction)
    with pytest.raises(ValueError, match="final replies"):
        client.begin(transaction)
    return client


def told(events: list[ClientEvent]) -> list[tuple[int, int, bool] | str]:
    return [(e.index, e.status.code, e.final) if isinstance(e, RecipientResult) else type(e).__name__ for e in events]


def test_its_commands_go_out_at_once_and_its_results_follow() -> None:
    client = behind()
    assert client.to_send() == b"MAIL FROM:<c@d> SIZE=20\r\nRCPT TO:<v>\r\nRCPT TO:<w>\r\nDATA\r\n"
    assert told(hear(client, b"250 first\r\n")) == [(0, 250, True), "TransactionDone"]
    assert told(hear(client, b"250 mail\r\n250 v\r\n550 w\r\n")) == []
    assert told(hear(client, b"354 go\r\n")) == [(1, 550, True), "WantBody"]
    client.body_sent()
    assert client.takes_another
    assert told(hear(client, b"250 v\r\n")) == [(0, 250, True), "TransactionDone"]
    assert client.phase is ClientPhase.IDLE


def test_not_without_pipelining() -> None:
    client = LmtpClient("relay")
    hear(client, b"220 s LMTP\r\n250 s.example\r\n")
    client.begin(ONE)
    for reply in (b"250 mail\r\n", b"250 rcpt\r\n", b"354 go\r\n"):
        hear(client, reply)
    client.body_sent()
    assert not client.takes_another
    with pytest.raises(ValueError, match="final replies"):
        client.begin(TWO)


def test_not_behind_several_recipients() -> None:
    """A server that answers once for all would have the next transaction's replies taken for theirs."""
    assert not sent(TWO).takes_another


def test_one_that_was_accepted_is_enough() -> None:
    client = LmtpClient("relay")
    hear(client, b"220 s LMTP\r\n" + HELLO)
    client.begin(TWO)
    hear(client, b"250 mail\r\n550 v\r\n250 w\r\n354 go\r\n")
    client.body_sent()
    assert client.takes_another


@pytest.mark.parametrize("extra", [b"250 ok\r\n", b"550 no such user\r\n", b"250 ok\r\n550 no\r\n", b"550 a\r\n" * 3])
@pytest.mark.parametrize("transaction", [ONE, TWO])
def test_replies_too_many_are_nobodys(extra: bytes, transaction: Transaction) -> None:
    client = behind(transaction)
    own = b"250 mail\r\n" + b"250 rcpt\r\n" * len(transaction.recipients) + b"354 go\r\n"
    events = hear(client, b"250 first\r\n" + extra + own)
    assert told(events)[:2] == [(0, 250, True), "TransactionDone"]
    results = [event for event in events[2:] if isinstance(event, RecipientResult)]
    assert [event.index for event in results] == list(range(len(transaction.recipients)))
    assert not any(event.final for event in results)
    assert WantBody() not in events


def test_refused_as_a_whole_nothing_counts_and_the_next_begins_with_a_reset() -> None:
    client = behind()
    client.to_send()
    events = hear(client, b"250 first\r\n250 mail\r\n550 v\r\n550 w\r\n554 none\r\n")
    assert told(events) == [(0, 250, True), "TransactionDone", (0, 554, False), (1, 554, False), "TransactionDone"]
    client.begin(TWO)
    assert client.to_send().startswith(b"RSET\r\nMAIL FROM:<c@d>")
    assert told(hear(client, b"250 reset\r\n250 mail\r\n550 v\r\n550 w\r\n554 none\r\n")) == [
        (0, 550, True), (1, 550, True), "TransactionDone"
    ]  # fmt: skip


@pytest.mark.parametrize("refusal", [b"450 later\r\n", b"550 never\r\n"])
def test_a_refused_sender_is_asked_about_again(refusal: bytes) -> None:
    events = hear(behind(), b"250 first\r\n" + refusal + b"503 mail first\r\n503 mail first\r\n503 mail first\r\n")
    assert told(events)[2:] == [(0, 503, False), (1, 503, False), "TransactionDone"]


@pytest.mark.parametrize(
    "octets", [b"", b"421 bye\r\n", b"250 first\r\n", b"250 first\r\n421 bye\r\n", b"250 first\r\n250 mail\r\n250 v\r\n"]
)
def test_the_server_leaves(octets: bytes) -> None:
    client = behind()
    events = hear(client, octets)
    client.eof()
    events += drain(client)
    first = octets.startswith(b"250")
    code = 421 if b"421" in octets else 451
    assert told(events) == [
        (0, 250 if first else code, first), "TransactionDone", (0, code, False), (1, code, False), "TransactionDone", "Bye"
    ]  # fmt: skip
    assert client.closed


def test_withdrawn() -> None:
    client = behind()
    client.withdraw()
    events = hear(client, b"250 first\r\n250 mail\r\n250 v\r\n250 w\r\n354 go\r\n")
    assert told(events) == [(0, 250, True), "TransactionDone", "Bye"]
    assert client.closed


def test_the_message_too_big_for_all_ends_both() -> None:
    events = hear(behind(ONE), b"500 message too big\r\n")
    assert told(events) == [(0, 500, True), "TransactionDone", (0, 500, False), "TransactionDone", "Bye"]


_LINES = [b"250 ok", b"250 2.5.0 <u> ok", b"354 go", b"450 no", b"550 no", b"421 bye", b"250-a", b"nonsense"]
_replies = st.lists(st.sampled_from(_LINES), max_size=14)


@given(_replies, st.integers(1, 30), st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_is_said_everybody_has_one_result(lines: list[bytes], piece: int, withdrawn: bool) -> None:
    client = behind()
    if withdrawn:
        client.withdraw()
    octets = b"".join(line + b"\r\n" for line in lines)
    events: list[ClientEvent] = []
    for start in range(0, len(octets), piece):
        client.feed(octets[start : start + piece])
        while (event := client.next_event()) is not None:
            events.append(event)
            if isinstance(event, WantBody):
                client.body_sent()
    client.eof()
    events += drain(client)
    wanted = [[0]] if withdrawn else [[0], [0, 1]]
    heard: list[list[int]] = [[]]
    for event in events:
        if isinstance(event, RecipientResult):
            heard[-1].append(event.index)
        elif isinstance(event, TransactionDone):
            heard.append([])
    assert [sorted(each) for each in heard] == [*wanted, []]
    assert isinstance(events[-1], Bye | ProtocolError)
