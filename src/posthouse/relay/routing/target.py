"""A rewritten address on its channel, as a recipient that can be queued (source-routes 3, step 7)."""

from collections.abc import Iterable

from posthouse.config.channel import Channel
from posthouse.mail.address import parse_address
from posthouse.relay.routing.connect import destination_host
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rewrite import Rewritten
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.way import Way


def target_of(rules: Rules, there: Rewritten, way: Way) -> Target:
    """The recipient: of the limits on its size the smallest counts; `enqueueremoveroute` takes the route away."""
    channel, owner = there.channel, way.owner
    limits = [channel.number("blocklimit", 0) * rules.block_size, rules.block_limit, owner.block_limit if owner else 0]
    address = there.address
    if channel.has("enqueueremoveroute"):
        address = without_route(address)
    return Target(
        channel=channel.name,
        address=address,
        host=destination_host(there.address),
        quota=owner.quota if owner else "",
        intermediate=owner.address if owner else "",
        held=way.held,
        blocklimit=min((limit for limit in limits if limit > 0), default=0),
        filter=owner.filter if owner else None,
    )


def delivers(channel: Channel) -> bool:
    """Whether what is on the channel has passed the directory: only expansion may put it there."""
    return channel.name != "l" and (channel.is_lmtp or not channel.is_smtp) and not channel.has("aliaslocal")


def without_route(address: str) -> str:
    """The address as people know it: `@store2.example.com:user@example.com` is `user@example.com`."""
    if not address.startswith("@"):
        return address
    parsed = parse_address(address)
    return f"{parsed.local}@{parsed.domain}" if parsed.domain else parsed.local


def without_own_route(address: str, hosts: Iterable[str]) -> str:
    """`@hold-daemon:user@domain`, queued on hold, goes back to routing as `user@domain`.

    What was put off need not be an address (a forwarding address may be any text): it is what stands behind the host.
    """
    given = address.lower()
    for host in hosts:
        length = len(host) + 2
        if given[:length] in {f"@{host.lower()}:", f"@{host.lower()},"}:
            return address[length:]
    return address
