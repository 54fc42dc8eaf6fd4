"""Whatever the table and the string: no exception but MappingError, an end, and bounded work."""

import re
import time
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.mapping.error import MappingError, SyntaxFault
from posthouse.mapping.pattern import Pattern, fold
from posthouse.mapping.table import Result, Tables

PIECES = st.sampled_from(
    [
        "*",
        "%",
        "a",
        "B",
        "|",
        "$_*",
        "$@*",
        "$^%",
        "$A*",
        "$D%",
        "$[ab]*",
        "$[a-c]%",
        "$0*",
        "$1*",
        "$(10.0.0.0/8)",
        "${::/0}",
        "$<1.2.3.4/8>",
    ]
)
CODES = st.sampled_from(
    [
        "$0",
        "$1",
        "a",
        "$$",
        "$Y",
        "$N",
        "$C",
        "$L",
        "$R",
        "$E",
        "$|T;$0|",
        "$|U;$0$0|",
        "${k$0}",
        "$\\",
        "$^",
        "$=",
        "$?50?",
        "$:A",
        "$]x[",
        "$}a,b{",
    ]
)
PATTERNS = st.lists(PIECES, max_size=8).map("".join) | st.text(alphabet="ab*%$_@^[]({<>})0123456789./:| AD", max_size=20)
TEMPLATES = st.lists(CODES, max_size=6).map("".join) | st.text(alphabet="abYNCLRE$|;,{}[]?:=#0123456789\\^_", max_size=20)
STRINGS = st.text(alphabet="aAbBc10.:|xİß", max_size=40)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(PATTERNS, TEMPLATES), max_size=4),
    st.lists(st.tuples(PATTERNS, TEMPLATES), max_size=3),
    STRINGS,
    st.floats(0, 0.999),
)
def test_any_table_gives_a_result_or_none_or_is_refused(
    first: list[tuple[str, str]], second: list[tuple[str, str]], text: str, chance: float
) -> None:
    try:
        tables = Tables.compile([("T", first), ("U", second)], general=lambda key: key * 2, chance=lambda: chance)
    except MappingError as error:
        assert all(reason for _, _, reason in error.faults)  # noqa: PT017 - a refusal is one of the allowed outcomes
        return
    start = time.process_time()
    result = tables.probe("T", text, ask=lambda _: "a")
    assert time.process_time() - start < 1.0
    assert result is None or (isinstance(result, Result) and len(result.text) <= 65_536)


SIMPLE = st.lists(st.sampled_from(["*", "%", "a", "b", "$_*", "$A*", "$D%", "$[ab]*"]), min_size=1, max_size=7)


@settings(max_examples=300)
@given(SIMPLE, st.text(alphabet="aAb1", max_size=12))
def test_matches_are_those_of_a_backtracking_engine(parts: list[str], text: str) -> None:
    forms = {
        "*": "(.*)",
        "%": "(.)",
        "a": "a",
        "b": "b",
        "$_*": "(.*?)",
        "$A*": "([a-z]*)",
        "$D%": "([0-9])",
        "$[ab]*": "([ab]*)",
    }
    reference = re.fullmatch("".join(forms[part] for part in parts), text, re.IGNORECASE | re.DOTALL)
    found = Pattern("".join(parts)).match(text, fold(text))
    assert (found is None) == (reference is None)
    if reference is not None:
        assert found == list(reference.groups())


HOSTILE = [
    "*a" * 12 + "*b",
    "$A*" * 12 + "$D%",
    "$_*$0*" * 6 + "x",
    "*%a" * 8 + "*b",
    "*${::/0}*" * 4 + "x",
    "*$(0.0.0.0/0)*" * 4 + "x",
    "$_*a$[a]*" * 5 + "b",
]


def test_a_hostile_string_takes_little_time() -> None:
    for pattern in HOSTILE:
        for text in ("a" * 3000, "a1." * 1000, "1.1.1.1:" * 375):
            start = time.process_time()
            Pattern(pattern).match(text, fold(text))
            assert time.process_time() - start < 1.5, pattern


@pytest.mark.parametrize(
    "text",
    ["$", "$_", "a$@", "$0*", "*$1*", "$[ab", "$[ab]", "$[b-a]*", "$(10.0.0.0/33)", "$(x)", "${::/129}", "$<1.2.3.4/x>", "*$0"],
)
def test_bad_patterns_are_refused_with_a_reason(text: str) -> None:
    with pytest.raises(SyntaxFault, match=r"."):
        Pattern(text)


CHAPTER = [
    ("TCP|*|225|192.18.74.206|*", "$Y"),
    ("TCP|*|226|192.18.74.206|*", "$Y"),
    ("TCP|*|225|192.18.74.129|*", "$Y"),
    ("TCP|*|226|192.18.74.129|*", "$Y"),
    ("TCP|*|*|*|*", "$N500$ Do$ not$ connect$ to$ this$ machine"),
]


@pytest.mark.parametrize("client", ["192.18.74.206", "203.0.113.9"])
def test_a_probe_of_the_chapters_table_takes_under_ten_microseconds(client: str) -> None:
    tables = Tables.compile([("PORT_ACCESS", CHAPTER)])
    probe = f"TCP|10.0.0.7|225|{client}|40000"
    best = min(timeit.repeat(lambda: tables.probe("PORT_ACCESS", probe), number=200, repeat=20)) / 200
    assert best < 10e-6
