"""The native service started by root: each mailbox is written by its owner, workers are nobody, no request reaches further."""

import contextlib
import os
import pwd
import signal
import socket
import threading
from pathlib import Path

import pytest

from journeys.test_imta_user import identity
from posthouse.dispatcher import descendants
from posthouse.dispatcher.control import NATIVE_WRITER
from posthouse.store.native.request import Request, ask
from posthouse.store.native.writer import MOST
from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.imta_user import USER, use_it
from support.journey_tiers import end, pids
from support.native_store import TEXT, Client, client_of, make_native_store, passwd_file, read_mbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
ALICE, BOB = 61_001, 61_002
USERS = {"alice": ALICE, "bob": BOB, "root0": 0}


@pytest.fixture
def store(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunningInstance:
    """Made with --user, its spool as Debian has /var/mail; not started."""
    use_it(monkeypatch)
    return make_native_store(open_folder, USERS, "--user", USER)


def test_every_mailbox_is_its_owner_s_and_the_workers_are_nobody(store: RunningInstance, open_folder: Path) -> None:
    mail, entry = open_folder / "mail", pwd.getpwnam(USER)
    big = b"Subject: big\r\n\r\n" + b"a line of many\r\n" * 40_000
    try:
        store.start()
        roles = {role: pids(store, role) for role in ("lmtp", "native_writer")}
        assert all(identity(pid)[1] == {entry.pw_uid} for pid in roles["lmtp"])
        assert identity(roles["native_writer"][0])[1] == {0}
        with client_of(store) as client:
            recipients = ["alice", "bob+Folder", "root0", "nobody-here", "+/list"]
            expected = ["250 2.5.0", "250 2.5.0", "250 2.5.0", "511 5.1.1", "250 2.5.0"]
            assert [answer[:9] for answer in client.deliver(recipients, TEXT % b"small")] == expected
            assert [answer[:9] for answer in client.deliver(recipients, big)] == expected
            # what a local user may try
            (mail / "bob").rename(mail / "bob.old")
            (mail / "bob").symlink_to(mail / "alice")
            assert client.deliver(["bob"], TEXT % b"link") == ["420 4.2.0 <bob> Mailbox not supported"]
            (mail / "bob").unlink()
            (mail / "bob").hardlink_to(mail / "alice")
            assert client.deliver(["bob", "alice"], TEXT % b"names") == [
                "420 4.2.0 <bob> Mailbox not supported",
                "420 4.2.0 <alice> Mailbox not supported",
            ]
            (mail / "bob").unlink()
            (mail / "bob").write_text("")
            os.chown(mail / "bob", ALICE, -1)
            assert client.deliver(["bob"], TEXT % b"foreign") == ["420 4.2.0 <bob> Mailbox not supported"]
            assert (mail / "bob").read_text() == ""
        for name, uid in (("alice", ALICE), ("bob.old", BOB), ("root0", 0)):
            found = (mail / name).stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (uid, mail.stat().st_gid, 0o600)
            assert len(read_mbox(mail / name)) == 2
        assert (open_folder / "files" / "list").owner() == USER
        assert store.stop() == 0
        assert not (store.folder / "run" / NATIVE_WRITER).exists()
    finally:
        end(store)


def test_a_spool_only_root_may_write(store: RunningInstance, open_folder: Path) -> None:
    mail = open_folder / "mail"
    mail.chmod(0o755)
    try:
        store.start()
        with client_of(store) as client:
            assert [answer[:9] for answer in client.deliver(["alice", "bob", "alice"], TEXT % b"x")] == ["250 2.5.0"] * 3
            (mail / "alice.lock").write_text("0")
            (answer,) = client.deliver(["alice"], TEXT % b"locked")
            assert answer == "420 4.2.0 <alice> Mailbox Locked"
        assert sorted((path.name, path.stat().st_uid) for path in mail.iterdir()) == [
            ("alice", ALICE), ("alice.lock", 0), ("bob", BOB),
        ]  # fmt: skip
        assert len(read_mbox(mail / "alice")) == 2
    finally:
        end(store)


def test_only_our_workers_are_heard_and_a_request_names_no_path(store: RunningInstance, open_folder: Path) -> None:
    path = store.folder / "run" / NATIVE_WRITER
    with (open_folder / "entry").open("w+b") as file:
        file.write(b"From a  b\n\n")
        file.flush()
        request = Request("alice", -1, 11, 0, b"From")
        try:
            store.start()
            assert path.stat().st_uid == pwd.getpwnam(USER).pw_uid
            assert path.stat().st_mode & 0o777 == 0o600
            path.chmod(0o777)
            path.parent.chmod(0o755)
            pid = os.fork()
            if not pid:
                os.setgid(BOB)
                os.setuid(BOB)
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(os.fspath(path))
                    os._exit(sock.recv(100) != b"")
            assert os.waitpid(pid, 0)[1] == 0
            for owner in ("../alice", "alice.lock", "/etc/passwd"):
                with pytest.raises(Exception, match="no such user"):
                    ask(path, Request(owner, -1, 11, 0, b"From"), file.fileno())
            ask(path, request, file.fileno())
            assert (open_folder / "mail" / "alice").read_bytes() == b"From a  b\n\n"
        finally:
            end(store)


def test_the_writer_process_comes_back(store: RunningInstance, open_folder: Path) -> None:
    try:
        store.start()
        (writer,) = pids(store, "native_writer")
        os.kill(writer, 9)

        def delivers() -> bool:
            with client_of(store) as client:
                return client.deliver(["alice"], TEXT % b"again") == ["250 2.5.0 <alice> OK"]

        wait_for(delivers)
        assert len(read_mbox(open_folder / "mail" / "alice")) == 1
    finally:
        end(store)


def test_not_root_only_mailboxes_of_our_own_user(store: RunningInstance, open_folder: Path) -> None:
    me = pwd.getpwnam(USER)
    (open_folder / "passwd").write_text(f"me:x:{me.pw_uid}:{me.pw_gid}:::\nalice:x:{ALICE}:{ALICE}:::\nroot0:x:0:0:::\n")
    for path in (store.folder, *store.folder.rglob("*"), open_folder / "mail", open_folder / "files"):
        os.chown(path, me.pw_uid, me.pw_gid)
    store.before = ("setpriv", f"--reuid={me.pw_uid}", f"--regid={me.pw_gid}", "--clear-groups")
    try:
        store.start()
        assert pids(store, "native_writer") == []
        with client_of(store) as client:
            assert client.deliver(["me", "alice", "root0", "nobody-here", "+/a"], TEXT % b"x") == [
                "250 2.5.0 <me> OK",
                "430 4.3.0 <alice> IMAP IOERROR",
                "430 4.3.0 <root0> IMAP IOERROR",
                "511 5.1.1 <nobody-here> mailbox nonexistent",
                "250 2.5.0 <+/a> OK",
            ]
        assert [path.name for path in (open_folder / "mail").iterdir()] == ["me"]
        assert store.stop() == 0
    finally:
        end(store)


def test_children_killed_while_they_append(store: RunningInstance, open_folder: Path) -> None:
    """The owner may kill what runs with his uid: what was answered is there, whole, and nothing torn or locked stays."""
    line = b"x" * 70
    big = b"Subject: %d\r\n\r\n" + (line + b"\r\n") * 60_000
    stop = threading.Event()
    killed: list[int] = []
    try:
        store.start()
        (writer,) = pids(store, "native_writer")

        def kill_children() -> None:
            while not stop.is_set():
                for pid in descendants.children(writer):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
                        killed.append(pid)
                stop.wait(0.013)

        thread = threading.Thread(target=kill_children)
        thread.start()
        answered = []
        with client_of(store) as client:
            for number in range(12):
                (answer,) = client.deliver(["alice"], big % number)
                assert answer[:3] in {"250", "430"}
                if answer.startswith("250"):
                    answered.append(number)
            stop.set()
            thread.join()
            assert client.deliver(["alice"], TEXT % b"last") == ["250 2.5.0 <alice> OK"]
        assert killed
        messages = read_mbox(open_folder / "mail" / "alice")
        subjects = [message.split(b"Subject: ")[1].split(b"\n")[0] for message in messages]
        assert set(subjects) >= {b"%d" % number for number in answered} | {b"last"}
        assert len(subjects) == len(set(subjects))
        assert all(message.count(b"\n" + line) == 60_000 for message in messages[:-1])
        assert [path.name for path in (open_folder / "mail").iterdir()] == ["alice"]
    finally:
        stop.set()
        end(store)


def test_an_owner_s_process_is_kept_and_never_anybody_else(store: RunningInstance, open_folder: Path) -> None:
    def send(client: Client, *owners: str) -> list[int]:
        assert client.deliver(list(owners), TEXT % b"x") == [f"250 2.5.0 <{owner}> OK" for owner in owners]
        return sorted(descendants.children(writer))

    store.start()
    try:
        (writer,) = pids(store, "native_writer")
        with client_of(store) as client:
            (alice,) = send(client, "alice")
            assert identity(alice)[1:] == ({ALICE}, {ALICE, (open_folder / "mail").stat().st_gid} - {ALICE})
            assert Path(f"/proc/{alice}/fd").stat().st_uid == 0  # not to be looked into by its owner
            assert send(client, "alice") == [alice]
            (bob,) = set(send(client, "bob")) - {alice}
            assert identity(bob)[1] == {BOB}
            os.kill(bob, signal.SIGKILL)
            wait_for(lambda: bob not in descendants.children(writer))  # asked before that, it is 430: the relay tries again
            assert bob not in send(client, "bob")
            os.kill(alice, signal.SIGSTOP)
            send(client, "bob")
            wait_for(lambda: alice not in descendants.children(writer))
            assert alice not in send(client, "alice")
        assert [len(read_mbox(open_folder / "mail" / owner)) for owner in ("alice", "bob")] == [3, 3]
        assert store.stop() == 0
    finally:
        end(store)


def test_a_spool_that_is_moved_away_gets_no_more_mail(store: RunningInstance, open_folder: Path) -> None:
    spool, away = open_folder / "mail", open_folder / "away"
    store.start()
    try:
        with client_of(store) as client:
            assert client.deliver(["alice"], TEXT % b"one") == ["250 2.5.0 <alice> OK"]
            mode, group = spool.stat().st_mode, spool.stat().st_gid
            spool.rename(away)
            assert client.deliver(["alice"], TEXT % b"two") == ["430 4.3.0 <alice> IMAP IOERROR"]
            spool.mkdir()
            os.chown(spool, 0, group)
            spool.chmod(mode & 0o7777)
            assert client.deliver(["alice"], TEXT % b"three") == ["250 2.5.0 <alice> OK"]
        assert [len(read_mbox(folder / "alice")) for folder in (spool, away)] == [1, 1]
        assert store.stop() == 0
    finally:
        end(store)


def test_owners_without_number_have_few_processes(store: RunningInstance, open_folder: Path) -> None:
    names = [f"user{number}" for number in range(MOST + 8)]
    passwd_file(open_folder / "passwd", {name: 62_000 + number for number, name in enumerate(names)})
    store.start()
    try:
        (writer,) = pids(store, "native_writer")
        with client_of(store) as client:
            for _ in range(2):
                assert client.deliver(names, TEXT % b"x") == [f"250 2.5.0 <{name}> OK" for name in names]
                assert len(descendants.children(writer)) <= MOST
        assert {len(read_mbox(open_folder / "mail" / name)) for name in names} == {2}
        wait_for(lambda: not descendants.children(writer))
    finally:
        end(store)
