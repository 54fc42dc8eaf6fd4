"""Addresses for RCPT made by their shape are those that the general way makes."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.relay.routing.connect import REMEMBERED_SHAPES, WireAddresses, wire_address
from support.relay_files import relay_rules

with TemporaryDirectory() as _folder:
    _RULES = relay_rules(Path(_folder))
LOCALS = st.sampled_from(
    ["jdoe", "J.Doe", "a-b_c", "x+y", "u%d", "u%d+f", "a..b", ".a", "é", "p q", '"p q"', '"a:b@c"', "lmtpcs-daemon", "n" * 300]
) | st.text('ab.-_+%@:"\\ ', max_size=8)  # fmt: skip
ROUTES = st.sampled_from(["", "@store1.example.com.lmtp:", "@a,@b.example:", "@[IPv6:::1]:", "@:", ":"])
DOMAINS = st.sampled_from(["", "@lmtpcs-daemon", "@LMTPCS-daemon", "@example.com", "@[IPv6:::1]", "@"])


CHANNELS = st.sampled_from(sorted(_RULES.imta.channels))


@given(st.lists(st.tuples(ROUTES, LOCALS, DOMAINS), min_size=1, max_size=6), CHANNELS, st.booleans())
@settings(max_examples=400)
def test_as_the_general_way(parts: list[tuple[str, str, str]], name: str, to_store: bool) -> None:
    channel = _RULES.imta.channels[name]
    short = WireAddresses(_RULES, channel, to_store=to_store)
    for address in map("".join, parts):
        assert short.of(address) == wire_address(_RULES, channel, address, to_store=to_store)


def test_many_hosts() -> None:
    channel = _RULES.imta.channels["tcp_lmtpcs"]
    short = WireAddresses(_RULES, channel)
    for number in range(2 * REMEMBERED_SHAPES + 2):
        assert short.of(f"@host{number}.lmtp:jdoe@lmtpcs-daemon") == "jdoe"
