import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.mail.address import Address, AddressError, parse_address, quote, unquote


@pytest.mark.parametrize(
    ("text", "route", "local", "domain"),
    [
        ("user@a.b", (), "user", "a.b"),
        ("user%x@a", (), "user%x", "a"),
        ("@a:user@b.c", ("a",), "user", "b.c"),
        ("@a,@b:user@c", ("a", "b"), "user", "c"),
        ("a!user@b", (), "a!user", "b"),
        ("user", (), "user", ""),
        ('"jo doe"@[192.0.2.1]', (), '"jo doe"', "[192.0.2.1]"),
        ('"a\\"b@c"@d', (), '"a\\"b@c"', "d"),
        (
            "@store1.example.com.LMTP:jdoe+Lists/python@lmtpcs-daemon",
            ("store1.example.com.LMTP",),
            "jdoe+Lists/python",
            "lmtpcs-daemon",
        ),
        ("grüße@exämple.com", (), "grüße", "exämple.com"),
        ("+/path@native-daemon", (), "+/path", "native-daemon"),
    ],
)
def test_three_parts(text: str, route: tuple[str, ...], local: str, domain: str) -> None:
    assert parse_address(text) == Address(route, local, domain)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "@a", "@a:", "a b@c", "a@", "a@b@c", '"open@x', "a@b\r\nDATA", "@a,b:c@d", "a\x00b@c", "x" * 1100]
)
def test_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
)
def test_quote_and_unquote_are_inverse(text: str) -> None:
    assert unquote(quote(text)) == text


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_written_back_unchanged(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert str(address) == text
