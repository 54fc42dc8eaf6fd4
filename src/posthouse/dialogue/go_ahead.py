"""What a client may send before the reply that lets it go ahead: 354 to DATA in SMTP, 220 to STARTTLS.

Too early is whatever arrived before the output with that reply was taken.

DATA (RFC 2920 3.1): whole lines that are commands are dropped; anything else would be a message with its beginning cut off, so
instead of 354 goes `554 5.5.0` and the connection closes. LMTP takes a body pipelined behind DATA and never comes here.

STARTTLS (RFC 3207 4.2): anything is refused with 554 and the connection closes, so that nothing typed in clear is obeyed under
TLS.
"""

from posthouse.dialogue.conversation import Conversation, Owed, Reading
from posthouse.dialogue.event import BadCommand, MessageRefused
from posthouse.dialogue.verbs.table import VERBS
from posthouse.mail.status import Status

EARLY_LIMIT = 4096
"""octets within which commands that came too early are told from a message"""
_TOO_EARLY = Status(554, "5.5.0", "message data sent before the 354 reply")
_BEHIND_TLS = Status(554, "5.5.0", "nothing may be sent behind STARTTLS before its reply")
_START_TLS = Status(220, "2.5.0", "Go ahead with TLS negotiation.")


def go_data(talk: Conversation, early: bytes) -> None:
    """354 leaves now, unless something came before it that was no command."""
    lines = early.split(b"\r\n")
    if not lines.pop() and len(early) <= EARLY_LIMIT and all(line.partition(b" ")[0].upper() in VERBS for line in lines):
        talk.out.append(talk.ok_data)
        talk.reading = Reading.DATA
        return
    talk.forget()
    talk.reading = Reading.COMMAND
    talk.events.append(MessageRefused(_TOO_EARLY))
    talk.close_with(_TOO_EARLY)


def go_tls(talk: Conversation, early: bytes) -> None:
    """220 leaves now, unless something came behind STARTTLS."""
    talk.reading = Reading.COMMAND
    if not early:
        talk.say(_START_TLS)
        return
    talk.owed = Owed.NOTHING
    talk.events.append(BadCommand(b"STARTTLS", _BEHIND_TLS))
    talk.close_with(_BEHIND_TLS)
