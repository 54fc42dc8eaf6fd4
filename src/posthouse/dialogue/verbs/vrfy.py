"""VRFY (RFC 5321 3.5.3): 252 always, so that nobody learns who lives here."""

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event
from posthouse.mail.status import Status


def vrfy(talk: Conversation, argument: bytes, line: bytes) -> Event | None:
    """VRFY name."""
    if not argument:
        return talk.bad(line, Status(501, "5.5.4", "VRFY wants a name"))
    talk.say(talk.words.verify)
    talk.unmoved()
    return None
