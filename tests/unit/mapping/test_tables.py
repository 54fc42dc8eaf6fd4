import pytest

from posthouse.mapping.error import MappingError
from posthouse.mapping.question import DomainAttribute, LdapUrl
from posthouse.mapping.table import Result, Tables


def test_every_bad_entry_is_named() -> None:
    with pytest.raises(MappingError) as caught:
        Tables.compile([("A", [("*", "$0"), ("*", "$1")]), ("B", [("$[", "x"), ("*", "$#f|10|8|"), ("*", "${k")])])
    assert [(table, entry) for table, entry, _ in caught.value.faults] == [(0, 1), (1, 0), (1, 1), (1, 2)]
    assert str(caught.value).startswith("A entry 2: $1: the pattern saves 1 wildcards")


def test_names_are_compared_without_case() -> None:
    tables = Tables.compile([("Port_Access", [("*", "$Y")])])
    assert "PORT_ACCESS" in tables
    assert "port_access" in tables
    assert "other" not in tables
    assert tables.names == ("PORT_ACCESS",)
    assert tables.probe("port_access", "x") == Result("", frozenset("Y"))


def test_walk_yields_questions_and_takes_answers() -> None:
    tables = Tables.compile([("T", [("a*", "$Y$]ldap:///$0[-$}$0,mailHost{"), ("*", "$Nno")])])
    walk = tables.walk("T", "ab")
    assert next(walk) == LdapUrl("ldap:///b")
    assert walk.send("one") == DomainAttribute("b", "mailHost")
    with pytest.raises(StopIteration) as end:
        walk.send("two")
    assert end.value.value == Result("one-two", frozenset("Y"))
    assert tables.probe("T", "ab") == Result("no", frozenset("N"))


def test_an_entry_that_fails_leaves_the_string_as_it_was() -> None:
    tables = Tables.compile([("T", [("*b", "$C$0${missing}"), ("*", "$Y$0")])])
    assert tables.probe("T", "ab") == Result("ab", frozenset("Y"))


def test_there_are_no_sequence_numbers_so_such_an_entry_fails() -> None:
    tables = Tables.compile([("X-ATT-NAMES", [("*", "$Y$#IMTA_TABLE:seq|10|8|1000#.txt"), ("*", "$Nno")])])
    assert tables.probe("X-ATT-NAMES", "x") == Result("no", frozenset("N"))


def test_the_general_database_is_asked_in_lower_case() -> None:
    asked: list[str] = []

    def general(key: str) -> str | None:
        asked.append(key)
        return None

    assert Tables.compile([("T", [("*", "${LMTP|$0}")])], general=general).probe("T", "Store1") is None
    assert asked == ["lmtp|store1"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def throttled(routine: str, clock: Clock) -> Tables:
    entry = f"$[IMTA_LIB:conn_throttle.so,{routine},$1,2]$N421$ Connection$ not$ accepted$ at$ this$ time"
    return Tables.compile([("PORT_ACCESS", [("*|*|*|*|*", entry.replace("$1", "$3")), ("*", "$Y")])], clock=clock)


def allowed(tables: Tables, address: str = "192.0.2.1") -> bool:
    result = tables.probe("PORT_ACCESS", f"TCP|10.0.0.1|25|{address}|999")
    assert result is not None
    assert result.text == ("" if "Y" in result.flags else "421 Connection not accepted at this time")
    return "Y" in result.flags


def test_throttle_counts_by_address_and_minute() -> None:
    clock = Clock()
    tables = throttled("throttle", clock)
    assert [allowed(tables) for _ in range(4)] == [True, True, False, False]
    assert allowed(tables, "192.0.2.2")
    clock.now += 60
    assert [allowed(tables) for _ in range(3)] == [True, True, False]


def test_throttle_p_remembers_what_was_too_much() -> None:
    clock = Clock()
    tables = throttled("throttle_p", clock)
    assert [allowed(tables) for _ in range(6)] == [True, True, False, False, False, False]
    clock.now += 60
    assert not allowed(tables)  # 6 - 2 + 1 is still above 2
    clock.now += 180
    assert allowed(tables)


def test_without_a_clock_the_throttle_entry_fails() -> None:
    tables = Tables.compile([("T", [("*", "$[conn_throttle.so,throttle,$0,0]$N")])])
    assert tables.probe("T", "x") is None


def test_outputs_have_a_limit() -> None:
    tables = Tables.compile([("T", [("*", "$R" + "$0" * 9)])])
    result = tables.probe("T", "x" * 60)
    assert result is not None
    assert len(result.text) <= 65_536
