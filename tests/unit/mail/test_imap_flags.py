"""IMAP flags on a RCPT line: every value the relay makes is one the server takes, and means the same flags there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.dialogue.parameter import ParameterError, parse_parameters
from posthouse.mail.imap_flags import FLAGS, OCTETS, flags_value, maildir_flags

_KNOWN = frozenset({"XFLAGS"})
_flag = st.one_of(
    st.sampled_from(["\\Seen", "\\FLAGGED", "\\deleted", "\\Answered", "\\Recent", "$Junk", "a,b", "x=y", "+2C", "a+"]),
    st.text(max_size=60),
)


@given(st.lists(_flag, max_size=60))
def test_a_value_is_one_parameter_that_says_the_same(flags: list[str]) -> None:
    value = flags_value(flags)
    assert len(value) <= OCTETS
    if not value:
        return
    taken = parse_parameters(b"XFLAGS=" + value.encode("ascii"), _KNOWN, skip_unknown=False)
    assert taken == {"XFLAGS": value.encode()}
    letters, keywords = maildir_flags(value)
    assert re.fullmatch("D?F?R?S?T?", letters)
    assert len(letters) + len(keywords) <= FLAGS
    assert set(keywords) <= set(flags)
    assert flags_value((*[flag for flag in flags if flag.startswith("\\")], *keywords)) or not (letters or keywords)


def test_letters_are_those_of_maildir_in_their_order() -> None:
    value = flags_value(["\\Seen", "work", "\\deleted", "\\Draft", "\\ANSWERED", "\\Flagged", "WORK", "\\Recent", "a b", "é"])
    assert maildir_flags(value) == ("DFRST", ("work",))
    assert maildir_flags(flags_value(["a,b", "c=d", "e+f", "+2C"])) == ("", ("a,b", "c=d", "e+f", "+2C"))
    assert flags_value([]) == ""


def test_what_does_not_fit_is_left_out() -> None:
    assert len(maildir_flags(flags_value([f"k{number}" for number in range(100)]))[1]) == FLAGS
    value = flags_value([f"{number:050}" for number in range(100)] + ["k" * 51])
    assert len(value) <= OCTETS
    assert len(maildir_flags(value)[1]) == 9


@pytest.mark.parametrize(
    "value", [b"", b",", b"a,", b"\\", b"\\Seen\\", b"a=b", b"a+", b"a+0D", b"a(b", b"a\xff", b"x" * 51, b",".join([b"k"] * 31)]
)
def test_other_values_are_refused(value: bytes) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_parameters(b"XFLAGS=" + value, _KNOWN, skip_unknown=False)
    assert str(caught.value.reply).startswith("501 5.5.4")
