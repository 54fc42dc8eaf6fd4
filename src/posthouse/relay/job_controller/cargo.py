"""What the controller knows of one waiting copy beside its place in the schedule, and how `queue list` shows it.

    {"id", "copy", "channel", "state": "journal"|"file"|"held", "host", "attempts", "next_try", "enqueued", "size", "sender",
     "file", "recipients": [{"id", "address", "original", "status"}], "why"}

`status` is the recipient's own last reply. Times are ISO 8601 UTC; `next_try` is null where no time is known: held, or waiting
for a session. A held copy of which the reason is known has the key `reason` too.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from posthouse.journal.segment import RecordRef
from posthouse.mail.envelope import Envelope, Priority, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.entry import Entry
from posthouse.relay.queue.names import COPY_DIGITS, unique
from posthouse.relay.queue.tree import QueueEntry

NO_PROGRAM = Status(450, "4.3.5", "no program empties this channel in this version; the copy waits")
HELD = "held: it waits for `posthouse queue release`"
"""why a copy waits of which nobody has said why it is held"""
_NONE: Mapping[int, Status] = {}
_PACKED = frozenset(("envelope", "recipients", "file", "status", "replies", "reason"))
_NO_WAITS: Mapping[int, float] = {}
RANKS = {Priority.URGENT: 0, Priority.NORMAL: 1, Priority.NON_URGENT: 2}


class _Packed(msgspec.Struct, array_like=True, gc=False):
    """What a copy that waits in a queue file is packed to; all else of its envelope stands in the file."""

    sender: str
    size: int
    enqueued: int
    channel: str
    host: str
    people: list[tuple[int, str, str, str, bool, str]]
    """id, address with `*` for the host, original, sender, held, the address that entered expansion where that is another"""
    file: str
    """`*` for the name"""
    status: tuple[int, str, str] | None
    replies: list[tuple[int, int, str, str]]
    reason: str


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Packed).decode


class Cargo:
    """One copy.

    A copy that waits in a queue file is packed (`pack`) into some 250 octets; what is asked for afterwards is unpacked, and stays
    so until it is packed again. Of the envelope only id, sender, size, time and priority come back then: workers read the file.

    Args:
        envelope: of its message.
        copy: copy number.
        recipients: those still to do, at least one.
        record: the journal record it stands in, or None.
        file: path of its queue file under the queue folder, or empty.
    """

    __slots__ = (
        "_packed", "copy", "crashes", "envelope", "file", "job", "name", "notices", "patient", "priority", "reason",
        "recipients", "record", "replies", "spared", "status", "told",
    )  # fmt: skip
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    file: str
    status: Status | None
    """the last reply that kept it waiting"""
    replies: Mapping[int, Status]
    """the recipients' own, by id, where they are not all the same; never changed, only replaced"""
    reason: str
    """why it was held, where that is known"""

    def __init__(
        self, envelope: Envelope, copy: int, recipients: tuple[Recipient, ...], record: RecordRef | None, file: str
    ) -> None:
        self.envelope = envelope
        self.copy = copy
        self.name = unique(envelope.id, copy)
        """message id and copy number: what it is known by"""
        self.priority = envelope.priority
        self.recipients = recipients
        self.record = record
        self.file = file
        self.notices = 0
        """notices given so far"""
        self.status = None
        self.replies = _NONE
        self.job: object = None
        """what it was last leased for"""
        self.spared = 0.0
        """Unix time before which it is not returned for its age: it was released and is to be tried first"""
        self.told = False
        """the host has answered for its recipients before"""
        self.patient: Mapping[int, float] = _NO_WAITS
        """recipients that are not tried before a Unix time, while others of the copy are; never changed, only replaced"""
        self.reason = ""
        self.crashes = 0
        """workers lost while they had it"""
        self._packed = b""

    def pack(self) -> None:
        """It waits, in a queue file: keep it small."""
        if not self._packed:
            people = self.recipients
            said, host = self.status, people[0].host
            packed = _Packed(
                self.envelope.sender, self.envelope.size, self.envelope.enqueued, people[0].channel, host,
                [(each.id, _short(each.address, host), each.original, each.sender, each.held, _own(each)) for each in people],
                self.file.replace(self.name, "*"), (said.code, said.enhanced, said.text) if said is not None else None,
                [(key, each.code, each.enhanced, each.text) for key, each in self.replies.items()], self.reason,
            )  # fmt: skip
            self._packed = _pack(packed)
            del self.envelope, self.recipients, self.file, self.status, self.replies, self.reason

    def __getattr__(self, name: str) -> Any:
        """Only what `pack` has taken away comes here."""
        if name not in _PACKED or not self._packed:
            raise AttributeError(name)
        whole, self._packed = _unpack(self._packed), b""
        host = whole.host
        self.envelope = Envelope(
            self.identity, whole.sender, "", "", whole.enqueued, whole.size, (), priority=self.priority
        )  # fmt: skip
        self.recipients = tuple([
            Recipient(
                number, self.copy, whole.channel, _long(address, host), original, host, sender=sender, held=held,
                intermediate=own,
            )
            for number, address, original, sender, held, own in whole.people
        ])  # fmt: skip
        self.file, self.reason = whole.file.replace("*", self.name), whole.reason
        self.status = Status(*whole.status) if whole.status is not None else None
        self.replies = {key: Status(code, enhanced, text) for key, code, enhanced, text in whole.replies} or _NONE
        return getattr(self, name)

    @property
    def path(self) -> str:
        """Its queue file, asked without unpacking it for longer."""
        return _unpack(self._packed).file.replace("*", self.name) if self._packed else self.file

    @property
    def is_packed(self) -> bool:
        """Whether it is packed now."""
        return bool(self._packed)

    @property
    def identity(self) -> str:
        """The message's id."""
        return self.name[:-COPY_DIGITS]

    @property
    def open(self) -> tuple[int, ...]:
        """Ids of the recipients still to do."""
        return tuple([recipient.id for recipient in self.recipients])

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
        self.recipients = tuple([recipient for recipient in self.recipients if recipient.id not in ids])


def _short(address: str, host: str) -> str:
    """The address without the host it begins with."""
    return "*" + address[len(host) + 1 :] if host and address.startswith("@" + host + ":") else address


def _long(address: str, host: str) -> str:
    return f"@{host}{address[1:]}" if address.startswith("*:") else address


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
        "recipients": [], "reason": reason, "why": f"held: {reason}",
    }  # fmt: skip


def _own(recipient: Recipient) -> str:
    return recipient.intermediate if recipient.intermediate != recipient.original else ""


def _recipient(recipient: Recipient, status: Status | None) -> dict[str, Any]:
    shown = {"code": status.code, "enhanced": status.enhanced, "text": status.text} if status is not None else None
    return {"id": recipient.id, "address": recipient.address, "original": recipient.original, "status": shown}


def cargo_of(entry: Entry) -> Cargo:
    """What an entry of the schedule carries."""
    cargo = entry.cargo
    assert isinstance(cargo, Cargo)
    return cargo
