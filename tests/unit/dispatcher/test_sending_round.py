"""Sending after the round: in order, once, and at once where there is one peer only."""

import asyncio

from posthouse.dispatcher.sending_round import SendingRound


class _Wire(asyncio.WriteTransport):
    """Notes what is written, with that of others."""

    def __init__(self, written: list[bytes]) -> None:
        super().__init__()
        self.written = written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def test_what_is_said_in_a_round_goes_out_behind_it_in_order() -> None:
    async def body() -> None:
        written: list[bytes] = []
        sending = SendingRound(asyncio.get_running_loop(), {1, 2})
        for octets in (b"a", b"b"):
            sending.send(_Wire(written), octets)
        assert not written
        await asyncio.sleep(0)
        assert written == [b"a", b"b"]

    asyncio.run(body())


def test_an_only_peer_hears_at_once() -> None:
    async def body() -> None:
        written: list[bytes] = []
        peers = {1}
        sending = SendingRound(asyncio.get_running_loop(), peers)
        sending.send(_Wire(written), b"a")
        assert written == [b"a"]
        peers.add(2)
        sending.send(_Wire(written), b"b")
        assert written == [b"a"]

    asyncio.run(body())


def test_what_is_held_goes_out_with_the_holders_word() -> None:
    async def body() -> None:
        written: list[bytes] = []
        sending = SendingRound(asyncio.get_running_loop(), {1})
        sending.hold()
        sending.send(_Wire(written), b"a")
        await asyncio.sleep(0)
        assert not written
        sending.send_all()
        assert written == [b"a"]

    asyncio.run(body())
