"""Notices, read back with Python's own email parser."""

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage
from typing import cast

import pytest

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.notices.dsn import Kind, Notice, Report, build, rfc_date, scrub, wants

BOB = Recipient(0, 0, "tcp_lmtpcs", "@store1.example.com.lmtp:bob@lmtpcs-daemon", "bob@example.com", "store1.example.com.lmtp")
MESSAGE = b"From: a@example.org\r\nTo: bob@example.com\r\nSubject: long\r\n subject\r\nX: 1\r\n\r\nHello\r\n.dot\r\n"
HEADER = MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 4]
REFUSED = Status(511, "5.1.1", "<bob> mailbox nonexistent")


def envelope(
    sender: str = "a@example.org", ret: str = "", envid: str = "", size: int = len(MESSAGE), utf8: bool = False
) -> Envelope:
    return Envelope("0T8K00A01BCDEF0001", sender, "tcp_local", "", 1795428000000, size, (BOB,), ret=ret, envid=envid, utf8=utf8)


def notice(
    kind: Kind = Kind.FAILED, about: Envelope | None = None, reports: tuple[Report, ...] | None = None, limit: int = 0
) -> Notice:
    default = (Report(BOB, REFUSED, "store1.example.com", "TCP|10.0.0.5|40112|10.0.0.9|225", "store1 LMTP server ready"),)
    return Notice(
        kind, about or envelope(), default if reports is None else reports, "relay1.example.com", "tcp_lmtpcs",
        "postmaster@example.com", "0T8K00A01BCDEF0002", 1795430000.5, retry_until=1795440000.0, content_limit=limit,
    )  # fmt: skip


def parse(parts: tuple[bytes, ...]) -> EmailMessage:
    return email.message_from_bytes(b"".join(parts), policy=email.policy.SMTPUTF8)


def status_of(message: EmailMessage) -> str:
    raw = message.as_bytes().decode()
    start = raw.index("Reporting-MTA") if "Original-Envelope-Id" not in raw else raw.index("Original-Envelope-Id")
    return raw[start : raw.index("--Boundary", start)]


def test_failed_notice_as_the_reference_prints_it() -> None:
    message = parse(build(notice(), HEADER, [MESSAGE]))
    assert message["From"] == "Internet Mail Delivery <postmaster@example.com>"
    assert message["To"] == "a@example.org"
    assert message["Subject"] == "Delivery Notification: Delivery has failed"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    text, _, third = cast("list[EmailMessage]", message.get_payload())
    words = text.get_content()
    for line in (
        "  Subject: long subject",
        "Your message cannot be delivered to the following recipients:",
        "  Recipient address: bob@example.com",
        "  Reason: Remote SMTP server has rejected address",
        "  Diagnostic code: smtp;511 5.1.1 <bob> mailbox nonexistent",
        "  Remote system: dns;store1.example.com (TCP|10.0.0.5|40112|10.0.0.9|225) (store1 LMTP server ready)",
    ):
        assert line in words
    assert third.get_content_type() == "message/rfc822"
    assert MESSAGE in b"".join(build(notice(), HEADER, [MESSAGE]))


def test_delivery_status_fields() -> None:
    fields = status_of(parse(build(notice(about=envelope(envid="QQ+2B1")), HEADER, [MESSAGE])))
    assert fields.replace("\r\n", "\n").strip().split("\n") == [
        "Original-Envelope-Id: QQ+1",
        "Reporting-MTA: dns;relay1.example.com (tcp_lmtpcs)",
        f"Arrival-Date: {rfc_date(1795428000)}",
        "",
        "Original-Recipient: rfc822;bob@example.com",
        "Final-Recipient: rfc822;bob@example.com",
        "Action: failed",
        "Status: 5.1.1 (Remote SMTP server has rejected address)",
        "Remote-MTA: dns;store1.example.com",
        "Diagnostic-Code: smtp;511 5.1.1 <bob> mailbox nonexistent",
    ]


def test_the_route_to_a_whole_mta_is_not_shown() -> None:
    """LMTP chapter 16.2: a relay sends `@mailhost:user@domain`; the sender wrote `user@domain`."""
    routed = Recipient(0, 0, "ims-ms", "bob@ims-ms-daemon", "@store1.example.com:bob@example.com", "ims-ms-daemon")
    over = Status(522, "5.2.2", "bob Persistent Quota Exceeded")
    octets = b"".join(build(notice(reports=(Report(routed, over),)), HEADER, [MESSAGE]))
    assert b"@store1" not in octets
    for line in (b"  Recipient address: bob@example.com", b"Original-Recipient: rfc822;bob@example.com"):
        assert line in octets
    assert b"Final-Recipient: rfc822;bob@example.com" in octets


@pytest.mark.parametrize(
    ("kind", "status", "action", "code"),
    [
        (Kind.FAILED, Status(550, "", "no"), "failed", "5.0.0"),
        (Kind.TIMED_OUT, Status(422, "4.2.2", "<bob> Quota Exceeded"), "failed", "5.4.7"),
        (Kind.DELAYED, Status(422, "4.2.2", "<bob> Quota Exceeded"), "delayed", "4.2.2"),
        (Kind.DELAYED, Status(0, "", ""), "delayed", "4.0.0"),
        (Kind.EXPANDED, Status(250, "2.1.5", "message accepted for list expansion processing"), "expanded", "2.1.5"),
    ],
)
def test_status_class_fits_the_action(kind: Kind, status: Status, action: str, code: str) -> None:
    fields = status_of(parse(build(notice(kind, reports=(Report(BOB, status),)), HEADER, [MESSAGE])))
    assert f"Action: {action}" in fields
    assert f"Status: {code} (" in fields
    assert ("Will-Retry-Until:" in fields) is (kind is Kind.DELAYED)


@pytest.mark.parametrize(
    ("ret", "kind", "limit", "whole"),
    [
        ("", Kind.FAILED, 0, True),
        ("", Kind.TIMED_OUT, 0, True),
        ("", Kind.DELAYED, 0, False),
        ("FULL", Kind.DELAYED, 0, False),
        ("HDRS", Kind.FAILED, 0, False),
        ("FULL", Kind.FAILED, 1, True),
        ("", Kind.FAILED, 1, False),
        ("", Kind.FAILED, 2, True),
    ],
)
def test_what_comes_back(ret: str, kind: Kind, limit: int, whole: bool) -> None:
    octets = b"".join(build(notice(kind, envelope(ret=ret, size=2000), limit=limit), HEADER, [MESSAGE]))
    assert (MESSAGE in octets) is whole
    assert (b"text/rfc822-headers" in octets) is not whole
    assert b"X: 1\r\n" in octets


@pytest.mark.parametrize(
    ("notify", "failed", "delayed"),
    [
        ("", True, True),
        ("NEVER", False, False),
        ("FAILURE", True, False),
        ("delay", False, True),
        ("SUCCESS", False, False),
        ("SUCCESS,FAILURE,DELAY", True, True),
    ],
)
def test_notify(notify: str, failed: bool, delayed: bool) -> None:
    recipient = Recipient(0, 0, "c", "x@y", "x@y", notify=notify)
    assert wants(recipient, Kind.FAILED) is failed
    assert wants(recipient, Kind.TIMED_OUT) is failed
    assert wants(recipient, Kind.DELAYED) is delayed


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<bob> mailbox nonexistent", "<bob> mailbox nonexistent"),
        ("no <@store1.example.com.lmtp:bob@lmtpcs-daemon> here", "no <bob@example.com> here"),
        ("no <SMiller%hosted.example.org+Work@lmtpcs-daemon> here", "no <bob@example.com> here"),
        ("host Store1.Example.com.LMTP said", "host Store1.Example.com said"),
        ("bad tag lmtpcs-daemon", "bad tag "),
        ("ask postmaster@example.com", "ask postmaster@example.com"),
    ],
)
def test_internal_names_never_leave(text: str, clean: str) -> None:
    assert scrub(text, "bob@example.com") == clean
    octets = b"".join(build(notice(reports=(Report(BOB, Status(550, "5.1.1", text), BOB.host),)), HEADER, [MESSAGE]))
    assert b"-daemon" not in octets
    assert b".lmtp" not in octets.lower()


def test_addresses_outside_ascii() -> None:
    user = Recipient(0, 0, "c", "x", "jörg@example.com")
    octets = b"".join(build(notice(about=envelope(utf8=True), reports=(Report(user, REFUSED),)), HEADER, [MESSAGE]))
    assert "Final-Recipient: utf-8;jörg@example.com".encode() in octets
    assert b"Content-Type: message/global-delivery-status" in octets
    assert b"Content-Type: message/global\r\n" in octets


def test_the_null_sender_gets_nothing() -> None:
    with pytest.raises(ValueError, match="null sender"):
        build(notice(about=envelope(sender="")), HEADER, [MESSAGE])
    with pytest.raises(ValueError, match="nobody"):
        build(notice(reports=()), HEADER, [MESSAGE])


def test_a_reply_text_cannot_add_fields() -> None:
    nasty = Status(550, "5.1.1", "no\r\nX-Injected: 1")
    assert "\nX-Injected" not in status_of(parse(build(notice(reports=(Report(BOB, nasty),)), HEADER, [MESSAGE])))


@pytest.mark.parametrize(
    ("personal", "field", "read"),
    [
        ("Internet Mail Delivery", "Internet Mail Delivery <", "Internet Mail Delivery"),
        ('Mail, "Example" Inc.', '"Mail, \\"Example\\" Inc." <', 'Mail, "Example" Inc.'),
        ("Zustellung für alle", "=?utf-8?", "Zustellung für alle"),
        ("Gr\udcfc\udcdfe", "Gr e <", "Gr e"),
        ("Mail\r\nBcc: a@example.org", '"Mail Bcc: a@example.org" <', "Mail Bcc: a@example.org"),
    ],
    ids=["atoms", "quoted", "encoded", "not UTF-8", "line end"],
)
def test_the_name_in_from_is_a_phrase(personal: str, field: str, read: str) -> None:
    parts = build(replace(notice(), personal=personal), HEADER, (MESSAGE,))
    assert parts[0].startswith(f"From: {field}".encode())
    assert parse(parts)["From"].addresses[0].display_name == read
    assert parse(parts)["Bcc"] is None


def test_a_reply_outside_ascii_leaves_the_part_for_programs_readable() -> None:
    said = Status(550, "5.1.1", "Empfänger (unbekannt")
    octets = b"".join(build(notice(reports=(Report(BOB, said, BOB.host),)), HEADER, [MESSAGE]))
    assert "Diagnostic code: smtp;550 5.1.1 Empfänger (unbekannt".encode() in octets
    assert b"Content-Type: message/delivery-status\r\n" in octets
    assert b"Diagnostic-Code: smtp;550 5.1.1 Empf?nger (unbekannt\r\n" in octets
    own = b"".join(build(notice(reports=(Report(BOB, said),)), HEADER, [MESSAGE]))
    assert b"Status: 5.1.1 (Empf?nger \\(unbekannt)\r\n" in own
    octets = b"".join(build(notice(about=envelope(utf8=True), reports=(Report(BOB, said),)), HEADER, [MESSAGE]))
    assert "Diagnostic-Code: smtp;550 5.1.1 Empfänger (unbekannt\r\n".encode() in octets


def test_a_reply_of_many_lines_is_folded() -> None:
    said = Status(550, "5.1.1", " ".join(f"line-{number}" for number in range(900)))
    octets = b"".join(build(notice(reports=(Report(BOB, said, BOB.host),)), HEADER, [MESSAGE]))
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert f"Diagnostic-Code: smtp;{said}\r\n".encode() in octets.replace(b"\r\n ", b" ")


def test_an_envelope_id_is_printable_ascii() -> None:
    octets = b"".join(build(notice(about=envelope(envid="a+20b+E4+7F+0D")), HEADER, [MESSAGE]))
    assert b"Original-Envelope-Id: a b+E4+7F+0D\r\n" in octets
