"""One listening socket of a service: bound early (ports below 1024 need root), opened when the service can serve.

Without INTERFACE_ADDRESS a port listens on all addresses, IPv6 and IPv4 alike by one dual-stack socket; where the kernel
has no IPv6, on IPv4. Accepted sockets inherit TCP_NODELAY and keep-alive from it. Accepting can be switched off and on;
meanwhile clients wait in the kernel's backlog.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable

_BATCH = 16
_PAUSE_SECONDS = 0.2


class ListenError(Exception):
    """The port cannot be had."""


class Listener:
    """A bound port.

    Args:
        port: 0 lets the kernel choose; `port` then tells which.
        address: to bind, "" = all.
        tls: whether TLS begins with the first byte.
        backlog: depth of the kernel's queue.

    Raises:
        ListenError: address in use, no permission, no such address; its text names address and port.
    """

    def __init__(self, port: int, address: str, *, tls: bool, backlog: int) -> None:
        self.tls = tls
        self.address = address
        self._backlog = backlog
        self._sock = _bind(port, address)
        self.port: int = self._sock.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepted: Callable[[socket.socket, tuple[str, int]], None] | None = None
        self._wanted = False
        self._on = False
        self._closed = False
        self._pause: asyncio.TimerHandle | None = None

    def open(self, loop: asyncio.AbstractEventLoop, accepted: Callable[[socket.socket, tuple[str, int]], None]) -> None:
        """Listen and call `accepted` with each connection (not blocking) and its peer's address and port."""
        self._loop, self._accepted = loop, accepted
        self._sock.listen(self._backlog)
        self.switch(on=True)

    def switch(self, *, on: bool) -> None:
        """Accept connections, or let them wait in the kernel's queue. A closed listener stays closed."""
        self._wanted = on
        if self._pause is None:
            self._apply(on=on)

    def _apply(self, *, on: bool) -> None:
        if self._loop is None or self._closed or on == self._on:
            return
        self._on = on
        if on:
            self._loop.add_reader(self._sock.fileno(), self._readable)
        else:
            self._loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """Stop listening: clients that wait in the kernel's queue are reset, new ones refused."""
        self._apply(on=False)
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._sock.close()

    def _readable(self) -> None:
        assert self._accepted is not None
        for _ in range(_BATCH):
            if not self._on:
                return
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._rest()  # the kernel would report the same connection for ever
                return
            sock.setblocking(False)
            self._accepted(sock, (peer[0], peer[1]))

    def _rest(self) -> None:
        assert self._loop is not None
        self._apply(on=False)
        self._pause = self._loop.call_later(_PAUSE_SECONDS, self._rested)

    def _rested(self) -> None:
        self._pause = None
        self._apply(on=self._wanted)


def _bind(port: int, address: str) -> socket.socket:
    families = [socket.AF_INET6, socket.AF_INET]
    if address:
        families = [socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET]
    for family in families:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # a kernel without IPv6
            continue
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if address else 0)
            sock.setblocking(False)
            sock.bind((address, port))
            return sock
        except OSError as error:
            sock.close()
            if family == socket.AF_INET6 and not address and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                continue
            raise ListenError(f"cannot listen on {address or 'all addresses'}, port {port}: {error.strerror}") from error
    raise ListenError(f"cannot listen on {address or 'all addresses'}, port {port}: no address family")
