"""What is remembered about an owner's quota, as 128 octets overwritten in place (the content of `.lmtp-lock`).

    PHQ2 <bytes> <messages> <over since, ms> <counted, ms> <noticed, ms> <notice begun, ms>
         <crc32 of what stands before it, hex>, blanks, line end                          (one line)

`0` stands for "not over" and "never". Octets that are not exactly that read as nothing remembered: the store's defaults.
One write of one short line under the owner's lock: a killed process leaves the old or the new one, and the next process
reads it. After a power cut it may be some seconds old: a grace period then begins with the next message refused, limits
come with the next XQUOTA, and notices are synced in their own order (`store.delivery.quota_notices`).
"""

import zlib
from typing import NamedTuple

from posthouse.store.quota.limits import DEFAULT, Limits

LENGTH = 128
_FIELDS = 7
"""without the crc"""


class SavedQuota(NamedTuple):
    """Limits as the relay last gave them (-2: default), and times in Unix seconds."""

    limits: Limits = Limits(DEFAULT, DEFAULT)
    over_since: float | None = None
    """since when the owner is over"""
    counted: float = 0.0
    """when the mailbox was last counted"""
    noticed: float = 0.0
    """when the owner was last sent a quota notice"""
    notice_begun: float = 0.0
    """a notice was begun then, and it is not yet known that it is in the mailbox"""

    def encode(self) -> bytes:
        """The 128 octets."""
        over = 0 if self.over_since is None else max(1, round(self.over_since * 1000))
        times = (over, round(self.counted * 1000), round(self.noticed * 1000), round(self.notice_begun * 1000))
        text = b"PHQ2 %d %d %d %d %d %d " % (*self.limits, *times)
        return (text + b"%08x" % zlib.crc32(text)).ljust(LENGTH - 1) + b"\n"


NOTHING_SAVED = SavedQuota()


def decode_saved(octets: bytes) -> SavedQuota:
    """What the octets remember."""
    text, blank, crc = octets.rstrip().rpartition(b" ")
    if len(octets) != LENGTH or b"%08x" % zlib.crc32(text + blank) != crc:
        return NOTHING_SAVED
    fields = text.split()
    if len(fields) != _FIELDS or fields[0] != b"PHQ2":
        return NOTHING_SAVED
    octet_limit, messages, over, counted, noticed, begun = map(int, fields[1:])
    return SavedQuota(
        Limits(octet_limit, messages), over / 1000 if over else None, counted / 1000, noticed / 1000, begun / 1000
    )
