"""Power loss and sudden death of the native service: cut after every operation, take back what was broken off, look.

What was answered 250 is in the mailbox, whole, in order; of what was not answered either everything or nothing is there, and
nothing torn. Recovering twice, or being cut while recovering, changes nothing. After a kill no lock is left behind.
"""

import contextlib
import random
import zlib

import pytest

from posthouse.store.native.append import Appender, Entry, Mailbox
from posthouse.store.native.locks import LockFile
from posthouse.store.native.notes import Note, Notes, adopt
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Choose, Extreme

BEFORE = b"From old  Mon\n\n" + b"kept\n" * 1000 + b"\n"
ENTRIES = [b"From s%d  Mon\n\n" % number + (b"line %d\n" % number) * 700 + b"\n" for number in range(4)]
OWNER = 0


def lock(_fd: int) -> bool:
    return True


def prepare(disk: CrashDisk) -> tuple[int, int]:
    root = disk.open_dir("/")
    for name in ("spool", "notes"):
        disk.mkdir(name, root)
    disk.fsync_dir(root)
    spool, notes = disk.open_dir("spool", root), disk.open_dir("notes", root)
    fd = disk.create_excl("jdoe", spool)
    disk.pwrite(fd, BEFORE, 0)
    disk.fsync(fd)
    disk.fsync_dir(spool)
    disk.close(fd)
    return spool, notes


def play(disk: CrashDisk, spool: int, folder: int, answered: list[bytes], appender: type[Appender] = Appender) -> None:
    """Entries into an old mailbox and a new one."""
    notes = Notes(disk, folder)
    work = appender(disk, notes, lock)
    for number, octets in enumerate(ENTRIES):
        name = "jdoe" if number % 2 else "anna"
        slot = notes.take()
        work.append(Mailbox(spool, "/spool", name, OWNER), Entry(len(octets), zlib.crc32(octets), octets[:64], octets), slot)
        notes.give_back(slot, lock)
        answered.append(octets)
    notes.close()


def recovered(disk: CrashDisk) -> dict[str, bytes]:
    root = disk.open_dir("/")
    assert adopt(disk, disk.open_dir("notes", root), lock) == 0
    return boxes(disk)


def waiting(disk: CrashDisk) -> int:
    return adopt(disk, disk.open_dir("notes", disk.open_dir("/")), lock)


def unlock(disk: CrashDisk) -> None:
    spool = disk.open_dir("spool", disk.open_dir("/"))
    for name in disk.listdir(spool):
        if name.endswith(".lock"):
            disk.unlink(name, spool)


def boxes(disk: CrashDisk) -> dict[str, bytes]:
    spool = disk.open_dir("spool", disk.open_dir("/"))
    found = {}
    for name in disk.listdir(spool):
        if not name.startswith(".lk"):
            fd = disk.open_file(name, spool)
            found[name] = disk.pread(fd, 1 << 20, 0)
    return found


def check(found: dict[str, bytes], answered: list[bytes]) -> None:
    legal = {"jdoe": [BEFORE], "anna": [b""]}
    for number, octets in enumerate(ENTRIES[: len(answered) + 1]):
        states = legal["jdoe" if number % 2 else "anna"]
        if number < len(answered):
            states[:] = [states[-1] + octets]
        else:
            states.append(states[-1] + octets)
    assert found["jdoe"] in legal["jdoe"]
    assert found.get("anna", b"") in legal["anna"]
    assert "anna" in found or not answered


def cuts(appender: type[Appender] = Appender) -> int:
    """Cut after each operation; returns how many there are."""
    disk = CrashDisk()
    play(disk, *prepare(disk), [], appender)
    chances = random.Random(7)
    choices: list[Choose] = [*Extreme, *(random.Random(seed) for seed in range(6))]
    first = CrashDisk()
    prepare(first)
    for number in range(first.operations + 1, disk.operations + 1):
        story = CrashDisk()
        spool, notes = prepare(story)
        answered: list[bytes] = []
        story.cut_at(number)
        with contextlib.suppress(PowerCut):
            play(story, spool, notes, answered, appender)
        story.after = lambda _operation: None
        after = recovered(story.killed())
        check(after, answered)
        assert not [name for name in after if name.endswith(".lock")]
        for choose in choices:
            left = story.survivor(choose)
            again = CrashDisk.killed(left)
            if waiting(left):  # the name of an older lock has survived: stale in ten minutes
                unlock(left)
            check(recovered(left), answered)
            half = chances.randrange(1, 8)
            again.cut_at(half)
            try:
                waiting(again)
            except PowerCut:
                again.after = lambda _operation: None
                again = again.survivor(choose)
            again.after = lambda _operation: None
            if waiting(again):  # cut while it held the lock itself: stale in ten minutes, and tried again each minute
                unlock(again)
            check(recovered(again), answered)
    return disk.operations


def test_nothing_answered_is_lost_and_nothing_is_torn_wherever_it_ends() -> None:
    assert cuts() > 60


class WithoutNotes(Appender):
    """A mutant: octets are appended before the note is durable."""

    def __init__(self, disk: CrashDisk, notes: Notes, lock: object) -> None:
        super().__init__(disk, _Silent(notes), globals()["lock"])  # type: ignore[arg-type]


class _Silent:
    def __init__(self, notes: Notes) -> None:
        self.intend = notes.intend

    def write(self, _slot: int, _note: Note) -> None:
        return


class WithoutSync(Appender):
    """A mutant: answers before the entry is synced."""

    def __init__(self, disk: CrashDisk, notes: Notes, lock: object) -> None:
        super().__init__(_Unsynced(disk), notes, globals()["lock"])  # type: ignore[arg-type]


class _Unsynced:
    def __init__(self, disk: CrashDisk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> object:
        return (lambda _fd: None) if name in {"fsync", "fsync_dir"} else getattr(self._disk, name)


@pytest.mark.parametrize("mutant", [WithoutNotes, WithoutSync])
def test_a_mutant_is_caught(mutant: type[Appender]) -> None:
    with pytest.raises(AssertionError):
        cuts(mutant)


def test_a_mailbox_somebody_else_has_written_to_is_left_alone() -> None:
    """The reader deleted mail, or another program appended, before the note was found."""
    longer = BEFORE + b"From x  Mon\n\n" + b"y\n" * 3000 + b"\n"
    for octets in (b"From other  Mon\n\nshort\n\n", longer, BEFORE[:-1] + b"From n  M\n\n\n"):
        disk = CrashDisk()
        spool, folder = prepare(disk)
        notes = Notes(disk, folder)
        found = disk.stat("jdoe", spool)
        assert found is not None
        entry = ENTRIES[0]
        start, head = len(BEFORE), entry[:64].decode("latin-1")
        sizes = (start, start + len(entry), start)
        note = Note("/spool", "jdoe", LockFile(0, 0, ".lk"), found.device, found.inode, *sizes, zlib.crc32(entry), head)
        notes.write(notes.take(), note)
        fd = disk.open_file("jdoe", spool, write=True)
        disk.ftruncate(fd, 0)
        disk.pwrite(fd, octets, 0)
        assert recovered(disk.killed())["jdoe"] == octets

