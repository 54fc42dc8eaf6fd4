"""IP_ACCESS: addresses that are kept, passed over, replaced, and the row of them that ends."""

import pytest

from posthouse.mail.status import Status
from posthouse.mapping.table import Tables
from posthouse.relay.channels.ip_access import IpAccess

ADDRESSES = ("192.0.2.1", "2001:db8::1", "192.0.2.3")


def judged(*entries: tuple[str, str]) -> tuple[tuple[str | Status, ...], list[str]]:
    alarms: list[str] = []
    gate = IpAccess(Tables.compile([("IP_ACCESS", entries)] if entries else []), "tcp_local", alarms.append)
    return tuple(gate.judge("mx.example.org", ADDRESSES)), alarms


@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        ((), ADDRESSES),
        ((("tcp_intranet|*", "$N"),), ADDRESSES),
        ((("*", "$Y"),), ADDRESSES),
        ((("tcp_local|1|3|*|mx.example.org", "$I"),), ADDRESSES[1:]),
        ((("*|*|*|192.0.2.*|*", "$I"),), ("2001:db8::1",)),
        ((("*", "$I"),), ()),
        ((("tcp_local|*|3|*:*|*", "$A192.0.2.9"),), ("192.0.2.1", "192.0.2.9", "192.0.2.3")),
        ((("*|2|*", "$]ldap:///o=x?mail?sub?(uid=a)[$I"), ("*|3|3|*", "$I")), ADDRESSES[:2]),
    ],
)
def test_addresses(entries: tuple[tuple[str, str], ...], kept: tuple[str, ...]) -> None:
    assert judged(*entries) == (kept, [])


@pytest.mark.parametrize(
    ("template", "status"),
    [
        ("$Nno$ mail$ to$ them", Status(550, "5.7.1", "no mail to them")),
        ("$N451$ 4.7.1$ not$ now", Status(451, "4.7.1", "not now")),
        ("$X$N4.7.1|not$ now", Status(450, "4.7.1", "not now")),
        ("$F", Status(550, "5.7.1", "this system does not connect to mx.example.org")),
    ],
)
def test_a_row_that_ends(template: str, status: Status) -> None:
    assert judged(("*|2|*", template)) == ((ADDRESSES[0], ADDRESSES[2], status), [])


def test_an_address_that_is_none_is_passed_over_and_told() -> None:
    kept, alarms = judged(("*|2|*", "$Arelay2"))
    assert kept == ("192.0.2.1", "192.0.2.3")
    assert alarms == ["IP_ACCESS: 'relay2', given for 2001:db8::1, is no IP address"]
