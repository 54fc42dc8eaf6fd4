"""The verbs by name, in capitals."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from posthouse.dialogue.conversation import Conversation
from posthouse.dialogue.event import Event
from posthouse.dialogue.verbs.auth import auth
from posthouse.dialogue.verbs.bdat import bdat
from posthouse.dialogue.verbs.data import data
from posthouse.dialogue.verbs.etrn import etrn
from posthouse.dialogue.verbs.expn import expn
from posthouse.dialogue.verbs.hello import ehlo, helo, lhlo
from posthouse.dialogue.verbs.help import tell
from posthouse.dialogue.verbs.mail import mail
from posthouse.dialogue.verbs.noop import noop
from posthouse.dialogue.verbs.quit import leave
from posthouse.dialogue.verbs.rcpt import rcpt
from posthouse.dialogue.verbs.rset import rset
from posthouse.dialogue.verbs.starttls import starttls
from posthouse.dialogue.verbs.vrfy import vrfy

Verb: TypeAlias = Callable[[Conversation, bytes, bytes], Event | None]

VERBS: Mapping[bytes, Verb] = {
    b"EHLO": ehlo,
    b"HELO": helo,
    b"LHLO": lhlo,
    b"MAIL": mail,
    b"RCPT": rcpt,
    b"DATA": data,
    b"BDAT": bdat,
    b"RSET": rset,
    b"NOOP": noop,
    b"VRFY": vrfy,
    b"EXPN": expn,
    b"ETRN": etrn,
    b"STARTTLS": starttls,
    b"AUTH": auth,
    b"HELP": tell,
    b"QUIT": leave,
}
