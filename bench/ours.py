"""Our side: instances made by `posthouse init`, with only ports changed, as any user would have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import DOMAIN, Group, free_port


class Instance:
    """One instance, started and stopped for each round, its folder kept."""

    def __init__(self, folder: Path, arguments: list[str], port: int) -> None:
        self.folder = folder
        self.address, self.port = "127.0.0.1", port
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "posthouse.cli", "init", *arguments], check=True)
        self.group = Group(f"posthouse-{folder.name}")

    def start(self) -> None:
        errors = (self.folder.parent / f"{self.folder.name}.stderr").open("ab")
        command = [sys.executable, "-m", "posthouse.cli", "start", "--instance", str(self.folder)]
        compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
        process = self.group.popen(command, stdout=subprocess.PIPE, stderr=errors, env=compiled)
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            self.group.stop()
            raise RuntimeError(f"posthouse did not start: see {errors.name}")

    def stop(self) -> None:
        self.group.stop()


def store(root: Path, name: str = "store") -> Instance:
    port = free_port()
    folder = root / name
    common = ["--host", f"store1.{DOMAIN}", "--default-domain", DOMAIN]
    return Instance(folder, ["store", str(folder), "--lmtp", f"127.0.0.1:{port}", *common, "--allow", "127.0.0.1"], port)


class Relay(Instance):
    """A relay that delivers to sinks, one for each address, which stand for store1, store2 ..."""

    def __init__(self, root: Path, uri: str, base: str, sink_port: int, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        port = free_port()
        folder = root / "relay"
        common = ["--host", f"relay1.{DOMAIN}", "--default-domain", DOMAIN]
        arguments = ["relay", str(folder), "--smtp", f"127.0.0.1:{port}", *common, "--ldap", uri, "--base", base]
        resolve = [f"--resolve=store{number}.{DOMAIN}={address}" for number, address in enumerate(addresses, 1)]
        super().__init__(folder, [*arguments, "--lmtp-port", str(sink_port), *resolve], port)
        self._log = folder / "log" / "transactions.jsonl"
        self._read = 0
        self.delivered = 0

    def count(self) -> int:
        """Recipients delivered since the instance was made; anything but a delivery is a fault."""
        if self._log.exists():
            with self._log.open("rb") as lines:
                lines.seek(self._read)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    if b'"ac":"D"' in line:
                        self.delivered += 1
                    elif b'"ac":"Q"' in line or b'"ac":"R"' in line:
                        raise RuntimeError(f"not delivered: {json.loads(line)}")
        return self.delivered

    def drain(self, goal: int, seconds: float = 180) -> None:
        """Wait until so many recipients have been delivered."""
        end = time.monotonic() + seconds
        while self.count() < goal:
            if time.monotonic() > end:
                raise RuntimeError(f"{goal - self.delivered} recipients are not delivered")
            time.sleep(0.01)


def facts() -> dict[str, Any]:
    import posthouse

    return {"posthouse": posthouse.__version__, "python": sys.version.split()[0]}
