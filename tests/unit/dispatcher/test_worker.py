"""A real worker process behind a wire of ours: ready, sessions, idlest, shed, drain, end-of-file, faults."""

import os
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.dispatcher import handoff

ECHO = Path(__file__).parents[2] / "support" / "echo_worker.py"


class Rig:
    """The Dispatcher's side of one worker, blocking."""

    def __init__(self, root: Path) -> None:
        (root / "config").mkdir(exist_ok=True)
        self.root = root
        self.wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.wire.settimeout(10)
        argv = [sys.executable, str(ECHO), *f"--instance {root} --service S --channel c --fd {theirs.fileno()}".split()]
        self.process = subprocess.Popen(argv, pass_fds=(theirs.fileno(),), stderr=subprocess.PIPE, text=True)
        theirs.close()
        self.serial = 0
        self.clients: list[socket.socket] = []

    def packet(self) -> handoff.FromWorker:
        while True:
            data = self.wire.recv(handoff.MAX_PACKET)
            message = handoff.decode_from_worker(data)
            if not isinstance(message, handoff.Beat):
                return message

    def send(self, message: handoff.ToWorker) -> None:
        self.wire.send(handoff.encode(message))

    def connect(self) -> socket.socket:
        self.serial += 1
        client, server = socket.socketpair()
        connection = handoff.Connection("S", "c", ("::1", 1), ("::1", 2), "TCP|::1|1|::1|2", False, self.serial)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [server.fileno()]))]
        self.wire.sendmsg([handoff.encode(handoff.Handed(connection))], rights)
        server.close()
        client.settimeout(10)
        self.clients.append(client)
        return client

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        for client in (self.wire, *self.clients):
            client.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.end()


def line(client: socket.socket) -> str:
    out = b""
    while not out.endswith(b"\n"):
        octet = client.recv(1)
        if not octet:
            break
        out += octet
    return out.decode()


def test_a_session_from_hand_off_to_closed(rig: Rig) -> None:
    assert rig.packet() == handoff.Ready(rig.process.pid)
    client = rig.connect()
    assert rig.packet() == handoff.Accepted(1)
    assert line(client) == f"220 {rig.process.pid} S c TCP|::1|1|::1|2 none\r\n"
    client.sendall(b"hello\r\n")
    assert line(client) == "250 hello\r\n"
    client.close()
    assert rig.packet() == handoff.Closed(1)


def test_the_idlest_session_outside_a_transaction_is_named_and_shed(rig: Rig) -> None:
    rig.packet()
    first, second, third = rig.connect(), rig.connect(), rig.connect()
    for client in (first, second, third):
        line(client)
    for client, word in ((first, b"hold"), (second, b"a"), (third, b"b")):
        client.sendall(word + b"\r\n")
        line(client)
    assert [rig.packet() for _ in range(3)] == [handoff.Accepted(1), handoff.Accepted(2), handoff.Accepted(3)]
    rig.send(handoff.AskIdlest())
    answer = rig.packet()
    assert isinstance(answer, handoff.Idle)
    assert answer.n == 2
    rig.send(handoff.Shed(2))
    assert line(second).startswith("421 ")
    assert rig.packet() == handoff.Closed(2)
    third.close()
    assert rig.packet() == handoff.Closed(3)
    rig.send(handoff.AskIdlest())
    assert rig.packet() == handoff.Idle(None, 0.0)


@pytest.mark.parametrize("how", ["sigterm", "eof", "shutdown"])
def test_drain_lets_a_transaction_finish_and_stops_the_program(rig: Rig, how: str) -> None:
    rig.packet()
    busy, quiet = rig.connect(), rig.connect()
    for client in (busy, quiet):
        line(client)
    busy.sendall(b"hold\r\n")
    line(busy)
    if how == "sigterm":
        rig.process.send_signal(signal.SIGTERM)
    elif how == "eof":
        rig.wire.close()
    else:
        rig.send(handoff.Shutdown(0))
    assert line(quiet).startswith("421 ")
    busy.sendall(b"done\r\n")
    assert line(busy) == "250 done\r\n"
    assert line(busy).startswith("421 ")
    assert rig.process.wait(10) == 0
    assert (rig.root / "run" / f"stopped.{rig.process.pid}").exists()


def test_retirement_keeps_sessions_and_ends_with_the_last(rig: Rig) -> None:
    rig.packet()
    client = rig.connect()
    line(client)
    rig.send(handoff.Shutdown(300))
    client.sendall(b"still here\r\n")
    assert line(client) == "250 still here\r\n"
    client.sendall(b"quit\r\n")
    assert rig.process.wait(10) == 0


def test_an_orphan_ends_within_five_seconds_even_when_a_session_never_ends(rig: Rig) -> None:
    rig.packet()
    client = rig.connect()
    line(client)
    client.sendall(b"hold\r\n")
    line(client)
    rig.wire.close()
    begin = time.monotonic()
    assert rig.process.wait(10) == 0
    assert time.monotonic() - begin < 5


def test_an_orphan_whose_loop_hangs_ends_too(rig: Rig) -> None:
    rig.packet()
    client = rig.connect()
    line(client)
    client.sendall(b"hang\r\n")
    rig.wire.close()
    begin = time.monotonic()
    rig.process.wait(10)
    assert time.monotonic() - begin < 5


def test_faults_of_the_configuration_end_with_78_and_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "echo").write_text("bad")
    rig = Rig(tmp_path)
    message = rig.packet()
    assert isinstance(message, handoff.Failed)
    assert len(message.reasons) == 2
    assert rig.process.wait(10) == 78
    assert rig.process.stderr is not None
    assert "second fault" in rig.process.stderr.read()
    rig.end()


def test_reload_reads_again_and_a_bad_reload_changes_nothing(rig: Rig) -> None:
    rig.packet()
    for word, expected in (("one", "one"), ("bad", "one"), ("two", "two")):
        (rig.root / "config" / "echo").write_text(word)
        if word == "two":
            rig.process.send_signal(signal.SIGHUP)
        else:
            rig.send(handoff.Reload())
        deadline = time.monotonic() + 10
        seen = ""
        while seen != expected and time.monotonic() < deadline:
            client = rig.connect()
            seen = line(client).split()[-1]
            client.close()
        assert seen == expected


def test_wrong_arguments_are_a_usage_error() -> None:
    done = subprocess.run([sys.executable, str(ECHO), "--nothing"], capture_output=True, check=False, text=True)
    assert done.returncode == 64
    assert "Dispatcher" in done.stderr


def test_interrupt_is_left_to_the_supervisor(rig: Rig) -> None:
    rig.packet()
    os.kill(rig.process.pid, signal.SIGINT)
    client = rig.connect()
    assert line(client).startswith("220 ")
