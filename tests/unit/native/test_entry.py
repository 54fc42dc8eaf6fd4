"""One entry of a mailbox file: its first line, quoting, its end; whole and in pieces."""

import contextlib
import itertools
import mailbox
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.store.native.entry import Quoter, Quoting, entry_of, from_line

NOW = 1_800_000_000.0
BODIES = st.lists(
    st.sampled_from([b"From ", b">", b"Fro", b"m ", b"F", b"\n", b"\n\n", b">From ", b"From", b" ", b"x", b"\r"]), max_size=30
).map(b"".join)


@pytest.mark.parametrize(
    ("quoting", "stored", "expected"),
    [
        (Quoting.MBOXRD, b"From me\n", b">From me\n\n"),
        (Quoting.MBOXRD, b"a\nFrom me\n>From you\n>>From us", b"a\n>From me\n>>From you\n>>>From us\n\n"),
        (Quoting.MBOXRD, b"a\n From me\nFromage\nxFrom y\n", b"a\n From me\nFromage\nxFrom y\n\n"),
        (Quoting.MBOXO, b"a\nFrom me\n>From you\n", b"a\n>From me\n>From you\n\n"),
        (Quoting.NONE, b"a\nFrom me\n", b"a\nFrom me\n\n"),
        (Quoting.MBOXRD, b"", b"\n"),
        (Quoting.MBOXRD, b"no end", b"no end\n\n"),
        (Quoting.MBOXRD, b"blank at the end\n\n", b"blank at the end\n\n\n"),
    ],
)
def test_quoting(quoting: Quoting, stored: bytes, expected: bytes) -> None:
    assert entry_of(b"a@b", stored, quoting, NOW).partition(b"\n")[2] == expected


@given(BODIES, st.lists(st.integers(0, 60)), st.sampled_from(Quoting))
def test_pieces_make_the_same_as_the_whole(stored: bytes, cuts: list[int], quoting: Quoting) -> None:
    whole = Quoter(quoting)
    expected = whole.convert(stored) + whole.end()
    quoter, places = Quoter(quoting), sorted({0, len(stored), *(cut for cut in cuts if cut < len(stored))})
    parts = [quoter.convert(stored[start:end]) for start, end in itertools.pairwise(places)]
    assert b"".join(parts) + quoter.end() == expected


@given(BODIES)
def test_mboxrd_can_be_undone(stored: bytes) -> None:
    quoter = Quoter(Quoting.MBOXRD)
    quoted = quoter.convert(stored) + quoter.end()
    assert not re.search(rb"(?m)^From ", quoted)
    assert re.sub(rb"(?m)^>(>*From )", rb"\1", quoted).startswith(stored)
    assert quoted.endswith(b"\n\n") or not stored


@pytest.mark.parametrize(
    ("sender", "shown"),
    [(b"a@b", b"a@b"), (b"", b"MAILER-DAEMON"), (b'"a b"@c', b'"a?b"@c'), (b"a\x7f\x1b@c", b"a??@c")],
)
def test_the_first_line_cannot_be_ended_by_a_sender(sender: bytes, shown: bytes) -> None:
    line = from_line(sender, NOW)
    assert line.startswith(b"From " + shown + b"  ")
    assert re.fullmatch(rb"\S+ \S+  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\n", line)


def test_python_reads_what_was_written(tmp_path: Path) -> None:
    stored = b"Return-Path: <a@b>\nSubject: one\n\nFrom the start\n>From the past\n\nFrom \n"
    (tmp_path / "box").write_bytes(entry_of(b"a@b", stored, Quoting.MBOXRD, NOW) + entry_of(b"", stored, Quoting.MBOXRD, NOW))
    with contextlib.closing(mailbox.mbox(tmp_path / "box")) as box:
        read = [bytes(message) for message in box]
    assert [re.sub(rb"(?m)^>(>*From )", rb"\1", each) for each in read] == [stored, stored]


FORGED = b"Return-Path: <s@x>\nContent-Length: 1\n and more\nFrom the past\nSubject: x\ncontent-length : 3\n\n"


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"Return-Path: <s@x>\nA: b\n\nFrom me\n>From\n", b"Return-Path: <s@x>\nA: b\nContent-length: 14\n\nFrom me\n>From\n\n"),
        (b"Return-Path: <s@x>\nA: b\n\nno end", b"Return-Path: <s@x>\nA: b\nContent-length: 7\n\nno end\n\n"),
        (b"Return-Path: <s@x>\nA: b\n\n", b"Return-Path: <s@x>\nA: b\nContent-length: 0\n\n\n"),
        (b"Return-Path: <s@x>\nA: no blank line", b"Return-Path: <s@x>\nA: no blank line\nContent-length: 0\n\n\n"),
        (b"Return-Path: <s@x>\n\n\n", b"Return-Path: <s@x>\nContent-length: 1\n\n\n\n"),
        (FORGED + b"x\n", b"Return-Path: <s@x>\n>From the past\nSubject: x\nContent-length: 2\n\nx\n\n"),
        (b"A: " + b"x" * 70_000 + b"\nB: c\n\ny\n", b"A: " + b"x" * 70_000 + b"\nB: c\nContent-length: 2\n\ny\n\n"),
    ],
)
def test_a_content_length_instead_of_quoting(stored: bytes, expected: bytes) -> None:
    assert entry_of(b"s@x", stored, Quoting.LENGTH, NOW) == from_line(b"s@x", NOW) + expected
