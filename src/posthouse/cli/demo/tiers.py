"""A relay and its stores, each an instance of its own, started and stopped as processes below one folder.

Used by the demo and, through `posthouse.testing`, by journeys and benches. Every process is started by its command line and
ended by its pid; every listener is on a loopback address and a port of its own (`ports`).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from posthouse.cli.demo.ports import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 60.0


def posthouse(*arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the `posthouse` command of this Python.

    Raises:
        RuntimeError: it failed and `check` is set; the text is what it wrote to stderr.
    """
    done = subprocess.run(
        [sys.executable, "-m", "posthouse.cli", *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"posthouse {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
    return done


@dataclass(slots=True)
class RunningInstance:
    """One instance folder and, while it runs, its supervisor."""

    folder: Path
    address: str
    port: int
    process: subprocess.Popen[str] | None = None
    before: tuple[str, ...] = ()
    """words put before the command line of `start`: a program it is run by"""
    output: Path = field(init=False)

    def __post_init__(self) -> None:
        self.output = self.folder.parent / f"{self.folder.name}.stderr"

    def start(self, *, environment: dict[str, str] | None = None) -> None:
        """Start it and wait for its one line `ready`.

        Raises:
            RuntimeError: it ended or was silent for a minute; the text is the end of its stderr.
        """
        with self.output.open("a") as errors:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "posthouse.cli", "start", "--instance", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        if _line_within(self.process.stdout, READY_SECONDS) != "ready\n":
            self.kill()
            raise RuntimeError(f"{self.folder.name} did not start:\n{self.output.read_text()[-4000:]}")

    def stop(self) -> int:
        """SIGTERM, wait until it has drained; returns the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL the supervisor: its children end by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._close()

    def _close(self) -> None:
        assert self.process is not None
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`posthouse WORDS --instance FOLDER`."""
        return posthouse(*words, "--instance", str(self.folder), check=check)

    def json(self, *words: str) -> Any:
        """The same with --json, its answer decoded."""
        return json.loads(self.command(*words, "--json").stdout)


def _line_within(stream: IO[str], seconds: float) -> str:
    """The next line, or "" when none comes in time."""
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    return found[0] if found else ""


class TwoTiers:
    """One relay and any number of stores below a folder. Their mail stays on this machine: no DNS server is asked.

    Args:
        root: an existing folder; the instances are `relay1`, `store1`, `store2`...
        directory: `init relay` options that name the directory, e.g. ["--ldif", "people.ldif"].
        stores: how many; store N listens on 127.0.0.N, all on one port.
        default_domain: the primary domain.
        relay_options: more options for `init relay`.
    """

    def __init__(
        self,
        root: Path,
        directory: list[str],
        *,
        stores: int = 2,
        default_domain: str = "example.com",
        relay_options: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        port = _common_port(stores)
        domain = ["--default-domain", default_domain]
        self.stores: list[RunningInstance] = []
        resolve: list[str] = []
        for number in range(1, stores + 1):
            address, name = f"127.0.0.{number}", f"store{number}"
            folder = root / name
            posthouse(
                "init", "store", str(folder), "--lmtp", f"{address}:{port}", "--host", f"{name}.{default_domain}", *domain,
                "--allow", "127.0.0.0/8",
            )  # fmt: skip
            resolve += ["--resolve", f"{name}.{default_domain}={address}"]
            self.stores.append(RunningInstance(folder, address, port))
        smtp = free_port()
        posthouse(
            "init", "relay", str(root / "relay1"), "--smtp", f"127.0.0.1:{smtp}", "--host", f"relay1.{default_domain}", *domain,
            *directory, "--lmtp-port", str(port), *resolve, *relay_options,
        )  # fmt: skip
        with (root / "relay1" / "config" / "option.dat").open("a") as options:
            options.write("!\n! Nothing goes out from here: nobody answers at this address\nDNS_SERVERS=127.0.0.1:9\n")
        self.relay = RunningInstance(root / "relay1", "127.0.0.1", smtp)

    @property
    def instances(self) -> list[RunningInstance]:
        """Stores first: that is the order to start in."""
        return [*self.stores, self.relay]

    def start(self) -> None:
        """Start every instance; when one fails the others are stopped."""
        try:
            for instance in self.instances:
                instance.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every instance, the relay first."""
        for instance in reversed(self.instances):
            instance.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def _common_port(stores: int) -> int:
    """A port free on 127.0.0.1 to 127.0.0.N."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        port = free_port()
        sockets: list[socket.socket] = []
        try:
            for number in range(1, stores + 1):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind((f"127.0.0.{number}", port))
        except OSError:
            continue
        else:
            return port
        finally:
            for probe in sockets:
                probe.close()
    raise RuntimeError("no port is free on all the stores' addresses")
