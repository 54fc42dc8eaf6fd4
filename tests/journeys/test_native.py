"""The native service as real processes: relay -> store -> UNIX mailbox -> readers that are not ours."""

import os
import smtplib
import subprocess
import time
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance, free_port, posthouse
from support.family_rig import wait_for
from support.journey_tiers import end, pids, wait_empty
from support.native_store import TEXT, client_of, make_native_store, native_store, read_mbox
from support.slapd import many_people


def test_each_recipient_has_its_own_answer(tmp_path: Path) -> None:
    """The rows of Table 16-1 from their real conditions, in one transaction."""
    users = dict.fromkeys(("jdoe", "linked", "twice", "fifo", "odd", "shut", "small", "none"), os.geteuid())
    with native_store(tmp_path, users) as store, client_of(store) as client:
        mail = tmp_path / "mail"
        (mail / "linked").symlink_to(tmp_path / "passwd")
        (mail / "twice").write_text("From a  b\n\n")
        (mail / "other-name").hardlink_to(mail / "twice")
        os.mkfifo(mail / "fifo")
        (mail / "odd").write_text("no mailbox\n")
        (mail / "shut").write_text("")
        (mail / "shut").chmod(0o400)
        recipients = [
            "jdoe", "JDoe+Folder@example.com", "nobody-here", "linked", "twice", "fifo", "odd", "shut",
            "small XQUOTA=20,5", "none XQUOTA=0,0", "small XQUOTA=20,5 XDFLG=2", "jdoe@elsewhere.example",
        ]  # fmt: skip
        assert client.deliver(recipients, TEXT % b"rows") == [
            "250 2.5.0 <jdoe> OK",
            "250 2.5.0 <JDoe+Folder@example.com> OK",
            "511 5.1.1 <nobody-here> mailbox nonexistent",
            "420 4.2.0 <linked> Mailbox not supported",
            "420 4.2.0 <twice> Mailbox not supported",
            "420 4.2.0 <fifo> Mailbox not supported",
            "420 4.2.0 <odd> Mailbox Bad Formats",
            "420 4.2.0 <shut> Mailbox not supported",
            "422 4.2.2 <small> Quota Exceeded",
            "522 5.2.2 <none> Persistent Quota Exceeded",
            "250 2.5.0 <small> OK",
            "511 5.1.1 <jdoe@elsewhere.example> mailbox nonexistent",
        ]
        assert client.deliver(["jdoe"], b"Subject: x\r\n\r\n\0\r\n") == ["560 5.6.0 <jdoe> message contains null"]
        assert client.deliver(["jdoe"], b"Subject: x\r\n\r\na\nb\r\n") == ["560 5.6.0 <jdoe> message contains nl"]
        assert client.deliver(["jdoe"], b"no header\r\n\r\n") == ["560 5.6.0 <jdoe> message has bad header"]
        assert client.deliver(["jdoe"], b"Subject: x\r\n") == ["560 5.6.0 <jdoe> message has no blank line"]
        assert len(read_mbox(mail / "jdoe")) == 2
        assert (mail / "jdoe").stat().st_mode & 0o777 == 0o600
        assert (mail / "odd").read_text() == "no mailbox\n"
        client.quit()
        assert store.stop() == 0
        assert [path for path in (store.folder / "data" / "native").iterdir() if not path.name.startswith("seen.")] == []


def test_what_comes_again_with_its_xqid_is_appended_once(tmp_path: Path) -> None:
    """XQID is listed as by the other service, and `store.dupcheck = 0` takes it away."""
    with native_store(tmp_path) as store:
        for _ in range(2):
            with client_of(store) as client:
                assert client.has_extn("xqid")
                said = client.deliver(["jdoe XQID=a.1", "anna XQID=a.2"], TEXT % b"once")
                assert said == ["250 2.5.0 <jdoe> OK", "250 2.5.0 <anna> OK"]
        with (store.folder / "config" / "store.conf").open("a", encoding="utf-8") as conf:
            conf.write("store.dupcheck = 0\n")
        assert store.stop() == 0
        store.start()
        with client_of(store) as client:
            assert not client.has_extn("xqid")
            assert client.docmd("MAIL FROM:<s@example.org>")[0] == 250
            assert client.docmd("RCPT TO:<jdoe> XQID=a.1")[0] == 555
        assert store.stop() == 0
        assert [len(read_mbox(tmp_path / "mail" / name)) for name in ("jdoe", "anna")] == [1, 1]


def test_status_tells_of_a_mailbox_that_cannot_be_written_and_of_a_spool_that_is_away(tmp_path: Path) -> None:
    def troubles(store: RunningInstance) -> list[tuple[str, str]]:
        return [(each["what"], each["text"]) for each in store.json("status")["troubles"]]

    mail = tmp_path / "mail"
    with native_store(tmp_path) as store:
        assert troubles(store) == []
        mail.rename(tmp_path / "away")
        wait_for(lambda: troubles(store), 30)
        ((what, text),) = troubles(store)
        assert (what, text) == (
            "partition", f"the folder of the mailboxes, {mail}, cannot be had (No such file or directory): relays get 430",
        )  # fmt: skip
        with client_of(store) as client:
            assert client.deliver(["jdoe"], TEXT % b"away")[0].startswith("430 4.3.0")
        (tmp_path / "away").rename(mail)
        wait_for(lambda: [what for what, _ in troubles(store)] == ["store"], 30)
        ((_, text),) = troubles(store)
        assert text.startswith("a mailbox could not be written (")
        with client_of(store) as client:
            assert client.deliver(["jdoe"], TEXT % b"back") == ["250 2.5.0 <jdoe> OK"]


def test_files_below_one_folder_only(tmp_path: Path) -> None:
    with native_store(tmp_path) as store, client_of(store) as client:
        files = tmp_path / "files"
        (files / "lists").mkdir()
        (files / "out").symlink_to(tmp_path)
        answers = client.deliver(
            [
                "+/archive", "+/lists/a", f"+{files}/lists/a", '"+/lists/a b"', "+/../x", "+/lists/../../x", "+/etc/passwd",
                "+/", "+/lists//a", "+/.hidden", "+/out/x", "+/lists", f"+{files}", "+/archive.lock", "+archive",
            ],
            TEXT % b"files",
        )  # fmt: skip
        assert [answer[:9] for answer in answers] == ["250 2.5.0"] * 4 + ["511 5.1.1"] * 6 + [
            "420 4.2.0", "420 4.2.0", "511 5.1.1", "511 5.1.1", "511 5.1.1",
        ]  # fmt: skip
        assert len(read_mbox(files / "lists" / "a")) == 2
        assert len(read_mbox(files / "lists" / "a b")) == 1
        assert sorted(path.name for path in files.rglob("*")) == ["a", "a b", "archive", "lists", "out"]
        assert not (tmp_path / "x").exists()


def test_a_large_message_streams(tmp_path: Path) -> None:
    body = b"".join(b"From line %d of a long letter\r\n" % number for number in range(100_000))
    with native_store(tmp_path) as store, client_of(store) as client:
        assert client.deliver(["jdoe", "anna"], b"Subject: long\r\n\r\n" + body) == ["250 2.5.0 <jdoe> OK", "250 2.5.0 <anna> OK"]
        for name in ("jdoe", "anna"):
            octets = (tmp_path / "mail" / name).read_bytes()
            assert octets.endswith(b">From line 99999 of a long letter\n\n")
            assert octets.count(b"\n>From line ") == 100_000
            assert len(read_mbox(tmp_path / "mail" / name)) == 1


def test_a_locked_mailbox_holds_only_itself(tmp_path: Path) -> None:
    with native_store(tmp_path) as store, client_of(store) as client, client_of(store) as other:
        lock = tmp_path / "mail" / "jdoe.lock"
        subprocess.run(["lockfile", str(lock)], check=True)
        client.mail("s@example.org")
        client.docmd("RCPT TO:<jdoe>")
        client.putcmd("DATA")
        client.getreply()
        assert client.sock is not None
        begun = time.monotonic()
        client.sock.sendall(TEXT % b"late" + b".\r\n")
        assert other.deliver(["anna"], TEXT % b"meanwhile") == ["250 2.5.0 <anna> OK"]
        assert time.monotonic() - begun < 3
        assert client.getreply() == (420, b"4.2.0 <jdoe> Mailbox Locked")
        assert 4 < time.monotonic() - begun < 10
        lock.unlink()
        assert client.deliver(["jdoe"], TEXT % b"free") == ["250 2.5.0 <jdoe> OK"]
        assert not lock.exists()


@pytest.mark.parametrize("locker", ["lockfile", "dotlockfile", "mutt_dotlock"])
def test_lockers_of_debian_and_we_keep_out_of_each_other_s_way(tmp_path: Path, locker: str) -> None:
    """Another program rewrites the mailbox under its lock while we deliver: every message is there once, whole."""
    box = tmp_path / "mail" / "jdoe"
    loop = {
        "lockfile": 'lockfile -1 -r 60 "$1.lock" && { CRITICAL; rm -f "$1.lock"; }',
        "dotlockfile": 'dotlockfile -l -r 60 -i 1 "$1.lock" && { CRITICAL; dotlockfile -u "$1.lock"; }',
        "mutt_dotlock": 'mutt_dotlock -r60 "$1" && { CRITICAL; mutt_dotlock -u "$1"; }',
    }[locker]
    critical = 'cp "$1" "$1.copy"; : > "$1"; cat "$1.copy" >> "$1"'
    script = f"for i in 1 2 3 4; do {loop.replace('CRITICAL', critical)}; done"
    with native_store(tmp_path) as store, client_of(store) as client:
        assert client.deliver(["jdoe"], TEXT % b"0") == ["250 2.5.0 <jdoe> OK"]
        with subprocess.Popen(["sh", "-c", script, "sh", str(box)], cwd=tmp_path / "mail") as rewriting:
            sent = 0
            while rewriting.poll() is None or sent < 20:
                answers = client.deliver(["jdoe"], TEXT % str(sent + 1).encode())
                sent += answers == ["250 2.5.0 <jdoe> OK"]
        assert rewriting.returncode == 0
        subjects = [message.split(b"Subject: ")[1].split(b"\n")[0] for message in read_mbox(box)]
        assert subjects == [str(number).encode() for number in range(sent + 1)]
        with box.open("rb") as octets:
            each = ["formail", "-s", "sh", "-c", "cat > /dev/null; printf x"]
            assert subprocess.run(each, stdin=octets, capture_output=True, check=True).stdout == b"x" * (sent + 1)


def people(root: Path) -> Path:
    """user0 mailbox, user1 native, user2 unix, user3 native and mailbox, user4 a file."""
    text = many_people(5)
    for number, option in enumerate(("native", "unix", "native\nmailDeliveryOption: mailbox", "file"), 1):
        before, at, after = text.partition(f"uid: user{number}\n")
        text = before + at + after.replace("mailDeliveryOption: mailbox", f"mailDeliveryOption: {option}", 1)
    before, at, after = text.partition("uid: user4\n")
    (root / "people.ldif").write_text(before + at + "mailDeliveryFileURL: file:///lists/user%204\n" + after)
    return root / "people.ldif"


def make_relay(root: Path, store: RunningInstance) -> RunningInstance:
    lines = (store.folder / "config" / "dispatcher.cnf").read_text().splitlines()
    lmtp = next(line for line in lines if line.startswith("PORT="))
    smtp = free_port()
    posthouse(
        "init", "relay", str(root / "relay1"), "--smtp", f"127.0.0.1:{smtp}", "--host", "relay1.example.com",
        "--default-domain", "example.com", "--ldif", str(people(root)), "--resolve", "store1.example.com=127.0.0.1",
        "--lmtp-port", lmtp.removeprefix("PORT="), "--native-port", str(store.port),
    )  # fmt: skip
    return RunningInstance(root / "relay1", "127.0.0.1", smtp)


def test_from_the_relay_to_unix_mailboxes(tmp_path: Path) -> None:
    """Delivery options mailbox, native, unix and file: `.lmtpn` rules, tcp_lmtpcn, the store, readers that are not ours."""
    store = make_native_store(tmp_path, {f"user{number}": os.geteuid() for number in range(1, 5)})
    (tmp_path / "files" / "lists").mkdir()
    relay = make_relay(tmp_path, store)
    try:
        store.start()
        relay.start()
        with smtplib.SMTP(relay.address, relay.port, timeout=30) as client:
            recipients = [f"user{number}@example.com" for number in range(5)] + ["user1+News@example.com"]
            assert client.sendmail("s@example.org", recipients, b"Subject: all\r\n\r\nFrom me\r\n") == {}
        wait_empty(relay)
        maildir = store.folder / "data" / "store" / "primary"
        for name in ("user0", "user3"):
            assert len(list((maildir / name / "new").iterdir())) == 1
        mail = tmp_path / "mail"
        assert {path.name: len(read_mbox(path)) for path in mail.iterdir()} == {"user1": 2, "user2": 1, "user3": 1}
        (message,) = read_mbox(mail / "user2")
        assert message.startswith(b"Return-Path: <s@example.org>\nReceived: ")
        assert message.endswith(b"\n\n>From me\n")
        assert len(read_mbox(tmp_path / "files" / "lists" / "user 4")) == 1
        routed = relay.command("route", "user1+News@example.com").stdout
        assert "tcp_lmtpcn" in routed
    finally:
        end(relay)
        end(store)


def test_what_a_killed_worker_leaves_is_taken_back(tmp_path: Path) -> None:
    """SIGKILL under load, again and again: every answered message is there once and whole, nothing torn, nothing locked."""
    body = b"x" * 70 + b"\r\n"
    big = b"Subject: %b\r\n\r\n" + body * 3000
    box = tmp_path / "mail" / "jdoe"
    answered: set[bytes] = set()
    with native_store(tmp_path) as store:
        for round_ in range(3):
            count = 0
            try:
                with client_of(store) as client:
                    while count < 200:
                        count += 1
                        subject = b"%d-%d" % (round_, count)
                        if client.deliver(["jdoe"], big % subject) == ["250 2.5.0 <jdoe> OK"]:
                            answered.add(subject)
                        if count == 12 + round_:
                            (victim,) = [pid for pid in pids(store, "lmtp") if is_native(pid)]
                            assert client.sock is not None
                            client.sock.sendall(b"MAIL FROM:<>\r\nRCPT TO:<jdoe>\r\nDATA\r\n")
                            os.kill(victim, 9)
            except (smtplib.SMTPException, OSError):
                pass
            wait_for(lambda: _delivers(store))
        messages = read_mbox(box)
        subjects = [message.split(b"Subject: ")[1].split(b"\n")[0] for message in messages]
        assert all(message.count(b"\n" + body[:-2]) == 3000 for message in messages if b"Subject: probe" not in message)
        assert answered <= set(subjects)
        assert len([each for each in subjects if each != b"probe"]) == len({each for each in subjects if each != b"probe"})
        assert not list((tmp_path / "mail").glob("*.lock"))


def is_native(pid: int) -> bool:
    return b"posthouse.store.native" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _delivers(store: RunningInstance) -> bool:
    try:
        with client_of(store) as client:
            return client.deliver(["jdoe"], TEXT % b"probe") == ["250 2.5.0 <jdoe> OK"]
    except (smtplib.SMTPException, OSError):
        return False
