"""Folders: made, subscribed, completed, refused; whatever stands there, the message is in the mailbox."""

import contextlib
from pathlib import Path
from typing import cast

import pytest

from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.mailbox.folder import open_folder, subscribe
from posthouse.store.mailbox.maildir import open_maildir
from posthouse.store.quota.limits import Limits
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Extreme
from support.store_world import World

BODY = b"Subject: x\r\n\r\nbody\r\n"


def root_of(world: World, owner: str = "bob") -> int:
    return world.disk.open_dir(owner, world.partition)


def put(disk: Disk, folder: int, name: str, octets: bytes = b"") -> None:
    fd = disk.create_excl(name, folder)
    disk.pwrite(fd, octets, 0)
    disk.close(fd)


def octets_of(disk: Disk, folder: int, name: str) -> bytes:
    fd = disk.open_file(name, folder)
    try:
        return disk.pread(fd, 1 << 16, 0)
    finally:
        disk.close(fd)


def begun(disk: CrashDisk | None = None) -> World:
    world = World(disk or CrashDisk())
    world.send(BODY, "<bob>")
    return world


@pytest.mark.parametrize("parts", [(), ("maildirfolder",), ("maildirfolder", "cur", "tmp"), ("cur", "dovecot.index.log")])
def test_a_folder_left_half_made_is_completed(parts: tuple[str, ...]) -> None:
    world = begun()
    disk, root = world.disk, root_of(world)
    disk.mkdir(".x", root)
    folder = disk.open_dir(".x", root)
    for part in parts:
        if part in {"cur", "new", "tmp"}:
            disk.mkdir(part, folder)
        else:
            put(disk, folder, part)
    world.send(BODY, "<bob+x> xdflg=1")
    assert [each.directory for each in world.accepted] == ["", ".x"]
    assert {"cur", "new", "tmp", "maildirfolder"} <= set(disk.listdir(folder))


def test_what_is_no_folder_for_mail_is_left_alone() -> None:
    disk = CrashDisk()
    world = begun(disk)
    root = root_of(world)
    put(disk, root, ".file")
    disk.mkdir(".foreign", root)
    put(disk, disk.open_dir(".foreign", root), "HEAD")
    for name in ("file", "foreign"):
        world.send(BODY, f"<bob+{name}> xdflg=1")
    assert [each.directory for each in world.accepted] == ["", "", ""]
    assert disk.listdir(disk.open_dir(".foreign", root)) == ["HEAD"]


def test_links_and_what_cannot_be_written_to_are_no_folders(tmp_path: Path) -> None:
    disk = cast("Disk", LinuxDisk())
    (tmp_path / "elsewhere" / "new").mkdir(parents=True)
    maildir = open_maildir(disk, disk.open_dir(str(tmp_path)), "bob", create=True)
    for name in ("good", "read", "link", "inside"):
        folder = open_folder(maildir, name, make=True)
        assert folder is not None
        folder.close()
    root = tmp_path / "bob"
    (root / ".read").chmod(0o500)
    (root / ".link").rename(root / "gone")
    (root / ".link").symlink_to(tmp_path / "elsewhere")
    (root / ".inside" / "new").rmdir()
    (root / ".inside" / "new").symlink_to(tmp_path / "elsewhere" / "new")
    opened = [open_folder(maildir, name, make=True) for name in ("good", "read", "link", "inside")]
    assert [folder is not None for folder in opened] == [True, False, False, False]
    assert sorted(root.glob(".*/maildirfolder"))
    assert list((tmp_path / "elsewhere").rglob("*")) == [tmp_path / "elsewhere" / "new"]


def test_a_disk_that_makes_no_folder_gives_the_inbox() -> None:
    disk = CrashDisk()
    world = begun(disk)
    disk.fault = lambda operation, name: OSError(28, "full") if operation == "mkdir" else None
    world.send(BODY, "<bob+x> xdflg=1")
    disk.fault = lambda operation, name: OSError(5, "io") if "subscriptions" in name else None
    world.send(BODY, "<bob+y> xdflg=1")
    assert [each.directory for each in world.accepted] == ["", "", ".y"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"a.b\n"), (b"x\n", b"x\na.b\n"), (b"x", b"x\na.b\n"), (b"a.b\n", b"a.b\n"), (b"V\t2\n\nx\n", b"V\t2\n\nx\na\tb\n"),
        (b"V\t2\n\na\tb\n", b"V\t2\n\na\tb\n"),
    ],
)  # fmt: skip
def test_subscriptions_keep_their_form(before: bytes, after: bytes) -> None:
    world = begun()
    root = root_of(world)
    put(world.disk, root, "subscriptions", before)
    subscribe(world.disk, root, "a.b")
    assert octets_of(world.disk, root, "subscriptions") == after
    assert "subscriptions.lock" not in world.disk.listdir(root)


def test_a_lock_somebody_left_does_not_hold_up_the_message() -> None:
    world = begun()
    root = root_of(world)
    put(world.disk, root, "subscriptions.lock")
    world.send(BODY, "<bob+x> xdflg=1")
    assert world.accepted[1].directory == ".x"
    assert octets_of(world.disk, root, "subscriptions") == b"x\n"
    assert "subscriptions.lock" in world.disk.listdir(root)


def test_a_folder_that_is_there_is_not_subscribed_again() -> None:
    world = begun()
    world.send(BODY, "<bob+x> xdflg=1")
    root = root_of(world)
    world.disk.unlink("subscriptions", root)  # the user has taken it off the list
    world.send(BODY, "<bob+x> xdflg=1")
    assert "subscriptions" not in world.disk.listdir(root)


def test_a_folder_with_the_name_of_a_lock_is_none_and_locks_nothing() -> None:
    world = begun()
    world.send(BODY, "<bob+admin-lock> xdflg=1", "<bob+lmtp-lock> xdflg=1")
    assert [each.directory for each in world.accepted] == ["", "", ""]
    world.disk.mkdir(".admin-lock", root_of(world))  # by IMAP CREATE
    world.send(BODY, "<bob>")
    assert world.refused == []


def _play(disk: CrashDisk) -> World:
    world = begun(disk)
    world.send(BODY, "<bob+a/b> xdflg=1")
    return world


@pytest.mark.parametrize("state", list(Extreme))
def test_a_cut_at_any_moment_leaves_a_folder_that_works_and_is_subscribed(state: Extreme) -> None:
    whole, first = CrashDisk(), CrashDisk()
    _play(whole)
    begun(first)
    for count in range(first.operations, whole.operations + 1):
        disk = CrashDisk()
        world: World | None = None
        disk.cut_at(count)
        with contextlib.suppress(PowerCut):
            world = _play(disk)
        disk.after = lambda _operation: None
        again = World(disk.survivor(state), number=2)
        again.send(BODY, "<bob+a/b> xdflg=1")
        assert again.accepted[0].directory == ".a.b", (count, state)
        assert len(again.messages("bob", ".a.b")) >= 1 + (world is not None)
        if state is not Extreme.NAMES_ONLY:
            assert b"a.b" in octets_of(again.disk, root_of(again), "subscriptions").split(b"\n"), (count, state)


def test_without_flagtransfer_the_relays_word_makes_no_folder_but_lets_mail_in_over_the_quota() -> None:
    world = World(CrashDisk(), defaults=Limits(-1, 1))
    world.delivery.settings = world.delivery.settings._replace(flag_transfer=False)
    world.send(BODY, "<bob+x> xdflg=1")
    world.send(BODY, "<bob+x> xdflg=3")
    assert [each.directory for each in world.accepted] == ["", ""]
    assert ".x" not in world.disk.listdir(root_of(world))
