"""What can be wrong with one recipient: one exception class for each row of Table 16-1 but the first.

None of them knows a reply code: `store.lmtp_server.status_table` alone gives them one. Their text is for the log.
Every other exception out of a delivery is a fault of ours or of the disk and is answered as `MailboxIOError`.
"""

# ruff: noqa: N818 - the names are the rows of the table


class MailboxError(Exception):
    """One recipient cannot have the message; the class says why."""


class AlreadyStored(MailboxError):
    """No fault: the relay has sent this before, with the same XQID, and it was stored then. The answer is the first one."""


class MailboxLocked(MailboxError):
    """The user's lock was not had in five seconds, too many deliveries wait for it, or `.admin-lock` stands there."""


class QuotaExceeded(MailboxError):
    """The message does not fit, and the grace period is not over."""


class MailboxBadFormat(MailboxError):
    """The mailbox is damaged: something that is no Maildir++ stands where it should be."""


class MailboxNotSupported(MailboxError):
    """The mailbox exists but cannot take mail: a symbolic link, a special file, read-only."""


class MailboxIOError(MailboxError):
    """The disk is full, refuses, or failed."""


class PersistentQuotaExceeded(MailboxError):
    """The message does not fit, nothing ever does (limit 0), or the grace period is over."""


class MessageTooLarge(MailboxError):
    """Larger than the store takes for anybody (`store.maxmessagesize`)."""


class MailboxNonexistent(MailboxError):
    """No such owner here, or no owner can have that name."""


class MessageContainsNull(MailboxError):
    """There is a NUL octet in the message."""


class MessageContainsNewline(MailboxError):
    """There is an LF without a CR before it."""


class MessageBadHeader(MailboxError):
    """A line of the header is no header line."""


class MessageNoBlankLine(MailboxError):
    """The header never ends."""
