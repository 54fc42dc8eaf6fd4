"""The message a script looks at: header fields on demand, size, body (RFC 5228 2.4.2, 5.9).

    Message(octets, size)     the header and as much of the body as the caller holds; size is the whole message's
    Envelope(sender, ...)     what MAIL and RCPT said

A field is found by its name in any case, blanks before the colon allowed. What was decoded once is kept.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from posthouse.relay.filtering.header_text import header_text, unfolded

_HEADER_END = re.compile(rb"(?:\A|\n)\r?\n")
_COLON = re.compile(rb"[ \t]*:")
_FIELD_END = re.compile(rb"\n(?![ \t])|\Z")
_SEEN = 256
"""octets of the header that are looked through in one unit of work"""


@dataclass(slots=True, frozen=True)
class Envelope:
    """Who sends to whom."""

    sender: str
    """empty for the null sender"""
    recipient: str
    """as given at RCPT TO, before any expansion"""
    auth: str = ""
    """who has authenticated, or empty"""


def header_end(octets: bytes) -> int:
    """Offset behind the empty line that ends the header; the length when there is none."""
    if octets.startswith(b"\r\n"):
        return 2
    end = octets.find(b"\r\n\r\n")
    if end >= 0:
        return end + 4
    match = _HEADER_END.search(octets)
    return match.end() if match else len(octets)


@dataclass
class Message:
    """One message.

    Args:
        octets: from its first field on; a long body may be cut off.
        size: octets of the whole message, CRLF counted.
        end: where the header ends, when the caller knows.
    """

    octets: bytes
    size: int
    end: int = -1
    _found: dict[str, list[bytes]] = field(default_factory=dict)
    _texts: dict[str, list[str]] = field(default_factory=dict)
    _raws: dict[str, list[str]] = field(default_factory=dict)
    _lower: bytes = b""
    """the header in lower case, each field behind a line end; empty until it is asked for"""

    def __post_init__(self) -> None:
        if self.end < 0:
            self.end = header_end(self.octets)
        self._pass = 1 + self.end // _SEEN

    def values(self, name: str) -> list[bytes]:
        """The octets of every field with this name, in lower case, in their order."""
        known = self._found.get(name)
        if known is None:
            known = self._found[name] = self._look_for(name)
        return known

    def _look_for(self, name: str) -> list[bytes]:
        if not self._lower:
            self._lower = b"\n" + self.octets[: self.end].lower()
        lower, found = self._lower, []
        wanted = b"\n" + name.encode("utf-8", "surrogateescape")
        at = lower.find(wanted)
        while at >= 0:
            colon, end = _COLON.match(lower, at + len(wanted)), at + 1
            if colon is not None:
                begin = colon.end()
                end = _FIELD_END.search(lower, begin).start()  # type: ignore[union-attr] # the text's end is one
                found.append(self.octets[begin - 1 : end - 1])
            at = lower.find(wanted, end)
        return found

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return bool(self.values(name))

    def texts(self, name: str) -> list[str]:
        """The decoded values of a field, by its name in lower case."""
        known = self._texts.get(name)
        if known is None:
            raws = self.values(name)
            known = self._texts[name] = [header_text(raw) for raw in raws] if raws else []
        return known

    def raws(self, name: str) -> list[str]:
        """The values as they stand, only unfolded: for addresses and dates."""
        known = self._raws.get(name)
        if known is None:
            known = self._raws[name] = [unfolded(raw).decode("utf-8", "replace") for raw in self.values(name)]
        return known

    def seeking(self, names: Sequence[str]) -> int:
        """Units of work that finding the fields with these names is: the header is looked through once for each."""
        known, units = self._found, 0
        for name in names:
            units += 1 if name in known else self._pass
        return units

    @property
    def has_body(self) -> bool:
        """Whether anything stands behind the header and its empty line: without, no test of the body is true (RFC 5173 3)."""
        return self.end < len(self.octets)

    @property
    def body(self) -> bytes:
        """What is behind the header, as far as it is held."""
        return self.octets[self.end :]
