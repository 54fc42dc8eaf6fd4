"""What the octets of a message lead to: events while it comes, its end, or its refusal.

`body.py` tells where it ends and what is in it; here is what the conversation makes of that. Bare line ends are `550 5.6.11` and
the end of the connection where the policy refuses them. A body beyond its limit: LMTP says `500 message too big` and closes at
once (LMTP chapter 16.5); SMTP reads on to the end, as far as `max_swallow`, and says 552.
"""

from posthouse.dialogue.body import Body
from posthouse.dialogue.conversation import Conversation, Owed, Reading
from posthouse.dialogue.event import Event, Fault, Message, MessageEnd, MessageRefused, Oversize
from posthouse.dialogue.policy import BareLineEnds
from posthouse.dialogue.too_big import TOO_BIG
from posthouse.dialogue.verbs.bdat import OVER_LIMIT
from posthouse.mail.status import Status

_BARE = Status(550, "5.6.11", "bare CR or LF in message data")
_BARE_FAULTS = frozenset({Fault.BARE_LF, Fault.BARE_CR})
_DATA_OWED, _COMMAND, _DISCARD = Owed.DATA, Reading.COMMAND, Reading.DISCARD


def read_chunk(talk: Conversation, buffer: bytes, position: int) -> tuple[int, Event | None, bool]:
    """Read octets of BDAT: where reading stopped, the event, and whether more may follow."""
    stopped = min(len(buffer), position + talk.chunk_left)
    talk.chunk_left -= stopped - position
    if talk.reading is _DISCARD:
        if talk.chunk_left:
            return stopped, None, False
        talk.reading = _COMMAND
        refusal = talk.chunk_refusal
        assert refusal is not None
        return stopped, talk.bad(refusal.line, refusal.reply), True
    body = talk.body
    assert body is not None
    ended = not talk.chunk_left and talk.chunk_last
    if ended:
        body.finish_chunks(buffer[position:stopped])
    else:
        body.take_chunk(buffer, position, stopped)
        if not talk.chunk_left:
            talk.reading = _COMMAND
            words = talk.words.chunk
            talk.say(Status(words.code, words.enhanced, f"{talk.chunk_size} octets received"))
    event, moved = after_octets(talk, ended=ended)
    return stopped, event, moved or not talk.chunk_left


def after_octets(talk: Conversation, *, ended: bool) -> tuple[Event | None, bool]:
    """What the body made of the octets it took: the event, and whether more may follow."""
    body = talk.body
    assert body is not None
    if body.exceeded:
        return _exceeded(talk, body, ended=ended), ended
    parts = body.take_parts()
    if not ended:
        talk.events.extend(parts)
        return None, bool(parts)
    result = body.result
    assert result is not None
    talk.reading = _COMMAND
    talk.body = None
    closing = _outcome(talk, result)
    if not parts:
        return closing, True
    talk.events.extend(parts)
    talk.events.append(closing)
    return None, True


def _outcome(talk: Conversation, result: Message | MessageEnd) -> Event:
    """Hand a whole body over, unless its line ends are refused here."""
    if result.faults and talk.policy.bare_line_ends is BareLineEnds.REFUSE and not _BARE_FAULTS.isdisjoint(result.faults):
        talk.forget()
        talk.close_with(_BARE)
        return MessageRefused(_BARE)
    talk.owed = _DATA_OWED
    return result


def _exceeded(talk: Conversation, body: Body, *, ended: bool) -> Event | None:
    """The body is too large: LMTP leaves at once (LMTP chapter 16.5), SMTP when the end was read."""
    first, body.reported = not body.reported, True
    if talk.is_lmtp:
        talk.reading = _COMMAND
        talk.forget()
        talk.close_with(TOO_BIG)
    elif ended:
        talk.reading = _COMMAND
        talk.forget()
        talk.say(OVER_LIMIT)
    elif body.swallowed > talk.policy.max_swallow:
        talk.close_with(OVER_LIMIT)
    return Oversize() if first else None
