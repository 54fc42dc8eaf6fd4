"""`bitbucket`: swallows what comes, logged as delivered."""

from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.queue.open_copy import OpenCopy

SWALLOWED = Status(250, "2.0.0", "discarded")


def swallow(attempt: Attempt, opened: OpenCopy) -> None:
    """Settle every recipient."""
    for recipient in opened.recipients:
        attempt.result(recipient, SWALLOWED)
    attempt.end()
