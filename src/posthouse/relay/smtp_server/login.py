"""AUTH: from a name and a password to the user (RFC 4954); what is done about guessing is in `guessing`.

* The directory says who it is, and takes or refuses the password (`Directory.check_password`). It does not answer: 454 4.7.0.
* After the channel's `disconnectbadauthlimit` the connection ends. The failures of addresses are the worker's.
* Acting for somebody else (RFC 4616) is not possible.
"""

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from posthouse.dialogue.event import Login
from posthouse.mail.status import Status
from posthouse.relay.directory.drive import drive
from posthouse.relay.directory.password import Password
from posthouse.relay.directory.question import Unknown
from posthouse.relay.routing.identity import identify
from posthouse.relay.routing.inquiry import NoAnswer
from posthouse.relay.smtp_server import guessing

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.relay import Relay


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
        outcome = Outcome(guessing.UNKNOWN, "", reason="internal error")
    if not outcome.user:
        delay = guessing.wait(relay.login_delay, failed)
        await asyncio.sleep(max(0.0, began + delay - relay.loop.time()))
    return outcome


async def _decide(relay: "Relay", address: str, event: Login) -> Outcome:
    name = event.user.decode("utf-8", "backslashreplace")
    if relay.failures.too_many(address):
        return Outcome(guessing.TOO_MANY, name, reason="too many failures of this address")
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
        return Outcome(guessing.UNKNOWN, name, reason=str(silence))
    if found is None:
        return _refused(relay, address, name, "no such user")
    answer = await directory.check_password(found.dn, password)
    if isinstance(answer, Unknown):
        return Outcome(guessing.UNKNOWN, name, reason=answer.reason)
    if answer is not Password.RIGHT:
        return _refused(relay, address, name, "wrong password")
    return Outcome(guessing.let_in(event.mechanism), name, found.address, addresses=found.addresses)


def _refused(relay: "Relay", address: str, name: str, reason: str) -> Outcome:
    relay.failures.note(address)
    return Outcome(guessing.WRONG, name, reason=reason)
