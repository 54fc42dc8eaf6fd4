"""How an address was come by: what alias expansion hands on from a user, group or alias to the addresses made of it."""

from typing import NamedTuple

from posthouse.mail.status import Status
from posthouse.relay.routing.list_edit import ListEdit
from posthouse.relay.routing.user_filter import UserFilter


class OwnerFacts(NamedTuple):
    """What travels with every address made from one user's entry."""

    address: str
    """the address that entered alias expansion"""
    quota: str
    block_limit: int
    """in octets, 0 for none"""
    filter: UserFilter | None = None


class Way(NamedTuple):
    """Where an address comes from.

    Args:
        visited: keys of the owners on the way.
        level: how many they are.
        owner: the user whose clause made the address.
        held: its copy is to be held.
        sender: envelope From its copy is to have, empty for the message's own.
        block_limit: of the groups on the way, in octets, 0 for none.
        edit: what the groups on the way change.
        listed: it comes out of a group.
        forwarded: it comes out of a forward.
        answers: the clause that made it is a vacation answer.
        repeats: a group on the way wants a copy for each time somebody is named (mgrpNoDuplicateChecks).
    """

    visited: frozenset[str] = frozenset()
    level: int = 0
    owner: OwnerFacts | None = None
    held: bool = False
    sender: str = ""
    block_limit: int = 0
    edit: ListEdit | None = None
    listed: bool = False
    forwarded: bool = False
    answers: bool = False
    repeats: bool = False


START = Way()


class Stop(Exception):  # noqa: N818 - the end of a decision, not a fault
    """A recipient is refused with this reply."""

    def __init__(self, status: Status, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.delay = delay


class Postpone(Exception):  # noqa: N818 - a decision, not a fault
    """The recipient is to be expanded in the reprocess channel; the message says why."""
