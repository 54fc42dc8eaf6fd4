"""All messages of a mailbox, read while deliveries go on and users move and flag mail; nothing is locked.

A message is known by its base name, which a move or another flag does not change; a copy in another folder has the same one.
What is there the whole time is read as often as it is there. Listing takes time, so a message that is moved meanwhile may be
seen twice or not at all: the mailbox is listed until a listing shows nothing new, the smallest number of places seen counts,
and a file that is not where it was seen is looked for in later listings. What none of `ABSENT` listings in a row shows in a
folder where it was not read yet was deleted. What comes meanwhile may be left out. What cannot be read (a link, a file where
a folder belongs, no permission) is left out too, and told.
"""

import contextlib
import errno
from collections.abc import Iterator
from typing import NamedTuple

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.base_name import base_of
from posthouse.store.mailbox.faults import reason_of
from posthouse.store.mailbox.recount import folders_of

_LISTINGS = 10
ABSENT = 3
UNREADABLE = frozenset({errno.EACCES, errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
"""every other error of the disk ends the reading"""


class Entry(NamedTuple):
    """One message file."""

    directory: str
    """its folder's directory name, "" for the INBOX"""
    shelf: str
    """`new` or `cur`"""
    name: str
    """with its flags"""

    @property
    def base(self) -> str:
        """The name without its flags."""
        return base_of(self.name)


class Found(NamedTuple):
    """A message read."""

    entry: Entry
    mtime_ns: int
    octets: bytes


class Snapshot:
    """The messages of the mailbox with this root."""

    def __init__(self, disk: Disk, root: int) -> None:
        self._disk = disk
        self._root = root
        self.unread: dict[str, str] = {}
        """what could not be read: path below the root -> why"""
        self._copies: dict[str, int] = {}
        """base name -> in how many folders"""
        self._places: dict[str, list[Entry]] = {}
        for _ in range(_LISTINGS):
            known = len(self._copies)
            self._places |= (listed := self._list())
            for base, entries in listed.items():
                self._copies[base] = min(len(entries), self._copies.get(base, len(entries)))
            if len(self._copies) == known:
                break

    @property
    def folders(self) -> list[str]:
        """Directory names of the folders, "" first."""
        return folders_of(self._disk, self._root)

    @property
    def count(self) -> int:
        """How many messages there are, copies too."""
        return sum(self._copies.values())

    @property
    def places(self) -> set[tuple[str, str]]:
        """Directory and base name of every message as last seen."""
        return {(entry.directory, base) for base, entries in self._places.items() for entry in entries}

    def messages(self) -> Iterator[Found]:
        """Every message, as far as possible folder by folder."""
        read: dict[str, set[str]] = {base: set() for base in self._copies}
        absent = dict.fromkeys(self._copies, 0)
        places = self._places
        while absent:
            yield from self._pass(places, read, absent)
            if absent:
                places = self._list()
                for base in list(absent):
                    unread = any(entry.directory not in read[base] for entry in places.get(base, ()))
                    absent[base] = 0 if unread else absent[base] + 1
                    if absent[base] >= ABSENT:
                        del absent[base]

    def _pass(self, places: dict[str, list[Entry]], read: dict[str, set[str]], wanted: dict[str, int]) -> Iterator[Found]:
        """Read what is wanted where a listing showed it; what was read often enough is wanted no more."""
        order = sorted((entry, base) for base in wanted for entry in places.get(base, ()))
        for entry, base in order:
            if base not in wanted or entry.directory in read[base]:
                continue
            path, found = "/".join(part for part in entry if part), None
            with self._told(path):
                found = self._read(entry)
            if found is None and path not in self.unread:
                continue
            read[base].add(entry.directory)
            if found is not None:
                yield found
            if len(read[base]) >= self._copies[base]:
                del wanted[base]

    def _read(self, entry: Entry) -> Found | None:
        disk = self._disk
        folder = shelf = file = -1
        try:
            folder = disk.open_dir(entry.directory, self._root) if entry.directory else self._root
            shelf = disk.open_dir(entry.shelf, folder)
            file = disk.open_file(entry.name, shelf)
            found = disk.fstat(file)
            if not found.is_file:
                raise OSError(errno.ENXIO, "a folder or special file where a message belongs")
            return Found(entry, found.mtime_ns, disk.pread(file, found.size, 0))
        except FileNotFoundError:
            return None
        finally:
            for fd in (file, shelf, folder):
                if fd >= 0 and fd != self._root:
                    disk.close(fd)

    def _list(self) -> dict[str, list[Entry]]:
        """Base name -> one entry for each folder it is in."""
        disk, found = self._disk, dict[str, dict[str, Entry]]()
        for directory in folders_of(disk, self._root):
            folder = -1
            with self._told(directory), contextlib.suppress(FileNotFoundError):
                folder = disk.open_dir(directory, self._root) if directory else self._root
            if folder < 0:
                continue
            try:
                for shelf in ("new", "cur"):
                    for name in self._names(shelf, folder, f"{directory}/{shelf}".lstrip("/")):
                        entry = Entry(directory, shelf, name)
                        found.setdefault(entry.base, {})[directory] = entry
            finally:
                if folder != self._root:
                    disk.close(folder)
        return {base: list(entries.values()) for base, entries in found.items()}

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in UNREADABLE:
                raise
            self.unread[path] = reason_of(error)

    def _names(self, shelf: str, folder: int, path: str) -> list[str]:
        fd = -1
        with self._told(path), contextlib.suppress(FileNotFoundError):
            fd = self._disk.open_dir(shelf, folder)
        if fd < 0:
            return []
        try:
            return [name for name in self._disk.listdir(fd) if name[0] != "."]
        finally:
            self._disk.close(fd)
