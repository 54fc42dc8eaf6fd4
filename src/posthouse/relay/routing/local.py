"""MAIL FROM: is this sender taken? FROM_ACCESS is the only thing asked; the null sender is asked about as "".

Guarantee: ends with a SenderAccepted or a Rejected, never raises; an unanswered directory question is a temporary refusal.
The address itself is checked for its form only: whether its domain exists is `mailfromdnsverify`, off by default.
"""

from dataclasses import dataclass
from typing import TypeAlias

from posthouse.mail.address import AddressError, parse_address
from posthouse.relay.routing.access import check_sender
from posthouse.relay.routing.inquiry import Asking, Inquiry, NoAnswer
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import Rejected, RouteRequest
from posthouse.relay.routing.rules import Rules


@dataclass(frozen=True, slots=True)
class SenderAccepted:
    """The sender is taken."""

    sender: str
    hold: bool = False
    """the table wants everything from this sender held"""
    bitbucket: bool = False
    """the table wants everything from this sender swallowed"""
    delay: float = 0.0
    """seconds the table wants the reply delayed"""


SenderResult: TypeAlias = SenderAccepted | Rejected


def route_sender(rules: Rules, request: RouteRequest, authenticated: str = "") -> Asking[SenderResult]:
    """Decide the sender of a request; its recipient is not looked at.

    Args:
        rules: compiled configuration.
        request: sender, source channel, probes and flags.
        authenticated: address the client has authenticated as, or "".
    """
    sender = request.sender
    try:
        if sender:
            parse_address(sender)
        verdict = yield from check_sender(rules, Inquiry(), request, authenticated)
    except AddressError as error:
        return Rejected(rules.refusals.status(Refusal.SYNTAX, sender), str(error))
    except NoAnswer as silence:
        return Rejected(rules.refusals.status(Refusal.TEMPORARY_FAILURE, sender), str(silence))
    if verdict.rejected is not None:
        return Rejected(verdict.rejected, verdict.log or "FROM_ACCESS", verdict.delay)
    return SenderAccepted(sender, verdict.hold, verdict.bitbucket, verdict.delay)
