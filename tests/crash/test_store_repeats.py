"""A relay that knows no answer sends everything again: each message is in each mailbox exactly once, wherever the cut was.

The relay here has forgotten every answer, which is worse than any real one: what it sends after recovery is all it ever sent,
with the same XQIDs. A cut is a power loss (any legal state of the disk) or a SIGKILL of everything (the disk as programs saw it).
Mutants that break the order of `seen` are caught: the line before the message, a replay that feeds nothing.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Sequence

from posthouse.journal.commit import Completion
from posthouse.store.delivery.delivery import Delivery
from posthouse.store.delivery.recovery import Leftovers
from posthouse.store.delivery.replay import Replay
from posthouse.store.delivery.transaction import Part
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Choose, Extreme
from support.store_world import World

MAIL = [(number, ("bob", "sue")[: 1 + number % 2] if number % 5 else ("tim",)) for number in range(24)]


def body_of(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n" % number + b"0123456789abcdef" * (40 + 300 * (number % 3)) + b"\r\n"


def deliver(world: World, number: int, owners: Sequence[str]) -> None:
    flags = {"tim": " xflags=\\Seen,work", "sue": " xflags=\\Flagged"}
    world.deliver(
        body_of(number), *(f"<{owner}> xqid=MSG{number:04}.{place}{flags.get(owner, '')}" for place, owner in enumerate(owners))
    )


def play(world: World) -> None:
    """Batches of three, a checkpoint after some of them, a clean end."""
    for number, owners in MAIL:
        deliver(world, number, owners)
        if number % 3 == 2:
            world.commit()
        if number % 9 == 5:
            assert world.checkpoints.step()
    assert world.stop()


def cut_at(count: int, kind: type[World], fstype: int) -> CrashDisk:
    disk = CrashDisk(fstype)
    disk.cut_at(count)
    with contextlib.suppress(PowerCut):
        play(kind(disk))
    disk.after = lambda _operation: None
    return disk


def send_all_again(disk: CrashDisk, kind: type[World]) -> Counter[tuple[str, bytes]]:
    """How often each message is in each mailbox when the relay has had all its answers."""
    world = kind(disk, number=2)
    for number, owners in MAIL:
        deliver(world, number, owners)
    world.commit()
    assert len(world.finished) == len(MAIL)
    return Counter((owner, octets) for (owner, _), octets in world.everything().items())


def run(kind: type[World], step: int, choices: Sequence[Choose], fstype: int = 0xEF53) -> list[str]:
    """Whatever was not there exactly once."""
    whole = CrashDisk(fstype)
    play(kind(whole))
    wanted = {
        (owner, b"Return-Path: <s@example.org>\n" + body_of(number).replace(b"\r\n", b"\n"))
        for number, owners in MAIL
        for owner in owners
    }
    faults = []
    for count in range(1, whole.operations + 1, step):
        disk = cut_at(count, kind, fstype)
        for choose in (*choices, random.Random(count)):
            found = send_all_again(disk.survivor(choose), kind)
            assert set(found) <= wanted
            faults += [f"{count} {choose}: {key[0]} {found[key]}" for key in wanted if found[key] != 1]
    return faults


def test_each_message_is_there_once_when_all_is_sent_again_after_a_cut() -> None:
    assert run(World, 3, list(Extreme)) == []


def test_recovery_may_be_cut_as_well() -> None:
    whole = cut_at(10_000, World, 0xEF53).operations
    for count in range(30, whole, 47):
        disk = cut_at(count, World, 0xEF53).survivor(random.Random(count))
        for step in range(1, 40, 6):
            half = disk.survivor(Extreme.MOST)
            half.cut_at(step)
            with contextlib.suppress(PowerCut):
                World(half, number=2)
            half.after = lambda _operation: None
            for choose in (Extreme.LEAST, Extreme.MOST, random.Random(step)):
                assert set(send_all_again(half.survivor(choose), World).values()) == {1}, (count, step, choose)


def test_without_records_nothing_is_lost_and_a_kill_costs_at_most_the_one_being_placed() -> None:
    faults = run(World, 5, [Extreme.MOST], fstype=0x01021994)
    assert all(fault.endswith(" 2") for fault in faults)  # power loss: a line may be gone, its message is not


def test_a_clean_restart_remembers() -> None:
    disk = CrashDisk()
    play(World(disk))
    assert set(send_all_again(disk.survivor(Extreme.LEAST), World).values()) == {1}


# --- mutants --------------------------------------------------------------------------------------------------------


class LineFirst(World):
    """The line before the message: a kill between them is a loss."""

    class Early(Delivery):
        def journalled(self, completions: Sequence[Completion]) -> None:
            for completion in completions:
                if completion.record is not None and isinstance(part := completion.token, Part):
                    Delivery.remember(self, ((part, [None] * len(part.addressees)),))
            super().journalled(completions)

        def remember(self, placed: Sequence[tuple[Part, Sequence[OSError | None]]]) -> None:
            del placed

    delivery_class = Early


class FeedsNothing(World):
    """A replay that does not tell `seen`: what it puts back comes a second time."""

    class Mute(Leftovers):
        def replay(self) -> Replay:
            replay = super().replay()
            replay._lines = _Nowhere()
            return replay

    leftovers_class = Mute


class _Nowhere(list[bytes]):
    def append(self, _line: bytes, /) -> None:
        pass


def test_a_line_before_its_message_is_caught() -> None:
    """Caught where a dead worker's segment is adopted: nothing is put back there, and the line suppresses the repeat."""
    assert adopted(LineFirst) == 0
    assert adopted(World) == 1


def adopted(kind: type[World]) -> int:
    """Copies after a worker was killed between its sync and its rename, and the relay has sent again to a living one."""
    disk = CrashDisk()
    living, dying = World(disk, number=1), kind(disk, number=2)
    dying.send(b"Subject: 0\r\n\r\n", "<bob>")
    deliver(dying, 1, ("bob",))

    def at_rename(operation: str, _name: str) -> OSError | None:
        if operation == "rename":
            raise _KilledError
        return None

    disk.fault = at_rename
    with contextlib.suppress(_KilledError):
        dying.commit()
    disk.fault = lambda _operation, _name: None
    assert dying.committer.current is not None
    disk.close(dying.committer.current.fd)
    for maildir in [account.maildir for account in dying.accounts._open.values()]:
        account = dying.accounts._open[maildir.owner]
        disk.close(account._lock)  # the kernel does at the death of a process
    assert living.leftovers.adopt() == (1, 0)
    deliver(living, 1, ("bob",))
    living.commit()
    return sum(octets.endswith(b"cdef\n") for octets in living.messages("bob").values())


class _KilledError(BaseException):
    """SIGKILL."""


def test_a_replay_that_feeds_nothing_is_caught() -> None:
    assert any(fault.endswith(" 2") for fault in run(FeedsNothing, 11, [Extreme.LEAST]))


def test_a_dead_workers_answers_are_known_to_the_living() -> None:
    disk = CrashDisk()
    living, dying = World(disk, number=1), World(disk, number=2)
    deliver(dying, 1, ("bob", "sue"))
    dying.commit()
    assert dying.committer.current is not None
    disk.close(dying.committer.current.fd)
    deliver(living, 1, ("bob", "sue"))
    living.commit()
    assert living.leftovers.adopt() == (1, 0)
    deliver(living, 1, ("bob", "sue"))
    living.commit()
    assert len(living.everything()) == 2
