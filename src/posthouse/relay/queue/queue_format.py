r"""What is written in a queue file (queue.md 4).

    v;1                      one line for each letter, LF line ends, UTF-8; CR LF NUL and backslash are \r \n \0 \\
    i;<message id>  c;<source channel>  s;<source>  t;<Unix ms>  z;<octets of the message>  d;<host>  m;<sender> ...
    k;T<recipient id>        opens a recipient: its state octet T, D or F stands at a fixed place and is overwritten there
    f;<as given at RCPT>     j;<ORCPT>  n;<NOTIFY>  q;<quota>  x;<flags>  g;<intermediate address>  l;<1: vacation answer due>
    <active address>         closes it; a backslash before what would look like a letter line
    Boundary_(ID_...)
    <z octets: the message>
    Boundary_(ID_...)        after a LF if the message does not end in one
    H;<Unix ms>;<attempt>;<recipient>;<4.2.1>;<450>;<text>;<host>       history, appended
    W;<text>                                                            why it is held, appended; the last one counts

Of ours beside the letters of queue.md 4: `w` octets dot-stuffing adds, `a` the message a notice is about, `b` crc32 of the
message in hexadecimal; `y` is a recipient's task (mail/task.py), `I` its IMAP flags (mail/imap_flags.py). Unknown letters are
passed over; nothing but state octets and history is ever written again.
`DamagedQueueFile` says in words what is wrong: version, state, `z`, a boundary, the crc.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from posthouse.mail.envelope import Envelope, Priority, Recipient

_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", "\0": "\\0"}
_UNESCAPES = {"\\\\": "\\", "\\r": "\r", "\\n": "\n", "\\0": "\0"}
_ESCAPED = re.compile(r"\\[\\rn0]")
_SPECIAL = re.compile(r"[\\\r\n\0]")
_LETTER = re.compile(r"[A-Za-z];")
_BOUNDARY = b"Boundary_(ID_"
MAX_ENVELOPE = 64 << 20


class State(StrEnum):
    """State of one recipient in a queue file."""

    TO_DO = "T"
    DONE = "D"
    FAILED = "F"
    """failed for good and its notice is durable"""


class DamagedQueueFile(Exception):  # noqa: N818 - says what was found
    """The file is not a queue file as we write them; the text is the reason for `.HELD`."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of history: what became of one recipient in one attempt."""

    time: int
    """Unix time in milliseconds"""
    attempt: int
    recipient: int
    enhanced: str
    code: int
    text: str
    host: str


@dataclass(frozen=True, slots=True)
class QueueFile:
    """A queue file's content but its message."""

    envelope: Envelope
    """recipients: those of this copy only"""
    states: dict[int, State]
    """by recipient id, as they were when the file was read"""
    state_offsets: dict[int, int]
    """where each recipient's state octet stands"""
    body_offset: int
    boundary: bytes
    body_crc: int | None

    @property
    def open_ids(self) -> tuple[int, ...]:
        """Ids of the recipients still to do."""
        return tuple(key for key, state in self.states.items() if state is State.TO_DO)

    @property
    def body_end(self) -> int:
        """Offset of the first octet behind the message."""
        return self.body_offset + self.envelope.size


def escape(text: str) -> str:
    """The text on one line."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text)


def unescape(text: str) -> str:
    """The text as it was."""
    return _ESCAPED.sub(lambda match: _UNESCAPES[match[0]], text)


def encode_head(envelope: Envelope, recipients: Sequence[Recipient], boundary: bytes, crc: int | None) -> bytes:
    """Everything before the message. The recipients are those of one copy, all of them to do."""
    options = "8BITMIME " * envelope.eight_bit + "SMTPUTF8" * envelope.utf8
    values = (
        ("v", "1"), ("u", envelope.user), ("c", envelope.source_channel), ("s", envelope.source),
        ("t", str(envelope.enqueued)), ("p", envelope.priority.value), ("z", str(envelope.size)),
        ("w", str(envelope.wire_growth)), ("b", "" if crc is None else f"{crc:08x}"), ("i", envelope.id),
        ("h", envelope.message_id), ("e", envelope.envid), ("r", envelope.ret), ("o", options.strip()),
        ("a", envelope.about), ("d", recipients[0].host if recipients else ""),
    )  # fmt: skip
    lines = [f"{letter};{escape(value)}" for letter, value in values if value]
    lines.append("m;" + escape(envelope.sender))
    for each in recipients:
        lines.append(f"k;{State.TO_DO}{each.id}")
        optional = (
            ("f", each.original), ("j", each.orcpt), ("n", each.notify), ("q", each.quota),
            ("x", str(each.flags) if each.flags else ""), ("g", each.intermediate), ("l", "1" if each.answers else ""),
            ("y", each.task), ("I", each.imap_flags),
        )  # fmt: skip
        lines += [f"{letter};{escape(value)}" for letter, value in optional if value]
        address = escape(each.address)
        lines.append("\\" + address if _LETTER.match(address) else address)
    return "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n" + boundary + b"\n"


def new_boundary(unique: str) -> bytes:
    """The boundary line of one file."""
    return _BOUNDARY + unique.encode() + b")"


def encode_history(history: Iterable[Attempt]) -> bytes:
    """Lines to append."""
    return b"".join(
        f"H;{each.time};{each.attempt};{each.recipient};{each.enhanced};{each.code};"
        f"{escape(each.text).replace(';', ',')};{escape(each.host)}\n".encode("utf-8", "surrogateescape")
        for each in history
    )


def decode_history(octets: bytes) -> list[Attempt]:
    """The history behind the closing boundary; lines that are none, or torn, are passed over."""
    found = []
    for line in octets.split(b"\n"):
        fields = line.decode("utf-8", "surrogateescape").split(";", 7)
        if len(fields) == 8 and fields[0] == "H" and all(field.isdecimal() for field in (*fields[1:4], fields[5])):
            time, attempt, recipient, enhanced, code, text, host = fields[1:]
            found.append(Attempt(int(time), int(attempt), int(recipient), enhanced, int(code), unescape(text), unescape(host)))
    return found


def encode_held(reason: str) -> bytes:
    """The line that says why the file is held; with no reason: that it is held no more."""
    return f"W;{escape(reason)}\n".encode("utf-8", "surrogateescape")


def decode_held(octets: bytes) -> str:
    """Why the file is held, as the lines behind the message say; empty where none does."""
    lines = [line for line in octets.split(b"\n")[:-1] if line.startswith(b"W;")]
    return unescape(lines[-1][2:].decode("utf-8", "surrogateescape")) if lines else ""


class _Head:
    """The lines before the message, taken one after the other."""

    def __init__(self, channel: str, copy: int, held: bool) -> None:
        self.channel, self.copy, self.held = channel, copy, held
        self.values: dict[str, str] = {}
        self.recipients: list[Recipient] = []
        self.states: dict[int, State] = {}
        self.state_offsets: dict[int, int] = {}
        self.open: dict[str, str] | None = None

    def line(self, raw: bytes, offset: int) -> bool:
        """Take one line; False when it is the boundary."""
        text = raw.decode("utf-8", "surrogateescape")
        if _LETTER.match(text):
            self._value(text[0], unescape(text[2:]), offset)
        elif self.open is not None:
            self._close(unescape(text[1:] if re.match(r"\\[A-Za-z];", text) else text))
        elif raw.startswith(_BOUNDARY):
            return False
        else:
            raise DamagedQueueFile("the envelope does not end in a boundary")
        return True

    def _value(self, letter: str, value: str, offset: int) -> None:
        if letter == "k":
            if self.open is not None:
                raise DamagedQueueFile("a recipient has no address")
            self.open = {}
            if value[:1] not in {"T", "D", "F"} or not value[1:].isdecimal():
                raise DamagedQueueFile(f"unknown recipient state {value!r}")
            identity = int(value[1:])
            if identity in self.states:
                raise DamagedQueueFile(f"recipient {identity} stands there twice")
            self.states[identity] = State(value[0])
            self.state_offsets[identity] = offset + 2
        elif self.open is not None:
            self.open[letter] = value
        else:
            self.values[letter] = value

    def _close(self, address: str) -> None:
        known = self.open or {}
        self.open = None
        self.recipients.append(
            Recipient(
                id=list(self.states)[-1], copy=self.copy, channel=self.channel, address=address,
                original=known.get("f", ""), host=self.values.get("d", ""), orcpt=known.get("j", ""),
                notify=known.get("n", ""), quota=known.get("q", ""), flags=_number(known, "x", "0"),
                intermediate=known.get("g", ""), held=self.held, answers=known.get("l") == "1",
                task=known.get("y", ""), imap_flags=known.get("I", ""),
            )
        )  # fmt: skip

    def envelope(self) -> Envelope:
        """The envelope the lines described."""
        values = self.values
        if values.get("v") != "1":
            raise DamagedQueueFile(f"unknown version {values.get('v', '')!r}")
        options = values.get("o", "").split()
        priority = values.get("p", "N")
        return Envelope(
            id=values.get("i", ""), sender=values.get("m", ""), source_channel=values.get("c", ""),
            source=values.get("s", ""), enqueued=_number(values, "t", "0"), size=_number(values, "z", ""),
            recipients=tuple(self.recipients), message_id=values.get("h", ""),
            priority=Priority(priority) if priority in {"U", "N", "L"} else Priority.NORMAL,
            eight_bit="8BITMIME" in options, utf8="SMTPUTF8" in options, envid=values.get("e", ""),
            ret=values.get("r", ""), user=values.get("u", ""), wire_growth=_number(values, "w", "0"),
            about=values.get("a", ""),
        )  # fmt: skip


def _number(values: dict[str, str], letter: str, default: str) -> int:
    text = values.get(letter, default)
    if not text.isdecimal() or not text.isascii():
        raise DamagedQueueFile(f"{letter}; is not a number: {text!r}")
    return int(text)


def decode_head(octets: bytes, channel: str, copy: int, *, held: bool = False) -> QueueFile | None:
    """The content before the message; None when the octets end before the boundary, read more then.

    Args:
        octets: the beginning of the file.
        channel: the folder it stands in.
        copy: the copy number in its name.
        held: whether its name says so.

    Raises:
        DamagedQueueFile: it is not a queue file.
    """
    head = _Head(channel, copy, held)
    offset = 0
    while True:
        end = octets.find(b"\n", offset)
        if end < 0:
            return None
        raw = octets[offset:end]
        if not offset and raw != b"v;1":
            raise DamagedQueueFile("the first line is not v;1")
        if not head.line(raw, offset):
            break
        offset = end + 1
    crc = head.values.get("b", "")
    if crc and not re.fullmatch(r"[0-9a-f]{8}", crc):
        raise DamagedQueueFile("b; is not a crc")
    if not head.recipients:
        raise DamagedQueueFile("there is no recipient")
    return QueueFile(
        head.envelope(), head.states, head.state_offsets, end + 1, raw, int(crc, 16) if crc else None
    )
