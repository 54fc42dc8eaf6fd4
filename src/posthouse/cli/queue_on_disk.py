"""The queue as it stands on disk, read without a lock and without changing anything.

For a relay whose job controller is not running, and for queue files a running one has no room for. What a live worker has
written but not yet synced may show as well. A queue file that cannot be read shows with the reason; a record of the journal that
cannot is left to the start of the relay. The journal of a store holds no queue and shows nothing.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from posthouse.config.instance import Instance
from posthouse.journal.adopt import segment_names
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.scan import scan
from posthouse.journal.segment import CorruptRecord, JournalError, Segment, Tier
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.cargo import HELD
from posthouse.relay.job_controller.selection import Matcher, Selection
from posthouse.relay.job_controller.summary import Counted, summary_of
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import OpenQueueFile
from posthouse.relay.queue.queue_format import DamagedQueueFile
from posthouse.relay.queue.record import envelope_of
from posthouse.relay.queue.recovery import copies_of
from posthouse.relay.queue.tree import QueueEntry

_NOBODY = "read from the disk: no job controller runs, or it does not answer"


def list_from_disk(instance: Instance, selection: Selection) -> list[dict[str, Any]]:
    """Every copy that is meant, as `posthouse queue list --json` and `why` print it; all where nothing is said.

    Raises:
        FileNotFoundError: the instance has no queue.
    """
    rows = _all_rows(instance)
    if not selection.is_empty:
        matcher = Matcher(selection, time.time())
        rows = [row for row in rows if _meant(matcher, row)]
    for row in rows:
        for each in row["recipients"]:
            del each["intermediate"]  # for the filter only
    return rows


def beyond_on_disk(instance: Instance, selection: Selection, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The queue files that are meant beside what the job controller has listed.

    Raises:
        FileNotFoundError: the instance has no queue.
    """
    listed = {(row["id"], row["copy"]) for row in known}
    rows = [row for row in list_from_disk(instance, selection) if row["file"] and (row["id"], row["copy"]) not in listed]
    for row in rows:
        if row["state"] == "file":
            row["why"] = "known by its file only (MAX_MESSAGES): it is looked at when half of the others have gone"
    return rows


def summary_from_disk(instance: Instance, selection: Selection) -> dict[str, Any]:
    """What `posthouse queue summary --json` prints; what is overdue only a running relay knows.

    Raises:
        FileNotFoundError: the instance has no queue.
    """
    rows = list_from_disk(instance, selection)
    copies = [
        Counted(row["channel"], row["host"], row["state"], len(row["recipients"]), row["size"], _seconds(row["enqueued"]))
        for row in rows
        if row["recipients"]
    ]
    return summary_of(copies, len(rows) - len(copies), None)


def _meant(matcher: Matcher, row: dict[str, Any]) -> bool:
    if not matcher.copy(row["id"], row["channel"], row["host"], row["state"], _seconds(row["enqueued"])):
        return False
    if not row["recipients"]:
        return not matcher.asks_people
    people = tuple(
        Recipient(each["id"], 0, row["channel"], each["address"], each["original"], intermediate=each["intermediate"])
        for each in row["recipients"]
    )
    said = {each["id"]: Status(**each["status"]) for each in row["recipients"] if each["status"]}
    return bool(matcher.people(Envelope("", row["sender"], "", "", 0, 0, people), people, said.get))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _all_rows(instance: Instance) -> list[dict[str, Any]]:
    places = Places(LinuxDisk(), str(instance.journal), str(instance.queue))
    try:
        entries = list(places.tree.entries())
        filed = {(entry.name.message, entry.name.copy) for entry in entries}
        rows = [row for entry in entries if (row := _file(places, instance.queue, entry)) is not None]
        for name in segment_names(places.disk, places.journal):
            rows += _segment(places, name, filed)
    finally:
        places.close()
    return sorted(rows, key=lambda row: row["enqueued"] or "")


def _segment(places: Places, name: str, filed: set[tuple[str, int]]) -> list[dict[str, Any]]:
    rows = []
    try:
        segment = Segment.open(places.disk, places.journal, name)
    except (JournalError, OSError):
        return []
    try:
        for ref in scan(segment, bodies=False).records if segment.tier is Tier.RELAY else ():
            marks = segment.marks(ref.first_slot, ref.slots)
            if 0 not in marks:
                continue
            try:
                envelope = envelope_of(ref, segment.read_envelope(ref))
            except CorruptRecord:
                continue
            rows += [
                _row(envelope, copy.recipients, "journal", 0, "", copy.ref.copy)
                for copy in copies_of(ref, envelope, marks)
                if (envelope.id, copy.ref.copy) not in filed
            ]
    finally:
        segment.close()
    return rows


def _file(places: Places, queue: Path, entry: QueueEntry) -> dict[str, Any] | None:
    """None: it went away just now."""
    file = str(queue / entry.ref.path)
    state = "held" if entry.name.held else "file"
    try:
        opened = OpenQueueFile.open(places.tree, entry.ref)
    except FileNotFoundError:
        return None
    except (DamagedQueueFile, OSError) as error:
        unread = Envelope(entry.name.message, "", "", "", int(entry.mtime * 1000), entry.size, ())
        row = _row(unread, (), state, entry.name.attempts, file, entry.name.copy)
        why = f"held: {error}" if entry.name.held else str(error)
        return {**row, "channel": entry.ref.channel, "reason": str(error), "why": why}
    try:
        row = _row(opened.envelope, opened.recipients, state, entry.name.attempts, file, entry.name.copy)
        reason = opened.held_because() if state == "held" else ""
        last = {attempt.recipient: attempt for attempt in opened.history()}
    finally:
        opened.close()
    if reason:
        row |= {"reason": reason, "why": reason}
    for recipient in row["recipients"]:
        if (attempt := last.get(recipient["id"])) is not None:
            recipient["status"] = {"code": attempt.code, "enhanced": attempt.enhanced, "text": attempt.text}
            if state != "held":
                row["why"] = f"{_NOBODY}; last reply {attempt.code} {attempt.enhanced} {attempt.text}"
    return row


def _row(
    envelope: Envelope, recipients: tuple[Recipient, ...], state: str, attempts: int, file: str, copy: int
) -> dict[str, Any]:
    first = recipients[0] if recipients else None
    enqueued = datetime.fromtimestamp(envelope.enqueued / 1000, UTC)
    return {
        "id": envelope.id,
        "copy": copy,
        "channel": first.channel if first else "",
        "state": state,
        "host": first.host if first else "",
        "attempts": attempts,
        "next_try": None,
        "enqueued": enqueued.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "size": envelope.size,
        "sender": envelope.sender,
        "file": file,
        "why": (first.why if first else "") or HELD if state == "held" or (first and first.held) else _NOBODY,
        "host_state": None,
        "recipients": [
            {"id": each.id, "address": each.address, "original": each.original, "intermediate": each.intermediate, "status": None}
            for each in recipients
        ],
    }
