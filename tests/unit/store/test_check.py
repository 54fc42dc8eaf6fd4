"""`Check` and `posthouse store check`: every kind of fault found, repaired where it can be, living deliveries left alone."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from posthouse.cli.store.check import check
from posthouse.cli.store.creating import create
from posthouse.config.instance import Instance
from posthouse.dispatcher import lock
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.check import Check, Fault, Writers
from posthouse.store.administration.lock import Pace
from posthouse.store.mailbox.maildirsize import RECOUNT
from posthouse.store.quota.limits import Limits
from support.store_files import store_instance

OLD = 1_600_000_000


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    instance = store_instance(tmp_path)
    create("ann", instance=instance.root)
    return instance


def root(store: Instance) -> Path:
    return store.store / "primary" / "ann"


def put(store: Instance, number: int, octets: int, place: str = "cur") -> Path:
    file = root(store) / place / f"1700000000.M{number:06d}P1R1Q{number}.store1,S={octets},W={octets}:2,S"
    file.write_bytes(b"x" * octets)
    file.chmod(0o600)
    return file


def run(store: Instance, capsys: pytest.CaptureFixture[str], *, dry_run: bool = False) -> tuple[int, list[tuple[str, str, bool]]]:
    capsys.readouterr()
    code: Any = 0
    try:
        check(instance=store.root, as_json=True, dry_run=dry_run)
    except SystemExit as ended:
        code = ended.code
    faults = json.loads(capsys.readouterr().out)["faults"]
    return code, sorted((fault["kind"], fault["path"], fault["repaired"]) for fault in faults)


def subfolder(store: Instance) -> None:
    place = root(store) / ".Work"
    place.mkdir(mode=0o700)
    (place / "cur").mkdir(mode=0o700)


def wrong_modes(store: Instance) -> None:
    put(store, 1, 5).chmod(0o644)
    (root(store) / "new").chmod(0o755)
    (root(store) / "maildirsize").write_bytes(b"0S\n5 1\n")
    (root(store) / "maildirsize").chmod(0o600)


def strays(store: Instance) -> None:
    (root(store) / "tmp" / "1700000000.M000001P99999999Rab12Q1.store1,S=5,W=5").touch(0o600)
    foreign = root(store) / "tmp" / "1700000000.1.elsewhere"
    foreign.touch(0o600)
    os.utime(foreign, (OLD, OLD))
    (root(store) / "tmp" / "1700000000.2.elsewhere").touch(0o600)  # an IMAP server may be writing it


def wrong_sizes(store: Instance) -> None:
    put(store, 1, 5)
    (root(store) / "maildirsize").write_bytes(b"0S\n7 1\n")
    (root(store) / "maildirsize").chmod(0o600)


def wrong_sizes_of_the_future(store: Instance) -> None:
    wrong_sizes(store)
    os.utime(root(store) / "maildirsize", (2 * OLD, 2 * OLD))


def missing_sizes(store: Instance) -> None:
    put(store, 1, 5)


def garbled_sizes(store: Instance) -> None:
    (root(store) / "maildirsize").write_bytes(b"0S\n\0\0\0")
    (root(store) / "maildirsize").chmod(0o600)


def test_a_count_that_a_crash_asks_for_is_not_called_garbled(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    (root(store) / "maildirsize").write_bytes(b"0S\n5 1\n" + RECOUNT)
    (root(store) / "maildirsize").chmod(0o600)
    check(instance=store.root)
    assert "to be counted again, as after a start without a stop before it (repaired)" in capsys.readouterr().out


def removed(store: Instance) -> None:
    (store.store / "primary" / ".deleted-x" / "cur").mkdir(parents=True)
    (store.store / "primary" / ".deleted-x" / "cur" / "mail").touch()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (subfolder, [("mark", ".Work/maildirfolder"), ("part", ".Work/new"), ("part", ".Work/tmp")]),
        (wrong_modes, [("mode", "cur/1700000000.M000001P1R1Q1.store1,S=5,W=5:2,S"), ("mode", "new")]),
        (strays, [("stray", "tmp/1700000000.1.elsewhere"), ("stray", "tmp/1700000000.M000001P99999999Rab12Q1.store1,S=5,W=5")]),
        (wrong_sizes, [("quota", "maildirsize")]),
        (wrong_sizes_of_the_future, [("quota", "maildirsize")]),
        (missing_sizes, [("quota", "maildirsize")]),
        (garbled_sizes, [("quota", "maildirsize")]),
        (removed, [("removed", "primary/.deleted-x")]),
    ],
)
def test_found_then_repaired_then_well(
    store: Instance, capsys: pytest.CaptureFixture[str], damage: Callable[[Instance], None], found: list[tuple[str, str]]
) -> None:
    assert run(store, capsys) == (0, [])
    damage(store)
    assert run(store, capsys, dry_run=True) == (65, [(*fault, False) for fault in found])
    assert run(store, capsys, dry_run=True) == (65, [(*fault, False) for fault in found])  # nothing was changed
    assert run(store, capsys) == (0, [(*fault, True) for fault in found])
    assert run(store, capsys) == (0, [])


class Looking:
    """A look at a mailbox that is wrong, with a clock of its own. `meanwhile` happens in every pause.

    Args:
        store: with ann's mailbox.
        meanwhile: what somebody does.
        waits: seconds for the lock, from the second time on.
    """

    def __init__(self, store: Instance, meanwhile: Callable[["Looking"], None], *, waits: float = 0.0) -> None:
        wrong_sizes(store)
        self.mailbox = root(store)
        self.now = time.time()
        self.is_held = False
        self.held: list[float] = []
        """seconds"""
        self._meanwhile = meanwhile
        self._waits = waits
        self._disk = cast("Disk", LinuxDisk())
        self._folder = self._disk.open_dir(str(self.mailbox))

    def change(self) -> None:
        """As an IMAP server that has yet to write into maildirsize what it did."""
        os.utime(self.mailbox / "cur", (self.now, self.now))

    def _pause(self, seconds: float) -> None:
        self.now += seconds
        self._meanwhile(self)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[int]:
        self.now += self._waits if self.held else 0.0
        self.is_held, begun = True, self.now
        yield self._folder
        self.is_held = False
        self.held.append(self.now - begun)

    def fault(self) -> Fault:
        """The only one."""
        pace = Pace(lambda: self.now, self._pause)
        (fault,) = Check(self._disk, self._entered, Writers(None, self.now), Limits(-1, -1), pace, lambda: "unique").faults()
        self._disk.close(self._folder)
        assert max(self.held) < 1, "deliveries wait for it"
        return fault


def test_what_does_not_add_up_while_the_mailbox_is_changed_is_not_repaired(store: Instance) -> None:
    looking = Looking(store, Looking.change)
    fault = looking.fault()
    assert (fault.kind, fault.repaired) == ("quota", False)
    assert "too often to be counted" in fault.text
    assert 3 < sum(looking.held) + 0.1 * len(looking.held) < 5
    assert (root(store) / "maildirsize").read_bytes() == b"0S\n7 1\n"


def test_where_only_deliveries_change_the_mailbox_it_is_repaired(store: Instance) -> None:
    assert Looking(store, lambda looking: None if looking.is_held else looking.change()).fault().repaired


def test_what_came_between_two_looks_is_counted(store: Instance) -> None:
    def meanwhile(looking: Looking) -> None:
        if looking.is_held and len(looking.held) < 1:
            looking.change()
        elif len(looking.held) == 1:
            put(store, 2, 100)

    assert Looking(store, meanwhile, waits=2.0).fault().repaired
    assert (root(store) / "maildirsize").read_bytes() == b"0S\n105 2\n"


def test_what_comes_while_it_is_counted_is_no_fault(store: Instance) -> None:
    """A mailbox that takes long to count; an IMAP server adds to a folder that was looked through, and to maildirsize."""
    put(store, 1, 5)
    sizes = root(store) / "maildirsize"
    sizes.write_bytes(b"0S\n5 1\n")
    sizes.chmod(0o600)
    subfolder(store)
    disk, now = cast("Disk", LinuxDisk()), time.time()
    folder = disk.open_dir(str(root(store)))
    pace = Pace(lambda: now, lambda _: None)
    look = Check(disk, lambda: contextlib.nullcontext(folder), Writers(None, now), Limits(-1, -1), pace, lambda: "unique")
    faults = look.faults()
    assert next(faults).kind == "part"
    put(store, 2, 100)
    sizes.write_bytes(b"0S\n5 1\n100 1\n")
    now += 0.6
    assert "quota" not in {fault.kind for fault in faults}
    assert sizes.read_bytes() == b"0S\n5 1\n100 1\n"
    disk.close(folder)


def test_counted_sizes_have_the_limits_on_top(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    wrong_sizes(store)
    run(store, capsys)
    assert (root(store) / "maildirsize").read_bytes() == b"0S\n5 1\n"


def test_quota_notices_count_or_do_not(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, 1, 5)
    notice = root(store) / "cur" / "1700000000.M000002P1R1Q2N.store1,S=9,W=9:2,"
    notice.write_bytes(b"x" * 9)
    notice.chmod(0o600)
    for line in (b"5 1", b"14 2"):
        (root(store) / "maildirsize").write_bytes(b"0S\n" + line + b"\n")
        (root(store) / "maildirsize").chmod(0o600)
        assert run(store, capsys) == (0, [])


def test_only_said(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, 1, 5).write_bytes(b"short")
    short = put(store, 2, 50)
    short.write_bytes(b"short")
    (root(store) / "maildirsize").write_bytes(b"0S\n55 2\n")
    (root(store) / "maildirsize").chmod(0o600)
    (root(store) / "cur" / "link").symlink_to("/etc/passwd")
    (root(store) / "folder").mkdir()
    (store.store / "primary" / "=odd").mkdir()
    code, faults = run(store, capsys)
    assert code == 65
    assert faults == [
        ("kind", "cur/link", False), ("kind", "folder", False), ("name", "primary/=odd", False),
        ("size", f"cur/{short.name}", False),
    ]  # fmt: skip
    assert short.read_bytes() == b"short"


def test_a_delivery_that_may_live_keeps_its_file(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    strays(store)
    held = lock.take(store.data / "lock")  # it runs, and nobody answers
    try:
        assert run(store, capsys) == (0, [("stray", "tmp/1700000000.1.elsewhere", True)])
    finally:
        os.close(held)


def test_an_administrators_lock_keeps_us_out(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    strays(store)
    (root(store) / ".admin-lock").touch()
    assert run(store, capsys, dry_run=True) == (65, [("locked", ".admin-lock", False)])
    assert run(store, capsys)[0] == 75
    assert len(list((root(store) / "tmp").iterdir())) == 3
