"""Replay: what the journal has and the mailboxes may have lost is written again (DURABILITY 3.R).

For every record above the checkpoint and every recipient without mark V or D: the file is looked for by its base name in the
mailbox, in whatever partition that stands by now: in the folder it was placed in, then in `new/` and `cur/` of all folders.
Found: the same octets are written over it in place, whatever it seems to hold (the cache may show what the disk has lost;
hard links are mended with it). Not found: it is put back under its name, when `put_back` says that the whole machine may have
forgotten it or mark F says that an earlier try could not. What stands in its mailbox then is known to `seen`, if it had an XQID.

Running it again changes nothing. What could not be written has mark F, the others of that segment D, and the segment stays.
"""

import logging
import time
from collections.abc import Callable, Iterator

import msgspec

from posthouse.journal.adopt import keep_damage, set_record_aside
from posthouse.journal.disk import Disk
from posthouse.journal.scan import scan
from posthouse.journal.segment import RECORDS_AT, CorruptRecord, Mark, RecordRef, Segment
from posthouse.store.delivery.placement import remove, write_all
from posthouse.store.delivery.record import Place, decode_placement
from posthouse.store.delivery.seen import feed, line_of
from posthouse.store.mailbox.base_name import base_of
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.folder import make_subscribed_folder
from posthouse.store.mailbox.maildir import Maildir, open_maildir
from posthouse.store.mailbox.maildirsize import NAME as MAILDIRSIZE
from posthouse.store.mailbox.maildirsize import RECOUNT
from posthouse.store.mailbox.owner import check_owner
from posthouse.store.mailbox.recount import folders_of

_SETTLED = frozenset({Mark.VOID.value, Mark.DONE.value})
_log = logging.getLogger("posthouse.store")


class Replay:
    """Replays segments of one instance.

    Args:
        disk: the disk.
        store: descriptor of data/store.
        journal: descriptor of data/journal.
        sync: every file and folder is fsynced at once, because no barrier can be trusted here.
        now: Unix time in seconds.
    """

    def __init__(self, disk: Disk, store: int, journal: int, *, sync: bool, now: Callable[[], float] = time.time) -> None:
        self._disk = disk
        self._store = store
        self._journal = journal
        self._sync = sync
        self._now = now
        self._lines: list[bytes] = []
        self._seen: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = {}
        self.mended = 0
        """names written over or put back"""

    def segment(self, segment: Segment, *, put_back: bool, upto: int | None = None) -> bool:
        """Replay one segment, up to an offset or its end.

        Returns:
            Whether everything is where it belongs, so that after a barrier the segment may go.
        """
        found = scan(segment, upto, segment.checkpoint() or RECORDS_AT)
        for damage in found.damage:
            name = keep_damage(self._disk, self._journal, segment, damage)
            (_log.error if damage.acknowledged else _log.warning)("%s: damaged octets kept as aside/%s", segment.name, name)
        done: list[int] = []
        failed: list[int] = []
        owners: set[tuple[str, str]] = set()
        for ref in found.records:
            self._record(segment, ref, put_back, done, failed, owners)
        for partition, owner in sorted(owners):
            self._ask_recount(partition, owner)
        lines, self._lines = self._lines, []
        if lines:
            feed(self._disk, self._store, lines, self._now())
        if failed:
            for slot in done:
                segment.mark(slot, Mark.DONE)
            for slot in failed:
                segment.mark(slot, Mark.FAILED)
        return not failed

    def _record(
        self, segment: Segment, ref: RecordRef, put_back: bool, done: list[int], failed: list[int],
        owners: set[tuple[str, str]],
    ) -> None:  # fmt: skip
        marks = segment.marks(ref.first_slot, ref.slots)
        if all(mark in _SETTLED for mark in marks):
            return
        try:
            envelope, body = segment.read(ref)
            placement = decode_placement(envelope)
        except (CorruptRecord, msgspec.DecodeError) as error:
            _log.error("%s kept as aside/%s", error, set_record_aside(self._disk, self._journal, segment, ref.offset))
            return
        for number, place in enumerate(placement.places[: ref.slots]):
            slot = ref.first_slot + number
            if marks[number] in _SETTLED:
                continue
            try:
                partition = self._partition_of(place.owner, placement.partition)
                self._restore(partition, place, body, put_back or marks[number] == Mark.FAILED.value)
            except (OSError, MailboxError) as error:
                _log.error("%s of %s cannot be put back: %s", place.base, place.owner, error)
                failed.append(slot)
            else:
                done.append(slot)
                owners.add((partition, place.owner))

    def _partition_of(self, owner: str, stated: str) -> str:
        """Where the owner's mailbox stands: it may have been moved since; the stated one where there is none."""
        disk, store = self._disk, self._store
        for name in (stated, *sorted(disk.listdir(store))):
            found = None if name.startswith(".") else disk.stat(name, store)
            if found is not None and found.is_folder:
                folder = disk.open_dir(name, store)
                try:
                    stands = disk.stat(check_owner(owner), folder)
                finally:
                    disk.close(folder)
                if stands is not None and stands.is_folder:
                    return name
        return stated

    def _restore(self, partition: str, place: Place, body: bytes, put_back: bool) -> None:
        """Write one name's octets over it, or put it back."""
        folder = self._disk.open_dir(partition, self._store)
        try:
            if self._disk.stat(check_owner(place.owner), folder) is None and not put_back:
                return
            maildir = open_maildir(self._disk, folder, place.owner, create=put_back)
            try:
                key = (partition, place.owner)
                where = self.find(maildir, key, place)
                if where is None or not self.mend(maildir, where, body):
                    if not put_back:
                        return
                    self._put_back(maildir, folder, place, body)
                    self._seen.setdefault(key, {})[place.base] = (place.directory, _shelf(place), place.base + place.marks)
                self.mended += 1
                if place.xqid:
                    self._lines.append(line_of(place.xqid, place.owner))
            finally:
                maildir.close()
        finally:
            self._disk.close(folder)

    def find(self, maildir: Maildir, key: tuple[str, str], place: Place) -> tuple[str, str, str] | None:
        """Folder, shelf and name the file has now, wherever in the mailbox that is."""
        for _ in range(2):
            names = self._seen.get(key)
            if names is None:
                names = self._seen[key] = self._list(maildir)
            where = names.get(place.base)
            if where is None or self._stands(maildir, where):
                return where
            del self._seen[key]  # moved since it was listed
        return None

    def _list(self, maildir: Maildir) -> dict[str, tuple[str, str, str]]:
        names = {}
        for directory in folders_of(self._disk, maildir.root):
            for shelf in ("new", "cur"):
                for fd in self._open(maildir.root, directory, shelf):
                    for name in self._disk.listdir(fd):
                        names[base_of(name)] = (directory, shelf, name)
        return names

    def _stands(self, maildir: Maildir, where: tuple[str, str, str]) -> bool:
        return any(self._disk.stat(where[2], fd) is not None for fd in self._open(maildir.root, where[0], where[1]))

    def _open(self, root: int, directory: str, shelf: str) -> Iterator[int]:
        """The shelf's descriptor, if there is one."""
        disk = self._disk
        parent = disk.open_dir(directory, root) if directory else root
        try:
            found = disk.stat(shelf, parent)
            if found is not None and found.is_folder:
                fd = disk.open_dir(shelf, parent)
                try:
                    yield fd
                finally:
                    disk.close(fd)
        finally:
            if parent != root:
                disk.close(parent)

    def mend(self, maildir: Maildir, where: tuple[str, str, str], body: bytes) -> bool:
        """Write the octets over the file; False when it is gone."""
        disk = self._disk
        for fd in self._open(maildir.root, where[0], where[1]):
            try:
                file = disk.open_file(where[2], fd, write=True)
            except FileNotFoundError:
                return False
            try:
                write_all(disk, file, body)
                disk.ftruncate(file, len(body))
                if self._sync:
                    disk.fsync(file)
                    disk.fsync_dir(fd)
            finally:
                disk.close(file)
            return True
        return False

    def _put_back(self, maildir: Maildir, partition: int, place: Place, body: bytes) -> None:
        disk = self._disk
        if place.directory:
            make_subscribed_folder(disk, place.directory, maildir.root)
        name = place.base
        remove(disk, name, maildir.tmp)
        file = disk.create_excl(name, maildir.tmp)
        try:
            write_all(disk, file, body)
            if self._sync:
                disk.fsync(file)
        finally:
            disk.close(file)
        for fd in self._open(maildir.root, place.directory, _shelf(place)):
            disk.rename(name, name + place.marks, maildir.tmp, fd)
            if self._sync:
                disk.fsync_dir(fd)
        if self._sync:
            disk.fsync_dir(maildir.root)
            disk.fsync_dir(partition)

    def _ask_recount(self, partition: str, owner: str) -> None:
        """The quota lines of the last seconds may be lost: let the next reader count."""
        disk = self._disk
        try:
            folder = disk.open_dir(partition, self._store)
            try:
                root = disk.open_dir(owner, folder)
                try:
                    if disk.stat(MAILDIRSIZE, root) is not None:
                        fd = disk.open_file(MAILDIRSIZE, root, append=True)
                        disk.write(fd, RECOUNT)
                        disk.close(fd)
                finally:
                    disk.close(root)
            finally:
                disk.close(folder)
        except OSError as error:
            _log.warning("%s/%s: %s", owner, MAILDIRSIZE, error)


def _shelf(place: Place) -> str:
    return "cur" if place.marks else "new"
