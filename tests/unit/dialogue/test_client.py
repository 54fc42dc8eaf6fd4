"""The LMTP client against servers that break off, say too much, or say the wrong thing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue.client import ClientPhase, LmtpClient, LmtpTlsClient, Transaction
from posthouse.dialogue.client_event import (
    Bye,
    Greeting,
    ProtocolError,
    RecipientResult,
    Refused,
    TransactionDone,
    WantBody,
    WantTls,
)
from posthouse.dialogue.upgrade import Tls
from posthouse.mail.status import Status
from support.lmtp_conversation import THREE, drain, hear, in_final, ready, results, started


def test_pipelined_commands_go_in_one_write() -> None:
    client = started()
    assert client.to_send() == b"MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<u>\r\nRCPT TO:<v>\r\nRCPT TO:<w>\r\nDATA\r\n"


def test_without_pipelining_one_command_at_a_time() -> None:
    client = started(b"220 s\r\n250 s.example\r\n")
    said = [client.to_send()]
    for reply in (b"250 ok\r\n", b"550 no\r\n", b"250 ok\r\n", b"450 later\r\n"):
        hear(client, reply)
        said.append(client.to_send())
    assert said == [b"MAIL FROM:<a@b> BODY=8BITMIME\r\n", b"RCPT TO:<u>\r\n", b"RCPT TO:<v>\r\n", b"RCPT TO:<w>\r\n", b"DATA\r\n"]


def test_without_an_accepted_recipient_no_data_is_sent_and_the_next_begins_with_a_reset() -> None:
    client = started(b"220 s\r\n250 s.example\r\n", Transaction(b"", 1, (b"<u>",)))
    hear(client, b"250 ok\r\n")
    client.to_send()
    assert results(hear(client, b"550 no\r\n")) == [(0, 550, True)]
    assert client.to_send() == b""
    assert client.phase is ClientPhase.IDLE
    client.begin(THREE)
    assert client.to_send() == b"RSET\r\n"
    hear(client, b"250 ok\r\n")
    assert client.to_send().startswith(b"MAIL FROM:<a@b>")


@pytest.mark.parametrize("heard", range(4))
def test_each_truncation_of_the_final_replies(heard: int) -> None:
    replies = [b"250 2.5.0 <u> OK\r\n", b"422 4.2.2 <v> Quota\r\n", b"511-5.1.1 <w> no\r\n511 5.1.1 such mailbox\r\n"]
    whole = b"".join(replies)
    ends = [sum(len(reply) for reply in replies[:count]) for count in range(4)]
    for cut in range(ends[heard], ends[heard + 1] if heard < 3 else len(whole) + 1):
        client = in_final(started())
        events = hear(client, whole[:cut])
        client.eof()
        events += drain(client)
        wanted = [(0, 250), (1, 422), (2, 511)]
        assert results(events) == [(i, code if i < heard else 451, i < heard) for i, code in wanted]
        assert sum(isinstance(event, TransactionDone) for event in events) == 1
        assert isinstance(events[-1], Bye)
        assert client.closed


def test_a_reply_of_several_lines_is_one_result() -> None:
    client = in_final(started())
    events = hear(client, b"250-2.5.0 one\r\n250-2.5.0 two\r\n250 2.5.0 three\r\n")
    assert results(events) == [(0, 250, True)]
    assert isinstance(events[0], RecipientResult)
    assert events[0].status.text == "one\ntwo\nthree"
    assert events[0].status.enhanced == "2.5.0"


@pytest.mark.parametrize("said", [b"250 odd\r\n", b"299 odd\r\n", b"354 go\r\n", b"220 x\r\n354 go\r\n"])
def test_a_yes_out_of_place_is_no_refusal_whose_status_a_recipient_could_have(said: bytes) -> None:
    client = LmtpClient("relay")
    assert not [event for event in hear(client, said) if isinstance(event, Refused)]
    assert client.closed


@pytest.mark.parametrize("said", [[b"220 a\r\n220 b\r\n"], [b"220 a\r\n", b"220 b\r\n"], [b"220 a\r\n250 s\r\n"]])
def test_what_is_said_ahead_of_the_hello_is_no_answer_to_it(said: list[bytes]) -> None:
    client = LmtpTlsClient("relay", Tls.MAY)
    events = [event for piece in said for event in hear(client, piece)]
    assert [type(event) for event in events] == [Greeting, ProtocolError]
    assert client.closed


def test_without_pipelining_a_reply_ahead_of_its_command_settles_nobody() -> None:
    client = started(b"220 s\r\n250 s.example\r\n")
    for reply in (b"250 ok\r\n", b"250 ok\r\n250 really\r\n", b"250 ok\r\n", b"550 no\r\n"):
        client.to_send()
        events = hear(client, reply)
        if events:
            break
    assert results(events) == [(0, 451, False), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize(
    "hello",
    [b"500 Do not connect to this machine\r\n", b"421 busy\r\n", b"554-no\r\n554 never\r\n"],
)
def test_a_greeting_that_refuses(hello: bytes) -> None:
    client = LmtpClient("relay")
    events = hear(client, hello)
    assert isinstance(events[0], Refused)
    assert events[0].status.code == int(hello[:3])
    assert client.closed


def test_a_hello_that_is_refused() -> None:
    client = LmtpClient("relay")
    events = hear(client, b"220 s\r\n") + hear(client, b"500 5.5.1 unknown\r\n")
    assert [type(event) for event in events] == [Greeting, Refused]
    assert client.to_send() == b"LHLO relay\r\nQUIT\r\n"


def test_a_close_before_the_greeting_refuses() -> None:
    client = LmtpClient("relay")
    client.eof()
    assert isinstance(drain(client)[0], Refused)


def test_the_greeting_and_its_refusal_in_one_read_with_the_close() -> None:
    client = LmtpClient("relay")
    client.feed(b"500 Do not connect to this machine\r\n")
    client.eof()
    (event,) = drain(client)
    assert isinstance(event, Refused)
    assert event.status.text == "Do not connect to this machine"


def test_a_refused_sender_is_every_recipients_result() -> None:
    client = started()
    events = hear(client, b"552 5.3.4 too large\r\n" + b"503 no\r\n" * 4)
    assert results(events) == [(0, 552, True), (1, 552, True), (2, 552, True)]
    assert events[-1] == TransactionDone()
    client.to_send()
    client.begin(THREE)
    assert client.to_send().startswith(b"MAIL")


def test_a_refused_data_is_the_result_of_the_accepted() -> None:
    client = started()
    events = hear(client, b"250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n451 4.3.0 later\r\n")
    assert results(events) == [(0, 550, True), (1, 451, True), (2, 451, True)]
    client.to_send()
    client.begin(THREE)
    assert client.to_send().startswith(b"RSET\r\nMAIL")
    hear(client, b"250 reset\r\n" + b"250 ok\r\n" * 4 + b"354 go\r\n")
    assert client.phase is ClientPhase.BODY


def test_421_settles_nobody() -> None:
    client = in_final(started())
    events = hear(client, b"250 2.5.0 <u> OK\r\n421 4.3.2 going down\r\n")
    assert results(events) == [(0, 250, True), (1, 421, False), (2, 421, False)]
    assert [type(event) for event in events[-2:]] == [TransactionDone, Bye]


@pytest.mark.parametrize("bye", [b"221 2.0.0 bye\r\n", b"221-2.0.0 so\r\n221 2.0.0 bye\r\n"])
def test_221_is_no_success(bye: bytes) -> None:
    client = in_final(started())
    events = hear(client, b"250 2.5.0 <u> OK\r\n" + bye)
    assert results(events) == [(0, 250, True), (1, 451, False), (2, 451, False)]
    assert [type(event) for event in events[-2:]] == [TransactionDone, Bye]


@pytest.mark.parametrize("after", range(6))
def test_421_at_any_command(after: int) -> None:
    client = started()
    before = [b"250 ok\r\n"] * 4 + [b"354 go\r\n"]
    events = hear(client, b"".join(before[:after]) + b"421 bye\r\n")
    assert results(events) == [(0, 421, False), (1, 421, False), (2, 421, False)]
    assert isinstance(events[-1], Bye)


def test_421_between_transactions() -> None:
    client = ready()
    assert [type(event) for event in hear(client, b"421 4.4.2 idle\r\n")] == [Bye]
    assert client.closed


def test_more_replies_than_asked_is_a_protocol_error_and_the_settled_stay() -> None:
    client = in_final(started())
    events = hear(client, b"250 ok\r\n" * 4)
    assert results(events) == [(0, 250, True), (1, 250, True), (2, 250, True)]
    assert [type(event) for event in events[-2:]] == [TransactionDone, ProtocolError]
    assert client.closed


def test_a_stray_reply_is_not_taken_for_the_next_command() -> None:
    client = in_final(started())
    assert hear(client, b"250 ok\r\n" * 3 + b"250 str")[-1] == TransactionDone()
    client.begin(THREE)
    events = hear(client, b"ay\r\n")
    assert results(events) == [(0, 451, False), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize("reply", [b"250 fine\r\n", b"300 what\r\n", b"221 bye\r\n"])
def test_data_must_be_answered_by_354(reply: bytes) -> None:
    client = started()
    events = hear(client, b"250 ok\r\n" * 4 + reply)
    assert results(events) == [(0, 451, False), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


def test_354_without_recipients_is_a_protocol_error() -> None:
    client = started()
    events = hear(client, b"250 ok\r\n" + b"550 no\r\n" * 3 + b"354 go\r\n")
    assert results(events) == [(0, 550, True), (1, 550, True), (2, 550, True)]
    assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize(
    "nonsense", [b"hello\r\n", b"25 ok\r\n", b"999 ok\r\n", b"250-a\r\n251 b\r\n", b"x" * 5000, b"\xff\n", b"2500\r\n"]
)
def test_nonsense_is_a_protocol_error(nonsense: bytes) -> None:
    client = in_final(started())
    events = hear(client, b"250 ok\r\n" + nonsense)
    assert results(events) == [(0, 250, True), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize("piece", [1 << 20, 5000])
def test_of_a_very_long_reply_the_beginning_counts(piece: int) -> None:
    client = in_final(started())
    long = b"550 5.1.1 " + b"a" * 200_000 + b"\r\n"
    events = [event for start in range(0, len(long), piece) for event in hear(client, long[start : start + piece])]
    events += hear(client, b"250 ok\r\n250 ok\r\n")
    assert results(events) == [(0, 550, True), (1, 250, True), (2, 250, True)]
    assert isinstance(events[0], RecipientResult)
    assert len(events[0].status.text) <= 4096


def test_a_reply_line_without_end_is_a_protocol_error() -> None:
    client = in_final(started())
    events = hear(client, b"250 " + b"a" * (1 << 20))
    assert results(events) == [(0, 451, False), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


def test_message_too_big_settles_all_for_the_message() -> None:
    client = in_final(started())
    events = hear(client, b"500 message too big\r\n")
    assert results(events) == [(0, 500, True), (1, 500, True), (2, 500, True)]
    assert isinstance(events[-1], Bye)


def test_message_too_big_while_the_body_is_written() -> None:
    client = started()
    hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n")
    events = hear(client, b"500 message too big\r\n")
    assert results(events) == [(0, 500, True), (1, 500, True), (2, 500, True)]
    client.body_sent()
    client.eof()
    assert drain(client) == []


def test_a_refusal_before_the_body_is_written_counts_afterwards() -> None:
    client = started()
    hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n")
    assert hear(client, b"452 4.3.1 full\r\n") == []
    client.body_sent()
    assert results(hear(client, b"250 ok\r\n250 ok\r\n")) == [(0, 452, True), (1, 250, True), (2, 250, True)]


def test_a_success_before_the_body_is_written_is_no_delivery() -> None:
    client = started()
    hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n")
    events = hear(client, b"250 ok\r\n")
    assert results(events) == [(0, 451, False), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


@pytest.mark.parametrize("early", [b"250 ok\r\n" * 3, b"250 ok\r\n", b"25", b"250-ok\r\n", b"354 go\r\n"])
def test_what_comes_together_with_the_354_is_no_reply_to_the_body(early: bytes) -> None:
    client = started()
    events = hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n" + early)
    assert WantBody() not in events
    assert results(events) == [(0, 451, False), (1, 451, False), (2, 451, False)]
    assert isinstance(events[-1], ProtocolError)


def test_the_server_leaves_together_with_the_354() -> None:
    client = started()
    events = hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n421 4.3.2 closing\r\n")
    assert results(events) == [(0, 421, False), (1, 421, False), (2, 421, False)]
    assert isinstance(events[-1], Bye)


def test_part_of_a_reply_before_the_end_of_the_body() -> None:
    client = started()
    hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n")
    assert hear(client, b"250 o") == []
    client.body_sent()
    assert results(drain(client)) == [(0, 451, False), (1, 451, False), (2, 451, False)]


def test_the_server_closes_after_the_final_replies() -> None:
    client = in_final(started())
    client.feed(b"250 ok\r\n" * 3)
    client.eof()
    events = drain(client)
    assert results(events) == [(0, 250, True), (1, 250, True), (2, 250, True)]
    assert [type(event) for event in events[-2:]] == [TransactionDone, Bye]


def test_an_end_of_file_at_the_envelope_leaves_all_unsettled_but_the_refused() -> None:
    client = started()
    events = hear(client, b"250 ok\r\n550 no\r\n")
    client.eof()
    events += drain(client)
    assert results(events) == [(0, 550, True), (1, 451, False), (2, 451, False)]


def test_quit() -> None:
    client = ready()
    client.quit()
    assert client.to_send() == b"QUIT\r\n"
    assert [type(event) for event in hear(client, b"221 bye\r\n")] == [Bye]


@pytest.mark.parametrize(
    "transaction",
    [
        Transaction(b"a\r\nRCPT TO:<x>", 1, (b"<u>",)),
        Transaction(b"a", 1, (b"<u>\r\nDATA",)),
        Transaction(b"a", 1, (b"<u>\0",)),
        Transaction(b"a", 1, (b"<u>",), b"X=\n"),
        Transaction(b"a", 1, ()),
    ],
)
def test_injection_and_emptiness_are_refused(transaction: Transaction) -> None:
    client = ready()
    with pytest.raises(ValueError, match=r"line end|recipients"):
        client.begin(transaction)
    assert client.to_send() == b""


_REPLIES = [
    b"220 s\r\n",
    b"250 ok\r\n",
    b"250-x\r\n",
    b"250 PIPELINING\r\n",
    b"354 go\r\n",
    b"421 x\r\n",
    b"500 message too big\r\n",
    b"5",
]


@given(st.lists(st.one_of(st.sampled_from(_REPLIES), st.binary(max_size=6)), max_size=25), st.booleans())
@settings(max_examples=400)
def test_whatever_the_server_says_each_recipient_has_one_result(pieces: list[bytes], pipelined: bool) -> None:
    client = LmtpClient("relay")
    open_results: set[int] = set()
    pieces = [b"220 s\r\n", b"250-s\r\n250 PIPELINING\r\n" if pipelined else b"250 OK\r\n", *pieces]
    for place in range(len(pieces) + 1):
        if place < len(pieces):
            client.feed(pieces[place])
        else:
            client.eof()
        for event in drain(client):
            if isinstance(event, RecipientResult):
                open_results.remove(event.index)
            elif isinstance(event, TransactionDone):
                assert not open_results
            elif isinstance(event, WantBody) and client.phase is ClientPhase.BODY:
                client.body_sent()
        if client.phase is ClientPhase.IDLE:
            open_results = {0, 1, 2}
            client.begin(THREE)
    assert not open_results
    assert client.closed


_OPENINGS = [[], [b"220 s\r\n", b"250 ok\r\n"], [b"220 s\r\n", b"250-s\r\n250 STARTTLS\r\n", b"220 go\r\n", b"250 s\r\n"]]


@given(
    st.sampled_from(_OPENINGS),
    st.lists(st.sampled_from([*_REPLIES, b"250 STARTTLS\r\n", b"221 x\r\n", b"450 x\r\n"]), max_size=25),
    st.sampled_from(Tls),
)
@settings(max_examples=400)
def test_whatever_the_server_says_nobody_is_delivered_to_whose_message_was_not_sent(
    opening: list[bytes], pieces: list[bytes], tls: Tls
) -> None:
    client = LmtpTlsClient("relay", tls)
    sent = False
    for piece in [*opening, *pieces, None]:
        if piece is None:
            client.eof()
        else:
            client.feed(piece)
        for event in drain(client):
            if isinstance(event, RecipientResult):
                assert not event.status.is_success or (sent and event.final)
            elif isinstance(event, Refused):
                assert event.status.code >= 400
            elif isinstance(event, WantTls) and client.phase is ClientPhase.HANDSHAKE:
                client.tls_started()
            elif isinstance(event, WantBody) and client.phase is ClientPhase.BODY:
                client.body_sent()
                sent = True
        if client.phase is ClientPhase.IDLE:
            client.begin(THREE)
            sent = False


def test_octets_that_are_no_text_are_not_let_in() -> None:
    client = LmtpClient("relay1")
    (event,) = hear(client, b"554 5.7.1 caf\xc3\xa9 \xff\x00\x1b[1m\ttab\r\n")
    assert event == Refused(Status(554, "5.7.1", "caf\u00e9 \ufffd\ufffd\ufffd[1m\ttab"))
