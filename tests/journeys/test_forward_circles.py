"""Forwards and members that lead nowhere or in circles, on their way through the reprocess channel."""

from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import notices
from support.journey_tiers import journey, wait_empty
from support.lists import directory, group, owners_of, person, send


def test_a_circle_longer_than_the_limit_ends(tmp_path: Path) -> None:
    users = [
        person(f"c{one}", mailDeliveryOption=["mailbox", "forward"], mailForwardingAddress=f"c{(one + 1) % 12}@example.com")
        for one in range(12)
    ]
    with directory("ldif", tmp_path, *users) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["c0"], "one").startswith("250")
        (notice,) = wait_for(lambda: notices(tiers.stores, "user0"), 30)
        assert b"Status: 5.4.6 (alias expansion loop: c10@example.com)" in notice
        wait_empty(tiers.relay)
        assert owners_of(tiers, "one") == sorted(["user0", *(f"c{one}" for one in range(10))])  # user0: the notice


def test_a_member_that_is_no_address(tmp_path: Path) -> None:
    bad = group("bad", mgrpRFC822MailMember=["user1@example.com", "not an address"])
    with directory("ldif", tmp_path, bad) as options, journey(tmp_path, directory=options) as tiers:
        route = tiers.relay.command("route", "bad@example.com", "--from", "user0@example.com")
        assert route.returncode == 0, route.stderr
        assert "refuse: 501 5.1.3 syntax error in address: not an address" in route.stdout
        assert send(tiers, ["bad"], "one").startswith("250")
        (notice,) = wait_for(lambda: notices(tiers.stores, "user0"), 30)
        assert b"Diagnostic-Code: smtp;501 5.1.3 syntax error in address: not an address\n" in notice
        wait_empty(tiers.relay)
        assert owners_of(tiers, "one") == ["user0", "user1"]
