"""message/partial: which part it is, and the whole that RFC 2046 prints (5.2.2.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.mail.partial import MAX_PARTS, Fragment, fragment_of, joined, whole_header

FIRST = (
    b"X-Weird-Header-1: Foo\r\nFrom: Bill@host.com\r\nTo: joe@otherhost.com\r\nDate: Fri, 26 Mar 1993 12:59:38 -0500 (EST)\r\n"
    b"Subject: Audio mail (part 1 of 2)\r\nMessage-ID: <id1@host.com>\r\nMIME-Version: 1.0\r\n"
    b'Content-type: message/partial; id="ABC@host.com";\r\n              number=1; total=2\r\n\r\n'
    b"X-Weird-Header-1: Bar\r\nX-Weird-Header-2: Hello\r\nMessage-ID: <anotherid@foo.com>\r\nSubject: Audio mail\r\n"
    b"MIME-Version: 1.0\r\nContent-type: audio/basic\r\nContent-transfer-encoding: base64\r\n\r\n  first half\r\n"
)
SECOND = (
    b"From: Bill@host.com\r\nTo: joe@otherhost.com\r\nSubject: Audio mail (part 2 of 2)\r\nMIME-Version: 1.0\r\n"
    b'Message-ID: <id2@host.com>\r\nContent-type: message/partial;\r\n id="ABC@host.com"; number=2; total=2\r\n\r\n'
    b"  second half\r\n"
)
WHOLE = (
    b"X-Weird-Header-1: Foo\r\nFrom: Bill@host.com\r\nTo: joe@otherhost.com\r\nDate: Fri, 26 Mar 1993 12:59:38 -0500 (EST)\r\n"
    b"Message-ID: <anotherid@foo.com>\r\nSubject: Audio mail\r\nMIME-Version: 1.0\r\nContent-type: audio/basic\r\n"
    b"Content-transfer-encoding: base64\r\n\r\n  first half\r\n  second half\r\n"
)


def header(parameters: str) -> bytes:
    return f"Subject: x\r\nContent-Type: message/partial{parameters}\r\nTo: y@example.com\r\n\r\n".encode()


def test_the_example_of_the_standard() -> None:
    assert fragment_of(FIRST[: FIRST.index(b"\r\n\r\n") + 4]) == Fragment("ABC@host.com", 1, 2)
    assert fragment_of(SECOND[: SECOND.index(b"\r\n\r\n") + 4]) == Fragment("ABC@host.com", 2, 2)
    assert joined([FIRST, SECOND]) == WHOLE


@pytest.mark.parametrize(
    ("parameters", "fragment"),
    [
        ("; number=2; id=a", Fragment("a", 2, 0)),
        (';Total=3 ; NUMBER = "1";id="a \\"b\\";c"', Fragment('a "b";c', 1, 3)),
        ("; id=a; number=1; total=1; x=y;", Fragment("a", 1, 1)),
        (f"; id=a; number=1; total={MAX_PARTS}", Fragment("a", 1, MAX_PARTS)),
        (f"; id=a; number=1; total={MAX_PARTS + 1}", None),
        ("", None),
        ("; number=1", None),
        ("; id=a", None),
        ('; id=""; number=1', None),
        ("; id=a; number=0; total=2", None),
        ("; id=a; number=3; total=2", None),
        ("; id=a; number=-1", None),
        ("; id=a; number=x", None),
        ("; id=a; number=1; number=2", None),
        ("; id=a; number=1; total=99999999999999999999", None),
        ("; id=a; number=1 rubbish", None),
        ("; id=a; number=1; x=" + "y" * 3000, None),
        ("\r\nContent-Type: message/partial; id=b; number=1", None),
    ],
)
def test_parameters(parameters: str, fragment: Fragment | None) -> None:
    assert fragment_of(header(parameters)) == fragment


def test_other_mail_is_none() -> None:
    assert fragment_of(b"Subject: message/partial; id=a; number=1\r\nContent-Type: text/plain\r\n\r\n") is None
    assert fragment_of(b"\r\n") is None


def test_what_is_no_field_is_passed_over() -> None:
    assert whole_header(b"A: 1\r\nSubject: out\r\n", b"no field\r\nbad Subject: x\r\nSubject: in\r\n\tside\r\nB: 2\r\n") == (
        b"A: 1\r\nSubject: in\r\n\tside\r\n"
    )


def test_a_first_part_that_is_header_only() -> None:
    assert joined([b"A: 1\r\n\r\nSubject: s\r\n", b"B: 2\r\n\r\nrest\r\n"]) == b"A: 1\r\nSubject: s\r\n\r\nrest\r\n"


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_bodies_are_kept_octet_for_octet(bodies: list[bytes]) -> None:
    parts = [b"A: 1\r\n\r\nSubject: s\r\n\r\n" + bodies[0], *(b"B: 2\r\n\r\n" + body for body in bodies[1:])]
    assert joined(parts) == b"A: 1\r\nSubject: s\r\n\r\n" + b"".join(bodies)


@given(st.text(max_size=100))
def test_no_header_is_too_odd(text: str) -> None:
    fragment = fragment_of(header(text))
    assert fragment is None or (fragment.id and 1 <= fragment.number <= MAX_PARTS)
