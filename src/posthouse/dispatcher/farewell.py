"""Refusing a connection so that the client can read why.

The text goes out, our side is shut down, and what the client still sends is read and thrown away until it closes or
`LINGER_SECONDS` have passed: closing a socket with unread data would send a reset, which destroys the text on its way.
"""

import asyncio
import contextlib
import socket

LINGER_SECONDS = 3.0
_MAX_LINGERING = 512


class Farewells:
    """The connections that were refused and are not closed yet; beyond 512 the oldest is cut short."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lingering: dict[socket.socket, asyncio.TimerHandle] = {}

    def say(self, sock: socket.socket, text: str) -> None:
        """Send the text and CRLF (nothing when it is empty), then close. Takes the socket over; it does not block."""
        sock.setblocking(False)
        try:
            if text:
                sock.send(text.encode("utf-8", "surrogateescape") + b"\r\n")
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()
            return
        if len(self._lingering) >= _MAX_LINGERING:
            self._end(next(iter(self._lingering)))
        self._lingering[sock] = self._loop.call_later(LINGER_SECONDS, self._end, sock)
        self._loop.add_reader(sock.fileno(), self._readable, sock)

    def close(self) -> None:
        """Close what still lingers."""
        for sock in list(self._lingering):
            self._end(sock)

    def _readable(self, sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            try:
                if sock.recv(65536):
                    return
            except ConnectionError:
                pass
            self._end(sock)

    def _end(self, sock: socket.socket) -> None:
        timer = self._lingering.pop(sock, None)
        if timer is not None:
            timer.cancel()
            self._loop.remove_reader(sock.fileno())
            sock.close()
