"""The wire: packets, descriptors beside them, a peer that does not read, a peer that is gone, nonsense."""

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from posthouse.dispatcher import handoff

CONNECTION = handoff.Connection("S", "c", ("192.0.2.1", 225), ("192.0.2.2", 4000), "TCP|192.0.2.1|225|192.0.2.2|4000", True, 7)


@pytest.mark.parametrize(
    "message",
    [
        handoff.Handed(CONNECTION),
        handoff.AskIdlest(),
        handoff.Shed(3),
        handoff.Shutdown(0.0),
        handoff.Reload(),
    ],
)
def test_what_the_dispatcher_says_comes_out_as_it_went_in(message: handoff.ToWorker) -> None:
    packet = handoff.encode(message)
    assert packet.endswith(b"}\n")
    assert handoff.decode_to_worker(packet) == message


@pytest.mark.parametrize(
    "message",
    [
        handoff.Ready(1),
        handoff.Accepted(2),
        handoff.Closed(3),
        handoff.Idle(4, 0.5),
        handoff.Idle(None, 0.0),
        handoff.Beat(),
        handoff.Leaving(),
        handoff.Failed(78, ("a:1: wrong",)),
    ],
)
def test_what_a_worker_says_comes_out_as_it_went_in(message: handoff.FromWorker) -> None:
    assert handoff.decode_from_worker(handoff.encode(message)) == message


@pytest.mark.parametrize(
    "packet", [b"", b"{}\n", b'{"op":"fire"}\n', b'{"op":"closed"}\n', b"\xff\n", b'{"op":"ready","pid":"x"}']
)
def test_nonsense_is_a_packet_error(packet: bytes) -> None:
    with pytest.raises(handoff.PacketError):
        handoff.decode_from_worker(packet)
    with pytest.raises(handoff.PacketError):
        handoff.decode_to_worker(packet)


class End:
    """One end in the test's loop."""

    def __init__(self, sock: socket.socket) -> None:
        self.packets: list[tuple[bytes, list[int]]] = []
        self.lost = 0
        self.wire = handoff.Wire(sock, asyncio.get_running_loop(), lambda *packet: self.packets.append(packet), self.gone)

    def gone(self) -> None:
        self.lost += 1


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


async def test_sockets_wait_in_order_for_a_peer_that_does_not_read() -> None:
    ours, theirs = handoff.make_pair()
    end = End(ours)
    count = 600
    pairs = []
    for n in range(count):
        keep, passed = socket.socketpair()
        pairs.append((keep, passed))
        keep.sendall(str(n).encode())
        end.wire.send(handoff.Shed(n), passed)
    assert end.wire._open
    other = End(theirs)
    await until(lambda: len(other.packets) == count)
    for n, (packet, fds) in enumerate(other.packets):
        assert handoff.decode_to_worker(packet) == handoff.Shed(n)
        with socket.socket(fileno=fds[0]) as received:
            assert received.recv(10) == str(n).encode()
    for keep, passed in pairs:
        passed.close()
        assert keep.recv(1) == b""  # nobody else holds the other side
        keep.close()
    end.wire.close()
    await until(lambda: other.lost == 1)
    assert not other.wire._open


async def test_what_is_given_to_a_wire_stays_the_givers() -> None:
    ours, theirs = handoff.make_pair()
    end = End(ours)
    theirs.close()
    await until(lambda: end.lost == 1)
    keep, passed = socket.socketpair()
    end.wire.send(handoff.Handed(CONNECTION), passed)
    assert end.lost == 1
    passed.sendall(b"x")
    assert keep.recv(1) == b"x"
    for thing in (keep, passed):
        thing.close()


async def test_descriptors_received_are_not_inherited_by_children() -> None:
    ours, theirs = handoff.make_pair()
    end, other = End(ours), End(theirs)
    keep, passed = socket.socketpair()
    end.wire.send(handoff.Handed(CONNECTION), passed)
    await until(lambda: len(other.packets) == 1)
    fd = other.packets[0][1][0]
    assert not os.get_inheritable(fd)
    os.close(fd)
    for thing in (keep, passed, end.wire, other.wire):
        thing.close()
