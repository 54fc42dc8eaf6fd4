"""Taking an archive into a mailbox: every message once, however often it is done and whatever stopped it the last time.

A message is known by its base name. It is there already when its folder has it, or when another folder has a copy that the
archive does not account for: the user has moved it since. So importing the same archive again, or a newer one of the same
mailbox, adds only what is missing; what the user has deleted meanwhile comes back.

For a batch the owner's lock is held, as by a delivery: files in `tmp/`, then one barrier, only then their names in `new/` or
`cur/`, then the quota line (usage counts, limits do not hold an administrator up). Killed anywhere, no torn message has a name.
A keyword gets the letter that the folder's `dovecot-keywords` gives it; that file belongs to the IMAP server and is written
only where there is none yet (decision 61). Keywords it does not know are dropped and counted.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from posthouse.journal.barrier import Barrier
from posthouse.journal.disk import Disk
from posthouse.store.administration.archive import Incoming, Source
from posthouse.store.administration.lock import Held, Pace, hold
from posthouse.store.administration.snapshot import Snapshot
from posthouse.store.delivery.placement import remove, write_all
from posthouse.store.mailbox.base_name import BaseNames, notice_seconds
from posthouse.store.mailbox.folder import make_maildir_folder, read_small, subscribe
from posthouse.store.mailbox.maildirsize import SizeFile, Sizes, limits_line
from posthouse.store.mailbox.marked import KEYWORDS, keyword_names
from posthouse.store.mailbox.recount import recount
from posthouse.store.quota.limits import DEFAULT, Limits

BATCH = 64
BATCH_OCTETS = 16 << 20
_LOOKS, _PAUSE = 4, 0.2
_KEYWORD = re.compile(r"[!#$&'+-\[^-z|}~]+")
"""what IMAP can say of one: an atom"""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Tally(NamedTuple):
    """What became of an archive."""

    imported: int = 0
    present: int = 0
    """were there already"""
    dropped_keywords: int = 0


class Intake:
    """Imports into one mailbox that exists.

    Args:
        disk: the disk.
        partition: descriptor of its folder.
        owner: whose mailbox.
        barrier: of the partition's file system.
        defaults: the store's limits.
        names: for files in `tmp/`.
        pace: time.
    """

    def __init__(
        self, disk: Disk, partition: int, owner: str, barrier: Barrier, defaults: Limits, names: BaseNames, pace: Pace
    ) -> None:
        self._disk = disk
        self._partition = partition
        self._owner = owner
        self._barrier = barrier
        self._defaults = defaults
        self._names = names
        self._pace = pace
        self._keywords: dict[str, dict[str, str]] = {}
        self._own_keywords: set[str] = set()
        self.tally = Tally()

    def missing(self, source: Source) -> set[tuple[str, str]]:
        """Directory and base name of what the mailbox lacks."""
        root = self._disk.open_dir(self._owner, self._partition)
        try:
            there = Snapshot(self._disk, root).places
        finally:
            self._disk.close(root)
        carried = set(source.places())
        spare = Counter(base for directory, base in there - carried)
        lacking = set()
        for directory, base in sorted(carried - there):
            if spare[base]:
                spare[base] -= 1
            else:
                lacking.add((directory, base))
        self.tally = self.tally._replace(present=len(carried) - len(lacking))
        return lacking

    def take(self, source: Source, lacking: set[tuple[str, str]]) -> Iterator[int]:
        """Import what is lacking; yields how many messages are in after each batch.

        Raises:
            MailboxError: the mailbox cannot be had.
            OSError: the disk failed.
        """
        with hold(self._disk, self._partition, self._owner, self._pace) as held:
            self._prepare(held, source)
        batch: list[Incoming] = []
        octets = 0
        for message in source.messages():
            if (message.directory, message.base) not in lacking:
                continue
            lacking.discard((message.directory, message.base))
            batch.append(message)
            octets += len(message.octets)
            if len(batch) >= BATCH or octets >= BATCH_OCTETS:
                yield self._place(batch)
                batch, octets = [], 0
        if batch:
            yield self._place(batch)
        self._count()
        self._barrier.sync()

    def _prepare(self, held: Held, source: Source) -> None:
        """Folders, subscriptions, ACLs where there are none, limits where none are saved."""
        disk, root = self._disk, held.root
        for directory in source.folders:
            make_maildir_folder(disk, directory, root)
        for directory, acl in source.acls.items():
            folder = disk.open_dir(directory, root) if directory else root
            try:
                if disk.stat("dovecot-acl", folder) is None:
                    self._write_small("dovecot-acl", acl, folder)
            finally:
                if folder != root:
                    disk.close(folder)
        for name in source.subscriptions:
            subscribe(disk, root, name)
        unset = Limits(DEFAULT, DEFAULT)
        if held.saved.limits == unset and source.limits != unset:
            held.save(held.saved._replace(limits=source.limits))

    def _write_small(self, name: str, octets: bytes, folder: int) -> None:
        fd = self._disk.create_excl(name, folder)
        try:
            write_all(self._disk, fd, octets)
        finally:
            self._disk.close(fd)

    def _place(self, batch: list[Incoming]) -> int:
        disk = self._disk
        with hold(disk, self._partition, self._owner, self._pace) as held:
            tmp = disk.open_dir("tmp", held.root)
            files: list[int] = []
            names = [self._names.unsized() for _ in batch]
            placed: list[Incoming] | None = None
            try:
                files.extend(self._write(message, name, tmp) for message, name in zip(batch, names, strict=True))
                self._barrier.sync(files=files, folders=[tmp])
                placed = [each for each, name in zip(batch, names, strict=True) if self._name(held, each, name, tmp)]
                self._charge(held, tmp, placed)
            finally:
                for fd in files:
                    disk.close(fd)
                if placed is None:  # the disk may be full: what has no name yet takes no room
                    for name in names:
                        remove(disk, name, tmp)
                disk.close(tmp)
        tally = self.tally
        self.tally = tally._replace(imported=tally.imported + len(placed), present=tally.present + len(batch) - len(placed))
        return self.tally.imported

    def _write(self, message: Incoming, name: str, tmp: int) -> int:
        disk = self._disk
        fd = disk.create_excl(name, tmp)
        try:
            write_all(disk, fd, message.octets)
            os.utime(fd, ns=(message.mtime_ns, message.mtime_ns))  # IMAP's internal date
        except BaseException:
            disk.close(fd)
            remove(disk, name, tmp)
            raise
        return fd

    def _name(self, held: Held, message: Incoming, written: str, tmp: int) -> bool:
        """Give a message its name; False when somebody else was quicker."""
        disk, root = self._disk, held.root
        folder = disk.open_dir(message.directory, root) if message.directory else root
        shelf = -1
        try:
            letters = message.flags + self._letters(message, folder)
            flagged = letters or message.shelf == "cur"
            shelf = disk.open_dir("cur" if flagged else "new", folder)
            name = f"{message.base}:2,{letters}" if flagged else message.base
            if disk.stat(name, shelf) is not None:
                remove(disk, written, tmp)
                return False
            disk.rename(written, name, tmp, shelf)
            if not self._barrier.trusted:
                disk.fsync_dir(shelf)
            return True
        finally:
            for fd in (shelf, folder):
                if fd >= 0 and fd != root:
                    disk.close(fd)

    def _letters(self, message: Incoming, folder: int) -> str:
        """The letters of the message's keywords in this folder."""
        if not message.keywords:
            return ""
        known = self._keywords.get(message.directory)
        if known is None:
            known = {name: letter for letter, name in keyword_names(read_small(self._disk, KEYWORDS, folder)).items()}
            self._keywords[message.directory] = known
            if self._disk.stat(KEYWORDS, folder) is None:
                self._own_keywords.add(message.directory)
        if message.directory in self._own_keywords:
            self._add_keywords(filter(_KEYWORD.fullmatch, message.keywords), known, folder)
        found = sorted(known[name] for name in message.keywords if name in known)
        self.tally = self.tally._replace(dropped_keywords=self.tally.dropped_keywords + len(message.keywords) - len(found))
        return "".join(found)

    def _add_keywords(self, names: Iterable[str], known: dict[str, str], folder: int) -> None:
        """More names for a `dovecot-keywords` that was not there before this import."""
        new = [name for name in dict.fromkeys(names) if name not in known][: len(_LETTERS) - len(known)]
        if new:
            lines = b"".join(b"%d %s\n" % (number, name.encode()) for number, name in enumerate(new, len(known)))
            known.update({name: _LETTERS[number] for number, name in enumerate(new, len(known))})
            fd = self._disk.open_file(KEYWORDS, folder, append=True)
            try:
                self._disk.write(fd, lines)
            finally:
                self._disk.close(fd)

    def _charge(self, held: Held, tmp: int, placed: list[Incoming]) -> None:
        counted = [message for message in placed if notice_seconds(message.base) is None]
        sizes = SizeFile(self._disk, held.root, tmp)
        try:
            if counted and sizes.load(self._pace.now()) is not None:
                sizes.add(sum(len(message.octets) for message in counted), len(counted))
        finally:
            sizes.close()

    def _count(self) -> None:
        """Bring the quota file in step: there may be none, and an import that was killed has not told of its last messages.

        What an IMAP server has removed and not yet told of looks like a fault for a moment: it must be the same at a second look.
        """
        difference: Sizes | None = None
        for look in range(_LOOKS):
            if look:
                self._pace.pause(_PAUSE)
            found = self._compare(difference)
            if found is None:
                return
            difference = found

    def _compare(self, before: Sizes | None) -> Sizes | None:
        """By how much the file is wrong; None when it is right, or was as wrong before and has been written anew."""
        disk, now = self._disk, self._pace.now()
        with hold(disk, self._partition, self._owner, self._pace) as held:
            tmp = disk.open_dir("tmp", held.root)
            sizes = SizeFile(disk, held.root, tmp)
            try:
                said, (usage, steady) = sizes.load(now), recount(disk, held.root)
                if said == usage:
                    return None
                difference = Sizes(0, 0) if said is None else Sizes(said.bytes - usage.bytes, said.messages - usage.messages)
                if not steady or (said is not None and difference != before):
                    return difference
                limits = held.saved.limits.resolved(self._defaults)
                sizes.write(limits_line(*limits), usage, self._names.unsized(), now, keep_late=False)
            finally:
                sizes.close()
                disk.close(tmp)
        return None
