"""A worker that dies between being given a connection and taking it over: the client is served by another."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.family_rig import Family, wait_for


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path / "instance", "MIN_PROCS=1\nMAX_PROCS=1\nMAX_HANDOFFS=50\nMIN_CONNS=50\nMAX_CONNS=50").start()
    yield family
    family.end()


def test_connections_in_the_hands_of_a_dying_worker_are_served_by_the_next(family: Family) -> None:
    served = family.connect()
    assert served.line()
    worker = family.pid("lmtp")
    os.kill(worker, signal.SIGSTOP)
    before = family.counters()["handed_off"]
    clients = [family.connect(f"127.0.0.{10 + number}") for number in range(5)]
    wait_for(lambda: family.counters()["handed_off"] == before + 5)
    os.kill(worker, signal.SIGKILL)
    greetings = [client.line() for client in clients]
    assert all("S" in greeting.split() for greeting in greetings), greetings
    assert served.line() == ""
    assert family.pid("lmtp") != worker
    assert family.counters()["handed_off"] == before + 10
