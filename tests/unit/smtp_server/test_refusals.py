"""What is refused, with which reply, and that nothing of it is queued."""

import logging
from pathlib import Path

import pytest

from posthouse.cli.demo.samples import End, load_samples
from posthouse.trace.record import Action
from support.smtp_world import SmtpWorld, relay_files

BODY = b"Subject: x\r\n\r\ntext\r\n"
OUTSIDE = "victim@elsewhere.test"
OPEN_RELAY = [
    OUTSIDE,
    f'"{OUTSIDE}"',
    f'"{OUTSIDE}"@example.com',
    f'"{OUTSIDE}"@relay1.example.com',
    "victim%elsewhere.test",
    "victim%elsewhere.test@example.com",
    "victim%elsewhere.test@relay1.example.com",
    "victim%elsewhere.test@[127.0.0.1]",
    "victim%elsewhere.test%example.com@relay1.example.com",
    '"victim%elsewhere.test"@example.com',
    "elsewhere.test!victim",
    "elsewhere.test!victim@example.com",
    "elsewhere.test!victim@relay1.example.com",
    "elsewhere.test!victim@[127.0.0.1]",
    '"elsewhere.test!victim"@example.com',
    f"@example.com:{OUTSIDE}",
    f"@relay1.example.com:{OUTSIDE}",
    f"@[127.0.0.1]:{OUTSIDE}",
    f"@relay1.example.com,@example.com:{OUTSIDE}",
    "@elsewhere.test:victim@elsewhere.test",
    "victim@[192.0.2.77]",
    "victim@[IPv6:2001:db8::1]",
    "victim@elsewhere.test.example.com",
    "victim@example.com.elsewhere.test",
    "victim%elsewhere.test%",
    "@elsewhere.test:john.doe@example.com",
    "@store1.example.com.lmtp:jdoe@lmtpcs-daemon",
    "jdoe@lmtpcs-daemon",
    "jdoe@tcp_lmtpcs-daemon",
    "victim@process-daemon",
    "victim@tcp-daemon",
    "@tcp-daemon:victim@elsewhere.test",
    "victim@bitbucket-daemon",
    "jdoe@store1.example.com.lmtp",
    "victim%elsewhere.test@store1.example.com.lmtp",
    "/etc/passwd",
    "|/bin/sh",
    '"|/bin/sh"@example.com',
]
DEMO = [
    (sample, recipient)
    for sample in load_samples()
    for recipient in sample.recipients
    if recipient.outcome is End.REFUSED and recipient.reply
]


@pytest.mark.parametrize(("sample", "recipient"), DEMO, ids=[f"{sample.name}-{to.address}" for sample, to in DEMO])
def test_the_refusals_of_the_demo(tmp_path: Path, sample: object, recipient: object) -> None:
    del sample
    address, reply = recipient.address, recipient.reply  # type: ignore[attr-defined]
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.ask("MAIL FROM:<alice@outside.test>")
        answer = client.ask(f"RCPT TO:<{address}>")
        assert answer.startswith(reply + " ")
        (refused,) = world.records(Action.REFUSED)
        assert (refused.od, f"{refused.co} {refused.en}") == (f"rfc822;{address}", reply)
        assert client.ask("DATA").startswith("503 ")
        assert world.queued() == []


def test_no_address_form_makes_an_open_relay(tmp_path: Path) -> None:
    """From 127.0.0.1, too: each is refused, or stays with us."""
    with SmtpWorld(relay_files(tmp_path)) as world:
        taken = []
        for sender in ("alice@outside.test", "john.doe@example.com", ""):
            client = world.hello()
            assert client.ask(f"MAIL FROM:<{sender}>").startswith("250")
            for address in OPEN_RELAY:
                answer = client.ask(f"RCPT TO:<{address}>")
                assert answer[:1] in "245", (address, answer)
                assert answer[:3] != "421", address
                if answer.startswith("250"):
                    taken.append(address)
            client.ask("RSET")
        assert set(taken) <= {"@elsewhere.test:john.doe@example.com"}
        assert world.queued() == []


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"Subject: x\r\n\r\nnul \0 here\r\n", "554 5.6.0 message contains null"),
        (b"no header at all\r\n\r\ntext\r\n", "554 5.6.0 message has bad header"),
        (b": empty name\r\n\r\ntext\r\n", "554 5.6.0 message has bad header"),
        (b"Subject\t: x\r\n\r\ntext\r\n", "554 5.6.0 message has bad header"),
    ],
)
def test_what_the_store_would_refuse_is_refused_here(tmp_path: Path, body: bytes, reply: str) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        assert client.message(body, "jd@example.com") == reply
        assert [each.od for each in world.records(Action.REFUSED)] == ["rfc822;jd@example.com"]
        assert client.message(BODY, "jd@example.com").startswith("250 ")
        (message,) = world.queued()
        assert message.body.endswith(BODY)


def test_a_streamed_body_is_refused_and_its_file_removed(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        body = b"Message-ID:\r\n <m1@outside.test>\r\n\r\n" + b"x" * 400_000 + b"\0\r\n"
        assert client.message(body, "jd@example.com") == "554 5.6.0 message contains null"
        assert [each.mi for each in world.records(Action.REFUSED)] == ["<m1@outside.test>"]
        assert list((world.instance.journal / "body").iterdir()) == []
        assert world.queued() == []


def test_sizes(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, option_dat="BLOCK_LIMIT=10\n")) as world:
        client = world.connect()
        assert "SIZE 10240" in client.ask("EHLO c")
        assert client.ask("MAIL FROM:<a@outside.test> SIZE=10241").startswith("552 5.3.4 ")
        assert client.ask("MAIL FROM:<a@outside.test> SIZE=0").startswith("250 ")
        client.ask("RSET")
        assert client.message(b"\r\n" + b"x" * 10_300 + b"\r\n", "jd@example.com").startswith("552 5.3.4 ")
        assert [each.co for each in world.records(Action.REFUSED)] == [552]
        assert client.message(BODY, "jd@example.com", params=" SIZE=30").startswith("250 ")
        assert len(world.queued()) == 1


def test_the_hundred_and_twenty_ninth_recipient(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@outside.test>")
        client.send(b"".join(b"RCPT TO:<r%d@hosted.example.org>\r\n" % number for number in range(130)))
        answers = client.replies(130)
        assert [each[:3] for each in answers] == ["250"] * 128 + ["452"] * 2
        assert answers[-1] == "452 4.5.3 Too many recipients specified"
        client.ask("DATA")
        client.send(BODY + b".\r\n")
        assert client.reply().startswith("250 ")
        (message,) = world.queued()
        assert [each.original for each in message.envelope.recipients] == ["r0@hosted.example.org"]  # the catch-all's one mailbox


def test_recipients_beyond_which_a_message_is_refused_whole(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, options="REJECT_RECIPIENTS_PER_TRANSACTION=2\n")) as world:
        client = world.hello()
        answers = client.begin("jd@example.com", "ann.smith@example.com", "sue@hosted.example.org")
        assert [each[:9] for each in answers] == ["250 2.1.5", "250 2.1.5", "550 5.5.3"]
        client.send(BODY + b".\r\n")
        assert client.reply().startswith("550 5.5.3 ")
        assert client.message(BODY, "jd@example.com").startswith("250 ")
        assert len(world.queued()) == 1


def test_rejections_after_which_all_are_deferred(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, options="ALLOW_REJECTIONS_BEFORE_DEFERRAL=2\nMAX_J_ENTRIES=3\n")) as world:
        client = world.hello()
        assert client.message(BODY, "x1@example.com", "jd@example.com").startswith("250 ")  # rejections count on
        client.ask("MAIL FROM:<a@outside.test>")
        answers = [client.ask(f"RCPT TO:<{to}>") for to in ("ivan@example.com", "x2@example.com", "jd@example.com")]
        assert [each[:9] for each in answers] == ["452 4.2.1", "550 5.1.1", "452 4.5.3"]
        assert len(world.records(Action.REFUSED)) == 3


def test_messages_in_one_connection(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, options="ALLOW_TRANSACTIONS_PER_SESSION=1\n")) as world:
        client = world.hello()
        assert client.message(BODY, "jd@example.com").startswith("250 ")
        assert client.ask("MAIL FROM:<a@outside.test>").startswith("452 4.5.3 ")


def test_junk_is_logged_and_ends(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\n\xff\xfe\0\r\n\r\n" + b"x" * 5000 + b"\r\n" + b"JUNK\r\n" * 15)
        answers = client.replies(21)
        assert [each[:3] for each in answers] == ["500"] * 20 + ["421"]
        assert client.at_end()
        assert [each.ss for each in world.records(Action.BAD_COMMAND)] == ["[127.0.0.1]"] * 10
        assert world.queued() == []


ACCESS = """FROM_ACCESS

  *|SMTP/*|MAIL|tcp_local|spam@*|*     $NNo$ spam
  *|SMTP/*|MAIL|tcp_local|trap@*|*     $Y$B
  *|SMTP/*|MAIL|tcp_local|odd@*|*      $Y$H
  *                                    $Y
"""


def test_what_from_access_says_of_senders(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, mappings=ACCESS)) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<spam@outside.test>").startswith("550 5.7.1 No spam")
        assert client.ask("RCPT TO:<jd@example.com>").startswith("503 ")
        assert len(world.records(Action.REFUSED)) == 1
        for sender in ("trap", "odd", "alice"):
            assert client.message(BODY, "jd@example.com", sender=f"{sender}@outside.test").startswith("250 ")
        found = {each.envelope.sender.split("@")[0]: each.envelope.recipients[0] for each in world.queued()}
        assert {name: (each.channel, each.held) for name, each in found.items()} == {
            "trap": ("bitbucket", False), "odd": ("tcp_lmtpcs", True), "alice": ("tcp_lmtpcs", False),
        }  # fmt: skip


def test_from_access_sets_the_sender_field_and_a_size(tmp_path: Path) -> None:
    table = "FROM_ACCESS\n\n  TCP|*|list@outside.test|  $Y$Kowner@outside.test\n  TCP|*|small@outside.test|  $Y$S2\n"
    body = b"From: x@y.test\r\nSender: z@y.test\r\nSubject: x\r\n\r\n"
    with SmtpWorld(relay_files(tmp_path, mappings=table)) as world:
        client = world.hello()
        for text in (b"text\r\n", b"text\r\n" * 60_000):
            assert client.message(body + text, "jd@example.com", sender="list@outside.test").startswith("250 ")
        assert client.ask("MAIL FROM:<small@outside.test> SIZE=2049").startswith("552 5.3.4 ")
        large = b"\r\n" + b"x" * 3000 + b"\r\n"
        assert client.message(large, "jd@example.com", sender="small@outside.test").startswith("552 5.3.4 ")
        assert client.message(BODY, "jd@example.com", sender="small@outside.test").startswith("250 ")
        queued = [each for each in world.queued() if each.envelope.sender == "list@outside.test"]
        assert [len(each.body) == each.envelope.size for each in queued] == [True, True]
        for message in queued:
            assert b"\r\nSender: owner@outside.test\r\nFrom: x@y.test\r\nSubject: x\r\n\r\ntext\r\n" in message.body


def test_from_access_puts_another_sender_and_a_header_line(tmp_path: Path) -> None:
    table = (
        "FROM_ACCESS\n\n  TCP|*|old@outside.test|  $Y$J$Anew@outside.test|X-Was:$ old\n"
        "  TCP|*|bad@outside.test|  $Y$J$Ano$ address|no$ header\n  TCP|*|gone@outside.test|  $Y$J\n"
    )
    with SmtpWorld(relay_files(tmp_path, mappings=table)) as world:
        client = world.hello()
        for sender in ("old@outside.test", "bad@outside.test", "gone@outside.test", "any@outside.test"):
            assert client.message(BODY, "jd@example.com", sender=sender).startswith("250 ")
        found = {each.envelope.sender: each.body for each in world.queued()}
        assert set(found) == {"new@outside.test", "bad@outside.test", "", "any@outside.test"}
        assert [sender for sender, body in found.items() if b"\r\nX-Was: old\r\n" + BODY in body] == ["new@outside.test"]


def test_recipients_tables_add_lines_and_limit_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = (
        "ORIG_MAIL_ACCESS\n\n  *|l|jd@*  $Y$<for$ jd|X-Table:$ jd$A\n  *|l|staff@*  $Y$AX-Table:$ staff\n\n"
        "MAIL_ACCESS\n\n  *jdoe@*  $Y$S2\n"
    )
    caplog.set_level(logging.INFO, "posthouse.test")
    with SmtpWorld(relay_files(tmp_path, mappings=table)) as world:
        client = world.hello()
        assert client.message(BODY, "jd@example.com", "john.doe@example.com", "jd@example.com").startswith("250 ")
        large = BODY + b"x" * 3000 + b"\r\n"
        assert client.message(large, "jd@example.com").startswith("550 5.2.3 ")
        assert client.ask("MAIL FROM:<a@b.test> SIZE=2049").startswith("250 ")
        told = client.ask("RCPT TO:<jd@example.com>")
        assert told == "550 5.2.3 channel limit of 2 kilobytes on message size exceeded: jd@example.com"
        assert client.ask("RSET").startswith("250 ")
        for body in (large, large + (b"y" * 70 + b"\r\n") * 6_000):
            assert client.message(body, "staff@example.com", sender="ann.smith@example.com").startswith("250 ")
        first, *lists = world.queued()
    assert first.body.count(b"X-Table: jd\r\n") == 1
    assert len(lists) == 2
    for message in lists:
        assert b"X-Table: staff\r\n" in message.body
        later, *others = sorted(message.envelope.recipients, key=lambda each: each.channel != "reprocess")
        assert (later.channel, later.address) == ("reprocess", "@reprocess-daemon:john.doe@example.com")
        assert "tcp_lmtpcs" in {each.channel for each in others}
        assert "reprocess" not in {each.channel for each in others}
    assert [each.getMessage() for each in caplog.records if "access table" in each.getMessage()] == ["access table: for jd"] * 3
