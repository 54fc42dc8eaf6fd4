"""Listeners on a free loopback port, and a proxy before a server on loopback: what they do with connections is a subclass's."""

import contextlib
import socket
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Acceptor(ABC):
    """Accepts connections; all that are kept are closed at the end."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for kept in self._kept:
            with contextlib.suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)
            kept.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted(client)

    @abstractmethod
    def accepted(self, client: socket.socket) -> None:
        """One has come."""


class TcpProxy(Acceptor):
    """Makes a connection to the server for each that comes.

    Args:
        server: the port behind it.
    """

    def __init__(self, server: int) -> None:
        super().__init__()
        self._server = server

    def accepted(self, client: socket.socket) -> None:
        """Both ways are handed on, each in a thread."""
        server = socket.create_connection(("127.0.0.1", self._server))
        self._kept += [client, server]
        threading.Thread(target=self.ask, args=(client, server), daemon=True).start()
        threading.Thread(target=self.answer, args=(server, client), daemon=True).start()

    @abstractmethod
    def ask(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what the client says, in a thread of its own."""

    def answer(self, server: socket.socket, client: socket.socket) -> None:
        """Hand on what the server says, in a thread of its own."""
        with contextlib.suppress(OSError):
            while octets := server.recv(65_536):
                client.sendall(octets)
            client.shutdown(socket.SHUT_RDWR)
