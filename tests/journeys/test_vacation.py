"""Vacation answers over two tiers: once for each sender, with the right text, remembered over a restart, never to programs."""

from pathlib import Path

import pytest

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.journey_tiers import journey, wait_empty
from support.lists import directory, group, mail_of, owners_of, person, send, user_dn

AWAY = person(
    "away", 2, mailDeliveryOption=["mailbox", "autoreply"], mailAutoReplySubject="Away: $SUBJECT", mailAutoReplyTimeOut="24",
    mailAutoReplyText="I am away.$Back in June.", mailAutoReplyTextInternal="Away. Ask Bob.", mailAutoReplyMode="echo",
)  # fmt: skip
SILENT = person("silent", 1, mailDeliveryOption="autoreply", mailAutoReplyText="never seen", vacationEndDate="20200101000000Z")
STAFF = group("staff", uniqueMember=["uid=away,ou=People,o=example.com,o=usergroup", user_dn(3)])


def answers(tiers: TwoTiers, owner: str) -> list[str]:
    return [str(mail["Subject"]) for mail in mail_of(tiers, owner) if mail["Auto-Submitted"] == "auto-replied"]


@pytest.mark.parametrize("kind", ["ldif", "slapd"])
def test_answered_once_with_the_text_for_insiders(kind: str, tmp_path: Path) -> None:
    with directory(kind, tmp_path, AWAY, SILENT, STAFF) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["away"], "one").startswith("250")
        wait_for(lambda: answers(tiers, "user0") == ["Away: one"])
        (answer,) = [mail for mail in mail_of(tiers, "user0") if mail["Auto-Submitted"]]
        assert answer["Return-Path"] == "<>"
        assert (answer["From"], answer["To"]) == ("away@example.com", "user0@example.com")
        assert answer["In-Reply-To"] == "<one@journey.test>"
        text, original = answer.iter_parts()
        assert text.get_content().strip() == "Away. Ask Bob."
        assert "hello" in original.get_content().get_content()
        assert owners_of(tiers, "one") == ["away", "user0"]  # the mail itself, and in the answer
        assert send(tiers, ["away"], "two").startswith("250")
        assert send(tiers, ["staff"], "three").startswith("250")
        assert send(tiers, ["away"], "four", sender="user1", header="Precedence: bulk\r\n").startswith("250")
        assert send(tiers, ["away"], "five", sender="").startswith("250")
        assert send(tiers, ["silent"], "six", sender="user1").startswith("250")
        wait_for(lambda: owners_of(tiers, "six") == ["silent"])
        wait_empty(tiers.relay)
        tiers.relay.stop()
        tiers.relay.start()
        assert send(tiers, ["away"], "seven").startswith("250")
        assert send(tiers, ["away"], "eight", sender="user2").startswith("250")
        wait_for(lambda: answers(tiers, "user2") == ["Away: eight"])
        wait_empty(tiers.relay)
        assert answers(tiers, "user0") == ["Away: one"]
        assert answers(tiers, "user1") == []
        assert {"two", "three", "four", "five", "seven"} <= {str(mail["Subject"]) for mail in mail_of(tiers, "away")}
