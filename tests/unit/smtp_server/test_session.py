"""What is accepted, and that the journal holds it octet for octet."""

import re
import ssl
from pathlib import Path

import pytest
import trustme

from posthouse.mail.envelope import Priority
from posthouse.trace.record import Action
from posthouse.trace.time_line import time_line
from support.smtp_world import Queued, SmtpWorld, relay_files

BODY = b"Subject: hello\r\nMessage-ID: <m1@outside.test>\r\n\r\nOne line\r\n"


def without_received(message: Queued) -> bytes:
    """The body behind our own trace field, which is checked."""
    match = re.match(rb"Received: from \S+ \(\[127\.0\.0\.1\]\)\r\n by relay1\.example\.com \(Posthouse [^)]+\) with \w+"
                     rb" id <([0-9A-Z]{18})@relay1\.example\.com>(?:\r\n for ([^\r]+))?; [^\r]+\r\n", message.body)  # fmt: skip
    assert match, message.body[:300]
    assert match[1].decode() == message.envelope.id
    assert len(message.body) == message.envelope.size
    if match[2]:
        assert match[2].decode() == message.envelope.recipients[0].original
    return message.body[match.end() :]


def test_a_message_as_most_are(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.connect()
        extensions = client.ask("EHLO client.outside.test").split("\n")
        assert {line[4:].split()[0] for line in extensions[1:]} == {
            "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN",
        }  # fmt: skip
        assert client.ask("MAIL FROM:<alice@outside.test>") == "250 2.5.0 Address Ok."
        assert client.ask("RCPT TO:<john.doe@example.com>") == "250 2.1.5 john.doe@example.com OK."
        assert client.ask("DATA").startswith("354 ")
        client.send(BODY + b".\r\n")
        answer = client.reply()
        assert re.fullmatch(r"250 2\.5\.0 Ok, envelope id [0-9A-Z]{18}", answer)
        assert client.ask("QUIT").startswith("221 2.3.0 ")
        assert client.at_end()
        (enqueued,) = world.records(Action.ENQUEUED)
        assert (enqueued.od, enqueued.mi, enqueued.ri) == ("rfc822;john.doe@example.com", "<m1@outside.test>", 0)
        assert answer.endswith(enqueued.ei)
        (message,) = world.queued()
        assert without_received(message) == BODY
        envelope = message.envelope
        assert (envelope.sender, envelope.source_channel) == ("alice@outside.test", "tcp_local")
        assert envelope.source == "client.outside.test [127.0.0.1]"
        (recipient,) = envelope.recipients
        assert (recipient.channel, recipient.host) == ("tcp_lmtpcs", "store1.example.com.lmtp")
        assert recipient.address == "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"
        assert recipient.quota == "52428800,5000"


TO_DATA = (
    b"EHLO c\r\nMAIL FROM:<a@outside.test>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<jd@example.com>\r\n"
    b"RCPT TO:<ann.smith@example.com>\r\nDATA\r\n"
)


def test_pipelined_commands_are_answered_in_their_order(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.connect()
        client.send(TO_DATA)
        assert [each[:9] for each in client.replies(6)] == [
            "250-relay", "250 2.5.0", "550 5.1.1", "250 2.1.5", "250 2.1.5", "354 Enter",
        ]  # fmt: skip
        client.send(BODY + b".\r\nMAIL FROM:<>\r\nRCPT TO:<jd@example.com>\r\nRSET\r\nNOOP\r\nQUIT\r\n")
        assert [each[:9] for each in client.replies(6)] == [
            "250 2.5.0", "250 2.5.0", "250 2.1.5", "250 2.5.0", "250 2.5.0", "221 2.3.0",
        ]  # fmt: skip
        assert client.at_end()
        (message,) = world.queued()
        assert [each.original for each in message.envelope.recipients] == ["jd@example.com", "ann.smith@example.com"]
        assert [each.copy for each in message.envelope.recipients] == [0, 1]
        assert b" for " not in message.body[: message.body.index(b"Subject")]
        assert without_received(message) == BODY


def test_octet_by_octet(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.connect()
        for octet in TO_DATA:
            client.send(bytes((octet,)))
        assert [each[:3] for each in client.replies(6)] == ["250", "250", "550", "250", "250", "354"]
        for octet in BODY + b"..dot\r\n.\r\n":
            client.send(bytes((octet,)))
        assert client.reply().startswith("250 2.5.0 ")
        (message,) = world.queued()
        assert without_received(message) == BODY + b".dot\r\n"
        assert message.envelope.wire_growth == 1


def test_chunks(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.send(
            b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<jd@example.com>\r\n"
            b"BDAT 9\r\nSubject: BDAT 4\r\n x\r\nBDAT 0 LAST\r\n"
            b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<jd@example.com>\r\nBDAT 13 LAST\r\nSubject: last"
        )
        assert [each[:3] for each in client.replies(8)] == ["250"] * 8
        assert sorted(without_received(each) for each in world.queued()) == [
            b"Subject:  x\r\n\r\n",  # the empty line a store would miss
            b"Subject: last\r\n\r\n",
        ]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b"\r\n"),
        (b"\r\nonly a body\r\n", b"\r\nonly a body\r\n"),
        (b"Subject: only a header\r\n", b"Subject: only a header\r\n\r\n"),
        (b"From nobody Mon\r\nSubject: x\r\n\r\n..\r\n", b"From nobody Mon\r\nSubject: x\r\n\r\n.\r\n"),
    ],
)
def test_what_a_store_would_miss_is_added(tmp_path: Path, sent: bytes, kept: bytes) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        assert world.hello().message(sent, "jd@example.com").startswith("250 ")
        (message,) = world.queued()
        assert without_received(message) == kept


@pytest.mark.parametrize("ending", [b"end\r\n", b"\xff\xfe\r\n"])
def test_a_large_body_is_streamed_into_a_file(tmp_path: Path, ending: bytes) -> None:
    line = b"0123456789" * 7 + b"\r\n"
    body = b"Subject: large\r\nMessage-ID: <big@x>\r\n\r\n" + line * 30_000 + b"..dots\r\n" + ending
    with SmtpWorld(relay_files(tmp_path)) as world:
        assert world.hello().message(body, "jd@example.com", "ann.smith@example.com").startswith("250 ")
        assert world.call(lambda: world.relay.memory.held) == 0
        (message,) = world.queued()
        assert without_received(message) == body.replace(b"\r\n..", b"\r\n.")
        assert message.envelope.message_id == "<big@x>"
        assert message.envelope.eight_bit is not ending.isascii()
        assert len(list((world.instance.journal / "body").iterdir())) == 1


def test_eight_bit_and_utf8(tmp_path: Path) -> None:
    body = "Subject: grüße\r\nPriority: urgent\r\n\r\nzoë\r\n".encode()
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<zoë@outside.test>").startswith("553 5.6.7 ")
        assert client.ask("MAIL FROM:<zo\udcff@outside.test> SMTPUTF8".encode("utf-8", "surrogateescape")).startswith(
            "501 5.1.7 "
        )
        params = " BODY=8BITMIME SMTPUTF8"
        assert client.message(body, "jürgen@example.com", sender="zoë@outside.test", params=params).startswith("250 ")
        assert client.message(body, "jd@example.com").startswith("250 ")
        first, second = sorted(world.queued(), key=lambda each: not each.envelope.utf8)
        assert without_received(first) == without_received(second) == body
        assert b" with UTF8SMTP id " in first.body
        assert (first.envelope.utf8, first.envelope.eight_bit) == (True, True)
        assert (second.envelope.utf8, second.envelope.eight_bit) == (False, True)
        assert second.envelope.priority is Priority.URGENT


def test_helo_speaks_plain_smtp(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.connect()
        assert client.ask("MAIL FROM:<a@outside.test>").startswith("503 ")
        assert client.ask("HELO evil)(name") == "250 relay1.example.com"
        assert client.message(BODY, "jd@example.com", sender="").startswith("250 ")
        (message,) = world.queued()
        assert message.body.startswith(b"Received: from unknown ([127.0.0.1])\r\n by relay1.example.com (")
        assert b" with SMTP id " in message.body


def test_two_spellings_of_a_recipient_are_one_and_both_are_found(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        given = ("ann.smith@example.com", "jd@example.com", "John.Doe@EXAMPLE.com", "jd@example.com")
        assert client.message(BODY, *given).startswith("250 ")
        assert len(world.records(Action.ENQUEUED)) == 4
        found = time_line(world.instance.log, "John.Doe@example.com")
        (double,) = [each for each in found if each.od == "rfc822;John.Doe@EXAMPLE.com"]
        assert (double.ri, double.re) == (1, "same as jd@example.com")
        (message,) = world.queued()
        assert [each.original for each in message.envelope.recipients] == ["ann.smith@example.com", "jd@example.com"]
        text = (world.instance.log / "mail.log_current").read_text()
        assert sum(" EE " in line for line in text.splitlines()) == 2


@pytest.mark.parametrize(("hops", "held"), [(50, False), (51, True)])
def test_a_loop_is_held_not_bounced(tmp_path: Path, hops: int, held: bool) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        body = b"Received: from a by b; date\r\n" * hops + b"\r\nround and round\r\n"
        assert world.hello().message(body, "jd@example.com").startswith("250 ")
        (message,) = world.queued()
        assert [each.held for each in message.envelope.recipients] == [held]
        assert without_received(message) == body


def test_a_hello_within_a_transaction_forgets_it(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@outside.test>")
        assert client.ask("RCPT TO:<jd@example.com>").startswith("250 ")
        assert client.ask("EHLO again").startswith("250-")
        assert client.ask("DATA").startswith("503 ")
        assert world.queued() == []


def test_over_tls(tmp_path: Path) -> None:
    server, clients = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority = trustme.CA()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(clients)
    mappings = "FROM_ACCESS\n\n  *|SMTP/TLSv1*/client.*|MAIL|*  $Y\n  *  $NTLS$ only\n"
    with SmtpWorld(relay_files(tmp_path, mappings=mappings), tls=(server, clients)) as world:
        client = world.hello()
        assert client.message(BODY, "jd@example.com").startswith("250 ")
        assert client.message(BODY + b"bare\nx\r\n", "jd@example.com").startswith("550 5.6.11 ")
        assert client.at_end()
        (enqueued,) = world.records(Action.ENQUEUED)
        assert enqueued.mo == "ES"
        (message,) = world.queued()
        assert b" with ESMTPS id " in message.body
        assert without_received(message) == BODY
