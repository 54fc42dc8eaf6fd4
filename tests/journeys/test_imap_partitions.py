"""Mailboxes in several partitions: Dovecot finds each where the store has it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.imap_tier import dovecot_of, readable
from support.interop_daemon import needs_root, open_folder
from support.interop_tiers import STORE_USER, run_as
from support.store_alone import deliver, store_alone

pytestmark = needs_root
SETTINGS = ("store.defaultpartition = second", "store.partitionof.ann = third")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("imap") as made:
        yield made


def test_each_mailbox_is_served_from_its_partition(folder: Path) -> None:
    places = {"ann": "third", "bob": "second", "old@other.org": "primary"}
    with readable(), store_alone(folder, *SETTINGS, start=False) as store:
        mailboxes = store.folder / "data" / "store"
        for name in ("second", "third", "primary/old@other.org"):
            (mailboxes / name).mkdir(parents=True)
        if os.geteuid() == 0:
            run_as(store, STORE_USER)
        store.start()
        for owner in places:
            assert deliver(store, owner, f"for-{owner}", options=("xquota=-1,9",)) == [250]
        assert all((mailboxes / partition / owner / "new").is_dir() for owner, partition in places.items())
        with dovecot_of(store, folder / "dovecot", users=tuple(places)) as imap:
            for owner in places:
                with imap.login(owner) as client:
                    client.select("INBOX")
                    assert client.search(None, "SUBJECT", f"for-{owner}") == ("OK", [b"1"])
                    assert client.getquotaroot("INBOX")[1][1] == [b'"User quota" (MESSAGE 1 9)']
