"""What is remembered about an owner's quota, as 96 octets overwritten in place (the content of `.lmtp-lock`).

    PHQ1 <bytes> <messages> <over since, ms> <counted, ms> <crc32 of what stands before it, hex>, blanks, line end

`0` stands for "not over". Octets that are not exactly that read as nothing remembered: the store's defaults.
One write of one short line: a crash leaves the old or the new one, or nothing.
"""

import zlib
from typing import NamedTuple

from posthouse.store.quota.limits import DEFAULT, Limits

LENGTH = 96


class SavedQuota(NamedTuple):
    """Limits as the relay last gave them (-2: default), since when the owner is over, when the mailbox was last counted."""

    limits: Limits = Limits(DEFAULT, DEFAULT)
    over_since: float | None = None
    counted: float = 0.0

    def encode(self) -> bytes:
        """The 96 octets."""
        over = 0 if self.over_since is None else max(1, round(self.over_since * 1000))
        text = b"PHQ1 %d %d %d %d " % (*self.limits, over, round(self.counted * 1000))
        return (text + b"%08x" % zlib.crc32(text)).ljust(LENGTH - 1) + b"\n"


NOTHING_SAVED = SavedQuota()


def decode_saved(octets: bytes) -> SavedQuota:
    """What the octets remember."""
    fields = octets.split()
    if len(octets) != LENGTH or len(fields) != 6 or fields[0] != b"PHQ1":
        return NOTHING_SAVED
    text = octets[: octets.rindex(fields[5])]
    if b"%08x" % zlib.crc32(text) != fields[5]:
        return NOTHING_SAVED
    octet_limit, messages, over, counted = (int(field) for field in fields[1:5])
    return SavedQuota(Limits(octet_limit, messages), over / 1000 if over else None, counted / 1000)
