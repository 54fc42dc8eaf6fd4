"""Over quota: 422 while the grace period lasts, 522 and a return after it; a raised quota delivers what still waits."""

import time
from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, notices, reconcile, wait_delivered
from support.journey_tiers import edit, journey, limit, queued, retry_all, wait_empty


def status_of(copy: dict[str, object]) -> tuple[int, str]:
    recipients = copy["recipients"]
    assert isinstance(recipients, list)
    status = recipients[0]["status"]
    return (status["code"], status["enhanced"]) if status else (0, "")


def test_refused_for_now_then_for_good_after_the_grace_period(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        limit(tiers, "10000")
        edit(tiers.stores[0], "store.conf", "store.quotagraceperiod = 120", "store.quotagraceperiod = 5s")
        tiers.start()
        with connect(tiers.relay) as client:
            assert ledger.send(client, ["user0"], size=6000).code == 250
            wait_delivered(ledger, tiers.stores)
            begin = time.monotonic()
            late = ledger.send(client, ["user0"], size=6000, sender="user1@example.com")
            assert late.code == 250
        (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if status_of(copy) == (422, "4.2.2")])
        assert copy["recipients"][0]["status"]["text"].endswith("Quota Exceeded")
        wait_for(lambda: notices(tiers.stores, "user1"), 30)
        assert time.monotonic() - begin >= 5
        wait_empty(tiers.relay)
        (notice,) = notices(tiers.stores, "user1")
        assert b"522 5.2.2" in notice
        assert b"Persistent Quota Exceeded" in notice
        assert not any(found.token == late.token and found.owner == "user0" for found in mailboxes(tiers.stores))


def test_a_raised_quota_delivers_at_the_next_retry(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, quick=False, start=False) as tiers:
        limit(tiers, "10000")
        tiers.start()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"], size=6000)
            wait_delivered(ledger, tiers.stores)
            assert ledger.send(client, ["user0"], size=6000).code == 250
            wait_for(lambda: [copy for copy in queued(tiers.relay) if status_of(copy) == (422, "4.2.2")])
            limit(tiers, "100000")
            # the store hears of it with the next message routed after the relay has read the file again, and keeps it
            saved = tiers.stores[0].folder / "data" / "store" / "primary" / "user0" / ".lmtp-lock"
            deadline = time.monotonic() + 20
            while b" 100000 " not in saved.read_bytes():
                assert time.monotonic() < deadline
                assert ledger.send(client, ["user0"], size=300).code == 250
                time.sleep(0.5)
        assert queued(tiers.relay), "the large one waits for its retry"
        retry_all(tiers.relay)
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_a_message_that_comes_late_does_not_bring_its_old_limits(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        limit(tiers, "10000")
        relay, store = tiers.relay, tiers.stores[0]
        relay.start()
        with connect(relay) as client:
            assert ledger.send(client, ["user0"], size=300).code == 250
        wait_for(lambda: queued(relay))
        relay.json("queue", "hold", "--to", "user0@example.com")
        store.start()
        limit(tiers, "100000")
        saved = store.folder / "data" / "store" / "primary" / "user0" / ".lmtp-lock"
        with connect(relay) as client:
            deadline = time.monotonic() + 20
            while not (saved.exists() and b" 100000 " in saved.read_bytes()):
                assert time.monotonic() < deadline
                assert ledger.send(client, ["user0"], size=300).code == 250
                time.sleep(0.5)
        relay.json("queue", "release", "--to", "user0@example.com")
        wait_delivered(ledger, tiers.stores)
        assert b" 100000 " in saved.read_bytes()
