"""docs/status-codes.md, made of the status table by `make docs/status-codes.md`.

A test compares the page with what this prints.
"""

import sys

from posthouse.dialogue.policy import BUSY, SILENT
from posthouse.dialogue.too_big import TOO_BIG
from posthouse.mail.status import Status
from posthouse.store.lmtp_server.status_table import TABLE
from posthouse.store.mailbox.errors import (
    MailboxBadFormat,
    MailboxError,
    MailboxIOError,
    MailboxLocked,
    MailboxNonexistent,
    MailboxNotSupported,
    PersistentQuotaExceeded,
    QuotaExceeded,
)

_HEAD = """# Status codes of the store

*Made of `store/lmtp_server/status_table.py` by `make docs/status-codes.md`; edit the table, not this page.*

## One reply for each recipient

After the final dot every recipient has its own reply, in the order of the RCPT commands: a row of Table 16-1 of the LMTP
chapter, codes and texts as printed there, with the address as it stood on the RCPT line:

    422 4.2.2 <jdoe@example.com> Quota Exceeded

What is wrong with the message itself is told to everybody, the first in the order null, nl, bad header, no blank line. All
else is one recipient's own: nobody waits for another's mailbox, and a reply settles its own recipient only.

| code | | text | when | what the relay does | log |
|---|---|---|---|---|---|
"""
_NATIVE_HEAD = """
## The native service

UNIX mailboxes (`tcp_lmtpn_server`) are answered by the same rows. Where the condition is another one:

| code | | text | when |
|---|---|---|---|
"""
NATIVE: dict[type[MailboxError] | None, str] = {
    None: "The entry is whole and synced in the mailbox file; or it was, under the same XQID within 24 hours.",
    MailboxLocked: (
        "Another program has `<mailbox>.lock` (younger than ten minutes) or an fcntl lock for 5 seconds (or REPEAT_COUNT times"
        " SLEEP_TIME), made or removed the file just now, or 20 deliveries wait for it already."
    ),
    QuotaExceeded: (
        "The file and the entry are larger than the octets of XQUOTA, or without it `store.defaultmailboxquota`; messages"
        " are not counted, and there is no grace period."
    ),
    MailboxBadFormat: "The file is not empty and does not begin with `From `.",
    MailboxNotSupported: (
        "A link, folder or special file stands there; the file has several names, another owner, or is read-only; an "
        "address `+/path` without `native.files`, or a file or link where a folder on its way belongs."
    ),
    MailboxIOError: (
        "The disk, as above; the system's users cannot be read; the user is not the service's own and the service was not"
        " started by root; its writer process ended."
    ),
    PersistentQuotaExceeded: "The limit is 0 octets, or the entry does not fit and the channel has `noexquota`.",
    MailboxNonexistent: (
        "No such user in `native.passwd` or the system, the name of a lock file; a folder on the way of `+/path` that is "
        "missing, or a path with `..` or a hidden name."
    ),
}
"""the conditions of the native service, by what the rows stand for"""
_TAIL = """
## Notes

`4.2.1` is never sent; from other servers our relay takes it as Mailbox Locked. The log's letters are those of the store's
transaction log ([operations](operations.md)): delivered, deferred, returned.

## Other replies that end something

| reply | when |
|---|---|
"""
_OTHERS: tuple[tuple[Status, str], ...] = (
    (
        TOO_BIG,
        "longer than the SIZE of its MAIL command, or without one than `store.maxmessagesize`; nothing stored, closed",
    ),
    (
        Status(552, "5.3.4", "message size exceeds the limit of N octets"),
        "MAIL with a SIZE above `store.maxmessagesize`, after LHLO with a domain",
    ),
    (
        Status(452, "4.5.3", "Too many recipients specified"),
        "the 1001st RCPT of a transaction, or fewer where the process may open few files; the others stand",
    ),
    (
        SILENT,
        "no command within COMMAND_RECEIVE_TIME, a message silent for DATA_RECEIVE_TIME or below 1000 octets a second; closed",
    ),
    (
        BUSY,
        "the service ends or is restarted, or all connections are taken and this one was idle longest; closed between messages",
    ),
)


def page() -> str:
    """The page."""
    rows = [
        f"| {row.code} | {row.enhanced} | {row.text} | {row.condition} | {row.relay.value} | `{row.action.value}` |"
        for row in TABLE
    ]
    native = [f"| {row.code} | {row.enhanced} | {row.text} | {NATIVE[row.fault]} |" for row in TABLE if row.fault in NATIVE]
    others = [f"| `{status}` | {when} |" for status, when in _OTHERS]
    return _HEAD + "\n".join(rows) + "\n" + _NATIVE_HEAD + "\n".join(native) + "\n" + _TAIL + "\n".join(others) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
