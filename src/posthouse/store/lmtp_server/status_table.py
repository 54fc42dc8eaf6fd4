"""Table 16-1 of the LMTP chapter as printed: 13 rows. The one reply the chapter gives besides is `dialogue.too_big`.

Only this module knows which reply a store's fault has. A row is `short code, long code, text`; the reply to a recipient is
`<short> <long> <address as on its RCPT line> <text>`. An exception that is no row of the table is IMAP IOERROR, and whoever
asks for it has an error to log. docs/status-codes.md is made of this table by `status_page`.
"""

from enum import Enum
from typing import NamedTuple

from posthouse.dialogue.event import Fault
from posthouse.mail.status import Status
from posthouse.store.mailbox.errors import (
    AlreadyStored,
    MailboxBadFormat,
    MailboxError,
    MailboxIOError,
    MailboxLocked,
    MailboxNonexistent,
    MailboxNotSupported,
    MessageBadHeader,
    MessageContainsNewline,
    MessageContainsNull,
    MessageNoBlankLine,
    MessageTooLarge,
    PersistentQuotaExceeded,
    QuotaExceeded,
)
from posthouse.trace.record import Action


class Relay(Enum):
    """What our relay does with a recipient that has the reply."""

    SETTLED = "the recipient is done"
    SOON = "tries this recipient again within seconds, at most 50 times in a row (`MAILBOX_BUSY_FAST_RETRY`), then by `backoff`"
    LATER = "tries this recipient again by `backoff`, until `notices` gives it back"
    RETURNED = "returns it to the sender at once, with this reply in the notice"


_DEQUEUED = Action.DEQUEUED


class Row(NamedTuple):
    """One row."""

    code: int
    enhanced: str
    text: str
    fault: type[MailboxError] | None
    """what it stands for; None is success"""

    @property
    def action(self) -> Action:
        """Its letter in the transaction log."""
        return _DEQUEUED if self.code < 300 else Action.DEFERRED if self.code < 500 else Action.RETURNED

    @property
    def relay(self) -> Relay:
        """What the relay does."""
        if self.fault is MailboxLocked:
            return Relay.SOON
        return Relay.SETTLED if self.code < 300 else Relay.LATER if self.code < 500 else Relay.RETURNED

    @property
    def condition(self) -> str:
        """When it is sent."""
        stored = "The message is durable and in the mailbox; or it was, under the same XQID within 24 hours."
        return stored if self.fault is None else (self.fault.__doc__ or "").strip()

    def line(self, address: bytes) -> bytes:
        """The reply for a recipient, with its line end."""
        return b"%d %b %b %b\r\n" % (self.code, self.enhanced.encode(), address, self.text.encode())

    def status(self, address: str) -> Status:
        """The reply for a recipient as a value."""
        return Status(self.code, self.enhanced, f"{address} {self.text}")


TABLE = (
    Row(250, "2.5.0", "OK", None),
    Row(420, "4.2.0", "Mailbox Locked", MailboxLocked),
    Row(422, "4.2.2", "Quota Exceeded", QuotaExceeded),
    Row(420, "4.2.0", "Mailbox Bad Formats", MailboxBadFormat),
    Row(420, "4.2.0", "Mailbox not supported", MailboxNotSupported),
    Row(430, "4.3.0", "IMAP IOERROR", MailboxIOError),
    Row(522, "5.2.2", "Persistent Quota Exceeded", PersistentQuotaExceeded),
    Row(523, "5.2.3", "Message too large", MessageTooLarge),
    Row(511, "5.1.1", "mailbox nonexistent", MailboxNonexistent),
    Row(560, "5.6.0", "message contains null", MessageContainsNull),
    Row(560, "5.6.0", "message contains nl", MessageContainsNewline),
    Row(560, "5.6.0", "message has bad header", MessageBadHeader),
    Row(560, "5.6.0", "message has no blank line", MessageNoBlankLine),
)

OK = TABLE[0]
IO_ERROR = TABLE[5]
_BY_FAULT: dict[type[BaseException] | None, Row] = {AlreadyStored: OK, **{row.fault: row for row in TABLE}}
_OF_MESSAGE: tuple[tuple[Fault, type[MailboxError]], ...] = (
    (Fault.TOO_LARGE, MessageTooLarge),
    (Fault.NUL, MessageContainsNull),
    (Fault.BARE_LF, MessageContainsNewline),
    (Fault.BAD_HEADER, MessageBadHeader),
    (Fault.NO_BLANK_LINE, MessageNoBlankLine),
)


def row_of(fault: BaseException | None) -> Row:
    """The row a recipient's result has."""
    return _BY_FAULT.get(type(fault), IO_ERROR) if fault is not None else OK


def message_fault(faults: frozenset[Fault], *, lenient: bool) -> MailboxError | None:
    """What is wrong with a message, the first in the order of LMTP reference 5; a bare CR is stored as it is.

    Args:
        faults: as the dialogue found them.
        lenient: `store.header_check=lenient`, the last two rows are accepted.
    """
    if not faults:
        return None
    for fault, kind in _OF_MESSAGE:
        if fault in faults and not (lenient and fault in {Fault.BAD_HEADER, Fault.NO_BLANK_LINE}):
            return kind(fault.value)
    return None
