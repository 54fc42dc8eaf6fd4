"""BDAT (RFC 3030 2): `BDAT octets [LAST]`, then so many octets.

A refused BDAT is answered after its octets were read and thrown away, so that they are never taken for commands. A line that does
not say how many octets follow cannot be survived: 501 and close; nor can one that announces more than `max_swallow`.
A chunk that passes the limit of the body: LMTP `500 message too big` and close, SMTP `552 5.3.4` and the transaction is over.
"""

import re

from posthouse.dialogue.conversation import Conversation, Reading
from posthouse.dialogue.event import BadCommand, DataStart, Event, Oversize
from posthouse.dialogue.too_big import TOO_BIG
from posthouse.dialogue.verbs.data import NO_TRANSACTION, no_recipients
from posthouse.mail.status import Status

_ARGUMENT = re.compile(rb"([0-9]{1,18})(?:[ ]+(LAST))?", re.IGNORECASE)
_SYNTAX = Status(501, "5.5.4", "syntax is BDAT octets [LAST]")
_START = DataStart()
OVER_LIMIT = Status(552, "5.3.4", "message size exceeds the limit")


def bdat(talk: Conversation, argument: bytes, line: bytes) -> Event | None:
    """BDAT octets [LAST]."""
    match = _ARGUMENT.fullmatch(argument)
    if match is None:
        event = talk.bad(line, _SYNTAX)
        talk.closing = True
        return event
    size, last = int(match[1]), match[2] is not None
    if not talk.sender_known:
        return _refuse(talk, line, size, NO_TRANSACTION)
    if not talk.accepted:
        return _refuse(talk, line, size, no_recipients(talk))
    total = talk.chunk_size + size if talk.chunking else size
    limit = talk.allowance().limit
    if 0 < limit < total:
        return _too_big(talk, line, size)
    talk.chunk_size = total
    talk.chunk_left = size
    talk.chunk_last = last
    talk.reading = Reading.CHUNK
    if not size and not last:
        talk.unmoved()
    if talk.chunking:
        return None
    talk.chunking = True
    talk.begin_body(dotted=False)
    return _START


def _refuse(talk: Conversation, line: bytes, size: int, status: Status) -> Event | None:
    if size > talk.policy.max_swallow:
        event = talk.bad(line, status)
        talk.closing = True
        return event
    talk.chunk_left = size
    talk.chunk_refusal = BadCommand(line, status)
    talk.reading = Reading.DISCARD
    return None


def _too_big(talk: Conversation, line: bytes, size: int) -> Event | None:
    talk.forget()
    if talk.is_lmtp:
        talk.close_with(TOO_BIG)
    else:
        talk.events.append(Oversize())
        return _refuse(talk, line, size, OVER_LIMIT)
    return Oversize()
