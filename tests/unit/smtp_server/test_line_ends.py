"""Channels that take bare LF or CR: the text is made good, and still nothing but CRLF.CRLF ends it."""

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posthouse.dialogue.event import MessageEnd
from posthouse.dialogue.stuffing import count_growth
from posthouse.relay.smtp_server.line_ends import GoodParts
from support.smtp_world import SmtpWorld, relay_files

BOTH = re.compile(rb"(?<!\r)\n|\r(?!\n)")


@pytest.mark.parametrize("size", [10, 400_000], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("keyword", "sent", "kept"),
    [
        ("smtp_lf", b"a\nb\r\nc", b"a\r\nb\r\nc"),
        ("smtp_cr", b"a\rb\r\nc", b"a\r\nb\r\nc"),
        ("smtp_crorlf", b"a\rb\nc\n\rd\r\r\ne", b"a\r\nb\r\nc\r\n\r\nd\r\n\r\ne"),
        ("smtp_lf", b"a\n.\nMAIL FROM:<x>\n", b"a\r\n.\r\nMAIL FROM:<x>\r\n"),
    ],
)
def test_taken_and_made_good(tmp_path: Path, keyword: str, sent: bytes, kept: bytes, size: int) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords=keyword)) as world:
        client = world.hello()
        client.begin("jd@example.com")
        text = b"x" * size
        client.send(b"Subject: s\r\n\r\n" + text + sent + b"\r\n.\r\n")
        assert client.reply().startswith("250 2.5.0 ")
        (queued,) = world.queued()
        assert queued.body.endswith(b"\r\nSubject: s\r\n\r\n" + text + kept + b"\r\n")
        assert queued.envelope.size == len(queued.body)
        assert queued.envelope.wire_growth == count_growth(queued.body)


@pytest.mark.parametrize(("keyword", "sent"), [("smtp_lf", b"a\rb"), ("smtp_cr", b"a\nb"), ("smtp_crorlf", b"a\0b\n")])
def test_what_the_keyword_does_not_name_is_refused(tmp_path: Path, keyword: str, sent: bytes) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords=keyword)) as world:
        client = world.hello()
        client.begin("jd@example.com")
        client.send(b"Subject: s\r\n\r\n" + sent + b"\r\n.\r\n")
        assert client.reply()[:8] in {"550 5.6.", "554 5.6."}
        assert client.ask("NOOP").startswith("250")
        assert world.queued() == []


def test_a_header_with_bare_lf_is_a_header(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="smtp_lf")) as world:
        client = world.hello()
        client.begin("jd@example.com")
        client.send(b"Subject: s\nMessage-ID: <lf@x>\n\ntext\n\r\n.\r\n")
        assert client.reply().startswith("250 2.5.0 ")
        (queued,) = world.queued()
        assert queued.envelope.message_id == "<lf@x>"


@example([b"", b"."])
@given(st.lists(st.binary(max_size=60).filter(lambda block: not block.endswith(b"\r")), max_size=6))
def test_blocks_add_up(blocks: list[bytes]) -> None:
    blocks = [block for place, block in enumerate(blocks) if not (place and block.startswith(b"\n"))]
    parts = GoodParts(BOTH)
    whole = b"".join([parts.part(block) for block in blocks])
    end = parts.end(MessageEnd(0, 0, frozenset(), 0))
    assert (end.size, end.growth) == (len(whole), count_growth(whole))
    assert whole.count(b"\n") == whole.count(b"\r") == whole.count(b"\r\n")
