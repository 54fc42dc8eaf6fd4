"""A store's real processes: supervisor, Dispatcher, LMTP worker, and a standard LMTP client."""

import contextlib
import os
import shutil
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from posthouse.dispatcher import control, lock
from posthouse.testing.tiers import free_port
from support.family_rig import wait_for
from support.store_files import store_instance

if TYPE_CHECKING:
    from posthouse.config.instance import Instance

START = "import sys; from posthouse.cli import main; sys.argv[0] = 'posthouse'; sys.exit(main())"


class Store:
    """One instance that is started, killed and started again."""

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self.instance: Instance = store_instance(root)
        config = self.instance.config / "dispatcher.cnf"
        config.write_text(config.read_text().replace("PORT=2225", f"PORT={self.port}\nINTERFACE_ADDRESS=127.0.0.1"))
        self.errors = root / "said"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Store":
        with self.errors.open("a") as said:
            argv = [sys.executable, "-c", START, "start", "--instance", str(self.instance.root)]
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.errors.read_text()
        return self

    def pids(self, role: str) -> list[int]:
        answer = control.ask(self.instance.run / control.SUPERVISOR, {"op": "status"})
        return [int(row["pid"]) for row in answer["processes"] if row["role"] == role and row["pid"]]

    def kill(self) -> None:
        """SIGKILL to every process at once."""
        for pid in lock.holders(self.instance.data / "lock"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._reap()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(60)
        self._reap()
        return code

    def _reap(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def client(self) -> smtplib.LMTP:
        return smtplib.LMTP("127.0.0.1", self.port, timeout=20)

    def mailbox(self, owner: str) -> list[bytes]:
        folder = self.instance.store / "primary" / owner / "new"
        return [path.read_bytes() for path in folder.iterdir()] if folder.exists() else []

    @property
    def segments(self) -> list[str]:
        return sorted(path.name for path in self.instance.journal.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    each = Store(tmp_path)
    yield each
    each.kill()


def message(number: int) -> bytes:
    return b"Subject: %d\r\nMessage-ID: <%d@test>\r\n\r\n.leading dot\r\nbody %d\r\n" % (number, number, number)


def stored(number: int) -> bytes:
    return b"Return-Path: <s@example.org>\n" + message(number).replace(b"\r\n", b"\n")


def test_the_standard_librarys_client_delivers_and_a_clean_stop_leaves_no_segment(store: Store) -> None:
    store.start()
    with store.client() as client:
        for number in range(20):
            assert client.sendmail("s@example.org", ["Bob@Example.com"], message(number)) == {}
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail("s@example.org", ["../x"], message(99))
        assert (refused.value.smtp_code, refused.value.smtp_error) == (511, b"5.1.1 <../x> mailbox nonexistent")
    assert store.stop() == 0
    assert sorted(store.mailbox("bob")) == sorted(stored(number) for number in range(20))
    assert store.segments == []
    log = (store.instance.log / "mail.log_current").read_text().splitlines()
    assert len(log) == 21


def test_nothing_answered_is_lost_when_everything_is_killed_again_and_again(store: Store) -> None:
    sent: list[int] = []
    answered: list[int] = []
    for _ in range(3):
        store.start()
        stop = threading.Event()

        def load(stop: threading.Event = stop) -> None:
            with contextlib.suppress(OSError, smtplib.SMTPException), contextlib.closing(store.client()) as client:
                while not stop.is_set():
                    number = len(sent)
                    sent.append(number)
                    client.sendmail("s@example.org", [f"user{number % 7}"], message(number))
                    answered.append(number)

        thread = threading.Thread(target=load)
        thread.start()
        goal = len(answered) + 60
        wait_for(lambda goal=goal: len(answered) >= goal)  # type: ignore[misc]
        store.kill()
        stop.set()
        thread.join(20)
    store.start()
    assert store.stop() == 0
    assert store.segments == []
    found = [octets for owner in range(7) for octets in store.mailbox(f"user{owner}")]
    assert len(found) == len(set(found))
    assert set(found) >= {stored(number) for number in answered}
    assert set(found) <= {stored(number) for number in sent}


def test_a_dead_workers_mail_is_taken_over_by_the_next(store: Store) -> None:
    store.start()
    with store.client() as client:
        client.sendmail("s@example.org", ["bob"], message(1))
    (pid,) = store.pids("lmtp")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: [each for each in store.pids("lmtp") if each != pid])
    with store.client() as client:
        client.sendmail("s@example.org", ["bob"], message(2))
    assert sorted(store.mailbox("bob")) == [stored(1), stored(2)]
    assert store.stop() == 0
    assert store.segments == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_order_of_system_calls_before_250(store: Store, tmp_path: Path) -> None:
    """DURABILITY 4.1 and 4.2: record, its sync, name in `new/`, reply."""
    store.start()
    (pid,) = store.pids("lmtp")
    trace = tmp_path / "trace"
    calls = "pwrite64,pwritev,pwritev2,fdatasync,fsync,rename,renameat,renameat2,sendto,sendmsg,write,writev"
    strace = subprocess.Popen(
        ["strace", "-f", "-yy", "-s", "300", "-e", f"trace={calls}", "-o", str(trace), "-p", str(pid)], stderr=subprocess.PIPE
    )
    try:
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()
        with store.client() as client:
            client.sendmail("s@example.org", ["bob"], message(4711))
        deadline = time.monotonic() + 10
        while "250 2.5.0 <bob> OK" not in trace.read_text():
            assert time.monotonic() < deadline
    finally:
        strace.terminate()
        strace.communicate()
    lines = trace.read_text().splitlines()
    record = next(at for at, line in enumerate(lines) if "pwritev" in line and "Subject: 4711" in line)
    sync = next(at for at, line in enumerate(lines) if at > record and "fdatasync" in line and ".seg" in line)
    synced = next(at for at, line in enumerate(lines) if at >= sync and "fdatasync" in line and line.rstrip().endswith("= 0"))
    placed = next(at for at, line in enumerate(lines) if "rename" in line and ",W=" in line)
    replied = next(at for at, line in enumerate(lines) if "250 2.5.0 <bob> OK" in line and "TCP" in line)
    assert record < synced < placed < replied, "\n".join(lines)
