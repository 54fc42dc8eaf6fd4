"""Parts of messages go to channel `defragment` first, where a target's channel has the keyword (queue.md 6). Pure.

Only where there is such a channel, which is decided when the configuration is compiled (`Rules.joined_channels`): without it
`defragment` means nothing and no message is looked at. The target's own channel goes along as the task `Onward`.
"""

from collections.abc import Iterable

import msgspec

from posthouse.config.imta_cnf import ImtaCnf
from posthouse.mail.task import Onward, encode_task
from posthouse.relay.routing.result import Target

CHANNEL = "defragment"


def joined_channels(imta: ImtaCnf) -> frozenset[str]:
    """Channels whose parts of messages are joined before they get them."""
    if CHANNEL not in imta.channels:
        return frozenset()
    return frozenset(name for name, channel in imta.channels.items() if channel.has("defragment") and name != CHANNEL)


def detour(channels: frozenset[str], targets: Iterable[Target]) -> tuple[Target, ...]:
    """The targets of a part of a message."""
    return tuple(
        msgspec.structs.replace(one, channel=CHANNEL, task=encode_task(Onward(one.channel)))
        if one.channel in channels and not one.task
        else one
        for one in targets
    )
