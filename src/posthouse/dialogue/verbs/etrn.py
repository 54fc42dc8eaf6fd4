"""ETRN (RFC 1985): known by name, not offered."""

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event
from posthouse.mail.status import Status


def etrn(talk: Conversation, _argument: bytes, line: bytes) -> Event:
    """ETRN host."""
    return talk.bad(line, Status(502, "5.5.1", "command not implemented"))
