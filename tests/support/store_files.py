"""A store's instance folder with the chapter's own few files, and its LMTP server in this process or as a worker program."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from posthouse.config.instance import Instance
from posthouse.dispatcher.trouble import Tell
from posthouse.dispatcher.worker import Connection, WorkerContext
from posthouse.journal.disk import Disk
from posthouse.store.lmtp_server.program import LmtpProgram

CHANNEL = "tcp_lmtpss"
_IMTA = """! minimal
! tcp_lmtpss (LMTP server - store)
tcp_lmtpss lmtp flagtransfer logging
tcp_lmtpss-daemon
"""
_DISPATCHER = """[SERVICE=LMTPSS]
PORT=2225
IMAGE=IMTA_BIN:tcp_lmtp_server
LOGFILE=IMTA_LOG:tcp_lmtpss_server.log
PARAMETER=CHANNEL=tcp_lmtpss
"""
_TAILOR = "IMTA_TABLE=config/\nIMTA_BIN=bin/\nIMTA_LOG=log/\nIMTA_QUEUE=data/queue/\n"
_MAPPINGS = "PORT_ACCESS\n\n  TCP|*|*|127.0.0.1|*  $Y\n  TCP|*|*|*|*  $N500$ Do$ not$ connect$ to$ this$ machine\n"


def store_instance(root: Path, *settings: str, options: str = "") -> Instance:
    """An instance with these lines in store.conf, its default domain example.com."""
    for folder in ("config", "data", "log", "run"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    config = root / "config"
    (config / "imta.cnf").write_text("! rewrite rules: none\n\n" + _IMTA)
    (config / "dispatcher.cnf").write_text(_DISPATCHER)
    (config / "imta_tailor").write_text(_TAILOR)
    (config / "mappings").write_text(_MAPPINGS)
    lines = ["service.defaultdomain = example.com", *settings]
    (config / "store.conf").write_text("".join(f"{line}\n" for line in lines))
    if options:
        (config / f"{CHANNEL}_option").write_text(options)
    return Instance(root)


@asynccontextmanager
async def running_store(
    instance: Instance, disk: Disk | None = None, tell: Tell = lambda _: None
) -> AsyncIterator[tuple[LmtpProgram, int]]:
    """The LMTP server in this event loop; the program and its port."""
    loop = asyncio.get_running_loop()
    log = logging.getLogger("posthouse.store")

    program = LmtpProgram(instance, CHANNEL, disk)
    await program.start(WorkerContext(instance, "LMTPSS", CHANNEL, loop, log, tell=tell))
    connection = Connection("LMTPSS", CHANNEL, ("127.0.0.1", 2225), ("127.0.0.1", 40000), "", tls=False, serial=1)
    server = await loop.create_server(lambda: program.session(connection, lambda: None), "127.0.0.1", 0)
    try:
        yield program, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for session in list(program.sessions):
            session.shed()
        while program.sessions:
            await asyncio.sleep(0.01)
        await program.stop()


class LmtpTalk:
    """A client for tests: sends lines, reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, hello: str = "LHLO relay1") -> "LmtpTalk":
        talk = cls(*await asyncio.open_connection("127.0.0.1", port))
        assert (await talk.reply()).startswith("220 ")
        if hello:
            assert (await talk.say(hello)).startswith("250")
        return talk

    async def reply(self) -> str:
        """One reply; of several lines the last."""
        while True:
            line = (await self.reader.readline()).decode().rstrip("\r\n")
            if line[3:4] != "-":
                return line

    async def say(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def deliver(self, message: bytes, *recipients: str, sender: str = "<s@example.org>") -> list[str]:
        """One transaction; the final replies."""
        assert (await self.say(f"MAIL FROM:{sender}")).startswith("250")
        for recipient in recipients:
            assert (await self.say(f"RCPT TO:{recipient}")).startswith("250"), recipient
        assert (await self.say("DATA")).startswith("354")
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        self.writer.write((b"." if message.startswith(b".") else b"") + stuffed + b".\r\n")
        return [await self.reply() for _ in recipients]

    async def close(self) -> None:
        assert (await self.say("QUIT")).startswith("221")
        assert await self.reader.read() == b""
        self.writer.close()
