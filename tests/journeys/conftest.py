"""Fixtures of the journeys: a sink, relays that are stopped cleanly at the end, and a folder every user may look into."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.jobs_relay import JobsRelay, Start
from support.lmtp_sink import Sink
from support.smtp_out import StartOut, set_channel
from support.smtp_sink import SmtpSink


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Not below pytest's own folder, which is for its user only and is closed again by every other run on the machine."""
    folder = Path(tempfile.mkdtemp(prefix="posthouse-journey-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


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


@pytest.fixture
async def world() -> AsyncIterator[SmtpSink]:
    """A server of the world."""
    sink = await SmtpSink().start()
    yield sink
    await sink.stop()


@pytest.fixture
async def out(tmp_path: Path, world: SmtpSink) -> AsyncIterator[StartOut]:
    """A relay whose channel tcp_local goes to the world's port."""
    relays: list[JobsRelay] = []

    async def start(
        keywords: str = "nomx", option: str = "", options: str = "", hosts: str = "127.0.0.1 remote.test\n", **more: Any
    ) -> JobsRelay:
        relay = JobsRelay(tmp_path / "relay", 1, hosts=hosts, **more)
        set_channel(relay.root, f"{keywords} port {world.port}", option, options)
        relays.append(relay)
        return await relay.start()

    yield start
    for relay in relays:
        await relay.close()
