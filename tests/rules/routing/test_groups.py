"""directory.md 8: who may send to a group, who gets the message, what is put off; loops, duplicates and refused members."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from posthouse.relay.directory.question import Answer, NeedDn, NeedEntry, NeedMembers, Question
from posthouse.relay.routing.list_edit import ListEdit
from posthouse.relay.routing.result import Accepted, Ahead, Batch, RouteRequest
from posthouse.relay.routing.route import stream_recipient
from posthouse.relay.routing.rules import check
from support.people import EXAMPLE, Attributes, with_entries
from support.relay_files import CHANNELS, MAPPINGS, OPTIONS, relay_configuration
from support.routing_relay import MakeRelay, Relay

BASE = "o=example.com,o=usergroup"
JDOE = f"uid=jdoe,ou=People,{BASE}"
ANN = f"uid=asmith,ou=People,{BASE}"
GONE = "uid=gone,ou=People,o=hosted.example.org,o=usergroup"
AT = {
    "jdoe": "@store1.example.com.lmtp:jdoe@lmtpcs-daemon",
    "ann": "@store2.example.com.lmtp:asmith@lmtpcs-daemon",
    "sue": "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon",
}
LATER = "@reprocess-daemon:list@example.com"


def group(name: str = "list", **attributes: str | tuple[str, ...]) -> dict[str, Attributes]:
    values = {key: (one,) if isinstance(one, str) else one for key, one in attributes.items()}
    members = {"uniquemember": (JDOE,)} if not any(key.endswith(("member", "url", "deliverto")) for key in values) else {}
    shared: Attributes = {"kind": ("group",), "mail": (f"{name}@example.com",), "maildeliveryoption": ("members",)}
    return {f"cn={name},ou=Groups,{BASE}": {**shared, **members, **values}}


def with_groups(make_relay: MakeRelay, *groups: dict[str, Attributes], **files: str) -> Relay:
    entries: dict[str, Attributes] = {}
    for one in groups:
        entries.update(one)
    return make_relay(with_entries(entries), **files)


def got(relay: Relay, recipient: str = "list@example.com", **request: object) -> list[str]:
    routed = relay.route(recipient, **request)
    assert isinstance(routed, Accepted), routed
    return [target.address for target in routed.recipients]


@pytest.mark.parametrize(
    ("attributes", "sender", "allowed"),
    [
        ({}, "x@evil.test", True),
        ({}, "", True),
        ({"mgrpalloweddomain": "example.com"}, "x@EXAMPLE.com", True),
        ({"mgrpalloweddomain": "example.com"}, "x@sub.example.com", False),
        ({"mgrpalloweddomain": ("*.example.com", "example.com")}, "x@sub.example.com", True),
        ({"mgrpalloweddomain": "example.com"}, "", False),
        ({"mgrpdisalloweddomain": "*.test"}, "x@evil.test", False),
        ({"mgrpdisalloweddomain": "*.test"}, "x@example.com", True),
        ({"mgrpallowedbroadcaster": "mailto:jd@example.com"}, "john.doe@example.com", True),
        ({"mgrpallowedbroadcaster": "mailto:john.doe@example.com"}, "JD@example.com", True),
        ({"mgrpallowedbroadcaster": "mailto:jd@example.com"}, "ann.smith@example.com", False),
        ({"mgrpallowedbroadcaster": JDOE}, "jd@example.com", True),
        ({"mgrpallowedbroadcaster": f"cn=staff,ou=Groups,{BASE}"}, "jd@example.com", True),
        ({"mgrpallowedbroadcaster": f"cn=staff,ou=Groups,{BASE}"}, "ext@remote.test", True),
        ({"mgrpallowedbroadcaster": f"cn=staff,ou=Groups,{BASE}"}, "ann.smith@example.com", False),
        ({"mgrpallowedbroadcaster": "ldap:///o=usergroup??sub?(x=y)"}, "Jd@Example.com", True),
        ({"mgrpdisallowedbroadcaster": JDOE}, "jd@example.com", False),
        ({"mgrpdisallowedbroadcaster": JDOE}, "x@evil.test", True),
        ({"mgrpallowedbroadcaster": JDOE, "mgrpalloweddomain": "other.test"}, "jd@example.com", True),  # 6 exempts from 4
        ({"mgrpallowedbroadcaster": JDOE, "mgrpdisalloweddomain": "example.com"}, "jd@example.com", True),  # and from 5
        ({"mgrpallowedbroadcaster": JDOE, "mgrpalloweddomain": "evil.test"}, "x@evil.test", False),
        ({"mgrpallowedbroadcaster": JDOE, "mgrpalloweddomain": "evil.test", "mgrpbroadcasterpolicy": "OR"}, "x@evil.test", True),
        ({"mgrpbroadcasterpolicy": "SMTP_AUTH_REQUIRED"}, "jd@example.com", False),
        ({"mgrpbroadcasterpolicy": "AUTH_REQ, NO_REQUIREMENTS"}, "jd@example.com", True),
    ],
)
def test_who_may_send(make_relay: MakeRelay, attributes: dict[str, str], sender: str, allowed: bool) -> None:
    relay = with_groups(make_relay, group(**attributes))
    relay.directory.members = {"ldap:///o=usergroup??sub?(x=y)": ("a@x.test", "jd@example.com")}
    if allowed:
        assert got(relay, sender=sender) == [AT["jdoe"]]
    else:
        reply = "550 5.7.1 you are not allowed to use this list: list@example.com"
        assert relay.refusal("list@example.com", sender=sender) == reply


def test_or_clauses_and_texts(make_relay: MakeRelay) -> None:
    both = group(mgrpallowedbroadcaster=JDOE, mgrpalloweddomain="evil.test", mailrejecttext="first\nsecond")
    relay = with_groups(make_relay, both, options=OPTIONS + "OR_CLAUSES=1\n")
    assert got(relay, sender="x@evil.test") == [AT["jdoe"]]
    assert relay.refusal("list@example.com", sender="x@other.test") == "550 5.7.1 first: list@example.com"
    plain = with_groups(make_relay, group(mgrpalloweddomain="x.test"), options=OPTIONS + "ERROR_TEXT_ALIAS_AUTH=no\n")
    assert plain.refusal("list@example.com") == "550 5.7.1 no: list@example.com"


def test_the_authenticated_sender_counts_where_authentication_is_demanded(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(mgrpbroadcasterpolicy="AUTH_REQ", mgrpalloweddomain="example.com"))
    assert got(relay, sender="x@evil.test", authenticated="jd@example.com") == [AT["jdoe"]]
    assert relay.refusal("list@example.com", sender="jd@example.com", authenticated="x@evil.test").startswith("550 5.7.1")


def test_sizes(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(mgrpmsgmaxsize="5000", mailmsgmaxblocks="10"))
    assert got(relay, size=5000) == [AT["jdoe"]]
    reply = "550 5.2.3 channel limit of 4 kilobytes on message size exceeded: list@example.com"
    assert relay.refusal("list@example.com", size=5001) == reply
    routed = relay.route("list@example.com")
    assert isinstance(routed, Accepted)
    assert routed.recipients[0].blocklimit == 5000


def test_a_members_own_limit_refuses_nobody_else(make_relay: MakeRelay) -> None:
    small: dict[str, Attributes] = {JDOE: {**EXAMPLE[JDOE], "mailmsgmaxblocks": ("1",)}}
    relay = with_groups(make_relay, group(uniquemember=(JDOE, ANN)), small)
    assert got(relay, size=5000) == [AT["ann"], "@reprocess-daemon:john.doe@example.com"]
    assert got(relay, size=1000) == [AT["jdoe"], AT["ann"]]


def test_a_channels_lines_refuse_the_members_behind_it_only(make_relay: MakeRelay) -> None:
    members = group(uniquemember=JDOE, mgrprfc822mailmember="ext@remote.test")
    channels = CHANNELS.replace("\ntcp_local smtp", "\ntcp_local linelimit 30 smtp")
    assert channels != CHANNELS
    relay = with_groups(make_relay, members, channels=channels)
    assert got(relay, lines=31) == [AT["jdoe"], "@reprocess-daemon:ext@remote.test"]
    assert got(relay, lines=30) == [AT["jdoe"], "ext@remote.test"]
    again: dict[str, Any] = {"source_channel": "tcp_local", "from_reprocess": True}
    reply = "550 5.2.3 channel limit of 30 lines in a message exceeded: ext@remote.test"
    assert relay.refusal("ext@remote.test", lines=31, **again) == reply
    assert got(relay, "ext@remote.test", lines=30, **again) == ["ext@remote.test"]


def test_moderators(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(mgrpmoderator=("mailto:ann.smith@example.com", "sue@hosted.example.org")))
    assert got(relay) == [AT["ann"], AT["sue"]]
    assert got(relay, sender="Ann.Smith@example.com") == [AT["jdoe"]]
    strict = with_groups(make_relay, group(mgrpmoderator=ANN, mgrpalloweddomain="example.com"))
    assert strict.refusal("list@example.com").startswith("550 5.7.1")
    mild = with_groups(make_relay, group(mgrpmoderator=ANN, mgrpalloweddomain="example.com", mgrpmsgrejectaction="toModerator"))
    assert got(mild) == [AT["ann"]]


def test_a_password_needs_the_header(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(mgrpbroadcasterpolicy="PASSWD_REQ", mgrpauthpassword="sesame"))
    assert got(relay) == [LATER]
    there: dict[str, Any] = {"from_reprocess": True, "header": b"\r\n"}
    assert got(relay, approved="sesame", **there) == [AT["jdoe"]]
    assert relay.refusal("list@example.com", approved="Sesame", **there).startswith("550 5.7.1")
    moderated = with_groups(make_relay, group(mgrpmoderator=ANN, mgrpauthpassword="sesame"))
    assert got(moderated) == [LATER]
    assert got(moderated, approved="sesame", **there) == [AT["jdoe"]]
    assert got(moderated, approved="", **there) == [AT["ann"]]


def test_a_password_alone_is_asked_for(make_relay: MakeRelay) -> None:
    """directory.md 8, 9: without moderators a message without it is refused, whatever mgrpBroadcasterPolicy says."""
    there: dict[str, Any] = {"from_reprocess": True, "header": b"\r\n"}
    relay = with_groups(make_relay, group(mgrpauthpassword="sesame"))
    assert got(relay) == [LATER]
    assert got(relay, approved="sesame", **there) == [AT["jdoe"]]
    assert relay.refusal("list@example.com", approved="", **there).startswith("550 5.7.1")
    free = with_groups(make_relay, group(mgrpauthpassword="sesame", mgrpbroadcasterpolicy="NO_REQUIREMENTS"))
    assert got(free, approved="", **there) == [AT["jdoe"]]


def test_members_of_every_sort_in_their_order(make_relay: MakeRelay) -> None:
    every = group(
        mgrpdeliverto="ldap:///a??sub?(x=y)", memberurl="ldap:///b??sub?(x=y)", uniquemember=(JDOE, "uid=nobody,o=x", BASE),
        mgrprfc822mailmember=("ext@remote.test", "mailto:other@remote.test"), rfc822mailmember="third@remote.test",
    )  # fmt: skip
    relay = with_groups(make_relay, every)
    below = "ldap:///o%3Dexample.com%2Co%3Dusergroup?mail?sub?"
    relay.directory.members = {"ldap:///a??sub?(x=y)": ("a@remote.test",), "ldap:///b??sub?(x=y)": ("ann.smith@example.com",)}

    def answer(question: object, known: object = relay.directory.answer) -> Answer:
        if isinstance(question, NeedMembers) and question.url.startswith(below):
            relay.directory.members[question.url] = ("sub@remote.test",)
        found: Answer = known(question)  # type: ignore[operator]
        return found

    relay.directory.answer = answer  # type: ignore[method-assign]
    assert got(relay) == [
        "a@remote.test", AT["ann"], AT["jdoe"], "sub@remote.test", "ext@remote.test", "other@remote.test", "third@remote.test",
    ]  # fmt: skip


def test_a_url_that_is_not_answered_is_temporary(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(memberurl="ldap:///silent??sub?(x=y)", uniquemember=JDOE))
    assert relay.refusal("list@example.com").startswith("450 4.3.0")


def test_nested_groups_loops_and_duplicates(make_relay: MakeRelay) -> None:
    outer = group(uniquemember=(JDOE, f"cn=inner,ou=Groups,{BASE}"), mgrprfc822mailmember="jd@example.com")
    inner = group("inner", uniquemember=(JDOE, ANN, f"cn=list,ou=Groups,{BASE}", f"cn=inner,ou=Groups,{BASE}"))
    relay = with_groups(make_relay, outer, inner)
    assert got(relay) == [AT["jdoe"], AT["ann"]]
    assert got(relay, "inner@example.com") == [AT["jdoe"], AT["ann"]]
    names = {question.dn for question in relay.directory.asked if isinstance(question, NeedDn)}
    assert len(names) == 4


@pytest.mark.parametrize(("value", "copies"), [("yes", 3), ("TRUE", 3), ("no", 1), ("", 1)])
def test_without_checks_for_duplicates_everybody_gets_a_copy_for_each_time_he_is_named(
    make_relay: MakeRelay, value: str, copies: int
) -> None:
    members = (JDOE, f"cn=inner,ou=Groups,{BASE}")
    outer = group(uniquemember=members, mgrprfc822mailmember="jd@example.com", mgrpnoduplicatechecks=value)
    inner = group("inner", uniquemember=(JDOE, ANN, f"cn=list,ou=Groups,{BASE}", f"cn=inner,ou=Groups,{BASE}"))
    relay = with_groups(make_relay, outer, inner)
    assert sorted(got(relay)) == [AT["jdoe"]] * copies + [AT["ann"]]
    assert got(relay, "inner@example.com").count(AT["jdoe"]) == min(copies, 2)  # as often as the list in it names him
    routed = relay.route("list@example.com")
    assert isinstance(routed, Accepted)
    assert len({(target.address, target.repeat) for target in routed.recipients}) == copies + 1


def test_the_innermost_owner_of_errors_has_the_copies(make_relay: MakeRelay) -> None:
    outer = group(uniquemember=(JDOE, f"cn=inner,ou=Groups,{BASE}"), mgrperrorsto="outer@x.test")
    inner = group("inner", uniquemember=ANN, mgrperrorsto=f"uid=jdoe,ou=People,{BASE}")
    third = group("third", uniquemember=f"cn=list,ou=Groups,{BASE}", mgrperrorsto="/")
    routed = with_groups(make_relay, outer, inner, third).route("third@example.com")
    assert isinstance(routed, Accepted)
    assert [target.sender for target in routed.recipients] == ["outer@x.test", "john.doe@example.com"]


def test_a_notice_to_a_list_stays_a_notice(make_relay: MakeRelay) -> None:
    routed = with_groups(make_relay, group(mgrperrorsto="list@example.com")).route("list@example.com", sender="")
    assert isinstance(routed, Accepted)
    assert [target.sender for target in routed.recipients] == [""]


def test_refused_members_become_notices_unless_all_are(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(uniquemember=(JDOE, GONE), mgrperrorsto="owner@example.com"))
    routed = relay.route("list@example.com")
    assert isinstance(routed, Accepted)
    failed = routed.recipients[1]
    assert (failed.address, failed.sender, failed.shown) == (
        "@reprocess-daemon:gone@hosted.example.org", "owner@example.com", "gone@hosted.example.org",
    )  # fmt: skip
    alone = with_groups(make_relay, group(uniquemember=GONE))
    assert alone.refusal("list@example.com") == "550 5.1.6 recipient no longer on server: list@example.com"
    without = with_groups(make_relay, group(uniquemember=(JDOE, GONE)), channels=CHANNELS.replace("reprocess", "other"))
    assert without.refusal("list@example.com").startswith("550 5.1.6")


def test_a_member_on_a_store_reached_by_smtp_is_shown_without_the_route(make_relay: MakeRelay) -> None:
    """Notices to mgrpErrorsTo name the member, never the way to his store (smtp-relay.md 6)."""
    options = OPTIONS.replace("#*mailbox=", "*mailbox=")
    relay = with_groups(make_relay, group(mgrperrorsto="mailto:owner@example.com"), options=options)
    routed = relay.route("list@example.com")
    assert isinstance(routed, Accepted)
    assert [(target.address, target.shown) for target in routed.recipients] == [
        ("@store1.example.com:john.doe@example.com", "john.doe@example.com")
    ]


def test_access_tables_judge_each_member(make_relay: MakeRelay) -> None:
    mappings = MAPPINGS + "\nSEND_ACCESS\n\n  *|*|tcp_local|*@remote.test  $Nnot$ there\n"
    relay = with_groups(make_relay, group(uniquemember=JDOE, mgrprfc822mailmember="ext@remote.test"), mappings=mappings)
    assert got(relay) == [AT["jdoe"], "@reprocess-daemon:ext@remote.test"]
    outside = with_groups(make_relay, group(mgrprfc822mailmember="ext@remote.test"), mappings=mappings)
    assert outside.refusal("list@example.com").startswith("550 5.7.1 not there")


def test_a_refused_member_outside_is_told_why_not_that_relaying_is_forbidden(make_relay: MakeRelay) -> None:
    mappings = MAPPINGS + "\nSEND_ACCESS\n\n  *|*|tcp_local|ext@*  $N451$ 4.7.1$ not$ now\n"
    relay = with_groups(make_relay, group(uniquemember=JDOE, mgrprfc822mailmember="ext@remote.test"), mappings=mappings)
    assert got(relay) == [AT["jdoe"], "@reprocess-daemon:ext@remote.test"]
    assert relay.refusal("ext@remote.test", from_reprocess=True) == "451 4.7.1 not now: ext@remote.test"
    assert relay.refusal("ext@remote.test").startswith("550 5.7.1 Relaying not permitted")
    assert got(relay, "other@remote.test", from_reprocess=True) == ["other@remote.test"]


@pytest.mark.parametrize("members", [(), "uid=nobody,o=x", f"cn=list,ou=Groups,{BASE}"])
def test_an_empty_group(make_relay: MakeRelay, members: str | tuple[str, ...]) -> None:
    assert with_groups(make_relay, group(uniquemember=members)).refusal("list@example.com") == (
        "550 5.1.1 unknown or illegal alias: list@example.com"
    )


def test_what_changes_the_message_is_put_off(make_relay: MakeRelay) -> None:
    texts = {"mgrpmsgprefixtext": "one$two\\24", "mgrpmsgsuffixtext": "end"}
    edited = group(mgrpaddheader="List-Id: <x>", mgrpremoveheader="X-A: X-B", **texts)
    relay = with_groups(make_relay, edited)
    assert got(relay) == [LATER]
    routed = relay.route("list@example.com", from_reprocess=True, header=b"\r\n", approved="")
    assert isinstance(routed, Accepted)
    assert routed.recipients[0].edit == ListEdit(("x-a", "x-b"), ("List-Id: <x>",), "one\ntwo$\n", "end\n")


def test_members_offline_and_more_than_the_limit_are_put_off(make_relay: MakeRelay) -> None:
    offline = with_groups(make_relay, group(maildeliveryoption="members_offline"))
    assert got(offline) == [LATER]
    assert got(offline, from_reprocess=True) == [AT["jdoe"]]
    limited = CHANNELS.replace("tcp_local smtp", "tcp_local smtp expandlimit 1")
    many = with_groups(make_relay, group(uniquemember=(JDOE, ANN)), channels=limited)
    assert got(many) == [LATER]
    assert got(many, from_reprocess=True) == [AT["jdoe"], AT["ann"]]
    by_url = with_groups(make_relay, group(memberurl="ldap:///a??sub?(x=y)"), channels=limited)
    by_url.directory.members = {"ldap:///a??sub?(x=y)": ("a@remote.test", "b@remote.test")}
    assert got(by_url) == [LATER]


def test_a_vacation_is_not_told_to_lists(make_relay: MakeRelay) -> None:
    relay = with_groups(make_relay, group(uniquemember=ANN))
    routed = relay.route("list@example.com", now=1783700000.0)
    assert isinstance(routed, Accepted)
    assert [target.answers for target in routed.recipients] == [False, False]


def test_a_streaming_decision_hands_over_what_it_has(make_relay: MakeRelay) -> None:
    addresses = tuple(f"m{number}@remote.test" for number in range(1203))
    relay = with_groups(make_relay, group(mgrprfc822mailmember=addresses))
    request = RouteRequest("x@evil.test", "list@example.com", "tcp_local", from_reprocess=True, streaming=True)
    deciding = stream_recipient(relay.rules, request)
    found: list[str] = []
    sizes = []
    step = next(deciding)
    try:
        while True:
            if isinstance(step, Batch):
                found += [target.address for target in step.targets]
                sizes.append(len(step.targets))
                step = deciding.send(relay.directory.answer(NeedDn("")))
            else:
                step = deciding.send(relay.directory.answer(NeedDn("") if isinstance(step, Ahead) else step))
    except StopIteration as end:
        found += [target.address for target in end.value.recipients]
    assert found == list(addresses)
    assert max(sizes) <= 250


def told_ahead(relay: Relay, *, streaming: bool) -> tuple[set[Question], set[Question]]:
    """What was told of ahead, and what was asked, but of domains, the group itself and catch-alls."""
    request = RouteRequest("x@evil.test", "list@example.com", "tcp_local", from_reprocess=True, streaming=streaming)
    deciding = stream_recipient(relay.rules, request)
    ahead: set[Question] = set()
    asked: set[Question] = set()
    step = next(deciding)
    with contextlib.suppress(StopIteration):
        while True:
            if isinstance(step, Ahead):
                assert not asked.intersection(step.questions), "too late"
                assert len(step.questions) <= 250
                ahead.update(step.questions)
            elif isinstance(step, NeedDn | NeedEntry) and getattr(step, "local", "it") not in {"list", ""}:
                asked.add(step)
            step = deciding.send(relay.directory.answer(NeedDn("") if isinstance(step, Ahead | Batch) else step))
    return ahead, asked


def test_members_are_told_of_ahead(make_relay: MakeRelay) -> None:
    """So that their look-ups go together: a list of 10,000 names does not wait for 20,000 answers one after the other."""
    gone = tuple(f"uid=u{number},ou=People,{BASE}" for number in range(300))
    for members in ({"uniquemember": (JDOE, *gone, ANN)}, {"mgrprfc822mailmember": ("john.doe@example.com", "ann@example.com")}):
        relay = with_groups(make_relay, group(**members))
        ahead, asked = told_ahead(relay, streaming=True)
        assert asked == ahead
        assert {type(one) for one in asked} == ({NeedDn, NeedEntry} if "uniquemember" in members else {NeedEntry})
        assert told_ahead(relay, streaming=False) == (set(), asked)


@pytest.mark.parametrize("sign", ["@", "$"])
def test_any_clause_can_be_put_off(make_relay: MakeRelay, sign: str) -> None:
    relay = make_relay(options=OPTIONS.replace("#*mailbox", f"#*{sign}mailbox"))
    assert relay.addresses("jd+Work@example.com") == [("reprocess", "@reprocess-daemon:jd+Work@example.com")]
    there = [("tcp_lmtpcs", "@store1.example.com.lmtp:jdoe+Work@lmtpcs-daemon")]
    assert relay.addresses("jd+Work@example.com", from_reprocess=True) == there


def test_a_vacation_template_that_is_none_is_a_fault(tmp_path: Path) -> None:
    configuration = relay_configuration(tmp_path, options=OPTIONS + "VACATION_TEMPLATE=file:///srv/$Q\n")
    (fault,) = [one for one in check(configuration) if "VACATION_TEMPLATE" in one.reason]
    assert "$Q" in fault.reason


def test_clauses_without_their_channel_are_warned_about(tmp_path: Path) -> None:
    configuration = relay_configuration(tmp_path, channels=CHANNELS.replace("reprocess", "other"))
    found = [one.reason for one in check(configuration) if "no channel reprocess" in one.reason]
    assert [reason.split(":")[0] for reason in found] == [
        "delivery option members", "delivery option members_offline", "delivery option forward",
    ]  # fmt: skip
    assert not [one for one in check(relay_configuration(tmp_path)) if "no channel reprocess" in one.reason]


@pytest.mark.parametrize(
    ("sender", "attributes", "approved", "members"),
    [
        ("jd@example.com", {"mgrpalloweddomain": "other.test"}, "", True),
        ("x@evil.test", {"mgrpalloweddomain": "other.test"}, "", False),
        ("jd@example.com", {"mgrpbroadcasterpolicy": "SMTP_AUTH_REQUIRED"}, "", False),
        ("jd@example.com", {"mgrpbroadcasterpolicy": "PASSWD_REQ", "mgrpauthpassword": "sesame"}, "open", False),
        ("x@evil.test", {"mgrpalloweddomain": "other.test", "mgrpauthpassword": "sesame"}, "sesame", True),
        ("jd@example.com", {"mgrpbroadcasterpolicy": "AUTH_REQ", "mgrpauthpassword": "sesame"}, "sesame", False),
        ("jd@example.com", {"mgrpmsgmaxsize": "5000"}, "", True),
        ("x@evil.test", {"mgrpmsgmaxsize": "5000"}, "", False),
        ("", {"mgrpalloweddomain": "other.test"}, "", False),
    ],
)
def test_what_went_to_the_moderators_they_can_send_on(
    make_relay: MakeRelay, sender: str, attributes: dict[str, str], approved: str, members: bool
) -> None:
    """A moderator's mail goes to the members where others' goes to the moderators; no password and no login is passed over."""
    kept = group(mgrpmoderator=JDOE, mgrpmsgrejectaction="TOMODERATOR", mgrprfc822mailmember="m@remote.test", **attributes)
    found = got(with_groups(make_relay, kept), sender=sender, approved=approved, header=b"", size=6000, from_reprocess=True)
    assert found == (["m@remote.test"] if members else [AT["jdoe"]])


def test_a_line_that_is_no_field_is_not_added(make_relay: MakeRelay) -> None:
    lines = ("X-Ü: name", "no field: x", "X-A: grün", "X-B: b", " X-C: c", ": d")
    routed = with_groups(make_relay, group(mgrpaddheader=lines)).route("list@example.com", header=b"", from_reprocess=True)
    assert isinstance(routed, Accepted)
    assert routed.recipients[0].edit == ListEdit((), ("X-A: =?utf-8?b?Z3LDvG4=?=", "X-B: b", "X-C: c"), "", "")
