"""SRS in routing: forwarded mail leaves in our name, bounces come back, nobody relays by it."""

from pathlib import Path

from posthouse.relay.routing.result import Accepted
from support.people import EXAMPLE, MemoryDirectory
from support.relay_files import OPTIONS, relay_rules
from support.routing_relay import Relay


def make(tmp_path: Path) -> Relay:
    config = tmp_path / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "srs.secret").write_text("a secret that is long\n")
    options = OPTIONS + "SRS_DOMAIN=Example.com\nSRS_SECRET_FILE=srs.secret\n"
    return Relay(relay_rules(tmp_path, options=options), MemoryDirectory(EXAMPLE))


def senders(relay: Relay, sender: str) -> dict[str, str]:
    routed = relay.route("bob@example.com", sender=sender)
    assert isinstance(routed, Accepted), routed
    return {target.channel: target.sender for target in routed.recipients}


def test_only_what_goes_outside_and_came_from_outside(tmp_path: Path) -> None:
    relay = make(tmp_path)
    found = senders(relay, "x@evil.test")
    assert found["tcp_lmtpcs"] == ""
    assert found["tcp_local"].endswith("=evil.test=x@example.com")
    assert senders(relay, "jd@example.com")["tcp_local"] == ""
    assert senders(relay, "")["tcp_local"] == ""


def test_a_bounce_comes_back_and_nothing_else(tmp_path: Path) -> None:
    relay = make(tmp_path)
    address = senders(relay, "x@evil.test")["tcp_local"]
    assert relay.addresses(address, sender="") == [("tcp_local", "x@evil.test")]
    assert relay.refusal(address, sender="y@evil.test").startswith("550 5.7.1 this address takes bounces only")
    forged = address.replace("=x@", "=victim@")
    assert relay.refusal(forged, sender="").startswith("550 5.7.1 SRS address refused, the signature is wrong")


def test_off_by_default(tmp_path: Path) -> None:
    relay = Relay(relay_rules(tmp_path), MemoryDirectory(EXAMPLE))
    assert set(senders(relay, "x@evil.test").values()) == {""}
    assert relay.refusal("SRS0=AAAAAAAA=AA=evil.test=x@evil.test", sender="").startswith("550 5.7.1")


def test_what_a_script_redirects_outside_leaves_in_our_name_too(tmp_path: Path) -> None:
    relay = make(tmp_path)
    for redirected, sender in ((True, "=evil.test=x@example.com"), (False, "")):
        routed = relay.route("friend@remote.test", source_channel="process", redirected=redirected)
        assert isinstance(routed, Accepted), routed
        (target,) = routed.recipients
        assert (target.channel, target.sender.endswith(sender), bool(target.sender)) == ("tcp_local", True, redirected)
