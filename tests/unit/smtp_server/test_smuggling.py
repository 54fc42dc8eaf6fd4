"""SMTP smuggling (CVE-2023-51764 and its relatives), end to end: 550 5.6.11, end of file, nothing queued."""

from pathlib import Path

import pytest

from posthouse.trace.record import Action
from support.smtp_world import SmtpWorld, relay_files

SMUGGLED = b"MAIL FROM:<evil@outside.test>\r\nRCPT TO:<jd@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
ENDINGS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\r\n.\n",
    b"\r\n.\r\r\n",
    b"\r\n\r.\n",
    b"\n\n.\r\r\n",
]


@pytest.mark.parametrize("size", [10, 400_000], ids=["whole", "streamed"])
@pytest.mark.parametrize("ending", ENDINGS, ids=repr)
def test_nothing_but_crlf_dot_crlf_ends_a_message(tmp_path: Path, ending: bytes, size: int) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.begin("ann.smith@example.com")
        client.send(b"Subject: outer\r\n\r\n" + b"x" * size + ending + SMUGGLED)
        assert client.reply() == "550 5.6.11 bare CR or LF in message data"
        assert client.at_end()
        assert [each.od for each in world.records(Action.REFUSED)] == ["rfc822;ann.smith@example.com"]
        assert list((world.instance.journal / "body").iterdir()) == []
        assert world.queued() == []


def test_the_refusal_is_heard_although_the_client_goes_on_sending(tmp_path: Path) -> None:
    """Closing over unread octets would reset the connection and take the reply away."""
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.begin("ann.smith@example.com")
        client.send(b"Subject: outer\r\n\r\n\n.\n\r\n.\r\n" + b"NOOP\r\n" * 20_000)
        assert client.reply() == "550 5.6.11 bare CR or LF in message data"
        client.send(b"NOOP\r\n" * 20_000)
        assert client.at_end()


def test_a_chunk_may_not_hold_them_either(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<jd@example.com>\r\nBDAT 17 LAST\r\nSubject: x\n\nbare\nQUIT\r\n")
        assert [each[:10] for each in client.replies(3)] == ["250 2.5.0 ", "250 2.1.5 ", "550 5.6.11"]
        assert client.at_end()
        assert world.queued() == []


def test_text_sent_before_354_is_no_message(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<jd@example.com>\r\nDATA\r\nSubject: too early\r\n\r\nx\r\n.\r\n")
        assert [each[:9] for each in client.replies(3)] == ["250 2.5.0", "250 2.1.5", "554 5.5.0"]
        assert client.at_end()
        assert len(world.records(Action.REFUSED)) == 1
        assert world.queued() == []
