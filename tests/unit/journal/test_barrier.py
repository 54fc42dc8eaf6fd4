import errno

import pytest

from posthouse.journal.barrier import NAME, Barrier, Barriers, kernel_version
from posthouse.testing.crash_disk import CrashDisk

TMPFS = 0x01021994


def operations(disk: CrashDisk) -> list[str]:
    return [operation for operation, _ in disk.log]


def test_where_syncfs_is_trusted_it_is_followed_by_a_proof() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    barrier = Barrier(disk, root, (6, 1))
    assert barrier.trusted
    disk.log.clear()
    barrier.sync()
    assert operations(disk) == ["syncfs", "pwrite", "fsync"]
    barrier.sync()
    assert disk.pread(disk.open_file(NAME, root), 9, 0) == (2).to_bytes(8, "little")


@pytest.mark.parametrize(("fstype", "kernel"), [(TMPFS, (6, 1)), (0xEF53, (5, 7))])
def test_elsewhere_each_file_then_each_folder_is_synced(fstype: int, kernel: tuple[int, int]) -> None:
    disk = CrashDisk(fstype)
    root = disk.open_dir("/")
    barrier = Barrier(disk, root, kernel)
    assert not barrier.trusted
    fd = disk.create_excl("f", root)
    disk.log.clear()
    barrier.sync([fd], [root])
    assert operations(disk) == ["fsync", "fsync_dir"]


@pytest.mark.parametrize("operation", ["syncfs", "pwrite", "fsync"])
def test_any_step_that_fails_fails_the_barrier(operation: str) -> None:
    disk = CrashDisk()
    barrier = Barrier(disk, disk.open_dir("/"), (6, 1))
    disk.fault = lambda what, _name: OSError(errno.EIO, "I/O error") if what == operation else None
    with pytest.raises(OSError, match="I/O error"):
        barrier.sync()


def test_one_barrier_for_one_file_system() -> None:
    disk = CrashDisk()
    root = disk.open_dir("/")
    disk.mkdir("d", root)
    barriers = Barriers(disk, (6, 1))
    assert barriers.of(root) is barriers.of(disk.open_dir("d", root))
    barriers.close()


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.44", (6, 18)), ("5.8.0-generic", (5, 8)), ("5.10-rc1+", (5, 10)), ("strange", (0, 0)), ("6.x", (0, 0))],
)
def test_kernel_versions(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version
