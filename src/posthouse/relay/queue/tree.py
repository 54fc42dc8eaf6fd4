"""The folders of queue files: `<channel>/[<NNN>/]<name>` (queue.md 1), walked whatever `subdirs` says now.

Folders are opened once and kept. A new folder's name is made durable in its parent at once. Links are not followed.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.names import TMP, QueueName, is_subdir, parse, unique, unique_of


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One queue file, known by its name only."""

    ref: FileCopy
    name: QueueName
    mtime: float
    """Unix time of the last change: a hint when the last attempt was"""
    size: int
    """octets"""


class QueueTree:
    """All queue files below an open folder."""

    def __init__(self, disk: Disk, root: int) -> None:
        self.disk = disk
        self.root = root
        self._folders: dict[tuple[str, str], int] = {}
        self._touched: set[int] = set()
        self._noting, self._syncing = threading.Lock(), threading.Lock()

    def folder(self, channel: str, subdir: str, *, make: bool = False) -> int:
        """The open folder of a channel or its subfolder.

        Raises:
            FileNotFoundError: there is none and `make` is not given.
            ValueError: a name is not one step.
        """
        found = self._folders.get((channel, subdir))
        if found is None:
            if subdir:
                parent, name = self.folder(channel, "", make=make), subdir
            else:
                parent, name = self.root, channel
            found = open_folder(self.disk, name, parent) if make else self.disk.open_dir(name, parent)
            self._folders[channel, subdir] = found
        return found

    def of(self, ref: FileCopy) -> int:
        """The open folder a copy's file stands in."""
        return self.folder(ref.channel, ref.subdir)

    def files(self) -> "Files":
        """The names there are now, in no order."""
        found = []
        for channel in self.disk.listdir(self.root):
            look = self.disk.stat(channel, self.root)
            if look is None or not look.is_folder:
                continue
            here, names = self.folder(channel, ""), []
            for name in self.disk.listdir(here):
                below = self.disk.stat(name, here) if is_subdir(name) else None
                if below is None:
                    names.append(name)
                elif below.is_folder:
                    found.append((channel, name, self.disk.listdir(self.folder(channel, name))))
            found.append((channel, "", names))
        return Files(self, found)

    def entries(self) -> Iterator[QueueEntry]:
        """Every queue file, in no order. Files of other names are passed over; what goes away meanwhile too."""
        return iter(self.files())

    def look(self, ref: FileCopy, name: QueueName) -> QueueEntry | None:
        """The queue file of that name; None when it is gone, or no file."""
        found = self.disk.stat(ref.name, self.of(ref))
        return QueueEntry(ref, name, found.mtime_ns / 1e9, found.size) if found is not None and found.is_file else None

    def touched(self, folder: int) -> None:
        """Note that a name was taken away or changed in the folder."""
        with self._noting:
            self._touched.add(folder)

    def touched_file(self, path: str) -> None:
        """Note the same of the folder of a file, by its path; a worker of ours has taken the name away or changed it."""
        channel, *middle, _ = path.split("/")
        self.touched(self.folder(channel, middle[0] if middle else ""))

    def sync_touched(self) -> None:
        """Make durable what was noted before, also where another thread is at it. Blocks.

        Raises:
            OSError: some may not be, and stay noted; after a crash some files may be back.
        """
        with self._syncing:
            with self._noting:
                touched, self._touched = self._touched, set()
            while touched:
                folder = touched.pop()
                try:
                    self.disk.fsync_dir(folder)
                except OSError:
                    with self._noting:
                        self._touched |= {folder, *touched}
                    raise

    def close(self) -> None:
        """Close all folders but the root."""
        for fd in self._folders.values():
            self.disk.close(fd)
        self._folders.clear()


class Files:
    """The names of the tree at one moment: all a start has to know. They are taken apart and looked at when they are asked for.

    Args:
        tree: where they stand.
        folders: channel, subfolder and names.
    """

    def __init__(self, tree: QueueTree, folders: list[tuple[str, str, list[str]]]) -> None:
        self._tree = tree
        self._folders = folders
        self._by_unique: dict[str, FileCopy] | None = None

    def __len__(self) -> int:
        """How many names there are; some may be no queue file's."""
        return sum(len(names) for _, _, names in self._folders)

    def __iter__(self) -> Iterator[QueueEntry]:
        for ref, name in self.apart():
            entry = self._tree.look(ref, name)
            if entry is not None:
                yield entry

    def apart(self) -> Iterator[tuple[FileCopy, QueueName]]:
        """Queue files by name; whether they are still there, and are files, `look` tells."""
        for channel, subdir, names in self._folders:
            for name in names:
                taken_apart = parse(name)
                if taken_apart:
                    yield FileCopy(channel, subdir, name), taken_apart

    def remove_unfinished(self) -> None:
        """Remove `.tmp-*`; only while no process that writes queue files lives."""
        for channel, subdir, names in self._folders:
            for name in names:
                if name.startswith(TMP):
                    self._tree.disk.unlink(name, self._tree.folder(channel, subdir))

    def find(self, message: str, copy: int) -> FileCopy | None:
        """The queue file of a copy, whatever its channel, attempts and type. The first question makes a table of all."""
        if self._by_unique is None:
            self._by_unique = {
                part: FileCopy(channel, subdir, name)
                for channel, subdir, names in self._folders
                for name in names
                if (part := unique_of(name)) is not None
            }
        ref = self._by_unique.get(unique(message, copy))
        name = parse(ref.name) if ref is not None else None
        return ref if ref is not None and name is not None and self._tree.look(ref, name) is not None else None
