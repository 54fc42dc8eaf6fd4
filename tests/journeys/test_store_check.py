"""`posthouse store check` beside a running store: only what is dead is taken away; mailboxes made by hand only."""

import json
import os
import signal
import smtplib
import threading
from pathlib import Path

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.store_alone import deliver, faults, message, root_of, store_alone, subjects


def begin_large(store: RunningInstance, owner: str) -> smtplib.LMTP:
    """A message too large for memory, half of it sent: it stands in the owner's `tmp/`."""
    client = smtplib.LMTP(store.address, store.port, local_hostname="relay.test", timeout=30)
    client.ehlo()
    client.mail("a@outside.test")
    assert client.rcpt(owner)[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(message("large", octets=600_000))
    wait_for(lambda: any(path.stat().st_size for path in (root_of(store, owner) / "tmp").iterdir()))
    return client


def workers(store: RunningInstance) -> list[int]:
    answer = json.loads(store.command("status", "--json", check=False).stdout)
    return [each["pid"] for each in answer["processes"] if each["role"] == "lmtp" and each["state"] != "ended"]


def test_a_file_that_is_being_written_stays_a_dead_ones_goes(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "user", "first")
        client = begin_large(store, "user")
        assert faults(store) == []
        done = store.json("store", "check")
        assert done == {"mailboxes": 1, "faults": []}
        assert client.docmd(".")[0] == 250  # it was delivered
        client.close()
        assert subjects(store, "user") == ["first", "large"]

        client = begin_large(store, "user")
        before = workers(store)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        client.close()
        wait_for(lambda: workers(store) and not set(workers(store)) & set(before))
        kinds = {fault["kind"] for fault in store.json("store", "check")["faults"]}
        assert "stray" in kinds
        assert kinds <= {"stray", "quota"}  # a replay asks for a count
        assert faults(store) == []
        assert subjects(store, "user") == ["first", "large"]
        assert deliver(store, "user", "after") == [250]


def test_checked_over_and_over_under_deliveries_nothing_is_wrong(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "user", "first")
        taken, stop = ["first"], threading.Event()

        def send(name: int) -> None:
            while not stop.is_set():
                mark = f"mail-{name}-{len(taken)}-"
                assert deliver(store, "user", mark) == [250]
                taken.append(mark)

        threads = [threading.Thread(target=send, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                assert store.json("store", "check")["faults"] == []
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert subjects(store, "user") == sorted(taken)
        assert store.json("store", "quota", "user")[0]["messages"] == len(taken)


def test_without_autocreate_mailboxes_are_made_by_hand(tmp_path: Path) -> None:
    with store_alone(tmp_path, "store.autocreate = 0") as store:
        assert deliver(store, "user", "too-early") == [511]
        store.command("store", "create", "user")
        assert deliver(store, "user", "welcome") == [250]
        store.command("store", "rename", "user", "other")
        assert deliver(store, "user", "too-late") == [511]
        assert deliver(store, "other", "here") == [250]
        store.command("store", "delete", "other")
        assert deliver(store, "other", "gone") == [511]
        assert store.json("store", "list") == []
