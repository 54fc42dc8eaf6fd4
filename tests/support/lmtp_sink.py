"""A scripted LMTP server: takes mail, and misbehaves where it is told to."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "XQUOTA", "XDFLG")
_ADDRESS = re.compile(r"<([^>]*)>")


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
    match = _ADDRESS.search(line)
    assert match
    return match[1]


@dataclass
class Script:
    """What the server says. `final` gets the address and how often it was seen; None means: close now, "": say nothing.
    `hang` names steps (greeting, mail, data, body, final) at which it falls silent, `close` those at which it closes."""

    greeting: str = "220 sink LMTP"
    extensions: tuple[str, ...] | None = EXTENSIONS
    mail: Callable[[str], str] = lambda _: "250 2.1.0 OK"
    rcpt: Callable[[str], str] = lambda _: "250 2.1.5 OK"
    data: str = "354 go"
    final: Callable[[str, int], str | None] = lambda address, _: f"250 2.5.0 <{address}> OK"
    hang: frozenset[str] = frozenset()
    close: frozenset[str] = frozenset()
    wait: float = 0.0
    """seconds before each final reply"""


@dataclass
class Sink:
    """Serves until `stop`."""

    script: Script = field(default_factory=Script)
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    port: int = 0
    host: str = "127.0.0.1"
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> "Sink":
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
            await self._talk(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_now -= 1
            self._writers.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        mail = ""
        rcpts: list[str] = []
        if not await self._say(writer, "greeting", [self.script.greeting]):
            return
        while line := (await reader.readline()).decode("utf-8", "surrogateescape").rstrip("\r\n"):
            self.commands.append(line)
            verb, script = line[:4].upper(), self.script
            if verb == "LHLO":
                listed = script.extensions
                lines = ["250 OK"] if listed is None else [f"250-{e}" for e in ("sink", *listed[:-1])] + [f"250 {listed[-1]}"]
                alive = await self._say(writer, "hello", lines)
            elif verb == "MAIL":
                mail, rcpts = line, []
                alive = await self._say(writer, "mail", [script.mail(line)])
            elif verb == "RCPT":
                reply = script.rcpt(address_of(line))
                rcpts += [line] if reply.startswith("2") else []
                alive = await self._say(writer, "rcpt", [reply])
            elif verb == "DATA":
                reply = script.data if rcpts else "503 5.5.1 no recipients"
                alive = await self._say(writer, "data", [reply])
                if alive and reply.startswith("354"):
                    alive = await self._body(reader, writer, Taken(mail, rcpts, b"", number))
            elif verb == "RSET":
                alive = await self._say(writer, "rset", ["250 2.0.0 OK"])
            else:
                await self._say(writer, "quit", ["221 2.0.0 Bye"])
                alive = False
            if not alive:
                return

    async def _body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: Taken) -> bool:
        if not await self._say(writer, "body", []):
            return False
        first = await reader.readexactly(3)
        octets = first if first == b".\r\n" else first + await reader.readuntil(b"\r\n.\r\n")
        taken.body = octets[:-3].replace(b"\r\n..", b"\r\n.")
        if taken.body.startswith(b".."):
            taken.body = taken.body[1:]
        self.taken.append(taken)
        for address in taken.addresses:
            self.seen[address] = self.seen.get(address, 0) + 1
            if self.script.wait:
                await asyncio.sleep(self.script.wait)
            reply = self.script.final(address, self.seen[address])
            if reply is None or not await self._say(writer, "final", [reply] if reply else []):
                return False
        return True

    async def _say(self, writer: asyncio.StreamWriter, step: str, lines: Sequence[str]) -> bool:
        if step in self.script.hang:
            await asyncio.Event().wait()
        if step in self.script.close:
            return False
        writer.write("".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape"))
        await writer.drain()
        return not any(line.startswith("421") or line == "500 message too big" for line in lines)
