"""May one more message come in? Exactly the rule of message-store 4, as a function of values; the clock is passed in.

Using all of a limit is not being over it. A limit of 0 refuses everything for good. A message larger than the whole
quota is refused like any other that does not fit. The grace period starts with the first message refused (or, with
overdraft or xdflg value 2, with the one that crossed the limit) and ends with any delivery that fits.
"""

from enum import Enum
from typing import NamedTuple

from posthouse.store.quota.limits import Limits

SET_BACK = 86_400.0
"""seconds by which the clock may be set back and the grace period's beginning stays: set right again it is not over early"""


class Verdict(Enum):
    """What becomes of the message."""

    DELIVER = "deliver"
    EXCEEDED = "exceeded"
    """not now: the owner has time to make room"""
    PERSISTENT = "persistent"
    """returned to the sender"""


class Usage(NamedTuple):
    """What an owner has, in all folders together."""

    bytes: int
    messages: int


class QuotaPolicy(NamedTuple):
    """The store's settings: `store.quotaenforcement`, `store.quotaoverdraft`, `store.quotagraceperiod` in seconds."""

    enforced: bool
    overdraft: bool
    grace: float
    """0 refuses for good at once, a negative one never does"""


class Decision(NamedTuple):
    """The verdict and what is to be remembered."""

    verdict: Verdict
    over_since: float | None
    """Unix time since when the owner is over quota"""


_FITS = Decision(Verdict.DELIVER, None)


def exceeds(usage: Usage, limits: Limits) -> bool:
    """Whether the usage is over a limit; all of it used is not over."""
    return 0 <= limits.bytes < usage.bytes or 0 <= limits.messages < usage.messages


def decide(
    usage: Usage, size: int, limits: Limits, over_since: float | None, policy: QuotaPolicy, *, bypass: bool, now: float
) -> Decision:
    """Decide on one message of `size` octets on disk.

    Args:
        usage: without this message.
        size: octets it will have on disk.
        limits: resolved, a negative one is unlimited.
        over_since: remembered from the last decision.
        policy: the store's settings.
        bypass: xdflg value 2, deliver even if over quota.
        now: Unix time in seconds.
    """
    if limits.bytes < 0 and limits.messages < 0:
        return _FITS
    would = 0 <= limits.bytes < usage.bytes + size or 0 <= limits.messages <= usage.messages
    if not would and limits.bytes and limits.messages:
        return _FITS
    since = now if over_since is None or over_since > now + SET_BACK else over_since
    if bypass or not policy.enforced:
        return Decision(Verdict.DELIVER, since if would else None)
    if limits.bytes == 0 or limits.messages == 0:
        return Decision(Verdict.PERSISTENT, over_since)
    if not would:
        return _FITS
    if policy.overdraft and not exceeds(usage, limits) and not 0 <= limits.bytes < size:
        return Decision(Verdict.DELIVER, now)
    if 0 <= policy.grace <= now - since:
        return Decision(Verdict.PERSISTENT, since)
    return Decision(Verdict.EXCEEDED, since)
