"""Servers that accept connections and never say a word, or stop in the middle of one."""

import contextlib
import socket

from support.tcp_proxy import Acceptor, TcpProxy


class BlackHole(Acceptor):
    """Whatever comes in is kept open and never answered."""

    @property
    def connections(self) -> int:
        """How many have come."""
        return len(self._kept)

    def accepted(self, client: socket.socket) -> None:
        """Keep it."""
        self._kept.append(client)


class HalfAnswers(TcpProxy):
    """Hands everything on to a server on loopback, but of its answers only the first so many octets of each connection.

    Args:
        port: of the server.
        octets: may be changed, for connections that come.
    """

    def __init__(self, port: int, octets: int) -> None:
        super().__init__(port)
        self.octets = octets

    def ask(self, client: socket.socket, server: socket.socket) -> None:
        self._hand_on(client, server, 1 << 30)

    def answer(self, server: socket.socket, client: socket.socket) -> None:
        self._hand_on(server, client, self.octets)

    def _hand_on(self, source: socket.socket, target: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):
            while left and (octets := source.recv(min(4096, left))):
                target.sendall(octets)
                left -= len(octets)


class EverySecondSilent(HalfAnswers):
    """Hands everything on for the first connection, the third and so on; hears nothing from the server on the others."""

    def __init__(self, port: int) -> None:
        super().__init__(port, 0)

    def accepted(self, client: socket.socket) -> None:
        self.octets = 0 if self.octets else 1 << 30
        super().accepted(client)
