"""What a submission's header gets and loses, and that nothing else is touched."""

import base64
import re
from pathlib import Path

import pytest

from posthouse.config.instance import Instance
from posthouse.relay.smtp_server.submission import mending
from support.smtp_world import Client, SmtpWorld, relay_files

WHOLE = (
    b"Date: Mon, 23 Nov 2026 10:00:00 +0100\r\nMessage-ID: <own@example.com>\r\nFrom: John <john.doe@example.com>\r\n"
    b"To: someone@far.test\r\n\r\nText\r\nBcc: not a field\r\n"
)
TRACE = re.compile(rb"Received: [^\r]+\r\n by [^\r]+\r\n for [^\r]+\r\n")


def submission(folder: Path, keywords: str = "submit mustsaslserver") -> Instance:
    return relay_files(
        folder, keywords=keywords, options="AUTH_IN_CLEAR=1\n", passwords={"jdoe": "secret"},
        imta="\ntcp_auth smtp\ntcp_auth-daemon\n",
    )  # fmt: skip


def logged_in(world: SmtpWorld) -> Client:
    client = world.hello()
    assert client.ask("AUTH PLAIN " + base64.b64encode(b"\0jdoe\0secret").decode()).startswith("235 ")
    return client


def sent(folder: Path, body: bytes) -> tuple[bytes, str]:
    with SmtpWorld(submission(folder)) as world:
        assert logged_in(world).message(body, "john.doe@example.com", sender="john.doe@example.com").startswith("250 ")
        (message,) = world.queued()
    assert len(message.body) == message.envelope.size
    match = TRACE.match(message.body)
    assert match, message.body[:300]
    return message.body[match.end() :], message.envelope.message_id


def test_a_whole_header_is_not_touched(tmp_path: Path) -> None:
    assert sent(tmp_path, WHOLE) == (WHOLE, "<own@example.com>")


def test_date_and_message_id_are_added(tmp_path: Path) -> None:
    body = b"From: jd@example.com\r\nSubject: x\r\n\r\nDate: none\r\n"
    octets, message_id = sent(tmp_path, body)
    added = octets.removesuffix(body)
    assert re.fullmatch(rb"Date: \w+, \d+ \w+ \d{4} [\d:]+ [+-]\d{4}\r\nMessage-ID: <[0-9A-Z]{18}@relay1.example.com>\r\n", added)
    assert message_id.encode() in added


def test_bcc_is_taken_out_and_folded_lines_with_it(tmp_path: Path) -> None:
    body = WHOLE.replace(b"To: ", b"bcc: a@b.test,\r\n c@d.test\r\nResent-Bcc: <e@f.test>\r\nBCC:\r\nTo: ")
    assert sent(tmp_path, body) == (WHOLE, "<own@example.com>")


def test_a_message_that_streams_is_mended_too(tmp_path: Path) -> None:
    text = b"a line of the message\r\n" * 30_000
    octets, message_id = sent(tmp_path, b"From: john.doe@example.com\r\nBcc: a@b.test\r\nSubject: big\r\n\r\n" + text)
    added, _, rest = octets.partition(b"From: ")
    assert added.startswith(b"Date: ")
    assert rest == b"john.doe@example.com\r\nSubject: big\r\n\r\n" + text
    assert message_id.encode() in added


@pytest.mark.parametrize(
    ("header", "added", "kept"),
    [
        (b"From: boss@example.com\r\n", b"Sender: john.doe@example.com\r\n", b"From: boss@example.com\r\n"),
        (b"From: boss@example.com\r\nSender: JD@example.com\r\n", b"", None),
        (b"From: boss@example.com\r\nSender: x@y.test\r\n", b"Sender: john.doe@example.com\r\n", b"From: boss@example.com\r\n"),
        (b"From: jd@EXAMPLE.com\r\nSender: x@y.test\r\n", b"", b"From: jd@EXAMPLE.com\r\n"),
        (b"From: =?utf-8?q?J?= <john.doe@example.com>\r\n", b"", None),
        (b"From: boss@example.com,\r\n John Doe\r\n <john.doe@example.com>\r\n", b"", None),
        (b"Subject: no author\r\n", b"", None),
        (b"From: \xff\xfe\r\n", b"Sender: john.doe@example.com\r\n", None),
    ],
)
def test_sender_names_who_has_logged_in(header: bytes, added: bytes, kept: bytes | None) -> None:
    header = b"Date: x\r\nMessage-ID: <y>\r\n" + header
    addresses = frozenset({"john.doe@example.com", "jd@example.com"})
    plan = mending(header, user="john.doe@example.com", addresses=addresses, date="now", message_id="<id>")
    assert plan.added == added
    assert plan.apply(header) == (header if kept is None else b"Date: x\r\nMessage-ID: <y>\r\n" + kept)
    assert mending(header, user="", addresses=frozenset(), date="now", message_id="<id>").added == b""


def test_other_channels_change_nothing(tmp_path: Path) -> None:
    body = b"From: boss@example.com\r\nBcc: a@b.test\r\n\r\nText\r\n"
    with SmtpWorld(relay_files(tmp_path)) as world:
        assert world.hello().message(body, "john.doe@example.com").startswith("250 ")
        (message,) = world.queued()
    assert message.body.endswith(b"\r\n" + body)
