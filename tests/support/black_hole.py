"""Servers that accept connections and never say a word, or stop in the middle of one."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from support.tcp_proxy import TcpProxy


class BlackHole:
    """Listens on a free loopback port; whatever comes in is kept open and never answered."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def connections(self) -> int:
        """How many have come."""
        return len(self._kept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for kept in self._kept:
            kept.close()

    def _accept(self) -> None:
        while True:
            try:
                kept, _ = self._listener.accept()
            except OSError:
                return
            self._kept.append(kept)


class HalfAnswers(TcpProxy):
    """Hands everything on to a server on loopback, but of its answers only the first so many octets of each connection."""

    def __init__(self, port: int, octets: int) -> None:
        super().__init__(port)
        self._octets = octets

    def ask(self, client: socket.socket, server: socket.socket) -> None:
        self._hand_on(client, server, 1 << 30)

    def answer(self, server: socket.socket, client: socket.socket) -> None:
        self._hand_on(server, client, self._octets)

    def _hand_on(self, source: socket.socket, target: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):
            while left and (octets := source.recv(min(4096, left))):
                target.sendall(octets)
                left -= len(octets)
