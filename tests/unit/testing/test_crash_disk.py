"""The disk in memory loses what it may lose, and nothing else."""

import random

import pytest

from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import BLOCK, Extreme

SEEDS = range(200)


def content(disk: CrashDisk, name: str) -> bytes | None:
    root = disk.open_dir("/")
    if disk.stat(name, root) is None:
        return None
    return disk.pread(disk.open_file(name, root), 1 << 20, 0)


def test_without_a_sync_anything_may_be_gone_or_empty() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    disk.pwrite(disk.create_excl("f", root), b"x" * 3 * BLOCK, 0)
    assert content(disk.survivor(Extreme.LEAST), "f") is None
    assert content(disk.survivor(Extreme.NAMES_ONLY), "f") == b""
    assert content(disk.survivor(Extreme.MOST), "f") == b"x" * 3 * BLOCK
    found = {content(disk.survivor(random.Random(seed)), "f") for seed in SEEDS}
    assert None in found
    assert b"x" * BLOCK + bytes(2 * BLOCK) in found
    assert bytes(BLOCK) + b"x" * 2 * BLOCK in found


def test_what_was_synced_stays() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    fd = disk.create_excl("f", root)
    disk.pwrite(fd, b"old" * BLOCK, 0)
    disk.fsync(fd)
    disk.fsync_dir(root)
    disk.pwrite(fd, b"new", 0)
    found = {content(disk.survivor(random.Random(seed)), "f") for seed in SEEDS}
    assert found == {b"old" * BLOCK, b"new" + (b"old" * BLOCK)[3:]}


def test_a_folder_sync_keeps_names_but_no_octets() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    disk.pwrite(disk.create_excl("f", root), b"x", 0)
    disk.fsync_dir(root)
    assert content(disk.survivor(Extreme.LEAST), "f") == b""


def test_an_unsynced_rename_happened_or_not_but_never_half() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    fd = disk.create_excl("a", root)
    disk.fsync(fd)
    disk.fsync_dir(root)
    disk.rename("a", "b", root, root)
    states = {tuple(each.listdir(each.open_dir("/"))) for each in (disk.survivor(random.Random(seed)) for seed in SEEDS)}
    assert states == {("a",), ("b",)}


def test_changes_of_names_may_be_lost_singly() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    for name in "ab":
        disk.create_excl(name, root)
    states = {tuple(each.listdir(each.open_dir("/"))) for each in (disk.survivor(random.Random(seed)) for seed in SEEDS)}
    assert states == {(), ("a",), ("b",), ("a", "b")}


def test_a_failed_sync_loses_the_octets_and_the_next_one_succeeds() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    fd = disk.create_excl("f", root)
    disk.pwrite(fd, bytes(4), 0)
    disk.fsync(fd)
    disk.fsync_dir(root)
    disk.pwrite(fd, b"lost", 0)
    disk.fault = lambda operation, _name: OSError(5, "I/O error") if operation == "fdatasync" else None
    with pytest.raises(OSError, match="I/O error"):
        disk.fdatasync(fd)
    disk.fault = lambda _operation, _name: None
    disk.fdatasync(fd)
    assert disk.pread(fd, 4, 0) == b"lost"
    assert content(disk.survivor(Extreme.MOST), "f") == bytes(4)


def test_hard_links_survive_as_one_file() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    fd = disk.create_excl("a", root)
    disk.link("a", "b", root, root)
    disk.syncfs(root)
    disk.pwrite(fd, b"x", 0)
    left = disk.survivor(Extreme.MOST)
    fd = left.open_file("a", left.open_dir("/"))
    assert left.fstat(fd).links == 2
    assert content(left, "b") == b"x"


def test_after_the_cut_nothing_works() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    disk.cut()
    with pytest.raises(PowerCut):
        disk.create_excl("f", root)
    disk.close(root)
