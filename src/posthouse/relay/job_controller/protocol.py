"""What the job controller and its channel workers say to each other, and how it is framed.

A frame is a length of 4 octets, big-endian, and a MessagePack array of messages: many leases or results travel in one
frame. Messages are arrays that begin with their tag. A frame is at most 16 MiB; a longer one is refused, because only
a broken peer can have sent it. Announcements and requests on the control socket are JSON lines (see control.py).
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeAlias

import msgspec

from posthouse.dispatcher.trouble import Trouble
from posthouse.journal.segment import RecordRef
from posthouse.mail.status import Status
from posthouse.relay.job_controller.backoff import Verdict

MAX_FRAME = 16 * 1024 * 1024
HELD_BY_OPERATOR = "held by an operator"
"""why a copy is held, in results and in the log"""


Reply: TypeAlias = tuple[int, int, str, str]
"""recipient id, code, enhanced code, text"""


class Job(IntEnum):
    """What is to be done with a leased copy."""

    DELIVER = 0
    WARN = 1
    """tell the sender that delivery is delayed"""
    RETURN = 2
    """too old: return it to the sender and settle its recipients"""
    MOVE = 3
    """write it into a queue file (DURABILITY 3.3)"""
    HOLD = 4
    """an operator's order: make it a `.HELD` file, from a record or a file"""
    RELEASE = 5
    """an operator's order: a `.HELD` file is to go"""
    BOUNCE = 6
    """an operator's order: return these recipients to the sender"""
    DROP = 7
    """an operator's order: settle these recipients, telling nobody"""
    REROUTE = 8
    """an operator's order: ask the directory anew where these recipients' mailboxes are, and enqueue the message for there"""
    ASK = 9
    """an operator's question: where REROUTE would send these recipients"""


class Lease(msgspec.Struct, array_like=True, tag="l", gc=False):
    """One copy handed to a worker: nobody else touches it until its result is back."""

    key: int
    """the controller's number for the copy"""
    job: Job
    channel: str
    host: str
    copy: int
    """copy number in the message"""
    record: RecordRef | None
    """the journal record, None for a queue file"""
    file: str
    """path of the queue file under the queue folder, empty for a journal record"""
    open: tuple[int, ...]
    """ids of the recipients still to do"""
    attempts: int
    """attempts made before this one"""
    instant: bool
    """an immediate retry is still to be had: a partial failure is logged Z, not Q"""
    notice: int = 0
    """MOVE and HOLD: 1 to file it as .HELD"""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    """the last reply that kept it waiting, for all but DELIVER"""
    some: bool = False
    """`open` is not all that is to do: the others wait their own time and are not to be tried now"""
    told: bool = False
    """the host has had the recipients' quota already: what is recorded here may be older than what it knows now"""
    replies: tuple[Reply, ...] = ()
    """the recipients' own, where they are not all the same"""
    why: str = ""
    """MOVE of what is to be held: the reason"""


class Result(msgspec.Struct, array_like=True, tag="r", gc=False):
    """What became of a lease."""

    key: int
    verdict: Verdict
    settled: tuple[tuple[int, str], ...] = ()
    """recipient id and its mark, D or F"""
    code: int = 0
    enhanced: str = ""
    text: str = ""
    """the reply that kept the rest waiting"""
    file: str = ""
    """path of the queue file now, where it has one"""
    replies: tuple[Reply, ...] = ()
    """the recipients' own, where they are not all the same"""
    patient: tuple[int, ...] = ()
    """BUSY: those left whose mailbox is not busy; they wait their ordinary time"""


def own_replies(said: Lease | Result) -> dict[int, Status]:
    """The replies of recipients that have one of their own."""
    return {recipient: Status(code, enhanced, text) for recipient, code, enhanced, text in said.replies}


class HostUp(msgspec.Struct, array_like=True, tag="u", gc=False):
    """A session to the host has been greeted and is ready."""

    channel: str
    host: str


class HostDown(msgspec.Struct, array_like=True, tag="d", gc=False):
    """The host refused, did not answer, or cannot be found."""

    channel: str
    host: str
    text: str


class Alarm(msgspec.Struct, array_like=True, tag="a", gc=False):
    """Something a person must know: logged by the controller, kept for `status`."""

    text: str


class Grant(msgspec.Struct, array_like=True, tag="g", gc=False):
    """Most sessions the worker may use for a host from now on."""

    channel: str
    host: str
    sessions: int


class Drain(msgspec.Struct, array_like=True, tag="x", gc=False):
    """To the worker: finish what is out, hand back the rest, end."""


class Reload(msgspec.Struct, array_like=True, tag="c", gc=False):
    """To the worker: read the configuration again."""


class Started(msgspec.Struct, array_like=True, tag="s", gc=False):
    """From the worker: configuration read, ready for leases."""

    pid: int


class Alive(msgspec.Struct, array_like=True, tag="v", gc=False):
    """From the worker, each second: its loop turns."""


class Troubled(msgspec.Struct, array_like=True, tag="t", gc=False):
    """From the worker, when it changes: all that keeps its deliveries here from being made now."""

    troubles: tuple[Trouble, ...]


Downward: TypeAlias = Lease | Grant | Drain | Reload
Upward: TypeAlias = Result | HostUp | HostDown | Alarm | Started | Alive | Troubled

_encoder = msgspec.msgpack.Encoder()
_downward = msgspec.msgpack.Decoder(list[Lease | Grant | Drain | Reload])
_upward = msgspec.msgpack.Decoder(list[Result | HostUp | HostDown | Alarm | Started | Alive | Troubled])


class FrameError(ValueError):
    """The peer sent something that is no frame."""


def frame(messages: Sequence[Downward] | Sequence[Upward]) -> bytes:
    """The octets of one frame."""
    body = _encoder.encode(messages)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a stream of octets into frame bodies."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frame bodies that are complete now.

        Raises:
            FrameError: a frame is longer than 16 MiB.
        """
        held = self._held
        held += data
        out: list[bytes] = []
        start = 0
        while len(held) - start >= 4:
            length = int.from_bytes(held[start : start + 4], "big")
            if length > MAX_FRAME:
                raise FrameError(f"frame of {length} octets")
            if len(held) - start - 4 < length:
                break
            out.append(bytes(held[start + 4 : start + 4 + length]))
            start += 4 + length
        if start:
            del held[:start]
        return out


def read_downward(body: bytes) -> list[Downward]:
    """The messages of a frame to a worker."""
    try:
        return _downward.decode(body)
    except msgspec.DecodeError as fault:
        raise FrameError(str(fault)) from None


def read_upward(body: bytes) -> list[Upward]:
    """The messages of a frame from a worker."""
    try:
        return _upward.decode(body)
    except msgspec.DecodeError as fault:
        raise FrameError(str(fault)) from None
