"""What a group changes in a message, read back with Python's own email parser."""

import email
import email.policy

import pytest

from posthouse.relay.channels.list_edit import edit_header, edit_whole
from posthouse.relay.routing.list_edit import ListEdit

HEADER = b"Received: by x\r\nFrom: a@x.test\r\nApproved:\r\n secret\r\nSubject: s\r\n\r\n"
TEXTS = ListEdit(prefix="Before.\n", suffix="--\nAfter.\n")


def message(header: bytes, body: bytes) -> bytes:
    return b"From: a@x.test\r\n" + header + b"\r\n" + body


def texts(octets: bytes) -> list[str]:
    found = email.message_from_bytes(octets, policy=email.policy.SMTP)
    return [part.get_content().replace("\r\n", "\n") for part in found.walk() if part.get_content_maintype() == "text"]


def test_fields_are_taken_out_and_added() -> None:
    edit = ListEdit(remove=("approved", "subject"), add=("List-Id: <staff.example.com>", "X-Two: a\r\nX-Evil: b"))
    assert edit_header(edit, HEADER) == (
        b"Received: by x\r\nFrom: a@x.test\r\nList-Id: <staff.example.com>\r\nX-Two: a X-Evil: b\r\n\r\n"
    )
    assert edit_header(edit, b"\r\n") == b"List-Id: <staff.example.com>\r\nX-Two: a X-Evil: b\r\n\r\n"
    assert edit_whole(edit, HEADER + b"body\r\n").endswith(b"\r\n\r\nbody\r\n")


@pytest.mark.parametrize(
    ("held", "kept", "end"),
    [
        (b"A: 1\r\nApproved: x\r\nB: 2", b"A: 1\r\n", b"B: 2"),
        (b"A: 1\r\nApproved: x\r\nB: 2\r\n 3\r\n", b"A: 1\r\n", b"B: 2\r\n 3\r\n"),
        (b"A: 1\r\nApproved: x\r", b"A: 1\r\n", b"Approved: x\r"),
        (b"B: 2", b"", b"B: 2"),
    ],
)
def test_of_a_header_that_is_cut_off_the_last_field_stays_last(held: bytes, kept: bytes, end: bytes) -> None:
    assert edit_header(ListEdit(remove=("approved",), add=("X: y",)), held) == kept + b"X: y\r\n" + end


@pytest.mark.timeout(20)
def test_a_line_without_an_end_costs_its_length() -> None:
    header = b"Subject: " + b"a" * 262_144
    assert edit_header(ListEdit(add=("X: y",)), header) == b"X: y\r\n" + header


@pytest.mark.parametrize(
    ("header", "body", "text"),
    [
        (b"", b"hello\r\n", "hello\n"),
        (b"Content-Type: text/plain\r\n", b"", ""),
        (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", "grün\r\n".encode(), "grün\n"),
        (
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
            b"gr=C3=BCn\r\n",
            "grün\n",
        ),
        (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", b"Z3LDvG4NCg==\r\n", "grün\n"),
    ],
)  # fmt: skip
def test_text_goes_around_the_text(header: bytes, body: bytes, text: str) -> None:
    assert texts(edit_whole(TEXTS, message(header, body))) == [f"Before.\n{text}--\nAfter.\n"]


def test_the_first_text_part_of_a_multipart() -> None:
    body = (
        b'preamble\r\n--b\r\nContent-Type: multipart/alternative; boundary="c d"\r\n\r\n--c d\r\n\r\nplain\r\n--c d\r\n'
        b"Content-Type: text/html\r\n\r\n<p>html</p>\r\n--c d--\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--b--\r\n"
    )
    found = texts(edit_whole(TEXTS, message(b"Content-Type: multipart/mixed;\r\n boundary=b\r\n", body)))
    assert [one.strip() for one in found] == ["Before.\nplain\n--\nAfter.", "<p>html</p>", "second"]


@pytest.mark.parametrize(
    "kind",
    [b"multipart/signed; boundary=b", b"multipart/encrypted; boundary=b", b"multipart/mixed", b"text/html", b"application/pdf",
     b"text/plain; charset=utf-16", b"multipart/mixed; boundary=other"],
)  # fmt: skip
def test_what_must_not_or_cannot_be_changed_stays(kind: bytes) -> None:
    octets = message(b"Content-Type: " + kind + b"\r\n", b"--b\r\n\r\nplain\r\n--b\r\n\r\nsig\r\n--b--\r\n")
    assert edit_whole(TEXTS, octets) == octets


def test_characters_the_message_cannot_have() -> None:
    edit = ListEdit(suffix="Grüße\n")
    assert edit_whole(edit, message(b"Content-Type: text/plain; charset=iso-8859-1\r\n", b"a\r\n")).endswith(b"a\r\nGr??e\r\n")
