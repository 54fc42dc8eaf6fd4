"""Killed in the midst of orders: each copy is held or waits, none is lost or delivered twice; the order can be given again."""

import asyncio
import os
import subprocess
import sys
from collections import Counter

import pytest

from posthouse.dispatcher import lock
from support.jobs_relay import JobsRelay, Start, until
from support.lmtp_sink import Sink

COPIES = 60


def begin(relay: JobsRelay, *words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "posthouse.cli", "queue", *words, "--instance", str(relay.root)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("whom", ["controller", "worker"])
async def test_orders_killed_anywhere_lose_and_repeat_nothing(start: Start, sink: Sink, whom: str) -> None:
    sink.script.final = lambda address, _: f"452 4.2.2 <{address}> over quota"
    relay = await start()
    supervisors = lock.take(relay.root / "data" / "lock")  # no command starts a controller of its own meanwhile
    numbers = {await relay.put(f"u{at}") for at in range(COPIES)}
    await relay.until_list(lambda copies: [copy["state"] for copy in copies] == ["file"] * COPIES, 30)
    for op, suffix in (("hold", ".HELD"), ("release", ".00")):
        order = begin(relay, op, "--all")
        await until(lambda suffix=suffix: any(name.endswith(suffix) for name in relay.files()))  # type: ignore[misc]
        await relay.strike(whom)
        order.wait(60)
        await relay.until_list(lambda copies: {copy["id"] for copy in copies} == numbers and len(copies) == COPIES, 30)
        again = begin(relay, op, "--all")
        assert again.wait(60) in {0, 75}
        wanted = {"held"} if op == "hold" else {"file"}
        await relay.until_list(lambda copies, wanted=wanted: {copy["state"] for copy in copies} == wanted, 30)  # type: ignore[misc]
    sink.script.final = lambda address, _: f"250 2.5.0 <{address}> OK"
    async with asyncio.timeout(30):
        while await relay.copies():  # one that is under way with the old reply is not hurried by a retry
            await relay.retry()
    await until(lambda: len(relay.records("D")) == COPIES)
    assert set(Counter(record["ei"] for record in relay.records("D")).values()) == {1}
    assert relay.files() == []
    os.close(supervisors)
