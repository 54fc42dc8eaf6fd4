"""A user moves to another store with Dovecot's own tools (docs/dovecot.md): `doveadm backup`, `doveadm sync`; UIDs and all."""

import imaplib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from posthouse.testing.tiers import RunningInstance
from support.imap_tier import Imap, dovecot_of, dsync, served_store
from support.interop_daemon import needs_root, open_folder
from support.interop_dovecot import VERSION, found, move
from support.store_alone import deliver, faults, subjects

pytestmark = needs_root
USERS = ("moves", "flows")
_ROW = (r"FLAGS \(([^)]*)\)", r'INTERNALDATE "([^"]*)"', r"Subject: (\S+)")


class Tier(NamedTuple):
    """A store and the Dovecot that serves it."""

    store: RunningInstance
    imap: Imap
    conf: Path


@pytest.fixture(scope="module")
def tiers() -> Iterator[tuple[Tier, Tier]]:
    with (
        open_folder("doveadm") as folder, served_store(folder) as old,
        served_store(folder, name="store2") as new,
        dovecot_of(old, folder / "old", users=USERS) as old_imap,
        dovecot_of(new, folder / "new", users=USERS) as new_imap,
    ):
        yield Tier(old, old_imap, folder / "old" / "dovecot.conf"), Tier(new, new_imap, folder / "new" / "dovecot.conf")


def synced(how: str, user: str, old: Tier, new: Tier) -> None:
    """`dsync` goes well."""
    done = dsync(how, user, old.conf, new.conf)
    assert done.returncode == 0, done.stderr


def seen(client: imaplib.IMAP4, folder: str) -> tuple[str, dict[int, tuple[str, str, str]]]:
    """UIDVALIDITY, and for each UID flags, internal date and subject."""
    assert client.select(folder, readonly=True)[0] == "OK"
    _, (validity,) = client.response("UIDVALIDITY")
    rows = {}
    for uid in found(client, "ALL"):
        _, parts = client.uid("FETCH", uid, "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        text = b" ".join(b"".join(part) if isinstance(part, tuple) else part for part in parts).decode()
        flags, date, subject = (re.search(pattern, text) for pattern in _ROW)
        assert flags is not None
        assert date is not None
        assert subject is not None
        rows[int(uid)] = (" ".join(sorted(set(flags[1].split()) - {"\\Recent"})), date[1], subject[1])
    assert isinstance(validity, bytes)
    return validity.decode(), rows


def fill(old: Tier, user: str) -> None:
    """Six messages; one deleted, one in a folder, flags and a keyword."""
    assert deliver(old.store, user, *(f"mail-{number}" for number in range(6)), octets=3000) == [250] * 6
    with old.imap.login(user) as client:
        client.create("Work/2026")
        client.subscribe("Work/2026")
        client.select()
        uids = found(client, "ALL")
        client.uid("STORE", uids[1], "+FLAGS", "(\\Seen $Todo)")
        client.uid("STORE", uids[2], "+FLAGS", "(\\Answered \\Flagged)")
        move(client, uids[3], "Work/2026")
        client.uid("STORE", uids[0], "+FLAGS", "(\\Deleted)")
        client.expunge()


def test_backup_carries_uids_flags_dates_and_folders(tiers: tuple[Tier, Tier]) -> None:
    old, new = tiers
    fill(old, "moves")
    with old.imap.login("moves") as client:
        before = {folder: seen(client, folder) for folder in ("INBOX", "Work/2026")}
    synced("backup", "moves", old, new)
    with new.imap.login("moves") as client:
        assert {folder: seen(client, folder) for folder in ("INBOX", "Work/2026")} == before
        assert b"Work/2026" in b"".join(row for row in client.lsub()[1] if isinstance(row, bytes))
    assert len(before["INBOX"][1]) == 4
    assert {flags for flags, _, _ in before["INBOX"][1].values()} == {"", "$Todo \\Seen", "\\Answered \\Flagged"}
    assert faults(new.store, "moves") == []
    assert deliver(new.store, "moves", "later") == [250]
    with new.imap.login("moves") as client:
        _, rows = seen(client, "INBOX")
        assert rows[max(rows)][2] == "later"
        assert max(rows) > max(before["INBOX"][1])
    (row,) = new.store.json("store", "quota", "moves")
    assert row["messages"] == 6
    old.store.command("store", "delete", "moves")
    assert subjects(new.store, "moves") == ["later", "mail-1", "mail-2", "mail-4", "mail-5"]
    assert subjects(new.store, "moves", ".Work.2026") == ["mail-3"]


def test_sync_brings_together_what_came_on_both_stores(tiers: tuple[Tier, Tier]) -> None:
    """Where nobody could be held: mail has come to both; the same message is there once, however often it is run.

    Without `-f` 2.4 takes folders for unchanged that have grown by as many messages on both sides.
    """
    old, new = tiers
    fill(old, "flows")
    synced("backup", "flows", old, new)
    assert deliver(old.store, "flows", "late-old", octets=2000) == [250]
    assert deliver(new.store, "flows", "late-new", octets=2000) == [250]
    for _ in range(2):
        synced("sync -f", "flows", old, new)
    wanted = ["late-new", "late-old", "mail-1", "mail-2", "mail-4", "mail-5"]
    assert subjects(old.store, "flows") == subjects(new.store, "flows") == wanted
    for tier in tiers:
        if VERSION == "2.4":  # it counts mail that gets another UID as gone
            tier.store.command("store", "check", "flows")
        assert faults(tier.store, "flows") == []
