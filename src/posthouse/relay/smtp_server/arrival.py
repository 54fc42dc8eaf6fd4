"""How a message comes to a server inside a Python program (docs/library.md)."""

import time
from dataclasses import dataclass
from email.utils import formatdate

import posthouse
from posthouse.relay.smtp_server.received import Hop, received_line


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message comes in."""

    id: str
    """ours, never the same twice"""
    host: str
    """our name"""
    address: str
    """the client's IP address, empty over a Unix socket"""
    port: int
    helo: str
    """what the client calls itself; octets that are no ASCII are replaced"""
    protocol: str
    """SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, or UTF8SMTP with the same ends (RFC 3848, RFC 6531 4.3)"""
    user: str = ""
    """who has logged in, by the name given there; empty when nobody has"""

    def received(self, recipient: str = "") -> bytes:
        """The trace field to put in front of the message (RFC 5321 4.4), with LF line ends.

        Args:
            recipient: shown after `for`; give it only where the message has no other.
        """
        hop = Hop(self.helo, self.address, self.host, self.protocol, f"Posthouse {posthouse.__version__}")
        return received_line(hop, self.id, recipient, formatdate(time.time(), localtime=True)).replace(b"\r\n", b"\n")
