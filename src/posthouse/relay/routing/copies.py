"""Which recipients of one message share a copy (queue.md 3).

    single          one copy for each recipient
    single_sys      one for each destination host; the default of SMTP and LMTP channels without `daemon`
    multiple        one for all recipients of the channel; the default of every other channel
    addrsperfile n  at most n recipients in a copy

Held recipients never share a copy with others, nor do recipients with different senders: a copy has one. No copy has more
than MOST recipients. Copies are numbered from 0 in the order of their first recipients.
"""

from collections.abc import Mapping, Sequence

from posthouse.config.channel import Channel
from posthouse.relay.routing.result import Target

MOST = 1000


def assign_copies(channels: Mapping[str, Channel], targets: Sequence[Target]) -> tuple[int, ...]:
    """The copy number of each target, in their order.

    Args:
        channels: by name, every channel the targets name.
        targets: of one message, in the order of its recipients.
    """
    if len(targets) == 1:
        return (0,)
    numbers: dict[tuple[tuple[str, bool, str, str], int], int] = {}
    counts: dict[tuple[str, bool, str, str], int] = {}
    groups: dict[tuple[str, bool, str, str], tuple[tuple[str, bool, str, str], int]] = {}
    assigned: list[int] = []
    for target in targets:
        like = (target.channel, target.held, target.host, target.sender)
        known = groups.get(like)
        if known is None:
            channel = channels[target.channel]
            group = (target.channel, target.held, target.host if by_host(channel) else "", target.sender)
            known = groups[like] = group, 1 if channel.single else channel.addrsperfile or MOST
        group, limit = known
        place = counts.get(group, 0)
        counts[group] = place + 1
        assigned.append(numbers.setdefault((group, place // limit), len(numbers)))
    return tuple(assigned)


def by_host(channel: Channel) -> bool:
    """Whether each destination host gets a copy of its own."""
    if channel.single_sys:
        return True
    return (channel.is_smtp or channel.is_lmtp) and not channel.has("multiple") and not channel.value("daemon")
