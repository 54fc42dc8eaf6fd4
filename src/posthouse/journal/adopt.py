"""Segments whose writer is gone: taking them over and setting damage aside (DURABILITY 1, 3 Start).

A segment's lock is held by its one writer; who gets it knows that nobody appends any more. Damage is copied to `aside/`
before anything else is done with the segment and is never deleted by us. Doing any of this twice changes nothing.
"""

import contextlib

from posthouse.journal.disk import Disk
from posthouse.journal.scan import Damage, next_header
from posthouse.journal.segment import SUFFIX, CorruptRecord, Segment, Tier

ASIDE = "aside"
BODY = "body"


def open_folder(disk: Disk, name: str, parent: int) -> int:
    """Open a folder, made (durably) when it is missing."""
    try:
        return disk.open_dir(name, parent)
    except FileNotFoundError:
        try:
            disk.mkdir(name, parent)
        except FileExistsError:  # another process was quicker
            return disk.open_dir(name, parent)
        disk.fsync_dir(parent)
        return disk.open_dir(name, parent)


def segment_names(disk: Disk, folder: int) -> list[str]:
    """The segments in the folder, sorted."""
    return sorted(name for name in disk.listdir(folder) if name.endswith(SUFFIX))


def remove_unfinished(disk: Disk, folder: int) -> None:
    """Remove `*.tmp`: segments nobody will finish. Those a living writer is making are locked and stay.

    One that is not locked yet is its writer's loss, who makes another; one that is finished meanwhile is there no more.
    """
    for name in disk.listdir(folder):
        if name.endswith(".tmp"):
            try:
                fd = disk.open_file(name, folder)
            except FileNotFoundError:
                continue
            try:
                if disk.flock(fd):
                    with contextlib.suppress(FileNotFoundError):
                        disk.unlink(name, folder)
            finally:
                disk.close(fd)


def adopt(disk: Disk, folder: int, name: str, tier: Tier) -> Segment | None:
    """Open a segment for marks and take its lock; None while its writer lives.

    One of the other tier, where both keep their journals in one folder, is returned as it is: its lock is not ours to take.

    Raises:
        UnreadableSegment: set it aside (`set_segment_aside`).
        UnknownVersion: refuse to start.
        OSError: it cannot be opened.
    """
    segment = Segment.open(disk, folder, name, write=True)
    if segment.tier is not tier or disk.flock(segment.fd):
        return segment
    segment.close()
    return None


def set_segment_aside(disk: Disk, folder: int, name: str) -> None:
    """Move a whole segment to `aside/`, durably."""
    aside = open_folder(disk, ASIDE, folder)
    try:
        disk.rename(name, name, folder, aside)
        disk.fsync_dir(aside)
        disk.fsync_dir(folder)
    finally:
        disk.close(aside)


def keep_damage(disk: Disk, folder: int, segment: Segment, damage: Damage) -> str:
    """Copy damaged octets to `aside/<segment>.<offset>`, durably; the name. What is there already stays as it is."""
    name = f"{segment.name}.{damage.offset}"
    aside = open_folder(disk, ASIDE, folder)
    try:
        if disk.stat(name, aside) is not None:
            return name
        octets = disk.pread(segment.fd, damage.length, damage.offset)
        partly = name + ".tmp"
        if disk.stat(partly, aside) is not None:
            disk.unlink(partly, aside)
        fd = disk.create_excl(partly, aside)
        try:
            if octets:
                disk.pwrite(fd, octets, 0)
            disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.rename(partly, name, aside, aside)
        disk.fsync_dir(aside)
    finally:
        disk.close(aside)
    return name


def set_record_aside(disk: Disk, folder: int, segment: Segment, offset: int) -> str:
    """Copy a record whose octets are not what was accepted to `aside/`; the name. Its slots are the caller's to mark V.

    Where its header is damaged, all up to the next header of this segment is kept.
    """
    try:
        end = segment.header(offset).end
    except CorruptRecord:
        end = next_header(segment, offset + 8, disk.fstat(segment.fd).size)
    return keep_damage(disk, folder, segment, Damage(offset, end - offset, acknowledged=True))
