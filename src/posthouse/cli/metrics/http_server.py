"""GET /metrics on a loopback address, one scrape after another; a client that says nothing is waited for a few seconds."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from socket import AF_INET, AF_INET6

from posthouse.cli.metrics.text_format import CONTENT_TYPE

_SILENCE = 5.0


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

    @property
    def url(self) -> str:
        """What to scrape."""
        host, port = self.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://[{name}]:{port}/metrics" if ":" in name else f"http://{name}:{port}/metrics"


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = _SILENCE

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
