"""LDAP's messages on a socket, taken apart as far as a directory in between needs it (RFC 4511 4.1.1, X.690)."""

import socket
from collections.abc import Iterator


def requests(client: socket.socket) -> Iterator[tuple[bytes, int, int, bytes]]:
    """Every request that comes, until the client hangs up: itself, its number, kind and content.

    Raises:
        OSError: the connection is broken.
    """
    held = b""
    while octets := client.recv(65_536):
        held += octets
        while (length := length_of(held)) and len(held) >= length:
            message, held = held[:length], held[length:]
            yield message, *parts_of(message)


def length_of(octets: bytes) -> int:
    """Octets of the BER element that begins here; 0 when not enough is there to say."""
    if len(octets) < 2:
        return 0
    if octets[1] < 0x80:
        return 2 + octets[1]
    size = octets[1] & 0x7F
    return 2 + size + int.from_bytes(octets[2 : 2 + size], "big") if len(octets) >= 2 + size else 0


def _content(element: bytes) -> bytes:
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]


def parts_of(message: bytes) -> tuple[int, int, bytes]:
    """Number, kind and content of a request."""
    inner = _content(message)
    first = length_of(inner)
    return int.from_bytes(_content(inner[:first]), "big"), inner[first], _content(inner[first : first + length_of(inner[first:])])
