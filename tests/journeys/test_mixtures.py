"""Stores by LMTP, by SMTP and both ways at once; a store that changes its way, and a user who changes his store, under load."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance, free_port
from support.family_rig import wait_for
from support.journey_mail import Ledger, Load, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import edit, queued, wait_empty
from support.machines import Kind, Machines, drained, machines, records


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder everybody may write in: a program runs as nobody when the suite runs as root."""
    folder = Path(tempfile.mkdtemp(prefix="posthouse-program-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


PROGRAM = """#!/bin/sh
cat > "{folder}/$$.mail"
"""


def by(tiers: Machines, channel: str) -> set[str]:
    return {each["od"].removeprefix("rfc822;").partition("@")[0] for each in records(tiers.relay, "D", channel)}


def route(instance: RunningInstance) -> str:
    return instance.command("route", "user0@example.com", check=False).stdout


def test_users_with_a_program_go_by_smtp_and_the_others_by_lmtp(tmp_path: Path, open_folder: Path) -> None:
    """The chapter's full MTA behind LMTP: both services in one instance, `program=` without `#` on the relay."""
    ledger = Ledger()
    with machines(tmp_path, {"store1": Kind.BOTH}, users=3, relay_options=("--deliver-by", "lmtp"), start=False) as tiers:
        store = tiers.store("store1")
        program = open_folder / "keep"
        program.write_text(PROGRAM.format(folder=open_folder))
        program.chmod(0o755)
        if os.geteuid() == 0:
            edit(store, "imta.cnf", "pipe single", "pipe user nobody single")
        (store.folder / "config" / "pipe_programs").write_text(f"[PROGRAM=keep]\nCOMMAND={program}\n")
        tiers.directory.set("user1", mailDeliveryOption="mailbox program", mailProgramDeliveryInfo="keep")
        tiers.directory.write()
        tiers.start()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0", "user1", "user2"])
        wait_delivered(ledger, [store])
        wait_for(lambda: list(open_folder.glob("*.mail")), 20)
        drained(tiers)
        assert reconcile(ledger, [store]).check().duplicates == 0
        assert (by(tiers, "tcp_lmtpcs"), by(tiers, "tcp_intranet")) == ({"user0", "user2"}, {"user1"})
        assert [each["de"] for each in records(store, "D", "ims-ms")] == ["user1@ims-ms-daemon"]
        assert len(records(store, "D", "tcp_lmtpss")) == 2


def test_full_mtas_deliver_to_each_other_by_lmtp(tmp_path: Path) -> None:
    """`init full --deliver-by lmtp`: no relay before them; their own users by ims-ms, the others' mail by LMTP."""
    ledger = Ledger()
    kinds = {"store1": Kind.BOTH, "store2": Kind.LMTP, "store3": Kind.BOTH}
    by_lmtp = ("--deliver-by", "lmtp")
    with machines(tmp_path, kinds, options={"store1": by_lmtp, "store3": by_lmtp}) as tiers:
        for name in ("store1", "store3"):
            with connect(tiers.store(name)) as client:
                for size in (400, 3000, 700_000):
                    ledger.send(client, [f"user{number}" for number in range(6)], size=size)
        wait_delivered(ledger, list(tiers.stores.values()))
        drained(tiers)
        verdict = reconcile(ledger, tiers.stores.values()).check()
        assert (verdict.delivered, verdict.duplicates) == (36, 0)
        for name, own in (("store1", {"user0", "user3"}), ("store3", {"user2", "user5"})):
            into = {each["de"] for each in records(tiers.store(name), "D", "ims-ms")}
            assert into == {f"@{name}.example.com.lmtp:{uid}@lmtpcs-daemon" for uid in own}
            assert len(records(tiers.store(name), "D", "tcp_lmtpcs")) == 12
            assert records(tiers.store(name), "D", "tcp_intranet") == []


def test_full_mtas_with_some_stores_by_lmtp_and_others_by_smtp(tmp_path: Path) -> None:
    """`init full --lmtp-store`: store2 takes LMTP, store3 is sent mail by SMTP."""
    ledger = Ledger()
    kinds = {"store1": Kind.FULL, "store2": Kind.LMTP, "store3": Kind.FULL}
    with machines(tmp_path, kinds, options={"store1": ("--lmtp-store", "store2.example.com")}) as tiers:
        with connect(tiers.store("store1")) as client:
            for _ in range(3):
                ledger.send(client, [f"user{number}" for number in range(6)])
        wait_delivered(ledger, list(tiers.stores.values()))
        drained(tiers)
        assert reconcile(ledger, tiers.stores.values()).check().duplicates == 0
        store = tiers.store("store1")
        sent = {channel: len(records(store, "D", channel)) for channel in ("ims-ms", "tcp_lmtpcs", "tcp_intranet")}
        assert sent == {"ims-ms": 6, "tcp_lmtpcs": 6, "tcp_intranet": 6}
        assert len(records(tiers.store("store3"), "D", "ims-ms")) == 6


def test_unix_mailboxes_of_a_full_mta(tmp_path: Path) -> None:
    """`init full --native`: the relay's users with delivery option native, unix or both get their mail on the full MTA."""
    passwd = tmp_path / "passwd"
    passwd.write_text("".join(f"user{n}:x:{os.geteuid()}:{os.getegid()}::/nowhere:/bin/sh\n" for n in range(3)))
    port = free_port("127.0.0.2")
    native = ("--native", f"127.0.0.2:{port}", "--native-spool", str(tmp_path / "mail"), "--native-passwd", str(passwd))
    to, store = ("--native-port", str(port)), {"store1": native}
    with machines(tmp_path, {"store1": Kind.BOTH}, users=3, relay_options=to, options=store, start=False) as tiers:
        tiers.directory.set("user1", mailDeliveryOption="native")
        tiers.directory.set("user2", mailDeliveryOption="unix mailbox")
        tiers.directory.write()
        tiers.start()
        with connect(tiers.relay) as client:
            Ledger().send(client, ["user0", "user1", "user2"])
        drained(tiers)
        boxes = {path.name: path.read_bytes() for path in (tmp_path / "mail").iterdir()}
        assert {name: octets.count(b"\nReturn-Path: ") for name, octets in boxes.items()} == {"user1": 1, "user2": 1}
        assert sorted(each.owner for each in mailboxes([tiers.store("store1")])) == ["user0", "user2"]
        assert len(records(tiers.store("store1"), "D", "tcp_lmtpsn")) == 2


def test_a_store_changes_its_way_while_mail_flows(tmp_path: Path) -> None:
    """general.txt names the stores that take LMTP; nothing is lost, nothing bounced, nothing comes twice."""
    kinds = {"store1": Kind.BOTH, "store2": Kind.LMTP}
    options = ("--lmtp-store", "store2.example.com")
    with machines(tmp_path, kinds, relay_options=options) as tiers:
        general = tiers.relay.folder / "config" / "general.txt"
        only = general.read_text()
        with Load(tiers.relay.port, list(tiers.directory.users), clients=2, sizes=(400, 3000)) as load:
            for text in (only + "lmtp|store1.example.com   yes\n", only, only + "lmtp|store1.example.com   yes\n"):
                before = load.ledger.accepted
                wait_for(lambda: load.ledger.accepted > before + 50, 20)  # noqa: B023
                general.write_text(text)
                tiers.relay.command("reload")
            before = load.ledger.accepted
            wait_for(lambda: load.ledger.accepted > before + 50, 20)
        wait_delivered(load.ledger, list(tiers.stores.values()))
        drained(tiers)
        assert reconcile(load.ledger, tiers.stores.values()).check().duplicates == 0
        assert by(tiers, "tcp_intranet") == {"user0", "user2", "user4"}
        assert by(tiers, "tcp_lmtpcs") == {f"user{number}" for number in range(6)}
        for instance in (tiers.relay, tiers.store("store1")):
            assert not any(records(instance, "R", channel) for channel in ("tcp_lmtpcs", "tcp_intranet", "ims-ms"))


def test_a_user_moves_to_another_store_with_nothing_lost(tmp_path: Path) -> None:
    """Status hold, mail waits on the relay; export, import; mailHost changed; release (docs/deployments.md)."""
    ledger = Ledger()
    kinds = {"store1": Kind.LMTP, "store2": Kind.FULL}
    with machines(tmp_path, kinds, users=4, relay_options=("--lmtp-store", "store1.example.com")) as tiers:
        old, new = tiers.store("store1"), tiers.store("store2")
        with connect(tiers.relay) as client:
            for _ in range(5):
                ledger.send(client, ["user0", "user1"])
            wait_delivered(ledger, [old, new])
            tiers.directory.set("user0", mailUserStatus="hold")
            tiers.directory.write()
            wait_for(lambda: "hold" in route(tiers.relay), 20)
            tiers.relay.command("reload")  # what its cache knows of the user is forgotten

            def kept() -> bool:
                ledger.send(client, ["user0", "user1"])
                return any(copy["channel"] == "hold" for copy in queued(tiers.relay))

            wait_for(kept, 20)
            ledger.send(client, ["user0"])
        wait_for(lambda: not [copy for copy in queued(tiers.relay) if copy["channel"] != "hold"], 20)
        archive = tmp_path / "user0.tar"
        old.command("store", "export", "user0", str(archive))
        new.command("store", "import", "user0", str(archive))
        tiers.directory.set("user0", mailUserStatus="active", mailHost="store2.example.com")
        tiers.directory.write()
        wait_for(lambda: "store2" in route(tiers.relay), 20)
        wait_for(lambda: "ims-ms" in route(new), 20)
        for instance in (new, tiers.relay):
            instance.command("reload")
        old.command("store", "delete", "user0")
        tiers.relay.command("queue", "release", "--channel", "hold")
        wait_delivered(ledger, [new, old])
        wait_empty(tiers.relay)
        drained(tiers)
        assert reconcile(ledger, [old, new]).check().duplicates == 0
        assert {each.owner for each in mailboxes([old])} == set()
        assert {each.owner for each in mailboxes([new])} == {"user0", "user1"}
