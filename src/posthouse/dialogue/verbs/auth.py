"""AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN, with an initial response or without; the session judges the password.

    AUTH PLAIN base64( [acts-for] NUL user NUL password )
    AUTH LOGIN [base64(user)]     334 VXNlcm5hbWU6  base64(user)     334 UGFzc3dvcmQ6  base64(password)

* After EHLO, once, outside a transaction. `*` gives up: 501 5.7.0. A line of the exchange may have 12,288 octets (RFC 4954 4.3).
* A mechanism that is taken under TLS only: 538 5.7.11; one we do not know: 504 5.5.4, none at all: 501 5.5.4; what is
  no base64, has no user or no password, or a NUL in one, is 501 5.5.2.
* No event and no record ever shows a line of the exchange.
"""

from base64 import b64decode

from posthouse.dialogue.conversation import Conversation, Owed, Reading
from posthouse.dialogue.event import BadCommand, Event, Login
from posthouse.mail.status import Status

MAX_ANSWER = 12_288
ANSWER_TOO_LONG = Status(500, "5.5.6", "authentication exchange line is too long")
_NOT_OFFERED = Status(502, "5.5.1", "command not implemented")
_NO_HELLO = Status(503, "5.5.1", "say EHLO first")
_TWICE = Status(503, "5.5.1", "already authenticated")
_IN_TRANSACTION = Status(503, "5.5.1", "not within a transaction")
_NO_MECHANISM = Status(501, "5.5.4", "syntax is AUTH mechanism [initial-response]")
_UNKNOWN = Status(504, "5.5.4", "authentication mechanism is not known")
_IN_CLEAR = Status(538, "5.7.11", "encryption is required: STARTTLS first")
_SYNTAX = Status(501, "5.5.2", "authentication exchange cannot be understood")
_GIVEN_UP = Status(501, "5.7.0", "authentication given up")
_PROMPTS = {"PLAIN": b"", "LOGIN": b"VXNlcm5hbWU6"}
_PASSWORD = b"UGFzc3dvcmQ6"


def auth(talk: Conversation, argument: bytes, line: bytes) -> Event | None:
    """AUTH mechanism [initial-response]."""
    policy = talk.policy
    if not policy.known_mechanisms:
        return talk.bad(line, _NOT_OFFERED)
    if not talk.extended:
        return talk.bad(line, _NO_HELLO)
    if talk.authenticated:
        return talk.bad(line, _TWICE)
    if talk.sender_known or talk.chunking:
        return talk.bad(line, _IN_TRANSACTION)
    word, _, initial = argument.rstrip(b" ").partition(b" ")
    name = word.upper().decode("ascii", "replace")
    if not name:
        return talk.bad(line, _NO_MECHANISM)
    if name not in policy.known_mechanisms:
        return talk.bad(line, _UNKNOWN)
    if name not in policy.mechanisms:
        return talk.bad(line, _IN_CLEAR)
    talk.sasl = (name,)
    if initial:
        return _hear(talk, b"" if initial == b"=" else initial)
    _ask(talk, _PROMPTS[name])
    return None


def answered(talk: Conversation, line: bytes) -> Event | None:
    """The next line of the exchange, with its line end."""
    text = line[:-2] if line.endswith(b"\r\n") else b"\n"
    if text == b"*":
        return _end(talk, _GIVEN_UP)
    return _hear(talk, text)


def _ask(talk: Conversation, prompt: bytes) -> None:
    talk.out.append(b"334 %b\r\n" % prompt)  # the blank stays where there is no text (RFC 4954 4)
    talk.reading = Reading.SASL


def _end(talk: Conversation, status: Status) -> BadCommand:
    name, talk.sasl = talk.sasl[0], ()
    return talk.bad(f"AUTH {name}".encode(), status)


def _hear(talk: Conversation, text: bytes) -> Event | None:
    try:
        octets = b64decode(text, validate=True)
    except ValueError:
        return _end(talk, _SYNTAX)
    if talk.sasl == ("LOGIN",):
        talk.sasl = ("LOGIN", octets.decode("utf-8", "surrogateescape"))
        _ask(talk, _PASSWORD)
        return None
    if talk.sasl[0] == "LOGIN":
        acts_for, user, password = b"", talk.sasl[1].encode("utf-8", "surrogateescape"), octets
    else:
        parts = octets.split(b"\0")
        if len(parts) != 3:
            return _end(talk, _SYNTAX)
        acts_for, user, password = parts
    if not user or not password or b"\0" in user + password:
        return _end(talk, _SYNTAX)
    name, talk.sasl = talk.sasl[0], ()
    talk.owed = Owed.LOGIN
    return Login(name, user, password, acts_for)
