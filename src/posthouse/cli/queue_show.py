"""`posthouse queue show`: one copy whole: envelope, header, each recipient's state, and the attempts made.

Read from the disk without a lock and without changing anything: the queue tree and the journal are gone through once, whatever
the number of copies. A copy that goes away meanwhile is gone; that is no fault.
"""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from posthouse.config.instance import Instance
from posthouse.journal.adopt import segment_names
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.scan import scan
from posthouse.journal.segment import CorruptRecord, JournalError, Segment, Tier
from posthouse.mail.envelope import Envelope
from posthouse.relay.notices.notifier import header_of
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.open_copy import OpenCopy, OpenRecord
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_file import OpenQueueFile
from posthouse.relay.queue.queue_format import Attempt, DamagedQueueFile
from posthouse.relay.queue.record import envelope_of

_STATES = {"T": "to do", "D": "delivered", "F": "failed, the sender was told", "M": "moved to a file", "V": "void"}
_LABELS = (
    ("file", "file"), ("from", "sender"), ("since", "enqueued"), ("next try", "next_try"), ("octets", "size"),
    ("came by", "source_channel"), ("client", "source"), ("reason", "reason"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """A copy's content."""

    envelope: Envelope
    header: bytes
    states: dict[int, str]
    history: tuple[Attempt, ...]

    def facts(self) -> dict[str, Any]:
        """As `queue show --json` prints it, beside the row of `queue list`."""
        envelope = self.envelope
        return {
            "source_channel": envelope.source_channel, "source": envelope.source, "message_id": envelope.message_id,
            "priority": envelope.priority.value, "envid": envelope.envid, "ret": envelope.ret, "user": envelope.user,
            "eight_bit": envelope.eight_bit, "utf8": envelope.utf8, "about": envelope.about,
            "header": self.header.decode("utf-8", "replace"),
            "states": [
                {"id": each.id, "original": each.original, "address": each.address, "state": self.states.get(each.id, "to do"),
                 "notify": each.notify, "orcpt": each.orcpt, "quota": each.quota, "intermediate": each.intermediate}
                for each in envelope.recipients
            ],
            "history": [
                {"time": _iso(each.time), "attempt": each.attempt, "recipient": each.recipient, "code": each.code,
                 "enhanced": each.enhanced, "text": each.text, "host": each.host}
                for each in self.history
            ],
        }  # fmt: skip


def read_copies(instance: Instance, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each with its content; `reason` says why where it cannot be read.

    Raises:
        FileNotFoundError: the instance has no queue.
    """
    places = Places(LinuxDisk(), str(instance.journal), str(instance.queue))
    try:
        wanted = {(row["id"], row["copy"]): dict[str, Any]() for row in rows}
        _from_files(places, wanted)
        _from_journal(places, wanted)
    finally:
        places.close()
    return [{**row, **_said(row, wanted[row["id"], row["copy"]])} for row in rows]


def _said(row: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    if "header" in found:
        return found
    return {"reason": row.get("reason") or found.get("reason") or "it has gone meanwhile"}


_Wanted = dict[tuple[str, int], dict[str, Any]]
"""by message id and copy number: the content, or the reason it cannot be read; empty while it has not been found"""
_FAULTS = (OSError, DamagedQueueFile, CorruptRecord, JournalError)


def _from_files(places: Places, wanted: _Wanted) -> None:
    """The copies' queue files, whatever their prefixes are by now."""
    for entry in places.tree.entries():
        found = wanted.get((entry.name.message, entry.name.copy))
        if found is None or "header" in found:
            continue
        try:
            opened = OpenQueueFile.open(places.tree, entry.ref)
        except FileNotFoundError:
            continue
        except _FAULTS as error:
            found["reason"] = str(error)
            continue
        try:
            states = {key: _STATES[state.value] for key, state in opened.content.states.items()}
            found.update(Content(opened.envelope, _header(opened), states, tuple(opened.history())).facts())
        except _FAULTS as error:
            found["reason"] = str(error)
        finally:
            opened.close()


def _from_journal(places: Places, wanted: _Wanted) -> None:
    """The others, as far as the journal has them."""
    left: dict[str, list[int]] = {}
    for (message, copy), found in wanted.items():
        if not found:
            left.setdefault(message, []).append(copy)
    for name in segment_names(places.disk, places.journal) if left else ():
        try:
            segment = Segment.open(places.disk, places.journal, name)
        except (OSError, JournalError):
            continue
        try:
            if segment.tier is Tier.RELAY:
                _in_segment(places, segment, left, wanted)
        finally:
            segment.close()


def _in_segment(places: Places, segment: Segment, left: dict[str, list[int]], wanted: _Wanted) -> None:
    for ref in scan(segment, bodies=False).records:
        try:
            envelope = envelope_of(ref, segment.read_envelope(ref))
        except CorruptRecord:  # of another message, as far as can be told
            continue
        marks = segment.marks(ref.first_slot, ref.slots)
        for copy in left.get(envelope.id, ()):
            found = wanted[envelope.id, copy]
            try:
                opened = OpenRecord(places, JournalCopy(ref.segment, ref.offset, copy), ref)
            except _FAULTS as error:
                found["reason"] = str(error)
                continue
            try:
                states = {each.id: _STATES.get(chr(marks[each.id]), "to do") for each in envelope.recipients}
                found.update(Content(envelope, _header(opened), states, ()).facts())
            except _FAULTS as error:
                found["reason"] = str(error)
            finally:
                opened.close()


def _header(opened: OpenCopy) -> bytes:
    return header_of(opened.parts())


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def print_copies(copies: list[dict[str, Any]]) -> None:
    """For people."""
    out = sys.stdout.write
    for copy in copies:
        out(f"{copy['id']}, copy {copy['copy']}: {copy['state']} on {copy['channel']}, for {copy['host'] or 'no host'}\n")
        for label, key in _LABELS:
            if copy.get(key):
                out(f"  {label:<10}{copy[key]}\n")
        replies = {each["id"]: each["status"] for each in copy["recipients"]}
        for each in copy.get("states", ()):
            said = replies.get(each["id"])
            words = f": {said['code']} {said['enhanced']} {said['text']}" if said else ""
            out(f"  to        {each['original']} ({each['address']}), {each['state']}{words}\n")
        for line in copy.get("history", ()):
            reply = f"{line['code']} {line['enhanced']} {line['text']}"
            tried = f"{line['time']} attempt {line['attempt'] + 1}, recipient {line['recipient']}"
            out(f"  tried     {tried}: {reply} {line['host']}\n")
        out("\n" + "".join(f"    {line}\n" for line in copy.get("header", "").splitlines() if line) + "\n")
