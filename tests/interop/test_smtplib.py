"""Python's own clients: smtplib.SMTP on the relay, smtplib.LMTP on a store."""

import smtplib
from email.message import EmailMessage
from email.policy import SMTPUTF8

import pytest

from posthouse.testing.tiers import TwoTiers
from support.interop_tiers import arrived, lmtp, mail, maildir, messages, smtp


def test_smtp_sendmail_names_the_refused_recipients(tiers: TwoTiers) -> None:
    with smtp(tiers.relay) as client:
        refused = client.sendmail(
            "a@outside.test", ["john.doe@example.com", "gone@hosted.example.org"], mail("smtplib-one"), ["BODY=8BITMIME"]
        )
        assert refused == {"gone@hosted.example.org": (550, b"5.1.6 recipient no longer on server: gone@hosted.example.org")}
        assert client.noop()[0] == 250
    (octets,) = arrived(tiers.stores[0], "jdoe", "Subject: smtplib-one")
    assert octets.endswith(b"\n\nSomething to read.\n")
    assert b"\nReceived: from outside.test" in octets


def test_smtp_lists_only_what_it_does(tiers: TwoTiers) -> None:
    """DSN is one of them: NOTIFY=SUCCESS for a recipient, and only for that one, brings a notice of success."""
    with smtp(tiers.relay) as client:
        client.ehlo()
        features = {"pipelining", "8bitmime", "smtputf8", "size", "enhancedstatuscodes", "chunking", "dsn"}
        assert features == set(client.esmtp_features)
        assert client.mail("john.doe@example.com", ["RET=HDRS", "ENVID=smtplib-dsn"])[0] == 250
        assert client.rcpt("ann.smith@example.com", ["NOTIFY=SUCCESS", "ORCPT=rfc822;Ann@example.com"])[0] == 250
        assert client.rcpt("jim.berge@example.com", ["NOTIFY=NEVER"])[0] == 250
        assert client.data(b"Subject: smtplib-dsn\r\n\r\ntext\r\n")[0] == 250
    (notice,) = arrived(tiers.stores[0], "jdoe", "smtplib-dsn")
    assert b"Original-Envelope-Id: smtplib-dsn" in notice
    assert b"Action: delivered" in notice
    assert b"jim.berge" not in notice


def test_smtp_send_message_with_utf8_addresses(tiers: TwoTiers) -> None:
    message = EmailMessage(policy=SMTPUTF8)
    message["From"], message["To"], message["Subject"] = "zoë@outside.test", "jürgen@example.com", "smtplib-utf8 ä"
    message.set_content("Grüße\n.\n..\n")
    with smtp(tiers.relay) as client:
        assert client.send_message(message) == {}
    (octets,) = arrived(tiers.stores[1], "juergen", "smtplib-utf8")
    assert octets.startswith("Return-Path: <zoë@outside.test>\n".encode())
    assert octets.endswith("\n\nGrüße\n.\n..\n".encode())


def test_lmtp_answers_for_each_recipient(tiers: TwoTiers) -> None:
    store = tiers.stores[0]
    with lmtp(store) as client:
        client.ehlo()  # LHLO
        assert {"xquota", "xdflg", "size", "pipelining"} <= set(client.esmtp_features)
        assert client.mail("a@outside.test", ["SIZE=500"])[0] == 250
        assert client.rcpt("smtplib1@example.com", ["xquota=1000000,10"])[0] == 250
        assert client.rcpt("smtplib2@example.com", ["xquota=10,1"])[0] == 250
        assert client.rcpt("smtplib1+Lists/python@example.com", ["xdflg=1"])[0] == 250
        assert client.data(mail("smtplib-lmtp")) == (250, b"2.5.0 <smtplib1@example.com> OK")
        assert client.getreply() == (422, b"4.2.2 <smtplib2@example.com> Quota Exceeded")
        assert client.getreply() == (250, b"2.5.0 <smtplib1+Lists/python@example.com> OK")
    assert len(messages(store, "smtplib1", "Subject: smtplib-lmtp")) == 1
    assert len(messages(store, "smtplib1", "Subject: smtplib-lmtp", "Lists/python")) == 1
    assert messages(store, "smtplib2", "Subject: smtplib-lmtp") == []
    assert (maildir(store, "smtplib1") / "maildirsize").read_text().splitlines()[0] == "1000000S,10C"


def test_lmtp_sendmail(tiers: TwoTiers) -> None:
    store = tiers.stores[1]
    with lmtp(store) as client:
        for number in range(5):
            assert client.sendmail("", ["smtplib3"], mail(f"smtplib-{number}-bounce")) == {}
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("", ["../smtplib3"], mail("smtplib-bad"))
        assert refused.value.smtp_code == 511
    (octets, *_) = arrived(store, "smtplib3", "-bounce", count=5)
    assert octets.startswith(b"Return-Path: <>\n")


def test_lmtp_too_big_a_message_is_refused_before_it_is_sent(tiers: TwoTiers) -> None:
    with lmtp(tiers.stores[0]) as client:
        client.ehlo()
        limit = int(client.esmtp_features["size"])
        code, text = client.mail("a@outside.test", [f"SIZE={limit + 1}"])
        assert (code, text.split()[0]) == (552, b"5.3.4")
        assert client.mail("a@outside.test", [f"SIZE={limit}"])[0] == 250
