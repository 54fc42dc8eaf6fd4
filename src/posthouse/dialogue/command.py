"""One complete command line, carried out.

It ends at LF and must end in CRLF: a line with a bare LF, a CR elsewhere, or a NUL is refused (500 5.5.2) and never tried as a
command.
"""

import re

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event
from posthouse.dialogue.verbs.mail import sender
from posthouse.dialogue.verbs.rcpt import recipient
from posthouse.dialogue.verbs.table import VERBS
from posthouse.mail.status import Status

_PLAIN = re.compile(rb"(?:(MAIL FROM)|RCPT TO):(<([!#-;=?-\[\]-~]*)>)(?: ([ -~]+))?\r\n").match
"""the two commands as nearly every client writes them, taken without looking at the line again and again"""
_CR = 0x0D
_BAD_LINE = Status(500, "5.5.2", "command line must end in CRLF and hold no other control octet of these: CR LF NUL")


def obey(talk: Conversation, buffer: bytes, position: int, end: int) -> Event | None:
    """Carry out the command line that begins at `position` and ends with the LF at `end`."""
    line = buffer[position : end - 1]
    plain = _PLAIN(buffer, position)
    if plain is not None and not talk.chunking:
        is_mail, raw, address, rest = plain.groups(b"")
        if is_mail:
            if talk.open and not talk.sender_known:
                return sender(talk, address, raw, rest, line)
        elif talk.sender_known:
            return recipient(talk, address, raw, rest, line)
    if end == position or buffer[end - 1] != _CR or b"\r" in line or b"\0" in line:
        return talk.bad(buffer[position:end].rstrip(b"\r"), _BAD_LINE)
    word, _, argument = line.partition(b" ")
    verb = VERBS.get(word) or VERBS.get(word.upper())
    if verb is None:
        shown = word[:40].decode("ascii", "backslashreplace")
        return talk.bad(line, Status(500, "5.5.1", f'Unknown command "{shown}" specified'))
    return verb(talk, argument.strip(b" \t"), line)
