"""The handshake of STARTTLS on a connection that a worker serves.

uvloop calls `connection_lost` of a protocol for some handshakes that fail and not for others: whoever calls `accept_tls` has to
take it twice.
"""

import asyncio
import ssl

HANDSHAKE_SECONDS = 60.0


async def accept_tls(
    transport: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext
) -> asyncio.Transport | str:
    """The transport under TLS, or why there is none: then the plain one is cut."""
    loop = asyncio.get_running_loop()
    try:
        secured = await loop.start_tls(
            transport, protocol, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
    except (OSError, EOFError) as error:  # ssl.SSLError is an OSError
        transport.abort()
        return str(error) or type(error).__name__
    if secured is None or secured.is_closing():
        transport.abort()
        return "connection closed within the handshake"
    return secured
