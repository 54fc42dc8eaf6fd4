"""The real Dovecot, as `posthouse store dovecot-config` configures it, on a store that goes on delivering."""

import imaplib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.imap_tier import Imap, dovecot_of, served_store
from support.interop_daemon import needs_root, open_folder
from support.interop_dovecot import body_of, fetch, found, move
from support.store_alone import deliver, faults, message, root_of, subjects

pytestmark = needs_root
USERS = (
    "counts", "moves", "full", "idle", "many", "race", "acl", "hosted@other.org",
    "original-maildir", "original-mbox", "copy-maildir", "copy-mbox",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder("imap") as made:
        yield made


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[RunningInstance]:
    with served_store(folder) as running:
        yield running


@pytest.fixture(scope="module")
def imap(store: RunningInstance, folder: Path) -> Iterator[Imap]:
    with dovecot_of(store, folder / "dovecot", users=USERS) as running:
        yield running


def quota(client: imaplib.IMAP4) -> dict[str, tuple[int, int]]:
    """Of the logged-in user: resource -> (used, limit); STORAGE in KiB."""
    kind, (_, rows) = client.getquotaroot("INBOX")
    assert kind == "OK"
    text = b" ".join(row for row in rows if isinstance(row, bytes)).decode()
    return {name: (int(used), int(most)) for name, used, most in re.findall(r"(STORAGE|MESSAGE) (\d+) (\d+)", text)}


def test_counts_sizes_and_flags(store: RunningInstance, imap: Imap) -> None:
    assert deliver(store, "counts", "one", "two", "three", octets=3000) == [250] * 3
    with imap.login("counts@Example.COM") as client:  # the default domain is no part of the owner
        assert client.select() == ("OK", [b"3"])
        uids = found(client, "ALL")
        for uid, mark in zip(uids, ("one", "two", "three"), strict=True):
            octets = body_of(client, uid)
            assert octets == b"Return-Path: <a@outside.test>\r\n" + message(mark, octets=3000)
            (answer,) = fetch(client, str(uids.index(uid) + 1), "(RFC822.SIZE)")
            assert int(answer.split()[-1].rstrip(b")")) == len(octets)
        client.uid("STORE", uids[1], "+FLAGS", r"(\Flagged \Answered $Work)")
        client.uid("STORE", uids[2], "-FLAGS", r"(\Seen)")
    deliver(store, "counts", "four")
    with imap.login("counts") as client:
        client.select()
        assert found(client, "FLAGGED", "ANSWERED", "SEEN", "KEYWORD", "$Work") == [uids[1]]
        assert found(client, "UNSEEN") == [uids[2], found(client, "SUBJECT", "four")[0]]
        (listed,) = store.json("store", "list", "counts")
        assert quota(client) == {} or quota(client)["MESSAGE"][0] == 4
    assert listed["messages"] == 4
    assert faults(store, "counts") == []


def test_a_hosted_domains_owner_has_its_own_mailbox(store: RunningInstance, imap: Imap) -> None:
    deliver(store, "hosted@other.org", "for-the-hosted")
    with imap.login("Hosted@Other.org") as client:
        assert client.select() == ("OK", [b"1"])


def test_moved_and_deleted_mail_is_gone_for_the_store(store: RunningInstance, imap: Imap) -> None:
    deliver(store, "moves", *(f"mail-{number}" for number in range(6)))
    with imap.login("moves") as client:
        assert client.create("Work/2026")[0] == "OK"
        client.select()
        move(client, ",".join(found(client, "1:2")), "Work/2026")
        client.copy("1", "Work/2026")
        client.store("2", "+FLAGS", r"(\Deleted)")
        client.expunge()
        assert client.select("Work/2026")[1] == [b"3"]
    assert subjects(store, "moves") == ["mail-2", "mail-4", "mail-5"]
    assert subjects(store, "moves", ".Work.2026") == ["mail-0", "mail-1", "mail-2"]
    (listed,) = store.json("store", "list", "moves", "--folders")
    assert {each["folder"]: each["messages"] for each in listed["each"]} == {"INBOX": 3, "Work/2026": 3}
    wait_for(lambda: store.json("store", "quota", "moves")[0]["messages"] == 6)
    assert faults(store, "moves") == []


def test_quota_is_one_for_both(store: RunningInstance, imap: Imap) -> None:
    def send(mark: str, *options: str) -> int:
        (code,) = deliver(store, "full", mark, octets=2000, options=options)
        return code

    assert [send("first", "xquota=100000,3"), send("second"), send("third"), send("fourth")] == [250, 250, 250, 422]
    with imap.login("full") as client:
        assert quota(client)["MESSAGE"] == (3, 3)
        assert quota(client)["STORAGE"] == (6, 98)
        client.select()
        assert client.append("INBOX", "", "", message("own"))[0] == "NO"  # the IMAP server keeps the same limit
        client.store("1", "+FLAGS", r"\Deleted")
        client.expunge()
        wait_for(lambda: send("fifth") == 250)
        store.command("store", "quota", "full", "--set", "1M,5")
        assert send("sixth") == 250
    with imap.login("full") as client:  # a session keeps the limits it began with
        assert quota(client) == {"STORAGE": (8, 1024), "MESSAGE": (4, 5)}
    assert store.json("store", "quota", "full")[0]["percent"] == 80.0


def test_new_mail_is_seen_within_a_second(store: RunningInstance, imap: Imap) -> None:
    deliver(store, "idle", "before")
    with imap.login("idle") as client:
        client.select()
        client.send(b"x IDLE\r\n")
        assert client.readline().startswith(b"+ ")
        for number in range(2, 5):
            with socket.create_connection((store.address, store.port), 10):  # the store is awake
                started = time.monotonic()
            deliver(store, "idle", f"while-idle-{number}")
            while client.readline() != b"* %d EXISTS\r\n" % number:
                assert time.monotonic() - started < 5
            assert time.monotonic() - started < 1.0
        client.send(b"DONE\r\n")
        while not client.readline().startswith(b"x OK"):
            pass


def test_ten_thousand_messages_in_one_folder(store: RunningInstance, imap: Imap) -> None:
    """Most of them are made by hand, as deliveries would have left them; Dovecot has not seen them yet."""
    deliver(store, "many", "first")
    root = root_of(store, "many")
    owner = root.stat()
    octets = message("by-hand").replace(b"\r\n", b"\n")
    model = root / "tmp" / "model"
    model.write_bytes(octets)
    model.chmod(0o600)
    os.chown(model, owner.st_uid, owner.st_gid)
    for number in range(9_998):
        (root / "new" / f"1700000000.M{number:06d}P1R1Q{number}.store1,S={len(octets)}").hardlink_to(model)
    model.unlink()
    assert store.json("store", "check", "many")["faults"][0]["kind"] == "quota"
    assert deliver(store, "many", "last") == [250]
    with imap.login("many") as client:
        started = time.monotonic()
        assert client.select() == ("OK", [b"10000"])
        assert len(found(client, "SUBJECT", "last")) == 1
        assert time.monotonic() - started < 10
        assert client.create("Old")[0] == "OK"
        move(client, "1:5000", "Old")
        assert client.select("Old")[1] == [b"5000"]
    (listed,) = store.json("store", "list", "many", "--folders")
    assert sorted(each["messages"] for each in listed["each"]) == [5000, 5000]
    wait_for(lambda: store.json("store", "quota", "many")[0]["messages"] == 10_000)


def test_nothing_is_lost_when_imap_moves_mail_under_deliveries(store: RunningInstance, imap: Imap) -> None:
    senders, each = 4, 60
    deliver(store, "race", "first")
    answered: list[str] = ["first"]

    def send(name: int) -> None:
        marks = [f"race-{name}-{number}-" for number in range(each)]
        assert deliver(store, "race", *marks) == [250] * each
        answered.extend(marks)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(senders)]
    for thread in threads:
        thread.start()
    with imap.login("race") as client:
        for name in ("Archive", "Later"):
            client.create(name)
        client.select("INBOX")

        def everything_moved() -> bool:
            client.noop()
            uids = found(client, "ALL")
            for number, uid in enumerate(uids):
                client.uid("STORE", uid, "+FLAGS", r"(\Seen)" if number % 2 else r"(\Flagged)")
                move(client, uid, "Archive" if number % 3 else "Later")
            return not uids and not any(thread.is_alive() for thread in threads)

        wait_for(everything_moved, 60.0)
    for thread in threads:
        thread.join()
    assert len(answered) == senders * each + 1
    assert subjects(store, "race") == []
    assert sorted(subjects(store, "race", ".Archive") + subjects(store, "race", ".Later")) == sorted(answered)
    wait_for(lambda: store.json("store", "quota", "race")[0]["messages"] == len(answered))
    assert faults(store, "race") == []


def test_an_acl_set_by_imap_lets_mail_into_a_folder(store: RunningInstance, imap: Imap) -> None:
    deliver(store, "acl", "first")
    with imap.login("acl") as client:
        for name in ("Open", "Closed"):
            assert client.create(name)[0] == "OK"
        assert client.setacl("Open", "anyone", "p")[0] == "OK"
    deliver(store, "acl+Open@example.com", "into-open")
    deliver(store, "acl+Closed@example.com", "into-closed")
    with imap.login("acl") as client:  # the owner may still do everything
        assert client.select("Open")[1] == [b"1"]
        assert client.append("Open", "", "", message("own"))[0] == "OK"
        assert client.select("Closed")[1] == [b"0"]
        assert client.select("INBOX")[1] == [b"2"]


@pytest.mark.parametrize("form", ["maildir", "mbox"])
def test_a_copied_mailbox_is_the_same_for_imap(store: RunningInstance, imap: Imap, folder: Path, form: str) -> None:
    def look(user: str) -> list[tuple[str, bytes, list[bytes]]]:
        """Of each folder: its name, the octets of all messages, flags and dates."""
        seen = []
        with imap.login(user) as client:
            for name in ("INBOX", "Entw&APw-rfe/2026"):
                assert client.select(f'"{name}"')[0] == "OK"
                _, rows = client.fetch("1:*", "(FLAGS INTERNALDATE)")
                flags = sorted(row.replace(b"\\Recent", b"").split(b"(", 1)[1] for row in rows if isinstance(row, bytes))
                octets = sorted(body_of(client, uid) for uid in found(client, "ALL"))
                seen.append((name, b"".join(octets), flags))
        return seen

    owner, copy = f"original-{form}", f"copy-{form}"
    deliver(store, owner, "one", "two", "three", octets=500)
    with imap.login(owner) as client:
        client.create("Entw&APw-rfe/2026")
        client.subscribe("Entw&APw-rfe/2026")
        client.select()
        client.store("1", "+FLAGS", r"(\Flagged \Answered $Work)")
        client.store("2", "+FLAGS", r"(\Seen $Home)")
        client.uid("COPY", "2:3", "Entw&APw-rfe/2026")
    before = look(owner)
    target = folder / f"copied-{form}"
    store.command("store", "export", owner, str(target), "--format", form)
    done = store.json("store", "import", copy, str(target))
    assert (done["imported"], done["dropped_keywords"]) == (5, 0)
    assert [(name, octets) for name, octets, _ in look(copy)] == [(name, octets) for name, octets, _ in before]
    again = look(owner)
    assert look(copy) == again
    assert store.json("store", "import", copy, str(target))["imported"] == 0
    assert store.json("store", "quota", copy)[0]["messages"] == 5
    assert faults(store, copy) == []
