"""The partitions of a store: the folders below data/store, each perhaps a disk of its own; which one an owner's mailbox is in.

A mailbox is where it stands. One that is made now comes to the partition of the owner's setting (`store.partitionof.<owner>`),
else to `store.defaultpartition`. A partition named there that has no folder is not made: its disk may just not be mounted, and
mail must not go beneath it. Folders made later are partitions at the next start.
"""

from collections.abc import Mapping

from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxIOError

PRIMARY = "primary"
"""made if it is missing"""


class Partitions:
    """A store's partitions, open.

    Args:
        disk: the disk.
        store: descriptor of data/store.

    Raises:
        OSError: they cannot be opened.
    """

    def __init__(self, disk: Disk, store: int) -> None:
        self._disk = disk
        self._folders = {PRIMARY: open_folder(disk, PRIMARY, store)}
        for name in sorted(disk.listdir(store)):
            found = None if name in self._folders or name.startswith(".") else disk.stat(name, store)
            if found is not None and found.is_folder:
                self._folders[name] = disk.open_dir(name, store)
        self._names = {fd: name for name, fd in self._folders.items()}
        self._default = PRIMARY
        self._chosen: Mapping[str, str] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._folders)

    @property
    def folders(self) -> tuple[int, ...]:
        """Their descriptors."""
        return tuple(self._folders.values())

    def choose(self, default: str, chosen: Mapping[str, str]) -> None:
        """Where mailboxes are made from now on: owner to partition, and for all others."""
        self._default, self._chosen = default, chosen

    def name(self, folder: int) -> str:
        """The partition's name."""
        return self._names[folder]

    def of(self, owner: str) -> int:
        """The folder the owner's mailbox is in, or is to be made in.

        Raises:
            MailboxIOError: the one it is to be made in is not there.
            OSError: the disk failed.
        """
        wanted = self._chosen.get(owner, self._default)
        folder = self._folders.get(wanted)
        if len(self._folders) > 1 and (folder is None or self._disk.stat(owner, folder) is None):
            for each in self._folders.values():
                if each != folder and self._disk.stat(owner, each) is not None:
                    return each
        if folder is None:
            raise MailboxIOError(f"{owner}: no partition {wanted}")
        return folder
