"""Sieve scripts of channels with real processes: on the way in, on the way out, and behind a list that is expanded later."""

from pathlib import Path

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.journey_mail import mailboxes
from support.journey_tiers import edit, journey, wait_empty
from support.lists import directory, group, send, user_dn

LIST = group("two", uniqueMember=[user_dn(number) for number in range(2)])
IN = """require "fileinto";
if header :contains "subject" "spam" { fileinto "Junk"; }
if header :contains "subject" "virus" { discard; }
"""
OUT = 'require "copy";\nif header :contains "subject" "logged" { redirect :copy "user3@example.com"; }\n'


def places(tiers: TwoTiers, token: str) -> list[tuple[str, str]]:
    """Owner and folder of everything with this subject."""
    found = [each for each in mailboxes(tiers.stores) if f"Subject: {token}".encode() in each.octets]
    return sorted((each.owner, "Junk" if ".Junk" in each.path.parts else "") for each in found)


def test_scripts_of_both_sides(tmp_path: Path) -> None:
    with directory("ldif", tmp_path, LIST, users=4) as options, journey(tmp_path, directory=options, start=False) as tiers:
        edit(tiers.relay, "imta.cnf", "tcp_local smtp", "tcp_local sourcefilter in.sieve expandlimit 1 smtp")
        edit(tiers.relay, "imta.cnf", "tcp_lmtpcs defragment", "tcp_lmtpcs destinationfilter file:out.sieve defragment")
        for name, script in (("in.sieve", IN), ("out.sieve", OUT)):
            (tiers.relay.folder / "config" / name).write_text(script)
        tiers.start()
        assert send(tiers, ["user0", "user1"], "spam").startswith("250")
        assert send(tiers, ["user2"], "virus").startswith("250")
        assert send(tiers, ["two"], "spam-for-all").startswith("250")
        assert send(tiers, ["two"], "logged").startswith("250")
        wait_for(lambda: len(mailboxes(tiers.stores)) == 7, 30)
        wait_empty(tiers.relay)
        junk = [("user0", "Junk"), ("user1", "Junk")]
        assert places(tiers, "spam") == sorted(junk * 2)  # those sent to the list too
        assert places(tiers, "spam-for-all") == junk
        assert places(tiers, "virus") == []
        assert places(tiers, "logged") == [("user0", ""), ("user1", ""), ("user3", "")]
