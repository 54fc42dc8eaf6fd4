"""Which folder of a mailbox a message goes to (message-store 2). Never a failure: what cannot be had is the INBOX.

dovecot-acl     in the folder: lines `identifier rights`; only `anyone` with the right `p` lets mail in
maildirfolder   in every folder, empty (message-store 6)
subscriptions   in the root: a folder we made is added, in the form the file has
"""

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.folder_name import folder_directory
from posthouse.store.mailbox.maildir import PARTS, Maildir, make_folder

_ACL_OCTETS = 1 << 16


class Folder:
    """An open folder below the root; the INBOX is no `Folder`."""

    __slots__ = ("directory", "disk", "fd", "new")

    def __init__(self, disk: Disk, directory: str, fd: int, new: int) -> None:
        self.disk = disk
        self.directory = directory
        self.fd = fd
        self.new = new

    def close(self) -> None:
        """Close its descriptors."""
        self.disk.close(self.new)
        self.disk.close(self.fd)


def open_folder(maildir: Maildir, name: str, *, make: bool) -> Folder | None:
    """The folder for `name`, or None: the INBOX.

    Args:
        maildir: the owner's mailbox.
        name: as in the address.
        make: it is made and subscribed when missing, and its ACL does not matter (xdflg value 1).
    """
    directory = folder_directory(name)
    if not directory:
        return None
    disk, root = maildir.disk, maildir.root
    try:
        found = disk.stat(directory, root)
        if found is None:
            if not make:
                return None
            make_maildir_folder(disk, directory, root)
            subscribe(disk, root, directory[1:])
        elif not found.is_folder:
            return None
        fd = disk.open_dir(directory, root)
    except OSError:
        return None
    try:
        if make or may_post(read_small(disk, "dovecot-acl", fd)):
            return Folder(disk, directory, fd, disk.open_dir("new", fd))
    except OSError:
        pass
    disk.close(fd)
    return None


def make_maildir_folder(disk: Disk, directory: str, root: int) -> None:
    """Make a folder's directory with all that belongs in it."""
    make_folder(disk, directory, root)
    fd = disk.open_dir(directory, root)
    try:
        for part in PARTS:
            make_folder(disk, part, fd)
        if disk.stat("maildirfolder", fd) is None:
            disk.close(disk.create_excl("maildirfolder", fd))
    finally:
        disk.close(fd)


def read_small(disk: Disk, name: str, folder: int) -> bytes:
    """A small file's octets; empty when there is none."""
    try:
        fd = disk.open_file(name, folder)
    except OSError:
        return b""
    try:
        return disk.pread(fd, _ACL_OCTETS, 0)
    finally:
        disk.close(fd)


def may_post(acl: bytes) -> bool:
    """Whether the ACL file's octets let `anyone` post."""
    granted = denied = False
    for line in acl.decode("utf-8", "replace").splitlines():
        identifier, _, rest = line.strip().partition(" ")
        letters, _, words = rest.partition(":")
        if "p" in letters or "post" in words.split():
            granted |= identifier == "anyone"
            denied |= identifier == "-anyone"
    return granted and not denied


def subscribe(disk: Disk, root: int, name: str) -> None:
    """Add a folder to the owner's subscriptions. `name` is its directory without the first dot."""
    there = read_small(disk, "subscriptions", root)
    if there.startswith(b"V\t2"):
        name = name.replace(".", "\t")
    line = name.encode("ascii")
    if line in there.split(b"\n"):
        return
    fd = disk.open_file("subscriptions", root, append=True)
    try:
        disk.write(fd, (b"" if not there or there.endswith(b"\n") else b"\n") + line + b"\n")
    finally:
        disk.close(fd)
