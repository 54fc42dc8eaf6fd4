"""Groups over two tiers, on a file and on a slapd: who gets the mail, under whose name, changed how; who is refused, and when."""

from pathlib import Path

import pytest

from support.family_rig import wait_for
from support.journey_mail import connect, mailboxes, notices
from support.journey_tiers import journey, queued, wait_empty
from support.lists import BASE, directory, group, mail_of, owners_of, person, send, user_dn

STAFF = group(
    "staff", uniqueMember=[user_dn(1), user_dn(2), f"cn=team,ou=Groups,{BASE}"], mgrpErrorsTo="mailto:user5@example.com",
    mgrpAllowedDomain="example.com", mailRejectText="staff only", mgrpMsgMaxSize="20000",
)  # fmt: skip
TEAM = group("team", mgrpRFC822MailMember=["user2@example.com", "user3@example.com", "staff@example.com", "gone@example.com"])
GONE = person("gone", mailUserStatus="deleted")
FOUND = group("found", memberURL=f"ldap:///{BASE}??sub?(|(uid=user1)(uid=user4))", mailDeliveryOption="members_offline")
CHANGED = group(
    "changed", mgrpRFC822MailMember=["user1@example.com"], mgrpAddHeader="List-Id: <changed.example.com>",
    mgrpRemoveHeader="X-Secret", mgrpMsgPrefixText="From the list:$", mgrpMsgSuffixText="-- $changed@example.com",
)  # fmt: skip
MODERATED = group("moderated", uniqueMember=[user_dn(1), user_dn(2)], mgrpModerator="mailto:user4@example.com")
PASSWORD = group(
    "password", mgrpRFC822MailMember="user1@example.com", mgrpBroadcasterPolicy="PASSWD_REQ", mgrpAuthPassword="sesame"
)
OFTEN = group(
    "often", uniqueMember=[user_dn(1), user_dn(2)], mgrpRFC822MailMember=["user1@example.com", "user3@example.com"],
    mgrpNoDuplicateChecks="yes", mailDeliveryOption="{option}",
)  # fmt: skip
EMPTY = group("empty", mgrpRFC822MailMember="empty@example.com")
ENTRIES = (STAFF, TEAM, GONE, FOUND, CHANGED, MODERATED, PASSWORD, EMPTY)


@pytest.mark.parametrize("kind", ["ldif", "slapd"])
def test_lists(kind: str, tmp_path: Path) -> None:
    with directory(kind, tmp_path, *ENTRIES) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["staff"], "one").startswith("250")
        assert send(tiers, ["staff"], "two", sender="x@evil.test") == "550 5.7.1 staff only: staff@example.com"
        assert send(tiers, ["empty"], "three") == "550 5.1.1 unknown or illegal alias: empty@example.com"
        assert send(tiers, ["staff"], "big", body="x\r\n" * 8000).startswith("550 5.2.3")
        assert send(tiers, ["found"], "four").startswith("250")
        assert send(tiers, ["changed"], "five", header="X-Secret: 1\r\n").startswith("250")
        assert send(tiers, ["moderated"], "six").startswith("250")
        assert send(tiers, ["moderated"], "seven", sender="user4").startswith("250")
        assert send(tiers, ["password"], "eight").startswith("250")
        assert send(tiers, ["password"], "nine", header="Approved: sesame\r\n").startswith("250")
        wait_for(lambda: owners_of(tiers, "nine") == ["user1"], 30)
        wait_empty(tiers.relay)
        assert owners_of(tiers, "one") == ["user1", "user2", "user3", "user5"]  # user5: the notice about the one that is gone
        assert owners_of(tiers, "four") == ["user1", "user4"]
        assert owners_of(tiers, "six") == ["user4"]
        assert owners_of(tiers, "seven") == ["user1", "user2"]
        (one,) = [mail for mail in mail_of(tiers, "user1") if mail["Subject"] == "one"]
        assert one["Return-Path"] == "<user5@example.com>"
        (notice,) = notices(tiers.stores, "user5")
        assert b"Final-Recipient: rfc822;gone@example.com" in notice
        assert b"5.1.6" in notice
        (refused,) = notices(tiers.stores, "user0")
        assert b"Final-Recipient: rfc822;password@example.com" in refused
        assert b"5.7.1" in refused
        (changed,) = [mail for mail in mail_of(tiers, "user1") if mail["Subject"] == "five"]
        assert (changed["List-Id"], changed["X-Secret"]) == ("<changed.example.com>", None)
        assert changed.get_content().splitlines() == ["From the list:", "", "hello", "-- ", "changed@example.com"]
        (nine,) = [mail for mail in mail_of(tiers, "user1") if mail["Subject"] == "nine"]
        assert nine["Approved"] is None
        assert owners_of(tiers, "eight") == ["user0"]
        assert not queued(tiers.relay)
        for address in ("staff@example.com", "user3@example.com"):  # found by the list's name and by a member's
            lines = tiers.relay.command("trace", address).stdout.splitlines()
            assert any("delivered" in line and "user3@example.com" in line for line in lines), lines
        assert len(mailboxes(tiers.stores)) == 4 + 2 + 1 + 1 + 2 + 1 + 1


SUCCESS = {
    "own": group("own", uniqueMember=[user_dn(1), user_dn(2)], mgrpErrorsTo="mailto:user5@example.com"),
    "plain": group("plain", uniqueMember=[user_dn(1), user_dn(2)]),
    "one": group("one", uniqueMember=user_dn(1)),
    "offline": group("offline", uniqueMember=[user_dn(1), user_dn(2)], mailDeliveryOption="members_offline"),
}


def test_success_is_told_of_the_list_not_of_its_members(tmp_path: Path) -> None:
    with directory("ldif", tmp_path, *SUCCESS.values()) as options, journey(tmp_path, directory=options) as tiers:
        for name in SUCCESS:
            with connect(tiers.relay) as client:
                client.ehlo()
                client.mail("user0@example.com")
                assert client.rcpt(f"{name}@example.com", ["NOTIFY=SUCCESS"])[0] == 250
                assert client.data(f"From: user0@example.com\r\nSubject: {name}\r\n\r\nhello\r\n".encode())[0] == 250
        wait_for(lambda: len(notices(tiers.stores, "user0")) == len(SUCCESS), 30)
        wait_empty(tiers.relay)
        told = {}
        for octets in notices(tiers.stores, "user0"):
            found = dict(line.split(b": ", 1) for line in octets.splitlines() if line.startswith((b"Final-", b"Action")))
            told[found[b"Final-Recipient"]] = found[b"Action"]
            assert b"user1" not in octets
        assert told == {
            b"rfc822;own@example.com": b"delivered", b"rfc822;plain@example.com": b"expanded",
            b"rfc822;one@example.com": b"expanded", b"rfc822;offline@example.com": b"expanded",
        }  # fmt: skip


@pytest.mark.parametrize("option", ["members", "members_offline"])
def test_a_list_without_checks_for_duplicates(option: str, tmp_path: Path) -> None:
    often = OFTEN.replace("{option}", option)
    with directory("slapd", tmp_path, often) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["often", "user3"], "one").startswith("250")
        wait_for(lambda: len(owners_of(tiers, "one")) >= 4, 30)
        wait_empty(tiers.relay)
        assert owners_of(tiers, "one") == ["user1", "user1", "user2", "user3"] + ["user3"] * (option == "members_offline")


@pytest.mark.parametrize("kind", ["ldif", "slapd"])
def test_forwards(kind: str, tmp_path: Path) -> None:
    addresses = ["user1@example.com", "gone@example.com"]
    both = person("both", mailDeliveryOption=["mailbox", "forward"], mailForwardingAddress=addresses)
    here = person("here", mailDeliveryOption="forward", mailForwardingAddress=["there@example.com", "user2@example.com"])
    there = person("there", 2, mailDeliveryOption="forward", mailForwardingAddress="here@example.com")
    own = person("own", 2, mailDeliveryOption="forward", mailForwardingAddress="own@example.com")
    bad = person("bad", mailDeliveryOption="forward", mailForwardingAddress="gone@example.com")
    entries = (both, here, there, own, bad, GONE)
    with directory(kind, tmp_path, *entries) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["both"], "one").startswith("250")
        assert send(tiers, ["here"], "two").startswith("250")
        assert send(tiers, ["own"], "three").startswith("250")
        assert send(tiers, ["bad"], "four").startswith("550 5.1.6")
        wait_for(lambda: owners_of(tiers, "three") == ["own"], 30)
        wait_empty(tiers.relay)
        assert owners_of(tiers, "one") == ["both", "user0", "user1"]  # user0: the notice
        assert owners_of(tiers, "two") == ["here", "user2"]
        (notice,) = notices(tiers.stores, "user0")
        assert b"5.1.6" in notice


def test_a_member_closed_for_now_gets_it_later(tmp_path: Path) -> None:
    closed = person("closed", 2, mailUserStatus="inactive")
    both = group("both", mgrpRFC822MailMember=["user1@example.com", "closed@example.com"])
    with directory("ldif", tmp_path, closed, both) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["both"], "one").startswith("250")
        wait_for(lambda: owners_of(tiers, "one") == ["user1"], 30)
        wait_for(lambda: [copy["channel"] for copy in queued(tiers.relay)] == ["reprocess"], 30)
        (waiting,) = wait_for(lambda: [one for copy in queued(tiers.relay) for one in copy["recipients"] if one["status"]], 30)
        assert waiting["status"]["code"] == 452
        people = tmp_path / "people.ldif"
        (tmp_path / "new.ldif").write_text(people.read_text().replace("mailUserStatus: inactive", "mailUserStatus: active"))
        (tmp_path / "new.ldif").replace(people)
        wait_for(lambda: owners_of(tiers, "one") == ["closed", "user1"], 60)
        wait_empty(tiers.relay)


def test_a_large_message_is_changed_and_otherwise_whole(tmp_path: Path) -> None:
    head = group("head", mgrpRFC822MailMember=["user1@example.com", "user2@example.com"], mgrpAddHeader="X-List: head")
    members = [f"cn=head,ou=Groups,{BASE}", user_dn(3)]
    text = group("text", uniqueMember=members, mgrpMsgPrefixText="Before$", mgrpMsgSuffixText="After")
    body = "".join(f".{number} a line of many\r\n" for number in range(15_000))
    with directory("ldif", tmp_path, head, text) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["head"], "one", body=body).startswith("250")
        assert send(tiers, ["text"], "two", body=body).startswith("250")
        wait_for(lambda: owners_of(tiers, "two") == ["user1", "user2", "user3"], 30)
        wait_empty(tiers.relay)
        plain = body.replace("\r\n", "\n")
        for owner in ("user1", "user2"):
            one, two = (next(mail for mail in mail_of(tiers, owner) if mail["Subject"] == token) for token in ("one", "two"))
            assert (one["X-List"], two["X-List"]) == ("head", "head")
            assert one.get_content().replace("\r\n", "\n") == plain
            assert two.get_content().replace("\r\n", "\n") == f"Before\n\n{plain}After\n"
        assert mail_of(tiers, "user3")[0]["X-List"] is None
