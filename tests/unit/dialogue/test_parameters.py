"""Parameters of MAIL and RCPT: what a relay of ours says is taken by one search, and means what it means in the general way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialogue.parameter import ParameterError, parse_parameters

_KNOWN = frozenset({"SIZE", "XQUOTA", "XDFLG", "XQID"})
_half = st.one_of(st.sampled_from(["-1", "-2", "0", "1G", "-3", ""]), st.integers(0, 10**40).map(str))
_digits = st.one_of(st.integers(0, 10**11).map(str), st.sampled_from(["", "x"]))
_printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)


def taken(*items: bytes, known: frozenset[str] = _KNOWN) -> dict[str, bytes | None] | str:
    """What is read of the items, each by itself, or the first one's refusal."""
    found: dict[str, bytes | None] = {}
    try:
        for item in items:
            found |= parse_parameters(item, known, skip_unknown=False)
    except ParameterError as error:
        return str(error)
    return found


@given(_half, _half, _digits, _printable, st.sampled_from([_KNOWN, _KNOWN - {"XQID"}, _KNOWN - {"XQUOTA"}]))
def test_a_relays_rcpt_is_what_its_items_are(octets: str, messages: str, flags: str, xqid: str, known: frozenset[str]) -> None:
    rest = f"XQUOTA={octets},{messages} XDFLG={flags} XQID={xqid.replace(' ', '')}".encode()
    assert taken(rest, known=known) == taken(*rest.split(), known=known)


@given(_digits)
def test_a_relays_mail_is_what_it_was(digits: str) -> None:
    rest = f"SIZE={digits}".encode()
    assert taken(rest) == taken(rest + b" ")  # the blank makes it go the general way


def test_what_is_not_known_is_refused_or_passed_over() -> None:
    rest = b"XQUOTA=1,2 XDFLG=0 XQID=a.0"
    with pytest.raises(ParameterError, match="not recognized"):
        parse_parameters(rest, frozenset({"XQUOTA", "XDFLG"}), skip_unknown=False)
    assert parse_parameters(rest, frozenset({"XDFLG"}), skip_unknown=True) == {"XDFLG": b"0"}
    assert parse_parameters(b"SIZE=7", frozenset(), skip_unknown=True) == {}
