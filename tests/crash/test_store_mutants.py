"""Power loss of a store: each mutant of DURABILITY 7 that concerns it is caught."""

from collections.abc import Sequence

import pytest

from posthouse.journal.commit import Completion
from posthouse.journal.disk import Octets
from posthouse.store.delivery.checkpoint import Checkpoint, Position
from posthouse.store.delivery.delivery import Delivery
from posthouse.store.delivery.record import Place
from posthouse.store.delivery.recovery import Leftovers
from posthouse.store.delivery.replay import Replay
from posthouse.store.delivery.transaction import Part
from posthouse.store.mailbox.maildir import Maildir
from posthouse.testing.crash_disk import CrashDisk
from posthouse.testing.crash_state import Extreme
from support.store_story import BODY, Story, choices, cut_at, examine, run
from support.store_world import World


class _WithoutThePlaced(Delivery):
    def journalled(self, completions: Sequence[Completion]) -> None:
        super().journalled([each for each in completions if isinstance(each.token, Part) and each.token.addressees])


class PlaceBeforeSync(World):
    """Names in `new/` and answers before the record is durable."""

    delivery_class = _WithoutThePlaced

    def append(self, token: object, envelope: bytes, body: Sequence[Octets], slots: int) -> bool:
        assert isinstance(token, Part)
        self.delivery._settle_part(token, self.delivery.place(token), None)
        token.addressees = []
        self.delivery.flush()
        return super().append(token, envelope, body, slots)


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
