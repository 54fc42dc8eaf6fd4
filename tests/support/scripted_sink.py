"""What scripted servers have in common: connections are served and counted until `stop` cuts them off."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Taken:
    """One transaction whose body arrived whole."""

    mail: str
    rcpts: list[str]
    body: bytes
    connection: int

    @property
    def addresses(self) -> list[str]:
        return [address_of(line) for line in self.rcpts]


def address_of(line: str) -> str:
    """The address of a MAIL or RCPT line."""
    return line[line.index("<") + 1 : line.index(">")]


@dataclass(kw_only=True)
class ScriptedSink(ABC):
    """Serves until `stop`."""

    host: str = "127.0.0.1"
    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @abstractmethod
    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        """One connection, the `number`th."""

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=1 << 26)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    @property
    def bodies(self) -> list[bytes]:
        return [taken.body for taken in self.taken]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self._writers.add(writer)
        try:
            await self.talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            self.open_now -= 1
            self._writers.discard(writer)
            writer.close()


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """Message data up to its final dot, without doubled dots."""
    first = await reader.readexactly(3)
    octets = first if first == b".\r\n" else first + await reader.readuntil(b"\r\n.\r\n")
    body = octets[:-3].replace(b"\r\n..", b"\r\n.")
    return body[1:] if body.startswith(b"..") else body
