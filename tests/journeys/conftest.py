"""Fixtures of the job journeys: a sink, and relays that are stopped cleanly at the end."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.jobs_relay import JobsRelay, Start
from support.lmtp_sink import Sink


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = await Sink().start()
    yield sink
    await sink.stop()


@pytest.fixture
async def start(tmp_path: Path, sink: Sink) -> AsyncIterator[Start]:
    relays: list[JobsRelay] = []

    async def make(**options: Any) -> JobsRelay:
        relay = await JobsRelay(tmp_path / "relay", sink.port, **options).start()
        relays.append(relay)
        return relay

    yield make
    for relay in relays:
        await relay.close()
