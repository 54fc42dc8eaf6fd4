"""Our relay delivers into Dovecot's LMTP server, which refuses the parameters xquota and xdflg it does not list."""

from typing import Any

from support.family_rig import wait_for
from support.interop_daemon import needs_root
from support.interop_dovecot import fetch, found
from support.interop_foreign import ForeignStores
from support.interop_tiers import mail, smtp

pytestmark = needs_root


def test_delivered_mail_is_seen_by_imap(foreign: ForeignStores) -> None:
    body = mail("dovecot-lmtp") + b".\r\n..two\r\nlast\r\n"
    with smtp(foreign.relay) as client:
        assert client.sendmail("a@outside.test", ["john.doe@example.com", "jim.berge@example.com"], body) == {}
    for user in ("jdoe", "jberge"):
        with foreign.dovecot.imap(user) as imap:
            imap.select()
            wait_for(lambda imap=imap: imap.noop() and found(imap, "SUBJECT", "dovecot-lmtp"))  # type: ignore[misc]
            (octets, _) = fetch(imap, "1", "(BODY.PEEK[])")
            assert octets.endswith(body.partition(b"\r\n\r\n")[2])
            assert b"Return-Path: <a@outside.test>\r\n" in octets


def test_one_transaction_with_a_reply_for_each(foreign: ForeignStores) -> None:
    with smtp(foreign.relay) as client:
        client.sendmail("a@outside.test", ["john.doe@example.com", "jim.berge@example.com"], mail("dovecot-each"))

    def delivered() -> list[dict[str, Any]]:
        lines = foreign.relay.json("trace", "<dovecot-each@outside.test>")
        replies = [line["reply"] for line in lines if line["action"] == "D"]
        return replies if len(replies) == 2 else []

    replies = wait_for(delivered)
    # each reply names its recipient and Dovecot's session, then ":T2" from the second transaction on, then ":R2"
    # from the second recipient on
    words = [reply["text"].split() for reply in replies]
    assert {reply["code"] for reply in replies} == {250}
    assert {first for first, _, _ in words} == {"<jdoe>", "<jberge>"}
    assert {last for _, _, last in words} == {"Saved"}
    assert len({session.partition(":R")[0] for _, session, _ in words}) == 1


def test_a_subaddress_and_eight_bit_mail(foreign: ForeignStores) -> None:
    message = mail("dovecot-eight") + "Grüße\r\n".encode()
    with smtp(foreign.relay) as client:
        assert client.sendmail("a@outside.test", ["info@hosted.example.org"], message, ["BODY=8BITMIME"]) == {}
    with foreign.dovecot.imap("info@hosted.example.org") as imap:
        imap.select()
        wait_for(lambda: imap.noop() and found(imap, "SUBJECT", "dovecot-eight"))
        assert fetch(imap, "1", "(BODY.PEEK[TEXT])")[0].endswith("Grüße\r\n".encode())
