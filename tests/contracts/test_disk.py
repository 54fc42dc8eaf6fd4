"""What every `posthouse.journal.Disk` does: the real one and the one in memory."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.testing.crash_disk import CrashDisk
from posthouse.testing.failing_disk import FailingDisk

Attempt = Callable[[], object]


@pytest.fixture(params=[LinuxDisk, CrashDisk, FailingDisk])
def disk(request: pytest.FixtureRequest) -> Disk:
    made: Disk = request.param()
    return made


@pytest.fixture
def root(disk: Disk, tmp_path: Path) -> int:
    return disk.open_dir("/" if isinstance(disk, CrashDisk) else str(tmp_path))


def test_what_is_written_is_read_at_once(disk: Disk, root: int) -> None:
    fd = disk.create_excl("f", root)
    assert disk.pwrite(fd, b"hello", 0) == 5
    assert disk.pwritev(fd, [b"a", bytearray(b"b"), memoryview(b"c")], 7) == 3
    assert disk.pread(fd, 100, 0) == b"hello\0\0abc"
    assert disk.pread(fd, 3, 1) == b"ell"
    assert disk.pread(fd, 3, 100) == b""
    disk.ftruncate(fd, 4)
    assert disk.pread(fd, 100, 0) == b"hell"
    disk.ftruncate(fd, 6)
    assert disk.pread(fd, 100, 0) == b"hell\0\0"
    disk.fdatasync(fd)
    disk.fsync(fd)
    other = disk.open_file("f", root)
    assert disk.pread(other, 100, 0) == b"hell\0\0"
    assert disk.fstat(other).size == 6
    disk.close(fd)
    disk.close(other)


def test_a_name_is_taken_once(disk: Disk, root: int) -> None:
    disk.create_excl("f", root)
    with pytest.raises(FileExistsError):
        disk.create_excl("f", root)
    disk.mkdir("d", root)
    with pytest.raises(FileExistsError):
        disk.mkdir("d", root)
    with pytest.raises(FileExistsError):
        disk.link("f", "d", root, root)
    assert sorted(disk.listdir(root)) == ["d", "f"]


def test_what_is_not_there_is_not_found(disk: Disk, root: int) -> None:
    attempts: list[Attempt] = [
        lambda: disk.open_file("x", root),
        lambda: disk.open_file("x", root, write=True),
        lambda: disk.open_dir("x", root),
        lambda: disk.unlink("x", root),
        lambda: disk.rmdir("x", root),
        lambda: disk.rename("x", "y", root, root),
        lambda: disk.link("x", "y", root, root),
    ]
    for attempt in attempts:
        with pytest.raises(FileNotFoundError):
            attempt()
    assert disk.stat("x", root) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_no_name_leads_out_of_the_folder(disk: Disk, root: int, name: str) -> None:
    attempts: list[Attempt] = [
        lambda: disk.create_excl(name, root),
        lambda: disk.open_file(name, root),
        lambda: disk.open_file(name, root, append=True),
        lambda: disk.open_dir(name, root),
        lambda: disk.mkdir(name, root),
        lambda: disk.stat(name, root),
        lambda: disk.folder_inode(name, root),
        lambda: disk.unlink(name, root),
        lambda: disk.rename(name, "x", root, root),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="one step"):
            attempt()


def test_rename_replaces_and_keeps_the_inode(disk: Disk, root: int) -> None:
    disk.mkdir("d", root)
    folder = disk.open_dir("d", root)
    fd = disk.create_excl("a", root)
    disk.create_excl("b", folder)
    disk.rename("a", "b", root, folder)
    there = disk.stat("b", folder)
    assert there
    assert there.inode == disk.fstat(fd).inode
    assert there.links == 1
    assert there.is_file
    assert not there.is_folder
    assert disk.listdir(root) == ["d"]


def test_a_folder_to_write_to_has_an_inode(disk: Disk, root: int) -> None:
    disk.mkdir("d", root)
    disk.create_excl("f", root)
    assert disk.folder_inode("d", root) == disk.fstat(disk.open_dir("d", root)).inode
    assert [disk.folder_inode(name, root) for name in ("f", "x")] == [0, 0]


def test_rename_between_two_names_of_one_file_changes_nothing(disk: Disk, root: int) -> None:
    disk.create_excl("a", root)
    disk.link("a", "b", root, root)
    disk.rename("a", "b", root, root)
    assert sorted(disk.listdir(root)) == ["a", "b"]


def test_links_are_names_of_one_file(disk: Disk, root: int) -> None:
    fd = disk.create_excl("a", root)
    disk.link("a", "b", root, root)
    disk.pwrite(fd, b"both", 0)
    other = disk.open_file("b", root)
    assert disk.pread(other, 10, 0) == b"both"
    assert disk.fstat(fd).links == 2
    disk.unlink("a", root)
    assert disk.fstat(fd).links == 1
    disk.unlink("b", root)
    assert disk.pread(fd, 10, 0) == b"both"
    assert disk.fstat(fd).links == 0


def test_append_goes_to_the_end_and_makes_the_file(disk: Disk, root: int) -> None:
    for part in (b"one ", b"two"):
        fd = disk.open_file("log", root, append=True)
        assert disk.write(fd, part) == len(part)
        disk.close(fd)
    fd = disk.open_file("log", root)
    assert disk.pread(fd, 100, 0) == b"one two"


def test_a_file_opened_to_read_and_append_is_not_made(disk: Disk, root: int) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open_file("log", root, write=True, append=True)
    assert disk.stat("log", root) is None
    disk.close(disk.open_file("log", root, append=True))
    fd = disk.open_file("log", root, write=True, append=True)
    assert [disk.write(fd, part) for part in (b"one ", b"two")] == [4, 3]
    assert disk.pread(fd, 100, 2) == b"e two"


def test_a_file_opened_to_read_is_not_written(disk: Disk, root: int) -> None:
    disk.create_excl("f", root)
    fd = disk.open_file("f", root)
    with pytest.raises(OSError, match=rf"\[Errno {errno.EBADF}\]"):
        disk.pwrite(fd, b"x", 0)


def test_folders(disk: Disk, root: int) -> None:
    disk.mkdir("d", root)
    folder = disk.open_dir("d", root)
    disk.create_excl("f", folder)
    disk.fsync_dir(folder)
    disk.fsync_dir(root)
    with pytest.raises(OSError, match=rf"\[Errno {errno.ENOTEMPTY}\]"):
        disk.rmdir("d", root)
    with pytest.raises(NotADirectoryError):
        disk.open_dir("f", folder)
    with pytest.raises(NotADirectoryError):
        disk.rmdir("f", folder)
    with pytest.raises(IsADirectoryError):
        disk.open_file("d", root, write=True)
    with pytest.raises(IsADirectoryError):
        disk.unlink("d", root)
    disk.unlink("f", folder)
    disk.rmdir("d", root)
    assert disk.listdir(root) == []


def test_one_holder_of_a_lock(disk: Disk, root: int) -> None:
    first = disk.create_excl("f", root)
    second = disk.open_file("f", root)
    assert disk.flock(first)
    assert disk.flock(first)
    assert not disk.flock(second)
    disk.unlock(second)
    assert not disk.flock(second)
    disk.unlock(first)
    assert disk.flock(second)
    assert not disk.flock(first)
    disk.close(second)
    assert disk.flock(first)


def test_syncfs_and_type(disk: Disk, root: int) -> None:
    disk.create_excl("f", root)
    assert disk.fstype(root) > 0
    disk.syncfs(root)


def test_links_are_not_followed(tmp_path: Path) -> None:
    disk = LinuxDisk()
    root = disk.open_dir(str(tmp_path))
    (tmp_path / "target").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "way").symlink_to("folder")
    with pytest.raises(OSError, match=rf"\[Errno {errno.ELOOP}\]"):
        disk.open_file("link", root)
    with pytest.raises(OSError, match=rf"\[Errno {errno.ENOTDIR}\]"):
        disk.open_dir("way", root)
    assert disk.folder_inode("way", root) == 0
    found = disk.stat("link", root)
    assert found
    assert not found.is_file


def test_a_read_only_folder_counts_as_none(tmp_path: Path) -> None:
    disk = LinuxDisk()
    (tmp_path / "read").mkdir(mode=0o500)
    assert disk.folder_inode("read", disk.open_dir(str(tmp_path))) == 0


def test_exchanged_names_mean_each_other_s(disk: Disk, root: int) -> None:
    disk.mkdir("d", root)
    folder, fd = disk.open_dir("d", root), disk.create_excl("f", root)
    disk.exchange("d", "f", root)
    named = [disk.stat(name, root) for name in ("d", "f")]
    assert [each.inode for each in named if each] == [disk.fstat(fd).inode, disk.fstat(folder).inode]
    with pytest.raises(FileNotFoundError):
        disk.exchange("d", "x", root)
    assert sorted(disk.listdir(root)) == ["d", "f"]


def test_a_file_open_to_write_is_known(disk: Disk, root: int) -> None:
    writing = disk.create_excl("f", root)
    disk.set_mtime(writing, 1_700_000_000_123_456_789)
    reading = disk.open_file("f", root)
    assert not disk.lease(reading)
    disk.close(writing)
    assert disk.lease(reading)
    assert disk.fstat(reading).mtime_ns == 1_700_000_000_123_456_789
