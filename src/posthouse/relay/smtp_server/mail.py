"""MAIL FROM: who sends (smtp-relay.md 1).

The dialogue has checked the syntax and the announced size. Here: the sender's text, BODY= and SMTPUTF8, then the mapping
table FROM_ACCESS. A transaction begins only when the answer is 2xx.
"""

from collections.abc import Generator
from dataclasses import dataclass

from posthouse.dialogue.event import Mail
from posthouse.mail.status import Status
from posthouse.relay.directory.question import Answer, Question
from posthouse.relay.routing.access import Verdict, check_sender
from posthouse.relay.routing.inquiry import Inquiry, NoAnswer
from posthouse.relay.routing.result import RouteRequest
from posthouse.relay.routing.rules import Rules
from posthouse.relay.smtp_server.transaction import Transaction

_NOT_UTF8 = Status(553, "5.6.7", "address is not UTF-8")
_NO_ANSWER = Status(451, "4.3.0", "temporary error while the sender was checked")
_BODY = {b"7BIT", b"8BITMIME"}


@dataclass(frozen=True, slots=True)
class Client:
    """The connection's fixed facts that decisions ask for."""

    channel: str
    port_probe: str
    helo: str
    esmtp: bool

    @property
    def app_info(self) -> str:
        """`SMTP/helo-name` (mappings.md 6)."""
        return f"SMTP/{self.helo}"

    @property
    def flags(self) -> frozenset[str]:
        """Input flags of the access tables."""
        return frozenset("E") if self.esmtp else frozenset()


def begin(event: Mail) -> Transaction | Status:
    """The transaction this MAIL begins, or the reply that refuses it."""
    try:
        sender = event.sender.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    body = event.params.get("BODY", b"7BIT")
    if body is None or body.upper() not in _BODY:
        return Status(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    size = event.params.get("SIZE")
    return Transaction(
        sender=sender,
        size=int(size) if size else None,
        eight_bit=body.upper() == b"8BITMIME",
        utf8="SMTPUTF8" in event.params,
    )


def is_checked(rules: Rules) -> bool:
    """Whether a table is asked about senders at all."""
    return "FROM_ACCESS" in rules.tables


def asking(rules: Rules, client: Client, transaction: Transaction, now: float) -> Generator[Question, Answer, Verdict]:
    """What FROM_ACCESS says of the sender."""
    request = RouteRequest(
        sender=transaction.sender,
        recipient="",
        source_channel=client.channel,
        port_probe=client.port_probe,
        app_info=client.app_info,
        now=now,
        flags=client.flags,
        size=transaction.size,
    )
    try:
        return (yield from check_sender(rules, Inquiry(), request, ""))
    except NoAnswer:
        return Verdict(rejected=_NO_ANSWER)
