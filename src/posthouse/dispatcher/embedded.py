"""A server inside any Python program: it listens in the loop it is started in, and takes nothing of an instance.

Promise: `stop` lets calls that are under way end within the time to drain, says 421 to everybody at the next quiet point, and
leaves no connection behind. Beyond the most connections the one that has been idle longest makes room, or the new one is told
421. What is said to clients is the subclass's protocol (`LmtpServer`, `SmtpServer`).
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, cast

from posthouse.dialogue.policy import BUSY
from posthouse.dispatcher.sending_round import SendingRound

if TYPE_CHECKING:
    from posthouse.dispatcher.program_calls import ProgramCalls

_SWEEP_SECONDS = 5.0
_STOPPING_SWEEP_SECONDS = 0.25
"""who has heard 421 and does not close his side is not to hold up the end"""
_LAST_WORDS_SECONDS = 0.1
"""left to clients for reading 421 when calls have used up the time to drain"""


class EmbeddedSession(Protocol):
    """What the server asks of one connection."""

    def idle_since(self) -> float | None:
        """The loop's time since when nothing is under way; None while something is, and for one that is to go already."""
        ...

    def shed(self) -> None:
        """421 at the next quiet point."""
        ...

    def expire(self) -> None:
        """Too slow: 421 now, unless an answer of ours is owed."""
        ...

    def cut(self) -> None:
        """Close without a word."""
        ...


S = TypeVar("S", bound=EmbeddedSession)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen.

    Args:
        host: the address.
        port: 0 for any.
        path: of a Unix socket; None for a port.
    """

    host: str
    port: int
    path: str | None


@dataclass(frozen=True, slots=True)
class CommonLimits:
    """What one server allows. Beyond a limit a client hears a temporary refusal, or waits: never that its mail is lost.

    Raises:
        ValueError: a number means nothing; it names the field.
    """

    message_size: int = 52_428_800
    """octets of one message, told in SIZE; larger is refused for good. Never more than there is `memory` for"""
    memory: int = 268_435_456
    """octets of messages that are held at the same time"""
    recipients: int = 1000
    """of one message; the next is told 452 4.5.3"""
    connections: int = 100
    """beyond it the one idle longest is told 421 4.3.2, or the new one when all are busy"""
    calls: int = 32
    """of the program's coroutines at the same time"""
    deliver_seconds: float = 300.0
    """for one call, waiting for its turn not counted"""
    command_seconds: float = 600.0
    """a client may think before a command (RFC 5321 4.5.3.2.7 asks for 300)"""
    data_seconds: float = 300.0
    """it may be silent within a message"""
    drain_seconds: float = 30.0
    """calls may go on after `stop`; may be 0"""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            seconds = each.name.endswith("_seconds")
            is_number = isinstance(value, int | float if seconds else int) and not isinstance(value, bool)
            if not is_number or not (value > 0 or (value == 0 and each.name == "drain_seconds")):
                raise ValueError(f"Limits.{each.name} is {value!r}, wanted {'seconds' if seconds else 'a whole number'} above 0")


class EmbeddedServer(ABC, Generic[S]):
    """The life of a server and its connections.

    Args:
        endpoint: where to listen.
        limits: how many, how long.
        log: the program's.
    """

    def __init__(self, endpoint: Endpoint, limits: CommonLimits, log: logging.Logger) -> None:
        self._endpoint = endpoint
        self._bounds = limits
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event
        self._stopping = False
        self.log = log
        self.sessions: set[S] = set()
        self.loop: asyncio.AbstractEventLoop
        self.round: SendingRound
        self.program_calls: ProgramCalls

    @abstractmethod
    def _new_session(self) -> asyncio.Protocol:
        """The protocol object of a new connection."""

    @abstractmethod
    def _begin(self) -> None:
        """The loop is known: make what sessions share, `program_calls` among it."""

    @abstractmethod
    def _is_late(self, session: S, now: float) -> bool:
        """Whether a client's deadline has passed."""

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. Connections are served by the running loop from now on.

        Raises:
            OSError: the address cannot be had.
            RuntimeError: it is running already.
        """
        if self._server is not None:
            raise RuntimeError("the server is running")
        loop = self.loop = asyncio.get_running_loop()
        self._empty = asyncio.Event()  # of this loop
        self.round = SendingRound(loop)
        self._begin()
        self._stopping = False
        endpoint = self._endpoint
        if endpoint.path is not None:
            self._server = await loop.create_unix_server(self._new_session, endpoint.path)
        else:
            self._server = await loop.create_server(self._new_session, endpoint.host, endpoint.port)
        self._sweep()

    @property
    def address(self) -> tuple[str, int] | str:
        """Where it listens: host and port, or the path of the Unix socket.

        Raises:
            RuntimeError: it does not run.
        """
        if self._server is None or self._stopping:
            raise RuntimeError("the server does not run")
        name = self._server.sockets[0].getsockname()
        return name if isinstance(name, str) else (name[0], name[1])

    async def stop(self) -> None:
        """Take no more connections, finish what is under way within `drain_seconds`, close.

        A client hears the reply to its message if it comes in time, then 421 4.3.2. What is still under way after that is
        cancelled and told 450 4.3.2. Stopping a server that does not run changes nothing; one that stops can be started again
        afterwards. When the task that waits here is cancelled, everything is cut off at once.

        Raises:
            RuntimeError: a call of the program's coroutine waits here, and would be waited for.
        """
        if self._server is None:
            return
        if self.program_calls.inside:
            raise RuntimeError("a call cannot wait for its server to stop: use asyncio.create_task(server.stop())")
        self._server.close()
        self._stopping = True
        try:
            for session in tuple(self.sessions):
                session.shed()
            self._sweep()
            await self._ended(self._bounds.drain_seconds)
            await self.program_calls.end()
            await self._ended(_LAST_WORDS_SECONDS)
            for session in tuple(self.sessions):
                session.expire()
            await asyncio.sleep(0)
        finally:
            for session in tuple(self.sessions):
                session.cut()
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._server = None

    async def _ended(self, seconds: float) -> None:
        """Wait so long for the last connection and the last call."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.sessions:
                    self._empty.clear()
                    await self._empty.wait()
                await self.program_calls.wait()

    async def serve_forever(self) -> None:
        """Serve until the task that waits here is cancelled, as by Ctrl-C under `asyncio.run`; then `stop`."""
        async with self:
            await self.loop.create_future()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # --- connections ----------------------------------------------------------------------------------------------

    def admit(self, transport: asyncio.BaseTransport) -> bool:
        """Whether one more connection can be taken, else it is closed; the one that has been idle longest makes room for it."""
        if not self._stopping:
            if len(self.sessions) < self._bounds.connections:
                return True
            idle = [(since, each) for each in self.sessions if (since := each.idle_since()) is not None]
            if idle:
                min(idle, key=lambda pair: pair[0])[1].shed()
                return True
        stream = cast("asyncio.Transport", transport)
        stream.write(f"{BUSY}\r\n".encode())
        stream.close()
        return False

    def left(self) -> None:
        """A session has ended."""
        if not self.sessions:
            self._empty.set()

    def _sweep(self) -> None:
        """Close sessions whose deadline has passed, now and again."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.look(self.loop.time())
        seconds = _STOPPING_SWEEP_SECONDS if self._stopping else _SWEEP_SECONDS
        shortest = min(self._bounds.command_seconds, self._bounds.data_seconds)
        self._sweeper = self.loop.call_later(min(seconds, shortest / 2), self._sweep)

    def look(self, now: float) -> None:
        """End sessions that are too slow."""
        for session in [each for each in self.sessions if self._is_late(each, now)]:
            session.expire()
