"""Whom NOTIFY=SUCCESS asks about when the recipient is a group (RFC 3461 5.2.7). Pure.

What the sender named is the group: he is told once that it has the message, not of each member, whose names and mailboxes are no
concern of his. A group with a sender of its own (mgrpErrorsTo) is a mailing list, and his mail is delivered there; any
other has been expanded, and what fails later he is told of as ever.
"""

from collections.abc import Iterable

from posthouse.mail.task import Told, encode_task
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rules import Rules

_PROCESS = "process"


def wants_success(notify: str) -> bool:
    """Whether NOTIFY asks to be told of success."""
    return bool(notify) and "SUCCESS" in notify.upper().split(",")


def of_member(notify: str) -> str:
    """NOTIFY of a member: as the sender gave it, but for SUCCESS."""
    if not wants_success(notify):
        return notify
    return ",".join(word for word in notify.upper().split(",") if word != "SUCCESS") or "NEVER"


def told_of(rules: Rules, group: str, targets: Iterable[Target]) -> Target | None:
    """The recipient that stands for telling the sender of success; None when nothing has come out of a group.

    Args:
        rules: the configuration.
        group: the recipient as the sender gave it.
        targets: of that recipient.
    """
    members = [one for one in targets if one.listed]
    channel = rules.imta.channels.get(_PROCESS)
    if not members or channel is None:
        return None
    task = encode_task(Told(final=all(one.sender for one in members)))
    return Target(_PROCESS, group, channel.official_host.lower(), intermediate=group, task=task)
