"""Down-conversion: what comes out is ASCII, and a reader sees what was written."""

import email
import email.policy
import time
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest
from hypothesis import given, strategies

from posthouse.relay.channels.ascii_header import ascii_field
from posthouse.relay.channels.seven_bit import convert, survey

PLAIN = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"


def converted(octets: bytes, *, body: bool = True, piece: int = 1 << 20) -> bytes:
    parts = [octets[start : start + piece] for start in range(0, len(octets), piece)]
    return b"".join(convert(parts, survey(parts), body=body))


def read(octets: bytes) -> EmailMessage:
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    return message


def test_text_becomes_quoted_printable() -> None:
    text = "Grüße\r\n.dot\r\n  trailing blank \r\nFrom x\r\n" + "a very long line " * 20 + "\r\n"
    out = converted(PLAIN + text.encode())
    assert out.isascii()
    assert b"Content-Transfer-Encoding: quoted-printable\r\n" in out
    assert b"8bit" not in out
    assert max(map(len, out.split(b"\r\n"))) <= 76
    assert read(out).get_payload(decode=True) == text.encode()


def test_text_with_much_of_it_becomes_base64() -> None:
    text = "日本語の本文です\r\nよろしく\r\n"
    out = converted(PLAIN + text.encode())
    assert b"Content-Transfer-Encoding: base64\r\n" in out
    assert read(out).get_payload(decode=True) == text.encode()


def test_a_message_without_mime_fields_gets_them() -> None:
    out = converted("Subject: x\r\n\r\nGrüße an alle, die das lesen\r\n".encode())
    assert out.startswith(b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer")
    assert "unknown-8bit" in converted("Subject: x\r\n\r\nGrüße an alle, die das lesen\r\n".encode("latin-1")).decode()


MULTI = (
    b'From: a@b\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="out er"\r\n'
    b"Content-Transfer-Encoding: 8bit\r\n\r\n"
    b"preamble \xfc\r\n--out er\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nall ascii = here\r\n"
    b"--out er\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n"
    b"--inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"<p>Gr\xc3\xbc\xc3\x9fe aus dem Inneren</p>\r\n"
    b"--inner--\r\n"
    b"--out er\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    b"\x01\xff\x02\r\nlast\r\n\r\n--out er--\r\nepilogue\r\n"
)


def test_parts_are_converted_where_they_need_it() -> None:
    out = converted(MULTI)
    assert out.isascii()
    assert b"all ascii = here\r\n" in out
    assert b"preamble ?\r\n" in out
    assert out.endswith(b"--out er--\r\nepilogue\r\n")
    message = read(out)
    first, second, third = message.iter_parts()
    assert message["Content-Transfer-Encoding"] == second["Content-Transfer-Encoding"] == "7bit"
    assert first.get_content() == "all ascii = here\r\n" or first.get_payload() == "all ascii = here"
    inner = next(iter(second.get_payload()[0].iter_parts()))  # type: ignore[index, union-attr]
    assert inner.get_payload(decode=True) == "<p>Grüße aus dem Inneren</p>".encode()
    assert third.get_payload(decode=True) == b"\x01\xff\x02\r\nlast\r\n"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_blocks_may_be_cut_anywhere(piece: int) -> None:
    assert converted(MULTI, piece=piece) == converted(MULTI)


def test_only_headers_where_the_next_system_takes_8_bit_bodies() -> None:
    out = converted("Subject: Grüße\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode(), body=False)
    assert out.endswith("\r\n\r\nGrüße\r\n".encode())
    assert read(out)["Subject"] == "Grüße"


BESIDE = (
    b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nx\r\n--b--\r\n--a\r\n\r\n\xc3\xbc\r\n--a--\r\n"
)


DIGEST = (
    "Content-Type: multipart/digest (one a day); boundary=b (its end)\r\n\r\n--b\r\n\r\nSubject: inner\r\n\r\n"
    "Grüße aus der Mitte, lang genug\r\n--b--\r\n"
).encode()


def test_a_digest_has_messages_without_saying_so() -> None:
    out = converted(DIGEST)
    assert b"--b\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer" in out
    assert out.endswith(b"Gr=C3=BC=C3=9Fe aus der Mitte, lang genug\r\n--b--\r\n")


def test_a_signed_part_in_ascii_stays_as_it_is_beside_what_is_converted() -> None:
    signed = (
        b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: multipart/mixed; boundary=t\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n--t\r\n\r\nascii\r\n--t--\r\n--s--\r\n"
    )
    out = converted(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n\xc3\xbc\r\n--a\r\n" + signed + b"--a--\r\n")
    assert out.isascii()
    assert signed in out


@pytest.mark.parametrize("kind", [b"text/plain", b"image/x"])
def test_carriage_returns_before_a_line_end_stay(kind: bytes) -> None:
    text = b"abcdefgh\xc3\xbcij\r\r\nx\r\n"
    assert read(converted(b"MIME-Version: 1.0\r\nContent-Type: " + kind + b"\r\n\r\n" + text)).get_payload(decode=True) == text


def test_octets_between_parts_alone_are_no_ascii() -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xc3\xbc\r\n--b\r\n\r\nx\r\n--b--\r\n"
    found = survey([octets])
    assert found.body
    assert not found.fixed
    assert b"".join(convert([octets], found, body=False)) == octets


SIGNED_PREAMBLE = (
    b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: multipart/mixed; boundary=t\r\n\r\n"
    b"preamble \xc3\xbc\r\n--t\r\n\r\nascii\r\n--t--\r\n--s--\r\n"
)


@pytest.mark.parametrize(
    ("octets", "fixed"),
    [
        (b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xbc\r\n--b--\r\n", True),
        (b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nascii\r\n--b--\r\n", False),
        (BESIDE, False),
        (b"Content-Type: message/partial; id=x\r\n\r\n\xc3\xbc\r\n", True),
        (b"Content-Transfer-Encoding: base64\r\n\r\n\xc3\xbc\r\n", True),
        (b"X: \xc3\xbc\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n\xc3\xbc\r\n--b\r\n\r\nx\r\n--b--\r\n", False),
        (SIGNED_PREAMBLE, True),
        (b"Content-Type: message/rfc822\r\n\r\nno field \xc3\xbc\r\n\r\nx\r\n", True),
        (b"Content-Type: message/rfc822\r\n\r\nno field\r\n\r\n\xc3\xbc\r\n", True),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno part: \xc3\xbc\r\n", True),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno part\r\n", False),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\nno part: \xc3\xbc\r\n--b--\r\n", True),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\n\xc3\xbc\r\n--b--\r\n", True),
        ("Content-Type: multipart/mixed; boundary=ü\r\n\r\n--ü\r\n\r\nx\r\n--ü--\r\n".encode(), True),
        (b"Content-Type: multipart/mixed;" + b" " * 5000 + b"boundary=b\r\n\r\n--b\r\n\r\n\xc3\xbc\r\n--b--\r\n", True),
        (b"X-Much: x\r\n" * 30_000 + b"\r\n\xc3\xbc\r\n", True),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 10_000 + b"\r\n\xc3\xbc\r\n", False),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 10_001 + b"\r\n\xc3\xbc\r\n", True),
    ],
)  # fmt: skip
def test_what_must_not_be_changed(octets: bytes, *, fixed: bool) -> None:
    assert survey([octets]).fixed is fixed


@pytest.mark.parametrize(
    ("field", "out"),
    [
        ("From: Zoë <zoe@a.test>\r\n", "From: =?utf-8?q?Zo=C3=AB?= <zoe@a.test>\r\n"),
        ("Subject: Grüße\r\n", "Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"),
        ('Content-Disposition: attachment; filename="ü \\"x.pdf"; size=3\r\n',
         "Content-Disposition: attachment; filename*=utf-8''%C3%BC%20%22x.pdf; size=3\r\n"),
        ("To: a@b.test\r\n", "To: a@b.test\r\n"),
        ("To: zoë@a.test\r\n", None),
        ("To: Empfänger:;\r\n", "To: =?utf-8?q?Empf=C3=A4nger?=:;\r\n"),
        ("To: ü" + "(" * 900 + ")" * 900 + "\r\n", None),
        ("To: Zoë <zoe@a.test>,\r\n", "To: =?utf-8?q?Zo=C3=AB?= <zoe@a.test>\r\n"),
        ("Content-Type: x/y; name=ü b.pdf ; x=1\r\n", "Content-Type: x/y; name*=utf-8''%C3%BC%20b.pdf; x=1\r\n"),
        ("Content-Description: Grüße\r\n", "Content-Description: =?utf-8?b?R3LDvMOfZQ==?=\r\n"),
        ("To: Zoë <zoë@a.test>, b@c\r\n", None),
        ("ünfield\r\n", ""),
    ],
)  # fmt: skip
def test_fields(field: str, out: str | None) -> None:
    assert ascii_field(field.encode()) == (None if out is None else out.encode())


def test_long_names_stand_on_several_lines() -> None:
    name = "Zoë " * 300 + "Zoë"
    out = ascii_field(f"From: {name} <zoe@a.test>\r\n".encode()) or b""
    assert max(map(len, out.splitlines())) < 100
    words, _, address = str(email.message_from_bytes(out)["From"]).rpartition(" ")
    assert (str(make_header(decode_header(words))), address) == (name, "<zoe@a.test>")
    name = "ü'.pdf" * 90
    out = ascii_field(f'Content-Type: x/y; charset=us-ascii; name="{name}"; x=1\r\n'.encode()) or b""
    assert max(map(len, out.splitlines())) < 100
    about = email.message_from_bytes(out)
    assert (about.get_filename(), about.get_content_charset(), about.get_param("x")) == (name, "us-ascii", "1")


def test_quotes_in_a_field_that_says_what_it_is_take_no_quadratic_time() -> None:
    field = b'Content-Type: "' + rb"\"" * 2000 + b"\r\n"
    before = time.process_time()
    survey([field * 60 + b"\r\n\xc3\xbc\r\n"])
    assert time.process_time() - before < 1.0


def test_a_field_that_is_no_utf8() -> None:
    out = ascii_field(b"Subject: caf\xe9 " + b"x" * 100 + b"\r\n")
    assert out is not None
    assert out.isascii()
    assert b"=?unknown-8bit?q?caf=E9=20" in out


def test_an_address_without_another_form_is_speechless() -> None:
    assert survey(["From: zoë@a.test\r\n\r\nx\r\n".encode()]).speechless


_OCTETS = strategies.one_of(
    strategies.binary(max_size=40),
    strategies.sampled_from([b"--b\r\n", b"--b--\r\n", b"\r\n", b"\n", b"\xc3\xbc\r\n", b"--a\r\n", b": \xff\r\n"]),
    strategies.sampled_from([b"multipart/mixed; boundary=b", b"message/rfc822", b"text/plain"]).map(
        lambda kind: b"Content-Type: " + kind + b"\r\n\r\n"
    ),
)


@given(strategies.lists(_OCTETS, max_size=12), strategies.integers(1, 9))
def test_whatever_comes_in_ascii_goes_out(pieces: list[bytes], size: int) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" + b"".join(pieces)
    parts = [octets[start : start + size] for start in range(0, len(octets), size)]
    found = survey(parts)
    out = b"".join(convert(parts, found, body=True))
    assert out.isascii()
    if octets.isascii():
        assert out == octets
