"""`Check` and `posthouse store check`: every kind of fault found, repaired where it can be, living deliveries left alone."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from posthouse.cli.store.check import check
from posthouse.cli.store.creating import create
from posthouse.config.instance import Instance
from posthouse.dispatcher import lock
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.check import Check, Writers
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


def test_what_does_not_add_up_while_the_mailbox_is_changed_is_not_repaired(store: Instance) -> None:
    put(store, 1, 5)
    (root(store) / "maildirsize").write_bytes(b"0S\n7 1\n")  # an IMAP server has yet to write what it did
    (root(store) / "maildirsize").chmod(0o600)
    now = time.time()

    def another_change(seconds: float) -> None:
        nonlocal now
        now += seconds
        os.utime(root(store) / "cur", (now, now))

    disk = cast("Disk", LinuxDisk())
    folder = disk.open_dir(str(root(store)))
    looked = Check(disk, folder, Writers(None, now), Limits(-1, -1), Pace(lambda: now, another_change), lambda: "unique")
    (fault,) = looked.faults()
    disk.close(folder)
    assert (fault.kind, fault.repaired) == ("quota", False)
    assert "too often to be counted" in fault.text
    assert (root(store) / "maildirsize").read_bytes() == b"0S\n7 1\n"


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
