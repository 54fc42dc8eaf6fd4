"""2,000 idle and slow connections: the store goes on serving, the idlest are closed, the slow ones at their deadline."""

import contextlib
import resource
import selectors
import smtplib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import mailboxes
from support.journey_tiers import edit, journey, status

IDLE = 2000
AT_ONCE, PATIENCE = 5.0, 10.0
BODY = b"Subject: through\r\n\r\nbody\r\n"
OPENINGS = (
    b"",
    b"LHLO relay1\r\n",
    b"LHLO relay1\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<user0>\r\n",
    b"LHLO relay1\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<user0>\r\nDATA\r\nSubject: never\r\n",
    b"LHLO",
)


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crowd(
    store: RunningInstance, count: int, source: str, openings: tuple[bytes, ...] = OPENINGS
) -> list[socket.socket]:
    """So many connections, each silent after its opening words."""
    found = []
    for number in range(count):
        each = socket.create_connection((store.address, store.port), timeout=20, source_address=(source, 0))
        each.setblocking(False)
        with contextlib.suppress(OSError):
            each.send(openings[number % len(openings)])
        found.append(each)
    return found


def deliver(store: RunningInstance, source: str) -> float:
    """One message from this address; seconds it took."""
    begin = time.monotonic()
    with smtplib.LMTP(store.address, store.port, source_address=(source, 0), timeout=60) as client:
        assert client.sendmail("s@example.org", ["user0"], BODY) == {}
    return time.monotonic() - begin


def still_open(connections: list[socket.socket]) -> int:
    """How many of them the server has not closed."""
    with selectors.DefaultSelector() as ready:
        for each in connections:
            ready.register(each, selectors.EVENT_READ)
        closed = 0
        for key, _ in ready.select(0):
            assert isinstance(key.fileobj, socket.socket)
            try:
                while octets := key.fileobj.recv(4096):
                    del octets
                closed += 1
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
    return len(connections) - closed


def test_two_thousand_connections_that_say_nothing_more_hold_nobody_up(tmp_path: Path) -> None:
    with journey(tmp_path, users=1, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        store.start()
        with contextlib.ExitStack() as stack:
            for each in crowd(store, IDLE, "127.0.0.1"):
                stack.callback(each.close)
            times = [deliver(store, source) for source in ("127.0.0.1", "127.0.0.2") * 5]
            assert max(times) < AT_ONCE, times
        assert len(mailboxes([store])) == 10


@pytest.mark.parametrize("openings", [OPENINGS, OPENINGS[2:4]], ids=["mixed", "within_a_transaction"])
def test_when_all_connections_are_taken_the_idlest_are_closed(tmp_path: Path, openings: tuple[bytes, ...]) -> None:
    with journey(tmp_path, users=1, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        edit(store, "dispatcher.cnf", "MAX_PROCS=10", "MAX_PROCS=2")
        edit(store, "dispatcher.cnf", "MAX_CONNS=500", "MAX_CONNS=50")
        edit(store, "dispatcher.cnf", "MIN_CONNS=100", "MIN_CONNS=30")
        store.start()
        taken: list[socket.socket] = []
        try:
            for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
                taken += crowd(store, 36, source, openings)
            times = [deliver(store, source) for source in ("127.0.0.1", "127.0.0.5") * 5]
            assert max(times) < 2 * PATIENCE + AT_ONCE, times  # nobody is cut off within a message sooner than after PATIENCE
            assert sorted(times)[5] < AT_ONCE, times
            wait_for(lambda: still_open(taken) <= 100)
        finally:
            for each in taken:
                each.close()
        assert len(mailboxes([store])) == 10
        assert status(store)
