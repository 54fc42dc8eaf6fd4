r"""Dot-stuffing for the sending side (RFC 5321 4.5.2), over whole blocks.

A dot that follows CRLF, or begins the body, is doubled. Only CRLF ends a line here: a body with other line ends is not ours to
send (LMTP reference 5). What follows the body is CRLF where its last line has none, and `.CRLF`.
"""

_DOT = b"\r\n."
_TWO = b"\r\n.."
END = b".\r\n"


def stuff(data: bytes) -> bytes:
    """The body with its dots doubled, without the end."""
    if _DOT in data:
        data = data.replace(_DOT, _TWO)
    return b"." + data if data.startswith(b".") else data


def count_growth(data: bytes) -> int:
    """Octets that `stuff` adds."""
    return data.count(_DOT) + data.startswith(b".")


def on_wire(data: bytes) -> bytes:
    """The body as it is sent, its end included."""
    return stuff(data) + (END if not data or data.endswith(b"\r\n") else b"\r\n.\r\n")


def in_lines(data: bytes) -> bytes:
    """The body as BDAT sends it (RFC 3030 2): nothing is doubled, and its last line ends."""
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def wire_size(size: int, growth: int) -> int:
    """A size to announce for SIZE: never below the octets sent before the end (LMTP reference 4).

    Args:
        size: octets of the body.
        growth: what `count_growth` says of it.
    """
    return size + growth + 2


class Stuffer:
    """Stuffs a body that comes in blocks cut anywhere."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, block: bytes) -> bytes:
        """The block as it is sent."""
        if not block:
            return block
        tail = self._tail
        self._tail = block[-2:] if len(block) > 1 else (tail + block)[-2:]
        if _DOT in block or (block[0] in b".\n" and _DOT in tail + block[:2]):
            return (tail + block).replace(_DOT, _TWO)[len(tail) :]
        return block

    def finish(self) -> bytes:
        """What ends the body."""
        return END if self._tail == b"\r\n" else b"\r\n.\r\n"
