import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.relay.directory.filter import (
    MAX_DEPTH,
    And,
    Attributes,
    Compare,
    Comparison,
    Extensible,
    FilterError,
    Not,
    Or,
    Present,
    Substring,
    escape,
    matches,
    parse,
    unescape,
)

ENTRY: Attributes = {
    "objectclass": ("inetOrgPerson", "inetMailUser"),
    "mail": ("John.Doe@Example.com",),
    "cn": ("John  Q.  Doe", "J\xf6rg"),
    "mailquota": ("100",),
    "note": ("a*b(c)\\d",),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(mail=a@b)", Compare("mail", Comparison.EQUAL, "a@b")),
        ("(Mail=)", Compare("mail", Comparison.EQUAL, "")),
        ("(mail=*)", Present("mail")),
        ("(mail=a*)", Substring("mail", ("a", ""))),
        ("(mail=*a*b*)", Substring("mail", ("", "a", "b", ""))),
        ("(n>=5)", Compare("n", Comparison.AT_LEAST, "5")),
        ("(n<=5)", Compare("n", Comparison.AT_MOST, "5")),
        ("(n~=x)", Compare("n", Comparison.APPROXIMATE, "x")),
        ("(&)", And(())),
        ("(|)", Or(())),
        ("(&(a=1)(|(b=2)(c=3)))", And((Compare("a", Comparison.EQUAL, "1"), parse("(|(b=2)(c=3))")))),
        ("(!(a=1))", Not(Compare("a", Comparison.EQUAL, "1"))),
        ("( & (a=1) (b=2) )", parse("(&(a=1)(b=2))")),
        (r"(cn=a\2ab\28\5c\c3\b6)", Compare("cn", Comparison.EQUAL, "a*b(\\\xf6")),
        ("(cn:caseExactMatch:=John)", Extensible("cn", "caseExactMatch", "John")),
        ("(ou:dn:=x)", Extensible("ou", "", "x")),
        ("(cn;lang-de=x)", Compare("cn;lang-de", Comparison.EQUAL, "x")),
        ("(2.5.4.3=x)", Compare("2.5.4.3", Comparison.EQUAL, "x")),
    ],
)
def test_parse(text: str, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mail=x",
        "(mail=x",
        "(mail=x))",
        "(mail=x)(uid=y)",
        "()",
        "(=x)",
        "(mail)",
        "(!(a=1)(b=2))",
        "(!)",
        "(mail=a(b)",
        "(mail=\\2)",
        "(mail=\\zz)",
        "(mail=\x00)",
        "(n>=a*)",
        "(m ail=x)",
        "(cn:rule=x)",
        "(&(a=1)",
        "(!" * (MAX_DEPTH + 2) + "(a=1)" + ")" * (MAX_DEPTH + 2),
        "(a=" + "x" * 70000 + ")",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("(mail=john.doe@example.COM)", True),
        ("(mail=doe@example.com)", False),
        ("(cn=john q. doe)", True),
        ("(cn=J\xd6RG)", True),
        ("(cn=*\xd6rg)", True),
        ("(mail=john*@*.com)", True),
        ("(mail=*john)", False),
        ("(mail=*.*)", True),
        ("(mailquota>=99)", True),
        ("(mailquota>=100)", True),
        ("(mailquota>=1000)", False),
        ("(mailquota<=1000)", True),
        ("(mailquota<=99)", False),
        ("(cn>=j)", True),
        ("(nothing<=5)", False),
        ("(mail=*)", True),
        ("(nothing=*)", False),
        ("(!(nothing=x))", True),
        ("(&)", True),
        ("(|)", False),
        ("(&(objectClass=inetmailuser)(!(mail=x)))", True),
        ("(|(mail=x)(objectclass=INETORGPERSON))", True),
        (r"(note=a\2ab\28c\29\5cd)", True),
        ("(note=a*b*)", True),
        ("(mail:caseExactMatch:=john.doe@example.com)", False),
        ("(mail:caseExactMatch:=John.Doe@Example.com)", True),
        ("(mail:=john.doe@example.com)", True),
        ("(mail:1.2.840.113556.1.4.803:=1)", False),
    ],
)
def test_matches(text: str, fits: bool) -> None:
    assert matches(parse(text), ENTRY) is fits


@given(st.text())
def test_an_escaped_value_is_that_value_and_nothing_more(value: str) -> None:
    assert parse(f"(mail={escape(value)})") == Compare("mail", Comparison.EQUAL, value)
    assert unescape(escape(value)) == value
    assert not re.search(r"[*()\x00]", escape(value))


@given(st.text(alphabet="()*\\|&!=x0aA\x00 ", max_size=40))
def test_no_value_widens_a_filter(value: str) -> None:
    wanted = parse(f"(&(uid=jdoe)(mail={escape(value)}))")
    assert matches(wanted, {"uid": ("jdoe",), "mail": ("other",)}) is False
    assert isinstance(wanted, And)
    assert len(wanted.parts) == 2


@given(st.text(alphabet="()*\\|&!=<>~:xyz;-.0aA ", max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except FilterError:
        return
    assert matches(found, ENTRY) in {True, False}
