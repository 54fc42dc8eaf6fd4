"""Mapping tables, compiled once and probed often (mappings.md 2, 3).

Entries are tried from the top. An entry whose template fails is passed over: the next one sees the original string. $C $L $R go
on with the output as input. Without a match the probe gives None. A probe always ends: at most 10 restarts that do not shorten
the string, 1,000 in all, 10 tables deep, 1,000 other tables asked, outputs of at most 65,536 characters; where a limit is met
the mapping stops with what it has, or the entry fails.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

from posthouse.mapping.error import MappingError, SyntaxFault
from posthouse.mapping.expand import MAX_OUTPUT, Expansion, World
from posthouse.mapping.pattern import Pattern, fold
from posthouse.mapping.question import Question
from posthouse.mapping.template import Template, compile_template
from posthouse.mapping.throttle import Throttle

MAX_RESTARTS = 10
MAX_ALL_RESTARTS = 1000
MAX_DEPTH = 10
MAX_NESTED = 1000
_VERDICTS = frozenset("YNF")
_NO_FLAGS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Result:
    """What a mapping gave.

    Args:
        text: the output.
        flags: upper-case letters, `<` and `>`.
    """

    text: str
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Entry:
    """One compiled entry."""

    pattern: Pattern
    template: Template
    result: Result | None
    """what it gives as the first that applies, when that is always the same and ends the mapping"""


def _entry(pattern: str, template: str) -> Entry:
    matcher = Pattern(pattern)
    compiled = compile_template(template, matcher.saved)
    fixed = compiled.text is not None and compiled.control in {"", "E"}
    return Entry(matcher, compiled, Result(compiled.text or "", compiled.flags) if fixed else None)


UNDECIDED = Result("", frozenset())
"""from `at_once`: the entry that matches has to be worked out. Told from others by identity."""

Walk = Generator[Question, str | None, Result | None]


class _Probe:
    """One probe with all it asks of other tables: what its limits count."""

    __slots__ = ("depth", "flags", "nested")

    def __init__(self, flags: frozenset[str]) -> None:
        self.flags = flags
        self.depth = 0
        self.nested = 0


class Tables:
    """Compiled tables; names are compared without case.

    Made by `compile`; the tables never change, only conn_throttle's memory does.
    """

    def __init__(self, tables: dict[str, tuple[Entry, ...]], world: World) -> None:
        self._tables = tables
        self._world = world

    @classmethod
    def compile(
        cls,
        tables: Iterable[tuple[str, Iterable[tuple[str, str]]]],
        *,
        general: Callable[[str], str | None] = lambda _: None,
        chance: Callable[[], float] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> "Tables":
        """Compiles tables.

        Args:
            tables: name and (pattern, template) pairs; of two tables of one name the first counts.
            general: the general database, asked with a lower-case key.
            chance: a number from 0 up to 1 for `$?x?`; without it such entries fail.
            clock: seconds for conn_throttle; without it such entries fail.

        Raises:
            MappingError: with every entry that cannot be compiled.
        """
        compiled: dict[str, tuple[Entry, ...]] = {}
        faults: list[tuple[int, int, str]] = []
        names: list[str] = []
        for number, (name, entries) in enumerate(tables):
            names.append(name)
            found: list[Entry] = []
            for place, (pattern, template) in enumerate(entries):
                try:
                    found.append(_entry(pattern, template))
                except SyntaxFault as fault:
                    faults.append((number, place, str(fault)))
            compiled.setdefault(name.upper(), tuple(found))
        if faults:
            raise MappingError(faults, tuple(names))
        return cls(compiled, World(general, chance, Throttle(clock) if clock else None))

    def __contains__(self, name: str) -> bool:
        return name.upper() in self._tables

    @property
    def names(self) -> tuple[str, ...]:
        """The tables' names in upper case, in the order given."""
        return tuple(self._tables)

    def probe(
        self, name: str, text: str, *, flags: frozenset[str] = _NO_FLAGS, ask: Callable[[Question], str | None] | None = None
    ) -> Result | None:
        """Asks a table about a string.

        Args:
            name: the table, any case.
            text: the string.
            flags: input flags for `$:f` and `$;f`, upper case.
            ask: answers questions to the directory; without it they have no answer.

        Returns:
            None when there is no such table or no entry applied.
        """
        known = self.at_once(name, text)
        if known is not UNDECIDED:
            return known
        walk = self.walk(name, text, flags)
        try:
            question = next(walk)
            while True:
                question = walk.send(ask(question) if ask else None)
        except StopIteration as end:
            result: Result | None = end.value
            return result

    def at_once(self, name: str, text: str) -> Result | None:
        """What `walk` gives when the first entry that matches gives the same to everybody; else UNDECIDED."""
        entries = self._tables.get(name)
        if entries is None:
            return UNDECIDED
        low = fold(text)
        for entry in entries:
            pattern = entry.pattern
            if pattern.needle in low and pattern.match(text, low) is not None:
                return UNDECIDED if entry.result is None else entry.result
        return None

    def admits(self, name: str, fields: Sequence[str | None]) -> bool:
        """Whether the table can have an entry for a text of these fields (see `Pattern.admits`)."""
        return any(entry.pattern.admits(fields) for entry in self._tables.get(name.upper(), ()))

    def walk(self, name: str, text: str, flags: frozenset[str] = _NO_FLAGS) -> Walk:
        """The same as a generator: yields questions, is sent answers (None: there is none), returns the result."""
        return self._walk(name, text, _Probe(flags))

    def _walk(self, name: str, text: str, probe: _Probe) -> Walk:
        entries = self._tables.get(name) or self._tables.get(name.upper(), ())
        low = fold(text)
        result: Result | None = None
        place = restarts = everything = 0
        before = len(text)
        again = False
        while True:
            if place >= len(entries):
                if not again:
                    return result
                again, restart = False, True
            else:
                restart = False
                entry = entries[place]
                place += 1
                template = entry.template
                saved = entry.pattern.match(text, low)
                if saved is None:
                    continue
                output = template.text
                if output is None:
                    output = yield from self._expand(template, saved, probe)
                    if output is None or len(output) > MAX_OUTPUT:
                        continue
                own = template.flags
                result = Result(output, own if result is None or own & _VERDICTS else result.flags | own)
                if template.control in {"", "E"}:
                    return result
                text, low = output, fold(output)
                restart = template.control == "R"
                again = again or template.control == "L"
            if restart:
                restarts = 0 if len(text) < before else restarts + 1
                before = len(text)
                everything += 1
                place = 0
                if restarts > MAX_RESTARTS or everything > MAX_ALL_RESTARTS:
                    return result

    def _expand(self, template: Template, saved: list[str], probe: _Probe) -> Generator[Question, str | None, str | None]:
        """The template's output, or None when the entry fails."""
        expansion = Expansion(template.steps, saved, probe.flags, self._world)
        walk = expansion.run()
        answer: str | None = None
        started = False
        while True:
            try:
                asked = walk.send(answer) if started else next(walk)
            except StopIteration as end:
                output: str | None = end.value
                return output
            started = True
            if isinstance(asked, tuple):
                answer = yield from self._other(asked[0], asked[1], probe)
            else:
                answer = yield asked

    def _other(self, name: str, text: str, probe: _Probe) -> Generator[Question, str | None, str | None]:
        """The text another table gives with $Y, else None."""
        if probe.depth >= MAX_DEPTH or probe.nested >= MAX_NESTED:
            return None
        probe.depth += 1
        probe.nested += 1
        try:
            result = yield from self._walk(name, text, probe)
        finally:
            probe.depth -= 1
        return result.text if result and "Y" in result.flags else None
