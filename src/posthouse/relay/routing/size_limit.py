"""How large a message for a target may be, in octets and lines, and what is replied to one that is larger."""

import msgspec

from posthouse.mail.status import Status
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rules import Rules


def limited(target: Target, size: int) -> Target:
    """The target with a size limit of an access table."""
    return msgspec.structs.replace(target, blocklimit=min(target.blocklimit or size, size))


def is_too_long(rules: Rules, target: Target, lines: int) -> bool:
    """Whether a message has more lines than the target's channel takes."""
    return lines > rules.line_limits.get(target.channel, lines)


def line_over(rules: Rules, target: Target, given: str) -> Status:
    """The reply for a message with more lines than that."""
    text = rules.refusals.text(Refusal.LINE_OVER).replace("%d", str(rules.line_limits.get(target.channel, 0)))
    return rules.refusals.status(Refusal.LINE_OVER, given, text)


def block_over(rules: Rules, target: Target, given: str) -> Status:
    """The reply for a message larger than a target's blocklimit."""
    text = rules.refusals.text(Refusal.BLOCK_OVER).replace("%d", str(target.blocklimit // 1024))
    return rules.refusals.status(Refusal.BLOCK_OVER, given, text)
