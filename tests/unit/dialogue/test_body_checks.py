"""The checks over whole buffers agree with the same rules spelled out line by line."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue.body import Allowance, Body, check_line_ends, first_dot
from posthouse.dialogue.event import Fault, Message, MessageEnd
from posthouse.dialogue.header import MAX_LINE, HeaderCheck, check_header

_crumbs = st.lists(
    st.sampled_from(
        [
            b"\r",
            b"\n",
            b"\r\n",
            b"\0",
            b"a",
            b"a: b\r\n",
            b" x\r\n",
            b"\r\n\r\n",
            b"From x\r\n",
            b":",
            b" ",
            b"\t",
            b".",
            b"\xe9:",
        ]
    ),
    max_size=20,
).map(b"".join)


def plain_line_ends(data: bytes) -> set[Fault]:
    faults = set()
    for place, octet in enumerate(data):
        if octet == 0:
            faults.add(Fault.NUL)
        if octet == 10 and data[place - 1 : place] != b"\r":
            faults.add(Fault.BARE_LF)
        if octet == 13 and data[place + 1 : place + 2] != b"\n":
            faults.add(Fault.BARE_CR)
    return faults


def plain_header(data: bytes) -> tuple[Fault | None, int]:
    seen = 0
    while seen < len(data):
        line, end, _ = data[seen:].partition(b"\n")
        if line in {b"", b"\r"} and end:
            return None, seen
        name = line.partition(b":")[0]
        named = b":" in line and name and all(octet > 0x20 for octet in name)
        if not end or not (named or line[:1] in {b" ", b"\t"} or line.startswith(b"From ")):
            return Fault.BAD_HEADER, seen
        seen += len(line) + 1
    return (Fault.NO_BLANK_LINE if seen else None), seen


@given(_crumbs)
@settings(max_examples=500)
def test_line_ends(data: bytes) -> None:
    faults, lf = check_line_ends(data)
    assert faults == plain_line_ends(data)
    assert lf == (data.replace(b"\r\n", b"\n") if not faults else None)


@given(_crumbs, st.integers(0, 12))
@settings(max_examples=500)
def test_first_dot(data: bytes, start: int) -> None:
    data = data.replace(b":", b"\r\n.")
    assert first_dot(data, start) == data.find(b"\r\n.", start)


@pytest.mark.parametrize("dots", [0, 31, 32, 33, 200])
def test_first_dot_behind_many(dots: int) -> None:
    for data in (b"a.b" * dots, b"a.b" * dots + b"\r\n.\r\n", b"a.b" * dots + b"\r\n.x" + b"\r\n.\r\n"):
        assert first_dot(data, 0) == data.find(b"\r\n.")


@given(_crumbs)
@settings(max_examples=500)
def test_header(data: bytes) -> None:
    assert check_header(data) == plain_header(data)


@given(_crumbs, st.lists(st.integers(1, 5), max_size=30))
@settings(max_examples=500)
def test_header_in_parts(data: bytes, cuts: list[int]) -> None:
    check, rest = HeaderCheck(), data
    for cut in cuts:
        check.feed(rest[:cut])
        rest = rest[cut:]
    check.feed(rest)
    check.finish()
    assert (check.fault, check.end) == plain_header(data)


@pytest.mark.parametrize("cut", [1000, 100_000, 1 << 18, 10_000_000])
@pytest.mark.parametrize(
    ("length", "fault"), [(MAX_LINE, None), (MAX_LINE + 1, Fault.BAD_HEADER), (3 * MAX_LINE, Fault.BAD_HEADER)]
)
def test_the_longest_header_line(length: int, fault: Fault | None, cut: int) -> None:
    data = b"a: b\r\n" + b"c:".ljust(length - 1, b"x") + b"\r\n\r\nbody"
    check = HeaderCheck()
    for start in range(0, len(data), cut):
        check.feed(data[start : start + cut])
    check.finish()
    assert (check.fault, check.end) == (fault, 6 if fault else 6 + length + 1)


@given(_crumbs, st.integers(0, 12), st.sampled_from([0, 4, 1000]), st.booleans(), st.lists(st.integers(1, 5), max_size=20))
@settings(max_examples=500)
def test_body_by_data(data: bytes, limit: int, spill: int, on_wire: bool, cuts: list[int]) -> None:
    data = data + b"\r\n" if data and not data.endswith(b"\r\n") else data
    lines = data.split(b"\r\n")
    wire = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    body = Body(spill, Allowance(limit, on_wire, 0), dotted=True)
    parts, rest, ended = b"", wire + b".\r\nNEXT", False
    for cut in [*cuts, len(rest)]:
        stopped, ended = body.take(rest[:cut], 0)
        parts += b"".join(part.data for part in body.take_parts())
        if ended:
            rest = rest[stopped:]
            break
        rest = rest[cut:]
    assert ended
    assert rest == b"NEXT"
    assert body.exceeded == (0 < limit < len(wire if on_wire else data))
    if body.exceeded:
        return
    result = body.result
    whole = len(wire) <= spill
    assert isinstance(result, Message if whole else MessageEnd)
    assert (result.data if isinstance(result, Message) else parts) == data
    assert result.growth == len(wire) - len(data)
    header_fault, header_end = plain_header(data)
    assert result.header_end == header_end
    assert result.faults == plain_line_ends(data) | ({header_fault} if header_fault else set())


@given(
    st.lists(st.sampled_from([b"x" * 30_000, b"\r\n.", b"\r\n", b"\r", b".", b"\r\n..", b"a.b", b"\n", b"\r\n.\r"]), max_size=20),
    st.lists(st.integers(1, 150_000), max_size=8),
)
@settings(max_examples=100)
def test_blocks_of_a_streamed_body(pieces: list[bytes], cuts: list[int]) -> None:
    """Large reads of a streamed body are looked at where they are: the same octets as when all is gathered."""
    data = b"a: b\r\n\r\n" + b"x" * 70_000 + b"".join(pieces) + b"\r\n"
    wire = data.replace(b"\r\n.", b"\r\n..") + b".\r\nNEXT"
    body, parts, rest, ended = Body(60_000, Allowance(0, on_wire=False, keep=0), dotted=True), [], wire, False
    for cut in [*cuts, len(rest)]:
        stopped, ended = body.take(rest[:cut], 0)
        parts += body.take_parts()
        if ended:
            rest = rest[stopped:]
            break
        rest = rest[cut:]
    assert (ended, rest) == (True, b"NEXT")
    assert b"".join(part.data for part in parts) == data
    assert all(part.lf in {None, part.data.replace(b"\r\n", b"\n")} for part in parts)
    result = body.result
    assert isinstance(result, MessageEnd)
    assert (result.growth, result.size) == (data.count(b"\r\n."), len(data))
    assert result.faults == plain_line_ends(data)
