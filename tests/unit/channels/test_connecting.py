"""A connection that is called off while it is being opened."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from posthouse.relay.channels.connecting import connect


class Told(asyncio.Protocol):
    """Notes what it is told; the opening is called off as soon as there is a connection."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard.append("made")
        assert self.opening is not None
        self.opening.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_its_protocol_hears_of_the_end(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def call_off() -> list[str]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        told = Told()
        told.opening = loop.create_task(connect(loop, told, "127.0.0.1", server.sockets[0].getsockname()[1]))
        with pytest.raises(asyncio.CancelledError):
            await told.opening
        server.close()
        return told.heard

    with asyncio.Runner(loop_factory=new_loop) as runner:
        heard = runner.run(call_off())
    assert heard[0] == "made"
    assert "lost" in heard
