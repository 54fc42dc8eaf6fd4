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
    BDAT = 4


_MAIL, _RCPT, _DATA = (Step.MAIL, 0), Step.RCPT, (Step.DATA, 0)
_FOR_ONE = [_MAIL, (_RCPT, 0), _DATA]
_AT_ONCE = [_MAIL, (_RCPT, 0), (Step.BDAT, 0)]


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
    chunk: bytes = b""
    """the whole message, sent along by BDAT (RFC 3030 2): for one recipient, to a server that lists CHUNKING and PIPELINING"""

    def commands(self, *, size: bool, reset: bool) -> tuple[list[bytes], list[tuple[Step, int]]]:
        """The commands up to DATA, or with the message in the last one, and which one each reply will belong to.

        Args:
            size: whether SIZE is said.
            reset: whether a RSET goes ahead.

        Raises:
            ValueError: no recipients, or several for a chunk, or an address or parameter with a line end or NUL.
        """
        if not self.recipients:
            raise ValueError("no recipients")
        if self.chunk and len(self.recipients) > 1:
            raise ValueError("a refused chunk could not be told from its first recipient's reply")
        said = b" SIZE=%d" % self.size if size and self.size >= 0 else b""
        params = b" " + self.params if self.params else b""
        commands = [b"RSET\r\n"] if reset else []
        commands.append(b"MAIL FROM:<%b>%b%b\r\n" % (self.sender, said, params))
        commands += [b"RCPT TO:%b\r\n" % recipient for recipient in self.recipients]
        commands.append(b"BDAT %d LAST\r\n" % len(self.chunk) if self.chunk else b"DATA\r\n")
        octets = b"".join(commands)
        if not octets.count(b"\n") == octets.count(b"\r") == len(commands) or b"\0" in octets:
            raise ValueError("line end or NUL in an address or parameter")
        count = len(self.recipients)
        if self.chunk:
            commands.append(self.chunk)
            steps = _AT_ONCE
        else:
            steps = _FOR_ONE if count == 1 else [_MAIL, *((_RCPT, index) for index in range(count)), _DATA]
        return commands, [(Step.RSET, 0), *steps] if reset else steps
