r"""The wire between the Dispatcher and one worker: packets on a socketpair (dispatcher-cnf.md 4).

Each packet is one JSON object and a line end; `op` names its kind. A `connection` packet carries the accepted
socket beside it (SCM_RIGHTS). The pair is SOCK_SEQPACKET, so that a descriptor always belongs to the packet it came with.

    to the worker:    connection {connection} + descriptor, idlest, shed {n}, shutdown {seconds}, reload
    from the worker:  ready {pid}, accepted {n}, closed {n}, idle {n, seconds}, beat, troubled {troubles}, leaving,
                      failed {code, reasons}

End-of-file means that the other side is gone. A packet is at most 64 KiB. A packet that cannot be parsed is a fault in
the other process: `PacketError`. What the kernel does not take at once waits here in order; nothing is dropped.
"""

import array
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from posthouse.dispatcher.trouble import Trouble

MAX_PACKET = 65536
_ANCILLARY = socket.CMSG_SPACE(4 * array.array("i").itemsize)


@dataclass(frozen=True, slots=True)
class Connection:
    """An accepted connection as the worker gets it.

    Args:
        service: name of the service section.
        channel: the service's `PARAMETER=CHANNEL=`, or "".
        local, peer: address and port; an IPv4-mapped IPv6 address is written as IPv4.
        port_probe: `TCP|server-address|server-port|client-address|client-port`, as PORT_ACCESS saw it.
        tls: whether TLS begins with the first byte.
        serial: number of the connection, unique in the life of the Dispatcher.
    """

    service: str
    channel: str
    local: tuple[str, int]
    peer: tuple[str, int]
    port_probe: str
    tls: bool
    serial: int


class Handed(msgspec.Struct, tag_field="op", tag="connection"):
    """Serve this connection; its descriptor came with the packet."""

    connection: Connection


class AskIdlest(msgspec.Struct, tag_field="op", tag="idlest"):
    """Answer with `idle`: which session outside a transaction has waited longest."""


class Shed(msgspec.Struct, tag_field="op", tag="shed"):
    """End session n with 421 at its next quiet point: room is needed."""

    n: int


class Shutdown(msgspec.Struct, tag_field="op", tag="shutdown"):
    """Take no more connections and exit when the last has ended.

    Sessions still open after so many seconds get 421 at their next quiet point; 0 = now.
    """

    seconds: float


class Reload(msgspec.Struct, tag_field="op", tag="reload"):
    """Read again what can be read without a restart."""


class Ready(msgspec.Struct, tag_field="op", tag="ready"):
    """The worker takes connections."""

    pid: int


class Accepted(msgspec.Struct, tag_field="op", tag="accepted"):
    """Connection n is the worker's: sent before its first octet is read or written."""

    n: int


class Closed(msgspec.Struct, tag_field="op", tag="closed"):
    """Connection n is over."""

    n: int


class Idle(msgspec.Struct, tag_field="op", tag="idle"):
    """Session n (None: no session is outside a transaction) has been idle for so many seconds."""

    n: int | None
    seconds: float


class Beat(msgspec.Struct, tag_field="op", tag="beat"):
    """The worker's event loop turns."""


class Troubled(msgspec.Struct, tag_field="op", tag="troubled"):
    """What is wrong with the worker has changed: all of it."""

    troubles: tuple[Trouble, ...]


class Leaving(msgspec.Struct, tag_field="op", tag="leaving"):
    """The worker was told by somebody else to end: it wants no more connections."""


class Failed(msgspec.Struct, tag_field="op", tag="failed"):
    """The worker cannot start, for these reasons, and ends with this exit code."""

    code: int
    reasons: tuple[str, ...]


ToWorker = Handed | AskIdlest | Shed | Shutdown | Reload
FromWorker = Ready | Accepted | Closed | Idle | Beat | Troubled | Leaving | Failed

_encoder = msgspec.json.Encoder()
_to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
_from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


class PacketError(Exception):
    """The other side sent something that is no packet of ours."""


class Loop(Protocol):
    """What is needed of an event loop."""

    def add_reader(self, fd: int, callback: Callable[[], object], /) -> object: ...  # noqa: D102 - asyncio's own
    def add_writer(self, fd: int, callback: Callable[[], object], /) -> object: ...  # noqa: D102 - asyncio's own
    def remove_reader(self, fd: int, /) -> object: ...  # noqa: D102 - asyncio's own
    def remove_writer(self, fd: int, /) -> object: ...  # noqa: D102 - asyncio's own


def encode(message: ToWorker | FromWorker) -> bytes:
    """The packet of a message."""
    return _encoder.encode(message) + b"\n"


def decode_to_worker(packet: bytes) -> ToWorker:
    """The message of a packet from the Dispatcher; `PacketError` when it is none."""
    try:
        return _to_worker.decode(packet)
    except msgspec.DecodeError as error:
        raise PacketError(f"{error}: {packet[:200]!r}") from error


def decode_from_worker(packet: bytes) -> FromWorker:
    """The message of a packet from a worker; `PacketError` when it is none."""
    try:
        return _from_worker.decode(packet)
    except msgspec.DecodeError as error:
        raise PacketError(f"{error}: {packet[:200]!r}") from error


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of the wire, neither inheritable nor blocking."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


class Wire:
    """One end of the pair, driven by an event loop.

    Args:
        sock: this end, not blocking; the wire closes it.
        loop: calls back when the socket can be read or written.
        received: gets each packet and the descriptors that came with it (the receiver owns them).
        gone: called once at end-of-file or when the socket breaks.
    """

    def __init__(
        self, sock: socket.socket, loop: Loop, received: Callable[[bytes, list[int]], None], gone: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._loop = loop
        self._received = received
        self._gone = gone
        self._waiting: deque[tuple[bytes, socket.socket | None]] = deque()
        self._open = True
        loop.add_reader(self._fd, self._readable)

    def send(self, message: ToWorker | FromWorker, passed: socket.socket | None = None) -> None:
        """Send a message, and a socket with it; it stays the sender's, who keeps it open until it is taken over."""
        if not self._open:
            return
        self._waiting.append((encode(message), passed))
        if len(self._waiting) == 1:
            self._flush()

    def close(self) -> None:
        """Close this end. What waits is dropped; `gone` is not called."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._sock.close()
        self._waiting.clear()

    def drain(self) -> None:
        """Receive what has arrived already: the last words of a process that has ended."""
        self._readable()

    def _flush(self) -> None:
        while self._waiting:
            packet, passed = self._waiting[0]
            rights: Iterable[tuple[int, int, array.array[int]]] = (
                () if passed is None else ((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed.fileno()])),)
            )
            try:
                self._sock.sendmsg((packet,), rights)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._fd, self._writable)
                return
            except OSError:
                self._lost()
                return
            self._waiting.popleft()

    def _writable(self) -> None:
        self._loop.remove_writer(self._fd)
        self._flush()

    def _readable(self) -> None:
        while self._open:
            try:
                packet, ancillary, _, _ = self._sock.recvmsg(MAX_PACKET, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._lost()
                return
            if not packet:
                self._lost()
                return
            fds = array.array("i")
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            self._received(packet, list(fds))

    def _lost(self) -> None:
        if self._open:
            self.close()
            self._gone()
