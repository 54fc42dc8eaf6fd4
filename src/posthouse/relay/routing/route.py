"""One RCPT TO, from the address as given to the targets that are queued: steps 1 to 6 of source-routes 3.

Guarantee: for any request the generator ends with an Accepted of at least one target or with a Rejected; it asks nothing but
directory questions, never raises, and makes no permanent refusal of an unanswered question or of an entry or alias that
yields no address at all. Expansion ends after MAX_ALIAS_LEVELS levels or when an entry is met a second time on the same way.
When one of several addresses an alias stands for is refused, the recipient is refused as a whole, and nothing lost unseen; of
a group's members and of forwarding addresses only the refused ones are, later and by a notice (fan_out.py).
`postmaster` of any domain of ours is never refused for good: without an entry or alias that can take it, it is held.
"""

from dataclasses import replace
from typing import cast

import msgspec

from posthouse.mail.address import parse_address, unquote
from posthouse.relay.directory.question import Answer, NeedEntry
from posthouse.relay.routing.access import AccessProbe, Verdict, check_access
from posthouse.relay.routing.connect import connect_host, destination_host, wire_address
from posthouse.relay.routing.expansion import AT_HOME, Expansion, Nobody, expand
from posthouse.relay.routing.fan_out import EXPAND_LIMIT, fan_out, postponed
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry, NoAnswer
from posthouse.relay.routing.lookup import POSTMASTER
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import HELD_BY_TABLE, Accepted, Noted, Rejected, Routed, RouteRequest, Step, Streaming, Target
from posthouse.relay.routing.rewrite import Job, Rewritten, Unroutable
from posthouse.relay.routing.rule_table import coming_in
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.size_limit import block_over, is_too_long, limited, line_over
from posthouse.relay.routing.srs import SrsFault
from posthouse.relay.routing.standing import Refuse, TooDeep
from posthouse.relay.routing.target import delivers, target_of, without_route
from posthouse.relay.routing.way import START, Postpone, Stop, Way

_FIRST_REWRITE = 2


def route_recipient(rules: Rules, request: RouteRequest, answered: tuple[NeedEntry, Answer] | None = None) -> Asking[Routed]:
    """Decide one recipient. Feed the generator the answers to what it yields; it returns Accepted or Rejected.

    Args:
        rules: that count.
        request: what is to be decided.
        answered: a question that has been asked already (usual.py), with its answer: it is not asked again.
    """
    return cast("Asking[Routed]", stream_recipient(rules, request, answered))  # only a streaming request makes batches


def stream_recipient(
    rules: Rules, request: RouteRequest, answered: tuple[NeedEntry, Answer] | None = None
) -> Streaming[Routed]:
    """The same for a request that is `streaming`: Batches come among the questions, any answer lets it go on."""
    run = _Run(rules, request)
    run.inquiry.answered = answered
    given = request.recipient
    delay = 0.0
    try:
        return (yield from run.route())
    except Stop as stop:
        status, reason, delay = stop.status, stop.reason, stop.delay
    except Refuse as refuse:
        status, reason = rules.refusals.status(refuse.refusal, given, refuse.text), refuse.reason
    except SrsFault as fault:
        status, reason = rules.refusals.status(Refusal.RELAYING, given, f"SRS address refused, {fault}"), str(fault)
    except AmbiguousEntry as several:
        status, reason = rules.refusals.status(Refusal.DUPLICATE_ADDRS, given), str(several)
    except NoAnswer as silence:
        status, reason = rules.refusals.status(Refusal.TEMPORARY_FAILURE, given), str(silence)
    return Rejected(status, reason, delay, run.done())


class _Run:
    """One decision under way."""

    __slots__ = (
        "bare_host", "checked", "deep", "expanded", "followed", "forwards", "groups", "inquiry", "level", "named", "noted",
        "purpose", "reached", "request", "rules", "steps",
    )  # fmt: skip

    def __init__(self, rules: Rules, request: RouteRequest) -> None:
        self.rules = rules
        self.request = request
        self.inquiry = Inquiry()
        self.steps: list[Step] | None = [] if request.explain else None
        self.expanded = self.followed = self.level = 0
        self.noted: Noted | None = None
        self.groups: set[str] = set()
        self.forwards: dict[str, int] = {}
        self.deep: dict[Target, TooDeep] = {}
        self.reached: set[str] = set()
        """keys of the owners met"""
        self.checked: set[tuple[str, str]] = set()
        self.named: dict[tuple[str, str], int] = {}
        """how often each has been found where duplicates are not checked for"""
        source = rules.imta.channels.get(request.source_channel)
        self.purpose = coming_in(source)
        self.bare_host = (source.value("defaulthost") if source else None) or rules.rewriter.bare_host

    def done(self) -> tuple[Step, ...]:
        return tuple(self.steps or ())

    @property
    def expand_limit(self) -> int:
        source = self.rules.imta.channels.get(self.request.source_channel)
        return source.number("expandlimit", EXPAND_LIMIT) if source is not None else EXPAND_LIMIT

    def note(self, step: Step) -> None:
        if self.steps is not None:
            self.steps.append(replace(step, level=self.level))

    def route(self) -> Streaming[Routed]:
        rules, request = self.rules, self.request
        if self.steps is not None:
            self.note(Step(1, request.recipient, text="RCPT TO"))
        if rules.srs is not None:
            bounced = rules.srs.reverse(request.recipient, self._day) if "=" in request.recipient else None
            if bounced is not None:
                return (yield from self._bounce(bounced))
        first = yield from self.rewrite(self._first_address())
        probe = self._probe(first.channel.name, first.address)
        # what waits on reprocess was asked about when it was named; a member or forward of it was never to be (mappings.md 6)
        tables = () if request.from_reprocess else rules.before_tables
        verdict = yield from check_access(rules, self.inquiry, probe, tables)
        self._obey(verdict, 3, first.address, first.channel.name)
        if delivers(first.channel) and not verdict.allowed_by_table:
            yield from self._guard(first)
        if verdict.bitbucket:
            return Accepted((self._swallowed(first.address),), verdict.hold, verdict.delay, self.done(), self.noted)
        targets = yield from self._targets(first)
        hold, delay = verdict.hold, verdict.delay
        if verdict.size:
            targets = [limited(target, verdict.size) for target in targets]
        final: list[Target] = []
        for target in targets:
            if (target.channel, target.address) in self.checked:
                final.append(target)
                continue
            probe = self._probe(target.channel, target.address)
            verdict = yield from check_access(rules, self.inquiry, probe, rules.after_tables)
            self._obey(verdict, 6, target.address, target.channel)
            hold, delay = hold or verdict.hold, max(delay, verdict.delay)
            checked = limited(target, verdict.size) if verdict.size else target
            final.append(self._swallowed(target.address) if verdict.bitbucket else checked)
            self._check_size(checked)
        self.level = 0
        for target in final if self.steps is not None else ():
            self._explain_dequeue(target)
        return Accepted(tuple(final), hold, delay, self.done(), self.noted)

    @property
    def _day(self) -> int:
        return int(self.request.now // 86_400)

    def _bounce(self, address: str) -> Asking[Routed]:
        """A bounce to a sender we had rewritten goes on to him; no table is asked, for the signature is our permission."""
        if self.request.sender:
            raise Refuse(Refusal.RELAYING, "SRS address", "this address takes bounces only")
        self.note(Step(2, address, text="the sender we had rewritten (SRS)"))
        there = yield from self.rewrite(address)
        if there.channel.name == "l":
            raise Refuse(Refusal.UNKNOWN_ALIAS, "an SRS address of a domain of ours")
        target = self._target(there, START)
        if self.steps is not None:
            self._explain_dequeue(target)
        return Accepted((target,), steps=self.done())

    def _in_our_name(self, target: Target) -> Asking[Target]:
        """A forwarded copy that goes outside has a sender whose domain lets us send."""
        srs, sender = self.rules.srs, self.request.sender
        if srs is None or (yield from self.inquiry.domain(sender.rpartition("@")[2])) is not None:
            return target
        ours = srs.rewritten(sender, self._day)
        if ours == sender:
            return target
        self.note(Step(5, target.address, target.channel, text=f"envelope From {ours} (SRS)"))
        return msgspec.structs.replace(target, sender=ours)

    def _first_address(self) -> str:
        given = self.request.recipient
        if self.rules.local_host and unquote(given).lower() == POSTMASTER:
            return f"{given}@{self.rules.local_host}"
        return given

    def rewrite(self, address: str, *, keep_route: bool = False, step: int = _FIRST_REWRITE) -> Asking[Rewritten]:
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
        if self.steps is None:
            result = yield from self.rules.rewriter.rewrite(address, job)
        else:
            before = len(self.steps)
            result = yield from self.rules.rewriter.rewrite(address, job)
            self.steps[before:] = [replace(one, level=self.level) for one in self.steps[before:]]
        if isinstance(result, Unroutable):
            if result.malformed and step != _FIRST_REWRITE:
                raise Refuse(Refusal.TEMPORARY_FAILURE, f"expansion made {address!r}, which is no address: {result.reason}")
            raise Stop(result.status, result.reason)
        return result

    def _probe(self, channel: str, address: str) -> AccessProbe:
        return AccessProbe(self.request, channel, address)

    def _obey(self, verdict: Verdict, step: int, address: str, channel: str) -> None:
        for text in verdict.explained if self.steps is not None else ():
            file, line = self.rules.table_places.get(text.partition(":")[0], ("", 0))
            self.note(Step(step, address, channel, file, line, text))
        if verdict.rejected is not None:
            raise Stop(verdict.rejected, verdict.log or f"access table: {channel} {address}", verdict.delay)
        if verdict.header or verdict.log:
            before = self.noted or Noted((), ())
            self.noted = Noted((*before.header, *verdict.header.splitlines()), (*before.log, *filter(None, (verdict.log,))))

    def _guard(self, first: Rewritten) -> Asking[None]:
        """Nobody may name a delivery channel: what is not local and not SMTP needs an explicit `$Y`.

        That holds for mail of our own too: notices and answers go to senders, redirects to whom users name (decision 155).
        """
        request, channel = self.request, first.channel
        if request.source_channel not in self.rules.imta.channels:
            return
        if not request.from_reprocess or not (yield from self.may_be_forwarded_to(first)):
            status = self.rules.refusals.status(Refusal.RELAYING, request.recipient)
            raise Stop(status, f"{request.source_channel} named the channel {channel.name} directly")

    def may_be_forwarded_to(self, there: Rewritten) -> Asking[bool]:
        """Whether a user may forward there: a table allows the delivery channel, or it runs nothing and has no mailboxes."""
        if there.channel.name == "bitbucket":
            return True
        probe = self._probe(there.channel.name, there.address)
        verdict = yield from check_access(self.rules, self.inquiry, probe, self.rules.before_tables)
        return verdict.allowed_by_table and verdict.rejected is None

    def _targets(self, first: Rewritten) -> Streaming[list[Target]]:
        try:
            found = yield from self.deliver(first, START._replace(forwarded=True) if self.request.redirected else START)
        except Postpone as why:
            return [self._postponed(first.address, str(why))]
        except (Refuse, Stop, AmbiguousEntry) as refused:
            if first.channel.name != "l" or not is_postmaster(first.address):
                raise
            return [self._held_postmaster(first.address, str(refused))]
        deep = [target for target, refused in self.deep.items() if refused.key not in self.reached]
        if deep and not found and not (self.expanded and self.request.streaming):
            raise self.deep[deep[0]]
        found += deep
        if not found and not (self.expanded and self.request.streaming):
            raise Refuse(Refusal.UNKNOWN_ALIAS, "there is no member")
        return found

    def _postponed(self, address: str, why: str) -> Target:
        waiting = postponed(self.rules, address)
        if waiting is None:
            text = "a group asks for the missing channel reprocess"
            raise Refuse(Refusal.NOT_BUILT, text, text)
        self.level = 1
        self.note(Step(4, waiting, "reprocess", text=f"expanded in the reprocess channel: {why}"))
        return Target("reprocess", waiting, destination_host(waiting), intermediate=address)

    def _held_postmaster(self, address: str, reason: str) -> Target:
        hold = self.rules.imta.channels.get("hold") or self.rules.imta.channels["l"]
        why = f"held: postmaster is always accepted, but {reason}"
        waiting = f"@{hold.official_host}:{address}" if hold.name == "hold" else address
        self.note(Step(4, waiting, hold.name, text=f"postmaster is always accepted; held, since: {reason}"))
        return Target(hold.name, waiting, destination_host(waiting), intermediate=address, held=True, why=why)

    def deliver(self, there: Rewritten, way: Way) -> Streaming[list[Target]]:
        """The targets of one rewritten address: itself, or what alias expansion makes of it."""
        rules, channel = self.rules, there.channel
        local = channel.name == "l"
        if local or channel.has("aliaslocal"):
            try:
                expansion = yield from self._expand(there.address, way.visited)
            except Nobody:
                if local:
                    raise
            else:
                for text in expansion.notes if self.steps is not None else ():
                    self.note(Step(4, there.address, channel.name, text=text))
                if expansion.key in way.visited and expansion.group is not None:
                    self.note(Step(4, there.address, channel.name, text="the group stands in itself: nothing more comes of it"))
                    return []
                key = expansion.key.removesuffix(AT_HOME)
                again = expansion.key in way.visited
                if again or way.level >= rules.max_levels:
                    raise TooDeep("" if again else key, way.level, f"{expansion.key} at level {way.level}")
                self.reached.add(key)
                if expansion.many:
                    return (yield from fan_out(self, there.address, expansion, way))
                return (yield from self._each(expansion, way))
        if way.level == 0 and channel.has("viaaliasrequired"):
            raise Refuse(Refusal.UNKNOWN_ALIAS, f"channel {channel.name} takes addresses from aliases only")
        target = self._target(there, way)
        if rules.srs is not None and way.forwarded and not way.sender and channel.is_smtp and self.request.sender:
            target = yield from self._in_our_name(target)
        if rules.after_tables and (way.listed or way.forwarded):
            target = yield from self._check_one(target)
        return [target]

    def _check_one(self, target: Target) -> Asking[Target]:
        """Ask the tables about one of several targets: a rejection is its own."""
        probe = self._probe(target.channel, target.address)
        verdict = yield from check_access(self.rules, self.inquiry, probe, self.rules.after_tables)
        self._obey(verdict, 6, target.address, target.channel)
        if verdict.bitbucket:
            target = self._swallowed(target.address)
        if verdict.hold:
            target = msgspec.structs.replace(target, held=True, why=HELD_BY_TABLE)
        if verdict.size:
            smallest = min(filter(None, (target.own_limit, verdict.size)))
            target = msgspec.structs.replace(target, own_limit=smallest)
            self._check_size(msgspec.structs.replace(target, blocklimit=smallest))
        self.checked.add((target.channel, target.address))
        return target

    def _expand(self, address: str, visited: frozenset[str]) -> Asking[Expansion]:
        asked = self.request
        return expand(
            self.rules, self.inquiry, address, asked.now, visited, from_reprocess=asked.from_reprocess, at_home=asked.at_home
        )  # fmt: skip

    def _each(self, expansion: Expansion, way: Way) -> Streaming[list[Target]]:
        targets: dict[tuple[str, str, int], Target] = {}
        visited, level = way.visited | {expansion.key}, way.level + 1
        for one in expansion.made:
            self.level = level
            if self.steps is not None:
                self.note(Step(4, one.address, "", one.file, one.line, one.why))
            there = yield from self.rewrite(one.address, keep_route=one.keep_route, step=5)
            onward = Way(
                visited, level, one.owner, way.held or one.held, way.sender, way.block_limit, way.edit, way.listed,
                way.forwarded, one.answers, way.repeats,
            )  # fmt: skip
            found = yield from self.deliver(there, onward)
            for target in found:
                targets.setdefault((target.channel, target.address, target.repeat), target)
        return list(targets.values())

    def _target(self, there: Rewritten, way: Way) -> Target:
        target = target_of(self.rules, there, way)
        return self._of_many(target, way) if way.listed or way.forwarded or way.answers else target

    def _of_many(self, target: Target, way: Way) -> Target:
        """One of several targets: its own size limit refuses nobody else, its copy may have another sender."""
        if not way.listed and not way.forwarded:
            return msgspec.structs.replace(target, answers=True)
        self._check_size(target)
        shown = (target.intermediate or without_route(target.address)) if way.sender else ""
        answers = way.answers and not way.listed
        repeat = 0
        if way.repeats:
            repeat = self.named.get((target.channel, target.address), 0)
            self.named[target.channel, target.address] = repeat + 1
        return msgspec.structs.replace(
            target, blocklimit=way.block_limit, own_limit=target.blocklimit, sender=way.sender, edit=way.edit, shown=shown,
            answers=answers, listed=way.listed, repeat=repeat,
        )  # fmt: skip

    def _check_size(self, target: Target) -> None:
        if target.blocklimit and self.request.size is not None and self.request.size > target.blocklimit:
            raise Stop(block_over(self.rules, target, self.request.recipient), f"SIZE={self.request.size}")
        lines = self.request.lines
        if lines is not None and is_too_long(self.rules, target, lines):
            raise Stop(line_over(self.rules, target, self.request.recipient), f"{lines} lines")

    def _swallowed(self, address: str) -> Target:
        channel = self.rules.imta.channels.get("bitbucket")
        if channel is None:
            text = "an access table asks for the missing channel bitbucket"
            raise Stop(self.rules.refusals.status(Refusal.NOT_BUILT, self.request.recipient, text), text)
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
