"""Mail that waits, seen in the file system: moved out with `subdirs`, held by rename, released, the same ids after a restart."""

from pathlib import Path
from typing import Any

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import edit, end, journey, queued, retry_all, wait_empty


def files(relay: RunningInstance) -> list[Path]:
    queue = relay.folder / "data" / "queue"
    return sorted(path for path in queue.rglob("Z*") if path.is_file())


def listed(relay: RunningInstance) -> list[tuple[str, str, list[str]]]:
    """Id, host and recipients of each copy: what no restart may change."""
    copies: list[dict[str, Any]] = relay.json("queue", "list")
    return sorted((copy["id"], copy["host"], [each["original"] for each in copy["recipients"]]) for copy in copies)


def spoil(store: RunningInstance, owner: str, *, again: bool = True) -> None:
    """Something that is no Maildir stands where the mailbox should be: `420 4.2.0 Mailbox Bad Formats`; or take it away."""
    folder = store.folder / "data" / "store" / "primary" / owner
    folder.mkdir(parents=True, exist_ok=True)
    if again:
        (folder / "mbox").write_text("not a Maildir")
    else:
        (folder / "mbox").unlink()


def states(relay: RunningInstance) -> set[str]:
    return {copy["state"] for copy in queued(relay)}


def test_waiting_mail_is_moved_to_files_spread_over_subdirs_and_survives(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, quick=False, start=False) as tiers:
        spoil(tiers.stores[0], "user0")
        spoil(tiers.stores[1], "user1")
        lmtp = "maxjobs 7 pool SMTP_POOL dequeue_removeroute"
        edit(tiers.relay, "imta.cnf", f"subdirs 20 {lmtp}", f"subdirs 3 {lmtp}")
        tiers.start()
        with connect(tiers.relay) as client:
            for _ in range(30):
                assert ledger.send(client, ["user0", "user1"]).code == 250
        wait_for(lambda: len(files(tiers.relay)) == 60, 30)
        wait_for(lambda: states(tiers.relay) == {"file"})
        folders = {path.parent.relative_to(tiers.relay.folder / "data" / "queue") for path in files(tiers.relay)}
        assert folders == {Path("tcp_lmtpcs") / name for name in ("000", "001", "002")}
        assert all(path.suffix == ".00" for path in files(tiers.relay))
        before = listed(tiers.relay)
        assert len(before) == 60
        # the same ids after a clean stop, from the disk alone while nothing runs, and after the death of everything
        assert tiers.relay.stop() == 0
        assert listed(tiers.relay) == before
        tiers.relay.start()
        wait_for(lambda: len(queued(tiers.relay)) == 60)
        assert listed(tiers.relay) == before
        end(tiers.relay)
        tiers.relay.start()
        wait_for(lambda: len(queued(tiers.relay)) == 60)
        assert listed(tiers.relay) == before
        spoil(tiers.stores[0], "user0", again=False)
        spoil(tiers.stores[1], "user1", again=False)
        retry_all(tiers.relay)
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
        assert files(tiers.relay) == []


def test_mail_young_enough_waits_in_the_journal_and_keeps_its_id(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        tiers.relay.start()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
        (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if copy["state"] == "journal"])
        end(tiers.relay)
        assert [each["state"] for each in tiers.relay.json("queue", "list")] == ["journal"]
        tiers.relay.start()
        assert [each["id"] for each in wait_for(lambda: queued(tiers.relay))] == [copy["id"]]
        for store in tiers.stores:
            store.start()
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_held_by_a_mapping_and_released_by_rename(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, start=False) as tiers:
        edit(tiers.relay, "mappings", "ORIG_SEND_ACCESS\n\n", "ORIG_SEND_ACCESS\n\n  *|suspect@example.com|*|*  $Y$H\n")
        tiers.start()
        with connect(tiers.relay) as client:
            held = ledger.send(client, ["user0"], sender="suspect@example.com")
            other = ledger.send(client, ["user0"])
            assert (held.code, other.code) == (250, 250)
        (copy,) = wait_for(lambda: [copy for copy in queued(tiers.relay) if copy["state"] == "held"], 30)
        assert copy["why"] == "held: an access table wants it"
        assert copy["next_try"] is None
        assert [recipient["original"] for recipient in copy["recipients"]] == ["user0@example.com"]
        (path,) = files(tiers.relay)
        assert path.suffix == ".HELD"
        assert copy["file"] == str(path)
        retry_all(tiers.relay)
        wait_for(lambda: [found.token for found in mailboxes(tiers.stores)] == [other.token])
        assert [each["state"] for each in queued(tiers.relay)] == ["held"]
        # held or not is what the name says, also after a start
        assert tiers.relay.stop() == 0
        tiers.relay.start()
        assert [each["id"] for each in wait_for(lambda: queued(tiers.relay))] == [copy["id"]]
        assert path.exists()
        path.rename(path.with_suffix(".00"))
        retry_all(tiers.relay)
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
        assert files(tiers.relay) == []


def test_held_by_an_operators_rename_while_it_waits(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, quick=False, start=False) as tiers:
        spoil(tiers.stores[0], "user0")
        tiers.start()
        with connect(tiers.relay) as client:
            for _ in range(4):
                ledger.send(client, ["user0"])
        wait_for(lambda: len(files(tiers.relay)) == 4 and states(tiers.relay) == {"file"}, 30)
        path = files(tiers.relay)[0]
        held = next(sent for sent in ledger.sent if sent.body in path.read_bytes())
        path.rename(path.with_suffix(".HELD"))
        spoil(tiers.stores[0], "user0", again=False)
        retry_all(tiers.relay)
        others = {sent.token for sent in ledger.sent} - {held.token}
        wait_for(lambda: {found.token for found in mailboxes(tiers.stores)} == others, 30)
        wait_for(lambda: states(tiers.relay) == {"held"}, 30)
        retry_all(tiers.relay)
        assert [copy["state"] for copy in queued(tiers.relay)] == ["held"]
        path.with_suffix(".HELD").rename(path)
        retry_all(tiers.relay)
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert reconcile(ledger, tiers.stores).check().duplicates == 0
