"""The source channel of a client by its address: `switchchannel` (imta-cnf 3.2, mappings.md 5).

`postmaster@[client-address]` is rewritten as an envelope address that points backward; the channel it leads to becomes the source
channel when it has the keyword `allowswitchchannel`. The stock rule is

    []  $E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon

where table INTERNAL_IP says `$Y` for the addresses of our own. Nobody is asked: where the rules would need the directory, and
where they lead nowhere, the channel stays what it is. Answers are kept with the rules, at most REMEMBERED of them.
"""

from posthouse.config.channel import Channel
from posthouse.relay.routing.connect import unasked
from posthouse.relay.routing.inquiry import Inquiry
from posthouse.relay.routing.rewrite import Job, Rewritten
from posthouse.relay.routing.rule_table import Purpose
from posthouse.relay.routing.rules import Rules

REMEMBERED = 4096


def switched(rules: Rules, channel: Channel, address: str) -> str:
    """The name of the source channel for a client on this channel.

    Args:
        rules: compiled configuration.
        channel: the service's channel.
        address: the client's.
    """
    key = (channel.name, address)
    found = rules.sources.get(key)
    if found is None:
        if len(rules.sources) >= REMEMBERED:
            rules.sources.clear()
        found = rules.sources[key] = _rewritten(rules, channel, address)
    return found


def _rewritten(rules: Rules, channel: Channel, address: str) -> str:
    name = "" if channel.has("norules") else channel.name
    literal = f"IPv6:{address}" if ":" in address else address
    job = Job(Inquiry(), Purpose(header=False, backward=True, source=name, destination=""))
    for written in dict.fromkeys((address, literal)):
        result = unasked(rules.rewriter.rewrite(f"postmaster@[{written}]", job))
        if isinstance(result, Rewritten) and result.channel.has("allowswitchchannel"):
            return result.channel.name
    return channel.name
