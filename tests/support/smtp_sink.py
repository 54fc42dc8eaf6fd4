"""A scripted SMTP server: takes mail, speaks TLS and AUTH where it is told to, and misbehaves at any step."""

import asyncio
import base64
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from support.scripted_sink import ScriptedSink, Taken, address_of, read_body

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "DSN", "ENHANCEDSTATUSCODES")


@dataclass
class SmtpScript:
    """What the server says. Functions get the line. `hang` and `close` name steps (greeting, hello, starttls, handshake, auth,
    mail, rcpt, data, body, final); `raw` replaces what is written at a step by these octets."""

    greeting: str = "220 sink ESMTP"
    extensions: tuple[str, ...] | None = EXTENSIONS
    """None: EHLO is not known"""
    tls: ssl.SSLContext | None = None
    injected: bytes = b""
    """octets in clear behind the reply to STARTTLS"""
    users: dict[str, str] = field(default_factory=dict)
    mechanisms: str = "PLAIN LOGIN"
    mail: Callable[[str], str] = lambda _: "250 2.1.0 OK"
    rcpt: Callable[[str], str] = lambda _: "250 2.1.5 OK"
    data: str = "354 go"
    final: Callable[[Taken], str | None] = lambda _: "250 2.0.0 OK"
    """None: close now"""
    hang: frozenset[str] = frozenset()
    close: frozenset[str] = frozenset()
    raw: dict[str, bytes] = field(default_factory=dict)
    wait: float = 0.0
    """seconds before the final reply"""


@dataclass
class SmtpSink(ScriptedSink):
    """Serves until `stop`."""

    script: SmtpScript = field(default_factory=SmtpScript)
    secured: int = 0
    """connections that went over to TLS"""
    signed_in: list[str] = field(default_factory=list)
    in_clear: list[str] = field(default_factory=list)
    """commands heard without TLS"""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await _Talk(self, reader, writer, number).run()


class _ClosedError(ConnectionError):
    pass


class _Talk:
    """One connection."""

    def __init__(self, sink: SmtpSink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.sink, self.reader, self.writer, self.number = sink, reader, writer, number
        self.tls = False
        self.mail = ""
        self.rcpts: list[str] = []

    @property
    def script(self) -> SmtpScript:
        return self.sink.script

    async def run(self) -> None:
        await self._say("greeting", [self.script.greeting])
        while line := await self._line():
            verb = line[:4].upper()
            self.sink.commands.append(line)
            if not self.tls:
                self.sink.in_clear.append(line)
            if verb in {"EHLO", "HELO"}:
                await self._hello(verb)
            elif verb == "STAR":
                await self._starttls()
            elif verb == "AUTH":
                await self._auth(line)
            elif verb == "MAIL":
                self.mail, self.rcpts = line, []
                await self._say("mail", [self.script.mail(line)])
            elif verb == "RCPT":
                reply = self.script.rcpt(address_of(line))
                self.rcpts += [line] if reply.startswith("2") else []
                await self._say("rcpt", [reply])
            elif verb == "DATA":
                await self._data()
            elif verb == "RSET":
                await self._say("rset", ["250 2.0.0 OK"])
            else:
                await self._say("quit", ["221 2.0.0 Bye"])
                return

    async def _line(self) -> str:
        return (await self.reader.readline()).decode("utf-8", "surrogateescape").rstrip("\r\n")

    async def _hello(self, verb: str) -> None:
        listed = self.script.extensions
        if verb == "HELO" or listed is None:
            await self._say("hello", ["250 sink" if verb == "HELO" else "502 5.5.1 what"])
            return
        lines = ["sink", *listed]
        lines += ["STARTTLS"] if self.script.tls is not None and not self.tls else []
        lines += [f"AUTH {self.script.mechanisms}"] if self.script.users else []
        await self._say("hello", [f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])

    async def _starttls(self) -> None:
        await self._say("starttls", ["220 go"], self.script.injected)
        if "handshake" in self.script.raw:
            self.writer.write(self.script.raw["handshake"])
            await self.writer.drain()
            await self.reader.read()
            raise _ClosedError
        assert self.script.tls is not None
        await self._step("handshake")
        await self.writer.start_tls(self.script.tls)
        self.tls = True
        self.sink.secured += 1

    async def _auth(self, line: str) -> None:
        words = line.split()
        if words[1].upper() == "PLAIN":
            _, user, password = base64.b64decode(words[2]).decode().split("\0")
        else:
            answers = []
            for prompt in ("VXNlcm5hbWU6", "UGFzc3dvcmQ6"):
                await self._say("auth", [f"334 {prompt}"])
                answers.append(base64.b64decode(await self._line()).decode())
            user, password = answers
        good = self.script.users.get(user) == password
        if good:
            self.sink.signed_in.append(user)
        await self._say("auth", ["235 2.7.0 welcome" if good else "535 5.7.8 wrong password"])

    async def _data(self) -> None:
        reply = self.script.data if self.rcpts else "503 5.5.1 no recipients"
        await self._say("data", [reply])
        if not reply.startswith("354"):
            return
        await self._step("body")
        taken = Taken(self.mail, self.rcpts, await read_body(self.reader), self.number)
        self.sink.taken.append(taken)
        if self.script.wait:
            await asyncio.sleep(self.script.wait)
        final = self.script.final(taken)
        if final is None:
            raise _ClosedError
        await self._say("final", [final])

    async def _step(self, step: str) -> None:
        if step in self.script.hang:
            self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads, too
            await asyncio.Event().wait()
        if step in self.script.close:
            raise _ClosedError

    async def _say(self, step: str, lines: Sequence[str], more: bytes = b"") -> None:
        await self._step(step)
        octets = "".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape")
        self.writer.write(self.script.raw.get(step, octets) + more)
        await self.writer.drain()
        if any(line.startswith("421") for line in lines):
            raise _ClosedError
