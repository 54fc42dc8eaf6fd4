"""MAIL FROM (RFC 5321 4.1.1.2): order, form, parameters; the session judges the rest.

LMTP makes no check on the originator (LMTP chapter 16.5). SMTP wants an address or the null sender (501 5.1.7), ASCII unless
SMTPUTF8 was given (553 5.6.7). A SIZE above the limit is refused here unless the hello was bare (RFC 1870 6.1).
"""

from posthouse.dialogue.conversation import Conversation, Owed
from posthouse.dialogue.event import Event, Mail
from posthouse.dialogue.parameter import NO_PARAMETERS, ParameterError, parse_parameters
from posthouse.dialogue.path import is_mailbox, is_utf8, split_path
from posthouse.mail.status import Status

_OWED = Owed.MAIL
_NO_HELLO = Status(503, "5.5.1", "say hello first")
_NESTED = Status(503, "5.5.1", "a sender was already given")
_SYNTAX = Status(501, "5.5.4", "syntax is MAIL FROM:<address>")
_BAD_SENDER = Status(501, "5.1.7", "bad sender address syntax")
_NOT_ASCII = Status(553, "5.6.7", "address has non-ASCII characters and SMTPUTF8 was not given")


def mail(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """MAIL FROM:<address> parameters."""
    if not talk.open:
        return talk.bad(line, (talk.barred if talk.hello else None) or _NO_HELLO)
    if talk.sender_known or talk.chunking:
        return talk.bad(line, _NESTED)
    path = split_path(argument, b"FROM:", liberal=talk.is_lmtp)
    if path is None:
        return talk.bad(line, _SYNTAX)
    return sender(talk, *path, line)


def sender(talk: Conversation, address: bytes, raw: bytes, rest: bytes, line: bytes) -> Event:
    """A sender in its place: its parameters, then the session's turn.

    Args:
        talk: has a hello and no sender.
        address: without its brackets.
        raw: the address as typed.
        rest: the parameters, uncut.
        line: the whole line, for the event of a refusal.
    """
    try:
        params = parse_parameters(rest, talk.policy.known_mail_params, skip_unknown=talk.bare) if rest else NO_PARAMETERS
    except ParameterError as error:
        return talk.bad(line, error.reply)
    utf8 = "SMTPUTF8" in params
    if address and not talk.is_lmtp:
        refusal = _refuse_address(address, utf8=utf8)
        if refusal:
            return talk.bad(line, refusal)
    announced = params.get("SIZE")
    size = None if announced is None else int(announced)
    if size is not None and not talk.bare and 0 < talk.policy.max_size < size:
        return talk.bad(line, Status(552, "5.3.4", f"message size exceeds the limit of {talk.policy.max_size} octets"))
    talk.announced = size
    talk.utf8 = utf8
    talk.owed = _OWED
    return Mail(address, params, raw)


def _refuse_address(address: bytes, *, utf8: bool) -> Status | None:
    if not is_mailbox(address):
        return _BAD_SENDER
    if not address.isascii():
        if not utf8:
            return _NOT_ASCII
        if not is_utf8(address):
            return _BAD_SENDER
    return None
