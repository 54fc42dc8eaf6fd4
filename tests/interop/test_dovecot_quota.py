"""Dovecot's IMAP on one store: quotas as they change, notices, rights and names of folders."""

import imaplib
import os
import smtplib
from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.imap_tier import Imap, dovecot_of
from support.interop_daemon import needs_root, open_folder
from support.interop_dovecot import VERSION, body_of, found
from support.interop_tiers import STORE_USER, run_as
from support.store_alone import deliver, message, root_of, store_alone, subjects

pytestmark = needs_root
USERS = ("changes", "room", "told", "rights", "names", "utf", "odd")
SETTINGS = (
    "store.listescape = 1", "store.quotanotification = yes", "store.defaultmessagequota = 7",
    "store.quotaexceededmsg = Subject: Nearly full$$Dear [ID],$you have [NUMMSG] of [MSGQUOTA].",
)  # fmt: skip


@pytest.fixture(scope="module")
def store() -> Iterator[RunningInstance]:
    with open_folder("quota") as folder, store_alone(folder, *SETTINGS, start=False) as running:
        if os.geteuid() == 0:
            run_as(running, STORE_USER)
        running.start()
        yield running


@pytest.fixture(scope="module")
def imap(store: RunningInstance) -> Iterator[Imap]:
    with open_folder("imap") as folder, dovecot_of(store, folder / "dovecot", users=USERS) as running:
        yield running


def quota(client: imaplib.IMAP4) -> dict[str, tuple[int, int]]:
    """Resource -> (used, limit); STORAGE in KiB."""
    kind, (_, rows) = client.getquotaroot("INBOX")
    assert kind == "OK"
    row = next((row.decode() for row in rows if isinstance(row, bytes)), "")
    words = row.partition("(")[2].rstrip(")").split()
    return {words[at]: (int(words[at + 1]), int(words[at + 2])) for at in range(0, len(words), 3)}


def file(store: RunningInstance, owner: str, folder: str, mark: str) -> None:
    """A message for a folder of the relay's choice, its name in UTF-8."""
    local = f"{owner}+{folder}".replace("\\", "\\\\")
    with smtplib.LMTP(store.address, store.port, local_hostname="relay.test", timeout=30) as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        assert client.docmd("MAIL", "FROM:<a@outside.test> SMTPUTF8")[0] == 250
        assert client.docmd("RCPT", f'TO:<"{local}"@example.com> xdflg=1 xquota=-1,-1')[0] == 250
        assert client.data(message(mark))[0] == 250


def test_getquota_shows_every_change_of_the_limits_at_once(store: RunningInstance, imap: Imap) -> None:
    def send(limits: str, code: int) -> dict[str, tuple[int, int]]:
        assert deliver(store, "changes", "m", options=(f"xquota={limits}",)) == [code]
        if VERSION == "2.3":
            return quota(client)
        with imap.login("changes") as anew:  # a session of 2.4 keeps the limits it began with
            return quota(anew)

    deliver(store, "changes", "m")
    with imap.login("changes") as client:
        assert quota(client)["MESSAGE"] == (1, 7)  # the store's default
        assert send("10240000,100", 250) == {"STORAGE": (1, 10000), "MESSAGE": (2, 100)}
        assert send("20480000,200", 250) == {"STORAGE": (1, 20000), "MESSAGE": (3, 200)}
        assert send("2048000,3", 422)["MESSAGE"] == (3, 3)  # lowered: refused, and shown
        assert send("2048000,2", 422)["MESSAGE"] == (3, 2)
        assert send("2048000,2", 422)["STORAGE"][1] == 2000
        assert send("2048000,-1", 250).keys() == {"STORAGE"}
        assert send("-1,-1", 250) == {}
        assert send("-2,-2", 250) == {"MESSAGE": (6, 7)}


def test_room_made_by_imap_is_room_for_the_store(store: RunningInstance, imap: Imap) -> None:
    limits = ("xquota=-1,3",)
    assert deliver(store, "room", *"abcd", options=limits) == [250, 250, 250, 422]
    with imap.login("room") as client:
        client.select()
        client.create("Kept")
        kind, (text,) = client.copy("1", "Kept")
        assert kind == "NO"  # the quota is the same for both
        assert isinstance(text, bytes)
        assert b"OVERQUOTA" in text
        client.store("1,2", "+FLAGS", r"\Deleted")
        client.expunge()
        assert quota(client)["MESSAGE"] == (1, 3)
    assert deliver(store, "room", *"efg", options=limits) == [250, 250, 422]


def test_a_notice_is_a_mail_like_others_and_not_in_the_count(store: RunningInstance, imap: Imap) -> None:
    assert deliver(store, "told", *"abcdefgh") == [250] * 7 + [422]
    wait_for(lambda: "Nearly full" in subjects(store, "told"))
    with imap.login("told") as client:
        assert quota(client)["MESSAGE"] == (7, 7)
        client.select()
        (uid,) = found(client, "SUBJECT", '"Nearly full"', "UNSEEN")
        assert len(found(client, "ALL")) == 8
        octets = body_of(client, uid)
        assert octets.startswith(b"Return-Path: <>\r\n")
        assert octets.endswith(b"\r\n\r\nDear told,\r\nyou have 7 of 7.\r\n")
        client.store("1:*", "+FLAGS", r"\Deleted")
        client.expunge()
    assert deliver(store, "told", "later") == [250]
    with imap.login("told") as client:
        assert quota(client)["MESSAGE"] == (1, 7)


def test_a_right_given_by_imap_lets_mail_in(store: RunningInstance, imap: Imap) -> None:
    deliver(store, "rights", "first")
    with imap.login("rights") as client:
        assert client.create("Lists/all")[0] == "OK"
        assert deliver(store, "rights+Lists/all", "closed") == [250]
        assert client.setacl("Lists/all", "anyone", "p")[0] == "OK"
        assert deliver(store, "rights+Lists/all", "open") == [250]
        assert client.setacl("Lists/all", "-anyone", "p")[0] == "OK"
        assert deliver(store, "rights+Lists/all", "taken back") == [250]
        assert client.deleteacl("Lists/all", "-anyone")[0] == "OK"
        assert deliver(store, "rights+Lists/all", "open again") == [250]
    assert subjects(store, "rights", ".Lists.all") == ["open", "open again"]
    assert subjects(store, "rights") == ["closed", "first", "taken back"]


NAMES = ["Lists/python", "My Folder/2026", "R&D", "v1.2/final.draft", "~home", "back\\slash", "100%", "a*b", "deep/er/and/deeper"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_made_for_the_relay_is_one_of_imaps(store: RunningInstance, imap: Imap, name: str) -> None:
    file(store, "names", name, "named")
    shown = name.replace("&", "&-").replace("\\", "\\\\")
    with imap.login("names") as client:
        assert client.select(f'"{shown}"') == ("OK", [b"1"])
        _, rows = client.lsub()
        subscribed = [row.decode().partition('"/" ')[2].strip('"') for row in rows if isinstance(row, bytes)]
        assert shown in subscribed


def test_a_name_in_utf_8_or_modified_utf_7_is_one_folder(store: RunningInstance, imap: Imap) -> None:
    encoded = "Entw&APw-rfe/&ZeVnLA-"
    file(store, "utf", "Entwürfe/日本", "one")
    file(store, "utf", encoded, "two")
    with imap.login("utf") as client:
        assert client.select(f'"{encoded}"') == ("OK", [b"2"])
        assert client.lsub()[1] == [f'() "/" {encoded}'.encode()]


def test_a_name_nobody_can_open_is_the_inbox(store: RunningInstance, imap: Imap) -> None:
    for name in ("a//b", "/a", "a/", "x" * 250, "INBOX", "inbox/inbox"):
        file(store, "odd", name, "odd")
    with imap.login("odd") as client:
        assert client.select() == ("OK", [b"6"])
        assert len(client.list()[1]) == 1
    assert not [path for path in root_of(store, "odd").glob(".*") if path.is_dir()]
