"""Retry, warning, return: what the sender hears, in real mailboxes, with notices counted in seconds (RETURN_UNITS=3)."""

import re
from pathlib import Path

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, notices, reconcile, records, wait_delivered
from support.journey_tiers import append, edit, journey, queued, retry_all, wait_empty

INTERNAL = re.compile(rb"lmtpcs-daemon|\.lmtp|tcp-daemon|process-daemon|@store\d\.example\.com:")


def in_seconds(tiers: TwoTiers, ages: str) -> None:
    edit(tiers.relay, "imta.cnf", "notices 1 2 4 7", f"notices {ages}")
    append(tiers.relay, "option.dat", "RETURN_UNITS=3\n")


def test_what_cannot_be_delivered_is_warned_about_and_then_returned(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        in_seconds(tiers, "2 4 8")
        first, second = tiers.stores
        second.start()  # the sender is user1 of store2; store1 stays away
        tiers.relay.start()
        with connect(tiers.relay) as client:
            assert ledger.send(client, ["user0"], sender="user1@example.com").code == 250
        wait_for(lambda: len(notices([second], "user1")) == 3, 40)
        wait_empty(tiers.relay)
        delayed = [notice for notice in notices([second], "user1") if b"\nAction: delayed\n" in notice]
        (failed,) = (notice for notice in notices([second], "user1") if b"\nAction: failed\n" in notice)
        assert len(delayed) == 2
        for notice in (*delayed, failed):
            assert b"report-type=delivery-status" in notice.replace(b"\n ", b" ")
            assert b"user0@example.com" in notice
            assert not INTERNAL.search(notice), notice
        assert b"Status: 4." in failed or b"Status: 5." in failed
        first.start()
        assert mailboxes([first]) == []


def test_a_5xx_of_the_store_reaches_the_local_sender_word_for_word(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        edit(tiers.stores[0], "store.conf", "store.autocreate = 1", "store.autocreate = 0")
        tiers.start()
        with connect(tiers.relay) as client:
            assert ledger.send(client, ["user0", "user1"], sender="user3@example.com").code == 250
        wait_for(lambda: notices(tiers.stores, "user3"))
        wait_empty(tiers.relay)
        (notice,) = notices(tiers.stores, "user3")
        assert b"\nAction: failed\n" in notice
        assert b"\nDiagnostic-Code: smtp;511 5.1.1 <user0> mailbox nonexistent\n" in notice, notice
        assert re.search(rb"\nStatus: 5\.1\.1\b", notice)
        assert b"\nFinal-Recipient: rfc822;user0@example.com\n" in notice
        assert b"user1@example.com" not in notice, "it was delivered"
        assert not INTERNAL.search(notice), notice
        assert [found.owner for found in mailboxes(tiers.stores)].count("user1") == 1


def test_the_null_sender_is_never_answered_and_a_remote_senders_notice_waits(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        edit(tiers.stores[0], "store.conf", "store.autocreate = 1", "store.autocreate = 0")
        tiers.start()
        with connect(tiers.relay) as client:
            assert ledger.send(client, ["user0"], sender="").code == 250
            wait_for(lambda: records(tiers.relay, "K"))
            wait_empty(tiers.relay)
            assert mailboxes(tiers.stores) == []
            assert ledger.send(client, ["user0"], sender="someone@remote.test").code == 250
        (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if copy["channel"] == "tcp_local"])
        assert copy["sender"] == ""
        assert [recipient["original"] for recipient in copy["recipients"]] == ["someone@remote.test"]
        (listed,) = tiers.relay.json("queue", "list")
        assert listed["id"] == copy["id"]
        retry_all(tiers.relay)
        assert [each["channel"] for each in queued(tiers.relay)] == ["tcp_local"]
        assert mailboxes(tiers.stores) == []


def test_retries_end_in_delivery_without_a_notice(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        tiers.stores[1].start()
        tiers.relay.start()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0", "user1"])
        (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if copy["attempts"] >= 2])
        assert [recipient["original"] for recipient in copy["recipients"]] == ["user0@example.com"]
        assert str(copy["recipients"][0]["status"]["code"]).startswith("4")
        tiers.stores[0].start()
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
        assert notices(tiers.stores, "user0") == []
