"""One LMTP transaction as delivery sees it: a sender, recipients with one result each, one message.

    Addressee   open -> (fault | placed), exactly once
    Part        the addressees of one transaction that share one file, one journal record and one placement

An addressee whose mailbox is locked by somebody else becomes a part of its own when the lock is had, so that nobody
waits for a lock while holding one. The transaction is finished when no addressee is open.
"""

from typing import TYPE_CHECKING

from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.owner import Target
from posthouse.store.quota.limits import GivenLimits

if TYPE_CHECKING:
    from posthouse.store.delivery.account import Account
    from posthouse.store.delivery.record import Place
    from posthouse.store.mailbox.folder import Folder

FOLDER_OF_RELAY = 1
"""xdflg: the folder was chosen by the relay; it is made when missing, its ACL does not matter"""
OVER_QUOTA = 2
"""xdflg: deliver even if over quota"""
OWN_COPY = 16
"""xdflg: no hard link to the copies of others"""


class Addressee:
    """One recipient.

    Args:
        token: the address as it was typed, for the reply.
        target: mailbox and folder, or the fault of the address.
        given: XQUOTA, if it was sent.
        flags: XDFLG; bits that are not known mean nothing.
        xqid: XQID, empty when none was sent.
        imap_flags: XFLAGS, empty when none was sent.
    """

    __slots__ = (
        "account", "deadline", "fault", "flags", "folder", "given", "imap_flags", "line", "open", "place", "reserved", "target",
        "token", "xqid",
    )  # fmt: skip

    def __init__(
        self, token: bytes, target: Target | MailboxError, given: GivenLimits | None = None, flags: int = 0, xqid: bytes = b"",
        imap_flags: str = "",
    ) -> None:  # fmt: skip
        self.token = token
        self.target = target
        self.given = given
        self.flags = flags
        self.xqid = xqid
        self.imap_flags = imap_flags
        self.line = b""
        """what is remembered when it is stored (`seen`), empty: nothing"""
        self.open = True
        self.fault: MailboxError | None = None
        self.place: Place | None = None
        """where the message is, when there is no fault"""
        self.account: Account | None = None
        self.folder: Folder | None = None
        self.deadline = 0.0
        """until when its lock may come, 0: nobody waits"""
        self.reserved = False
        """its account has the message's size reserved"""

    def refuse(self, fault: MailboxError) -> None:
        """Its one result.

        Where the fault was raised is forgotten: those frames lead back here and to the message, which would be kept until
        the garbage collector comes, and it comes seldom.
        """
        self.fault = fault
        fault.__traceback__ = fault.__context__ = fault.__cause__ = None


class Transaction:
    """One message for some recipients.

    Args:
        sender: without brackets, empty for the null sender.
        addressees: in the order of the RCPT commands.
        session: the caller's own.
    """

    __slots__ = ("addressees", "message", "message_id", "open", "sender", "session")

    def __init__(self, sender: bytes, addressees: list[Addressee], session: object = None) -> None:
        self.sender = sender
        self.addressees = addressees
        self.session = session
        self.open = len(addressees)
        self.message: Message | None = None
        self.message_id = b""
        """its Message-ID field, for the log"""


class Message:
    """The octets of one transaction: in memory, or already in a file of somebody's `tmp/`."""

    __slots__ = ("fd", "holder", "name", "size", "stored", "wire_size")

    def __init__(self, stored: bytes, size: int, wire_size: int) -> None:
        self.stored = stored
        """empty when the message is in a file"""
        self.size = size
        """octets on disk"""
        self.wire_size = wire_size
        """octets with CRLF line ends"""
        self.fd = -1
        """the file, when the message is in one"""
        self.name = ""
        self.holder: Account | None = None
        """whose `tmp/` the file is in"""


class Part:
    """Addressees who get the same file."""

    __slots__ = ("addressees", "fd", "message", "name", "tmp", "transaction")

    def __init__(self, transaction: Transaction, addressees: list[Addressee], message: Message) -> None:
        self.transaction = transaction
        self.addressees = addressees
        self.message = message
        self.tmp = self.fd = -1
        """the `tmp/` its file is in, and the file while it is open"""
        self.name = ""
        """the file's name in `tmp`"""

    @property
    def partition(self) -> int:
        """The partition all of its addressees are in."""
        account = self.addressees[0].account
        assert account is not None
        return account.maildir.partition


def by_partition(addressees: list[Addressee]) -> list[list[Addressee]]:
    """Those who can share a file."""
    groups: dict[int, list[Addressee]] = {}
    for addressee in addressees:
        assert addressee.account is not None
        groups.setdefault(addressee.account.maildir.partition, []).append(addressee)
    return list(groups.values())
