"""The LMTP client that sends a message along with its envelope (RFC 3030 4.2), and what servers make of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue.client import ClientPhase, LmtpClient, Transaction
from posthouse.dialogue.client_event import BodySent, Bye, ProtocolError, RecipientResult, TransactionDone
from support.lmtp_conversation import THREE, drain, hear, ready, results, started

HELLO = b"220 s LMTP\r\n250-s\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
BODY = b"Subject: x\r\n\r\n.dot\r\n.\r\nQUIT\r\n"
ONE = Transaction(b"a@b", 40, (b"<u>",), chunk=BODY)
YES = b"250 ok\r\n"


def begun() -> LmtpClient:
    client = started(HELLO, ONE)
    assert client.to_send() == b"MAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nBDAT 29 LAST\r\n" + BODY
    return client


@pytest.mark.parametrize("piece", [1, 5, 8, 1000])
def test_the_third_reply_is_the_recipients(piece: int) -> None:
    client, said = begun(), YES * 2 + b"250 2.5.0 <u> OK\r\n"
    events = [event for start in range(0, len(said), piece) for event in hear(client, said[start : start + piece])]
    assert [type(event) for event in events] == [BodySent, RecipientResult, TransactionDone]
    assert results(events) == [(0, 250, True)]
    client.begin(THREE)
    assert client.to_send().startswith(b"MAIL FROM:<a@b> BODY")


def test_a_message_that_is_refused() -> None:
    client = begun()
    events = hear(client, YES * 2 + b"422 4.2.2 <u> Quota Exceeded\r\n")
    assert [type(event) for event in events] == [BodySent, RecipientResult, TransactionDone]
    assert results(events) == [(0, 422, True)]
    client.begin(ONE)
    assert client.to_send().startswith(b"MAIL")


def test_a_recipient_that_is_refused_is_told_apart_from_the_message() -> None:
    client = begun()
    events = hear(client, b"250 ok\r\n550 5.1.1 no\r\n503 5.5.1 No recipients\r\n")
    assert [type(event) for event in events] == [RecipientResult, TransactionDone]
    assert results(events) == [(0, 550, True)]
    client.begin(ONE)
    assert client.to_send().startswith(b"RSET\r\nMAIL")


def test_a_sender_that_is_refused() -> None:
    client = begun()
    events = hear(client, b"452 4.3.1 full\r\n503 no\r\n503 no\r\n")
    assert results(events) == [(0, 452, True)]
    assert events[-1] == TransactionDone()
    client.begin(ONE)
    assert client.to_send().startswith(b"MAIL")


@pytest.mark.parametrize("replies", range(3))
def test_where_the_replies_break_off_nothing_is_known(replies: int) -> None:
    client = begun()
    events = hear(client, YES * replies)
    client.eof()
    events += drain(client)
    assert results(events) == [(0, 451, False)]
    assert (BodySent() in events) is (replies == 2)
    assert isinstance(events[-1], Bye)


@pytest.mark.parametrize("last", [b"421 4.3.2 going\r\n", b"221 bye\r\n"])
def test_a_server_that_leaves_settles_nobody(last: bytes) -> None:
    events = hear(begun(), YES * 2 + last)
    assert results(events)[0][2] is False
    assert isinstance(events[-1], Bye)


@pytest.mark.parametrize("said", [YES * 2 + b"354 go\r\n", YES + b"550 no\r\n250 taken\r\n", YES + b"354 go\r\n"])
def test_what_no_server_may_say(said: bytes) -> None:
    for _ in range(2):  # the second time all lines are known
        client = begun()
        events = hear(client, said)
        assert isinstance(events[-1], ProtocolError)
        assert not any(event.status.is_success for event in events if isinstance(event, RecipientResult))
        assert client.closed


def test_a_reply_too_many_breaks_the_connection() -> None:
    client = begun()
    events = hear(client, YES * 3) + hear(client, YES)
    assert results(events) == [(0, 250, True)]
    assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize("behind", [b"550 5.7.1 the message\r\n", YES, b"55", b"250-more\r\n"])
def test_of_more_replies_than_commands_none_is_the_messages(behind: bytes) -> None:
    for _ in range(2):  # the second time all lines are known
        events = hear(begun(), YES * 3 + behind)
        assert results(events) == [(0, 451, False)]
        assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize("cut", range(5))
def test_a_server_may_leave_behind_its_last_reply(cut: int) -> None:
    going = b"421 4.3.2 going\r\n"
    for _ in range(2):
        client = begun()
        events = hear(client, YES * 3 + going[:cut]) + hear(client, going[cut:])
        assert results(events) == [(0, 250, True)]
        assert isinstance(events[-1], Bye)


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
def test_a_command_that_is_not_known_is_nobodys_result(code: int) -> None:
    client = begun()
    events = hear(client, YES * 2 + b"%d 5.5.1 what\r\n" % code)
    assert results(events) == [(0, 451, False)]
    assert isinstance(events[-1], ProtocolError)
    assert client.refuses_chunks


def test_message_too_big_is_one() -> None:
    client = begun()
    events = hear(client, YES * 2 + b"500 message too big\r\n")
    assert results(events) == [(0, 500, True)]
    assert isinstance(events[-1], Bye)
    assert not client.refuses_chunks


def test_several_recipients_have_no_chunk() -> None:
    client = ready(HELLO)
    with pytest.raises(ValueError, match="could not be told from"):
        client.begin(Transaction(b"a", 1, (b"<u>", b"<v>"), chunk=b"x\r\n"))
    assert client.to_send() == b""


_SAID = [
    YES, b"220 s\r\n", b"250-x\r\n", b"354 go\r\n", b"421 x\r\n", b"221 x\r\n", b"503 x\r\n", b"500 message too big\r\n", b"5",
]  # fmt: skip


@given(st.lists(st.sampled_from(_SAID), max_size=12))
@settings(max_examples=400)
def test_whatever_the_server_says_success_is_its_third_yes(pieces: list[bytes]) -> None:
    client = started(HELLO, ONE)
    heard = 0
    events = []
    for piece in pieces:
        if client.phase is not ClientPhase.ENVELOPE:
            break
        heard += 1
        events += hear(client, piece)
    client.eof()
    events += drain(client)
    (result,) = [event for event in events if isinstance(event, RecipientResult)]
    if result.status.is_success:
        lines = b"".join(pieces[:heard]).splitlines()
        assert all(line.startswith(b"2") for line in lines)
        assert sum(line[3:4] == b" " for line in lines) == 3
        assert result.final
