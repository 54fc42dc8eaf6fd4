"""A mailbox goes to another partition by hand, as docs/operations.md says, while mail comes and the store is killed."""

import subprocess
import threading
from pathlib import Path
from typing import Self

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.store_alone import deliver, kill, store_alone

STEPS = """
touch primary/jdoe/.admin-lock
sleep 3
cp -a primary/jdoe second/.moving-jdoe && sync
mv second/.moving-jdoe second/jdoe
mv primary/jdoe primary/.deleted-jdoe && sync
rm second/jdoe/.admin-lock
""".strip().splitlines()


def said(file: str) -> bool:
    """Whether the page has the steps."""
    page = (Path(__file__).parent.parent.parent / "docs" / file).read_text()
    return all(f"    {step}" in page for step in STEPS)


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
                assert 400 <= code < 500
                self.refused += 1
                continue
            number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)


@pytest.mark.parametrize("killed_at", [None, "cp", "mv second", "mv primary"])
def test_a_mailbox_is_moved_to_another_partition_by_hand(tmp_path: Path, killed_at: str | None) -> None:
    assert said("operations.md")
    with store_alone(tmp_path) as store:
        deliver(store, "jdoe", "first", options=("xquota=9000000,9000",))
        place = store.folder / "data" / "store"
        (place / "second").mkdir()
        with (store.folder / "config" / "store.conf").open("a") as conf:
            conf.write("store.partitionof.jdoe = second\n")
        store.command("reload")
        with Sending(store) as sending:
            wait_for(lambda: len(sending.taken) > 5)
            for step in STEPS:
                subprocess.run(["sh", "-e", "-c", step], cwd=place, check=True, timeout=60)
                if killed_at is not None and step.startswith(killed_at):
                    kill(store)
                    store.start()
            before = len(sending.taken)
            wait_for(lambda: len(sending.taken) > before + 5, 30)
            assert sending.refused, "it was closed meanwhile"
        assert found(store) == sorted(["first", *sending.taken]), "each once"
        (row,) = store.json("store", "quota", "jdoe")
        assert (row["messages"], row["limits"]) == (len(sending.taken) + 1, {"bytes": 9_000_000, "messages": 9000})
        assert store.command("store", "path", "jdoe").stdout.strip().endswith("/second/jdoe")
        assert (place / "primary" / ".deleted-jdoe").is_dir()
        store.command("store", "check", check=False)
        assert sorted(path.name for path in (place / "primary").iterdir() if "jdoe" in path.name) == []
        assert store.json("store", "check", "--dry-run")["faults"] == []
