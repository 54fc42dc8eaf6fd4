"""directory.md 13: what the example's addresses become; 3-6 and 9 in detail."""

import pytest

from posthouse.relay.directory.question import Answer, NeedDomain, NeedEntry
from posthouse.relay.routing.result import Accepted, Routed, RouteRequest
from posthouse.relay.routing.route import route_recipient
from support.people import EXAMPLE, Attributes, with_entries
from support.relay_files import CHANNELS, OPTIONS
from support.routing_relay import AUGUST, JULY, MakeRelay, Relay

JDOE = "uid=jdoe,ou=People,o=example.com,o=usergroup"
COM = "o=example.com,o=usergroup"
ORG = "o=hosted.example.org,o=usergroup"
STAFF = "cn=staff,ou=Groups,o=example.com,o=usergroup"
AT_STORE1 = "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"


def changed(dn: str, **attributes: tuple[str, ...]) -> dict[str, Attributes]:
    """The example with attributes of one entry replaced; an empty tuple removes one."""
    merged = {**EXAMPLE[dn], **attributes}
    return with_entries({dn: {name: values for name, values in merged.items() if values}})


@pytest.mark.parametrize(
    ("recipient", "channel", "address"),
    [
        ("john.doe@example.com", "tcp_lmtpcs", AT_STORE1),
        ("JD@EXAMPLE.com", "tcp_lmtpcs", AT_STORE1),
        ("jd+Work@example.com", "tcp_lmtpcs", "@store1.example.com.lmtp:jdoe+Work@lmtpcs-daemon"),
        ("ann.smith@example.com", "tcp_lmtpcs", "@store2.example.com.lmtp:asmith@lmtpcs-daemon"),
        ("sue@hosted.example.net", "tcp_lmtpcs", "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon"),
        ("nobody@hosted.example.org", "tcp_lmtpcs", "@store1.example.com.lmtp:info%hosted.example.org@lmtpcs-daemon"),
        ("nobody@example.com", "tcp_intranet", "@legacy.example.com:nobody@example.com"),
        ("jdoe", None, "@legacy.example.com:jdoe@example.com"),
        ("john.doe", "tcp_lmtpcs", AT_STORE1),
        ('"john.doe"@example.com', "tcp_lmtpcs", AT_STORE1),
        ("@relay1.example.com:john.doe@example.com", "tcp_lmtpcs", AT_STORE1),
        ("john.doe%example.com@relay1.example.com", "tcp_lmtpcs", AT_STORE1),
    ],
)
def test_delivered(relay: Relay, recipient: str, channel: str | None, address: str) -> None:
    assert relay.addresses(recipient) == [(channel or "tcp_intranet", address)]


@pytest.mark.parametrize(
    ("recipient", "now", "reply"),
    [
        ("gone@hosted.example.org", AUGUST, "550 5.1.6 recipient no longer on server: gone@hosted.example.org"),
        ("staff@example.com", AUGUST, "550 5.7.1 staff is for example.com senders only: staff@example.com"),
    ],
)
def test_refused(relay: Relay, recipient: str, now: float, reply: str) -> None:
    assert relay.refusal(recipient, now=now) == reply


def test_vacation_and_forward(relay: Relay) -> None:
    ann = ("tcp_lmtpcs", "@store2.example.com.lmtp:asmith@lmtpcs-daemon")
    away = ("bitbucket", "asmith+example.com@bitbucket")
    assert relay.addresses("ann.smith@example.com", now=JULY) == [ann, away]
    bob = [("tcp_lmtpcs", "@store1.example.com.lmtp:bfwd@lmtpcs-daemon"), ("tcp_local", "bob@remote.test")]
    assert relay.addresses("bob@example.com") == [*bob, ann]
    assert relay.addresses("bob@example.com", now=JULY) == [*bob, ann, away]
    routed = relay.route("ann.smith@example.com", now=JULY)
    assert isinstance(routed, Accepted)
    assert [target.answers for target in routed.recipients] == [False, True]


def test_a_list(relay: Relay) -> None:
    routed = relay.route("staff@example.com", sender="x@example.com")
    assert isinstance(routed, Accepted)
    assert [(target.channel, target.address, target.sender, target.shown) for target in routed.recipients] == [
        ("tcp_lmtpcs", AT_STORE1, "owner-staff@example.com", "john.doe@example.com"),
        (
            "tcp_lmtpcs", "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon", "owner-staff@example.com",
            "sue@hosted.example.org",
        ),
        ("tcp_local", "ext@remote.test", "owner-staff@example.com", "ext@remote.test"),
    ]  # fmt: skip
    assert {target.blocklimit for target in routed.recipients} == {1_000_000}


def test_unknown_user_without_smart_host(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(COM, mailroutingsmarthost=()))
    assert relay.refusal("nobody@example.com") == "550 5.1.1 unknown or illegal alias: nobody@example.com"
    assert relay.refusal("Nobody+x@Example.com") == "550 5.1.1 unknown or illegal alias: Nobody+x@Example.com"


@pytest.mark.parametrize(
    ("dn", "attribute", "value", "reply"),
    [
        (JDOE, "mailuserstatus", "inactive", "452 4.2.1 mailbox temporarily disabled"),
        (JDOE, "mailuserstatus", "unused", "452 4.2.1 mailbox temporarily disabled"),
        (JDOE, "mailuserstatus", "OverQuota", "452 4.2.2 user over quota; cannot receive new mail"),
        (JDOE, "mailuserstatus", "disabled", "550 5.2.1 user disabled; cannot receive new mail"),
        (JDOE, "mailuserstatus", "deleted", "550 5.1.6 recipient no longer on server"),
        (JDOE, "mailuserstatus", "removed", "550 5.1.6 recipient no longer on server"),
        (JDOE, "inetuserstatus", "deleted", "550 5.1.6 recipient no longer on server"),
        (JDOE, "inetuserstatus", "hold", "452 4.2.1 mailbox temporarily disabled"),
        (JDOE, "inetuserstatus", "overquota", "452 4.2.1 mailbox temporarily disabled"),
        (COM, "maildomainstatus", "overquota", "452 4.2.2 user over quota; cannot receive new mail"),
        (COM, "maildomainstatus", "disabled", "550 5.2.1 user disabled; cannot receive new mail"),
        (COM, "inetdomainstatus", "disabled", "452 4.2.1 mailbox temporarily disabled"),
        (COM, "inetdomainstatus", "inactive", "452 4.2.1 mailbox temporarily disabled"),
    ],
)
def test_status(make_relay: MakeRelay, dn: str, attribute: str, value: str, reply: str) -> None:
    relay = make_relay(changed(dn, **{attribute: (value,)}))
    assert relay.refusal("john.doe@example.com") == f"{reply}: john.doe@example.com"


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ("inactive", "452 4.2.1 group temporarily disabled"),
        ("disabled", "550 5.2.1 group disabled; cannot receive new mail"),
        ("deleted", "550 5.1.6 group no longer on server"),
        ("overquota", "452 4.2.1 group temporarily disabled"),
    ],
)
def test_status_of_groups(make_relay: MakeRelay, value: str, reply: str) -> None:
    relay = make_relay(changed(STAFF, inetmailgroupstatus=(value,)))
    assert relay.refusal("staff@example.com") == f"{reply}: staff@example.com"


def test_the_first_status_that_is_not_active_decides(make_relay: MakeRelay) -> None:
    entries = {**changed(JDOE, mailuserstatus=("deleted",)), COM: {**EXAMPLE[COM], "maildomainstatus": ("inactive",)}}
    assert make_relay(entries).refusal("john.doe@example.com").startswith("452 4.2.1")


def test_texts_are_options(make_relay: MakeRelay) -> None:
    options = OPTIONS + "ERROR_TEXT_DELETED_USER=moved away\nERROR_TEST_UNKNOWN_ALIAS=who\n"
    relay = make_relay(changed(COM, mailroutingsmarthost=()), options=options)
    assert relay.refusal("gone@hosted.example.org") == "550 5.1.6 moved away: gone@hosted.example.org"
    assert relay.refusal("nobody@example.com") == "550 5.1.1 who: nobody@example.com"


def test_directory_silent_is_never_permanent(relay: Relay) -> None:
    relay.directory.silent = True
    reply = "450 4.3.0 temporary error returned by alias expansion: john.doe@example.com"
    assert relay.refusal("john.doe@example.com") == reply


def test_ambiguous_address_names_the_entries_in_the_log_only(make_relay: MakeRelay) -> None:
    other = "uid=other,ou=People,o=example.com,o=usergroup"
    relay = make_relay(with_entries({other: {"uid": ("other",), "mail": ("john.doe@example.com",)}}))
    routed = relay.route("john.doe@example.com")
    assert not isinstance(routed, Accepted)
    assert str(routed.status) == "550 5.1.4 duplicate/ambiguous directory match: john.doe@example.com"
    assert JDOE in routed.reason
    assert other in routed.reason


def test_catch_all_entry(make_relay: MakeRelay) -> None:
    entry = "uid=all,ou=People,o=example.com,o=usergroup"
    users: dict[str, Attributes] = {
        entry: {"uid": ("all",), "mailalternateaddress": ("@example.com",), "mailhost": ("store2.example.com",)}
    }
    relay = make_relay(with_entries(users))
    assert relay.addresses("who.ever@example.com") == [("tcp_lmtpcs", "@store2.example.com.lmtp:all@lmtpcs-daemon")]
    assert relay.addresses("john.doe@example.com") == [("tcp_lmtpcs", AT_STORE1)]


def test_mail_routing_address(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailroutingaddress=("sue@hosted.example.org",)))
    found = "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon"
    assert relay.addresses("john.doe@example.com") == [("tcp_lmtpcs", found)]


def test_mail_routing_address_to_oneself_is_a_loop(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailroutingaddress=("jd@example.com",)))
    assert relay.refusal("john.doe@example.com") == "550 5.4.6 alias expansion loop: john.doe@example.com"


def test_missing_mail_host(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailhost=()))
    assert relay.addresses("john.doe@example.com") == [("tcp_intranet", "@legacy.example.com:john.doe@example.com")]
    relay = make_relay({**changed(JDOE, mailhost=()), COM: {"sunpreferreddomain": ("example.com",)}})
    assert relay.refusal("john.doe@example.com") == "550 5.1.1 unknown or illegal alias: john.doe@example.com"


def test_mail_host_that_is_this_very_host_is_deferred(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailhost=("Relay1.example.com",)))
    reply = relay.refusal("john.doe@example.com")
    assert reply.startswith("450 4.3.5 ")
    assert "single-system" in reply


@pytest.mark.parametrize("attributes", [{"mailhost": ("store 1",)}, {"mailroutingaddress": ("not an address",)}])
def test_nonsense_in_an_entry_is_temporary(make_relay: MakeRelay, attributes: dict[str, tuple[str, ...]]) -> None:
    relay = make_relay(changed(JDOE, **attributes))
    assert relay.refusal("john.doe@example.com").startswith("450 4.3.0 ")


def test_general_database_says_which_stores_speak_lmtp(make_relay: MakeRelay) -> None:
    general = "lmtp|Store1.example.com     yes\n! store2 has a full MTA\n"
    relay = make_relay(options=OPTIONS + "USE_TEXT_DATABASES=1\n", general=general)
    assert relay.addresses("john.doe@example.com") == [("tcp_lmtpcs", AT_STORE1)]
    routed = "@store2.example.com:sue@hosted.example.org"
    assert relay.addresses("sue@hosted.example.org") == [("tcp_intranet", routed)]


def test_forwarding_address_without_the_value_forward_is_not_used(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailforwardingaddress=("x@remote.test",)))
    assert relay.addresses("john.doe@example.com") == [("tcp_lmtpcs", AT_STORE1)]


@pytest.mark.parametrize("uid", ["a+b", "a%b", "a@b"])
def test_uid_with_routing_characters_is_refused(make_relay: MakeRelay, uid: str) -> None:
    assert make_relay(changed(JDOE, uid=(uid,))).refusal("john.doe@example.com").startswith("550 5.1.1")


@pytest.mark.parametrize(
    ("keyword", "recipient", "delivered"),
    [
        ("", "john.doe+x@example.com", True),
        ("subaddressrelaxed", "john.doe+x@example.com", True),
        ("subaddressexact", "john.doe+x@example.com", False),
        ("subaddresswild", "john.doe+x@example.com", True),
        ("subaddresswild", "wild+x@example.com", True),
        ("", "wild+x@example.com", False),
    ],
)
def test_subaddress_keywords(make_relay: MakeRelay, keyword: str, recipient: str, delivered: bool) -> None:
    entries = {**changed(JDOE, mailalternateaddress=("wild+*@example.com",)), COM: {"sunpreferreddomain": ("example.com",)}}
    relay = make_relay(entries, channels=CHANNELS.replace("\nl\n", f"\nl {keyword}\n"))
    assert isinstance(relay.route(recipient), Accepted) is delivered


def test_one_question_for_the_domain_and_one_for_the_entry(relay: Relay) -> None:
    relay.route("john.doe@example.com")
    assert [type(question) for question in relay.directory.asked] == [NeedDomain, NeedEntry]


@pytest.mark.parametrize(
    ("user", "domain", "quota"),
    [
        ({"mailquota": ("50M",), "mailmsgquota": ("5000",)}, {}, "52428800,5000"),
        ({"mailquota": ("1g",)}, {}, "1073741824,-2"),
        ({"mailquota": ("-1",), "mailmsgquota": ("-1",)}, {}, "-1,-1"),
        ({"mailquota": ("-2",)}, {"mailquota": ("9K",)}, "-2,-2"),
        ({}, {"mailquota": ("9K",), "mailmsgquota": ("7",)}, "9216,7"),
        ({}, {}, "-2,-2"),
        ({"mailquota": ("20M;Junk%5M",), "mailmsgquota": ("9;Junk%5",)}, {}, "20971520,9"),
        ({"mailquota": ("lots",), "mailmsgquota": ("5K",)}, {}, "-2,-2"),
        ({"mailquota": ("0",)}, {}, "0,-2"),
    ],
)
def test_quota(make_relay: MakeRelay, user: Attributes, domain: Attributes, quota: str) -> None:
    plain = {name: values for name, values in EXAMPLE[JDOE].items() if not name.endswith("quota")}
    relay = make_relay(with_entries({JDOE: {**plain, **user}, COM: {**EXAMPLE[COM], **domain}}))
    routed = relay.route("john.doe@example.com")
    assert isinstance(routed, Accepted)
    assert routed.recipients[0].quota == quota


def test_size_limits(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailmsgmaxblocks=("10",)))
    routed = relay.route("john.doe@example.com", size=10240)
    assert isinstance(routed, Accepted)
    assert routed.recipients[0].blocklimit == 10240
    reply = "550 5.2.3 channel limit of 10 kilobytes on message size exceeded: john.doe@example.com"
    assert relay.refusal("john.doe@example.com", size=10241) == reply


def test_mail_routing_hosts_decide_whether_a_domain_is_ours(make_relay: MakeRelay) -> None:
    ours = make_relay(changed(COM, mailroutinghosts=("other.test", "RELAY1.example.com")))
    assert ours.addresses("john.doe@example.com") == [("tcp_lmtpcs", AT_STORE1)]
    foreign = changed(COM, mailroutinghosts=("hub.other.test",))
    assert make_relay(foreign).refusal("john.doe@example.com").startswith("550 5.7.1 Relaying not permitted")
    sent_on = make_relay(foreign, options=OPTIONS + "ROUTE_TO_ROUTING_HOST=1\n")
    routed = ("tcp_local", "@hub.other.test:john.doe@example.com")
    assert sent_on.addresses("john.doe@example.com", source_channel="tcp_intranet") == [routed]


def test_a_changed_entry_counts_at_once(make_relay: MakeRelay) -> None:
    entries = dict(with_entries({}))
    relay = make_relay(entries)
    assert relay.addresses("john.doe@example.com") == [("tcp_lmtpcs", AT_STORE1)]
    entries[JDOE] = {**EXAMPLE[JDOE], "mailuserstatus": ("deleted",)}
    assert relay.refusal("john.doe@example.com").startswith("550 5.1.6")
    entries[JDOE] = EXAMPLE[JDOE]
    entries[COM] = {**EXAMPLE[COM], "maildomainstatus": ("inactive",)}
    assert relay.refusal("john.doe@example.com").startswith("452 4.2.1")


def test_dates_are_looked_at_each_time(relay: Relay) -> None:
    entry = "ann.smith"
    answers: dict[object, Answer] = {}

    def run(now: float) -> int:
        request = RouteRequest("", f"{entry}@example.com", "tcp_local", now=now)
        asking = route_recipient(relay.rules, request)
        question = next(asking)
        try:
            while True:
                key: object = question if isinstance(question, NeedDomain) else entry
                question = asking.send(answers.setdefault(key, relay.directory.answer(question)))
        except StopIteration as end:
            routed: Routed = end.value
            assert isinstance(routed, Accepted)
            return len(routed.recipients)

    assert [run(now) for now in (AUGUST, JULY, AUGUST)] == [1, 2, 1]


def test_mail_for_a_user_on_hold_is_held_and_his_script_waits_with_it(make_relay: MakeRelay) -> None:
    relay = make_relay(changed(JDOE, mailuserstatus=("hold",)))
    routed = relay.route("john.doe@example.com")
    assert isinstance(routed, Accepted)
    (target,) = routed.recipients
    assert (target.channel, target.address, target.held) == ("hold", "@hold-daemon:john.doe@example.com", True)
    assert target.filter is None
