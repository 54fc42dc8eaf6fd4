"""The `posthouse` command as an administrator runs it, and a relay and a store made by the README's command lines."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posthouse.testing.tiers import RunningInstance, free_port
from support.interop_daemon import open_folder
from support.interop_tiers import PEOPLE

POSTHOUSE = str(Path(sys.executable).with_name("posthouse"))


def posthouse(line: str, *last: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command line; its words are separated by blanks, `last` are words that may hold some."""
    words = [POSTHOUSE, *line.split(), *map(str, last)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """A relay and the first of its two stores; the second does not run."""

    relay: RunningInstance
    store: RunningInstance

    def ask(self, line: str, *last: str) -> subprocess.CompletedProcess[str]:
        """A command about the relay."""
        return posthouse(line, *last, "--instance", self.relay.folder)

    def json(self, line: str, *last: str) -> Any:
        """The same with --json; fails with its words when it fails."""
        done = self.ask(line, *last, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def init_store(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    return posthouse(
        f"init store {folder} --lmtp 127.0.0.1:{port} --host store1.example.com --default-domain example.com --allow 127.0.0.1"
    )


def init_relay(folder: Path, smtp: int, lmtp: int, directory: str) -> subprocess.CompletedProcess[str]:
    return posthouse(
        f"init relay {folder} --smtp 127.0.0.1:{smtp} --host relay1.example.com --default-domain example.com {directory}"
        f" --lmtp-port {lmtp} --resolve store1.example.com=127.0.0.1 --resolve store2.example.com=127.0.0.2"
    )


@contextlib.contextmanager
def running_pair() -> Iterator[Pair]:
    """Made as printed, and started."""
    with open_folder("commands") as root:
        smtp, lmtp = free_port(), free_port()
        pair = Pair(RunningInstance(root / "relay1", "127.0.0.1", smtp), RunningInstance(root / "store1", "127.0.0.1", lmtp))
        for done in (
            init_store(pair.store.folder, lmtp),
            init_relay(pair.relay.folder, smtp, lmtp, f"--ldif {PEOPLE} --postmaster john.doe@example.com"),
        ):
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        try:
            pair.store.start()
            pair.relay.start()
            yield pair
        finally:
            pair.relay.stop()
            pair.store.stop()
