"""Forwards and groups that lead to each other: how deep, how often, and what the reprocess channel is left with."""

import random
import time

import pytest

from posthouse.mail.task import Refused, decode_task
from posthouse.relay.routing.result import Accepted, Target
from support.people import Attributes, with_entries
from support.relay_files import OPTIONS
from support.routing_relay import MakeRelay, Relay

PEOPLE = "ou=People,o=example.com,o=usergroup"


def forwarder(number: int, to: tuple[str, ...], *options: str) -> dict[str, Attributes]:
    values: Attributes = {
        "kind": ("user",), "uid": (f"f{number}",), "mail": (f"f{number}@example.com",), "mailhost": ("store1.example.com",),
        "maildeliveryoption": ("forward", *options), "mailforwardingaddress": to,
    }  # fmt: skip
    return {f"uid=f{number},{PEOPLE}": values}


def listing(number: int, *members: str) -> dict[str, Attributes]:
    values: Attributes = {
        "kind": ("group",), "mail": (f"g{number}@example.com",), "maildeliveryoption": ("members",),
        "mgrprfc822mailmember": members,
    }  # fmt: skip
    return {f"cn=g{number},ou=Groups,o=example.com,o=usergroup": values}


def found(relay: Relay, recipient: str, **request: object) -> tuple[list[str], list[Target]]:
    """Who gets it, and what waits on the reprocess channel."""
    routed = relay.route(recipient, **request)
    assert isinstance(routed, Accepted), routed
    later = [target for target in routed.recipients if target.channel == "reprocess"]
    return [target.address for target in routed.recipients if target not in later], later


def test_what_is_too_deep_is_told_of_and_never_expanded_anew(make_relay: MakeRelay) -> None:
    entries: dict[str, Attributes] = {}
    for number in range(12):
        entries |= forwarder(number, (f"f{(number + 1) % 12}@example.com",), "mailbox")
        entries |= listing(number, f"g{(number + 1) % 12}@example.com", f"m{number}@remote.test")
    relay = make_relay(with_entries(entries))
    for recipient, deepest in (("f0@example.com", "f10@example.com"), ("g0@example.com", "g10@example.com")):
        for from_reprocess in (False, True):
            request = {"header": b"", "approved": ""} if from_reprocess else {}
            here, later = found(relay, recipient, from_reprocess=from_reprocess, **request)
            assert len(here) == 10
            assert [(one.address, decode_task(one.task)) for one in later] == [
                (f"@reprocess-daemon:{deepest}", Refused("5.4.6", f"alias expansion loop: {deepest}"))
            ]


def test_users_who_all_forward_to_each_other_are_found_in_time(make_relay: MakeRelay) -> None:
    entries: dict[str, Attributes] = {}
    for number in range(9):
        to = tuple(f"f{other}@example.com" for other in range(9) if other != number)
        entries |= forwarder(number, to, "mailbox")
    relay = make_relay(with_entries(entries))
    began = time.process_time()
    here, later = found(relay, "f0@example.com")
    assert time.process_time() - began < 5, "a million ways lead to the nine"
    assert sorted(here) == [f"@store1.example.com.lmtp:f{number}@lmtpcs-daemon" for number in range(9)]
    assert not later


def test_a_forward_that_was_too_deep_is_followed_where_it_is_not(make_relay: MakeRelay) -> None:
    """After many forwards each is followed once, yet not only there where it ends at the limit."""
    many = tuple(f"f{number}@example.com" for number in range(100, 180))
    entries = forwarder(0, (*many, "f1@example.com", "f9@example.com"), "mailbox")
    for number in range(100, 180):
        entries |= forwarder(number, ("x@remote.test",))
    for number in range(1, 10):
        entries |= forwarder(number, (f"f{number + 1}@example.com",))
    entries |= forwarder(10, ("end@remote.test",))
    here, _ = found(make_relay(with_entries(entries), options=OPTIONS + "MAX_ALIAS_LEVELS=10\n"), "f0@example.com")
    assert here == ["@store1.example.com.lmtp:f0@lmtpcs-daemon", "x@remote.test", "end@remote.test"]


def test_members_with_quoted_local_parts_and_octets_in_urls(make_relay: MakeRelay) -> None:
    members = ('"q u"@remote.test', "mailto:%22q%20%5C%22x%22@remote.test", "mailto:%C3%BC@remote.test?subject=x")
    here, _ = found(make_relay(with_entries(listing(0, *members))), "g0@example.com")
    assert here == ['"q u"@remote.test', '"q \\"x"@remote.test', "ü@remote.test"]


def test_in_a_list_with_repeats_each_member_is_followed_anew(make_relay: MakeRelay) -> None:
    names = tuple(f"f{number}@example.com" for number in range(80))
    entries: dict[str, Attributes] = {
        name: {**values, "mgrpnoduplicatechecks": ("yes",)} for name, values in listing(0, *names, *names).items()
    }
    for number in range(80):
        entries |= forwarder(number, (f"x{number}@remote.test",))
    here, later = found(make_relay(with_entries(entries)), "g0@example.com")
    assert (len(here), len(set(here)), later) == (160, 80, [])


def test_nobody_is_told_of_who_has_it_on_a_shorter_way(make_relay: MakeRelay) -> None:
    """Eleven who all forward to each other, keeping copies; and a group that is too deep on one of two ways."""
    entries: dict[str, Attributes] = {}
    for number in range(11):
        to = tuple(f"f{other}@example.com" for other in range(11) if other != number)
        entries |= forwarder(number, to, "mailbox")
    for number in range(10):
        entries |= listing(number, f"g{number + 1}@example.com", f"m{number}@remote.test")
    entries |= listing(10, "deep@remote.test") | listing(20, "g0@example.com", "g10@example.com")
    relay = make_relay(with_entries(entries))
    for from_reprocess in (False, True):
        here, later = found(relay, "f0@example.com", from_reprocess=from_reprocess)
        assert (len(here), later) == (11, [])
        here, later = found(relay, "g20@example.com", from_reprocess=from_reprocess)
        assert "deep@remote.test" in here
        assert [one.address for one in later] == ["@reprocess-daemon:g9@example.com"]


def test_who_keeps_no_copy_is_told_of_when_his_mailbox_is_too_deep(make_relay: MakeRelay) -> None:
    entries = listing(0, "f0@example.com", "z@remote.test")
    for number in range(9):
        entries |= forwarder(number, (f"f{(number + 1) % 9}@example.com",))
    here, later = found(make_relay(with_entries(entries)), "g0@example.com")
    assert here == ["z@remote.test"]
    assert [one.address for one in later] == ["@reprocess-daemon:f0@example.com"]
    assert later[0].task


def test_a_member_beside_a_group_met_before_is_told_of_alone(make_relay: MakeRelay) -> None:
    """Put off whole, the second group would expand the first anew, and everybody in it had two copies."""
    entries = listing(0, "g1@example.com", "g2@example.com") | listing(1, "one@remote.test")
    entries |= listing(2, "g1@example.com", "not an address")
    here, later = found(make_relay(with_entries(entries)), "g0@example.com")
    assert here == ["one@remote.test"]
    assert [one.address for one in later] == ["@reprocess-daemon:not an address"]


@pytest.mark.parametrize("seed", range(80))
def test_of_any_tangle_nobody_near_is_lost_without_a_word_and_nobody_has_it_twice(make_relay: MakeRelay, seed: int) -> None:
    """Who is met within the limit has it, or the sender is told of somebody."""
    chance = random.Random(seed)
    names = [*(f"f{each}" for each in range(chance.randint(1, 14))), *(f"g{each}" for each in range(chance.randint(0, 8)))]
    to, keeps, entries, most = dict[str, list[str]](), set[str](), dict[str, Attributes](), chance.choice([1, 1, 2, 3, 6, 14])
    for name in names:
        to[name] = chance.sample(names, chance.randint(1, min(most, len(names))))
        addresses = tuple(f"{each}@example.com" for each in to[name])
        if name.startswith("g"):
            entries |= listing(int(name[1:]), *addresses, f"{name}@remote.test")
            continue
        keeps |= {name} if chance.random() < 0.6 else set()
        entries |= forwarder(int(name[1:]), addresses, *(["mailbox"] if name in keeps else []))
    start = chance.choice(names)
    level = {start: 0}
    for name in (queue := [start]):
        new = [each for each in to[name] if each not in level]
        level |= dict.fromkeys(new, level[name] + 1)
        queue += new
    near = [name for name in level if level[name] < 9]
    wanted = {f"@store1.example.com.lmtp:{name}@lmtpcs-daemon" for name in near if name in keeps}
    wanted |= {f"{name}@remote.test" for name in near if name.startswith("g")}
    routed = make_relay(with_entries(entries)).route(f"{start}@example.com")
    if not isinstance(routed, Accepted):
        assert not wanted, routed
        return
    here = [target.address for target in routed.recipients if target.channel != "reprocess"]
    assert len(here) == len(set(here))
    assert wanted <= set(here) or len(here) < len(routed.recipients)
