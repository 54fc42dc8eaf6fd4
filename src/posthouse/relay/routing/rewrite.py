"""Rewriting: from an address to a channel and the address as that channel sees it (imta-cnf 2, source-routes 1 and 3).

Guarantee: for every text parse_address takes, a Rewritten or an Unroutable comes out after at most 50 restarts;
superfluous hosts that lead to ourselves are dropped; an unanswered directory question is NoAnswer, never "not ours".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from posthouse.config.channel import Channel
from posthouse.mail.address import AddressError, parse_address, unquote
from posthouse.mail.status import Status
from posthouse.mapping.table import Tables
from posthouse.relay.directory.question import Domain
from posthouse.relay.routing.host_part import HostPart, Place, join, remaining_address, split_address
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.refusal import Refusal, Refusals, reply
from posthouse.relay.routing.result import Step
from posthouse.relay.routing.rewrite_template import Code, Inputs, LookupTemplate, Piece, Pieces, Template, render, render_url
from posthouse.relay.routing.rule_table import (
    FORWARD_ENVELOPE,
    REMEMBERED_HOSTS,
    Choice,
    Purpose,
    Ready,
    Rule,
    RuleTable,
    make_ready,
    simple_conditions_hold,
)

MAX_RESTARTS = 50


class Rewritten(NamedTuple):
    """An address on its channel."""

    address: str
    channel: Channel
    host: str
    """the new host"""
    route: str
    """the source route the template inserted, or empty"""


@dataclass(frozen=True, slots=True)
class Unroutable:
    """No channel takes the address."""

    status: Status
    reason: str
    malformed: bool = False
    """it is no address at all"""


RewriteResult: TypeAlias = Rewritten | Unroutable


class Settled(NamedTuple):
    """Where a host leads, whatever stands left of it: to `rest@host` on a channel."""

    channel: Channel
    host: str
    route: str
    ours: tuple[str, ...]
    """domains that must be ours and handled here"""
    otherwise: "Settled | None" = None
    """where it leads when they are not, None where that is not so simple either"""


@dataclass(frozen=True, slots=True)
class LocalHosts:
    """Which hosts are this machine, for mailRoutingHosts and mailHost."""

    names: frozenset[str]
    """lower case"""
    to_routing_host: bool = False
    """ROUTE_TO_ROUTING_HOST=1"""

    def routing_host(self, domain: Domain) -> str:
        """The host that handles the domain in our stead, or "" when we do."""
        hosts = domain.all("mailroutinghosts")
        if not hosts or any(host.lower() in self.names for host in hosts):
            return ""
        return hosts[0]


@dataclass(slots=True)
class Job:
    """One address on its way through the rules."""

    inquiry: Inquiry
    purpose: Purpose = FORWARD_ENVELOPE
    unique: str = ""
    keep_route: bool = False
    """the address was made by the mailHost step: `routelocal` does not shorten it"""
    steps: list[Step] | None = None
    bare_host: str = ""
    """the host of an address that names none, if not the rewriter's own"""
    given: str = ""
    """the address named in refusals, if not the one being rewritten"""
    step: int = 2
    """number the steps are recorded under"""
    probe_tag: str = ""
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Rewriter:
    """Everything rewriting needs of the configuration.

    Args:
        bare_host: the host of an address that names none.
        subaddress_char: one character.
    """

    table: RuleTable
    by_tag: Callable[[str], Channel | None]
    tables: Tables
    general: Mapping[str, str]
    refusals: Refusals
    local_hosts: LocalHosts
    bare_host: str
    subaddress_char: str = "+"
    settlements: dict[tuple[str, Place, Purpose], Settled | None] = field(default_factory=dict)
    """what `settled` has found out"""

    def settled(self, host: str, place: Place, purpose: Purpose) -> Settled | None:
        """What `rewrite` does with every address whose first host stands there, when the host and what is ours decide it.

        None where the address itself counts, a rule starts again, or the rewriting says more than a channel. An address
        on a channel that drops its own name is to have no other host in it.
        """
        key = (host, place, purpose)
        if key not in self.settlements:
            if len(self.settlements) >= REMEMBERED_HOSTS:
                self.settlements.clear()
            self.settlements[key] = self._settle(self.table.choices(host, place, purpose, ""), host, place)
        return self.settlements[key]

    def _settle(self, choices: Sequence[Choice], host: str, place: Place) -> Settled | None:
        if not choices:
            return None
        ready = choices[0].ready if choices[0].rule is not None else _as_it_is(host, host)
        if ready is None or ready.user is not None or ready.restart or ready.error_only or not ready.host:
            return None
        if place is Place.ROUTE and ready.probe_tag is not None:  # it counts for what is behind the route, too
            return None
        channel = self.by_tag(ready.tag)
        if channel is None or any(letter != "V" for letter, _ in ready.asks):
            return None
        ours = tuple(name for _, name in ready.asks)
        return Settled(channel, ready.host, ready.route, ours, self._settle(choices[1:], host, place) if ours else None)

    def rewrite(self, address: str, job: Job) -> Asking[RewriteResult]:
        """Rewrite until a channel is found or none is.

        Raises:
            NoAnswer: the directory is silent.
        """
        for _ in range(MAX_RESTARTS + 1):
            try:
                part = split_address(address)
            except AddressError as error:
                return Unroutable(self.refusals.status(Refusal.SYNTAX, job.given or address), str(error), malformed=True)
            if part.place is Place.NONE:
                part = HostPart(job.bare_host or self.bare_host, part.rest, Place.AT)
            made = yield from self._one(part, job)
            if isinstance(made, str):
                address = made
                continue
            if made is None:
                return self._failed(address, job)
            rule, ready, user = made
            if ready.restart:
                address = join(user, ready.host)
                self._note(job, address, None, rule, "rewrite again")
                continue
            channel = self.by_tag(ready.tag)
            if channel is None:
                return self._failed(address, job)
            if channel.name == "l" or (channel.has("routelocal") and not job.keep_route):
                shorter = remaining_address(part.rest)
                if shorter is not None:
                    self._note(job, shorter, channel, rule, "leads to this host: first host removed")
                    address = shorter
                    continue
            result = join(user, ready.host, ready.route)
            self._note(job, result, channel, rule, "")
            return Rewritten(result, channel, ready.host, ready.route)
        return Unroutable(self.refusals.status(Refusal.REWRITE_LOOP, job.given or address), f"more than {MAX_RESTARTS} rewrites")

    def _one(self, part: HostPart, job: Job) -> "Asking[tuple[Rule | None, Ready, str] | str | None]":
        """The first rule that applies; a text is a whole new address, None means that nothing applies."""
        for choice in self.table.choices(part.host, part.place, job.purpose, job.probe_tag):
            rule = choice.rule
            if rule is None:
                return None, _as_it_is(part.host, part.host), part.rest
            ready = choice.ready
            inputs: Inputs | None = None
            if ready is None:
                inputs = self._inputs(part, choice, job)
                ready = yield from self._render(rule, inputs, part.place, job)
                if ready is None:
                    continue
            if ready.asks:
                ours = yield from self._ours(ready.asks, part, job)
                if isinstance(ours, str):
                    return ours
                if not ours:
                    continue
            user = part.rest
            if ready.user is not None:
                rendered = render(ready.user, inputs or self._inputs(part, choice, job))
                if rendered is None:
                    continue
                user = rendered[0]
            job.error = ready.error or job.error
            if ready.probe_tag is not None:
                job.probe_tag = ready.probe_tag
            if ready.error_only:
                return rule, _as_it_is(part.host, part.host), part.rest
            if not user or not ready.host:
                continue
            return rule, ready, user
        return None

    def _inputs(self, part: HostPart, choice: Choice, job: Job) -> Inputs:
        local = part.rest
        try:
            inner = parse_address(part.rest)
            local = inner.local
        except AddressError:
            pass
        name, _, sub = local.partition(self.subaddress_char)
        if local.startswith('"'):
            name, _, sub = unquote(local).partition(self.subaddress_char)
        return Inputs(part.rest, choice.match, (name, sub), job.unique)

    def _ours(self, asks: tuple[tuple[str, str], ...], part: HostPart, job: Job) -> Asking[bool | str]:
        for letter, name in asks:
            domain = yield from job.inquiry.domain(name)
            elsewhere = self.local_hosts.routing_host(domain) if domain else ""
            if elsewhere and self.local_hosts.to_routing_host and letter == "V":
                return f"@{elsewhere}:{part.rest}@{part.host}"
            if (domain is not None and not elsewhere) is not (letter == "V"):
                return False
        return True

    def _render(self, rule: Rule, inputs: Inputs, place: Place, job: Job) -> Asking[Ready | None]:
        template = rule.template
        if isinstance(template, LookupTemplate):
            found = self._look_up(template, inputs)
            if found is None:
                return None
            template = found
            if not simple_conditions_hold(template.conditions, place, job.purpose):
                return None
        if not (yield from self._resolve(template, inputs, job)):
            return None
        return make_ready(template, inputs, job.purpose)

    def _look_up(self, template: LookupTemplate, inputs: Inputs) -> Template | None:
        text = ""
        for part in template.parts:
            if isinstance(part, str):
                text += part
                continue
            key = render(part, inputs)
            value = self.general.get(key[0].lower()) if key else None
            if value is None or "$(" in value:
                return None
            text += value
        return self.table.found_template(text)

    def _resolve(self, template: Template, inputs: Inputs, job: Job) -> Asking[bool]:
        """Answer the look-ups among the template's pieces; False when one finds nothing."""
        parts: list[Pieces] = [condition.argument for condition in template.conditions]
        parts += [template.user, template.host, template.route, template.tag]
        for part in parts:
            for piece in part:
                if piece.code in {Code.MAPPING, Code.URL, Code.ROUTINE}:
                    value = yield from self._answer(piece, inputs, job)
                    if value is None:
                        return False
                    inputs.resolved[piece] = value
        return True

    def _answer(self, piece: Piece, inputs: Inputs, job: Job) -> Asking[str | None]:
        if piece.code is Code.ROUTINE:
            return None
        if piece.code is Code.URL:
            url = render_url(piece.inner, inputs)
            return None if url is None else (yield from Inquiry.url(url))
        argument = render(piece.inner, inputs)
        if argument is None:
            return None
        if piece.text not in self.tables:
            return None
        result = yield from job.inquiry.mapping(self.tables, piece.text, argument[0])
        return result.text if result is not None and "Y" in result.flags else None

    def _failed(self, address: str, job: Job) -> Unroutable:
        given = job.given or address
        if job.error is None:
            status = self.refusals.status(Refusal.UNKNOWN_HOST, given)
        else:
            enhanced, text = job.error
            code = 450 if enhanced.startswith("4") else 550
            status = reply(code, enhanced, text or self.refusals.text(Refusal.UNKNOWN_HOST), given)
        if job.steps is not None:
            job.steps.append(Step(job.step, address, text=f"no channel: {status}"))
        return Unroutable(status, "no rule leads to a channel")

    @staticmethod
    def _note(job: Job, address: str, channel: Channel | None, rule: Rule | None, text: str) -> None:
        if job.steps is None:
            return
        what = f"rule {rule.pattern}" if rule else "the channel's own tag"
        job.steps.append(
            Step(
                job.step,
                address,
                channel.name if channel else "",
                rule.file if rule else channel.file if channel else "",
                rule.line if rule else channel.line if channel else 0,
                f"{what}; {text}" if text else what,
            )
        )


def _as_it_is(host: str, tag: str) -> Ready:
    return Ready(None, host, "", tag, restart=False, error_only=False, asks=(), probe_tag=None, error=None)
