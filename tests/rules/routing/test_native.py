"""imta-cnf.md 3.3: clauses native, unix and file become addresses of tcp_lmtpcn, and what its client says to the store."""

import pytest

from posthouse.relay.routing.connect import connect_host, wire_address
from posthouse.relay.routing.standing import delivery_file
from support.people import EXAMPLE, Attributes
from support.relay_files import CHANNELS, OPTIONS, RULES
from support.routing_relay import MakeRelay, Relay

JDOE = "uid=jdoe,ou=People,o=example.com,o=usergroup"
NATIVE_RULES = RULES.replace(
    "\n.example.com", "\n.lmtpn  $E$F$U%$H.lmtpn@lmtpcn-daemon\n.lmtpn  $B$F$U%$H@$H@lmtpcn-daemon\n.example.com", 1
)
BLOCK = """
tcp_lmtpcn lmtp multigate connectcanonical port 226 nodns single_sys dequeue_removeroute
lmtpcn-daemon
native-daemon
"""
CLAUSES = "#*native=@$X.LMTPN:$M+$2S@native-daemon,#*unix=@$X.LMTPN:$M,#*file=@$X.LMTPN:+$F,"
AT = "@store1.example.com.lmtpn:"


def native(make_relay: MakeRelay, clauses: str = CLAUSES, **attributes: str) -> Relay:
    entry: Attributes = {**EXAMPLE[JDOE], **{name: (value,) for name, value in attributes.items()}}
    options = OPTIONS.replace("#*mailbox=", f"{clauses}#*mailbox=", 1)
    return make_relay({**EXAMPLE, JDOE: entry}, rules=NATIVE_RULES, channels=CHANNELS + BLOCK, options=options)


@pytest.mark.parametrize(
    ("recipient", "attributes", "address", "wire"),
    [
        ("john.doe@example.com", {"maildeliveryoption": "native"}, "jdoe@native-daemon", "jdoe"),
        ("john.doe+News@example.com", {"maildeliveryoption": "native"}, "jdoe+News@native-daemon", "jdoe+News"),
        ("john.doe+News@example.com", {"maildeliveryoption": "unix"}, "jdoe@native-daemon", "jdoe"),
        (
            "john.doe@example.com",
            {"maildeliveryoption": "file", "maildeliveryfileurl": "file:///lists/a"},
            "+/lists/a@native-daemon",
            "+/lists/a",
        ),
        (
            "john.doe@example.com",
            {"maildeliveryoption": "file", "maildeliveryfileurl": "+/lists/a%b"},
            "+/lists/a%b@native-daemon",
            "+/lists/a%b",
        ),
    ],
)
def test_to_the_native_service(
    make_relay: MakeRelay, recipient: str, attributes: dict[str, str], address: str, wire: str
) -> None:
    relay = native(make_relay, **attributes)
    ((channel, made),) = relay.addresses(recipient)
    assert (channel, made) == ("tcp_lmtpcn", AT + address)
    block = relay.rules.imta.channels[channel]
    assert connect_host(relay.rules, block, made) == "store1.example.com"
    assert wire_address(relay.rules, block, made) == wire


@pytest.mark.parametrize("option", ["native", "unix"])
def test_without_a_route_by_lmtp_nothing_delivers(make_relay: MakeRelay, option: str) -> None:
    relay = native(make_relay, "#*native=$M@native-daemon,#*unix=$M@native-daemon,", maildeliveryoption=option)
    assert relay.refusal("john.doe@example.com").startswith(f"450 4.3.5 delivery option {option} is not available yet")


def test_nobody_outside_names_the_channel(make_relay: MakeRelay) -> None:
    relay = native(make_relay)
    for recipient in ("@store1.example.com.lmtpn:jdoe@native-daemon", "+/etc/passwd@native-daemon", "jdoe@lmtpcn-daemon"):
        assert relay.refusal(recipient).startswith("550 ")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///lists/a", "/lists/a"),
        ("FILE://store1.example.com/lists/a%20b", "/lists/a b"),
        ("+/lists/a%20b", "/lists/a%20b"),
        ("/lists/a", "/lists/a"),
        ("file:///../a", "/../a"),
        ("file://", ""),
        ("lists/a", ""),
        ("ftp://host/a", ""),
        ("", ""),
    ],
)
def test_delivery_file(url: str, path: str) -> None:
    assert delivery_file(url) == path
