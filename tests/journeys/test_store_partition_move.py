"""`posthouse store move`: a mailbox goes to another partition while mail comes, IMAP sessions are open and processes die."""

import imaplib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from posthouse.testing.tiers import RunningInstance
from support.ext4_image import Ext4Image
from support.family_rig import wait_for
from support.imap_tier import DOVEADM, NO_PENALTY, Imap, dovecot_of, served_store
from support.interop_daemon import needs_root, open_folder
from support.interop_tiers import STORE_USER
from support.store_alone import deliver, faults, kill, store_alone

QUOTA = ("xquota=9000000,9000",)


def found(store: RunningInstance) -> list[str]:
    """Marks of all mail of jdoe, wherever a mailbox of his stands."""
    names = [path for shelf in ("new", "cur") for path in (store.folder / "data" / "store").glob(f"*/jdoe/{shelf}/*")]
    lines = [line for path in names for line in path.read_bytes().splitlines() if line.startswith(b"Subject: ")]
    return sorted(line[9:].decode() for line in lines)


class Sending:
    """Mail for jdoe, one after another; what is not taken is sent again, as a relay would."""

    def __init__(self, store: RunningInstance) -> None:
        self.store = store
        self.taken: list[str] = []
        self.refused = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self._end.is_set():
            try:
                (code,) = deliver(self.store, "jdoe", f"mail-{number}-")
            except OSError:  # it was killed
                self._end.wait(0.05)
                continue
            if code == 250:
                self.taken.append(f"mail-{number}-")
            else:
                assert code == 420
                self.refused += 1
                self._end.wait(0.05)
                continue
            number += 1

    def more(self) -> None:
        """Wait until more has been taken."""
        before = len(self.taken)
        wait_for(lambda: len(self.taken) > before + 3, 30)

    def __enter__(self) -> Self:
        self._thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)


def move(store: RunningInstance, partition: str, *before: str) -> subprocess.Popen[str]:
    """The command, under way; `before` is what runs it."""
    words = ["-m", "posthouse.cli", "store", "move", "jdoe", "--partition", partition, "--instance", str(store.folder)]
    return subprocess.Popen([*before, sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def place_of(store: RunningInstance) -> Path:
    return Path(store.command("store", "path", "jdoe").stdout.strip())


def test_moved_under_deliveries_each_message_is_there_once(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "jdoe", "first", options=QUOTA)
        (store.folder / "data" / "store" / "second").mkdir()  # the running store has not heard of it
        with Sending(store) as sending:
            assert store.json("store", "move", "jdoe", "--partition", "second", "--dry-run")[0]["was"] == "primary"
            assert place_of(store).parent.name == "primary"
            for partition in ("second", "primary", "second"):
                (row,) = store.json("store", "move", "jdoe", "--partition", partition)
                assert (row["owner"], row["partition"], row["path"]) == ("jdoe", partition, str(place_of(store)))
                sending.more()
        assert found(store) == sorted(["first", *sending.taken])
        (quota,) = store.json("store", "quota", "jdoe")
        assert (quota["messages"], quota["limits"]) == (len(sending.taken) + 1, {"bytes": 9_000_000, "messages": 9000})
        assert faults(store) == []
        kill(store)
        store.start()
        assert found(store) == sorted(["first", *sending.taken]), "the journal brings nothing back to the old place"
        (place_of(store) / ".admin-lock").touch()
        for words, code in (("jdoe nobody --partition second", 67), ("--partition second", 64), ("jdoe --partition third", 73),
                            ("jdoe --partition second", 0), ("jdoe --partition primary", 75)):  # fmt: skip
            assert store.command("store", "move", *words.split(), check=False).returncode == code, words


STEPS = {
    "move": ("syncfs:when=1", "renameat2:when=2", "unlinkat:when=4"),
    "check": ("mkdirat:when=2", "renameat2:when=1", "renameat:when=2"),
}
"""while it is copied and closed, published, emptied; copied, before it is closed, before the old one is removed"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("again", ["move", "check"])
def test_killed_at_any_step_it_is_completed(tmp_path: Path, again: str) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "jdoe", "first", options=QUOTA)
        (store.folder / "data" / "store" / "second").mkdir()
        targets = ["second", "primary"]
        with Sending(store) as sending:
            for step in STEPS[again]:
                call, _, when = step.partition(":")
                inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:{when}")
                process = move(store, targets[0], "strace", "-f", "-o", str(tmp_path / "trace"), *inject)
                process.communicate(timeout=60)
                assert process.returncode not in {0, 75}, (step, "it was not killed")
                if again == "check":
                    store.command("store", "check", check=False)
                if again == "move" or place_of(store).parent.name != targets[0]:
                    store.command("store", "move", "jdoe", "--partition", targets[0])
                assert place_of(store).parent.name == targets[0], step
                targets.reverse()
                sending.more()
        store.command("store", "check", check=False)  # what `move` has left to empty
        assert faults(store) == []
        kill(store)
        store.start()
        assert found(store) == sorted(["first", *sending.taken])


# --- with Dovecot, on another disk -------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("move") as made:
        yield made


@pytest.fixture
def store(folder: Path) -> Iterator[RunningInstance]:
    """A store with a partition that is a small disk of its own."""
    with served_store(folder) as store:
        image = Ext4Image(folder, 24)
        image.path = store.folder / "data" / "store" / "second"
        image.path.mkdir()
        try:
            image.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop device can be mounted here: {error.stderr!r}")
        try:
            (image.path / "lost+found").rmdir()
            shutil.chown(image.path, STORE_USER, STORE_USER)
            yield store
        finally:
            kill(store)
            image.end()


def flags(imap: Imap) -> tuple[object, object]:
    """UIDVALIDITY, and UID and flags of each message."""
    with imap.login("jdoe") as client:
        client.select("INBOX", readonly=True)
        return client.response("UIDVALIDITY"), client.fetch("1:*", "(UID FLAGS)")[1]


@needs_root
def test_sessions_lose_nothing_that_was_answered_ok(store: RunningInstance, folder: Path) -> None:
    deliver(store, "jdoe", *(f"mail{number}" for number in range(6)), options=QUOTA)
    conf = folder / "dovecot" / "dovecot.conf"
    with dovecot_of(store, folder / "dovecot", users=("jdoe",)) as imap:
        with imap.login("jdoe") as selected, imap.login("jdoe") as idle:  # the second has nothing open
            selected.select("INBOX")
            selected.create("Work")
            assert selected.copy("2", "Work")[0] == selected.store("1", "+FLAGS", r"(\Seen $Todo)")[0] == "OK"
            process = move(store, "second")
            assert process.stderr is not None
            assert "doveadm kick jdoe" in process.stderr.readline()  # it waits, and only mail does
            assert selected.store("3", "+FLAGS", r"(\Flagged)")[0] == "OK"
            assert idle.append("INBOX", "", "", b"Subject: appended\r\n\r\nx\r\n")[0] == "OK"
            assert deliver(store, "jdoe", "meanwhile") == [420]
            before = flags(imap)
            subprocess.run([DOVEADM, "-c", str(conf), "kick", "jdoe"], check=True, capture_output=True)
            assert process.communicate(timeout=60)[0] == "jdoe: 8 messages moved from primary to second\n"
            assert process.returncode == 0
        refused(imap)  # Dovecot has not been told where it is
        store.command(
            "store", "dovecot-config", "--imap", f"{imap.address}:{imap.port}", "--run", str(conf.parent / "run"),
            "--log", str(imap.log), "--passwd-file", str(conf.parent / "users"), "--write", str(conf.parent), "--force",
        )  # fmt: skip
        with conf.open("a") as file:
            file.write(NO_PENALTY)
        subprocess.run([DOVEADM, "-c", str(conf), "reload"], check=True)
        wait_for(lambda: served(imap))
        assert flags(imap) == before
        with imap.login("jdoe") as client:
            assert client.select("Work") == ("OK", [b"1"])
            assert client.getquotaroot("INBOX")[1][1] == [b'"User quota" (STORAGE 1 8790 MESSAGE 8 9000)']
        with imap.login("jdoe") as idle:  # nothing open: nothing is waited for, and nothing goes where it was
            assert store.json("store", "move", "jdoe", "--partition", "primary")[0]["was"] == "second"
            assert idle.append("INBOX", "", "", b"Subject: late\r\n\r\nx\r\n")[0] == idle.select("INBOX")[0] == "NO"
        refused(imap)
    assert faults(store) == []


def refused(imap: Imap) -> None:
    """He finds no mailbox, and none is made."""
    with imap.login("jdoe") as late:
        assert late.select("INBOX")[0] == late.append("INBOX", "", "", b"Subject: late\r\n\r\nx\r\n")[0] == "NO"


def served(imap: Imap) -> bool:
    try:
        with imap.login("jdoe") as client:
            return client.select("INBOX", readonly=True)[0] == "OK"
    except imaplib.IMAP4.abort:
        return False


@needs_root
def test_a_disk_too_small_for_it_changes_nothing(store: RunningInstance) -> None:
    large = [f"mail{number}" for number in range(4)]
    assert deliver(store, "jdoe", *large, octets=9_000_000, options=("xquota=-1,-1",)) == [250] * 4
    with Sending(store) as sending:
        done = store.command("store", "move", "jdoe", "--partition", "second", check=False)
        assert done.returncode == 74, done.stderr
        assert "No space left" in done.stderr
        sending.more()
    assert [path.name for path in (store.folder / "data" / "store" / "second").iterdir() if path.name != ".barrier"] == []
    assert {path.name for path in (store.folder / "data" / "store" / "primary").iterdir()} == {".barrier", "jdoe"}
    assert found(store) == sorted([*large, *sending.taken])
