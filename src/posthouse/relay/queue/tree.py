"""The folders of queue files: `<channel>/[<NNN>/]<name>` (queue.md 1), walked whatever `subdirs` says now.

Folders are opened once and kept. A new folder's name is made durable in its parent at once. Links are not followed.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.names import TMP, QueueName, is_subdir, parse


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

    def entries(self) -> Iterator[QueueEntry]:
        """Every queue file, in no order. Files of other names are passed over; what goes away meanwhile too."""
        for channel, subdir, name in self._names():
            taken_apart = parse(name)
            found = self.disk.stat(name, self.folder(channel, subdir)) if taken_apart else None
            if taken_apart and found is not None and found.is_file:
                yield QueueEntry(FileCopy(channel, subdir, name), taken_apart, found.mtime_ns / 1e9, found.size)

    def remove_unfinished(self) -> None:
        """Remove `.tmp-*`; only while no process that writes queue files lives."""
        for channel, subdir, name in self._names():
            if name.startswith(TMP):
                self.disk.unlink(name, self.folder(channel, subdir))

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

    def _names(self) -> Iterator[tuple[str, str, str]]:
        for channel in self.disk.listdir(self.root):
            found = self.disk.stat(channel, self.root)
            if found is None or not found.is_folder:
                continue
            here = self.folder(channel, "")
            for name in self.disk.listdir(here):
                if is_subdir(name):
                    below = self.disk.stat(name, here)
                    if below is not None and below.is_folder:
                        for deeper in self.disk.listdir(self.folder(channel, name)):
                            yield channel, name, deeper
                else:
                    yield channel, "", name
