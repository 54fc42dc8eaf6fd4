"""EHLO, HELO (RFC 5321 4.1.1.1) and LHLO (RFC 2033 4.1; LMTP chapter 16.5).

SMTP wants a name behind the verb and does not judge it; LMTP takes LHLO alone, as the chapter prints it, and answers `250 OK`.
A hello in the middle of a session forgets the transaction. The verbs of the other protocol are refused by name.
"""

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event, Hello
from posthouse.dialogue.reply import render_lines
from posthouse.mail.status import Status

_NAME_WANTED = Status(501, "5.5.2", "a host name is wanted")
_BARE_OK = Status(250, "", "OK")


def ehlo(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """EHLO name."""
    if talk.is_lmtp:
        return talk.bad(line, Status(500, "5.5.1", "This is LMTP, use LHLO"))
    if not argument:
        return talk.bad(line, _NAME_WANTED)
    talk.greet("EHLO", bare=False, extended=True)
    _list_extensions(talk)
    return Hello("EHLO", argument)


def helo(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """HELO name: no extensions."""
    if talk.is_lmtp:
        return talk.bad(line, Status(500, "5.5.1", "This is LMTP, use LHLO"))
    if not argument:
        return talk.bad(line, _NAME_WANTED)
    talk.greet("HELO", bare=False, extended=False)
    talk.say(Status(250, "", talk.policy.hostname))
    talk.unmoved()
    return Hello("HELO", argument)


def lhlo(talk: Conversation, argument: bytes, line: bytes) -> Event:
    """LHLO, bare or with a domain."""
    if not talk.is_lmtp:
        return talk.bad(line, Status(500, "5.5.1", "This is SMTP, use EHLO"))
    if not argument and not talk.policy.hello_optional:
        return talk.bad(line, _NAME_WANTED)
    extended = bool(argument) and talk.policy.list_extensions
    talk.greet("LHLO", bare=not extended, extended=extended)
    if extended:
        _list_extensions(talk)
    else:
        talk.say(_BARE_OK)
        talk.unmoved()
    return Hello("LHLO", argument)


def _list_extensions(talk: Conversation) -> None:
    talk.out.append(render_lines(250, "", [talk.policy.hostname, *talk.policy.extensions]))
    talk.unmoved()
