"""Address blocks in patterns: `$(net/bits)`, `$<address/ignored bits>`, `${net6/bits}` (mappings.md 2).

An address in the string runs as far as address characters go; IPv4 takes four decimal numbers up to 255,
with no digit or dot before them and no digit behind.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from posthouse.mapping.error import SyntaxFault

_FOUR = re.compile(r"(?<![\d.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?!\d)", re.ASCII)
_SIX = re.compile(r"[0-9a-f:.]{2,45}")


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses that agree with a network in the bits of a mask."""

    network: int
    mask: int
    six: bool
    saved: bool

    def end(self, text: str, at: int) -> int:
        """Where an address of the block that begins here ends, or -1. The text is folded."""
        match = (_SIX if self.six else _FOUR).match(text, at)
        if not match:
            return -1
        value = _six(match[0]) if self.six else _four(match)
        return match.end() if value >= 0 and value & self.mask == self.network else -1


def _four(match: re.Match[str]) -> int:
    one, two, three, four = map(int, match.groups())
    if one > 255 or two > 255 or three > 255 or four > 255:
        return -1
    return one << 24 | two << 16 | three << 8 | four


def _six(text: str) -> int:
    try:
        return int(IPv6Address(text))
    except AddressValueError:
        return -1


def block4(text: str, saved: bool, *, ignored: bool) -> Block:
    """`net/bits`, or with `ignored` `address/bits to ignore`; without bits the one address.

    Raises:
        SyntaxFault: it is neither.
    """
    address, slash, written = text.partition("/")
    bits = _bits(text, written, 32) if slash else (0 if ignored else 32)
    mask = (0xFFFFFFFF << (bits if ignored else 32 - bits)) & 0xFFFFFFFF
    try:
        return Block(int(IPv4Address(address.strip())) & mask, mask, six=False, saved=saved)
    except AddressValueError:
        raise SyntaxFault(f"{text!r} is no IPv4 block") from None


def block6(text: str, saved: bool) -> Block:
    """`net/bits` of IPv6; without bits the one address.

    Raises:
        SyntaxFault: it is none.
    """
    address, slash, written = text.partition("/")
    bits = _bits(text, written, 128) if slash else 128
    mask = ((1 << 128) - 1) ^ ((1 << (128 - bits)) - 1)
    try:
        return Block(int(IPv6Address(address.strip())) & mask, mask, six=True, saved=saved)
    except AddressValueError:
        raise SyntaxFault(f"{text!r} is no IPv6 block") from None


def _bits(text: str, written: str, most: int) -> int:
    if not (written.isascii() and written.isdecimal() and int(written[:4]) <= most):
        raise SyntaxFault(f"{text!r}: the number of bits is not 0 to {most}")
    return int(written)
