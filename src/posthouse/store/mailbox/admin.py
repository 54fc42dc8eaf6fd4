"""What an administrator does to one mailbox: make it, find it (`posthouse store create|path OWNER`).

OWNER is `uid` or `uid@domain` in any case; the default domain may be written. Safe beside running deliveries.
"""

from pathlib import Path

from posthouse.config.configuration import Configuration
from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import LinuxDisk
from posthouse.store.mailbox.errors import MailboxNonexistent
from posthouse.store.mailbox.maildir import PARTS, open_maildir
from posthouse.store.mailbox.owner import parse_target

PARTITION = "primary"


def owner_of(configuration: Configuration, owner: str) -> str:
    """The mailbox owner's name as the store writes it.

    Raises:
        MailboxNonexistent: no mailbox can have that name.
    """
    target = parse_target(owner.encode("utf-8", "surrogateescape"), configuration.store.defaultdomain)
    if target.folder:
        raise MailboxNonexistent(f"{owner!r} names a folder, not an owner")
    return target.owner


def path(configuration: Configuration, owner: str) -> Path:
    """The Maildir++ root of the owner, whether it is there or not.

    Raises:
        MailboxNonexistent: no mailbox can have that name.
    """
    return configuration.instance.store / PARTITION / owner_of(configuration, owner)


def create(configuration: Configuration, owner: str) -> tuple[Path, bool]:
    """Make the owner's mailbox, durably.

    Returns:
        Its root, and whether it was not there before.

    Raises:
        MailboxError: no mailbox can have that name, or what stands there is none.
        OSError: the disk failed.
    """
    name = owner_of(configuration, owner)
    disk = LinuxDisk()
    data = disk.open_dir(str(configuration.instance.data))
    try:
        store = open_folder(disk, "store", data)
        partition = open_folder(disk, PARTITION, store)
        try:
            maildir = open_maildir(disk, partition, name, create=True)
            try:
                for part in PARTS:
                    folder = disk.open_dir(part, maildir.root)
                    disk.fsync_dir(folder)
                    disk.close(folder)
                disk.fsync_dir(maildir.root)
                disk.fsync_dir(partition)
            finally:
                maildir.close()
        finally:
            disk.close(partition)
            disk.close(store)
    finally:
        disk.close(data)
    return configuration.instance.store / PARTITION / name, maildir.fresh
