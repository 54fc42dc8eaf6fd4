"""mappings.md 6 and 7, source-routes.md 7: who may send where."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from posthouse.relay.routing.access import check_sender
from posthouse.relay.routing.inquiry import Inquiry
from posthouse.relay.routing.result import Accepted, Noted, RouteRequest
from support.people import EXAMPLE, MemoryDirectory
from support.relay_files import OPTIONS
from support.routing_relay import MakeRelay, Relay

JDOE = "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"
FOREIGN = [
    "x@remote.test",
    "x%remote.test@example.com",
    "x%remote.test@relay1.example.com",
    "x%remote.test",
    "x%remote.test%example.com",
    "x%remote.test%example.com@relay1.example.com",
    "remote.test!x",
    "remote.test!x@example.com",
    "remote.test!x%example.com",
    "example.com!remote.test!x",
    "example.com!x@remote.test",
    "@example.com:x@remote.test",
    "@relay1.example.com:x@remote.test",
    "@relay1.example.com,@example.com:x@remote.test",
    "@remote.test:john.doe@example.com",
    "@remote.test,@example.com:x@other.test",
    "@example.com:x%remote.test@example.com",
    "@example.com:remote.test!x@example.com",
    '"x@remote.test"@remote.test',
    '"x%remote.test"@other.test',
    "x@[192.0.2.1]",
    "x@[IPv6:2001:db8::1]",
    "x%[192.0.2.1]@example.com",
    "@[192.0.2.1]:x@example.com",
    "x@remote.test.",
    "x@REMOTE.TEST",
    "x@example.com.remote.test",
    "x@sub.remote.test",
    "john.doe@example.com%remote.test@example.com",
    "x@localhost",
    "x%remote.test@[127.0.0.1]",
    "postmaster%remote.test@example.com",
    "x@remote.test@example.com",
    "<x@remote.test>",
]
DELIVERY = [
    "jdoe@store1.example.com.lmtp",
    JDOE,
    "@store1.example.com.LMTP:jdoe@lmtpcs-daemon",
    "jdoe@lmtpcs-daemon",
    "jdoe%lmtpcs-daemon@example.com",
    "@example.com:jdoe@lmtpcs-daemon",
    "jdoe@ims-ms-daemon",
    "jdoe%procmail@pipe-daemon",
    "@hold-daemon:john.doe@example.com",
    "x@bitbucket",
    "x@process-daemon",
    "x@reprocess-daemon",
]


@pytest.mark.parametrize("address", [*FOREIGN, *DELIVERY])
def test_no_form_of_address_is_relayed(relay: Relay, address: str) -> None:
    assert relay.refusal(address).startswith("5")


@pytest.mark.parametrize("address", [address for address in DELIVERY if address != "@example.com:jdoe@lmtpcs-daemon"])
def test_delivery_channels_cannot_be_named_even_without_a_table(make_relay: MakeRelay, address: str) -> None:
    assert make_relay(mappings="OTHER\n\n  *  $Y\n").refusal(address).startswith("550 5.")


@pytest.mark.parametrize("source", ["process", "reprocess", "hold", "tcp_local"])
@pytest.mark.parametrize("address", ["x%run@pipe-daemon", JDOE, "jdoe@lmtpcs-daemon", "@hold-daemon:jd@example.com"])
def test_notices_answers_and_redirects_name_no_delivery_channel(make_relay: MakeRelay, source: str, address: str) -> None:
    """They go to whom a sender or a user has named (decision 155)."""
    for relay in (make_relay(), make_relay(mappings="PORT_ACCESS\n\n  *  $Y\n\n")):
        assert relay.refusal(address, source_channel=source, sender="", redirected=True).startswith("550 5.")
        assert relay.refusal(address, source_channel=source, from_reprocess=True).startswith("550 5.")


@pytest.mark.parametrize("address", ["x%run@pipe-daemon", JDOE, "@hold-daemon:jd@example.com"])
def test_a_forwarding_address_names_no_delivery_channel(make_relay: MakeRelay, address: str) -> None:
    name = "uid=jdoe,ou=People,o=example.com,o=usergroup"
    forwards = {"maildeliveryoption": ("mailbox", "forward"), "mailforwardingaddress": (address,)}
    relay = make_relay({**EXAMPLE, name: {**EXAMPLE[name], **forwards}})
    (mailbox, refused) = relay.addresses("jd@example.com")
    assert mailbox == ("tcp_lmtpcs", JDOE)
    assert refused[0] == "reprocess"  # whose job tells the sender, and refuses it for good


def _forwarding(make_relay: MakeRelay, address: str, mappings: str) -> Relay:
    name = "uid=jdoe,ou=People,o=example.com,o=usergroup"
    forwards = {"maildeliveryoption": ("mailbox", "forward"), "mailforwardingaddress": (address,)}
    return make_relay({**EXAMPLE, name: {**EXAMPLE[name], **forwards}}, mappings=mappings)


@pytest.mark.parametrize("table", ["ORIG_SEND_ACCESS", "ORIG_MAIL_ACCESS"])
def test_a_table_lets_users_forward_to_a_delivery_channel(make_relay: MakeRelay, table: str) -> None:
    """As it lets everybody else name it: a list manager, say, that is reached by LMTP."""
    entries = "  *|hold|*  $NNo\n  *|pipe|*  $Y\n"
    relay = _forwarding(make_relay, "x%run@pipe-daemon", f"{table}\n\n{entries}\n")
    assert relay.addresses("jd@example.com")[1] == ("pipe", "x%run@pipe-daemon")
    again = "x%run@pipe-daemon"  # where it waited on reprocess for better times
    assert relay.addresses(again, from_reprocess=True) == [("pipe", "x%run@pipe-daemon")]
    relay = _forwarding(make_relay, "@hold-daemon:x@example.com", f"{table}\n\n{entries}\n")
    assert relay.addresses("jd@example.com")[1][0] == "reprocess"
    assert relay.refusal("@hold-daemon:x@example.com", from_reprocess=True).startswith("550 5.")


def test_a_user_may_throw_away_what_is_forwarded(make_relay: MakeRelay) -> None:
    """bitbucket runs nothing and has no mailboxes."""
    assert _forwarding(make_relay, "x@bitbucket", "").addresses("jd@example.com")[1] == ("bitbucket", "x@bitbucket")


@pytest.mark.parametrize("address", ["x@remote.test", "x%remote.test@example.com"])
def test_quoted_and_percent_forms_name_the_address_as_given(relay: Relay, address: str) -> None:
    assert relay.refusal(address) == f"550 5.7.1 Relaying not permitted: {address}"


def test_mail_from_inside_goes_out(relay: Relay) -> None:
    assert relay.addresses("x@remote.test", source_channel="tcp_intranet") == [("tcp_local", "x@remote.test")]


def test_a_table_may_allow_what_the_guard_refuses(make_relay: MakeRelay) -> None:
    relay = make_relay(mappings="ORIG_SEND_ACCESS\n\n  tcp_intranet|*|tcp_lmtpcs|*  $Y\n")
    assert relay.addresses("jdoe@store1.example.com.lmtp", source_channel="tcp_intranet")[0][0] == "tcp_lmtpcs"
    assert relay.refusal("jdoe@store1.example.com.lmtp").startswith("550 5.7.1")


@pytest.mark.parametrize(
    ("table", "reply"),
    [
        ("SEND_ACCESS\n\n  *|*|tcp_lmtpcs|*jdoe@*  $NNo$ mail$ today\n", "550 5.7.1 No mail today: jd@example.com"),
        ("SEND_ACCESS\n\n  tcp_local|x@evil.test|*|*  $N\n", "550 5.1.1 unknown or illegal alias: jd@example.com"),
        ("ORIG_SEND_ACCESS\n\n  *|*|l|jd@*  $N452$ 4.7.1$ Later\n", "452 4.7.1 Later: jd@example.com"),
        ("ORIG_SEND_ACCESS\n\n  *  $X4.7.9|Later$N\n", "450 4.7.9 Later: jd@example.com"),
        ("ORIG_SEND_ACCESS\n\n  *  $N$D30|Slowly\n", "550 5.7.1 Slowly: jd@example.com"),
        (
            "ORIG_MAIL_ACCESS\n\n  TCP|a|25|b|9|SMTP/h|MAIL|tcp_local|x@evil.test|l|jd@example.com  $NHere\n",
            "550 5.7.1 Here: jd@example.com",
        ),
        ("MAIL_ACCESS\n\n  TCP|a|25|b|9|SMTP/h|MAIL|tcp_local|*|tcp_lmtpcs|@*  $NThere\n", "550 5.7.1 There: jd@example.com"),
        ("ORIG_SEND_ACCESS\n\n  *  $:E$NWith$ EHLO\n", "550 5.7.1 With EHLO: jd@example.com"),
    ],
)
def test_each_table_can_refuse(make_relay: MakeRelay, table: str, reply: str) -> None:
    relay = make_relay(mappings=table)
    asked = {"port_probe": "TCP|a|25|b|9", "app_info": "SMTP/h", "flags": frozenset("E")}
    assert relay.refusal("jd@example.com", **asked) == reply


@pytest.mark.parametrize("sender", ["a|l|b@evil.test", "x@evil.test"])
def test_no_sender_writes_himself_another_field(make_relay: MakeRelay, sender: str) -> None:
    table = "ORIG_SEND_ACCESS\n\n  tcp_local|*|l|*  $Y\n  *  $NNo\n"
    assert make_relay(mappings=table).refusal("x@remote.test", sender=sender).startswith("550 5.7.1 No")


def test_access_errors_and_original_recipient(make_relay: MakeRelay) -> None:
    options = OPTIONS + "ACCESS_ERRORS=1\nACCESS_ORCPT=1\n"
    relay = make_relay(mappings="SEND_ACCESS\n\n  *|*|*|*|old@remote.test  $N\n", options=options)
    reply = "550 5.7.1 you are not allowed to send to this address: jd@example.com"
    assert relay.refusal("jd@example.com", original="old@remote.test") == reply
    assert isinstance(relay.route("jd@example.com"), Accepted)


def test_hold_bitbucket_and_delay(make_relay: MakeRelay) -> None:
    held = make_relay(mappings="SEND_ACCESS\n\n  *  $H$D150|\n").route("jd@example.com")
    assert isinstance(held, Accepted)
    assert (held.hold, held.delay) == (True, 1.5)
    swallowed = make_relay(mappings="ORIG_SEND_ACCESS\n\n  *  $B\n")
    assert swallowed.addresses("jd@example.com") == [("bitbucket", "jd@example.com")]


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("", None),
        ("me@example.com", None),
        ("spam@evil.test", "550 5.7.1 Go away: spam@evil.test"),
    ],
)
def test_senders(make_relay: MakeRelay, sender: str, reply: str | None) -> None:
    relay = make_relay(mappings="FROM_ACCESS\n\n  *|MAIL|tcp_local|*@evil.test|*  $NGo$ away\n")
    request = RouteRequest(sender, "", "tcp_local", "TCP|a|25|b|9", "SMTP/h")
    verdict = MemoryDirectory(EXAMPLE).run(check_sender(relay.rules, Inquiry(), request, ""))
    assert (str(verdict.rejected) if verdict.rejected else None) == reply


PIECES = st.sampled_from([*'@%!:,"\\+. []<>|$', "john.doe", "example.com", "remote.test", "relay1"])
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))


@example("0!\x80")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(address=TEXTS)
def test_any_text_ends_in_a_decision_and_nothing_from_outside_leaves(relay: Relay, address: str) -> None:
    routed = relay.route(address, explain=True)
    if isinstance(routed, Accepted):
        assert {target.channel for target in routed.recipients} <= {"tcp_lmtpcs", "tcp_intranet"}
        assert all("remote.test" not in target.host for target in routed.recipients)
    else:
        assert not routed.status.is_success
        assert str(routed.status).isprintable()
        assert len(str(routed.status)) < 512


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folder=st.text(min_size=1, max_size=20))
def test_no_subaddress_changes_the_store_or_the_user(relay: Relay, folder: str) -> None:
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    routed = relay.route(f'"john.doe+{quoted}"@example.com')
    if isinstance(routed, Accepted):
        (target,) = routed.recipients
        assert target.host == "store1.example.com.lmtp"
        assert target.address.startswith(("@store1.example.com.lmtp:jdoe+", '@store1.example.com.lmtp:"jdoe+'))
        assert target.address.endswith("@lmtpcs-daemon")



def test_a_header_line_and_log_texts_of_recipients_tables(make_relay: MakeRelay) -> None:
    tables = (
        "ORIG_SEND_ACCESS\n\n  *  $<seen|X-One:$ 1$A$Y\n\nSEND_ACCESS\n\n  *|jdoe*  $Y\n  *  $AX-Two:$ 2\n\n"
        "MAIL_ACCESS\n\n  *  $Ano$ header$ line\n"
    )
    routed = make_relay(mappings=tables).route("jd@example.com")
    assert isinstance(routed, Accepted)
    assert routed.noted == Noted(("X-One: 1", "X-Two: 2"), ("seen",))


@pytest.mark.parametrize("table", ["ORIG_SEND_ACCESS", "ORIG_MAIL_ACCESS", "SEND_ACCESS", "MAIL_ACCESS"])
def test_a_size_for_one_recipient(make_relay: MakeRelay, table: str) -> None:
    relay = make_relay(mappings=f"{table}\n\n  *jd@*  $S10$Y\n  *jdoe@*  $S10,5$Y\n")
    (target,) = accepted(relay.route("jd@example.com", size=10240)).recipients
    assert target.blocklimit == 10240
    assert relay.refusal("jd@example.com", size=10241).startswith("550 5.2.3")
    (other,) = accepted(relay.route("sue@hosted.example.org", size=10241)).recipients
    assert other.blocklimit == 0


def test_the_smallest_size_counts(make_relay: MakeRelay) -> None:
    sizes = {"ORIG_SEND_ACCESS": "9$Y", "ORIG_MAIL_ACCESS": "7", "SEND_ACCESS": "8", "MAIL_ACCESS": "x"}
    tables = "\n".join(f"{name}\n\n  *  $S{size}\n" for name, size in sizes.items())
    (target,) = accepted(make_relay(mappings=tables).route("jd@example.com")).recipients
    assert target.blocklimit == 7 * 1024


def accepted(routed: object) -> Accepted:
    assert isinstance(routed, Accepted), routed
    return routed
