"""What a registered program is started with, and what its exit status means (directory.md 6, sysexits(3)). Pure.

* Nothing an address holds becomes an option, a second word or a part of the environment: a word that would begin with `-`
  because of an address has its local part quoted, `"-x"@example.com`, which is the same address (RFC 5321 4.1.2). A user's
  name that begins with `-`, and any value with a control character, is not given to a program.
* 0 is delivered. 65, 67, 68, 69, 76 and 77 speak of the message or its addresses: failed for good. Every other status speaks of
  the program or its surroundings, and so does a signal: temporary, tried again until the message's time is over.
"""

from typing import NamedTuple

from posthouse.config.pipe_programs import Format, PipeProgram
from posthouse.mail.address import AddressError, parse_address, unquote
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SHELL": "/bin/sh", "HOME": "/", "TZ": "UTC"}
"""all a program gets: nothing of ours, and nothing a sender writes"""
_TEXT = 200
_FAILED = {
    65: ("5.6.0", "data format error"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.1", "permission denied"),
}
_TEMPORARY = {
    64: ("4.3.5", "command line usage error"),
    66: ("4.3.0", "cannot open input"),
    70: ("4.3.0", "internal software error"),
    71: ("4.3.0", "system error"),
    72: ("4.3.5", "critical system file missing"),
    73: ("4.2.0", "cannot create output file"),
    74: ("4.3.0", "input/output error"),
    75: ("4.3.0", "temporary failure"),
    78: ("4.3.5", "configuration error"),
}


class Whom(NamedTuple):
    """The parts of `user%program@pipe-daemon`."""

    user: str
    program: str


class Unsuitable(Exception):  # noqa: N818 - a status, not a fault
    """The program cannot be given this mail; `status` says why."""

    def __init__(self, status: Status) -> None:
        super().__init__(str(status))
        self.status = status


def whom(address: str) -> Whom:
    """User and program of an active address; empty texts where it names none."""
    try:
        local = unquote(parse_address(address).local)
    except AddressError:
        return Whom("", "")
    user, _, program = local.rpartition("%")
    return Whom(user, program)


def arguments(program: PipeProgram, envelope: Envelope, recipient: Recipient) -> list[bytes]:
    """The words the program is started with, its path first.

    Raises:
        Unsuitable: a value cannot be an argument.
    """
    user = whom(recipient.address).user
    values = {
        "A": _harmless(recipient.intermediate or recipient.original),
        "R": _harmless(recipient.original),
        "S": _harmless(envelope.sender),
        "U": user,
        "P": program.name,
        "I": envelope.id,
    }
    made = [program.path.encode("utf-8", "surrogateescape")]
    for word in program.words:
        text = "".join(values[letter] if letter else literal for letter, literal in word)
        used = {letter for letter, _ in word if letter}
        if text.startswith("-") and word[0][0]:
            raise Unsuitable(Status(450, "4.3.5", f"user name {user[:64]!r} cannot be given to a program"))
        if used and any(ord(char) < 32 or ord(char) == 127 for char in text):
            raise Unsuitable(Status(550, "5.1.3", "an address with control characters cannot be given to a program"))
        made.append(text.encode("utf-8", "surrogateescape"))
    return made


def _harmless(address: str) -> str:
    """The address, written so that it does not begin with `-`."""
    if not address.startswith("-"):
        return address
    local, at, domain = address.rpartition("@")
    return f'"{local}"{at}{domain}' if at else f'"{address}"'


def head(form: Format, envelope: Envelope, when: str) -> bytes:
    """What stands in front of the message: Return-Path as RFC 5321 4.4 asks for at the end of the way, `From ` for mbox.

    Args:
        form: of the program.
        envelope: of the copy.
        when: the time as asctime writes it.
    """
    line = f"Return-Path: <{envelope.sender}>"
    if form is Format.MBOX:
        line = f"From {'_'.join(envelope.sender.split()) or 'MAILER-DAEMON'} {when}\n{line}"
    return (line + ("\r\n" if form is Format.SMTP else "\n")).encode("utf-8", "surrogateescape")


def exit_status(name: str, code: int, output: bytes) -> Status:
    """What the exit status means.

    Args:
        name: of the program.
        code: exit status, negative for a signal.
        output: what it has written.
    """
    said = spoken(output)
    if code == 0:
        return Status(250, "2.0.0", f"delivered to program {name}")
    if code < 0:
        return Status(451, "4.3.0", f"program {name} was ended by signal {-code}" + (f": {said}" if said else ""))
    known = _FAILED.get(code)
    if known is not None:
        return Status(550, known[0], f"program {name}: {said or known[1]}")
    enhanced, meaning = _TEMPORARY.get(code, ("4.3.0", f"exit status {code} is none of sysexits"))
    return Status(451, enhanced, f"program {name}: {meaning}" + (f": {said}" if said else ""))


def spoken(output: bytes) -> str:
    """What a program has written, as one line that can stand in a reply."""
    text = output[: 4 * _TEXT].decode("utf-8", "replace")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_TEXT]
