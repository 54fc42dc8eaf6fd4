"""Foreign servers in the foreground for tests: started by hand, asked until they answer, ended by their process group."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

SECONDS = 20.0

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="this server changes its user, which only root may do: run the tests as root"
)


@contextlib.contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A temporary folder every user may pass through (pytest keeps its own to one user)."""
    with TemporaryDirectory(prefix=f"posthouse-{name}-", ignore_cleanup_errors=True) as text:
        folder = Path(text)
        folder.chmod(0o755)
        yield folder


def listens(port: int, address: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
        return True
    return False


@contextlib.contextmanager
def daemon(
    argv: Sequence[str | Path], log: Path, *, port: int, address: str = "127.0.0.1", stop: Sequence[str | Path] = ()
) -> Iterator[None]:
    """Run it until the block ends. Fails with its words if it does not listen in time.

    `stop` is the command that ends a server which leaves our process group; others get SIGTERM.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + SECONDS
        while not listens(port, address):
            assert process.poll() is None, f"{argv[0]} ended with {process.returncode}:\n{log.read_text(errors='replace')}"
            assert time.monotonic() < deadline, (
                f"{argv[0]} does not listen on {address}:{port}:\n{log.read_text(errors='replace')}"
            )
            time.sleep(0.05)
        yield
    finally:
        if stop:
            run(stop)
        else:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(argv: Sequence[str | Path], *, seconds: float = 60.0, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; its output as text, whatever its exit code."""
    done = subprocess.run(argv, input=given, capture_output=True, timeout=seconds, check=False)
    return subprocess.CompletedProcess(
        argv, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )
