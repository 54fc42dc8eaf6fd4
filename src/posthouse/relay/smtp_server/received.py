"""The trace header and loop control (smtp-relay.md 4, RFC 5321 4.4).

    Received: from client.name ([192.0.2.9])
     by relay1.example.com (Posthouse 0.1.0) with ESMTP id <0T8K00A01BCDEF@relay1.example.com>
     for bob@example.com; Mon, 23 Nov 2026 10:00:00 +0100

What the client called itself is shown only as far as it is printable and cannot end a comment; `for` only with exactly one
recipient, so that nobody sees who else got the mail.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import msgspec

_PRINTABLE = re.compile(r"[A-Za-z0-9._:\[\]\-]{1,255}")
_LONGEST_HELO = 255
_RECEIVED = re.compile(rb"(?im)^received[ \t]*:")


class Hop(msgspec.Struct, frozen=True):
    """What is known of the client and of us when a message arrives."""

    helo: str
    address: str
    """empty where there is none"""
    host: str
    protocol: str
    """SMTP, ESMTP or UTF8SMTP (RFC 3848, RFC 6531 4.3)"""
    product: str


def protocol_name(*, esmtp: bool, utf8: bool, tls: bool, user: bool = False) -> str:
    """What was spoken, as the trace field says it (RFC 3848, RFC 6531 4.3)."""
    if not esmtp:
        return "SMTP"
    return ("UTF8SMTP" if utf8 else "ESMTP") + "S" * tls + "A" * user


def helo_name(argument: bytes) -> str:
    """What the client calls itself, as far as it is kept; octets that are no ASCII are replaced."""
    return argument[:_LONGEST_HELO].decode("ascii", "replace")


def received_line(hop: Hop, message_id: str, recipient: str, date: str) -> bytes:
    """The header field with its line end.

    Args:
        hop: where it came from.
        message_id: our id.
        recipient: the only recipient as given, or "" when there are several.
        date: RFC 5322 date.
    """
    shown = f"\r\n for {recipient}" if recipient and recipient.isprintable() and len(recipient) < 256 else ""
    return f"{_opening(hop)}{message_id}@{hop.host}>{shown}; {date}\r\n".encode()


@lru_cache(maxsize=256)
def _opening(hop: Hop) -> str:
    """Up to our id."""
    helo = hop.helo if _PRINTABLE.fullmatch(hop.helo) else "unknown"
    literal = f"IPv6:{hop.address}" if ":" in hop.address else hop.address
    shown = f" ([{literal}])" if literal else ""
    return f"Received: from {helo}{shown}\r\n by {hop.host} ({hop.product}) with {hop.protocol} id <"


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """MAX_RECEIVED_LINES, MAX_LOCAL_RECEIVED_LINES and MAX_TOTAL_RECEIVED_LINES of option.dat."""

    received: int = 50
    local: int = 10
    total: int = 100


def looping(header: bytes, low: bytes, host: str, limits: LoopLimits) -> str:
    """Why the message is held as looping, or "" (smtp-relay.md 4: held, not bounced, for a bounce could loop too).

    Args:
        header: the header section, without the line we add.
        low: the same in lower case, with a line end in front.
        host: our own name.
        limits: how many hops are too many.
    """
    if low.count(b"\nreceived") <= min(limits.local, limits.received, limits.total):
        return ""  # nearly all mail: not even so many lines that look like it
    count = len(_RECEIVED.findall(header))
    if count > limits.total or count > limits.received:
        return f"{count} Received lines"
    if count > limits.local:
        local = len(
            re.findall(rb"(?im)^received[ \t]*:(?:[^\r\n]|\r\n[ \t])*?\bby[ \t]+" + re.escape(host.encode()) + rb"\b", header)
        )
        if local > limits.local:
            return f"{local} Received lines of this host"
    return ""
