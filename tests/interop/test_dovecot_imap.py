"""Dovecot's IMAP server on a store's Maildir++, while the store goes on delivering."""

import re
import threading
from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.imap_tier import Imap, dovecot_of
from support.interop_daemon import needs_root, open_folder
from support.interop_dovecot import body_of, fetch, found, move
from support.interop_tiers import arrived, lmtp, mail, maildir, messages, smtp

pytestmark = needs_root
USERS = ("jdoe", "imap-size", "imap-folder", "imap-sub", "imap-full", "imap-move")


@pytest.fixture(scope="module")
def imap(tiers: TwoTiers) -> Iterator[Imap]:
    with open_folder("imap") as folder, dovecot_of(tiers.stores[0], folder / "dovecot", users=USERS) as running:
        yield running


def test_mail_is_seen_and_flags_are_kept(tiers: TwoTiers, imap: Imap) -> None:
    body = mail("imap-flags") + b".\r\nlast line\r\n"
    with smtp(tiers.relay) as client:
        client.sendmail("a@outside.test", ["john.doe@example.com"], body)
    arrived(tiers.stores[0], "jdoe", "Subject: imap-flags")
    with imap.login("jdoe") as client:
        client.select()
        (uid,) = wait_for(lambda: found(client, "SUBJECT", "imap-flags"))
        octets = body_of(client, uid)
        assert octets.startswith(b"Return-Path: <a@outside.test>\r\nReceived: ")
        assert octets.endswith(body.partition(b"\r\n\r\n")[2])
        client.uid("STORE", uid, "+FLAGS", r"(\Flagged \Answered $Label1)")
    with smtp(tiers.relay) as client:  # a delivery in between changes nothing
        client.sendmail("a@outside.test", ["john.doe@example.com"], mail("imap-later"))
    arrived(tiers.stores[0], "jdoe", "Subject: imap-later")
    with imap.login("jdoe") as client:
        client.select()
        assert found(client, "SUBJECT", "imap-flags", "FLAGGED", "ANSWERED", "SEEN", "KEYWORD", "$Label1") == [uid]
        (later,) = wait_for(lambda: found(client, "SUBJECT", "imap-later", "UNSEEN", "UNFLAGGED"))
        assert int(later) > int(uid)


def test_sizes_are_those_in_the_file_names(tiers: TwoTiers, imap: Imap) -> None:
    with lmtp(tiers.stores[0]) as client:
        client.sendmail("a@outside.test", ["imap-size"], mail("imap-size", lines=50))
    with imap.login("imap-size") as client:
        client.select()
        (answer,) = fetch(client, "1", "(RFC822.SIZE)")
        octets = body_of(client, found(client, "ALL")[0])
        assert int(answer.split()[-1].rstrip(b")")) == len(octets)
    (path,) = (maildir(tiers.stores[0], "imap-size") / "cur").iterdir()
    assert f",W={len(octets)}" in path.name


def test_a_folder_of_the_relays_filing_is_a_mailbox(tiers: TwoTiers, imap: Imap) -> None:
    with lmtp(tiers.stores[0]) as client:
        client.ehlo()
        client.mail("a@outside.test")
        assert client.rcpt("imap-folder+Lists/python@example.com", ["xdflg=1"])[0] == 250
        assert client.data(mail("imap-folder")) == (250, b"2.5.0 <imap-folder+Lists/python@example.com> OK")
    with imap.login("imap-folder") as client:
        _, rows = client.list()
        names = {row.decode().split('"/" ')[1].strip('"') for row in rows if isinstance(row, bytes)}
        assert "Lists/python" in names
        _, rows = client.lsub()
        assert any(isinstance(row, bytes) and row.endswith(b"Lists/python") for row in rows)
        assert client.select("Lists/python")[1] == [b"1"]
        assert len(found(client, "SUBJECT", "imap-folder")) == 1
        assert client.select("INBOX")[1] == [b"0"]


def test_a_subaddress_finds_the_folder_the_user_made(tiers: TwoTiers, imap: Imap) -> None:
    """Without the relay's word a folder is not made, and takes mail only when its ACL lets anyone post."""
    store = tiers.stores[0]
    with lmtp(store) as client:
        client.sendmail("a@outside.test", ["imap-sub"], mail("imap-first"))
    with imap.login("imap-sub") as client:
        assert client.create("Work/2026")[0] == "OK"
    (maildir(store, "imap-sub", "Work/2026") / "dovecot-acl").write_text("anyone p\n")
    with lmtp(store) as client:
        client.sendmail("a@outside.test", ["imap-sub+Work/2026@example.com"], mail("imap-second"))
        client.sendmail("a@outside.test", ["imap-sub+Nothing@example.com"], mail("imap-third"))
    with imap.login("imap-sub") as client:
        assert client.select("Work/2026")[1] == [b"1"]
        assert client.select("INBOX")[1] == [b"2"]


def quota(imap: Imap, user: str) -> dict[str, tuple[int, int]]:
    """Of a user: resource -> (used, limit); STORAGE in KiB."""
    with imap.login(user) as client:
        kind, (_, rows) = client.getquotaroot("INBOX")
        assert kind == "OK"
        text = b" ".join(row for row in rows if isinstance(row, bytes)).decode()
        return {name: (int(used), int(most)) for name, used, most in re.findall(r"(STORAGE|MESSAGE) (\d+) (\d+)", text)}


def test_quota_is_what_the_relay_sent(tiers: TwoTiers, imap: Imap) -> None:
    """jdoe has mailQuota 50M and mailMsgQuota 5000 in the directory."""
    with smtp(tiers.relay) as client:
        client.sendmail("a@outside.test", ["john.doe@example.com"], mail("imap-quota"))
    arrived(tiers.stores[0], "jdoe", "Subject: imap-quota")
    known = quota(imap, "jdoe")
    assert known["STORAGE"][1] == 50 * 1024
    assert known["MESSAGE"][1] == 5000
    assert known["MESSAGE"][0] == len(messages(tiers.stores[0], "jdoe", ""))


def test_what_imap_removes_counts_no_more_for_the_store(tiers: TwoTiers, imap: Imap) -> None:
    store = tiers.stores[0]
    with lmtp(store) as client:
        client.ehlo()

        def send(mark: str) -> int:
            client.mail("a@outside.test")
            assert client.rcpt("imap-full", ["xquota=100000,2"])[0] == 250
            code: int = client.data(mail(mark))[0]
            return code

        assert [send("imap-full-1"), send("imap-full-2"), send("imap-full-3")] == [250, 250, 422]
        with imap.login("imap-full") as reader:
            reader.select()
            reader.store("1", "+FLAGS", r"\Deleted")
            reader.expunge()
        wait_for(lambda: send("imap-full-4") == 250)
        assert send("imap-full-5") == 422
    assert quota(imap, "imap-full")["MESSAGE"] == (2, 2)


def test_nothing_is_lost_when_imap_moves_mail_under_deliveries(tiers: TwoTiers, imap: Imap) -> None:
    store, count = tiers.stores[0], 120
    with lmtp(store) as first:
        first.ehlo()
        first.mail("a@outside.test")
        first.rcpt("imap-move", ["xquota=100000000,100000"])
        assert first.data(mail("imap-move-0-"))[0] == 250
    answered = ["imap-move-0-"]

    def deliver() -> None:
        with lmtp(store) as sender:
            for number in range(1, count):
                mark = f"imap-move-{number}-"
                assert sender.sendmail("a@outside.test", ["imap-move"], mail(mark)) == {}
                answered.append(mark)

    thread = threading.Thread(target=deliver)
    thread.start()
    with imap.login("imap-move") as client:
        client.create("Archive")
        client.select("INBOX")

        def everything_moved() -> bool:
            client.noop()
            uids = found(client, "ALL")
            for number, uid in enumerate(uids):
                client.uid("STORE", uid, "+FLAGS", r"(\Seen)" if number % 2 else r"(\Flagged)")
                move(client, uid, "Archive")
            return not uids and not thread.is_alive()

        wait_for(everything_moved, 60.0)
        client.select("Archive")
        _, rows = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    thread.join()
    subjects = sorted(row[1].decode().strip().removeprefix("Subject: ") for row in rows if isinstance(row, tuple))
    assert len(answered) == count
    assert subjects == sorted(answered)
    assert messages(store, "imap-move", "") == []
    assert len(messages(store, "imap-move", "", "Archive")) == count
    assert quota(imap, "imap-move")["MESSAGE"] == (count, 100_000)
