"""RCPT TO (RFC 5321 4.1.1.3): order, form, parameters; the session judges the recipient.

LMTP makes no check on the address here (LMTP chapter 16.5). SMTP wants an address (501 5.1.3), ASCII unless SMTPUTF8 was given
at MAIL (553 5.6.7). Beyond the limit of recipients: 452 4.5.3 (RFC 5321 4.5.3.1.10), which is no error of the client.
"""

from posthouse.dialogue.conversation import Conversation, Owed
from posthouse.dialogue.event import BadCommand, Event, Rcpt
from posthouse.dialogue.parameter import NO_PARAMETERS, ParameterError, parse_parameters
from posthouse.dialogue.path import is_mailbox, is_utf8, split_path
from posthouse.mail.status import Status

_OWED = Owed.RCPT
_NO_SENDER = Status(503, "5.5.1", "MAIL first")
_IN_BODY = Status(503, "5.5.1", "the message has begun")
_SYNTAX = Status(501, "5.5.4", "syntax is RCPT TO:<address>")
_BAD_RECIPIENT = Status(501, "5.1.3", "bad recipient address syntax")
_NOT_ASCII = Status(553, "5.6.7", "address has non-ASCII characters and SMTPUTF8 was not given")
_TOO_MANY = Status(452, "4.5.3", "Too many recipients specified")


def rcpt(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """RCPT TO:<address> parameters."""
    if not talk.sender_known:
        return talk.bad(line, _NO_SENDER)
    if talk.chunking:
        return talk.bad(line, _IN_BODY)
    path = split_path(argument, b"TO:", liberal=talk.is_lmtp)
    if path is None:
        return talk.bad(line, _SYNTAX)
    return recipient(talk, *path, line)


def recipient(talk: Conversation, address: bytes, raw: bytes, rest: bytes, line: bytes) -> Event:
    """A recipient in its place: its parameters, then the session's turn.

    Args:
        talk: has a sender and no body.
        address: without its brackets.
        raw: the address as typed.
        rest: the parameters, uncut.
        line: the whole line, for the event of a refusal.
    """
    try:
        params = parse_parameters(rest, talk.policy.known_rcpt_params, skip_unknown=talk.bare) if rest else NO_PARAMETERS
    except ParameterError as error:
        return talk.bad(line, error.reply)
    if not talk.is_lmtp:
        if not is_mailbox(address):
            return talk.bad(line, _BAD_RECIPIENT)
        if not address.isascii():
            if not talk.utf8:
                return talk.bad(line, _NOT_ASCII)
            if not is_utf8(address):
                return talk.bad(line, _BAD_RECIPIENT)
    if talk.accepted >= talk.policy.max_recipients:
        talk.say(_TOO_MANY)
        return BadCommand(line, _TOO_MANY)
    talk.owed = _OWED
    return Rcpt(address, params, raw)
