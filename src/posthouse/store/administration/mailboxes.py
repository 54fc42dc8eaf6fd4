"""The mailboxes of one store: `data/store/<partition>/<owner>`, found and listed.

An owner is in one partition; where his mailbox was moved away from, a file has his name, the mark (`partition_move`). Names that
no owner can have (`owner.check_owner`) are no mailboxes; a removed mailbox that is not emptied yet has such a name. Nothing is
locked, and only `unmark` changes anything: what is listed may be gone a moment later.
"""

import fnmatch
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxLocked, MailboxNonexistent
from posthouse.store.mailbox.folder import read_small
from posthouse.store.mailbox.maildir import ASIDE
from posthouse.store.mailbox.owner import check_owner

PRIMARY = "primary"
"""where a mailbox is made when nothing else is said"""
MARK = b"moved to another partition: see posthouse store path\n"
"""begins the file that stands where a mailbox was moved away from"""


class Mailbox(NamedTuple):
    """Where one owner's mailbox is."""

    partition: str
    owner: str

    @property
    def path(self) -> str:
        """Below `data/store`."""
        return f"{self.partition}/{self.owner}"


class Mailboxes:
    """A store's folders, open.

    Args:
        disk: the disk.
        data: path of the instance's `data`.

    Raises:
        OSError: the folders cannot be opened.
    """

    def __init__(self, disk: Disk, data: str) -> None:
        self.disk = disk
        folder = disk.open_dir(data)
        try:
            self.store = open_folder(disk, "store", folder)
            self.journal = open_folder(disk, "journal", folder)
        finally:
            disk.close(folder)
        self._partitions: dict[str, int] = {PRIMARY: open_folder(disk, PRIMARY, self.store)}
        for name in sorted(disk.listdir(self.store)):
            if name not in self._partitions and name[0] != "." and self._is_folder(name, self.store):
                self._partitions[name] = disk.open_dir(name, self.store)

    def _is_folder(self, name: str, parent: int) -> bool:
        found = self.disk.stat(name, parent)
        return found is not None and found.is_folder

    @property
    def partitions(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._partitions)

    def descriptor(self, partition: str) -> int:
        """Of a partition's folder."""
        return self._partitions[partition]

    def find(self, owner: str) -> Mailbox | None:
        """The owner's mailbox, None when there is none.

        Raises:
            MailboxNonexistent: no mailbox can have that name.
            MailboxLocked: it is on its way to another partition, or that was cut short.
        """
        found = self.stands(check_owner(owner))
        if found is None and any(self._is_folder(f"{ASIDE}{owner}", fd) for fd in self._partitions.values()):
            raise MailboxLocked(f"{owner}: is being moved, or that was cut short: `posthouse store check` puts it right")
        return found or self.stands(owner)  # a move may have ended between the two

    def stands(self, owner: str) -> Mailbox | None:
        """The owner's mailbox, None where there is none under his name."""
        for partition, fd in self._partitions.items():
            if self._is_folder(owner, fd):
                return Mailbox(partition, owner)
        return None

    def is_mark(self, owner: str, folder: int) -> bool:
        """Whether his mailbox was moved away from this partition."""
        found = self.disk.stat(owner, folder)
        return found is not None and found.is_file and read_small(self.disk, owner, folder).startswith(MARK)

    def is_lost(self, owner: str, folder: int) -> bool:
        """Whether it was moved away from this partition and is in none now, nor on its way to one."""
        try:
            return self.is_mark(owner, folder) and self.find(owner) is None
        except (MailboxLocked, MailboxNonexistent):  # no owner's name: a mark that is not in its place
            return False

    def unmark(self, owner: str) -> None:
        """His mailbox is being removed: nothing keeps his name any more.

        Raises:
            OSError: the disk failed.
        """
        for folder in self._partitions.values():
            if self.is_mark(owner, folder):
                self.disk.unlink(owner, folder)

    def all(self) -> Iterator[Mailbox]:
        """Every mailbox, by partition and owner."""
        for partition, fd in self._partitions.items():
            for name in sorted(self.disk.listdir(fd)):
                if _can_own(name) and self._is_folder(name, fd):
                    yield Mailbox(partition, name)

    def foreign(self) -> Iterator[str]:
        """Paths below `data/store` of what stands in a partition and is no mailbox; what begins with `.` is the store's own."""
        for partition, fd in self._partitions.items():
            for name in sorted(self.disk.listdir(fd)):
                if name[0] != "." and not (_can_own(name) and (self._is_folder(name, fd) or self.is_mark(name, fd))):
                    yield f"{partition}/{name}"

    def matching(self, patterns: Iterable[str], default_domain: str) -> Iterator[Mailbox]:
        """Every mailbox whose owner matches one of the patterns (`*`, `?`, `[...]`); `*@default_domain` are those without one."""
        ending = f"@{default_domain}"
        wanted = [(each.removesuffix(ending), each.endswith(ending)) for each in patterns]
        for mailbox in self.all():
            hosted = "@" in mailbox.owner
            if any(fnmatch.fnmatchcase(mailbox.owner, each) and not (bare and hosted) for each, bare in wanted):
                yield mailbox

    def open_root(self, mailbox: Mailbox) -> int:
        """A descriptor of its root.

        Raises:
            OSError: it cannot be opened.
        """
        return self.disk.open_dir(mailbox.owner, self.descriptor(mailbox.partition))

    def close(self) -> None:
        """Close everything."""
        for fd in (*self._partitions.values(), self.store, self.journal):
            self.disk.close(fd)
        self._partitions.clear()


def _can_own(name: str) -> bool:
    try:
        check_owner(name)
    except MailboxNonexistent:
        return False
    return True
