"""What an entry's attributes make of a vacation answer (directory.md 10)."""

import pytest

from posthouse.relay.directory.question import Domain, Entry, Kind
from posthouse.relay.notices.autoreply import Absence, fill, languages, vacation_of

DOMAIN = Domain("example.com", "example.com", "o=example.com")
HEADER = b"From: Bob B <bob@remote.test>\r\nSubject: price $5 \\24 now\r\nTo: ann.smith@example.com\r\n\r\n"
ANN: dict[str, tuple[str, ...]] = {
    "mail": ("Ann.Smith@example.com",),
    "mailalternateaddress": ("as@example.com",),
    "mailautoreplysubject": ("Away",),
    "mailautoreplytext": ('I am away until 15 July.$Your mail "$SUBJECT" waits.',),
    "mailautoreplytextinternal": ("Away. Ask Bob.",),
    "mailautoreplytimeout": ("24",),
}


def absence(header: bytes = HEADER, domain: Domain = DOMAIN, *, internal: bool = False, **changes: tuple[str, ...]) -> Absence:
    attributes = {name.replace("_", ";lang-"): values for name, values in {**ANN, **changes}.items() if values}
    return Absence(domain, Entry("uid=asmith", Kind.USER, "asmith", attributes), "asmith", header, ("ann@example.com",), internal)


def test_the_example() -> None:
    vacation = vacation_of(absence())
    assert vacation is not None
    assert vacation.text == 'I am away until 15 July.\nYour mail "price $5 \\24 now" waits.'
    assert (vacation.subject, vacation.mail, vacation.seconds, vacation.echo) == ("Away", "Ann.Smith@example.com", 86_400, False)
    assert vacation.addresses == {"ann.smith@example.com", "as@example.com", "ann@example.com"}


def test_internal_senders_have_their_own_text() -> None:
    vacation = vacation_of(absence(internal=True))
    assert vacation is not None
    assert vacation.text == "Away. Ask Bob."
    without = vacation_of(absence(internal=True, mailautoreplytextinternal=()))
    assert without is not None
    assert without.text.startswith("I am away")


def test_no_text_no_answer() -> None:
    assert vacation_of(absence(mailautoreplytext=(), mailautoreplytextinternal=())) is None
    assert vacation_of(absence(mailautoreplytext=())) is None
    assert vacation_of(absence(mailautoreplytext=(), internal=True)) is not None


@pytest.mark.parametrize(
    ("user", "domain", "hours"), [(("24",), ("5",), 24), ((), ("5",), 5), (("soon",), ("5",), 5), ((), (), 168), (("0",), (), 0)]
)
def test_hours_between_answers(user: tuple[str, ...], domain: tuple[str, ...], hours: int) -> None:
    there = Domain("example.com", "example.com", "o=example.com", "", {"mailautoreplytimeout": domain} if domain else {})
    vacation = vacation_of(absence(domain=there, mailautoreplytimeout=user))
    assert vacation is not None
    assert vacation.seconds == hours * 3600


@pytest.mark.parametrize(("mode", "echo"), [("reply", False), ("vacation", False), ("ECHO", True), ("", False), ("odd", False)])
def test_modes(mode: str, echo: bool) -> None:
    vacation = vacation_of(absence(mailautoreplymode=(mode,)))
    assert vacation is not None
    assert vacation.echo is echo


def test_codes() -> None:
    assert fill("$SUBJECT$from$x\\24\\5cn", HEADER) == "price $5 \\24 nowBob B <bob@remote.test>\nx$\\n"
    assert fill("a$b", HEADER, line="$") == "a$b"


def test_the_language_of_the_message() -> None:
    header = b"Accept-Language: fr;q=0.1, de-AT, en\r\n" + HEADER
    assert languages(header) == ("fr", "de-at", "de", "en")
    vacation = vacation_of(absence(header, mailautoreplytext_de=("Ich bin fort.",)))
    assert vacation is not None
    assert vacation.text == "Ich bin fort."
    assert vacation.subject == "Away"
