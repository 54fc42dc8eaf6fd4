"""`posthouse store delete` and `rename` while mail is delivered, and after a kill: nothing lost, nothing brought back."""

import threading
from pathlib import Path

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.store_alone import deliver, faults, kill, root_of, store_alone, subjects


class Sender:
    """Delivers to one owner over and over until told to stop; what was answered 250 is in `taken`."""

    def __init__(self, store: RunningInstance, owner: str, name: str) -> None:
        self.taken: list[str] = []
        self.codes: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(store, owner, name))
        self._thread.start()

    def _run(self, store: RunningInstance, owner: str, name: str) -> None:
        number = 0
        while not self._stop.is_set():
            mark = f"{name}-{number}-"
            number += 1
            (code,) = deliver(store, owner, mark)
            self.codes.add(code)
            if code == 250:
                self.taken.append(mark)

    def stop(self) -> list[str]:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.taken


def test_a_mailbox_renamed_under_deliveries_loses_nothing(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "before", "first", options=("xquota=5000000,4000",))
        senders = [Sender(store, "before", f"sender{number}") for number in range(4)]
        wait_for(lambda: len(subjects(store, "before")) > 20)
        assert store.json("store", "rename", "before", "after")["owner"] == "after"
        wait_for(lambda: root_of(store, "before").is_dir() and len(subjects(store, "before")) > 20)  # made anew
        taken = ["first", *(mark for sender in senders for mark in sender.stop())]
        assert {code for sender in senders for code in sender.codes} <= {250, 420}
        assert sorted(subjects(store, "before") + subjects(store, "after")) == sorted(taken)
        (moved,) = store.json("store", "quota", "after")
        assert moved["limits"] == {"bytes": 5_000_000, "messages": 4000}
        assert moved["messages"] == len(subjects(store, "after"))
        assert faults(store) == []
        kill(store)
        store.start()  # replays what is unchecked: under the old name only what came there since
        assert sorted(subjects(store, "before") + subjects(store, "after")) == sorted(taken)


def test_what_was_deleted_stays_deleted_through_a_crash(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "keep", "kept")
        assert deliver(store, "gone", *(f"gone-{number}" for number in range(30))) == [250] * 30
        done = store.json("store", "delete", "gone")  # at once: the journal still had it all
        kill(store)
        assert [each["owner"] for each in done] == ["gone"]
        assert done[0]["messages"] == 30
        store.start()
        assert [each["owner"] for each in store.json("store", "list")] == ["keep"]
        assert deliver(store, "gone", "anew") == [250]
        assert subjects(store, "gone") == ["anew"]


def test_deleted_under_deliveries_the_new_mailbox_has_all_that_came_later(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "user", "first")
        senders = [Sender(store, "user", f"sender{number}") for number in range(3)]
        wait_for(lambda: all(len(sender.taken) > 10 for sender in senders))
        before = [list(sender.taken) for sender in senders]
        store.command("store", "delete", "user")
        after = [len(sender.taken) for sender in senders]
        wait_for(lambda: all(len(sender.taken) > least + 10 for sender, least in zip(senders, after, strict=True)))
        taken = [sender.stop() for sender in senders]
        there = subjects(store, "user")
        assert not any(mark in there for marks in before for mark in marks)
        late = [mark for marks, least in zip(taken, after, strict=True) for mark in marks[least + 1 :]]
        assert not set(late) - set(there)
        assert len(there) == len(set(there))
        assert sorted(path.name for path in root_of(store, "user").parent.iterdir() if path.is_dir()) == ["user"]


def test_on_a_stopped_store_the_journal_is_brought_to_rest_first(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        deliver(store, "one", "mail-of-one")
        deliver(store, "two", "mail-of-two")
        kill(store)
        assert list((store.folder / "data" / "journal").glob("*.seg"))
        store.command("store", "delete", "one")
        assert not list((store.folder / "data" / "journal").glob("*.seg"))
        store.command("store", "rename", "two", "three")
        assert store.command("store", "rename", "three", "three", check=False).returncode == 73
        store.start()
        assert [each["owner"] for each in store.json("store", "list")] == ["three"]
        assert subjects(store, "three") == ["mail-of-two"]
        assert store.command("store", "recover", check=False).returncode == 75


def test_nothing_is_done_without_the_lock_and_in_a_dry_run(tmp_path: Path) -> None:
    with store_alone(tmp_path, start=False) as store:
        store.command("store", "create", "user")
        for line in ("delete user", "rename user other"):
            store.command("store", *line.split(), "--dry-run")
        assert [each["owner"] for each in store.json("store", "list")] == ["user"]
        (root_of(store, "user") / ".admin-lock").touch()
        for line in ("delete user", "rename user other", "quota user --set 1M,1"):
            assert store.command("store", *line.split(), check=False).returncode == 75
        assert store.command("store", "delete", "nobody", check=False).returncode == 67
        assert store.command("store", "delete", check=False).returncode == 64
        assert [each["owner"] for each in store.json("store", "list")] == ["user"]
