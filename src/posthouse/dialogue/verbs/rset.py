"""RSET (RFC 5321 4.1.1.5): the transaction is forgotten, the hello is not."""

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event, Reset
from posthouse.mail.status import Status


def rset(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """RSET."""
    if argument:
        return talk.bad(line, Status(501, "5.5.4", "RSET takes no argument"))
    talk.forget()
    talk.say(talk.words.reset)
    talk.unmoved()
    return Reset()
