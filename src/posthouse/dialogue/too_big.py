"""`500 message too big` (LMTP chapter 16.5): the one reply for a whole message; whoever says it closes the connection."""

from posthouse.mail.status import Status

TOO_BIG = Status(500, "", "message too big")


def is_too_big(status: Status) -> bool:
    """Whether a server says it, in small letters or large."""
    return status.code == 500 and not status.enhanced and status.text.strip().lower() == TOO_BIG.text
