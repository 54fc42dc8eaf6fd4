"""RCPT TO: is this recipient ours, and where does the mail go (smtp-relay.md 1 and 3)?

Everything the directory must be asked for is asked here, so that what can be known to fail is refused before the message is
taken. A recipient the directory cannot decide now is a 4xx, never a 5xx.
"""

from collections.abc import Generator

from posthouse.dialogue.event import Rcpt
from posthouse.mail.status import Status
from posthouse.relay.directory.question import Answer, Question
from posthouse.relay.routing.result import Accepted, Routed, RouteRequest
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.rules import Rules
from posthouse.relay.smtp_server.limits import Limits
from posthouse.relay.smtp_server.mail import Client
from posthouse.relay.smtp_server.transaction import TakenRecipient, Transaction

_NOT_UTF8 = Status(553, "5.6.7", "address is not UTF-8")


def early_refusal(event: Rcpt, transaction: Transaction, rejected: int, limits: Limits) -> Status | None:
    """The reply when no directory needs to be asked, or None."""
    if len(transaction.recipients) >= limits.recipients:
        return Status(452, "4.5.3", "Too many recipients specified")
    if limits.rejections and rejected >= limits.rejections:
        return Status(452, "4.5.3", "Too many rejections; try later")
    try:
        event.recipient.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    return None


def asking(
    rules: Rules, client: Client, transaction: Transaction, recipient: str, now: float, unique: str
) -> Generator[Question, Answer, Routed]:
    """The routing of this recipient, as a generator that asks the directory's questions."""
    return route_recipient(
        rules,
        RouteRequest(
            sender=transaction.sender,
            recipient=recipient,
            source_channel=client.channel,
            port_probe=client.port_probe,
            app_info=client.app_info,
            now=now,
            flags=client.flags,
            size=transaction.size,
            unique=unique,
        ),
    )


def verdict(routed: Routed, recipient: str, transaction: Transaction) -> Status:
    """The reply; an accepted recipient is added to the transaction."""
    if not isinstance(routed, Accepted):
        return routed.status
    transaction.recipients.append(TakenRecipient(recipient, routed.recipients, routed.hold))
    return Status(250, "2.1.5", f"{recipient} OK.")
