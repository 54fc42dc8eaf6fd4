"""Faults of a mailbox on disk, found and repaired as the product's `reconstruct` does (message-store 6, 8).

    part        cur, new or tmp is missing in a folder                  made
    mark        maildirfolder is missing in a folder                    made
    mode        a folder is not 0700, a file not 0600                   set
    stray       a file in tmp/ that nobody writes any more              removed
    quota       maildirsize is not what the messages add up to          written anew from a count
    owner       belongs to another user                                 said only: root must give it back
    kind        a link, a special file or a folder where none belongs   said only
    size        a message is not as long as its name says               said only: another name would be another message
    locked      .admin-lock stands there                                said only: nothing else is looked at
    name        a folder whose name stands for none                     said only
    access      cannot be looked into, or the disk refuses              said only; usage is not judged then

A file in tmp/ is stray when its delivery is dead: its name is one of ours, its process is none of the store's, and it is
older than the moment when that was asked. Of others it is stray after 36 hours. Messages are never touched.

To repair, the owner's lock is held, so no delivery of ours is under way. Only the modes that would keep us from the lock are set
before (`entrance`). IMAP servers do not know that lock: what does not
add up while they change the mailbox means nothing. It is looked at again until nothing has changed for half a second; where
that does not come within some seconds nothing is repaired. Deliveries have their turn in between.
"""

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from posthouse.journal.disk import Disk, FileStat
from posthouse.store.administration.lock import Pace
from posthouse.store.administration.usage import folder_text
from posthouse.store.mailbox.base_name import notice_seconds, size_of
from posthouse.store.mailbox.faults import reason_of
from posthouse.store.mailbox.folder import read_small
from posthouse.store.mailbox.folder_name import folder_directory
from posthouse.store.mailbox.maildir import ADMIN_LOCK, LOCK, PARTS, STRAY_SECONDS
from posthouse.store.mailbox.maildirsize import NAME as MAILDIRSIZE
from posthouse.store.mailbox.maildirsize import RECOUNT, SizeFile, Sizes, limits_line, parse
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.saved import LENGTH, decode_saved

MARK = "maildirfolder"
_PAUSE = 0.1
_REST = 0.5
_AT_ONCE = 0.7
"""so long the lock is held for it: longer than `_REST`, or a mailbox that mail comes to would never be repaired"""
_PATIENCE = 3.0
_OURS = re.compile(r"\d+\.M\d+P(\d+)R[0-9a-f]+Q\d+")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_OUR_FILES = frozenset({LOCK, MAILDIRSIZE, MARK, "subscriptions", "dovecot-acl"})
"""an IMAP server's files have the modes it gives them"""


class Fault(NamedTuple):
    """One thing that is wrong."""

    kind: str
    path: str
    """below the mailbox's root"""
    text: str
    repaired: bool = False


class Writers(NamedTuple):
    """Who may be writing into `tmp/`."""

    pids: frozenset[int] | None
    """processes of the running store; None: nobody can tell"""
    asked: float
    """when that was found out, Unix time in seconds"""


def entrance(disk: Disk, partition: int, owner: str, *, repair: bool) -> Iterator[Fault]:
    """What may keep everybody out of a mailbox: its root's owner and mode, its lock file's mode.

    Args:
        disk: the disk.
        partition: descriptor of its folder.
        owner: whose mailbox.
        repair: wrong modes are set.

    Raises:
        OSError: the disk failed.
    """
    found, uid = disk.stat(owner, partition), os.geteuid()
    if found is None or not found.is_folder:
        return
    if found.uid != uid:
        yield Fault("owner", "", f"belongs to user {found.uid}, the store is user {uid}")
        return
    if found.mode != _FOLDER_MODE:
        if repair:
            os.chmod(owner, _FOLDER_MODE, dir_fd=partition)
        yield Fault("mode", "", f"mode is {found.mode:04o}, not {_FOLDER_MODE:04o}", repair)
    if not repair:
        return
    root = disk.open_dir(owner, partition)
    try:
        lock = disk.stat(LOCK, root)
        if lock is not None and lock.is_file and lock.uid == uid and lock.mode & _FILE_MODE != _FILE_MODE:
            os.chmod(LOCK, _FILE_MODE, dir_fd=root)
            yield Fault("mode", LOCK, f"mode is {lock.mode:04o}, not {_FILE_MODE:04o}", repaired=True)
    finally:
        disk.close(root)


class Check:
    """Looks at one mailbox; `entrance` comes first.

    Args:
        disk: the disk.
        entered: the descriptor of the mailbox's root as long as the block lasts, and to repair it the owner's lock.
        writers: who may write there.
        defaults: the store's limits.
        pace: time.
        name: makes unique names; None: nothing is repaired.
    """

    def __init__(
        self,
        disk: Disk,
        entered: Callable[[], AbstractContextManager[int]],
        writers: Writers,
        defaults: Limits,
        pace: Pace,
        name: Callable[[], str] | None,
    ) -> None:
        self._disk = disk
        self._entered = entered
        self._root = -1
        self._writers = writers
        self._defaults = defaults
        self._pace = pace
        self._name = name
        self._uid = os.geteuid()
        self._sizes = Sizes(0, 0)
        self._notices = Sizes(0, 0)
        self._changed = 0
        self._begun = 0.0
        """when what is counted was begun to be"""
        self._unseen = False
        """a folder could not be looked into: what is in it is not known"""

    def faults(self) -> Iterator[Fault]:
        """All faults; each is repaired before it is told, where it can be.

        Raises:
            MailboxError: the mailbox cannot be had.
            OSError: the disk failed.
        """
        with self._entered() as self._root:
            by_hand = self._disk.stat(ADMIN_LOCK, self._root)
            if by_hand is not None and not by_hand.is_folder:
                yield Fault("locked", ADMIN_LOCK, "an administrator's lock stands there: no mail is delivered")
                return
            self._begun = self._pace.now()
            yield from self._folders()
            deadline = self._pace.now() + _PATIENCE
            fault, sure = self._quota()
        while not sure and self._pace.now() < deadline:
            self._pace.pause(_PAUSE)
            with self._entered() as self._root:
                self._count()
                fault, sure = self._quota()
        if fault is not None:
            yield fault

    def _quota(self) -> tuple[Fault | None, bool]:
        """What is wrong with maildirsize, repaired where it can be, and whether that is sure."""
        stands = self._disk.stat(MAILDIRSIZE, self._root)
        if self._unseen or (stands is not None and stands.is_folder):  # the folder is told of already
            return None, True
        until = self._pace.now() + _AT_ONCE
        wrong, rests = self._wrong_sizes(), self._rests()
        while wrong is not None and not rests and self._pace.now() < until:
            self._pace.pause(_PAUSE)
            self._count()
            wrong, rests = self._wrong_sizes(), self._rests()
        if wrong is None or self._unseen:
            return None, True
        if rests:
            return Fault("quota", MAILDIRSIZE, wrong, self._write_sizes()), True
        return Fault("quota", MAILDIRSIZE, f"{wrong}; or it is being changed too often to be counted"), False

    def _count(self) -> None:
        self._sizes = self._notices = Sizes(0, 0)
        self._begun = self._pace.now()
        for _ in self._folders(count_only=True):
            pass

    def _rests(self) -> bool:
        """Whether nothing has changed for so long, nor since it was counted, that what does not add up will not in a moment."""
        found = self._disk.stat(MAILDIRSIZE, self._root)
        changed = max(self._changed, found.mtime_ns if found is not None else 0)
        return not self._begun - _REST <= changed / 1e9 <= self._pace.now() + _REST

    def _wrong_sizes(self) -> str | None:
        """What is wrong with maildirsize; None when nothing is. An IMAP server may count quota notices, we do not."""
        data = read_small(self._disk, MAILDIRSIZE, self._root)
        parsed = parse(data)
        real, notices = self._sizes, self._notices
        if parsed is None:
            if self._disk.stat(MAILDIRSIZE, self._root) is None:
                return f"missing, {real.messages} messages are there" if real.messages else None
            return "to be counted again, as after a start without a stop before it" if RECOUNT in data else "garbled"
        said = parsed[1]
        if said in {real, Sizes(real.bytes + notices.bytes, real.messages + notices.messages)}:
            return None
        return f"says {said.messages} messages, {said.bytes} octets; there are {real.messages}, {real.bytes}"

    def _write_sizes(self) -> bool:
        if self._name is None:
            return False
        disk, root = self._disk, self._root
        limits = decode_saved(read_small(disk, LOCK, root)[:LENGTH]).limits.resolved(self._defaults)
        try:
            tmp = disk.open_dir("tmp", root)
        except OSError:  # told already: it is no folder, or another's
            return False
        sizes = SizeFile(disk, root, tmp)
        try:
            sizes.write(limits_line(*limits), self._sizes, self._name(), self._pace.now(), keep_late=False)
        finally:
            sizes.close()
            disk.close(tmp)
        return True

    # --- folders ------------------------------------------------------------------------------------------------

    def _folders(self, *, count_only: bool = False) -> Iterator[Fault]:
        disk, root = self._disk, self._root
        for fault in self._folder("", root):
            if not count_only:
                yield fault
        for name in sorted(disk.listdir(root)):
            found = disk.stat(name, root)
            if name in PARTS or found is None:
                continue
            if not found.is_folder:
                faults = self._file(name, root, name, found)
            elif name[0] != ".":
                faults = iter([Fault("kind", name, "a folder where none belongs")])
            else:
                faults = self._subfolder(name, found)
            for fault in faults:
                if not count_only:
                    yield fault

    def _subfolder(self, name: str, found: FileStat) -> Iterator[Fault]:
        if folder_directory(folder_text(name)) != name:
            yield Fault("name", name, "no folder of a Maildir++ can have this name; IMAP servers may not show it")
        yield from self._mode(name, self._root, name, found, _FOLDER_MODE)
        fd = yield from self._opened(name, self._root, name)
        if fd < 0:
            return
        try:
            yield from self._folder(name, fd)
            if self._disk.stat(MARK, fd) is None:
                yield Fault("mark", f"{name}/{MARK}", "missing", self._make_mark(fd))
            for each in sorted(self._disk.listdir(fd)):
                inside = self._disk.stat(each, fd)
                if each not in PARTS and inside is not None and not inside.is_folder:
                    yield from self._file(each, fd, f"{name}/{each}", inside)
        finally:
            self._disk.close(fd)

    def _opened(self, name: str, folder: int, path: str) -> Generator[Fault, None, int]:
        """A descriptor of a folder; -1 when it cannot be looked into, or was removed meanwhile."""
        try:
            return self._disk.open_dir(name, folder)
        except FileNotFoundError:
            return -1
        except OSError as error:
            self._unseen = True
            yield Fault("access", path, f"cannot be looked into: {reason_of(error)}")
            return -1

    def _make_mark(self, folder: int) -> bool:
        if self._name is None:
            return False
        with contextlib.suppress(FileExistsError):
            self._disk.close(self._disk.create_excl(MARK, folder))
        return True

    def _folder(self, directory: str, fd: int) -> Iterator[Fault]:
        """The three parts of a folder and what is in them."""
        disk = self._disk
        for part in PARTS:
            path = f"{directory}/{part}" if directory else part
            found = disk.stat(part, fd)
            if found is None:
                repaired = self._name is not None
                if repaired:
                    with contextlib.suppress(FileExistsError):
                        disk.mkdir(part, fd)
                yield Fault("part", path, "missing", repaired)
                continue
            if not found.is_folder:
                yield Fault("kind", path, "no folder: no mail can be delivered")
                continue
            yield from self._mode(part, fd, path, found, _FOLDER_MODE)
            shelf = yield from self._opened(part, fd, path)
            if shelf < 0:
                continue
            try:
                for name in disk.listdir(shelf):
                    yield from (self._stray if part == "tmp" else self._message)(name, shelf, f"{path}/{name}")
                self._changed = max(self._changed, disk.fstat(shelf).mtime_ns)
            finally:
                disk.close(shelf)

    def _message(self, name: str, shelf: int, path: str) -> Iterator[Fault]:
        found = self._disk.stat(name, shelf)
        if found is None:  # moved meanwhile
            return
        yield from self._file(name, shelf, path, found, messages=True)
        if not found.is_file:
            return
        size = size_of(name)
        if size is not None and size != found.size:
            yield Fault("size", path, f"is {found.size} octets long")
        counted = found.size if size is None else size
        if notice_seconds(name) is None:
            self._sizes = Sizes(self._sizes.bytes + counted, self._sizes.messages + 1)
        else:
            self._notices = Sizes(self._notices.bytes + counted, self._notices.messages + 1)

    def _stray(self, name: str, shelf: int, path: str) -> Iterator[Fault]:
        found = self._disk.stat(name, shelf)
        if found is None or not found.is_file or not self._is_stray(name, found.mtime_ns / 1e9):
            return
        repaired = self._name is not None
        if repaired:
            with contextlib.suppress(FileNotFoundError):
                self._disk.unlink(name, shelf)
        yield Fault("stray", path, f"nobody writes it any more ({found.size} octets)", repaired)

    def _is_stray(self, name: str, changed: float) -> bool:
        pids, asked = self._writers
        ours = _OURS.match(name)
        if ours and pids is not None and int(ours[1]) not in pids and changed < asked:
            return True
        return changed < self._pace.now() - STRAY_SECONDS

    # --- single names -------------------------------------------------------------------------------------------

    def _file(self, name: str, folder: int, path: str, found: FileStat, *, messages: bool = False) -> Iterator[Fault]:
        if not found.is_file:
            yield Fault("kind", path, "a link, folder or special file where a file belongs")
        elif messages or name in _OUR_FILES:
            yield from self._mode(name, folder, path, found, _FILE_MODE)

    def _mode(self, name: str, folder: int, path: str, found: FileStat, wanted: int) -> Iterator[Fault]:
        if found.uid != self._uid:
            yield Fault("owner", path, f"belongs to user {found.uid}, the store is user {self._uid}")
        elif found.mode != wanted:
            repaired = self._name is not None
            if repaired:
                with contextlib.suppress(FileNotFoundError):  # moved meanwhile
                    os.chmod(name, wanted, dir_fd=folder)
            yield Fault("mode", path, f"mode is {found.mode:04o}, not {wanted:04o}", repaired)
