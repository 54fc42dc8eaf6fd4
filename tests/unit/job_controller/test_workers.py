"""A job controller is told to end while a channel worker starts: it waits for that worker's end, not for its own patience."""

import asyncio
from pathlib import Path

import pytest

from posthouse.config.configuration import load
from posthouse.config.instance import Instance
from posthouse.journal.disk import LinuxDisk
from posthouse.relay.job_controller.controller import OrdersOnly, open_places
from posthouse.relay.queue.places import Places
from support.jobs_relay import JobsRelay


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_while_a_worker_starts(tmp_path: Path, turns: int) -> None:
    configuration = load(Instance(JobsRelay(tmp_path, port=9).root))
    controller = OrdersOnly(configuration, open_places(configuration, Places, LinuxDisk()), ())
    await controller.start()
    assert controller.worker("SMTP_POOL") is None, "it is being started"
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await controller.drain()
    await asyncio.sleep(0)
    assert controller.worker("SMTP_POOL") is None
    assert controller._workers.rows() == []
