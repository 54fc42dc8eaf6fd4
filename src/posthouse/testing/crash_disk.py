"""A disk in memory that can lose power: a second `posthouse.journal.Disk` under the same contract tests (DURABILITY 7).

It keeps what programs see (live) and what the platters hold (durable). `survivor(choose)` is a disk as it may be found after
a power cut at this moment:

* of each file's unsynced writes any subset of 4 KiB blocks, each in any of its versions, with or without the new length;
* of unsynced changes of names (i) a prefix in order or (ii) any subset that keeps each name's order, a rename being one.

`choose` picks one legal state: LEAST (nothing unsynced), MOST (all of it), NAMES_ONLY (all names, no octets), OCTETS_ONLY, or a
seeded `random.Random`. `syncfs` and the folder's own sync make durable what they must and nothing more.

`fault(operation, name)` may return an OSError to be raised instead of the operation. A sync that fails so throws the
unsynced octets out of the durable state for good, keeps them in the live one, and succeeds the next time: as Linux does.
`after(operation)` is called after each operation that changed something; `cut()` ends all life: everything then raises PowerCut;
`cut_at(count)` does so after that many.
"""

# ruff: noqa: D102

import copy
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from posthouse.journal.disk import WRITABLE, FileStat, Octets, one_step
from posthouse.testing.crash_state import (
    Change,
    Choose,
    Edit,
    File,
    Folder,
    Node,
    edit,
    file_stat,
    put,
    settle,
    surviving_tree,
    truncate,
)

EXT4 = 0xEF53


class PowerCut(BaseException):
    """The power is gone; no handler for ordinary exceptions may see this."""


@dataclass(slots=True)
class _Handle:
    node: Node
    writable: bool
    append: bool


class CrashDisk:
    """The disk.

    Args:
        fstype: magic number it answers with; not one of the barrier's list: no trusted syncfs.
        now_ns: gives files their mtime; 0 without.
    """

    def __init__(self, fstype: int = EXT4, now_ns: Callable[[], int] = lambda: 0) -> None:
        self._fstype = fstype
        self._now_ns = now_ns
        self._inodes = 1
        self._root = Folder(1)
        self._handles: dict[int, _Handle] = {}
        self._next_fd = 3
        self._changes: list[Change] = []
        self._files: dict[int, File] = {}
        self._dead = False
        self.operations = 0
        """changing operations so far"""
        self.fault: Callable[[str, str], OSError | None] = lambda _operation, _name: None
        self.after: Callable[[str], None] = lambda _operation: None
        self.log: list[tuple[str, str]] = []
        """changing operations with the name they were done to, in order"""

    # --- what a test does ---

    def cut(self) -> None:
        """Nothing works any more; closing is quiet."""
        self._dead = True

    def cut_at(self, count: int) -> None:
        """`cut` as soon as so many changing operations have been done; the last of them raises PowerCut."""

        def after(_operation: str) -> None:
            if self.operations >= count:
                self.cut()
                raise PowerCut

        self.after = after

    def survivor(self, choose: Choose) -> "CrashDisk":
        """A disk as it may be found after a power cut now."""
        found = CrashDisk(self._fstype, self._now_ns)
        found._root, found._files = surviving_tree(self._root, self._changes, choose)
        found._inodes = self._inodes
        return found

    def killed(self) -> "CrashDisk":
        """A copy as the next process finds it when all of ours were killed now: nothing is lost or synced, no lock is held."""
        found = CrashDisk(self._fstype, self._now_ns)
        found._root, found._changes, found._files = copy.deepcopy((self._root, self._changes, self._files))
        found._inodes = self._inodes
        for file in found._files.values():
            file.locked_by = -1
        return found

    # --- Disk (its docstrings are the protocol's) ---

    def open_dir(self, name: str, parent: int | None = None) -> int:
        self._alive()
        node: Node = self._root if parent is None else self._lookup(one_step(name), parent)
        for step in [part for part in name.split("/") if part] if parent is None else ():
            node = self._child(node, step)
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
        return self._open(node, writable=False, append=False)

    def close(self, fd: int, /) -> None:
        handle = self._handles.pop(fd, None)
        if handle is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if isinstance(handle.node, File) and handle.node.locked_by == fd:
            handle.node.locked_by = -1

    def mkdir(self, name: str, folder: int, mode: int = 0o700) -> None:
        del mode
        with _Operation(self, "mkdir", name):
            parent = self._free_name(name, folder)
            self._change((parent, name, Folder(self._inode())))

    def create_excl(self, name: str, folder: int, mode: int = 0o600) -> int:
        del mode
        with _Operation(self, "create_excl", name):
            parent = self._free_name(name, folder)
            file = File(self._inode(), mtime=self._now_ns())
            self._files[file.inode] = file
            self._change((parent, name, file))
            return self._open(file, writable=True, append=False)

    def open_file(self, name: str, folder: int, *, write: bool = False, append: bool = False) -> int:
        self._alive()
        if append and not write and one_step(name) not in self._folder(folder).live:
            self.close(self.create_excl(name, folder))
        node = self._lookup(one_step(name), folder)
        if isinstance(node, Folder) and (write or append):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        return self._open(node, writable=write or append, append=append)

    def pread(self, fd: int, count: int, offset: int, /) -> bytes:
        self._alive()
        return bytes(self._file(fd).live[offset : offset + count])

    def pwrite(self, fd: int, data: Octets, offset: int, /) -> int:
        with _Operation(self, "pwrite", self._name_of(fd)):
            return self._write(fd, bytes(data), offset)

    def pwritev(self, fd: int, buffers: Sequence[Octets], offset: int, /) -> int:
        with _Operation(self, "pwritev", self._name_of(fd)):
            return self._write(fd, b"".join(buffers), offset)

    def write(self, fd: int, data: Octets, /) -> int:
        with _Operation(self, "write", self._name_of(fd)):
            if not self._handle(fd).append:
                raise OSError(errno.EINVAL, "only files opened to append have a position here")
            return self._write(fd, bytes(data), len(self._file(fd).live))

    def ftruncate(self, fd: int, size: int, /) -> None:
        with _Operation(self, "ftruncate", self._name_of(fd)):
            file = self._file(fd)
            truncate(file.live, size)
            file.pending.append((size, None))

    def fdatasync(self, fd: int, /) -> None:
        with _Operation(self, "fdatasync", self._name_of(fd), [self._file(fd)]):
            settle(self._file(fd))

    def fsync(self, fd: int, /) -> None:
        node = self._handle(fd).node
        with _Operation(self, "fsync", self._name_of(fd), [node] if isinstance(node, File) else []):
            if isinstance(node, File):
                settle(node)
            else:
                self._settle_names(node)

    def fsync_dir(self, folder: int, /) -> None:
        with _Operation(self, "fsync_dir", self._name_of(folder)):
            self._settle_names(self._folder(folder))

    def rename(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        with _Operation(self, "rename", target):
            node = self._lookup(one_step(source), source_folder)
            there = self._folder(target_folder).live.get(one_step(target))
            if there is node and isinstance(node, File):
                return
            if isinstance(there, Folder) or (isinstance(node, Folder) and there is not None):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
            self._change(
                (self._folder(source_folder), source, None), (self._folder(target_folder), target, node)
            )

    def exchange(self, name: str, other: str, folder: int) -> None:
        with _Operation(self, "exchange", name):
            node, there = self._lookup(one_step(name), folder), self._lookup(one_step(other), folder)
            self._change((self._folder(folder), name, there), (self._folder(folder), other, node))

    def link(self, source: str, target: str, source_folder: int, target_folder: int) -> None:
        with _Operation(self, "link", target):
            node = self._lookup(one_step(source), source_folder)
            parent = self._free_name(target, target_folder)
            self._change((parent, target, node))

    def unlink(self, name: str, folder: int) -> None:
        with _Operation(self, "unlink", name):
            if isinstance(self._lookup(one_step(name), folder), Folder):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
            self._change((self._folder(folder), name, None))

    def rmdir(self, name: str, folder: int) -> None:
        with _Operation(self, "rmdir", name):
            node = self._lookup(one_step(name), folder)
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
            if node.live:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
            self._change((self._folder(folder), name, None))

    def listdir(self, folder: int) -> list[str]:
        self._alive()
        return list(self._folder(folder).live)

    def stat(self, name: str, folder: int) -> FileStat | None:
        self._alive()
        node = self._folder(folder).live.get(one_step(name))
        return None if node is None else file_stat(node)

    def folder_inode(self, name: str, folder: int) -> int:
        found = self.stat(name, folder)
        return found.inode if found is not None and found.is_folder and found.mode & WRITABLE == WRITABLE else 0

    def fstat(self, fd: int) -> FileStat:
        self._alive()
        return file_stat(self._handle(fd).node)

    def set_mtime(self, fd: int, mtime_ns: int) -> None:
        with _Operation(self, "set_mtime", self._name_of(fd)):
            self._file(fd).mtime = mtime_ns

    def lease(self, fd: int, /) -> bool:
        file = self._file(fd)
        return not any(handle.writable and handle.node is file for handle in self._handles.values())

    def flock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        self._alive()
        file = self._file(fd)
        if file.locked_by not in {-1, fd}:
            assert not wait, "waiting for a lock in one process would never end"
            return False
        file.locked_by = fd if exclusive else file.locked_by
        return True

    def unlock(self, fd: int) -> None:
        self._alive()
        file = self._file(fd)
        file.locked_by = -1 if file.locked_by == fd else file.locked_by

    def fstype(self, fd: int) -> int:
        self._handle(fd)
        return self._fstype

    def syncfs(self, fd: int) -> None:
        with _Operation(self, "syncfs", self._name_of(fd), list(self._files.values())):
            for file in self._files.values():
                settle(file)
            self._apply(self._changes)
            self._changes = []

    # --- inside ---

    def begin(self, operation: str, name: str, synced: Iterable[File]) -> None:
        """Before an operation: is there power, is it to fail."""
        self._alive()
        error = self.fault(operation, name)
        if error is not None:
            for file in synced:
                file.pending.clear()
            raise error

    def end(self, operation: str, name: str) -> None:
        """After an operation that worked."""
        self.operations += 1
        self.log.append((operation, name))
        self.after(operation)

    def _alive(self) -> None:
        if self._dead:
            raise PowerCut

    def _inode(self) -> int:
        self._inodes += 1
        return self._inodes

    def _open(self, node: Node, *, writable: bool, append: bool) -> int:
        fd, self._next_fd = self._next_fd, self._next_fd + 1
        self._handles[fd] = _Handle(node, writable, append)
        return fd

    def _handle(self, fd: int) -> _Handle:
        found = self._handles.get(fd)
        if found is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found

    def _file(self, fd: int) -> File:
        node = self._handle(fd).node
        if isinstance(node, Folder):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        return node

    def _folder(self, fd: int) -> Folder:
        node = self._handle(fd).node
        if isinstance(node, File):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node

    def _name_of(self, fd: int) -> str:
        """A name for the log: the inode serves."""
        self._alive()
        return str(self._handle(fd).node.inode)

    def _child(self, node: Node, name: str) -> Node:
        found = node.live.get(name) if isinstance(node, Folder) else None
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return found

    def _lookup(self, name: str, folder: int) -> Node:
        return self._child(self._folder(folder), name)

    def _free_name(self, name: str, folder: int) -> Folder:
        parent = self._folder(folder)
        if one_step(name) in parent.live:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        return parent

    def _write(self, fd: int, data: bytes, offset: int) -> int:
        file = self._file(fd)
        if not self._handle(fd).writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        put(file.live, offset, data)
        file.pending.append((offset, data))
        file.mtime = self._now_ns()
        return len(data)

    def _change(self, *edits: Edit) -> None:
        edit(edits, live=True)
        self._changes.append(Change(edits))

    def _apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            edit(change.edits, live=False)

    def _settle_names(self, folder: Folder) -> None:
        """Make durable what touches the folder, and what must come before it."""
        wanted: set[tuple[int, str]] = set()
        chosen: list[Change] = []
        for change in reversed(self._changes):
            places = change.places()
            if any(inode == folder.inode for inode, _ in places) or places & wanted:
                wanted |= places
                chosen.append(change)
        self._apply(reversed(chosen))
        self._changes = [change for change in self._changes if change not in chosen]


class _Operation:
    """One changing operation: may it begin, and what follows."""

    def __init__(self, disk: CrashDisk, operation: str, name: str, synced: Iterable[File] = ()) -> None:
        self._disk, self._operation, self._name, self._synced = disk, operation, name, synced

    def __enter__(self) -> None:
        self._disk.begin(self._operation, self._name, self._synced)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._disk.end(self._operation, self._name)
