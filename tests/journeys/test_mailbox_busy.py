"""A mailbox another process has locked: 420 Mailbox Locked, and a retry within seconds (MAILBOX_BUSY_FAST_RETRY)."""

import fcntl
import time
from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import append, journey, queued, wait_empty


def test_a_locked_mailbox_is_tried_again_soon_and_holds_nobody_else_up(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, stores=1, quick=False) as tiers:
        (store,) = tiers.stores
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
            wait_delivered(ledger, tiers.stores)
            with (store.folder / "data" / "store" / "primary" / "user0" / ".lmtp-lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                ledger.send(client, ["user0", "user1"])
                other = ledger.send(client, ["user2"])
                wait_for(lambda: any(found.token == other.token for found in mailboxes([store])), 12)
                (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if copy["recipients"][0]["status"]], 20)
                assert [recipient["original"] for recipient in copy["recipients"]] == ["user0@example.com"]
                status = copy["recipients"][0]["status"]
                assert (status["code"], status["enhanced"]) == (420, "4.2.0")
                assert status["text"].endswith("Mailbox Locked")
        begin = time.monotonic()
        wait_delivered(ledger, tiers.stores)
        print(f"delivered {time.monotonic() - begin:.1f} s after the lock was free; the ordinary backoff begins with minutes")
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_without_the_option_it_waits_for_the_ordinary_backoff(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, stores=1, quick=False, start=False) as tiers:
        append(tiers.relay, "tcp_lmtpcs_option", "MAILBOX_BUSY_FAST_RETRY=0\n")
        tiers.start()
        (store,) = tiers.stores
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
            wait_delivered(ledger, tiers.stores)
            with (store.folder / "data" / "store" / "primary" / "user0" / ".lmtp-lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                ledger.send(client, ["user0"])
                (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if copy["state"] == "file"], 20)
        assert copy["attempts"] == 1
        assert copy["next_try"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 120))
        assert len(queued(tiers.relay)) == 1
        tiers.relay.command("queue", "retry", "--all")
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
