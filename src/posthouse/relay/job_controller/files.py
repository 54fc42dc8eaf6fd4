"""Queue files as the controller reads them: at the start, at each scan of the tree, after a worker was lost.

Envelopes and states only; messages are not read here. A file that cannot be read becomes `.HELD`, with an alarm.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from posthouse.mail.status import Status
from posthouse.relay.job_controller.cargo import Cargo
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import hold_damaged, read_with_history
from posthouse.relay.queue.queue_format import Attempt, DamagedQueueFile
from posthouse.relay.queue.tree import QueueEntry


class Damaged(Protocol):
    """Told of a file that cannot be read."""

    def __call__(self, entry: QueueEntry, reason: str, *, news: bool) -> None:
        """It is `.HELD` now; news: it was not before, or it cannot be opened."""


def read_files(places: Places, entries: Sequence[QueueEntry], damaged: Damaged) -> Iterator[tuple[Cargo, int, float]]:
    """The copies in these queue files, each with its attempts and the file's time of change.

    Args:
        places: the folders.
        entries: the files.
        damaged: told of files that cannot be read.
    """
    for entry in entries:
        cargo = read_file(places, entry, damaged)
        if cargo is not None:
            yield cargo, entry.name.attempts, entry.mtime


def read_file(places: Places, entry: QueueEntry, damaged: Damaged) -> Cargo | None:
    """The copy in a queue file; None: nothing of it is left to do, or it went away, or it had to be held."""
    try:
        content, history, why = read_with_history(places.tree, entry.ref)
    except FileNotFoundError:
        return None
    except DamagedQueueFile as fault:
        _hold(places, entry, str(fault), damaged)
        return None
    except OSError as error:
        damaged(entry, str(error), news=True)
        return None
    still = set(content.open_ids)
    recipients = tuple(each for each in content.envelope.recipients if each.id in still)
    if not recipients:  # settled, but its name was not taken away any more; where it cannot be now, the next scan does it
        with contextlib.suppress(OSError):
            places.disk.unlink(entry.ref.name, places.tree.of(entry.ref))
            places.tree.touched(places.tree.of(entry.ref))
        return None
    cargo = Cargo(content.envelope, entry.name.copy, recipients, None, entry.ref.path)
    cargo.reason = why if entry.name.held else ""
    _remember(cargo, history, still)
    return cargo


def _hold(places: Places, entry: QueueEntry, reason: str, damaged: Damaged) -> None:
    try:
        held = hold_damaged(places.tree, entry.ref)
    except FileNotFoundError:  # somebody was quicker
        return
    except OSError as error:  # the name is taken: it stays, is never leased, and is looked at again
        damaged(entry, f"{reason}; it cannot be held: {error.strerror or error}", news=True)
        return
    damaged(replace(entry, ref=held), reason, news=not entry.name.held)


def _remember(cargo: Cargo, history: list[Attempt], still: set[int]) -> None:
    """The last replies, as they were before the restart."""
    last = {line.recipient: line for line in history if line.recipient in still}
    if last:
        replies = {key: Status(line.code, line.enhanced, line.text) for key, line in last.items()}
        newest = max(last.values(), key=lambda line: line.time)
        cargo.status = replies[newest.recipient]
        if any(said != cargo.status for said in replies.values()) or len(replies) < len(cargo.recipients):
            cargo.replies = replies
        cargo.told = any(line.host and not line.enhanced.startswith("4.4.") for line in last.values())


def filed_copies(places: Places, wanted: set[tuple[str, int]], damaged: Damaged) -> dict[tuple[str, int], Cargo]:
    """Those of the copies (message id, copy number) that have a queue file now; their names are made durable."""
    found: dict[tuple[str, int], Cargo] = {}
    for entry in places.tree.entries():
        name = (entry.name.message, entry.name.copy)
        if name in wanted:
            cargo = read_file(places, entry, damaged)
            if cargo is not None:
                places.disk.fsync_dir(places.tree.of(entry.ref))
                found[name] = cargo
    return found
