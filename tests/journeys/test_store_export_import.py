"""`posthouse store export` and `import` beside deliveries: a user moves to another store and loses nothing."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.mailboxes import Mailboxes
from posthouse.store.administration.unchecked import is_unchecked
from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.store_alone import deliver, faults, files_of, kill, root_of, store_alone, subjects


def piped(old: RunningInstance, new: RunningInstance, owner: str) -> None:
    """`export ... - | import ... -`, as an operator would over ssh."""
    words = [sys.executable, "-m", "posthouse.cli", "store"]
    reader = subprocess.Popen([*words, "export", owner, "-", "--instance", str(old.folder)], stdout=subprocess.PIPE)
    done = subprocess.run(
        [*words, "import", owner, "-", "--instance", str(new.folder)], stdin=reader.stdout, check=False, timeout=60
    )
    assert reader.stdout is not None
    reader.stdout.close()
    assert (reader.wait(10), done.returncode) == (0, 0)


def test_a_user_moves_to_another_store_while_mail_comes(tmp_path: Path) -> None:
    with store_alone(tmp_path, name="store1") as old, store_alone(tmp_path, name="store2") as new:
        taken: list[str] = []
        moved = threading.Event()

        def send(name: int) -> None:
            number = 0
            while not moved.is_set() or number < 10:
                mark = f"mail-{name}-{number}-"
                number += 1
                store = new if moved.is_set() else old  # the directory's mailHost
                assert deliver(store, "user", mark) == [250]
                taken.append(mark)

        deliver(old, "user", "first", options=("xquota=9000000,9000",))
        threads = [threading.Thread(target=send, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(taken) > 30)
            piped(old, new, "user")
            assert root_of(new, "user").is_dir()
        finally:
            moved.set()
            for thread in threads:
                thread.join(30)
        piped(old, new, "user")
        assert subjects(new, "user") == sorted(["first", *taken])
        (row,) = new.json("store", "quota", "user")
        assert (row["messages"], row["limits"]) == (len(taken) + 1, {"bytes": 9_000_000, "messages": 9000})
        old.command("store", "delete", "user")
        assert old.json("store", "list") == []
        assert faults(new) == []


def test_users_move_and_flag_mail_while_it_is_exported(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        count = 400
        deliver(store, "user", *(f"mail-{number}-" for number in range(count)))
        store.command("store", "import", "user", str(_empty_folder(tmp_path, "Archive")))
        there, stop = root_of(store, "user"), threading.Event()

        def shuffle() -> None:
            """As an IMAP server does: the same base name, other flags, another folder."""
            number = 0
            while not stop.is_set():
                for path in files_of(store, "user") + files_of(store, "user", ".Archive"):
                    number += 1
                    base = path.name.partition(":")[0]
                    path.rename(there / ("" if number % 2 else ".Archive") / "cur" / f"{base}:2,{'S' if number % 3 else 'FS'}")

        thread = threading.Thread(target=shuffle)
        thread.start()
        try:
            for number in range(3):
                store.command("store", "export", "user", str(tmp_path / f"user{number}.tar"))
        finally:
            stop.set()
            thread.join(30)

        def marks(owner: str) -> list[str]:
            return sorted(subjects(store, owner) + subjects(store, owner, ".Archive"))

        for number in range(3):
            owner = f"copy{number}"
            assert store.json("store", "import", owner, str(tmp_path / f"user{number}.tar"))["imported"] == count
            assert marks(owner) == marks("user")


def _empty_folder(tmp_path: Path, name: str) -> Path:
    """An archive with one folder and no mail."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / f"{name}.mbox").touch()
    return tmp_path / "empty"


def unchecked(store: RunningInstance, owner: str) -> bool:
    mailboxes = Mailboxes(cast("Disk", LinuxDisk()), str(store.folder / "data"))
    try:
        return is_unchecked(mailboxes.disk, mailboxes.journal, owner)
    finally:
        mailboxes.close()


def test_after_a_crash_nothing_is_exported_before_it_is_recovered(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        marks: list[str] = []
        while not marks or not unchecked(store, "user"):  # killed before the checkpoint, a second after the delivery
            if marks:
                store.start()
            assert len(marks) < 40
            marks.append(f"mail-{len(marks)}")
            deliver(store, "user", marks[-1])
            kill(store)
        files_of(store, "user")[-1].write_bytes(b"")  # as a power loss may leave it
        refused = store.command("store", "export", "user", str(tmp_path / "user.tar"), check=False)
        assert (refused.returncode, "recover" in refused.stderr) == (75, True)
        assert store.json("store", "recover")["replayed"] >= 1
        store.command("store", "export", "user", str(tmp_path / "user.tar"))
        assert subjects(store, "user") == marks
        assert store.json("store", "import", "copy", str(tmp_path / "user.tar"))["imported"] == len(marks)
        assert subjects(store, "copy") == marks
