"""What is remembered about an owner's quota, as 128 octets overwritten in place (the content of `.lmtp-lock`).

    PHQ2 <bytes> <messages> <over since, ms> <counted, ms> <noticed, ms> <notice begun, ms> <told, ms>
         <crc32 of what stands before it, hex>, blanks, line end                          (one line)

`0` stands for "not over" and "never"; `told` may be missing, which is never. Octets that are not exactly that read as nothing
remembered: the store's defaults.
One write of one short line under the owner's lock: a killed process leaves the old or the new one, and the next process
reads it. After a power cut it may be some seconds old: a grace period then begins with the next message refused, limits
come with the next XQUOTA, and notices are synced in their own order (`store.delivery.quota_notices`).
"""

import zlib
from typing import NamedTuple

from posthouse.store.quota.limits import DEFAULT, GivenLimits, Limits

LENGTH = 128
TOLD_AGAIN = 86_400.0
"""seconds after which it is written down that limits are still the same"""
_FIELDS = (7, 8)
"""without the crc: before limits had a time, and with it"""


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
    told: float = 0.0
    """when the limits were known to be these; a day exact where they stay the same"""

    def heard(self, given: GivenLimits, known: float, defaults: Limits, now: float) -> "SavedQuota":
        """With limits that were right at some time, unless those saved are of a later one. Raised ones end a grace period.

        Args:
            given: what is said.
            known: Unix time when it was right; beyond `now` is another machine's clock.
            defaults: the store's.
            now: Unix time. A saved time beyond it is not believed: the clock was set back.
        """
        limits, known = given.over(self.limits), min(known, now)
        if known < self.told <= now or (limits is self.limits and 0 <= known - self.told < TOLD_AGAIN):
            return self
        pairs = zip(self.limits.resolved(defaults), limits.resolved(defaults), strict=True)
        raised = any(was >= 0 and (will < 0 or will > was) for was, will in pairs)
        return self._replace(limits=limits, over_since=None if raised else self.over_since, told=known)

    def encode(self) -> bytes:
        """The 128 octets."""
        over = 0 if self.over_since is None else max(1, round(self.over_since * 1000))
        others = (round(each * 1000) for each in (self.counted, self.noticed, self.notice_begun, self.told))
        text = b"PHQ2 %d %d %d %d %d %d %d " % (*self.limits, over, *others)
        return (text + b"%08x" % zlib.crc32(text)).ljust(LENGTH - 1) + b"\n"


NOTHING_SAVED = SavedQuota()


def decode_saved(octets: bytes) -> SavedQuota:
    """What the octets remember."""
    text, blank, crc = octets.rstrip().rpartition(b" ")
    if len(octets) != LENGTH or b"%08x" % zlib.crc32(text + blank) != crc:
        return NOTHING_SAVED
    fields = text.split()
    if len(fields) not in _FIELDS or fields[0] != b"PHQ2":
        return NOTHING_SAVED
    octet_limit, messages, over, *others = map(int, fields[1:])
    return SavedQuota(Limits(octet_limit, messages), over / 1000 if over else None, *(each / 1000 for each in others))
