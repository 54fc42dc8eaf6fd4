"""One RCPT TO, from the address as given to the targets that are queued: steps 1 to 6 of source-routes 3.

Guarantee: for any request the generator ends with an Accepted of at least one target or with a Rejected; it asks nothing but
directory questions, never raises, and makes no permanent refusal of an unanswered question or of an entry or alias that
yields no address at all. Expansion ends after
MAX_ALIAS_LEVELS levels or when an entry is met a second time on the same way.
When one of several addresses an alias stands for is refused, the recipient is refused as a whole: nothing is lost unseen.
`postmaster` of any domain of ours is never refused for good: without an entry or alias that can take it, it is held.
"""

from posthouse.mail.address import parse_address, unquote
from posthouse.mail.status import Status
from posthouse.relay.routing.access import AccessProbe, Verdict, check_access
from posthouse.relay.routing.connect import connect_host, destination_host, wire_address
from posthouse.relay.routing.expansion import Expansion, Made, Nobody, OwnerFacts, expand
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry, NoAnswer
from posthouse.relay.routing.lookup import POSTMASTER
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import Accepted, Rejected, Routed, RouteRequest, Step, Target
from posthouse.relay.routing.rewrite import Job, Rewritten, Unroutable
from posthouse.relay.routing.rule_table import Purpose
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import Refuse

_FIRST_REWRITE = 2


class _Stop(Exception):  # noqa: N818 - the end of a decision, not a fault
    def __init__(self, status: Status, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.delay = delay


def route_recipient(rules: Rules, request: RouteRequest) -> Asking[Routed]:
    """Decide one recipient. Feed the generator the answers to what it yields; it returns Accepted or Rejected."""
    run = _Run(rules, request)
    given = request.recipient
    delay = 0.0
    try:
        return (yield from run.route())
    except _Stop as stop:
        status, reason, delay = stop.status, stop.reason, stop.delay
    except Refuse as refuse:
        status, reason = rules.refusals.status(refuse.refusal, given, refuse.text), refuse.reason
    except AmbiguousEntry as several:
        status, reason = rules.refusals.status(Refusal.DUPLICATE_ADDRS, given), str(several)
    except NoAnswer as silence:
        status, reason = rules.refusals.status(Refusal.TEMPORARY_FAILURE, given), str(silence)
    return Rejected(status, reason, delay, run.done())


class _Run:
    """One decision under way."""

    __slots__ = ("bare_host", "inquiry", "purpose", "request", "rules", "steps")

    def __init__(self, rules: Rules, request: RouteRequest) -> None:
        self.rules = rules
        self.request = request
        self.inquiry = Inquiry()
        self.steps: list[Step] | None = [] if request.explain else None
        source = rules.imta.channels.get(request.source_channel)
        name = "" if source is None or source.has("norules") else source.name
        self.purpose = Purpose(header=False, backward=False, source=name, destination="")
        self.bare_host = (source.value("defaulthost") if source else None) or rules.rewriter.bare_host

    def done(self) -> tuple[Step, ...]:
        return tuple(self.steps or ())

    def note(self, step: Step) -> None:
        if self.steps is not None:
            self.steps.append(step)

    def route(self) -> Asking[Routed]:
        rules, request = self.rules, self.request
        if self.steps is not None:
            self.note(Step(1, request.recipient, text="RCPT TO"))
        first = yield from self._rewrite(self._first_address())
        probe = self._probe(first.channel.name, first.address)
        verdict = yield from check_access(rules, self.inquiry, probe, rules.before_tables)
        self._obey(verdict, 3, first.address, first.channel.name)
        self._guard(first, verdict)
        if verdict.bitbucket:
            return Accepted((self._swallowed(first.address),), verdict.hold, verdict.delay, self.done())
        targets = yield from self._targets(first)
        hold, delay = verdict.hold, verdict.delay
        final: list[Target] = []
        for target in targets:
            probe = self._probe(target.channel, target.address)
            verdict = yield from check_access(rules, self.inquiry, probe, rules.after_tables)
            self._obey(verdict, 6, target.address, target.channel)
            hold, delay = hold or verdict.hold, max(delay, verdict.delay)
            final.append(self._swallowed(target.address) if verdict.bitbucket else target)
            self._check_size(target)
        for target in final if self.steps is not None else ():
            self._explain_dequeue(target)
        return Accepted(tuple(final), hold, delay, self.done())

    def _first_address(self) -> str:
        given = self.request.recipient
        if self.rules.local_host and unquote(given).lower() == POSTMASTER:
            return f"{given}@{self.rules.local_host}"
        return given

    def _rewrite(self, address: str, *, keep_route: bool = False, step: int = _FIRST_REWRITE) -> Asking[Rewritten]:
        job = Job(
            self.inquiry,
            self.purpose,
            self.request.unique,
            keep_route,
            self.steps,
            self.bare_host,
            self.request.recipient,
            step=step,
        )
        result = yield from self.rules.rewriter.rewrite(address, job)
        if isinstance(result, Unroutable):
            if result.malformed and step != _FIRST_REWRITE:
                raise Refuse(Refusal.TEMPORARY_FAILURE, f"expansion made {address!r}, which is no address: {result.reason}")
            raise _Stop(result.status, result.reason)
        return result

    def _probe(self, channel: str, address: str) -> AccessProbe:
        return AccessProbe(self.request, channel, address)

    def _obey(self, verdict: Verdict, step: int, address: str, channel: str) -> None:
        for text in verdict.explained if self.steps is not None else ():
            file, line = self.rules.table_places.get(text.partition(":")[0], ("", 0))
            self.note(Step(step, address, channel, file, line, text))
        if verdict.rejected is not None:
            raise _Stop(verdict.rejected, verdict.log or f"access table: {channel} {address}", verdict.delay)

    def _guard(self, first: Rewritten, verdict: Verdict) -> None:
        """Nobody outside may name a delivery channel: what is not local and not SMTP needs an explicit `$Y`."""
        source = self.rules.imta.channels.get(self.request.source_channel)
        channel = first.channel
        if source is None or not source.is_smtp or verdict.allowed_by_table:
            return
        if channel.name != "l" and (channel.is_lmtp or not channel.is_smtp) and not channel.has("aliaslocal"):
            status = self.rules.refusals.status(Refusal.RELAYING, self.request.recipient)
            raise _Stop(status, f"{self.request.source_channel} named the channel {channel.name} directly")

    def _targets(self, first: Rewritten) -> Asking[list[Target]]:
        if first.channel.name != "l" or not is_postmaster(first.address):
            return (yield from self._deliver(first, frozenset(), 0, None, held=False))
        try:
            return (yield from self._deliver(first, frozenset(), 0, None, held=False))
        except (Refuse, _Stop, AmbiguousEntry) as refused:
            return [self._held_postmaster(first.address, str(refused))]

    def _held_postmaster(self, address: str, reason: str) -> Target:
        hold = self.rules.imta.channels.get("hold") or self.rules.imta.channels["l"]
        waiting = f"@{hold.official_host}:{address}" if hold.name == "hold" else address
        self.note(Step(4, waiting, hold.name, text=f"postmaster is always accepted; held, since: {reason}"))
        return Target(hold.name, waiting, destination_host(waiting), intermediate=address, held=True)

    def _deliver(
        self, there: Rewritten, visited: frozenset[str], level: int, owner: OwnerFacts | None, *, held: bool
    ) -> Asking[list[Target]]:
        """The targets of one rewritten address: itself, or what alias expansion makes of it."""
        channel = there.channel
        local = channel.name == "l"
        if local or channel.has("aliaslocal"):
            try:
                expansion = yield from self._expand(there.address)
            except Nobody:
                if local:
                    raise
            else:
                if expansion.key in visited or level >= self.rules.max_levels:
                    raise Refuse(Refusal.EXPANSION_LOOP, f"{expansion.key} at level {level}")
                for text in expansion.notes if self.steps is not None else ():
                    self.note(Step(4, there.address, channel.name, text=text))
                return (yield from self._each(expansion.made, visited | {expansion.key}, level + 1, held=held))
        if level == 0 and channel.has("viaaliasrequired"):
            raise Refuse(Refusal.UNKNOWN_ALIAS, f"channel {channel.name} takes addresses from aliases only")
        return [self._target(there, owner, held=held)]

    def _expand(self, address: str) -> Asking[Expansion]:
        return expand(self.rules, self.inquiry, address, self.request.now, from_reprocess=self.request.from_reprocess)

    def _each(self, made: tuple[Made, ...], visited: frozenset[str], level: int, *, held: bool) -> Asking[list[Target]]:
        targets: dict[tuple[str, str], Target] = {}
        for one in made:
            if self.steps is not None:
                self.note(Step(4, one.address, "", one.file, one.line, one.why))
            there = yield from self._rewrite(one.address, keep_route=one.keep_route, step=5)
            found = yield from self._deliver(there, visited, level, one.owner, held=held or one.held)
            for target in found:
                targets.setdefault((target.channel, target.address), target)
        return list(targets.values())

    def _target(self, there: Rewritten, owner: OwnerFacts | None, *, held: bool) -> Target:
        rules, channel = self.rules, there.channel
        limits = [channel.number("blocklimit", 0) * rules.block_size, rules.block_limit, owner.block_limit if owner else 0]
        address = there.address
        if channel.has("enqueueremoveroute"):
            parsed = parse_address(address)
            address = f"{parsed.local}@{parsed.domain}" if parsed.domain else parsed.local
        return Target(
            channel=channel.name,
            address=address,
            host=destination_host(there.address),
            quota=owner.quota if owner else "",
            intermediate=owner.address if owner else "",
            held=held,
            blocklimit=min((limit for limit in limits if limit > 0), default=0),
        )

    def _check_size(self, target: Target) -> None:
        if target.blocklimit and self.request.size is not None and self.request.size > target.blocklimit:
            raise _Stop(block_over(self.rules, target, self.request.recipient), f"SIZE={self.request.size}")

    def _swallowed(self, address: str) -> Target:
        channel = self.rules.imta.channels.get("bitbucket")
        if channel is None:
            text = "an access table asks for the missing channel bitbucket"
            raise _Stop(self.rules.refusals.status(Refusal.NOT_BUILT, self.request.recipient, text), text)
        return Target("bitbucket", address, channel.official_host.lower())

    def _explain_dequeue(self, target: Target) -> None:
        channel = self.rules.imta.channels[target.channel]
        self.note(Step(8, target.address, channel.name, channel.file, channel.line, "queued" + (", held" if target.held else "")))
        if channel.is_lmtp or channel.is_smtp:
            host = connect_host(self.rules, channel, target.address)
            wire = wire_address(self.rules, channel, target.address)
            self.note(Step(9, wire, channel.name, channel.file, channel.line, f"connect to {host} port {channel.port}"))


def is_postmaster(address: str) -> bool:
    """Whether the local part is postmaster, in any case, quoted or not."""
    return POSTMASTER in address.lower() and unquote(parse_address(address).local).lower() == POSTMASTER


def block_over(rules: Rules, target: Target, given: str) -> Status:
    """The reply for a message larger than a target's blocklimit."""
    text = rules.refusals.text(Refusal.BLOCK_OVER).replace("%d", str(target.blocklimit // 1024))
    return rules.refusals.status(Refusal.BLOCK_OVER, given, text)
