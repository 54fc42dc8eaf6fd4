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


_MAIL, _RCPT, _DATA = (Step.MAIL, 0), Step.RCPT, (Step.DATA, 0)
_FOR_ONE = [_MAIL, (_RCPT, 0), _DATA]


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

    def commands(self, *, size: bool, reset: bool) -> tuple[list[bytes], list[tuple[Step, int]]]:
        """The commands up to DATA, and which one each reply will belong to.

        Args:
            size: whether SIZE is said.
            reset: whether a RSET goes ahead.

        Raises:
            ValueError: no recipients, or an address or parameter with a line end or NUL.
        """
        if not self.recipients:
            raise ValueError("no recipients")
        said = b" SIZE=%d" % self.size if size and self.size >= 0 else b""
        params = b" " + self.params if self.params else b""
        commands = [b"RSET\r\n"] if reset else []
        commands.append(b"MAIL FROM:<%b>%b%b\r\n" % (self.sender, said, params))
        commands += [b"RCPT TO:%b\r\n" % recipient for recipient in self.recipients]
        commands.append(b"DATA\r\n")
        octets = b"".join(commands)
        if not octets.count(b"\n") == octets.count(b"\r") == len(commands) or b"\0" in octets:
            raise ValueError("line end or NUL in an address or parameter")
        count = len(self.recipients)
        steps = _FOR_ONE if count == 1 else [_MAIL, *((_RCPT, index) for index in range(count)), _DATA]
        return commands, [(Step.RSET, 0), *steps] if reset else steps
