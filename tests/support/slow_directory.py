"""A directory under load: stands before an LDAP server and takes its time for each search, so many at once.

    with SlowDirectory(server.port, seconds=0.3, threads=1) as slow:
        slow.uri, slow.searches, slow.seconds = 0.01

Searches wait in one queue, as in a server with that many threads. One that is abandoned before its turn is dropped, as in slapd.
Everything else, and every answer, is handed on at once.
"""

import contextlib
import queue
import socket
import threading
from types import TracebackType
from typing import Self

from support.ldap_messages import requests
from support.tcp_proxy import TcpProxy

_SEARCH, _ABANDON = 0x63, 0x50


class SlowDirectory(TcpProxy):
    """Listens on a free loopback port.

    Args:
        port: of the server on loopback.
        seconds: one search takes; may be changed.
        threads: searches at once.
    """

    def __init__(self, port: int, *, seconds: float, threads: int = 1) -> None:
        self.seconds = seconds
        self.searches = 0
        """that had their turn"""
        super().__init__(port)
        self.uri = f"ldap://127.0.0.1:{self.port}"
        self._ended = threading.Event()
        self._queue: queue.Queue[tuple[socket.socket, int, bytes]] = queue.Queue()
        self._dropped: set[tuple[socket.socket, int]] = set()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        super().__exit__(kind, problem, trace)
        for thread in self._threads:
            thread.join(5)

    def ask(self, client: socket.socket, server: socket.socket) -> None:
        """Take requests apart (RFC 4511 4.1.1): searches wait for their turn."""
        with contextlib.suppress(OSError):
            for message, number, kind, content in requests(client):
                if kind == _SEARCH:
                    self._queue.put((server, number, message))
                    continue
                if kind == _ABANDON:
                    self._dropped.add((server, int.from_bytes(content, "big")))
                server.sendall(message)
            server.shutdown(socket.SHUT_WR)

    def _serve(self) -> None:
        """One thread of the server."""
        while not self._ended.is_set():
            try:
                server, number, message = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            if (server, number) in self._dropped:
                continue
            self._ended.wait(self.seconds)
            self.searches += 1
            with contextlib.suppress(OSError):
                server.sendall(message)
