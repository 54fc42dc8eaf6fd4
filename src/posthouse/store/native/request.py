"""What a worker and root's writer process say to each other: one request with the entry's file, one answer, on one connection.

    {"owner": name, "limit": octets, "size": ..., "crc": ..., "head": ...}, a descriptor  ->  {"fault": class or "", "text": ...}

Each is one line of JSON.

The file holds the entry and nothing else. Faults travel by the names of their classes (`mailbox.errors`).
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from posthouse.dispatcher.control import NotRunning, connect_unix
from posthouse.store.mailbox import errors
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError
from posthouse.store.mailbox.owner import Target
from posthouse.store.native.append import Entry
from posthouse.store.native.own_writer import OwnWriter
from posthouse.store.native.target import FileTarget

_SECONDS = 120.0
_MAX = 65_536


class Request(msgspec.Struct, frozen=True):
    """Append the file to the mailbox of this user."""

    owner: str
    limit: int
    size: int
    crc: int
    head: bytes


class Answer(msgspec.Struct, frozen=True):
    """What came of it; `fault` is empty when the entry is durable."""

    fault: str = ""
    text: str = ""


def receive(sock: socket.socket) -> tuple[Request, int]:
    """The request and its file.

    Raises:
        ValueError: that is no request.
        OSError: none came.
    """
    data, fds, _, _ = socket.recv_fds(sock, _MAX, 1)
    try:
        if len(fds) != 1 or not data.endswith(b"\n"):
            raise ValueError("a request is one line and one file, and comes in one piece")
        return msgspec.json.decode(data, type=Request), fds[0]
    except (msgspec.DecodeError, ValueError) as error:
        for fd in fds:
            os.close(fd)
        raise ValueError(f"not a request: {error}") from error


def answer(sock: socket.socket, fault: MailboxError | None) -> None:
    """Say what came of it."""
    told = Answer() if fault is None else Answer(type(fault).__name__, str(fault))
    sock.sendall(msgspec.json.encode(told) + b"\n")


def ask(path: Path, request: Request, fd: int) -> None:
    """Have an entry appended; blocks.

    Raises:
        MailboxError: as the writer says; `MailboxIOError` when there is no writer or no answer.
    """
    try:
        with connect_unix(path, _SECONDS) as sock:
            socket.send_fds(sock, [msgspec.json.encode(request) + b"\n"], [fd])
            data = b""
            while not data.endswith(b"\n"):
                part = sock.recv(_MAX)
                if not part:
                    raise MailboxIOError(f"{request.owner}: the writer process ended before its answer")
                data += part
        told = msgspec.json.decode(data, type=Answer)
    except (OSError, NotRunning, msgspec.DecodeError) as error:
        raise MailboxIOError(f"{request.owner}: the writer process: {error}") from error
    if told.fault:
        kind = getattr(errors, told.fault, None)
        known = isinstance(kind, type) and issubclass(kind, MailboxError)
        raise kind(told.text) if known and kind is not None else MailboxIOError(told.text)


class SharedWriter:
    """Writes files as this process, and users' mailboxes by root's writer process where there is one.

    Args:
        own: writes with our own rights.
        path: the writer process's socket; it is there when the instance was started by root.
    """

    def __init__(self, own: OwnWriter, path: Path) -> None:
        self._own = own
        self._path = path

    def write(self, target: Target, entry: Entry, limit: int) -> None:
        """Append the entry; see `Writer`."""
        if isinstance(target, FileTarget) or not self._path.exists():
            self._own.write(target, entry, limit)
            return
        request = Request(target.owner, limit, entry.size, entry.crc, entry.head)
        if entry.fd >= 0:
            ask(self._path, request, entry.fd)
            return
        with _file_of(entry) as fd:
            ask(self._path, request, fd)


@contextlib.contextmanager
def _file_of(entry: Entry) -> Iterator[int]:
    fd = os.memfd_create("entry")
    try:
        view = memoryview(entry.octets)
        while view:
            view = view[os.write(fd, view) :]
        yield fd
    finally:
        os.close(fd)
