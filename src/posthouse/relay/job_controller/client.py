"""Speaking to the job controller: announcements of writers, requests of commands.

Announcer: a process with a journal writer says how far its segment is synced. Announcements are cumulative, so a lost one
does not matter; the last one is said again after each reconnection. They follow each other after GATHER seconds at the soonest,
so that mail that comes in fast goes out together. Nothing here blocks or raises: when the controller is down, mail is accepted
all the same and found by the controller's start (DURABILITY 3.1).

    {"op": "synced", "segment": NAME, "offset": N}       one JSON line, no answer

request: one JSON line there, one JSON line back, for commands. `ControllerDown` when nobody answers.
"""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import msgspec

from posthouse.relay.job_controller.local_socket import short_name

RECONNECT_SECONDS = 0.5
GATHER = 0.01


class ControllerDown(OSError):  # noqa: N818 - says what was found
    """No job controller answers on this instance."""


class Announcer:
    """Tells the controller what is durable. Use it from the event loop's thread.

    Args:
        path: the control socket, `run/job_controller.sock` of the instance.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._segment = ""
        self._offset = 0
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0
        """loop time of the next announcement of this segment, at the soonest"""
        self._gathering: asyncio.TimerHandle | None = None
        self._closed = False

    def hello(self, segment: str) -> None:
        """Announce a segment before its first record."""
        self.synced(segment, 0)

    def synced(self, segment: str, offset: int) -> None:
        """Announce that the segment is durable below the offset. Another segment than before means: that one is sealed."""
        if segment != self._segment:
            if self._gathering is not None:
                self._say()  # the last word on the one before
            self._next = 0.0
        self._segment, self._offset = segment, offset
        if self._socket is None:
            if self._timer is None:
                self._connect()
        elif self._loop.time() >= self._next:
            self._say()
        elif self._gathering is None:
            self._gathering = self._loop.call_at(self._next, self._say)

    def close(self) -> None:
        """Hang up: the controller now looks for itself at what was written."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()

    def _connect(self) -> None:
        self._timer = None
        if self._closed or not self._segment:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            with short_name(self._path) as name:
                sock.connect(name)
        except OSError:
            sock.close()
            self._later()
            return
        self._socket = sock
        self._loop.add_reader(sock.fileno(), self._readable)
        self._say()

    def _say(self) -> None:
        assert self._socket is not None
        self._gathered()
        self._next = self._loop.time() + GATHER
        line = msgspec.json.encode({"op": "synced", "segment": self._segment, "offset": self._offset}) + b"\n"
        try:
            whole = self._socket.send(line) == len(line)
        except OSError:
            whole = False
        if not whole:  # full or gone: half a line cannot be continued, so begin anew
            self._hang_up()
            self._later()

    def _readable(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            try:
                if self._socket.recv(4096):
                    return
            except ConnectionError:
                pass
            self._hang_up()
            self._later()

    def _gathered(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _hang_up(self) -> None:
        self._gathered()
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _later(self) -> None:
        if not self._closed and self._timer is None:
            self._timer = self._loop.call_later(RECONNECT_SECONDS, self._connect)


def request(path: Path, op: str, timeout: float = 30.0, **arguments: Any) -> dict[str, Any]:
    """Ask the controller: `list`, `retry` (all=True, or ids=[...]), `status`.

    Returns:
        its answer; with the key `error` when it refuses.

    Raises:
        ControllerDown: nobody answers within `timeout` seconds.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, short_name(path) as name:
            sock.settimeout(timeout)
            sock.connect(name)
            sock.sendall(msgspec.json.encode({"op": op, **arguments}) + b"\n")
            line = _line(sock)
    except OSError as error:
        raise ControllerDown(f"{path}: {error.strerror or error}") from error
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ControllerDown(f"{path}: not an answer") from error


def _line(sock: socket.socket) -> bytes:
    held = bytearray()
    while not held.endswith(b"\n"):
        data = sock.recv(1 << 16)
        if not data:
            break
        held += data
    return bytes(held)
