"""A message too large for memory on its way to UNIX mailboxes: its entry grows in a nameless file of ours while it arrives.

The file is gone when its last descriptor is closed, whatever happens. When it cannot be written the octets are thrown away and
every addressee gets the disk's fault. How long its body is is known at the end: with Quoting.LENGTH the message itself comes
into the file, and then its entry into another.
"""

import os
import tempfile
import zlib
from typing import TYPE_CHECKING

from posthouse.store.delivery.stored_form import LineEnds, return_path
from posthouse.store.delivery.transaction import Message
from posthouse.store.mailbox.faults import fault_of
from posthouse.store.native.append import Entry
from posthouse.store.native.content_length import put_entry
from posthouse.store.native.entry import Quoter, Quoting, from_line

if TYPE_CHECKING:
    from posthouse.store.mailbox.errors import MailboxError

_HEAD = 64


class SpooledMessage(Message):
    """A message whose entry is in a file."""

    __slots__ = ("entry",)

    entry: Entry


class SpooledEntry:
    """One arriving message. Ends with `end` or `abort`.

    Args:
        folder: the path the nameless file is made in.
        sender: of the message.
        quoting: of lines that begin like the first.
        now: Unix time in seconds.
    """

    def __init__(self, folder: str, sender: bytes, quoting: Quoting, now: float) -> None:
        self.fault: MailboxError | None = None
        self._line_ends = LineEnds()
        self._quoter = Quoter(quoting)
        self._stored = 0
        self._folder = folder
        self._begin()
        self._first = from_line(sender, now)
        self._lengthen = quoting is Quoting.LENGTH
        if not self._lengthen:
            self._append(self._first)
        self._convert(return_path(sender))

    def _begin(self) -> None:
        """An empty file."""
        self._size = self._crc = 0
        self._head = b""
        self._fd = -1
        try:
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
                self._fd = os.dup(file.fileno())
        except OSError as error:
            self.fault = fault_of(error, self._folder)

    def _append(self, octets: bytes) -> None:
        if self.fault is not None:
            return
        if len(self._head) < _HEAD:
            self._head = (self._head + octets)[:_HEAD]
        self._crc = zlib.crc32(octets, self._crc)
        view = memoryview(octets)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.fault = fault_of(error, "the message's file")
            return
        self._size += len(octets)

    def _convert(self, stored: bytes) -> None:
        self._stored += len(stored)
        self._append(self._quoter.convert(stored))

    def write(self, data: bytes, lf: bytes | None = None) -> None:
        """The next octets as they came, dots removed; `lf` with LF line ends, if they are known."""
        self._convert(self._line_ends.convert(data, lf))

    def end(self) -> SpooledMessage:
        """The whole message is here; `fault` says what kept it from being written."""
        self._convert(self._line_ends.end())
        if self._lengthen:
            self._put_lengthened()
        else:
            self._append(self._quoter.end())
        message = SpooledMessage(b"", self._stored, self._stored + self._line_ends.taken + 1)
        message.fd, self._fd = self._fd, -1
        message.entry = Entry(self._size, self._crc, self._head, fd=message.fd)
        return message

    def _put_lengthened(self) -> None:
        if self.fault is not None:
            return
        with os.fdopen(self._fd, "rb") as stored:
            self._begin()
            stored.seek(0)
            try:
                put_entry(self._first, stored, self._append)
            except OSError as error:
                self.fault = fault_of(error, "the message's file")

    def abort(self) -> None:
        """It will not be delivered."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
