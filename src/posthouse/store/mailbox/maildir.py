"""One owner's Maildir++ root, open: `cur new tmp` of the INBOX and the lock file (message-store 6).

    <partition>/<owner>/{cur,new,tmp}     made on the first delivery, 0700
    <partition>/<owner>/.lmtp-lock        flock: one deliverer at a time (message-store 5)
    <partition>/<owner>/.admin-lock       stands there: an administrator works on the mailbox, nothing is delivered

Everything is opened step by step from the partition's descriptor and no link is followed, so nothing outside the owner's
folder can be reached. Descriptors are kept: `still_there` tells whether the names still mean them. What is missing of
`cur new tmp` is made; a folder that holds things foreign to a Maildir++ and none of the three is no maildir
(`MailboxBadFormat`): after a power cut any of the names may be gone, of a mailbox that replay puts back.
"""

import contextlib

from posthouse.journal.disk import Disk, FileStat
from posthouse.store.mailbox.errors import MailboxBadFormat, MailboxLocked, MailboxNonexistent
from posthouse.store.mailbox.faults import fault_of, need_folder

LOCK = ".lmtp-lock"
GONE = bytes(5)
"""all that is in the lock file of a mailbox that was renamed or removed: who gets that lock holds nothing. A length alone
makes it, so a full disk has room for it"""
ADMIN_LOCK = ".admin-lock"
ASIDE = ".moved-"
"""before the owner's name, in a partition: a mailbox that is on its way to another one"""
STRAY_SECONDS = 36 * 3600.0
PARTS = ("tmp", "new", "cur")
_OURS = frozenset({"maildirsize", "subscriptions", "subscriptions.lock"})
_OWN_PREFIXES = (".", "dovecot")
"""folders, locks, what an IMAP server keeps"""
_SETTLED_NS = 50_000_000
"""a folder changed more recently than this may change again within the same tick of its time stamp"""


class Maildir:
    """An open root. Made by `open_maildir`; `close` it when no delivery uses it."""

    def __init__(self, disk: Disk, partition: int, owner: str, root: int, found: FileStat) -> None:
        self.disk = disk
        self.partition = partition
        self.owner = owner
        self.root = root
        self.tmp = self.new = -1
        self.looks = 0
        """how often it was looked at: whatever was opened by name before the last time may be another file by now"""
        self.fresh = False
        """it was made just now: nothing is in it"""
        self._device, self._inode = found.device, found.inode
        self._seen = -1
        self._parts: list[int] = []

    def complete(self, seen: FileStat, now: float) -> None:
        """Make what is missing, look at what is there, open it. `seen` is the root as it was before."""
        disk, root = self.disk, self.root
        inodes = [disk.folder_inode(part, root) for part in PARTS]
        if 0 in inodes:
            self._make_missing()
            inodes = [disk.folder_inode(part, root) for part in PARTS]
        self.tmp, self.new = disk.open_dir("tmp", root), disk.open_dir("new", root)
        self._look(inodes)
        self._remember(seen, now)

    def _make_missing(self) -> None:
        disk, root = self.disk, self.root
        missing = [part for part in PARTS if disk.stat(part, root) is None]
        if len(missing) == len(PARTS) and any(map(_is_foreign, disk.listdir(root))):
            raise MailboxBadFormat(f"{self.owner}: no maildir")
        for part in missing:
            make_folder(disk, part, root)

    def _remember(self, seen: FileStat, now: float) -> None:
        """The root as it was before it was looked at: unchanged means that there is nothing new to see."""
        self._seen = seen.mtime_ns if seen.mtime_ns + _SETTLED_NS < now * 1e9 else -1

    def _look(self, inodes: list[int]) -> None:
        """See that the parts are what they must be and nobody works on the mailbox."""
        self.looks += 1
        if 0 in inodes:
            self._say_what_is_wrong()
        if self._parts and self._parts != inodes:
            raise FileNotFoundError
        self._parts = inodes
        held = self.disk.stat(ADMIN_LOCK, self.root)
        if held is not None and not held.is_folder:  # a folder is one a user has made
            raise MailboxLocked(f"{self.owner}: {ADMIN_LOCK}")

    def _say_what_is_wrong(self) -> None:
        for part in PARTS:
            found = self.disk.stat(part, self.root)
            if found is None:
                raise MailboxBadFormat(f"{self.owner}: no folder {part}")
            need_folder(found, self.owner, part)

    def still_there(self, now: float) -> bool:
        """Whether the owner's name still means this folder, with the same parts in it.

        Raises:
            MailboxError: it does, but it cannot take mail now.
        """
        found = self.disk.stat(self.owner, self.partition)
        if found is None or found.inode != self._inode or found.device != self._device:
            return False
        if found.mtime_ns == self._seen:
            return True
        need_folder(found, self.owner)
        try:
            self._look([self.disk.folder_inode(part, self.root) for part in PARTS])
        except FileNotFoundError:
            return False
        self._remember(found, now)
        return True

    def open_lock(self) -> int:
        """A new descriptor of the lock file; closing it gives up a lock taken on it."""
        while True:
            try:
                return self.disk.open_file(LOCK, self.root, write=True)
            except FileNotFoundError:
                try:
                    return self.disk.create_excl(LOCK, self.root)
                except FileExistsError:
                    continue

    def close(self) -> None:
        """Close everything."""
        close = self.disk.close
        if self.new >= 0:
            close(self.new)
        if self.tmp >= 0:
            close(self.tmp)
        if self.root >= 0:
            close(self.root)
        self.new = self.tmp = self.root = -1


def _is_foreign(name: str) -> bool:
    return name not in _OURS and not name.startswith(_OWN_PREFIXES)


def sweep_tmp(disk: Disk, tmp: int, now: float) -> None:
    """Remove what has been in `tmp/` for 36 hours: nobody writes it any more."""
    for name in disk.listdir(tmp):
        found = disk.stat(name, tmp)
        if found is not None and found.is_file and found.mtime_ns < (now - STRAY_SECONDS) * 1e9:
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(name, tmp)


def make_folder(disk: Disk, name: str, parent: int) -> None:
    """Make a folder, 0700; somebody else may have made it meanwhile."""
    try:
        disk.mkdir(name, parent)
    except FileExistsError:
        return


def open_maildir(disk: Disk, partition: int, owner: str, *, create: bool, now: float = 0.0) -> Maildir:
    """Open the owner's mailbox.

    Args:
        disk: where it is.
        partition: descriptor of the partition's folder.
        owner: as `owner.check_owner` allows it.
        create: make it when there is none.
        now: Unix time in seconds; with it the first `still_there` need not look again.

    Raises:
        MailboxNonexistent: there is none, and it was not to be made.
        MailboxError: it cannot take mail.
    """
    try:
        found = disk.stat(owner, partition)
        fresh = found is None
        if found is None:
            if not create:
                raise MailboxNonexistent(f"{owner}: no mailbox")
            make_folder(disk, owner, partition)
            found = disk.stat(owner, partition)
        if found is None:
            raise FileNotFoundError(2, "removed while it was made")
        need_folder(found, owner)
        maildir = Maildir(disk, partition, owner, disk.open_dir(owner, partition), found)
        try:
            maildir.complete(found, now)
            maildir.fresh = fresh
        except BaseException:
            maildir.close()
            raise
    except OSError as error:
        raise fault_of(error, owner) from error
    return maildir
