r"""imta.cnf: rewrite rules, a blank line, channel blocks with blank lines between them (imta-cnf 1, 2, 3).

    pattern<blanks>template          `!` in column 1 comments, `\` continues, `<name` includes
    <blank line>
    name keyword [args] ...
    official-host
    [proper-name [alias]] ...
    <blank line>

`defaults keyword ...` sets keywords for the channels that follow, `nodefaults` clears them. A channel line among the rules is
reported as a missing blank line, not guessed. Unknown keywords are kept and warned about, and so are those whose work nobody
does here (idle.py). Templates are not looked into
here, but for blanks before a `$?`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from posthouse.config import idle
from posthouse.config.channel import DEFAULT_NOTICES, Channel
from posthouse.config.channel_line import Setting, Word, resolve, settings, words
from posthouse.config.fault import Faults
from posthouse.config.source import Logical, Source
from posthouse.config.value import names
from posthouse.mail.envelope import Priority

_STOCK = names("""l ims-ms native pipe process reprocess hold bitbucket autoreply conversion defragment defaults nodefaults""")
_NAME = re.compile(r"[A-Za-z0-9_$.-]{1,32}")


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """One rule as written, continuations joined by one blank."""

    pattern: str
    template: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class ImtaCnf:
    """The file's content.

    Args:
        rewrite_rules: in file order.
        channels: lower-case name to channel, in file order.
        tags: lower-case host (official, proper name, alias) to channel.
    """

    rewrite_rules: tuple[RewriteRule, ...]
    channels: Mapping[str, Channel]
    tags: Mapping[str, Channel] = field(repr=False)

    def by_tag(self, tag: str) -> Channel | None:
        """The channel whose official host, proper name or alias this is, any case."""
        return self.tags.get(tag.lower())

    @property
    def local(self) -> Channel | None:
        """Channel `l`, if there is one."""
        return self.channels.get("l")


@dataclass(slots=True)
class _Block:
    """A channel block while it is read."""

    name: str
    settings: list[Setting]
    unknown: list[Word]
    first: Logical
    hosts: list[tuple[str, str, Logical]]


def read_imta_cnf(path: Path, source: Source) -> ImtaCnf:
    """The whole file; faults go to the source."""
    faults = source.faults
    lines = _written(source.logical(path, "!"), faults)
    rules: list[RewriteRule] = []
    first: Logical | None = None
    for line in lines:
        if line is None:
            break
        if _is_channel_line(line):
            faults.error(line.file, line.line, "missing blank line before the channel table")
            first = line
            break
        rule = _rule(line, faults)
        if rule:
            rules.append(rule)
    blocks = _blocks(_chain(first, lines), faults)
    channels = {block.name: _channel(block) for block in blocks}
    local = channels.get("l")
    if local:
        ages = local.notices(Priority.NORMAL)
        channels = {name: replace(channel, local_notices=ages) for name, channel in channels.items()}
    tags = _tags(channels, blocks, faults)
    return ImtaCnf(tuple(rules), MappingProxyType(channels), MappingProxyType(tags))


def _written(lines: Iterator[Logical | None], faults: Faults) -> Iterator[Logical | None]:
    """The lines without those that only look like comments."""
    for line in lines:
        if line is not None and line.pieces[0].text.lstrip(" \t").startswith("!"):
            faults.error(line.file, line.line, "a comment has its ! in column 1")
        else:
            yield line


def _chain(first: Logical | None, rest: Iterator[Logical | None]) -> Iterator[Logical | None]:
    if first:
        yield first
    yield from rest


def _is_channel_line(line: Logical) -> bool:
    """Whether what stands among the rules is the first line of a channel block: a channel's name, then keywords or nothing."""
    found = words(line, Faults())
    name = found[0].text.lower()
    if name not in _STOCK and not name.startswith("tcp_"):
        return False
    return len(found) == 1 or bool(found[1].keyword) or name in {"defaults", "nodefaults"}


def _rule(line: Logical, faults: Faults) -> RewriteRule | None:
    pattern, _, template = line.joined(" ").strip(" \t").replace("\t", " ").partition(" ")
    template = template.strip(" ")
    if not template:
        faults.error(line.file, line.line, f"rewrite rule {pattern[:40]!r} has no template")
        return None
    question = re.search(r"\$\d*\?", template)
    if " " in (template[: question.start()] if question else template):
        faults.error(line.file, line.line, f"blank inside the template of rewrite rule {pattern[:40]!r}")
        return None
    return RewriteRule(pattern, template, line.file, line.line)


def _blocks(lines: Iterator[Logical | None], faults: Faults) -> list[_Block]:
    found: dict[str, _Block] = {}
    defaults: list[Setting] = []
    default_words: list[Word] = []
    block: _Block | None = None
    fresh = True
    for line in lines:
        if line is None:
            _finish(block, faults)
            block, fresh = None, True
        elif fresh:
            name, *rest = words(line, faults)
            folded = name.text.lower()
            set_now, unknown = settings(rest, faults)
            fresh = folded in {"defaults", "nodefaults"}
            for word in unknown:
                faults.warn(word.file, word.line, f"unknown keyword {word.text[:40]} on {folded}")
            for keyword in dict.fromkeys(one.keyword for one in set_now if one.keyword in idle.KEYWORDS):
                reason = f"keyword {keyword} on {folded} does nothing: {idle.KEYWORDS[keyword]}"
                faults.warn(line.file, line.line, reason)
            if fresh:
                defaults, default_words = (set_now, unknown) if folded == "defaults" else ([], [])
                continue
            if not _NAME.fullmatch(name.text):
                faults.error(line.file, line.line, f"{name.text[:40]!r} is no channel name: 1 to 32 letters, digits, _ - . $")
            elif folded in found:
                faults.error(line.file, line.line, f"channel {folded} given twice, first at line {found[folded].first.line}")
            block = _Block(folded, [*defaults, *set_now], [*default_words, *unknown], line, [])
            found.setdefault(folded, block)
        elif block:
            _host_line(block, line, faults)
    _finish(block, faults)
    return list(found.values())


def _finish(block: _Block | None, faults: Faults) -> None:
    if block and not block.hosts:
        faults.error(block.first.file, block.first.line, f"channel {block.name} has no official host")


def _host_line(block: _Block, line: Logical, faults: Faults) -> None:
    found = re.findall(r"[^ \t]+", line.joined(" "))
    if not block.hosts:
        if len(found) > 1:
            faults.error(line.file, line.line, f"channel {block.name}: more than one word on the line of the official host")
        block.hosts.append((found[0], found[0], line))
    elif len(found) > 2:
        faults.error(line.file, line.line, f"channel {block.name}: expected `proper-name [alias]`; is a blank line missing?")
    else:
        block.hosts.append((found[0], found[-1], line))


def _channel(block: _Block) -> Channel:
    official = block.hosts[0][0] if block.hosts else ""
    return Channel(
        name=block.name,
        official_host=official,
        aliases=tuple((proper, alias) for proper, alias, _ in block.hosts[1:]),
        keywords=MappingProxyType(resolve(block.settings)),
        unknown=tuple(word.text for word in block.unknown),
        file=block.first.file,
        line=block.first.line,
        local_notices=DEFAULT_NOTICES,
    )


def _tags(channels: Mapping[str, Channel], blocks: list[_Block], faults: Faults) -> dict[str, Channel]:
    """Every host of every channel; a host of two channels is a fault."""
    tags: dict[str, Channel] = {}
    for block in blocks:
        for proper, alias, line in block.hosts:
            for host in dict.fromkeys((proper.lower(), alias.lower())):
                holder = tags.setdefault(host, channels[block.name])
                if holder.name != block.name:
                    faults.error(line.file, line.line, f"host {host} of channel {block.name} already belongs to {holder.name}")
    return tags
