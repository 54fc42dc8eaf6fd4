import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialogue.event import Fault
from posthouse.mail.envelope import Priority
from posthouse.relay.smtp_server.content import mending, message_id_and_priority, refusal
from posthouse.relay.smtp_server.received import Hop, LoopLimits, looping, received_line

HOP = Hop("client.example.org", "192.0.2.9", "relay1.example.com", "ESMTP", "Posthouse 0.1.0")
DATE = "Mon, 23 Nov 2026 10:00:00 +0000"


def _found(header: bytes) -> tuple[str, Priority]:
    return message_id_and_priority(header, b"\n" + header.lower())


def _looping(header: bytes, host: str, limits: LoopLimits) -> str:
    return looping(header, b"\n" + header.lower(), host, limits)


def test_the_received_field() -> None:
    assert received_line(HOP, "0T8K00A01BCDEF", "bob@example.com", DATE) == (
        b"Received: from client.example.org ([192.0.2.9])\r\n"
        b" by relay1.example.com (Posthouse 0.1.0) with ESMTP id <0T8K00A01BCDEF@relay1.example.com>\r\n"
        b" for bob@example.com; Mon, 23 Nov 2026 10:00:00 +0000\r\n"
    )


def test_several_recipients_are_not_shown() -> None:
    assert b" for " not in received_line(HOP, "ID", "", DATE)


@pytest.mark.parametrize("helo", ["evil)\r\nX-Injected: yes", "a b", "", "\x00", "(comment)", "ü.example"])
def test_what_a_client_calls_itself_cannot_break_the_field(helo: str) -> None:
    line = received_line(Hop(helo, "::1", "r", "SMTP", "P"), "ID", "", DATE)
    assert line.startswith(b"Received: from unknown ([IPv6:::1])\r\n by r ")
    assert line.count(b"\r\n") == 2


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        ({Fault.NUL}, "5.6.0"),
        ({Fault.BAD_HEADER}, "5.6.0"),
        ({Fault.BARE_LF}, "5.6.11"),
        ({Fault.BARE_CR, Fault.NUL}, "5.6.11"),
    ],
)
def test_what_a_store_would_refuse_is_refused_here(faults: set[Fault], code: str) -> None:
    status = refusal(faults)
    assert status is not None
    assert status.is_permanent
    assert status.enhanced == code


@pytest.mark.parametrize(
    ("faults", "size", "ending", "added"),
    [
        (set(), 10, b"\r\n", b""),
        (set(), 10, b"xy", b"\r\n"),
        ({Fault.NO_BLANK_LINE}, 10, b"\r\n", b"\r\n"),
        ({Fault.NO_BLANK_LINE}, 10, b"xy", b"\r\n\r\n"),
        (set(), 0, b"", b"\r\n"),
    ],
)
def test_missing_line_ends_are_added(faults: set[Fault], size: int, ending: bytes, added: bytes) -> None:
    assert refusal(faults) is None
    assert mending(faults, size, ending) == added


def test_message_id_and_priority_are_read_from_the_header() -> None:
    header = b"Subject: x\r\nMESSAGE-id:\r\n <a@b>\r\nPriority: Urgent\r\n"
    assert _found(header) == ("<a@b>", Priority.URGENT)
    assert _found(b"Subject: Message-ID: <no@no>\r\n") == ("", Priority.NORMAL)


def _hops(count: int, by: str) -> bytes:
    return b"".join(b"Received: from x\r\n by %s (P) with SMTP; date\r\n" % by.encode() for _ in range(count))


def test_a_loop_through_this_host_is_found() -> None:
    limits = LoopLimits()
    assert _looping(_hops(10, "relay1.example.com"), "relay1.example.com", limits) == ""
    assert _looping(_hops(11, "relay1.example.com"), "relay1.example.com", limits) == "11 Received lines of this host"
    assert _looping(_hops(11, "other.example.com"), "relay1.example.com", limits) == ""
    assert _looping(_hops(51, "other.example.com"), "relay1.example.com", limits) == "51 Received lines"


LINES = st.lists(
    st.sampled_from(
        [
            b"Message-ID: <a@B.test>", b"MESSAGE-id\t:<b@c>  ", b"message-id:", b"Message-ID:\r\n <folded@x>",
            b"X-Message-ID: <no@no>",
            b"Priority: Urgent", b"PRIORITY:non-urgent", b"priority: other", b" Message-ID: <continued@x>",
            b"Subject: \xc4\xd6 x", b"",
        ]
    ),
    max_size=6,
)  # fmt: skip


@given(lines=LINES)
def test_fields_are_found_in_any_case_and_only_where_lines_begin(lines: list[bytes]) -> None:
    header = b"".join(line + b"\r\n" for line in lines)
    fields = re.findall(rb"(?im)^(message-id|priority)[ \t]*:[ \t]*((?:\r\n[ \t]+)?[^\r\n]*)", header)
    ids = [value.strip().decode() for name, value in fields if name.lower() == b"message-id" and value.strip()]
    words = [value.strip().lower() for name, value in fields if name.lower() == b"priority"]
    known = {b"urgent": Priority.URGENT, b"non-urgent": Priority.NON_URGENT}
    wanted = known.get(words[-1], Priority.NORMAL) if words else Priority.NORMAL
    assert _found(header) == (ids[0] if ids else "", wanted)
