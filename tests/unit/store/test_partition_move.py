"""A mailbox goes to another partition: cut after every operation it is whole at one place, and a second try completes it."""

import os
import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import cast

import pytest

from posthouse.journal.barrier import Barriers
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.lock import Pace
from posthouse.store.administration.mailboxes import MARK, Mailbox, Mailboxes
from posthouse.store.administration.mirror import Mirror, Unmovable
from posthouse.store.administration.partition_move import Way, finish_moves, move
from posthouse.store.administration.removal import MailboxExistsError, finish_removals, remove, rename
from posthouse.store.delivery.account import Account
from posthouse.store.mailbox.errors import MailboxBadFormat, MailboxLocked
from posthouse.store.mailbox.maildir import open_maildir
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Extreme
from posthouse.testing.failing_disk import FailingDisk, disk_full
from support.store_world import KERNEL, World
from unit.store.test_partitions import with_partitions

BODY = b"Subject: x\r\n\r\nbody\r\n"
UNIQUE = count()
Names = dict[str, bytes]


def quiet(_: object) -> None:
    """Nobody looks."""


def moved(mailboxes: Mailboxes, owner: str, target: str, pace: Pace, waiting: Callable[[str], None] = quiet) -> None:
    """Move it from where it stands."""
    found, disk = mailboxes.find(owner), mailboxes.disk
    assert found is not None
    there = mailboxes.descriptor(target)
    barrier = Barriers(disk, KERNEL).of(there)
    move(
        Way(mailboxes, owner, mailboxes.descriptor(found.partition), there, f"u{next(UNIQUE)}", barrier, pace), quiet, waiting
    )


def messages(disk: Disk, root: int) -> Names:
    """Path to octets of all messages below a root."""
    found: Names = {}
    for name in disk.listdir(root):
        there = disk.stat(name, root)
        if there is not None and there.is_folder and name != "tmp":
            fd = disk.open_dir(name, root)
            found |= {f"{name}/{each}": octets for each, octets in messages(disk, fd).items()}
            disk.close(fd)
        elif there is not None and name.startswith("1"):
            fd = disk.open_file(name, root)
            found[name] = disk.pread(fd, 1 << 20, 0)
            disk.close(fd)
    return found


def everywhere(mailboxes: Mailboxes) -> dict[Mailbox, Names]:
    found = {}
    for mailbox in mailboxes.all():
        root = mailboxes.open_root(mailbox)
        found[mailbox] = messages(mailboxes.disk, root)
        mailboxes.disk.close(root)
    return found


# --- every step, cut --------------------------------------------------------------------------------------------


def play(disk: CrashDisk, accepted: Names, back: list[int]) -> None:
    """Mail, a move while the journal still has it, mail, the move back, mail."""
    world = World(disk)
    world.send(BODY, "<bob> xquota=9000,90", "<ann>")
    world.send(BODY + b"in a folder\r\n", "<bob+Work> xdflg=1")
    take(world, accepted)
    mailboxes = Mailboxes(disk, "/data")
    pace = Pace(world.clock.now, lambda _seconds: quiet(world.checkpoints.step()))
    back.append(disk.operations)
    for number, target in enumerate(("second", "primary")):
        if number:  # the journal is at rest, so no checkpoint helps
            world.checkpoints.step()
        moved(mailboxes, "bob", target, pace)
        world.send(BODY + b"later %d\r\n" % number, "<bob>")
        take(world, accepted)
    assert world.stop()


def take(world: World, accepted: Names) -> None:
    for each in world.accepted:
        if each.owner == "bob":
            accepted[f"{each.directory}/new/{each.base}".removeprefix("/")] = each.octets


def cut_at(operation: int) -> tuple[CrashDisk, Names]:
    disk = with_partitions(CrashDisk(), "second")
    assert isinstance(disk, CrashDisk)
    disk.cut_at(operation)
    accepted: Names = {}
    with pytest.raises(PowerCut):
        play(disk, accepted, [])
    return disk, accepted


def recovered(disk: CrashDisk, accepted: Names, what: object) -> None:
    """What a start and `check` make of it; then the mailbox is moved once more."""
    world = World(disk, number=2)
    world.send(BODY + b"before check\r\n", "<bob>")
    accepted = accepted | {f"new/{each.base}": each.octets for each in world.accepted}
    world.accepted.clear()
    mailboxes = Mailboxes(disk, "/data")
    for _ in (*finish_moves(mailboxes, "v", repair=True), *finish_removals(mailboxes, repair=True)):
        pass
    found = {mailbox: names for mailbox, names in everywhere(mailboxes).items() if mailbox.owner == "bob"}
    assert len(found) == 1, (what, found)
    ((mailbox, names),) = found.items()
    assert {path: names.get(path) for path in accepted} == accepted, what
    assert len(set(names.values())) == len(names) <= len(accepted) + 1, what
    other = "second" if mailbox.partition == "primary" else "primary"
    moved(mailboxes, "bob", other, Pace(world.clock.now, lambda _seconds: quiet(world.checkpoints.step())))
    world.send(BODY + b"last\r\n", "<bob>")
    assert [each.owner for each in world.accepted] == ["bob"], (what, world.refused)
    found = {mailbox: names for mailbox, names in everywhere(mailboxes).items() if mailbox.owner == "bob"}
    assert [each.partition for each in found] == [other], what
    assert len(found[Mailbox(other, "bob")]) == len(names) + 1, what
    left = {name for part in mailboxes.partitions for name in disk.listdir(mailboxes.descriptor(part))}
    assert left <= {"ann", "bob", ".barrier"}, what


def test_a_replay_finds_a_mailbox_that_was_moved_by_hand() -> None:
    disk = with_partitions(CrashDisk(), "second")
    world = World(disk)
    world.send(BODY, "<bob>")
    world.disk.rename("bob", "bob", world.partition, disk.open_dir("second", world.store))
    disk.syncfs(world.store)
    assert isinstance(disk, CrashDisk)
    again = World(disk.survivor(Extreme.LEAST), number=2)
    assert again.recovered == (1, 0)
    ((mailbox, names),) = everywhere(Mailboxes(again.disk, "/data")).items()
    assert (mailbox.partition, list(names.values())) == ("second", [world.accepted[0].octets])


def test_a_partition_made_meanwhile_is_found_at_once() -> None:
    disk = with_partitions(CrashDisk())
    world = World(disk)
    world.send(BODY, "<bob>")
    world.checkpoints.step()
    disk.mkdir("second", world.store)
    moved(Mailboxes(disk, "/data"), "bob", "second", Pace(world.clock.now, quiet))
    world.send(BODY, "<bob>")
    assert [each.owner for each in world.accepted] == ["bob", "bob"], world.refused


def test_another_mailbox_made_there_meanwhile_does_not_count_as_the_copy(tmp_path: Path) -> None:
    (tmp_path / "store" / "second" / "ann" / "cur").mkdir(parents=True)
    mailboxes = filled(cast("Disk", LinuxDisk()), tmp_path)
    primary = tmp_path / "store" / "primary"
    (primary / "ann").rename(primary / ".moved-ann")
    (primary / "ann").write_bytes(MARK + b"1\n")
    assert list(finish_moves(mailboxes, "v", repair=True)) == [("primary/.moved-ann", "")]
    assert (primary / "ann" / "cur" / "1.a,S=3:2,FSa").is_file()
    assert not (primary / ".moved-ann").exists()


def test_cut_after_every_operation_it_is_whole_at_one_place() -> None:
    whole = with_partitions(CrashDisk(), "second")
    assert isinstance(whole, CrashDisk)
    first: list[int] = []
    play(whole, {}, first)
    for at in range(first[0] + 1, whole.operations):
        disk, accepted = cut_at(at)
        for choose in (Extreme.LEAST, Extreme.NAMES_ONLY, Extreme.OCTETS_ONLY, random.Random(at), random.Random(-at)):
            recovered(disk.survivor(choose), accepted, (at, choose))
        recovered(disk.killed(), accepted, (at, "killed"))


# --- on the real disk -------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "store" / "second").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def mailboxes(data: Path) -> Iterator[Mailboxes]:
    opened = filled(cast("Disk", LinuxDisk()), data)
    yield opened
    opened.close()


def filled(disk: Disk, data: Path) -> Mailboxes:
    """A mailbox of ann's with all kinds of things in it."""
    mailboxes = Mailboxes(disk, str(data))
    primary = mailboxes.descriptor("primary")
    open_maildir(disk, primary, "ann", create=True).close()
    root = data / "store" / "primary" / "ann"
    for place in (".Work/cur", ".Work/new", ".Work/tmp", ".Work.2026/cur", "sieve/tmp"):
        (root / place).mkdir(parents=True)
    for name in (".lmtp-lock", "maildirsize", "dovecot-uidlist", ".Work/dovecot.index.log", "sieve/tmp/script"):
        (root / name).write_text(name)
    (root / "cur" / "1.a,S=3:2,FSa").write_text("one")
    os.link(root / "cur" / "1.a,S=3:2,FSa", root / ".Work" / "cur" / "1.a,S=3:2,S")
    for number, name in enumerate(("cur/1.a,S=3:2,FSa", "dovecot-uidlist")):
        os.utime(root / name, ns=(10**18 + number, 10**18 + number))
    for name in ("tmp/1.b", ".Work/tmp/1.c", "dovecot-uidlist.lock"):
        (root / name).write_text("left behind")
    return mailboxes


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Path to text and time of every file; what a retired lock leaves does not count."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lmtp-lock"]
    return {str(path.relative_to(root)): (path.read_text(), path.stat().st_mtime_ns) for path in files}


class Time:
    """Passes when somebody waits; `each` is called then."""

    def __init__(self, each: Callable[[float], None] = quiet) -> None:
        self.now = 1_700_000_000.0
        self._each = each

    @property
    def pace(self) -> Pace:
        return Pace(lambda: self.now, self._pause)

    def _pause(self, seconds: float) -> None:
        self.now += seconds
        self._each(self.now)


def test_everything_goes_along_but_what_is_under_way(mailboxes: Mailboxes, data: Path) -> None:
    old, new = data / "store" / "primary" / "ann", data / "store" / "second" / "ann"
    before = tree(old)
    moved(mailboxes, "ann", "second", Time().pace)
    stay = {"tmp/1.b", ".Work/tmp/1.c", "dovecot-uidlist.lock"}
    assert tree(new) == {name: each for name, each in before.items() if name not in stay}
    assert (new / ".lmtp-lock").read_text() == ".lmtp-lock"
    assert (new / "cur" / "1.a,S=3:2,FSa").samefile(new / ".Work" / "cur" / "1.a,S=3:2,S")
    assert (new / ".Work.2026" / "cur").is_dir()
    assert old.read_bytes().startswith(MARK)
    assert sorted(path.name for path in old.parent.iterdir()) == ["ann"]
    assert list(mailboxes.all()) == [Mailbox("second", "ann")]
    assert list(mailboxes.foreign()) == []
    assert list(finish_moves(mailboxes, "v", repair=False)) == []
    moved(mailboxes, "ann", "primary", Time().pace)
    assert [path.name for path in new.parent.iterdir() if path.name != ".barrier"] == ["ann"]
    assert new.read_bytes().startswith(MARK)
    assert old.is_dir()


@pytest.mark.parametrize("place", ["link", "cur/link", ".Work/new/link"])
def test_what_cannot_be_carried_keeps_the_mailbox_where_it_is(mailboxes: Mailboxes, data: Path, place: str) -> None:
    root = data / "store" / "primary" / "ann"
    (root / place).symlink_to("/etc/passwd")
    before = tree(data / "store" / "primary")
    with pytest.raises(Unmovable, match=place):
        moved(mailboxes, "ann", "second", Time().pace)
    assert tree(data / "store" / "primary") == before
    assert root.is_dir()


def test_a_disk_that_is_full_anywhere_on_the_way_changes_nothing(data: Path) -> None:
    disk, done = FailingDisk(), 0
    mailboxes = filled(disk, data)
    before = tree(data / "store" / "primary")
    for number in count():
        counted = count()

        def fault(operation: str, name: str, counted: Iterator[int] = counted, number: int = number) -> OSError | None:
            error = disk_full(operation, name)
            return error if error is not None and next(counted) >= number else None

        disk.fault = fault
        try:
            moved(mailboxes, "ann", "second", Time().pace)
        except OSError:
            disk.fault = None
            assert tree(data / "store" / "primary") == before, number
            assert [path.name for path in (data / "store" / "second").iterdir() if path.name != ".barrier"] == [], number
            done += 1
        else:
            break
    assert done > 20


def test_while_a_session_has_it_open_it_stays(mailboxes: Mailboxes, data: Path) -> None:
    store = data / "store"
    told: list[str] = []
    with (store / "primary/ann/.Work/dovecot.index.log").open("a") as session:
        before = tree(store / "primary")
        with pytest.raises(MailboxLocked, match=r"\.Work/dovecot.index.log"):
            moved(mailboxes, "ann", "second", Time().pace, told.append)
        assert told == [".Work/dovecot.index.log"]
        assert tree(store / "primary") == before
        assert not (store / "second" / ".moving-ann").exists()

        def kicked(_: float) -> None:
            assert (store / "primary" / "ann").is_dir(), "a command that is under way goes well"
            session.write("the last change")
            session.close()

        moved(mailboxes, "ann", "second", Time(kicked).pace)
    assert (store / "second/ann/.Work/dovecot.index.log").read_text().endswith("the last change")


def test_changes_made_during_the_copying_are_carried(mailboxes: Mailboxes, data: Path) -> None:
    root, copy = data / "store" / "primary" / "ann", data / "copy"
    copy.mkdir()
    disk = mailboxes.disk
    mirror = Mirror(disk, disk.open_dir(str(copy)))
    source = disk.open_dir(str(root))
    assert list(mirror.messages(source))
    (root / "cur" / "1.a,S=3:2,FSa").rename(root / ".Work" / "new" / "1.a,S=3")
    (root / ".Work" / "cur" / "1.a,S=3:2,S").unlink()
    (root / "new" / "2.b").write_text("two")
    (root / "subscriptions").write_text("Work\n")
    (root / ".Work.2026" / "cur").rmdir()
    (root / ".Work.2026").rmdir()
    assert mirror.everything(source)
    assert not mirror.everything(source)
    stay = {"tmp/1.b", ".Work/tmp/1.c", "dovecot-uidlist.lock"}
    assert tree(copy) == {name: each for name, each in tree(root).items() if name not in stay}
    assert not (copy / ".Work.2026").exists()


def test_a_delivery_that_looked_before_does_not_deliver_after(mailboxes: Mailboxes) -> None:
    time = Time()
    (mailboxes.disk.unlink("maildirsize", mailboxes.open_root(Mailbox("primary", "ann"))))
    delivery = Account(mailboxes.disk, open_maildir(mailboxes.disk, mailboxes.descriptor("primary"), "ann", create=False))
    delivery.enter(time.now)
    delivery.leave()
    moved(mailboxes, "ann", "second", time.pace)
    with pytest.raises(MailboxLocked):
        delivery.enter(time.now)
    assert not delivery.maildir.still_there(time.now)
    with pytest.raises(MailboxBadFormat):
        open_maildir(mailboxes.disk, mailboxes.descriptor("primary"), "ann", create=True)


def test_mail_in_the_moment_of_the_exchange_is_told_that_the_mailbox_is_locked() -> None:
    disk = with_partitions(CrashDisk(), "second")
    assert isinstance(disk, CrashDisk)
    world = World(disk)
    world.send(BODY, "<bob>")
    mailboxes, told = Mailboxes(disk, "/data"), []

    def deliver(operation: str) -> None:
        if operation == "exchange":
            disk.after = quiet
            world.send(BODY, "<bob>")
            told.append([type(fault) for fault in world.refused])

    disk.after = deliver
    moved(mailboxes, "bob", "second", Pace(world.clock.now, lambda _seconds: quiet(world.checkpoints.step())))
    assert told == [[MailboxLocked]]
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 2
    (root,) = [mailboxes.open_root(each) for each in mailboxes.all()]
    assert len(messages(disk, root)) == 2


@pytest.mark.parametrize("how", ["rename", "delete"])
def test_the_mark_goes_with_the_mailbox(mailboxes: Mailboxes, data: Path, how: str) -> None:
    time = Time()
    moved(mailboxes, "ann", "second", time.pace)
    mailbox = Mailbox("second", "ann")
    if how == "rename":
        rename(mailboxes, mailbox, "bob", time.pace, "unique")
    else:
        remove(mailboxes, mailbox, time.pace, "unique")
    assert list((data / "store" / "primary").iterdir()) == []


def test_two_at_once_and_two_mailboxes(mailboxes: Mailboxes, data: Path) -> None:
    copy = data / "store" / "second" / ".moving-ann"
    copy.mkdir()
    disk = mailboxes.disk
    fd = disk.create_excl(".lmtp-lock", disk.open_dir(str(copy)))
    assert disk.flock(fd)
    with pytest.raises(MailboxLocked, match="another command"):
        moved(mailboxes, "ann", "second", Time().pace)
    assert list(finish_moves(mailboxes, "v", repair=True)) == []
    disk.close(fd)
    (data / "store" / "second" / "ann" / "cur").mkdir(parents=True)
    with pytest.raises(MailboxExistsError):
        moved(mailboxes, "ann", "second", Time().pace)
    assert not copy.exists()


def test_a_mark_without_a_mailbox_is_told_and_left(mailboxes: Mailboxes, data: Path) -> None:
    moved(mailboxes, "ann", "second", Time().pace)
    (data / "store" / "second" / "ann").rename(data / "elsewhere")
    ((path, reason),) = finish_moves(mailboxes, "v", repair=True)
    assert (path, "is in none now" in reason) == ("primary/ann", True)
    assert (data / "store" / "primary" / "ann").is_file()
