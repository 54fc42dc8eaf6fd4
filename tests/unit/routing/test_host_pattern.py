import pytest

from posthouse.relay.routing.host_pattern import HostMatch, label_count, probes


def test_order_of_probes_is_that_of_the_manual() -> None:
    found = [match.pattern for match in probes("SC.cs.example.com", 9)]
    assert found == [
        "sc.cs.example.com",
        "*.cs.example.com",
        ".cs.example.com",
        "*.*.example.com",
        ".example.com",
        "*.*.*.com",
        ".com",
        "*.*.*.*",
    ]


def test_single_label_host() -> None:
    assert [match.pattern for match in probes("h", 9)] == ["h", "*"]


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        ("a.b.c", "A.b.C", ""),
        (".b.c", ".b.C", "A"),
        ("*.b.c", ".b.C", "A"),
        ("*.*.c", ".C", "A.b"),
        ("*.*.*", "", "A.b.C"),
    ],
)
def test_division_of_the_host_keeps_case(pattern: str, matched: str, unmatched: str) -> None:
    found = {match.pattern: match for match in probes("A.b.C", 9)}
    assert found[pattern] == HostMatch(pattern, matched, unmatched)


def test_literal_loses_octets_from_the_right() -> None:
    assert [(match.pattern, match.matched, match.literal) for match in probes("[1.2.3.4]", 9)] == [
        ("[1.2.3.4]", "[1.2.3.4]", ""),
        ("[1.2.3.]", "[1.2.3.", "4"),
        ("[1.2.]", "[1.2.", "3.4"),
        ("[1.]", "[1.", "2.3.4"),
        ("[]", "[", "1.2.3.4"),
    ]


def test_probes_no_rule_can_match_are_left_out() -> None:
    host = ".".join(["x"] * 300) + ".example.com"
    assert [match.pattern for match in probes(host, 2)] == [host, ".example.com", ".com"]


def test_label_count() -> None:
    assert [label_count(pattern) for pattern in (".lmtp", "*.b.c", ".", "a")] == [1, 3, 1, 1]
