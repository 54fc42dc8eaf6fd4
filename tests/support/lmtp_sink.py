"""A scripted LMTP server: takes mail, and misbehaves where it is told to."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from support.scripted_sink import ScriptedSink, Taken, address_of, read_body

EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "XQUOTA", "XDFLG")


@dataclass
class Script:
    """What the server says. `final` gets the address and how often it was seen; None means: close now, "": say nothing.
    `hang` names steps (greeting, starttls, handshake, secured, mail, data, body, final) at which it falls silent, `close` those
    at which it closes. With `tls` STARTTLS is listed, until it is on."""

    greeting: str = "220 sink LMTP"
    extensions: tuple[str, ...] | None = EXTENSIONS
    mail: Callable[[str], str] = lambda _: "250 2.1.0 OK"
    rcpt: Callable[[str], str] = lambda _: "250 2.1.5 OK"
    data: str = "354 go"
    bdat: str = ""
    """instead of taking a chunk"""
    final: Callable[[str, int], str | None] = lambda address, _: f"250 2.5.0 <{address}> OK"
    hang: frozenset[str] = frozenset()
    close: frozenset[str] = frozenset()
    wait: float = 0.0
    """seconds before each final reply"""
    tls: ssl.SSLContext | None = None
    starttls: str = "220 go"
    secured: tuple[str, ...] = EXTENSIONS
    """listed under TLS"""
    injected: bytes = b""
    """octets in clear, sent together with the reply to STARTTLS"""
    shaken: bytes = b""
    """octets instead of a handshake"""


@dataclass
class Sink(ScriptedSink):
    """Serves until `stop`."""

    script: Script = field(default_factory=Script)
    seen: dict[str, int] = field(default_factory=dict)
    in_clear: list[str] = field(default_factory=list)
    """commands that came without TLS"""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        mail, secured = "", False
        rcpts: list[str] = []
        if not await self._say(writer, "greeting", [self.script.greeting]):
            return
        while line := (await reader.readline()).decode("utf-8", "surrogateescape").rstrip("\r\n"):
            self.commands.append(line)
            if not secured:
                self.in_clear.append(line)
            verb, script = line[:4].upper(), self.script
            if verb == "LHLO":
                listed = script.secured if secured else script.extensions
                if listed is not None and script.tls is not None and not secured:
                    listed = (*listed, "STARTTLS")
                lines = ["250 OK"] if listed is None else [f"250-{e}" for e in ("sink", *listed[:-1])] + [f"250 {listed[-1]}"]
                alive = await self._say(writer, "secured" if secured else "hello", lines)
            elif verb == "STAR":
                alive = await self._say(writer, "starttls", [script.starttls], script.injected)
                if alive and script.starttls.startswith("220"):
                    secured = alive = await self._shake_hands(writer)
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
            elif verb == "BDAT":
                alive = await self._chunk(reader, writer, Taken(mail, rcpts, b"", number), int(line.split()[1]))
            elif verb == "RSET":
                alive = await self._say(writer, "rset", ["250 2.0.0 OK"])
            else:
                await self._say(writer, "quit", ["221 2.0.0 Bye"])
                alive = False
            if not alive:
                return

    async def _shake_hands(self, writer: asyncio.StreamWriter) -> bool:
        script = self.script
        writer.write(script.shaken)
        if not await self._say(writer, "handshake", []) or script.shaken:
            return False
        assert script.tls is not None
        try:
            await writer.start_tls(script.tls)
        except OSError:
            return False
        return True

    async def _body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: Taken) -> bool:
        if not await self._say(writer, "body", []):
            return False
        taken.body = await read_body(reader)
        return await self._final(writer, taken)

    async def _chunk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: Taken, octets: int) -> bool:
        """One chunk, the last, its octets."""
        body = await reader.readexactly(octets)
        if not taken.rcpts or self.script.bdat:
            return await self._say(writer, "final", [self.script.bdat if taken.rcpts else "503 5.5.1 no recipients"])
        taken.body = body
        return await self._final(writer, taken)

    async def _final(self, writer: asyncio.StreamWriter, taken: Taken) -> bool:
        self.taken.append(taken)
        for address in taken.addresses:
            self.seen[address] = self.seen.get(address, 0) + 1
            if self.script.wait:
                await asyncio.sleep(self.script.wait)
            reply = self.script.final(address, self.seen[address])
            if reply is None or not await self._say(writer, "final", [reply] if reply else []):
                return False
        return True

    async def _say(self, writer: asyncio.StreamWriter, step: str, lines: Sequence[str], behind: bytes = b"") -> bool:
        if step in self.script.hang:
            await asyncio.Event().wait()
        if step in self.script.close:
            return False
        writer.write("".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape") + behind)
        await writer.drain()
        return not any(line.startswith("421") or line == "500 message too big" for line in lines)
