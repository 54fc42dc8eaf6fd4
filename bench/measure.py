"""What every bench shares: a server's processes and their CPU and memory, the load generator, medians.

CPU is of all processes of the server, children that ended included: the cpuacct or v2 cgroup's counter where one can be made,
else /proc and wait4. Rates are the load generator's. Every address is a loopback address, every load has an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, TypeAlias

HERE = Path(__file__).parent
DOMAIN = "example.test"
STORE_USERS = 500
LDAP_USERS = 10_000
MORE_IS_BETTER = {"rate", "accepted_s"}
Goals: TypeAlias = dict[str, float | tuple[float, ...]]
"""how many times better than the peer a figure is to be; two where two are asked for"""
_V1 = Path("/sys/fs/cgroup/cpuacct")
_V2 = Path("/sys/fs/cgroup")


class Group:
    """The processes of one server."""

    def __init__(self, name: str) -> None:
        leaf = f"bench-{name}-{os.getpid()}-{time.monotonic_ns()}"
        self._v1 = _V1.is_dir() and os.access(_V1, os.W_OK)
        self._path: Path | None = (_V1 if self._v1 else _V2) / leaf
        try:
            self._path.mkdir()
            if not (self._path / "cgroup.procs").exists() or not self._usage_file().exists():
                raise OSError("no accounting here")
        except OSError:
            with contextlib.suppress(OSError):
                self._path.rmdir()
            self._path = None
        self.roots: list[subprocess.Popen[bytes]] = []
        self._ended = 0.0
        self._peak = 0
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def _usage_file(self) -> Path:
        assert self._path is not None
        return self._path / ("cpuacct.usage" if self._v1 else "cpu.stat")

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process of this server."""

        def enter() -> None:
            if self._path is not None:
                (self._path / "cgroup.procs").write_text("0")

        options.setdefault("stdout", subprocess.DEVNULL)
        options.setdefault("stderr", subprocess.DEVNULL)
        process = subprocess.Popen(command, preexec_fn=enter, start_new_session=True, **options)
        self.roots.append(process)
        return process

    def pids(self) -> list[int]:
        if self._path is not None:
            return [int(pid) for pid in (self._path / "cgroup.procs").read_text().split()]
        found, todo = [], [process.pid for process in self.roots if process.returncode is None]
        while todo:
            pid = todo.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    todo += map(int, (task / "children").read_text().split())
        return found

    def cpu(self) -> float:
        """CPU seconds so far, user and system."""
        if self._path is not None:
            text = self._usage_file().read_text()
            return int(text) / 1e9 if self._v1 else int(re.search(r"usage_usec (\d+)", text)[1]) / 1e6  # type: ignore[index]
        hertz, total = os.sysconf("SC_CLK_TCK"), 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
        return self._ended + total / hertz

    def rss(self) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError, IndexError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total

    def pss(self) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def watch(self) -> None:
        """Begin to look for the peak of summed RSS."""
        self._peak = 0
        self._stop.clear()

        def look() -> None:
            while not self._stop.wait(0.2):
                self._peak = max(self._peak, self.rss())

        self._watcher = threading.Thread(target=look, daemon=True)
        self._watcher.start()

    def unwatch(self) -> int:
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()
        self._peak = max(self._peak, self.rss())
        return self._peak

    def stop(self, seconds: float = 60) -> None:
        """SIGTERM to what this object started, wait for a clean end; SIGKILL after the time."""
        for process in self.roots:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.roots:
            try:
                self._reap(process, seconds)
            except subprocess.TimeoutExpired:
                for pid in self.pids():
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
        end = time.monotonic() + 10
        while self._path is not None and self.pids() and time.monotonic() < end:
            time.sleep(0.02)
        self.roots = []

    def _reap(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        if self._path is not None:
            process.wait(seconds)
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, _, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                self._ended += usage.ru_utime + usage.ru_stime
                process.returncode = 0
                return
            time.sleep(0.02)
        raise subprocess.TimeoutExpired(process.args, seconds)

    def remove(self) -> None:
        """Give the cgroup back."""
        if self._path is not None:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    self._path.rmdir()
                    return
                time.sleep(0.05)


def compiled(name: str) -> str:
    """A program from its source here, compiled when that is newer."""
    source = HERE / name
    built = Path(tempfile.gettempdir()) / f"posthouse-{source.stem}-{os.getuid()}"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        if shutil.which("cc") is None:
            raise SystemExit("bench: no C compiler; on Debian: apt-get install gcc libc6-dev")
        subprocess.run(["cc", "-O2", "-o", str(built), str(source)], check=True)
    return str(built)


def load(
    address: str, port: int, *, messages: int, connections: int, recipients: int = 1, size: int = 4096, lmtp: bool, users: int,
    domain: str = DOMAIN, to: str = "",
) -> dict[str, Any]:  # fmt: skip
    """One run of the generator; its figures. `to` names one recipient for all."""
    command = [compiled("loadgen.c"), "-a", address, "-P", str(port), "-n", str(messages), "-c", str(connections)]
    command += ["-r", str(recipients), "-S", str(size), "-u", str(users), "-d", domain]
    command += [*(["-L"] if lmtp else []), *(["-t", to] if to else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if not done.stdout:
        raise RuntimeError(f"load generator: {done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout)
    faults = {key: figures[key] for key in ("bad", "bad_rcpt", "bad_other", "conn_errors") if figures[key]}
    if faults:
        raise RuntimeError(f"{faults}: {figures['first_bad']}")
    return figures


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait_port(port: int, address: str = "127.0.0.1", seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"nothing answers on {address}:{port}")


def file_system(folder: Path) -> str:
    """The type of the file system a folder is on."""
    found = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    mounted = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", str(folder)], capture_output=True, text=True, check=False
    )
    return " ".join((mounted.stdout or found.stdout).split())


def processor() -> str:
    """What the processor calls itself, where the kernel says it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.machine()


def syncs(group: Group, work: Any) -> dict[str, int] | None:
    """Calls of fsync, fdatasync and syncfs by the group's processes while `work()` runs; None without strace."""
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile("r") as output:
        pids = [argument for pid in group.pids() for argument in ("-p", str(pid))]
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync,syncfs", "-o", output.name, *pids],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1)
        work()
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        return {
            fields[-1]: int(fields[3])
            for line in output
            if (fields := line.split()) and fields[-1] in {"fsync", "fdatasync", "syncfs"}
        }


def ratios(mine: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, float]:
    """How many times better we are than the peer, for each figure: the median over the pairs of one round."""
    return {
        key: float(
            statistics.median(a[key] / b[key] if key in MORE_IS_BETTER else b[key] / a[key] for a, b in zip(mine, theirs, strict=True))
        )
        for key in mine[0]
    }


def median(rounds: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(one[key] for one in rounds))
