"""What is done about clients that guess passwords: the same words, a wait before them, and an end.

* Any refusal is `WRONG`, whatever the reason, and comes `seconds` after the question, twice as many after each one before it in
  the connection, at most LONGEST: neither words nor time tell a wrong name from a wrong password.
* An address with MAX_FAILURES wrong passwords within FORGET seconds is told `TOO_MANY`, and nobody is asked. Of IPv6 the first 64
  bits count, which are one subscriber's. The table is of bounded size.
"""

import ipaddress
from collections.abc import Callable

from posthouse.mail.status import Status

LOGIN_DELAY = 1.0
LONGEST = 16.0
MAX_FAILURES = 30
FORGET = 600.0
REMEMBERED = 10_000
WRONG = Status(535, "5.7.8", "Authentication credentials invalid")
UNKNOWN = Status(454, "4.7.0", "Temporary authentication failure; try again later")
TOO_MANY = Status(454, "4.7.0", "Too many failed logins from your address; try again later")
LAST_ONE = Status(421, "4.7.0", "Too many failed logins")
"""when a connection has had all its tries"""


def let_in(mechanism: str) -> Status:
    """What a client is told whose login is good."""
    return Status(235, "2.7.0", f"{mechanism} authentication successful.")


def wait(seconds: float, failed: int) -> float:
    """Seconds from the question to its refusal, so many failed logins before it."""
    return min(seconds * (1 << min(failed, 16)), LONGEST)


def _subscriber(address: str) -> str:
    """Whom an address stands for: itself, or of IPv6 the network that its user has."""
    if ":" not in address:
        return address
    whole = ipaddress.IPv6Address(address)
    return str(whole.ipv4_mapped or ipaddress.IPv6Network((int(whole) >> 64 << 64, 64)))


class Failures:
    """Wrong passwords of each address, lately.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}
        """address to the first failure's time and their number"""

    def note(self, address: str) -> None:
        """One more."""
        now, address = self._clock(), _subscriber(address)
        since, count = self._seen.pop(address, (now, 0))
        if now - since > FORGET:
            since, count = now, 0
        self._seen[address] = (since, count + 1)
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def too_many(self, address: str) -> bool:
        """Whether the address is not to try again now."""
        since, count = self._seen.get(_subscriber(address), (0.0, 0))
        return count >= MAX_FAILURES and self._clock() - since <= FORGET
