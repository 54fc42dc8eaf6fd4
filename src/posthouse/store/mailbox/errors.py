"""What can be wrong with one recipient: one exception class for each row of Table 16-1 but the first.

None of them knows a reply code: `store.lmtp_server.status_table` alone gives them one. Their text is for the log; what is
written below each class is the row's condition in docs/status-codes.md, word for word.
Every other exception out of a delivery is a fault of ours or of the disk and is answered as `MailboxIOError`.
"""

# ruff: noqa: N818 - the names are the rows of the table


class MailboxError(Exception):
    """One recipient cannot have the message; the class says why."""


class AlreadyStored(MailboxError):
    """No fault: the relay has sent this before, with the same XQID, and it was stored then. The answer is the first one."""


class MailboxLocked(MailboxError):
    """The lock is another's for 5 seconds, 16 deliveries wait for it, `.admin-lock` stands there; moved or removed just now."""


class QuotaExceeded(MailboxError):
    """The message does not fit in the user's quota of octets or messages, and the grace period is not over."""


class MailboxBadFormat(MailboxError):
    """Damaged: a file or a folder that is no Maildir++ stands there; a UNIX mailbox does not begin with `From `."""


class MailboxNotSupported(MailboxError):
    """The mailbox exists but cannot take mail: a symbolic link, a special file, a folder its owner may not write to."""


class MailboxIOError(MailboxError):
    """The disk is full (octets or inodes), read-only, refuses, or failed a read, write or sync; and whatever is unforeseen."""


class PersistentQuotaExceeded(MailboxError):
    """The message does not fit and the grace period is over, or a limit of the quota is 0."""


class MessageTooLarge(MailboxError):
    """The message is larger than the store takes for anybody (`store.maxmessagesize`)."""


class MailboxNonexistent(MailboxError):
    """There is no such mailbox and `store.autocreate` is 0, no mailbox can have that name, or there is no such UNIX user."""


class MessageContainsNull(MailboxError):
    """There is a NUL octet anywhere in the message."""


class MessageContainsNewline(MailboxError):
    """There is an LF without a CR before it. Only CRLF.CRLF ends a message, so it is read to its true end."""


class MessageBadHeader(MailboxError):
    """A line of the header has no name and colon, or the message ends inside a line (not with `store.header_check` lenient)."""


class MessageNoBlankLine(MailboxError):
    """No blank line follows the header (not with `store.header_check` lenient)."""
