"""The control sockets below `run/`: one JSON line asked, one JSON line answered, then both sides close.

    {"op": "status"}  {"op": "stop"}  {"op": "reload"}   ->   {...} or {"error": text}

Paths may be longer than the 108 bytes of a socket address: they are reached through a descriptor of their folder
(/proc/self/fd/N/name). The sockets are for their owner only (mode 0600). Root's may be given to the user its processes become:
he may ask for `status`, the rest only whoever serves the socket, and root. A request is at most 64 KiB, an answer 16 MiB.
"""

import asyncio
import os
import socket
import stat
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

SUPERVISOR = "supervisor.sock"
DISPATCHER = "dispatcher.sock"
NATIVE_WRITER = "native_writer.sock"
JOB_CONTROLLER = "job_controller.sock"
PID_FILE = "posthouse.pid"
"""the supervisor's, beside them"""
_MAX_REQUEST = 65536
_MAX_ANSWER = 16 << 20
_PEER = struct.Struct("3i")
_FOR_ALL = frozenset({"status"})
DENIED = "denied"
"""the key of an answer to somebody who may not ask that"""

Answer = dict[str, Any]

NAME_IS_PASSING: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""for servers on sockets named through /proc/self/fd: later Pythons would look for the name, and nothing is behind it any more"""


class NotRunning(Exception):  # noqa: N818 - a fact, not a mistake
    """Nobody answers on the socket."""


def bind_unix(path: Path, owner: tuple[int, int] | None = None) -> socket.socket:
    """A listening socket at a path of any length; a stale one there is removed. Call it only while holding the lock.

    Args:
        path: where.
        owner: user and group it is given to.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    old_mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        sock.bind(f"/proc/self/fd/{folder}/{path.name}")
        if owner is not None:
            _give(folder, path.name, owner)
        sock.listen(64)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(old_mask)
        os.close(folder)
    return sock


def _give(folder: int, name: str, owner: tuple[int, int]) -> None:
    """The folder may be that user's, who may have put another file under the name by now: only a socket of ours is given away."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
            raise PermissionError(f"{name} is not the socket that was made")
        os.chown(f"/proc/self/fd/{fd}", *owner)
    finally:
        os.close(fd)


def peer_user(sock: socket.socket) -> int:
    """The uid of the process at the other end."""
    _, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


def connect_unix(path: Path, seconds: float) -> socket.socket:
    """A connection to a socket at a path of any length, blocking for at most so many seconds at each step.

    Raises:
        NotRunning: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(seconds)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except PermissionError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise NotRunning(f"nobody answers on {path}") from error
    return sock


def ask(path: Path, request: Answer, seconds: float = 10.0) -> Answer:
    """Ask and wait for the answer.

    Raises:
        NotRunning: nobody listens, or no whole answer came in time.
    """
    with connect_unix(path, seconds) as sock:
        try:
            sock.sendall(msgspec.json.encode(request) + b"\n")
            data = bytearray()
            while not data.endswith(b"\n") and len(data) < _MAX_ANSWER:
                part = sock.recv(65536)
                if not part:
                    break
                data += part
            return msgspec.json.decode(bytes(data), type=Answer)
        except (OSError, msgspec.DecodeError) as error:
            raise NotRunning(f"no answer on {path}: {error}") from error


async def ask_async(path: Path, request: Answer, seconds: float = 5.0) -> Answer:
    """`ask` for an event loop; runs in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, ask, path, request, seconds)


class ControlServer:
    """Answers requests on a socket made by `bind_unix`.

    Args:
        sock: listening.
        answer: gets the request, returns the answer; its exceptions become `{"error": text}`.
    """

    def __init__(self, sock: socket.socket, answer: Callable[[Answer], Awaitable[Answer]]) -> None:
        self._sock = sock
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_unix_server(self._serve, sock=self._sock, limit=_MAX_REQUEST, **NAME_IS_PASSING)

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), 10)
            try:
                request, peer = msgspec.json.decode(line, type=Answer), peer_user(writer.get_extra_info("socket"))
                if peer in {0, os.geteuid()} or request.get("op") in _FOR_ALL:
                    answer = await self._answer(request)
                else:
                    answer = {"error": "not for this user", DENIED: True}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            writer.write(msgspec.json.encode(answer) + b"\n")
            await asyncio.wait_for(writer.drain(), 10)
        except (OSError, ValueError, TimeoutError):
            return
        finally:
            writer.close()
