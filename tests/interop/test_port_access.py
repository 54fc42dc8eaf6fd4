"""PORT_ACCESS on a store made by `init`: its relays talk, everybody else gets one line and end of file."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance, free_port, posthouse

REFUSAL = b"500 Do not connect to this machine\r\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    folder: Path = tmp_path_factory.mktemp("access") / "store1"
    instance = RunningInstance(folder, "127.0.0.1", free_port())
    posthouse(
        "init", "store", str(folder), "--lmtp", f"127.0.0.1:{instance.port}", "--host", "store1.example.com",
        "--default-domain", "example.com", "--allow", "127.0.0.1",
    )  # fmt: skip
    instance.start()
    yield instance
    assert instance.stop() == 0


def conversation(store: RunningInstance, source: str, said: bytes) -> bytes:
    """All that the store says to what is said at once, until end of file."""
    received = b""
    with socket.create_connection((store.address, store.port), 10, (source, 0)) as client:
        client.sendall(said)
        while part := client.recv(4096):
            received += part
    return received


def test_a_stranger_gets_exactly_one_line_and_end_of_file(store: RunningInstance) -> None:
    assert conversation(store, "127.0.0.9", b"") == REFUSAL


def test_a_stranger_who_does_not_wait_gets_no_more(store: RunningInstance) -> None:
    assert conversation(store, "127.0.0.9", b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<jdoe>\r\nDATA\r\n") == REFUSAL


def test_the_relay_is_greeted(store: RunningInstance) -> None:
    said = conversation(store, "127.0.0.1", b"LHLO\r\nQUIT\r\n")
    assert said.startswith(b"220 store1.example.com ")
    assert said.endswith(b"\r\n250 OK\r\n221 OK\r\n")


def test_the_mapping_command_gives_the_same_answers(store: RunningInstance) -> None:
    probe = f"TCP|127.0.0.1|{store.port}|127.0.0.9|40000"
    done = store.command("mapping", "PORT_ACCESS", probe)
    assert done.stdout == "Output string: 500 Do not connect to this machine\nOutput flags: N\n"
    allowed = store.command("mapping", "PORT_ACCESS", probe.replace("127.0.0.9", "127.0.0.1"))
    assert allowed.stdout.splitlines()[1] == "Output flags: Y"
