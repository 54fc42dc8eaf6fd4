"""Opening a connection whose protocol hears of its end whatever becomes of the opening.

uvloop says nothing more to a protocol whose connection was just made when the opening was called off, by a deadline or a reload:
its host would count it for ever.
"""

import asyncio


async def connect(
    loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, address: str, port: int, source: tuple[str, int] | None = None
) -> None:
    """Open a connection.

    Args:
        loop: the running loop.
        protocol: whose it is; it bears `connection_lost` twice, and without `connection_made`.
        address: of the server.
        port: of the server.
        source: our own address and port.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        await loop.create_connection(lambda: protocol, address, port, local_addr=source)
    except asyncio.CancelledError:
        protocol.connection_lost(None)
        raise
