"""A worker program for tests: greets with its pid and service, echoes lines, understands a few of them.

`hold` opens a transaction and `done` closes it; `hang` blocks the event loop; `die` ends the process at once; `quit` closes.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import cast

from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.dispatcher.worker import Connection, WorkerContext, run_worker


class EchoSession(asyncio.Protocol):
    def __init__(self, connection: Connection, closed: Callable[[], None], program: "EchoProgram") -> None:
        self._connection = connection
        self._closed = closed
        self._program = program
        self._held = False
        self._shed = False
        self._idle = 0.0
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._idle = asyncio.get_running_loop().time()
        c = self._connection
        self._transport.write(f"220 {os.getpid()} {c.service} {c.channel} {c.port_probe} {self._program.word}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        for line in data.split(b"\r\n")[:-1]:
            self._line(line)

    def _line(self, line: bytes) -> None:
        self._idle = asyncio.get_running_loop().time()
        if line == b"hang":
            time.sleep(600)
        if line == b"stack":
            line = str(threading.stack_size()).encode()
        if line == b"raise":
            raise RuntimeError("a fault of the client's making")
        if line == b"die":
            os._exit(9)
        if line in {b"hold", b"done"}:
            self._held = line == b"hold"
        self._transport.write(b"250 " + line + b"\r\n")
        if line == b"quit":
            self._transport.close()
        elif self._shed:
            self.shed()

    def idle_since(self) -> float | None:
        return None if self._held else self._idle

    def shed(self) -> None:
        self._shed = True
        if not self._held:
            self._transport.write(b"421 4.3.2 closing\r\n")
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()


class EchoProgram:
    """Reads its word from `config/echo`; a file that says `bad` is a fault, one that says `slow` delays the start for ever."""

    def __init__(self, instance: Instance, service: str, channel: str) -> None:
        self._instance = instance
        self.word = ""

    async def start(self, worker: WorkerContext) -> None:
        self._read()
        if self.word == "slow":
            await asyncio.sleep(600)

    def _read(self) -> None:
        file = self._instance.config / "echo"
        word = file.read_text().strip() if file.exists() else "none"
        if word == "bad":
            raise ConfigurationError((Fault(str(file), 1, "bad word"), Fault(str(file), 2, "second fault")))
        self.word = word

    def session(self, connection: Connection, closed: Callable[[], None]) -> EchoSession:
        return EchoSession(connection, closed, self)

    async def stop(self) -> None:
        self._instance.run.mkdir(exist_ok=True)
        (self._instance.run / f"stopped.{os.getpid()}").write_text("")

    async def reload(self) -> None:
        self._read()


if __name__ == "__main__":
    sys.exit(run_worker(EchoProgram))
