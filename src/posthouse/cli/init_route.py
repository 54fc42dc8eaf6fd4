"""`--route DOMAIN=HOST:PORT` of `posthouse init relay`: a rewrite rule and an SMTP channel to that host, whatever the DNS says.

    DOMAIN   a domain; `.DOMAIN` for every name below it; `.` for all that has no rule of its own
    HOST     a name or an IP address, IPv6 in brackets

The channels are named tcp_route1, tcp_route2, ...; strangers may not send through them (ORIG_SEND_ACCESS).
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"(?!-)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Route:
    """One of them."""

    domain: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Route":
        """Take `DOMAIN=HOST:PORT` apart.

        Raises:
            ValueError: it is none; the message says why.
        """
        domain, equals, target = text.partition("=")
        host, colon, port = target.rpartition(":")
        if not equals or not colon:
            raise ValueError("give DOMAIN=HOST:PORT, e.g. example.org=gateway.example.org:25")
        if domain != "." and not _NAME.fullmatch(domain.removeprefix(".")):
            raise ValueError(f"{domain!r} is no domain")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("a port is a number from 1 to 65535")
        bare = host.removeprefix("[").removesuffix("]")
        try:
            host = str(ipaddress.ip_address(bare))
        except ValueError:
            if bare != host or not _NAME.fullmatch(host):
                raise ValueError(f"{host!r} is no host") from None
        return cls(domain.lower(), host.lower(), int(port))

    def rule(self, number: int) -> str:
        """The line among the rewrite rules."""
        if not self.domain.startswith("."):
            return f"{self.domain}  $U%{self.domain}@tcp_route{number}-daemon"
        return f"{self.domain}  $U%$H{'$D' if self.domain != '.' else ''}@tcp_route{number}-daemon"

    def channel(self, number: int) -> str:
        """The channel block and the blank line behind it."""
        return (
            f"! tcp_route{number}: mail for {self.domain} goes to {self.host}\n"
            f"tcp_route{number} smtp daemon {self.host} port {self.port} nodns subdirs 20 maxjobs 7 pool SMTP_POOL\n"
            f"tcp_route{number}-daemon\n\n"
        )


def route_words(routes: Sequence[Route]) -> dict[str, str]:
    """What the template of imta.cnf has for them."""
    rules = "".join(f"{route.rule(number)}\n" for number, route in enumerate(routes, 1))
    return {
        "route_rules": f"! Routes: hosts that are known without the DNS\n{rules}!\n" if routes else "",
        "route_channels": "".join(route.channel(number) for number, route in enumerate(routes, 1)),
    }
