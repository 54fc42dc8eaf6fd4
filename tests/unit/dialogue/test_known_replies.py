"""Replies that the LMTP client has heard before mean what they meant: together or one by one, in any pieces, however many."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue.client import ClientPhase, Transaction
from posthouse.dialogue.client_event import ClientEvent, ProtocolError, RecipientResult, TransactionDone
from posthouse.dialogue.reply import REMEMBERED, REMEMBERED_LENGTH
from support.lmtp_conversation import THREE, drain, hear, in_final, results, started


def test_a_reply_that_was_heard_before_says_the_same_again() -> None:
    """Replies are remembered by their octets; neither the place in a reply of several lines nor the line's end is mixed up."""
    lines = [b"250 2.5.0 same\r\n", b"250 2.5.0 same\n", b"250-2.5.0 same\r\n250 2.5.0 same\r\n", b"250 2.5.0 same\r\n"]
    texts = []
    for line in lines * 2:
        (result, _) = hear(in_final(started(transaction=Transaction(b"", 1, (b"<u>",) * 3))), line * 3)[1:3]
        assert isinstance(result, RecipientResult)
        texts.append((result.status.enhanced, result.status.text))
    assert texts == [("2.5.0", "same"), ("2.5.0", "same"), ("2.5.0", "same\nsame"), ("2.5.0", "same")] * 2


def test_ever_new_replies_are_no_trouble() -> None:
    client = started()
    for number in range(3 * REMEMBERED):
        events = hear(in_final(client), b"250 2.5.0 <u%d> OK\r\n" % number * 3)
        assert results(events) == [(place, 250, True) for place in range(3)]
        client.begin(THREE)
        client.to_send()


_LINES = (
    b"250 ok\r\n", b"250 2.1.5 yes\r\n", b"550 5.1.1 no\r\n", b"452 4.2.2 later\r\n", b"354 go\r\n", b"421 gone\r\n",
    b"500 message too big\r\n",
)  # fmt: skip
_ONE = Transaction(b"a@b", 10, (b"<u>",))


def conversation(pieces: list[bytes], transaction: Transaction) -> list[ClientEvent]:
    """What a client tells that hears the pieces one after the other, after a first transaction that was refused."""
    client = started(transaction=_ONE)
    found = hear(client, b"550 no\r\n503 no\r\n503 no\r\n")
    client.begin(transaction)
    for piece in pieces:
        if client.phase is ClientPhase.BODY:
            client.body_sent()
            found += drain(client)
        found += hear(client, piece)
    return found


@given(st.lists(st.sampled_from(_LINES), max_size=12), st.sampled_from((_ONE, THREE)))
@settings(max_examples=500)
def test_known_replies_mean_the_same_together_as_one_by_one(lines: list[bytes], transaction: Transaction) -> None:
    known = started()
    for line in _LINES[:4]:  # from now on they are known
        hear(known, line)
    count = len(transaction.recipients) + 2
    envelope, final = lines[:count], lines[count:]
    together = conversation([b"".join(envelope), b"".join(final)], transaction)
    strange = [line[:-2] + b" " * REMEMBERED_LENGTH + b"\r\n" for line in lines]  # too long to be remembered
    one_by_one = conversation([*strange[:count], *strange[count:]], transaction)
    assert results(together) == results(one_by_one)
    assert [type(event) for event in together] == [type(event) for event in one_by_one]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_final_replies_may_come_in_any_pieces(cuts: list[int]) -> None:
    client = in_final(started())
    octets = b"250 ok\r\n" * 3
    events = hear(client, octets[: 8 * cuts[0]]) + hear(client, octets[8 * cuts[0] :])
    assert results(events) == [(0, 250, True), (1, 250, True), (2, 250, True)]
    assert events[-1] == TransactionDone()
    assert client.phase is ClientPhase.IDLE


def test_a_known_reply_too_many_is_no_success_of_the_next() -> None:
    client = in_final(started())
    events = hear(client, b"250 ok\r\n" * 4)
    assert results(events) == [(0, 250, True), (1, 250, True), (2, 250, True)]
    assert isinstance(events[-1], ProtocolError)
