"""The compiled rewrite rules: for a host and a purpose, which rules are left to try (imta-cnf 2.1, 2.4).

What can be decided from the host, its place and the purpose alone is decided once and kept (`choices`): conditions
other than `$V`/`$Z`, and the new host, route and tag of templates that ask nothing. The memory is bounded; it is
emptied when full, since hosts come from strangers. Rules that need the address itself are rendered each time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from posthouse.config.channel import Channel
from posthouse.relay.routing.host_part import Place
from posthouse.relay.routing.host_pattern import EVERYTHING, MATCH_ALL, HostMatch, label_count, probes, whole_host
from posthouse.relay.routing.rewrite_template import (
    Code,
    Condition,
    Inputs,
    LookupTemplate,
    Pieces,
    Template,
    TemplateError,
    parse_found,
    parse_template,
    render,
)

REMEMBERED_HOSTS = 4096
REMEMBERED_TEMPLATES = 1024
_ASKING_CODES = frozenset({Code.MAPPING, Code.URL, Code.ROUTINE, Code.CASE})
_ADDRESS_CODES = _ASKING_CODES | {Code.USER, Code.UNIQUE}


class RuleText(Protocol):
    """A rule as the configuration has it."""

    @property
    def pattern(self) -> str: ...  # noqa: D102
    @property
    def template(self) -> str: ...  # noqa: D102
    @property
    def file(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    pattern: str
    template: Template | LookupTemplate
    file: str
    line: int


class Purpose(NamedTuple):
    """What is being rewritten, for which the same host may match different rules."""

    header: bool
    backward: bool
    source: str
    """channel doing the rewriting, "" when its `norules` switches the test off"""
    destination: str
    """destination channel, "" while unknown or when its `norules` switches the test off"""


def coming_in(channel: Channel | None) -> Purpose:
    """The purpose when mail comes in on this channel."""
    name = "" if channel is None or channel.has("norules") else channel.name
    return Purpose(header=False, backward=False, source=name, destination="")


FORWARD_ENVELOPE = Purpose(header=False, backward=False, source="", destination="")


class Choice(NamedTuple):
    """A rule left to try. rule None: the host is a channel's own tag and is used as it is."""

    rule: Rule | None
    match: HostMatch
    ready: "Ready | None" = None
    """what is already known; None: the template must be rendered for the address"""


class Ready(NamedTuple):
    """The parts of a result. user None: the rest of the address as it is."""

    user: Pieces | None
    host: str
    route: str
    tag: str
    restart: bool
    error_only: bool
    asks: tuple[tuple[str, str], ...]
    """(V or Z, domain): still to be asked, in this order"""
    probe_tag: str | None
    """from `$T`: put before the host in later probes"""
    error: tuple[str, str] | None
    """from `$?`: enhanced code and text"""


class RuleTable:
    """All rules of one configuration.

    Args:
        rules: in file order, templates already parsed.
        is_tag: whether a host is the official host or an alias of a channel.
    """

    def __init__(self, rules: Iterable[Rule], is_tag: Callable[[str], bool]) -> None:
        self._by_pattern: dict[str, list[Rule]] = {}
        for rule in rules:
            self._by_pattern.setdefault(rule.pattern.lower(), []).append(rule)
        self._longest = max((label_count(pattern) for pattern in self._by_pattern), default=1)
        self._is_tag = is_tag
        self._choices: dict[tuple[str, Place, Purpose, str], tuple[Choice, ...]] = {}
        self._found: dict[str, Template | None] = {}

    def choices(self, host: str, place: Place, purpose: Purpose, probe_tag: str) -> tuple[Choice, ...]:
        """The rules left to try for this host, in order."""
        key = (host, place, purpose, probe_tag)
        found = self._choices.get(key)
        if found is None:
            if len(self._choices) >= REMEMBERED_HOSTS:
                self._choices.clear()
            found = self._choices[key] = tuple(self._collect(host, place, purpose, probe_tag))
        return found

    def _collect(self, host: str, place: Place, purpose: Purpose, probe_tag: str) -> list[Choice]:
        prefix = f"{probe_tag.lower()}|" if probe_tag else ""
        matches = [whole_host(EVERYTHING, host), *probes(host, self._longest)]
        collected: list[Choice] = []
        for match in matches:
            self._add(collected, prefix, match, place, purpose)
        if self._is_tag(host):
            collected.append(Choice(None, whole_host(MATCH_ALL, host)))
        self._add(collected, prefix, whole_host(MATCH_ALL, host), place, purpose)
        return collected

    def _add(self, collected: list[Choice], prefix: str, match: HostMatch, place: Place, purpose: Purpose) -> None:
        for rule in self._by_pattern.get(prefix + match.pattern, ()):
            template = rule.template
            if isinstance(template, LookupTemplate):
                collected.append(Choice(rule, match))
                continue
            if not simple_conditions_hold(template.conditions, place, purpose):
                continue
            if needs_address(template):
                collected.append(Choice(rule, match))
                continue
            ready = make_ready(template, Inputs("", match), purpose)
            if ready is not None:
                collected.append(Choice(rule, match, ready))

    def found_template(self, text: str) -> Template | None:
        """What a template with general database values in it means; None when it is no template."""
        if text not in self._found:
            if len(self._found) >= REMEMBERED_TEMPLATES:
                self._found.clear()
            try:
                self._found[text] = parse_found(text)
            except TemplateError:
                self._found[text] = None
        return self._found[text]


def compile_rule(text: RuleText) -> Rule:
    """One rule, compiled.

    Raises:
        TemplateError: its template is none.
    """
    return Rule(text.pattern, parse_template(text.template), text.file, text.line)


def simple_conditions_hold(conditions: tuple[Condition, ...], place: Place, purpose: Purpose) -> bool:
    """Whether the conditions without an argument hold."""
    for condition in conditions:
        match condition.letter:
            case "E":
                holds = not purpose.header
            case "B":
                holds = purpose.header
            case "F":
                holds = not purpose.backward
            case "R":
                holds = purpose.backward
            case "A" | "P" | "S" | "X":
                holds = condition.letter == (place or Place.AT)
            case _:
                continue
        if not holds:
            return False
    return True


def needs_address(template: Template) -> bool:
    """Whether conditions, host, route or tag of the template depend on more than the host."""
    if any(piece.code in _ASKING_CODES for piece in template.user):
        return True
    parts = [template.host, template.route, template.tag, *(condition.argument for condition in template.conditions)]
    return any(piece.code in _ADDRESS_CODES for part in parts for piece in part)


def make_ready(template: Template, inputs: Inputs, purpose: Purpose) -> Ready | None:
    """Render conditions and parts; None when a condition fails or something in them is missing.

    The user part is left as pieces unless it changes the case of what follows.
    """
    asks: list[tuple[str, str]] = []
    channels: dict[str, list[str]] = {}
    probe_tag: str | None = None
    error: tuple[str, str] | None = None
    for letter, argument, enhanced in template.conditions:
        if not argument and letter != "T":
            continue
        rendered = render(argument, inputs)
        if rendered is None:
            return None
        if letter in "VZ":
            asks.append((letter, rendered[0]))
        elif letter in "MNQC":
            channels.setdefault(letter, []).append(rendered[0].lower())
        elif letter == "T":
            probe_tag = rendered[0]
        elif letter == "?":
            error = (enhanced or "5.1.2", rendered[0])
    if not _channels_hold(channels, purpose):
        return None
    user: Pieces | None = None if template.user == ((Code.USER, -1, "", ()),) else template.user
    mode = "_"
    if user and any(piece.code is Code.CASE for piece in user):
        first = render(user, inputs)
        mode = first[1] if first else mode
    texts: list[str] = []
    for part in (template.host, template.route, template.tag):
        made = render(part, inputs, mode)
        if made is None:
            return None
        texts.append(made[0])
        mode = made[1]
    host, route, tag = texts
    return Ready(user, host, route, tag, template.restart, template.error_only, tuple(asks), probe_tag, error)


def _channels_hold(channels: dict[str, list[str]], purpose: Purpose) -> bool:
    for letters, name in (("MN", purpose.source), ("QC", purpose.destination)):
        if name:
            wanted, unwanted = channels.get(letters[0]), channels.get(letters[1])
            if (wanted and name not in wanted) or (unwanted and name in unwanted):
                return False
    return True
