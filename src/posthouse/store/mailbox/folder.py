"""Which folder of a mailbox a message goes to (message-store 2). Never a failure: what cannot be had is the INBOX.

dovecot-acl     in the folder: lines `identifier rights`, `#` comments, identifiers perhaps quoted; only `anyone` with the
                right `p` (or `post` behind a colon), not taken away by `-anyone`, lets mail in
maildirfolder   in every folder, empty (message-store 6)
subscriptions   in the root: a folder we make is added, in the form the file has (one name a line, or Dovecot's version 2)

A folder that is made is subscribed first, so that a process killed between leaves a name without a folder, which the next
message makes, and never a folder nobody sees; a power cut may take the line of the last second. One that was left half made is
completed. A directory that holds other things and nothing of a folder is none, nor is one that cannot be written to.
"""

import contextlib

from posthouse.journal.disk import WRITABLE, Disk
from posthouse.store.mailbox.folder_name import Unwritable, folder_directory
from posthouse.store.mailbox.maildir import PARTS, Maildir, make_folder

ACL = "dovecot-acl"
MARK = "maildirfolder"
SUBSCRIPTIONS = "subscriptions"
_LOCK = "subscriptions.lock"
_SMALL = 1 << 20
"""octets read of a file of an owner's"""


class Folder:
    """An open folder below the root; the INBOX is none, but for messages with flags (`marked`)."""

    __slots__ = ("directory", "disk", "fd", "new")

    def __init__(self, disk: Disk, directory: str, fd: int, new: int) -> None:
        self.disk = disk
        self.directory = directory
        self.fd = fd
        self.new = new
        """where messages get their names: `new/`, or `cur/` for one that has flags"""

    def close(self) -> None:
        """Close its descriptors."""
        self.disk.close(self.new)
        if self.fd != self.new:
            self.disk.close(self.fd)


def open_folder(
    maildir: Maildir, name: str, *, make: bool, unwritable: Unwritable = Unwritable.REFUSED
) -> Folder | None:
    """The folder for `name`, or None: the INBOX.

    Args:
        maildir: the owner's mailbox.
        name: as in the address.
        make: it is made and subscribed when missing, and its ACL does not matter (xdflg value 1).
        unwritable: how names are written.
    """
    directory = folder_directory(name, unwritable)
    if not directory:
        return None
    disk, root = maildir.disk, maildir.root
    try:
        found = disk.stat(directory, root)
        if found is None and not make:
            return None
        if found is None:
            make_subscribed_folder(disk, directory, root)
        elif not found.is_folder or found.mode & WRITABLE != WRITABLE:
            return None
        fd = disk.open_dir(directory, root)
    except OSError:
        return None
    try:
        if make or may_post(read_small(disk, ACL, fd)):
            return Folder(disk, directory, fd, _open_new(disk, directory, root, fd))
    except OSError:
        pass
    disk.close(fd)
    return None


def _open_new(disk: Disk, directory: str, root: int, fd: int) -> int:
    """The folder's `new/`; what was left half made is completed first.

    Raises:
        OSError: it is no folder for mail.
    """
    try:
        return disk.open_dir("new", fd)
    except FileNotFoundError:
        there = disk.listdir(fd)
        if there and MARK not in there and not set(PARTS).intersection(there):
            raise
    make_maildir_folder(disk, directory, root)
    return disk.open_dir("new", fd)


def make_subscribed_folder(disk: Disk, directory: str, root: int) -> None:
    """Make a folder, or complete it, and subscribe it when it was not there.

    Raises:
        OSError: it cannot be made.
    """
    if disk.stat(directory, root) is None:
        with contextlib.suppress(OSError):  # the message is filed all the same
            subscribe(disk, root, directory[1:])
    make_maildir_folder(disk, directory, root)


def make_maildir_folder(disk: Disk, directory: str, root: int) -> None:
    """Make a folder's directory with all that belongs in it; `new` comes last and tells that it is whole."""
    make_folder(disk, directory, root)
    fd = disk.open_dir(directory, root)
    try:
        if disk.stat(MARK, fd) is None:
            disk.close(disk.create_excl(MARK, fd))
        for part in ("cur", "tmp", "new"):
            make_folder(disk, part, fd)
    finally:
        disk.close(fd)


def read_small(disk: Disk, name: str, folder: int) -> bytes:
    """A small file's octets; empty when there is none, or a folder has its name."""
    try:
        fd = disk.open_file(name, folder)
    except OSError:
        return b""
    try:
        return disk.pread(fd, _SMALL, 0)
    except IsADirectoryError:
        return b""
    finally:
        disk.close(fd)


def may_post(acl: bytes) -> bool:
    """Whether the ACL file's octets let `anyone` post."""
    if b"anyone" not in acl:
        return False
    granted = denied = False
    for line in acl.decode("utf-8", "replace").split("\n"):
        identifier, _, rest = line.strip().replace("\t", " ").partition(" ")
        letters, _, words = rest.strip().partition(":")
        if "p" in letters or "post" in words.split():
            identifier = identifier.strip('"')
            granted |= identifier == "anyone"
            denied |= identifier == "-anyone"
    return granted and not denied


def subscribe(disk: Disk, root: int, name: str) -> None:
    """Add a folder to the owner's subscriptions.

    Dovecot replaces the file under `subscriptions.lock`; while we hold that name nothing of either is lost. When somebody else
    has it (or died with it) the line is appended all the same.

    Args:
        disk: the disk.
        root: the owner's root.
        name: its directory without the first dot.

    Raises:
        OSError: the disk failed.
    """
    try:
        lock = disk.create_excl(_LOCK, root)
    except FileExistsError:
        lock = -1
    try:
        _append_subscription(disk, root, name)
    finally:
        if lock >= 0:
            disk.close(lock)
            disk.unlink(_LOCK, root)


def _append_subscription(disk: Disk, root: int, name: str) -> None:
    there = read_small(disk, SUBSCRIPTIONS, root)
    if there.startswith(b"V\t2"):
        name = name.replace(".", "\t")
    line = name.encode("ascii")
    if line in there.split(b"\n"):
        return
    fd = disk.open_file(SUBSCRIPTIONS, root, append=True)
    try:
        disk.write(fd, (b"" if not there or there.endswith(b"\n") else b"\n") + line + b"\n")
    finally:
        disk.close(fd)
