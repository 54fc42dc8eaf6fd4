"""Ports for tests and the demo: never the same twice, whoever asks."""

import socket
import subprocess
import sys

from posthouse.testing.tiers import free_port

ASK = "from posthouse.testing.tiers import free_port; print(*(free_port() for _ in range(300))); input()"


def test_nobody_is_given_a_port_of_somebody_else() -> None:
    other = subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    theirs = other.stdout.readline().split()
    ours = [free_port() for _ in range(300)]
    other.communicate("\n")
    assert len({*map(int, theirs), *ours}) == 600


def test_outgoing_connections_do_not_take_it_and_it_can_be_had() -> None:
    """Linux takes theirs from 32768 on unless it is told otherwise."""
    port = free_port("127.0.0.2")
    assert 15000 <= port <= 32000
    with socket.create_server(("127.0.0.2", port)) as server:
        assert server.getsockname() == ("127.0.0.2", port)


def test_a_port_somebody_listens_on_is_not_given() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        assert taken not in {free_port() for _ in range(100)}
