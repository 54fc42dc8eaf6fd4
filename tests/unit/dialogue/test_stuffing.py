"""Stuffing: undone by the server's rule, the same for every cut."""

from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialogue.stuffing import Stuffer, count_growth, on_wire, stuff, wire_size

_bodies = st.lists(st.sampled_from([b".", b"\r\n", b"\r", b"\n", b"x", b".."]), max_size=25).map(b"".join)


@given(_bodies, st.lists(st.integers(0, 9), max_size=20))
def test_a_stream_gives_what_the_whole_gives(body: bytes, cuts: list[int]) -> None:
    stuffer = Stuffer()
    out, rest = b"", body
    for cut in cuts:
        out += stuffer.feed(rest[:cut])
        rest = rest[cut:]
    out += stuffer.feed(rest) + stuffer.finish()
    assert out == on_wire(body)


@given(_bodies)
def test_the_end_is_found_once_and_at_the_end(body: bytes) -> None:
    wire = b"\r\n" + on_wire(body)
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5
    assert len(stuff(body)) == len(body) + count_growth(body)
    assert len(wire) - 2 - 3 <= wire_size(len(body), count_growth(body))
