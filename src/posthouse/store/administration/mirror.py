"""A mailbox copied to another file system, file by file, so that IMAP servers find it as it was.

Octets, names, times and hard links inside the mailbox are carried: a message keeps its flags and its internal date, an IMAP
server its UIDs, indexes, keywords, subscriptions and ACLs. What stands in a folder's `tmp/` is no message and stays behind, so do
lock files that somebody died with (`*.lock`). What is no file and no folder cannot be carried: `Unmovable`, and nothing is moved.

    messages()    what is in the folders' `new/` and `cur/`, while users go on; what vanishes meanwhile is passed over
    everything()  until both are alike: what is not there any more goes, all other files are taken anew. Nobody changes
                  anything meanwhile

A message's octets never change under its name, so one that has the same name, length and time is not copied again.
"""

import contextlib
from collections.abc import Iterator

from posthouse.journal.disk import Disk, FileStat
from posthouse.store.administration.removal import empty
from posthouse.store.delivery.placement import remove, write_copy
from posthouse.store.mailbox.errors import MailboxBadFormat
from posthouse.store.mailbox.maildir import LOCK, PARTS

_SHELVES = (("new",), ("cur",))
Path = tuple[str, ...]


class Unmovable(MailboxBadFormat):
    """A link or a special file stands in the mailbox."""


class Mirror:
    """Makes one folder the image of another.

    Args:
        disk: the disk.
        target: descriptor of the copy's root, which is new.
    """

    def __init__(self, disk: Disk, target: int) -> None:
        self._disk = disk
        self._target = target
        self._links: dict[tuple[int, int, int, int], Path] = {}
        """files with several names: where the copy is. An inode may be another file by now, with another time then"""
        self._all = False

    def messages(self, source: int) -> Iterator[str]:
        """Copy the messages below a root that are not there; yields the name of each.

        Raises:
            Unmovable: there is something that cannot be carried.
            OSError: the disk failed.
        """
        self._all = False
        yield from self._folder(source, self._target, ())

    def everything(self, source: int) -> int:
        """Make both alike; how many messages and folders were not.

        Raises:
            Unmovable: there is something that cannot be carried.
            OSError: the disk failed.
        """
        self._all = True
        return sum(1 for _ in self._folder(source, self._target, ()))

    def sync(self) -> None:
        """Make each file and each folder of the copy durable by itself, where no barrier can be trusted.

        Raises:
            OSError: the disk failed.
        """
        self._sync(self._target)

    # --- one folder ---------------------------------------------------------------------------------------------

    def _folder(self, source: int, target: int, path: Path) -> Iterator[str]:
        disk = self._disk
        found = {name: disk.stat(name, source) for name in sorted(disk.listdir(source))}
        carried = {name: each for name, each in found.items() if each is not None and not _stays(name, each, path)}
        if self._all:
            for name in sorted(set(disk.listdir(target)) - carried.keys()):
                if not (name == LOCK and not path):
                    self._remove(name, target)
                    yield name
        for name, each in carried.items():
            if each.is_folder:
                yield from self._inside(name, source, target, path)
            elif each.is_file:
                yield from self._file(name, each, source, target, path)
            else:
                raise Unmovable(f"{'/'.join((*path, name))}: a link or special file, which is not moved")

    def _inside(self, name: str, source: int, target: int, path: Path) -> Iterator[str]:
        disk = self._disk
        there = disk.stat(name, target)
        if there is not None and not there.is_folder:
            self._remove(name, target)
            there = None
        if there is None:
            disk.mkdir(name, target)
            yield name
        if name == "tmp" and _is_folder_of_mail(path):
            return
        try:
            inner = disk.open_dir(name, source)
        except FileNotFoundError:  # removed meanwhile
            return
        try:
            copy = disk.open_dir(name, target)
            try:
                yield from self._folder(inner, copy, (*path, name))
            finally:
                disk.close(copy)
        finally:
            disk.close(inner)

    def _file(self, name: str, found: FileStat, source: int, target: int, path: Path) -> Iterator[str]:
        message = path[-1:] in _SHELVES and _is_folder_of_mail(path[:-1])
        if not message and not self._all:
            return
        there = self._disk.stat(name, target)
        if there is None or not message or (there.size, there.mtime_ns) != (found.size, found.mtime_ns):
            if there is not None:
                self._remove(name, target)
            if not self._link(name, found, target) and not self._copy(name, source, target):
                return
            if message:
                yield name
        if found.links > 1:
            self._links.setdefault(_identity(found), (*path, name))

    def _link(self, name: str, found: FileStat, target: int) -> bool:
        """Give a file that was copied already its other name; False when it was not."""
        known = self._links.get(_identity(found)) if found.links > 1 else None
        if known is None:
            return False
        disk, fds = self._disk, [self._target]
        try:
            fds.extend(disk.open_dir(step, fds[-1]) for step in known[:-1])
            disk.link(known[-1], name, fds[-1], target)
        except OSError:  # it has another name by now, or too many
            return False
        finally:
            for fd in fds[1:]:
                disk.close(fd)
        return True

    def _copy(self, name: str, source: int, target: int) -> bool:
        """Copy a file; False when it is gone."""
        disk = self._disk
        try:
            original = disk.open_file(name, source)
        except FileNotFoundError:
            return False
        try:
            copy = disk.create_excl(name, target)
            try:
                write_copy(disk, original, copy)
                disk.set_mtime(copy, disk.fstat(original).mtime_ns)
            except BaseException:
                remove(disk, name, target)
                raise
            finally:
                disk.close(copy)
        finally:
            disk.close(original)
        return True

    def _remove(self, name: str, folder: int) -> None:
        found = self._disk.stat(name, folder)
        if found is not None and found.is_folder:
            for _ in empty(self._disk, name, folder):
                pass
        else:
            self._disk.unlink(name, folder)

    def _sync(self, folder: int) -> None:
        disk = self._disk
        for name in disk.listdir(folder):
            found = disk.stat(name, folder)
            inside = found is not None and found.is_folder
            fd = disk.open_dir(name, folder) if inside else disk.open_file(name, folder)
            try:
                self._sync(fd) if inside else disk.fsync(fd)
            finally:
                disk.close(fd)
        disk.fsync_dir(folder)


@contextlib.contextmanager
def leased(disk: Disk, root: int, passed_over: frozenset[str]) -> Iterator[str]:
    """Every file beside the messages is leased in the block, if it can be: who opens one to write waits for the block's end.

    Args:
        disk: the disk.
        root: descriptor of a mailbox's root.
        passed_over: names that do not count.

    Yields:
        A file that somebody has open to write; "" without one.

    Raises:
        OSError: the disk failed, or its file system knows no leases.
    """
    fds: list[int] = []
    try:
        yield _lease(disk, root, passed_over, fds)
    finally:
        for fd in fds:
            disk.close(fd)


def _lease(disk: Disk, folder: int, passed_over: frozenset[str], fds: list[int]) -> str:
    for name in sorted(disk.listdir(folder)):
        found = disk.stat(name, folder)
        if found is None or name in passed_over or not (found.is_file or (found.is_folder and name not in PARTS)):
            continue
        with contextlib.suppress(FileNotFoundError):
            fds.append(disk.open_file(name, folder) if found.is_file else disk.open_dir(name, folder))
            if found.is_folder and (inside := _lease(disk, fds[-1], passed_over, fds)):
                return f"{name}/{inside}"
            if found.is_file and not disk.lease(fds[-1]):
                return name
    return ""


def _is_folder_of_mail(path: Path) -> bool:
    """Whether it is the root, or a folder of the Maildir++."""
    return not path or (len(path) == 1 and path[0].startswith("."))


def _identity(found: FileStat) -> tuple[int, int, int, int]:
    return found.device, found.inode, found.size, found.mtime_ns


def _stays(name: str, found: FileStat, path: Path) -> bool:
    """Whether it is nothing of the mailbox: our lock, which the copy has one of its own, and locks others have left."""
    if not found.is_file:
        return False
    return (name == LOCK and not path) or (name.endswith(".lock") and path[-1:] not in _SHELVES)
