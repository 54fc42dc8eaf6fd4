"""EXPN (RFC 5321 3.5.2): lists are not shown."""

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event
from posthouse.mail.status import Status


def expn(talk: Conversation, _argument: bytes, line: bytes) -> Event:
    """EXPN list."""
    return talk.bad(line, Status(502, "5.5.1", "EXPN is not available"))
