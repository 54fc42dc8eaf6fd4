"""Batches for the journal: complete when nobody is under way, never late for a client that says nothing."""

import asyncio

from posthouse.relay.smtp_server.gather import LONGEST, SKIPS, Gather


class Batches:
    """Counts what is sent."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.times: list[float] = []
        self.gather = Gather(asyncio.get_running_loop(), self._send)
        self._whole = 0

    def begin(self, count: int) -> None:
        self.gather.coming += count

    def arrive(self, count: int = 1) -> None:
        for _ in range(count):
            self.gather.coming -= 1
            self._whole += 1
            self.gather.arrived()

    def _send(self) -> None:
        self.sizes.append(self._whole)
        self.times.append(asyncio.get_running_loop().time())
        self._whole = 0


async def test_one_alone_goes_at_the_end_of_the_turn() -> None:
    batches = Batches()
    batches.begin(1)
    batches.arrive()
    assert batches.sizes == []
    await asyncio.sleep(0)
    assert batches.sizes == [1]


async def test_all_that_are_under_way_go_together() -> None:
    batches = Batches()
    batches.begin(3)
    batches.arrive(2)
    await asyncio.sleep(0)
    assert batches.sizes == []
    batches.arrive()
    await asyncio.sleep(0)
    assert batches.sizes == [3]


async def test_a_silent_client_holds_up_one_batch_and_not_the_next_ones() -> None:
    batches = Batches()
    began = asyncio.get_running_loop().time()
    batches.begin(2)
    batches.arrive()
    async with asyncio.timeout(1):
        while not batches.sizes:
            await asyncio.sleep(LONGEST / 20)
    assert batches.sizes == [1]
    assert batches.times[0] - began < 1
    for number in range(SKIPS - 1):
        batches.begin(1)
        batches.arrive()
        await asyncio.sleep(0)
        assert len(batches.sizes) == number + 2
    batches.begin(1)
    batches.arrive()
    await asyncio.sleep(0)
    assert len(batches.sizes) == SKIPS  # now one waits again


async def test_nothing_is_sent_twice() -> None:
    batches = Batches()
    batches.begin(3)
    batches.arrive(3)
    await asyncio.sleep(LONGEST * 2)
    assert batches.sizes == [3]
