"""Our client against our server: what was sent is what was heard, for any body and any cut."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue import event as heard
from posthouse.dialogue.client import Transaction
from posthouse.dialogue.client_event import Bye, Ready, TransactionDone
from posthouse.dialogue.policy import lmtp_policy
from posthouse.dialogue.server import Server
from posthouse.dialogue.stuffing import count_growth, wire_size
from posthouse.mail.status import Status
from support.dialogue_pair import Pair
from support.dialogue_player import bodies

_EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SIZE 52428800", "XQUOTA", "XDFLG")
_crumbs = st.lists(st.sampled_from([b".", b"..", b"\r\n", b"a: b", b"\r\n.\r\n", b"\r", b"\n", b"x", b"\xe9"]), max_size=30)


def transaction(body: bytes, *recipients: bytes) -> Transaction:
    return Transaction(b"sender@x", wire_size(len(body), count_growth(body)), recipients)


@pytest.mark.parametrize("extensions", [_EXTENSIONS, ("SIZE 52428800", "XQUOTA", "XDFLG")], ids=["pipelined", "one by one"])
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_two_messages_and_a_refused_recipient(extensions: tuple[str, ...], piece: int) -> None:
    def judge(rcpt: heard.Rcpt) -> Status:
        return Status(550, "5.1.1", "no") if rcpt.recipient == b"nobody" else Status(250, "2.1.5", "OK")

    first, second = b"a: b\r\n\r\n.dot\r\n", b"c: d\r\n\r\nno line end"
    messages = [
        (transaction(first, b"<u> XQUOTA=1,2 XDFLG=2", b"<nobody>", b"<v>"), first),
        (transaction(second, b"<nobody>"), second),
        (transaction(second, b"<w>"), second),
    ]
    pair = Pair(Server(lmtp_policy("s", extensions)), messages, judge=judge, piece=piece)
    pair.run()
    assert bodies(pair.received) == [first, second + b"\r\n"]
    assert sorted(pair.results()) == sorted([(0, 250, True), (1, 550, True), (2, 250, True), (0, 550, True), (0, 250, True)])
    assert sum(isinstance(event, TransactionDone) for event in pair.told) == 3
    assert isinstance(pair.told[-1], Bye)
    ready = next(event for event in pair.told if isinstance(event, Ready))
    assert not ready.bare
    assert ready.extensions["SIZE"] == "52428800"


def test_the_chapters_server_is_known_by_its_bare_reply() -> None:
    body = b"a: b\r\n\r\n..\r\n"
    policy = replace(lmtp_policy("s"), list_extensions=False)
    pair = Pair(Server(policy), [(transaction(body, b"u+f@d xquota=1,2 xdflg=2"), body)])
    pair.run()
    assert any(isinstance(event, Ready) and event.bare and not event.extensions for event in pair.told)
    mail = next(event for event in pair.received if isinstance(event, heard.Mail))
    assert mail.params == {"SIZE": b"%d" % (len(body) + 1 + 2)}
    assert pair.results() == [(0, 250, True)]
    assert bodies(pair.received) == [body]


@given(_crumbs.map(b"".join), st.integers(1, 40), st.sampled_from([16, 1 << 18]), st.booleans())
@settings(max_examples=300)
def test_every_body_arrives_as_it_was(body: bytes, piece: int, spill: int, bare: bool) -> None:
    policy = replace(lmtp_policy("s", _EXTENSIONS), spill=spill, list_extensions=not bare)
    pair = Pair(Server(policy), [(transaction(body, b"<u>"), body)], piece=piece)
    pair.run()
    assert pair.results() == [(0, 250, True)]
    expected = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    assert bodies(pair.received) == [expected]
    end = next(event for event in pair.received if isinstance(event, heard.Message | heard.MessageEnd))
    assert end.growth == count_growth(body)
