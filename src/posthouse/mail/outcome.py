"""What became of one recipient in one attempt: delivered, deferred or failed, with a status and a scope."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from posthouse.mail.status import Status


class Scope(StrEnum):
    """How far a result reaches."""

    SESSION = "session"
    """the connection is of no further use; the host may be well"""
    RECIPIENT = "recipient"
    """this recipient only"""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next hop has taken over the duty for this recipient."""

    status: Status
    scope: Scope = Scope.RECIPIENT


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now: the recipient stays queued."""

    status: Status
    scope: Scope = Scope.RECIPIENT


@dataclass(frozen=True, slots=True)
class Failed:
    """Never: the sender is told."""

    status: Status
    scope: Scope = Scope.RECIPIENT


Outcome: TypeAlias = Delivered | Deferred | Failed


def outcome_of(status: Status, scope: Scope = Scope.RECIPIENT) -> Outcome:
    """The outcome a server's final reply means: 2yz delivered, 5yz failed, everything else deferred."""
    if status.is_success:
        return Delivered(status, scope)
    if status.is_permanent:
        return Failed(status, scope)
    return Deferred(status, scope)
