"""Dequeuing: which host a queued recipient is handed to, and the address as it goes over the wire (source-routes 4).

    connect_host   daemon host, else for LMTP without multigate the channel's official host, else the recipient's first host;
                   with connectcanonical an alias of the channel becomes its proper name, any other host is rewritten
                   once more as a forward header address
    wire_address   dequeue_removeroute drops the route; on an LMTP channel, and on the way into this machine's own store, a
                   channel's own tag is dropped and uid%domain+folder becomes uid+folder@domain, quoted where needed

Without connectcanonical `store1.example.com.lmtp` stays as it is, does not resolve, and the mail stays queued. The same
holds where the rules would have to ask the directory: here nobody can be asked.
"""

import re

from posthouse.config.channel import Channel
from posthouse.mail.address import Address, AddressError, parse_address, quote, unquote
from posthouse.relay.directory.question import Unknown
from posthouse.relay.routing.host_part import split_address
from posthouse.relay.routing.inquiry import Asking, Inquiry, NoAnswer
from posthouse.relay.routing.rewrite import Job, RewriteResult, Rewritten
from posthouse.relay.routing.rule_table import Purpose
from posthouse.relay.routing.rules import Rules

REMEMBERED_HOSTS = 4096
REMEMBERED_SHAPES = 1000
_PLAIN = re.compile(r"[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*", re.ASCII)
_PLAIN_LENGTH = 256
_GAP = "\ue000"


def destination_host(address: str) -> str:
    """The first host of an active address, lower case: what copies are grouped by."""
    try:
        return split_address(address).host.lower()
    except AddressError:
        return ""


def connect_host(rules: Rules, channel: Channel, address: str) -> str:
    """The host to connect to for this queued recipient; whether it resolves is the caller's to find out."""
    daemon = channel.value("daemon")
    if daemon:
        return daemon
    if channel.is_lmtp and not channel.has("multigate"):
        return channel.official_host
    host = destination_host(address) or channel.official_host
    if not channel.has("connectcanonical"):
        return host
    key = (channel.name, host)
    found = rules.connect_hosts.get(key)
    if found is None:
        if len(rules.connect_hosts) >= REMEMBERED_HOSTS:
            rules.connect_hosts.clear()
        found = rules.connect_hosts[key] = channel.proper_name(host) or _canonical(rules, channel, host)
    return found


def _canonical(rules: Rules, channel: Channel, host: str) -> str:
    name = "" if channel.has("norules") else channel.name
    job = Job(Inquiry(), Purpose(header=True, backward=False, source=name, destination=name))
    result = unasked(rules.rewriter.rewrite(f"postmaster@{host}", job))
    if not isinstance(result, Rewritten) or result.channel.name != channel.name:
        return host
    return result.route or result.host


def unasked(rewriting: Asking[RewriteResult]) -> RewriteResult | None:
    """What a rewriting comes to when every question is answered by Unknown; None: it needs the answer."""
    try:
        next(rewriting)
        while True:
            rewriting.send(Unknown("nobody to ask"))
    except StopIteration as end:
        result: RewriteResult = end.value
        return result
    except NoAnswer:
        return None


def wire_address(rules: Rules, channel: Channel, address: str, *, to_store: bool = False) -> str:
    """The path of RCPT TO, without brackets. An address that cannot be parsed is returned as it is.

    Args:
        rules: the rules.
        channel: the channel it is queued on.
        address: as it is queued.
        to_store: the channel leads into a store, whatever its keywords.
    """
    try:
        parsed = parse_address(address)
    except AddressError:
        return address
    route = () if channel.has("dequeue_removeroute") else parsed.route
    if not (to_store or channel.is_lmtp) or rules.imta.by_tag(parsed.domain) is None:
        return str(Address(route, parsed.local, parsed.domain))
    left, sign, folder = unquote(parsed.local).partition(rules.subaddress_char)
    uid, percent, domain = left.rpartition("%")
    if not percent:
        uid, domain = left, ""
    return str(Address(route, quote(uid + sign + folder), domain))


class WireAddresses:
    """`wire_address` for one channel: plain addresses of one route and domain differ by the local part only.

    Args:
        rules: the rules.
        channel: the channel they are queued on.
        to_store: the channel leads into a store, whatever its keywords.
    """

    def __init__(self, rules: Rules, channel: Channel, *, to_store: bool = False) -> None:
        self._rules = rules
        self._channel = channel
        self._to_store = to_store
        self._shapes: dict[tuple[str, str], tuple[str, str]] = {}

    def of(self, address: str) -> str:
        """The path of RCPT TO, without brackets."""
        route, colon, rest = address.rpartition(":")
        local, _, domain = rest.rpartition("@")
        plain = len(address) <= _PLAIN_LENGTH and _PLAIN.fullmatch(local) is not None
        if not plain or self._rules.subaddress_char in local:
            return self._one(address)
        shape = route + colon, domain
        around = self._shapes.get(shape)
        if around is None:
            if len(self._shapes) >= REMEMBERED_SHAPES:
                self._shapes.clear()
            before, _, after = self._one(f"{route}{colon}{_GAP}@{domain}").partition(_GAP)
            around = self._shapes[shape] = before, after
        return around[0] + local + around[1]

    def _one(self, address: str) -> str:
        return wire_address(self._rules, self._channel, address, to_store=self._to_store)
