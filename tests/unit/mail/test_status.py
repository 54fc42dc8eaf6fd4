import pytest

from posthouse.mail.message_id import MessageIds, base36
from posthouse.mail.outcome import Deferred, Delivered, Failed, Scope, outcome_of
from posthouse.mail.status import Status


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("250 2.5.0 <bob> OK", Status(250, "2.5.0", "<bob> OK")),
        ("560 5.6.0 <a> message contains null", Status(560, "5.6.0", "<a> message contains null")),
        ("250 OK", Status(250, "", "OK")),
        ("250", Status(250, "", "")),
        ("450 5.1.1 odd class", Status(450, "", "5.1.1 odd class")),
        ("500 Do not connect to this machine", Status(500, "", "Do not connect to this machine")),
        ("+OK POP3", Status(451, "4.5.0", "unintelligible reply: '+OK POP3'")),
        ("999 what", Status(451, "4.5.0", "unintelligible reply: '999 what'")),
    ],
)
def test_parse(line: str, expected: Status) -> None:
    assert Status.parse(line) == expected


def test_only_2yz_delivers_and_only_5yz_fails() -> None:
    assert isinstance(outcome_of(Status(250, "", "")), Delivered)
    assert isinstance(outcome_of(Status(560, "", "")), Failed)
    for code in (354, 420, 451):
        assert isinstance(outcome_of(Status(code, "", ""), Scope.SESSION), Deferred)


def test_ids_are_unique_sorted_by_time_and_long_enough() -> None:
    clock = iter(range(1_795_428_000, 1_795_428_900))
    ids = MessageIds(lambda: next(clock), lambda bits: 5)
    made = [ids.next() for _ in range(900)]
    assert len(set(made)) == 900
    assert made == sorted(made)
    assert all(len(one) == 18 and one.isalnum() for one in made)


def test_base36_pads() -> None:
    assert base36(35, 3) == "00Z"
