"""NOOP (RFC 5321 4.1.1.9): any argument is taken and ignored."""

from posthouse.dialogue.conversation import Conversation


def noop(talk: Conversation, _argument: bytes, _line: bytes) -> None:
    """NOOP anything."""
    talk.say(talk.words.noop)
    talk.unmoved()
