"""Figure 16-1: SMTP to the store, which looks users up again, queues again, and delivers by `ims_ms` under its own rules."""

import os
import signal
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Ledger, Load, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import kill, pids, queued, restart_after_kill, retry_all, wait_empty
from support.machines import Kind, drained, machines, records

BY_SMTP = ("--deliver-by", "smtp")
ONE = {"store1": Kind.FULL}
TWO = {"store1": Kind.FULL, "store2": Kind.FULL}


def test_mail_goes_through_two_queues_into_the_mailboxes(tmp_path: Path) -> None:
    ledger = Ledger()
    with machines(tmp_path, TWO, relay_options=BY_SMTP) as tiers:
        with connect(tiers.relay) as client:
            for number in range(6):
                ledger.send(client, [f"user{number}", f"user{(number + 1) % 6}"], size=400)
            ledger.send(client, ["user0", "user1", "user2"], size=700_000)
        wait_delivered(ledger, list(tiers.stores.values()))
        drained(tiers)
        verdict = reconcile(ledger, tiers.stores.values()).check()
        assert (verdict.delivered, verdict.duplicates) == (15, 0)
        by_smtp = records(tiers.relay, "D", "tcp_intranet")
        assert len(by_smtp) == 15
        assert {each["de"] for each in by_smtp if "user3" in each["de"]} == {"@store2.example.com:user3@example.com"}
        into = [each for store in tiers.stores.values() for each in records(store, "D", "ims-ms")]
        assert sorted({each["de"] for each in into}) == [f"user{number}@ims-ms-daemon" for number in range(6)]
        assert pids(tiers.store("store1"), "lmtp") == []


def test_the_stores_rules_hold_and_its_queue_returns_what_it_refuses(tmp_path: Path) -> None:
    """Over quota for good: the store's own queue makes the notice, for user1 to read."""
    with machines(tmp_path, ONE, users=3, relay_options=BY_SMTP, start=False) as tiers:
        tiers.directory.set("user0", mailQuota="3000")
        tiers.directory.write()
        store = tiers.store("store1")
        (store.folder / "config" / "store.conf").write_text(
            (store.folder / "config" / "store.conf").read_text().replace("quotagraceperiod = 120", "quotagraceperiod = 0")
        )
        tiers.start()
        ledger = Ledger()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"], sender="user1@example.com", size=1500)
            wait_delivered(ledger, [store])
            ledger.send(client, ["user0"], sender="user1@example.com", size=1500)
        notice = wait_for(lambda: [each for each in mailboxes([store]) if each.owner == "user1"], 20)[0]
        assert b"\nAction: failed\n" in notice.octets
        assert b"5.2.2" in notice.octets
        assert b"Final-Recipient: rfc822;user0@example.com" in notice.octets
        assert [each["en"] for each in records(store, "R", "ims-ms")] == ["5.2.2"]
        wait_for(lambda: "\nstore_quota_refused_total 1\n" in store.command("metrics").stdout)
        assert records(tiers.relay, "R", "tcp_intranet") == []
        drained(tiers)


def test_a_mailbox_that_cannot_be_used_waits_in_the_stores_queue(tmp_path: Path) -> None:
    ledger = Ledger()
    with machines(tmp_path, ONE, users=2, relay_options=BY_SMTP) as tiers:
        store = tiers.store("store1")
        spoilt = store.folder / "data" / "store" / "primary" / "user0"
        spoilt.mkdir(parents=True)
        (spoilt / "mbox").write_text("not a Maildir")
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0", "user1"])
        waiting = wait_for(lambda: [copy for copy in queued(store) if copy["recipients"][0].get("status")], 20)
        assert waiting[0]["channel"] == "ims-ms"
        assert waiting[0]["recipients"][0]["status"]["enhanced"] == "4.2.0"
        wait_empty(tiers.relay)
        (spoilt / "mbox").unlink()
        retry_all(store)
        wait_delivered(ledger, [store])
        drained(tiers)
        assert reconcile(ledger, [store]).check().duplicates == 0


def test_a_partition_that_is_away_is_told_while_mail_waits_in_the_stores_queue(tmp_path: Path) -> None:
    ledger = Ledger()
    with machines(tmp_path, ONE, users=1, relay_options=BY_SMTP) as tiers:
        store = tiers.store("store1")
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
        wait_delivered(ledger, [store])
        drained(tiers)
        primary = store.folder / "data" / "store" / "primary"
        primary.rename(tmp_path / "away")
        told = wait_for(lambda: store.json("status")["troubles"], 40)
        assert [(each["what"], each["text"]) for each in told] == [
            ("partition", "partition primary was moved away, or covered: mail waits in the queue")
        ]
        assert 'posthouse_troubles{what="partition"} 1\n' in store.command("metrics").stdout
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
        wait_for(lambda: [copy["channel"] for copy in queued(store)] == ["ims-ms"], 30)
        (tmp_path / "away").rename(primary)
        wait_for(lambda: not store.json("status")["troubles"], 40)
        retry_all(store)
        wait_delivered(ledger, [store])
        drained(tiers)
        assert reconcile(ledger, [store]).check().duplicates == 0


@pytest.mark.parametrize("victim", ["channel", "supervisor"])
def test_nothing_is_lost_when_the_store_is_killed_in_the_middle(tmp_path: Path, victim: str) -> None:
    """With `store.dupcheck` not even twice: a copy is known by message id and recipient id."""
    with machines(tmp_path, ONE, relay_options=BY_SMTP, start=False) as tiers:
        store = tiers.store("store1")
        with (store.folder / "config" / "store.conf").open("a") as conf:
            conf.write("store.dupcheck = 1\n")
        tiers.start()
        with Load(tiers.relay.port, list(tiers.directory.users), clients=2, sizes=(400, 3000)) as load:
            for _ in range(3):
                before = load.ledger.accepted
                wait_for(lambda: load.ledger.accepted > before + 40, 20)  # noqa: B023
                if victim == "supervisor":
                    kill(store, victim, signal.SIGKILL)
                    restart_after_kill(store)
                else:
                    (ims,) = wait_for(lambda: worker(store, "IMS_POOL"))
                    os.kill(ims, signal.SIGKILL)
        retry_all(tiers.relay)
        wait_delivered(load.ledger, [store])
        retry_all(store)
        drained(tiers)
        verdict = reconcile(load.ledger, [store]).check()
        if victim == "channel":  # the relay had all its answers
            assert verdict.duplicates == 0


def worker(instance: RunningInstance, pool: str) -> list[int]:
    rows = instance.json("status")["processes"]
    return [int(row["pid"]) for row in rows if row["service"] == pool]
