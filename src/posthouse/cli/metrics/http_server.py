"""GET /metrics on a loopback address, one scrape after another; each client has a few seconds to ask and to take the answer."""

import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, socket
from time import monotonic

from posthouse.cli.metrics.text_format import CONTENT_TYPE

PATIENCE = 5.0
"""seconds for a request, and for its answer"""
_LONGEST = 1 << 17
"""octets of a request"""


class BadAddressError(ValueError):
    """It is no HOST:PORT of the loopback interface."""


def loopback(text: str) -> tuple[str, int]:
    """Address and port of `PORT`, `HOST:PORT` or `[HOST]:PORT`.

    Raises:
        BadAddressError: it is none, or of another interface: there is no password and no TLS.
    """
    host, _, port = text.rpartition(":")
    host = {"": "127.0.0.1", "localhost": "127.0.0.1"}.get(host, host.removeprefix("[").removesuffix("]"))
    try:
        address, number = ip_address(host), int(port)
    except ValueError:
        raise BadAddressError("write PORT, 127.0.0.1:PORT or [::1]:PORT") from None
    if not address.is_loopback:
        raise BadAddressError("there is neither password nor TLS, so only a loopback address is served; let a proxy do the rest")
    if not 0 <= number < 65536:
        raise BadAddressError("a port is a number up to 65535")
    return str(address), number


class MetricsServer(HTTPServer):
    """Serves what `text` returns.

    Args:
        address: where, port 0 for any.
        text: makes the page anew for each request.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, address: tuple[str, int], text: Callable[[], str]) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        self.text = text
        super().__init__(address, _Handler)

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is nothing to tell."""
        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError)):
            sys.stderr.write(f"posthouse metrics: a scrape was not answered: {error!r}\n")

    @property
    def url(self) -> str:
        """What to scrape."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://[{name}]:{port}/metrics" if ":" in name else f"http://{name}:{port}/metrics"


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer

    def setup(self) -> None:
        """Read the request, whole."""
        super().setup()
        self.rfile.close()
        self.rfile = BytesIO(_request(self.connection))
        self.connection.settimeout(PATIENCE)

    def do_GET(self) -> None:
        """One scrape."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        page = self.server.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """A scrape every few seconds is nothing to tell."""


def _request(connection: socket) -> bytes:
    """The lines of a request, ended or too long.

    Raises:
        ConnectionError: the client hangs up.
        TimeoutError: it does not end them in time.
    """
    until, octets = monotonic() + PATIENCE, bytearray()
    while b"\n\r\n" not in octets and b"\n\n" not in octets and len(octets) < _LONGEST:
        if (left := until - monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left)
        if not (more := connection.recv(_LONGEST)):
            raise ConnectionAbortedError
        octets += more
    return bytes(octets)
