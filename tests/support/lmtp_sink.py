"""A scripted LMTP server: takes mail, and misbehaves where it is told to."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from support.scripted_sink import ScriptedSink, Taken, address_of, read_body

EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "XQUOTA", "XDFLG")


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
class Sink(ScriptedSink):
    """Serves until `stop`."""

    script: Script = field(default_factory=Script)
    seen: dict[str, int] = field(default_factory=dict)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
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
        taken.body = await read_body(reader)
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
