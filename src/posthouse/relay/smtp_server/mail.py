"""MAIL FROM: who sends (smtp-relay.md 1).

The dialogue has checked the syntax and the announced size. Here: the sender's text and the parameters, then the mapping table
FROM_ACCESS. A transaction begins only when the answer is 2xx.
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
_FLAGS = {
    (esmtp, tls, user): frozenset("E" * esmtp + "T" * tls + "A" * user)
    for esmtp in (False, True)
    for tls in (False, True)
    for user in (False, True)
}


@dataclass(frozen=True, slots=True)
class Client:
    """The connection's fixed facts that decisions ask for."""

    channel: str
    port_probe: str
    helo: str
    esmtp: bool
    tls: str = ""
    """version and cipher, empty without TLS"""
    user: str = ""
    """who has logged in: an address, or empty"""
    addresses: frozenset[str] = frozenset()
    """all addresses of his, lower case"""

    @property
    def app_info(self) -> str:
        """`SMTP/helo-name`, with TLS `SMTP/tls-info/helo-name` (mappings.md 6)."""
        return f"SMTP/{self.tls}/{self.helo}" if self.tls else f"SMTP/{self.helo}"

    @property
    def flags(self) -> frozenset[str]:
        """Input flags of the access tables."""
        return _FLAGS[self.esmtp, bool(self.tls), bool(self.user)]


def begin(event: Mail, rules: Rules) -> Transaction | Status:
    """The transaction this MAIL begins, or the reply that refuses it. The dialogue has checked the parameters' forms."""
    try:
        sender = event.sender.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
    params = event.params
    if not params:
        return Transaction(sender=sender, size=None, eight_bit=False, utf8=False, rules=rules)
    size, body = params.get("SIZE"), params.get("BODY")
    return Transaction(
        sender=sender,
        size=int(size) if size else None,
        eight_bit=body is not None and body.upper() == b"8BITMIME",
        utf8="SMTPUTF8" in params,
        rules=rules,
        envid=(params.get("ENVID") or b"").decode("ascii"),
        ret=(params.get("RET") or b"").decode("ascii").upper(),
    )


def is_checked(rules: Rules) -> bool:
    """Whether a table is asked about senders at all."""
    return "FROM_ACCESS" in rules.tables


def asking(client: Client, transaction: Transaction, now: float) -> Generator[Question, Answer, Verdict]:
    """What FROM_ACCESS says of the sender."""
    rules = transaction.rules
    request = RouteRequest(
        sender=transaction.sender,
        recipient="",
        source_channel=client.channel,
        port_probe=client.port_probe,
        app_info=client.app_info,
        now=now,
        flags=client.flags,
        size=transaction.size,
        authenticated=client.user,
    )
    try:
        return (yield from check_sender(rules, Inquiry(), request, client.user))
    except NoAnswer:
        return Verdict(rejected=_NO_ANSWER)
