"""What a client is given, a message's envelope, and where it stands with it."""

from enum import Enum
from typing import NamedTuple


class ClientPhase(Enum):
    """What the connection waits for: the session chooses its deadline by it."""

    GREETING = "greeting"
    HELLO = "reply to the hello"
    STARTTLS = "reply to STARTTLS"
    HANDSHAKE = "the handshake of TLS"
    AUTH = "reply to AUTH"
    IDLE = "a transaction"
    ENVELOPE = "replies to MAIL, RCPT and DATA"
    BODY = "the session's body"
    FINAL = "final replies"
    LEAVING = "reply to QUIT"
    CLOSED = "nothing"


class Step(Enum):
    """Which command a reply belongs to."""

    RSET = 0
    MAIL = 1
    RCPT = 2
    DATA = 3


class Transaction(NamedTuple):
    """One message for one server."""

    sender: bytes
    """without brackets"""
    size: int
    """`stuffing.wire_size` of the body; negative when it is not known"""
    recipients: tuple[bytes, ...]
    """ready-made RCPT arguments: `<uid+folder@domain> XQUOTA=1,2`"""
    params: bytes = b""
    """further MAIL parameters, separated by blanks: `BODY=8BITMIME SMTPUTF8`"""
