"""The partitions of a store: the folders below data/store, each perhaps a disk of its own; which one an owner's mailbox is in.

A mailbox is where it stands. One that is made now comes to the partition of the owner's setting (`store.partitionof.<owner>`),
else to `store.defaultpartition`. A partition named there that has no folder is not made: its disk may just not be mounted, and
mail must not go beneath it. Once it is there it is taken: it is looked for when a mailbox is to be made in it, and all folders
made later are at a reload. `found` hears of each before anything is written there. One that was moved away, or that another disk
was mounted over, takes no mail until it is back (`look_for_strays`). Where a mailbox was moved away from, a file has its name: it
counts only while no partition has the mailbox, and nothing is delivered then.
"""

from collections.abc import Callable, Mapping

from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxIOError
from posthouse.store.mailbox.maildir import ASIDE

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
        self._store = store
        self._folders = {PRIMARY: open_folder(disk, PRIMARY, store)}
        self._names = {self._folders[PRIMARY]: PRIMARY}
        self.found: Callable[[int], None] = lambda _folder: None
        """told of a partition that was not there before, by its descriptor"""
        self.strays: dict[int, str] = {}
        """those that did not stand under their name at the last look: descriptor -> name"""
        self.look()
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

    def look(self) -> None:
        """Take the folders that were made since the last look.

        Raises:
            OSError: the disk failed.
        """
        for name in sorted(self._disk.listdir(self._store)):
            if name not in self._folders and not name.startswith("."):
                self._take(name)

    def look_for_strays(self) -> None:
        """See whether each still is the folder under its name: mail would go where nobody looks for it.

        Raises:
            OSError: the disk failed.
        """
        strays = {}
        for name, folder in self._folders.items():
            there, ours = self._disk.stat(name, self._store), self._disk.fstat(folder)
            if there is None or (there.device, there.inode) != (ours.device, ours.inode):
                strays[folder] = name
        self.strays = strays

    def need(self, folder: int) -> None:
        """Refuse one that is a stray.

        Raises:
            MailboxIOError: it is.
        """
        if folder in self.strays:
            raise MailboxIOError(f"partition {self.strays[folder]}: data/store has another folder of this name, or none")

    def _take(self, name: str) -> int | None:
        found = self._disk.stat(name, self._store)
        if found is None or not found.is_folder:
            return None
        folder = self._disk.open_dir(name, self._store)
        try:
            self.found(folder)
        except BaseException:
            self._disk.close(folder)
            raise
        self._folders[name], self._names[folder] = folder, name
        return folder

    def _has(self, owner: str, folder: int) -> bool:
        found = self._disk.stat(owner, folder)
        return found is not None and found.is_folder

    def moves(self, owner: str) -> bool:
        """Whether the owner's mailbox is between two partitions just now, or such a move was cut short.

        Raises:
            OSError: the disk failed.
        """
        return any(self._has(f"{ASIDE}{owner}", folder) for folder in self.folders)

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
        if folder is None:
            folder = self._take(wanted)
        if len(self._folders) > 1 and (folder is None or not self._has(owner, folder)):
            there = [each for each in self._folders.values() if self._disk.stat(owner, each) is not None]
            for each in there:
                if self._has(owner, each):
                    return each
            if there:
                return there[0]
        if folder is None:
            raise MailboxIOError(f"{owner}: no partition {wanted}")
        return folder
