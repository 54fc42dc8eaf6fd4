"""What a recipient on channel `process` stands for beside being routed: what a user's Sieve script wants done with the message.

On channel `defragment` it says where the recipient goes when the parts of the message are together.

A task is part of the recipient from the final dot on, so it is as durable as the message: it is done by the channel's job, tried
again until it is, and shows in the queue. It is written as one line of JSON (queue.md 4, letter `y`).
"""

from typing import Any, TypeAlias

import msgspec


class Forward(msgspec.Struct, frozen=True, tag="redirect"):
    """The message goes on to the recipient's address."""

    by: str
    """address of the user whose script says so: written into the copy, so that no script sends it round in circles"""


class Bounce(msgspec.Struct, frozen=True, tag="reject"):
    """The sender gets a notice that the message was refused."""

    reason: str
    exact: bool = False
    """in these very words, which no reply to an SMTP client can have (RFC 5429 2.2)"""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A notice of this: routed on its own the address would be taken, for it was refused for the way that led to it."""

    enhanced: str
    text: str


class Answer(msgspec.Struct, frozen=True, tag="vacation"):
    """The sender gets an answer, if he is to have one (RFC 5230)."""

    owner: str
    """names the user in the memory of answers"""
    mail: str
    """address it comes from"""
    addresses: tuple[str, ...]
    """the user's own, lower case"""
    text: str
    subject: str = ""
    seconds: float = 604_800.0
    handle: str = ""
    mime: bool = False
    personal: str = ""
    """the name in From:"""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """The user at the recipient's address is told, once, that his script has a fault."""

    owner: str
    fault: str
    """`line N: reason`"""
    version: str = ""
    """names the script's text: the same line of the same text is told of once, whatever the reason says of a message"""


class Onward(msgspec.Struct, frozen=True, tag="onward"):
    """The recipient waits on channel `defragment` for the other parts of the message."""

    channel: str
    """where it goes then"""


class Told(msgspec.Struct, frozen=True, tag="told"):
    """The sender, who asked with NOTIFY=SUCCESS, is told that a group has the message."""

    final: bool
    """the group is a mailing list: this is where the message was to go"""


Task: TypeAlias = Forward | Bounce | Refused | Answer | Note | Onward | Told
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Task] = msgspec.json.Decoder(Task)


def encode_task(task: Task) -> str:
    """The task as a recipient carries it; octets a script has made that are no UTF-8 become U+FFFD."""
    try:
        return _encoder.encode(task).decode()
    except UnicodeEncodeError:
        texts = {name: _readable(value) for name, value in msgspec.structs.asdict(task).items()}
        return _encoder.encode(type(task)(**texts)).decode()


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return tuple(map(_readable, value)) if isinstance(value, tuple) else value


def is_quiet(text: str) -> bool:
    """Whether nobody is told when it cannot be done: answers and notes are nobody's mail."""
    return bool(text) and isinstance(decode_task(text), Answer | Note)


def decode_task(text: str) -> Task:
    """The task a recipient carries.

    Raises:
        msgspec.MsgspecError: the text is none.
    """
    return _decoder.decode(text)
