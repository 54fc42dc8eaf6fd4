"""What the controller knows of one waiting copy beside its place in the schedule, and how `queue list` shows it.

    {"id", "copy", "channel", "state": "journal"|"file"|"held", "host", "attempts", "next_try", "enqueued", "size", "sender",
     "file", "recipients": [{"id", "address", "original", "status"}]}

`status` is the recipient's own last reply. Times are ISO 8601 UTC; `next_try` is null where no time is known: held, or waiting
for a session. A copy that was held because it is damaged has the key `reason` too.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from posthouse.journal.segment import RecordRef
from posthouse.mail.envelope import Envelope, Priority, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.entry import Entry
from posthouse.relay.queue.tree import QueueEntry

NO_PROGRAM = Status(450, "4.3.5", "no program empties this channel in this version; the copy waits")
_NONE: Mapping[int, Status] = {}
_NO_WAITS: Mapping[int, float] = {}
RANKS = {Priority.URGENT: 0, Priority.NORMAL: 1, Priority.NON_URGENT: 2}


class Cargo:
    """One copy.

    Args:
        envelope: of its message.
        copy: copy number.
        recipients: those still to do, at least one.
        record: the journal record it stands in, or None.
        file: path of its queue file under the queue folder, or empty.
    """

    __slots__ = (
        "copy", "crashes", "envelope", "file", "job", "notices", "patient", "reason", "recipients",
        "record", "replies", "spared", "status", "told",
    )

    def __init__(
        self, envelope: Envelope, copy: int, recipients: tuple[Recipient, ...], record: RecordRef | None, file: str
    ) -> None:
        self.envelope = envelope
        self.copy = copy
        self.recipients = recipients
        self.record = record
        self.file = file
        self.notices = 0
        """notices given so far"""
        self.status: Status | None = None
        """the last reply that kept it waiting"""
        self.replies: Mapping[int, Status] = _NONE
        """the recipients' own, by id, where they are not all the same; never changed, only replaced"""
        self.job: object = None
        """what it was last leased for"""
        self.spared = 0.0
        """Unix time before which it is not returned for its age: it was released and is to be tried first"""
        self.told = False
        """the host has answered for its recipients before"""
        self.patient: Mapping[int, float] = _NO_WAITS
        """recipients that are not tried before a Unix time, while others of the copy are; never changed, only replaced"""
        self.reason = ""
        """why it was held, where that is known"""
        self.crashes = 0
        """workers lost while they had it"""

    @property
    def identity(self) -> str:
        """The message's id."""
        return self.envelope.id

    @property
    def priority(self) -> Priority:
        """The message's."""
        return self.envelope.priority

    @property
    def open(self) -> tuple[int, ...]:
        """Ids of the recipients still to do."""
        return tuple(recipient.id for recipient in self.recipients)

    @property
    def held(self) -> bool:
        """Whether it is to be filed as .HELD."""
        return self.recipients[0].held

    def be_released(self, until: float) -> None:
        """An operator lets it go; it is not returned for its age before a Unix time."""
        self.spared = until
        self.recipients = tuple(msgspec.structs.replace(each, held=False) for each in self.recipients)
        self.reason = ""

    def reply(self, recipient: int) -> Status | None:
        """The last reply one recipient had, None before the first."""
        return self.replies.get(recipient, self.status)

    @property
    def impatient(self) -> tuple[int, ...]:
        """Ids of those that may be tried at its next try."""
        return tuple(recipient.id for recipient in self.recipients if recipient.id not in self.patient)

    def settle(self, ids: set[int]) -> None:
        """These recipients are done with."""
        self.recipients = tuple(recipient for recipient in self.recipients if recipient.id not in ids)


def iso(when: float) -> str:
    """Unix seconds as ISO 8601 UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when)) + f".{int(when * 1000) % 1000:03d}Z"


def listing(
    cargo: Cargo, channel: str, host: str, attempts: int, next_try: float, queue: str, otherwise: Status | None = None
) -> dict[str, Any]:
    """One element of `queue list`.

    Args:
        cargo: the copy.
        channel: its channel.
        host: what it is grouped by.
        attempts: made so far.
        next_try: Unix seconds, 0.0 for none.
        queue: path of the queue folder.
        otherwise: why it waits, for recipients without a reply so far.
    """
    envelope = cargo.envelope
    held = cargo.file.endswith(".HELD")
    return {
        "id": envelope.id,
        "copy": cargo.copy,
        "channel": channel,
        "state": "held" if held else "file" if cargo.file else "journal",
        "host": host,
        "attempts": attempts,
        "next_try": iso(next_try) if next_try and not held else None,
        "enqueued": iso(envelope.enqueued / 1000),
        "size": envelope.size,
        "sender": cargo.recipients[0].sender or envelope.sender if cargo.recipients else envelope.sender,
        "file": f"{queue}/{cargo.file}" if cargo.file else "",
        "recipients": [_recipient(each, cargo.reply(each.id) or otherwise) for each in cargo.recipients],
        **({"reason": cargo.reason} if cargo.reason else {}),
    }


def damaged_listing(entry: QueueEntry, reason: str, queue: str) -> dict[str, Any]:
    """The element of a held file whose envelope cannot be read: without recipients, with the reason."""
    return {
        "id": entry.name.message, "copy": entry.name.copy, "channel": entry.ref.channel, "state": "held", "host": "",
        "attempts": entry.name.attempts,
        "next_try": None, "enqueued": iso(entry.mtime), "size": entry.size, "sender": "", "file": f"{queue}/{entry.ref.path}",
        "recipients": [], "reason": reason,
    }  # fmt: skip


def _recipient(recipient: Recipient, status: Status | None) -> dict[str, Any]:
    shown = {"code": status.code, "enhanced": status.enhanced, "text": status.text} if status is not None else None
    return {"id": recipient.id, "address": recipient.address, "original": recipient.original, "status": shown}


def cargo_of(entry: Entry) -> Cargo:
    """What an entry of the schedule carries."""
    cargo = entry.cargo
    assert isinstance(cargo, Cargo)
    return cargo
