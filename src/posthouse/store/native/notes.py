"""Undo notes: what a crash in the middle of an append must take back.

First a note says only which lock file is being made. Then it says which file is about to grow, from which length to which, and
what the new octets are (their crc, and how they begin): durable before the first octet is written. Before the answer it durably
says no more than which lock stands there, all under the mailbox's locks; so what a crash leaves for taking back is a message
nobody was told 250 for.

    data/native/<random>.notes     64 slots of 4096 octets: magic, crc32, length, JSON
                                   one file for each process that writes; whoever holds its flock lives (DURABILITY 3.L)

`undo` cuts the file back to the old length when the message is not whole there, and removes the lock file the dead process
left. A file that has grown beyond the note, or begins there in another way, belongs to somebody else's later writing: it is
left alone, with a line in the log. A mailbox that somebody holds locked is tried again later.
"""

import logging
import secrets
import threading
import zlib

import msgspec

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxLocked
from posthouse.store.native.locks import LockFile, RecordLock, dot_lock, forget_lock

SLOTS = 64
SLOT_SIZE = 4096
_MAGIC = b"PHNATIV1"
_HEAD = len(_MAGIC) + 8
_SUFFIX = ".notes"
_CHUNK = 1 << 16
_log = logging.getLogger("posthouse.store")


class Note(msgspec.Struct, frozen=True):
    """One append. Without `old` only the lock is taken.

    Args:
        folder, name: the mailbox file.
        lock: our lock file.
        device, inode: which file that was.
        old, new: its length before and after.
        start: where the entry begins; before it stand line ends that the last message lacked.
        crc: crc32 of the entry.
        head: the entry's first octets, as Latin-1.
    """

    folder: str
    name: str
    lock: LockFile
    device: int = 0
    inode: int = 0
    old: int = -1
    new: int = -1
    start: int = -1
    crc: int = 0
    head: str = ""

    @property
    def of_lock(self) -> "Note":
        """What is left to be said when the append is over."""
        return Note(self.folder, self.name, self.lock)


class Notes:
    """The notes of this process.

    Args:
        disk: the disk.
        folder: the notes' folder, open.
    """

    def __init__(self, disk: Disk, folder: int) -> None:
        self._disk = disk
        self._folder = folder
        self._name = f"{secrets.token_hex(8)}{_SUFFIX}"
        making = f"{self._name}.tmp"  # a file without its lock would be taken for a dead process's
        self._fd = disk.create_excl(making, folder)
        disk.flock(self._fd)
        disk.pwrite(self._fd, bytes(SLOTS * SLOT_SIZE), 0)
        disk.fsync(self._fd)
        disk.rename(making, self._name, folder, folder)
        disk.fsync_dir(folder)
        self._free = list(range(SLOTS))
        self.stuck: list[int] = []
        """slots with a note that cannot be undone yet"""
        self._guard = threading.Lock()

    def take(self) -> int:
        """A slot of one's own.

        Raises:
            OSError: there is none: too many notes cannot be undone.
        """
        with self._guard:
            if not self._free:
                raise OSError(f"{len(self.stuck)} undo notes wait for mailboxes that are locked")
            return self._free.pop()

    def give_back(self, slot: int, lock: RecordLock) -> None:
        """The writer has ended. A note it left is undone; while that cannot be done the slot is not used."""
        try:
            if not self._undo(slot, lock):
                self.stuck.append(slot)
                return
        except OSError as error:
            _log.error("undo notes: %s", error)
            self.stuck.append(slot)
            return
        with self._guard:
            self._free.append(slot)

    def try_again(self, lock: RecordLock) -> None:
        """Undo what could not be undone before."""
        stuck, self.stuck = self.stuck, []
        for slot in stuck:
            self.give_back(slot, lock)

    def intend(self, slot: int, note: Note) -> None:
        """A lock is about to be made. Not durable: after a power cut it is stale in ten minutes."""
        self._put(slot, note)

    def write(self, slot: int, note: Note) -> None:
        """Make the note durable. Raises OSError: nothing may be appended."""
        self._put(slot, note)
        self._disk.fdatasync(self._fd)

    def _put(self, slot: int, note: Note) -> None:
        payload = msgspec.json.encode(note)
        record = _MAGIC + zlib.crc32(payload).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload
        if len(record) > SLOT_SIZE:
            raise OSError(f"{note.folder}: too long a path")
        if self._disk.pwrite(self._fd, record.ljust(SLOT_SIZE, b"\0"), slot * SLOT_SIZE) != SLOT_SIZE:
            raise OSError("short write of an undo note")

    def _undo(self, slot: int, lock: RecordLock) -> bool:
        note = _read(self._disk.pread(self._fd, SLOT_SIZE, slot * SLOT_SIZE))
        if note is None:
            return True
        if not undo(self._disk, note, lock):
            return False
        self._disk.pwrite(self._fd, bytes(_HEAD), slot * SLOT_SIZE)
        return True

    def close(self) -> None:
        """Nothing is appended any more. A note that still stands stays for the next process."""
        if not self.stuck:
            self._disk.unlink(self._name, self._folder)
        self._disk.close(self._fd)


def _read(slot: bytes) -> Note | None:
    if not slot.startswith(_MAGIC):
        return None
    crc, length = (int.from_bytes(slot[at : at + 4], "big") for at in (len(_MAGIC), len(_MAGIC) + 4))
    payload = slot[_HEAD : _HEAD + length]
    if zlib.crc32(payload) != crc:
        return None  # torn: it was never durable, so nothing was appended
    return msgspec.json.decode(payload, type=Note)


def adopt(disk: Disk, folder: int, lock: RecordLock) -> int:
    """Undo what dead processes left. Returns how many of their files must wait."""
    waiting = 0
    for name in disk.listdir(folder):
        if not name.endswith(_SUFFIX):
            continue
        try:
            fd = disk.open_file(name, folder, write=True)
        except FileNotFoundError:
            continue
        try:
            if not disk.flock(fd):
                continue
            notes = [_read(disk.pread(fd, SLOT_SIZE, slot * SLOT_SIZE)) for slot in range(SLOTS)]
            if all([undo(disk, note, lock) for note in notes if note is not None]):  # noqa: C419 - each of them is tried
                disk.unlink(name, folder)
            else:
                waiting += 1
        finally:
            disk.close(fd)
    return waiting


def undo(disk: Disk, note: Note, lock: RecordLock) -> bool:
    """Take an append back that no answer was given for; False when the mailbox is locked just now."""
    try:
        folder = disk.open_dir(note.folder)
    except FileNotFoundError:
        return True
    try:
        forget_lock(disk, folder, note.name, note.lock)
        if note.old < 0:
            return True
        with dot_lock(disk, folder, note.name, lambda _: None):
            return _cut_back(disk, folder, note, lock)
    except MailboxLocked:
        return False
    except OSError as error:
        _log.error("%s/%s: an append cannot be taken back: %s", note.folder, note.name, error)
        return False
    finally:
        disk.close(folder)


def _cut_back(disk: Disk, folder: int, note: Note, lock: RecordLock) -> bool:
    try:
        fd = disk.open_file(note.name, folder, write=True)
    except FileNotFoundError:
        return True
    try:
        found = disk.fstat(fd)
        if (found.device, found.inode) != (note.device, note.inode):
            return True
        if not lock(fd):
            return False
        size = disk.fstat(fd).size
        if size <= note.old or (size == note.new and _crc(disk, fd, note.start, size) == note.crc):
            return True
        head = note.head.encode("latin-1")
        begins = disk.pread(fd, min(len(head), size - note.start), note.start) if size > note.start else b""
        if size > note.new or not (head.startswith(begins) or not begins.strip(b"\0")):
            _log.warning("%s/%s: changed since an append broke off at octet %d: left alone", note.folder, note.name, note.old)
            return True
        disk.ftruncate(fd, note.old)
        disk.fsync(fd)
        _log.warning("%s/%s: cut back to %d octets, where an append broke off", note.folder, note.name, note.old)
    finally:
        disk.close(fd)
    return True


def _crc(disk: Disk, fd: int, at: int, end: int) -> int:
    crc = 0
    while at < end:
        data = disk.pread(fd, min(_CHUNK, end - at), at)
        if not data:
            break
        crc = zlib.crc32(data, crc)
        at += len(data)
    return crc
