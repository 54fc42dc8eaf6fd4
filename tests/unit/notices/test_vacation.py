"""Vacation answers: who is answered, and what is in it, read back with Python's own email parser."""

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage

import pytest

from posthouse.relay.notices.vacation import Asked, Vacation, answer_octets, original_field, silence

ANN = Vacation("asmith", "ann.smith@example.com", frozenset({"ann.smith@example.com", "as@example.com"}), "Away.\nBack in June.")
HEADER = (
    b"From: Bob <bob@remote.test>\r\nTo: Ann <Ann.Smith@example.com>\r\nSubject: hello\r\nMessage-ID: <m1@remote.test>\r\n\r\n"
)


def asked(header: bytes = HEADER, sender: str = "bob@remote.test") -> Asked:
    return Asked(sender, header)


def parsed(octets: bytes) -> EmailMessage:
    assert b"\n" not in octets.replace(b"\r\n", b"")
    return email.message_from_bytes(octets, policy=email.policy.SMTPUTF8)


def test_a_person_who_writes_to_the_user_is_answered() -> None:
    assert silence(ANN, asked()) == ""


@pytest.mark.parametrize("field", [b"To", b"Cc", b"Bcc", b"Resent-To", b"Resent-Cc", b"Resent-Bcc", b"resent-CC"])
def test_fields_that_name_the_user(field: bytes) -> None:
    assert silence(ANN, asked(field + b': x@y.test,\r\n\t"A, S" <AS@Example.com>\r\n')) == ""
    assert silence(ANN, asked(field + b": x@y.test\r\n")) != ""
    assert silence(ANN, asked(b"X-" + field + b": as@example.com\r\n")) != ""


@pytest.mark.parametrize(
    "sender",
    ["", "owner-list@remote.test", "list-request@remote.test", "MAILER-DAEMON@remote.test", "postmaster@remote.test",
     "LISTSERV@remote.test", "majordomo@remote.test", "as@EXAMPLE.com", "mailer-daemon"],
)  # fmt: skip
def test_senders_never_answered(sender: str) -> None:
    assert silence(ANN, asked(sender=sender)) != ""


@pytest.mark.parametrize(
    "field",
    [b"Auto-Submitted: auto-replied", b"auto-submitted: auto-generated; x=1", b"List-Id: <l.remote.test>", b"LIST-Unsubscribe: x",
     b"Precedence: bulk", b"Precedence:  LIST ", b"Precedence: junk", b"X-Auto-Response-Suppress: All",
     b"x-auto-response-suppress: DR,OOF, RN", b"X-Auto-Response-Suppress: NDR, oof , autoreply"],
)  # fmt: skip
def test_mail_of_programs_is_not_answered(field: bytes) -> None:
    assert silence(ANN, asked(field + b"\r\n" + HEADER)) != ""


@pytest.mark.parametrize(
    "field",
    [
        b"Auto-Submitted: no",
        b"Precedence: first-class",
        b"X-List: 1",
        b"Listless: 1",
        b"X-Auto-Response-Suppress: DR, NRN",
        b"X-Auto-Response-Suppress: None",
        b"X-Auto-Response-Suppress: AutoReply",
        b"X-Auto-Response-Suppress: DR, RN, AutoReply",
    ],
)
def test_mail_of_people_is(field: bytes) -> None:
    assert silence(ANN, asked(field + b"\r\n" + HEADER)) == ""


def test_the_answer() -> None:
    header = b"References: <r0@x> <r1@x>\r\n" + HEADER
    answer = parsed(answer_octets(ANN, asked(header), "<a1@relay>", 1795428000.0))
    assert answer["From"] == "ann.smith@example.com"
    assert answer["To"] == "bob@remote.test"
    assert answer["Subject"] == "Re: hello"
    assert answer["Auto-Submitted"] == "auto-replied"
    assert answer["In-Reply-To"] == "<m1@remote.test>"
    assert str(answer["References"]).split() == ["<r0@x>", "<r1@x>", "<m1@remote.test>"]
    assert answer["Message-ID"] == "<a1@relay>"
    assert answer.get_content_type() == "text/plain"
    assert answer.get_content() == "Away.\r\nBack in June.\r\n"


def test_texts_outside_ascii_and_long_lines() -> None:
    vacation = replace(ANN, text="Grüße " * 300, subject="Ich bin für längere Zeit fort " * 5, personal='Änne "A"')
    octets = answer_octets(vacation, asked(), "<a1@relay>", 0.0)
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    answer = parsed(octets)
    assert answer.get_content().strip() == ("Grüße " * 300).strip()
    assert str(answer["Subject"]).split() == ("Ich bin für längere Zeit fort " * 5).split()


def test_nothing_from_outside_makes_a_header_field() -> None:
    header = b"To: as@example.com\r\nSubject: =?utf-8?q?a=0D=0AX-Evil:_1?=\r\nMessage-ID: <a\r\n X-Evil: 2>\r\n\r\n"
    octets = answer_octets(ANN, asked(header), "<a1@relay>", 0.0)
    assert b"\r\nX-Evil" not in octets
    assert original_field(header, "subject") == "a X-Evil: 1"


def test_the_message_goes_back_when_wanted() -> None:
    whole = HEADER + b"gr\xc3\xbc\xc3\x9fe\r\n"
    octets = answer_octets(replace(ANN, echo=True), Asked("bob@remote.test", HEADER, whole), "<a1@relay>", 0.0)
    answer = parsed(octets)
    text, original = answer.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert original.get_content_type() == "message/rfc822"
    assert whole in octets
    header_only = parsed(answer_octets(replace(ANN, echo=True), asked(), "<a1@relay>", 0.0))
    assert [part.get_content_type() for part in header_only.iter_parts()] == ["text/plain", "text/rfc822-headers"]


def test_an_entity_is_sent_as_it_is() -> None:
    vacation = replace(ANN, mime=True, text="Content-Type: text/html\n\n<p>away</p>")
    answer = parsed(answer_octets(vacation, asked(), "<a1@relay>", 0.0))
    assert answer.get_content_type() == "text/html"
    assert "<p>away</p>" in answer.get_content()


def test_a_long_subject_is_not_repeated_whole() -> None:
    header = HEADER.replace(b"Subject: hello", b"Subject: " + b"hello " * 100)
    subject = parsed(answer_octets(ANN, asked(header), "<x@y>", 0.0))["subject"]
    assert subject.startswith("Re: hello hello")
    assert subject.endswith("hello…")
    assert len(subject) <= 256
    said = parsed(answer_octets(replace(ANN, subject="away " * 100), asked(header), "<x@y>", 0.0))["subject"]
    assert len(said) > 450


@pytest.mark.parametrize("personal", ["=?utf-8?q?G=C3=BCnther?= M. Karotte", "Günther M. Karotte"])
def test_encoded_words_in_the_users_name_are_read(personal: str) -> None:
    octets = answer_octets(replace(ANN, personal=personal), asked(), "<x@y>", 0.0)
    assert octets.isascii()
    assert parsed(octets)["from"].addresses[0].display_name == "Günther M. Karotte"
    assert b'"' not in octets.partition(b"\r\n")[0]
