import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.mail.envelope import Envelope, Priority, Recipient
from posthouse.relay.queue.queue_format import (
    Attempt,
    DamagedQueueFile,
    State,
    decode_head,
    decode_history,
    encode_head,
    encode_history,
    escape,
    new_boundary,
    unescape,
)

BOUNDARY = new_boundary("A" * 18)
any_text = st.text(st.characters(codec="utf-8"), max_size=30)
address = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    host = draw(any_text)
    recipients = tuple(
        Recipient(at, 3, "tcp_lmtpcs", draw(address), draw(any_text), host, draw(any_text), draw(any_text), draw(any_text),
                  draw(st.integers(0, 2**31)), draw(any_text), task=draw(any_text), imap_flags=draw(any_text))
        for at in draw(st.lists(st.integers(0, 65535), min_size=1, max_size=4, unique=True))
    )  # fmt: skip
    return Envelope(
        "A" * 18, draw(any_text), draw(any_text), draw(any_text), draw(st.integers(0, 2**45)), draw(st.integers(0, 2**40)),
        recipients, draw(any_text), draw(st.sampled_from(Priority)), draw(st.booleans()), draw(st.booleans()),
        draw(any_text), draw(any_text), draw(any_text), draw(st.integers(0, 2**30)), draw(any_text),
    )  # fmt: skip


@given(envelopes(), st.none() | st.integers(0, 2**32 - 1))
def test_what_is_written_reads_back(envelope: Envelope, crc: int | None) -> None:
    octets = encode_head(envelope, envelope.recipients, BOUNDARY, crc)
    found = decode_head(octets + b"body\n", "tcp_lmtpcs", 3)
    assert found is not None
    assert found.envelope == envelope
    assert found.body_offset == len(octets)
    assert found.body_crc == crc
    assert found.open_ids == tuple(each.id for each in envelope.recipients)
    assert all(octets[at : at + 1] == b"T" for at in found.state_offsets.values())


@given(any_text)
def test_escaped_text_is_one_line_and_comes_back(text: str) -> None:
    line = escape(text)
    assert not set(line) & set("\r\n\0")
    assert unescape(line) == text


def head(**changes: bytes) -> bytes:
    recipients = Recipient(0, 0, "c", "k;a@b", "o", "h"), Recipient(1, 0, "c", "x@y", "o", "h")
    envelope = Envelope("A" * 18, "s@example.com", "tcp_local", "", 1, 5, recipients)
    octets = encode_head(envelope, envelope.recipients, BOUNDARY, zlib.crc32(b"body\n"))
    for before, after in changes.items():
        octets = octets.replace(before.encode().replace(b"_", b";"), after)
    return octets


def test_states_are_read_where_they_stand() -> None:
    octets = bytearray(head())
    found = decode_head(bytes(octets), "c", 0)
    assert found is not None
    octets[found.state_offsets[1]] = ord("D")
    again = decode_head(bytes(octets), "c", 0)
    assert again is not None
    assert again.states == {0: State.TO_DO, 1: State.DONE}
    assert again.open_ids == (0,)


def test_unknown_letters_are_passed_over() -> None:
    found = decode_head(head(i_=b"X;new\ni;"), "c", 0)
    assert found is not None
    assert found.envelope.id == "A" * 18


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v_1": b"v;2"}, "v;1"),
        ({"z_5": b"z;five"}, "z; is not a number"),
        ({"z_5\n": b""}, "z; is not a number"),
        ({"k_T0": b"k;?0"}, "unknown recipient state"),
        ({"k_T1": b"k;T0"}, "stands there twice"),
        ({"b_": b"b;xyz"}, "not a crc"),
    ],
)
def test_a_damaged_head_is_refused_with_a_reason(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(DamagedQueueFile, match=reason):
        decode_head(head(**changes), "c", 0)


def test_a_recipient_without_address_has_no_end() -> None:
    assert decode_head(head(**{"x@y\n": b""}), "c", 0) is None


def test_a_truncated_head_asks_for_more() -> None:
    octets = head()
    assert all(decode_head(octets[:end], "c", 0) is None for end in range(len(octets)))


def test_history_reads_back_and_torn_lines_are_passed_over() -> None:
    lines = [Attempt(1, 1, 0, "4.2.0", 420, "Mailbox Locked; try\r\nlater", "store1"), Attempt(2, 2, 1, "", 451, "", "")]
    octets = encode_history(lines)
    found = decode_history(octets + b"H;3;torn")
    assert found == [Attempt(1, 1, 0, "4.2.0", 420, "Mailbox Locked, try\r\nlater", "store1"), lines[1]]
