"""DATA (RFC 5321 4.1.1.4): in its place only after an accepted recipient, and not within a BDAT transfer (RFC 3030 2).

LMTP goes on at once and takes a body pipelined behind the verb. In SMTP nothing may come before 354 has left: `go_ahead.py`.
"""

from posthouse.dialogue.conversation import Conversation, Reading
from posthouse.dialogue.event import DataStart, Event
from posthouse.mail.status import Status

_NO_RECIPIENTS = Status(503, "5.5.0", "No recipients")
_NO_RECIPIENTS_LMTP = Status(503, "5.5.1", "No recipients")
NO_TRANSACTION = Status(503, "5.5.1", "MAIL and RCPT first")
_IN_CHUNKS = Status(503, "5.5.1", "BDAT was used, DATA cannot follow")
_ARGUMENT = Status(501, "5.5.4", "DATA takes no argument")
_START = DataStart()
_DATA, _GO = Reading.DATA, Reading.GO


def no_recipients(talk: Conversation) -> Status:
    """What DATA and BDAT are told without an accepted recipient."""
    return _NO_RECIPIENTS_LMTP if talk.is_lmtp else _NO_RECIPIENTS


def data(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """DATA."""
    if argument:
        return talk.bad(line, _ARGUMENT)
    if talk.chunking:
        return talk.bad(line, _IN_CHUNKS)
    if not talk.sender_known:
        return talk.bad(line, NO_TRANSACTION)
    if not talk.accepted:
        return talk.bad(line, no_recipients(talk))
    talk.begin_body(dotted=True)
    if talk.is_lmtp:
        talk.out.append(talk.ok_data)
        talk.reading = _DATA
    else:
        talk.reading = _GO
    return _START
