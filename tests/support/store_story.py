"""A store's story on a disk in memory, until the power is cut: what was answered, and what is wrong after recovery."""

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Choose, Extreme
from support.store_world import Accepted, World

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
    story.disk.cut_at(count)
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
