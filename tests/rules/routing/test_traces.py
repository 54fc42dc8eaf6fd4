"""source-routes.md 3: traces A, B, C and E, every intermediate address."""

import pytest

from posthouse.relay.routing.connect import connect_host, wire_address
from posthouse.relay.routing.result import Accepted, Step
from support.relay_files import CHANNELS, OPTIONS, RULES
from support.routing_relay import MakeRelay, Relay

SMTP_OPTIONS = OPTIONS[: OPTIONS.index("! Modified")]


def shown(steps: tuple[Step, ...]) -> list[tuple[int, str, str]]:
    return [(step.step, step.address, step.channel) for step in steps if step.step not in {3, 6}]


def test_trace_a_primary_domain_user(relay: Relay) -> None:
    routed = relay.route("John.Doe@Example.COM", explain=True)
    assert isinstance(routed, Accepted)
    assert shown(routed.steps) == [
        (1, "John.Doe@Example.COM", ""),
        (2, "John.Doe@Example.COM", "l"),
        (4, "John.Doe@Example.COM", "l"),
        (4, "John.Doe@Example.COM", "l"),
        (4, "@store1.example.com.LMTP:jdoe@lmtpcs-daemon", ""),
        (5, "@store1.example.com.lmtp:jdoe@lmtpcs-daemon", "tcp_lmtpcs"),
        (8, "@store1.example.com.lmtp:jdoe@lmtpcs-daemon", "tcp_lmtpcs"),
        (9, "jdoe", "tcp_lmtpcs"),
    ]
    (target,) = routed.recipients
    assert target.host == "store1.example.com.lmtp"
    assert target.quota == "52428800,5000"
    assert target.flags == 0
    assert target.intermediate == "John.Doe@Example.COM"
    channel = relay.rules.imta.channels["tcp_lmtpcs"]
    assert connect_host(relay.rules, channel, target.address) == "store1.example.com"
    assert wire_address(relay.rules, channel, target.address) == "jdoe"


def test_steps_name_the_rule_and_the_clause(relay: Relay) -> None:
    steps = relay.route("john.doe@example.com", explain=True).steps
    config = [(step.step, step.file, step.line) for step in steps if step.file]
    lines = RULES.splitlines()
    assert config[0] == (2, "config/imta.cnf", lines.index(next(line for line in lines if line.startswith("$*"))) + 1)
    assert config[1] == (3, "config/mappings", 1)
    assert config[2] == (4, "config/option.dat", OPTIONS.splitlines().index("DELIVERY_OPTIONS=\\") + 1)
    assert config[3] == (5, "config/imta.cnf", lines.index(next(line for line in lines if line.startswith(".lmtp"))) + 1)
    texts = [step.text for step in steps]
    assert "user uid=jdoe,ou=People,o=example.com,o=usergroup" in texts
    assert any("mailSieveRuleSource" in text for text in texts)


@pytest.mark.parametrize(
    ("recipient", "queued", "wire"),
    [
        ("john.doe@example.com", "@store1.example.com.lmtp:jdoe@lmtpcs-daemon", "jdoe"),
        (
            "SUE@Hosted.Example.NET",
            "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon",
            "SMiller@hosted.example.org",
        ),
        ("john.doe+Lists/python@example.com", "@store1.example.com.lmtp:jdoe+Lists/python@lmtpcs-daemon", "jdoe+Lists/python"),
        (
            "sue+Work@hosted.example.org",
            "@store2.example.com.lmtp:SMiller%hosted.example.org+Work@lmtpcs-daemon",
            "SMiller+Work@hosted.example.org",
        ),
        (
            '"john.doe+My Folder"@example.com',
            '@store1.example.com.lmtp:"jdoe+My Folder"@lmtpcs-daemon',
            '"jdoe+My Folder"',
        ),
        (
            '"sue+My Folder"@hosted.example.org',
            '@store2.example.com.lmtp:"SMiller%hosted.example.org+My Folder"@lmtpcs-daemon',
            '"SMiller+My Folder"@hosted.example.org',
        ),
        (
            '"john.doe+a@b"@example.com',
            '@store1.example.com.lmtp:"jdoe+a@b"@lmtpcs-daemon',
            '"jdoe+a@b"',
        ),
        ("john.doe+50%off@example.com", None, None),
    ],
)
def test_traces_b_and_c(relay: Relay, recipient: str, queued: str | None, wire: str | None) -> None:
    if queued is None:
        assert relay.refusal(recipient).startswith("550 5.")
        return
    assert relay.addresses(recipient) == [("tcp_lmtpcs", queued)]
    assert wire_address(relay.rules, relay.rules.imta.channels["tcp_lmtpcs"], queued) == wire


def test_trace_e_on_the_relay(make_relay: MakeRelay) -> None:
    relay = make_relay(options=SMTP_OPTIONS)
    queued = "@store1.example.com:john.doe@example.com"
    assert relay.addresses("john.doe@example.com") == [("tcp_intranet", queued)]
    channel = relay.rules.imta.channels["tcp_intranet"]
    assert connect_host(relay.rules, channel, queued) == "store1.example.com"
    assert wire_address(relay.rules, channel, queued) == queued


def test_trace_e_on_the_store(make_relay: MakeRelay) -> None:
    relay = make_relay(
        rules=RULES.replace("relay1", "store1"),
        channels=CHANNELS.replace("relay1", "store1"),
        options=SMTP_OPTIONS.replace("relay1", "store1"),
    )
    assert relay.addresses("@store1.example.com:john.doe@example.com") == [("ims-ms", "jdoe@ims-ms-daemon")]
    assert relay.addresses("@store1.example.com:john.doe@example.com", source_channel="tcp_intranet") == [
        ("ims-ms", "jdoe@ims-ms-daemon")
    ]
    assert relay.addresses("sue@hosted.example.org") == [("tcp_intranet", "@store2.example.com:sue@hosted.example.org")]


def test_trace_e_hosted_user_on_his_store(make_relay: MakeRelay) -> None:
    relay = make_relay(
        rules=RULES.replace("relay1", "store2"),
        channels=CHANNELS.replace("relay1", "store2"),
        options=SMTP_OPTIONS.replace("relay1", "store2"),
    )
    assert relay.addresses("sue@hosted.example.org") == [("ims-ms", "SMiller%hosted.example.org@ims-ms-daemon")]


@pytest.mark.parametrize(
    ("without", "host"),
    [("multigate", "lmtpcs-daemon"), ("connectcanonical", "store1.example.com.lmtp")],
)
def test_without_the_keyword_the_host_does_not_resolve(make_relay: MakeRelay, without: str, host: str) -> None:
    relay = make_relay(channels=CHANNELS.replace(f" {without}", ""))
    queued = "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"
    assert relay.addresses("john.doe@example.com") == [("tcp_lmtpcs", queued)]
    assert connect_host(relay.rules, relay.rules.imta.channels["tcp_lmtpcs"], queued) == host


def test_an_alias_of_the_channel_block_is_its_proper_name(make_relay: MakeRelay) -> None:
    hosts = "\nlmtpcs-daemon\nreal.example.com store1.example.com.lmtp\n"
    relay = make_relay(channels=CHANNELS.replace("\nlmtpcs-daemon\n", hosts))
    channel = relay.rules.imta.channels["tcp_lmtpcs"]
    assert connect_host(relay.rules, channel, "@Store1.example.com.lmtp:jdoe@lmtpcs-daemon") == "real.example.com"


def test_where_the_directory_would_have_to_be_asked_the_host_stays(make_relay: MakeRelay) -> None:
    rules = RULES.replace(".lmtp   $B$F$U%$H@$H@lmtpcs-daemon", ".lmtp   $B$F$U%$H@$H@lmtpcs-daemon$V$H")
    relay = make_relay(rules=rules)
    channel = relay.rules.imta.channels["tcp_lmtpcs"]
    assert connect_host(relay.rules, channel, "@example.com.lmtp:jdoe@lmtpcs-daemon") == "example.com.lmtp"
    assert relay.directory.asked == []


def test_a_rule_that_leads_to_another_channel_does_not_change_the_host(make_relay: MakeRelay) -> None:
    relay = make_relay(rules=RULES.replace("$H@$H@lmtpcs-daemon", "$H@$H@tcp-daemon"))
    channel = relay.rules.imta.channels["tcp_lmtpcs"]
    assert connect_host(relay.rules, channel, "@s.example.com.lmtp:jdoe@lmtpcs-daemon") == "s.example.com.lmtp"


def test_daemon_is_always_connected_to(make_relay: MakeRelay) -> None:
    relay = make_relay(channels=CHANNELS.replace("port 225", "port 225 daemon router"))
    channel = relay.rules.imta.channels["tcp_lmtpcs"]
    assert connect_host(relay.rules, channel, "@store1.example.com.lmtp:jdoe@lmtpcs-daemon") == "router"


def test_route_stays_without_dequeue_removeroute(make_relay: MakeRelay) -> None:
    relay = make_relay(channels=CHANNELS.replace(" dequeue_removeroute", ""))
    channel = relay.rules.imta.channels["tcp_lmtpcs"]
    assert wire_address(relay.rules, channel, "@s.lmtp:jdoe@lmtpcs-daemon") == "@s.lmtp:jdoe"


@pytest.mark.parametrize(
    ("queued", "wire"),
    [
        ("@s.lmtp:jdoe@example.com", "jdoe@example.com"),
        ("jdoe@lmtpcs-daemon", "jdoe"),
        ("jdoe@IMS-MS-daemon", "jdoe"),
        ("a%b%c+f+g@lmtpcs-daemon", "a%b+f+g@c"),
        ("+/var/mail/x@lmtpcs-daemon", "+/var/mail/x"),
        ("nonsense@", "nonsense@"),
    ],
)
def test_wire_form(relay: Relay, queued: str, wire: str) -> None:
    assert wire_address(relay.rules, relay.rules.imta.channels["tcp_lmtpcs"], queued) == wire
