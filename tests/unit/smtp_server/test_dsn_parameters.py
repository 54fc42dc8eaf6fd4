"""RET, ENVID, NOTIFY and ORCPT are taken and stand in the envelope (RFC 3461)."""

from pathlib import Path

from support.smtp_world import SmtpWorld, relay_files

BODY = b"Subject: x\r\n\r\nhello\r\n"


def test_what_the_sender_wishes_to_hear_is_queued(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.connect()
        assert "250-DSN" in client.ask("EHLO client.outside.test")
        assert client.ask("MAIL FROM:<alice@outside.test> RET=hdrs ENVID=QQ+2B1").startswith("250")
        wishes = "NOTIFY=success,Failure ORCPT=rfc822;John+2BDoe@example.com"
        assert client.ask(f"RCPT TO:<john.doe@example.com> {wishes}").startswith("250")
        assert client.ask("RCPT TO:<ann.smith@example.com>").startswith("250")
        assert client.ask("RCPT TO:<ann.smith@example.com> NOTIFY=NEVER,DELAY").startswith("501 5.5.4")
        assert client.ask("DATA").startswith("354 ")
        client.send(BODY + b".\r\n")
        assert client.reply().startswith("250 2.5.0")
        (message,) = world.queued()
    envelope = message.envelope
    assert (envelope.ret, envelope.envid) == ("HDRS", "QQ+2B1")
    first, second = envelope.recipients[:2]
    assert (first.notify, first.orcpt) == ("SUCCESS,FAILURE", "rfc822;John+2BDoe@example.com")
    assert (second.notify, second.orcpt) == ("", "")
