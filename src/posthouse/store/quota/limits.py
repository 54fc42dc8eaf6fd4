"""Limits of an owner: what XQUOTA says, what is saved, and what that means (lmtp 2, message-store 4).

    xquota = [ bytes ] "," [ messages ] | bytes
    bytes  = number [ K | M | G ]      number = -2 | -1 | 0 | 1 ...

`-1` unlimited, `-2` the store's default, `0` nothing at all; an empty half leaves what is saved as it is.
What is beyond 2^63 - 1, the largest that IMAP servers read, is that number. Anything else is refused.
"""

import functools
import re
from typing import NamedTuple

DEFAULT = -2
_BYTES = re.compile(r"(-[12]|[0-9]{1,40})([kKmMgG]?)")
_MESSAGES = re.compile(r"-[12]|[0-9]{1,40}")
_UNIT = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_LARGEST = (1 << 63) - 1


class Limits(NamedTuple):
    """Bytes and number of messages; negative is unlimited (or, while saved, -2 the default)."""

    bytes: int
    messages: int

    def resolved(self, defaults: "Limits") -> "Limits":
        """With -2 replaced by the store's defaults."""
        if DEFAULT not in self:
            return self
        return Limits(
            defaults.bytes if self.bytes == DEFAULT else self.bytes,
            defaults.messages if self.messages == DEFAULT else self.messages,
        )


class GivenLimits(NamedTuple):
    """What one XQUOTA parameter says; None leaves that half as it is."""

    bytes: int | None
    messages: int | None

    def over(self, saved: Limits) -> Limits:
        """The saved limits with these put over them."""
        octets = saved.bytes if self.bytes is None else self.bytes
        messages = saved.messages if self.messages is None else self.messages
        return saved if octets == saved.bytes and messages == saved.messages else Limits(octets, messages)


@functools.lru_cache(maxsize=1024)
def parse_limits(text: str) -> GivenLimits:
    """The limits in the value of an XQUOTA parameter.

    Raises:
        ValueError: it is not one.
    """
    first, _, second = text.partition(",")
    octets = _BYTES.fullmatch(first) if first else None
    messages = _MESSAGES.fullmatch(second) if second else None
    if (first and not octets) or (second and not messages):
        raise ValueError(f"not a quota: {text[:60]!r} is not octets[K|M|G],messages")
    return GivenLimits(
        min(int(octets[1]) * (_UNIT[octets[2].upper()] if octets[1][0] != "-" else 1), _LARGEST) if octets else None,
        min(int(messages[0]), _LARGEST) if messages else None,
    )
