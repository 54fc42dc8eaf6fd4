"""RCPT TO: is this recipient ours, and where does the mail go (smtp-relay.md 1 and 3)?

Everything the directory must be asked for is asked here, so that what can be known to fail is refused before the message is
taken. A recipient the directory cannot decide now is a 4xx, never a 5xx.
"""

from collections.abc import Generator, Iterable

from posthouse.dialogue.event import Rcpt
from posthouse.mail.status import Status
from posthouse.relay.directory.question import Answer, NeedEntry, Question
from posthouse.relay.routing.result import Accepted, Routed, RouteRequest, Target
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.smtp_server.limits import Limits
from posthouse.relay.smtp_server.mail import Client
from posthouse.relay.smtp_server.transaction import TakenRecipient, Transaction

_TOO_MANY = Status(452, "4.5.3", "Too many recipients specified")
_TOO_MANY_BAD = Status(452, "4.5.3", "Too many rejections; try later")
_REFUSED_WHOLE = Status(550, "5.5.3", "Too many recipients specified; this message is refused")


def early_refusal(transaction: Transaction, rejected: int, limits: Limits) -> Status | None:
    """The reply when no directory needs to be asked, or None. The recipient is counted."""
    transaction.offered += 1
    if limits.recipients_at_all and transaction.offered > limits.recipients_at_all:
        transaction.refused = _REFUSED_WHOLE
        return _REFUSED_WHOLE
    if len(transaction.recipients) >= limits.recipients:
        return _TOO_MANY
    if limits.rejections and rejected >= limits.rejections:
        return _TOO_MANY_BAD
    return None


def recipient_of(event: Rcpt) -> str | Status:
    """The recipient's text, or the reply that refuses it."""
    try:
        return event.recipient.decode()
    except UnicodeDecodeError:
        return Status(553, "5.6.7", "address is not UTF-8")


def asking(
    client: Client,
    transaction: Transaction,
    recipient: str,
    now: float,
    unique: str,
    answered: tuple[NeedEntry, Answer] | None = None,
) -> Generator[Question, Answer, Routed]:
    """The routing of this recipient, as a generator that asks the directory's questions."""
    return route_recipient(
        transaction.rules,
        RouteRequest(
            sender=transaction.sender,
            recipient=recipient,
            source_channel=client.channel,
            port_probe=client.port_probe,
            app_info=client.app_info,
            now=now,
            flags=client.flags,
            authenticated=client.user,
            size=transaction.size,
            unique=unique,
        ),
        answered,
    )


def verdict(routed: Routed, recipient: str, transaction: Transaction) -> Status:
    """The reply; an accepted recipient is added to the transaction."""
    if not isinstance(routed, Accepted):
        return routed.status
    targets = routed.recipients
    if transaction.bitbucket:
        targets = tuple(swallowed(target) for target in targets)
    wishes = transaction.wishes
    if not wishes:
        transaction.recipients.append(TakenRecipient(recipient, targets, routed.hold))
    else:
        notify, orcpt = ((wishes.get(name) or b"").decode("utf-8", "surrogateescape") for name in ("NOTIFY", "ORCPT"))
        transaction.recipients.append(TakenRecipient(recipient, targets, routed.hold, notify.upper(), orcpt))
    if routed.noted is not None:
        add_lines(transaction, routed.noted.header)
    return Status(250, "2.1.5", f"{recipient} OK.")


def add_lines(transaction: Transaction, lines: Iterable[str]) -> None:
    """Header lines that access tables want, each once."""
    there = transaction.added.split(b"\r\n")
    new = [line for line in (text.encode() for text in lines) if line not in there]
    transaction.added += b"".join(line + b"\r\n" for line in new)


def swallowed(target: Target) -> Target:
    """The same recipient on the channel that throws away."""
    return Target("bitbucket", target.address, "bitbucket", intermediate=target.intermediate)
