"""AUTH: from a name and a password to the user (RFC 4954), and what is done about guessing.

* The directory says who it is, and takes or refuses the password (`Directory.check_password`). It does not answer: 454 4.7.0.
* Any refusal is `535 5.7.8`, whatever the reason, and comes LOGIN_DELAY seconds after the question, twice as many after each one
  before it in the connection, at most LONGEST: neither words nor time tell a wrong name from a wrong password.
* After the channel's `disconnectbadauthlimit` the connection ends. An address with MAX_FAILURES wrong passwords within FORGET
  seconds is told 454 4.7.0 and the directory is not asked. The table is the worker's, and of bounded size.
* Acting for somebody else (RFC 4616) is not possible.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from posthouse.dialogue.event import Login
from posthouse.mail.status import Status
from posthouse.relay.directory.drive import drive
from posthouse.relay.directory.password import Password
from posthouse.relay.directory.question import Unknown
from posthouse.relay.routing.identity import identify
from posthouse.relay.routing.inquiry import NoAnswer

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.relay import Relay

LOGIN_DELAY = 1.0
LONGEST = 16.0
MAX_FAILURES = 30
FORGET = 600.0
REMEMBERED = 10_000
_WRONG = Status(535, "5.7.8", "Authentication credentials invalid")
_UNKNOWN = Status(454, "4.7.0", "Temporary authentication failure; try again later")
_TOO_MANY = Status(454, "4.7.0", "Too many failed logins from your address; try again later")


class Outcome(NamedTuple):
    """What became of a login."""

    status: Status
    name: str
    """as the client gave it"""
    user: str = ""
    """the user's address when it succeeded"""
    reason: str = ""
    addresses: frozenset[str] = frozenset()
    """all of the user's, lower case"""


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
        now = self._clock()
        since, count = self._seen.pop(address, (now, 0))
        if now - since > FORGET:
            since, count = now, 0
        self._seen[address] = (since, count + 1)
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def too_many(self, address: str) -> bool:
        """Whether the address is not to try again now."""
        since, count = self._seen.get(address, (0.0, 0))
        return count >= MAX_FAILURES and self._clock() - since <= FORGET


async def judge(relay: "Relay", address: str, event: Login, failed: int) -> Outcome:
    """Decide about a login.

    Args:
        relay: what the worker's sessions share.
        address: the client's.
        event: what it said.
        failed: logins of this connection that failed before.
    """
    began = relay.loop.time()
    try:
        outcome = await _decide(relay, address, event)
    except Exception:
        relay.report("a login failed")
        outcome = Outcome(_UNKNOWN, "", reason="internal error")
    if not outcome.user:
        delay = min(relay.login_delay * 2**failed, LONGEST)
        await asyncio.sleep(max(0.0, began + delay - relay.loop.time()))
    return outcome


async def _decide(relay: "Relay", address: str, event: Login) -> Outcome:
    name = event.user.decode("utf-8", "backslashreplace")
    if relay.failures.too_many(address):
        return Outcome(_TOO_MANY, name, reason="too many failures of this address")
    try:
        password = event.password.decode()
        acts_for = event.acts_for.decode()
    except UnicodeDecodeError:
        return _refused(relay, address, name, "not UTF-8")
    if acts_for not in {"", name}:
        return _refused(relay, address, name, "acting for somebody else")
    directory = relay.directory
    try:
        found = await drive(identify(name, relay.rules.default_domain), directory)
    except NoAnswer as silence:
        return Outcome(_UNKNOWN, name, reason=str(silence))
    if found is None:
        return _refused(relay, address, name, "no such user")
    answer = await directory.check_password(found.dn, password)
    if isinstance(answer, Unknown):
        return Outcome(_UNKNOWN, name, reason=answer.reason)
    if answer is not Password.RIGHT:
        return _refused(relay, address, name, "wrong password")
    status = Status(235, "2.7.0", f"{event.mechanism} authentication successful.")
    return Outcome(status, name, found.address, addresses=found.addresses)


def _refused(relay: "Relay", address: str, name: str, reason: str) -> Outcome:
    relay.failures.note(address)
    return Outcome(_WRONG, name, reason=reason)
