"""Power loss of a store, on a disk in memory: cut after every operation, find a legal state, recover, look (DURABILITY 4, 7).

What was answered 250 must be there, octet for octet, once for each recipient; nothing torn or foreign may be in `new/` or
`cur/` after recovery; recovering twice, or being cut while recovering, changes nothing. Each mutant of DURABILITY 7 that
concerns the store is caught.
"""

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from posthouse.journal.commit import Completion
from posthouse.store.delivery.checkpoint import Checkpoint, Position
from posthouse.store.delivery.delivery import Delivery
from posthouse.store.delivery.record import Place
from posthouse.store.delivery.recovery import Leftovers
from posthouse.store.delivery.replay import Replay
from posthouse.store.delivery.transaction import Part
from posthouse.store.mailbox.maildir import Maildir
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Choose, Extreme
from support.store_world import Accepted, QuickWorld, World

BODY = b"Subject: %d\r\n\r\n" + b"0123456789abcdef" * 300 + b"\r\n"


@dataclass
class Story:
    """What happened until the power was cut."""

    disk: CrashDisk
    accepted: list[Accepted] = field(default_factory=list)
    deleted: set[tuple[str, str]] = field(default_factory=set)
    sent: set[bytes] = field(default_factory=set)


def play(story: Story, kind: type[World]) -> None:
    """Deliveries in batches, several recipients and folders, an IMAP server that moves and deletes, checkpoints, a second run."""
    world = kind(story.disk)
    world.accepted = story.accepted
    number = 0

    def send(*recipients: str) -> None:
        nonlocal number
        number += 1
        body = BODY % number
        story.sent.add(b"Return-Path: <s@example.org>\n" + body.replace(b"\r\n", b"\n"))
        world.deliver(body, *recipients)

    send("<bob>")
    send("<bob>", "<sue>")
    world.commit()
    send("<bob+Lists> xdflg=1", "<tim>")
    world.commit()
    imap(story, world, "bob", move_to=".Lists")
    assert world.checkpoints.step()
    send("<sue>", "<tim>")
    send("<sue>")
    world.commit()
    imap(story, world, "sue", move_to=None)
    assert world.checkpoints.step()
    for _ in range(4):
        for _ in range(10):
            send("<bob>", "<kim>")
        world.commit()
    assert world.checkpoints.step()
    send("<kim>")
    world.commit()
    assert world.stop()


def imap(story: Story, world: World, owner: str, move_to: str | None) -> None:
    """Read the first new message: to `cur` of another folder, or away with it. Nothing of that is synced."""
    disk = story.disk
    root = disk.open_dir(owner, world.partition)
    new = disk.open_dir("new", root)
    name = min(disk.listdir(new))
    if move_to is None:
        story.deleted.add((owner, name))
        disk.unlink(name, new)
    else:
        folder = disk.open_dir(move_to, root)
        disk.rename(name, name + ":2,S", new, disk.open_dir("cur", folder))


def examine(story: Story, world: World) -> list[str]:
    """What is wrong after recovery."""
    found = world.everything()
    faults = [f"{key} is torn or foreign" for key, octets in found.items() if octets not in story.sent]
    for each in story.accepted:
        key = (each.owner, each.base)
        if found.get(key) != each.octets and key not in story.deleted:
            faults.append(f"{key} was answered 250 and is {'lost' if key not in found else 'damaged'}")
    return faults


def operations(kind: type[World]) -> int:
    story = Story(CrashDisk())
    play(story, kind)
    return story.disk.operations


def cut_at(count: int, kind: type[World]) -> Story:
    """Play until the operation with this number is done."""
    story = Story(CrashDisk())

    def after(_operation: str) -> None:
        if story.disk.operations >= count:
            story.disk.cut()
            raise PowerCut

    story.disk.after = after
    with contextlib.suppress(PowerCut):
        play(story, kind)
    story.disk.after = lambda _operation: None
    return story


def choices(seed: int, samples: int) -> list[Choose]:
    return [*Extreme, *(random.Random(seed * 1000 + sample) for sample in range(samples))]


def run(kind: type[World], counts: Sequence[int], samples: int, *, recover_with: type[World] | None = None) -> list[str]:
    """Cut at each of these operations; everything that was wrong."""
    faults = []
    for count in counts:
        story = cut_at(count, kind)
        for choose in choices(count, samples):
            disk = story.disk.survivor(choose)
            faults += [f"cut {count} {choose}: {fault}" for fault in examine(story, (recover_with or kind)(disk, number=2))]
    return faults


def test_nothing_that_was_answered_is_lost_wherever_the_power_is_cut() -> None:
    last = operations(World)
    counts = [*range(1, 90), *range(90, last + 1, 3)]
    assert run(World, counts, samples=2) == []


def test_nothing_is_lost_where_the_batch_is_made_durable_at_once() -> None:
    assert run(QuickWorld, range(1, operations(QuickWorld), 2), samples=1) == []


def test_recovery_may_be_cut_anywhere_and_run_again() -> None:
    last = operations(World)
    for count in range(20, last, 41):
        story = cut_at(count, World)
        disk = story.disk.survivor(random.Random(count))
        steps = _count_recovery(disk.survivor(Extreme.MOST))
        for step in range(1, steps + 1, 9):
            half = disk.survivor(Extreme.MOST)
            _cut_recovery(half, step)
            for choose in (Extreme.LEAST, Extreme.NAMES_ONLY, random.Random(step)):
                again = World(half.survivor(choose), number=3)
                assert examine(story, again) == []
                once = again.everything()
                assert World(half.survivor(choose), number=4).everything() == once


def _count_recovery(disk: CrashDisk) -> int:
    World(disk, number=2)
    return disk.operations


def _cut_recovery(disk: CrashDisk, step: int) -> None:
    def after(_operation: str) -> None:
        if disk.operations >= step:
            disk.cut()
            raise PowerCut

    disk.after = after
    with pytest.raises(PowerCut):
        World(disk, number=2)
    disk.after = lambda _operation: None


def test_replaying_twice_adds_nothing() -> None:
    story = cut_at(70, World)
    disk = story.disk.survivor(Extreme.LEAST)
    first = World(disk, number=2).everything()
    assert World(disk.survivor(Extreme.MOST), number=3).everything() == first


def test_without_a_trusted_barrier_every_message_is_synced_by_itself() -> None:
    for count in range(1, 400, 2):
        story = Story(CrashDisk(fstype=0x01021994))

        def after(_operation: str, story: Story = story, count: int = count) -> None:
            if story.disk.operations >= count:
                story.disk.cut()
                raise PowerCut

        story.disk.after = after
        try:
            world = World(story.disk)
            world.accepted = story.accepted
            for number in range(6):
                body = BODY % number
                story.sent.add(b"Return-Path: <s@example.org>\n" + body.replace(b"\r\n", b"\n"))
                world.send(body, "<bob>", "<sue>", "<bob+Lists> xdflg=1")
        except PowerCut:
            pass
        else:
            assert len(story.accepted) == 18
        story.disk.after = lambda _operation: None
        for choose in choices(count, 1):
            again = World(story.disk.survivor(choose), number=2)
            found = again.everything()
            for each in story.accepted:
                assert found.get((each.owner, each.base)) == each.octets, (count, choose)


def test_mail_that_cannot_be_put_back_keeps_its_segment_and_nobody_elses_mail_comes_twice() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY % 1, "<bob>", "<sue>")
    found = disk.survivor(Extreme.LEAST)
    partition = found.open_dir("/data/store/primary")
    found.close(found.create_excl("bob", partition))  # no mailbox can be there
    opened = World(found, number=2)
    assert opened.recovered == (0, 1)
    assert opened.refusing is None
    sue = found.open_dir("new", found.open_dir("sue", partition))
    found.unlink(found.listdir(sue)[0], sue)  # read and deleted
    assert opened.leftovers.adopt() == (0, 1)
    found.unlink("bob", partition)
    assert opened.leftovers.adopt() == (1, 0)
    assert [owner for owner, _ in opened.everything()] == ["bob"]
    assert World(found, number=3).everything() == opened.everything()


def test_a_dead_workers_segment_is_adopted_without_bringing_back_what_was_deleted() -> None:
    disk = CrashDisk()
    living = World(disk, number=1)
    dying = World(disk, number=2)
    dying.send(BODY % 1, "<bob>")
    dying.send(BODY % 2, "<bob>")
    bob = disk.open_dir("new", disk.open_dir("bob", dying.partition))
    gone, kept = sorted(disk.listdir(bob))
    disk.unlink(gone, bob)
    assert living.leftovers.adopt() == (0, 0)  # its lock is held
    assert dying.committer.current is not None
    disk.close(dying.committer.current.fd)
    assert living.leftovers.adopt() == (1, 0)
    assert disk.listdir(living.journal) == []
    assert list(World(disk.survivor(Extreme.LEAST), number=3).everything()) == [("bob", kept)]


# --- a sync that fails ----------------------------------------------------------------------------------------------


def test_a_failed_barrier_refuses_mends_and_goes_on() -> None:
    """X: what the page cache has dropped is written again before a later barrier is believed."""
    story = Story(CrashDisk())
    world = World(story.disk)
    world.accepted = story.accepted
    for number in range(4):
        body = BODY % number
        story.sent.add(b"Return-Path: <s@example.org>\n" + body.replace(b"\r\n", b"\n"))
        world.send(body, "<bob>", "<sue>")
    story.disk.fault = lambda operation, _name: OSError(5, "io") if operation == "syncfs" else None
    assert not world.checkpoints.step()
    refusals = [world.refusing]
    assert not world.checkpoints.step()
    story.disk.fault = lambda _operation, _name: None
    assert world.checkpoints.step()
    assert [*refusals, world.refusing] == ["[Errno 5] io", None]
    assert world.stop()
    for choose in choices(1, 3):
        assert examine(story, World(story.disk.survivor(choose), number=2)) == []


def test_a_failed_record_is_answered_4xx_and_the_next_segment_takes_over() -> None:
    story = Story(CrashDisk())
    world = World(story.disk)
    world.send(BODY % 1, "<bob>")
    story.disk.fault = lambda operation, _name: OSError(5, "io") if operation == "fdatasync" else None
    world.send(BODY % 2, "<bob>")
    story.disk.fault = lambda _operation, _name: None
    world.send(BODY % 3, "<bob>")
    assert [len(world.accepted), len(world.refused)] == [2, 1]
    assert len(world.sealed) == 1
    assert world.stop()
    assert story.disk.listdir(world.journal) == []


# --- mutants: each must be caught -----------------------------------------------------------------------------------


class _PlaceBeforeSync(Delivery):
    """Names in `new/` and answers before the record is durable."""

    def _send(self) -> None:
        early = self._unsent
        super()._send()
        for part in early:
            self._settle_part(part, self.place(part), None)
            part.addressees = []
        self.flush()

    def journalled(self, completions: Sequence[Completion]) -> None:
        super().journalled([each for each in completions if isinstance(each.token, Part) and each.token.addressees])


class PlaceBeforeSync(World):
    delivery_class = _PlaceBeforeSync


class _CheckpointBeforeBarrier(Checkpoint):
    """The position is written and segments go, then comes the barrier."""

    def _barrier(self) -> None:
        assert self._placed is not None
        self._early = self._placed
        Checkpoint._free(self, self._placed)
        super()._barrier()

    def _free(self, position: Position) -> None:
        assert position is self._early


class CheckpointBeforeBarrier(World):
    checkpoint_class = _CheckpointBeforeBarrier


class _Comparing(Replay):
    """Writes only what reads differently, believing the cache."""

    def mend(self, maildir: Maildir, where: tuple[str, str, str], body: bytes) -> bool:
        for fd in self._open(maildir.root, where[0], where[1]):
            file = self._disk.open_file(where[2], fd)
            same = self._disk.pread(file, len(body) + 1, 0) == body
            self._disk.close(file)
            if same:
                return True
        return super().mend(maildir, where, body)


class _ComparingLeftovers(Leftovers):
    def replay(self) -> Replay:
        return _Comparing(self._disk, self._store, self._journal, sync=False)


class ReplayCompares(World):
    leftovers_class = _ComparingLeftovers


class _StatedFolderOnly(Replay):
    """Looks for a message only where it was put."""

    def find(self, maildir: Maildir, key: tuple[str, str], place: Place) -> tuple[str, str, str] | None:
        where = super().find(maildir, key, place)
        return where if where is not None and where[0] == place.directory else None


class _StatedFolderLeftovers(Leftovers):
    def replay(self) -> Replay:
        return _StatedFolderOnly(self._disk, self._store, self._journal, sync=False)


class SearchesStatedFolderOnly(World):
    leftovers_class = _StatedFolderLeftovers


class _RetriesSyncfs(Checkpoint):
    """After a failed barrier tries it again and believes the success."""

    def _mend(self, position: Position) -> None:
        pass


class RetriesSyncfs(World):
    checkpoint_class = _RetriesSyncfs


@pytest.mark.parametrize("mutant", [PlaceBeforeSync, CheckpointBeforeBarrier], ids=lambda kind: kind.__name__)
def test_mutants_of_the_order_lose_mail(mutant: type[World]) -> None:
    assert any("lost" in fault or "damaged" in fault or "torn" in fault for fault in run(mutant, range(20, 130), samples=2))


def test_mutant_that_searches_only_the_stated_folder_doubles_moved_mail() -> None:
    caught = False
    for count in range(20, 90):
        story = cut_at(count, World)
        try:
            SearchesStatedFolderOnly(story.disk.survivor(Extreme.MOST), number=2).everything()
        except AssertionError as error:
            caught |= "two folders" in str(error) or "twice" in str(error)
    assert caught


def _failed_barrier(kind: type[World]) -> list[str]:
    """A barrier fails, the next succeeds, the checkpoint moves on, the power is cut."""
    faults: list[str] = []
    story = Story(CrashDisk())
    world = kind(story.disk)
    world.accepted = story.accepted
    for number in range(3):
        body = BODY % number
        story.sent.add(b"Return-Path: <s@example.org>\n" + body.replace(b"\r\n", b"\n"))
        world.send(body, "<bob>")
    story.disk.fault = lambda operation, _name: OSError(5, "io") if operation == "syncfs" else None
    world.checkpoints.step()
    story.disk.fault = lambda _operation, _name: None
    world.checkpoints.step()
    for choose in choices(7, 3):
        faults += examine(story, kind(story.disk.survivor(choose), number=2))
    return faults


@pytest.mark.parametrize("mutant", [RetriesSyncfs, ReplayCompares], ids=lambda kind: kind.__name__)
def test_mutants_of_the_failed_barrier_lose_mail(mutant: type[World]) -> None:
    assert _failed_barrier(mutant)
    assert _failed_barrier(World) == []


