import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.relay.directory.dn import normal_dn
from posthouse.relay.directory.ldif import MAX_FAULTS, LdifError, read_ldif

DATA = Path(__file__).parent.parent.parent / "data" / "directory"


def test_the_example_of_the_reference() -> None:
    entries = read_ldif((DATA / "people.ldif").read_bytes())
    assert len(entries) == 10
    john = entries["uid=jdoe,ou=people,o=example.com,o=usergroup"]
    assert john.dn == "uid=jdoe,ou=People,o=example.com,o=usergroup"
    assert john.attributes["mailquota"] == ("50M",)
    assert john.attributes["mailsieverulesource"] == (
        'require ["fileinto"];if header :contains "Subject" "[list]" { fileinto "Lists"; }',
    )
    staff = entries["cn=staff,ou=groups,o=example.com,o=usergroup"]
    assert len(staff.attributes["uniquemember"]) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cn: plain", "plain"),
        ("cn:plain", "plain"),
        ("cn:    far", "far"),
        ("cn:: SsO2cmc=", "J\xf6rg"),
        ("cn::SsO2cmc=", "J\xf6rg"),
        ("cn: J\xf6rg", "J\xf6rg"),
        ("cn: one\n  two", "one two"),
        ("cn: one\n two\n three", "onetwothree"),
        ("c\n n: x", "x"),
        ("cn:: SsO2\n cmc=", "J\xf6rg"),
        ("# a comment\n that goes on\ncn: x", "x"),
        ("cn: a # b", "a # b"),
        ("cn: a: b", "a: b"),
        ("cn:", ""),
        ("cn: blank at the end ", "blank at the end "),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_values(text: str, value: str, end: str) -> None:
    whole = f"version: 1\n\ndn: o=x\n{text}\n".replace("\n", end)
    assert read_ldif(whole.encode())["o=x"].attributes == {"cn": (value,)}


def test_names_are_lower_case_and_keep_their_options() -> None:
    found = read_ldif(b"dn: o=x\nMailAutoReplyText;lang-DE: fort\nMAIL: a\nmail: b\n")
    assert found["o=x"].attributes == {"mailautoreplytext;lang-de": ("fort",), "mail": ("a", "b")}


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing\n", b"version: 1\n", b"\xef\xbb\xbfversion: 1\n\n# x\n"])
def test_no_entries(text: bytes) -> None:
    assert read_ldif(text) == {}


def test_an_addition_is_an_entry() -> None:
    added = read_ldif(b"dn: o=a\nchangetype: add\no: a\n\ndn: o=b\nchangeType: Add\no: b\n")
    assert [entry.attributes for entry in added.values()] == [{"o": ("a",)}, {"o": ("b",)}]


def test_blank_lines_do_not_matter() -> None:
    assert list(read_ldif(b"\n\n\ndn: o=a\no: a\n\n\n\ndn: o=b\no: b")) == ["o=a", "o=b"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("dn: o=x\nchangetype: modify\no: x\n", 2, "change records"),
        ("dn: o=x\ncontrol: 1.2\n", 2, "change records"),
        ("dn: o=x\njpegPhoto:< file:///etc/passwd\n", 2, "by URL"),
        ("o: x\ndn: o=x\n", 1, "begins with its dn"),
        ("version: 2\n\ndn: o=x\n", 1, "begins with its dn"),
        ("dn: o=x\no: x\nnonsense\n", 3, "no colon"),
        ("dn: o=x\no:: x*\n", 2, "base64"),
        ("dn: o=x\n# c\n c\no:: x*\n", 4, "base64"),
        ("dn: o=x\nb d: x\n", 2, "attribute name"),
        ("\n\ndn: o=x\no: x\n\n\n\ndn: O=X\no: x\n", 8, "already an entry"),
        ("\xff", 1, "UTF-8"),
    ],
)
def test_faults_name_their_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(LdifError) as problem:
        read_ldif(text.encode("latin-1"))
    assert [fault[0] for fault in problem.value.faults] == [line]
    assert reason in problem.value.faults[0][1]


def test_all_faults_are_told_at_once_up_to_a_limit() -> None:
    with pytest.raises(LdifError) as problem:
        read_ldif(b"dn: o=a\nbad\n\ndn: o=b\no: b\n\nworse\n")
    assert [line for line, _ in problem.value.faults] == [2, 7]
    with pytest.raises(LdifError) as problem:
        read_ldif(b"bad\n\n" * 1000)
    assert len(problem.value.faults) == MAX_FAULTS


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4), st.integers(5, 80))
def test_what_is_written_is_read(values: list[str], width: int) -> None:
    lines = []
    for value in values:
        line = "cn:: " + base64.b64encode(value.encode()).decode()
        lines.append("\n ".join(line[at : at + width] for at in range(0, len(line), width)))
    assert read_ldif(("dn: o=x\n" + "\n".join(lines)).encode())["o=x"].attributes == {"cn": tuple(values)}


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    try:
        entries = read_ldif(octets)
    except LdifError:
        return
    assert all(name == normal_dn(entry.dn) for name, entry in entries.items())
