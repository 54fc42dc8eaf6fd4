"""Which hosts, in which order."""

import itertools

import pytest

from posthouse.mail.status import Status
from posthouse.relay.channels.mx import hosts_of, in_turn
from posthouse.relay.names.name_service import Addresses, Exchanger


def records(*pairs: tuple[int, str]) -> tuple[Exchanger, ...]:
    return tuple(Exchanger(preference, host) for preference, host in pairs)


OURS = frozenset({"relay1.example.com"})


def test_lower_preferences_first_and_equal_ones_by_chance() -> None:
    found = records((20, "c"), (10, "a"), (10, "b"), (30, "d"))
    chances = itertools.cycle([0.9, 0.5, 0.1])
    assert hosts_of("x.test", found, OURS, lambda: next(chances)) == ("b", "a", "c", "d")
    assert hosts_of("x.test", found, OURS, None) == ("a", "b", "c", "d")


def test_without_records_the_domain_itself() -> None:
    assert hosts_of("X.test.", (), OURS, None) == ("x.test",)


def test_the_null_mx_counts_only_alone() -> None:
    assert hosts_of("x.test", records((0, ".")), OURS, None) == Status(556, "5.1.10", "x.test takes no mail (null MX)")
    assert hosts_of("x.test", records((0, "."), (5, "a")), OURS, None) == ("a",)


@pytest.mark.parametrize(
    ("pairs", "left"),
    [
        ([(10, "a"), (20, "relay1.example.com"), (30, "b")], ("a",)),
        ([(10, "a"), (20, "c"), (20, "relay1.example.com")], ("a",)),
        ([(5, "a"), (10, "relay1.example.com"), (20, "relay1.example.com")], ("a",)),
    ],
)
def test_the_list_is_cut_at_our_own_preference(pairs: list[tuple[int, str]], left: tuple[str, ...]) -> None:
    assert hosts_of("x.test", records(*pairs), OURS, None) == left


@pytest.mark.parametrize(
    ("domain", "pairs"),
    [("x.test", [(10, "relay1.example.com"), (20, "b")]), ("relay1.example.com", [])],
)
def test_mail_that_would_come_back(domain: str, pairs: list[tuple[int, str]]) -> None:
    status = hosts_of(domain, records(*pairs), OURS, None)
    assert isinstance(status, Status)
    assert status.enhanced == "5.4.6"


def test_never_more_than_the_limit_and_none_twice() -> None:
    many = records(*((n, f"h{n % 50}") for n in range(100)))
    assert hosts_of("x.test", many, OURS, None, 7) == tuple(f"h{n}" for n in range(7))


def test_families_take_turns() -> None:
    assert in_turn(Addresses(("::1", "::2", "::3"), ("1",)), None) == ("::1", "1", "::2", "::3")
    assert in_turn(Addresses((), ()), None) == ()
    chances = iter([0.9, 0.1])
    assert in_turn(Addresses((), ("1", "2")), lambda: next(chances)) == ("2", "1")
