"""HELP (RFC 5321 4.1.1.8): the verbs."""

from posthouse.dialogue.conversation import Conversation
from posthouse.mail.status import Status


def tell(talk: Conversation, _argument: bytes, _line: bytes) -> None:
    """HELP anything."""
    hello = "LHLO" if talk.is_lmtp else "EHLO HELO"
    talk.say(Status(214, "2.0.0", f"commands: {hello} MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT"))
    talk.unmoved()
