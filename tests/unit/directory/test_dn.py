import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.relay.directory.dn import domain_of, escape_value, is_under, normal_dn, split_dn


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid=jdoe,ou=People,o=x", "UID=JDoe, OU=people , O = X"),
        (r"cn=Doe\, John,o=x", r"cn=doe\2c john,o=X"),
        ("cn=J\xf6rg,o=x", r"cn=J\c3\96RG,o=x"),
        ("cn=a  b,o=x", "cn=a b,o=x"),
    ],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert normal_dn(one) == normal_dn(other)


def test_different_names_differ() -> None:
    assert normal_dn(r"cn=a\,o=x") != normal_dn("cn=a,o=x")


def test_under() -> None:
    assert is_under("uid=a,o=x", "o=x")
    assert is_under("o=x", "o=x")
    assert is_under("o=x", "")
    assert not is_under("uid=a,co=x", "o=x")
    assert not is_under("o=x", "uid=a,o=x")


def test_the_domain_of_a_name() -> None:
    assert domain_of("dc=Hosted, dc=example,dc=org,o=internet") == "hosted.example.org"
    assert domain_of("o=internet") == ""


@given(st.text(max_size=20))
def test_an_escaped_value_is_one_part_of_a_name(value: str) -> None:
    assert len(split_dn(f"dc={escape_value(value)},o=internet")) == 2
    assert "," not in normal_dn(f"dc={escape_value(value)}")
