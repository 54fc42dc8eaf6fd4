"""The aliases file, and postmaster, who is always accepted."""

import pytest

from posthouse.relay.routing.result import Accepted
from support.people import EXAMPLE, Attributes, with_entries
from support.relay_files import CHANNELS, OPTIONS, RULES
from support.routing_relay import MakeRelay

COM: Attributes = {"sunpreferreddomain": ("example.com",)}
JDOE = ("tcp_lmtpcs", "@store1.example.com.lmtp:jdoe@lmtpcs-daemon")
SUE = ("tcp_lmtpcs", "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon")
ALIASES = """
postmaster: John.Doe@example.com
both: john.doe, sue@hosted.example.org, jd@example.com
out: ext@remote.test
chain: both
loop: pool
pool: loop
partly: john.doe, nobody.at.all
special@hosted.example.org: john.doe@example.com
""".lstrip()


@pytest.fixture
def entries() -> dict[str, Attributes]:
    return with_entries({"o=example.com,o=usergroup": COM})


@pytest.mark.parametrize(
    "address",
    [
        "postmaster",
        "PostMaster",
        "POSTMASTER@Example.com",
        "postmaster@relay1.example.com",
        "postmaster@hosted.example.org",
        "postmaster@hosted.example.net",
        '"postmaster"@example.com',
        "@relay1.example.com:postmaster@example.com",
    ],
)
def test_postmaster_goes_where_the_alias_says(make_relay: MakeRelay, entries: dict[str, Attributes], address: str) -> None:
    assert make_relay(entries, aliases=ALIASES).addresses(address) == [JDOE]


@pytest.mark.parametrize("address", ["postmaster@example.com", "postmaster@relay1.example.com", "postmaster@hosted.example.org"])
def test_an_alias_of_one_domains_postmaster_may_lead_to_this_machines(
    make_relay: MakeRelay, entries: dict[str, Attributes], address: str
) -> None:
    aliases = "postmaster: john.doe\npostmaster@example.com: postmaster@relay1.example.com\n"
    assert make_relay(entries, aliases=aliases).addresses(address) == [JDOE]


@pytest.mark.parametrize("address", ["postmaster@example.com", "postmaster@relay1.example.com"])
def test_an_alias_of_the_default_domains_postmaster_counts_for_this_machines(
    make_relay: MakeRelay, entries: dict[str, Attributes], address: str
) -> None:
    assert make_relay(entries, aliases="postmaster@example.com: john.doe\n").addresses(address) == [JDOE]


@pytest.mark.parametrize("address", ["postmaster", "Postmaster@example.com", "postmaster@hosted.example.org"])
def test_postmaster_without_an_alias_is_held(make_relay: MakeRelay, entries: dict[str, Attributes], address: str) -> None:
    entries["o=hosted.example.org,o=usergroup"] = {"sunpreferreddomain": ("hosted.example.org",)}
    full = address if "@" in address else f"{address}@relay1.example.com"
    routed = make_relay(entries).route(address)
    assert isinstance(routed, Accepted)
    assert [(target.channel, target.address, target.held) for target in routed.recipients] == [
        ("hold", f"@hold-daemon:{full}", True)
    ]
    assert routed.recipients[0].why_held.startswith("held: postmaster is always accepted, but ")


def test_postmaster_without_an_alias_and_without_channel_hold(make_relay: MakeRelay, entries: dict[str, Attributes]) -> None:
    relay = make_relay(entries, channels=CHANNELS.replace("hold\nhold-daemon\n\n", ""))
    routed = relay.route("postmaster@example.com")
    assert isinstance(routed, Accepted)
    assert [(target.channel, target.held) for target in routed.recipients] == [("l", True)]


def test_postmaster_in_the_directory(make_relay: MakeRelay, entries: dict[str, Attributes]) -> None:
    entries["uid=pm"] = {"uid": ("pm",), "mail": ("postmaster@example.com",), "mailhost": ("store1.example.com",)}
    relay = make_relay(entries)
    for address in ("postmaster", "postmaster@example.com", "Postmaster@relay1.example.com"):
        assert relay.addresses(address) == [("tcp_lmtpcs", "@store1.example.com.lmtp:pm@lmtpcs-daemon")]


@pytest.mark.parametrize(
    "bad", [{"mailuserstatus": ("deleted",)}, {"maildeliveryoption": ("forward",)}, {"mailroutingaddress": ("x@[",)}]
)
def test_postmaster_whose_entry_cannot_receive_is_held(
    make_relay: MakeRelay, entries: dict[str, Attributes], bad: Attributes
) -> None:
    entries["uid=pm"] = {"uid": ("pm",), "mail": ("postmaster@example.com",), "mailhost": ("store1.example.com",), **bad}
    routed = make_relay(entries).route("postmaster@example.com")
    assert isinstance(routed, Accepted)
    assert routed.recipients[0].held


def test_postmaster_of_another_domain_is_relaying(make_relay: MakeRelay) -> None:
    assert make_relay(aliases=ALIASES).refusal("postmaster@remote.test").startswith("550 5.7.1")


def test_postmaster_while_the_directory_is_silent(make_relay: MakeRelay) -> None:
    relay = make_relay(aliases=ALIASES)
    relay.directory.silent = True
    assert relay.refusal("postmaster").startswith("450 4.3.0")


@pytest.mark.parametrize(
    ("address", "targets"),
    [
        ("both@example.com", [JDOE, SUE]),
        ("Both@relay1.example.com", [JDOE, SUE]),
        ("both+x@example.com", [JDOE, SUE]),
        ("chain@example.com", [JDOE, SUE]),
        ("out@example.com", [("tcp_local", "ext@remote.test")]),
        ("special@hosted.example.net", None),
        ("special@hosted.example.org", [JDOE]),
    ],
)
def test_aliases(
    make_relay: MakeRelay, entries: dict[str, Attributes], address: str, targets: list[tuple[str, str]] | None
) -> None:
    relay = make_relay(entries, aliases=ALIASES)
    info = [("tcp_lmtpcs", "@store1.example.com.lmtp:info%hosted.example.org@lmtpcs-daemon")]
    assert relay.addresses(address) == (info if targets is None else targets)


@pytest.mark.parametrize("address", ["loop@example.com", "pool@example.com"])
def test_alias_loops_end(make_relay: MakeRelay, entries: dict[str, Attributes], address: str) -> None:
    assert make_relay(entries, aliases=ALIASES).refusal(address) == f"550 5.4.6 alias expansion loop: {address}"


def test_levels_are_limited(make_relay: MakeRelay, entries: dict[str, Attributes]) -> None:
    aliases = "".join(f"a{number}: a{number + 1}\n" for number in range(12)) + "a12: john.doe\n"
    relay = make_relay(entries, aliases=aliases)
    assert relay.addresses("a4@example.com") == [JDOE]
    assert relay.refusal("a3@example.com").startswith("550 5.4.6")
    assert make_relay(entries, aliases=aliases, options=OPTIONS + "MAX_ALIAS_LEVELS=20\n").addresses("a0@example.com") == [JDOE]


def test_one_refused_member_refuses_the_whole(make_relay: MakeRelay, entries: dict[str, Attributes]) -> None:
    assert make_relay(entries, aliases=ALIASES).refusal("partly@example.com").startswith("550 5.1.1")


def test_entry_beats_alias_and_alias_beats_smart_host(make_relay: MakeRelay) -> None:
    aliases = "john.doe: sue@hosted.example.org\nlist: sue@hosted.example.org\n"
    relay = make_relay(dict(EXAMPLE), aliases=aliases)
    assert relay.addresses("john.doe@example.com") == [JDOE]
    assert relay.addresses("list@example.com") == [SUE]


def test_default_host_of_the_source_channel(make_relay: MakeRelay) -> None:
    channels = CHANNELS.replace("tcp_local smtp", "tcp_local smtp defaulthost hosted.example.org hosted.example.org")
    assert make_relay(channels=channels, rules=RULES).addresses("sue") == [SUE]
