import pytest

from posthouse.mail.address import parse_address
from posthouse.relay.routing.host_part import first_host, join, remaining_address


@pytest.mark.parametrize(
    ("address", "host", "rest", "place"),
    [
        ("user@a.b", "a.b", "user", "A"),
        ("user%x@a", "a", "user%x", "A"),
        ("@a:user@b.c", "a", "user@b.c", "S"),
        ("@a,@b:user@c", "a", "@b:user@c", "S"),
        ("user%a", "a", "user", "P"),
        ("user%a%b", "b", "user%a", "P"),
        ("a!user", "a", "user", "X"),
        ("a!user@b", "b", "a!user", "A"),
        ("a!user%b", "b", "a!user", "P"),
        ("user", "", "user", ""),
        ('"user%a"', "", '"user%a"', ""),
        ('"a!user"@b', "b", '"a!user"', "A"),
        ("user%", "", "user%", ""),
        ("!user", "", "!user", ""),
    ],
)
def test_first_host(address: str, host: str, rest: str, place: str) -> None:
    assert first_host(parse_address(address)) == (host, rest, place)


@pytest.mark.parametrize(
    ("rest", "remaining"),
    [
        ("jdoe", None),
        ("jdoe%other.test", "jdoe@other.test"),
        ("other.test!jdoe", "jdoe@other.test"),
        ("jdoe@other.test", "jdoe@other.test"),
        ("@b:jdoe@other.test", "@b:jdoe@other.test"),
        ("jdoe%a%b", "jdoe%a@b"),
        ('"jdoe%other.test"', None),
        ('"jdoe@other.test"', None),
        ("jdoe%", None),
    ],
)
def test_what_is_left_when_the_first_host_was_ours(rest: str, remaining: str | None) -> None:
    assert remaining_address(rest) == remaining


@pytest.mark.parametrize(
    ("user", "host", "route", "made"),
    [
        ("jdoe", "h", "", "jdoe@h"),
        ("jdoe", "h", "c", "@c:jdoe@h"),
        ("jdoe@lmtpcs-daemon", "h", "", "@h:jdoe@lmtpcs-daemon"),
        ("@b:jdoe@d", "h", "", "@h,@b:jdoe@d"),
        ("jdoe@d", "h", "c", "@c,@h:jdoe@d"),
        ('"a@b"', "h", "", '"a@b"@h'),
        ('"a@b"@d', "h", "", '@h:"a@b"@d'),
    ],
)
def test_join(user: str, host: str, route: str, made: str) -> None:
    assert join(user, host, route) == made
