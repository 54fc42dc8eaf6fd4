"""STARTTLS (RFC 3207): in clear only, outside a transaction, and the last thing said in clear.

220 is held back until the session takes the output; what came behind the verb until then is refused: `go_ahead.py`.
"""

from posthouse.dialogue.conversation import Conversation, Owed, Reading
from posthouse.dialogue.event import Event, StartTls
from posthouse.mail.status import Status

_NOT_OFFERED = Status(502, "5.5.1", "command not implemented")
_ARGUMENT = Status(501, "5.5.4", "STARTTLS takes no argument")
_IN_TRANSACTION = Status(503, "5.5.1", "not within a transaction")


def starttls(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """STARTTLS."""
    if not talk.policy.starttls:
        return talk.bad(line, _NOT_OFFERED)
    if argument:
        return talk.bad(line, _ARGUMENT)
    if talk.sender_known or talk.chunking:
        return talk.bad(line, _IN_TRANSACTION)
    talk.owed = Owed.TLS
    talk.reading = Reading.GO
    return StartTls()
