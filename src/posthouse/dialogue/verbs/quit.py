"""QUIT (RFC 5321 4.1.1.10): 221, then the connection closes."""

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event, Quit
from posthouse.mail.status import Status


def leave(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """QUIT."""
    if argument:
        return talk.bad(line, Status(501, "5.5.4", "QUIT takes no argument"))
    talk.close_with(talk.words.quit)
    return Quit()
