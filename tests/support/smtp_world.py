"""A relay's SMTP server on a loopback socket, its loop in a thread of this process, and a client of raw octets.

The people are the demo's. What was queued is read back from the journal as the job controller would.
"""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import uvloop

from posthouse.cli import init
from posthouse.cli.demo.samples import people
from posthouse.cli.init_options import Machine, Mta, Way
from posthouse.config.instance import Instance
from posthouse.dispatcher.worker import Connection, WorkerContext
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.mail.envelope import Envelope
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.recovery import recover
from posthouse.relay.smtp_server.program import SmtpProgram
from posthouse.relay.smtp_server.relay import Relay
from posthouse.trace.reader import read_records
from posthouse.trace.record import Action, Record

T = TypeVar("T")
PATIENCE = 10.0
_NOBODY: Mapping[str, str] = {}


def relay_files(
    folder: Path, *, options: str = "", mappings: str = "", option_dat: str = "", keywords: str = "", imta: str = "",
    passwords: Mapping[str, str] = _NOBODY,
) -> Instance:  # fmt: skip
    """A relay made by `posthouse init`, with further lines for tcp_local_option, mappings and option.dat.

    Args:
        folder: where it is made.
        options: of tcp_local_option.
        mappings: further tables.
        option_dat: further options.
        keywords: further ones of channel tcp_local.
        imta: further channel blocks.
        passwords: userPassword by uid.
    """
    entries = people()
    for uid, password in passwords.items():
        entries = entries.replace(f"\nuid: {uid}\n", f"\nuid: {uid}\nuserPassword: {password}\n")
    (folder / "people.ldif").write_text(entries, encoding="utf-8")
    root = folder / "relay"
    mta = Mta(smtp="127.0.0.1:2525", ldif=folder / "people.ldif", postmaster="john.doe@example.com")
    init.relay(root, mta=mta, machine=Machine(host="relay1.example.com", default_domain="example.com"), way=Way(lmtp_port=2225))
    path = root / "config" / "imta.cnf"
    path.write_text(path.read_text().replace("pool SMTP_POOL maytlsclient", f"pool SMTP_POOL maytlsclient {keywords}") + imta)
    if options:
        (root / "config" / "tcp_local_option").write_text(options)
    for name, text in (("mappings", mappings), ("option.dat", option_dat)):
        if text:
            path = root / "config" / name
            path.write_text(path.read_text() + "\n" + text)
    return Instance(root)


@dataclass(frozen=True)
class Queued:
    """One message in the journal."""

    envelope: Envelope
    body: bytes


class Client:
    """A client that sends what it is told and reads replies."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._lines = self._socket.makefile("rb")

    def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS and the handshake."""
        assert self.ask("STARTTLS").startswith("220 ")
        self.wrap(context)

    def wrap(self, context: ssl.SSLContext) -> None:
        """The handshake."""
        self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._lines = self._socket.makefile("rb")

    def send(self, octets: bytes, *, patience: float = PATIENCE) -> None:
        self._socket.settimeout(patience)
        self._socket.sendall(octets)

    def reply(self) -> str:
        """The next reply, its lines joined by LF, without the last line end; empty at the end of file."""
        lines = []
        while True:
            line = self._lines.readline().decode().rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def replies(self, number: int) -> list[str]:
        return [self.reply() for _ in range(number)]

    def ask(self, line: str | bytes) -> str:
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return self.reply()

    def begin(self, *recipients: str, sender: str = "alice@outside.test", params: str = "") -> list[str]:
        """MAIL, RCPT for each, DATA; the replies to RCPT."""
        assert self.ask(f"MAIL FROM:<{sender}>{params}").startswith("250")
        answers = [self.ask(f"RCPT TO:<{recipient}>") for recipient in recipients]
        assert self.ask("DATA").startswith("354")
        return answers

    def message(self, body: bytes, *recipients: str, sender: str = "alice@outside.test", params: str = "") -> str:
        """A whole transaction; the reply to its final dot. The body is dot-stuffed already."""
        self.begin(*recipients, sender=sender, params=params)
        self.send(body + b".\r\n")
        return self.reply()

    def at_end(self) -> bool:
        """Whether the server has closed its side, and nothing was left to read."""
        try:
            return self._lines.read(1) == b""
        except ConnectionResetError:
            return True

    def finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class SmtpWorld:
    """The server. A context manager: leaving it drains and stops.

    Args:
        instance: of a relay.
        disk: what the journal is written to.
        prepare: called before the first connection.
        tls: the server's and the clients' contexts; TLS begins with the first octet.
        certificate: the server's context for STARTTLS.
        peer: the clients' address as the server is told.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        disk: Disk | None = None,
        prepare: Callable[[Relay], None] | None = None,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
        certificate: ssl.SSLContext | None = None,
        peer: str = "127.0.0.1",
    ) -> None:
        self.instance = instance
        self.certificate = certificate
        self._peer = peer
        self._tls = tls
        self.program = SmtpProgram(instance, "SMTP", "tcp_local", disk)
        self._prepare = prepare
        self._clients: list[Client] = []
        self._serials = count(1)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.AbstractServer
        self.port = 0
        self.closed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def _start(self) -> None:
        log = logging.getLogger("posthouse.test")
        await self.program.start(self._context(log))
        if self._prepare is not None:
            self._prepare(self.relay)
        self._server = await self._loop.create_server(self._session, "127.0.0.1", 0, ssl=self._tls[0] if self._tls else None)
        self.port = cast("asyncio.Server", self._server).sockets[0].getsockname()[1]

    def _context(self, log: logging.Logger) -> WorkerContext:
        return WorkerContext(self.instance, "SMTP", "tcp_local", self._loop, log, lambda: self.certificate)

    def _session(self) -> asyncio.BaseProtocol:
        peer = (self._peer, 40000)
        probe = f"TCP|127.0.0.1|25|{peer[0]}|{peer[1]}"
        tls, serial = self._tls is not None, next(self._serials)
        connection = Connection("SMTP", "tcp_local", ("127.0.0.1", 25), peer, probe, tls=tls, serial=serial)
        return cast("asyncio.BaseProtocol", self.program.session(connection, self._gone))

    def _gone(self) -> None:
        self.closed += 1

    def stop(self) -> None:
        """Close the clients, let sessions end, stop the program and the loop. Again: nothing."""
        if self._loop.is_closed():
            return
        for client in self._clients:
            client.close()
        self.call(self._server.close)
        self.until(lambda: not self.relay.sessions)
        asyncio.run_coroutine_threadsafe(self.program.stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def relay(self) -> Relay:
        return self.program.relay

    def call(self, function: Callable[[], T]) -> T:
        """Run it in the loop."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE)

    def reload(self) -> None:
        asyncio.run_coroutine_threadsafe(self.program.reload(), self._loop).result(PATIENCE)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until the loop says so."""
        end = time.monotonic() + PATIENCE
        while not self.call(true):
            assert time.monotonic() < end, "it did not come"

    def connect(self) -> Client:
        """A client that has read the greeting."""
        client = Client(self.port, self._tls[1] if self._tls else None)
        self._clients.append(client)
        assert client.reply().startswith("220 ")
        return client

    def hello(self) -> Client:
        """A client that has said EHLO."""
        client = self.connect()
        assert client.ask("EHLO client.outside.test").startswith("250-")
        return client

    def queued(self) -> list[Queued]:
        """Stop, and read the journal back: every message once."""
        self.stop()
        return queued(self.instance)

    def records(self, *actions: Action) -> list[Record]:
        """The transaction log's records of these actions, so far."""
        return self.call(lambda: self.records_now(*actions))

    def records_now(self, *actions: Action) -> list[Record]:
        """The same, called in the loop."""
        self.relay.flush()
        return [each for each in read_records(self.instance.log) if each.ac in actions]


def queued(instance: Instance) -> list[Queued]:
    """Every message in an instance's journal."""
    places = Places(cast("Disk", LinuxDisk()), str(instance.journal), str(instance.queue))
    try:
        found = recover(places, time.time())
        assert found.alarms == []
        messages: dict[str, Queued] = {}
        for waiting in found.copies:
            copy = open_copy(places, waiting.ref)
            messages[waiting.envelope.id] = Queued(waiting.envelope, b"".join(copy.parts()))
            copy.close()
        return list(messages.values())
    finally:
        places.close()
