"""A running family of processes for tests: the real supervisor and Dispatcher over echo workers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from posthouse.config.instance import Instance
from posthouse.dispatcher import control, lock
from posthouse.testing.tiers import free_port

ECHO_INSTANCE = Path(__file__).with_name("echo_instance.py")
IMTA_CNF = """! rewrite rules

! channels
tcp_lmtpss lmtp flagtransfer
tcp_lmtpss-daemon
"""
MAPPINGS = """PORT_ACCESS

  TCP|*|*|127.0.0.66|*   $N500$ Do$ not$ connect$ to$ this$ machine
  TCP|*|*|127.0.0.67|*   $N
  TCP|*|*|127.*|*        $Y
  TCP|*|*|::1|*          $Y
  TCP|*|*|*|*            $N500$ Do$ not$ connect$ to$ this$ machine
"""
SECONDS = 20.0
T = TypeVar("T")


def wait_for(ask: Callable[[], T], seconds: float = SECONDS, every: float = 0.02) -> T:
    """The first true answer; fails after so many seconds. every: how often it is asked for, in seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(every)


class Family:
    """One instance; `end` kills whatever is left of it."""

    def __init__(self, root: Path, options: str = "", *, services: str = "", jobs: bool = False) -> None:
        self.instance = Instance(root)
        self.port = free_port()
        self.python = sys.executable
        self.process: subprocess.Popen[str] | None = None
        self.launched: list[subprocess.Popen[str]] = []
        self.clients: list[socket.socket] = []
        self.said: Path = root / "said"
        root.mkdir(parents=True, exist_ok=True)
        (root / "config").mkdir()
        service = f"[SERVICE=S]\nPORT={self.port}\nIMAGE=IMTA_BIN:tcp_lmtp_server\nPARAMETER=CHANNEL=tcp_lmtpss\n"
        self.write("dispatcher.cnf", f"VERSION=1.1\n{options}\n{services or service}")
        self.write("imta.cnf", IMTA_CNF + ("\nbitbucket\nbitbucket-daemon\n" if jobs else ""))
        self.write("mappings", MAPPINGS)
        if jobs:
            self.write("job_controller.cnf", "[POOL=DEFAULT]\nJOB_LIMIT=1\n")

    def write(self, name: str, text: str) -> None:
        (self.instance.config / name).write_text(text)

    # processes

    def launch(self, **environment: str) -> "subprocess.Popen[str]":
        """Start it without waiting."""
        argv = [self.python, str(ECHO_INSTANCE), "--instance", str(self.instance.root)]
        with self.said.open("a") as said:
            self.process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=said, text=True, env={**os.environ, **environment}, start_new_session=True
            )
        self.launched.append(self.process)
        return self.process

    def start(self, **environment: str) -> "Family":
        """Start it and wait for `ready`."""
        process = self.launch(**environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "ready\n", self.said.read_text()
        return self

    def ask(self, op: str) -> dict[str, Any]:
        return control.ask(self.instance.run / control.SUPERVISOR, {"op": op})

    def rows(self, role: str) -> list[dict[str, Any]]:
        return [row for row in self.ask("status")["processes"] if row["role"] == role and row["pid"]]

    def pid(self, role: str) -> int:
        """Its pid; 0 while it is dead."""
        return next((int(row["pid"]) for row in self.rows(role)), 0)

    def living(self) -> list[int]:
        return lock.holders(self.instance.data / "lock")

    def counters(self, service: str = "S") -> dict[str, int]:
        counted: dict[str, int] = self.ask("status")["services"][service]
        return counted

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(60)
        if self.process.stdout is not None:
            assert self.process.stdout.read() == ""  # nothing but `ready` was ever said
        return code

    def end(self) -> None:
        for client in self.clients:
            client.close()
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.launched:
            process.kill()
            process.communicate()

    # connections

    def connect(self, source: str = "127.0.0.1", *, port: int = 0, server: str = "127.0.0.1") -> "Client":
        sock = socket.create_connection((server, port or self.port), 10, (source, 0))
        self.clients.append(sock)
        return Client(sock)


class Client:
    """A client of an echo worker."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.address = sock.getsockname()

    def line(self) -> str:
        """One line without its end; "" at end-of-file."""
        out = b""
        while not out.endswith(b"\r\n"):
            octet = self.sock.recv(1)
            if not octet:
                break
            out += octet
        return out.decode().removesuffix("\r\n")

    def say(self, word: str) -> str:
        self.sock.sendall(word.encode() + b"\r\n")
        return self.line()

    def pid(self) -> int:
        """Who greets."""
        return int(self.line().split()[1])

    def close(self) -> None:
        self.sock.close()
