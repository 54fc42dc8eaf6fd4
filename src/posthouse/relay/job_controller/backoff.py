"""When a copy is tried again, when a host is, and when the sender hears of it. Pure: chance is a number passed in.

Rules (job-controller-cnf 3 to 5), all times in seconds:

* ordinary: the n-th failure in a row waits the n-th `backoff` value, the last one for ever, stretched by 0-5 %;
* partly: some recipients were delivered and others deferred: one immediate retry in a copy's life, then ordinary;
* busy (`MAILBOX_BUSY_FAST_RETRY`): 1-15 s by chance, the range doubled after every 5 in a row up to 120 s, not counted
  as a failure; from the 51st on ordinary. Other recipients of the copy wait their ordinary time meanwhile;
* host down: min(60 s x 2^(n-1), first backoff value), stretched likewise, shared by all copies for the host;
* notices: a copy is `n` units old when n full units have passed since it was accepted. How long a unit is: RETURN_UNITS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from posthouse.mail.status import Status

JITTER = 0.05
BUSY_LOW = 1.0
BUSY_HIGH = 15.0
BUSY_CEILING = 120.0
BUSY_STEP = 5
BUSY_LIMIT = 50
HOST_FIRST_WAIT = 60.0


class Verdict(StrEnum):
    """What an attempt meant for the copy as a whole."""

    DONE = "done"
    """no recipient is left"""
    DEFERRED = "deferred"
    """some are left: ordinary backoff"""
    PARTLY = "partly"
    """some are left and some were delivered just now"""
    BUSY = "busy"
    """at least one of those left has a busy mailbox"""
    REST = "rest"
    """those tried are settled; others of the copy wait their own time (see Result.patient)"""
    HOST_DOWN = "host_down"
    """the host could not be reached: the copy waits with the others for it"""
    AGAIN = "again"
    """not attempted at all (stale session, drained worker): at once, uncounted"""
    HELD = "held"
    """set aside as .HELD, no longer scheduled"""
    GONE = "gone"
    """the file was removed or replaced by somebody else"""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a copy has been tried.

    Args:
        attempts: attempts made, which is what the queue file's name counts.
        failures: failures that count for the backoff.
        busies: busy answers in a row.
        instant: the one immediate retry has been used.
    """

    attempts: int = 0
    failures: int = 0
    busies: int = 0
    instant: bool = False

    def shared(self) -> "Tries":
        """The same counts, one object for all copies that have them."""
        if len(_SHARED) > MOST_SHARED:
            _SHARED.clear()
        return _SHARED.setdefault(self, self)


MOST_SHARED = 4096
_SHARED: dict[Tries, Tries] = {}


def ordinary_wait(intervals: Sequence[float], failures: int, chance: float) -> float:
    """Seconds to wait after this many failures (1 or more); chance is 0.0 to 1.0."""
    return intervals[min(failures, len(intervals)) - 1] * (1.0 + JITTER * chance)


def busy_wait(busies: int, chance: float) -> float:
    """Seconds to wait after this many busy answers in a row (1 or more)."""
    high = min(BUSY_HIGH * 2.0 ** ((busies - 1) // BUSY_STEP), BUSY_CEILING)
    return BUSY_LOW + (high - BUSY_LOW) * chance


def host_wait(failures: int, first_interval: float, chance: float) -> float:
    """Seconds until a host that failed this many times in a row is tried again."""
    return min(HOST_FIRST_WAIT * 2.0 ** min(failures - 1, 16), first_interval) * (1.0 + JITTER * chance)


def is_busy(status: Status) -> bool:
    """Whether a reply to the message data says that the mailbox is busy (4.2.1, or the chapter's own words)."""
    if not status.is_temporary:
        return False
    text = status.text.lower()
    return status.enhanced == "4.2.1" or "mailbox locked" in text or "mailbox busy" in text


def after(tries: Tries, verdict: Verdict, intervals: Sequence[float], chance: float) -> tuple[Tries, float]:
    """The new counts, and the seconds to wait, after an attempt that left something to do.

    HOST_DOWN and REST wait 0 here: the host's own wait, or the recipients', holds the copy back.
    """
    attempts = tries.attempts + 1
    if verdict is Verdict.AGAIN:
        return tries, 0.0
    if verdict is Verdict.REST:
        return Tries(attempts, tries.failures + 1, 0, tries.instant), 0.0
    if verdict is Verdict.HOST_DOWN:
        return Tries(attempts, tries.failures, tries.busies, tries.instant), 0.0
    if verdict is Verdict.BUSY and tries.busies < BUSY_LIMIT:
        busies = tries.busies + 1
        return Tries(attempts, tries.failures, busies, tries.instant), busy_wait(busies, chance)
    if verdict is Verdict.PARTLY and not tries.instant:
        return Tries(attempts, tries.failures, 0, instant=True), 0.0
    failures = tries.failures + 1
    busies = tries.busies if verdict is Verdict.BUSY else 0
    return Tries(attempts, failures, busies, tries.instant), ordinary_wait(intervals, failures, chance)


def next_notice(ages: Sequence[int], unit: float, enqueued: float, given: int) -> float | None:
    """Unix time at which notice number `given` (from 0) falls due, or None when none is left."""
    return enqueued + ages[given] * unit if given < len(ages) else None


def notices_passed(ages: Sequence[int], unit: float, enqueued: float, now: float) -> int:
    """How many of the warning ages (all but the last) have passed: after a restart they count as given."""
    return sum(1 for age in ages[:-1] if now >= enqueued + age * unit)
