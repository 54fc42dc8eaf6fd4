"""Power loss at every operation of a relay's life: nothing accepted is lost, nothing foreign waits (DURABILITY 4, 7).

The mutants show that the check would notice: each takes one step of a protocol away.
"""

import errno

import pytest

from posthouse.journal.adopt import segment_names
from posthouse.journal.commit import Committer, SegmentMaker
from posthouse.journal.disk import Disk, Octets
from posthouse.journal.segment import Mark, Segment
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.move_out import MovedOut, MoveOut, Moving, _Written, sync_marks
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.recovery import _Moved
from posthouse.testing.crash_disk import EXT4
from posthouse.testing.crash_state import Extreme
from support.crash_relay import Broken, Relay
from support.queue_world import open_places

TMPFS = 0x01021994
"""no trusted syncfs there: each file and folder is synced"""


@pytest.mark.parametrize(("seed", "fstype"), [(0, EXT4), (1, EXT4), (2, EXT4), (3, TMPFS)], ids=str)
def test_nothing_is_lost_or_foreign_after_a_cut_anywhere(seed: int, fstype: int) -> None:
    relay = Relay(seed, fstype=fstype)
    relay.live()
    assert relay.checked > 500
    assert relay.promises.accepted == relay.promises.delivered | relay.promises.failed
    assert segment_names(relay.disk, relay.places.journal) == []
    assert relay.disk.listdir(relay.places.body) == []
    assert list(relay.places.tree.entries()) == []


@pytest.mark.parametrize("operation", ["fdatasync", "pwritev", "fsync", "fsync_dir", "syncfs", "rename", "create_excl", "pwrite"])
def test_an_error_at_any_operation_loses_nothing(operation: str) -> None:
    total = Relay(0, states=0)
    total.disk.after = lambda _operation: None
    total.live()
    count = sum(each == operation for each, _ in total.disk.log)
    assert count
    for wanted in range(0, count, max(1, count // 4)):
        relay = Relay(wanted, states=1, again=10**9)
        seen = iter(range(10**6))
        relay.disk.fault = lambda what, _name, seen=seen, wanted=wanted: (  # type: ignore[misc]
            OSError(errno.EIO, "I/O error") if what == operation and next(seen) == wanted else None
        )
        try:
            relay.live()
        except Broken:
            raise
        except (OSError, IndexError, ValueError, AssertionError):
            pass  # the scenario's own story ended early; what it had promised must still hold
        relay.disk.fault = lambda _operation, _name: None
        relay.check()


class NoFolderSync(SegmentMaker):
    def _publish(self, fd: int, stem: str) -> None:
        self.disk.rename(stem + ".tmp", stem + ".seg", self.folder, self.folder)


class RetriedSync(Committer):
    @staticmethod
    def _put(disk: Disk, fd: int, buffers: list[Octets], start: int, end: int) -> None:
        try:
            Committer._put(disk, fd, buffers, start, end)
        except OSError:
            disk.fdatasync(fd)


class MarkFirst(MoveOut):
    def _publish(self, written: list[_Written], result: MovedOut) -> bool:
        self._mark(written, MovedOut())
        return super()._publish(written, result)


class NoFileSync(MoveOut):
    synced = False

    def _barrier(self, written: list[_Written]) -> None:
        if self.synced:
            super()._barrier(written)
        self.synced = not self.synced


class NoNameSync(MoveOut):
    synced = True

    def _barrier(self, written: list[_Written]) -> None:
        if self.synced:
            super()._barrier(written)
        self.synced = not self.synced


class MarkBeforeNotice(Relay):
    def bounce(self, identity: str, recipient: int, settle: object) -> None:
        assert callable(settle)
        settle()
        super().bounce(identity, recipient, lambda: None)


def test_marking_a_file_whose_name_is_not_durable_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(moved: _Moved, places: Places, segment: Segment) -> None:
        for slot in moved.slots:
            segment.mark(slot, Mark.MOVED)
        segment.sync_marks()

    monkeypatch.setattr(_Moved, "mark", mark)
    with pytest.raises(Broken, match="lost"):
        Relay(1).live()


def mutant(**parts: object) -> Relay:
    kind: type[Relay] = type("Mutant", (Relay,), parts)
    return kind(1, states=6)


@pytest.mark.parametrize(
    "relay",
    [
        pytest.param(lambda: mutant(maker=NoFolderSync), id="no folder sync for a new segment"),
        pytest.param(lambda: mutant(mover=MarkFirst), id="M before rename"),
        pytest.param(lambda: mutant(mover=NoFileSync), id="no fsync of the queue file"),
        pytest.param(lambda: mutant(mover=NoNameSync), id="no barrier between rename and M"),
        pytest.param(lambda: MarkBeforeNotice(1, states=6), id="F before the notice"),
    ],
)
def test_a_missing_step_is_noticed(relay: object) -> None:
    assert callable(relay)
    with pytest.raises(Broken, match=r"lost|Boundary|boundary|v;1"):
        relay().live()


def fail_once(relay: Relay, operation: str) -> None:
    """The operation fails the next time and is well again, as Linux does."""
    failures = iter([OSError(errno.EIO, "I/O error")])
    relay.disk.fault = lambda what, _name: next(failures, None) if what == operation else None


def test_a_failed_sync_refuses_its_batch_and_ends_the_segment() -> None:
    relay = Relay(1, states=6)
    first = relay.accept(2)[0].segment
    segment = relay.places.segment(first)
    inode = str(relay.disk.fstat(segment.fd).inode)
    fail_once(relay, "fdatasync")
    assert relay.accept(2) == []
    done = len(relay.disk.log)
    (later,) = relay.accept(1)
    assert later.segment != first
    assert [each.name for each in relay.accepting.sealed] == [first]
    assert segment.marks(6, 7) == b"V" * 6 + bytes(1)
    assert not [each for each, name in relay.disk.log[done:] if name == inode], "nothing is written or synced there again"
    relay.check()


def test_believing_a_second_sync_is_noticed() -> None:
    relay = mutant(committer=RetriedSync)
    relay.accept(2)
    fail_once(relay, "fdatasync")
    assert relay.accept(2)
    with pytest.raises(Broken, match=r"lost|acknowledged"):
        relay.check()


def watch(relay: Relay, *, beyond: bool) -> None:
    """Lease whenever something was written, as a controller would that runs beside the writer."""

    def look(operation: str) -> None:
        if operation in {"pwritev", "fdatasync"}:
            relay.lookahead(beyond=beyond)

    relay.disk.after = look
    relay.accept(1)
    relay.accept(2)
    relay.lookahead(beyond=False)


def test_nothing_above_the_announced_offset_is_leased() -> None:
    watch(Relay(1), beyond=False)


def test_leasing_above_the_announced_offset_is_noticed() -> None:
    relay = Relay(1)
    with pytest.raises(Broken, match="leased before it was accepted"):
        watch(relay, beyond=True)


def test_moving_out_twice_after_a_failed_barrier() -> None:
    relay = Relay(2)
    (ref,) = relay.accept(1, (0, 0))
    for operation in ("syncfs", "rename"):
        relay.disk.fault = lambda what, _name, operation=operation: (  # type: ignore[misc]
            OSError(errno.EIO, "I/O error") if what == operation else None
        )
        assert relay.move(ref) == []
        relay.disk.fault = lambda _operation, _name: None
        assert list(relay.places.tree.entries()) == []
    (copy,) = relay.move(ref)
    relay.deliver(copy)


def test_marks_of_a_failed_sync_are_written_again_before_the_lease() -> None:
    relay = Relay(3)
    (ref,) = relay.accept(1, (0,))
    fail_once(relay, "fdatasync")
    result = MoveOut(relay.places).run([Moving(JournalCopy(ref.segment, ref.offset, 0), "tcp_lmtpcs")])
    assert result.unsynced == {ref.segment}
    assert durable_marks(relay, ref.segment) == b"\0"
    sync_marks(relay.places, ref.segment)
    assert durable_marks(relay, ref.segment) == b"M"
    relay.deliver(result.moved[0][1])


def durable_marks(relay: Relay, segment: str) -> bytes:
    """The first mark as a power cut now would leave it."""
    return open_places(relay.disk.survivor(Extreme.LEAST), "").segment(segment).marks(0, 1)
