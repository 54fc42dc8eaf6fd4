"""One notice for the sender, and where the channel's keywords say so one for the postmaster: durable both, or told as not.

The postmaster is never told of a notice to himself that could not be delivered: that would go on for ever. Such a notice is known
by its `To:` field, which no forwarding changes.
"""

from collections.abc import Callable, Sequence

from posthouse.mail.envelope import Envelope
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.notices.dsn import Kind, Report
from posthouse.relay.notices.notifier import header_of
from posthouse.relay.notices.postmaster import NO_COPIES, PostPolicy
from posthouse.relay.notices.vacation import original_field


def policy_of(shop: Workshop, channel: str) -> PostPolicy:
    """What the channel's keywords say of the postmaster's copies."""
    settings = shop.settings.get(channel)
    return settings.post if settings is not None else NO_COPIES


def tell(
    shop: Workshop,
    kind: Kind,
    envelope: Envelope,
    parts: Sequence[bytes],
    channel: str,
    told: Sequence[Report],
    posted: Sequence[Report],
    done: Callable[[OSError | None], None],
    retry_until: float = 0.0,
) -> None:
    """Send the notices.

    Args:
        shop: what the worker shares.
        kind: which notice.
        envelope: of the message it is about.
        parts: that message.
        channel: where it was waiting.
        told: recipients the sender is told of; none: he gets no notice.
        posted: recipients the postmaster is told of; none: no copy for him.
        done: told None when all is durable, else why not.
        retry_until: Unix seconds of the last try, for a delay.
    """
    if posted and is_postmasters(shop, envelope, parts):
        posted = ()
    waiting = bool(told) + bool(posted)
    faults: list[OSError] = []

    def one_done(error: OSError | None) -> None:
        nonlocal waiting
        waiting -= 1
        if error is not None:
            faults.append(error)
        if not waiting:
            done(faults[0] if faults else None)

    if not waiting:
        done(None)
    if told:
        shop.notifier.send(kind, envelope, parts, told, channel, shop.wording, shop.stamp(), one_done, retry_until)
    if posted:
        shop.notifier.send(
            kind, envelope, parts, posted, channel, shop.wording, shop.stamp(), one_done, retry_until,
            to=shop.wording.postmaster, header_only=policy_of(shop, channel).header_only,
        )  # fmt: skip


def is_postmasters(shop: Workshop, envelope: Envelope, parts: Sequence[bytes]) -> bool:
    """Whether the message is a notice for the postmaster."""
    return bool(envelope.about) and original_field(header_of(parts), "to").lower() == shop.wording.postmaster.lower()
