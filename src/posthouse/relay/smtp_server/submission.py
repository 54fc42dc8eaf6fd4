"""What a submission's header gets and loses on a channel with the keyword `submit` (smtp-relay.md 5, RFC 6409 8).

    Date, Message-ID      added where they are missing, in front of the others
    Sender                the user who has logged in, where neither From nor Sender is one of his addresses
    Bcc, Resent-Bcc       taken out: whoever is named there is in the envelope

Everything else stays octet for octet. A mail server's own mail is none of our business: other channels change nothing. On any
channel FROM_ACCESS may want another Sender: field (`$K`).
"""

import re
from collections.abc import Iterator
from email.utils import getaddresses
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from posthouse.dialogue.event import Message, MessageEnd
from posthouse.relay.smtp_server.transaction import Transaction

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.session import SmtpSession

_FIELD = re.compile(rb"(?im)^(date|message-id|from|sender|(?:resent-)?bcc)[ \t]*:((?:[^\r\n]|\r\n[ \t])*)\r\n")
_SENDER = re.compile(rb"(?m)^Sender: [^\r]*\r\n")


class Mending(NamedTuple):
    """What is to be done to one message."""

    added: bytes
    """fields to stand in front of the header"""
    cuts: tuple[tuple[int, int], ...]
    """places in the header that go, in their order"""
    message_id: str
    """the Message-ID that was added, or empty"""

    @property
    def removed(self) -> int:
        """Octets that go."""
        return sum(end - start for start, end in self.cuts)

    def with_sender(self, header: bytes, address: str) -> "Mending":
        """The same, and this address in the only Sender: field."""
        senders = (match.span() for match in _FIELD.finditer(header) if match[1].lower() == b"sender")
        added = _SENDER.sub(b"", self.added) + f"Sender: {address}\r\n".encode()
        return Mending(added, tuple(sorted({*self.cuts, *senders})), self.message_id)

    def apply(self, octets: bytes) -> bytes:
        """The message without what goes."""
        return b"".join(_kept(octets, self.cuts)) if self.cuts else octets


_NOTHING = Mending(b"", (), "")


def mending(header: bytes, *, user: str, addresses: frozenset[str], date: str, message_id: str) -> Mending:
    """What a header needs.

    Args:
        header: its fields with their line ends.
        user: primary address of who has logged in, or empty.
        addresses: all of his, lower case.
        date: of today, for a message that has none.
        message_id: with its brackets, for a message that has none.
    """
    seen: dict[bytes, bytes] = {}
    cuts: list[tuple[int, int]] = []
    senders: list[tuple[int, int]] = []
    for match in _FIELD.finditer(header):
        name = match[1].lower()
        if name.endswith(b"bcc"):
            cuts.append(match.span())
        elif name == b"sender":
            senders.append(match.span())
        seen.setdefault(name, match[2])
    added = f"Date: {date}\r\n" if b"date" not in seen else ""
    missing_id = b"message-id" not in seen
    if missing_id:
        added += f"Message-ID: {message_id}\r\n"
    if user and b"from" in seen and not _is_his(seen.get(b"sender", seen[b"from"]), addresses):
        cuts += senders
        if not _is_his(seen[b"from"], addresses):
            added += f"Sender: {user}\r\n"
    return Mending(added.encode(), tuple(sorted(cuts)), message_id if missing_id else "")


def begin(session: "SmtpSession", transaction: Transaction, octets: bytes) -> bytes:
    """Mend the first octets of a message that streams; a header that does not end in them is left as it is."""
    end = octets.find(b"\r\n\r\n")
    return _mend(session, transaction, octets, end + 2) if end >= 0 else octets


def mended(session: "SmtpSession", transaction: Transaction, event: Message | MessageEnd) -> Message | MessageEnd:
    """The whole message with its header mended; what was streamed has been mended at its beginning."""
    if isinstance(event, Message):
        octets = _mend(session, transaction, event.data, event.header_end)
        return msgspec.structs.replace(event, data=octets, lf=None, header_end=event.header_end - transaction.removed)
    removed = transaction.removed
    return msgspec.structs.replace(event, size=event.size - removed, header_end=event.header_end - removed)


def _mend(session: "SmtpSession", transaction: Transaction, octets: bytes, end: int) -> bytes:
    relay, client, header, plan = session.relay, session.client, octets[:end], _NOTHING
    if session.way_in.submits:
        own = f"<{transaction.message_id}@{relay.host}>"
        plan = mending(header, user=client.user, addresses=client.addresses, date=relay.date(), message_id=own)
    if transaction.sender_field:
        plan = plan.with_sender(header, transaction.sender_field)
    transaction.added += plan.added
    transaction.removed, transaction.given_id = plan.removed, plan.message_id
    return plan.apply(octets)


def _is_his(value: bytes, addresses: frozenset[str]) -> bool:
    """Whether one of the addresses of a field is the user's."""
    text = value.decode("utf-8", "replace").replace("\r\n", "")
    return any(address.lower() in addresses for _, address in getaddresses([text]))


def _kept(octets: bytes, cuts: tuple[tuple[int, int], ...]) -> Iterator[bytes]:
    at = 0
    for start, end in cuts:
        yield octets[at:start]
        at = end
    yield octets[at:]
