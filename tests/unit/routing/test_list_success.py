"""NOTIFY of members, and whether a group is to tell of success."""

from pathlib import Path

import pytest

from posthouse.mail.task import Told, decode_task
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.list_success import of_member, told_of, wants_success
from posthouse.relay.routing.result import Target
from support.relay_files import CHANNELS, relay_configuration


@pytest.mark.parametrize(
    ("given", "member"),
    [
        ("", ""), ("NEVER", "NEVER"), ("SUCCESS", "NEVER"), ("success,failure", "FAILURE"), ("FAILURE,DELAY", "FAILURE,DELAY"),
        ("DELAY,SUCCESS,FAILURE", "DELAY,FAILURE"),
    ],
)  # fmt: skip
def test_a_member_does_not_tell_of_success(given: str, member: str) -> None:
    assert of_member(given) == member
    assert not wants_success(member)


@pytest.mark.parametrize(
    ("senders", "final"), [(["o@example.com"] * 2, True), (["", ""], False), (["o@example.com", ""], False)]
)  # fmt: skip
def test_a_list_with_its_own_sender_is_where_the_mail_arrives(tmp_path: Path, senders: list[str], final: bool) -> None:
    rules = routing_rules.compile(relay_configuration(tmp_path))
    targets = [Target("tcp_lmtpcs", f"u{place}", "h", sender=one, listed=True) for place, one in enumerate(senders)]
    told = told_of(rules, "list@example.com", [*targets, Target("tcp_lmtpcs", "x", "h")])
    assert told is not None
    assert (told.channel, told.address, decode_task(told.task)) == ("process", "list@example.com", Told(final))
    assert told_of(rules, "x@example.com", [Target("tcp_lmtpcs", "x", "h")]) is None


def test_without_the_channel_nothing_is_told(tmp_path: Path) -> None:
    rules = routing_rules.compile(relay_configuration(tmp_path, channels=CHANNELS.replace("\nprocess\n", "\nprocess_no\n")))
    assert told_of(rules, "list@example.com", [Target("tcp_lmtpcs", "x", "h", listed=True)]) is None
