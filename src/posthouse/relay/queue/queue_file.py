"""A queue file in use: read, states, history, the next attempt's name, its end (queue.md 4, 5; DURABILITY 3.4).

Only who has the lease opens a file to change it. Octets are never rewritten but state octets; history is appended. Before
the name is changed or taken away it must still be the same file: else somebody replaced it (`Replaced`), read it anew.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator
from typing import Self

from posthouse.journal.body_file import read_parts
from posthouse.journal.segment import CorruptRecord
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.relay.queue import names
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.queue_format import (
    MAX_ENVELOPE,
    Attempt,
    DamagedQueueFile,
    QueueFile,
    State,
    decode_head,
    decode_held,
    decode_history,
    encode_held,
    encode_history,
)
from posthouse.relay.queue.tree import QueueTree

_FIRST_READ = 8192
_MAX_HISTORY = 1 << 20


class Replaced(Exception):  # noqa: N818 - says what was found
    """The name is not the file's any more: an operator moved, held or replaced it."""


class OpenQueueFile:
    """One leased queue file."""

    def __init__(self, tree: QueueTree, ref: FileCopy, fd: int, content: QueueFile) -> None:
        self._tree = tree
        self._fd = fd
        self.ref = ref
        self.content = content
        self._only: frozenset[int] | None = None

    @classmethod
    def open(cls, tree: QueueTree, ref: FileCopy) -> Self:
        """Open the file; its message is compared with `z`, the boundary and the crc.

        Raises:
            FileNotFoundError: no such file; an operator's command settled or moved it.
            DamagedQueueFile: the reason it is to be held for, see `hold_damaged`.
            OSError: it cannot be read now.
        """
        disk = tree.disk
        fd = disk.open_file(ref.name, tree.of(ref), write=True)
        try:
            content = _read_head(tree, ref, fd)
            _check_message(tree, fd, content)
        except BaseException:
            disk.close(fd)
            raise
        return cls(tree, ref, fd, content)

    @property
    def envelope(self) -> Envelope:
        """The envelope with the recipients of this copy."""
        return self.content.envelope

    @property
    def recipients(self) -> tuple[Recipient, ...]:
        """Those that were still to do when the file was opened."""
        open_ids = set(self.content.open_ids)
        if self._only is not None:
            open_ids &= self._only
        return tuple(each for each in self.content.envelope.recipients if each.id in open_ids)

    def narrow(self, ids: Collection[int]) -> None:
        """Leave out of `recipients` all others than these."""
        self._only = frozenset(ids)

    def parts(self) -> Iterator[bytes]:
        """The message in parts of at most 256 KiB."""
        return read_parts(self._tree.disk, self._fd, self.content.body_offset, self.content.envelope.size)

    def settle(self, recipient: int, state: State) -> None:
        """Overwrite one recipient's state octet, at once.

        Raises:
            OSError: the recipient will be tried again.
        """
        self._tree.disk.pwrite(self._fd, state.encode(), self.content.state_offsets[recipient])
        self.content.states[recipient] = state

    def settle_all(self, recipients: Iterable[int], state: State) -> None:
        """Overwrite recipients' state octets, at once; OSError as for `settle`."""
        for each in recipients:
            self.settle(each, state)

    def add_history(self, history: Iterable[Attempt]) -> None:
        """Append lines. OSError may be ignored: history is best effort."""
        octets = encode_history(history)
        self._tree.disk.pwrite(self._fd, octets, self._tree.disk.fstat(self._fd).size)

    def history(self) -> list[Attempt]:
        """The lines behind the message; the last MiB of them."""
        return decode_history(_behind(self._tree, self._fd, self.content))

    def held_because(self) -> str:
        """Why the file is held, or was last; empty where nobody said."""
        return decode_held(_behind(self._tree, self._fd, self.content))

    def note_held(self, reason: str) -> None:
        """Append why it is held, or with no reason that it is so no more. OSError may be ignored, as for history."""
        self._tree.disk.pwrite(self._fd, encode_held(reason), self._tree.disk.fstat(self._fd).size)

    def next_attempt(self) -> FileCopy:
        """Make states and history durable and rename to the next prefix; the new reference.

        Raises:
            Replaced: the name belongs to another file now.
            OSError: it keeps its name.
        """
        disk, folder = self._tree.disk, self._tree.of(self.ref)
        self.same_attempt()
        name = names.parse(self.ref.name)
        assert name is not None, "references are made from parsed names"
        new = names.file_name(name.message, name.copy, name.attempts + 1, held=name.held)
        if new != self.ref.name and disk.stat(new, folder) is None:
            disk.rename(self.ref.name, new, folder, folder)
            self._tree.touched(folder)
            self.ref = FileCopy(self.ref.channel, self.ref.subdir, new)
        return self.ref

    def same_attempt(self) -> FileCopy:
        """Make states and history durable under the name it has: nobody was tried; the reference.

        Raises:
            Replaced: the name belongs to another file now.
            OSError: they may not be durable.
        """
        self._tree.disk.fdatasync(self._fd)
        self._must_be_ours(self._tree.of(self.ref))
        return self.ref

    def remove(self) -> None:
        """Take the name away: every recipient is settled.

        Raises:
            Replaced: the name belongs to another file now.
            OSError: the file is still there, with its states.
        """
        assert not self.content.open_ids, "a queue file with a recipient to do is not removed"
        folder = self._tree.of(self.ref)
        self._must_be_ours(folder)
        self._tree.disk.unlink(self.ref.name, folder)
        self._tree.touched(folder)

    def close(self) -> None:
        """Close the file."""
        self._tree.disk.close(self._fd)

    def _must_be_ours(self, folder: int) -> None:
        mine, there = self._tree.disk.fstat(self._fd), self._tree.disk.stat(self.ref.name, folder)
        if there is None or (there.device, there.inode) != (mine.device, mine.inode):
            raise Replaced(f"{self.ref.path} is another file now")


def read_with_history(tree: QueueTree, ref: FileCopy) -> tuple[QueueFile, list[Attempt], str]:
    """Envelope and states, and of the last MiB behind the message: the history, and why the file is held.

    Raises:
        FileNotFoundError: no such file.
        DamagedQueueFile: what is wrong with it.
    """
    fd = tree.disk.open_file(ref.name, tree.of(ref))
    try:
        content = _read_head(tree, ref, fd)
        behind = _behind(tree, fd, content)
        return content, decode_history(behind), decode_held(behind)
    finally:
        tree.disk.close(fd)


def append_reason(tree: QueueTree, ref: FileCopy, reason: str) -> None:
    """Append why the file is held. Its message is not read; one that is cut short is left as it is.

    Raises:
        OSError: nothing may have been written: of no weight, as history.
        DamagedQueueFile: it is left as it is.
    """
    fd = tree.disk.open_file(ref.name, tree.of(ref), write=True)
    try:
        content, size = _read_head(tree, ref, fd), tree.disk.fstat(fd).size
        if size > content.body_end:
            tree.disk.pwrite(fd, encode_held(reason), size)
    finally:
        tree.disk.close(fd)


def _behind(tree: QueueTree, fd: int, content: QueueFile) -> bytes:
    """What stands behind the message; the boundary and half a line are neither history nor a reason and passed over."""
    size = tree.disk.fstat(fd).size
    start = max(content.body_end, size - _MAX_HISTORY)
    return tree.disk.pread(fd, size - start, start) if start < size else b""


def hold_damaged(tree: QueueTree, ref: FileCopy) -> FileCopy:
    """Rename a file that cannot be read to `.HELD`; it is never deleted. The reason is told by opening it again."""
    from posthouse.relay.queue.release import hold

    return hold(tree, ref)


def _read_head(tree: QueueTree, ref: FileCopy, fd: int) -> QueueFile:
    name = names.parse(ref.name)
    if name is None:
        raise DamagedQueueFile("its name is not a queue file's")
    wanted = _FIRST_READ
    while wanted <= MAX_ENVELOPE:
        octets = tree.disk.pread(fd, wanted, 0)
        content = decode_head(octets, ref.channel, name.copy, held=name.held)
        if content is not None:
            if content.envelope.id != name.message:
                raise DamagedQueueFile("its name and its message id do not agree")
            return content
        if len(octets) < wanted:
            break
        wanted *= 8
    raise DamagedQueueFile("the envelope does not end in a boundary")


def _check_message(tree: QueueTree, fd: int, content: QueueFile) -> None:
    """Raises DamagedQueueFile when z, the boundary or the crc is wrong."""
    crc, last = 0, b"\n"
    try:
        for part in read_parts(tree.disk, fd, content.body_offset, content.envelope.size):
            crc = zlib.crc32(part, crc)
            last = part[-1:]
    except CorruptRecord:
        raise DamagedQueueFile("the file is shorter than z; says") from None
    closing = (b"" if last == b"\n" else b"\n") + content.boundary + b"\n"
    if tree.disk.pread(fd, len(closing), content.body_end) != closing:
        raise DamagedQueueFile("no boundary stands behind the octets z; counts")
    if content.body_crc is not None and crc != content.body_crc:
        raise DamagedQueueFile("the message is not what was written: b; does not agree")
