"""The control socket: JSON lines from writers, which announce, and from commands, which ask (see client.py).

A connection that has announced a segment is its writer's; when it closes, the writer has ended or lost us, and the owner is
told, once. A line that is no JSON object, or is longer than 1 MiB, closes the connection. The socket file belongs to
the instance's user (mode 0600).
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from posthouse.dispatcher.control import NAME_IS_PASSING
from posthouse.relay.job_controller.local_socket import short_name
from posthouse.relay.job_controller.selection import Selection

MAX_LINE = 1 << 20
_log = logging.getLogger("posthouse")


class Line(msgspec.Struct):
    """One line from the other side."""

    op: str
    segment: str = ""
    offset: int = 0
    all: bool = False
    ids: list[str] = []
    secret: str = ""
    filter: Selection = Selection()
    """which copies a command means; `all` and `ids` are a short form of it"""
    dry_run: bool = False

    @property
    def selection(self) -> Selection:
        """What is meant."""
        if self.ids or self.all:
            return Selection(ids=tuple(self.ids), every=self.all)
        return self.filter


class Owner(Protocol):
    """Who hears what arrives."""

    def synced(self, writer: object, segment: str, offset: int) -> None:
        """A writer says that its segment is durable below the offset."""

    def writer_gone(self, writer: object) -> None:
        """A writer's connection has closed."""

    def request(self, line: Line) -> "dict[str, Any] | asyncio.Future[dict[str, Any]]":
        """A command asks; the answer goes back as JSON, now or later."""


class _Connection(asyncio.Protocol):
    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._held = b""
        self._writer = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop has classes of its own

    def data_received(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > MAX_LINE:
            self._close("a line is too long")
            return
        announced: Line | None = None
        for octets in lines:
            try:
                line = _decoder.decode(octets)
            except msgspec.DecodeError as error:
                self._close(str(error))
                return
            if line.op != "synced":
                self._answer(line)
            else:
                if announced is not None and announced.segment != line.segment:
                    self._owner.synced(self, announced.segment, announced.offset)
                announced = line
        if announced is not None:  # cumulative: only the last one of a segment counts
            self._writer = True
            self._owner.synced(self, announced.segment, announced.offset)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._writer:
            self._writer = False
            self._owner.writer_gone(self)

    def _answer(self, line: Line) -> None:
        assert self._transport is not None
        try:
            answer = self._owner.request(line)
        except Exception as error:
            _log.exception("request %s failed", line.op)
            answer = {"error": str(error)}
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(self._later)
        else:
            self._say(answer)

    def _later(self, answer: "asyncio.Future[dict[str, Any]]") -> None:
        error = answer.exception()
        self._say(answer.result() if error is None else {"error": str(error)})

    def _say(self, answer: dict[str, Any]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(msgspec.json.encode(answer) + b"\n")

    def _close(self, reason: str) -> None:
        assert self._transport is not None
        _log.warning("control socket: %s; connection closed", reason)
        self._transport.close()


_decoder = msgspec.json.Decoder(Line)


async def serve(path: Path, owner: Owner) -> asyncio.AbstractServer:
    """Listen on the socket; what stood there before is replaced (the caller holds jobs.lock).

    Raises:
        OSError: it cannot be bound.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    loop = asyncio.get_running_loop()
    before = os.umask(0o177)
    try:
        with short_name(path) as name:
            return await loop.create_unix_server(lambda: _Connection(owner), name, **NAME_IS_PASSING)
    finally:
        os.umask(before)
