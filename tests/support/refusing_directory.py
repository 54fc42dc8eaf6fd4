"""A directory server that lets everybody in and refuses searches (RFC 4511 4.1.9): wrong rights, a proxy without its server.

with RefusingDirectory(server.port, code=50) as refusing:
    refusing.uri, refusing.refused, refusing.code = 0      # 0: it is well again

With `bind_code` it answers binds of users with it instead: neither yes nor no.
"""

import contextlib
import socket

from support.ldap_messages import requests
from support.tcp_proxy import TcpProxy

INSUFFICIENT_ACCESS, UNWILLING, OPERATIONS_ERROR, OTHER = 50, 53, 1, 80
_BIND, _SEARCH, _NO_BASE = 0x60, 0x63, b"\x04\x00"


class RefusingDirectory(TcpProxy):
    """Listens on a free loopback port.

    Args:
        port: of the server on loopback that does all else.
        code: what searches get; may be changed.
        root: whether the root DSE may be read.
    """

    def __init__(self, port: int, code: int, *, root: bool) -> None:
        super().__init__(port)
        self.uri = f"ldap://127.0.0.1:{self.port}"
        self.code, self.root = code, root
        self.refused = self.connections = self.bind_code = 0

    def ask(self, client: socket.socket, server: socket.socket) -> None:
        """Take requests apart: searches are refused."""
        self.connections += 1
        with contextlib.suppress(OSError):
            for message, number, kind, content in requests(client):
                if kind == _SEARCH and self.code and not (self.root and content.startswith(_NO_BASE)):
                    self.refused += 1
                    client.sendall(_refusal(number, _SEARCH, self.code))
                elif kind == _BIND and self.bind_code and b"uid=" in content:
                    client.sendall(_refusal(number, _BIND, self.bind_code))
                else:
                    server.sendall(message)
            server.shutdown(socket.SHUT_WR)


def _refusal(number: int, kind: int, code: int) -> bytes:
    """The last answer to a request, BindResponse or SearchResultDone: no name, no text."""
    done = bytes((0x0A, 1, code, 4, 0, 4, 0))
    inner = b"\x02\x04" + number.to_bytes(4, "big") + bytes((kind + (1 if kind == _BIND else 2), len(done))) + done
    return bytes((0x30, len(inner))) + inner
